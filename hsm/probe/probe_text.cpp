// The page as text for a terminal: 100 columns, no colours.
#include <algorithm>
#include <cmath>

#include "hsm/probe/probe_page.hpp"

namespace kf::hsm {
namespace {

constexpr std::size_t kWidth = 100;

// Columns on the screen: octets of UTF-8 that begin a character.
std::size_t columns(std::string_view s) {
  return static_cast<std::size_t>(
      std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}
std::string padded(const std::string& s, std::size_t n) {
  const std::size_t has = columns(s);
  return has >= n ? s : s + std::string(n - has, ' ');
}

// Words into lines of at most `width`; a longer word stands alone.
std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
  std::vector<std::string> out;
  std::string line;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (!line.empty() && columns(line) + 1 + columns(word) > width) {
      out.push_back(std::move(line));
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
    at = end + 1;
  }
  if (!line.empty() || out.empty()) out.push_back(std::move(line));
  return out;
}

void put(std::string& out, const std::string& indent, std::string_view text) {
  for (const std::string& line : wrapped(text, kWidth - indent.size())) out += indent + line + "\n";
}

void facts(std::string& out, const std::vector<page::Fact>& rows) {
  std::size_t left = 0;
  for (const page::Fact& f : rows) left = std::max(left, columns(f.name));
  left = std::min<std::size_t>(left, 44) + 2;
  for (const page::Fact& f : rows) {
    std::string name = padded(f.name, left);
    if (columns(name) > left) {  // a long name has a line of its own
      out += "  " + name + "\n";
      name = std::string(left, ' ');
    }
    for (const std::string& line : wrapped(f.value.text, kWidth - 2 - left)) {
      out += "  " + name + line;
      out.erase(out.find_last_not_of(' ') + 1);
      out += '\n';
      name = std::string(left, ' ');
    }
  }
}

void table(std::string& out, const page::Table& t) {
  std::vector<std::size_t> width(t.head.size());
  for (std::size_t i = 0; i < t.head.size(); ++i) {
    width[i] = columns(t.head[i]);
    for (const auto& row : t.rows) width[i] = std::max(width[i], columns(row[i].text));
  }
  // What is too wide for the page is broken into lines: the widest columns give way first.
  const auto total = [&] {
    std::size_t n = 2;
    for (const std::size_t w : width) n += w + 2;
    return n - 2;
  };
  while (total() > kWidth) {
    auto widest = std::max_element(width.begin(), width.end());
    if (*widest <= 12) break;
    --*widest;
  }
  const auto put_row = [&](const std::vector<std::string>& cells) {
    std::vector<std::vector<std::string>> lines;
    std::size_t height = 1;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      // Leading spaces indent a row's name and are kept.
      const std::size_t indent = std::min(cells[i].find_first_not_of(' '), cells[i].size());
      lines.push_back(wrapped(std::string_view(cells[i]).substr(indent), width[i] - std::min(indent, width[i] - 1)));
      for (std::string& l : lines.back()) l = std::string(indent, ' ') + l;
      height = std::max(height, lines.back().size());
    }
    for (std::size_t h = 0; h < height; ++h) {
      std::string line = " ";
      for (std::size_t i = 0; i < lines.size(); ++i)
        line += " " + padded(h < lines[i].size() ? lines[i][h] : std::string(), width[i]) + " ";
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
  };
  put_row(t.head);
  for (const auto& row : t.rows) {
    std::vector<std::string> cells;
    for (const page::Cell& c : row) cells.push_back(c.text);
    put_row(cells);
  }
}

void bars(std::string& out, const std::vector<page::Bar>& list) {
  double most = 0;
  std::size_t left = 0;
  for (const page::Bar& b : list) {
    most = std::max(most, b.value);
    left = std::max(left, b.name.size());
  }
  constexpr double kLength = 50;
  for (const page::Bar& b : list) {
    const auto n = most > 0 ? static_cast<std::size_t>(std::lround(kLength * b.value / most)) : 0;
    out += "  " + std::string(left - b.name.size(), ' ') + b.name + " |" + std::string(n, '#') + " " + b.label +
           (b.mark ? "  <- knee" : "") + "\n";
  }
}

}  // namespace

std::string probe_text(const ProbeReport& r, const ProbeHead& h) {
  const page::Page p = page::build(r, h);
  std::string out = p.title + "\n";
  put(out, "", p.about);
  for (const page::Section& s : p.sections) {
    out += "\n" + s.title + "\n";
    for (const std::string& t : s.paragraphs) put(out, "  ", t);
    facts(out, s.facts);
    if (!s.table.head.empty()) table(out, s.table);
    bars(out, s.bars);
    if (!s.code.empty()) {
      out += "\n";
      std::size_t at = 0;
      const std::size_t last = s.code.find_last_not_of('\n') + 1;
      while (at < last) {
        const std::size_t end = std::min(s.code.find('\n', at), s.code.size());
        out += end == at ? "\n" : "    " + s.code.substr(at, end - at) + "\n";
        at = end + 1;
      }
    }
  }
  return out;
}

}  // namespace kf::hsm
