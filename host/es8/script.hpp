// What goes into ES3.SendData and how the card's answers are read. docs/spec/interfaces.md 2.4,
// docs/spec/crypto.md 7.
#pragma once

#include "host/base/tlv.hpp"

namespace kf::es8 {

// What this room's errors are told apart by; those of broken TLVs are host/base's. Their slugs: "missing-answer" and
// so on.
enum class ScriptFault : std::uint8_t {
  missing_answer,
  card_status,
  bad_plan,
  bad_rc,
  bad_receipt,
  missing_dr,
  bad_format,
  bad_cryptogram,
  bad_challenge,
  bad_rmac,
  bad_padding,
  scp_error
};
std::string_view slug(ScriptFault f);

Bytes wrap_c_apdus(const std::vector<Bytes>& apdus);  // 22 L <C-APDU> ...
Bytes remote_script_indefinite(ByteView data);        // AE 80 <data> 00 00
Bytes remote_script_definite(ByteView data);          // AA L <data>

struct CardAnswer {
  std::uint32_t tag = 0;  // 23 for R-APDUs (value = data and SW), else the SCP03t answer tag (84, 85, 86, 9F44 ...)
  Bytes value;
  Bytes whole;                              // the TLV as received
  [[nodiscard]] std::uint16_t sw() const {  // 23 only; 0 when shorter than two bytes
    return value.size() < 2 ? std::uint16_t{0}
                            : static_cast<std::uint16_t>(value[value.size() - 2] << 8 | value[value.size() - 1]);
  }
};
// Lenient as 2.4 demands: an outer AF80..0000 or AB is skipped, so are 80 01 n and 83; 23-wrapped and bare TLVs are
// taken. `unwrap_scp03t`: these are answers to SCP03t, taken inside 23, too, one or several in each. Reasons:
// truncated, bad-length, bad-tag, bad-format (90).
Result<std::vector<CardAnswer>> parse_euicc_response_data(ByteView data, bool unwrap_scp03t = false);

// Cuts a list of TLVs into runs of at most `limit` bytes, only between TLVs; a TLV longer than the limit goes alone.
// limit 0: no limit.
std::vector<Bytes> cut_between_tlvs(const std::vector<Bytes>& tlvs, std::size_t limit);

}  // namespace kf::es8
