// The status codes of SGP.02 that Keyferry gives or acts on, by name: docs/spec/interfaces.md 6. The only place in the
// product where they are written as numbers. A peer may send any other pair: that stays text (StatusCode), and is told
// apart here, once.
#pragma once

#include <iterator>

#include "host/es/types.hpp"

namespace kf::es {

// What it is about, and what is wrong with it: one row of kCodes each, in this order.
enum class Code : std::uint8_t {
  requester_unknown,
  requester_not_allowed,
  provider_invalid_destination,
  provider_failed,
  function_unsupported,
  function_in_use,
  function_warning,
  function_expired,
  euicc_memory,
  eid_invalid,
  eid_unavailable,
  eid_refused,
  eid_unknown,
  eum_certificate_unverified,
  eum_certificate_expired,
  euicc_certificate_unverified,
  euicc_certificate_expired,
  profile_failed,
  iccid_not_known,
  iccid_invalid,
  iccid_missing,
  iccid_unsupported,
  iccid_in_use,
  iccid_unknown,
  iccid_failed,
  pol1_refused,
  profile_type_invalid,
  profile_type_unsupported,
  profile_type_unavailable,
  profile_type_unknown,
  profile_type_mismatch,
  isd_p_failed,
  isd_p_unverified,
  isd_p_aid_invalid,
  isd_r_failed,
  isd_r_unverified,
  eis_missing,
  eis_failed,
  smsr_unknown,
  smsr_inaccessible,
  smdp_unsupported,
  smdp_unverified,
};

struct CodeRow {
  Code code;
  std::string_view subject, reason;
  std::string_view section;  // of docs/spec/interfaces.md, where it says what the pair is used for
};
inline constexpr CodeRow kCodes[] = {
    {Code::requester_unknown, "1.1", "1.1", "6.1"},
    {Code::requester_not_allowed, "1.1", "1.2", "6.1"},
    {Code::provider_invalid_destination, "1.2", "3.4", "6.1"},
    {Code::provider_failed, "1.2", "4.2", "6.1"},
    {Code::function_unsupported, "1.6", "3.1", "6.1"},
    {Code::function_in_use, "1.6", "3.3", "1.6"},
    {Code::function_warning, "1.6", "4.3", "6.2"},
    {Code::function_expired, "1.6", "5.3", "4.2"},
    {Code::euicc_memory, "8.1", "4.8", "4.2"},
    {Code::eid_invalid, "8.1.1", "2.1", "6.1"},
    {Code::eid_unavailable, "8.1.1", "3.7", "6.2"},
    {Code::eid_refused, "8.1.1", "3.8", "10.13"},
    {Code::eid_unknown, "8.1.1", "3.9", "6"},
    {Code::eum_certificate_unverified, "8.1.2", "6.1", "4.2"},
    {Code::eum_certificate_expired, "8.1.2", "6.3", "4.2"},
    {Code::euicc_certificate_unverified, "8.1.3", "6.1", "4.2"},
    {Code::euicc_certificate_expired, "8.1.3", "6.3", "4.2"},
    {Code::profile_failed, "8.2", "4.2", "7.4"},
    {Code::iccid_not_known, "8.2.1", "1.1", "6"},  // of an SM-SR: iccid_unknown in other words
    {Code::iccid_invalid, "8.2.1", "2.1", "6.1"},
    {Code::iccid_missing, "8.2.1", "2.3", "6.1"},
    {Code::iccid_unsupported, "8.2.1", "3.1", "7.4"},
    {Code::iccid_in_use, "8.2.1", "3.3", "6.1"},
    {Code::iccid_unknown, "8.2.1", "3.9", "6.1"},
    {Code::iccid_failed, "8.2.1", "4.2", "6.2"},
    {Code::pol1_refused, "8.2.2", "3.8", "4.2"},
    {Code::profile_type_invalid, "8.2.5", "2.1", "4.2"},
    {Code::profile_type_unsupported, "8.2.5", "3.1", "7.4"},
    {Code::profile_type_unavailable, "8.2.5", "3.7", "6.1"},
    {Code::profile_type_unknown, "8.2.5", "3.9", "6.1"},
    {Code::profile_type_mismatch, "8.2.5", "3.10", "6.1"},
    {Code::isd_p_failed, "8.3", "4.2", "4.2"},
    {Code::isd_p_unverified, "8.3", "6.1", "4.2"},
    {Code::isd_p_aid_invalid, "8.3.1", "2.1", "6.2"},
    {Code::isd_r_failed, "8.4", "4.2", "4.2"},
    {Code::isd_r_unverified, "8.4", "6.1", "4.2"},
    {Code::eis_missing, "8.6", "2.2", "6.2"},
    {Code::eis_failed, "8.6", "4.2", "6.2"},
    {Code::smsr_unknown, "8.7", "3.9", "6.1"},
    {Code::smsr_inaccessible, "8.7", "5.1", "4.2"},
    {Code::smdp_unsupported, "8.8", "3.1", "6.2"},
    {Code::smdp_unverified, "8.8", "6.1", "4.2"},
};
constexpr bool every_code_has_its_row() {
  for (std::size_t i = 0; i < std::size(kCodes); ++i)
    if (kCodes[i].code != static_cast<Code>(i)) return false;
  return std::size(kCodes) == static_cast<std::size_t>(Code::smdp_unverified) + 1;
}
static_assert(every_code_has_its_row());

constexpr const CodeRow& row_of(Code c) { return kCodes[static_cast<std::size_t>(c)]; }
inline StatusCode status_code(Code c, std::string subject_identifier, std::string message) {
  const CodeRow& row = row_of(c);
  return {std::string(row.subject), std::string(row.reason), std::move(subject_identifier), std::move(message)};
}
// Does the answer give that pair?
inline bool says(const Response& r, Code c) {
  return r.code && r.code->subject == row_of(c).subject && r.code->reason == row_of(c).reason;
}

// What a reason says of the call, whatever its subject: docs/spec/interfaces.md 6.
enum class Reason : std::uint8_t {
  other,
  busy,
  inaccessible,  // it did not reach the card
  expired,       // its time to live was over; the card may be at work
  no_end,        // any other of the fives: the card may have been at work, and nobody knows what came of it
};
constexpr Reason reason_of(std::string_view code) {
  if (code == "4.4") return Reason::busy;
  if (code == "5.1") return Reason::inaccessible;
  if (code == "5.3") return Reason::expired;
  return code.starts_with("5.") ? Reason::no_end : Reason::other;
}
// No code: other.
inline Reason reason_of(const Response& r) {
  return r.code ? reason_of(std::string_view(r.code->reason)) : Reason::other;
}

}  // namespace kf::es
