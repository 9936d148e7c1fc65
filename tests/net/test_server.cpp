// The server against a raw TLS peer that sends what no well-behaved client would.
#include <openssl/ssl.h>

#include <algorithm>

#include "host/base/bytes.hpp"
#include "tests/net/support.hpp"

namespace kf::net::test {
namespace {

using std::string;

struct NetServer : ::testing::Test {
  World w;
  Echo echo;
  std::unique_ptr<HttpServer> server;

  HttpServer& start(ServerOptions o) {
    server = std::make_unique<HttpServer>(w.io, std::move(o), echo.handler());
    const auto r = server->start();
    EXPECT_TRUE(r.ok()) << r.error().text();
    return *server;
  }
  HttpServer& start() { return start(server_options(w)); }
  // Sends the octets on a fresh TLS connection and returns all that comes back until the server closes.
  string talk(const string& data, const Raw::Options& o = {}) { return w.run(talk_to(w.io, server->port(), data, o)); }
  static asio::awaitable<string> talk_to(asio::io_context& io, std::uint16_t port, string data, Raw::Options o) {
    Raw raw(io, o);
    if (const auto ec = co_await raw.connect(port); ec) co_return "handshake: " + ec.message();
    co_await raw.send(data);
    co_return co_await raw.to_end();
  }
};

string request(const string& body, const string& extra = "") {
  return "POST /es2 HTTP/1.1\r\nHost: smdp\r\nContent-Type: text/xml\r\n" + extra +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
string closing(const string& body) { return request(body, "Connection: close\r\n"); }

string body_of(const string& answer) {
  const auto at = answer.find("\r\n\r\n");
  return at == string::npos ? "" : answer.substr(at + 4);
}
bool has(const string& s, std::string_view part) { return s.find(part) != string::npos; }

TEST_F(NetServer, HandlerSeesTheVerifiedPeerAndTheRequest) {
  start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Raw::Options o;
    o.version = version;
    const auto a = talk(closing("hello"), o);
    EXPECT_EQ(status_of(a), 200U) << a;
    EXPECT_EQ(body_of(a), "hello");
    ASSERT_FALSE(echo.seen.empty());
    const Request& r = echo.seen.back();
    EXPECT_EQ(r.peer.fingerprint, *certificate_fingerprint(Pki::get().client.cert));
    EXPECT_EQ(r.peer.fingerprint.size(), 64U);
    EXPECT_EQ(r.peer.subject, "CN=operator,O=test");
    EXPECT_TRUE(r.peer.address.starts_with("127.0.0.1:")) << r.peer.address;
    EXPECT_TRUE(r.peer.psk_identity.empty());
    EXPECT_EQ(r.method, "POST");
    EXPECT_EQ(r.target, "/es2");
    EXPECT_EQ(r.host, "smdp");
    EXPECT_EQ(r.content_type, "text/xml");
    EXPECT_FALSE(r.chunked);
  }
  EXPECT_EQ(echo.calls, 2);
  EXPECT_TRUE(w.log.empty()) << w.log.front();
}

TEST_F(NetServer, StrangersAreRefusedInTheHandshake) {
  start();
  struct Case {
    const char* name;
    TlsFiles files;
    const char* logged;
  };
  TlsFiles none = Pki::get().client;
  none.cert.clear();
  for (const Case& c : {Case{"none", none, "peer did not return a certificate"},
                        Case{"untrusted", Pki::get().untrusted, "unable to get local issuer certificate"},
                        Case{"expired", Pki::get().expired, "certificate has expired"}}) {
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      w.log.clear();
      Raw::Options o;
      o.version = version;
      o.files = c.files;
      const auto a = talk(closing("hello"), o);
      EXPECT_FALSE(has(a, "HTTP/")) << c.name;
      EXPECT_TRUE(w.run_until([&] { return server->connections() == 0; })) << c.name;
      ASSERT_EQ(w.log.size(), 1U) << c.name;
      EXPECT_TRUE(has(w.log[0], c.logged)) << w.log[0];
      EXPECT_TRUE(has(w.log[0], "127.0.0.1:")) << w.log[0];
    }
  }
  EXPECT_EQ(echo.calls, 0);
}

TEST_F(NetServer, OldTlsIsRefused) {
  start();
  Raw::Options o;
  o.version = TLS1_1_VERSION;
  o.ciphers = "ALL:@SECLEVEL=0";
  EXPECT_TRUE(talk(closing("x"), o).starts_with("handshake: "));
  EXPECT_EQ(echo.calls, 0);
  EXPECT_TRUE(w.run_until([&] { return !w.log.empty(); }));
}

TEST_F(NetServer, PlainHttpOnTheTlsPort) {
  start();
  Raw::Options o;
  o.plain = true;
  EXPECT_FALSE(has(talk(closing("x"), o), "HTTP/"));
  EXPECT_EQ(echo.calls, 0);
  EXPECT_TRUE(w.run_until([&] { return w.logged("http request"); }));
}

asio::awaitable<int> resume(World& w, std::uint16_t port, TlsFiles files, int version, Ms between, int& answered) {
  SSL_SESSION* session = nullptr;
  {
    Raw::Options o;
    o.files = files;
    o.version = version;
    Raw raw(w.io, o);
    if (const auto ec = co_await raw.connect(port); ec) throw std::runtime_error(ec.message());
    co_await raw.send(request("first"));
    if (status_of(co_await raw.answer()) != 200) co_return 0;
    ++answered;
    session = SSL_get1_session(raw.ssl());
    SSL_set_shutdown(raw.ssl(), SSL_SENT_SHUTDOWN);  // or the session counts as broken
  }
  co_await pause(between);
  Raw::Options o;
  o.files = files;
  o.version = version;
  o.session = session;
  Raw raw(w.io, o);
  const auto ec = co_await raw.connect(port);
  const int reused = SSL_session_reused(raw.ssl());
  SSL_SESSION_free(session);
  if (ec) co_return reused;
  co_await raw.send(closing("second"));
  answered += status_of(co_await raw.to_end()) == 200;
  co_return reused;
}

TEST_F(NetServer, ResumedSessionKeepsTheIdentity) {
  start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    int answered = 0;
    EXPECT_EQ(w.run(resume(w, server->port(), Pki::get().client, version, Ms{0}, answered)), 1) << version;
    EXPECT_EQ(answered, 2);
    EXPECT_EQ(echo.seen.back().body, "second");
    EXPECT_EQ(echo.seen.back().peer.fingerprint, *certificate_fingerprint(Pki::get().client.cert));
    EXPECT_EQ(echo.seen.back().peer.subject, "CN=operator,O=test");
  }
}

TEST_F(NetServer, ResumedSessionOfAnExpiredCertificateIsRefused) {
  start();
  int answered = 0;
  for (const int seconds : {2, 8}) {  // a machine may need longer than the first for the first handshake
    w.log.clear();
    const TlsFiles files = Pki::get().short_lived(seconds);
    w.run(resume(w, server->port(), files, TLS1_3_VERSION, Ms{seconds * 1000 + 1'200}, answered));
    if (answered > 0) break;
  }
  EXPECT_EQ(answered, 1);
  EXPECT_TRUE(w.logged("expired")) << (w.log.empty() ? "" : w.log.front());
}

TEST_F(NetServer, KeepsTheConnectionAndAnswersPipelinedRequestsInOrder) {
  start();
  const auto a = talk(request("one") + request("two") + "\r\n" + closing("three"));
  const auto one = a.find("one"), two = a.find("two"), three = a.find("three");
  ASSERT_NE(three, string::npos) << a;
  EXPECT_LT(one, two);
  EXPECT_LT(two, three);
  EXPECT_EQ(echo.calls, 3);
  EXPECT_EQ(echo.seen[0].peer.address, echo.seen[2].peer.address);
  EXPECT_TRUE(has(a, "Connection: close"));
  EXPECT_TRUE(has(a, "Date: "));
}

TEST_F(NetServer, BrokenRequests) {
  auto o = server_options(w);
  o.max_header = 4096;
  o.header_timeout = o.body_timeout = Millis{1'000};  // what is waited for by mistake shows as 408
  start(std::move(o));
  struct Case {
    string sent;
    unsigned status;
  };
  const string head = "POST / HTTP/1.1\r\nHost: h\r\n";
  for (const Case& c : {
           Case{"rubbish\r\n\r\n", 400},
           Case{"\x16\x03\x01\x02", 400},
           Case{"POST / HTTP/2.0\r\nHost: h\r\n\r\n", 400},
           Case{"POST / HTTP/1.1\nHost: h\n\n", 400},
           Case{"POST / HTTP/1.1\r\n\r\n", 400},                                         // no Host
           Case{head + "Host: i\r\nContent-Length: 0\r\n\r\n", 400},                     // two
           Case{"POST es2 HTTP/1.1\r\nHost: h\r\n\r\n", 400},                            // target
           Case{head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},  // request smuggling
           Case{head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
           Case{head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
           Case{head + "Content-Length: -1\r\n\r\n", 400},
           Case{head + "Content-Length: 99999999999999999999999\r\n\r\n", 400},
           Case{head + "Content-Length: 0x5\r\n\r\n", 400},
           Case{head + "Transfer-Encoding: gzip\r\n\r\n", 400},
           Case{head + "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
           Case{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
           Case{head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
           Case{head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n", 400},
           Case{head + "Transfer-Encoding: chunked\r\n\r\n3;" + string(40'000, 'e'), 400},     // extension without end
           Case{head + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + string(40'000, 'T'), 400},  // trailer without end
           Case{head + "Bad Header: x\r\n\r\n", 400},
           Case{head + ": x\r\n\r\n", 400},
           Case{head + "Expect: the-moon\r\n\r\n", 417},
           Case{head + "X-Long: " + string(5000, 'x') + "\r\n\r\n", 431},
           Case{"POST /" + string(5000, 'x'), 431},
           Case{string(40, '\r') + "\n", 400},
       }) {
    const auto a = talk(c.sent);
    EXPECT_EQ(status_of(a), c.status) << c.sent.substr(0, 100) << "\n" << a;
    EXPECT_TRUE(has(a, "Connection: close")) << c.sent.substr(0, 100);
    EXPECT_EQ(body_of(a).find_first_of("\n"), body_of(a).size() - 1) << "one line of ours: " << a;
  }
  EXPECT_EQ(echo.calls, 0);
  EXPECT_EQ(status_of(talk(closing("still alive"))), 200U);
}

TEST_F(NetServer, HeaderLimitCountsFieldsThatArriveOneByOne) {
  auto o = server_options(w);
  o.max_header = 4096;
  start(std::move(o));
  struct Drip {
    static asio::awaitable<string> run(World& world, std::uint16_t port) {
      Raw raw(world.io);
      co_await raw.connect(port);
      co_await raw.send("POST / HTTP/1.1\r\nHost: h\r\n");
      for (int i = 0; i < 60; ++i) {
        if (co_await raw.send("X-" + std::to_string(i) + ": " + string(100, 'x') + "\r\n")) break;
        co_await pause(Ms{1});
      }
      co_await raw.send("Connection: close\r\n\r\n");
      co_return co_await raw.to_end();
    }
  };
  EXPECT_EQ(status_of(w.run(Drip::run(w, server->port()))), 431U);
}

TEST_F(NetServer, AbsoluteTargetAndMissingBody) {
  start();
  EXPECT_EQ(status_of(talk("POST https://smdp:8443/es3?x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")), 200U);
  EXPECT_EQ(echo.seen.back().target, "/es3?x");
  EXPECT_EQ(echo.seen.back().host, "smdp:8443");
  EXPECT_EQ(echo.seen.back().body, "");
}

TEST_F(NetServer, BodyOverTheLimit) {
  auto o = server_options(w);
  o.max_body = 1000;
  start(std::move(o));
  // Announced: answered before anything is read, also when nothing is sent.
  const string head = "POST / HTTP/1.1\r\nHost: h\r\n";
  for (const string& sent :
       {head + "Content-Length: 1001\r\n\r\n", head + "Content-Length: 18446744073709551615\r\n\r\n",
        head + "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n", request(string(500'000, 'x')),
        head + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n",
        head + "Transfer-Encoding: chunked\r\n\r\n200\r\n" + string(512, 'x') + "\r\n200\r\n" + string(512, 'x') +
            "\r\n0\r\n\r\n",
        head + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n" + string(100'000, 'x')}) {
    const auto a = talk(sent);
    EXPECT_EQ(status_of(a), 413U) << sent.substr(0, 100) << "\n" << a;
    EXPECT_TRUE(has(a, "Connection: close"));
    EXPECT_FALSE(has(a, "100 Continue"));
  }
  EXPECT_EQ(echo.calls, 0);
  EXPECT_EQ(status_of(talk(closing(string(1000, 'x')))), 200U);
  EXPECT_EQ(status_of(talk(head + "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + string(1000, 'x') +
                           "\r\n0\r\n\r\n")),
            200U);
}

// `in_full`: whether all of it had been sent when the connection ended.
asio::awaitable<string> trickle(World& w, std::uint16_t port, string at_once, string slowly, Ms step,
                                bool* in_full = nullptr) {
  Raw raw(w.io);
  if (const auto ec = co_await raw.connect(port); ec) co_return "handshake";
  co_await raw.send(at_once);
  // Sending and receiving at once: the answer comes while we still trickle.
  struct Sender {
    static asio::awaitable<void> run(Raw& r, string s, Ms d, bool& stop, std::size_t& sent, bool& done) {
      for (const char c : s) {
        if (stop || co_await r.send(string(1, c))) break;
        ++sent;
        co_await pause(d);
      }
      done = true;
    }
  };
  bool stop = false, done = false;
  std::size_t sent = 0;
  asio::co_spawn(w.io, Sender::run(raw, slowly, step, stop, sent, done), asio::detached);
  auto all = co_await raw.to_end();
  if (in_full != nullptr) *in_full = sent == slowly.size();
  stop = true;
  while (!done) co_await pause(Ms{1});
  co_return all;
}

// All at once, so that limits can be long: they are those of the handshake and of the answer as well.
TEST_F(NetServer, SlowSendersGet408) {
  auto o = server_options(w);
  constexpr Millis limit{2'000};
  o.header_timeout = o.body_timeout = limit;
  start(std::move(o));
  struct Case {
    string at_once, slowly;
    string answer = {};
    bool in_full = false, ended = false;
    std::chrono::steady_clock::duration took{};
  };
  const auto times = [](int n, const string& s) {
    string all;
    while (n-- > 0) all += s;
    return all;
  };
  std::vector<Case> cases{
      {"POST / HTTP/1.1\r\n", ""},
      {"P", string(100, 'O')},
      {"POST / HTTP/1.1\r\nHost: h\r\n", times(12, "X-A: b\r\n")},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", ""},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", string(100, 'x')},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", times(10, "5\r\nabcde\r\n")}};
  const auto one = [&](Case& c) -> asio::awaitable<void> {
    const auto from = std::chrono::steady_clock::now();
    c.answer = co_await trickle(w, server->port(), c.at_once, c.slowly, Ms{100}, &c.in_full);
    c.took = std::chrono::steady_clock::now() - from;
    c.ended = true;
  };
  for (Case& c : cases) asio::co_spawn(w.io, one(c), asio::detached);
  ASSERT_TRUE(w.run_until([&] { return std::all_of(cases.begin(), cases.end(), [](auto& c) { return c.ended; }); },
                          Ms{50'000}));
  for (const Case& c : cases) {
    EXPECT_EQ(status_of(c.answer), 408U) << c.at_once << "\n" << c.answer;
    EXPECT_TRUE(has(c.answer, "Connection: close"));
    EXPECT_GE(c.took, limit) << c.at_once;
    if (!c.slowly.empty()) {
      EXPECT_FALSE(c.in_full) << "what arrives must not extend the time: " << c.at_once;
    }
  }
  EXPECT_EQ(echo.calls, 0);
}

TEST_F(NetServer, SilentConnectionsAreDropped) {
  auto o = server_options(w);
  o.header_timeout = o.idle_timeout = Millis{2'000};  // the former is the handshake's as well
  start(std::move(o));
  Raw::Options plain;
  plain.plain = true;
  EXPECT_EQ(talk("", plain), "");  // no handshake
  EXPECT_TRUE(w.logged("handshake not finished")) << (w.log.empty() ? "" : w.log[0]);
  EXPECT_EQ(talk(""), "");                         // no request
  EXPECT_EQ(status_of(talk(request("x"))), 200U);  // and no second one: ends by itself
  EXPECT_TRUE(w.run_until([&] { return server->connections() == 0; }));
  EXPECT_EQ(w.log.size(), 1U);
}

TEST_F(NetServer, PeerThatDoesNotReadItsAnswerIsDropped) {
  auto o = server_options(w);
  o.body_timeout = Millis{300};
  o.max_body = 64 << 20;
  struct Big {
    static asio::awaitable<Response> handle(Request) {
      Response r;
      r.body = string(64 << 20, 'x');
      co_return r;
    }
  };
  server = std::make_unique<HttpServer>(w.io, std::move(o), Big::handle);
  ASSERT_TRUE(server->start().ok());
  struct Deaf {
    static asio::awaitable<void> run(World& world, HttpServer& s) {
      Raw raw(world.io);
      co_await raw.connect(s.port());
      co_await raw.send(request("x"));
      for (int i = 0; i < 200 && s.connections() != 0; ++i) co_await pause(Ms{20});
    }
  };
  w.run(Deaf::run(w, *server));
  EXPECT_EQ(server->connections(), 0U);
  EXPECT_TRUE(w.logged("answer not sent: timed out"));
}

TEST_F(NetServer, AdmissionComesBeforeTheBody) {
  auto o = server_options(w);
  int asked = 0;
  o.admit = [&](const Request& head) -> unsigned {
    ++asked;
    EXPECT_TRUE(head.body.empty());
    EXPECT_FALSE(head.peer.fingerprint.empty());
    if (head.method != "POST") return 405;
    if (head.target == "/es3") return 403;
    if (head.content_type != "text/xml") return 415;
    if (head.target == "/throw") throw std::runtime_error("admission");
    return 0;
  };
  start(std::move(o));
  // Without a body the connection goes on.
  const auto a = talk("GET / HTTP/1.1\r\nHost: h\r\n\r\nPOST /es3 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n" +
                      closing("ok"));
  EXPECT_EQ(status_of(a), 405U) << a;
  EXPECT_TRUE(has(a, "Allow: POST\r\n"));
  EXPECT_TRUE(has(a, "HTTP/1.1 403 Forbidden\r\n"));
  EXPECT_TRUE(has(a, "HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(echo.calls, 1);
  // With one: answered although nothing of it arrives, and closed.
  const auto b = talk("POST /es3 HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
  EXPECT_EQ(status_of(b), 403U);
  EXPECT_TRUE(has(b, "Connection: close"));
  EXPECT_EQ(body_of(b), "this certificate may not do that here\n");
  EXPECT_EQ(status_of(talk("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: text/html\r\nContent-Length: 100\r\n\r\n")),
            415U);
  EXPECT_EQ(status_of(talk("POST /throw HTTP/1.1\r\nHost: h\r\nContent-Type: text/xml\r\nContent-Length: 1\r\n\r\n")),
            500U);
  EXPECT_EQ(status_of(talk("DELETE / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")), 405U);
  const auto head = talk("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(status_of(head), 405U);
  EXPECT_EQ(echo.calls, 1);
}

TEST_F(NetServer, ExpectContinue) {
  start();
  struct Polite {
    static asio::awaitable<std::vector<string>> run(World& world, std::uint16_t port) {
      Raw raw(world.io);
      co_await raw.connect(port);
      std::vector<string> got;
      co_await raw.send(
          "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
      got.push_back(co_await raw.answer());
      co_await raw.send("hello");
      got.push_back(co_await raw.to_end());
      co_return got;
    }
  };
  const auto got = w.run(Polite::run(w, server->port()));
  EXPECT_EQ(got[0], "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(status_of(got[1]), 200U);
  EXPECT_EQ(body_of(got[1]), "hello");
  // The body is there already: no interim answer.
  EXPECT_FALSE(has(talk(request("hello", "Expect: 100-continue\r\nConnection: close\r\n")), "100 Continue"));
}

TEST_F(NetServer, Http10) {
  start();
  const auto a = talk("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_EQ(status_of(a), 200U);
  EXPECT_TRUE(has(a, "Connection: close\r\n"));
  EXPECT_EQ(body_of(a), "hi");
  const auto b = talk("POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi" + closing("second"));
  EXPECT_TRUE(has(b, "Connection: keep-alive\r\n"));
  EXPECT_TRUE(has(b, "second"));
}

TEST_F(NetServer, ChunkedBodiesInAnyPieces) {
  start();
  const string sent =
      "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5;ext=\"1\"\r\nhello\r\n00001\r\n,\r\n6\r\n world\r\n0\r\nX-Trailer: t\r\nX-Admin-From: forged\r\n\r\n";
  for (const Ms step : {Ms{0}, Ms{1}}) {
    const auto a = step.count() == 0 ? talk(sent) : w.run(trickle(w, server->port(), "", sent, step));
    EXPECT_EQ(status_of(a), 200U) << a;
    EXPECT_TRUE(has(a, "Transfer-Encoding: chunked\r\n"));  // the echo answers in kind
    EXPECT_EQ(echo.seen.back().body, "hello, world");
    EXPECT_TRUE(echo.seen.back().chunked);
    EXPECT_EQ(find_header(echo.seen.back().headers, "X-Trailer"), nullptr);
    EXPECT_EQ(find_header(echo.seen.back().headers, "X-Admin-From"), nullptr);
  }
}

// The parser that we use aborts the process on this one when it is fed octet by octet as it comes.
TEST_F(NetServer, EmptyChunkedBodyInPieces) {
  start();
  const string head = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const string last : {"0\r\n\r\n", "00000\r\n\r\n", "0;e\r\n\r\n", "0\r\nX: y\r\n\r\n", "1\r\nb\r\n0\r\n\r\n"}) {
    EXPECT_EQ(status_of(w.run(trickle(w, server->port(), head, last, Ms{5}))), 200U) << last;
  }
  EXPECT_EQ(echo.calls, 5);
}

struct Odd {
  static asio::awaitable<Response> handle(Request r) {
    Response a;
    if (r.target == "/throw") throw std::runtime_error("no such luck");
    if (r.target == "/throw-int") throw 7;  // NOLINT: what a handler must not do either
    if (r.target == "/later") {
      co_await pause(Ms{20});
      throw std::runtime_error("later");
    }
    if (r.target == "/split") a.headers.emplace_back("X-Next", "a\r\nSet-Cookie: b");
    if (r.target == "/name") a.headers.emplace_back("X Next", "a");
    if (r.target == "/status") a.status = 99;
    if (r.target == "/none") a.status = 204;
    if (r.target == "/close") a.close = true;
    if (r.target == "/framing") {
      a.headers = {{"Content-Length", "77"}, {"Connection", "upgrade"}, {"transfer-encoding", "gzip"}};
    }
    if (r.target == "/retry") {
      a.status = 503;
      a.headers.emplace_back("Retry-After", "5");
    }
    a.body = "body";
    co_return a;
  }
};

TEST_F(NetServer, WhateverTheHandlerDoesTheServerGoesOn) {
  server = std::make_unique<HttpServer>(w.io, server_options(w), Odd::handle);
  ASSERT_TRUE(server->start().ok());
  const auto ask = [&](const string& target) {
    return talk("POST " + target +
                " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
                "POST /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  };
  for (const char* target : {"/throw", "/throw-int", "/later", "/split", "/name", "/status"}) {
    const auto a = ask(target);
    EXPECT_EQ(status_of(a), 500U) << target << "\n" << a;
    EXPECT_TRUE(has(a, "HTTP/1.1 200 OK")) << target;  // the same connection
    EXPECT_FALSE(has(a, "Set-Cookie"));
  }
  EXPECT_TRUE(w.logged("no such luck"));
  const auto none = ask("/none");
  EXPECT_EQ(status_of(none), 204U);
  EXPECT_FALSE(none.substr(0, none.find("HTTP/1.1 200")).find("Content-Length") != string::npos) << none;
  EXPECT_TRUE(has(none, "HTTP/1.1 200 OK"));
  const auto framing = ask("/framing");
  EXPECT_FALSE(has(framing, "77"));
  EXPECT_FALSE(has(framing, "upgrade"));
  EXPECT_TRUE(has(framing, "\r\nHTTP/1.1 200 OK") || has(framing, "bodyHTTP/1.1 200 OK")) << framing;
  EXPECT_FALSE(has(ask("/close"), "bodyHTTP"));
  EXPECT_TRUE(has(ask("/retry"), "HTTP/1.1 503 Service Unavailable"));
  EXPECT_TRUE(has(ask("/retry"), "Retry-After: 5\r\n"));
  const auto head = talk("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(has(head, "Content-Length: 4\r\n"));
  EXPECT_EQ(body_of(head), "");
}

TEST_F(NetServer, PeerGoneWhileTheHandlerRuns) {
  echo.shut(w.io);
  start();
  struct Impatient {
    static asio::awaitable<void> run(World& world, std::uint16_t port, Echo& e) {
      Raw raw(world.io);
      co_await raw.connect(port);
      co_await raw.send(request(string(100'000, 'x')));
      while (e.running == 0) co_await pause(Ms{1});
    }
  };
  w.run(Impatient::run(w, server->port(), echo));
  EXPECT_EQ(echo.running, 1);
  echo.open();
  EXPECT_TRUE(w.run_until([&] { return echo.running == 0 && server->connections() == 0; }));
  EXPECT_EQ(echo.calls, 1);
  EXPECT_EQ(status_of(talk(closing("next"))), 200U);
}

asio::awaitable<string> one_exchange(World& w, std::uint16_t port, string sent, bool& done) {
  Raw raw(w.io);
  co_await raw.connect(port);
  co_await raw.send(sent);
  auto a = co_await raw.to_end();
  done = true;
  co_return a;
}

TEST_F(NetServer, StopLetsRunningHandlersFinish) {
  echo.shut(w.io);
  ServerOptions o = server_options(w);  // nobody but stop() ends a connection
  o.first_byte_timeout = o.first_request_timeout = o.header_timeout = o.idle_timeout = Ms{60'000};
  start(std::move(o));
  struct Scene {
    static asio::awaitable<void> run(World& world, HttpServer& s, Echo& e, string& answer, string& idle_end) {
      Raw idle(world.io), busy(world.io), silent(world.io, [] {
        Raw::Options p;
        p.plain = true;
        return p;
      }());
      co_await idle.connect(s.port());
      co_await silent.connect(s.port());
      co_await busy.connect(s.port());
      co_await busy.send(request("work"));
      while (e.running == 0) co_await pause(Ms{1});
      s.stop();
      idle_end = co_await idle.to_end();
      EXPECT_EQ(idle.end(), asio::error::eof);
      co_await silent.to_end();
      EXPECT_EQ(e.running, 1);  // they end at once, not when the handler is done
      Raw late(world.io);
      EXPECT_EQ(co_await late.connect(s.port()), asio::error::connection_refused);
      e.open();
      answer = co_await busy.to_end();
    }
  };
  string answer, idle_end;
  w.run(Scene::run(w, *server, echo, answer, idle_end));
  EXPECT_EQ(status_of(answer), 200U);
  EXPECT_TRUE(has(answer, "Connection: close"));
  EXPECT_EQ(body_of(answer), "work");
  EXPECT_EQ(idle_end, "");
  // Nothing of the server keeps the io_context busy.
  EXPECT_TRUE(w.comes_to_rest());
  EXPECT_EQ(server->connections(), 0U);
}

TEST_F(NetServer, DestroyedWithTheHandlerStillRunning) {
  echo.delay = Ms{100};
  start();
  bool done = false;
  struct Scene {
    static asio::awaitable<string> run(World& world, std::unique_ptr<HttpServer>& s, Echo& e, bool& d) {
      Raw busy(world.io);
      co_await busy.connect(s->port());
      co_await busy.send(request("work"));
      while (e.running == 0) co_await pause(Ms{1});
      s.reset();
      auto a = co_await busy.to_end();
      d = true;
      co_return a;
    }
  };
  EXPECT_EQ(status_of(w.run(Scene::run(w, server, echo, done))), 200U);
}

TEST_F(NetServer, IoContextDestroyedWithEverythingInFlight) {
  auto world = std::make_unique<World>();
  auto e = std::make_unique<Echo>();
  e->delay = Ms{10'000};
  auto s = std::make_unique<HttpServer>(world->io, server_options(*world), e->handler());
  ASSERT_TRUE(s->start().ok());
  bool done = false;
  asio::co_spawn(world->io, one_exchange(*world, s->port(), request("x"), done), asio::detached);
  asio::co_spawn(world->io, one_exchange(*world, s->port(), "POST", done), asio::detached);
  EXPECT_TRUE(world->run_until([&] { return e->running == 1 && s->connections() == 2; }));
  s.reset();
  world.reset();  // AddressSanitizer tells the rest
  EXPECT_FALSE(done);
}

TEST_F(NetServer, StartSaysWhatIsWrong) {
  start();
  auto o = server_options(w);
  o.port = server->port();
  HttpServer taken(w.io, o, echo.handler());
  auto r = taken.start();
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().reason, "net-bind");
  o = server_options(w);
  o.listen_address = "not an address";
  EXPECT_EQ(HttpServer(w.io, o, echo.handler()).start().error().reason, "net-bind");
  for (auto change : {+[](TlsFiles& f) { f.cert = "/nonexistent"; }, +[](TlsFiles& f) { f.key = f.cert; },
                      +[](TlsFiles& f) { f.key = Pki::get().client.key; }, +[](TlsFiles& f) { f.ca = ""; },
                      +[](TlsFiles& f) { f.ca = f.key; }}) {
    o = server_options(w);
    change(o.tls);
    HttpServer s(w.io, o, echo.handler());
    r = s.start();
    ASSERT_FALSE(r.ok());
    EXPECT_EQ(r.error().reason, "net-tls-files") << r.error().text();
    EXPECT_FALSE(r.error().detail.empty());
  }
  EXPECT_EQ(certificate_fingerprint("/nonexistent").error().reason, "net-tls-files");
  EXPECT_EQ(certificate_fingerprint(Pki::get().server.key).error().reason, "net-tls-files");
}

TEST_F(NetServer, PlainMode) {
  auto o = server_options(w);
  o.plain = true;
  start(std::move(o));
  Raw::Options p;
  p.plain = true;
  const auto a = talk(request("one") + closing(string(300'000, 'z')), p);
  EXPECT_TRUE(has(a, "one"));
  EXPECT_TRUE(a.ends_with(string(300'000, 'z')));
  EXPECT_EQ(echo.seen.back().peer.fingerprint, "");
}

}  // namespace
}  // namespace kf::net::test
