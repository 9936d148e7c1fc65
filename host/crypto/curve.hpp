// The curves of the system by their F0 parameter value (docs/spec/crypto.md 3) and the fixed sizes on 256-bit
// curves.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "host/base/bytes.hpp"

namespace kf {

enum class Curve : std::uint8_t {
  p256 = 0x00,              // NIST P-256, everywhere
  brainpool_p256r1 = 0x03,  // everywhere
  frp256v1 = 0x40,          // software engine and vectors only
};
std::string_view curve_name(Curve c);                    // "P-256", "brainpoolP256r1", "FRP256v1"
std::optional<Curve> curve_by_name(std::string_view n);  // the names above
std::optional<Curve> curve_by_f0(std::uint8_t f0);

using Point = std::array<std::uint8_t, 65>;  // 04 || X || Y
using Scalar = std::array<std::uint8_t, 32>;
using Digest32 = std::array<std::uint8_t, 32>;   // SHA-256
using Signature = std::array<std::uint8_t, 64>;  // plain r || s

}  // namespace kf
