// The answers a card would give, made from the SM-DP's own side of the protocol: enough to drive the state machine
// through every branch. The real card is tests/sim/card; here only the procedure is under test.
#pragma once

#include "host/crypto/ec.hpp"
#include "host/crypto/symmetric.hpp"
#include "host/es8/parts.hpp"
#include "host/es8/scp03t.hpp"

namespace kf::test {

inline Bytes r_apdu(ByteView data, std::uint16_t sw) {
  Bytes v = to_bytes(data);
  append(v, {static_cast<std::uint8_t>(sw >> 8), static_cast<std::uint8_t>(sw)});
  return make_tlv(0x23, v);
}

// What the pipeline hands over for a script.
inline std::vector<es8::SendPart> parts_of(const es8::SealedScript& s, std::size_t limit = 0, bool in_22 = false) {
  Bytes all;
  std::vector<std::uint32_t> ends;
  for (const Bytes& t : s.tlvs) {
    append(all, t);
    ends.push_back(static_cast<std::uint32_t>(all.size()));
  }
  return es8::send_parts(all, ends, limit, in_22);
}

struct CardDouble {
  Curve curve = Curve::p256;
  Bytes rc = Bytes(16, 0x11), dr = Bytes(16, 0x22);
  es8::KeySetPlan plan;

  [[nodiscard]] Bytes cert_answer() const { return concat(r_apdu({}, 0x9000), r_apdu(make_tlv(0x85, rc), 0x9000)); }
  [[nodiscard]] Bytes key_answer(ByteView shs, bool wrong_receipt = false) const {
    const Bytes crt = es8::control_reference_template(plan);
    const es8::DerivedKeys k = es8::derive_keys(shs, plan, dr);
    Block16 receipt = aes_cmac(k.receipt_key.expose(), es8::receipt_input(crt, dr));
    if (wrong_receipt) receipt[0] ^= 1;
    return r_apdu(concat(make_tlv(0x85, dr), make_tlv(0x86, receipt)), 0x9000);
  }
  // The answers to a whole offline script, the last one carrying `euicc_response` protected. `at`: to that segment, and
  // none behind it.
  [[nodiscard]] static Bytes script_answer(const es8::SealedScript& s, ByteView counter, std::uint8_t kvn,
                                           ByteView euicc_response, std::size_t at = 0) {
    Bytes out;
    if (s.offline) {
      Bytes iu(10, 0x00);
      append(iu, {kvn, 0x03, 0x70});
      append(iu, s.cc);
      append(iu, es8::card_cryptogram(s.keys, s.hc, s.cc));
      append(iu, counter);
      append_tlv(out, 0x84, iu);
    }
    append_tlv(out, 0x85, {});
    const std::size_t segments = at == 0 ? s.mcv.size() - 1 : at;
    for (std::size_t i = 1; i < segments; ++i) append_tlv(out, 0x86, {});
    Bytes padded = to_bytes(euicc_response);
    padded.push_back(0x80);
    while (padded.size() % 16 != 0) padded.push_back(0x00);
    Block16 counter_block{};
    counter_block[0] = 0x80;
    counter_block[15] = static_cast<std::uint8_t>(segments);
    aes_cbc_encrypt(s.keys.s_enc.expose(), aes_ecb_block(s.keys.s_enc.expose(), counter_block), padded);
    Bytes mac_input = concat(s.mcv[segments]);
    append_tag(mac_input, 0x86);
    append_ber_length(mac_input, padded.size() + 8);
    append(mac_input, padded);
    const Block16 mac = aes_cmac(s.keys.s_rmac.expose(), mac_input);
    append(padded, ByteView(mac).first(8));
    append_tlv(out, 0x86, padded);
    return out;
  }
};

}  // namespace kf::test
