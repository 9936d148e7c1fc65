// Deleting: error management (SGP.02 3.1.4), and the GetEIS that decides what happened.
#include "host/download/machine_impl.hpp"

namespace kf::download {

void Machine::begin_delete(Cause cause) {
  if (d().pol1_forbade) {  // entered at most once for one ISD-P
    emit(Alarm{"EID " + d().order.eid.str() + ": POL1 keeps the ISD-P of ICCID " + d().order.iccid.str() +
               " from being deleted and its completion failed; its EIS may show it as Created"});
    d().warning = std::move(cause);
    return succeed();
  }
  d().cause = std::move(cause);
  auto keys = std::move(d().secrets.keys);  // POL1 may yet turn this into an installation
  d().secrets = Secrets{};
  d().secrets.keys = std::move(keys);
  enter_persisted(State::deleting);
  if (d().isd_p_aid.empty()) return probe();  // not known whether the ISD-P was made
  call_delete(iccid());
}
// Nothing of this order is on the card, as far as is known.
void Machine::deleted(bool by_us) {
  if (d().header_taken) emit(DropKeySet{});  // a record may have been stored before the ISD-P went
  if (d().again_after_delete && m_.now_ms < d().order.deadline_ms) {  // restart: once more, with fresh keys
    Download fresh;
    fresh.order = std::move(d().order);
    fresh.restarts = d().restarts;
    fresh.taken_up = d().taken_up;
    fresh.calls = d().calls;
    fresh.possession = std::move(d().possession);
    d() = std::move(fresh);
    return start();
  }
  if (by_us && d().cause) d().cause->message += "; ISD-P deleted";
  if (may_appear() && d().cause)
    d().cause->message += "; whether an ISD-P is made yet is not known, it is looked after";
  end_deleting();
}
void Machine::left_behind(const std::string& why) {
  const auto& c = d().refused;  // says more than what came after it
  d().cause->message += "; ISD-P left behind: " + (c ? c->subject + "/" + c->reason + " " + c->message : why);
  end_deleting();
}

namespace {
bool pol1_refusal(const es::Response& r) {
  if (says(r, Code::pol1_refused)) return true;
  if (!r.euicc_response_data) return false;
  auto a = es8::parse_euicc_response_data(*r.euicc_response_data);
  return a && !a->empty() && a->back().sw() == 0x69E1;
}
}  // namespace

void Machine::on_deleted(es::Response& r) {
  if (executed(r) || unknown_profile(r)) return deleted(true);
  if (pol1_refusal(r)) {
    if (!d().header_taken) {  // a card fault: docs/spec/interfaces.md 10.11
      if (d().delete_probed) return left_behind("card refuses deletion");
      d().delete_probed = true;
      return probe();
    }
    d().pol1_forbade = true;
    d().again_after_delete = false;
    d().warning = d().cause;
    if (d().warning) d().warning->message += "; POL1 forbids deletion, counted as installed";
    return complete();
  }
  if (not_reached(r) && again_later(p_.timeouts.delete_tries)) return;
  d().refused = passed_on(r, {Code::isd_r_failed, d().isd_p_aid, "refused without a code"});
  d().delete_probed = true;
  probe();  // as in on_cleaned
}

void Machine::probed_deleting(const es::ProfileInfo* p, bool have, bool ours) {
  if (!have) return left_behind("GetEIS not answered");
  if (p == nullptr || entry_state(*p) == es::EntryState::deleted) {
    return deleted(false);
  }
  if (ours && in_use(*p) && d().header_taken) {  // the completion was taken after all, and deletion is refused
    if (may_vanish()) return left_behind("a DeleteISDP may yet be executed");
    d().warning = std::move(d().cause);
    if (d().warning) d().warning->message += "; the EIS shows the profile as " + p->state + ", counted as installed";
    return succeed();
  }
  if (d().delete_probed) return left_behind("card refuses deletion");
  if (!is_stale(*p, p_.smdp_oid)) return left_behind("the EIS shows an entry that is not ours to delete");
  d().isd_p_aid = p->isd_p_aid;
  call_delete(iccid());
}

// ---- probes: a GetEIS that decides what happened ----
void Machine::on_probe(es::Response& r) {
  const bool have = executed(r) && r.eis && r.eis->eid == d().order.eid.str();
  const es::ProfileInfo* p = have ? find_profile(*r.eis, d().order.iccid.str()) : nullptr;
  const bool ours = p != nullptr && (p->smdp_id.empty() || p->smdp_id == p_.smdp_oid);
  if (have) ledger().seen(look_at(*r.eis), p_.settle_ms);
  switch (d().state) {
    case State::cleaning_stale:
      return probed_cleaning(r, have);
    case State::creating_isdp:
      return probed_creating(r, p, have);
    case State::completing:
      return probed_completing(p, ours);
    case State::enabling:
      return probed_enabling(p, have, ours);
    case State::deleting:
      return probed_deleting(p, have, ours);
    default:
      return;
  }
}

}  // namespace kf::download
