// A report as a document: values only, for the renderers to_text() and to_html(). Built once by whoever reports.
//
//   Document   title, lead, alert (what the reader must not miss), tiles (a figure and what it counts), summary,
//   sections Section    title, about (how to read what follows), blocks in the order in which they are shown Block
//   Prose, Facts (names and values), Table, Chart (bars, columns, an area, lines), Code Cell       a text and its tone
//
// Every text may come from a stranger: the renderers escape. Tiles and summary come first on a page and last in a
// terminal. A chart is drawn on a page, with its numbers as a table below it; a terminal shows only bars that say
// `in_terminal`, so what else a chart shows also stands in a table or in facts where it matters there.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kf::report {

enum class Tone : std::uint8_t { plain, good, bad };
struct Cell {
  std::string text;
  Tone tone = Tone::plain;
  Cell(std::string t = {}, Tone o = Tone::plain)
      : text(std::move(t)), tone(o) {}                             // NOLINT(google-explicit-constructor)
  Cell(std::string_view t) : text(t) {}                            // NOLINT(google-explicit-constructor)
  Cell(const char* t, Tone o = Tone::plain) : text(t), tone(o) {}  // NOLINT(google-explicit-constructor)
};

struct Prose {
  Cell text;
};
struct Fact {
  std::string name;  // leading spaces indent it
  Cell value;
};
struct Facts {
  std::vector<Fact> rows;
};
struct Code {
  std::string text;
};

inline constexpr std::size_t kOnlyWords = std::numeric_limits<std::size_t>::max();
struct Table {
  std::vector<std::string> head;
  std::vector<std::vector<Cell>> rows;  // each as long as the head; leading spaces indent a row's name
  std::size_t words = 1;                // the first columns hold words, the others numbers
  std::string title;
};

enum class Hue : std::uint8_t { first, second, grey };
struct Axis {
  std::string unit;
  double low = 0, high = 1;
};
struct Bar {
  std::string label;
  double value = 0;
  std::string text = {};  // the value for people; empty: as number() writes it
  Hue hue = Hue::first;
  double low = 0, high = 0;  // a whisker over the end of the bar where high > low
};
struct Column {
  double value = 0;
  std::string at, text;  // "10 to 20 ms", "3 downloads"
};
struct Mark {  // a vertical line with a label
  double at = 0;
  std::string label;
};
struct LinePoint {
  double x = 0, y = 0;
  std::string at, text;  // "64", "1.5 GB/s"
};
struct Line {
  std::string label;  // beside its last point
  Hue hue = Hue::first;
  std::vector<LinePoint> points;  // rising x
};
struct Range {
  double least = 0, most = 0;
};

struct Bars {
  std::vector<Bar> data;
  double highest = 0;     // of several drawings that are compared; 0: of these
  std::string mark = {};  // what is said of the bar `marked`
  std::size_t marked = std::numeric_limits<std::size_t>::max();
  bool in_terminal = false;
};
struct Columns {  // side by side over the x axis
  std::vector<Column> data;
  Axis x;
  std::string y_unit;
  std::vector<Mark> marks = {};
  int height = 220;
  bool area = false;  // one filled step line instead
};
struct Lines {  // a dot at each point, over a logarithmic y axis; values that are not positive are left out
  std::vector<Line> data;
  Axis x;
  std::string y_unit;
  Range scale = {};  // of several drawings that are compared; most 0: of these
  int height = 260;
};
struct Chart {
  std::string title;
  std::variant<Bars, Columns, Lines> drawing;
  bool half = false;  // such neighbours stand side by side where there is room
};

using Block = std::variant<Prose, Facts, Table, Chart, Code>;
struct Section {
  std::string title, about;
  std::vector<Block> blocks;
  bool page_only = false;  // details of what a terminal is told in another section

  void prose(std::string text) { blocks.emplace_back(Prose{std::move(text)}); }
  void fact(std::string name, Cell value) {  // joins the facts before it
    if (blocks.empty() || !std::holds_alternative<Facts>(blocks.back())) blocks.emplace_back(Facts{});
    std::get<Facts>(blocks.back()).rows.push_back({std::move(name), std::move(value)});
  }
};
struct Tile {
  std::string value, what;
  Tone tone = Tone::plain;
};
struct Document {
  std::string title, lead, alert;
  std::vector<Tile> tiles;
  std::vector<Cell> summary;
  std::vector<Section> sections;
};

std::string to_text(const Document& d);  // for a terminal, without colours
std::string to_html(const Document& d);  // one file

Range range_of(const std::vector<Line>& data);  // of the positive values
Table twin(const Chart& c);                     // what a chart shows, as a table

}  // namespace kf::report
