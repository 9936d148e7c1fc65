#include "host/pki/chain.hpp"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "host/base/tlv.hpp"
#include "host/pki/openssl_x509.hpp"

namespace kf {
namespace {
using ossl::clear_unless;

Bytes name_der(const X509_NAME* n) {
  unsigned char* out = nullptr;
  const int len = i2d_X509_NAME(n, &out);
  if (len < 0) return {};
  Bytes b(out, out + len);
  OPENSSL_free(out);
  return b;
}

std::string name_text(const X509_NAME* n) {
  const ossl::BioPtr bio(ossl::must(BIO_new(BIO_s_mem())));
  X509_NAME_print_ex(bio.get(), n, 0, XN_FLAG_RFC2253 & ~static_cast<unsigned long>(ASN1_STRFLGS_ESC_MSB));
  char* p = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &p);
  return std::string(p, static_cast<std::size_t>(size));
}

Result<std::int64_t> unix_time(const ASN1_TIME* t) {
  std::tm tm{};
  if (t == nullptr || !clear_unless(ASN1_TIME_to_tm(t, &tm) == 1))
    return Error{CertificateFault::bad_x509, "unreadable date"};
  return static_cast<std::int64_t>(::timegm(&tm));
}

// One extension decoded; absent is fine, doubled or malformed is not.
template <class Ptr>
Result<Ptr> extension(X509* x, int nid) {
  int critical = -1;
  Ptr p(static_cast<typename Ptr::pointer>(X509_get_ext_d2i(x, nid, &critical, nullptr)));
  if (!p && critical != -1) {
    ERR_clear_error();
    return Error{CertificateFault::bad_x509, std::string("extension ") + OBJ_nid2sn(nid) + " is doubled or malformed"};
  }
  return p;
}

Bytes octets(const ASN1_OCTET_STRING* s) {
  const auto* p = ASN1_STRING_get0_data(s);
  return Bytes(p, p + ASN1_STRING_length(s));
}

Result<Curve> curve_of_oid(const ASN1_OBJECT* oid) {
  const int nid = OBJ_obj2nid(oid);
  if (nid == NID_X9_62_prime256v1) return Curve::p256;
  if (nid == NID_brainpoolP256r1) return Curve::brainpool_p256r1;
  static constexpr std::array<std::uint8_t, 10> kFrp{0x2A, 0x81, 0x7A, 0x01, 0x81, 0x5F, 0x65, 0x82, 0x00, 0x01};
  if (std::ranges::equal(ByteView(OBJ_get0_data(oid), OBJ_length(oid)), kFrp)) return Curve::frp256v1;
  char text[80];
  OBJ_obj2txt(text, sizeof text, oid, 1);
  return Error{CertificateFault::unknown_curve, text};
}

// Read from the SubjectPublicKeyInfo itself: OpenSSL would report a foreign curve and a bad point alike, and it does
// not know FRP256v1.
Status public_key(X509* x, X509Info& info) {
  ASN1_OBJECT* algorithm = nullptr;
  const unsigned char* point = nullptr;
  int size = 0;
  X509_ALGOR* params = nullptr;
  if (X509_PUBKEY_get0_param(&algorithm, &point, &size, &params, X509_get_X509_PUBKEY(x)) != 1)
    return Error{CertificateFault::bad_x509, "no public key"};
  const ASN1_OBJECT* parameter_algorithm = nullptr;
  int type = 0;
  const void* value = nullptr;
  X509_ALGOR_get0(&parameter_algorithm, &type, &value, params);
  if (OBJ_obj2nid(algorithm) != NID_X9_62_id_ecPublicKey)
    return Error{CertificateFault::unknown_curve, "not an elliptic-curve key"};
  if (type != V_ASN1_OBJECT) return Error{CertificateFault::unknown_curve, "the curve is not given by name"};
  KF_TRY(info.curve, curve_of_oid(static_cast<const ASN1_OBJECT*>(value)));
  KF_TRY(info.q, check_point(info.curve, ByteView(point, static_cast<std::size_t>(size))));
  return {};
}

Status extensions(X509* x, X509Info& info) {
  for (int i = 0; i < X509_get_ext_count(x); ++i) {
    X509_EXTENSION* e = X509_get_ext(x, i);
    if (X509_EXTENSION_get_critical(e) != 0 && X509_supported_extension(e) == 0)
      return Error{CertificateFault::bad_x509, "unknown critical extension"};
  }
  KF_TRY(const auto ski, extension<ossl::OctetsPtr>(x, NID_subject_key_identifier));
  if (ski) info.ski = octets(ski.get());
  KF_TRY(const auto aki, extension<ossl::AkiPtr>(x, NID_authority_key_identifier));
  if (aki && aki->keyid != nullptr) info.aki = octets(aki->keyid);
  KF_TRY(const auto basic, extension<ossl::BasicPtr>(x, NID_basic_constraints));
  info.is_ca = basic && basic->ca != 0;
  KF_TRY(const auto usage, extension<ossl::BitsPtr>(x, NID_key_usage));
  info.key_cert_sign = usage && ASN1_BIT_STRING_get_bit(usage.get(), 5) == 1;  // RFC 5280 4.2.1.3: keyCertSign (5)
  return {};
}

Result<Bytes> der_of(ByteView in) {
  if (in.empty()) return Error{CertificateFault::bad_x509, "empty"};
  if (in[0] == 0x30) return to_bytes(in);
  const ossl::BioPtr bio(ossl::must(BIO_new_mem_buf(in.data(), static_cast<int>(in.size()))));
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* data = nullptr;
  long size = 0;
  if (!clear_unless(PEM_read_bio(bio.get(), &name, &header, &data, &size) == 1))
    return Error{CertificateFault::bad_x509, "neither DER nor PEM"};
  const bool certificate = std::strcmp(name, PEM_STRING_X509) == 0 || std::strcmp(name, PEM_STRING_X509_OLD) == 0;
  Bytes der(data, data + size);
  OPENSSL_free(name);
  OPENSSL_free(header);
  OPENSSL_free(data);
  if (!certificate) return Error{CertificateFault::bad_x509, "the PEM block is not a certificate"};
  return der;
}
}  // namespace

Result<X509Info> parse_x509(ByteView der_or_pem) {
  if (der_or_pem.size() > 0x10000) return Error{CertificateFault::bad_x509, "longer than 64 KiB"};
  X509Info info;
  KF_TRY(info.der, der_of(der_or_pem));
  const unsigned char* p = info.der.data();
  const ossl::X509Ptr x(d2i_X509(nullptr, &p, static_cast<long>(info.der.size())));
  if (!x) {
    ERR_clear_error();
    return Error{CertificateFault::bad_x509, "not a certificate"};
  }
  ERR_clear_error();  // an undecodable public key leaves its error behind without failing the parse
  if (p != info.der.data() + info.der.size()) return Error{CertificateFault::bad_x509, "bytes behind the certificate"};

  // The signed bytes as received, never re-encoded.
  ByteView rest = info.der;
  auto outer = read_tlv(rest);
  if (!outer) return Error{CertificateFault::bad_x509, "not DER: " + outer.error().text()};
  ByteView inner = outer->value;
  auto tbs = read_tlv(inner);
  if (!tbs || tbs->tag != 0x30) return Error{CertificateFault::bad_x509, "no TBSCertificate"};
  info.tbs = to_bytes(tbs->whole);

  info.subject_der = name_der(X509_get_subject_name(x.get()));
  info.issuer_der = name_der(X509_get_issuer_name(x.get()));
  info.subject = name_text(X509_get_subject_name(x.get()));
  KF_TRY(info.not_before, unix_time(X509_get0_notBefore(x.get())));
  KF_TRY(info.not_after, unix_time(X509_get0_notAfter(x.get())));
  const ASN1_BIT_STRING* signature = nullptr;
  const X509_ALGOR* algorithm = nullptr;
  X509_get0_signature(&signature, &algorithm, x.get());
  const auto* s = ASN1_STRING_get0_data(signature);
  info.signature_der.assign(s, s + ASN1_STRING_length(signature));
  info.ecdsa_sha256 = X509_get_signature_nid(x.get()) == NID_ecdsa_with_SHA256 &&
                      X509_ALGOR_cmp(algorithm, X509_get0_tbs_sigalg(x.get())) == 0;
  KF_CHECK(extensions(x.get(), info));
  KF_CHECK(public_key(x.get(), info));
  return info;
}

GpIssuer issuer_of(const X509Info& x) { return {x.curve, x.q, x.ski}; }

namespace {
constexpr std::int64_t kDay = 86400;

Result<const X509Info*> trusted_root(const X509Info& eum, std::span<const X509Info> roots) {
  const X509Info* by_name = nullptr;
  for (const X509Info& r : roots) {
    const bool name = r.subject_der == eum.issuer_der;
    const bool key = !eum.aki.empty() && r.ski == eum.aki;
    if (name && key) return &r;
    if (key)
      return Error{CertificateFault::bad_issuer, "signed by " + r.subject + " by its key identifier, not by its name"};
    if (name) by_name = &r;
  }
  if (by_name != nullptr)
    return Error{CertificateFault::bad_aki, "the authority key identifier is not that of " + by_name->subject};
  return Error{CertificateFault::untrusted_root, "no configured CI root issued " + eum.subject};
}
}  // namespace

Status verify_eum(const X509Info& eum, std::span<const X509Info> roots, Date today) {
  KF_TRY(const X509Info* const root, trusted_root(eum, roots));
  if (!eum.is_ca || !root->is_ca)
    return Error{CertificateFault::not_ca, "basicConstraints does not say CA: " + (eum.is_ca ? root : &eum)->subject};
  if (!eum.key_cert_sign || !root->key_cert_sign)
    return Error{CertificateFault::bad_usage,
                 "keyUsage lacks keyCertSign: " + (eum.key_cert_sign ? root : &eum)->subject};
  // docs/spec/crypto.md A12
  if (eum.curve != root->curve) return Error{CertificateFault::bad_curve, "the EUM's key is not on the CI's curve"};
  const std::int64_t midnight = std::chrono::sys_days(today).time_since_epoch().count() * kDay;
  if (eum.not_before >= midnight + kDay) return Error{CertificateFault::not_yet_valid, eum.subject};
  if (eum.not_after < midnight) return Error{CertificateFault::expired, eum.subject};
  const auto plain = signature_from_der(eum.signature_der);
  if (!eum.ecdsa_sha256 || !plain || !ecdsa_verify(root->curve, root->q, sha256(eum.tbs), *plain))
    return Error{CertificateFault::bad_signature, "the CI's signature on " + eum.subject};
  return {};
}

Status verify_eum_cached(EumCache& cache, const X509Info& eum, std::span<const X509Info> roots, Date today) {
  constexpr std::size_t kLimit = 256;  // EUMs in the field are counted in dozens
  const Digest32 h = sha256(eum.der);
  Bytes key(h.begin(), h.end());
  if (const auto it = cache.verified.find(key); it != cache.verified.end() && it->second == today) return {};
  KF_CHECK(verify_eum(eum, roots, today));
  if (cache.verified.size() >= kLimit) cache.verified.clear();
  cache.verified.insert_or_assign(std::move(key), today);
  return {};
}

Result<GpCertificate> verify_ecasd_chain(ByteView cert_ecasd, const X509Info& eum, std::span<const X509Info> roots,
                                         Date today, const Eid& eid) {
  if (auto s = verify_eum(eum, roots, today); !s.ok()) return Error{"eum:" + s.error().reason, s.error().detail};
  KF_TRY(GpCertificate c, parse_gp_certificate(cert_ecasd));
  KF_CHECK(verify_gp_certificate(c, GpRole::ecasd, issuer_of(eum), today, eid));
  return c;
}
}  // namespace kf
