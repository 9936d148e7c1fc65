// Es2Service: what is put off, and what becomes of a request about which something failed on our side.
#include <spdlog/spdlog.h>

#include "host/server/es2_service.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {

std::string canonical_iccid(std::string_view received) { return std::string(iccid_value(received)); }

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
