#include "host/base/text.hpp"

#include <algorithm>
#include <cstdint>

namespace kf {
namespace {

struct Character {
  std::size_t length = 0;  // bytes; 0: the first byte begins no character
  std::uint32_t code = 0;
};

// The character that `s`, which is not empty, begins with.
Character first_character(std::string_view s) noexcept {
  const auto byte = [s](std::size_t i) { return static_cast<std::uint8_t>(s[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {1, lead};
  std::size_t length = 0;
  std::uint32_t code = 0, least = 0;  // least: below it the form is overlong
  if ((lead & 0xE0) == 0xC0) {
    length = 2, code = lead & 0x1FU, least = 0x80;
  } else if ((lead & 0xF0) == 0xE0) {
    length = 3, code = lead & 0x0FU, least = 0x800;
  } else if ((lead & 0xF8) == 0xF0) {
    length = 4, code = lead & 0x07U, least = 0x10000;
  } else {
    return {};
  }
  if (s.size() < length) return {};
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3FU);
  }
  if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {};
  return {length, code};
}

// Would this character move the cursor, break the line, or show something else than what is there?
bool deceives(std::uint32_t c) noexcept {
  if (c < 0x20 || (c >= 0x7F && c <= 0x9F)) return true;         // C0, DEL, C1
  if (c == 0xAD || c == 0x061C || c == 0x180E) return true;      // soft hyphen, Arabic letter mark, vowel separator
  if (c >= 0x200B && c <= 0x200F) return true;                   // no width, direction marks
  if (c >= 0x2028 && c <= 0x202E) return true;                   // separators, embeddings, overrides
  if (c >= 0x2060 && c <= 0x206F) return true;                   // invisible operators, isolates
  if (c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB)) return true;  // byte order mark, annotations
  return c >= 0xE0000 && c <= 0xE0FFF;                           // tags
}

void append_hex_digits(std::string& out, std::uint32_t value, int digits) {
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) out += "0123456789ABCDEF"[value >> shift & 0xF];
}

}  // namespace

bool is_utf8(std::string_view s) noexcept {
  while (!s.empty()) {
    const Character c = first_character(s);
    if (c.length == 0) return false;
    s.remove_prefix(c.length);
  }
  return true;
}

std::string clip_text(std::string_view s, std::size_t max_bytes) {
  std::string out;
  out.reserve(std::min(s.size(), max_bytes));
  while (!s.empty()) {
    const Character c = first_character(s);
    const std::size_t taken = std::max<std::size_t>(c.length, 1);
    if (out.size() + taken > max_bytes) break;
    if (c.length == 0) {
      out += '?';
    } else {
      out.append(s.substr(0, taken));
    }
    s.remove_prefix(taken);
  }
  return out;
}

namespace {
// `c` stands at the front of `s`.
void append_visible(std::string& out, std::string_view s, const Character& c, bool double_backslash) {
  if (c.length == 0 || (c.length == 1 && deceives(c.code))) {
    out += "\\x";
    append_hex_digits(out, static_cast<std::uint8_t>(s[0]), 2);
  } else if (deceives(c.code)) {
    out += "\\u{";
    append_hex_digits(out, c.code, c.code > 0xFFFF ? 5 : 4);
    out += '}';
  } else if (c.code == '\\' && double_backslash) {
    out += "\\\\";
  } else {
    out.append(s.substr(0, c.length));
  }
}
}  // namespace

std::string printable(std::string_view s, std::size_t max_bytes) {
  std::string out;
  out.reserve(std::min(s.size(), max_bytes) + 8);
  std::size_t shown = 0;
  while (!s.empty()) {
    const Character c = first_character(s);
    const std::size_t taken = std::max<std::size_t>(c.length, 1);
    if (shown + taken > max_bytes) return out + "...";
    append_visible(out, s, c, true);
    shown += taken;
    s.remove_prefix(taken);
  }
  return out;
}

std::string one_line(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  while (!s.empty()) {
    const Character c = first_character(s);
    append_visible(out, s, c, false);
    s.remove_prefix(std::max<std::size_t>(c.length, 1));
  }
  return out;
}

std::string counted(unsigned long long n, std::string_view thing) {
  return std::to_string(n) + " " + std::string(thing) + (n == 1 ? "" : "s");
}
std::string clean_lines(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (std::size_t end = s.find('\n'); end != std::string_view::npos; end = s.find('\n')) {
    out += one_line(s.substr(0, end)) + '\n';
    s.remove_prefix(end + 1);
  }
  return out + one_line(s);
}

}  // namespace kf
