// Peers that want more than their share: of places, of handshakes, of the loop, of the log.
#include <dlfcn.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <thread>

#include "host/net/occupancy.hpp"
#include "tests/net/support.hpp"

namespace {

// Stands before the system's getaddrinfo() in this program: "silent.invalid" is answered when the test says so.
std::mutex lookups_mutex;
std::condition_variable lookups_changed;
bool holding = false;
int held = 0;

void hold_lookups(bool on) {
  const std::lock_guard lock(lookups_mutex);
  holding = on;
  lookups_changed.notify_all();
}
int lookups_held() {
  const std::lock_guard lock(lookups_mutex);
  return held;
}

}  // namespace

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** out) {
  using Real = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto real = reinterpret_cast<Real>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  if (node != nullptr && std::string_view(node) == "silent.invalid") {
    std::unique_lock lock(lookups_mutex);
    ++held;
    lookups_changed.wait(lock, [] { return !holding; });
    return EAI_AGAIN;
  }
  return real(node, service, hints, out);
}

namespace kf::net::test {
namespace {

using detail::Occupancy;
using std::string;

asio::io_context quiet_;  // of sockets that are used without waiting

const string kGet = "GET /es2 HTTP/1.1\r\nHost: smdp\r\n\r\n";
const string kPost = "POST /es2 HTTP/1.1\r\nHost: smdp\r\nContent-Type: text/xml\r\nContent-Length: 1\r\n\r\nx";

struct NetLimits : ::testing::Test {
  World w;
  Echo echo;
  std::unique_ptr<HttpServer> server;
  std::unique_ptr<asio::steady_timer> gate = std::make_unique<asio::steady_timer>(w.io, std::chrono::hours(1));
  bool closed_gate = false;  // handlers wait at it
  int waiting_at_gate = 0;

  HttpServer& start(ServerOptions o) {
    server = std::make_unique<HttpServer>(w.io, std::move(o), [this](Request r) { return handle(std::move(r)); });
    const auto r = server->start();
    EXPECT_TRUE(r.ok()) << r.error().text();
    return *server;
  }
  asio::awaitable<Response> handle(Request r) {
    if (closed_gate) {
      ++waiting_at_gate;
      co_await gate->async_wait(by_tuple);
    }
    co_return co_await echo.handle(std::move(r));
  }
  void open_gate() {
    closed_gate = false;
    gate->cancel();
  }
  Raw::Options plain() {
    Raw::Options o;
    o.plain = true;
    return o;
  }
  Raw::Options other_party() {
    Raw::Options o;
    o.files = other_;
    return o;
  }
  // "200" when a fresh connection is served, else what went wrong.
  string serve(Raw::Options o = {}) { return w.run(ask(w.io, server->port(), std::move(o))); }
  static asio::awaitable<string> ask(asio::io_context& io, std::uint16_t port, Raw::Options o) {
    Raw raw(io, std::move(o));
    if (const auto ec = co_await raw.connect(port); ec) co_return "handshake: " + ec.message();
    co_await raw.send(kPost);
    const string a = co_await raw.answer();
    co_return a.empty() ? "closed" : std::to_string(status_of(a));
  }
  // Connections that are left open, each after one request or silent.
  std::vector<std::unique_ptr<Raw>> hold(int n, const Raw::Options& o, bool request) {
    std::vector<std::unique_ptr<Raw>> out;
    for (int i = 0; i < n; ++i) {
      out.push_back(std::make_unique<Raw>(w.io, o));
      w.run(open_one(*out.back(), server->port(), request));
    }
    return out;
  }
  static asio::awaitable<void> open_one(Raw& raw, std::uint16_t port, bool request) {
    const auto ec = co_await raw.connect(port);
    if (ec || !request) co_return;
    co_await raw.send(kPost);
    co_await raw.answer();
  }

 private:
  TlsFiles other_ = Pki::get().short_lived(3600);
};

TEST_F(NetLimits, OnlyGroupsThatCostLittle) {
  start(server_options(w));
  const struct {
    const char* groups;
    bool good;
  } cases[] = {{"X25519:P-256", true},   {"P-256", true},  {"P-384:P-256", true}, {"ffdhe8192", false},
               {"ffdhe2048", false},     {"P-521", false}, {"X448", false},       {"brainpoolP256r1", false},
               {"ffdhe8192:P-256", true}};
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (const auto& c : cases) {
      Raw::Options o;
      o.version = version;
      Raw raw(w.io, o);
      SSL_ctrl(raw.ssl(), SSL_CTRL_SET_GROUPS_LIST, 0, const_cast<char*>(c.groups));
      const auto port = server->port();
      const auto connect = [](Raw& r, std::uint16_t p) -> asio::awaitable<ErrorCode> {
        co_return co_await r.connect(p);
      };
      EXPECT_EQ(!w.run(connect(raw, port)), c.good) << c.groups << " " << version;
    }
  }
  EXPECT_TRUE(w.logged("handshake refused"));
}

// A program that none of us wrote.
TEST_F(NetLimits, OpensslClient) {
  start(server_options(w));
  const auto& f = Pki::get().client;
  const auto connect = [&](const string& groups) {
    const string command = "openssl s_client -connect 127.0.0.1:" + std::to_string(server->port()) + " -groups " +
                           groups + " -cert " + f.cert + " -key " + f.key + " -CAfile " + f.ca +
                           " -verify_return_error </dev/null 2>&1";
    string out;
    std::atomic<bool> done = false;
    std::thread t([&] {
      if (FILE* p = ::popen(command.c_str(), "r")) {
        char part[4096];
        for (std::size_t n = 0; (n = std::fread(part, 1, sizeof part, p)) > 0;) out.append(part, n);
        ::pclose(p);
      }
      done = true;
    });
    w.run_until([&] { return done.load(); }, Ms{60'000});
    t.join();
    return out;
  };
  EXPECT_NE(connect("ffdhe8192").find("handshake failure"), string::npos);
  const string good = connect("P-384:X25519");
  EXPECT_NE(good.find("Verify return code: 0 (ok)"), string::npos) << good;
  EXPECT_NE(good.find("Secure Renegotiation IS NOT supported"), string::npos) << "TLS 1.3 has none: " << good;
}

TEST_F(NetLimits, ClientOffersTheSameGroups) {
  Scripted peer(w.io, {{}, {}});
  ASSERT_EQ(SSL_CTX_ctrl(peer.ctx.native_handle(), SSL_CTRL_SET_GROUPS_LIST, 0, const_cast<char*>("P-521:ffdhe2048")),
            1);
  asio::co_spawn(w.io, peer.serve(), asio::detached);
  HttpClient c(w.io, client_options(peer.port()));
  const auto call = [](HttpClient& client) -> asio::awaitable<string> {
    auto r = co_await client.call(post("x"), Millis{20'000}, false);
    co_return r.ok() ? "answered" : r.error().reason;
  };
  EXPECT_EQ(w.run(call(c)), "net-tls");
}

TEST_F(NetLimits, SilentConnectionsShutNobodyOut) {
  auto o = server_options(w);
  o.max_connections = 16;
  start(std::move(o));
  const auto silent = hold(40, plain(), false);
  EXPECT_EQ(serve(), "200");
  EXPECT_TRUE(w.run_until([&] { return server->connections() <= 16; }));
  EXPECT_GE(server->stats().closed_for_others, 25U);
  EXPECT_EQ(server->stats().refused, 0U);
}

TEST_F(NetLimits, IdleConnectionsOfOnePartyShutNobodyOut) {
  auto o = server_options(w);
  o.max_connections = 16;
  start(std::move(o));
  const auto modest = hold(2, other_party(), true);
  const auto greedy = hold(30, {}, true);
  EXPECT_EQ(serve(other_party()), "200");
  EXPECT_EQ(serve(), "200") << "the greedy one too: at the cost of its own";
  // The modest party kept what it had.
  const auto again = [](Raw& r) -> asio::awaitable<unsigned> {
    co_await r.send(kPost);
    co_return status_of(co_await r.answer());
  };
  for (const auto& r : modest) EXPECT_EQ(w.run(again(*r)), 200U);
}

TEST_F(NetLimits, ShareOfAParty) {
  auto o = server_options(w);
  o.max_per_party = 4;
  start(std::move(o));
  closed_gate = true;
  std::vector<std::unique_ptr<Raw>> busy;
  const auto begin = [](Raw& r, std::uint16_t port) -> asio::awaitable<void> {
    const auto ec = co_await r.connect(port);
    if (!ec) co_await r.send(kPost);
  };
  for (int i = 0; i < 4; ++i) {
    busy.push_back(std::make_unique<Raw>(w.io));
    w.run(begin(*busy.back(), server->port()));
  }
  ASSERT_TRUE(w.run_until([&] { return server->connections() == 4; }));
  // All at work: a fifth of the same party is closed, another party is served.
  EXPECT_NE(serve(), "200");
  EXPECT_TRUE(w.logged("connection refused: all that"));
  closed_gate = false;
  EXPECT_EQ(serve(other_party()), "200");
  open_gate();
  const auto finish = [](Raw& r) -> asio::awaitable<unsigned> { co_return status_of(co_await r.answer()); };
  for (const auto& r : busy) EXPECT_EQ(w.run(finish(*r)), 200U);
  EXPECT_EQ(serve(), "200") << "one of the four is idle now and goes";
  EXPECT_TRUE(w.run_until([&] { return server->connections() <= 4; }));
}

TEST_F(NetLimits, EveryPlaceAtWork) {
  auto o = server_options(w);
  o.max_connections = 3;
  start(std::move(o));
  closed_gate = true;
  std::vector<std::unique_ptr<Raw>> busy;
  const auto begin = [](Raw& r, std::uint16_t port) -> asio::awaitable<void> {
    const auto ec = co_await r.connect(port);
    if (!ec) co_await r.send(kPost);
  };
  for (int i = 0; i < 3; ++i) {
    busy.push_back(std::make_unique<Raw>(w.io));
    w.run(begin(*busy.back(), server->port()));
    // At work: the request was read, its connection is of use.
    ASSERT_TRUE(w.run_until([&] { return server->stats().handshakes == static_cast<std::uint64_t>(i) + 1; }));
  }
  const auto breathe = []() -> asio::awaitable<void> { co_await pause(Ms{50}); };
  w.run(breathe());
  EXPECT_NE(serve(other_party()), "200");
  EXPECT_EQ(server->stats().refused, 1U);
  EXPECT_TRUE(w.logged("all 3 are at work"));
  open_gate();
  EXPECT_TRUE(w.run_until([&] { return echo.calls == 3; }));
  EXPECT_EQ(serve(other_party()), "200");
}

TEST_F(NetLimits, HandshakesOfOneAddressWaitTheirTurn) {
  auto o = server_options(w);
  o.handshakes_per_second = 4;  // twenty saved up; on a fast machine the last four wait a quarter of a second each
  start(std::move(o));
  for (int i = 0; i < 24; ++i) ASSERT_EQ(serve(), "200") << i;
  EXPECT_EQ(server->stats().handshakes, 24U);
  EXPECT_EQ(server->stats().refused, 0U);
}

TEST_F(NetLimits, HandshakesThatWouldWaitTooLongAreRefused) {
  auto o = server_options(w);
  o.handshakes_per_second = 0.001;  // one, then one in a quarter of an hour
  start(std::move(o));
  EXPECT_EQ(serve(), "200");
  for (int i = 0; i < 30; ++i) EXPECT_NE(serve(), "200");
  EXPECT_EQ(server->stats().refused, 30U);
  EXPECT_TRUE(w.logged("too many from this address"));
  EXPECT_EQ(w.log.size(), 10U) << "and thirty of a kind are not thirty lines";
}

TEST_F(NetLimits, HealthProbesLeaveNoLine) {
  start(server_options(w));
  for (int i = 0; i < 6; ++i) {
    Tcp::socket s(w.io);
    s.connect({asio::ip::address_v4::loopback(), server->port()});
    if (i % 2 == 1) s.set_option(asio::socket_base::linger(true, 0));  // reset
    s.close();
  }
  EXPECT_TRUE(w.run_until([&] { return server->stats().probes == 6; }));
  EXPECT_TRUE(w.log.empty()) << w.log.front();
  // A handshake that begins and is then reset is worth a line, and it names the peer.
  {
    Tcp::socket s(w.io);
    s.connect({asio::ip::address_v4::loopback(), server->port()});
    asio::write(s, asio::buffer("\x16\x03", 2));
    s.set_option(asio::socket_base::linger(true, 0));
    s.close();
  }
  EXPECT_TRUE(w.run_until([&] { return !w.log.empty(); }));
  EXPECT_TRUE(w.logged("127.0.0.1:")) << w.log.front();
}

// No descriptor left while a connection waits in the backlog: an idle one gives its own.
TEST_F(NetLimits, OutOfDescriptors) {
  start(server_options(w));
  const auto idle = hold(3, {}, true);
  ASSERT_EQ(server->connections(), 3U);
  Raw late(w.io);
  late.socket().open(Tcp::v4());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = 256;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<int> eaten;
  for (int fd = 0; (fd = ::dup(0)) >= 0;) eaten.push_back(fd);
  const auto scene = [](Raw& r, std::uint16_t port) -> asio::awaitable<string> {
    co_await r.socket().async_connect({asio::ip::address_v4::loopback(), port}, by_tuple);
    co_return "connected";
  };
  EXPECT_EQ(w.run(scene(late, server->port())), "connected");
  const bool made_room = w.run_until([&] { return server->stats().accepted == 4; });
  for (const int fd : eaten) ::close(fd);
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(made_room);
  EXPECT_GE(server->stats().closed_for_others, 1U);
  EXPECT_TRUE(w.logged("accept: ")) << "and it was said";
  EXPECT_LE(w.log.size(), 10U);
  EXPECT_EQ(serve(), "200");
}

// One loop: whoever sends requests in a row must let the others have their turn. All of the row is in the server's
// buffer, and the other's request at its socket, before the second of the row is answered: what comes next is decided
// by the server alone.
TEST_F(NetLimits, RequestsInARowLetOthersThrough) {
  constexpr std::size_t kInARow = 100;
  const auto request = [](const string& target) {
    return "POST " + target + " HTTP/1.1\r\nHost: smdp\r\nContent-Type: text/xml\r\nContent-Length: 1\r\n\r\nx";
  };
  const auto connected = [](std::uint16_t port) {
    auto s = std::make_unique<Tcp::socket>(Tcp::socket(quiet_));
    s->connect({asio::ip::address_v4::loopback(), port});
    return s;
  };
  std::unique_ptr<Tcp::socket> one, many;
  std::vector<string> order;
  ServerOptions o = server_options(w);
  o.plain = true;
  server = std::make_unique<HttpServer>(w.io, std::move(o), [&](Request r) -> asio::awaitable<Response> {
    order.push_back(r.target);
    if (order.size() == 2) asio::write(*one, asio::buffer(request("/one")));
    co_return Response{};
  });
  ASSERT_TRUE(server->start().ok());
  one = connected(server->port());
  asio::write(*one, asio::buffer(request("/one")));
  ASSERT_TRUE(w.run_until([&] { return order.size() == 1; }, Ms{20'000}));
  many = connected(server->port());
  string row;
  for (std::size_t i = 0; i < kInARow; ++i) row += request("/many");
  asio::write(*many, asio::buffer(row));
  ASSERT_TRUE(w.run_until([&] { return order.size() == kInARow + 2; }, Ms{20'000}));
  const auto at = std::find(order.begin() + 1, order.end(), "/one") - order.begin();
  EXPECT_LE(at, 8) << "after " << at - 1 << " of the row";
}

TEST(NetAddresses, WhatCountsAsOne) {
  const auto key = [](const char* a) { return detail::address_key(asio::ip::make_address(a)); };
  EXPECT_EQ(key("192.0.2.7"), "192.0.2.7");
  EXPECT_EQ(key("::ffff:192.0.2.7"), "192.0.2.7");
  EXPECT_EQ(key("2001:db8:0:1::1"), "2001:db8:0:1::/64");
  EXPECT_EQ(key("2001:db8:0:1:ffff:ffff:ffff:ffff"), "2001:db8:0:1::/64");
  EXPECT_NE(key("2001:db8:0:2::1"), key("2001:db8:0:1::1"));
}

// Whoever looks at the answer finds one line, whether or not the refusal gave a reason.
TEST_F(NetLimits, RefusalsSayWhatHelps) {
  ServerOptions o = server_options(w);
  o.admit = [](const Request& r) { return r.target == "/told" ? Admission(403, "who are you") : Admission(404); };
  start(o);
  const auto refused = [&](const string& target) {
    return w.run([](World& world, std::uint16_t port, string t) -> asio::awaitable<string> {
      Raw raw(world.io);
      const auto ec = co_await raw.connect(port);
      EXPECT_FALSE(ec);
      co_await raw.send("GET " + t + " HTTP/1.1\r\nHost: h\r\n\r\n");
      co_return co_await raw.answer();
    }(w, server->port(), target));
  };
  EXPECT_NE(refused("/told").find("\r\n\r\nwho are you\n"), string::npos) << refused("/told");
  EXPECT_NE(refused("/other").find("\r\n\r\nthere is nothing at this path\n"), string::npos) << refused("/other");
  EXPECT_NE(refused("/other").find("Content-Type: text/plain"), string::npos);
}

// New keys without end cost the other side more than the sender, and SSL_read() never returns meanwhile.
TEST_F(NetLimits, KeyUpdatesWithoutEnd) {
  start(server_options(w));
  enum class Outcome { none, closed, still_open };
  std::atomic<Outcome> outcome = Outcome::none;
  std::thread peer([&, port = server->port()] {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> ctx(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_use_certificate_file(ctx.get(), Pki::get().client.cert.c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(ctx.get(), Pki::get().client.key.c_str(), SSL_FILETYPE_PEM);
    asio::io_context io;
    Tcp::socket s(io);
    s.connect({asio::ip::address_v4::loopback(), port});
    const timeval patience{20, 0};
    ::setsockopt(s.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(ctx.get()), SSL_free);
    SSL_set_fd(ssl.get(), s.native_handle());
    bool open = SSL_connect(ssl.get()) == 1;
    for (int i = 0; i < 60 && open; ++i)
      open = SSL_key_update(ssl.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && SSL_do_handshake(ssl.get()) == 1;
    open = open && SSL_write(ssl.get(), kPost.data(), static_cast<int>(kPost.size())) > 0;
    char c = 0;
    open = open && SSL_read(ssl.get(), &c, 1) == 1;  // so many are odd, and served
    for (int i = 0; i < 10'000 && open; ++i)
      open = SSL_key_update(ssl.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && SSL_do_handshake(ssl.get()) == 1;
    while (open && SSL_read(ssl.get(), &c, 1) == 1) {
    }
    outcome = open && errno == EAGAIN ? Outcome::still_open : Outcome::closed;
  });
  EXPECT_TRUE(w.run_until([&] { return outcome != Outcome::none; }, Ms{50'000}));
  peer.join();
  EXPECT_EQ(outcome.load(), Outcome::closed);
  EXPECT_EQ(echo.calls, 1);
  EXPECT_TRUE(w.run_until([&] { return server->connections() == 0; }));
}

// A refused peer that sends on: what it sends is thrown away for a while, and it must not keep the loop meanwhile.
TEST_F(NetLimits, WhoSendsOnAfterARefusalKeepsNobody) {
  start(server_options(w));
  std::atomic<bool> closed = false, over = false;
  std::thread peer([&, port = server->port()] {
    asio::io_context io;
    Tcp::socket s(io);
    s.connect({asio::ip::address_v4::loopback(), port});
    const std::vector<char> noise(256 << 10, 'x');
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!closed && std::chrono::steady_clock::now() < until)
      closed = ::send(s.native_handle(), noise.data(), noise.size(), MSG_NOSIGNAL) <= 0;
    over = true;
  });
  EXPECT_TRUE(w.run_until([&] { return over.load(); }, Ms{60'000}));
  peer.join();
  EXPECT_TRUE(closed) << "its deadline never came";
  EXPECT_TRUE(w.run_until([&] { return server->connections() == 0; }));
}

TEST_F(NetLimits, StrangersAreClosedAfterEachAnswer) {
  auto o = server_options(w);
  o.party = [](const Peer& p) { return p.subject == "CN=operator,O=test" ? string("1") : string(); };
  o.admit = [](const Request&) { return Admission(403, "who are you"); };
  o.max_per_party = 2;
  start(std::move(o));
  const auto scene = [](World& world, std::uint16_t port, Raw::Options f) -> asio::awaitable<string> {
    Raw r(world.io, std::move(f));
    const auto connected_r = co_await r.connect(port);
    EXPECT_FALSE(connected_r);
    co_await r.send(kGet);
    co_return co_await r.answer();
  };
  const string known = w.run(scene(w, server->port(), {}));
  EXPECT_EQ(known.find("Connection: close"), string::npos) << known;
  EXPECT_NE(known.find("who are you"), string::npos) << "the reason is told";
  Raw::Options stranger;
  stranger.files = Pki::get().other_host;
  EXPECT_NE(w.run(scene(w, server->port(), stranger)).find("Connection: close"), string::npos);
}

// A large body is held until its answer; a party that sends many of them at once is told to come again.
TEST_F(NetLimits, BodiesOfOneParty) {
  auto o = server_options(w);
  o.max_body = 100'000;
  o.max_bodies_per_party = 250'000;
  start(std::move(o));
  closed_gate = true;
  const string large = "POST /es2 HTTP/1.1\r\nHost: s\r\nContent-Length: 100000\r\n\r\n" + string(100'000, 'x');
  const auto begin = [](Raw& r, std::uint16_t port, string data) -> asio::awaitable<void> {
    const auto ec = co_await r.connect(port);
    if (!ec) co_await r.send(std::move(data));
  };
  const auto finish = [](Raw& r) -> asio::awaitable<unsigned> {
    const string a = co_await r.answer();
    co_return status_of(a);
  };
  Raw first(w.io), second(w.io), third(w.io), other(w.io, other_party());
  w.run(begin(first, server->port(), large));
  w.run(begin(second, server->port(), large));
  w.run(begin(other, server->port(), large));
  ASSERT_TRUE(w.run_until([&] { return waiting_at_gate == 3; }));
  w.run(begin(third, server->port(), large));
  EXPECT_EQ(w.run(finish(third)), 503U);
  EXPECT_TRUE(w.logged("too many large bodies"));
  open_gate();
  for (Raw* r : {&first, &second, &other}) EXPECT_EQ(w.run(finish(*r)), 200U);
  Raw again(w.io);
  w.run(begin(again, server->port(), large));
  EXPECT_EQ(w.run(finish(again)), 200U) << "what was answered does not count";
}

// A name whose servers do not answer holds up nobody else's.
TEST_F(NetLimits, NamesThatAreNotAnswered) {
  start(server_options(w));
  auto o = client_options(server->port());
  o.host = "silent.invalid";
  HttpClient silent(w.io, o);
  o.host = "localhost";
  HttpClient good(w.io, o);
  const auto call = [](HttpClient& c, Millis limit) -> asio::awaitable<string> {
    const auto r = co_await c.call(post("x"), limit, false);
    co_return r.ok() ? std::to_string(r->status) : r.error().reason;
  };
  hold_lookups(true);
  std::vector<string> results;
  const auto keep = [&results, &call](HttpClient& c) -> asio::awaitable<void> {
    string r = co_await call(c, Millis{400});
    results.push_back(std::move(r));
  };
  asio::co_spawn(w.io, keep(silent), asio::detached);
  asio::co_spawn(w.io, keep(silent), asio::detached);
  EXPECT_EQ(w.run(call(good, Millis{30'000})), "200");
  EXPECT_TRUE(w.run_until([&] { return results.size() == 2; }));
  EXPECT_EQ(lookups_held(), 1) << "one thread a client, however many calls";
  for (const auto& r : results) EXPECT_EQ(r, "net-timeout");
  hold_lookups(false);
}

// --- the table behind it ---

struct Place : Occupancy::Guest {};

TEST(Occupancy, TheOldestOfTheGreediestGoes) {
  Occupancy o({.places = 4, .per_address = 100, .per_party = 100, .handshakes_per_s = 0, .handshakes_at_once = 0});
  const auto a = asio::ip::make_address("192.0.2.1"), b = asio::ip::make_address("192.0.2.2");
  std::array<Place, 8> p;
  EXPECT_EQ(o.enter(p[0], b, {}).victim, nullptr);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(o.enter(p[i], a, {}).victim, nullptr);
  const auto e = o.enter(p[4], b, {});
  EXPECT_TRUE(e.admitted);
  EXPECT_EQ(e.victim, &p[1]);
  o.leave(p[1]);
  for (Place* busy : {&p[0], &p[2], &p[3], &p[4]}) o.spare(*busy, false);
  EXPECT_FALSE(o.enter(p[5], b, {}).admitted);
  o.spare(p[0], true);
  EXPECT_EQ(o.enter(p[5], a, {}).victim, &p[0]) << "the only one of no use";
  for (Place* g : {&p[0], &p[2], &p[3], &p[4], &p[5]}) o.leave(*g);
  EXPECT_EQ(o.size(), 0U);
}

TEST(Occupancy, SharesOfAddressesAndParties) {
  Occupancy o({.places = 100, .per_address = 2, .per_party = 2, .handshakes_per_s = 0, .handshakes_at_once = 0});
  std::array<Place, 8> p;
  // One machine has a whole /64.
  EXPECT_TRUE(o.enter(p[0], asio::ip::make_address("2001:db8::1"), {}).admitted);
  EXPECT_TRUE(o.enter(p[1], asio::ip::make_address("2001:db8::2"), {}).admitted);
  EXPECT_EQ(o.enter(p[2], asio::ip::make_address("2001:db8::3"), {}).victim, &p[0]);
  o.leave(p[0]);
  EXPECT_EQ(o.enter(p[3], asio::ip::make_address("2001:db8:0:1::1"), {}).victim, nullptr);
  for (Place* g : {&p[1], &p[2]}) {
    EXPECT_TRUE(o.identify(*g, "B", {}).admitted);
    o.spare(*g, false);
  }
  EXPECT_FALSE(o.identify(p[3], "B", {}).admitted);
  o.spare(p[2], true);
  EXPECT_EQ(o.identify(p[3], "B", {}).victim, &p[2]);
  EXPECT_EQ(o.held_by(p[3]), 3U) << "the victim has not left yet";
  for (Place* g : {&p[1], &p[2], &p[3]}) o.leave(*g);
}

// Four parties with all that each may have, all of it at work, leave something for a fifth.
TEST(Occupancy, SeveralPartiesAtTheirBoundsLeavePlaces) {
  Occupancy o({.places = 400, .per_address = 400, .per_party = 100, .handshakes_per_s = 0, .handshakes_at_once = 0});
  std::vector<std::unique_ptr<Place>> all;
  const auto address = [](unsigned party) { return asio::ip::make_address("192.0.2." + std::to_string(party)); };
  for (unsigned i = 0; i < 100; ++i) {
    for (unsigned party = 1; party <= 4; ++party) {
      auto p = std::make_unique<Place>();
      if (!o.enter(*p, address(party), {}).admitted) continue;
      if (!o.identify(*p, "party " + std::to_string(party), {}).admitted) {
        o.leave(*p);
        continue;
      }
      o.spare(*p, false);
      all.push_back(std::move(p));
    }
  }
  EXPECT_GT(all.size(), 380U) << "most places are used";
  Place fifth;
  EXPECT_TRUE(o.enter(fifth, address(5), {}).admitted);
  EXPECT_TRUE(o.identify(fifth, "party 5", {}).admitted);
  o.leave(fifth);
  for (auto& p : all) o.leave(*p);
}

// Connections that say nothing fill all places: they take nothing from a party that works.
TEST(Occupancy, SilentConnectionsTakeNothingFromAParty) {
  Occupancy o({.places = 100, .per_address = 100, .per_party = 50, .handshakes_per_s = 0, .handshakes_at_once = 0});
  const auto strangers = asio::ip::make_address("192.0.2.1"), here = asio::ip::make_address("192.0.2.2");
  std::vector<std::unique_ptr<Place>> silent, work;
  const auto enter = [&](std::vector<std::unique_ptr<Place>>& list, const asio::ip::address& from) {
    auto p = std::make_unique<Place>();
    const auto e = o.enter(*p, from, {});
    EXPECT_TRUE(e.admitted);
    if (e.victim != nullptr) o.leave(*e.victim);
    list.push_back(std::move(p));
  };
  for (int i = 0; i < 100; ++i) enter(silent, strangers);
  for (int i = 0; i < 50; ++i) {
    enter(work, here);
    const auto e = o.identify(*work.back(), "party", {});
    EXPECT_TRUE(e.admitted && e.victim == nullptr) << i;
    o.spare(*work.back(), false);
  }
  for (auto* list : {&silent, &work})
    for (auto& p : *list) o.leave(*p);
}

TEST(Occupancy, Handshakes) {
  Occupancy o({.places = 100, .per_address = 100, .per_party = 100, .handshakes_per_s = 10, .handshakes_at_once = 5});
  Place here, there;
  Occupancy::Time t{std::chrono::hours(1)};
  const auto patience = std::chrono::milliseconds(250);
  o.enter(here, asio::ip::make_address("192.0.2.1"), t);
  o.enter(there, asio::ip::make_address("192.0.2.2"), t);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(o.handshake_wait(here, t, patience).count(), 0) << i;
  EXPECT_EQ(o.handshake_wait(here, t, patience), std::chrono::milliseconds(100));
  EXPECT_EQ(o.handshake_wait(here, t, patience), std::chrono::milliseconds(200));
  for (int i = 0; i < 3; ++i) EXPECT_GT(o.handshake_wait(here, t, patience), patience) << "and is not counted";
  EXPECT_EQ(o.handshake_wait(there, t, patience).count(), 0);
  t += std::chrono::milliseconds(200);
  EXPECT_EQ(o.handshake_wait(here, t, patience), std::chrono::milliseconds(100));
  o.leave(here);
  o.leave(there);
}

// Addresses come and go: what is remembered of them is bounded.
TEST(Occupancy, ForgetsAddresses) {
  Occupancy o({.places = 4, .per_address = 4, .per_party = 4, .handshakes_per_s = 10, .handshakes_at_once = 5});
  Occupancy::Time t{std::chrono::hours(1)};
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    Place p;
    o.enter(p, asio::ip::address_v4(i), t);
    o.handshake_wait(p, t, std::chrono::seconds(1));
    o.leave(p);
    t += std::chrono::milliseconds(1);
  }
  EXPECT_LT(o.holders(), 1000U);
}

}  // namespace
}  // namespace kf::net::test
