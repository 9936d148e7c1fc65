#include <boost/asio/as_tuple.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <ctime>
#include <unordered_set>

#include "host/net/channel.hpp"
#include "host/net/http.hpp"
#include "host/net/message.hpp"
#include "host/net/tls.hpp"

namespace kf::net {

using namespace detail;

namespace {

constexpr auto by_tuple = asio::as_tuple(asio::use_awaitable);
constexpr Millis linger_time{2'000};
constexpr std::size_t record = 16 << 10;    // the plaintext of one TLS record
constexpr unsigned go_on = 0, hang_up = 1;  // verdicts beside HTTP statuses

enum class Phase { handshake, idle, head, body, handler, answer, linger };

struct Connection : Channel {
  Connection(Socket s, std::shared_ptr<Deadlines> d, const ServerOptions& o)
      : Channel(std::move(s), std::move(d)), reader(o.max_header, o.max_body) {}
  RequestReader reader;
  InBuffer in;
  std::string out;  // reused for every answer
  Peer peer;
  Phase phase = Phase::handshake;
};

std::string text_of(const Tcp::endpoint& e) {
  const auto a = e.address();
  return (a.is_v6() ? "[" + a.to_string() + "]" : a.to_string()) + ":" + std::to_string(e.port());
}

// Absolute: a peer that trickles does not extend it.
Clock::time_point after(Millis d) { return Clock::now() + d; }

}  // namespace

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  Impl(asio::io_context& i, ServerOptions opts, Handler h)
      : io(i), o(std::move(opts)), handler(std::move(h)), acceptor(i), deadlines(std::make_shared<Deadlines>(i)) {}

  static asio::awaitable<void> accept_loop(std::shared_ptr<Impl> self);
  static asio::awaitable<void> serve(std::shared_ptr<Impl> self, std::unique_ptr<Connection> c);
  asio::awaitable<void> talk(Connection& c);
  asio::awaitable<bool> secure(Connection& c);
  asio::awaitable<unsigned> read_head(Connection& c);
  asio::awaitable<unsigned> read_body(Connection& c);
  asio::awaitable<bool> answer(Connection& c, Response r, bool keep_alive);
  asio::awaitable<void> goodbye(Connection& c);
  unsigned verdict(Connection& c, Request& head);
  void note(const Connection& c, const std::string& what) const {
    if (o.log) o.log(c.peer.address + ": " + what);
  }
  std::string_view date();

  asio::io_context& io;
  ServerOptions o;
  Handler handler;
  asio::basic_socket_acceptor<Tcp, asio::io_context::executor_type> acceptor;
  std::shared_ptr<Deadlines> deadlines;
  std::unique_ptr<ServerTls> tls;
  std::unordered_set<Connection*> open;
  std::uint16_t port = 0;
  bool stopping = false;
  std::uint64_t refused = 0;
  Clock::time_point refused_logged{};
  std::int64_t date_second = -1;
  std::string date_text;
};

HttpServer::HttpServer(asio::io_context& io, ServerOptions o, Handler h)
    : impl_(std::make_shared<Impl>(io, std::move(o), std::move(h))) {}
HttpServer::~HttpServer() { stop(); }
std::uint16_t HttpServer::port() const { return impl_->port; }
std::size_t HttpServer::connections() const { return impl_->open.size(); }

Result<void> HttpServer::start() {
  Impl& s = *impl_;
  if (!s.o.plain) {
    KF_TRY(s.tls, ServerTls::create(s.o));
  }
  boost::system::error_code ec;
  const auto address = asio::ip::make_address(s.o.listen_address, ec);
  if (ec) return Error{"net-bind", "listen address '" + s.o.listen_address + "': " + ec.message()};
  const Tcp::endpoint at(address, s.o.port);
  s.acceptor.open(at.protocol(), ec);
  if (!ec) s.acceptor.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) s.acceptor.bind(at, ec);
  if (!ec) s.acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) {
    const Error e{"net-bind", text_of(at) + ": " + ec.message()};
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
    auto [ec, socket] = co_await self->acceptor.async_accept(by_tuple);
    if (self->stopping) co_return;
    if (ec) {
      if (ec == asio::error::connection_aborted) continue;
      if (self->o.log) self->o.log("accept: " + ec.message());  // out of descriptors, mostly: let some close
      asio::steady_timer pause(self->io, Millis{100});
      co_await pause.async_wait(by_tuple);
      continue;
    }
    if (self->open.size() >= self->o.max_connections) {
      ++self->refused;
      if (const auto now = Clock::now(); self->o.log && now - self->refused_logged > Millis{1'000}) {
        self->o.log("connections refused at the limit of " + std::to_string(self->o.max_connections) + ": " +
                    std::to_string(self->refused));
        self->refused_logged = now;
      }
      continue;  // closes it
    }
    auto c = std::make_unique<Connection>(std::move(socket), self->deadlines, self->o);
    c->peer.address = text_of(c->socket().remote_endpoint(ec));
    c->prepare();
    asio::co_spawn(self->io, serve(self, std::move(c)), asio::detached);
  }
}

asio::awaitable<void> HttpServer::Impl::serve(std::shared_ptr<Impl> self, std::unique_ptr<Connection> c) {
  struct Registered {  // however the coroutine ends, destruction of the io_context included
    Impl& s;
    Connection* c;
    Registered(Impl& server, Connection* connection) : s(server), c(connection) { s.open.insert(c); }
    ~Registered() { s.open.erase(c); }
    Registered(const Registered&) = delete;
    Registered& operator=(const Registered&) = delete;
  };
  const Registered registered(*self, c.get());
  try {
    co_await self->talk(*c);
  } catch (const std::exception& e) {  // no memory: this connection ends, the server does not
    self->note(*c, std::string("connection dropped: ") + e.what());
  }
}

asio::awaitable<bool> HttpServer::Impl::secure(Connection& c) {
  c.until(after(o.header_timeout));
  if (!co_await c.handshake(tls->connection())) {
    if (c.end() == End::tls) {
      note(c, "handshake refused: " + c.text());
      c.phase = Phase::linger;
      c.until(after(linger_time));
      co_await c.linger();  // lets our alert arrive
    } else if (c.end() != End::interrupted) {
      note(c, "handshake not finished: " + c.text());
    }
    co_return false;
  }
  auto who = verified_peer(c.ssl());
  if (!who) {
    note(c, "handshake refused: " + who.error().detail);
    co_return false;
  }
  who->address = std::move(c.peer.address);
  c.peer = *std::move(who);
  co_return true;
}

// Reads until the header is complete. go_on, hang_up or the status to answer with.
asio::awaitable<unsigned> HttpServer::Impl::read_head(Connection& c) {
  c.reader.reset();
  c.phase = Phase::idle;
  if (c.in.empty()) {
    if (stopping) co_return hang_up;
    c.until(after(o.idle_timeout));
  }
  bool running = false;  // the first octet has arrived
  for (;;) {
    if (!c.in.empty()) {
      if (!running) {
        running = true;
        c.phase = Phase::head;
        c.until(after(o.header_timeout));
      }
      auto rest = c.in.view();
      const Step step = c.reader.put(rest);
      c.in.used_to(rest);
      if (step == Step::head) co_return go_on;
      if (step == Step::head_too_large) co_return 431;
      if (step != Step::more) {
        note(c, "broken request: " + c.reader.error());
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
      note(c, "header not complete in time");
      co_return 408;
    }
    note(c, "header not complete: " + c.text());
    co_return hang_up;
  }
}

// What the header alone decides.
unsigned HttpServer::Impl::verdict(Connection& c, Request& head) {
  const Message& m = c.reader.message();
  if (m.hosts > 1 || (m.hosts == 0 && m.http11)) {
    note(c, "broken request: not exactly one Host");
    return 400;
  }
  if (!head.target.starts_with('/')) {
    if (auto u = parse_url(head.target); u.ok()) {  // absolute form (RFC 9112, 3.2.2)
      head.target = std::move(u->target);
      head.host = u->authority();
    } else if (head.target != "*") {
      note(c, "broken request: target");
      return 400;
    }
  }
  if (m.bad_expect) return 417;
  if (o.admit) {
    if (const unsigned status = o.admit(head); status != 0) return status;
  }
  return go_on;
}

asio::awaitable<unsigned> HttpServer::Impl::read_body(Connection& c) {
  c.phase = Phase::body;
  auto rest = c.in.view();
  Step step = c.reader.put(rest);
  c.in.used_to(rest);
  if (step == Step::done) co_return go_on;
  c.until(after(o.body_timeout));
  if (step == Step::more && c.reader.message().expect_continue && c.reader.message().http11) {
    static constexpr std::string_view interim = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!co_await c.write(interim)) co_return hang_up;
  }
  for (;;) {
    if (step == Step::done) co_return go_on;
    if (step == Step::body_too_large) co_return 413;
    if (step != Step::more) {
      note(c, "broken request: " + c.reader.error());
      co_return 400;
    }
    const std::size_t room = c.in.room(o.max_header + InBuffer::size);
    if (room == 0) {  // a chunk header or trailer without end
      note(c, "broken request: chunk header or trailer too long");
      co_return 400;
    }
    const Read r = co_await c.read_some(c.in.tail(), room, false);
    if (r.n == 0) {
      note(c, "body not complete: " + c.text());
      co_return r.end == End::expired ? 408 : hang_up;
    }
    c.in.filled(r.n);
    rest = c.in.view();
    step = c.reader.put(rest);
    c.in.used_to(rest);
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
  c.phase = Phase::answer;
  c.until(after(o.body_timeout));
  const Message& m = c.reader.message();
  const AnswerForm form{m.http11, keep_alive, m.method == "HEAD", date()};
  c.out.clear();
  if (!append_response(c.out, r, form)) {
    note(c, "handler's answer cannot be sent: status " + std::to_string(r.status) + " or a header field");
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
    note(c, "answer not sent: " + c.text());
    co_return false;
  }
  if (c.out.capacity() > 4 * record) c.out = std::string();
  co_return true;
}

asio::awaitable<void> HttpServer::Impl::goodbye(Connection& c) {
  c.phase = Phase::linger;
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
        status = verdict(c, request);
      } catch (const std::exception& e) {
        note(c, std::string("admission failed: ") + e.what());
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
      c.phase = Phase::handler;
      c.set_deadline(Deadline::never);  // it may wait for a card for minutes
      try {
        response = co_await handler(std::move(request));
      } catch (const std::exception& e) {
        note(c, std::string("handler failed: ") + e.what());
        response = Response{};
        response.status = 500;
      } catch (...) {
        note(c, "handler failed");
        response = Response{};
        response.status = 500;
      }
    } else {
      response.status = status;
      if (status == 405) response.headers.emplace_back("Allow", "POST");
    }
    const bool keep_alive = whole && m.keep_alive && !response.close && !stopping;
    if (!co_await answer(c, std::move(response), keep_alive)) break;
    if (!keep_alive) {
      co_await goodbye(c);
      break;
    }
  }
  c.close();
}

}  // namespace kf::net
