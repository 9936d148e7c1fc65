#include "host/base/random.hpp"

#include <openssl/rand.h>
#include <sys/random.h>

#include <cerrno>

#include "host/base/openssl_context.hpp"

namespace kf {
namespace {
bool fill(std::span<std::uint8_t> out) {
  if (openssl_context() == nullptr) return RAND_bytes(out.data(), static_cast<int>(out.size())) == 1;
  // In a library not even a generator of its own context: its cipher looks for an engine, which waits for the host's
  // configuration, and that may be waiting for the library.
  while (!out.empty()) {
    const ssize_t n = ::getrandom(out.data(), out.size(), 0);
    if (n < 0 && errno != EINTR) return false;
    out = out.subspan(n > 0 ? static_cast<std::size_t>(n) : 0);
  }
  return true;
}
}  // namespace

void random_fill(std::span<std::uint8_t> out) {
  if (!out.empty() && !fill(out)) give_up("no random numbers");
}
Bytes random_bytes(std::size_t n) {
  Bytes b(n);
  random_fill(b);
  return b;
}
std::string random_uuid() {
  std::array<std::uint8_t, 16> b{};
  random_fill(b);
  b[6] = static_cast<std::uint8_t>((b[6] & 0x0F) | 0x40);
  b[8] = static_cast<std::uint8_t>((b[8] & 0x3F) | 0x80);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string s;
  s.reserve(36);
  for (std::size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) s += '-';
    s += kDigits[b[i] >> 4];
    s += kDigits[b[i] & 15];
  }
  return s;
}
}  // namespace kf
