#include <gtest/gtest.h>

#include "host/base/random.hpp"
#include "host/base/tlv.hpp"
#include "host/crypto/symmetric.hpp"
#include "host/es8/establishment.hpp"

namespace kf::es8 {
namespace {

CardAnswer r_apdu(std::string_view data_and_sw) {
  const Bytes v = hex(data_and_sw);
  return {0x23, v, make_tlv(0x23, v)};
}
std::vector<CardAnswer> answers(std::initializer_list<std::string_view> list) {
  std::vector<CardAnswer> out;
  for (const auto a : list) out.push_back(r_apdu(a));
  return out;
}
const std::string kRc = "00112233445566778899AABBCCDDEEFF";

TEST(Plan, OnlyWhatTheTemplateAllows) {
  const auto with = [](auto&& change) {
    KeySetPlan p;
    change(p);
    return check_plan(p).ok();
  };
  EXPECT_TRUE(with([](KeySetPlan&) {}));
  for (const std::uint8_t ok : {0x08, 0x09, 0x0A, 0x0B})
    EXPECT_TRUE(with([&](KeySetPlan& p) { p.scenario_param = ok; }));
  for (const std::uint8_t bad : {0x00, 0x03, 0x1B, 0x8B, 0xFF})
    EXPECT_FALSE(with([&](KeySetPlan& p) { p.scenario_param = bad; }));
  EXPECT_TRUE(with([](KeySetPlan& p) { p.key_usage = 0x5C; }));
  EXPECT_FALSE(with([](KeySetPlan& p) { p.key_usage = 0x00; }));
  for (const std::uint8_t ok : {16, 24, 32}) EXPECT_TRUE(with([&](KeySetPlan& p) { p.key_length = ok; }));
  for (const std::uint8_t bad : {0, 8, 17, 64}) EXPECT_FALSE(with([&](KeySetPlan& p) { p.key_length = bad; }));
  for (const std::uint8_t bad : {0x00, 0x03, 0x2F, 0x40}) EXPECT_FALSE(with([&](KeySetPlan& p) { p.kvn = bad; }));
  EXPECT_FALSE(with([](KeySetPlan& p) { p.kid = 0; }));
  const auto ids = [](KeySetPlan& p) {
    p.scenario_param = 0x0F;
    p.host_id = Bytes(16);
    p.sin = Bytes(1);
    p.sdin = Bytes(16);
  };
  EXPECT_TRUE(with(ids));
  EXPECT_FALSE(with([&](KeySetPlan& p) {
    ids(p);
    p.host_id.clear();
  }));
  EXPECT_FALSE(with([&](KeySetPlan& p) {
    ids(p);
    p.sin.resize(17);
  }));
  EXPECT_FALSE(with([&](KeySetPlan& p) {
    ids(p);
    p.sdin.clear();
  }));
}

TEST(StoreData, ALongCertificateGoesInBlocksAndTheCountGoesOn) {
  for (const std::size_t n : {1, 100, 250, 251, 252, 255, 260, 505, 506, 600, 1000}) {
    const Bytes cert = random_bytes(n);
    const auto blocks = store_data_certificate(cert);
    Bytes joined;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const Bytes& b = blocks[i];
      const bool last = i + 1 == blocks.size();
      EXPECT_EQ(to_hex(ByteView(b).first(4)), "80E209" + to_hex(Bytes{static_cast<std::uint8_t>(i)}));
      EXPECT_EQ(b.size(), 5U + b[4] + (last ? 1U : 0U)) << "Le on the last block only";
      EXPECT_TRUE(last || b[4] == 255);
      EXPECT_GT(b[4], 0);
      append(joined, ByteView(b).subspan(5, b[4]));
    }
    ByteView in = joined;
    const auto d = read_dgi(in);
    ASSERT_TRUE(d.ok());
    EXPECT_EQ(d->id, 0x3A01);
    EXPECT_EQ(to_hex(d->value), to_hex(cert));
    EXPECT_TRUE(in.empty());
    const auto key = store_data_key(Bytes(23), Bytes(65), Bytes(64), static_cast<std::uint8_t>(blocks.size()));
    ASSERT_EQ(key.size(), 1U);
    EXPECT_EQ(key[0][2], 0x89);
    EXPECT_EQ(key[0][3], blocks.size());
  }
}

TEST(StoreData, ALongKeyCommandIsCutToo) {
  const auto blocks = store_data_key(Bytes(180), Bytes(65), Bytes(64), 2);
  ASSERT_EQ(blocks.size(), 2U);
  EXPECT_EQ(to_hex(ByteView(blocks[0]).first(5)), "80E20902FF");
  EXPECT_EQ(to_hex(ByteView(blocks[1]).first(4)), "80E28903");
}

TEST(RcOf, ReadsSixteenAndThirtyTwoBytes) {
  EXPECT_EQ(to_hex(*rc_of(answers({"009000", "8510" + kRc + "9000"}), 2)), kRc);
  EXPECT_EQ(to_hex(*rc_of(answers({"9000", "8520" + kRc + kRc + "9000"}), 2)), kRc + kRc);
}

TEST(RcOf, EachFaultHasItsReason) {
  const auto reason = [](std::vector<CardAnswer> a, std::size_t n = 2) { return rc_of(a, n).error().reason; };
  EXPECT_EQ(reason(answers({})), "missing-answer");
  EXPECT_EQ(reason(answers({"009000"})), "missing-answer");
  EXPECT_EQ(reason(answers({"009000", "6600"})), "card-status");
  EXPECT_EQ(reason(answers({"6A88"})), "card-status");
  EXPECT_EQ(reason(answers({"009000", "9000"})), "bad-rc");
  EXPECT_EQ(reason(answers({"009000", "850800112233445566779000"})), "bad-rc");
  EXPECT_EQ(reason(answers({"009000", "8610" + kRc + "9000"})), "bad-rc");
  EXPECT_EQ(reason(answers({"009000", "8510" + kRc + "86009000"})), "bad-rc");
  EXPECT_EQ(reason(answers({"009000", "8511" + kRc + "9000"})), "truncated");
  EXPECT_EQ(reason(answers({"009000", "858110" + kRc + "9000"})), "bad-length");
  EXPECT_EQ(reason({r_apdu("009000"), {0x85, hex(kRc), {}}}), "missing-answer");
  EXPECT_NE(rc_of(answers({"009000", "6A80"}), 2).error().detail.find("6A80"), std::string::npos);
}

TEST(KeyAnswer, DrAndReceipt) {
  KeySetPlan p;
  const std::string dr = "8510" + kRc;
  const std::string receipt = "8610" + kRc;
  const auto reason = [&](const std::string& data) {
    return key_answer_of(answers({data + "9000"}), 1, p).error().reason;
  };
  const auto good = key_answer_of(answers({dr + receipt + "9000"}), 1, p);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(to_hex(*good->dr), kRc);
  EXPECT_EQ(to_hex(good->receipt), kRc);
  EXPECT_EQ(reason(receipt), "missing-dr");
  EXPECT_EQ(reason(dr), "bad-receipt");
  EXPECT_EQ(reason(receipt + dr), "bad-receipt");
  EXPECT_EQ(reason(dr + dr + receipt), "bad-receipt");
  EXPECT_EQ(reason(dr + receipt + receipt), "bad-receipt");
  EXPECT_EQ(reason(dr + "8608" + kRc.substr(0, 16)), "bad-receipt");
  EXPECT_EQ(reason("8508" + kRc.substr(0, 16) + receipt), "missing-dr");
  EXPECT_EQ(reason(dr + "8610" + kRc.substr(0, 30)), "truncated");
  EXPECT_EQ(reason(""), "missing-dr");
  p.scenario_param = 0x09;
  ASSERT_TRUE(key_answer_of(answers({receipt + "9000"}), 1, p).ok());
  EXPECT_EQ(reason(dr + receipt), "bad-receipt") << "a DR that nobody asked for";
}

TEST(Keys, BaseKeyServesAsAllThreeAndLengthsFollowThePlan) {
  const Bytes z = random_bytes(32);
  const std::optional<Bytes> dr = random_bytes(16);
  for (const std::uint8_t n : {16, 24, 32}) {
    KeySetPlan p;
    p.key_length = n;
    p.kvn = 0x31;
    const DerivedKeys three = derive_keys(z, p, dr);
    EXPECT_EQ(three.receipt_key.size(), n);
    EXPECT_EQ(three.keys.enc.size(), n);
    EXPECT_EQ(three.keys.kvn, 0x31);
    EXPECT_NE(to_hex(three.keys.enc.expose()), to_hex(three.keys.mac.expose()));
    EXPECT_NE(to_hex(three.keys.mac.expose()), to_hex(three.keys.dek.expose()));
    p.key_usage = 0x5C;
    const DerivedKeys base = derive_keys(z, p, dr);
    EXPECT_EQ(to_hex(base.keys.enc.expose()), to_hex(base.keys.mac.expose()));
    EXPECT_EQ(to_hex(base.keys.enc.expose()), to_hex(base.keys.dek.expose()));
    EXPECT_NE(to_hex(base.keys.enc.expose()), to_hex(three.keys.enc.expose())) << "the usage enters the KDF";
  }
}

TEST(Receipt, AnyChangeIsSeen) {
  KeySetPlan p;
  const Bytes crt = control_reference_template(p);
  const Bytes z = random_bytes(32);
  KeyAnswer a{random_bytes(16), {}};
  const DerivedKeys k = derive_keys(z, p, a.dr);
  const Block16 mac = aes_cmac(k.receipt_key.expose(), concat(crt, hex("8510"), *a.dr));
  a.receipt = Bytes(mac.begin(), mac.end());
  EXPECT_TRUE(receipt_matches(k, crt, a));
  for (std::size_t i = 0; i < 16; ++i) {
    KeyAnswer changed = a;
    changed.receipt[i] ^= 1;
    EXPECT_FALSE(receipt_matches(k, crt, changed));
    changed = a;
    (*changed.dr)[i] ^= 1;
    EXPECT_FALSE(receipt_matches(k, crt, changed)) << "the same keys, another DR in the MAC";
    EXPECT_FALSE(receipt_matches(derive_keys(z, p, changed.dr), crt, changed));
  }
  KeyAnswer shorter = a;
  shorter.receipt.resize(8);
  EXPECT_FALSE(receipt_matches(k, crt, shorter));
}

}  // namespace
}  // namespace kf::es8
