// Calls to SM-SRs: what a message says of its own time when it leaves.
#include <gtest/gtest.h>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <filesystem>

#include "host/base/random.hpp"
#include "host/pki/test_pki.hpp"
#include "host/server/es3_client.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

struct Smsr {  // answers every message as it is told, or by `handler`
  Smsr() {
    fs::create_directories(dir);
    EXPECT_TRUE(ensure_test_pki((dir / "pki").string(), Curve::p256, default_parties()).ok());
    net::ServerOptions o;
    o.tls = files("operator");
    server =
        std::make_unique<net::HttpServer>(io, std::move(o), [this](net::Request r) -> asio::awaitable<net::Response> {
          ++calls;
          if (handler) co_return co_await handler(std::move(r));
          net::Response x = answer;
          co_return x;
        });
    EXPECT_TRUE(server->start().ok());
    config.tls = files("smdp");
    config.oid = Oid::trusted("2.999.1");
    config.es3_url = "https://127.0.0.1:1/es3";
    party.oid = Oid::trusted("2.999.30");
    party.role = Role::smsr;
    party.ns = es::kNs3;
    party.url = "https://127.0.0.1:" + std::to_string(server->port()) + "/es3";
    party.callback_url = config.es3_url + "/callback";
    party.synchronous = false;
  }
  ~Smsr() {
    server->stop();
    fs::remove_all(dir);
  }
  [[nodiscard]] net::TlsFiles files(const std::string& name) const {
    const std::string p = (dir / "pki").string() + "/tls-";
    return {p + name + ".pem", p + name + ".key", p + "root.pem"};
  }
  fs::path dir = fs::temp_directory_path() / ("kf-es3-" + random_uuid());
  asio::io_context io{1};
  Settings config;
  Metrics metrics;
  Party party;
  net::Response answer;
  std::function<asio::awaitable<net::Response>(net::Request)> handler;
  int calls = 0;
  std::unique_ptr<net::HttpServer> server;
};

// Stacks that know of no callbacks acknowledge a message with 204, with 200 and nothing, or with a line of text. The
// callback comes all the same.
TEST(Es3Client, EveryAcknowledgementIsOne) {
  struct Case {
    unsigned status;
    const char *type, *body;
    bool taken;
  };
  const std::string fault =
      "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Body><s:Fault><s:Code><s:Value>s:Receiver"
      "</s:Value></s:Code><s:Reason><s:Text xml:lang='en'>no</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>";
  for (const Case& c :
       {Case{202, "", "", true}, Case{200, "", "", true}, Case{204, "", "", true},
        Case{202, "text/plain", "Accepted", true}, Case{202, "application/soap+xml", fault.c_str(), false},
        Case{200, "text/plain", "Accepted", false}, Case{302, "", "", false}}) {
    Smsr smsr;
    smsr.answer.status = c.status;
    smsr.answer.content_type = c.type;
    smsr.answer.body = c.body;
    Es3Client client(smsr.io, smsr.config, smsr.metrics);
    std::optional<CallResult> end;
    bool taken = false;
    es::Request r;
    r.function = es::Function::delete_isdp;
    r.eid = "89001012012341234012345678901224";
    r.iccid = "89445010101010101010";
    client.call(
        smsr.party, "call.1", std::move(r), 3'600'000, 60, true, [&](CallResult x) { end = std::move(x); },
        [&] { taken = true; });
    for (int i = 0; i < 1000 && !end && !taken; ++i) {
      smsr.io.restart();
      smsr.io.run_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(smsr.calls, 1) << c.status;
    EXPECT_EQ(taken, c.taken) << c.status << c.body;
    EXPECT_EQ(end.has_value(), !c.taken) << c.status << c.body;
    client.stop();
  }
}

// 408 says that somebody's wait was over: whether the SM-SR behind it did anything is as unknown as after a 500.
TEST(Es3Client, WhatAStatusSaysOfTheCall) {
  using download::CallFault;
  const std::pair<unsigned, CallFault> cases[] = {{403, CallFault::refused},
                                                  {404, CallFault::refused},
                                                  {408, CallFault::fault},
                                                  {500, CallFault::fault},
                                                  {503, CallFault::unreachable}};
  for (const auto& [status, fault] : cases) {
    Smsr smsr;
    smsr.answer.status = status;
    Es3Client client(smsr.io, smsr.config, smsr.metrics);
    std::optional<CallResult> end;
    es::Request r;
    r.function = es::Function::create_isdp;
    r.eid = "89001012012341234012345678901224";
    r.iccid = "89445010101010101010";
    r.mno_id = "2.999.10";
    client.call(smsr.party, "call.1", std::move(r), 3'600'000, 60, false, [&](CallResult x) { end = std::move(x); });
    for (int i = 0; i < 1000 && !end; ++i) {
      smsr.io.restart();
      smsr.io.run_for(std::chrono::milliseconds(10));
    }
    ASSERT_TRUE(end.has_value()) << status;
    const auto* f = std::get_if<CallFailure>(&*end);
    ASSERT_NE(f, nullptr) << status;
    EXPECT_EQ(static_cast<int>(f->fault), static_cast<int>(fault)) << status;
    EXPECT_TRUE(f->answered) << status;
    client.stop();
  }
}

// A call that waits in the pool keeps its promise: never sent after its ValidityPeriod, and sent with what is left.
TEST(Es3Client, AMessageGrowsOldWhileItWaitsForAConnection) {
  Smsr smsr;
  asio::io_context& io = smsr.io;
  asio::steady_timer held(io, std::chrono::hours(1));
  std::vector<es::Request> seen;
  smsr.handler = [&](net::Request r) -> asio::awaitable<net::Response> {
    auto m = es::parse_message(r.body, {});
    if (auto* f = std::get_if<es::Fault>(&m)) ADD_FAILURE() << f->reason;
    if (auto* ok = std::get_if<es::Message>(&m)) seen.push_back(std::get<es::Request>(ok->body));
    boost::system::error_code ec;
    if (seen.size() == 1) co_await held.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    net::Response x;
    x.status = 202;
    x.content_type.clear();
    co_return x;
  };
  smsr.party.max_connections = 1;
  Es3Client client(io, smsr.config, smsr.metrics);
  std::vector<std::optional<CallResult>> ends(3);
  const auto call = [&](std::size_t i, std::uint32_t validity_s) {
    es::Request r;
    r.function = es::Function::delete_isdp;
    r.eid = "89001012012341234012345678901224";
    r.iccid = "8944501010101010101" + std::to_string(i);
    client.call(smsr.party, "call." + std::to_string(i), std::move(r), 3'600'000, validity_s, true,
                [&, i](CallResult x) { ends[i] = std::move(x); });
  };
  const auto run_until = [&](auto so) {
    for (int i = 0; i < 3000 && !so(); ++i) {
      io.restart();
      io.run_for(std::chrono::milliseconds(10));
    }
    return so();
  };
  call(0, 60);
  ASSERT_TRUE(run_until([&] { return seen.size() == 1; }));
  call(1, 1);
  call(2, 60);
  ASSERT_TRUE(run_until([&] { return ends[1].has_value(); }));
  const auto* failure = std::get_if<CallFailure>(&*ends[1]);
  ASSERT_NE(failure, nullptr);
  EXPECT_EQ(failure->fault, download::CallFault::unreachable) << failure->detail;
  held.cancel();
  ASSERT_TRUE(run_until([&] { return seen.size() == 2; }));
  EXPECT_EQ(seen[1].iccid, "89445010101010101012") << "the one of a second was not sent late";
  EXPECT_LE(seen[1].validity_period, 59U);
  EXPECT_GE(seen[1].validity_period, 1U);
  client.stop();
  smsr.server->stop();
  io.restart();
  io.run_for(std::chrono::milliseconds(50));
}

}  // namespace
}  // namespace kf::server
