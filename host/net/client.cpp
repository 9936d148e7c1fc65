#include <boost/asio/ip/address.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <list>

#include "host/net/channel.hpp"
#include "host/net/http.hpp"
#include "host/net/lookup.hpp"
#include "host/net/message.hpp"
#include "host/net/tls.hpp"

namespace kf::net {

using namespace detail;

namespace {

constexpr std::size_t max_answer_header = 64 << 10;
// 100 Continue and the like before one answer. A peer at long work may send 102 Processing every second.
constexpr unsigned max_interim = 900;

}  // namespace

struct HttpClient::Impl : std::enable_shared_from_this<HttpClient::Impl> {
  struct Connection : Channel {
    Connection(asio::io_context& io, const std::shared_ptr<Deadlines>& d, Impl& o, std::size_t max_body)
        : Channel(Socket(io.get_executor()), d), owner(o), reader(max_answer_header, max_body) {}
    void expired() override {
      if (pooled) {
        owner.drop_idle(this);  // destroys this
      } else {
        Channel::expired();
      }
    }
    Impl& owner;
    ResponseReader reader;
    InBuffer in;
    bool pooled = false;
  };
  using ConnectionPtr = std::unique_ptr<Connection>;

  // A call that waits for its turn. It owns its timer, so that its deadline and being woken are the same thing.
  struct Waiter {
    explicit Waiter(asio::io_context& io, Clock::time_point deadline) : timer(io, deadline) {}
    asio::steady_timer timer;
    bool granted = false;  // a place in the pool is ours, with or without a connection in it
    bool taken = false;    // and we know it
    ConnectionPtr connection;
  };

  // A place in the pool: given back however the call ends.
  class Lease {
   public:
    Lease() = default;
    Lease(Impl& pool, ConnectionPtr c) : pool_(&pool), connection(std::move(c)) {}
    Lease(Lease&& o) noexcept : pool_(std::exchange(o.pool_, nullptr)), connection(std::move(o.connection)) {}
    Lease& operator=(Lease&&) = delete;
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() {
      if (pool_ != nullptr) pool_->give_back(std::move(connection));
    }

   private:
    Impl* pool_ = nullptr;

   public:
    ConnectionPtr connection;  // nullptr: to be connected
  };

  Impl(asio::io_context& i, ClientOptions opts) : io(i), o(std::move(opts)), deadlines(std::make_shared<Deadlines>(i)) {
    Url u;
    u.tls = !o.plain;
    u.host = o.host;
    u.port = o.port;
    authority = u.authority();
    peer = o.host + ":" + std::to_string(o.port);
    if (o.max_connections == 0) o.max_connections = 1;
    if (o.plain) return;
    auto t = ClientTls::create(o);
    if (t.ok()) {
      tls = *std::move(t);
    } else {
      broken = t.error().detail;
    }
  }

  ~Impl() {
    if (lookup) lookup->abandon();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  static asio::awaitable<Result<Response>> call(std::shared_ptr<Impl> self, Request r, Millis timeout, bool resend);
  asio::awaitable<Result<Lease>> acquire(Clock::time_point deadline);
  asio::awaitable<Result<std::vector<Tcp::endpoint>>> resolve(Clock::time_point deadline);
  asio::awaitable<Result<ConnectionPtr>> connect(Clock::time_point deadline);
  asio::awaitable<Result<Response>> exchange(Connection& c, std::string_view head, std::string_view body, bool is_head,
                                             bool reused, bool& keep);
  void give_back(ConnectionPtr c);
  void drop_idle(Connection* c);
  void close_idle();

  asio::io_context& io;
  ClientOptions o;
  std::shared_ptr<Lookup> lookup;  // the last one, perhaps still under way
  std::string authority, peer, broken;
  std::shared_ptr<Deadlines> deadlines;
  std::unique_ptr<ClientTls> tls;
  std::list<Waiter*> waiting;       // first come, first served; with those that do not know yet what they were granted
  std::size_t hopeful = 0;          // of them: to whom nothing is granted
  std::vector<ConnectionPtr> idle;  // the back was used last: the warm ones work, the others time out
  std::size_t places = 0;           // in use, connecting or idle; never over max_connections
  bool closed = false;
};

HttpClient::HttpClient(asio::io_context& io, ClientOptions o) : impl_(std::make_shared<Impl>(io, std::move(o))) {}
HttpClient::~HttpClient() {  // running calls end by themselves, waiting ones now
  impl_->closed = true;
  impl_->close_idle();
  for (Impl::Waiter* w : impl_->waiting) w->timer.cancel();
}
asio::awaitable<Result<Response>> HttpClient::call(Request r, Millis timeout, bool resend_on_stale) {
  return Impl::call(impl_, std::move(r), timeout, resend_on_stale);
}
void HttpClient::close_idle() { impl_->close_idle(); }
std::size_t HttpClient::connections() const { return impl_->places; }

void HttpClient::Impl::close_idle() {
  places -= idle.size();
  for (auto& c : idle) c->close();
  idle.clear();
}

void HttpClient::Impl::drop_idle(Connection* c) {
  const auto it = std::find_if(idle.begin(), idle.end(), [c](const ConnectionPtr& p) { return p.get() == c; });
  if (it == idle.end()) return;
  const ConnectionPtr gone = std::move(*it);
  idle.erase(it);
  --places;
  gone->close();
}

void HttpClient::Impl::give_back(ConnectionPtr c) {
  for (Waiter* w : waiting) {
    if (w->granted) continue;
    w->granted = true;
    --hopeful;
    w->connection = std::move(c);
    w->timer.cancel();
    return;
  }
  if (!c || closed) {
    --places;
    if (c) c->close();
    return;
  }
  c->pooled = true;
  c->until(Clock::now() + o.idle_timeout);
  idle.push_back(std::move(c));
}

asio::awaitable<Result<HttpClient::Impl::Lease>> HttpClient::Impl::acquire(Clock::time_point deadline) {
  if (hopeful == 0) {
    while (!idle.empty()) {
      ConnectionPtr c = std::move(idle.back());
      idle.pop_back();
      c->pooled = false;
      if (c->quiet()) co_return Lease(*this, std::move(c));
      --places;  // the peer has closed it meanwhile
    }
    if (places < o.max_connections) {
      ++places;
      co_return Lease(*this, nullptr);
    }
  }
  if (hopeful >= o.max_waiting)
    co_return Error{NetFault::busy, peer + ": " + std::to_string(hopeful) + " calls are waiting already"};

  struct Queued {  // leaves the queue however the wait ends; passes on what was granted and not taken
    Impl& pool;
    Waiter waiter;
    std::list<Waiter*>::iterator at;
    Queued(Impl& p, Clock::time_point d) : pool(p), waiter(p.io, d), at(p.waiting.insert(p.waiting.end(), &waiter)) {
      ++pool.hopeful;
    }
    ~Queued() {
      pool.waiting.erase(at);
      if (!waiter.granted) --pool.hopeful;
      if (waiter.granted && !waiter.taken) pool.give_back(std::move(waiter.connection));
    }
    Queued(const Queued&) = delete;
    Queued& operator=(const Queued&) = delete;
  };
  Queued queued(*this, deadline);
  co_await queued.waiter.timer.async_wait(by_tuple);
  if (!queued.waiter.granted)
    co_return Error{NetFault::busy, closed ? "the client was closed" : peer + ": no connection became free in time"};
  queued.waiter.taken = true;
  Lease lease(*this, std::move(queued.waiter.connection));
  if (lease.connection && !lease.connection->quiet()) lease.connection.reset();
  co_return lease;
}

asio::awaitable<Result<std::vector<Tcp::endpoint>>> HttpClient::Impl::resolve(Clock::time_point deadline) {
  boost::system::error_code ec;
  if (const auto literal = asio::ip::make_address(o.host, ec); !ec)
    co_return std::vector<Tcp::endpoint>{Tcp::endpoint(literal, o.port)};
  if (!lookup || !lookup->usable()) lookup = Lookup::start(io, o.host, o.port);
  const auto mine = lookup;  // calls that come meanwhile wait for the same answer
  asio::steady_timer timer(io, deadline);
  const auto at = mine->waiting.insert(mine->waiting.end(), &timer);
  if (!mine->done) co_await timer.async_wait(by_tuple);
  mine->waiting.erase(at);
  if (!mine->done) co_return Error{NetFault::connect, o.host + ": timed out while looking up the name"};
  if (mine->found.empty()) co_return Error{NetFault::connect, o.host + ": " + mine->why};
  co_return mine->found;
}

asio::awaitable<Result<HttpClient::Impl::ConnectionPtr>> HttpClient::Impl::connect(Clock::time_point deadline) {
  const auto until = std::min(deadline, Clock::now() + o.connect_timeout);
  auto endpoints = co_await resolve(until);
  const auto late = [&](const char* doing) {
    return Error{deadline <= until ? NetFault::timeout : NetFault::connect, peer + ": timed out while " + doing};
  };
  if (!endpoints) {
    if (Clock::now() >= until) co_return late("looking up the name");
    co_return endpoints.error();
  }
  auto c = std::make_unique<Connection>(io, deadlines, *this, o.max_body);
  c->until(until);
  bool connected = false;
  for (const auto& e : *endpoints) {
    connected = co_await c->connect(e);
    if (connected || c->end() == End::expired) break;
  }
  if (!connected) {
    if (c->end() == End::expired) co_return late("connecting");
    co_return Error{NetFault::connect, peer + ": " + c->text()};
  }
  if (tls && !co_await c->handshake(tls->connection())) {
    if (c->end() == End::expired) co_return late("shaking hands");
    tls->forget_session();
    co_return Error{NetFault::tls, peer + ": " + c->text()};
  }
  co_return c;
}

asio::awaitable<Result<Response>> HttpClient::Impl::exchange(Connection& c, std::string_view head,
                                                             std::string_view body, bool is_head, bool reused,
                                                             bool& keep) {
  keep = false;
  c.reader.reset(is_head);
  bool heard = false;  // any octet of an answer
  // What arrives and is no body: interim answers, chunk extensions. None of it may go on for ever, nor keep the loop.
  unsigned reads = 0, interim = 0;
  std::size_t octets = 0;
  const std::size_t most_octets = 4 * o.max_body + (1 << 20);
  const auto lost = [&] {
    if (c.end() == End::expired) return Error{NetFault::timeout, peer + ": no answer in time"};
    if (heard) return Error{NetFault::lost, peer + ": connection lost within the answer: " + c.text()};
    if (reused) return Error{NetFault::stale, peer + ": kept connection was closed: " + c.text()};
    return Error{NetFault::lost, peer + ": connection lost before the answer: " + c.text()};
  };
  bool sent = co_await c.write(head);
  if (sent && !body.empty()) sent = co_await c.write(body);
  if (!sent && c.end() == End::expired) co_return lost();
  // Not sent: the server may have answered before it read everything (413), so look.
  for (;;) {
    auto rest = c.in.view();
    const Step step = c.reader.put(rest);
    c.in.used_to(rest);
    Message& m = c.reader.message();
    if (step == Step::head || step == Step::more) {
      if (step == Step::head) continue;  // with what is left
      const std::size_t room = c.in.room(max_answer_header + InBuffer::size);
      if (room == 0) co_return Error{NetFault::answer, peer + ": chunk header or trailer too long"};
      const Read r = co_await c.read_some(c.in.tail(), room, !heard);
      if (r.n > 0) {
        heard = true;
        c.in.filled(r.n);
        octets += r.n;
        if (octets > most_octets) co_return Error{NetFault::answer, peer + ": an answer without end"};
        if (++reads % reads_a_turn == 0) co_await c.yield();
        continue;
      }
      // A body that ends with the connection is whole only when the peer said goodbye (TLS) or closed (plain).
      // An acknowledgement has nothing in it that could be missing, and simple servers just close behind it.
      const bool acknowledged = r.end == End::truncated && m.status == 202 && m.body.empty();
      if ((r.end != End::eof && !acknowledged) || !heard || c.reader.put_eof() != Step::done) co_return lost();
    } else if (step == Step::head_too_large || step == Step::body_too_large) {
      co_return Error{NetFault::answer,
                      peer + (step == Step::head_too_large
                                  ? ": answer header over the limit of 64 KiB"
                                  : ": answer over the limit of " + std::to_string(o.max_body) + " octets")};
    } else if (step == Step::bad) {
      co_return Error{NetFault::answer, peer + ": not an HTTP answer: " + c.reader.error()};
    }
    if (m.status < 200) {  // 100 Continue and the like
      if (++interim > max_interim) co_return Error{NetFault::answer, peer + ": interim answers without end"};
      c.reader.reset(is_head);
      continue;
    }
    keep = sent && m.keep_alive && c.in.empty() && c.end() == End::none;
    Response out;
    out.status = m.status;
    out.content_type = std::move(m.content_type);
    out.headers = std::move(m.headers);
    out.body = std::move(m.body);
    out.chunked = m.chunked;
    out.close = !keep;
    co_return out;
  }
}

asio::awaitable<Result<Response>> HttpClient::Impl::call(std::shared_ptr<Impl> self, Request r, Millis timeout,
                                                         bool resend) {
  const auto deadline = Clock::now() + timeout;
  const auto start_by = std::min(deadline, r.send_by);
  const auto late = [&] { return Clock::now() >= r.send_by; };
  const Error net_late{NetFault::late, self->peer + ": not sent in time"};
  if (!self->broken.empty()) co_return Error{NetFault::tls, self->broken};
  std::string head;
  std::string_view body;
  const auto write = [&]() -> Status {
    head.clear();
    head.reserve(std::min<std::size_t>(record, 512 + r.body.size()));
    if (!append_request(head, r, self->authority))
      return Error{NetFault::request,
                   "the method, the target or a header field holds a character that HTTP does not allow"};
    if (r.chunked) return {};
    body = r.body;
    if (head.size() < record) {  // a small request is one record and one system call
      const auto part = body.substr(0, record - head.size());
      head.append(part);
      body.remove_prefix(part.size());
    }
    return {};
  };
  if (auto s = write(); !s) co_return s.error();
  auto place = co_await self->acquire(start_by);
  if (!place) co_return late() ? net_late : std::move(place).error();
  Lease lease = *std::move(place);
  bool written = false;  // to any connection
  for (;;) {
    const bool reused = lease.connection != nullptr;
    if (!reused) {
      auto fresh = co_await self->connect(start_by);
      if (!fresh && written && !fresh.error().is(NetFault::timeout))
        co_return Error{NetFault::lost, "kept connection was closed, and then: " + fresh.error().detail};
      if (!fresh) co_return !written && late() ? net_late : std::move(fresh).error();
      lease.connection = *std::move(fresh);
    }
    if (late()) co_return written ? Error{NetFault::lost, self->peer + ": kept connection was closed"} : net_late;
    if (r.compose) {
      r.body = r.compose();
      if (auto s = write(); !s) co_return s.error();
    }
    lease.connection->until(deadline);
    bool keep = false;
    auto answer = co_await self->exchange(*lease.connection, head, body, r.method == "HEAD", reused, keep);
    if (answer.ok()) answer->resent = written;
    written = true;
    if (!keep) {
      if (answer.ok()) lease.connection->close();
      if (!answer.ok() && lease.connection->end() == End::tls && self->tls) self->tls->forget_session();
      lease.connection.reset();
    }
    if (!answer.ok() && answer.error().is(NetFault::stale) && resend) continue;  // once: the next one is not reused
    co_return answer;
  }
}

}  // namespace kf::net
