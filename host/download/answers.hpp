// Reading an SM-SR's answers: what the machines of this room share. Not for other rooms.
#pragma once

#include <algorithm>
#include <string_view>

#include "host/base/ids.hpp"
#include "host/es/types.hpp"

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
inline bool says(const es::Response& r, std::string_view subject, std::string_view reason) {
  return r.code && r.code->subject == subject && r.code->reason == reason;
}
inline bool not_reached(const es::Response& r) { return r.code && r.code->reason == "5.1"; }
inline bool unknown_profile(const es::Response& r) { return says(r, "8.2.1", "3.9") || says(r, "8.2.1", "1.1"); }
// The SM-SR gave up while the card may have been at work: EXPIRED, 5.2 to 5.5; or nobody knows what it says. Anything
// may have happened.
inline bool end_unknown(const es::Response& r) {
  return r.unknown_status || r.status == es::ExecStatus::expired ||
         (r.code && r.code->reason.starts_with("5.") && r.code->reason != "5.1");
}

// The entry of that ICCID, by value: an EIS may write F behind short ones. Entries of others are passed over unjudged.
inline const es::ProfileInfo* find_profile(const es::Eis& e, std::string_view iccid) {
  const auto it = std::find_if(e.profiles.begin(), e.profiles.end(),
                               [&](const es::ProfileInfo& p) { return same_iccid(p.iccid, iccid); });
  return it == e.profiles.end() ? nullptr : &*it;
}
// 4.5; an entry without Smdp-id is not ours (10, rule 14).
inline bool is_stale(const es::ProfileInfo& p, std::string_view smdp_oid) {
  return p.state == "Created" && !p.smdp_id.empty() && p.smdp_id == smdp_oid;
}
inline bool in_use(const es::ProfileInfo& p) { return p.state == "Disabled" || p.state == "Enabled"; }

}  // namespace kf::download
