#include "host/base/bytes.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kf {
namespace {
constexpr char kHex[] = "0123456789ABCDEF";
int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}
using HexDigits = void (*)(const std::uint8_t* in, std::size_t n, char* out);

// Both digits of an octet at once.
constexpr auto kHexPairs = [] {
  std::array<std::array<char, 2>, 256> t{};
  for (std::size_t b = 0; b < t.size(); ++b) t[b] = {kHex[b >> 4], kHex[b & 15]};
  return t;
}();
void hex_digits_plain(const std::uint8_t* in, std::size_t n, char* out) {
  for (std::size_t i = 0; i < n; ++i) std::memcpy(out + 2 * i, kHexPairs[in[i]].data(), 2);
}

#if defined(__x86_64__)
// Sixteen octets a step: widened to 16 bits, the high digit's value in the lower octet and the low digit's in the
// upper one, then all thirty-two looked up in a register.
__attribute__((target("avx2"))) void hex_digits_avx2(const std::uint8_t* in, std::size_t n, char* out) {
  const __m256i digits = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kHex)));
  const __m256i four_bits = _mm256_set1_epi8(0x0F);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i)));
    const __m256i values =
        _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi16(x, 4), _mm256_slli_epi16(x, 8)), four_bits);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i), _mm256_shuffle_epi8(digits, values));
  }
  hex_digits_plain(in + i, n - i, out + 2 * i);
}
#endif

HexDigits hex_digits() {
#if defined(__x86_64__)
  static const HexDigits best = __builtin_cpu_supports("avx2") != 0 ? hex_digits_avx2 : hex_digits_plain;
  return best;
#else
  return hex_digits_plain;
#endif
}

constexpr char kB64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}  // namespace

void append_hex(std::string& out, ByteView v) {
  // Through a buffer that stays in the first-level cache: growing the string first would write all of it twice.
  std::array<char, 4096> digits;
  out.reserve(out.size() + 2 * v.size());
  while (!v.empty()) {
    const ByteView now = v.first(std::min(v.size(), digits.size() / 2));
    hex_digits()(now.data(), now.size(), digits.data());
    out.append(digits.data(), 2 * now.size());
    v = v.subspan(now.size());
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
