#include <gtest/gtest.h>

#include "host/es8/script.hpp"

namespace kf::es8 {
namespace {

std::string shape(std::string_view response, bool unwrap = false) {
  const auto r = parse_euicc_response_data(hex(response), unwrap);
  if (!r) return r.error().reason;
  std::string s;
  for (const CardAnswer& a : *r) s += (s.empty() ? "" : " ") + to_hex(a.whole);
  return s;
}

TEST(Answers, EnvelopesAreSkippedWhateverTheirForm) {
  for (const char* r :
       {"8500860023029000", "AF80850086002302900000 00", "AB0885008600 23029000", "AF0885008600 23029000",
        "AF8085000000AF8086000000 23029000", "AF80800103850083010186002302900000 00"}) {
    std::string s(r);
    std::erase(s, ' ');
    EXPECT_EQ(shape(s), "8500 8600 23029000") << r;
  }
}

TEST(Answers, TagValueAndStatusWord) {
  const auto r =
      parse_euicc_response_data(hex("2304AABB6A80"
                                    "9F460102"
                                    "230190"
                                    "2300"));
  ASSERT_TRUE(r.ok());
  ASSERT_EQ(r->size(), 4U);
  EXPECT_EQ((*r)[0].sw(), 0x6A80);
  EXPECT_EQ((*r)[1].tag, 0x9F46U);
  EXPECT_EQ(to_hex((*r)[1].value), "02");
  EXPECT_EQ((*r)[2].sw(), 0);  // shorter than a status word
  EXPECT_EQ((*r)[3].sw(), 0);
}

TEST(Answers, ScpAnswersInside23OnRequest) {
  EXPECT_EQ(shape("23028500"), "23028500");
  EXPECT_EQ(shape("23028500", true), "8500");
  EXPECT_EQ(shape("230486009000", true), "8600") << "a peer may add the status word";
  EXPECT_EQ(shape("23049F460102", true), "9F460102");
  EXPECT_EQ(shape("23029000", true), "23029000") << "90 00 is a status word, not a TLV of SCP03t";
  EXPECT_EQ(shape("23026A80", true), "23026A80");
  EXPECT_EQ(shape("230485006A80", true), "230485006A80");
  EXPECT_EQ(shape("2300", true), "2300");
}

TEST(Answers, EveryTruncationIsAnErrorOrShorter) {
  const Bytes whole = hex("AF8023030090002314851000112233445566778899AABBCCDDEEFF90000000");
  for (std::size_t n = 1; n < whole.size(); ++n)
    EXPECT_FALSE(parse_euicc_response_data(ByteView(whole).first(n)).ok()) << n;
}

TEST(Cut, OnlyBetweenTlvsAndNothingIsLost) {
  const std::vector<Bytes> tlvs{Bytes(10, 1), Bytes(20, 2), Bytes(30, 3), Bytes(5, 4)};
  const Bytes all = concat(tlvs[0], tlvs[1], tlvs[2], tlvs[3]);
  for (std::size_t limit = 0; limit <= 70; ++limit) {
    Bytes joined;
    for (const Bytes& run : cut_between_tlvs(tlvs, limit)) {
      EXPECT_FALSE(run.empty());
      // Longer than the limit only when one TLV is.
      EXPECT_TRUE(limit == 0 || run.size() <= limit || run == tlvs[0] || run == tlvs[1] || run == tlvs[2] ||
                  run == tlvs[3])
          << limit;
      append(joined, run);
    }
    EXPECT_EQ(joined, all);
  }
  EXPECT_EQ(cut_between_tlvs(tlvs, 0).size(), 1U);
  EXPECT_EQ(cut_between_tlvs(tlvs, 30).size(), 3U);
  EXPECT_EQ(cut_between_tlvs(tlvs, 1).size(), 4U);
  EXPECT_TRUE(cut_between_tlvs({}, 10).empty());
}

}  // namespace
}  // namespace kf::es8
