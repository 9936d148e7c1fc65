// BER-TLV (tags of one or two bytes, definite minimal lengths up to 65535) and GlobalPlatform DGIs.
//
// docs/spec/crypto.md 2. Longer than minimal lengths, indefinite lengths and truncated values are
// refused; the one indefinite wrapper of the system (AE80/AF80) belongs to host/es8/script.
#pragma once

#include <optional>

#include "host/base/bytes.hpp"

namespace kf {

struct Tlv {
  std::uint32_t tag = 0;  // 0x86, 0x5F37, 0x7F21 ...
  ByteView value;         // points into the input
  ByteView whole;         // tag, length and value as received: what a signature or a MAC covers
};

// Reads one TLV from the front of `in` and moves `in` behind it. Reasons: truncated, bad-length, bad-tag.
Result<Tlv> read_tlv(ByteView& in);
// The complete input as a list. Reasons as above.
Result<std::vector<Tlv>> read_tlvs(ByteView in);
std::optional<Tlv> find_tlv(const std::vector<Tlv>& list, std::uint32_t tag);

void append_tag(Bytes& out, std::uint32_t tag);
void append_ber_length(Bytes& out, std::size_t n);
std::size_t ber_length_size(std::size_t n);
void append_tlv(Bytes& out, std::uint32_t tag, ByteView value);
Bytes make_tlv(std::uint32_t tag, ByteView value);

struct Dgi {
  std::uint16_t id = 0;
  ByteView value;
  ByteView whole;
};
// DGI: two bytes identifier, length 00..FE or FF and two bytes (from 255 on). Reasons: truncated, bad-length.
Result<Dgi> read_dgi(ByteView& in);
void append_dgi(Bytes& out, std::uint16_t id, ByteView value);

}  // namespace kf
