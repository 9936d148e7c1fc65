// What the tests of host/net share: a PKI made on the spot, an io_context that runs one coroutine to its end, and a raw
// peer on Asio's own TLS stream, so that both ends of a test never share the code under test.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/net/http.hpp"

namespace kf::net::test {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;
using Ms = std::chrono::milliseconds;
constexpr auto by_tuple = asio::as_tuple(asio::use_awaitable);

// Files in a directory that is made once per process and removed at its end.
struct Pki {
  static const Pki& get();
  TlsFiles server;                          // SAN: IP 127.0.0.1, DNS localhost
  TlsFiles client;                          // "CN=operator,O=test"
  TlsFiles other_host;                      // a server certificate for other.example and 127.0.0.2
  TlsFiles no_san;                          // CN=127.0.0.1, no SAN
  TlsFiles expired;                         // client certificate of last year
  TlsFiles untrusted;                       // client certificate of another CA; its `ca` is the good one
  TlsFiles short_lived(int seconds) const;  // client certificate that expires soon
  std::string dir;
};

class World {
 public:
  World() : io(1) {}
  asio::io_context io;
  std::vector<std::string> log;

  // Runs until the coroutine has ended; throws after a minute.
  template <class T>
  T run(asio::awaitable<T> a) {
    auto value = std::make_shared<std::optional<T>>();  // outlives a run that gives up
    run(keep(std::move(a), value));
    return std::move(**value);
  }
  template <class T>
  static asio::awaitable<void> keep(asio::awaitable<T> a, std::shared_ptr<std::optional<T>> out) {
    out->emplace(co_await std::move(a));
  }
  void run(asio::awaitable<void> a);
  void drive(const bool& done);
  bool run_until(const std::function<bool()>& condition, Ms limit = Ms{10'000});
  // Whether all that is left to do ends by itself. A second of turns, not of the clock: a stalled machine loses none
  // of them, and a timer that somebody forgot shows.
  bool comes_to_rest();
  std::function<void(const std::string&)> logger() {
    return [this](const std::string& line) { log.push_back(line); };
  }
  [[nodiscard]] bool logged(std::string_view part) const;
};

asio::awaitable<void> pause(Ms d);

// A handler that echoes the body; X-* request headers come back. Public members record what it saw.
struct Echo {
  int calls = 0;
  int running = 0, most_running = 0;
  Ms delay{0};
  std::vector<Request> seen;
  bool keep_seen = true;
  bool close = false;
  // Holds handlers until open(), or until so many run at once: what a delay does on a fast machine only. The limit ends
  // a test that fails. Shut it only while nobody waits.
  void shut(asio::io_context& io, int opens_at = 0, Ms limit = Ms{20'000});
  void open() { gate->expires_at(asio::steady_timer::time_point::min()); }  // for good
  std::optional<asio::steady_timer> gate;
  int gate_opens_at = 0;
  asio::awaitable<Response> handle(Request r);
  Handler handler() {
    return [this](Request r) { return handle(std::move(r)); };
  }
};

ServerOptions server_options(World& w);
ClientOptions client_options(std::uint16_t port);
Request post(std::string body, std::string target = "/es2");

// A peer that speaks TLS or plain TCP and sends whatever it is told to.
class Raw {
 public:
  struct Options {
    TlsFiles files = Pki::get().client;
    int version = 0;  // TLS1_2_VERSION ...; 0: any
    bool plain = false;
    std::string ciphers;  // TLS 1.2
    std::string psk_identity, psk_key;
    SSL_SESSION* session = nullptr;
  };
  explicit Raw(asio::io_context& io) : Raw(io, Options{}) {}
  Raw(asio::io_context& io, Options o);
  ~Raw();
  asio::awaitable<ErrorCode> connect(std::uint16_t port);
  asio::awaitable<ErrorCode> send(std::string data);
  // One answer with its body by Content-Length or chunked, or what came before the connection ended.
  asio::awaitable<std::string> answer();
  asio::awaitable<std::string> to_end();
  [[nodiscard]] ErrorCode end() const { return end_; }
  SSL* ssl() { return stream_.native_handle(); }
  Tcp::socket& socket() { return stream_.next_layer(); }

 private:
  asio::awaitable<bool> more();
  Options o_;
  asio::ssl::context ctx_;
  asio::ssl::stream<Tcp::socket> stream_;
  std::string in_;
  ErrorCode end_;
};

// A server that follows a script: for each connection the list of what to send after each request; a missing entry
// closes.
struct Scripted {
  struct Turn {
    std::string send;
    bool close = false;
    bool shutdown = true;  // when closing: with close_notify
  };
  Scripted(asio::io_context& io, std::vector<std::vector<Turn>> script, int version = 0);
  std::uint16_t port() { return acceptor.local_endpoint().port(); }
  asio::awaitable<void> serve();  // co_spawn it; ends with the script
  asio::awaitable<void> one(std::vector<Turn> turns, Tcp::socket s);

  asio::io_context& io;
  asio::ssl::context ctx;
  Tcp::acceptor acceptor;
  std::vector<std::vector<Turn>> script;
  std::vector<std::string> requests;
  int connections = 0, reused = 0;
};

unsigned status_of(const std::string& answer);

}  // namespace kf::net::test
