// The card's own strict BER-TLV reader: tags of one or two bytes, definite minimal lengths up to FFFF
// (docs/spec/crypto.md 2). Separate from host/base/tlv on purpose: a length rule that is wrong there must not pass here
// too.
#pragma once

#include "host/base/bytes.hpp"

namespace kf::sim::card {

enum class TlvError { none, unknown_tag, wrong_length, no_length };

struct TlvItem {
  std::uint32_t tag = 0;
  ByteView value;
  ByteView whole;  // as received
};

class TlvWalker {
 public:
  explicit TlvWalker(ByteView in) : rest_(in) {}
  // False at the end of the input and on an error; error() tells which.
  bool next(TlvItem& out) {
    if (rest_.empty() || error_ != TlvError::none) return false;
    const std::size_t n = rest_.size();
    std::size_t at = 1;
    std::uint32_t tag = rest_[0];
    if ((tag & 0x1FU) == 0x1FU) {
      if (n < 2) return fail(TlvError::no_length);
      if (rest_[1] < 0x1F || rest_[1] > 0x7F) return fail(TlvError::unknown_tag);
      tag = (tag << 8) + rest_[1];
      at = 2;
    }
    if (n == at) return fail(TlvError::no_length);
    std::size_t len = rest_[at];
    std::size_t more = 0;
    if (len > 0x7F) {
      more = len - 0x80;
      if (more < 1 || more > 2) return fail(TlvError::wrong_length);
      if (n < at + 1 + more) return fail(TlvError::no_length);
      len = 0;
      for (std::size_t i = 1; i <= more; ++i) len = len * 256 + rest_[at + i];
      if (len < (more == 1 ? 0x80U : 0x100U)) return fail(TlvError::wrong_length);
    }
    at += 1 + more;
    if (n - at < len) return fail(TlvError::wrong_length);
    out = {tag, rest_.subspan(at, len), rest_.first(at + len)};
    rest_ = rest_.subspan(at + len);
    return true;
  }
  [[nodiscard]] TlvError error() const { return error_; }
  [[nodiscard]] ByteView rest() const { return rest_; }
  [[nodiscard]] bool finished() const { return rest_.empty() && error_ == TlvError::none; }

 private:
  bool fail(TlvError e) {
    error_ = e;
    return false;
  }
  ByteView rest_;
  TlvError error_ = TlvError::none;
};

// Exactly one TLV with this tag and nothing behind it.
inline bool single_tlv(ByteView in, std::uint32_t tag, ByteView& value) {
  TlvWalker w(in);
  TlvItem t;
  if (!w.next(t) || t.tag != tag || !w.finished()) return false;
  value = t.value;
  return true;
}

inline void put_length(Bytes& out, std::size_t n) {
  if (n > 0xFF) {
    out.insert(out.end(), {0x82, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n & 0xFF)});
  } else if (n > 0x7F) {
    out.insert(out.end(), {0x81, static_cast<std::uint8_t>(n)});
  } else {
    out.push_back(static_cast<std::uint8_t>(n));
  }
}
inline void put_tlv(Bytes& out, std::uint8_t tag, ByteView value) {
  out.push_back(tag);
  put_length(out, value.size());
  out.insert(out.end(), value.begin(), value.end());
}

// One DGI from the front: two bytes identifier, length 00..FE or FF and two bytes (docs/spec/crypto.md 2).
struct DgiItem {
  std::uint32_t id = 0;
  ByteView value;
  ByteView whole;
};
enum class DgiRead { ok, incomplete, bad };
inline DgiRead read_dgi(ByteView& in, DgiItem& out) {
  if (in.size() < 3) return DgiRead::incomplete;
  std::size_t len = in[2];
  std::size_t at = 3;
  if (len == 0xFF) {
    if (in.size() < 5) return DgiRead::incomplete;
    len = in[3] * std::size_t{256} + in[4];
    at = 5;
    if (len < 0xFF) return DgiRead::bad;
  }
  if (in.size() - at < len) return DgiRead::incomplete;
  out = {in[0] * std::uint32_t{256} + in[1], in.subspan(at, len), in.first(at + len)};
  in = in.subspan(at + len);
  return DgiRead::ok;
}

}  // namespace kf::sim::card
