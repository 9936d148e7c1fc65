#include <gtest/gtest.h>
#include <openssl/err.h>

#include <algorithm>
#include <thread>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"

namespace kf {
namespace {

class EachCurve : public testing::TestWithParam<Curve> {};
INSTANTIATE_TEST_SUITE_P(Curves, EachCurve, testing::Values(Curve::p256, Curve::brainpool_p256r1, Curve::frp256v1),
                         [](const auto& p) {
                           std::string n(curve_name(p.param));
                           std::erase(n, '-');
                           return n;
                         });

Digest32 random_digest() {
  Digest32 h{};
  random_fill(h);
  return h;
}

TEST(Curves, NamesAndF0ValuesAreThoseOfTheReference) {
  EXPECT_EQ(curve_by_name("P-256"), Curve::p256);
  EXPECT_EQ(curve_by_f0(0x00), Curve::p256);
  EXPECT_EQ(curve_by_f0(0x03), Curve::brainpool_p256r1);
  EXPECT_EQ(curve_by_f0(0x40), Curve::frp256v1);
  EXPECT_EQ(curve_by_name("p-256"), std::nullopt);
  for (const int f0 : {0x01, 0x02, 0x04, 0x05, 0x08, 0xFF})
    EXPECT_EQ(curve_by_f0(static_cast<std::uint8_t>(f0)), std::nullopt);
}

TEST_P(EachCurve, WhatIsSignedVerifiesUnderItsKeyAndDigestOnly) {
  const KeyPair a = generate_key_pair(GetParam());
  const KeyPair b = generate_key_pair(GetParam());
  ASSERT_NE(a.q, b.q);
  for (int i = 0; i < 8; ++i) {
    const Digest32 h = random_digest();
    const Signature s =
        i % 2 == 0 ? ecdsa_sign(GetParam(), a.d.expose(), h) : ecdsa_sign_rfc6979(GetParam(), a.d.expose(), h);
    // Keys alternate: the public key of an earlier call must not linger in the per-thread objects.
    EXPECT_TRUE(ecdsa_verify(GetParam(), a.q, h, s));
    EXPECT_FALSE(ecdsa_verify(GetParam(), b.q, h, s));
    EXPECT_FALSE(ecdsa_verify(GetParam(), a.q, random_digest(), s));
    EXPECT_TRUE(ecdsa_verify(GetParam(), a.q, h, s));
  }
}

TEST_P(EachCurve, RandomSignaturesDifferDeterministicOnesDoNot) {
  const KeyPair k = generate_key_pair(GetParam());
  const Digest32 h = random_digest();
  EXPECT_NE(ecdsa_sign(GetParam(), k.d.expose(), h), ecdsa_sign(GetParam(), k.d.expose(), h));
  EXPECT_EQ(ecdsa_sign_rfc6979(GetParam(), k.d.expose(), h), ecdsa_sign_rfc6979(GetParam(), k.d.expose(), h));
}

TEST_P(EachCurve, VerifyRefusesAKeyOffTheCurveAndGoesOnWorking) {
  const KeyPair k = generate_key_pair(GetParam());
  const Digest32 h = random_digest();
  const Signature s = ecdsa_sign(GetParam(), k.d.expose(), h);
  Point bad = k.q;
  bad[64] ^= 1;
  EXPECT_FALSE(ecdsa_verify(GetParam(), bad, h, s));
  EXPECT_TRUE(ecdsa_verify(GetParam(), k.q, h, s));
  EXPECT_EQ(ERR_peek_error(), 0U) << "a refusal left its error in the queue that TLS reads";
}

TEST_P(EachCurve, BothEndsAgreeAndLeadingZerosAreKept) {
  const KeyPair mine = generate_key_pair(GetParam());
  const int most = GetParam() == Curve::p256 ? 4000 : 24;
  bool zero_seen = false;
  for (int i = 0; i < most && !(zero_seen && i >= 8); ++i) {
    const KeyPair theirs = generate_key_pair(GetParam());
    const auto a = ecka(GetParam(), mine.d.expose(), theirs.q);
    ASSERT_TRUE(a.ok());
    zero_seen = zero_seen || a->expose()[0] == 0;
    if (i >= 8 && a->expose()[0] != 0) continue;
    const auto b = ecka(GetParam(), theirs.d.expose(), mine.q);
    ASSERT_TRUE(b.ok());
    EXPECT_TRUE(std::ranges::equal(a->expose(), b->expose()));
  }
  EXPECT_TRUE(zero_seen || GetParam() != Curve::p256) << "4000 secrets without a leading zero byte: 1 in 6 million";
}

TEST_P(EachCurve, PublicKeyOfAGeneratedPairIsItsPoint) {
  const KeyPair k = generate_key_pair(GetParam());
  const auto q = public_of(GetParam(), k.d.expose());
  ASSERT_TRUE(q.ok());
  EXPECT_EQ(*q, k.q);
  EXPECT_TRUE(check_point(GetParam(), k.q).ok());
}

TEST_P(EachCurve, EveryBitOfAPointMatters) {
  const KeyPair k = generate_key_pair(GetParam());
  for (std::size_t bit = 0; bit < 65 * 8; ++bit) {
    Point p = k.q;
    p[bit / 8] = static_cast<std::uint8_t>(p[bit / 8] ^ (0x80 >> (bit % 8)));
    const auto r = check_point(GetParam(), p);
    ASSERT_FALSE(r.ok()) << "bit " << bit;
    EXPECT_EQ(r.error().reason, "bad-point");
  }
  for (std::size_t n = 0; n < 65; ++n) EXPECT_FALSE(check_point(GetParam(), ByteView(k.q).first(n)).ok());
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST_P(EachCurve, ScalarsOutsideOneToNMinusOneAreRefused) {
  const Point q = generate_key_pair(GetParam()).q;
  for (const Bytes& d : {Bytes(32, 0x00), Bytes(32, 0xFF), Bytes(31, 0x01), Bytes(33, 0x01), Bytes{}}) {
    EXPECT_EQ(ecka(GetParam(), d, q).error().reason, "bad-scalar");
    EXPECT_EQ(public_of(GetParam(), d).error().reason, "bad-scalar");
  }
}

TEST(Der, RoundTripKeepsShortIntegers) {
  for (const char* plain : {"00", "01", "7F", "80", "FF"}) {
    Signature s{};
    s[31] = hex(plain)[0];
    s[32] = 0x80;
    const auto der = signature_to_der(s);
    ASSERT_TRUE(der.ok());
    const auto back = signature_from_der(*der);
    ASSERT_TRUE(back.ok()) << plain;
    EXPECT_EQ(*back, s);
  }
  EXPECT_FALSE(signature_to_der(Bytes(63)).ok());
}

TEST(Der, OnlyTheOneEncodingIsTaken) {
  ASSERT_TRUE(signature_from_der(hex("3006020101020102")).ok());
  for (const char* bad : {"", "30", "3006020101020102FF", "300602010102010200", "3106020101020102", "3007020101020102",
                          "300702020001020102",  // 0001: not minimal
                          "3006020181020102",    // negative
                          "3006030101020102", "30050201010201", "3003020101", "30080201010201020500", "300402000200",
                          "308106020101020102", "3080020101020102"})
    EXPECT_FALSE(signature_from_der(hex(bad)).ok()) << bad;
  // r of 33 bytes: 2^256 does not fit any curve here.
  EXPECT_FALSE(signature_from_der(concat(hex("3026022101"), Bytes(32), hex("020101"))).ok());
}

TEST(Threads, VerificationsOnAllCurvesAtOnce) {
  std::vector<std::thread> threads;
  std::array<int, 4> wrong{};
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([t, &wrong] {
      for (int i = 0; i < 10; ++i)
        for (const Curve c : {Curve::p256, Curve::brainpool_p256r1, Curve::frp256v1}) {
          const KeyPair k = generate_key_pair(c);
          const Digest32 h = sha256(k.q);
          const Signature s = ecdsa_sign(c, k.d.expose(), h);
          Digest32 other = h;
          other[0] ^= 1;
          wrong[t] += ecdsa_verify(c, k.q, h, s) ? 0 : 1;
          wrong[t] += ecdsa_verify(c, k.q, other, s) ? 1 : 0;
        }
    });
  }
  for (std::thread& t : threads) t.join();
  for (const int w : wrong) EXPECT_EQ(w, 0);
}

}  // namespace
}  // namespace kf
