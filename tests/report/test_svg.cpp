// The drawings: their words, their places, their form for telephones.
#include <gtest/gtest.h>

#include <regex>

#include "host/report/svg.hpp"

namespace kf::report {
namespace {

TEST(ReportSvg, SaysInWordsWhatItShows) {
  const std::string bars = svg::drawn({"CPU time", Bars{{{"HSM workers", 1.5, "1.5 s"}, {"a < b", 2}}}});
  EXPECT_NE(bars.find("aria-label=\"CPU time: HSM workers: 1.5 s; a &lt; b: 2\""), std::string::npos) << bars;
  const std::string columns = svg::drawn(
      {"",
       Columns{
           {{1, "0", "one"}, {7, "3", "the most"}, {2, "6", "two"}}, {"ms", 0, 9}, "downloads", {{3, "p50 3 ms"}}}});
  EXPECT_NE(columns.find("downloads by ms, from 0 to 9. Highest: 3: the most. p50 3 ms."), std::string::npos);
}

TEST(ReportSvg, WhiskersSpanWhatTheySay) {
  const std::string bars =
      svg::drawn({"", Bars{{{"a", 50, "fifty", Hue::first, 40, 60}, {"b", 10, "ten", Hue::first, 10, 10}}, 100}});
  EXPECT_NE(bars.find("<title>40 to 60</title>"), std::string::npos);
  EXPECT_EQ(bars.find("10 to 10"), std::string::npos);
  const std::regex whisker("class=\"whisker\" d=\"M([0-9.]+),[0-9]+ v8 m0,-4 H([0-9.]+)");
  const std::regex bar("<rect class=\"c1\" x=\"([0-9.]+)\" y=\"5\" width=\"([0-9.]+)\"");
  std::smatch w, b;
  ASSERT_TRUE(std::regex_search(bars, w, whisker));
  ASSERT_TRUE(std::regex_search(bars, b, bar));
  const double left = std::stod(b[1]), whole = std::stod(b[2]) * 2;
  EXPECT_NEAR(std::stod(w[1]), left + 0.4 * whole, 0.2);
  EXPECT_NEAR(std::stod(w[2]), left + 0.6 * whole, 0.2);
}

TEST(ReportSvg, LinesLeaveOutWhatALogarithmHasNoPlaceFor) {
  const std::string lines = svg::drawn(
      {"", Lines{{{"p50", Hue::first, {{25, 1, "25", "one"}, {50, 0, "50", "left out"}, {75, 100, "75", "hundred"}}}},
                 {"%", 0, 100},
                 "ms"}});
  EXPECT_EQ(lines.find("left out"), std::string::npos);
  for (const char* there : {"one", "hundred", ">p50<", ">1<", ">10<", ">100<"})
    EXPECT_NE(lines.find(there), std::string::npos) << there;
}

// Drawings that are compared have the same axis.
TEST(ReportSvg, LinesOnOneScale) {
  Lines low{{{"a", Hue::first, {{0, 1, "", "1"}, {1, 2, "", "2"}}}}, {"x", 0, 1}, "y"};
  Lines high{{{"b", Hue::first, {{0, 50, "", "50"}, {1, 90, "", "90"}}}}, {"x", 0, 1}, "y"};
  const Range both = range_of({low.data.front(), high.data.front()});
  EXPECT_EQ(both.least, 1);
  EXPECT_EQ(both.most, 90);
  const auto ticks = [](const Lines& l) {
    std::vector<std::string> out;
    const std::string s = svg::drawn({"", l});
    for (std::size_t at = 0; (at = s.find("text-anchor=\"end\">", at)) != std::string::npos; ++at)
      out.push_back(s.substr(at, s.find('<', at) - at));
    return out;
  };
  EXPECT_NE(ticks(low), ticks(high));
  low.scale = high.scale = both;
  EXPECT_EQ(ticks(low), ticks(high));
}

// A telephone gets a drawing of its own width, whose letters are as large as the page's and of which nothing is cut.
TEST(ReportSvg, HasAFormForTelephones) {
  const std::vector<Chart> charts{
      {"bars",
       Bars{{{"a thread with quite a long name that says much", 12.5, "12.5 s"}, {"b", 1, "100 ms a download"}}}},
      {"columns",
       Columns{{{1, "0", "one"}, {7, "3", "most"}}, {"ms", 0, 9}, "jobs", {{3, "p50 3 ms"}, {8, "p99 8 ms"}}}},
      {"area", Columns{{{1, "0", "one"}}, {"s", 0, 9}, "MiB", {}, 130, true}},
      {"lines", Lines{{{"lanes-vaes512", Hue::first, {{0, 1, "1", "1"}, {9, 2, "9", "2"}}}}, {"load", 0, 9}, "ms"}}};
  const std::regex text(
      "<text class=\"(row|value|label)\" x=\"([0-9.]+)\" y=\"[0-9.]+\"( text-anchor=\"end\"| "
      "text-anchor=\"start\")?>([^<]*)<");
  for (const Chart& c : charts) {
    const std::string both = svg::drawn(c);
    EXPECT_NE(both.find("class=\"wide"), std::string::npos);
    const std::string narrow = both.substr(both.rfind("<svg"));
    EXPECT_TRUE(narrow.starts_with("<svg viewBox=\"0 0 340 ")) << narrow.substr(0, 60);
    EXPECT_NE(narrow.find("class=\"narrow\""), std::string::npos);
    for (auto i = std::sregex_iterator(narrow.begin(), narrow.end(), text); i != std::sregex_iterator(); ++i) {
      const double x = std::stod((*i)[2]), width = 6.6 * static_cast<double>((*i)[4].length());
      const bool to_the_left = (*i)[3].str().find("end") != std::string::npos;
      EXPECT_GE(to_the_left ? x - width : x, -8) << c.title << ": " << (*i)[4];
      EXPECT_LE(to_the_left ? x : x + width, 348) << c.title << ": " << (*i)[4];
    }
  }
}

// Where neither label nor text leaves room for the other, each has a line.
TEST(ReportSvg, LongLabelsAndLongTextsDoNotTouchOnATelephone) {
  const std::string label(40, 'l'), value(40, 'v');
  const std::string both = svg::drawn({"", Bars{{{label, 2, value}, {"b", 1, "short"}}}});
  const std::string narrow = both.substr(both.rfind("<svg"));
  const auto y_of = [&](const std::string& text) {
    const auto at = narrow.rfind(" y=\"", narrow.find(">" + text + "<"));
    return std::stod(narrow.substr(at + 4));
  };
  EXPECT_GE(std::abs(y_of(label) - y_of(value)), 14);
  EXPECT_GE(y_of("b") - y_of(value), 30) << "the next row begins below this one's bar";
}

TEST(ReportSvg, Escapes) { EXPECT_EQ(svg::escape("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;"); }

}  // namespace
}  // namespace kf::report
