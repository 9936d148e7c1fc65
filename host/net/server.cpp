#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/steady_timer.hpp>

#include <utility>

#include "host/net/server_impl.hpp"

namespace kf::net {

using namespace detail;

HttpServer::HttpServer(asio::io_context& io, ServerOptions o, Handler h)
    : impl_(std::make_shared<Impl>(io, std::move(o), std::move(h))) {}
HttpServer::~HttpServer() { stop(); }
std::uint16_t HttpServer::port() const { return impl_->port; }
std::size_t HttpServer::connections() const { return impl_->open.size(); }
const ServerStats& HttpServer::stats() const { return impl_->stats; }

Result<void> HttpServer::start() {
  Impl& s = *impl_;
  if (!s.o.plain) {
    KF_TRY(s.tls, ServerTls::create(s.o));
  }
  boost::system::error_code ec;
  const auto address = asio::ip::make_address(s.o.listen_address, ec);
  if (ec) return Error{NetFault::bind, "listen address '" + s.o.listen_address + "': " + ec.message()};
  const Tcp::endpoint at(address, s.o.port);
  s.acceptor.open(at.protocol(), ec);
  if (!ec) s.acceptor.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) s.acceptor.bind(at, ec);
  if (!ec) s.acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) {
    const Error e{NetFault::bind, text_of(at) + ": " + ec.message()};
    s.acceptor.close(ec);
    return e;
  }
  s.port = s.acceptor.local_endpoint(ec).port();
  asio::co_spawn(s.io, Impl::accept_loop(impl_), asio::detached);
  return {};
}

void HttpServer::stop() {
  Impl& s = *impl_;
  s.stopping = true;
  boost::system::error_code ignored;
  s.acceptor.close(ignored);
  for (Connection* c : s.open) {
    if (c->phase == Phase::idle || c->phase == Phase::handshake || c->phase == Phase::linger) c->interrupt();
  }
}

asio::awaitable<void> HttpServer::Impl::accept_loop(std::shared_ptr<Impl> self) {
  while (!self->stopping) {
    Socket socket(self->io.get_executor());
    Tcp::endpoint from;  // taken here: a connection that was reset meanwhile has none any more
    auto [ec] = co_await self->acceptor.async_accept(socket, from, by_tuple);
    if (self->stopping) co_return;
    if (!ec) {
      ++self->stats.accepted;
      try {
        self->welcome(std::move(socket), from);
      } catch (const std::exception& e) {  // no memory: this connection ends, others are accepted
        self->note("dropped", "", std::string("connection dropped: ") + e.what());
      }
      continue;
    }
    if (ec == asio::error::connection_aborted) continue;
    self->note("accept", "", "accept: " + ec.message());
    // What waits in the backlog stays there: give a descriptor back, and do not spin until that has happened.
    if (out_of_descriptors(ec)) self->make_room(self->places.sacrifice());
    asio::steady_timer pause(self->io, Millis{20});
    co_await pause.async_wait(by_tuple);
  }
}

void HttpServer::Impl::welcome(Socket socket, const Tcp::endpoint& from) {
  const auto c = std::make_shared<Connection>(std::move(socket), deadlines, o);
  c->peer.address = text_of(from);
  c->peer.network = address_key(from.address());
  try {
    const auto entry = places.enter(*c, from.address(), Clock::now());
    make_room(entry.victim);
    if (!entry.admitted) {  // destroying it closes it
      ++stats.refused;
      note("full", "", "connections refused: all " + std::to_string(o.max_connections) + " are at work");
      return;
    }
    c->prepare();
    asio::co_spawn(io, serve(shared_from_this(), c), asio::detached);
  } catch (...) {  // no memory: it must not die with a place
    places.leave(*c);
    throw;
  }
}

asio::awaitable<void> HttpServer::Impl::serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> c) {
  struct Registered {  // however the coroutine ends, destruction of the io_context included
    Impl& s;
    Connection* c;
    Registered(Impl& server, Connection* connection) : s(server), c(connection) { s.open.insert(c); }
    ~Registered() {
      s.places.leave(*c);
      s.open.erase(c);
    }
    Registered(const Registered&) = delete;
    Registered& operator=(const Registered&) = delete;
  };
  const Registered registered(*self, c.get());
  try {
    co_await self->talk(*c);
  } catch (const std::exception& e) {  // no memory: this connection ends, the server does not
    self->note(*c, "dropped", std::string("connection dropped: ") + e.what());
  }
}

// False: the connection ended, or its time did, before the peer said anything. A health probe does the former all day.
asio::awaitable<bool> HttpServer::Impl::first_octet(Connection& c) {
  c.until(after(std::min(o.first_byte_timeout, o.header_timeout)));
  const bool spoke = co_await c.readable();
  if (spoke) co_return true;
  if (c.end() == End::expired)
    note(c, "silent", "handshake not finished: timed out, nothing was said");
  else if (c.end() != End::interrupted)
    ++stats.probes;
  co_return false;
}

// Handshakes of one address beyond its rate wait here, where they cost nothing.
asio::awaitable<bool> HttpServer::Impl::take_turn(Connection& c, Clock::time_point deadline) {
  const auto now = Clock::now();
  const auto wait = places.handshake_wait(c, now, deadline - now);
  if (wait == Clock::duration::zero()) co_return true;
  if (now + wait > deadline) {
    ++stats.refused;
    note(c, "handshakes", "handshake refused: too many from this address");
    co_return false;
  }
  ++stats.handshakes_delayed;
  c.until(now + wait);
  co_await c.pause();
  co_return c.end() == End::expired;
}

asio::awaitable<bool> HttpServer::Impl::secure(Connection& c) {
  const auto deadline = after(o.header_timeout);
  const bool spoke = co_await first_octet(c);
  if (!spoke) co_return false;
  const bool turn = co_await take_turn(c, deadline);
  if (!turn) co_return false;
  c.until(deadline);
  if (!co_await c.handshake(tls->connection())) {
    if (c.end() != End::interrupted) ++stats.handshakes_failed;
    if (c.end() == End::tls) {
      note(c, "handshake", "handshake refused: " + c.text());
      enter(c, Phase::linger);
      c.until(after(linger_time));
      co_await c.linger();  // lets our alert arrive
    } else if (c.end() != End::interrupted) {
      note(c, "handshake", "handshake not finished: " + c.text());
    }
    co_return false;
  }
  ++stats.handshakes;
  auto who = verified_peer(c.ssl());
  if (!who) {
    note(c, "handshake", "handshake refused: " + who.error().detail);
    co_return false;
  }
  who->address = std::move(c.peer.address);
  who->network = std::move(c.peer.network);
  c.peer = *std::move(who);
  co_return identify(c);
}

// From here on the place is the party's.
bool HttpServer::Impl::identify(Connection& c) {
  std::string party = c.peer.fingerprint + c.peer.psk_identity;
  if (o.party) {
    party = o.party(c.peer);
    c.stranger = party.empty();
  }
  const auto entry = places.identify(c, party, Clock::now());
  make_room(entry.victim);
  if (entry.admitted) return true;
  ++stats.refused;
  note("share", party,
       c.peer.address + ": connection refused: all that " + (party.empty() ? "strangers" : party) +
           " may have are at work");
  return false;
}

}  // namespace kf::net
