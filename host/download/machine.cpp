#include "host/download/machine.hpp"

#include <algorithm>
#include <array>

#include "host/download/machine_impl.hpp"

namespace kf::download {
namespace {

constexpr std::array<std::string_view, 15> kStates{"Received",        "GettingEis",  "Checking",   "CleaningStale",
                                                   "CreatingIsdp",    "SendingCert", "SendingKey", "Installing",
                                                   "Completing",      "Enabling",    "Deleting",   "Done",
                                                   "DoneWithWarning", "Failed",      "Expired"};
constexpr std::int64_t kShortest = 1000;  // ms: a ValidityPeriod is whole seconds, and not 0

}  // namespace

Step Machine::run(Event e) {
  if (ended(d().state)) return std::move(out_);
  if (std::holds_alternative<Restart>(e)) ledger().resume(m_.now_ms);
  ledger().tick(m_.now_ms);
  // So says the inventory; the ledger of that time may be lost.
  if (d().order.iccid_was == IccidState::uncertain && !ledger().knows(iccid())) ledger().claimed(iccid(), m_.now_ms);
  std::visit(
      Overload{[&](Start&) { start(); }, [&](Restart& r) { restart(r.planned); }, [&](Answer& a) { on_answer(a); },
               [&](CallFailed& f) { on_call_failed(f); }, [&](CertificatesChecked& x) { on_certificates(x); },
               [&](EccDone& x) { on_ecc(x.completion); }, [&](Sealed& x) { on_sealed(x); },
               [&](HostChallenge& x) { on_host_challenge(x); }, [&](TimerFired&) { on_timer(); },
               [&](DeadlinePassed&) { on_deadline(); }, [&](EnabledSeen&) { on_enabled_seen(); }},
      e);
  return std::move(out_);
}

void Machine::enter(State s) {
  d().state = s;
  d().tries = 0;
  d().pending_call = 0;
  d().ask = Ask::none;
}
void Machine::enter_persisted(State s) {
  enter(s);
  out_.persist = true;
}

// ---- calls ----
es::Request Machine::request(es::Function f) {
  es::Request r;
  r.interface = es::Interface::es3;
  r.function = f;
  r.eid = d().order.eid.str();
  return r;
}
es::Request Machine::request_iccid(es::Function f, const std::string& iccid) {
  es::Request r = request(f);
  r.iccid = iccid;
  return r;
}
void Machine::call(es::Request r, std::int64_t timeout, bool resend_safe, Ask ask) {
  d().pending_call = ++d().calls;
  // The next block of numbers belongs to the next life, unless the record says that this one has begun it.
  if (d().calls % kCallsOfALife == 0) out_.persist = true;
  d().ask = ask;
  emit(CallEs3{d().calls, std::move(r), timeout, resend_safe});
}
void Machine::ask_eis(Ask ask) {
  d().eis_asked_ms = m_.now_ms;
  call(request(es::Function::get_eis), p_.timeouts.get_eis, true, ask);
}
// The ledger has a call that may change the card before it is made, and the record has the ledger. The SM-SR is not to
// begin it later than we wait for it, or than the order is valid; the card may take its time after that. The request
// leaves us within its time-out, and its ValidityPeriod, whole seconds, counts from when it arrives.
std::int64_t Machine::latest_end(std::int64_t not_after) const { return not_after + 2 * p_.timeouts.card + kShortest; }
void Machine::call_create() {
  es::Request r = request_iccid(es::Function::create_isdp, iccid());
  r.mno_id = d().order.requester.str();
  r.required_memory = d().order.required_memory;
  r.more_to_do = true;
  const std::int64_t not_after =
      std::min(std::max(d().order.deadline_ms, m_.now_ms + kShortest), m_.now_ms + kLongestCall);
  call(std::move(r), p_.timeouts.card, false);
  std::get<CallEs3>(out_.effects.back()).not_after_ms = not_after;
  ledger().creation_asked(transaction(d().calls), iccid(), m_.now_ms, latest_end(not_after));
  out_.persist = true;
}
void Machine::call_delete(const std::string& iccid) {
  const std::int64_t left = d().order.deadline_ms - m_.now_ms;
  const std::int64_t not_after = m_.now_ms + (left < kShortest ? p_.timeouts.card : std::min(left, p_.timeouts.card));
  call(request_iccid(es::Function::delete_isdp, iccid), p_.timeouts.card, true);
  std::get<CallEs3>(out_.effects.back()).not_after_ms = not_after;
  ledger().deletion_asked(transaction(d().calls), iccid, m_.now_ms, latest_end(not_after));
  out_.persist = true;
}
Possession::Eis Machine::look_at(const es::Eis& e) {
  return look_at_eis(e, ledger(), p_.smdp_oid, d().eis_asked_ms, m_.now_ms);
}
void Machine::send_data(const Aid& target, Bytes data, bool more) {
  es::Request r = request(es::Function::send_data);
  r.sd_aid = to_bytes(target.bytes());
  r.data = std::move(data);
  r.more_to_do = more;
  call(std::move(r), p_.timeouts.card, false);
}
void Machine::send_data(const Aid& target, const es8::SendPart& part, bool more) {
  es::Request r = request(es::Function::send_data);
  r.sd_aid = to_bytes(target.bytes());
  r.data_hex = part.hex;
  r.more_to_do = more;
  call(std::move(r), p_.timeouts.card, false);
}
void Machine::probe() {
  d().tries = 0;
  ask_eis(Ask::probe);
}
// Waits 1, 4, 16 ... times the back-off before the call is made again; false when the tries are used up.
bool Machine::again_later(unsigned limit) {
  if (++d().tries >= limit) return false;
  std::int64_t ms = p_.timeouts.backoff;
  for (unsigned i = 1; i < d().tries; ++i) ms *= 4;
  emit(StartTimer{ms});
  return true;
}

// ---- ends ----
void Machine::finish(State s) {
  enter_persisted(s);
  d().secrets = Secrets{};
  emit(Finish{});
}
void Machine::fail(Cause cause) {
  if (may_appear()) cause.message += "; whether an ISD-P is made yet is not known, it is looked after";
  d().cause = std::move(cause);
  finish(d().expiring ? State::expired : State::failed);
}
void Machine::succeed() {
  ledger().installed(iccid(), m_.now_ms);
  if (!d().warning) return finish(State::done);
  d().cause = d().warning;
  finish(State::done_with_warning);
}
void Machine::fail_as(const es::Response& r, const Cause& when_missing) {
  if (r.status == es::ExecStatus::expired) d().expiring = true;
  fail(r.status == es::ExecStatus::expired ? expired_cause() : passed_on(r, when_missing));
}
Cause Machine::down(const std::string& what) {
  const auto& why = d().last_failure;
  return {Code::smsr_inaccessible, d().order.smsr.str(),
          what + " got no usable answer from the SM-SR: " + (why.brief.empty() ? "no answer" : why.brief), why.detail};
}
void Machine::note_warning(const es::Response& r) {
  if (!d().warning) d().warning = passed_on(r, {Code::function_warning, "", "executed with a warning"});
}

// ---- dispatch ----
// What an answer, late or not, says of a call that may have changed the card. Is it of a CreateISDP whose ISD-P, if it
// made one, is there now?
bool Machine::note_end(const Answer& a) {
  const std::string id = transaction(a.call);
  if (!ledger().open(id)) return false;
  const bool creation = ledger().is_creation(id), gone = ledger().deleted_since(id);
  const auto done = end_of(ledger(), id, a.response);
  if (done && *done)
    ledger().executed(id, m_.now_ms);
  else if (done)
    ledger().not_executed(id, m_.now_ms);
  return creation && !gone;
}
void Machine::on_answer(Answer& a) {
  Download& x = d();
  if (a.call == 0) return;
  const bool creation = note_end(a);
  // The callback of an EnableProfile that was given up for lost. That one of several failed decides nothing.
  const bool late_enable = x.state == State::enabling && a.call != x.pending_call && x.enable_call != 0 &&
                           a.call >= x.enable_call && a.response.function == es::Function::enable_profile &&
                           (executed(a.response) || (x.taken_up && x.pending_call == 0));
  if (a.call != x.pending_call && !late_enable) {  // late, repeated or superseded
    if (creation) on_late_creation(a.response);
    // While the EIS is asked after a restart: the answer to an EnableProfile of the old life.
    const bool old_enable = x.state == State::enabling && x.taken_up && x.ask == Ask::probe && x.enable_call != 0 &&
                            a.call >= x.enable_call && a.response.function == es::Function::enable_profile;
    if (old_enable) note_enable_failed(a.response);
    return;
  }
  const Ask ask = late_enable ? Ask::step : x.ask;
  x.pending_call = 0;
  x.ask = Ask::none;
  // The EIS that decides about a CreateISDP does not make known why that one failed.
  if (ask != Ask::probe || x.state != State::creating_isdp) x.last_failure = {};
  if (ask == Ask::probe) return on_probe(a.response);
  switch (x.state) {
    case State::getting_eis:
      return on_eis(a.response);
    case State::cleaning_stale:
      return on_cleaned(a.response);
    case State::creating_isdp:
      return on_created(a.response);
    case State::sending_cert:
      return on_cert_answer(a.response);
    case State::sending_key:
      return on_key_answer(a.response);
    case State::installing:
      return on_install_answer(a.response);
    case State::completing:
      return on_completed(a.response);
    case State::enabling:
      return on_enabled(a.response);
    case State::deleting:
      return on_deleted(a.response);
    default:
      return;
  }
}

void Machine::on_timer() {
  Download& x = d();
  if (x.pending_call != 0) return;
  if (x.ask == Ask::probe || x.state == State::getting_eis)
    return ask_eis(x.state == State::getting_eis ? Ask::step : Ask::probe);
  switch (x.state) {
    case State::cleaning_stale:  // a DeleteISDP that might have struck what is made next is over
      return clean_next();
    case State::creating_isdp: {
      const unsigned tries = x.tries;
      create();
      d().tries = tries;
      return;
    }
    case State::installing:
      if (!x.secrets.parts.empty()) send_part();
      return;
    case State::completing:
      return call_completed();
    case State::enabling:
      return call_enable();
    case State::deleting:
      return call_delete(iccid());
    default:
      return;
  }
}

std::string_view state_name(State s) { return kStates[static_cast<std::size_t>(s)]; }
std::optional<State> state_by_name(std::string_view n) {
  for (std::size_t i = 0; i < kStates.size(); ++i)
    if (kStates[i] == n) return static_cast<State>(i);
  return std::nullopt;
}

Step step(Download d, Event e, const Policy& p, const Moment& m) {
  return Machine(std::move(d), p, m).run(std::move(e));
}

IccidState iccid_after(const Download& d, std::int64_t now_ms) {
  if (d.state == State::done || d.state == State::done_with_warning) return IccidState::installed;
  // What was installed stays with its eUICC: docs/spec/interfaces.md 10.9.
  if (d.order.iccid_was == IccidState::installed) return IccidState::installed;
  return d.possession.may_hold(d.order.iccid.str(), now_ms) ? IccidState::uncertain : IccidState::free;
}

bool needs_follow_up(const Download& d, std::int64_t now_ms) {
  return ended(d.state) && (!d.possession.clean(now_ms) || iccid_after(d, now_ms) == IccidState::uncertain);
}

}  // namespace kf::download
