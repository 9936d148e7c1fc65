#include <gtest/gtest.h>

#include "host/base/random.hpp"
#include "host/crypto/symmetric.hpp"
#include "host/es8/scp03t.hpp"

namespace kf::es8 {
namespace {

const Aid kIsdp = Aid::of("A0000005591010FFFFFFFF8900001300");
constexpr SequenceCounter kFirst{0, 0, 1};

KeySet key_set(std::size_t n = 16) {
  return {SecretBytes(random_bytes(n)), SecretBytes(random_bytes(n)), SecretBytes(random_bytes(n)), 0x30};
}
CardAnswer answer(std::uint32_t tag, Bytes value) {
  Bytes whole = make_tlv(tag, value);
  return {tag, std::move(value), std::move(whole)};
}
CardAnswer to_84(const SealedScript& s, SequenceCounter c = kFirst) {
  return answer(0x84, concat(Bytes(10), Bytes{0x30, 0x03, 0x70}, s.cc, card_cryptogram(s.keys, s.hc, s.cc), c));
}
// A protected answer to segment i (0 = first), made from docs/spec/crypto.md 6.6.
CardAnswer protected_answer(const SealedScript& s, std::size_t i, Bytes plain) {
  plain.push_back(0x80);
  plain.resize((plain.size() + 15) / 16 * 16);
  Block16 icv{};
  icv[0] = 0x80;
  icv[14] = static_cast<std::uint8_t>((i + 1) >> 8);
  icv[15] = static_cast<std::uint8_t>(i + 1);
  aes_cbc_encrypt(s.keys.s_enc.expose(), aes_ecb_block(s.keys.s_enc.expose(), icv), plain);
  Bytes head{0x86};
  append_ber_length(head, plain.size() + 8);
  const Block16 mac = aes_cmac(s.keys.s_rmac.expose(), concat(s.mcv[i + 1], head, plain));
  return answer(0x86, concat(plain, ByteView(mac).first(8)));
}

TEST(Segments, TheWholeTlvNeverExceedsTheLimit) {
  EXPECT_EQ(max_segment(1020), 1007U);
  EXPECT_EQ(max_segment(1024), 1007U);
  for (std::size_t limit = 26; limit <= 1100; ++limit) {
    const Bytes profile(max_segment(limit) * 2 + 1, 0x5A);
    const SealedScript s = seal_offline(key_set(), kIsdp, {}, kFirst, profile, limit);
    ASSERT_EQ(s.tlvs.size(), 5U) << limit;
    std::size_t longest = 0;
    for (const Bytes& t : s.tlvs) longest = std::max(longest, t.size());
    EXPECT_LE(longest, limit);
    // One byte more of plaintext would not have fitted.
    const SealedScript more = seal_segments_offline(
        key_set(), kIsdp, {}, kFirst, std::vector<ByteView>{ByteView(profile).first(max_segment(limit) + 1)});
    EXPECT_GT(more.tlvs[2].size(), limit);
  }
}

TEST(Segments, SealingIsTheDefinitionStepByStep) {
  for (const std::size_t key_size : {16, 24, 32}) {
    const KeySet k = key_set(key_size);
    Challenge hc{};
    random_fill(hc);
    const Bytes profile = random_bytes(300 * 1007 + 5);  // the counter passes one byte
    const SealedScript s = seal_offline(k, kIsdp, hc, kFirst, profile);
    EXPECT_EQ(s.keys.s_enc.size(), key_size);
    ASSERT_EQ(s.mcv.size(), s.tlvs.size() - 1);
    Block16 mcv = aes_cmac(s.keys.s_mac.expose(), concat(Block16{}, ByteView(s.tlvs[1]).first(11)));
    EXPECT_EQ(mcv, s.mcv[0]);
    Bytes opened;
    for (std::size_t i = 0; i + 2 < s.tlvs.size(); ++i) {
      const ByteView tlv = s.tlvs[i + 2];
      mcv = aes_cmac(s.keys.s_mac.expose(), concat(mcv, tlv.first(tlv.size() - 8)));
      EXPECT_EQ(mcv, s.mcv[i + 1]);
      EXPECT_EQ(to_hex(tlv.last(8)), to_hex(ByteView(mcv).first(8)));
      ByteView in = tlv;
      const auto t = read_tlv(in);
      ASSERT_TRUE(t.ok() && t->tag == 0x86 && in.empty());
      Block16 counter{};
      counter[14] = static_cast<std::uint8_t>((i + 1) >> 8);
      counter[15] = static_cast<std::uint8_t>(i + 1);
      Bytes plain = to_bytes(t->value.first(t->value.size() - 8));
      aes_cbc_decrypt(s.keys.s_enc.expose(), aes_ecb_block(s.keys.s_enc.expose(), counter), plain);
      while (!plain.empty() && plain.back() == 0) plain.pop_back();
      ASSERT_FALSE(plain.empty());
      EXPECT_EQ(plain.back(), 0x80);
      plain.pop_back();
      append(opened, plain);
    }
    EXPECT_EQ(opened, profile);
  }
}

TEST(Segments, AnEmptyProfileSealsTheSessionAlone) {
  const SealedScript s = seal_offline(key_set(), kIsdp, {}, kFirst, {});
  EXPECT_EQ(s.tlvs.size(), 2U);
}

TEST(Online, SealsTheSameBytesAsOfflineAndChecksTheCard) {
  const KeySet k = key_set();
  const Challenge hc{1, 2, 3, 4, 5, 6, 7, 8};
  const SequenceCounter counter{0x01, 0x02, 0x03};
  const Bytes profile = random_bytes(2500);
  const SealedScript offline = seal_offline(k, kIsdp, hc, counter, profile);
  const auto a = parse_initialize_update_answer(to_84(offline, counter));
  ASSERT_TRUE(a.ok());
  const auto online = seal_online(k, kIsdp, hc, *a, profile);
  ASSERT_TRUE(online.ok());
  EXPECT_FALSE(online->offline);
  EXPECT_EQ(online->first_segment(), 1U);
  EXPECT_EQ(std::vector<Bytes>(offline.tlvs.begin() + 1, offline.tlvs.end()), online->tlvs);
  const auto reason = [&](auto&& change, const KeySet& keys) {
    InitializeUpdateAnswer b = *a;
    change(b);
    return seal_online(keys, kIsdp, hc, b, profile).error().reason;
  };
  EXPECT_EQ(reason([](InitializeUpdateAnswer& b) { b.cc[0] ^= 1; }, k), "bad-challenge");
  EXPECT_EQ(reason([](InitializeUpdateAnswer& b) { b.counter[2] ^= 1; }, k), "bad-challenge");
  EXPECT_EQ(reason([](InitializeUpdateAnswer& b) { b.cryptogram[7] ^= 1; }, k), "bad-cryptogram");
  EXPECT_EQ(reason([](InitializeUpdateAnswer& b) { b.kvn = 0x31; }, k), "bad-cryptogram");
  KeySet other_mac = k.clone();
  other_mac.mac = SecretBytes(random_bytes(16));
  EXPECT_EQ(reason([](InitializeUpdateAnswer&) {}, other_mac), "bad-cryptogram");
}

TEST(Answers, AWholeSessionAndItsParts) {
  const SealedScript s = seal_offline(key_set(), kIsdp, {}, kFirst, random_bytes(3000));
  ASSERT_EQ(s.tlvs.size(), 5U);
  const Bytes response = hex("3007A0053003800100");
  const std::vector<CardAnswer> all{to_84(s), answer(0x85, {}), answer(0x86, {}), answer(0x86, {}),
                                    protected_answer(s, 2, response)};
  const auto whole = open_answers(s, 0, all);
  ASSERT_TRUE(whole.ok()) << whole.error().text();
  EXPECT_EQ(whole->accepted, 5U);
  EXPECT_EQ(whole->segments_accepted, 3U);
  EXPECT_EQ(whole->data, response);
  // The same in two calls, cut anywhere.
  for (std::size_t cut = 0; cut <= all.size(); ++cut) {
    const auto a = open_answers(s, 0, {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(cut)});
    const auto b = open_answers(s, cut, {all.begin() + static_cast<std::ptrdiff_t>(cut), all.end()});
    ASSERT_TRUE(a.ok() && b.ok()) << cut;
    EXPECT_EQ(a->accepted + b->accepted, 5U);
    EXPECT_EQ(a->segments_accepted + b->segments_accepted, 3U);
    EXPECT_EQ(concat(a->data, b->data), response);
  }
  EXPECT_EQ(open_answers(s, 1, all).error().reason, "bad-format") << "more answers than commands";
  EXPECT_EQ(open_answers(s, 9, {}).error().reason, "bad-format");
}

TEST(Answers, ProtectedDataOfAnyLengthAtAnySegment) {
  const SealedScript s = seal_offline(key_set(32), kIsdp, {}, kFirst, random_bytes(4000));
  for (const std::size_t i : {0, 1, 3})
    for (const std::size_t n : {1, 15, 16, 17, 119, 120, 300}) {
      const Bytes data = random_bytes(n);
      const auto r = open_answers(s, 2 + i, {protected_answer(s, i, data)});
      ASSERT_TRUE(r.ok());
      EXPECT_EQ(r->data, data);
      EXPECT_EQ(open_answers(s, 2 + (i == 0 ? 1 : 0), {protected_answer(s, i, data)}).error().reason, "bad-rmac");
    }
}

TEST(Answers, NoChangedBitSurvivesTheRMac) {
  const SealedScript s = seal_offline(key_set(), kIsdp, {}, kFirst, random_bytes(10));
  const CardAnswer good = protected_answer(s, 0, hex("3007A0053003800100"));
  for (std::size_t bit = 0; bit < good.value.size() * 8; ++bit) {
    Bytes v = good.value;
    v[bit / 8] = static_cast<std::uint8_t>(v[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(open_answers(s, 2, {answer(0x86, v)}).error().reason, "bad-rmac") << bit;
  }
}

TEST(Answers, RMacOverAnEmptyAnswerIsTakenWhenRight) {
  const SealedScript s = seal_offline(key_set(), kIsdp, {}, kFirst, random_bytes(10));
  const Block16 mac = aes_cmac(s.keys.s_rmac.expose(), concat(s.mcv[1], hex("8608")));
  Bytes v(mac.begin(), mac.begin() + 8);
  const auto r = open_answers(s, 2, {answer(0x86, v)});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->segments_accepted, 1U);
  EXPECT_TRUE(r->data.empty());
  v[0] ^= 1;
  EXPECT_EQ(open_answers(s, 2, {answer(0x86, v)}).error().reason, "bad-rmac");
}

TEST(Answers, PaddingIsCheckedBehindTheMac) {
  const SealedScript s = seal_offline(key_set(), kIsdp, {}, kFirst, random_bytes(10));
  const auto sealed = [&](Bytes block) {
    Block16 icv{};
    icv[0] = 0x80;
    icv[15] = 1;
    aes_cbc_encrypt(s.keys.s_enc.expose(), aes_ecb_block(s.keys.s_enc.expose(), icv), block);
    Bytes head{0x86};
    append_ber_length(head, block.size() + 8);
    const Block16 mac = aes_cmac(s.keys.s_rmac.expose(), concat(s.mcv[1], head, block));
    return open_answers(s, 2, {answer(0x86, concat(block, ByteView(mac).first(8)))});
  };
  EXPECT_EQ(sealed(Bytes(16)).error().reason, "bad-padding");
  EXPECT_EQ(sealed(Bytes(16, 0x11)).error().reason, "bad-padding");
  EXPECT_EQ(sealed(concat(hex("80"), Bytes(31))).error().reason, "bad-padding") << "a whole block of padding too much";
  EXPECT_TRUE(sealed(concat(Bytes(15, 0x11), hex("80"))).ok());
  EXPECT_TRUE(sealed(concat(hex("80"), Bytes(15))).ok());
}

TEST(Answers, ErrorTagsEndTheSession) {
  const SealedScript s = seal_offline(key_set(), kIsdp, {}, kFirst, random_bytes(3000));
  for (const std::uint32_t tag : {0x9F44U, 0x9F45U, 0x9F46U, 0x9F47U}) {
    const auto r = open_answers(s, 1, {answer(0x85, {}), answer(0x86, {}), answer(tag, hex("02")), answer(0x86, {})});
    ASSERT_TRUE(r.ok());
    EXPECT_EQ(r->accepted, 2U);
    EXPECT_EQ(r->segments_accepted, 1U);
    ASSERT_TRUE(r->error_tlv.has_value());
    EXPECT_EQ(to_hex(*r->error_tlv), to_hex(make_tlv(tag, hex("02"))));
  }
  EXPECT_EQ(parse_initialize_update_answer(answer(0x9F44, hex("03"))).error().reason, "scp-error");
}

TEST(Answers, AnotherCounterIsToldFromAForeignCard) {
  const KeySet k = key_set();
  const SealedScript s = seal_offline(k, kIsdp, {}, kFirst, random_bytes(100));
  const SequenceCounter second{0, 0, 2};
  SealedScript theirs = seal_offline(k, kIsdp, {}, second, {});
  const CardAnswer a84 = to_84(theirs, second);
  const auto r = open_answers(s, 0, {a84, answer(0x9F45, hex("02"))});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->other_counter, second);
  EXPECT_EQ(to_hex(*r->error_tlv), "9F450102");
  EXPECT_EQ(open_answers(s, 0, {a84, answer(0x85, {})}).error().reason, "bad-cryptogram");
  const auto alone = open_answers(s, 0, {a84});
  ASSERT_TRUE(alone.ok());
  EXPECT_TRUE(alone->other_counter.has_value());
  CardAnswer wrong = to_84(s);
  wrong.value[28] ^= 1;  // last byte of the cryptogram
  EXPECT_EQ(open_answers(s, 0, {wrong}).error().reason, "bad-cryptogram");
}

TEST(Answers, WrongTagsAndLengths) {
  const SealedScript s = seal_offline(key_set(), kIsdp, {}, kFirst, random_bytes(100));
  const auto reason = [&](std::size_t from, CardAnswer a) {
    return open_answers(s, from, {std::move(a)}).error().reason;
  };
  EXPECT_EQ(reason(0, answer(0x85, {})), "bad-format");
  EXPECT_EQ(reason(0, answer(0x84, Bytes(31))), "bad-format");
  EXPECT_EQ(reason(0, answer(0x23, hex("9000"))), "bad-format");
  EXPECT_EQ(reason(1, answer(0x86, {})), "bad-format");
  EXPECT_EQ(reason(1, answer(0x85, hex("00"))), "bad-format");
  EXPECT_EQ(reason(2, answer(0x85, {})), "bad-format");
  EXPECT_EQ(reason(2, answer(0x86, Bytes(7))), "bad-format");
  EXPECT_EQ(reason(2, answer(0x86, Bytes(23))), "bad-format");
  Bytes v = to_84(s).value;
  v[10] = 0x31;
  EXPECT_EQ(reason(0, answer(0x84, v)), "bad-format");
  v[10] = 0x30;
  v[12] = 0x60;
  EXPECT_EQ(reason(0, answer(0x84, v)), "bad-format");
}

}  // namespace
}  // namespace kf::es8
