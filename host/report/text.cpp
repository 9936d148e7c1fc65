// A document for a terminal: 100 columns unless a table needs more, no colours.
#include <algorithm>
#include <array>
#include <cmath>

#include "host/base/text.hpp"
#include "host/report/document.hpp"
#include "host/report/wording.hpp"

namespace kf::report {
namespace {

constexpr std::size_t kScreen = 100;

// Columns that a character takes on the screen: none for marks that stand on the one before, two for East Asian wide
// forms and pictures.
std::size_t columns_of(char32_t c) {
  struct Span {
    char32_t from, to;
  };
  constexpr std::array<Span, 6> kNone{
      {{0x300, 0x36F}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}}};
  constexpr std::array<Span, 10> kTwo{{{0x1100, 0x115F},
                                       {0x2E80, 0x303E},
                                       {0x3041, 0xA4CF},
                                       {0xAC00, 0xD7A3},
                                       {0xF900, 0xFAFF},
                                       {0xFE30, 0xFE6F},
                                       {0xFF00, 0xFF60},
                                       {0xFFE0, 0xFFE6},
                                       {0x1F300, 0x1FAFF},
                                       {0x20000, 0x3FFFD}}};
  const auto within = [c](const Span& s) { return c >= s.from && c <= s.to; };
  if (std::ranges::any_of(kNone, within)) return 0;
  return std::ranges::any_of(kTwo, within) ? 2 : 1;
}
std::size_t columns_of(std::string_view s) {  // valid UTF-8: one_line() has seen to it
  std::size_t n = 0;
  for (std::size_t i = 0; i < s.size();) {
    const auto lead = static_cast<unsigned char>(s[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    char32_t c = length == 1 ? lead : lead & (0x7FU >> length);
    for (std::size_t k = 1; k < length && i + k < s.size(); ++k)
      c = c << 6 | (static_cast<unsigned char>(s[i + k]) & 0x3FU);
    n += columns_of(c);
    i += length;
  }
  return n;
}

std::string padded(const std::string& s, std::size_t n, bool to_the_right = false) {
  const std::size_t has = columns_of(s);
  const std::string gap(has < n ? n - has : 0, ' ');
  return to_the_right ? gap + s : s + gap;
}

// Words into lines of at most `width`; a longer word stands alone. Leading spaces indent every line.
std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
  const std::size_t indent = std::min(text.find_first_not_of(' '), text.size());
  const std::string margin(indent, ' ');
  std::vector<std::string> out;
  std::string line = margin;
  for (std::size_t at = indent; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (line.size() > indent && columns_of(line) + 1 + columns_of(word) > width)
      out.push_back(std::exchange(line, margin));
    if (line.size() > indent) line += ' ';
    line += word;
    at = end + 1;
  }
  if (line.size() > indent || out.empty()) out.push_back(std::move(line));
  return out;
}

std::size_t longest_word(std::string_view text) {
  std::size_t most = 0;
  for (const std::string& line : wrapped(text, 0)) most = std::max(most, columns_of(line));
  return most;
}

void put_line(std::string& out, std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  out += line + "\n";
}

void put(std::string& out, std::size_t indent, std::string_view text) {
  for (const std::string& line : wrapped(one_line(text), kScreen - indent))
    put_line(out, std::string(indent, ' ') + line);
}

void put_facts(std::string& out, const std::vector<Fact>& rows) {
  std::size_t left = 0;
  for (const Fact& f : rows) left = std::max(left, columns_of(one_line(f.name)));
  left = std::min<std::size_t>(left, 44) + 2;
  for (const Fact& f : rows) {
    std::string name = padded(one_line(f.name), left);
    if (columns_of(name) > left) {  // a long name has a line of its own
      put_line(out, "  " + name);
      name = std::string(left, ' ');
    }
    for (const std::string& line : wrapped(one_line(f.value.text), kScreen - 2 - left))
      put_line(out, "  " + std::exchange(name, std::string(left, ' ')) + line);
  }
}

// What is too wide for the screen is broken between words, the widest columns first; words and numbers stay whole.
std::vector<std::size_t> widths(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> width, least;
  for (const auto& row : rows) {
    width.resize(std::max(width.size(), row.size()));
    least.resize(width.size());
    for (std::size_t i = 0; i < row.size(); ++i) {
      width[i] = std::max(width[i], columns_of(row[i]));
      least[i] = std::max(least[i], longest_word(row[i]));
    }
  }
  std::size_t total = 0;
  for (const std::size_t w : width) total += w + 2;
  for (; total > kScreen; --total) {
    std::size_t widest = width.size();
    for (std::size_t i = 0; i < width.size(); ++i)
      if (width[i] > std::max<std::size_t>(least[i], 12) && (widest == width.size() || width[i] > width[widest]))
        widest = i;
    if (widest == width.size()) break;
    --width[widest];
  }
  return width;
}

void put_table(std::string& out, const Table& t) {
  if (t.rows.empty()) return;
  if (!t.title.empty()) put(out, 2, t.title);
  std::vector<std::vector<std::string>> rows(1);
  for (const std::string& h : t.head) rows.front().push_back(one_line(h));
  for (const auto& row : t.rows) {
    rows.emplace_back();
    for (const Cell& c : row) rows.back().push_back(one_line(c.text));
  }
  const std::vector<std::size_t> width = widths(rows);
  for (const auto& row : rows) {
    std::vector<std::vector<std::string>> cells;
    std::size_t height = 1;
    for (std::size_t i = 0; i < row.size(); ++i) {
      cells.push_back(wrapped(row[i], width[i]));
      height = std::max(height, cells.back().size());
    }
    for (std::size_t h = 0; h < height; ++h) {
      std::string line;
      for (std::size_t i = 0; i < cells.size(); ++i)
        line += "  " + padded(h < cells[i].size() ? cells[i][h] : std::string(), width[i], i >= t.words);
      put_line(out, std::move(line));
    }
  }
}

void put_bars(std::string& out, const Bars& b) {
  double most = b.highest;
  std::size_t left = 0;
  for (const Bar& x : b.data) {
    if (std::isfinite(x.value)) most = std::max(most, x.value);
    left = std::max(left, columns_of(one_line(x.label)));
  }
  constexpr double kLength = 50;
  for (std::size_t i = 0; i < b.data.size(); ++i) {
    const Bar& x = b.data[i];
    const bool drawn = most > 0 && std::isfinite(x.value) && x.value > 0;
    const auto n = drawn ? static_cast<std::size_t>(std::lround(kLength * x.value / most)) : 0;
    put_line(out, "  " + padded(one_line(x.label), left, true) + " |" + std::string(n, '#') + " " +
                      one_line(x.text.empty() ? number(x.value) : x.text) + (i == b.marked ? "  <- " + b.mark : ""));
  }
}

void put_code(std::string& out, const std::string& text) {
  const std::string code = clean_lines(text);
  const std::size_t last = code.find_last_not_of('\n') + 1;
  out += '\n';
  for (std::size_t at = 0; at < last;) {
    const std::size_t end = std::min(code.find('\n', at), code.size());
    out += end == at ? "\n" : "    " + code.substr(at, end - at) + "\n";
    at = end + 1;
  }
}

struct TextOf {
  std::string& out;
  void operator()(const Prose& p) const { put(out, 2, p.text.text); }
  void operator()(const Facts& f) const { put_facts(out, f.rows); }
  void operator()(const Table& t) const { put_table(out, t); }
  void operator()(const Code& c) const { put_code(out, c.text); }
  void operator()(const Chart& c) const {
    const Bars* bars = std::get_if<Bars>(&c.drawing);
    if (bars == nullptr || !bars->in_terminal) return;
    if (!c.title.empty()) put(out, 2, c.title);
    put_bars(out, *bars);
  }
};

bool shown(const Block& b) {
  const Chart* c = std::get_if<Chart>(&b);
  if (c == nullptr) return true;
  const Bars* bars = std::get_if<Bars>(&c->drawing);
  return bars != nullptr && bars->in_terminal;
}

}  // namespace

std::string to_text(const Document& d) {
  std::string out;
  put(out, 0, d.title);
  if (!d.lead.empty()) put(out, 0, d.lead);
  if (!d.alert.empty()) put(out, 0, d.alert);
  for (const Section& s : d.sections) {
    if (s.page_only) continue;
    if (std::ranges::none_of(s.blocks, shown) && (s.about.empty() || !s.blocks.empty())) continue;  // drawings only
    out += '\n';
    put(out, 0, s.title);
    if (!s.about.empty()) put(out, 2, s.about);
    for (const Block& b : s.blocks) std::visit(TextOf{out}, b);
  }
  if (!d.tiles.empty() || !d.summary.empty()) out += '\n';
  std::size_t left = 0;
  for (const Tile& t : d.tiles) left = std::max(left, columns_of(one_line(t.value)));
  for (const Tile& t : d.tiles) put_line(out, "  " + padded(one_line(t.value), left, true) + "  " + one_line(t.what));
  for (const Cell& c : d.summary) put(out, 2, c.text);
  return out;
}

}  // namespace kf::report
