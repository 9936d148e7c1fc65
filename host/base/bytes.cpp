#include "host/base/bytes.hpp"

#include <cstdlib>

namespace kf {
namespace {
constexpr char kHex[] = "0123456789ABCDEF";
int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}
constexpr char kB64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}  // namespace

void append_hex(std::string& out, ByteView v) {
  const std::size_t at = out.size();
  out.resize(at + 2 * v.size());
  char* p = out.data() + at;
  for (std::uint8_t b : v) {
    *p++ = kHex[b >> 4];
    *p++ = kHex[b & 15];
  }
}

std::string to_hex(ByteView v) {
  std::string s;
  append_hex(s, v);
  return s;
}

Result<Bytes> from_hex(std::string_view s) {
  if (s.size() % 2 != 0) return Error{"bad-hex", "odd number of hex digits"};
  Bytes out(s.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int hi = nibble(s[2 * i]);
    const int lo = nibble(s[2 * i + 1]);
    if (hi < 0 || lo < 0) return Error{"bad-hex", "character that is not a hex digit"};
    out[i] = static_cast<std::uint8_t>(hi << 4 | lo);
  }
  return out;
}

Bytes hex(std::string_view literal) {
  auto r = from_hex(literal);
  if (!r) std::abort();
  return std::move(r).value();
}

std::string to_base64(ByteView v) {
  std::string out;
  out.reserve((v.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < v.size(); i += 3) {
    const std::uint32_t a = v[i];
    const std::uint32_t b = i + 1 < v.size() ? v[i + 1] : 0;
    const std::uint32_t c = i + 2 < v.size() ? v[i + 2] : 0;
    const std::uint32_t w = a << 16 | b << 8 | c;
    out += kB64[w >> 18 & 63];
    out += kB64[w >> 12 & 63];
    out += i + 1 < v.size() ? kB64[w >> 6 & 63] : '=';
    out += i + 2 < v.size() ? kB64[w & 63] : '=';
  }
  return out;
}

Result<Bytes> from_base64(std::string_view s) {
  Bytes out;
  std::uint32_t w = 0;
  int n = 0;
  int pad = 0;
  for (char c : s) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    int v = -1;
    if (c >= 'A' && c <= 'Z')
      v = c - 'A';
    else if (c >= 'a' && c <= 'z')
      v = c - 'a' + 26;
    else if (c >= '0' && c <= '9')
      v = c - '0' + 52;
    else if (c == '+')
      v = 62;
    else if (c == '/')
      v = 63;
    else if (c == '=')
      v = 64;
    if (v < 0 || (pad > 0 && v != 64)) return Error{"bad-base64", "character out of place"};
    if (v == 64) {
      ++pad;
      v = 0;
    }
    w = w << 6 | static_cast<std::uint32_t>(v);
    if (++n == 4) {
      if (pad > 2) return Error{"bad-base64", "too much padding"};
      out.push_back(static_cast<std::uint8_t>(w >> 16));
      if (pad < 2) out.push_back(static_cast<std::uint8_t>(w >> 8));
      if (pad < 1) out.push_back(static_cast<std::uint8_t>(w));
      w = 0;
      n = 0;
      if (pad > 0) pad = 3;  // nothing may follow
    }
  }
  if (n != 0) return Error{"bad-base64", "length"};
  return out;
}
}  // namespace kf
