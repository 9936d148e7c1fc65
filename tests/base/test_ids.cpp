// ICCIDs as they occur in the world: 18 to 20 digits, with padding or without.
#include <gtest/gtest.h>

#include "host/base/ids.hpp"

namespace kf {
namespace {

TEST(Iccid, IsAValueWhateverItsPadding) {
  const std::string i18 = "893301000000000001", i19 = iccid_with_luhn(i18), i20 = iccid_with_luhn(i19);
  for (const std::string& v : {i18, i19, i20}) {
    std::string padded = v;
    while (padded.size() <= 20) {
      const auto i = parse_iccid(padded);
      ASSERT_TRUE(i.ok()) << padded << ": " << i.error().text();
      EXPECT_EQ(i->str(), v);
      EXPECT_TRUE(same_iccid(padded, v));
      padded += padded.size() % 2 == 0 ? 'F' : 'f';
    }
    std::string octets = v;
    octets.resize(20, 'F');
    EXPECT_EQ(to_hex(iccid_octets(*parse_iccid(v))), octets);
  }
  EXPECT_FALSE(same_iccid(i18, i19));
  EXPECT_FALSE(same_iccid("89F1", "891"));
  EXPECT_EQ(iccid_value("FFFF"), "");
}

TEST(Iccid, TheCheckDigitOf18DigitsIsNotJudged) {
  EXPECT_TRUE(parse_iccid("893301000000000001").ok());
  EXPECT_TRUE(parse_iccid("893301000000000002FF").ok());
  const std::string i19 = iccid_with_luhn("893301000000000001");
  std::string wrong = i19;
  wrong.back() = wrong.back() == '0' ? '1' : '0';
  EXPECT_EQ(parse_iccid(wrong).error().reason, "iccid-check");
  EXPECT_EQ(parse_iccid(wrong + "F").error().reason, "iccid-check");
}

TEST(Iccid, OthersAreNone) {
  for (const char* bad : {"", "F", "89", "89330100000000000", "89330100000000000FFF", "893301000000000001000",
                          "8933010000F0000001", "893301000000000001FFF", "8933010000000000 1"})
    EXPECT_EQ(parse_iccid(bad).error().reason, "iccid-format") << bad;
}

}  // namespace
}  // namespace kf
