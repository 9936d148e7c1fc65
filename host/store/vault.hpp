// Encryption of profile data at rest: AES-256-GCM under a data key that exists outside the token only in this process's
// memory; on disk it is wrapped by the token's wrap key. The additional data binds a record to its ICCID or template.
// Thread-safe once made.
#pragma once

#include "host/base/secret.hpp"

namespace kf::store {

class Vault {
 public:
  explicit Vault(SecretBytes data_key) : key_(std::move(data_key)) {}
  [[nodiscard]] Bytes seal(std::string_view place, ByteView plain) const;
  [[nodiscard]] Result<SecretBytes> open(std::string_view place, ByteView sealed) const;  // reasons: bad-record

 private:
  SecretBytes key_;
};

}  // namespace kf::store
