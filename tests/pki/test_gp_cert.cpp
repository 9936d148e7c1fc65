#include <gtest/gtest.h>

#include "host/base/tlv.hpp"
#include "host/pki/gp_cert.hpp"
#include "tests/pki/fixtures.hpp"

namespace kf {
namespace {
using test::day;
using test::kEid;

struct Issued {
  test::Authority ca;
  KeyPair subject;
  GpTemplate t;
  Bytes encoded;
  explicit Issued(Curve c = Curve::p256) : ca(c), subject(generate_key_pair(c)) {
    t.serial = hex("0102");
    t.ca_id = hex("883703");
    t.subject = hex("89001012012341234012345678901224");
    t.key_usage = hex("0080");
    t.expiry = day("2041-12-31");
    t.aki = ca.ski;
    t.curve = c;
    t.q = subject.q;
  }
  const Bytes& issue() { return encoded = issue_gp_certificate(t, ca.signer()); }
};

TEST(GpCertificate, WhatIsIssuedParsesAndVerifies) {
  for (const Curve c : {Curve::p256, Curve::brainpool_p256r1, Curve::frp256v1}) {
    Issued x(c);
    x.t.effective = day("2024-01-31");
    x.t.cin = hex("01");
    const auto cert = parse_gp_certificate(x.issue());
    ASSERT_TRUE(cert.ok()) << cert.error().text();
    EXPECT_EQ(cert->serial, x.t.serial);
    EXPECT_EQ(cert->ca_id, x.t.ca_id);
    EXPECT_EQ(cert->subject, x.t.subject);
    EXPECT_EQ(cert->effective, x.t.effective);
    EXPECT_EQ(cert->expiry, x.t.expiry);
    EXPECT_EQ(cert->cin, x.t.cin);
    EXPECT_EQ(cert->aki, x.t.aki);
    EXPECT_EQ(cert->type, std::nullopt);
    EXPECT_EQ(cert->curve, c);
    EXPECT_EQ(cert->q, x.subject.q);
    EXPECT_EQ(cert->encoded, x.encoded);
    EXPECT_TRUE(verify_gp_certificate(*cert, GpRole::ecasd, x.ca.issuer(), day("2026-06-15"), kEid).ok());
  }
}

TEST(GpCertificate, CheckLeavesOnlyTheSignatureOpen) {
  Issued x;
  Bytes changed = x.issue();
  changed.back() ^= 1;
  const auto cert = parse_gp_certificate(changed);
  ASSERT_TRUE(cert.ok());
  EXPECT_TRUE(check_gp_certificate(*cert, GpRole::ecasd, x.ca.issuer(), day("2026-06-15"), kEid).ok());
  EXPECT_EQ(verify_gp_certificate(*cert, GpRole::ecasd, x.ca.issuer(), day("2026-06-15"), kEid).error().reason,
            "bad-signature");
}

TEST(GpCertificate, OldCertificatesWithoutC9AreTakenFromAnSmDpOnly) {
  Issued x;
  x.t.key_usage = hex("82");  // docs/spec/crypto.md A8: accepted beside 88
  x.t.type = 0x01;
  x.t.aki.clear();
  const auto dp = parse_gp_certificate(x.issue());
  ASSERT_TRUE(dp.ok());
  EXPECT_TRUE(verify_gp_certificate(*dp, GpRole::dp, x.ca.issuer(), day("2026-06-15"), std::nullopt).ok());
  x.t.key_usage = hex("0080");
  x.t.type.reset();
  const auto ecasd = parse_gp_certificate(x.issue());
  ASSERT_TRUE(ecasd.ok());
  EXPECT_EQ(verify_gp_certificate(*ecasd, GpRole::ecasd, x.ca.issuer(), day("2026-06-15"), kEid).error().reason,
            "bad-aki");
}

TEST(GpCertificate, UsageIsComparedWhole) {
  for (const char* usage : {"88", "80", "00", "008000", "8000", "0081"}) {
    Issued x;
    x.t.key_usage = hex(usage);
    const auto cert = parse_gp_certificate(x.issue());
    if (!cert) continue;  // three bytes: refused earlier
    EXPECT_EQ(check_gp_certificate(*cert, GpRole::ecasd, x.ca.issuer(), day("2026-06-15"), kEid).error().reason,
              "bad-usage")
        << usage;
  }
}

TEST(GpCertificate, NoChangedBitSurvives) {
  Issued x;
  x.t.effective = day("2024-01-31");
  const Bytes good = x.issue();
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes changed = good;
    changed[bit / 8] = static_cast<std::uint8_t>(changed[bit / 8] ^ (0x80 >> (bit % 8)));
    const auto cert = parse_gp_certificate(changed);
    if (!cert) continue;
    EXPECT_FALSE(verify_gp_certificate(*cert, GpRole::ecasd, x.ca.issuer(), day("2026-06-15"), kEid).ok())
        << "bit " << bit;
  }
}

TEST(GpCertificate, EveryTruncationIsRefused) {
  Issued x;
  const Bytes good = x.issue();
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(parse_gp_certificate(ByteView(good).first(n)).ok()) << n;
}

TEST(GpCertificate, UnknownTlvsInsideTheDiscretionaryDataAreKept) {
  Issued x;
  const auto cert = parse_gp_certificate(x.issue());
  ASSERT_TRUE(cert.ok());
  // Rebuilt with a further TLV in 73 and signed again.
  const auto tlvs = read_tlvs(read_tlvs(x.encoded)->front().value);
  Bytes body;
  for (const Tlv& t : *tlvs) {
    if (t.tag == 0x5F37) continue;
    if (t.tag == 0x73)
      append_tlv(body, 0x73, concat(hex("C003010203"), t.value));
    else
      append(body, t.whole);
  }
  append_tlv(body, 0x5F37, x.ca.signer()(sha256(body)));
  const auto more = parse_gp_certificate(make_tlv(0x7F21, body));
  ASSERT_TRUE(more.ok()) << more.error().text();
  EXPECT_EQ(more->aki, cert->aki);
  EXPECT_EQ(to_hex(*more->discretionary).substr(0, 10), "C003010203");
  EXPECT_TRUE(verify_gp_certificate(*more, GpRole::ecasd, x.ca.issuer(), day("2026-06-15"), kEid).ok());
}

}  // namespace
}  // namespace kf
