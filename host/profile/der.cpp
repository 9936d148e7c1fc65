#include "host/profile/der.hpp"

namespace kf::profile::der {
namespace {
std::string at_byte(std::size_t at) { return " at byte " + std::to_string(at); }
}  // namespace

Result<Node> read(ByteView in, std::size_t& at, std::size_t limit) {
  Node n;
  n.start = at;
  std::size_t p = at;
  if (p >= limit) return Error{"truncated", "tag missing" + at_byte(at)};
  const std::uint8_t first = in[p++];
  n.tag = first;
  n.constructed = (first & 0x20) != 0;
  if (first == 0) return Error{"bad-tag", "tag 00" + at_byte(at)};
  if ((first & 0x1F) == 0x1F) {
    std::uint32_t num = 0;
    for (unsigned i = 0;; ++i) {
      if (i == 2) return Error{"bad-tag", "tag of more than three bytes" + at_byte(at)};
      if (p >= limit) return Error{"truncated", "tag cut" + at_byte(at)};
      const std::uint8_t b = in[p++];
      n.tag = n.tag << 8 | b;
      num = num << 7 | (b & 0x7FU);
      if (i == 0 && b == 0x80) return Error{"bad-tag", "tag number not minimal" + at_byte(at)};
      if ((b & 0x80) == 0) break;
    }
    if (num < 31) return Error{"bad-tag", "long tag for a number below 31" + at_byte(at)};
  }
  if (p >= limit) return Error{"truncated", "length missing" + at_byte(at)};
  std::size_t len = in[p++];
  if (len >= 0x80) {
    const std::size_t count = len & 0x7F;
    if (count == 0) return Error{"bad-length", "indefinite length" + at_byte(at)};
    if (count > 3) return Error{"bad-length", "length of more than three bytes" + at_byte(at)};
    if (limit - p < count) return Error{"truncated", "length cut" + at_byte(at)};
    len = 0;
    for (std::size_t i = 0; i < count; ++i) len = len << 8 | in[p++];
    if (len < 0x80 || len >> (8 * (count - 1)) == 0) return Error{"bad-length", "length not minimal" + at_byte(at)};
  }
  if (limit - p < len) return Error{"truncated", "value longer than what is around it" + at_byte(at)};
  n.value = p;
  n.end = p + len;
  at = n.end;
  return n;
}

Result<std::vector<Node>> children(ByteView in, const Node& parent) {
  if (!parent.constructed) return Error{"bad-tag", "primitive where members are expected" + at_byte(parent.start)};
  std::vector<Node> out;
  for (std::size_t at = parent.value; at < parent.end;) {
    KF_TRY(const Node n, read(in, at, parent.end));
    out.push_back(n);
  }
  return out;
}

Status check(ByteView in, const Node& node, unsigned depth) {
  if (!node.constructed) return {};
  if (depth == 0) return Error{"bad-profile", "nested too deep" + at_byte(node.start)};
  for (std::size_t at = node.value; at < node.end;) {
    KF_TRY(const Node n, read(in, at, node.end));
    KF_CHECK(check(in, n, depth - 1));
  }
  return {};
}

std::optional<Node> find(const std::vector<Node>& list, std::uint32_t tag) {
  for (const Node& n : list)
    if (n.tag == tag) return n;
  return std::nullopt;
}

Result<std::uint32_t> number(ByteView in, const Node& n) {
  const ByteView v = value(in, n);
  if (v.empty() || v.size() > 4 || (v[0] & 0x80) != 0 || (v.size() > 1 && v[0] == 0 && (v[1] & 0x80) == 0))
    return Error{"bad-length", "INTEGER not minimal, negative or too long" + at_byte(n.start)};
  std::uint32_t x = 0;
  for (const std::uint8_t b : v) x = x << 8 | b;
  return x;
}

bool is_utf8(ByteView b) {
  for (std::size_t i = 0; i < b.size();) {
    const std::uint8_t c = b[i];
    if (c < 0x20 || c == 0x7F) return false;
    const std::size_t more = c < 0x80 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    if ((c >= 0x80 && c < 0xC2) || c > 0xF4 || b.size() - i <= more) return false;
    std::uint32_t code = more == 0 ? c : c & (0x3FU >> more);
    for (std::size_t k = 1; k <= more; ++k) {
      if ((b[i + k] & 0xC0) != 0x80) return false;
      code = code << 6 | (b[i + k] & 0x3FU);
    }
    const bool overlong = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
    const bool control = code >= 0x80 && code < 0xA0;
    if (overlong || control || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    i += more + 1;
  }
  return true;
}

}  // namespace kf::profile::der
