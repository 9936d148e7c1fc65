// Completing, Enabling.
#include <algorithm>

#include "host/base/text.hpp"
#include "host/download/machine_impl.hpp"

namespace kf::download {
namespace {
constexpr std::int64_t kLongestPause = 60'000;      // ms between two EnableProfile
constexpr std::int64_t kLongestLook = 60 * 60'000;  // ms between two GetEIS where nobody knows whether an answer comes
}  // namespace

// ---- Completing ----
void Machine::complete() {
  enter_persisted(State::completing);
  if (p_.keep_key_set && d().secrets.keys)
    emit(KeepKeySet{std::move(*d().secrets.keys), isd_p(), d().sequence_counter});
  d().secrets = Secrets{};
  call_completed();
}
void Machine::call_completed() {
  es::Request r = request_iccid(es::Function::profile_download_completed, d().order.iccid.str());
  if (!d().order.profile_type.empty()) r.profile_type = d().order.profile_type;
  const auto& s = d().order.subscription;
  if (!s.imsi.empty() || !s.msisdn.empty()) r.subscription = s;
  r.pol2 = d().order.pol2;
  call(std::move(r), p_.timeouts.completed, true);
}
void Machine::on_completed(es::Response& r) {
  if (executed(r)) {
    if (r.status == es::ExecStatus::with_warning) note_warning(r);
    return accepted();
  }
  d().cause =
      passed_on(r, {Code::eis_failed, d().order.iccid.str(), "ProfileDownloadCompleted refused without a code"});
  if (!again_later(p_.timeouts.completed_tries)) probe();
}
void Machine::accepted() {
  d().completed = true;
  d().cause.reset();
  if (!d().order.enable || d().expiring || m_.now_ms >= d().order.deadline_ms) {
    if (d().order.enable && !d().warning)
      d().warning = Cause{Code::function_expired, d().order.iccid.str(),
                          "Profile installed and Disabled; no time left to enable it"};
    return succeed();
  }
  enter_persisted(State::enabling);
  call_enable();
}
void Machine::probed_completing(const es::ProfileInfo* p, bool ours) {
  if (ours && in_use(*p)) return accepted();
  if (d().taken_up && ours && entry_state(*p) == es::EntryState::created && !d().completing_repeated) {
    d().completing_repeated = true;
    return call_completed();
  }
  begin_delete(d().cause.value_or(down("ProfileDownloadCompleted")));
}

// ---- Enabling ----
// The outcome follows the EIS: whatever EnableProfile came to, GetEIS is asked before the Operator is told that the
// profile was not enabled, and what cannot be known is called so.
void Machine::call_enable() {
  const std::int64_t left = d().order.deadline_ms - m_.now_ms;
  if (left <= 0) return end_enabling(expired_cause());
  out_.persist = out_.persist || d().enable_due;  // from now on the card may be at work
  d().enable_due = false;
  d().enable_said.reset();
  es::Request r = request_iccid(es::Function::enable_profile, d().order.iccid.str());
  call(std::move(r), std::min(left, p_.timeouts.enable), false);
  if (d().enable_call == 0) d().enable_call = d().calls;  // a callback to any of them from here on may tell
}
void Machine::on_enabled(es::Response& r) {
  if (executed(r)) {
    if (r.status == es::ExecStatus::with_warning) note_warning(r);
    return succeed();
  }
  NotEnabled n = not_enabled_by(r);
  if (n.again) return enable_again(n.why);
  end_enabling(std::move(n.why));
}
Machine::NotEnabled Machine::not_enabled_by(const es::Response& r) {
  if (r.status == es::ExecStatus::expired) return {expired_cause(), false};
  if (end_unknown(r)) d().enable_unsure = true;  // 5.4 and the like: the card may be at work yet
  const bool again = not_reached(r) || es::reason_of(r) == es::Reason::busy;  // not at the card; busy
  return {passed_on(r, {Code::iccid_failed, "", ""}), again};
}
void Machine::on_enabled_seen() {  // only counts where the callback may have been lost
  if (d().state == State::enabling && (d().taken_up || d().enable_unsure)) succeed();
}
// With growing pauses, until the ValidityPeriod is over.
void Machine::enable_again(const Cause& why) {
  std::int64_t ms = p_.timeouts.backoff;
  for (unsigned i = 0; i < d().tries && ms < kLongestPause; ++i) ms *= 4;
  ++d().tries;
  ms = std::min(ms, kLongestPause);
  if (m_.now_ms + ms >= d().order.deadline_ms) return end_enabling(why);
  d().ask = Ask::none;    // the timer is for EnableProfile, also after a GetEIS without an answer
  d().enable_due = true;  // stored, since no answer will come to a life of the server that begins in this pause
  out_.persist = true;
  emit(StartTimer{ms});
}
void Machine::end_enabling(Cause why) {
  d().not_enabled = std::move(why);
  ask_eis(Ask::probe);  // once: the Operator waits
}
void Machine::tell_not_enabled(const es::ProfileInfo* p, bool have) {
  const Cause& why = *d().not_enabled;
  const auto state = have && p != nullptr ? std::optional(entry_state(*p)) : std::nullopt;
  std::string text;
  if (!state)
    text = "Profile installed; whether it is enabled is not known, its EIS could not be read";
  else if (state == es::EntryState::created)  // behind ProfileDownloadCompleted: it cannot tell of EnableProfile
    text = "Profile installed; whether it is enabled is not known, its EIS still shows it as Created";
  else if (state == es::EntryState::deleted)
    text = "Profile installed and not enabled; its EIS shows it as Deleted";
  else if (state != es::EntryState::disabled)  // no state that we know
    text = "Profile installed; whether it is enabled is not known, its EIS shows it as " + clip_text(p->state, 32);
  else if (d().enable_unsure || es::reason_of(why.reason) == es::Reason::expired)
    text = "Profile installed and Disabled when last asked; EnableProfile was not answered and may yet be executed";
  else
    text = "Profile installed and Disabled; enabling failed";
  if (p != nullptr && entry_state(*p) == es::EntryState::created)
    emit(Alarm{"EID " + d().order.eid.str() + ": ICCID " + d().order.iccid.str() +
               " was completed, the EIS shows it as Created"});
  d().warning = Cause{why.subject, why.reason, d().order.iccid.str(), std::move(text), why.detail};
  if (!why.message.empty()) d().warning->message += ": " + why.message;
  succeed();
}
void Machine::probed_enabling(const es::ProfileInfo* p, bool have, bool ours) {
  if (ours && entry_state(*p) == es::EntryState::enabled) return succeed();
  if (d().not_enabled) return tell_not_enabled(ours ? p : nullptr, have);
  // After a restart with a call under way: the callback, the notification, a later look or the deadline ends it.
  if (!d().enable_unsure && !d().enable_due) return look_again();
  enable_again(d().enable_said.value_or(down("EnableProfile")));
}
// The callback may have been lost while no server was there, and nothing else says that the card is done.
void Machine::look_again() {
  std::int64_t ms = kLongestPause;
  for (unsigned i = 0; i < d().enable_looks && ms < kLongestLook; ++i) ms *= 2;
  ++d().enable_looks;
  ms = std::min(ms, kLongestLook);
  if (m_.now_ms + ms >= d().order.deadline_ms) return;  // then it is asked anyway
  d().tries = 0;
  d().ask = Ask::probe;
  emit(StartTimer{ms});
}
// What the probe's EIS shows decides as ever; this is what is told, or done, where it shows nothing new.
void Machine::note_enable_failed(const es::Response& r) {
  Download& x = d();
  if (executed(r) || x.not_enabled || x.enable_unsure || x.enable_due) return;  // an answer to this life's, or known
  NotEnabled n = not_enabled_by(r);
  if (!n.again) {
    x.not_enabled = std::move(n.why);
    return;
  }
  x.enable_said = std::move(n.why);
  x.enable_due = true;
  out_.persist = true;
}

}  // namespace kf::download
