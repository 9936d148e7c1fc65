#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "host/pki/test_pki.hpp"

namespace kf {
namespace {
namespace fs = std::filesystem;

class TestPki : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/keyferry-pki-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string read(const std::string& name) const {
    std::ifstream in(dir_ + "/" + name, std::ios::binary);
    std::stringstream s;
    s << in.rdbuf();
    return s.str();
  }
  std::map<std::string, std::string> tree() const {
    std::map<std::string, std::string> t;
    for (const auto& e : fs::directory_iterator(dir_)) t[e.path().filename()] = read(e.path().filename());
    return t;
  }
  std::string dir_;
};

struct Loaded {
  explicit Loaded(const std::string& pem) {
    BIO* b = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    x = PEM_read_bio_X509(b, nullptr, nullptr, nullptr);
    BIO_free(b);
  }
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;
  ~Loaded() { X509_free(x); }
  X509* x = nullptr;
};

// OpenSSL's own chain building, as TLS does it.
int verify(X509* leaf, X509* root, int purpose) {
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, root);
  X509_STORE_CTX* ctx = X509_STORE_CTX_new();
  X509_STORE_CTX_init(ctx, store, leaf, nullptr);
  X509_STORE_CTX_set_purpose(ctx, purpose);
  X509_verify_cert(ctx);
  const int error = X509_STORE_CTX_get_error(ctx);
  X509_STORE_CTX_free(ctx);
  X509_STORE_free(store);
  return error;
}

TEST_F(TestPki, FilesAreThereAndKeysArePrivate) {
  ASSERT_TRUE(ensure_test_pki(dir_, Curve::p256, default_parties()).ok());
  for (const char* stem : {"ci-P-256", "eum-P-256", "tls-root", "tls-smdp", "tls-smsr", "tls-operator", "tls-m2m"}) {
    struct stat s {};
    ASSERT_EQ(::stat((dir_ + "/" + stem + ".key").c_str(), &s), 0) << stem;
    EXPECT_EQ(s.st_mode & 0777, 0600U) << stem;
    ASSERT_EQ(::stat((dir_ + "/" + stem + ".pem").c_str(), &s), 0) << stem;
    const auto key = load_pem_key(read(std::string(stem) + ".key"));
    const auto cert = parse_x509(view(read(std::string(stem) + ".pem")));
    ASSERT_TRUE(key.ok() && cert.ok()) << stem;
    EXPECT_EQ(key->q, cert->q) << stem;
  }
  EXPECT_EQ(tree().size(), 14U) << "no temporary files stay behind";
}

TEST_F(TestPki, AgainChangesNothingAndAnotherCurveIsAdded) {
  ASSERT_TRUE(ensure_test_pki(dir_, Curve::p256, default_parties()).ok());
  const auto first = tree();
  ASSERT_TRUE(ensure_test_pki(dir_, Curve::p256, default_parties()).ok());
  EXPECT_EQ(tree(), first);
  ASSERT_TRUE(ensure_test_pki(dir_, Curve::brainpool_p256r1, default_parties()).ok());
  auto both = tree();
  EXPECT_EQ(both.size(), first.size() + 4);
  for (const auto& [name, content] : first) EXPECT_EQ(both[name], content) << name;
  const auto ci = parse_x509(view(both["ci-brainpoolP256r1.pem"]));
  ASSERT_TRUE(ci.ok());
  EXPECT_EQ(ci->curve, Curve::brainpool_p256r1);
}

// A key that is there is kept, whatever has become of its certificate: others may hold something that it signed.
TEST_F(TestPki, ALostCertificateIsIssuedAgainForItsKey) {
  ASSERT_TRUE(ensure_test_pki(dir_, Curve::p256, default_parties()).ok());
  const auto first = tree();
  const std::vector<std::string> lost{"ci-P-256", "eum-P-256", "tls-root", "tls-smsr"};
  for (const std::string& stem : lost) fs::remove(dir_ + "/" + stem + ".pem");
  std::vector<TestPkiFile> made;
  const TestPkiHosts hosts{{"smdp.example"}, {"sr.example", "192.0.2.7", "2001:db8::7"}, {}};
  ASSERT_TRUE(ensure_test_pki(dir_, Curve::p256, default_parties(), hosts, &made).ok());
  EXPECT_EQ(made.size(), lost.size());
  const auto after = tree();
  EXPECT_EQ(after.size(), first.size());
  for (const auto& [name, content] : first) {
    const bool again = std::ranges::find(lost, fs::path(name).stem().string()) != lost.end() && name.ends_with(".pem");
    EXPECT_EQ(after.at(name) == content, !again) << name;
  }
  for (const TestPkiFile& m : made) EXPECT_FALSE(m.new_key) << m.path;
  const Loaded root(read("tls-root.pem"));
  for (const char* stem : {"tls-smsr", "tls-operator"})
    EXPECT_EQ(verify(Loaded(read(std::string(stem) + ".pem")).x, root.x, X509_PURPOSE_SSL_SERVER), X509_V_OK) << stem;
  const Loaded smsr(read("tls-smsr.pem"));
  EXPECT_EQ(X509_check_host(smsr.x, "sr.example", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(smsr.x, "smdp.example", 0, 0, nullptr), 0);
  EXPECT_EQ(X509_check_ip_asc(smsr.x, "192.0.2.7", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(smsr.x, "2001:db8::7", 0), 1);
  fs::remove(dir_ + "/tls-smsr.pem");
  std::ofstream(dir_ + "/tls-smsr.key") << "no key";
  EXPECT_EQ(ensure_test_pki(dir_, Curve::p256, default_parties()).error().reason, "bad-key");
}

TEST_F(TestPki, TlsLeafsServeAndCallAndNameTheirParty) {
  ASSERT_TRUE(ensure_test_pki(dir_, Curve::brainpool_p256r1, default_parties()).ok());
  const Loaded root(read("tls-root.pem"));
  for (const auto& [stem, oid] : std::map<std::string, std::string>{
           {"tls-operator", "2.999.10"}, {"tls-smdp", "2.999.20"}, {"tls-smsr", "2.999.30"}, {"tls-m2m", "2.999.50"}}) {
    const Loaded leaf(read(stem + ".pem"));
    EXPECT_EQ(verify(leaf.x, root.x, X509_PURPOSE_SSL_SERVER), X509_V_OK) << stem;
    EXPECT_EQ(verify(leaf.x, root.x, X509_PURPOSE_SSL_CLIENT), X509_V_OK) << stem;
    EXPECT_EQ(X509_check_host(leaf.x, "localhost", 0, 0, nullptr), 1);
    EXPECT_EQ(X509_check_host(leaf.x, "example.org", 0, 0, nullptr), 0);
    EXPECT_EQ(X509_check_ip_asc(leaf.x, "127.0.0.1", 0), 1);
    EXPECT_EQ(X509_check_ip_asc(leaf.x, "::1", 0), 1);
    GENERAL_NAMES* names =
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(leaf.x, NID_subject_alt_name, nullptr, nullptr));
    std::string rid;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
      const GENERAL_NAME* n = sk_GENERAL_NAME_value(names, i);
      char text[64];
      if (n->type == GEN_RID && OBJ_obj2txt(text, sizeof text, n->d.registeredID, 1) > 0) rid = text;
    }
    GENERAL_NAMES_free(names);
    EXPECT_EQ(rid, oid);
  }
  const Loaded ci(read("ci-brainpoolP256r1.pem"));
  const Loaded smdp(read("tls-smdp.pem"));
  EXPECT_NE(verify(smdp.x, ci.x, X509_PURPOSE_SSL_SERVER), X509_V_OK) << "the CI is no TLS root";
}

TEST_F(TestPki, CertDpIsIssuedUnderTheCi) {
  for (const Curve c : {Curve::p256, Curve::brainpool_p256r1}) {
    ASSERT_TRUE(ensure_test_pki(dir_, c, default_parties()).ok());
    const KeyPair dp = generate_key_pair(c);
    const auto cert = issue_cert_dp(dir_, c, dp.q, default_parties().smdp);
    ASSERT_TRUE(cert.ok()) << cert.error().text();
    EXPECT_LE(cert->size(), 250U) << "one STORE DATA block holds it: docs/spec/crypto.md A2";
    const auto parsed = parse_gp_certificate(*cert);
    ASSERT_TRUE(parsed.ok());
    const auto ci = parse_x509(view(read("ci-" + std::string(curve_name(c)) + ".pem")));
    ASSERT_TRUE(ci.ok());
    EXPECT_TRUE(verify_gp_certificate(*parsed, GpRole::dp, issuer_of(*ci), today_utc(), std::nullopt).ok());
    EXPECT_EQ(parsed->q, dp.q);
    EXPECT_EQ(to_hex(parsed->subject), to_hex(oid_octets(Oid::trusted("2.999.20"))));
    EXPECT_EQ(to_hex(parsed->ca_id), to_hex(oid_octets(Oid::trusted("2.999.60"))));
    Point off = dp.q;
    off[64] ^= 1;
    EXPECT_EQ(issue_cert_dp(dir_, c, off, default_parties().smdp).error().reason, "bad-point");
  }
  EXPECT_EQ(issue_cert_dp(dir_ + "/nowhere", Curve::p256, {}, default_parties().smdp).error().reason, "pki-file");
}

TEST_F(TestPki, DamageIsNamedAndNotPaperedOver) {
  ASSERT_TRUE(ensure_test_pki(dir_, Curve::p256, default_parties()).ok());
  fs::remove(dir_ + "/tls-smsr.key");
  auto s = ensure_test_pki(dir_, Curve::p256, default_parties());
  EXPECT_EQ(s.error().reason, "pki-incomplete");
  EXPECT_NE(s.error().detail.find("tls-smsr.key"), std::string::npos);
  fs::remove(dir_ + "/tls-smsr.pem");
  EXPECT_TRUE(ensure_test_pki(dir_, Curve::p256, default_parties()).ok());
  fs::remove(dir_ + "/ci-P-256.pem");
  fs::remove(dir_ + "/ci-P-256.key");
  EXPECT_EQ(ensure_test_pki(dir_, Curve::p256, default_parties()).error().reason, "pki-mismatch");
  std::ofstream(dir_ + "/ci-P-256.pem") << "not a certificate";
  EXPECT_EQ(ensure_test_pki(dir_, Curve::p256, default_parties()).error().reason, "bad-x509");
  EXPECT_EQ(ensure_test_pki(dir_, Curve::frp256v1, default_parties()).error().reason, "unknown-curve");
  std::ofstream(dir_ + "/file") << "x";
  EXPECT_EQ(ensure_test_pki(dir_ + "/file/below", Curve::p256, default_parties()).error().reason, "pki-file");
}

TEST(PemKey, SignsAndRefusesWhatIsNoKey) {
  const IssuedX509 ci =
      make_ci_root(Curve::brainpool_p256r1, "CI", Oid::trusted("2.999.60"), today_utc(), add_days(today_utc(), 10));
  const auto info = parse_x509(view(ci.cert_pem));
  ASSERT_TRUE(info.ok());
  const Digest32 h = sha256(view("message"));
  const auto s = sign_with_pem_key(ci.key_pem, h);
  ASSERT_TRUE(s.ok());
  EXPECT_TRUE(ecdsa_verify(Curve::brainpool_p256r1, info->q, h, *s));
  for (const std::string& bad : {std::string(), std::string("x"), ci.cert_pem})
    EXPECT_EQ(load_pem_key(bad).error().reason, "bad-key");
}

}  // namespace
}  // namespace kf
