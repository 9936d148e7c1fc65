#include "host/net/channel.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "host/net/tls.hpp"

namespace kf::net::detail {
namespace {

// OpenSSL's own socket BIO writes with write(), which raises SIGPIPE when the peer is gone; a library must not change
// the process's signal handling, so this one sends with MSG_NOSIGNAL.
Wire& wire_of(BIO* b) { return *static_cast<Wire*>(BIO_get_data(b)); }
bool would_block(int err) { return err == EAGAIN || err == EWOULDBLOCK || err == EINTR; }

int bio_write(BIO* b, const char* p, int n) {
  BIO_clear_retry_flags(b);
  const auto r = ::send(wire_of(b).fd, p, static_cast<std::size_t>(n), MSG_NOSIGNAL);
  if (r < 0 && would_block(errno)) BIO_set_retry_write(b);
  return static_cast<int>(r);
}
int bio_read(BIO* b, char* p, int n) {
  BIO_clear_retry_flags(b);
  Wire& w = wire_of(b);
  if (w.left == 0) {
    BIO_set_retry_read(b);
    return -1;
  }
  const auto r = ::recv(w.fd, p, static_cast<std::size_t>(n), 0);
  if (r > 0) w.left -= std::min(w.left, static_cast<std::size_t>(r));
  if (r < 0 && would_block(errno)) BIO_set_retry_read(b);
  if (r == 0) BIO_set_flags(b, BIO_FLAGS_IN_EOF);
  return static_cast<int>(r);
}
long bio_ctrl(BIO* b, int cmd, long, void*) {
  if (cmd == BIO_CTRL_FLUSH) return 1;
  if (cmd == BIO_CTRL_EOF) return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  return 0;
}

const BIO_METHOD* socket_method() {
  static const std::unique_ptr<BIO_METHOD, decltype(&BIO_meth_free)> method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without signals");
    if (m != nullptr) {
      BIO_meth_set_write(m, bio_write);
      BIO_meth_set_read(m, bio_read);
      BIO_meth_set_ctrl(m, bio_ctrl);
    }
    return std::unique_ptr<BIO_METHOD, decltype(&BIO_meth_free)>(m, BIO_meth_free);
  }();
  return method.get();
}

// OpenSSL calls this for every message of TLS in either direction.
void count_asides(int written, int, int type, const void*, std::size_t, SSL*, void* arg) {
  Wire& w = *static_cast<Wire*>(arg);
  const bool aside = written != 0 ? type == SSL3_RT_ALERT : type == SSL3_RT_HANDSHAKE;
  if (w.shaken && aside && ++w.asides > Wire::most_asides) ::shutdown(w.fd, SHUT_RDWR);
}

bool attach(SSL* ssl, Wire& wire) {
  BIO* b = BIO_new(socket_method());
  if (b == nullptr) return false;
  BIO_set_data(b, &wire);
  BIO_set_init(b, 1);
  SSL_set_bio(ssl, b, b);
  SSL_set_msg_callback(ssl, count_asides);
  SSL_ctrl(ssl, SSL_CTRL_SET_MSG_CALLBACK_ARG, 0, &wire);
  return true;
}

}  // namespace

// --- deadlines ---

Deadline::Deadline(std::shared_ptr<Deadlines> owner) : owner_(std::move(owner)) { owner_->add(this); }
Deadline::~Deadline() { owner_->remove(this); }
void Deadline::set_deadline(Clock::time_point at) {
  at_ = at;
  if (at < owner_->armed_) owner_->arm(at);
}

void Deadlines::add(Deadline* d) {
  d->next_ = first_;
  if (first_ != nullptr) first_->prev_ = d;
  first_ = d;
}

void Deadlines::remove(Deadline* d) {
  if (next_in_sweep_ == d) next_in_sweep_ = d->next_;
  (d->prev_ != nullptr ? d->prev_->next_ : first_) = d->next_;
  if (d->next_ != nullptr) d->next_->prev_ = d->prev_;
  if (first_ == nullptr && armed_ != Deadline::never) {  // nothing to watch: io_context::run() may return
    armed_ = Deadline::never;
    timer_.cancel();
  }
}

void Deadlines::arm(Clock::time_point at) {
  armed_ = Deadline::never;  // where waiting throws, the next deadline arms again
  timer_.expires_at(at);
  timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& ec) {
    if (ec) return;
    if (const auto self = weak.lock()) self->sweep();
  });
  armed_ = at;
}

void Deadlines::sweep() {
  const auto now = Clock::now();
  armed_ = now;  // keeps set_deadline() from arming while we walk
  for (Deadline* d = first_; d != nullptr; d = next_in_sweep_) {
    next_in_sweep_ = d->next_;
    if (d->at_ > now) continue;
    d->at_ = Deadline::never;
    d->expired();
  }
  next_in_sweep_ = nullptr;
  auto earliest = Deadline::never;
  for (const Deadline* d = first_; d != nullptr; d = d->next_) earliest = std::min(earliest, d->at_);
  armed_ = Deadline::never;
  // The distance bounds the work of many connections whose deadlines follow each other closely.
  if (earliest != Deadline::never) arm(std::max(earliest, now + std::chrono::milliseconds(5)));
}

// --- channel ---

Channel::~Channel() {
  SSL_free(ssl_);
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void Channel::fail(End e, std::string text) {
  end_ = e;
  text_ = std::move(text);
}
void Channel::io_error(int err) {
  fail(End::reset, err == 0 ? "connection closed" : std::generic_category().message(err));
}

void Channel::expired() {
  expired_ = true;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}
void Channel::interrupt() {
  interrupted_ = true;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

asio::awaitable<bool> Channel::readable() {
  if (!co_await wait(Socket::wait_read)) co_return false;
  char c = 0;
  const auto r = ::recv(socket_.native_handle(), &c, 1, MSG_PEEK | MSG_DONTWAIT);
  if (r > 0 || (r < 0 && would_block(errno))) co_return true;
  if (r == 0)
    fail(End::eof, "closed by the peer");
  else
    io_error(errno);
  co_return false;
}

asio::awaitable<void> Channel::pause() { co_await wait(Socket::wait_error); }

asio::awaitable<void> Channel::yield() { co_await asio::post(socket_.get_executor(), asio::use_awaitable); }

asio::awaitable<bool> Channel::wait(Socket::wait_type w) {
  wire_.left = Wire::turn;
  if (!expired_ && !interrupted_) {
    const auto [ec] = co_await socket_.async_wait(w, by_tuple);
    if (!expired_ && !interrupted_) {
      if (!ec) co_return true;
      io_error(ec.value());
      co_return false;
    }
  }
  co_return !over();
}

bool Channel::over() {
  if (expired_)
    fail(End::expired, "timed out");
  else if (interrupted_)
    fail(End::interrupted, "closing");
  return expired_ || interrupted_;
}

asio::awaitable<bool> Channel::connect(Tcp::endpoint to) {
  boost::system::error_code ec;
  socket_.close(ec);
  socket_.open(to.protocol(), ec);
  if (!ec && !expired_) {
    const auto [failed] = co_await socket_.async_connect(to, by_tuple);
    ec = failed;
  }
  if (expired_) {
    fail(End::expired, "timed out");
    co_return false;
  }
  if (ec) {
    io_error(ec.value());
    co_return false;
  }
  // Connecting has registered the socket for EPOLLOUT, which from then on would wake the reactor once per wait for
  // reading (the socket is always writable). Registered anew, it is not.
  const int fd = socket_.release(ec);
  if (!ec) {
    socket_.assign(to.protocol(), fd, ec);
    if (ec) ::close(fd);
  }
  if (ec) {
    io_error(ec.value());
    co_return false;
  }
  prepare();
  co_return true;
}

void Channel::prepare() {
  boost::system::error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(Tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);  // a peer that vanished while a handler runs
}

bool Channel::ssl_wants(int ret, int saved_errno, Socket::wait_type& w) {
  switch (SSL_get_error(ssl_, ret)) {
    case SSL_ERROR_WANT_READ:
      w = Socket::wait_read;
      return true;
    case SSL_ERROR_WANT_WRITE:
      w = Socket::wait_write;
      return true;
    case SSL_ERROR_ZERO_RETURN:
      fail(End::eof, "closed by the peer");
      return false;
    case SSL_ERROR_SYSCALL:
      secured_ = false;
      io_error(saved_errno);
      return false;
    default:
      secured_ = false;
      if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        fail(End::truncated, "closed by the peer without notice");
      } else {
        fail(End::tls, tls_error_text(ssl_));
      }
      return false;
  }
}

asio::awaitable<bool> Channel::handshake(SSL* ssl) {
  ssl_ = ssl;
  wire_.fd = socket_.native_handle();
  if (ssl == nullptr || !attach(ssl, wire_)) {
    fail(End::tls, "out of memory");
    co_return false;
  }
  for (;;) {
    ERR_clear_error();
    errno = 0;
    const int r = SSL_do_handshake(ssl_);
    if (r == 1) break;
    Socket::wait_type w{};
    if (!ssl_wants(r, errno, w)) co_return false;
    if (!co_await wait(w)) co_return false;
  }
  secured_ = true;
  wire_.shaken = true;
  co_return true;
}

asio::awaitable<Read> Channel::read_some(char* p, std::size_t n, bool wait_first) {
  // Its time counts although its octets never run dry, and nothing is waited for.
  if (over()) co_return Read{0, end_};
  if (wait_first && (ssl_ == nullptr || SSL_has_pending(ssl_) == 0)) {
    if (!co_await wait(Socket::wait_read)) co_return Read{0, end_};
  }
  wire_.left = Wire::turn;
  for (;;) {
    Socket::wait_type w = Socket::wait_read;
    errno = 0;
    if (ssl_ != nullptr) {
      ERR_clear_error();
      std::size_t got = 0;
      const int r = SSL_read_ex(ssl_, p, n, &got);
      if (r == 1) co_return Read{got, End::none};
      if (!ssl_wants(r, errno, w)) co_return Read{0, end_};
    } else {
      const auto r = ::recv(socket_.native_handle(), p, n, 0);
      if (r > 0) co_return Read{static_cast<std::size_t>(r), End::none};
      if (r == 0) {
        fail(End::eof, "closed by the peer");
        co_return Read{0, end_};
      }
      if (!would_block(errno)) {
        io_error(errno);
        co_return Read{0, end_};
      }
    }
    if (!co_await wait(w)) co_return Read{0, end_};
  }
}

asio::awaitable<bool> Channel::write(std::string_view data) {
  while (!data.empty()) {
    Socket::wait_type w = Socket::wait_write;
    std::size_t sent = 0;
    errno = 0;
    if (ssl_ != nullptr) {
      ERR_clear_error();
      const int r = SSL_write_ex(ssl_, data.data(), data.size(), &sent);
      if (r != 1 && !ssl_wants(r, errno, w)) co_return false;
    } else {
      const auto r = ::send(socket_.native_handle(), data.data(), data.size(), MSG_NOSIGNAL);
      if (r >= 0) {
        sent = static_cast<std::size_t>(r);
      } else if (!would_block(errno)) {
        io_error(errno);
        co_return false;
      }
    }
    data.remove_prefix(sent);
    if (sent == 0 && !co_await wait(w)) co_return false;
  }
  co_return true;
}

bool Channel::quiet() {
  char c = 0;
  wire_.left = Wire::turn;
  if (ssl_ == nullptr) return ::recv(socket_.native_handle(), &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && would_block(errno);
  ERR_clear_error();
  const int r = SSL_peek(ssl_, &c, 1);  // also takes in session tickets that came after the last answer
  return r <= 0 && SSL_get_error(ssl_, r) == SSL_ERROR_WANT_READ;
}

asio::awaitable<void> Channel::linger() {
  if (secured_) {
    ERR_clear_error();
    SSL_shutdown(ssl_);
    secured_ = false;
  }
  boost::system::error_code ec;
  socket_.shutdown(Tcp::socket::shutdown_send, ec);
  if (ec) co_return;
  char sink[4096];
  for (unsigned reads = 1;; ++reads) {
    const auto r = ::recv(socket_.native_handle(), sink, sizeof sink, 0);
    if (r == 0 || (r < 0 && !would_block(errno))) co_return;
    // Whoever sends without end must not keep the loop: the deadline and everybody else have their turn.
    if (reads % reads_a_turn == 0) co_await yield();
    if (r < 0) {
      if (!co_await wait(Socket::wait_read)) co_return;
    } else if (expired_ || interrupted_) {
      co_return;
    }
  }
}

void Channel::close() {
  if (secured_) {
    ERR_clear_error();
    SSL_shutdown(ssl_);  // one attempt; the socket does not block
    secured_ = false;
  }
  boost::system::error_code ignored;
  socket_.close(ignored);
}

std::string text_of(const Tcp::endpoint& e) {
  const auto a = e.address();
  return (a.is_v6() ? "[" + a.to_string() + "]" : a.to_string()) + ":" + std::to_string(e.port());
}

bool out_of_descriptors(const boost::system::error_code& ec) {
  return ec == asio::error::no_descriptors || ec == boost::system::errc::too_many_files_open_in_system ||
         ec == asio::error::no_buffer_space || ec == asio::error::no_memory;
}

std::size_t InBuffer::room(std::size_t limit) {
  if (begin_ == end_) begin_ = end_ = 0;
  if (data_ == nullptr) {
    data_ = std::make_unique_for_overwrite<char[]>(size);
    capacity_ = size;
  }
  if (end_ == capacity_ && begin_ > 0) {
    std::memmove(data_.get(), data_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == capacity_ && capacity_ < limit) {
    const std::size_t larger = std::min(limit, capacity_ * 2);
    auto grown = std::make_unique_for_overwrite<char[]>(larger);
    std::memcpy(grown.get(), data_.get(), end_);
    data_ = std::move(grown);
    capacity_ = larger;
  }
  return capacity_ - end_;
}

}  // namespace kf::net::detail
