#include "host/server/relay_service.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "host/base/calendar.hpp"
#include "host/base/clock.hpp"
#include "host/base/random.hpp"
#include "host/base/text.hpp"
#include "host/server/es2_service.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {

RelayService::RelayService(DownloadService::Parts& p)
    : p_(p),
      share_operators_(std::ranges::count(p.config.parties, Role::operator_, &Party::role) > 1),
      share_smsrs_(std::ranges::count(p.config.parties, Role::smsr, &Party::role) > 1) {}

// ---- whose turn it is ----
Admission& RelayService::queue_of(const Party& smsr) {
  auto& q = queues_[&smsr];
  if (!q) {
    Admission::Limits l;
    l.places = std::min(smsr.max_connections, std::max<std::size_t>(2, smsr.max_connections / 4));
    l.enabling = SIZE_MAX;  // bounded by what each Operator may have open
    l.waiting = p_.config.relays_per_smsr;
    l.share_operators = share_operators_;
    l.share_smsrs = false;
    q = std::make_unique<Admission>(l);
  }
  return *q;
}

std::string RelayService::reserve(const Party& op, const Party& smsr) {
  Held& held = held_[&op];
  const std::size_t most = p_.config.relays_per_operator;
  if (held.all >= most) return "too many of your requests are not answered yet";
  // One SM-SR that never calls back must not use up what its Operator has for the others.
  std::size_t& here = held.by_smsr[&smsr];
  if (share_smsrs_ && here != 0 && here / Admission::kShare >= most - held.all - 1)
    return "too many of your requests to SM-SR " + smsr.oid.str() + " are not answered yet";
  if (!queue_of(smsr).may_wait(op.oid.str())) return "too many of your requests wait for SM-SR " + smsr.oid.str();
  ++held.all;
  ++here;
  return {};
}

void RelayService::cancel(const Party& op, const Party& smsr) {
  Held& held = held_[&op];
  --held.all;
  --held.by_smsr[&smsr];
}

void RelayService::begin(const Party& op, const Party& smsr, es::Request r, std::int64_t deadline_ms) {
  const Id id = ++next_id_;
  const auto at = relays_.try_emplace(id).first;
  at->second.op = &op;
  at->second.smsr = &smsr;
  at->second.request = std::move(r);
  try {
    enqueue(id, at->second, deadline_ms);
  } catch (...) {  // it is committed: its Operator is told
    broke(id, std::current_exception());
  }
}

void RelayService::enqueue(Id id, Relay& x, std::int64_t deadline_ms) {
  const Party &op = *x.op, &smsr = *x.smsr;
  x.deadline_ms = deadline_ms;
  x.start = iso_seconds(wall_now());
  const std::int64_t left_ms = std::max<std::int64_t>(1000, deadline_ms - anchored_ms());
  x.expiry = std::make_unique<asio::steady_timer>(p_.io, std::chrono::milliseconds(left_ms));
  x.expiry->async_wait([this, id](const boost::system::error_code& ec) {
    if (!ec) expired(id);
  });
  queue_of(smsr).add(id, op.oid.str(), smsr.oid.str(), "relay " + std::to_string(id));
  pump(smsr);
}

void RelayService::pump(const Party& smsr) {
  Admission& q = queue_of(smsr);
  while (const auto id = q.next()) {
    try {
      send(*id);
    } catch (...) {
      broke(*id, std::current_exception());
    }
  }
}

void RelayService::end(Id id) {
  const auto it = relays_.find(id);
  if (it == relays_.end()) return;
  const Party& smsr = *it->second.smsr;
  cancel(*it->second.op, smsr);
  relays_.erase(it);
  queue_of(smsr).end(id);
  asio::post(p_.io, [this, &smsr] { pump(smsr); });
}

void RelayService::expired(Id id) {
  const auto it = relays_.find(id);
  if (it == relays_.end() || it->second.sent || it->second.answered) return;
  done(id, CallFailure{download::CallFault::timeout, "no turn at the SM-SR in time", "too many requests wait for it"});
}

// ---- one relay ----
void RelayService::send(Id id) {
  Relay& x = relays_.at(id);
  if (x.answered) return;  // its time was over before its turn came, and that is not stored yet
  x.sent = true;
  x.expiry.reset();
  const es::Request& r = x.request;
  es::Request q;
  // ES3 has no DeleteProfile: docs/spec/interfaces.md 10.1.
  q.function = r.function == es::Function::delete_profile ? es::Function::delete_isdp : r.function;
  q.eid = r.eid;
  if (r.iccid) q.iccid = std::string(iccid_value(*r.iccid));
  q.pol2 = r.pol2;
  q.subscription = r.subscription;
  q.connectivity_parameters = r.connectivity_parameters;
  const std::int64_t left_ms = std::max<std::int64_t>(1000, x.deadline_ms - anchored_ms());
  const bool switches = q.function == es::Function::enable_profile || q.function == es::Function::disable_profile;
  const std::int64_t limit = is_quick(q.function) ? p_.config.timeouts.get_eis
                             : switches           ? p_.config.timeouts.enable
                                                  : p_.config.timeouts.card;
  const auto taken = [this, id] {  // its answer will come by callback
    const auto it = relays_.find(id);
    if (it == relays_.end()) return;
    queue_of(*it->second.smsr).only_waits(id);
    pump(*it->second.smsr);
  };
  const auto finished = [this, id, smsr = x.smsr, asked = std::chrono::steady_clock::now()](CallResult result) {
    try {
      if (const auto* ok = std::get_if<es::Response>(&result); ok != nullptr && ok->eis)
        p_.follow_ups.seen(*smsr, *ok->eis, asked);
      done(id, std::move(result));
    } catch (...) {
      broke(id, std::current_exception());
    }
  };
  p_.es3.call(*x.smsr, random_uuid(), std::move(q), std::min(limit, left_ms),
              static_cast<std::uint32_t>(left_ms / 1000), true, finished, taken);
}

void RelayService::done(Id id, CallResult result) {
  const auto it = relays_.find(id);
  if (it == relays_.end() || it->second.answered) return;
  answer(id, it->second, std::move(result));
  it->second.answered = true;
}

void RelayService::answer(Id id, const Relay& x, CallResult result) {
  const es::Request& r = x.request;
  es::Response out;
  if (auto* f = std::get_if<CallFailure>(&result)) {
    const bool late = f->fault == download::CallFault::timeout;
    out = make_failed(es::Interface::es2, r, late ? es::ExecStatus::expired : es::ExecStatus::failed,
                      late ? es::Code::function_expired : es::Code::smsr_inaccessible, r.smsr_id,
                      "no usable answer from the SM-SR: " + f->brief);
    peer_warn("relay", x.op->oid.str() + " to " + r.smsr_id,
              std::string(es::function_name(r.function)) + " of " + x.op->oid.str() + " to SM-SR " + r.smsr_id +
                  " failed: " + f->detail);
  } else {
    out = std::move(std::get<es::Response>(result));
    out.interface = es::Interface::es2;
    out.function = r.function;
    out.isd_p_aid.clear();
    if (out.eis) show_only_to(*x.op, *out.eis);
    const bool carried_out = out.status == es::ExecStatus::success || out.status == es::ExecStatus::with_warning;
    if (carried_out && r.iccid) follow_smsr(r);
  }
  out.processing_start = x.start;
  out.processing_end = iso_seconds(wall_now());
  store_answer(std::make_shared<Answer>(Answer{id, x.op->oid.str(), r.function_call_identifier, std::move(out)}));
}

// Another SM-SR than the download went through did what its Operator asked of it: it manages the card now, and its
// notifications count.
void RelayService::follow_smsr(const es::Request& r) {
  p_.orders.managed_by(std::string(iccid_value(*r.iccid)), r.eid, r.smsr_id);
}

void RelayService::broke(Id id, const std::exception_ptr& e) {
  const auto it = relays_.find(id);
  if (it == relays_.end() || it->second.answered) return;
  const std::string op = it->second.op->oid.str();
  const es::Request& r = it->second.request;
  report(p_.metrics, "a relay of " + op, e);
  store_answer(
      std::make_shared<Answer>(Answer{id, op, r.function_call_identifier,
                                      make_failed(es::Interface::es2, r, es::ExecStatus::failed,
                                                  es::Code::provider_failed, "", "internal failure of the SM-DP")}));
  it->second.answered = true;
}

// ---- the answer ----
void RelayService::store_answer(const AnswerPtr& a) {
  if (a->bound.kept.empty()) a->bound = p_.replies.answer(a->requester, a->fcid, a->response);
  p_.orders.end_relay(a->bound, [this, a](Result<Answered> r) {
    guarded(p_.metrics, "the answer to a relay", [&] { stored(a, std::move(r)); });
  });
}

void RelayService::stored(const AnswerPtr& a, Result<Answered> r) {
  if (stopped_) return;
  if (r.ok() && r->rebound) {  // the call was repeated meanwhile, or taken up after a restart
    p_.replies.rewrite(a->bound, std::move(*r->rebound), a->response);
    return store_answer(a);
  }
  if (!r && !r.error().is(store::StoreFault::job)) return store_later(a, r.error());
  if (!r) set_aside(*a, r.error());  // what cannot be read would fail again
  if (a->relay != 0) end(a->relay);
  if (r.ok() && r->delivery) p_.delivery.add(std::move(*r->delivery));
  p_.replies.wake(a->requester, a->fcid, a->response);
}

// A full disk is emptied one day. Told now, the answer would be another one after a restart.
void RelayService::store_later(const AnswerPtr& a, const Error& why) {
  if (a->attempts++ % 30 == 0)
    peer_line(spdlog::level::err, "answer not stored", a->requester,
              "answer to " + a->fcid + " of " + a->requester + " not stored, trying again: " + why.text());
  auto pause = std::make_shared<asio::steady_timer>(p_.io, std::chrono::seconds(1));
  pause->async_wait([this, a, pause](const boost::system::error_code&) {
    if (!stopped_) store_answer(a);
  });
}

void RelayService::set_aside(const Answer& a, const Error& why) {
  peer_line(spdlog::level::err, "answer not stored", a.requester,
            "answer to " + a.fcid + " of " + a.requester + " not stored: " + why.text());
  note_set_aside(p_.metrics, "relay " + a.fcid + " of " + a.requester + ": " + why.detail);
  p_.orders.set_aside_relay(a.requester, a.fcid, why.detail);
}

void RelayService::end_interrupted(std::vector<store::CallRow> calls) {
  for (const auto& c : calls) {
    es::Request r;
    for (auto f :
         {es::Function::get_eis, es::Function::enable_profile, es::Function::disable_profile,
          es::Function::delete_profile, es::Function::update_policy_rules, es::Function::update_subscription_address,
          es::Function::audit_eis, es::Function::update_connectivity_parameters})
      if (c.function == es::function_name(f)) r.function = f;
    store_answer(std::make_shared<Answer>(
        Answer{0, c.requester, c.fcid,
               make_failed(es::Interface::es2, r, es::ExecStatus::failed, es::Code::provider_failed, "",
                           "interrupted by a restart of the SM-DP")}));
  }
}

std::vector<RelayService::Count> RelayService::counts() const {
  std::vector<Count> out;
  for (const auto& [smsr, q] : queues_) out.push_back({smsr->oid.str(), q->waiting(), q->running()});
  return out;
}

void RelayService::stop() {
  stopped_ = true;
  for (auto& [id, x] : relays_) x.expiry.reset();
}

}  // namespace kf::server
