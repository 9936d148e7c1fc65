// Peers' text: cut on characters, never invalid, never able to forge a log line.
#include <gtest/gtest.h>

#include "host/base/line_limit.hpp"
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

TEST(Text, OneLineLeavesOurOwnWordsAlone) {
  EXPECT_EQ(one_line("a\nb\\x0A\xC2\x9B\xFF\xE2\x80\xA8" + std::string(500, 'x')),
            "a\\x0Ab\\x0A\\u{009B}\\xFF\\u{2028}" + std::string(500, 'x'));
}

TEST(LineLimit, SoManyOfAKindAndPartyThenACount) {
  LineLimit limit({3, std::chrono::seconds(60), 4});
  LineLimit::Time t{};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limit.admit("a", "p", t), "");
  for (int i = 0; i < 7; ++i) EXPECT_EQ(limit.admit("a", "p", t), std::nullopt);
  EXPECT_EQ(limit.admit("b", "p", t), "") << "another kind";
  EXPECT_EQ(limit.admit("a", "q", t), "") << "another party";
  EXPECT_EQ(limit.overdue(t), std::nullopt);
  t += std::chrono::seconds(60);
  EXPECT_EQ(limit.admit("a", "p", t), " (7 more like it suppressed)");
  EXPECT_EQ(limit.admit("a", "p", t), "");
}

TEST(LineLimit, WhatWasLeftOutIsSaidEvenWhenNothingFollows) {
  LineLimit limit({1, std::chrono::seconds(60), 4});
  LineLimit::Time t{};
  EXPECT_TRUE(limit.admit("a", "p", t).has_value());
  EXPECT_FALSE(limit.admit("a", "p", t).has_value());
  t += std::chrono::seconds(61);
  EXPECT_EQ(limit.overdue(t), "1 more lines 'a' of p suppressed");
  EXPECT_EQ(limit.overdue(t), std::nullopt);
}

TEST(LineLimit, MadeUpPartiesShareOneCount) {
  LineLimit limit({2, std::chrono::seconds(60), 10});
  int written = 0;
  for (int i = 0; i < 5000; ++i) written += limit.admit("a", std::to_string(i), LineLimit::Time{}).has_value() ? 1 : 0;
  EXPECT_EQ(written, 12);  // ten parties, two of all the others
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

TEST(Text, LinesForATerminalStayLines) {
  EXPECT_EQ(clean_lines("one\x1B[2J\ntwo\r\n\nC:\\x"), "one\\x1B[2J\ntwo\\x0D\n\nC:\\x");
  EXPECT_EQ(clean_lines(""), "");
  EXPECT_EQ(clean_lines("\n"), "\n");
}

}  // namespace
}  // namespace kf
