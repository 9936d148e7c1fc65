#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/steady_timer.hpp>

#include <ctime>
#include <unordered_set>
#include <utility>

#include "host/base/line_limit.hpp"
#include "host/base/text.hpp"
#include "host/net/channel.hpp"
#include "host/net/http.hpp"
#include "host/net/message.hpp"
#include "host/net/occupancy.hpp"
#include "host/net/tls.hpp"

namespace kf::net {

using namespace detail;

namespace {

constexpr Millis linger_time{2'000};
constexpr unsigned go_on = 0, hang_up = 1;  // verdicts beside HTTP statuses

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

// One line for whoever looks at the answer, where nobody has said more.
std::string_view usual_reason(unsigned status) {
  switch (status) {
    case 400:
      return "this is not an HTTP/1.1 request that is understood here";
    case 403:
      return "this certificate may not do that here";
    case 404:
      return "there is nothing at this path";
    case 405:
      return "this method is not served here; use POST";
    case 408:
      return "the request was not complete in time";
    case 413:
      return "the body is larger than what is taken here";
    case 417:
      return "the only expectation that is met is 100-continue";
    case 431:
      return "the header of the request is too large";
    case 503:
      return "too many large requests of yours are being received; send this one again later";
    default:
      return "internal failure";
  }
}

// Absolute: a peer that trickles does not extend it.
Clock::time_point after(Millis d) { return Clock::now() + d; }

}  // namespace

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  Impl(asio::io_context& i, ServerOptions opts, Handler h)
      : io(i),
        o(std::move(opts)),
        handler(std::move(h)),
        acceptor(i),
        deadlines(std::make_shared<Deadlines>(i)),
        places(limits_of(o)) {}

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
  std::shared_ptr<Deadlines> deadlines;
  std::unique_ptr<ServerTls> tls;
  Occupancy places;
  std::unordered_set<Connection*> open;
  LineLimit lines;
  ServerStats stats;
  std::uint16_t port = 0;
  bool stopping = false;
  std::int64_t date_second = -1;
  std::string date_text;
};

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

// Reads until the header is complete. go_on, hang_up or the status to answer with.
asio::awaitable<unsigned> HttpServer::Impl::read_head(Connection& c) {
  c.reader.reset();
  enter(c, Phase::idle);
  if (c.in.empty()) {
    if (stopping) co_return hang_up;
    c.until(after(std::exchange(c.fresh, false) ? std::min(o.first_request_timeout, o.idle_timeout) : o.idle_timeout));
  } else {
    co_await c.yield();  // a peer that sends requests in a row must not keep the loop
  }
  bool running = false;  // the first octet has arrived
  for (;;) {
    if (!c.in.empty()) {
      if (!running) {
        running = true;
        enter(c, Phase::head);
        c.until(after(o.header_timeout));
      }
      auto rest = c.in.view();
      const Step step = c.reader.put(rest);
      c.in.used_to(rest);
      if (step == Step::head) co_return go_on;
      if (step == Step::head_too_large) co_return 431;
      if (step != Step::more) {
        note(c, "request", "broken request: " + c.reader.error());
        co_return 400;
      }
    }
    const std::size_t room = c.in.room(o.max_header + InBuffer::size);
    const Read r = co_await c.read_some(c.in.tail(), room, true);
    if (r.n > 0) {
      c.in.filled(r.n);
      continue;
    }
    if (!running) co_return hang_up;  // closed or idle for too long between requests: nothing to say
    if (r.end == End::expired) {
      note(c, "request", "header not complete in time");
      co_return 408;
    }
    note(c, "request", "header not complete: " + c.text());
    co_return hang_up;
  }
}

// What the header alone decides.
Admission HttpServer::Impl::verdict(Connection& c, Request& head) {
  const Message& m = c.reader.message();
  if (m.hosts > 1 || (m.hosts == 0 && m.http11)) {
    note(c, "request", "broken request: not exactly one Host");
    return 400;
  }
  if (!head.target.starts_with('/')) {
    if (auto u = parse_url(head.target); u.ok()) {  // absolute form (RFC 9112, 3.2.2)
      head.target = std::move(u->target);
      head.host = u->authority();
    } else if (head.target != "*") {
      note(c, "request", "broken request: target");
      return 400;
    }
  }
  if (m.bad_expect) return 417;
  if (o.admit) {
    if (auto a = o.admit(head); a.status != 0) return a;
  }
  return go_on;
}

asio::awaitable<unsigned> HttpServer::Impl::read_body(Connection& c) {
  enter(c, Phase::body);
  auto rest = c.in.view();
  Step step = c.reader.put(rest);
  c.in.used_to(rest);
  if (step == Step::done) co_return go_on;
  c.until(after(o.body_timeout));
  if (step == Step::more && c.reader.message().expect_continue && c.reader.message().http11) {
    static constexpr std::string_view interim = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!co_await c.write(interim)) co_return hang_up;
  }
  for (unsigned reads = 1;; ++reads) {
    if (reads % reads_a_turn == 0) co_await c.yield();
    if (step == Step::done) co_return go_on;
    if (step == Step::body_too_large) co_return 413;
    if (step != Step::more) {
      note(c, "request", "broken request: " + c.reader.error());
      co_return 400;
    }
    const std::size_t room = c.in.room(o.max_header + InBuffer::size);
    if (room == 0) {  // a chunk header or trailer without end
      note(c, "request", "broken request: chunk header or trailer too long");
      co_return 400;
    }
    const Read r = co_await c.read_some(c.in.tail(), room, false);
    if (r.n == 0) {
      note(c, "request", "body not complete: " + c.text());
      co_return r.end == End::expired ? 408 : hang_up;
    }
    c.in.filled(r.n);
    rest = c.in.view();
    step = c.reader.put(rest);
    c.in.used_to(rest);
    if (!places.hold(c, c.reader.message().body.size())) {
      note(c, "bodies", "request refused: too many large bodies of this party at once");
      co_return 503;
    }
  }
}

std::string_view HttpServer::Impl::date() {
  if (const std::int64_t now = std::time(nullptr); now != date_second) {
    date_second = now;
    date_text = imf_date(now);
  }
  return date_text;
}

// False: the connection is of no more use.
asio::awaitable<bool> HttpServer::Impl::answer(Connection& c, Response r, bool keep_alive) {
  enter(c, Phase::answer);
  places.hold(c, 0);
  c.until(after(o.body_timeout));
  const Message& m = c.reader.message();
  const AnswerForm form{m.http11, keep_alive, m.method == "HEAD", date()};
  c.out.clear();
  if (!append_response(c.out, r, form)) {
    note(c, "handler", "handler's answer cannot be sent: status " + std::to_string(r.status) + " or a header field");
    r = Response{};
    r.status = 500;
    c.out.clear();
    append_response(c.out, r, form);
  }
  auto body = plain_body(r, form);
  if (c.out.size() < record) {  // a small answer is one record and one system call; a large one copies 16 KiB at most
    const auto part = body.substr(0, record - c.out.size());
    c.out.append(part);
    body.remove_prefix(part.size());
  }
  bool sent = co_await c.write(c.out);
  if (sent && !body.empty()) sent = co_await c.write(body);
  if (!sent) {
    note(c, "answer", "answer not sent: " + c.text());
    co_return false;
  }
  if (c.out.capacity() > 4 * record) c.out = std::string();
  co_return true;
}

asio::awaitable<void> HttpServer::Impl::goodbye(Connection& c) {
  enter(c, Phase::linger);
  c.until(after(linger_time));
  co_await c.linger();
}

asio::awaitable<void> HttpServer::Impl::talk(Connection& c) {
  if (!o.plain && !co_await secure(c)) co_return;
  for (;;) {
    unsigned status = co_await read_head(c);
    if (status == hang_up) break;
    Message& m = c.reader.message();
    Request request;
    Response response;
    std::string reason;
    bool whole = false;  // understood, and nothing of it is left unread: the connection may go on
    if (status == go_on) {
      request.method = m.method;
      request.target = m.target;
      request.host = m.host;
      request.content_type = m.content_type;
      request.headers = std::move(m.headers);
      request.chunked = m.chunked;
      request.peer = c.peer;
      try {
        Admission a = verdict(c, request);
        status = a.status;
        reason = std::move(a.reason);
      } catch (const std::exception& e) {
        note(c, "handler", std::string("admission failed: ") + e.what());
        status = 500;
      }
      whole = !m.chunked && m.length.value_or(0) == 0 && status != 400 && status != 417;
    }
    if (status == go_on) {
      status = co_await read_body(c);
      if (status == hang_up) break;
      whole = status == go_on;
    }
    if (status == go_on) {
      request.body = std::move(m.body);
      enter(c, Phase::handler);
      c.set_deadline(Deadline::never);  // it may wait for a card for minutes
      try {
        response = co_await handler(std::move(request));
      } catch (const std::exception& e) {
        note(c, "handler", std::string("handler failed: ") + e.what());
        response = Response{};
        response.status = 500;
      } catch (...) {
        note(c, "handler", "handler failed");
        response = Response{};
        response.status = 500;
      }
    } else {
      response.status = status;
      response.content_type = "text/plain; charset=utf-8";
      response.body = (reason.empty() ? std::string(usual_reason(status)) : std::move(reason)) + "\n";
      if (status == 405) response.headers.emplace_back("Allow", "POST");
      if (status == 503) response.headers.emplace_back("Retry-After", "10");
    }
    const bool keep_alive = whole && m.keep_alive && !response.close && !stopping && !c.stranger;
    if (!co_await answer(c, std::move(response), keep_alive)) break;
    if (!keep_alive) {
      co_await goodbye(c);
      break;
    }
  }
  c.close();
}

}  // namespace kf::net
