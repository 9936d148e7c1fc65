// A document in a terminal.
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "host/report/document.hpp"
#include "host/report/wording.hpp"

namespace kf::report {
namespace {

Document with(Block b) {
  Document d;
  d.title = "A report";
  d.sections.push_back({"Section", "", {std::move(b)}});
  return d;
}
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string l; std::getline(in, l);) out.push_back(l);
  return out;
}

TEST(ReportText, EverythingInItsOrder) {
  Document d;
  d.title = "A report";
  d.lead = "Of today.";
  d.alert = "Interrupted.";
  d.tiles = {{"12", "a second"}, {"1.5 ms", "latency"}};
  d.summary = {{"Clean: nothing was wrong.", Tone::good}};
  Section s{"Section", "How to read it.", {}};
  s.prose("Words.");
  s.fact("name", "value");
  s.fact("  below", "another");
  s.blocks.emplace_back(Table{{"engine", "count"}, {{"hsm", "7"}, {"software", "1,234"}}, 1, {}});
  s.blocks.emplace_back(Code{"[token]\n\nx = 1\n\n"});
  d.sections.push_back(s);
  EXPECT_EQ(to_text(d),
            "A report\n"
            "Of today.\n"
            "Interrupted.\n"
            "\n"
            "Section\n"
            "  How to read it.\n"
            "  Words.\n"
            "  name     value\n"
            "    below  another\n"
            "  engine    count\n"
            "  hsm           7\n"
            "  software  1,234\n"
            "\n"
            "    [token]\n"
            "\n"
            "    x = 1\n"
            "\n"
            "      12  a second\n"
            "  1.5 ms  latency\n"
            "  Clean: nothing was wrong.\n");
}

TEST(ReportText, WhatAStrangerWroteMovesNoCursor) {
  Document d = with(Table{{"label"}, {{"\x1b[2Jcaf\xE9\n\xE2\x80\xAE"}}, 1, {}});
  d.title = "\x1b]0;x\x07";
  d.lead = d.alert = "a\nb";
  d.sections[0].fact("a\tb", "\r");
  d.sections[0].blocks.emplace_back(Code{"x\x1b\ny"});
  d.tiles = {{"\x7f", "\x9b"}};
  d.summary = {"\b"};
  const std::string t = to_text(d);
  for (const char c : t) EXPECT_TRUE(c == '\n' || (c >= ' ' && c != '\x7f')) << t;
  EXPECT_NE(t.find("\\x1B[2Jcaf\\xE9\\x0A\\u{202E}"), std::string::npos) << t;
  EXPECT_NE(t.find("    x\\x1B\n    y\n"), std::string::npos) << "lines of code stay lines";
}

TEST(ReportText, NothingIsShownOfNothing) {
  EXPECT_EQ(to_text(with(Table{{"a", "b"}, {}, 1, {}})), "A report\n\nSection\n");
  EXPECT_EQ(to_text(with(Facts{})), "A report\n\nSection\n");
  Document d = with(Chart{"drawn only", Columns{{{1, "at", "text"}}, {"s", 0, 1}, "y"}});
  EXPECT_EQ(to_text(d), "A report\n") << "no title above a drawing that is not there";
  d.sections[0].blocks.emplace_back(Prose{"Words."});
  EXPECT_EQ(to_text(d), "A report\n\nSection\n  Words.\n");
  d.sections[0].page_only = true;
  EXPECT_EQ(to_text(d), "A report\n");
  EXPECT_EQ(to_text(Document{}), "\n");
}

TEST(ReportText, WideCharactersTakeTwoColumnsAndMarksNone) {
  const std::string t = to_text(with(Table{{"label", "n"},
                                           {{"plain", "1"},
                                            {"\xE9\x8D\xB5", "2"},  // one ideograph
                                            {"u\xCC\x88"
                                             "ber",
                                             "3"},                        // u and a mark on it
                                            {"\xC3\xA9t\xC3\xA9", "4"}},  // two letters of two octets
                                           kOnlyWords,
                                           {}}));
  EXPECT_NE(t.find("  plain  1\n"), std::string::npos) << t;
  EXPECT_NE(t.find("  \xE9\x8D\xB5     2\n"), std::string::npos) << t;
  EXPECT_NE(t.find("  u\xCC\x88"
                   "ber   3\n"),
            std::string::npos)
      << t;
  EXPECT_NE(t.find("  \xC3\xA9t\xC3\xA9    4\n"), std::string::npos) << t;
}

TEST(ReportText, LongWordsAndTextsAreBrokenBetweenWords) {
  std::string words;
  for (int i = 0; i < 60; ++i) words += "word ";
  const std::string name(60, 'n'), value(150, 'v');
  Document d = with(Facts{{{name, "value"}, {"a", words}, {"b", value}}});
  d.sections[0].blocks.emplace_back(Table{{"name", "about", "n"}, {{"x", words, "1"}, {"y", "short", "2"}}, 2, {}});
  d.sections[0].about = words;
  const std::string t = to_text(d);
  for (const std::string& l : lines_of(t)) {
    EXPECT_TRUE(l.size() <= 100 || l.find(value) != std::string::npos) << l;
    EXPECT_FALSE(l.ends_with(' ')) << l;
  }
  EXPECT_NE(t.find("  " + name + "\n"), std::string::npos) << "a long name has a line of its own";
  EXPECT_NE(t.find(value), std::string::npos) << "what is one word stays whole";
}

TEST(ReportText, AVeryWideTableKeepsItsNumbersWholeAndItsColumnsStraight) {
  Table t{{}, {}, 1, {}};
  std::vector<Cell> row;
  for (int i = 0; i < 30; ++i) {
    t.head.push_back("column number " + std::to_string(i));
    row.emplace_back("1234567." + std::to_string(i));
  }
  t.rows = {row, row};
  const std::vector<std::string> lines = lines_of(to_text(with(t)));
  std::size_t with_numbers = 0;
  for (const std::string& l : lines) with_numbers += l.find("1234567.29") != std::string::npos;
  EXPECT_EQ(with_numbers, 2U);
  EXPECT_EQ(lines.back().size(), lines[lines.size() - 2].size());
  EXPECT_EQ(lines.back().size(), lines[3].size()) << "the head ends where the numbers end";
}

TEST(ReportText, BarsThatATerminalShows) {
  Bars bars{{{"1", 5, "5 a second"}, {"16", 10}, {"none", std::nan("")}, {"less", -1}}, 0, "knee", 1, true};
  EXPECT_EQ(to_text(with(Chart{"rates", bars})),
            "A report\n\nSection\n  rates\n"
            "     1 |######################### 5 a second\n"
            "    16 |################################################## 10  <- knee\n"
            "  none | –\n"
            "  less | -1\n");
  EXPECT_EQ(to_text(with(Chart{"", Bars{{{"a", 0}}, 0, "", kOnlyWords, true}})), "A report\n\nSection\n  a | 0\n");
}

TEST(ReportWording, NumbersForPeople) {
  EXPECT_EQ(number(0), "0");
  EXPECT_EQ(number(1234567), "1,234,567");
  EXPECT_EQ(number(-1234), "-1,234");
  EXPECT_EQ(number(12.34), "12.3");
  EXPECT_EQ(number(0.5), "0.5");
  EXPECT_EQ(number(100), "100");
  for (const double none : {std::nan(""), HUGE_VAL, -HUGE_VAL}) EXPECT_EQ(number(none), "–");
  EXPECT_EQ(duration(999), "999 us");
  EXPECT_EQ(duration(1500), "1.5 ms");
  EXPECT_EQ(duration(2e6), "2 s");
  EXPECT_EQ(joined({}), "");
  EXPECT_EQ(joined({"a", "b"}), "a, b");
}

TEST(ReportWording, RoundUpNice) {
  EXPECT_DOUBLE_EQ(round_up_nice(0.9), 1);
  EXPECT_DOUBLE_EQ(round_up_nice(1), 1);
  EXPECT_DOUBLE_EQ(round_up_nice(1.01), 2);
  EXPECT_DOUBLE_EQ(round_up_nice(2.2), 2.5);
  EXPECT_DOUBLE_EQ(round_up_nice(26), 50);
  EXPECT_DOUBLE_EQ(round_up_nice(0.051), 0.1);
  for (const double none : {0.0, -1.0, std::nan(""), HUGE_VAL}) EXPECT_DOUBLE_EQ(round_up_nice(none), 1);
}

}  // namespace
}  // namespace kf::report
