#include "bench/report/svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <tuple>

#include "bench/report/numbers.hpp"

namespace kf::bench::svg {
namespace {

constexpr int kWidth = 860, kLeft = 56, kRight = 44, kTop = 22, kBottom = 30;
// On a telephone: about as many units as there are pixels, so that letters have their size and nothing is cut.
constexpr int kNarrow = 340;

class Canvas {
 public:
  // `label` is what a screen reader says. The page shows the drawing of the class that fits the screen (page.cpp).
  Canvas(const std::string& label, int height, int width = kWidth, bool narrow = false) {
    add(R"(<svg viewBox="0 0 {} {}" class="{}" role="img" aria-label="{}">)", width, height,
        narrow                   ? "narrow"
        : width > kWidth / 2 + 1 ? "wide"
                                 : "wide half",
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

// Each drawing twice, for either screen.
template <class Draw>
std::string for_both(const Draw& draw) {
  return draw(false) + draw(true);
}

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

Frame frame_for(const std::vector<Column>& data, const Axis& x, int height, bool narrow) {
  Frame f;
  f.x = x;
  f.narrow = narrow;
  f.width = narrow ? kNarrow : kWidth;
  if (!(f.x.high > f.x.low)) f.x.high = f.x.low + 1;
  f.height = height;
  double most = 0;
  for (const auto& d : data) most = std::max(most, d.value);
  const double step = round_up_nice((most > 0 ? most : 1) / 4);
  f.y_high = step * std::ceil((most > 0 ? most : 1) / step - 1e-9);
  return f;
}

// The highest value and where it is, and the first and the last: what the eye takes from a row of columns.
std::string in_words(const std::vector<Column>& data, const Axis& x, const std::string& y_unit,
                     const std::vector<Mark>& marks) {
  std::string s = y_unit + " by " + x.unit + ", from " + number(x.low) + " to " + number(x.high) + ".";
  const auto most =
      std::max_element(data.begin(), data.end(), [](const Column& a, const Column& b) { return a.value < b.value; });
  if (most != data.end()) s += " Highest: " + most->tip + ".";
  for (const Mark& m : marks) s += " " + m.label + ".";
  return s;
}

}  // namespace

std::string escape(std::string_view s) {
  std::string out;
  for (const char ch : s) {
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

std::string number(double v) {
  if (v == 0) return "0";
  const double a = std::fabs(v);
  if (a >= 1000) {
    std::string digits = fmt::format("{:.0f}", a);
    for (std::ptrdiff_t at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
      digits.insert(static_cast<std::size_t>(at), ",");
    return (v < 0 ? "-" : "") + digits;
  }
  std::string s = fmt::format("{:.{}f}", v, a >= 100 ? 0 : a >= 10 ? 1 : a >= 1 ? 2 : 3);
  if (s.find('.') != std::string::npos) {
    while (s.back() == '0') s.pop_back();
    if (s.back() == '.') s.pop_back();
  }
  return s;
}

std::string columns(const std::vector<Column>& data, const Axis& x, const std::string& y_unit,
                    const std::vector<Mark>& marks, int height, std::string_view css) {
  return for_both([&](bool narrow) {
    Frame f = frame_for(data, x, height, narrow);
    if (narrow) {  // a line for each label, above the columns
      f.top += 15 * static_cast<int>(marks.size());
      f.height += 15 * static_cast<int>(marks.size());
    }
    Canvas c(in_words(data, x, y_unit, marks), f.height, f.width, narrow);
    f.grid(c, y_unit);
    const double width = (f.px(f.x.high) - f.px(f.x.low)) / static_cast<double>(std::max<std::size_t>(data.size(), 1));
    const double gap = width > 6 ? 2 : width > 3 ? 1 : 0;
    for (std::size_t i = 0; i < data.size(); ++i) {
      if (data[i].value <= 0) continue;
      const double top = f.py(data[i].value);
      c.add(R"(<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>)", css,
            f.px(f.x.low) + width * static_cast<double>(i) + gap / 2, top, width - gap, f.py(0) - top,
            escape(data[i].tip));
    }
    double free_from = 0;  // labels side by side: the next one goes a line lower when it would touch
    int line = 0;
    for (const auto& m : marks) {
      const double at = f.px(std::clamp(m.at, f.x.low, f.x.high));
      const bool left = at > f.width - 130;
      const double width_of_label = 7.0 * static_cast<double>(m.label.size());
      line = narrow || (left ? at - 8 - width_of_label : at) < free_from ? line + 1 : 0;
      c.add(R"(<line class="mark" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{:.1f}"/>)", at, at,
            narrow ? kTop - 6 + 15 * (line - 1) : kTop - 6, f.py(0));
      c.add(R"(<text class="label" x="{:.1f}" y="{}" text-anchor="{}">{}</text>)", left ? at - 4 : at + 4,
            kTop + 4 + 15 * (narrow ? line - 1 : line), left ? "end" : "start", escape(m.label));
      free_from = left ? at : at + 8 + width_of_label;
    }
    return c.take();
  });
}

std::string area(const std::vector<Column>& data, const Axis& x, const std::string& y_unit, int height,
                 std::string_view css) {
  return for_both([&](bool narrow) {
    const Frame f = frame_for(data, x, height, narrow);
    Canvas c(in_words(data, x, y_unit, {}), height, f.width, narrow);
    f.grid(c, y_unit);
    const double width = (f.px(f.x.high) - f.px(f.x.low)) / static_cast<double>(std::max<std::size_t>(data.size(), 1));
    std::string line;
    for (std::size_t i = 0; i < data.size(); ++i) {
      const double left = f.px(f.x.low) + width * static_cast<double>(i);
      line += fmt::format("{}{:.2f},{:.2f} L{:.2f},{:.2f} ", i == 0 ? "M" : "L", left, f.py(data[i].value),
                          left + width, f.py(data[i].value));
    }
    if (!data.empty()) {
      c.add(R"(<path class="{} fill" d="{}L{:.2f},{:.2f} L{:.2f},{:.2f} Z"/>)", css, line, f.px(f.x.high), f.py(0),
            f.px(f.x.low), f.py(0));
      c.add(R"(<path class="{} line" d="{}"/>)", css, line);
    }
    for (std::size_t i = 0; i < data.size(); ++i)
      c.add(R"(<rect class="hover" x="{:.2f}" y="{}" width="{:.2f}" height="{}"><title>{}</title></rect>)",
            f.px(f.x.low) + width * static_cast<double>(i), kTop, width, height - kTop - kBottom, escape(data[i].tip));
    return c.take();
  });
}

namespace {

// The label stands above its bar and the text at its end, or in the line of the label where there is no room.
std::string narrow_bars(const std::vector<Bar>& data, double highest, const std::string& words) {
  constexpr int kRow = 42;
  constexpr double kLetter = 7.2;
  Canvas c(words, kRow * static_cast<int>(data.size()) + 4, kNarrow, true);
  std::size_t longest = 0;
  for (const Bar& b : data) longest = std::max(longest, b.text.size());
  const double text_width = std::min(kLetter * static_cast<double>(longest) + 10, kNarrow / 2.0);
  const double room = kNarrow - text_width;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const Bar& b = data[i];
    const int y = kRow * static_cast<int>(i);
    const double width = highest > 0 ? std::max(b.value / highest * room, b.value > 0 ? 1.5 : 0.0) : 0;
    c.add(R"(<text class="row" x="0" y="{}">{}</text>)", y + 15, escape(b.label));
    c.add(R"(<rect class="{}" x="0" y="{}" width="{:.2f}" height="14" rx="2"/>)", b.css, y + 21, width);
    double end = width;
    if (b.high > b.low && highest > 0) {
      const double to = b.high / highest * room;
      end = std::max(end, to);
      c.add(R"(<path class="whisker" d="M{:.1f},{} v8 m0,-4 H{:.1f} m0,-4 v8"><title>{} to {}</title></path>)",
            b.low / highest * room, y + 24, to, number(b.low), number(b.high));
    }
    const double needs = kLetter * static_cast<double>(b.text.size());
    const bool fits = end + 6 + needs <= kNarrow;
    c.add(R"(<text class="value" x="{:.1f}" y="{}" text-anchor="{}">{}</text>)", fits ? end + 6 : kNarrow * 1.0,
          fits ? y + 33 : y + 15, fits ? "start" : "end", escape(b.text));
  }
  return c.take();
}

}  // namespace

std::string bars(const std::vector<Bar>& data, double highest, int label_width, int text_width, int width_of_all) {
  constexpr int kRow = 28;
  constexpr double kLetter = 7.2;  // of the row labels' font, generously
  for (const Bar& b : data) {      // a label that is longer than foreseen takes room from the bars, up to half of it
    const int wanted = static_cast<int>(kLetter * static_cast<double>(b.label.size())) + 12;
    label_width = std::max(label_width, std::min(wanted, width_of_all / 2));
  }
  std::string words;
  for (const Bar& b : data)
    words += (words.empty() ? "" : "; ") + b.label + ": " + (b.text.empty() ? number(b.value) : b.text);
  return for_both([&](bool narrow) {
    if (narrow) return narrow_bars(data, highest, words);
    Canvas c(words, kRow * static_cast<int>(data.size()) + 4, width_of_all);
    const double room = width_of_all - label_width - text_width;
    for (std::size_t i = 0; i < data.size(); ++i) {
      const int y = kRow * static_cast<int>(i);
      const double width = highest > 0 ? std::max(data[i].value / highest * room, data[i].value > 0 ? 1.5 : 0.0) : 0;
      c.add(R"(<text class="row" x="{}" y="{}" text-anchor="end">{}</text>)", label_width - 10, y + 19,
            escape(data[i].label));
      c.add(R"(<rect class="{}" x="{}" y="{}" width="{:.2f}" height="18" rx="2"/>)", data[i].css, label_width, y + 5,
            width);
      double end = width;
      if (data[i].high > data[i].low && highest > 0) {
        const double from = label_width + data[i].low / highest * room;
        const double to = label_width + data[i].high / highest * room;
        end = std::max(end, to - label_width);
        c.add(R"(<path class="whisker" d="M{:.1f},{} v8 m0,-4 H{:.1f} m0,-4 v8"><title>{} to {}</title></path>)", from,
              y + 10, to, number(data[i].low), number(data[i].high));
      }
      c.add(R"(<text class="value" x="{:.1f}" y="{}">{}</text>)", label_width + end + 8, y + 19, escape(data[i].text));
    }
    return c.take();
  });
}

std::string duration(double us) {
  if (us < 1000) return number(us) + " us";
  return us < 1e6 ? number(us / 1e3) + " ms" : number(us / 1e6) + " s";
}

std::string powers_of_two(const std::vector<std::pair<double, double>>& counts, std::string_view word,
                          bool microseconds) {
  std::vector<Bar> out;
  double most = 0;
  double last = -1;
  for (const auto& [value, count] : counts) {
    double from = value < 1 ? 0 : 1;
    while (from >= 1 && from * 2 <= value) from *= 2;
    if (out.empty() || from != last) {
      const std::string label = microseconds ? "from " + duration(from)
                                : from <= 1  ? number(from)
                                             : number(from) + " to " + number(from * 2 - 1);
      out.push_back({label, 0, "", "c1"});
      last = from;
    }
    out.back().value += count;
    most = std::max(most, out.back().value);
  }
  for (auto& b : out) b.text = number(b.value);
  if (!out.empty())
    out.front().text += " " + std::string(word.substr(0, word.size() - (out.front().value != 1   ? 0
                                                                        : word.ends_with("ches") ? 2
                                                                                                 : 1)));
  return bars(out, most, 120, 90, 420);
}

Range range_of(const std::vector<Line>& data) {
  Range r;
  for (const auto& l : data)
    for (const auto& p : l.points) {
      if (p.y <= 0) continue;
      r.least = r.least > 0 ? std::min(r.least, p.y) : p.y;
      r.most = std::max(r.most, p.y);
    }
  return r;
}

std::string lines(const std::vector<Line>& data, const Axis& x, const std::string& y_unit, int height,
                  const std::optional<Range>& scale) {
  const auto [least, most] = scale ? *scale : range_of(data);
  std::string words = y_unit + " by " + x.unit + ".";
  for (const auto& l : data)
    if (!l.points.empty())
      words += " " + l.label + ": " + number(l.points.front().y) + " to " + number(l.points.back().y) + ".";
  return for_both([&](bool narrow) {
    const int width = narrow ? kNarrow : kWidth;
    Canvas c(words, height, width, narrow);
    if (!(least > 0)) return c.take();
    // Whole steps of 1, 2, 5 times a power of ten below and above.
    constexpr std::array<double, 3> kSteps{1, 2, 5};
    const auto step_at = [&](int i) {
      const int decade = i >= 0 ? i / 3 : (i - 2) / 3;
      return kSteps.at(static_cast<std::size_t>(i - decade * 3)) * std::pow(10.0, decade);
    };
    int first = static_cast<int>(std::floor(std::log10(least))) * 3;
    while (step_at(first + 1) <= least) ++first;
    int last = first + 1;
    while (step_at(last) < most) ++last;
    const double low = std::log(step_at(first));
    const double range = std::log(step_at(last)) - low;
    const auto py = [&](double v) {
      return height - kBottom - (std::log(v) - low) / range * (height - kTop - kBottom);
    };
    std::size_t longest = 0;
    for (const auto& l : data) longest = std::max(longest, l.label.size());
    const int for_labels = narrow ? std::min(12 + 7 * static_cast<int>(longest), kNarrow / 3) : kRight + 50;
    const int end = width - for_labels;
    const auto px = [&](double v) { return kLeft + (v - x.low) / (x.high - x.low) * (end - kLeft); };
    for (int i = first; i <= last; ++i) {
      const double v = step_at(i);
      c.add(R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)", kLeft, end, py(v), py(v));
      c.add(R"(<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>)", kLeft - 6, py(v) + 4, number(v));
    }
    c.add(R"(<text class="tick" x="{}" y="12">{}</text>)", kLeft, escape(y_unit));
    const double x_step = round_up_nice((x.high - x.low) / (narrow ? 4 : 8));
    const double unit_from = width - 6.5 * static_cast<double>(x.unit.size()) - 14;
    for (double v = x.low; v <= x.high * 1.0001; v += x_step)
      if (px(v) < unit_from)  // the name of the axis stands there
        c.add(R"(<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>)", px(v), height - 10, number(v));
    c.add(R"(<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>)", width, height - 10, escape(x.unit));
    std::vector<std::tuple<double, std::string, std::string>> labels;  // height, element, text
    for (const auto& l : data) {
      std::string path;
      double x_end = 0;
      double y_end = 0;
      std::string dots;
      for (const auto& p : l.points) {
        if (p.y <= 0) continue;
        x_end = px(p.x);
        y_end = py(p.y);
        path += fmt::format("{}{:.1f},{:.1f} ", path.empty() ? "M" : "L", x_end, y_end);
        dots += fmt::format(R"(<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>)", l.css,
                            x_end, y_end, escape(p.tip));
      }
      if (path.empty()) continue;
      c.add(R"(<path class="{} line" d="{}"/>{})", l.css, path, dots);
      labels.emplace_back(y_end, fmt::format(R"(<text class="label" x="{:.1f}")", x_end + 8), l.label);
    }
    std::sort(labels.begin(), labels.end());
    double free_from = 0;  // labels that would touch move down
    for (const auto& [y, text, label] : labels) {
      const double at = std::max(y, free_from);
      c.add(R"({} y="{:.1f}">{}</text>)", text, at + 4, escape(label));
      free_from = at + 13;
    }
    return c.take();
  });
}

}  // namespace kf::bench::svg
