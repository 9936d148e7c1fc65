// Peers' text: cut on characters, never invalid, never able to forge a log line.
#include <gtest/gtest.h>

#include "host/base/random.hpp"
#include "host/base/text.hpp"

namespace kf {
namespace {

TEST(Text, Utf8IsJudgedStrictly) {
  for (const char* good : {"", "abc", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad : {"\xFF", "\xC3", "\x80", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                          "\xF8\x88\x80\x80\x80", "a\xE2\x82"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
}

TEST(Text, ClipCutsBetweenCharacters) {
  const std::string s = std::string(79, 'a') + "\xC3\xA9";
  EXPECT_EQ(clip_text(s, 80), std::string(79, 'a'));
  EXPECT_EQ(clip_text(s, 81), s);
  EXPECT_EQ(clip_text("a\xFF"
                      "b\xC3",
                      80),
            "a?b?");
  EXPECT_EQ(clip_text(s, 0), "");
}

TEST(Text, PrintableCannotForgeALine) {
  EXPECT_EQ(printable("a\nALARM"), "a\\x0AALARM");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\u{009B}31m");
  EXPECT_EQ(printable("\x1B[2J\x7F"), "\\x1B[2J\\x7F");
  EXPECT_EQ(printable("\xE2\x80\xAE"
                      "x\xE2\x80\xA8"),
            "\\u{202E}x\\u{2028}");
  EXPECT_EQ(printable("C:\\x0A"), "C:\\\\x0A");
  EXPECT_EQ(printable("\xFFz"), "\\xFFz");
  EXPECT_EQ(printable("Stra\xC3\x9F"
                      "e"),
            "Stra\xC3\x9F"
            "e");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
  EXPECT_EQ(printable("ab\xC3\xA9", 3), "ab...");
}

TEST(Text, AnyBytesComeBackValid) {
  for (int i = 0; i < 20'000; ++i) {
    const Bytes raw = random_bytes(static_cast<std::size_t>(i % 97));
    const std::string s(raw.begin(), raw.end());
    const std::string clipped = clip_text(s, 40), shown = printable(s, 40);
    ASSERT_TRUE(is_utf8(clipped));
    ASSERT_LE(clipped.size(), 40U);
    ASSERT_TRUE(is_utf8(shown));
    for (const char c : shown) ASSERT_GE(static_cast<unsigned char>(c), 0x20);
    if (is_utf8(s) && s.size() <= 40) {
      ASSERT_EQ(clipped, s);
    }
  }
}

}  // namespace
}  // namespace kf
