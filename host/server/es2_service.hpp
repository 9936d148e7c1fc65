// ES2: the Operator's side of the SM-DP. Judges each request by the table of sgp02-interfaces.md 6.1, answers by the
// pattern that was asked for, accepts orders only when their record is committed, relays the platform functions to ES3.
// Loop thread only.
#pragma once

#include "host/server/download_service.hpp"

namespace kf::server {

class Es2Service {
 public:
  Es2Service(DownloadService::Parts& p, DownloadService& d) : p_(p), downloads_(d) {}

  unsigned admit(const net::Request& head) const;  // 403, 404, 405, 415 before the body is read; 0: go on
  asio::awaitable<net::Response> handle(net::Request r);

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
  void answer_call(const std::string& requester, const std::string& fcid, es::Response r);
  std::optional<es::Response> refuse(const Party& from, const es::Message& m, const es::Request& r) const;
  store::CallRow call_row(const Party& from, const es::Message& m) const;
  net::Response now(const Party& to, const es::Message& m, const es::Response& r) const;
  net::Response fault(const es::Fault& f) const;

  DownloadService::Parts& p_;
  DownloadService& downloads_;
};

// Shared with ES3: the HTTP answer for a fault, and for "taken, nothing to say".
net::Response fault_response(const es::Fault& f);
net::Response accepted_response();
// GET ...?wsdl: docs/interfaces as that party would write and read it.
net::Response description_response(const Party& to, std::string_view target, std::string_view wsdl,
                                   std::string_view url);
unsigned admit_soap(const Config& c, const net::Request& head, Role role, std::string_view path,
                    std::string_view second_path);
// What an Operator may see of an EIS: its own profiles, no keys (2.5).
void show_only_to(const Party& op, es::Eis& eis);
es::Response make_failed(es::Interface i, const es::Request& r, es::ExecStatus s, std::string subject,
                         std::string reason, std::string identifier, std::string message);

}  // namespace kf::server
