#include "host/report/svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <tuple>

#include "host/base/text.hpp"
#include "host/report/wording.hpp"

namespace kf::report {
namespace {

using svg::escape;

constexpr int kWidth = 860, kLeft = 56, kRight = 44, kTop = 22, kBottom = 30;
// On a telephone: about as many units as there are pixels, so that letters have their size and nothing is cut.
constexpr int kNarrow = 340;
constexpr double kLetter = 7.2;  // of the row labels' font, generously

std::string_view css_of(Hue h) { return h == Hue::first ? "c1" : h == Hue::second ? "c2" : "c3"; }
double drawable(double v) { return std::isfinite(v) && v > 0 ? v : 0; }
double letters(std::string_view s) {  // how many are seen
  return static_cast<double>(std::ranges::count_if(s, [](char c) { return (c & 0xC0) != 0x80; }));
}
std::string text_of(const Bars& d, std::size_t i) {
  const Bar& b = d.data[i];
  return (b.text.empty() ? number(b.value) : b.text) + (i == d.marked ? ", " + d.mark : "");
}

class Canvas {
 public:
  // `label` is what a screen reader says. The page shows the drawing of the class that fits the screen (html.cpp).
  Canvas(const std::string& label, int height, int width, bool narrow) {
    add(R"(<svg viewBox="0 0 {} {}" class="{}" role="img" aria-label="{}">)", width, height,
        narrow           ? "narrow"
        : width < kWidth ? "wide half"
                         : "wide",
        escape(label));
  }
  template <class... A>
  void add(fmt::format_string<A...> f, A&&... a) {
    fmt::format_to(std::back_inserter(s_), f, std::forward<A>(a)...);
    s_ += '\n';
  }
  std::string take() {
    s_ += "</svg>\n";
    return std::move(s_);
  }

 private:
  std::string s_;
};

struct Frame {  // maps values to pixels and draws the grid
  Axis x;
  bool narrow = false;
  int width = kWidth;
  int top = kTop;  // where the columns may begin
  double y_high = 1;
  int height = 200;
  [[nodiscard]] double px(double v) const { return kLeft + (v - x.low) / (x.high - x.low) * (width - kLeft - kRight); }
  [[nodiscard]] double py(double v) const { return height - kBottom - v / y_high * (height - top - kBottom); }

  void grid(Canvas& c, const std::string& y_unit) const {
    const double step = round_up_nice(y_high / 4);
    for (double v = 0; v <= y_high * 1.0001; v += step) {
      c.add(R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)", kLeft, width - kRight, py(v), py(v));
      c.add(R"(<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>)", kLeft - 6, py(v) + 4, number(v));
    }
    c.add(R"(<text class="tick" x="{}" y="12">{}</text>)", kLeft, escape(y_unit));
    const double x_step = round_up_nice((x.high - x.low) / (narrow ? 4 : 8));
    for (double v = x.low; v <= x.high * 1.0001; v += x_step)
      c.add(R"(<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>)", px(v), height - 10, number(v));
    c.add(R"(<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>)", width, height - 10, escape(x.unit));
  }
};

Frame frame_for(const Columns& d, bool narrow) {
  Frame f;
  f.x = d.x;
  f.narrow = narrow;
  f.width = narrow ? kNarrow : kWidth;
  f.height = d.height;
  if (!(f.x.high > f.x.low)) f.x.high = f.x.low + 1;
  double most = 0;
  for (const Column& c : d.data) most = std::max(most, drawable(c.value));
  const double step = round_up_nice((most > 0 ? most : 1) / 4);
  f.y_high = step * std::ceil((most > 0 ? most : 1) / step - 1e-9);
  return f;
}

std::string tip_of(const Column& c) { return c.at + ": " + c.text; }

// Labels side by side: the next one goes a line lower when it would touch. Narrow: a line for each.
void draw_marks(Canvas& c, const Frame& f, const std::vector<Mark>& marks) {
  double free_from = 0;
  int line = 0;
  for (const Mark& m : marks) {
    const double at = f.px(std::clamp(m.at, f.x.low, f.x.high));
    const bool left = at > f.width - 130;
    const double width = 7.0 * letters(m.label);
    line = f.narrow || (left ? at - 8 - width : at) < free_from ? line + 1 : 0;
    const int row = f.narrow ? line - 1 : line;
    c.add(R"(<line class="mark" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{:.1f}"/>)", at, at,
          kTop - 6 + (f.narrow ? 15 * row : 0), f.py(0));
    c.add(R"(<text class="label" x="{:.1f}" y="{}" text-anchor="{}">{}</text>)", left ? at - 4 : at + 4,
          kTop + 4 + 15 * row, left ? "end" : "start", escape(m.label));
    free_from = left ? at : at + 8 + width;
  }
}

void draw_columns(Canvas& c, const Frame& f, const Columns& d, double width) {
  const double gap = width > 6 ? 2 : width > 3 ? 1 : 0;
  for (std::size_t i = 0; i < d.data.size(); ++i) {
    const double top = f.py(drawable(d.data[i].value));
    if (drawable(d.data[i].value) == 0) continue;
    c.add(R"(<rect class="c1" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>)",
          f.px(f.x.low) + width * static_cast<double>(i) + gap / 2, top, width - gap, f.py(0) - top,
          escape(tip_of(d.data[i])));
  }
}

void draw_area(Canvas& c, const Frame& f, const Columns& d, double width) {
  std::string line;
  for (std::size_t i = 0; i < d.data.size(); ++i) {
    const double left = f.px(f.x.low) + width * static_cast<double>(i), top = f.py(drawable(d.data[i].value));
    line += fmt::format("{}{:.2f},{:.2f} L{:.2f},{:.2f} ", i == 0 ? "M" : "L", left, top, left + width, top);
  }
  c.add(R"(<path class="c2 fill" d="{}L{:.2f},{:.2f} L{:.2f},{:.2f} Z"/>)", line, f.px(f.x.high), f.py(0),
        f.px(f.x.low), f.py(0));
  c.add(R"(<path class="c2 line" d="{}"/>)", line);
  for (std::size_t i = 0; i < d.data.size(); ++i)
    c.add(R"(<rect class="hover" x="{:.2f}" y="{}" width="{:.2f}" height="{}"><title>{}</title></rect>)",
          f.px(f.x.low) + width * static_cast<double>(i), kTop, width, f.height - kTop - kBottom,
          escape(tip_of(d.data[i])));
}

std::string draw(const Columns& d, const std::string& title, bool narrow, bool /*half*/) {
  Frame f = frame_for(d, narrow);
  if (narrow) {  // room for the labels above the columns
    f.top += 15 * static_cast<int>(d.marks.size());
    f.height += 15 * static_cast<int>(d.marks.size());
  }
  // The highest value and where it is, the first and the last: what the eye takes from a row of columns.
  std::string words =
      title + d.y_unit + " by " + d.x.unit + ", from " + number(f.x.low) + " to " + number(f.x.high) + ".";
  const auto most = std::ranges::max_element(d.data, {}, [](const Column& c) { return drawable(c.value); });
  if (most != d.data.end()) words += " Highest: " + tip_of(*most) + ".";
  for (const Mark& m : d.marks) words += " " + m.label + ".";
  Canvas c(words, f.height, f.width, narrow);
  f.grid(c, d.y_unit);
  const double width = (f.px(f.x.high) - f.px(f.x.low)) / static_cast<double>(d.data.size());
  (d.area ? draw_area : draw_columns)(c, f, d, width);
  draw_marks(c, f, d.marks);
  return c.take();
}

// Wide: the label before its bar, the text behind it. Narrow: the label above its bar, and the text there as well where
// it does not fit behind, in a line of its own where both are long.
std::string draw(const Bars& d, const std::string& title, bool narrow, bool half) {
  double label_width = 0, text_width = 0, label_and_text = 0, highest = drawable(d.highest);
  std::string words = title;
  for (std::size_t i = 0; i < d.data.size(); ++i) {
    const Bar& b = d.data[i];
    words += (i == 0 ? "" : "; ") + b.label + ": " + text_of(d, i);
    label_width = std::max(label_width, kLetter * letters(b.label) + 12);
    text_width = std::max(text_width, kLetter * letters(text_of(d, i)) + 12);
    label_and_text = std::max(label_and_text, kLetter * letters(b.label + text_of(d, i)) + 12);
    highest = std::max({highest, drawable(b.value), drawable(b.high)});
  }
  const double all = narrow ? kNarrow : half ? kWidth / 2 - 10 : kWidth;
  label_width = narrow ? 0 : std::min(label_width, all / 2);
  const double room = all - label_width - std::min(text_width, all * (narrow ? 0.5 : 0.4));
  // Narrow and both long: a line each.
  const int below = narrow && label_and_text > all ? 16 : 0, row = narrow ? 42 + below : 28, height = narrow ? 14 : 18;
  const auto length = [&](double v) { return highest > 0 ? drawable(v) / highest * room : 0; };
  Canvas c(words, row * static_cast<int>(d.data.size()) + 4, static_cast<int>(all), narrow);
  for (std::size_t i = 0; i < d.data.size(); ++i) {
    const Bar& b = d.data[i];
    const int y = row * static_cast<int>(i) + (narrow ? 21 + below : 5);  // of the bar
    const int base = y + (narrow ? 12 : 14);                              // of a text beside it
    c.add(R"(<text class="row" x="{:.1f}" y="{}" text-anchor="{}">{}</text>)", narrow ? 0 : label_width - 10,
          narrow ? y - 6 - below : base, narrow ? "start" : "end", escape(b.label));
    double end = drawable(b.value) > 0 ? std::max(length(b.value), 1.5) : 0;
    c.add(R"(<rect class="{}" x="{:.1f}" y="{}" width="{:.2f}" height="{}" rx="2"/>)",
          css_of(i == d.marked ? Hue::second : b.hue), label_width, y, end, height);
    if (b.high > b.low && highest > 0) {
      end = std::max(end, length(b.high));
      c.add(R"(<path class="whisker" d="M{:.1f},{} v8 m0,-4 H{:.1f} m0,-4 v8"><title>{} to {}</title></path>)",
            label_width + length(b.low), y + height / 2 - 4, label_width + length(b.high), number(b.low),
            number(b.high));
    }
    const std::string text = text_of(d, i);
    const bool fits = !narrow || end + 6 + kLetter * letters(text) <= all;
    c.add(R"(<text class="value" x="{:.1f}" y="{}" text-anchor="{}">{}</text>)", fits ? label_width + end + 8 : all,
          fits ? base : y - 6, fits ? "start" : "end", escape(text));
  }
  return c.take();
}

// Whole steps of 1, 2, 5 times a power of ten below and above.
struct LogScale {
  int first = 0, last = 1;
  explicit LogScale(const Range& r) {
    first = static_cast<int>(std::floor(std::log10(r.least))) * 3;
    while (step(first + 1) <= r.least) ++first;
    last = first + 1;
    while (step(last) < r.most) ++last;
  }
  static double step(int i) {
    constexpr std::array<double, 3> kSteps{1, 2, 5};
    const int decade = i >= 0 ? i / 3 : (i - 2) / 3;
    return kSteps.at(static_cast<std::size_t>(i - decade * 3)) * std::pow(10.0, decade);
  }
  [[nodiscard]] double part(double v) const {  // 0 at the bottom, 1 at the top
    return std::log(v / step(first)) / std::log(step(last) / step(first));
  }
};

std::string draw(const Lines& d, const std::string& title, bool narrow, bool /*half*/) {
  const Range range = d.scale.most > 0 ? d.scale : range_of(d.data);
  std::string words = title + d.y_unit + " by " + d.x.unit + ".";
  std::size_t longest = 0;
  for (const Line& l : d.data) {
    longest = std::max(longest, l.label.size());
    if (!l.points.empty())
      words += " " + l.label + ": " + number(l.points.front().y) + " to " + number(l.points.back().y) + ".";
  }
  const int width = narrow ? kNarrow : kWidth;
  Canvas c(words, d.height, width, narrow);
  if (!(range.least > 0)) return c.take();
  const LogScale scale(range);
  const double x_range = d.x.high > d.x.low ? d.x.high - d.x.low : 1;
  const int end = width - (narrow ? std::min(12 + 7 * static_cast<int>(longest), kNarrow / 3) : kRight + 50);
  const auto px = [&](double v) { return kLeft + (v - d.x.low) / x_range * (end - kLeft); };
  const auto py = [&](double v) { return d.height - kBottom - scale.part(v) * (d.height - kTop - kBottom); };
  for (int i = scale.first; i <= scale.last; ++i) {
    const double v = LogScale::step(i);
    c.add(R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)", kLeft, end, py(v), py(v));
    c.add(R"(<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>)", kLeft - 6, py(v) + 4, number(v));
  }
  c.add(R"(<text class="tick" x="{}" y="12">{}</text>)", kLeft, escape(d.y_unit));
  const double unit_from = width - 6.5 * letters(d.x.unit) - 14;
  const double x_step = round_up_nice(x_range / (narrow ? 4 : 8));
  for (double v = d.x.low; v <= d.x.high * 1.0001; v += x_step)
    if (px(v) < unit_from)  // the name of the axis stands there
      c.add(R"(<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>)", px(v), d.height - 10, number(v));
  c.add(R"(<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>)", width, d.height - 10, escape(d.x.unit));
  std::vector<std::tuple<double, double, std::string>> labels;  // y, x, text
  for (const Line& l : d.data) {
    std::string path, dots;
    double x = 0, y = 0;
    for (const LinePoint& p : l.points) {
      if (drawable(p.y) == 0) continue;
      x = px(p.x), y = py(p.y);
      path += fmt::format("{}{:.1f},{:.1f} ", path.empty() ? "M" : "L", x, y);
      dots += fmt::format(R"(<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>)",
                          css_of(l.hue), x, y, escape(l.label + ", " + p.at + ": " + p.text));
    }
    if (path.empty()) continue;
    c.add(R"(<path class="{} line" d="{}"/>{})", css_of(l.hue), path, dots);
    labels.emplace_back(y, x + 8, l.label);
  }
  std::ranges::sort(labels);
  double free_from = 0;  // labels that would touch move down
  for (const auto& [y, x, label] : labels) {
    const double at = std::max(y, free_from);
    c.add(R"(<text class="label" x="{:.1f}" y="{:.1f}">{}</text>)", x, at + 4, escape(label));
    free_from = at + 13;
  }
  return c.take();
}

Table twin_of(const Bars& d) {
  Table t{{"", "value"}, {}, 1, {}};
  const bool whiskers = std::ranges::any_of(d.data, [](const Bar& b) { return b.high > b.low; });
  if (whiskers) t.head.insert(t.head.end(), {"lowest", "highest"});
  for (std::size_t i = 0; i < d.data.size(); ++i) {
    const Bar& b = d.data[i];
    std::vector<Cell> row{b.label, text_of(d, i)};
    if (whiskers) row.insert(row.end(), {number(b.low), number(b.high)});
    t.rows.push_back(std::move(row));
  }
  return t;
}
Table twin_of(const Columns& d) {
  Table t{{d.x.unit, d.y_unit}, {}, 1, {}};
  for (const Column& c : d.data) t.rows.push_back({c.at, c.text});
  if (d.data.empty()) return t;
  for (const Mark& m : d.marks) t.rows.push_back({m.label, ""});
  return t;
}
Table twin_of(const Lines& d) {
  Table t{{d.x.unit}, {}, 1, {}};
  std::map<double, std::size_t> row_of;
  for (std::size_t i = 0; i < d.data.size(); ++i) {
    t.head.push_back(d.data[i].label);
    for (const LinePoint& p : d.data[i].points) {
      if (row_of.try_emplace(p.x, t.rows.size()).second) t.rows.emplace_back(d.data.size() + 1, Cell()).front() = p.at;
      t.rows[row_of[p.x]][i + 1] = p.text;
    }
  }
  return t;
}

}  // namespace

namespace svg {

std::string escape(std::string_view s) {
  std::string out;
  for (const char ch : clean_lines(s)) {
    switch (ch) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += ch;
    }
  }
  return out;
}

std::string drawn(const Chart& c) {
  const std::string title = c.title.empty() ? "" : c.title + ": ";
  const auto one = [&](bool narrow) {
    return std::visit([&](const auto& d) { return draw(d, title, narrow, c.half); }, c.drawing);
  };
  return one(false) + one(true);
}

}  // namespace svg

Range range_of(const std::vector<Line>& data) {
  Range r;
  for (const Line& l : data)
    for (const LinePoint& p : l.points) {
      if (drawable(p.y) == 0) continue;
      r.least = r.least > 0 ? std::min(r.least, p.y) : p.y;
      r.most = std::max(r.most, p.y);
    }
  return r;
}

Table twin(const Chart& c) {
  return std::visit([](const auto& d) { return twin_of(d); }, c.drawing);
}

}  // namespace kf::report
