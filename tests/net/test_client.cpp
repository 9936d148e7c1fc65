// The client against our server and against scripted TLS servers.
#include <openssl/ssl.h>

#include <set>

#include "tests/net/support.hpp"

namespace kf::net::test {
namespace {

using std::string;
using Answer = Result<Response>;
constexpr Millis plenty{10'000};

struct NetClient : ::testing::Test {
  World w;
  Echo echo;
  std::unique_ptr<HttpServer> server;

  std::uint16_t start(ServerOptions o) {
    server = std::make_unique<HttpServer>(w.io, std::move(o), echo.handler());
    const auto r = server->start();
    EXPECT_TRUE(r.ok()) << r.error().text();
    return server->port();
  }
  std::uint16_t start() { return start(server_options(w)); }
  Answer call(HttpClient& c, Request r, Millis timeout = plenty, bool resend = false) {
    return w.run(c.call(std::move(r), timeout, resend));
  }
  // Starts a call; the result appears in `out`.
  static asio::awaitable<void> keep(asio::awaitable<Answer> a, std::optional<Answer>& out) {
    out.emplace(co_await std::move(a));
  }
  void spawn(HttpClient& c, Request r, std::optional<Answer>& out, Millis timeout = plenty, bool resend = false) {
    asio::co_spawn(w.io, keep(c.call(std::move(r), timeout, resend), out), asio::detached);
  }
  std::set<string> addresses() const {
    std::set<string> s;
    for (const auto& r : echo.seen) s.insert(r.peer.address);
    return s;
  }
};

#define EXPECT_REASON(answer, why)                              \
  do {                                                          \
    const auto& kf_a = (answer);                                \
    ASSERT_FALSE(kf_a.ok()) << kf_a->status;                    \
    EXPECT_EQ(kf_a.error().reason, why) << kf_a.error().text(); \
    EXPECT_FALSE(kf_a.error().detail.empty());                  \
  } while (false)

TEST_F(NetClient, OneConnectionServesManyCalls) {
  HttpClient c(w.io, client_options(start()));
  for (int i = 0; i < 20; ++i) {
    auto r = post("body " + std::to_string(i));
    r.headers = {{"X-One", "1"}, {"Content-Length", "999"}};
    const auto a = call(c, std::move(r));
    ASSERT_TRUE(a.ok()) << a.error().text();
    EXPECT_EQ(a->status, 200U);
    EXPECT_EQ(a->body, "body " + std::to_string(i));
    EXPECT_EQ(a->content_type, "application/soap+xml; charset=utf-8");
    ASSERT_NE(find_header(a->headers, "x-one"), nullptr);
    EXPECT_FALSE(a->close);
  }
  EXPECT_EQ(addresses().size(), 1U);
  EXPECT_EQ(c.connections(), 1U);
  EXPECT_EQ(echo.seen[0].host, "127.0.0.1:" + std::to_string(server->port()));
  EXPECT_EQ(echo.seen[0].peer.fingerprint, *certificate_fingerprint(Pki::get().client.cert));
  c.close_idle();
  EXPECT_EQ(c.connections(), 0U);
  EXPECT_TRUE(call(c, post("again")).ok());
  EXPECT_EQ(addresses().size(), 2U);
}

TEST_F(NetClient, BodiesOfAllSizesBothWaysPlainAndChunked) {
  auto o = server_options(w);
  o.max_body = 4 << 20;
  HttpClient c(w.io, client_options(start(std::move(o))));
  echo.keep_seen = false;
  for (const std::size_t n :
       {0UL, 1UL, 16'000UL, 16'200UL, 16'384UL, 16'385UL, 32'768UL, 100'000UL, 3'000'000UL, 4UL << 20}) {
    for (const bool chunked : {false, true}) {
      string body(n, '\0');
      for (std::size_t i = 0; i < n; ++i) body[i] = static_cast<char>(i * 2654435761U >> 13);
      auto r = post(body);
      r.chunked = chunked;
      const auto a = call(c, std::move(r));
      ASSERT_TRUE(a.ok()) << n << " " << a.error().text();
      EXPECT_EQ(a->status, 200U) << n;
      EXPECT_TRUE(a->body == body) << n;
      EXPECT_EQ(a->chunked, chunked);
    }
  }
  EXPECT_EQ(c.connections(), 1U);
}

TEST_F(NetClient, HostNameIsLookedUpAndVerified) {
  auto o = client_options(start());
  o.host = "localhost";
  HttpClient c(w.io, o);
  const auto a = call(c, post("x"));
  ASSERT_TRUE(a.ok()) << a.error().text();
  EXPECT_EQ(echo.seen[0].host, "localhost:" + std::to_string(o.port));
  o.host = "no-such-host.invalid";
  HttpClient nowhere(w.io, o);
  EXPECT_REASON(call(nowhere, post("x")), "net-connect");
}

TEST_F(NetClient, WrongServersAreRefused) {
  struct Case {
    TlsFiles files;
    const char* why;
  };
  for (const Case& c :
       {Case{Pki::get().other_host, "IP address mismatch"}, Case{Pki::get().no_san, "IP address mismatch"},
        Case{Pki::get().untrusted, "unable to get local issuer"},
        Case{Pki::get().expired, "certificate has expired"}}) {
    auto so = server_options(w);
    so.tls = c.files;
    so.tls.ca = Pki::get().server.ca;
    auto o = client_options(start(std::move(so)));
    HttpClient client(w.io, o);
    const auto a = call(client, post("x"));
    EXPECT_REASON(a, "net-tls");
    EXPECT_NE(a.error().detail.find(c.why), string::npos) << a.error().detail;
    EXPECT_EQ(client.connections(), 0U);
  }
  EXPECT_EQ(echo.calls, 0);
  // The name does not match, and the caller has said that it need not.
  auto so = server_options(w);
  so.tls = Pki::get().other_host;
  auto o = client_options(start(std::move(so)));
  o.verify_host = false;
  HttpClient client(w.io, o);
  EXPECT_TRUE(call(client, post("x")).ok());
  o.host = "localhost";
  o.verify_host = true;
  HttpClient by_name(w.io, o);
  const auto a = call(by_name, post("x"));
  EXPECT_REASON(a, "net-tls");
  EXPECT_NE(a.error().detail.find("hostname mismatch"), string::npos) << a.error().detail;
}

TEST_F(NetClient, RefusedByTheServer) {
  const auto port = start();
  TlsFiles none = Pki::get().client;
  none.cert.clear();
  for (const auto& f : {none, Pki::get().expired, Pki::get().untrusted}) {
    auto o = client_options(port);
    o.tls = f;
    HttpClient c(w.io, o);
    // Said after our side of the handshake, so that it could as well be said after the request was read.
    for (const auto& body : {string("x"), string(200'000, 'x')}) {
      const auto a = call(c, post(body));
      EXPECT_REASON(a, "net-lost");
      EXPECT_NE(a.error().detail.find("alert"), string::npos) << a.error().detail;
    }
  }
  EXPECT_EQ(echo.calls, 0);
}

TEST_F(NetClient, FilesThatCannotBeUsed) {
  auto o = client_options(start());
  o.tls.key = "/nonexistent";
  HttpClient c(w.io, o);
  const auto a = call(c, post("x"));
  EXPECT_REASON(a, "net-tls");
  EXPECT_NE(a.error().detail.find("/nonexistent"), string::npos);
}

TEST_F(NetClient, ConnectReasons) {
  auto o = client_options(0);
  {
    Tcp::acceptor once(w.io, Tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
    o.port = once.local_endpoint().port();
  }
  HttpClient closed(w.io, o);
  EXPECT_REASON(call(closed, post("x")), "net-connect");
  // Accepts TCP (the kernel does), never says a word.
  Tcp::acceptor mute(w.io, Tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
  o.port = mute.local_endpoint().port();
  o.connect_timeout = Millis{150};
  HttpClient slow(w.io, o);
  EXPECT_REASON(call(slow, post("x")), "net-connect");
  EXPECT_REASON(call(slow, post("x"), Millis{100}), "net-timeout");
  EXPECT_EQ(slow.connections(), 0U);
}

TEST_F(NetClient, TimeoutDestroysTheConnection) {
  HttpClient c(w.io, client_options(start()));
  EXPECT_TRUE(call(c, post("quick")).ok());
  echo.delay = Ms{3'600'000};  // ends with the io_context
  const auto from = std::chrono::steady_clock::now();
  EXPECT_REASON(call(c, post("slow"), Millis{100}, true), "net-timeout");
  EXPECT_GE(std::chrono::steady_clock::now() - from, Ms{99});
  EXPECT_EQ(c.connections(), 0U);
  EXPECT_TRUE(w.run_until([&] { return echo.calls == 2; }));
  EXPECT_EQ(echo.running, 1);  // the call did not wait for it
  echo.delay = Ms{0};
  const auto a = call(c, post("next"));
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(a->body, "next");  // not the late answer of the call before
  EXPECT_EQ(echo.calls, 3);    // which was not sent again
}

TEST_F(NetClient, TimeoutWhileSendingToAPeerThatDoesNotRead) {
  Scripted s(w.io, {{}});
  struct Deaf {
    static asio::awaitable<void> run(Scripted& t, bool& stop) {
      auto [ec, socket] = co_await t.acceptor.async_accept(by_tuple);
      asio::ssl::stream<Tcp::socket> tls(std::move(socket), t.ctx);
      co_await tls.async_handshake(asio::ssl::stream_base::server, by_tuple);
      while (!stop) co_await pause(Ms{5});
    }
  };
  bool stop = false;
  asio::co_spawn(w.io, Deaf::run(s, stop), asio::detached);
  HttpClient c(w.io, client_options(s.port()));
  EXPECT_REASON(call(c, post(string(64 << 20, 'x')), Millis{300}), "net-timeout");
  EXPECT_EQ(c.connections(), 0U);
  stop = true;
}

TEST_F(NetClient, PoolLimitAndOrder) {
  echo.delay = Ms{20};
  auto o = client_options(start());
  o.max_connections = 3;
  HttpClient c(w.io, o);
  std::vector<std::optional<Answer>> answers(30);
  for (std::size_t i = 0; i < answers.size(); ++i) spawn(c, post(std::to_string(i)), answers[i]);
  ASSERT_TRUE(
      w.run_until([&] { return std::all_of(answers.begin(), answers.end(), [](auto& a) { return a.has_value(); }); }));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    ASSERT_TRUE(answers[i]->ok()) << i << " " << answers[i]->error().text();
    EXPECT_EQ((*answers[i])->body, std::to_string(i));
  }
  EXPECT_EQ(echo.most_running, 3);
  EXPECT_EQ(addresses().size(), 3U);
  EXPECT_EQ(c.connections(), 3U);
  // First come, first served: no call overtakes another by more than the calls under way.
  for (std::size_t i = 0; i < echo.seen.size(); ++i) {
    EXPECT_LE(std::abs(std::stoi(echo.seen[i].body) - static_cast<int>(i)), 2) << i;
  }
}

// A call that was granted a connection and does not know it yet keeps nobody from another one that is idle. Both
// answers arrive at once: both calls end, and a new one begins, before the one that waits is resumed.
TEST_F(NetClient, AnIdleConnectionIsTakenWhileAWaiterWakesUp) {
  asio::steady_timer both(w.io, asio::steady_timer::time_point::max()),
      last(w.io, asio::steady_timer::time_point::max());
  int running = 0;
  const Handler handler = [&](Request r) -> asio::awaitable<Response> {
    ++running;
    if (r.body == "first") co_await both.async_wait(by_tuple);
    if (r.body == "waits") co_await last.async_wait(by_tuple);
    Response x;
    x.body = r.body;
    co_return x;
  };
  HttpServer held(w.io, server_options(w), handler);
  ASSERT_TRUE(held.start().ok());
  auto o = client_options(held.port());
  o.max_connections = 2;
  HttpClient c(w.io, o);
  int ended = 0;
  std::optional<Answer> waits, fresh;
  const auto first = [&]() -> asio::awaitable<void> {
    const auto answer = co_await c.call(post("first"), plenty, false);
    EXPECT_TRUE(answer.ok());
    if (++ended == 2) fresh.emplace(co_await c.call(post("new"), plenty, false));
  };
  asio::co_spawn(w.io, first(), asio::detached);
  asio::co_spawn(w.io, first(), asio::detached);
  ASSERT_TRUE(w.run_until([&] { return running == 2; }));
  spawn(c, post("waits"), waits);
  w.io.restart();
  w.io.poll();
  both.cancel();
  EXPECT_TRUE(w.run_until([&] { return fresh.has_value(); }, Ms{5'000})) << "it waits behind a call that has its own";
  EXPECT_FALSE(waits.has_value());
  last.cancel();
  ASSERT_TRUE(w.run_until([&] { return waits.has_value() && fresh.has_value(); }));
  EXPECT_TRUE(waits->ok() && fresh->ok());
}

TEST_F(NetClient, BusyWhenTooManyWait) {
  echo.delay = Ms{200};
  auto o = client_options(start());
  o.max_connections = 1;
  o.max_waiting = 2;
  HttpClient c(w.io, o);
  std::vector<std::optional<Answer>> a(5);
  spawn(c, post("0"), a[0]);
  spawn(c, post("1"), a[1]);
  spawn(c, post("2"), a[2], Millis{100});  // gives up in the queue
  spawn(c, post("3"), a[3]);
  ASSERT_TRUE(w.run_until([&] { return a[3].has_value(); }));
  EXPECT_REASON(*a[3], "net-busy");
  EXPECT_FALSE(a[0].has_value());
  ASSERT_TRUE(w.run_until([&] { return a[2].has_value(); }));
  EXPECT_REASON(*a[2], "net-busy");
  ASSERT_TRUE(w.run_until([&] { return a[0].has_value() && a[1].has_value(); }));
  EXPECT_TRUE(a[0]->ok() && a[1]->ok());
  EXPECT_EQ(echo.calls, 2);
  EXPECT_TRUE(call(c, post("4")).ok());  // the place is free again
  EXPECT_EQ(c.connections(), 1U);
}

TEST_F(NetClient, WaitersAreServedAfterFailures) {
  auto o = client_options(0);
  Scripted s(w.io, {{{"", true}},
                    {{"", true}},
                    {{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
                     {"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"}}});
  asio::co_spawn(w.io, s.serve(), asio::detached);
  o.port = s.port();
  o.max_connections = 1;
  HttpClient c(w.io, o);
  std::vector<std::optional<Answer>> a(4);
  for (auto& x : a) spawn(c, post("x"), x);
  ASSERT_TRUE(w.run_until([&] { return a[3].has_value(); }));
  EXPECT_REASON(*a[0], "net-lost");
  EXPECT_REASON(*a[1], "net-lost");
  ASSERT_TRUE(a[2]->ok());
  EXPECT_EQ((*a[2])->body, "ok");
  ASSERT_TRUE(a[3]->ok());
  EXPECT_EQ((*a[3])->status, 202U);
}

TEST_F(NetClient, DestroyedWithCallsWaiting) {
  echo.delay = Ms{50};
  auto o = client_options(start());
  o.max_connections = 1;
  auto c = std::make_unique<HttpClient>(w.io, o);
  std::vector<std::optional<Answer>> a(2);
  spawn(*c, post("0"), a[0]);
  spawn(*c, post("1"), a[1]);
  ASSERT_TRUE(w.run_until([&] { return echo.running == 1; }));
  c.reset();
  ASSERT_TRUE(w.run_until([&] { return a[0] && a[1]; }));
  EXPECT_TRUE(a[0]->ok());
  EXPECT_REASON(*a[1], "net-busy");
  EXPECT_TRUE(w.run_until([&] { return server->connections() == 0; }));
}

TEST_F(NetClient, IoContextDestroyedWithCallsInFlight) {
  auto world = std::make_unique<World>();
  auto e = std::make_unique<Echo>();
  e->delay = Ms{10'000};
  auto s = std::make_unique<HttpServer>(world->io, server_options(*world), e->handler());
  ASSERT_TRUE(s->start().ok());
  auto o = client_options(s->port());
  o.max_connections = 2;
  auto c = std::make_unique<HttpClient>(world->io, o);
  std::vector<std::optional<Answer>> a(5);
  for (auto& x : a) asio::co_spawn(world->io, keep(c->call(post("x"), plenty, false), x), asio::detached);
  EXPECT_TRUE(world->run_until([&] { return e->running == 2; }));
  const bool client_first = true;
  if (client_first) c.reset();
  s.reset();
  world.reset();
  for (auto& x : a) EXPECT_FALSE(x.has_value() && x->ok());
}

TEST_F(NetClient, ServerRestartIsNoticedBeforeTheNextCall) {
  auto o = client_options(start());
  o.max_connections = 4;
  HttpClient c(w.io, o);
  echo.delay = Ms{10};
  std::vector<std::optional<Answer>> a(4);
  for (auto& x : a) spawn(c, post("x"), x);
  ASSERT_TRUE(w.run_until([&] { return a[0] && a[1] && a[2] && a[3]; }));
  EXPECT_EQ(c.connections(), 4U);
  server->stop();
  ASSERT_TRUE(w.run_until([&] { return server->connections() == 0; }));
  auto so = server_options(w);
  so.port = o.port;
  start(std::move(so));
  const auto again = call(c, post("again"), plenty, false);  // without leave to repeat
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_EQ(c.connections(), 1U);
}

TEST_F(NetClient, StaleConnection) {
  const string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  // The second request on a kept connection is read and not answered: it may have been executed.
  for (const bool goodbye : {true, false}) {
    for (const bool resend : {false, true}) {
      Scripted s(w.io, {{{ok}, {"", true, goodbye}}, {{ok}}});
      asio::co_spawn(w.io, s.serve(), asio::detached);
      HttpClient c(w.io, client_options(s.port()));
      ASSERT_TRUE(call(c, post("first")).ok());
      const auto a = call(c, post("second"), plenty, resend);
      if (resend) {
        ASSERT_TRUE(a.ok()) << a.error().text();
        ASSERT_EQ(s.requests.size(), 3U);
        EXPECT_EQ(s.requests[1], s.requests[2]);
        EXPECT_EQ(s.connections, 2);
        EXPECT_EQ(c.connections(), 1U);
      } else {
        EXPECT_REASON(a, "net-stale");
        EXPECT_EQ(s.requests.size(), 2U);
        EXPECT_EQ(c.connections(), 0U);
      }
    }
  }
}

// The first writing may have been executed, whatever becomes of the second.
TEST_F(NetClient, WhatWasWrittenOnceIsNeverToldAsNotSent) {
  const string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  const string busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
  {
    Scripted s(w.io, {{{ok}, {"", true}}, {{busy}}});
    asio::co_spawn(w.io, s.serve(), asio::detached);
    HttpClient c(w.io, client_options(s.port()));
    const auto first = call(c, post("first"));
    ASSERT_TRUE(first.ok());
    EXPECT_FALSE(first->resent);
    const auto second = call(c, post("second"), plenty, true);
    ASSERT_TRUE(second.ok());
    EXPECT_EQ(second->status, 503U);
    EXPECT_TRUE(second->resent);
  }
  const auto then = [&](bool garbage) {  // reads the request on a kept connection; the next connection is not one
    Scripted s(w.io, {{{ok}, {"", true}}});
    const auto port = s.port();
    struct Server {
      static asio::awaitable<void> run(Scripted& s, bool garbage) {
        auto [ec, socket] = co_await s.acceptor.async_accept(by_tuple);
        if (!garbage) s.acceptor.close();
        co_await s.one(s.script[0], std::move(socket));
        if (!garbage) co_return;
        auto [failed, other] = co_await s.acceptor.async_accept(by_tuple);
        co_await asio::async_write(other, asio::buffer("no TLS at all\r\n", 15), by_tuple);
      }
    };
    asio::co_spawn(w.io, Server::run(s, garbage), asio::detached);
    HttpClient c(w.io, client_options(port));
    ASSERT_TRUE(call(c, post("first")).ok());
    EXPECT_REASON(call(c, post("second"), plenty, true), "net-lost");
    EXPECT_EQ(s.requests.size(), 2U);
  };
  then(false);
  then(true);
}

TEST_F(NetClient, GarbageAfterTheRequestIsNotAHandshakeThatFailed) {
  struct Server {
    static asio::awaitable<void> run(Scripted& s, string& seen) {
      auto [ec, socket] = co_await s.acceptor.async_accept(by_tuple);
      asio::ssl::stream<Tcp::socket> tls(std::move(socket), s.ctx);
      co_await tls.async_handshake(asio::ssl::stream_base::server, by_tuple);
      char buf[4096];
      auto [failed, n] = co_await tls.async_read_some(asio::buffer(buf), by_tuple);
      seen.assign(buf, n);
      co_await asio::async_write(tls.next_layer(), asio::buffer("\x15\x03\x03 no record"), by_tuple);
    }
  };
  Scripted s(w.io, {});
  string seen;
  asio::co_spawn(w.io, Server::run(s, seen), asio::detached);
  HttpClient c(w.io, client_options(s.port()));
  EXPECT_REASON(call(c, post("order")), "net-lost");
  EXPECT_NE(seen.find("order"), string::npos);
}

TEST_F(NetClient, NothingIsWrittenAfterItsTime) {
  echo.delay = Ms{400};
  auto o = client_options(start());
  o.max_connections = 1;
  HttpClient c(w.io, o);
  std::vector<std::optional<Answer>> a(3);
  spawn(c, post("0"), a[0]);
  ASSERT_TRUE(w.run_until([&] { return echo.running == 1; }));
  auto short_lived = post("1");
  short_lived.send_by = std::chrono::steady_clock::now() + Ms{100};
  spawn(c, std::move(short_lived), a[1]);
  auto composed = post("");
  composed.send_by = std::chrono::steady_clock::now() + Ms{60'000};
  composed.compose = [this] { return "after " + std::to_string(echo.calls); };
  spawn(c, std::move(composed), a[2]);
  ASSERT_TRUE(w.run_until([&] { return a[1].has_value(); }));
  EXPECT_REASON(*a[1], "net-late");
  EXPECT_FALSE(a[0].has_value());
  ASSERT_TRUE(w.run_until([&] { return a[0].has_value() && a[2].has_value(); }));
  EXPECT_EQ((*a[2])->body, "after 1") << "made when its turn came";
  // A connection is there, or could be made; it is too late all the same.
  auto past = post("3");
  past.send_by = std::chrono::steady_clock::now();
  EXPECT_REASON(call(c, past), "net-late");
  c.close_idle();
  EXPECT_REASON(call(c, past), "net-late");
  EXPECT_EQ(echo.calls, 2);
}

TEST_F(NetClient, ResendHappensOnce) {
  const string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  Scripted s(w.io, {{{ok}, {"", true}}, {{"", true}}, {{ok}}});
  asio::co_spawn(w.io, s.serve(), asio::detached);
  HttpClient c(w.io, client_options(s.port()));
  ASSERT_TRUE(call(c, post("first")).ok());
  EXPECT_REASON(call(c, post("second"), plenty, true), "net-lost");
  EXPECT_EQ(s.requests.size(), 3U);
}

TEST_F(NetClient, WhatServersMayAnswer) {
  struct Case {
    std::vector<Scripted::Turn> turns;
    const char* reason;  // nullptr: an answer
    unsigned status;
    const char* body;
    std::size_t kept;
  };
  const auto times = [](int n, const string& what) {
    string all;
    while (n-- > 0) all += what;
    return all;
  };
  const string long_field = "HTTP/1.1 200 OK\r\nX: " + string(70'000, 'x') + "\r\n\r\n";
  for (const Case& c : {
           Case{{{"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"}}, nullptr, 202, "", 1},
           Case{{{"HTTP/1.1 204 No Content\r\n\r\n"}}, nullptr, 204, "", 1},
           Case{{{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
                  "1\r\n\r\nx"}},
                nullptr,
                200,
                "x",
                1},
           // A peer that says for minutes that it is still at work.
           Case{{{times(200, "HTTP/1.1 102 Processing\r\n\r\n") + "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"}},
                nullptr,
                200,
                "x",
                1},
           Case{{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"}},
                nullptr,
                200,
                "abcd",
                1},
           Case{{{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"}}, nullptr, 200, "x", 0},
           Case{{{"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"}}, nullptr, 200, "x", 0},
           // The end of the connection is the end of the body, when it was announced.
           Case{{{"HTTP/1.1 200 OK\r\n\r\nto the end", true, true}}, nullptr, 200, "to the end", 0},
           Case{{{"HTTP/1.1 200 OK\r\n\r\nto the end", true, false}}, "net-lost", 0, "", 0},
           // An acknowledgement without a length, of a server that closes without a word.
           Case{{{"HTTP/1.0 202 Accepted\r\n\r\n", true, false}}, nullptr, 202, "", 0},
           Case{{{"HTTP/1.1 202 Accepted\r\nServer: x\r\n\r\n", true, false}}, nullptr, 202, "", 0},
           Case{{{"HTTP/1.1 202 Accepted\r\n\r\nhalf a wor", true, false}}, "net-lost", 0, "", 0},
           Case{{{"HTTP/1.1 202 Accepted\r\nContent-Length: 1\r\n\r\n", true, false}}, "net-lost", 0, "", 0},
           Case{{{"HTTP/1.1 202 Accepted\r\n", true, false}}, "net-lost", 0, "", 0},
           Case{{{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", true, true}}, "net-lost", 0, "", 0},
           Case{{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true, true}},
                "net-lost",
                0,
                "",
                0},
           Case{{{"HTTP/1.1 200", true, true}}, "net-lost", 0, "", 0},
           Case{{{"HTTP/1.1 100 Continue\r\n\r\n", true, true}}, "net-lost", 0, "", 0},
           Case{{{"", true, true}}, "net-lost", 0, "", 0},
           Case{{{"", true, false}}, "net-lost", 0, "", 0},
           // More than was asked for: the connection is not used again.
           Case{{{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny"}},
                nullptr,
                200,
                "x",
                0},
           Case{{{"SSH-2.0-x\r\n\r\n"}}, "net-answer", 0, "", 0},
           Case{{{"HTTP/1.1 099 X\r\n\r\n"}}, "net-answer", 0, "", 0},
           Case{{{"HTTP/1.1 600 X\r\n\r\n"}}, "net-answer", 0, "", 0},
           Case{{{"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"}}, "net-answer", 0, "", 0},
           Case{{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3E9\r\n"}}, "net-answer", 0, "", 0},
           Case{{{"HTTP/1.1 200 OK\r\n\r\n" + string(1001, 'x'), true, true}}, "net-answer", 0, "", 0},
           Case{{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n"}}, "net-answer", 0, "", 0},
           Case{{{long_field}}, "net-answer", 0, "", 0},
           // Without end: nothing of it is a body.
           Case{{{times(1000, "HTTP/1.1 100 Continue\r\n\r\n")}}, "net-answer", 0, "", 0},
           Case{{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                  times(40, "1;" + string(60'000, 'e') + "\r\nx\r\n")}},
                "net-answer",
                0,
                "",
                0},
       }) {
    Scripted s(w.io, {c.turns});
    asio::co_spawn(w.io, s.serve(), asio::detached);
    auto o = client_options(s.port());
    o.max_body = 1000;
    HttpClient client(w.io, o);
    const auto a = call(client, post("x"));
    const string what = c.turns[0].send.substr(0, 80);
    if (c.reason == nullptr) {
      ASSERT_TRUE(a.ok()) << what << a.error().text();
      EXPECT_EQ(a->status, c.status) << what;
      EXPECT_EQ(a->body, c.body) << what;
      EXPECT_EQ(a->close, c.kept == 0) << what;
    } else {
      ASSERT_FALSE(a.ok()) << what;
      EXPECT_EQ(a.error().reason, c.reason) << what << a.error().text();
    }
    EXPECT_EQ(client.connections(), c.kept) << what;
  }
}

TEST_F(NetClient, UnaskedDataOnAnIdleConnection) {
  const string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
  struct Chatty {
    static asio::awaitable<void> run(Scripted& t, string answer) {
      for (int i = 0; i < 2; ++i) {
        auto [ec, socket] = co_await t.acceptor.async_accept(by_tuple);
        ++t.connections;
        asio::co_spawn(t.io, one(t, std::move(socket), answer), asio::detached);
      }
    }
    static asio::awaitable<void> one(Scripted& t, Tcp::socket socket, string answer) {
      asio::ssl::stream<Tcp::socket> tls(std::move(socket), t.ctx);
      co_await tls.async_handshake(asio::ssl::stream_base::server, by_tuple);
      char buf[4096];
      co_await tls.async_read_some(asio::buffer(buf), by_tuple);
      co_await tls.async_write_some(asio::buffer(answer + "ok"), by_tuple);
      co_await pause(Ms{20});
      co_await tls.async_write_some(asio::buffer(answer + "no"), by_tuple);
      co_await tls.async_read_some(asio::buffer(buf), by_tuple);
    }
  };
  Scripted s(w.io, {});
  asio::co_spawn(w.io, Chatty::run(s, ok), asio::detached);
  HttpClient c(w.io, client_options(s.port()));
  ASSERT_TRUE(call(c, post("first")).ok());
  w.run(pause(Ms{60}));
  const auto a = call(c, post("second"));
  ASSERT_TRUE(a.ok()) << a.error().text();
  EXPECT_EQ(a->body, "ok");  // never the answer to nothing
  EXPECT_EQ(s.connections, 2);
}

TEST_F(NetClient, AnswerBeforeTheBodyWasRead) {
  auto o = server_options(w);
  o.max_body = 1000;
  HttpClient c(w.io, client_options(start(std::move(o))));
  for (const bool chunked : {false, true}) {
    for (int i = 0; i < 5; ++i) {
      auto r = post(string(8 << 20, 'x'));
      r.chunked = chunked;
      const auto a = call(c, std::move(r));
      ASSERT_TRUE(a.ok()) << a.error().text();
      EXPECT_EQ(a->status, 413U);
      EXPECT_TRUE(a->close);
    }
  }
  EXPECT_EQ(c.connections(), 0U);
  EXPECT_EQ(call(c, post("small"))->status, 200U);
}

TEST_F(NetClient, MethodsWithoutBody) {
  auto o = server_options(w);
  HttpClient c(w.io, client_options(start(std::move(o))));
  Request r;
  r.method = "GET";
  r.target = "/a?b";
  r.host = "agreed.name";
  auto a = call(c, r);
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(echo.seen.back().method, "GET");
  EXPECT_EQ(echo.seen.back().target, "/a?b");
  EXPECT_EQ(echo.seen.back().host, "agreed.name");
  r.method = "HEAD";
  a = call(c, r);
  ASSERT_TRUE(a.ok()) << a.error().text();
  EXPECT_EQ(a->status, 200U);
  EXPECT_EQ(c.connections(), 1U);
}

TEST_F(NetClient, NothingCanBeSmuggledIntoTheRequest) {
  HttpClient c(w.io, client_options(start()));
  for (auto change : {+[](Request& r) { r.headers.emplace_back("X-A", "b\r\nX-C: d"); },
                      +[](Request& r) { r.headers.emplace_back("X-A: b\r\nX", "d"); },
                      +[](Request& r) { r.headers.emplace_back("", "d"); }, +[](Request& r) { r.target = "/a b"; },
                      +[](Request& r) { r.target = "/a\r\nX: y"; }, +[](Request& r) { r.target = ""; },
                      +[](Request& r) { r.method = "POST /"; }, +[](Request& r) { r.method = ""; },
                      +[](Request& r) { r.content_type = "a\nb"; }, +[](Request& r) { r.host = "h\r\nX: y"; }}) {
    auto r = post("x");
    change(r);
    EXPECT_REASON(call(c, std::move(r)), "net-request");
  }
  EXPECT_EQ(c.connections(), 0U);
  EXPECT_EQ(echo.calls, 0);
}

TEST_F(NetClient, IdleConnectionsAreDroppedInTime) {
  auto o = client_options(start());
  o.idle_timeout = Millis{400};
  HttpClient c(w.io, o);
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const auto x = now();
  ASSERT_TRUE(call(c, post("x")).ok());
  EXPECT_EQ(c.connections(), 1U);
  w.run(pause(Ms{200}));
  const auto y = now();
  ASSERT_TRUE(call(c, post("y")).ok());  // used: the time starts again
  // On a machine that stalled the first one may have been dropped meanwhile, as it should.
  if (now() - x < o.idle_timeout) {
    EXPECT_EQ(addresses().size(), 1U);
  }
  EXPECT_TRUE(w.run_until([&] { return c.connections() == 0; }, Ms{30'000}));
  EXPECT_GE(now() - y, o.idle_timeout);
  EXPECT_TRUE(w.run_until([&] { return server->connections() == 0; }));
  EXPECT_TRUE(w.log.empty());
  // Nothing is left that would keep the io_context running.
  server->stop();
  EXPECT_TRUE(w.comes_to_rest());
}

TEST_F(NetClient, SessionsAreResumedOnNewConnections) {
  const string last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Scripted s(w.io, {{{last, true}}, {{last, true}}, {{last, true}}}, version);
    asio::co_spawn(w.io, s.serve(), asio::detached);
    HttpClient c(w.io, client_options(s.port()));
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(call(c, post("x")).ok());
    EXPECT_EQ(s.connections, 3);
    EXPECT_EQ(s.reused, 2) << version;
  }
  // And with ours, which asks for a certificate: the identity stays.
  echo.close = true;
  HttpClient c(w.io, client_options(start()));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(call(c, post("x")).ok());
  EXPECT_EQ(addresses().size(), 3U);
  for (const auto& r : echo.seen) EXPECT_EQ(r.peer.fingerprint, *certificate_fingerprint(Pki::get().client.cert));
}

TEST_F(NetClient, TicketsOfAServerThatIsGoneDoNoHarm) {
  auto o = client_options(start());
  HttpClient c(w.io, o);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(call(c, post("x")).ok());
    server->stop();
    ASSERT_TRUE(w.run_until([&] { return server->connections() == 0; }));
    auto so = server_options(w);  // new ticket keys
    so.port = o.port;
    start(std::move(so));
  }
  EXPECT_EQ(echo.calls, 3);
}

TEST_F(NetClient, PlainMode) {
  auto so = server_options(w);
  so.plain = true;
  auto o = client_options(start(std::move(so)));
  o.plain = true;
  o.tls = {};
  HttpClient c(w.io, o);
  for (int i = 0; i < 3; ++i) {
    const auto a = call(c, post(string(100'000, 'p')));
    ASSERT_TRUE(a.ok()) << a.error().text();
    EXPECT_EQ(a->body.size(), 100'000U);
  }
  EXPECT_EQ(c.connections(), 1U);
  server->stop();
  ASSERT_TRUE(w.run_until([&] { return server->connections() == 0; }));
  EXPECT_REASON(call(c, post("x")), "net-connect");
}

}  // namespace
}  // namespace kf::net::test
