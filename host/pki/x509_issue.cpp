// Issuing X.509 for the test PKI. The product itself never issues a certificate.
#include <openssl/core_names.h>
#include <openssl/pem.h>

#include <cstring>
#include <ctime>

#include "host/base/random.hpp"
#include "host/crypto/ec_openssl.hpp"
#include "host/pki/openssl_x509.hpp"
#include "host/pki/test_pki.hpp"

namespace kf {
namespace {
using ossl::must;

std::string pem_text(BIO* bio) {
  char* p = nullptr;
  const long n = BIO_get_mem_data(bio, &p);
  return std::string(p, static_cast<std::size_t>(n));
}

ossl::PkeyPtr new_key(Curve c) {
  must(c == Curve::p256 || c == Curve::brainpool_p256r1);  // FRP256v1 has no name in OpenSSL's X.509 code
  EVP_PKEY* raw = nullptr;
  must(EVP_PKEY_generate(ossl::kit_of(c).keygen.get(), &raw) == 1);
  return ossl::PkeyPtr(raw);
}

ossl::PkeyPtr read_key(const std::string& pem) {
  const ossl::BioPtr bio(must(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))));
  // An empty pass phrase: never ask on the terminal.
  ossl::PkeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, const_cast<char*>("")));
  ossl::clear_unless(key != nullptr);
  return key;
}

ossl::X509Ptr read_cert(const std::string& pem) {
  const ossl::BioPtr bio(must(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))));
  return ossl::X509Ptr(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

std::string key_pem(EVP_PKEY* key) {
  const ossl::BioPtr bio(must(BIO_new(BIO_s_secmem())));  // freed memory is wiped
  must(PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return pem_text(bio.get());
}

void set_day(ASN1_TIME* t, Date d, bool end_of_day) {
  const auto secs =
      std::chrono::sys_days(d).time_since_epoch().count() * std::int64_t{86400} + (end_of_day ? 86399 : 0);
  must(ASN1_TIME_set(t, static_cast<std::time_t>(secs)) != nullptr);
}

struct Extension {
  int nid;
  std::string value;
};

void set_name(X509_NAME* n, const std::string& common_name) {
  const auto add = [&](const char* field, const std::string& v) {
    must(X509_NAME_add_entry_by_txt(n, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(v.data()),
                                    static_cast<int>(v.size()), -1, 0) == 1);
  };
  add("O", "Keyferry test PKI");
  add("CN", common_name);
}

// issuer null: self-signed. own_key empty: a new one.
IssuedX509 issue(const std::string& common_name, Curve c, const IssuedX509* issuer, Date from, Date to,
                 const std::vector<Extension>& extensions, const std::string& own_key) {
  const ossl::PkeyPtr key = own_key.empty() ? new_key(c) : read_key(own_key);
  must(key != nullptr);
  const ossl::X509Ptr x(must(X509_new()));
  must(X509_set_version(x.get(), X509_VERSION_3) == 1);
  Bytes serial = random_bytes(16);
  serial[0] = static_cast<std::uint8_t>((serial[0] & 0x3F) | 0x40);  // positive, never shortened
  const ossl::BnPtr number(must(BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr)));
  must(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x.get())) != nullptr);
  set_day(X509_getm_notBefore(x.get()), from, false);
  set_day(X509_getm_notAfter(x.get()), to, true);
  set_name(X509_get_subject_name(x.get()), common_name);
  must(X509_set_pubkey(x.get(), key.get()) == 1);

  ossl::X509Ptr ca;
  ossl::PkeyPtr ca_key;
  if (issuer != nullptr) {
    ca = read_cert(issuer->cert_pem);
    ca_key = read_key(issuer->key_pem);
    must(ca && ca_key);
  }
  X509* const signer = ca ? ca.get() : x.get();
  must(X509_set_issuer_name(x.get(), X509_get_subject_name(signer)) == 1);
  X509V3_CTX ctx;
  std::memset(&ctx, 0, sizeof ctx);
  X509V3_set_ctx(&ctx, signer, x.get(), nullptr, nullptr, 0);
  for (const Extension& e : extensions) {
    const ossl::ExtensionPtr ext(must(X509V3_EXT_conf_nid(nullptr, &ctx, e.nid, e.value.c_str())));
    must(X509_add_ext(x.get(), ext.get(), -1) == 1);
  }
  must(X509_sign(x.get(), ca_key ? ca_key.get() : key.get(), EVP_sha256()) > 0);
  const ossl::BioPtr bio(must(BIO_new(BIO_s_mem())));
  must(PEM_write_bio_X509(bio.get(), x.get()) == 1);
  return {pem_text(bio.get()), key_pem(key.get())};
}

std::vector<Extension> ca_extensions(const std::string& basic, const Oid* oid) {
  // SKI first: the AKI of a self-signed certificate is taken from it.
  std::vector<Extension> e{{NID_subject_key_identifier, "hash"},
                           {NID_authority_key_identifier, "keyid:always"},
                           {NID_basic_constraints, basic},
                           {NID_key_usage, "critical,keyCertSign,cRLSign"}};
  if (oid != nullptr) e.push_back({NID_subject_alt_name, "RID:" + oid->str()});
  return e;
}

bool is_address(const std::string& s) {
  ASN1_OCTET_STRING* const octets = a2i_IPADDRESS(s.c_str());
  ossl::clear_unless(octets != nullptr);
  ASN1_OCTET_STRING_free(octets);
  return octets != nullptr;
}
}  // namespace

IssuedX509 make_ci_root(Curve c, const std::string& common_name, const Oid& oid, Date from, Date to,
                        const std::string& own_key) {
  return issue(common_name, c, nullptr, from, to, ca_extensions("critical,CA:TRUE", &oid), own_key);
}

IssuedX509 make_eum(Curve c, const std::string& common_name, const Oid& oid, const IssuedX509& ci, Date from, Date to,
                    const std::string& own_key) {
  return issue(common_name, c, &ci, from, to, ca_extensions("critical,CA:TRUE,pathlen:0", &oid), own_key);
}

IssuedX509 make_tls_root(const std::string& common_name, Date from, Date to, const std::string& own_key) {
  return issue(common_name, Curve::p256, nullptr, from, to, ca_extensions("critical,CA:TRUE,pathlen:0", nullptr),
               own_key);
}

IssuedX509 make_tls_leaf(const std::string& common_name, const Oid& oid, const std::vector<std::string>& dns_or_ip,
                         const IssuedX509& root, Date from, Date to, const std::string& own_key) {
  std::string names = "RID:" + oid.str();
  for (const std::string& n : dns_or_ip) names += (is_address(n) ? ",IP:" : ",DNS:") + n;
  return issue(common_name, Curve::p256, &root, from, to,
               {{NID_subject_key_identifier, "hash"},
                {NID_authority_key_identifier, "keyid:always"},
                {NID_basic_constraints, "critical,CA:FALSE"},
                {NID_key_usage, "critical,digitalSignature"},
                {NID_ext_key_usage, "serverAuth,clientAuth"},
                {NID_subject_alt_name, names}},
               own_key);
}

Result<PemKey> load_pem_key(const std::string& pem) {
  const ossl::PkeyPtr key = read_key(pem);
  if (!key) return Error{"bad-key", "not a PEM private key"};
  char group[64];
  std::size_t n = 0;
  if (!ossl::clear_unless(
          EVP_PKEY_is_a(key.get(), "EC") == 1 &&
          EVP_PKEY_get_utf8_string_param(key.get(), OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, &n) == 1))
    return Error{"bad-key", "not an elliptic-curve key"};
  PemKey out;
  const std::string_view name(group, n);
  if (name == SN_X9_62_prime256v1)
    out.curve = Curve::p256;
  else if (name == SN_brainpoolP256r1)
    out.curve = Curve::brainpool_p256r1;
  else
    return Error{"unknown-curve", std::string(name)};
  BIGNUM* d = nullptr;
  if (!ossl::clear_unless(EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1))
    return Error{"bad-key", "no private part"};
  const ossl::BnPtr owned(d);
  if (BN_bn2binpad(d, out.d.expose_mut().data(), 32) != 32) return Error{"bad-key", "scalar too long"};
  KF_TRY(out.q, public_of(out.curve, out.d.expose()));
  return out;
}

Result<Signature> sign_with_pem_key(const std::string& key_pem_text, const Digest32& h) {
  KF_TRY(const PemKey k, load_pem_key(key_pem_text));
  return ecdsa_sign(k.curve, k.d.expose(), h);
}
}  // namespace kf
