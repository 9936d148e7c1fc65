// The ES3 functions of the SM-SR simulator. docs/spec/interfaces.md 2.2, 2.4 to 2.6, 3, 4.6, 6.
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>

#include "host/base/calendar.hpp"
#include "host/base/ids.hpp"
#include "host/base/random.hpp"
#include "host/base/tlv.hpp"
#include "tests/sim/smsr/smsr_parts.hpp"

namespace kf::sim {
namespace {

using es::Function;

std::string hex4(unsigned v) {
  const std::array<std::uint8_t, 2> b{static_cast<std::uint8_t>(v >> 8), static_cast<std::uint8_t>(v)};
  return to_hex(b);
}

bool forbids(const es::ProfileInfo& p, std::string_view action) {
  return p.pol2 && std::any_of(p.pol2->begin(), p.pol2->end(), [&](const es::PolicyRule& r) {
           return r.action == action && r.qualification == "Not-Allowed";
         });
}

es::Response unknown_eid(const es::Request& q) {
  return failed(q, "8.1.1", "1.1", q.eid, "EID not managed by this SM-SR");
}

es::Response unknown_profile(const es::Request& q) {
  return failed(q, "8.2.1", "3.9", q.iccid.value_or(""), "no such profile on this eUICC");
}

// A command that brought no answer: its codes (docs/spec/interfaces.md 4.1: reason 5.1 means that nothing happened at
// the card).
es::Response not_answered(const es::Request& q, const CommandOutcome& o) {
  using Kind = CommandOutcome::Kind;
  if (o.kind == Kind::unreachable) return failed(q, "8.1", "5.1", q.eid, "the eUICC did not open a session");
  if (o.kind == Kind::lost)
    return failed(q, "8.1", "5.4", q.eid, "delivered, no answer" + (o.detail.empty() ? "" : ": " + o.detail));
  if (o.kind == Kind::expired) {
    es::Response a = failed(q, "1.6", "5.3", q.eid, "ValidityPeriod is over");
    a.status = es::ExecStatus::expired;
    return a;
  }
  return failed(q, "8.4", "4.2", q.eid, "answer of the eUICC not understood: " + o.detail);
}

EcasdVariant variant_of(std::string_view fault) {
  if (fault == "expired-ecasd") return EcasdVariant::expired;
  if (fault == "badly-signed-ecasd") return EcasdVariant::badly_signed;
  if (fault == "off-curve-ecasd") return EcasdVariant::off_curve;
  if (fault == "infinite-ecasd") return EcasdVariant::infinite;
  if (fault == "truncated-ecasd") return EcasdVariant::truncated;
  if (fault == "nonminimal-ecasd") return EcasdVariant::nonminimal;
  return EcasdVariant::other_eid;
}

}  // namespace

asio::awaitable<es::Response> Smsr::execute(const Party* party, std::shared_ptr<const es::Request> q,
                                            Clock::time_point deadline) {
  switch (q->function) {
    case Function::get_eis:
    case Function::create_isdp:
    case Function::send_data:
    case Function::profile_download_completed:
    case Function::update_policy_rules:
    case Function::update_subscription_address:
    case Function::update_connectivity_parameters:
    case Function::audit_eis:
    case Function::enable_profile:
    case Function::disable_profile:
    case Function::delete_isdp:
      break;
    default:
      co_return failed(*q, "1.6", "3.1", {}, "known and not implemented");
  }
  if (!parse_eid(q->eid).ok()) co_return failed(*q, "8.1.1", "2.1", q->eid, "check digits of the EID");
  const Euicc* e = find(q->eid);
  if (e == nullptr || (!faults_.empty() && faults_.find("unknown-eid", e->id) != nullptr)) co_return unknown_eid(*q);
  if (q->iccid && !parse_iccid(*q->iccid).ok())
    co_return failed(*q, "8.2.1", "2.1", *q->iccid, "check digit of the ICCID");
  switch (q->function) {
    case Function::get_eis:
      co_return get_eis(*party, *q);
    case Function::profile_download_completed:
      co_return completed(*party, *q);
    case Function::update_policy_rules:
    case Function::update_subscription_address:
    case Function::update_connectivity_parameters:
      co_return update_entry(*party, *q);
    case Function::audit_eis:
      find(q->eid)->record.eis.last_audit_date = iso_seconds(wall_now());
      co_return get_eis(*party, *q);
    case Function::create_isdp:
      co_return co_await create_isdp(party, q, deadline);
    case Function::send_data:
      co_return co_await send_data(party, q, deadline);
    case Function::delete_isdp:
      co_return co_await delete_isdp(party, q, deadline);
    default:
      co_return co_await switch_profile(party, q, deadline);
  }
}

es::Eis Smsr::eis_of(const Euicc& e, const Party& p) {
  es::Eis eis = e.record.eis;
  if (!faults_.empty()) {
    if (faults_.find("wrong-eis-eid", e.id) != nullptr) {  // the EIS of a neighbour, rightly signed
      EuiccRecord other = e.record;
      other.eid = fleet_eid(e.id.index + 600'000'000'000);
      other.eis.eid = other.eid;
      eis = eum_.eis_with(other, EcasdVariant::good);
    }
    for (const std::string_view f : {"expired-ecasd", "badly-signed-ecasd", "off-curve-ecasd", "infinite-ecasd",
                                     "truncated-ecasd", "nonminimal-ecasd", "other-eid-ecasd"})
      if (faults_.find(f, e.id) != nullptr) eis = eum_.eis_with(e.record, variant_of(f));
    if (faults_.find("more-ecasd", e.id) != nullptr) {
      auto other = eum_.eis_with(e.record, EcasdVariant::other_eid).ecasd.keysets;
      eis.ecasd.keysets.insert(eis.ecasd.keysets.begin(), other.begin(), other.end());
    }
    if (faults_.find("bad-eum-signature", e.id) != nullptr) eis.platform_version = "4.2.1";
  }
  eis.remaining_memory = e.remaining();
  if (const auto* f = faults_.find("memory-full", e.id); f != nullptr && f->value == "eis") eis.remaining_memory = 0;
  list_profiles(eis, e, p);
  return eis;
}

es::Response Smsr::get_eis(const Party& p, const es::Request& q) {
  Answer a = succeeded(q);
  a.eis = eis_of(*find(q.eid), p);
  return a;
}

asio::awaitable<es::Response> Smsr::create_isdp(const Party* p, std::shared_ptr<const es::Request> q,
                                                Clock::time_point deadline) {
  Euicc& e = *find(q->eid);
  if (e.entry(*q->iccid) != nullptr)  // whoever it belongs to: docs/spec/interfaces.md 10.2
    co_return failed(*q, "8.2.1", "3.3", *q->iccid, "the ICCID is in use on this eUICC");
  if (q->required_memory > e.remaining() || q->required_memory > 0xFFFFFFFFu)
    co_return failed(*q, "8.1", "4.8", q->eid, "RequiredMemory is more than RemainingMemory");
  EisEntry entry;
  entry.in_creation = true;
  entry.info.iccid = *q->iccid;
  entry.info.isd_p_aid = isdp_aid_for(e.next_isdp++);
  entry.info.mno_id = q->mno_id;
  entry.info.smdp_id = p->oid;
  entry.info.state = "Created";
  entry.info.allocated_memory = q->required_memory;
  entry.info.pol2 = es::Pol2{};
  const std::string iccid = entry.info.iccid, aid_text = entry.info.isd_p_aid;
  e.entries.push_back(std::move(entry));
  hostility_.put(iccid, q->eid);

  const Bytes aid = hex(aid_text);
  Es5::Order order;
  order.commands = as_command(create_isdp_apdu(aid, static_cast<std::uint32_t>(q->required_memory)));
  order.target = to_bytes(isd_r_aid().bytes());
  order.more_to_do = q->more_to_do.value_or(false);
  if (const auto* late = faults_.fire("late-creation", e.id)) {
    const std::chrono::milliseconds pause(fault_number(*late, 3000));
    asio::steady_timer timer(io_, pause);
    boost::system::error_code ec;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    deadline = std::max(deadline, Clock::now() + std::chrono::seconds(60));
  }
  audit(q->eid, "CreateISDP", "to-card", order.commands);
  const CommandOutcome o = co_await es5_.run(q->eid, std::move(order), deadline);

  const auto forget = [&] { remove(e, aid_text, false); };
  if (o.kind != CommandOutcome::Kind::answered) {
    forget();
    co_return not_answered(*q, o);
  }
  audit(q->eid, "CreateISDP", "from-card", o.answer.relay);
  const unsigned sw = o.answer.list.empty() ? 0x6F00u : o.answer.first_bad_sw();
  if (sw != 0) {
    forget();
    Answer a = sw == 0x6A84 ? failed(*q, "8.1", "4.8", q->eid, "INSTALL refused with SW 6A84")
                            : failed(*q, "8.4", "4.2", aid_text, "INSTALL refused with SW " + hex4(sw));
    a.euicc_response_data = o.answer.relay;
    co_return a;
  }
  if (EisEntry* made = e.entry_by_aid(aid_text)) {
    made->in_creation = false;
    change(*made, "Created");
  }
  Answer a = succeeded(*q);
  a.isd_p_aid = aid;
  a.euicc_response_data = o.answer.relay;
  co_return a;
}

asio::awaitable<es::Response> Smsr::send_data(const Party* p, std::shared_ptr<const es::Request> q,
                                              Clock::time_point deadline) {
  Euicc& e = *find(q->eid);
  const std::string target = to_hex(q->sd_aid);
  const auto kind = look_at(q->data);
  if (!kind.ok()) co_return failed(*q, "1.6", "2.1", target, "Data: " + kind.error().text());
  const auto owned = [&](const std::string& aid) {
    const EisEntry* x = e.entry_by_aid(aid);
    return x != nullptr && !x->in_creation && x->info.smdp_id == p->oid;
  };
  if (target != isd_r_aid().str() && !owned(target))
    co_return failed(*q, "8.3.1", "3.9", target, "no such ISD-P of yours");
  if (!kind->install_aid.empty()) {
    const std::string named = to_hex(kind->install_aid);
    if (!owned(named)) co_return failed(*q, "8.3.1", "3.9", named, "INSTALL names no ISD-P of yours");
    e.isdp_in_work = named;
  }
  Es5::Order order;
  order.commands = q->data;
  order.target = q->sd_aid;
  order.more_to_do = q->more_to_do.value_or(false);
  order.chain = chain_for(*kind, e.chain_open, order.more_to_do);
  e.chain_open = order.chain == Chain::first || order.chain == Chain::subsequent;
  audit(q->eid, "SendData", "to-card", q->data);
  const CommandOutcome o = co_await es5_.run(q->eid, std::move(order), deadline);
  if (o.kind != CommandOutcome::Kind::answered) {
    e.chain_open = false;
    co_return not_answered(*q, o);
  }
  audit(q->eid, "SendData", "from-card", o.answer.relay);

  Answer a = succeeded(*q);
  if (kind->scp03t) {
    if (o.answer.scp03t_error()) a = failed(*q, "8.3", "4.2", target, "SCP03t security error");
  } else if (const unsigned sw = o.answer.first_bad_sw(); sw != 0 || o.answer.list.empty()) {
    const std::string& isdp = e.isdp_in_work.empty() ? target : e.isdp_in_work;
    a = failed(*q, "8.4", "4.2", isdp, "STORE DATA refused with SW " + hex4(sw));
  }
  if (a.status == es::ExecStatus::failed) e.chain_open = false;
  a.euicc_response_data = o.answer.relay;
  spoil(a, e, kind->scp03t);
  co_return a;
}

void Smsr::spoil(Answer& a, const Euicc& e, bool scp03t) {
  Bytes& data = *a.euicc_response_data;
  // 23 L 85 10/20 <RC> 90 00: remember it, or put an earlier one in its place.
  std::size_t at = 0, length = 0;
  for (std::size_t i = 0; i + 4 < data.size(); ++i) {
    if (data[i] != 0x85 || (data[i + 1] != 0x10 && data[i + 1] != 0x20)) continue;
    const std::size_t end = i + 2 + data[i + 1];
    if (end + 2 == data.size() && data[end] == 0x90 && data[end + 1] == 0x00) {
      at = i + 2;
      length = data[i + 1];
      break;
    }
  }
  if (!faults_.empty()) {
    if (scp03t && faults_.find("scp03t-in-23", e.id) != nullptr) {
      if (const auto tlvs = read_tlvs(data); tlvs.ok()) {
        Bytes wrapped;
        for (const Tlv& t : *tlvs) append_tlv(wrapped, 0x23, t.whole);
        data = std::move(wrapped);
      }
      return;
    }
    if (length != 0 && faults_.find("old-rc-replay", e.id) != nullptr) {
      Bytes old = old_rc_;
      if (old.size() != length) old = random_bytes(length);  // none seen yet
      std::copy(old.begin(), old.end(), data.begin() + static_cast<std::ptrdiff_t>(at));
      return;
    }
    if (const auto* s = faults_.find("bad-hex-answer", e.id)) {
      if (s->value == "truncated" && data.size() > 1)
        data.pop_back();
      else if (s->value == "nonminimal" && data.size() > 2 && data[1] < 0x80)  // 23 05 .. -> 23 81 05 ..
        data.insert(data.begin() + 1, 0x81);
    }
  }
  if (length != 0)
    old_rc_.assign(data.begin() + static_cast<std::ptrdiff_t>(at),
                   data.begin() + static_cast<std::ptrdiff_t>(at + length));
}

es::Response Smsr::completed(const Party& p, const es::Request& q) {
  Euicc& e = *find(q.eid);
  EisEntry* entry = e.entry(*q.iccid);
  if (entry == nullptr || entry->info.smdp_id != p.oid) return unknown_profile(q);
  if (!faults_.empty() && faults_.fire("completed-refused", e.id) != nullptr)
    return failed(q, "8.7", "4.2", *q.iccid, "not now (fault of the simulator)");
  if (entry->in_creation || entry->info.state != "Created")
    return failed(q, "8.2.1", "3.5", *q.iccid, "the profile is in state " + entry->info.state);
  change(*entry, "Disabled");
  if (q.profile_type) entry->info.profile_type = *q.profile_type;
  if (q.subscription) entry->info.subscription = *q.subscription;
  if (q.pol2) entry->info.pol2 = *q.pol2;
  notify(Function::handle_profile_downloaded, q.eid, entry->info);
  return succeeded(q);
}

// What is kept in the EIS only. (A real SM-SR also sends connectivity parameters to the card, by SCP80 or SCP81.)
es::Response Smsr::update_entry(const Party& p, const es::Request& q) {
  EisEntry* entry = find(q.eid)->entry(*q.iccid);
  if (entry == nullptr || entry->in_creation || entry->info.smdp_id != p.oid) return unknown_profile(q);
  if (q.pol2) entry->info.pol2 = *q.pol2;  // absent: what is stored stays; empty: no rules
  if (q.subscription) entry->info.subscription = *q.subscription;
  if (!q.connectivity_parameters.empty()) entry->connectivity_parameters = q.connectivity_parameters;
  return succeeded(q);
}

asio::awaitable<es::Response> Smsr::switch_profile(const Party* p, std::shared_ptr<const es::Request> q,
                                                   Clock::time_point deadline) {
  const bool enable = q->function == Function::enable_profile;
  const std::string name(es::function_name(q->function));
  Euicc& e = *find(q->eid);
  EisEntry* entry = e.entry(*q->iccid);
  if (entry == nullptr || entry->in_creation || entry->info.smdp_id != p->oid) co_return unknown_profile(*q);
  if (entry->info.state != (enable ? "Disabled" : "Enabled"))
    co_return failed(*q, "8.2.1", "3.5", *q->iccid, "the profile is in state " + entry->info.state);
  // POL2 first, before any OTA traffic: of this profile, and of the one that enabling would disable.
  if (enable && forbids(entry->info, "ENABLE"))
    co_return failed(*q, "8.2.3", "3.8", *q->iccid, "POL2 forbids enabling");
  for (const auto& x : e.entries)
    if (x.info.state == "Enabled" && forbids(x.info, "DISABLE"))
      co_return failed(*q, "8.2.3", "3.8", x.info.iccid, "POL2 forbids disabling");

  const std::string aid_text = entry->info.isd_p_aid;
  const Bytes aid = hex(aid_text);
  Es5::Order order;
  order.commands = as_command(enable ? enable_apdu(aid) : disable_apdu(aid));
  order.target = to_bytes(isd_r_aid().bytes());
  order.card_resets = true;
  audit(q->eid, name, "to-card", order.commands);
  const CommandOutcome o = co_await es5_.run(q->eid, std::move(order), deadline);
  if (o.kind != CommandOutcome::Kind::answered) co_return not_answered(*q, o);
  audit(q->eid, name, "from-card", o.answer.relay);
  if (const unsigned sw = o.answer.list.empty() ? 0x6F00u : o.answer.first_bad_sw(); sw != 0) {
    Answer a = sw == 0x69E1 ? failed(*q, "8.2.2", "3.8", *q->iccid, "POL1 forbids it")
                            : failed(*q, "8.4", "4.2", *q->iccid, name + " refused with SW " + hex4(sw));
    a.euicc_response_data = o.answer.relay;
    co_return a;
  }
  // 9000 only says that the command was accepted; what counts is the notification after the new attachment.
  const auto until = std::min<Clock::time_point>(deadline, Clock::now() + options_.enable_timeout);
  const auto told = co_await es5_.wait_notification(q->eid, until);
  if (!told) co_return failed(*q, "8.2.1", "4.2", *q->iccid, "no notification from the eUICC in time");
  if (told->notification.type != 0x02)
    co_return failed(*q, "8.2.1", "4.2", *q->iccid, "Rolled back: no network attachment with the new profile");

  entry = e.entry_by_aid(aid_text);
  if (entry == nullptr) co_return unknown_profile(*q);
  if (enable) {
    for (auto& x : e.entries)
      if (x.info.state == "Enabled" && x.info.isd_p_aid != aid_text) {
        change(x, "Disabled");
        notify(Function::handle_profile_disabled, q->eid, x.info);
      }
    change(*entry, "Enabled");
    notify(Function::handle_profile_enabled, q->eid, entry->info);
  } else {
    change(*entry, "Disabled");
    notify(Function::handle_profile_disabled, q->eid, entry->info);
  }
  if (!told->confirmation.list.empty()) {  // profiles that the card deleted by itself (POL1: delete when disabled)
    const Bytes& r_apdu = told->confirmation.list.front().value;
    if (r_apdu.size() > 2)
      for (const auto& gone : deleted_profiles(ByteView(r_apdu).first(r_apdu.size() - 2)))
        if (const EisEntry* x = e.entry_by_aid(gone)) {
          notify(Function::handle_profile_deleted, q->eid, x->info);
          remove(e, gone);
        }
  }
  Answer a = succeeded(*q);
  a.euicc_response_data = o.answer.relay;
  co_return a;
}

asio::awaitable<es::Response> Smsr::delete_isdp(const Party* p, std::shared_ptr<const es::Request> q,
                                                Clock::time_point deadline) {
  Euicc& e = *find(q->eid);
  const EisEntry* entry = e.entry(*q->iccid);
  if (entry == nullptr || entry->in_creation || entry->info.smdp_id != p->oid) co_return unknown_profile(*q);
  if (forbids(entry->info, "DELETE")) co_return failed(*q, "8.2.3", "3.8", *q->iccid, "POL2 forbids deletion");
  const es::ProfileInfo gone = entry->info;
  const bool was_profile = gone.state != "Created";
  const std::string aid_text = entry->info.isd_p_aid;
  Es5::Order order;
  order.commands = as_command(delete_apdu(hex(aid_text)));
  order.target = to_bytes(isd_r_aid().bytes());
  audit(q->eid, "DeleteISDP", "to-card", order.commands);
  const CommandOutcome o = co_await es5_.run(q->eid, std::move(order), deadline);
  if (o.kind != CommandOutcome::Kind::answered) co_return not_answered(*q, o);
  audit(q->eid, "DeleteISDP", "from-card", o.answer.relay);
  if (const unsigned sw = o.answer.list.empty() ? 0x6F00u : o.answer.first_bad_sw(); sw != 0) {
    Answer a = sw == 0x69E1 ? failed(*q, "8.2.2", "3.8", *q->iccid, "POL1 forbids deletion")
                            : failed(*q, "8.4", "4.2", *q->iccid, "DELETE refused with SW " + hex4(sw));
    a.euicc_response_data = o.answer.relay;
    co_return a;
  }
  remove(e, aid_text);
  if (e.isdp_in_work == aid_text) {
    e.isdp_in_work.clear();
    e.chain_open = false;
  }
  if (was_profile) notify(Function::handle_profile_deleted, q->eid, gone);
  Answer a = succeeded(*q);
  a.euicc_response_data = o.answer.relay;
  co_return a;
}

}  // namespace kf::sim
