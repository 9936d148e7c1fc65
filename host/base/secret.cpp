#include "host/base/secret.hpp"

#include <openssl/crypto.h>

namespace kf {
void wipe(void* p, std::size_t n) noexcept {
  if (n != 0) OPENSSL_cleanse(p, n);
}
bool equal_ct(ByteView a, ByteView b) noexcept {
  return a.size() == b.size() && (a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0);
}
}  // namespace kf
