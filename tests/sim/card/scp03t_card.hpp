// SCP03t, card side: i = 70, level 33 (docs/spec/crypto.md 6). One object is one session of one ISD-P.
// Errors are the value byte of 9F44/9F45/9F46: 01 structure, 02 security, 03 key set not found. The caller drops the
// session after any of them. Not thread-safe.
#pragma once

#include <variant>

#include "tests/sim/card/card_crypto.hpp"

namespace kf::sim::card {

struct KeySet {
  SecretBytes enc, mac, dek;  // 16, 24 or 32 bytes
  std::uint8_t kvn = 0, kid = 0;
  std::uint32_t counter = 0;  // 3 bytes; of the last INITIALIZE UPDATE
};

enum class ScpError : std::uint8_t { structure = 1, security = 2, no_key_set = 3 };
template <class T>
using ScpResult = std::variant<T, ScpError>;

class Scp03tCard {
 public:
  using Diversification = std::array<std::uint8_t, 10>;

  // INITIALIZE UPDATE: value of the 84 TLV. Raises keys.counter by `step` (1, or more to inject a difference).
  static ScpResult<Scp03tCard> initialize(KeySet& keys, ByteView isdp_aid, ByteView value,
                                          const Diversification& diversification = {}, unsigned step = 1);
  [[nodiscard]] ByteView answer84() const { return answer84_; }  // the whole TLV 84 20 ...

  // EXTERNAL AUTHENTICATE: value of the 85 TLV.
  std::optional<ScpError> authenticate(ByteView value);
  // One profile segment: value of the 86 TLV. Checks structure, MAC, padding; gives the plaintext.
  ScpResult<Bytes> open(ByteView value);
  // The answer to the command just opened: 86 00, 86 08 R-MAC, or 86 L C' R-MAC.
  [[nodiscard]] Bytes answer(ByteView data, bool r_mac_on_empty, bool spoil_r_mac) const;

  [[nodiscard]] bool authenticated() const { return authenticated_; }
  [[nodiscard]] std::uint64_t segments() const { return counter_; }  // accepted so far

 private:
  Scp03tCard() = default;
  [[nodiscard]] Block icv(std::uint8_t first) const;
  SecretBytes s_enc_, s_mac_, s_rmac_, host_cryptogram_;
  Bytes answer84_;
  Block mcv_{};
  std::uint64_t counter_ = 0;
  bool authenticated_ = false;
};

}  // namespace kf::sim::card
