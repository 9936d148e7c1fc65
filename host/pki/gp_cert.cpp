#include "host/pki/gp_cert.hpp"

#include <algorithm>

#include "host/base/tlv.hpp"

namespace kf {

std::string_view slug(CertificateFault f) {
  static constexpr std::string_view kSlugs[] = {"bad-x509",       "unknown-curve", "bad-issuer",    "bad-aki",
                                                "untrusted-root", "not-ca",        "bad-usage",     "bad-curve",
                                                "not-yet-valid",  "expired",       "bad-signature", "bad-format",
                                                "bad-tag",        "bad-type",      "wrong-subject"};
  return kSlugs[static_cast<std::size_t>(f)];
}

namespace {
constexpr std::uint32_t kSerial = 0x93, kCaId = 0x42, kSubject = 0x5F20, kUsage = 0x95, kEffective = 0x5F25,
                        kExpiry = 0x5F24, kCin = 0x45, kPlain = 0x53, kTlvs = 0x73, kKey = 0x7F49, kSignature = 0x5F37;

struct Rule {
  std::uint32_t tag;
  std::size_t min, max;
  bool mandatory;
};
// The order of docs/spec/crypto.md 5.1. Of 53 and 73 only one may stand.
constexpr std::array<Rule, 11> kRules{{{kSerial, 1, 16, true},
                                       {kCaId, 1, 16, true},
                                       {kSubject, 1, 16, true},
                                       {kUsage, 1, 2, true},
                                       {kEffective, 4, 4, false},
                                       {kExpiry, 4, 4, true},
                                       {kCin, 1, 16, false},
                                       {kPlain, 3, 127, false},
                                       {kTlvs, 3, 127, false},
                                       {kKey, 1, 127, true},
                                       {kSignature, 64, 64, true}}};

std::string tag_text(std::uint32_t tag) {
  Bytes b;
  append_tag(b, tag);
  return to_hex(b);
}

Status parse_public_key(ByteView in, GpCertificate& c) {
  KF_TRY(const Tlv point, read_tlv(in));
  if (point.tag != 0xB0) return Error{CertificateFault::bad_format, "7F49 starts with B0"};
  KF_TRY(const Tlv parameter, read_tlv(in));
  if (parameter.tag != 0xF0 || parameter.value.size() != 1 || !in.empty())
    return Error{CertificateFault::bad_format, "7F49 is B0 and F0"};
  const auto curve = curve_by_f0(parameter.value[0]);
  if (!curve) return Error{CertificateFault::unknown_curve, "F0 = " + to_hex(parameter.value)};
  c.curve = *curve;
  KF_TRY(c.q, check_point(*curve, point.value));
  return {};
}

// Inside 73: C8 and C9, each once; other TLVs are kept and ignored.
Status parse_discretionary(ByteView in, GpCertificate& c) {
  KF_TRY(const std::vector<Tlv> list, read_tlvs(in));
  for (const Tlv& t : list) {
    if (t.tag == 0xC8) {
      if (c.type || t.value.size() != 1) return Error{CertificateFault::bad_format, "C8 stands once and has one byte"};
      c.type = t.value[0];
    } else if (t.tag == 0xC9) {
      if (c.aki || t.value.size() != 20) return Error{CertificateFault::bad_format, "C9 stands once and has 20 bytes"};
      c.aki = to_bytes(t.value);
    }
  }
  return {};
}

Status take(const Tlv& t, GpCertificate& c) {
  switch (t.tag) {
    case kSerial:
      c.serial = to_bytes(t.value);
      return {};
    case kCaId:
      c.ca_id = to_bytes(t.value);
      return {};
    case kSubject:
      c.subject = to_bytes(t.value);
      return {};
    case kUsage:
      c.key_usage = to_bytes(t.value);
      return {};
    case kEffective: {
      KF_TRY(c.effective, parse_bcd_date(t.value));
      return {};
    }
    case kExpiry: {
      KF_TRY(c.expiry, parse_bcd_date(t.value));
      return {};
    }
    case kCin:
      c.cin = to_bytes(t.value);
      return {};
    case kPlain:
      c.discretionary = to_bytes(t.value);
      return {};
    case kTlvs:
      if (c.discretionary) return Error{CertificateFault::bad_format, "53 and 73 exclude each other"};
      c.discretionary = to_bytes(t.value);
      return parse_discretionary(t.value, c);
    case kKey:
      return parse_public_key(t.value, c);
    default:
      std::copy(t.value.begin(), t.value.end(), c.signature.begin());
      return {};  // 5F37, 64 bytes by the rule
  }
}
}  // namespace

Result<GpCertificate> parse_gp_certificate(ByteView der) {
  ByteView rest = der;
  KF_TRY(const Tlv outer, read_tlv(rest));
  if (outer.tag != 0x7F21) return Error{CertificateFault::bad_tag, "outer tag " + tag_text(outer.tag) + " is not 7F21"};
  if (!rest.empty()) return Error{CertificateFault::bad_format, "bytes behind the certificate"};
  GpCertificate c;
  ByteView in = outer.value;
  std::size_t next = 0;  // the first rule that may still come
  while (!in.empty()) {
    const std::size_t before = outer.value.size() - in.size();
    KF_TRY(const Tlv t, read_tlv(in));
    const auto rule = std::find_if(kRules.begin(), kRules.end(), [&](const Rule& r) { return r.tag == t.tag; });
    if (rule == kRules.end()) return Error{CertificateFault::bad_tag, "unknown tag " + tag_text(t.tag)};
    const auto index = static_cast<std::size_t>(rule - kRules.begin());
    if (index < next)
      return Error{CertificateFault::bad_format, "tag " + tag_text(t.tag) + " is doubled or out of order"};
    for (; next < index; ++next)
      if (kRules[next].mandatory)
        return Error{CertificateFault::bad_format, "tag " + tag_text(kRules[next].tag) + " is missing"};
    next = index + 1;
    if (t.value.size() < rule->min || t.value.size() > rule->max)
      return Error{CertificateFault::bad_format,
                   "tag " + tag_text(t.tag) + " has " + std::to_string(t.value.size()) + " bytes"};
    KF_CHECK(take(t, c));
    if (t.tag == kSignature) c.tbs = to_bytes(outer.value.first(before));
  }
  for (; next < kRules.size(); ++next)
    if (kRules[next].mandatory)
      return Error{CertificateFault::bad_format, "tag " + tag_text(kRules[next].tag) + " is missing"};
  c.encoded = to_bytes(der);
  return c;
}

Status check_gp_certificate(const GpCertificate& c, GpRole role, const GpIssuer& issuer, Date today,
                            const std::optional<Eid>& eid) {
  if (role == GpRole::dp) {
    if (c.key_usage != Bytes{0x88} && c.key_usage != Bytes{0x82})  // docs/spec/crypto.md A8
      return Error{CertificateFault::bad_usage, "95 is " + to_hex(c.key_usage) + ", not 88 or 82"};
    if (c.type != std::optional<std::uint8_t>{0x01}) return Error{CertificateFault::bad_type, "C8 does not say SM-DP"};
    if (c.aki && *c.aki != issuer.ski) return Error{CertificateFault::bad_aki, "C9 is not the issuer's key identifier"};
  } else {
    if (c.key_usage != Bytes{0x00, 0x80})
      return Error{CertificateFault::bad_usage, "95 is " + to_hex(c.key_usage) + ", not 0080"};
    if (c.type) return Error{CertificateFault::bad_type, "C8 in a certificate of an ECASD"};
    if (!c.aki || *c.aki != issuer.ski)
      return Error{CertificateFault::bad_aki, "C9 is not the issuer's key identifier"};
  }
  if (c.curve != issuer.curve)  // docs/spec/crypto.md A12
    return Error{CertificateFault::bad_curve,
                 std::string(curve_name(c.curve)) + " under an issuer on " + std::string(curve_name(issuer.curve))};
  if (c.effective && std::chrono::sys_days(today) < std::chrono::sys_days(*c.effective))
    return Error{CertificateFault::not_yet_valid, "from " + to_string(*c.effective)};
  if (std::chrono::sys_days(today) > std::chrono::sys_days(c.expiry))
    return Error{CertificateFault::expired, "on " + to_string(c.expiry)};
  if (role == GpRole::ecasd && eid && c.subject != eid_octets(*eid))
    return Error{CertificateFault::wrong_subject, "5F20 is " + to_hex(c.subject) + ", not EID " + eid->str()};
  return {};
}

Status verify_gp_certificate(const GpCertificate& c, GpRole role, const GpIssuer& issuer, Date today,
                             const std::optional<Eid>& eid) {
  KF_CHECK(check_gp_certificate(c, role, issuer, today, eid));
  if (!ecdsa_verify(issuer.curve, issuer.q, sha256(c.tbs), c.signature))
    return Error{CertificateFault::bad_signature, "5F37 does not verify with the issuer's key"};
  return {};
}

Bytes issue_gp_certificate(const GpTemplate& t, const std::function<Signature(const Digest32&)>& sign) {
  Bytes body;
  append_tlv(body, kSerial, t.serial);
  append_tlv(body, kCaId, t.ca_id);
  append_tlv(body, kSubject, t.subject);
  append_tlv(body, kUsage, t.key_usage);
  if (t.effective) append_tlv(body, kEffective, bcd_date(*t.effective));
  append_tlv(body, kExpiry, bcd_date(t.expiry));
  if (t.cin) append_tlv(body, kCin, *t.cin);
  Bytes extra;
  if (t.type) append_tlv(extra, 0xC8, Bytes{*t.type});
  if (!t.aki.empty()) append_tlv(extra, 0xC9, t.aki);
  if (!extra.empty()) append_tlv(body, kTlvs, extra);
  Bytes key;
  append_tlv(key, 0xB0, t.q);
  append_tlv(key, 0xF0, Bytes{static_cast<std::uint8_t>(t.curve)});
  append_tlv(body, kKey, key);
  append_tlv(body, kSignature, sign(sha256(body)));
  return make_tlv(0x7F21, body);
}
}  // namespace kf
