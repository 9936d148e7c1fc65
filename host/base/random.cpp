#include "host/base/random.hpp"

#include <openssl/rand.h>

#include <openssl/evp.h>

#include "host/base/openssl_context.hpp"

namespace kf {
namespace {
bool fill(std::span<std::uint8_t> out) {
  OSSL_LIB_CTX* const own = openssl_context();
  if (own == nullptr) return RAND_bytes(out.data(), static_cast<int>(out.size())) == 1;
  // Not RAND_bytes_ex(): it asks first for a generator that the whole process has set, an engine's perhaps.
  EVP_RAND_CTX* const generator = RAND_get0_public(own);
  return generator != nullptr && EVP_RAND_generate(generator, out.data(), out.size(), 0, 0, nullptr, 0) == 1;
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
