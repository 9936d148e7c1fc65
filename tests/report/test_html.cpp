// A document as a page.
#include <gtest/gtest.h>

#include <cmath>

#include "host/report/document.hpp"

namespace kf::report {
namespace {

std::size_t count(std::string_view page, std::string_view what) {
  std::size_t n = 0;
  for (auto at = page.find(what); at != std::string_view::npos; at = page.find(what, at + 1)) ++n;
  return n;
}

const std::string kHostile = "<script>alert(1)</script>&\" onload=\"x\x1b\xFF";

// A document that says `text` wherever something can be said.
Document saying(const std::string& text) {
  Document d;
  d.title = d.lead = d.alert = text;
  d.tiles = {{text, text, Tone::bad}};
  d.summary = {{text, Tone::good}};
  Section s{text, text, {}};
  s.prose(text);
  s.fact(text, {text, Tone::bad});
  s.blocks.emplace_back(Table{{text, text}, {{text, {text, Tone::good}}}, 1, text});
  s.blocks.emplace_back(Code{text});
  s.blocks.emplace_back(Chart{text, Bars{{{text, 1, text}, {text, 2, text, Hue::grey, 1, 3}}, 0, text, 0}});
  s.blocks.emplace_back(Chart{text, Columns{{{1, text, text}}, {text, 0, 1}, text, {{0.5, text}}}});
  s.blocks.emplace_back(Chart{text, Columns{{{1, text, text}}, {text, 0, 1}, text, {}, 130, true}, true});
  s.blocks.emplace_back(Chart{text, Lines{{{text, Hue::first, {{0, 1, text, text}}}}, {text, 0, 1}, text}, true});
  d.sections.push_back(std::move(s));
  return d;
}

TEST(ReportHtml, EscapesWhateverIsSaid) {
  const std::string page = to_html(saying(kHostile));
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("\" onload"), std::string::npos);
  EXPECT_EQ(page.find('\x1b'), std::string::npos);
  EXPECT_EQ(page.find('\xFF'), std::string::npos) << "broken UTF-8";
  EXPECT_GE(count(page, "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot; onload=&quot;x\\x1B\\xFF"), 30U);
}

TEST(ReportHtml, StandsAloneAndIsWellFormed) {
  const std::string page = to_html(saying("words"));
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
  EXPECT_TRUE(page.ends_with("</html>\n"));
  for (const char* foreign : {"http://", "https://", "src=", "@import", "url(", "<script", "<link"})
    EXPECT_EQ(page.find(foreign), std::string::npos) << foreign;
  EXPECT_NE(page.find("prefers-color-scheme:dark"), std::string::npos);
  EXPECT_NE(page.find("name=\"viewport\""), std::string::npos);
  for (const std::string tag :
       {"html", "main", "section", "div",    "table",      "thead",   "tbody",   "tr",      "th",  "td",  "p",
        "h1",   "h2",   "svg",     "figure", "figcaption", "details", "summary", "caption", "pre", "text"})
    EXPECT_EQ(count(page, "<" + tag + ">") + count(page, "<" + tag + " "), count(page, "</" + tag + ">")) << tag;
  EXPECT_EQ(count(page, "<h1>"), 1U);
  EXPECT_LT(page.find("<h1>"), page.find("<h2>"));
}

TEST(ReportHtml, HeaderCellsSayWhatTheyHead) {
  const std::string page = to_html(saying("words"));
  EXPECT_EQ(count(page, "<th>"), 0U);
  EXPECT_EQ(count(page, "<th scope=\"col\"") + count(page, "<th scope=\"row\""), count(page, "<th "));
  Document d;
  d.sections.push_back({"s", "", {Table{{"", "a second"}, {{"x", "1"}}, 1, {}}}});
  EXPECT_NE(to_html(d).find("<tr><td></td><th scope=\"col\" class=\"n\">a second</th></tr>"), std::string::npos)
      << "a header that says nothing heads nothing";
}

TEST(ReportHtml, EachChartHasANameAndItsNumbersAsATable) {
  const std::string page = to_html(saying("words"));
  EXPECT_EQ(count(page, "<figure>"), 4U);
  EXPECT_EQ(count(page, "<svg "), 8U) << "for wide and for narrow screens";
  EXPECT_EQ(count(page, "role=\"img\" aria-label=\"words: "), 8U);
  EXPECT_EQ(count(page, "<details>"), 4U);
  EXPECT_EQ(count(page, "<div class=\"two\">"), 1U) << "halves stand side by side";

  const Table bars = twin({"", Bars{{{"a", 1.5}, {"b", 2, "two", Hue::grey, 1, 3}}, 0, "knee", 0}});
  EXPECT_EQ(bars.head, (std::vector<std::string>{"", "value", "lowest", "highest"}));
  EXPECT_EQ(bars.rows[0][1].text, "1.5, knee");
  EXPECT_EQ(bars.rows[1][1].text + " " + bars.rows[1][2].text + " " + bars.rows[1][3].text, "two 1 3");
  const Table lines = twin({"", Lines{{{"p50", Hue::first, {{25, 1, "25 %", "1 ms"}, {75, 2, "75 %", "2 ms"}}},
                                       {"p99", Hue::second, {{75, 9, "75 %", "9 ms"}}}},
                                      {"load", 0, 100},
                                      "ms"}});
  EXPECT_EQ(lines.head, (std::vector<std::string>{"load", "p50", "p99"}));
  ASSERT_EQ(lines.rows.size(), 2U);
  EXPECT_EQ(lines.rows[0][2].text, "");
  EXPECT_EQ(lines.rows[1][0].text + " " + lines.rows[1][1].text + " " + lines.rows[1][2].text, "75 % 2 ms 9 ms");
}

TEST(ReportHtml, TablesScrollWithinTheirCard) {
  Table wide{{}, {{}}, 1, {}};
  for (int i = 0; i < 100; ++i) {
    wide.head.push_back("column");
    wide.rows[0].emplace_back(std::string(50, 'x'));
  }
  Document d;
  d.sections.push_back({"s", "", {std::move(wide)}});
  const std::string page = to_html(d);
  EXPECT_EQ(count(page, "<table"), count(page, "<div class=\"scroll\""));
  EXPECT_NE(page.find(".scroll{overflow-x:auto}"), std::string::npos);
}

TEST(ReportHtml, NothingIsDrawnOfNothing) {
  Document d;
  d.title = "Empty";
  Section s{"s", "", {}};
  s.blocks = {Facts{}, Table{{"a"}, {}, 1, {}}, Chart{"bars", Bars{}},
              Chart{"columns", Columns{{}, {"s", 0, 0}, "y", {{1, "p50"}}}},
              Chart{"lines", Lines{{}, {"%", 0, 0}, "ms"}}};
  d.sections.push_back(std::move(s));
  const std::string page = to_html(d);
  EXPECT_EQ(page.find("<table"), std::string::npos);
  EXPECT_EQ(page.find("<svg"), std::string::npos);
  EXPECT_FALSE(to_html(Document{}).empty());
}

TEST(ReportHtml, WhatIsNoNumberIsDrawnAsNothing) {
  for (const double v : {std::nan(""), HUGE_VAL, -HUGE_VAL, -1.0, 0.0}) {
    Document d;
    Section s{"s", "", {}};
    s.blocks = {Chart{"bars", Bars{{{"a", v, "", Hue::first, v, v}, {"b", v}}}},
                Chart{"columns", Columns{{{v, "at", "text"}}, {"s", 0, 1}, "y"}},
                Chart{"area", Columns{{{v, "at", "text"}}, {"s", 0, 1}, "y", {}, 130, true}},
                Chart{"lines", Lines{{{"p50", Hue::first, {{1, v, "at", "text"}}}}, {"%", 0, 100}, "ms"}}};
    d.sections.push_back(std::move(s));
    const std::string page = to_html(d);
    EXPECT_EQ(page.find("nan"), std::string::npos) << v;
    EXPECT_EQ(page.find("\"inf"), std::string::npos) << v;
    EXPECT_EQ(page.find("\"-"), std::string::npos) << v;
    EXPECT_EQ(page.find(",-"), std::string::npos) << v;
  }
}

}  // namespace
}  // namespace kf::report
