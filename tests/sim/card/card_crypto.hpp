// The card's cryptography, written from docs/spec/crypto.md 3, 4.6 to 4.8 and 6.1 alone. Shares nothing with
// host/crypto.
//
// AES-CMAC is RFC 4493 over single AES block calls, the KDFs are loops over SHA-256 and CMAC, ECDSA verification and
// ECKA are done on EC_POINT with the scalars computed here. Stateless and thread-safe, except Sha256 (one owner).
#pragma once

#include <array>
#include <initializer_list>
#include <memory>
#include <optional>

#include "host/base/bytes.hpp"
#include "host/base/secret.hpp"
#include "tests/sim/card/euicc.hpp"

struct evp_cipher_ctx_st;
struct evp_md_ctx_st;

namespace kf::sim::card {

using Block = std::array<std::uint8_t, 16>;
using Parts = std::initializer_list<ByteView>;

Block aes_block(ByteView key, const Block& in);                     // one AES-ECB encryption
Block cmac(ByteView key, Parts parts);                              // RFC 4493
Bytes cbc_encrypt(ByteView key, const Block& iv, ByteView padded);  // input is a multiple of 16
Bytes cbc_decrypt(ByteView key, const Block& iv, ByteView cipher);

std::array<std::uint8_t, 32> sha256(Parts parts);
SecretBytes x963(ByteView z, ByteView shared_info, std::size_t length);  // docs/spec/crypto.md 4.7
// docs/spec/crypto.md 6.1: bits is 64 for challenges and cryptograms, else the key length.
SecretBytes scp03_kdf(ByteView key, std::uint8_t constant, ByteView context, unsigned bits);

// 65 bytes, 04, X < p, Y < p, Y^2 = X^3 + aX + b.
bool point_ok(CardCurve curve, ByteView point);
// Plain r || s over SHA-256; 0 < r, s < n; no low-s rule. False for every malformed input.
bool ecdsa_verify(CardCurve curve, ByteView public_point, Parts message, ByteView signature);
// X coordinate of [d]Q, 32 bytes; empty when Q is not a point of the curve, d is out of range or the result is
// infinity.
std::optional<SecretBytes> ecka(CardCurve curve, ByteView d, ByteView point);

class Sha256 {  // streaming
 public:
  Sha256();
  void update(ByteView v);
  Bytes finish();  // once

 private:
  struct Free {
    void operator()(evp_md_ctx_st* c) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> ctx_;
};

}  // namespace kf::sim::card
