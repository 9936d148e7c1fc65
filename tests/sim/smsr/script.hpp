// Remote-command scripts as the SM-SR builds and reads them: ES5 commands, templates, script chaining. Pure functions.
// docs/spec/interfaces.md 3, 5.6, 5.7.
#pragma once

#include <string>
#include <vector>

#include "host/base/bytes.hpp"

namespace kf::sim {

Bytes create_isdp_apdu(ByteView isdp_aid, std::uint32_t memory);
Bytes enable_apdu(ByteView isdp_aid);
Bytes disable_apdu(ByteView isdp_aid);
Bytes delete_apdu(ByteView isdp_aid);
Bytes confirm_notification_apdu(std::uint16_t sequence);
Bytes as_command(ByteView apdu);  // 22 L <C-APDU>

// Script chaining (83 01 xx). The SM-SR adds it so that RC and SCP03t state survive from one script to the next.
enum class Chain : std::uint8_t { none = 0, first = 0x11, subsequent = 0x02, last = 0x03 };

// What a SendData's Data is, as far as a relay can see it.
struct DataKind {
  bool c_apdus = false;              // 22 ... : to the ISD-R
  bool scp03t = false;               // 84, 85, 86 bare: to an ISD-P
  bool starts_session = false;       // begins with 84, or with INSTALL [for personalization]
  bool ends_mid_store_data = false;  // the last STORE DATA is not the last block (P1 b8 clear)
  bool ends_mid_profile = false;     // the last TLV is 84, 85 or a full-length 86, so more will follow
  Bytes install_aid;                 // ISD-P named by INSTALL [for personalization]
};
// Reasons: truncated, bad-length, bad-tag, mixed-data (neither all 22 nor all 84/85/86).
Result<DataKind> look_at(ByteView data);
// The chaining TLV for the next script, given whether a chain is open; `more` is MoreToDo.
Chain chain_for(const DataKind& k, bool open, bool more);

Bytes script_template(ByteView commands, Chain chain);  // AE 80 [83 01 xx] <commands> 00 00

struct CardAnswerTlv {
  std::uint32_t tag = 0;
  Bytes value;
  [[nodiscard]] unsigned sw() const {  // of 23; 0 when there is none
    return tag != 0x23 || value.size() < 2 ? 0u : static_cast<unsigned>(value[value.size() - 2]) << 8 | value.back();
  }
};
struct ScriptAnswer {
  Bytes relay;  // the answer TLVs as they go into EuiccResponseData
  std::vector<CardAnswerTlv> list;
  [[nodiscard]] unsigned first_bad_sw() const;  // the first SW that is not 9000, or 0
  [[nodiscard]] bool scp03t_error() const;      // any 9F xx
};
// AF 80 <TLVs> 00 00 or AB L <TLVs>; 80 01 n and 83 L are left out. Reasons: truncated, bad-length, bad-tag, bad-format
// (tag 90, or no AF/AB around).
Result<ScriptAnswer> read_answer(ByteView body);

struct CardNotification {  // E1 { 4C EID, 4D type, 4E sequence number, 2F ISD-P AID }
  std::string eid;
  std::uint8_t type = 0;  // 01 declaration, 02 changed, 03 rolled back, 05 after fall-back
  std::uint16_t sequence = 0;
  std::string isdp_aid;
};
Result<CardNotification> read_notification(ByteView e1);  // reasons: as read_tlv, bad-notification
// Answer to the confirmation: 80 L {4F 10 AID}*: the profiles that the card deleted by itself.
std::vector<std::string> deleted_profiles(ByteView answer_data);

std::string isdp_aid_for(std::uint16_t n);  // A0000005591010FFFFFFFF8900 nnnn 00

}  // namespace kf::sim
