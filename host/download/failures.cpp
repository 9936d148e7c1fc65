// Calls that got no answer, and the end of the ValidityPeriod.
#include "host/download/machine_impl.hpp"

namespace kf::download {
namespace {
constexpr unsigned kRefusedTries = 3;  // of an EnableProfile that the SM-SR's HTTP server turns away
}

void Machine::on_call_failed(CallFailed& f) {
  Download& x = d();
  if (f.call != x.pending_call || f.call == 0) return;
  const Ask ask = x.ask;
  x.pending_call = 0;
  x.last_failure = {f.brief, f.detail};
  if (ask == Ask::probe || x.state == State::getting_eis) {
    // When enabling is over the Operator waits for this one answer: no second try.
    if (!x.not_enabled && again_later(p_.timeouts.get_eis_tries)) return;  // ask is kept: on_timer asks again
    return on_probe_failed();
  }
  // A 503 says that nothing was done, but the HTTP server that says it may stand before an SM-SR that is at work.
  if ((f.fault == CallFault::unreachable && !f.answered) || f.fault == CallFault::refused)
    ledger().not_executed(transaction(f.call), m_.now_ms);
  const bool not_executed = f.fault == CallFault::unreachable || f.fault == CallFault::refused;
  switch (x.state) {
    case State::cleaning_stale:
      return probe();
    case State::creating_isdp:
      if (f.fault != CallFault::unreachable) return probe();
      if (again_later(p_.timeouts.get_eis_tries)) return;
      if (!may_appear()) return fail(down("CreateISDP"));  // it never reached the SM-SR: nothing was made
      x.create_retried = true;                             // the EIS is believed more than a 503
      return probe();
    case State::sending_cert:
      if (!x.cert_repeated) {  // a new RC replaces the old; nothing after it was sent
        x.cert_repeated = true;
        return send_cert();
      }
      return begin_delete(down("SendData"));
    case State::sending_key:
      return begin_delete(down("SendData"));
    case State::installing:
      if (f.fault == CallFault::unreachable && x.resends < p_.timeouts.not_reached_resends) {
        ++x.resends;
        if (x.online_open) return initialize_again();
        ++x.tries;
        emit(StartTimer{p_.timeouts.backoff});
        return;
      }
      return begin_delete(down("SendData"));
    case State::completing:
      if (!again_later(p_.timeouts.completed_tries)) probe();
      return;
    case State::enabling:
      // Also an SM-SR that is slow to acknowledge the call: there may be days of the ValidityPeriod left.
      if (f.fault == CallFault::timeout && m_.now_ms >= x.order.deadline_ms) {
        x.enable_unsure = true;
        return end_enabling(expired_cause());
      }
      if (f.fault == CallFault::refused && x.tries + 1 >= kRefusedTries) return end_enabling(down("EnableProfile"));
      if (f.fault != CallFault::refused && f.answered) x.enable_unsure = true;
      if (not_executed) return enable_again(down("EnableProfile"));
      x.enable_unsure = true;
      return ask_eis(Ask::probe);
    case State::deleting:
      if (again_later(p_.timeouts.delete_tries)) return;
      x.delete_probed = true;
      x.refused = down("DeleteISDP");
      return probe();
    default:
      return;
  }
}

void Machine::on_probe_failed() {  // the GetEIS that was to decide, given up
  Download& x = d();
  switch (x.state) {
    case State::cleaning_stale:
      return fail(x.refused.value_or(down("GetEIS")));
    case State::creating_isdp:
      return fail(down("CreateISDP"));
    case State::completing:
      return begin_delete(x.cause.value_or(down("ProfileDownloadCompleted")));
    case State::enabling:
      if (x.not_enabled) return tell_not_enabled(nullptr, false);
      if (!x.enable_unsure && !x.enable_due) return look_again();
      return enable_again(x.enable_said.value_or(down("EnableProfile")));
    case State::deleting:
      return left_behind("GetEIS not answered");
    default:
      return fail(down("GetEIS"));
  }
}

void Machine::on_deadline() {
  switch (d().state) {
    case State::cleaning_stale:
    case State::received:
    case State::getting_eis:
    case State::checking:
      d().expiring = true;
      return fail(expired_cause());
    case State::creating_isdp:
    case State::sending_cert:
    case State::sending_key:
    case State::installing:
    case State::completing:
      d().expiring = true;
      return begin_delete(expired_cause());
    case State::enabling:
      if (d().not_enabled) return;  // the EIS is being asked already
      d().enable_unsure = d().enable_unsure || d().pending_call != 0;
      return end_enabling(expired_cause());
    default:
      return;  // Deleting goes on to its end
  }
}

}  // namespace kf::download
