// Key establishment as ECASD and ISD-P see it: CERT.DP.ECDSA check, CRT, keys and receipt.
// docs/spec/crypto.md 4, 5, 9: every failure is a status word of section 9. Stateless, thread-safe.
#pragma once

#include "tests/sim/card/scp03t_card.hpp"

namespace kf::sim::card {

using Sw = std::uint16_t;
constexpr Sw kOk = 0x9000;

// Parses the complete 7F21 TLV and checks it as the eUICC does: usage, C8, C9, curve, signature by PK.CI, point. No
// clock.
Sw check_dp_certificate(ByteView cert, const EuiccIdentity& id, Bytes& pk_dp);

struct Crt {
  ByteView whole;  // A6 TLV as received
  std::uint8_t scenario = 0, usage = 0, kid = 0, kvn = 0;
  std::size_t key_length = 0;
  std::uint32_t counter = 0;
  ByteView host_id, sdin;
  [[nodiscard]] bool delete_existing() const { return (scenario & 0x01) != 0; }
  [[nodiscard]] bool with_dr() const { return (scenario & 0x02) != 0; }
  [[nodiscard]] bool with_host_id() const { return (scenario & 0x04) != 0; }
};
Sw parse_crt(ByteView dgi_value, const EuiccIdentity& id, Crt& out);

// The three DGIs of STORE DATA #2.
struct KeyCommand {
  ByteView crt_dgi, key_dgi;  // whole DGIs: what the signature covers
  ByteView crt, key, signature;
};
Sw split_key_command(ByteView data, KeyCommand& out);
bool key_signature_ok(const KeyCommand& c, CardCurve curve, ByteView pk_dp, ByteView rc);
// Content of DGI 7F49, raw or B0/F0 (docs/spec/crypto.md A3), to 65 bytes.
Sw ephemeral_point(ByteView key, CardCurve curve, ByteView& point);

struct Derived {
  SecretBytes receipt_key;
  KeySet keys;
};
Bytes shared_info(const Crt& crt, const EuiccIdentity& id, ByteView dr);
Derived derive(const Crt& crt, ByteView z, ByteView shared_info);
Block make_receipt(ByteView receipt_key, const Crt& crt, ByteView dr);  // dr empty: not part of it

}  // namespace kf::sim::card
