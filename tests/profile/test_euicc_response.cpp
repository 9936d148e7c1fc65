// EUICCResponse: what the card says about the installation.
#include "tests/profile/support.hpp"

namespace kf::profile {
namespace {

Result<EuiccResponse> read_response(std::string_view h) { return parse_euicc_response(hex(h)); }
std::string refusal(std::string_view h) {
  const auto r = read_response(h);
  return r.ok() ? "accepted" : r.error().reason;
}

TEST(EuiccResponse, ReadsPlainSuccess) {
  const auto r = read_response("3007A0053003800100");
  ASSERT_TRUE(r.ok()) << r.error().text();
  ASSERT_EQ(r->statuses.size(), 1U);
  EXPECT_EQ(r->statuses[0].status, 0U);
  EXPECT_FALSE(r->statuses[0].identification);
  EXPECT_FALSE(r->aborted);
  EXPECT_TRUE(r->message.empty());
}

TEST(EuiccResponse, ReadsAWarningAndAnAbort) {
  // PE 9: not supported, additional information 1, offset 260; PE 300: status 6A84; aborted; a message.
  const auto r = read_response(
      "302D"
      "A01D"
      "300D"
      "800101"
      "810109"
      "820101"
      "83020104"
      "300C"
      "80026A84"
      "8102012C"
      "82020080"
      "8100"
      "820A"
      "6E6F20737061636520C3BC");
  ASSERT_FALSE(r.ok());  // the message is 11 bytes: a wrong length is noticed
  const auto good = read_response(
      "302C"
      "A01B"
      "300D"
      "800101"
      "810109"
      "820101"
      "83020104"
      "300A"
      "80026A84"
      "8102012C"
      "8200"
      "8100"
      "820B"
      "6E6F20737061636520C3BC");
  ASSERT_TRUE(good.ok()) << good.error().text();
  ASSERT_EQ(good->statuses.size(), 2U);
  EXPECT_EQ(good->statuses[0].status, 1U);
  EXPECT_EQ(good->statuses[0].identification, 9U);
  EXPECT_EQ(good->statuses[1].status, 0x6A84U);
  EXPECT_EQ(good->statuses[1].identification, 300U);
  EXPECT_TRUE(good->aborted);
  EXPECT_EQ(good->message, "no space \xC3\xBC");
}

TEST(EuiccResponse, SkipsLaterMembers) {
  const auto r = read_response(
      "3010"
      "A00A"
      "3008"
      "800100"
      "840141"
      "8500"
      "8600"
      "8700");
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->statuses.size(), 1U);
}

TEST(EuiccResponse, CleansTheMessage) {
  EXPECT_EQ(read_response("300F"
                          "A0053003800100"
                          "82061B5B316D0A41")
                ->message,
            "?[1m?A");
  EXPECT_EQ(read_response("300C"
                          "A0053003800100"
                          "8203FF41C0")
                ->message,
            "?A?");
}

TEST(EuiccResponse, RefusesWhatItIsNot) {
  EXPECT_EQ(refusal(""), "truncated");
  EXPECT_EQ(refusal("30"), "truncated");
  EXPECT_EQ(refusal("3007A00530038001"), "truncated");
  EXPECT_EQ(refusal("3007A005300380010000"), "bad-format");
  EXPECT_EQ(refusal("308107A0053003800100"), "bad-length");
  EXPECT_EQ(refusal("3080A00530038001000000"), "bad-length");
  EXPECT_EQ(refusal("3107A0053003800100"), "bad-format");
  EXPECT_EQ(refusal("3000"), "bad-format");
  EXPECT_EQ(refusal("30028100"), "bad-format");
  EXPECT_EQ(refusal("30028000"), "bad-format");
  EXPECT_EQ(refusal("3004A0023000"), "bad-format");
  EXPECT_EQ(refusal("3006A00430028000"), "bad-length");
  EXPECT_EQ(refusal("3007A0053003810100"), "bad-format");
  EXPECT_EQ(refusal("3007A00530038001FF"), "bad-length");    // negative
  EXPECT_EQ(refusal("3008A006300480020001"), "bad-length");  // not minimal
  EXPECT_EQ(refusal("3009A0073005800301"
                    "0000"),
            "bad-format");  // 65536
  EXPECT_EQ(refusal("3007A0053103800100"), "bad-format");
  EXPECT_EQ(refusal("300AA0053003800100810100"), "bad-format");
  EXPECT_EQ(refusal("3002A000"), "accepted");  // an empty list is a list
}

}  // namespace
}  // namespace kf::profile
