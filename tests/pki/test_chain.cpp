#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "host/pki/test_pki.hpp"
#include "tests/pki/fixtures.hpp"

namespace kf {
namespace {
using test::day;
using test::kEid;

X509Info info(const IssuedX509& x) {
  auto r = parse_x509(view(x.cert_pem));
  if (!r) ADD_FAILURE() << r.error().text();
  return r ? *r : X509Info{};
}

struct Chain {
  Curve curve;
  IssuedX509 ci, eum;
  explicit Chain(Curve c = Curve::p256)
      : curve(c),
        ci(make_ci_root(c, "CI", Oid::trusted("2.999.60"), day("2020-01-01"), day("2050-01-01"))),
        eum(make_eum(c, "EUM", Oid::trusted("2.999.40"), ci, day("2022-01-01"), day("2040-01-01"))) {}
  [[nodiscard]] std::vector<X509Info> roots() const { return {info(ci)}; }
  [[nodiscard]] Bytes ecasd(Curve c) const {
    GpTemplate t;
    t.serial = hex("01");
    t.ca_id = hex("02");
    t.subject = eid_octets(kEid);
    t.key_usage = hex("0080");
    t.expiry = day("2035-12-31");
    t.aki = info(eum).ski;
    t.curve = c;
    t.q = generate_key_pair(c).q;
    return issue_gp_certificate(t, [&](const Digest32& h) { return *sign_with_pem_key(eum.key_pem, h); });
  }
};

TEST(X509, DerAndPemGiveTheSame) {
  const Chain c;
  const X509Info pem = info(c.eum);
  const auto der = parse_x509(pem.der);
  ASSERT_TRUE(der.ok());
  EXPECT_EQ(der->der, pem.der);
  EXPECT_EQ(der->q, pem.q);
  EXPECT_EQ(der->ski, pem.ski);
  EXPECT_EQ(pem.aki, info(c.ci).ski);
  EXPECT_EQ(pem.issuer_der, info(c.ci).subject_der);
  EXPECT_TRUE(pem.is_ca);
  EXPECT_TRUE(pem.key_cert_sign);
  EXPECT_TRUE(pem.ecdsa_sha256);
  EXPECT_NE(pem.subject.find("EUM"), std::string::npos);
  EXPECT_EQ(pem.not_before, 1640995200);  // 2022-01-01T00:00:00Z
  EXPECT_EQ(pem.ski.size(), 20U);
}

TEST(X509, GarbageIsRefusedWithoutAMarkInTheErrorQueue) {
  const Chain c;
  const X509Info eum = info(c.eum);
  std::vector<Bytes> bad{{},
                         hex("30"),
                         hex("3000"),
                         Bytes(100, 0x30),
                         to_bytes(view("-----BEGIN CERTIFICATE-----\nAAAA\n")),
                         to_bytes(view(c.eum.key_pem)),
                         concat(eum.der, hex("00"))};
  for (std::size_t n = 1; n < eum.der.size(); n += 7) bad.push_back(to_bytes(ByteView(eum.der).first(n)));
  for (const Bytes& b : bad) {
    const auto r = parse_x509(b);
    ASSERT_FALSE(r.ok());
    EXPECT_EQ(r.error().reason, "bad-x509") << to_hex(ByteView(b).first(std::min<std::size_t>(8, b.size())));
  }
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST(X509, ForeignKeysAndPointsAreNamed) {
  const Chain c;
  const X509Info eum = info(c.eum);
  Bytes off = eum.der;
  const auto at = std::search(off.begin(), off.end(), eum.q.begin(), eum.q.end());
  ASSERT_NE(at, off.end());
  *(at + 64) ^= 1;
  EXPECT_EQ(parse_x509(off).error().reason, "bad-point");
  const Bytes p256 = hex("2A8648CE3D030107");
  Bytes other = eum.der;
  *(std::search(other.begin(), other.end(), p256.begin(), p256.end()) + 7) = 0x06;
  EXPECT_EQ(parse_x509(other).error().reason, "unknown-curve");

  EVP_PKEY* rsa = EVP_RSA_gen(2048);
  X509* x = X509_new();
  X509_set_pubkey(x, rsa);
  X509_gmtime_adj(X509_getm_notBefore(x), 0);
  X509_gmtime_adj(X509_getm_notAfter(x), 1000);
  ASSERT_GT(X509_sign(x, rsa, EVP_sha256()), 0);
  unsigned char* der = nullptr;
  const int n = i2d_X509(x, &der);
  EXPECT_EQ(parse_x509(ByteView(der, static_cast<std::size_t>(n))).error().reason, "unknown-curve");
  OPENSSL_free(der);
  X509_free(x);
  EVP_PKEY_free(rsa);
}

TEST(Chain, GoodOnBothCurves) {
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1}) {
    const Chain c(curve);
    const auto cert = verify_ecasd_chain(c.ecasd(curve), info(c.eum), c.roots(), day("2026-03-02"), kEid);
    ASSERT_TRUE(cert.ok()) << cert.error().text();
    EXPECT_EQ(cert->subject, eid_octets(kEid));
  }
}

TEST(Chain, TheRightRootIsFoundAmongSeveral) {
  const Chain c;
  const Chain other;
  std::vector<X509Info> roots{info(other.ci), info(Chain(Curve::brainpool_p256r1).ci), info(c.ci)};
  // `other` has the same names: only the key identifier tells the roots apart.
  EXPECT_TRUE(verify_eum(info(c.eum), roots, day("2026-03-02")).ok());
  roots.pop_back();
  EXPECT_EQ(verify_eum(info(c.eum), roots, day("2026-03-02")).error().reason, "bad-aki");
  EXPECT_EQ(verify_eum(info(c.eum), {}, day("2026-03-02")).error().reason, "untrusted-root");
}

TEST(Chain, EachFailingCheckHasItsReason) {
  const Chain c;
  const Date today = day("2026-03-02");
  const auto reason = [&](auto&& change) {
    X509Info eum = info(c.eum);
    std::vector<X509Info> roots = c.roots();
    change(eum, roots[0]);
    return verify_eum(eum, roots, today).error().reason;
  };
  EXPECT_EQ(reason([](X509Info& e, X509Info&) { e.issuer_der.back() ^= 1; }), "bad-issuer");
  EXPECT_EQ(reason([](X509Info& e, X509Info&) { e.aki.clear(); }), "bad-aki");
  EXPECT_EQ(reason([](X509Info& e, X509Info&) { e.aki[0] ^= 1; }), "bad-aki");
  EXPECT_EQ(reason([](X509Info& e, X509Info&) { e.is_ca = false; }), "not-ca");
  EXPECT_EQ(reason([](X509Info&, X509Info& r) { r.is_ca = false; }), "not-ca");
  EXPECT_EQ(reason([](X509Info& e, X509Info&) { e.key_cert_sign = false; }), "bad-usage");
  EXPECT_EQ(reason([](X509Info& e, X509Info&) { e.ecdsa_sha256 = false; }), "bad-signature");
  EXPECT_EQ(reason([](X509Info& e, X509Info&) { e.tbs[20] ^= 1; }), "bad-signature");
  EXPECT_EQ(reason([](X509Info& e, X509Info&) { e.signature_der.pop_back(); }), "bad-signature");
  EXPECT_EQ(reason([](X509Info& e, X509Info&) { e.curve = Curve::brainpool_p256r1; }), "bad-curve");
}

TEST(Chain, AClientCertificateIsNoEum) {
  const Chain c;
  const IssuedX509 leaf =
      make_tls_leaf("leaf", Oid::trusted("2.999.20"), {"localhost"}, c.ci, day("2022-01-01"), day("2040-01-01"));
  EXPECT_EQ(verify_eum(info(leaf), c.roots(), day("2026-03-02")).error().reason, "not-ca");
}

TEST(Chain, ADayCountsFromMidnightToMidnight) {
  const Chain c;
  const X509Info eum = info(c.eum);
  EXPECT_EQ(verify_eum(eum, c.roots(), day("2021-12-31")).error().reason, "not-yet-valid");
  EXPECT_TRUE(verify_eum(eum, c.roots(), day("2022-01-01")).ok());
  EXPECT_TRUE(verify_eum(eum, c.roots(), day("2040-01-01")).ok());
  EXPECT_EQ(verify_eum(eum, c.roots(), day("2040-01-02")).error().reason, "expired");
}

TEST(Chain, EumFailuresArePrefixedOthersAreNot) {
  const Chain c;
  const Bytes cert = c.ecasd(Curve::p256);
  const auto reason = [&](ByteView e, Date d, const Eid& eid) {
    return verify_ecasd_chain(e, info(c.eum), c.roots(), d, eid).error().reason;
  };
  EXPECT_EQ(reason(cert, day("2041-01-01"), kEid), "eum:expired");
  EXPECT_EQ(reason(cert, day("2036-01-01"), kEid), "expired");
  EXPECT_EQ(reason(cert, day("2026-03-02"), Eid::trusted("89001012012341234012345678901225")), "wrong-subject");
  Bytes flipped = cert;
  flipped.back() ^= 1;
  EXPECT_EQ(reason(flipped, day("2026-03-02"), kEid), "bad-signature");
  EXPECT_EQ(reason(c.ecasd(Curve::brainpool_p256r1), day("2026-03-02"), kEid), "bad-curve");
  EXPECT_EQ(verify_ecasd_chain(cert, info(c.eum), {}, day("2026-03-02"), kEid).error().reason, "eum:untrusted-root");
}

TEST(EumCache, OneCheckADayAndNothingBadIsRemembered) {
  const Chain c;
  EumCache cache;
  const X509Info eum = info(c.eum);
  ASSERT_TRUE(verify_eum_cached(cache, eum, c.roots(), day("2026-03-02")).ok());
  EXPECT_EQ(cache.verified.size(), 1U);
  // The same day the roots are not looked at again: the answer comes from the cache.
  EXPECT_TRUE(verify_eum_cached(cache, eum, {}, day("2026-03-02")).ok());
  EXPECT_EQ(verify_eum_cached(cache, eum, {}, day("2026-03-03")).error().reason, "untrusted-root");
  EXPECT_EQ(verify_eum_cached(cache, eum, c.roots(), day("2041-01-01")).error().reason, "expired");
  const Chain other;
  EXPECT_FALSE(verify_eum_cached(cache, info(other.eum), c.roots(), day("2026-03-02")).ok());
  EXPECT_EQ(cache.verified.size(), 1U);
  X509Info many = eum;
  for (int i = 0; i < 1000; ++i) {
    many.der = concat(eum.der, Bytes{static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)});
    cache.verified.emplace(to_bytes(sha256(many.der)), day("2026-03-02"));
  }
  ASSERT_TRUE(verify_eum_cached(cache, eum, c.roots(), day("2026-03-04")).ok());
  EXPECT_LE(cache.verified.size(), 256U);
}

}  // namespace
}  // namespace kf
