// ES2: the Operator's side of the SM-DP. Judges each request by the table of sgp02-interfaces.md 6.1, answers by the
// pattern that was asked for, accepts orders only when their record is committed, relays the platform functions to ES3.
// Loop thread only.
#pragma once

#include "host/server/download_service.hpp"
#include "host/server/request_gate.hpp"

namespace kf::server {

class Es2Service {
 public:
  Es2Service(DownloadService::Parts& p, DownloadService& d) : p_(p), downloads_(d) {}

  net::Admission admit(const net::Request& head) const;  // 403, 404, 405, 415 before the body is read; 0: go on
  asio::awaitable<net::Response> handle(net::Request r);

  // Refuses orders and relays from now on; those that run go on.
  void drain() { draining_ = true; }
  [[nodiscard]] std::size_t relays() const { return relays_; }

  // After a restart: relays that the old process had accepted and not answered.
  void end_interrupted(std::vector<store::CallRow> calls);

 private:
  struct Accepted;  // what the transaction of acceptance decided
  asio::awaitable<net::Response> order(const Party* from, es::Message m);
  asio::awaitable<net::Response> relay(const Party* from, es::Message m);
  asio::awaitable<net::Response> answer_accepted(const Party* from, const es::Message* m, Accepted a);
  asio::awaitable<net::Response> poll(const Party* from, es::Message m);
  asio::awaitable<void> run_relay(const Party* from, es::Request r, std::int64_t deadline_ms);
  void follow_smsr(const es::Request& r);
  void relay_done(const Party& from, const es::Request& r, const std::string& start, CallResult result);
  void relay_broke(const Party& from, const es::Request& r, const std::exception_ptr& e);
  void answer_not_stored(const std::string& requester, const std::string& fcid, const Error& why);
  net::Response later(const Party& from, const es::Message& m, const std::string& why) const;
  net::Response not_stored(const Party& from, const es::Message& m, const Error& why) const;
  bool over_quota(store::Tx& tx, const std::string& requester) const;  // store thread
  void answer_call(const std::string& requester, const std::string& fcid, es::Response r);
  std::optional<es::Response> refuse(const Party& from, const es::Message& m, const es::Request& r) const;
  store::CallRow call_row(const Party& from, const es::Message& m) const;
  net::Response now(const Party& to, const es::Message& m, const es::Response& r) const;
  net::Response fault(const es::Fault& f) const;

  DownloadService::Parts& p_;
  DownloadService& downloads_;
  std::size_t relays_ = 0;  // that run
  bool draining_ = false;
};

// Shared with ES3: the HTTP answer for a fault, and for "taken, nothing to say".
// What an Operator may see of an EIS: its own profiles, no keys (2.5).
void show_only_to(const Party& op, es::Eis& eis);
es::Response make_failed(es::Interface i, const es::Request& r, es::ExecStatus s, std::string subject,
                         std::string reason, std::string identifier, std::string message);

}  // namespace kf::server
