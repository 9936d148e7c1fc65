#include "host/es8/scp03t.hpp"

#include <algorithm>

#include "host/crypto/symmetric.hpp"

namespace kf::es8 {
namespace {
constexpr std::uint8_t kSecurityLevel = 0x33;  // C-MAC, C-DECRYPTION, R-MAC, R-ENCRYPTION
constexpr std::size_t kMac = 8;

Bytes context_of(const Challenge& hc, const Challenge& cc) { return concat(hc, cc); }

Challenge challenge_of(const SecretBytes& b) {
  Challenge c{};
  std::copy_n(b.expose().begin(), c.size(), c.begin());
  return c;
}

// 85 and every 86. `out.tlvs` holds what precedes 85, keys and challenges are set.
void seal_into(SealedScript& out, std::span<const ByteView> parts) {
  out.tlvs.reserve(out.tlvs.size() + 1 + parts.size());
  out.mcv.reserve(1 + parts.size());
  Cmac mac(out.keys.s_mac.expose());

  Bytes auth{0x85, 8 + 1 + kMac, kSecurityLevel};
  append(auth, host_cryptogram(out.keys, out.hc, out.cc));
  Block16 chain{};
  mac.update(chain);
  mac.update(auth);
  chain = mac.finish();
  append(auth, ByteView(chain).first(kMac));
  out.tlvs.push_back(std::move(auth));
  out.mcv.push_back(chain);

  // ICVs depend on the counter alone: one ECB call for all of them.
  SecretBytes icvs(parts.size() * 16);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t counter = i + 1;
    for (std::size_t b = 0; b < sizeof counter; ++b)
      icvs.expose_mut()[16 * i + 15 - b] = static_cast<std::uint8_t>(counter >> (8 * b));
  }
  aes_ecb_encrypt(out.keys.s_enc.expose(), icvs.expose_mut());

  CbcEncryptor enc(out.keys.s_enc.expose());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t cipher_size = (parts[i].size() / 16 + 1) * 16;
    Bytes tlv;
    tlv.reserve(1 + ber_length_size(cipher_size + kMac) + cipher_size + kMac);
    tlv.push_back(0x86);
    append_ber_length(tlv, cipher_size + kMac);
    const std::size_t head = tlv.size();
    append(tlv, parts[i]);
    tlv.push_back(0x80);
    tlv.resize(head + cipher_size);
    Block16 icv{};
    std::copy_n(icvs.expose().begin() + static_cast<std::ptrdiff_t>(16 * i), 16, icv.begin());
    enc.encrypt(icv, std::span(tlv).subspan(head));
    mac.update(chain);  // one block: what follows is one run of whole blocks in place
    mac.update(tlv);
    chain = mac.finish();
    append(tlv, ByteView(chain).first(kMac));
    out.tlvs.push_back(std::move(tlv));
    out.mcv.push_back(chain);
  }
}
}  // namespace

std::size_t max_segment(std::size_t max_tlv) {
  max_tlv = std::min<std::size_t>(max_tlv, 0xFFFF);
  // tag, length field for that size, ciphertext in whole blocks, MAC; one byte at least is padding.
  for (std::size_t cipher_size = max_tlv / 16 * 16; cipher_size >= 16; cipher_size -= 16)
    if (1 + ber_length_size(cipher_size + kMac) + cipher_size + kMac <= max_tlv) return cipher_size - 1;
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
  Bytes b{0x84, 0x0A, kvn, 0x00};  // KID 00 (A13)
  append(b, hc);
  return b;
}

SealedScript seal_offline(const KeySet& k, const Aid& isd_p, const Challenge& hc, const SequenceCounter& c,
                          ByteView profile, std::size_t max_tlv) {
  return seal_segments_offline(k, isd_p, hc, c, cut_profile(profile, max_tlv));
}

SealedScript seal_segments_offline(const KeySet& k, const Aid& isd_p, const Challenge& hc, const SequenceCounter& c,
                                   std::span<const ByteView> segments) {
  SealedScript s;
  s.hc = hc;
  s.cc = card_challenge(k, c, isd_p);
  s.keys = session_keys(k, hc, s.cc);
  s.tlvs.reserve(segments.size() + 2);
  s.tlvs.push_back(initialize_update(k.kvn, hc));
  seal_into(s, segments);
  return s;
}

Result<SealedScript> seal_online(const KeySet& k, const Aid& isd_p, const Challenge& hc,
                                 const InitializeUpdateAnswer& a, ByteView profile, std::size_t max_tlv) {
  if (a.kvn != k.kvn) return Error{"bad-cryptogram", "the card answered for another key version"};
  if (!equal_ct(card_challenge(k, a.counter, isd_p), a.cc))
    return Error{"bad-challenge", "the card challenge does not follow from counter " + to_hex(a.counter)};
  SealedScript s;
  s.offline = false;
  s.hc = hc;
  s.cc = a.cc;
  s.keys = session_keys(k, hc, a.cc);
  if (!equal_ct(card_cryptogram(s.keys, hc, a.cc), a.cryptogram))
    return Error{"bad-cryptogram", "the card does not know the key set"};
  seal_into(s, cut_profile(profile, max_tlv));
  return s;
}

}  // namespace kf::es8
