// AES-CMAC, X9.63 KDF, the SCP03 KDF, AES-GCM for records at rest. Thread-safe; contexts are wiped.
#pragma once

#include "host/base/secret.hpp"
#include "host/crypto/curve.hpp"

namespace kf {

using Block16 = std::array<std::uint8_t, 16>;

// Keys of 16, 24 or 32 bytes; any other length aborts (sizes come from our own code).
Block16 aes_cmac(ByteView key, ByteView message);
class Cmac {  // incremental; reusable with the same key after finish(); one thread at a time
 public:
  explicit Cmac(ByteView key);
  ~Cmac();
  Cmac(const Cmac&) = delete;
  Cmac& operator=(const Cmac&) = delete;
  void update(ByteView v);
  Block16 finish();

 private:
  struct Impl;
  Impl* impl_;
};
// AES-CBC without padding under one key and many IVs; one thread at a time. encrypt() is one pass over the data.
class CbcEncryptor {
 public:
  explicit CbcEncryptor(ByteView key);
  ~CbcEncryptor();
  CbcEncryptor(const CbcEncryptor&) = delete;
  CbcEncryptor& operator=(const CbcEncryptor&) = delete;
  void encrypt(const Block16& iv, std::span<std::uint8_t> in_out);  // multiple of 16

 private:
  struct Impl;
  Impl* impl_;
};
void aes_ecb_encrypt(ByteView key, std::span<std::uint8_t> in_out);  // independent blocks, a multiple of 16
Block16 aes_ecb_block(ByteView key, const Block16& in);
void aes_cbc_encrypt(ByteView key, const Block16& iv, std::span<std::uint8_t> in_out);  // multiple of 16, no padding
void aes_cbc_decrypt(ByteView key, const Block16& iv, std::span<std::uint8_t> in_out);

// X9.63 with SHA-256 (BSI TR-03111 4.3.3; docs/spec/crypto.md 4.7).
SecretBytes x963_kdf(ByteView z, ByteView shared_info, std::size_t length);
// SCP03 KDF (docs/spec/crypto.md 6.1): bits is a multiple of 8.
SecretBytes scp03_kdf(ByteView key, std::uint8_t derivation_constant, ByteView context, std::size_t bits);

// Records at rest: nonce(12) || ciphertext || tag(16) under a 32-byte key; `aad` binds the record to its place.
Bytes gcm_seal(ByteView key32, ByteView aad, ByteView plain);
Result<SecretBytes> gcm_open(ByteView key32, ByteView aad, ByteView sealed);  // reasons: bad-record

}  // namespace kf
