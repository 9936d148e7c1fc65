#include "host/es8/scp03t.hpp"

#include <algorithm>

#include "host/crypto/symmetric.hpp"

namespace kf::es8 {
namespace {

Bytes context_of(const Challenge& hc, const Challenge& cc) { return concat(hc, cc); }

Challenge challenge_of(const SecretBytes& b) {
  Challenge c{};
  std::copy_n(b.expose().begin(), c.size(), c.begin());
  return c;
}

}  // namespace

std::size_t max_segment(std::size_t max_tlv) {
  max_tlv = std::min<std::size_t>(max_tlv, 0xFFFF);
  // tag, length field for that size, ciphertext in whole blocks, MAC; one byte at least is padding.
  for (std::size_t cipher_size = max_tlv / 16 * 16; cipher_size >= 16; cipher_size -= 16)
    if (1 + ber_length_size(cipher_size + seal::kMacSize) + cipher_size + seal::kMacSize <= max_tlv)
      return cipher_size - 1;
  return 0;
}

std::vector<ByteView> cut_profile(ByteView profile, std::size_t max_tlv) {
  const std::size_t n = std::max<std::size_t>(1, max_segment(max_tlv));
  std::vector<ByteView> out;
  out.reserve(profile.size() / n + 1);
  for (; !profile.empty(); profile = profile.subspan(out.back().size()))
    out.push_back(profile.first(std::min(n, profile.size())));
  return out;
}

Challenge card_challenge(const KeySet& k, const SequenceCounter& c, const Aid& isd_p) {
  return challenge_of(scp03_kdf(k.enc.expose(), 0x02, concat(c, isd_p.bytes()), 64));
}

SessionKeys session_keys(const KeySet& k, const Challenge& hc, const Challenge& cc) {
  const Bytes context = context_of(hc, cc);
  const std::size_t bits = k.enc.size() * 8;
  return {scp03_kdf(k.enc.expose(), 0x04, context, bits), scp03_kdf(k.mac.expose(), 0x06, context, bits),
          scp03_kdf(k.mac.expose(), 0x07, context, bits)};
}

Challenge card_cryptogram(const SessionKeys& s, const Challenge& hc, const Challenge& cc) {
  return challenge_of(scp03_kdf(s.s_mac.expose(), 0x00, context_of(hc, cc), 64));
}

Challenge host_cryptogram(const SessionKeys& s, const Challenge& hc, const Challenge& cc) {
  return challenge_of(scp03_kdf(s.s_mac.expose(), 0x01, context_of(hc, cc), 64));
}

Bytes initialize_update(std::uint8_t kvn, const Challenge& hc) {
  Bytes b{0x84, 0x0A, kvn, 0x00};  // KID 00 (docs/spec/crypto.md A13)
  append(b, hc);
  return b;
}

namespace {
// A batch of one; its run is taken apart into commands.
Result<SealedScript> seal_alone(const ScriptOrder& o) {
  auto r = std::move(seal_scripts({&o, 1}, seal::default_sealer()).front());
  if (!r) return r.error();
  SealedScript& s = r->session;
  for (std::size_t i = s.first_segment(); i < s.tlvs.size(); ++i) s.tlvs[i] = to_bytes(r->command(i));
  return std::move(s);
}
}  // namespace

SealedScript seal_offline(const KeySet& k, const Aid& isd_p, const Challenge& hc, const SequenceCounter& c,
                          ByteView profile, std::size_t max_tlv) {
  ScriptOrder o;
  o.keys = &k;
  o.isd_p = isd_p;
  o.hc = hc;
  o.counter = c;
  o.profile = profile;
  o.max_tlv = max_tlv;
  return std::move(seal_alone(o)).value();
}

SealedScript seal_segments_offline(const KeySet& k, const Aid& isd_p, const Challenge& hc, const SequenceCounter& c,
                                   std::span<const ByteView> segments) {
  ScriptOrder o;
  o.keys = &k;
  o.isd_p = isd_p;
  o.hc = hc;
  o.counter = c;
  o.segments = segments;
  return std::move(seal_alone(o)).value();
}

Result<SealedScript> seal_online(const KeySet& k, const Aid& isd_p, const Challenge& hc,
                                 const InitializeUpdateAnswer& a, ByteView profile, std::size_t max_tlv) {
  ScriptOrder o;
  o.keys = &k;
  o.isd_p = isd_p;
  o.hc = hc;
  o.online = &a;
  o.profile = profile;
  o.max_tlv = max_tlv;
  return seal_alone(o);
}

}  // namespace kf::es8
