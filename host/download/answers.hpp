// Reading an SM-SR's answers: what the machines of this room share. Not for other rooms.
#pragma once

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include "host/base/ids.hpp"
#include "host/base/text.hpp"
#include "host/download/possession.hpp"
#include "host/es/status_codes.hpp"

namespace kf::download {

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

inline bool executed(const es::Response& r) {
  return r.status == es::ExecStatus::success || r.status == es::ExecStatus::with_warning;
}
inline bool not_reached(const es::Response& r) { return es::reason_of(r) == es::Reason::inaccessible; }
inline bool unknown_profile(const es::Response& r) {
  return says(r, es::Code::iccid_unknown) || says(r, es::Code::iccid_not_known);
}
// The SM-SR gave up while the card may have been at work: EXPIRED, reasons 5.2 to 5.5; or nobody knows what it says.
// Anything may have happened.
inline bool end_unknown(const es::Response& r) {
  const es::Reason why = es::reason_of(r);
  return r.unknown_status || r.status == es::ExecStatus::expired || why == es::Reason::expired ||
         why == es::Reason::no_end;
}

// The entry of that ICCID, by value: an EIS may write F behind short ones. Entries of others are passed over unjudged.
inline const es::ProfileInfo* find_profile(const es::Eis& e, std::string_view iccid) {
  const auto it = std::find_if(e.profiles.begin(), e.profiles.end(),
                               [&](const es::ProfileInfo& p) { return same_iccid(p.iccid, iccid); });
  return it == e.profiles.end() ? nullptr : &*it;
}
// docs/spec/interfaces.md 4.5, 10.14: an entry without Smdp-id is not ours.
inline bool is_stale(const es::ProfileInfo& p, std::string_view smdp_oid) {
  return entry_state(p) == es::EntryState::created && !p.smdp_id.empty() && p.smdp_id == smdp_oid;
}
inline bool in_use(const es::ProfileInfo& p) {
  return entry_state(p) == es::EntryState::disabled || entry_state(p) == es::EntryState::enabled;
}

// What of an EIS concerns the ledger. An SM-SR may show thousands of entries as ours: those for which the ledger has no
// room are left to whoever reads the next EIS.
inline Possession::Eis look_at_eis(const es::Eis& e, const Possession& ledger, std::string_view smdp_oid,
                                   std::int64_t asked_ms, std::int64_t now_ms) {
  constexpr std::size_t kRoom = 64, kMaxIccid = 32;  // room for what the ledger did not know before
  using In = Possession::Entry::State;
  Possession::Eis out{asked_ms, now_ms, {}};
  std::size_t room = kRoom - std::min(kRoom, ledger.size());
  std::set<std::pair<std::string_view, In>> taken;
  for (const auto& p : e.profiles) {
    if (entry_state(p) == es::EntryState::deleted) continue;
    const bool known = ledger.knows(p.iccid), stale = is_stale(p, smdp_oid);
    if (!known && (!stale || p.iccid.size() > kMaxIccid || room == 0)) continue;
    const In state = stale ? In::created : in_use(p) ? In::used : In::other;
    if (!taken.emplace(iccid_value(p.iccid), state).second) continue;
    if (!known) --room;
    out.entries.push_back({clip_text(p.iccid, kMaxIccid), state});
  }
  return out;
}
// Did a DeleteISDP with that answer leave nothing behind? none: its end is not known.
inline std::optional<bool> deletion_executed(const es::Response& r) {
  if (executed(r) || unknown_profile(r)) return true;
  if (end_unknown(r) || !r.code) return std::nullopt;
  return false;
}
// A CreateISDP, the same.
inline std::optional<bool> creation_executed(const es::Response& r) {
  if (executed(r)) return true;
  if (end_unknown(r) || !r.code) return std::nullopt;
  return false;
}
// A call of the ledger whose end was open. An answer to another function says nothing of it.
inline std::optional<bool> end_of(const Possession& ledger, const std::string& transaction, const es::Response& r) {
  const bool creation = ledger.is_creation(transaction);
  if (r.function != (creation ? es::Function::create_isdp : es::Function::delete_isdp)) return std::nullopt;
  return creation ? creation_executed(r) : deletion_executed(r);
}

}  // namespace kf::download
