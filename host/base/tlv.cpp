#include "host/base/tlv.hpp"

namespace kf {
Result<Tlv> read_tlv(ByteView& in) {
  const ByteView start = in;
  if (in.empty()) return Error{"truncated", "no tag"};
  std::uint32_t tag = in[0];
  std::size_t at = 1;
  if ((tag & 0x1F) == 0x1F) {
    if (in.size() < 2) return Error{"truncated", "second tag byte missing"};
    if ((in[1] & 0x80) != 0) return Error{"bad-tag", "tag longer than two bytes"};
    if (in[1] < 0x1F) return Error{"bad-tag", "two-byte tag for a number below 31"};
    tag = tag << 8 | in[1];
    at = 2;
  }
  if (at >= in.size()) return Error{"truncated", "no length"};
  const std::uint8_t l0 = in[at++];
  std::size_t len = l0;
  if (l0 >= 0x80) {
    if (l0 == 0x81) {
      if (at + 1 > in.size()) return Error{"truncated", "length"};
      len = in[at];
      at += 1;
      if (len < 0x80) return Error{"bad-length", "length not minimal"};
    } else if (l0 == 0x82) {
      if (at + 2 > in.size()) return Error{"truncated", "length"};
      len = static_cast<std::size_t>(in[at]) << 8 | in[at + 1];
      at += 2;
      if (len < 0x100) return Error{"bad-length", "length not minimal"};
    } else {
      return Error{"bad-length", l0 == 0x80 ? "indefinite length" : "length of more than two bytes"};
    }
  }
  if (in.size() - at < len) return Error{"truncated", "value shorter than its length"};
  Tlv t{tag, in.subspan(at, len), start.first(at + len)};
  in = in.subspan(at + len);
  return t;
}

Result<std::vector<Tlv>> read_tlvs(ByteView in) {
  std::vector<Tlv> out;
  while (!in.empty()) {
    KF_TRY(Tlv t, read_tlv(in));
    out.push_back(t);
  }
  return out;
}

std::optional<Tlv> find_tlv(const std::vector<Tlv>& list, std::uint32_t tag) {
  for (const Tlv& t : list)
    if (t.tag == tag) return t;
  return std::nullopt;
}

void append_tag(Bytes& out, std::uint32_t tag) {
  if (tag > 0xFF) out.push_back(static_cast<std::uint8_t>(tag >> 8));
  out.push_back(static_cast<std::uint8_t>(tag));
}

std::size_t ber_length_size(std::size_t n) { return n < 0x80 ? 1 : n < 0x100 ? 2 : 3; }

void append_ber_length(Bytes& out, std::size_t n) {
  if (n > 0xFFFF) std::abort();  // no message of the system is that long in one TLV
  if (n >= 0x100) {
    append(out, {0x82, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)});
  } else if (n >= 0x80) {
    append(out, {0x81, static_cast<std::uint8_t>(n)});
  } else {
    out.push_back(static_cast<std::uint8_t>(n));
  }
}

void append_tlv(Bytes& out, std::uint32_t tag, ByteView value) {
  append_tag(out, tag);
  append_ber_length(out, value.size());
  append(out, value);
}

Bytes make_tlv(std::uint32_t tag, ByteView value) {
  Bytes out;
  append_tlv(out, tag, value);
  return out;
}

Result<Dgi> read_dgi(ByteView& in) {
  const ByteView start = in;
  if (in.size() < 3) return Error{"truncated", "DGI header"};
  const auto id = static_cast<std::uint16_t>(in[0] << 8 | in[1]);
  std::size_t len = in[2];
  std::size_t at = 3;
  if (len == 0xFF) {
    if (in.size() < 5) return Error{"truncated", "DGI length"};
    len = static_cast<std::size_t>(in[3]) << 8 | in[4];
    at = 5;
    if (len < 0xFF) return Error{"bad-length", "DGI length not minimal"};
  }
  if (in.size() - at < len) return Error{"truncated", "DGI shorter than its length"};
  Dgi d{id, in.subspan(at, len), start.first(at + len)};
  in = in.subspan(at + len);
  return d;
}

void append_dgi(Bytes& out, std::uint16_t id, ByteView value) {
  if (value.size() > 0xFFFF) std::abort();
  append(out, {static_cast<std::uint8_t>(id >> 8), static_cast<std::uint8_t>(id)});
  if (value.size() >= 0xFF) {
    append(out, {0xFF, static_cast<std::uint8_t>(value.size() >> 8), static_cast<std::uint8_t>(value.size())});
  } else {
    out.push_back(static_cast<std::uint8_t>(value.size()));
  }
  append(out, value);
}
}  // namespace kf
