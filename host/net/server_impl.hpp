// What HttpServer is made of: its connections and what they share. Private to this room.
#pragma once

#include <boost/asio/basic_socket_acceptor.hpp>

#include <memory>
#include <string>
#include <unordered_set>

#include "host/base/line_limit.hpp"
#include "host/base/text.hpp"
#include "host/net/channel.hpp"
#include "host/net/http.hpp"
#include "host/net/message.hpp"
#include "host/net/occupancy.hpp"
#include "host/net/tls.hpp"

namespace kf::net {

namespace detail {

inline constexpr Millis linger_time{2'000};

enum class Phase { handshake, idle, head, body, handler, answer, linger };

struct Connection : Channel, Occupancy::Guest {
  Connection(Socket s, std::shared_ptr<Deadlines> d, const ServerOptions& o)
      : Channel(std::move(s), std::move(d)), reader(o.max_header, o.max_body) {}
  void close_for_others() { interrupt(); }
  RequestReader reader;
  InBuffer in;
  std::string out;  // reused for every answer
  Peer peer;
  bool fresh = true;  // no request yet
  bool stranger = false;
  Phase phase = Phase::handshake;
};

// Absolute: a peer that trickles does not extend it.
inline Clock::time_point after(Millis d) { return Clock::now() + d; }

}  // namespace detail

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  using Clock = detail::Clock;
  using Connection = detail::Connection;
  using Occupancy = detail::Occupancy;
  using Phase = detail::Phase;
  using Socket = detail::Socket;
  using Tcp = detail::Tcp;

  Impl(asio::io_context& i, ServerOptions opts, Handler h)
      : io(i),
        o(std::move(opts)),
        handler(std::move(h)),
        acceptor(i),
        deadlines(std::make_shared<detail::Deadlines>(i)),
        places(detail::limits_of(o)) {}

  static asio::awaitable<void> accept_loop(std::shared_ptr<Impl> self);
  static asio::awaitable<void> serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c);
  asio::awaitable<void> talk(Connection& c);
  void welcome(Socket socket, const Tcp::endpoint& from);
  asio::awaitable<bool> first_octet(Connection& c);
  asio::awaitable<bool> take_turn(Connection& c, Clock::time_point deadline);
  asio::awaitable<bool> secure(Connection& c);
  bool identify(Connection& c);
  asio::awaitable<unsigned> read_head(Connection& c);
  asio::awaitable<unsigned> read_body(Connection& c);
  asio::awaitable<bool> answer(Connection& c, Response r, bool keep_alive);
  asio::awaitable<void> goodbye(Connection& c);
  Admission verdict(Connection& c, Request& head);
  void enter(Connection& c, Phase p) {
    c.phase = p;
    places.spare(c, p == Phase::handshake || p == Phase::idle || p == Phase::linger);
  }
  void make_room(Occupancy::Guest* victim) {
    if (victim == nullptr) return;
    ++stats.closed_for_others;
    static_cast<Connection*>(victim)->close_for_others();
  }
  // `kind` and who it was decide how many such lines are written.
  void note(const char* kind, std::string_view who, const std::string& line) {
    if (!o.log) return;
    const auto now = Clock::now();
    while (auto left_out = lines.overdue(now)) o.log(printable(*left_out));
    if (auto more = lines.admit(kind, who, now)) o.log(printable(line, 500) + *more);
  }
  void note(const Connection& c, const char* kind, const std::string& what) {
    note(kind, c.peer.network, c.peer.address + ": " + what);
  }
  std::string_view date();

  asio::io_context& io;
  ServerOptions o;
  Handler handler;
  asio::basic_socket_acceptor<Tcp, asio::io_context::executor_type> acceptor;
  std::shared_ptr<detail::Deadlines> deadlines;
  std::unique_ptr<detail::ServerTls> tls;
  Occupancy places;
  std::unordered_set<Connection*> open;
  LineLimit lines;
  ServerStats stats;
  std::uint16_t port = 0;
  bool stopping = false;
  std::int64_t date_second = -1;
  std::string date_text;
};

}  // namespace kf::net
