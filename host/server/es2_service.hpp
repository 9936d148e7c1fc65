// ES2: the Operator's side of the SM-DP. Judges each request by the table of docs/spec/interfaces.md 6.1, answers by
// the pattern that was asked for, accepts orders only when their record is committed, relays the platform functions to
// ES3. Loop thread only.
#pragma once

#include "host/server/download_service.hpp"
#include "host/server/relay_service.hpp"
#include "host/server/request_gate.hpp"

namespace kf::server {

// The store's key: an ICCID that refuse() let pass, without padding.
std::string canonical_iccid(std::string_view received);

class Es2Service {
 public:
  Es2Service(DownloadService::Parts& p, DownloadService& d, RelayService& r) : p_(p), downloads_(d), relays_(r) {}

  net::Admission admit(const net::Request& head) const;  // 403, 404, 405, 415 before the body is read; 0: go on
  asio::awaitable<net::Response> handle(net::Request r);

  // Refuses orders and relays from now on; those that run go on.
  void drain() { draining_ = true; }

 private:
  asio::awaitable<net::Response> order(const Party* from, es::Message m);
  asio::awaitable<net::Response> relay(const Party* from, es::Message m);
  asio::awaitable<net::Response> answer_accepted(const Party* from, const es::Message* m, Accepted a);
  asio::awaitable<net::Response> answer_again(const Party* from, const es::Message* m, Accepted a);
  asio::awaitable<net::Response> poll(const Party* from, es::Message m);
  net::Response later(const Party& from, const es::Message& m, const std::string& why) const;
  net::Response not_stored(const Party& from, const es::Message& m, const Error& why) const;
  net::Response stopping(const es::Message& m, const es::Request& r) const;
  net::Response displaced(const Party& from, const es::Message& m, const es::Request& r) const;
  net::Response goes_on(const es::Message& m, const std::string& why, const char* retry_after) const;
  std::optional<es::Response> refuse(const Party& from, const es::Message& m, const es::Request& r) const;
  store::CallRow call_row(const Party& from, const es::Message& m) const;
  net::Response now(const Party& to, const es::Message& m, const es::Response& r) const;
  net::Response fault(const es::Fault& f) const;

  DownloadService::Parts& p_;
  DownloadService& downloads_;
  RelayService& relays_;
  bool draining_ = false;
};

// Shared with ES3: the HTTP answer for a fault, and for "taken, nothing to say".
// What an Operator may see of an EIS: its own profiles, no keys (docs/spec/interfaces.md 2.5).
void show_only_to(const Party& op, es::Eis& eis);
es::Response make_failed(es::Interface i, const es::Request& r, es::ExecStatus s, es::StatusCode code);
es::Response make_failed(es::Interface i, const es::Request& r, es::ExecStatus s, es::Code code, std::string identifier,
                         std::string message);

}  // namespace kf::server
