// The port for records that are sealed where private keys live: the key set of a new ISD-P, under an AES key that never
// leaves its token. docs/security.md "key sets".
#pragma once

#include "host/base/bytes.hpp"
#include "host/base/result.hpp"
#include "host/base/secret.hpp"

namespace kf {

class RecordSealer {
 public:
  RecordSealer() = default;
  RecordSealer(const RecordSealer&) = delete;
  RecordSealer& operator=(const RecordSealer&) = delete;
  virtual ~RecordSealer() = default;

  // Any thread; blocks. At most 16 384 bytes. AES-256-GCM: IV (12) || ciphertext || tag (16); `aad` is bound to it.
  // Reasons: hsm-seal, hsm-open, hsm-key, hsm-worker (no answer in time), hsm-busy (too many callers wait).
  virtual Result<Bytes> seal_record(ByteView aad, ByteView plain) = 0;
  virtual Result<SecretBytes> open_record(ByteView aad, ByteView sealed) = 0;
};

}  // namespace kf
