#include "host/store/vault.hpp"

#include "host/crypto/symmetric.hpp"

namespace kf::store {
Bytes Vault::seal(std::string_view place, ByteView plain) const { return gcm_seal(key_.expose(), view(place), plain); }
Result<SecretBytes> Vault::open(std::string_view place, ByteView sealed) const {
  return gcm_open(key_.expose(), view(place), sealed);
}
}  // namespace kf::store
