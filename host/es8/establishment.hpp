// ES8.EstablishISDPKeySet, SM-DP side: the APDUs of scenario #3 with mutual authentication, what SK.DP.ECDSA signs, the
// key set and the receipt. SGP.02 v4.2 3.1.2, 4.1.3.1; docs/spec/crypto.md 4. Pure functions, no randomness inside.
#pragma once

#include "host/base/ids.hpp"
#include "host/base/secret.hpp"
#include "host/crypto/curve.hpp"
#include "host/es8/script.hpp"

namespace kf::es8 {

// The choices of one establishment; becomes the control reference template A6 (docs/spec/crypto.md 4.4).
struct KeySetPlan {
  std::uint8_t scenario_param = 0x0B;  // b1 delete first, b2 DR, b3 HostID/SIN/SDIN, b4 always
  std::uint8_t key_usage = 0x10;       // 10: three keys, 5C: one base key
  std::uint8_t key_length = 16;        // 16, 24, 32
  std::uint8_t kid = 0x01;
  std::uint8_t kvn = 0x30;
  Bytes host_id, sin, sdin;  // only with b3
  [[nodiscard]] bool with_dr() const { return (scenario_param & 0x02) != 0; }
  [[nodiscard]] bool with_ids() const { return (scenario_param & 0x04) != 0; }
};
Status check_plan(const KeySetPlan& p);  // reasons: bad-plan
Bytes control_reference_template(const KeySetPlan& p);

Bytes install_for_personalization(const Aid& isd_p);
// STORE DATA #1: one block, or several of 255 bytes for a long certificate (docs/spec/crypto.md A2). The count of
// blocks is needed by #2.
std::vector<Bytes> store_data_certificate(ByteView cert_dp);
Bytes signing_input(ByteView crt, ByteView epk, ByteView rc);
std::vector<Bytes> store_data_key(ByteView crt, ByteView epk, ByteView signature64, std::uint8_t first_block);

// RC from the answer to STORE DATA #1 (the last of `answers`), all status words 9000.
// Reasons: card-status (detail holds the SW), missing-answer, truncated, bad-length, bad-rc.
Result<Bytes> rc_of(const std::vector<CardAnswer>& answers, std::size_t commands_sent);

struct KeyAnswer {
  std::optional<Bytes> dr;
  Bytes receipt;
};
// Reasons: card-status, missing-answer, truncated, bad-length, missing-dr, bad-receipt (length).
Result<KeyAnswer> key_answer_of(const std::vector<CardAnswer>& answers, std::size_t commands_sent, const KeySetPlan& p);

struct KeySet {  // 5C: enc, mac and dek are the same base key (docs/spec/crypto.md A5)
  SecretBytes enc, mac, dek;
  std::uint8_t kvn = 0x30;
  [[nodiscard]] KeySet clone() const { return {enc.clone(), mac.clone(), dek.clone(), kvn}; }
};
struct DerivedKeys {
  SecretBytes receipt_key;
  KeySet keys;
};
Bytes shared_info(const KeySetPlan& p, const std::optional<Bytes>& dr);
DerivedKeys derive_keys(ByteView shs, const KeySetPlan& p, const std::optional<Bytes>& dr);
Bytes receipt_input(ByteView crt, const std::optional<Bytes>& dr);
bool receipt_matches(const DerivedKeys& k, ByteView crt, const KeyAnswer& a);  // constant time

}  // namespace kf::es8
