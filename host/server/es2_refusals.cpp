// Es2Service: which profile an order gets, or why none; what is put off, and what becomes of a request about which
// something failed on our side.
#include <spdlog/spdlog.h>

#include "host/server/es2_service.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {
// Profiles of one Operator that may be on one eUICC without being installed there, or are on their way to it. A card
// holds a handful; more of them are left by an SM-SR that never says how a CreateISDP ended, and each has to be
// remembered, and looked after, until its time is over.
constexpr std::int64_t kMostAtStake = 32;
}  // namespace

std::string canonical_iccid(std::string_view received) { return std::string(iccid_value(received)); }

std::optional<download::Cause> choose_profile(store::Tx& tx, const std::string& requester, const es::Request& r,
                                              download::Order& order, store::ProfileRow& profile) {
  using store::ProfileState;
  const auto no = [](es::Code code, const std::string& id, const char* why) { return download::Cause{code, id, why}; };
  const auto crowded = [&](std::int64_t but) {
    return tx.profiles_at_stake(requester, order.eid.str(), order.smsr.str()) - but >= kMostAtStake;
  };
  const auto full = [&] {
    return no(es::Code::eid_unavailable, order.eid.str(),
              "too many of your profiles may be on this eUICC, or are on their way to it; they are being looked after");
  };
  std::string iccid = canonical_iccid(r.iccid.value_or(""));
  if (iccid.empty()) {
    if (!tx.profile_type_known(requester, *r.profile_type))
      return no(es::Code::profile_type_unknown, *r.profile_type, "ProfileType unknown");
    if (crowded(0)) return full();  // before one more is spent on it
    auto free = tx.free_iccid(requester, *r.profile_type);
    if (!free)
      return no(es::Code::profile_type_unavailable, *r.profile_type, "no free profile of this ProfileType is left");
    iccid = *free;
  }
  auto found = tx.get_profile(iccid);
  // The same answer for an unknown ICCID and another Operator's: nothing is learnt by guessing.
  if (!found || found->owner != requester) return no(es::Code::iccid_unknown, iccid, "ICCID unknown");
  if (r.profile_type && *r.profile_type != found->profile_type)
    return no(es::Code::profile_type_mismatch, *r.profile_type, "the ICCID is of another ProfileType");
  // What is, or may be, on an eUICC may be ordered for that one again; its EIS decides whether there is room for it.
  const bool same_euicc = found->eid == order.eid.str();
  if (found->state == ProfileState::reserved)
    return no(es::Code::iccid_in_use, iccid, "profile is in a running download");
  if (found->state == ProfileState::installed && !same_euicc)
    return no(es::Code::iccid_in_use, iccid, "profile is already installed");
  // Another SM-SR's EIS would prove nothing of where an uncertain one is.
  const bool uncertain = found->state == ProfileState::uncertain;
  if (uncertain && (!same_euicc || found->smsr != order.smsr.str()))
    return no(es::Code::iccid_in_use, iccid, "profile may be on an eUICC, which is being looked after");
  if (crowded(uncertain ? 1 : 0)) return full();
  if (found->state == ProfileState::installed) {
    order.iccid_was = download::IccidState::installed;
    order.smsr_was = found->smsr;
    order.download_was = found->download_id;
  }
  if (uncertain) order.iccid_was = download::IccidState::uncertain;
  order.iccid = Iccid::trusted(iccid);
  if (r.iccid && *r.iccid != iccid) order.iccid_as_ordered = *r.iccid;
  order.profile_type = found->profile_type;
  order.required_memory = found->required_memory;
  order.pol2 = pol2_from_json(found->pol2);
  profile = std::move(*found);
  return std::nullopt;
}

// A full disk, a store that is gone, or a record that cannot be read.
net::Response Es2Service::not_stored(const Party& from, const es::Message& m, const Error& why) const {
  if (!why.is(store::StoreFault::job)) return later(from, m, "temporary failure");
  ++p_.metrics.alarms;
  const auto& r = std::get<es::Request>(m.body);
  peer_line(spdlog::level::err, "not taken up", from.oid.str(),
            "ALARM " + std::string(es::function_name(r.function)) + " " + r.function_call_identifier + " of " +
                from.oid.str() + " cannot be taken up: " + why.detail);
  return now(from, m,
             make_failed(es::Interface::es2, r, es::ExecStatus::failed, es::Code::provider_failed, "",
                         "internal failure of the SM-DP"));
}

// Nothing was done and the same request may come again: 503 with a fault that says why.
net::Response Es2Service::later(const Party& from, const es::Message& m, const std::string& why) const {
  ++p_.metrics.put_off;
  peer_warn("put off", from.oid.str(), "requests of " + from.oid.str() + " are put off: " + why);
  es::Fault f;
  f.http_status = 503;
  f.code = es::FaultCode::receiver;
  f.reason = "Nothing was done, send again later: " + why;
  f.header = m.header;
  net::Response x = fault(f);
  x.headers.emplace_back("Retry-After", "30");
  return x;
}

bool Es2Service::over_quota(store::Tx& tx, const std::string& requester) const {
  const store::Usage u = tx.usage(requester);
  return u.calls >= p_.config.stored_calls || u.bytes >= p_.config.stored_bytes;
}

// The server stops while a connection waits for its answer: the order goes on, the outcome is kept with the call.
net::Response Es2Service::stopping(const es::Message& m, const es::Request& r) const {
  return goes_on(m,
                 std::string(es::function_name(r.function)) +
                     " was accepted and is not ended by this; the SM-DP is being restarted. Send the same request "
                     "with the same FunctionCallIdentifier again for its outcome",
                 "10");
}

// The same request came again and again, and its newest connections wait for the answer.
net::Response Es2Service::displaced(const Party& from, const es::Message& m, const es::Request& r) const {
  ++p_.metrics.put_off;
  peer_warn("put off", from.oid.str(),
            "repeats of " + r.function_call_identifier + " of " + from.oid.str() + " wait on more than " +
                std::to_string(Replies::kMostWaiting) + " connections: the oldest is let go");
  return goes_on(m,
                 std::string(es::function_name(r.function)) +
                     " was accepted and is not ended by this; newer connections with the same FunctionCallIdentifier "
                     "wait for its outcome",
                 "30");
}

net::Response Es2Service::goes_on(const es::Message& m, const std::string& why, const char* retry_after) const {
  es::Fault f;
  f.http_status = 503;
  f.code = es::FaultCode::receiver;
  f.reason = why;
  f.header = m.header;
  net::Response x = fault(f);
  x.headers.emplace_back("Retry-After", retry_after);
  return x;
}

}  // namespace kf::server
