#include "host/crypto/ec_signature.hpp"

#include <algorithm>

#include "host/base/tlv.hpp"
#include "host/crypto/ec.hpp"

namespace kf {
namespace {
std::size_t put_integer(ByteView v, std::uint8_t* out) {
  std::size_t skip = 0;
  while (skip < v.size() - 1 && v[skip] == 0) ++skip;
  const std::size_t n = v.size() - skip;
  const std::size_t sign = (v[skip] & 0x80) != 0 ? 1 : 0;
  out[0] = 0x02;
  out[1] = static_cast<std::uint8_t>(n + sign);
  out[2] = 0;
  std::copy(v.begin() + static_cast<std::ptrdiff_t>(skip), v.end(), out + 2 + sign);
  return 2 + sign + n;
}

Status take_integer(ByteView& in, std::span<std::uint8_t> out32) {
  auto t = read_tlv(in);
  if (!t || t->tag != 0x02 || t->value.empty()) return Error{"bad-signature", "not a DER INTEGER"};
  ByteView v = t->value;
  if ((v[0] & 0x80) != 0) return Error{"bad-signature", "negative integer"};
  if (v[0] == 0 && v.size() > 1) {
    if ((v[1] & 0x80) == 0) return Error{"bad-signature", "integer not minimal"};
    v = v.subspan(1);
  }
  if (v.size() > 32) return Error{"bad-signature", "integer of more than 32 bytes"};
  std::fill(out32.begin(), out32.end(), std::uint8_t{0});
  std::copy(v.begin(), v.end(), out32.end() - static_cast<std::ptrdiff_t>(v.size()));
  return {};
}
}  // namespace

void encode_der(ByteView plain64, DerSignature& out) {
  std::size_t at = 2;
  at += put_integer(plain64.first(32), out.bytes.data() + at);
  at += put_integer(plain64.subspan(32, 32), out.bytes.data() + at);
  out.bytes[0] = 0x30;
  out.bytes[1] = static_cast<std::uint8_t>(at - 2);
  out.size = at;
}

Result<Bytes> signature_to_der(ByteView plain64) {
  if (plain64.size() != 64) return Error{"bad-signature", "a plain signature has 64 bytes"};
  DerSignature d;
  encode_der(plain64, d);
  return Bytes(d.bytes.begin(), d.bytes.begin() + static_cast<std::ptrdiff_t>(d.size));
}

Result<Signature> signature_from_der(ByteView der) {
  ByteView rest = der;
  auto seq = read_tlv(rest);
  if (!seq || seq->tag != 0x30 || !rest.empty()) return Error{"bad-signature", "not a DER SEQUENCE"};
  ByteView in = seq->value;
  Signature s{};
  KF_CHECK(take_integer(in, std::span(s).first(32)));
  KF_CHECK(take_integer(in, std::span(s).last(32)));
  if (!in.empty()) return Error{"bad-signature", "bytes behind s"};
  return s;
}
}  // namespace kf
