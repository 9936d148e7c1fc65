// What the tests of the SM-SR use in place of an SM-DP: an ES3 client with its callback server. It knows messages,
// patterns and nothing of what they carry.
#pragma once

#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "host/base/random.hpp"
#include "host/es/soap.hpp"
#include "host/net/http.hpp"
#include "host/pki/test_pki.hpp"
#include "tests/sim/main/simulator.hpp"

namespace kf::sim::test {

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline const std::string& pki_dir() {  // made once a process, removed at the end
  struct Dir {
    std::string path;
    Dir() {
      char name[] = "/tmp/kf-smsr-test-XXXXXX";
      path = ::mkdtemp(name) == nullptr ? "/tmp" : name;
      if (!ensure_test_pki(path, Curve::p256, default_parties()).ok()) std::abort();
      // A second SM-DP, tls-smdp2.
      const IssuedX509 root{slurp(path + "/tls-root.pem"), slurp(path + "/tls-root.key")};
      const IssuedX509 leaf = make_tls_leaf("smdp2", Oid::trusted("2.999.21"), {"127.0.0.1"}, root,
                                            add_days(today_utc(), -1), add_days(today_utc(), 30));
      std::ofstream(path + "/tls-smdp2.pem") << leaf.cert_pem;
      std::ofstream(path + "/tls-smdp2.key") << leaf.key_pem;
    }
    ~Dir() { std::filesystem::remove_all(path); }
  };
  static const Dir d;
  return d.path;
}
inline net::TlsFiles tls_of(const std::string& who) {
  return {pki_dir() + "/tls-" + who + ".pem", pki_dir() + "/tls-" + who + ".key", pki_dir() + "/tls-root.pem"};
}

// Runs the context until the coroutine is done; throws what it throws, and when it takes longer than `limit`.
template <class T>
T run(asio::io_context& io, asio::awaitable<T> work, std::chrono::seconds limit = std::chrono::seconds(60)) {
  std::optional<T> out;
  std::exception_ptr error;
  asio::co_spawn(io, std::move(work), [&](std::exception_ptr e, T v) {
    error = e;
    if (!e) out.emplace(std::move(v));
  });
  io.restart();
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!out && !error && std::chrono::steady_clock::now() < deadline) io.run_one_for(std::chrono::milliseconds(100));
  if (error) std::rethrow_exception(error);
  if (!out) throw std::runtime_error("the coroutine did not end in time");
  return std::move(*out);
}

inline void let_run(asio::io_context& io, std::chrono::milliseconds time) {
  io.restart();
  io.run_for(time);
}

struct Answer {
  unsigned http = 0;
  std::string body;
  std::string error;
  std::optional<es::Response> response;
  std::optional<es::Fault> fault;
  es::MessageHeader header;  // of the final answer
  bool by_callback = false;
  [[nodiscard]] std::string code() const {
    if (!response) return "HTTP " + std::to_string(http) + " " + error;
    if (!response->code) return response->status == es::ExecStatus::success ? "ok" : "?";
    return response->code->subject + "/" + response->code->reason;
  }
  [[nodiscard]] std::string card_hex() const {
    return response && response->euicc_response_data ? to_hex(*response->euicc_response_data) : "";
  }
};

class SmdpStub {
 public:
  SmdpStub(asio::io_context& io, std::string who = "smdp", std::string oid_text = "2.999.20")
      : oid(std::move(oid_text)), io_(io) {
    net::ServerOptions s;
    s.tls = tls_of(who);
    who_ = std::move(who);
    server_ =
        std::make_unique<net::HttpServer>(io, std::move(s), [this](net::Request r) { return handle(std::move(r)); });
    const auto st = server_->start();
    if (!st.ok()) throw std::runtime_error(st.error().text());
  }
  void connect(std::uint16_t es3_port) {
    net::ClientOptions c;
    c.port = es3_port;
    c.tls = tls_of(who_);
    client_ = std::make_unique<net::HttpClient>(io_, std::move(c));
    to = "https://127.0.0.1:" + std::to_string(es3_port) + "/es3";
  }
  [[nodiscard]] std::string callback_url() const {
    return "https://127.0.0.1:" + std::to_string(server_->port()) + "/es3/callback";
  }

  asio::awaitable<Answer> call(es::Request q, bool callback, net::Millis timeout = net::Millis(30'000)) {
    q.interface = es::Interface::es3;
    if (q.function_call_identifier.empty()) q.function_call_identifier = "dp-" + random_uuid();
    es::SendHeader h;
    h.from = es::make_address(callback_url(), from_oid.empty() ? oid : from_oid, "SM-DP-K");
    h.to = es::make_address(to, to_oid, {});
    if (callback) h.reply_to = reply_to.empty() ? es::make_address(callback_url(), oid, "SM-DP-K") : reply_to;
    h.message_id = es::make_message_id(oid, random_uuid(), "urn:uuid:" + random_uuid(), "2026-03-02T09:00:00Z");
    h.action = es::action_of(q);
    const std::string body = es::write_message(h, q);
    return post(body, h.message_id, timeout);
  }

  // A body as it is; the answer may come in the HTTP response or by callback to `message_id`.
  asio::awaitable<Answer> post(std::string body, std::string message_id, net::Millis timeout) {
    net::Request r;
    r.target = "/es3";
    r.content_type = es::kSoapContentType;
    r.body = std::move(body);
    Answer a;
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    auto first = co_await client_->call(std::move(r), timeout, true);
    if (!first.ok()) {
      a.error = first.error().text();
      co_return a;
    }
    a.http = first->status;
    a.body = first->body;
    if (a.http == 200) {
      take(a, first->body);
      co_return a;
    }
    if (a.http != 202) {
      if (auto f = es::read_fault(first->body); f.ok()) a.fault = std::move(f).value();
      co_return a;
    }
    asio::steady_timer timer(io_);
    waits_[message_id] = &timer;
    while (!callbacks.contains(message_id) && std::chrono::steady_clock::now() < deadline) {
      timer.expires_at(deadline);
      boost::system::error_code ec;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
    waits_.erase(message_id);
    if (const auto it = callbacks.find(message_id); it != callbacks.end()) {
      a.by_callback = true;
      a.body = it->second.back();
      take(a, a.body);
    } else {
      a.error = "no callback";
    }
    co_return a;
  }

  std::string oid, from_oid, to_oid = "2.999.30", reply_to, to;
  std::map<std::string, std::vector<std::string>> callbacks;  // by RelatesTo: bodies
  std::vector<std::string> unrelated;                         // callbacks without RelatesTo
  std::vector<es::Request> notifications;

 private:
  static void take(Answer& a, const std::string& body) {
    auto m = es::parse_message(body, {});
    if (auto* f = std::get_if<es::Fault>(&m)) {
      a.error = f->reason;
      return;
    }
    auto& message = std::get<es::Message>(m);
    a.header = message.header;
    if (auto* r = std::get_if<es::Response>(&message.body)) a.response = std::move(*r);
  }
  asio::awaitable<net::Response> handle(net::Request r) {
    net::Response out;
    out.status = 202;
    auto m = es::parse_message(r.body, {});
    if (std::holds_alternative<es::Fault>(m)) {
      out.status = 400;
      co_return out;
    }
    auto& message = std::get<es::Message>(m);
    if (auto* q = std::get_if<es::Request>(&message.body))
      notifications.push_back(std::move(*q));
    else if (message.header.relates_to.empty())
      unrelated.push_back(r.body);
    else {
      callbacks[message.header.relates_to].push_back(r.body);
      if (const auto it = waits_.find(message.header.relates_to); it != waits_.end()) it->second->cancel();
    }
    co_return out;
  }

  asio::io_context& io_;
  std::map<std::string, asio::steady_timer*> waits_;
  std::string who_;
  std::unique_ptr<net::HttpServer> server_;
  std::unique_ptr<net::HttpClient> client_;
};

inline es::Request request(es::Function f, const std::string& eid) {
  es::Request q;
  q.interface = es::Interface::es3;
  q.function = f;
  q.eid = eid;
  return q;
}

// Simulator and SM-DP stub on one context.
class World {
 public:
  explicit World(std::vector<std::string> faults = {}, unsigned euiccs = 4, bool psk = true) : dp(io) {
    SimulatorOptions o;
    o.pki_dir = pki_dir();
    o.fleet.euiccs = euiccs;
    o.fleet.psk = psk;
    o.smdp_url = dp.callback_url();
    o.faults = std::move(faults);
    o.silence = net::Millis(400);
    o.enable_timeout = std::chrono::seconds(10);
    Party other;
    other.role = Party::Role::smdp;
    other.oid = "2.999.21";
    other.fingerprint = *net::certificate_fingerprint(pki_dir() + "/tls-smdp2.pem");
    other.reply_hosts = {"127.0.0.1"};
    o.more_parties = {other};
    o.m2m = true;
    sim = std::make_unique<Simulator>(io, std::move(o));
    const auto s = sim->start();
    if (!s.ok()) throw std::runtime_error(s.error().text());
    dp.connect(sim->smsr().es3_port());
  }
  ~World() {
    sim->stop();
    let_run(io, std::chrono::milliseconds(20));
  }
  Answer call(es::Request q, bool callback = false, net::Millis timeout = net::Millis(15'000)) {
    return run(io, dp.call(std::move(q), callback, timeout));
  }
  Answer create(const std::string& eid, const std::string& iccid, bool callback = true, std::uint64_t memory = 65536) {
    auto q = request(es::Function::create_isdp, eid);
    q.iccid = iccid;
    q.mno_id = "2.999.10";
    q.required_memory = memory;
    q.more_to_do = true;
    return call(std::move(q), callback);
  }
  Answer by_iccid(es::Function f, const std::string& eid, const std::string& iccid, bool callback = false) {
    auto q = request(f, eid);
    q.iccid = iccid;
    return call(std::move(q), callback);
  }
  Answer get_eis(const std::string& eid) { return call(request(es::Function::get_eis, eid)); }

  asio::io_context io;
  SmdpStub dp;
  std::unique_ptr<Simulator> sim;
};

}  // namespace kf::sim::test
