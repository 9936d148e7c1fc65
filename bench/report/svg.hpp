// The few charts of the report as inline SVG. Colours and fonts come from the page's style sheet (classes), so that one
// drawing serves light and dark. Each says in words, for screen readers, what it shows. Pure text functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kf::bench::svg {

std::string escape(std::string_view s);  // for text and attributes
std::string number(double v);            // for people: "0.35", "12.3", "1,234"

struct Column {
  double value = 0;
  std::string tip;  // shown by the browser when the pointer rests on it
};
struct Axis {
  std::string unit;  // behind the last tick label
  double low = 0, high = 1;
};
struct Mark {     // a vertical line with a label
  double at = 0;  // on the x axis
  std::string label;
};
// Columns side by side over the x axis.
std::string columns(const std::vector<Column>& data, const Axis& x, const std::string& y_unit,
                    const std::vector<Mark>& marks = {}, int height = 220, std::string_view css = "c1");
// A filled step line over the x axis.
std::string area(const std::vector<Column>& data, const Axis& x, const std::string& y_unit, int height = 150,
                 std::string_view css = "c2");

struct Bar {
  std::string label;
  double value = 0;
  std::string text;  // written at its end
  std::string css = "c1";
  double low = 0, high = 0;  // a whisker over the end of the bar where high > low
};
// Widths in the units of a drawing that is `width_of_all` wide; the page scales it to its column.
std::string bars(const std::vector<Bar>& data, double highest, int label_width = 255, int text_width = 190,
                 int width_of_all = 860);
std::string duration(double us);  // for people: "12 us", "1.5 ms", "2 s"
// Counts by value as bars of 1, 2 to 3, 4 to 7 ...; pairs of value and count in rising order. `word` names what is
// counted, in the plural.
std::string powers_of_two(const std::vector<std::pair<double, double>>& counts, std::string_view word,
                          bool microseconds = false);

struct LinePoint {
  double x = 0, y = 0;
  std::string tip;
};
struct Line {
  std::string label;  // beside its last point
  std::string css = "c1";
  std::vector<LinePoint> points;  // rising x
};
struct Range {
  double least = 0, most = 0;  // of the positive values; 0: there are none
};
Range range_of(const std::vector<Line>& data);
// Lines with a dot at each point, over a logarithmic y axis; values that are not positive are left out. Drawings that
// are compared are given the same scale.
std::string lines(const std::vector<Line>& data, const Axis& x, const std::string& y_unit, int height = 260,
                  const std::optional<Range>& scale = std::nullopt);

}  // namespace kf::bench::svg
