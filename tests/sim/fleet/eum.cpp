#include "tests/sim/fleet/eum.hpp"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "host/base/calendar.hpp"
#include "host/base/ids.hpp"
#include "host/base/random.hpp"
#include "host/base/tlv.hpp"
#include "host/crypto/ec.hpp"
#include "host/es/soap.hpp"
#include "host/pki/chain.hpp"

namespace kf::sim {
namespace {

using PkeyPtr = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using PkeyCtxPtr = std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)>;
using SigPtr = std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)>;
using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;

constexpr std::string_view kPlatformType = "SimChip-1";

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{"no-file", path};
  return std::string(std::istreambuf_iterator<char>(in), {});
}

Bytes sha256_of(std::string_view s) {
  Bytes d(32);
  if (EVP_Digest(s.data(), s.size(), d.data(), nullptr, EVP_sha256(), nullptr) != 1) std::abort();
  return d;
}

std::string pem_body(const std::string& pem) {  // base64 of the first block, without line breaks
  const auto first = pem.find("-----BEGIN CERTIFICATE-----");
  const auto last = pem.find("-----END CERTIFICATE-----");
  std::string out;
  if (first == std::string::npos || last == std::string::npos) return out;
  for (const char c : std::string_view(pem).substr(first + 27, last - first - 27))
    if (c != '\n' && c != '\r' && c != ' ') out.push_back(c);
  return out;
}

std::string escaped(std::string_view s) {  // text nodes of canonical XML
  std::string out;
  for (const char c : s) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out.push_back(c);
  }
  return out;
}

class CanonicalWriter {
 public:
  explicit CanonicalWriter(std::optional<std::size_t> indent) : indent_(indent) {}
  void open(std::string_view name, std::string_view attributes = {}) {
    line();
    out_.append("<rps:").append(name).append(attributes).append(">");
    ++depth_;
  }
  void close(std::string_view name) {
    --depth_;
    line();
    out_.append("</rps:").append(name).append(">");
  }
  void leaf(std::string_view name, std::string_view value) {
    line();
    out_.append("<rps:").append(name).append(">").append(escaped(value)).append("</rps:").append(name).append(">");
  }
  std::string take() { return std::move(out_); }

 private:
  void line() {
    if (!indent_ || out_.empty()) return;
    out_.push_back('\n');
    out_.append(*indent_ + 2 * depth_, ' ');
  }
  std::optional<std::size_t> indent_;
  std::size_t depth_ = 0;
  std::string out_;
};

std::string_view curve_file(Curve c) { return c == Curve::p256 ? "P-256" : "brainpoolP256r1"; }

}  // namespace

struct Eum::Impl {
  Curve curve = Curve::p256;
  PkeyPtr key{nullptr, EVP_PKEY_free};
  Bytes eum_oid, eum_ski, eum_der, pk_ci, ci_ski;
  std::string eum_base64, eum_subject, eum_id;

  [[nodiscard]] Bytes sign_plain(ByteView digest) const {  // r || s
    const PkeyCtxPtr ctx(EVP_PKEY_CTX_new(key.get(), nullptr), EVP_PKEY_CTX_free);
    std::array<std::uint8_t, 80> der{};
    std::size_t n = der.size();
    if (!ctx || EVP_PKEY_sign_init(ctx.get()) != 1 ||
        EVP_PKEY_sign(ctx.get(), der.data(), &n, digest.data(), digest.size()) != 1)
      std::abort();
    const unsigned char* p = der.data();
    const SigPtr sig(d2i_ECDSA_SIG(nullptr, &p, static_cast<long>(n)), ECDSA_SIG_free);
    Bytes out(64);
    if (!sig || BN_bn2binpad(ECDSA_SIG_get0_r(sig.get()), out.data(), 32) != 32 ||
        BN_bn2binpad(ECDSA_SIG_get0_s(sig.get()), out.data() + 32, 32) != 32)
      std::abort();
    return out;
  }
};

Eum::Eum(std::unique_ptr<Impl> i) : impl_(std::move(i)) {}
Eum::Eum(Eum&&) noexcept = default;
Eum::~Eum() = default;
const Bytes& Eum::pk_ci() const { return impl_->pk_ci; }
const Bytes& Eum::ci_ski() const { return impl_->ci_ski; }
Curve Eum::curve() const { return impl_->curve; }

Result<Eum> Eum::load(const std::string& pki_dir, Curve curve) {
  auto i = std::make_unique<Impl>();
  i->curve = curve;
  const std::string name(curve_file(curve));
  KF_TRY(const std::string ci_pem, read_file(pki_dir + "/ci-" + name + ".pem"));
  KF_TRY(const std::string eum_pem, read_file(pki_dir + "/eum-" + name + ".pem"));
  KF_TRY(std::string key_pem, read_file(pki_dir + "/eum-" + name + ".key"));
  KF_TRY(const X509Info ci, parse_x509(view(ci_pem)));
  KF_TRY(const X509Info eum, parse_x509(view(eum_pem)));
  i->pk_ci = to_bytes(ci.q);
  i->ci_ski = ci.ski;
  i->eum_ski = eum.ski;
  i->eum_der = eum.der;
  i->eum_subject = eum.subject;
  i->eum_base64 = pem_body(eum_pem);
  i->eum_id = "2.999.40";
  i->eum_oid = oid_octets(Oid::trusted(i->eum_id));
  const BioPtr bio(BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())), BIO_free);
  i->key.reset(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  wipe(key_pem);
  if (!i->key) return Error{"bad-pem", pki_dir + "/eum-" + name + ".key"};
  return Eum(std::move(i));
}

Bytes Eum::certificate(const EuiccRecord& r, EcasdVariant v) const {
  const std::string eid = v == EcasdVariant::other_eid ? fleet_eid(r.index + 500'000'000'000) : r.eid;
  const Date today = today_utc();
  Point q = r.pk_ecasd;
  if (v == EcasdVariant::off_curve) q[64] ^= 1;
  Bytes point = to_bytes(q);
  if (v == EcasdVariant::infinite) point.assign(1, 0x00);

  Bytes body;
  append_tlv(body, 0x93, random_bytes(8));
  append_tlv(body, 0x42, impl_->eum_oid);
  append_tlv(body, 0x5F20, eid_octets(Eid::trusted(eid)));
  append_tlv(body, 0x95, hex("0080"));
  append_tlv(body, 0x5F25, bcd_date(add_days(today, -365)));
  append_tlv(body, 0x5F24, bcd_date(add_days(today, v == EcasdVariant::expired ? -2 : 365 * 15)));
  append_tlv(body, 0x73, make_tlv(0xC9, impl_->eum_ski));
  Bytes key = make_tlv(0xB0, point);
  const std::array<std::uint8_t, 1> f0{static_cast<std::uint8_t>(impl_->curve)};
  append_tlv(key, 0xF0, f0);
  append_tlv(body, 0x7F49, key);
  Bytes signature = impl_->sign_plain(sha256_of(text(body)));
  if (v == EcasdVariant::badly_signed) signature[40] ^= 0x10;
  append_tlv(body, 0x5F37, signature);

  if (v == EcasdVariant::nonminimal) {  // 7F21 82 00 L instead of 7F21 81 L
    Bytes out = hex("7F2182");
    append(out, {static_cast<std::uint8_t>(body.size() >> 8), static_cast<std::uint8_t>(body.size())});
    append(out, body);
    return out;
  }
  Bytes out = make_tlv(0x7F21, body);
  if (v == EcasdVariant::truncated) out.erase(out.end() - 10, out.end());
  return out;
}

void Eum::sign(es::Eis& e) const {
  const std::string digest = to_base64(sha256_of(canonical_eum_signed_info(e, es::kNs3)));
  // Written in canonical form at once: what is signed is what is sent.
  std::string info =
      R"(<ds:SignedInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">)"
      R"(<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:CanonicalizationMethod>)"
      R"(<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"></ds:SignatureMethod>)"
      R"(<ds:Reference URI=""><ds:Transforms>)"
      R"(<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform></ds:Transforms>)"
      R"(<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod><ds:DigestValue>)" +
      digest + "</ds:DigestValue></ds:Reference></ds:SignedInfo>";
  const std::string value = to_base64(impl_->sign_plain(sha256_of(info)));
  info += R"(<ds:SignatureValue xmlns:ds="http://www.w3.org/2000/09/xmldsig#">)" + value + "</ds:SignatureValue>" +
          R"(<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509SubjectName>)" +
          escaped(impl_->eum_subject) + "</ds:X509SubjectName><ds:X509Certificate>" + impl_->eum_base64 +
          "</ds:X509Certificate></ds:X509Data></ds:KeyInfo>";
  e.eum_signature_xml = std::move(info);
  e.eum_certificate = impl_->eum_der;
}

Eum::Made Eum::make(const std::string& eid, std::uint64_t index, std::uint32_t memory,
                    const std::string& smsr_oid) const {
  Made m;
  m.record.eid = eid;
  m.record.index = index;
  const KeyPair pair = generate_key_pair(impl_->curve);
  m.record.pk_ecasd = pair.q;
  m.sk_ecasd = to_bytes(pair.d.expose());
  m.record.psk = std::make_shared<const SecretBytes>(SecretBytes::adopt(random_bytes(16)));

  es::Eis& e = m.record.eis;
  e.eid = eid;
  e.eum_id = impl_->eum_id;
  e.production_date = "2025-01-15T00:00:00Z";
  e.platform_type = kPlatformType;
  e.platform_version = "4.2.0";
  e.isdp_loadfile_aid = "A0000005591010FFFFFFFF8900000D00";
  e.isdp_module_aid = "A0000005591010FFFFFFFF8900000E00";
  e.ecasd.aid = ecasd_aid().str();
  e.ecasd.sin = "4B4559464552525953494E0000000001";
  e.ecasd.sdin = "4B4559464552525953444E0000000001";
  e.ecasd.role = "ECASD";
  es::SecurityDomain::Keyset ca;
  ca.version = "116";
  ca.type = "CA";
  const Bytes cert = certificate(m.record, EcasdVariant::good);
  ca.certs.push_back({"1", impl_->eum_id, cert});
  ca.certificates.push_back(cert);
  e.ecasd.keysets.push_back(std::move(ca));
  e.cattp_support = false;
  e.http_support = true;
  e.http_version = "1.1.3";
  e.secure_packet_version = "12.1.0";
  e.remote_provisioning_version = "4.2.0";
  e.available_memory = e.remaining_memory = memory;
  e.smsr_id = smsr_oid;
  e.isd_r.aid = isd_r_aid().str();
  e.isd_r.tars = {"000001"};
  e.isd_r.sin = e.ecasd.sin;
  e.isd_r.sdin = e.ecasd.sdin;
  e.isd_r.role = "ISD-R";
  es::SecurityDomain::Keyset scp81;
  scp81.version = "64";
  scp81.type = "SCP81";
  e.isd_r.keysets.push_back(std::move(scp81));
  sign(e);
  return m;
}

es::Eis Eum::eis_with(const EuiccRecord& r, EcasdVariant v) const {
  es::Eis e = r.eis;
  const Bytes cert = certificate(r, v);
  auto& set = e.ecasd.keysets.front();
  set.certs.front().value = cert;
  set.certificates.front() = cert;
  sign(e);
  return e;
}

std::string canonical_eum_signed_info(const es::Eis& e, std::string_view ns, std::optional<std::size_t> indent) {
  const auto flag = [](bool b) { return b ? "true" : "false"; };
  CanonicalWriter w(indent);
  w.open("EumSignedInfo", " xmlns:rps=\"" + std::string(ns) + "\"");
  w.leaf("Eid", e.eid);
  w.leaf("Eum-id", e.eum_id);
  w.leaf("ProductionDate", e.production_date);
  w.leaf("PlatformType", e.platform_type);
  w.leaf("PlatformVersion", e.platform_version);
  w.leaf("Isd-p-loadfile-aid", e.isdp_loadfile_aid);
  w.leaf("Isd-p-module-aid", e.isdp_module_aid);
  w.open("Ecasd");
  w.leaf("Aid", e.ecasd.aid);
  for (const auto& t : e.ecasd.tars) w.leaf("Tar", t);
  w.leaf("Sin", e.ecasd.sin);
  w.leaf("Sdin", e.ecasd.sdin);
  w.leaf("Role", e.ecasd.role);
  for (const auto& k : e.ecasd.keysets) {
    w.open("Keyset");
    w.leaf("Version", k.version);
    if (!k.type.empty()) w.leaf("Type", k.type);
    if (!k.cntr.empty()) w.leaf("Cntr", k.cntr);
    for (const auto& c : k.certs) {
      w.open("Certificate");
      w.leaf("Index", c.index);
      w.leaf("CaId", c.ca_id);
      w.leaf("Value", to_hex(c.value));
      w.close("Certificate");
    }
    w.close("Keyset");
  }
  w.close("Ecasd");
  w.open("EuiccCapabilities");
  w.leaf("CattpSupport", flag(e.cattp_support));
  if (!e.cattp_version.empty()) w.leaf("CattpVersion", e.cattp_version);
  w.leaf("HttpSupport", flag(e.http_support));
  if (!e.http_version.empty()) w.leaf("HttpVersion", e.http_version);
  w.leaf("SecurePacketVersion", e.secure_packet_version);
  w.leaf("RemoteProvisioningVersion", e.remote_provisioning_version);
  w.close("EuiccCapabilities");
  w.close("EumSignedInfo");
  return w.take();
}

std::string fleet_eid(std::uint64_t n) {
  std::array<char, 32> s{};
  std::snprintf(s.data(), s.size(), "890010120123412340%012llu",
                static_cast<unsigned long long>(n % 1'000'000'000'000));
  return eid_with_check_digits(s.data());
}

}  // namespace kf::sim
