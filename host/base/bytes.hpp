// Byte strings and hex. Hex is written in upper case and read in either; odd length or a foreign character is an error.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/result.hpp"

namespace kf {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

inline ByteView view(std::string_view s) { return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()}; }
inline std::string_view text(ByteView b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }
inline Bytes to_bytes(ByteView v) { return Bytes(v.begin(), v.end()); }
inline void append(Bytes& out, ByteView v) { out.insert(out.end(), v.begin(), v.end()); }
inline void append(Bytes& out, std::initializer_list<std::uint8_t> v) { out.insert(out.end(), v.begin(), v.end()); }
template <class... Views>
Bytes concat(const Views&... parts) {
  Bytes out;
  out.reserve((std::size_t{0} + ... + ByteView(parts).size()));
  (append(out, ByteView(parts)), ...);
  return out;
}

std::string to_hex(ByteView v);
void append_hex(std::string& out, ByteView v);  // the hot path: no temporary string
Result<Bytes> from_hex(std::string_view s);     // reasons: bad-hex
Bytes hex(std::string_view literal);            // for literals of our own: aborts when malformed

std::string to_base64(ByteView v);
Result<Bytes> from_base64(std::string_view s);  // white space is skipped; reasons: bad-base64

}  // namespace kf
