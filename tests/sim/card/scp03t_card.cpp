#include "tests/sim/card/scp03t_card.hpp"

#include <algorithm>

#include "tests/sim/card/walker.hpp"

namespace kf::sim::card {
namespace {
constexpr std::size_t kMaxTlv = 1024;  // docs/spec/crypto.md A16

Bytes head86(std::size_t length) {
  Bytes h{0x86};
  put_length(h, length);
  return h;
}
}  // namespace

ScpResult<Scp03tCard> Scp03tCard::initialize(KeySet& keys, ByteView isdp_aid, ByteView value,
                                             const Diversification& diversification, unsigned step) {
  if (value.size() != 10) return ScpError::structure;
  if (keys.enc.empty() || value[0] != keys.kvn || (value[1] != 0 && value[1] != keys.kid)) return ScpError::no_key_set;
  if (keys.counter + step > 0xFFFFFF) return ScpError::no_key_set;  // a worn-out key set
  keys.counter += step;
  const ByteView hc = value.subspan(2);
  const std::array<std::uint8_t, 3> seq{static_cast<std::uint8_t>(keys.counter >> 16),
                                        static_cast<std::uint8_t>(keys.counter >> 8 & 0xFF),
                                        static_cast<std::uint8_t>(keys.counter & 0xFF)};
  const SecretBytes cc = scp03_kdf(keys.enc.expose(), 0x02, concat(ByteView(seq), isdp_aid), 64);
  const Bytes context = concat(hc, cc.expose());
  const unsigned bits = static_cast<unsigned>(keys.enc.size() * 8);

  Scp03tCard s;
  s.s_enc_ = scp03_kdf(keys.enc.expose(), 0x04, context, bits);
  s.s_mac_ = scp03_kdf(keys.mac.expose(), 0x06, context, bits);
  s.s_rmac_ = scp03_kdf(keys.mac.expose(), 0x07, context, bits);
  const SecretBytes card_cryptogram = scp03_kdf(s.s_mac_.expose(), 0x00, context, 64);
  s.host_cryptogram_ = scp03_kdf(s.s_mac_.expose(), 0x01, context, 64);
  s.answer84_ = {0x84, 0x20};
  append(s.answer84_, diversification);
  append(s.answer84_, {keys.kvn, 0x03, 0x70});
  append(s.answer84_, cc.expose());
  append(s.answer84_, card_cryptogram.expose());
  append(s.answer84_, seq);
  return s;
}

std::optional<ScpError> Scp03tCard::authenticate(ByteView value) {
  if (value.size() != 17) return ScpError::structure;
  if (authenticated_ || value[0] != 0x33) return ScpError::security;
  const std::array<std::uint8_t, 2> head{0x85, 0x11};
  const Block zero{};
  const Block m = cmac(s_mac_.expose(), {zero, head, value.first(9)});
  const bool mac_right = equal_ct(ByteView(m).first(8), value.subspan(9, 8));
  const bool cryptogram_right = equal_ct(host_cryptogram_.expose(), value.subspan(1, 8));
  if (!mac_right || !cryptogram_right) return ScpError::security;
  mcv_ = m;
  authenticated_ = true;
  counter_ = 0;
  return std::nullopt;
}

Block Scp03tCard::icv(std::uint8_t first) const {
  Block b{};
  for (std::size_t i = 0; i < 8; ++i) b[15 - i] = static_cast<std::uint8_t>(counter_ >> (8 * i) & 0xFF);
  b[0] = first;
  return aes_block(s_enc_.expose(), b);
}

ScpResult<Bytes> Scp03tCard::open(ByteView value) {
  const Bytes head = head86(value.size());
  if (value.size() < 24 || value.size() % 16 != 8 || head.size() + value.size() > kMaxTlv) return ScpError::structure;
  if (!authenticated_) return ScpError::security;
  const ByteView c = value.first(value.size() - 8);
  const Block m = cmac(s_mac_.expose(), {mcv_, head, c});
  if (!equal_ct(ByteView(m).first(8), value.subspan(c.size()))) return ScpError::security;
  mcv_ = m;
  ++counter_;
  Bytes p = cbc_decrypt(s_enc_.expose(), icv(0x00), c);
  std::size_t end = p.size();
  while (end > p.size() - 16 && p[end - 1] == 0x00) --end;
  if (end == p.size() - 16 || p[end - 1] != 0x80) return ScpError::security;
  if (end == 1) return ScpError::structure;  // a segment has at least one byte
  p.resize(end - 1);
  return p;
}

Bytes Scp03tCard::answer(ByteView data, bool r_mac_on_empty, bool spoil_r_mac) const {
  if (data.empty() && !r_mac_on_empty) return {0x86, 0x00};
  Bytes c;
  if (!data.empty()) {
    Bytes padded = to_bytes(data);
    padded.push_back(0x80);
    padded.resize((padded.size() + 15) / 16 * 16);
    c = cbc_encrypt(s_enc_.expose(), icv(0x80), padded);
  }
  Bytes out = head86(c.size() + 8);
  Block m = cmac(s_rmac_.expose(), {mcv_, out, c});
  if (spoil_r_mac) m[7] ^= 0x01;
  append(out, c);
  append(out, ByteView(m).first(8));
  return out;
}

}  // namespace kf::sim::card
