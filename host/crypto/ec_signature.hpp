// Plain r||s to DER and back without allocation: inner header of this room.
#pragma once

#include "host/crypto/curve.hpp"

namespace kf {

struct DerSignature {
  std::array<std::uint8_t, 72> bytes{};  // 30 46, two integers of at most 33 bytes
  std::size_t size = 0;
};
void encode_der(ByteView plain64, DerSignature& out);

}  // namespace kf
