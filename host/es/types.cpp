#include "host/es/types.hpp"

#include "host/es/codec.hpp"

namespace kf::es {

std::string_view function_name(Function f) { return row_of(f).name; }

std::string_view interface_name(Interface i) {
  switch (i) {
    case Interface::es2:
      return "ES2";
    case Interface::es3:
      return "ES3";
    case Interface::es4:
      return "ES4";
  }
  return "ES2";
}

EntryState entry_state(const ProfileInfo& p) {
  if (p.state == "Created") return EntryState::created;
  if (p.state == "Disabled") return EntryState::disabled;
  if (p.state == "Enabled") return EntryState::enabled;
  return p.state == "Deleted" ? EntryState::deleted : EntryState::other;
}

KeysetType keyset_type(const SecurityDomain::Keyset& k) {
  if (k.type.empty()) return KeysetType::unnamed;
  return k.type == "CA" ? KeysetType::ca : KeysetType::other;
}

bool is_notification(Function f) {
  return f == Function::handle_profile_enabled || f == Function::handle_profile_disabled ||
         f == Function::handle_profile_deleted || f == Function::handle_profile_downloaded ||
         f == Function::handle_smsr_change;
}

bool is_notification(const Request& r) {
  return is_notification(r.function) || (r.function == Function::other && r.other_name.ends_with("Notification"));
}

}  // namespace kf::es
