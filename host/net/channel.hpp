// One connection as the server and the client use it: a socket, TLS on it or not, and a deadline.
//
// OpenSSL works directly on the socket through a small BIO of ours: no pair of memory BIOs, no copies, one send() per
// TLS record, and the socket is only given to the reactor when OpenSSL says that it has to wait. All calls from the
// thread of the io_context. Private to host/net.
#pragma once

#include <openssl/ssl.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace kf::net::detail {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;
using Socket = asio::basic_stream_socket<Tcp, asio::io_context::executor_type>;
using Clock = std::chrono::steady_clock;

// The plaintext of one TLS record.
inline constexpr std::size_t record = 16 << 10;
// Reads of a body that arrives without a pause, before others get their turn.
inline constexpr unsigned reads_a_turn = 16;
// The error beside the result, for co_await.
inline constexpr auto by_tuple = asio::as_tuple(asio::use_awaitable);

class Deadlines;

// A point in time that may move with every request. Moving it is one store: the timer behind it is shared, see
// Deadlines.
class Deadline {
 public:
  static constexpr Clock::time_point never = Clock::time_point::max();
  explicit Deadline(std::shared_ptr<Deadlines> owner);
  virtual ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  void set_deadline(Clock::time_point at);
  virtual void expired() = 0;  // may destroy this object, but no other Deadline

 private:
  friend class Deadlines;
  std::shared_ptr<Deadlines> owner_;
  Deadline* prev_ = nullptr;
  Deadline* next_ = nullptr;
  Clock::time_point at_ = never;
};

// One timer for all connections of a server or client, armed for the earliest deadline. Late by at most 5 ms.
class Deadlines : public std::enable_shared_from_this<Deadlines> {
 public:
  explicit Deadlines(asio::io_context& io) : timer_(io) {}

 private:
  friend class Deadline;
  void add(Deadline* d);
  void remove(Deadline* d);
  void arm(Clock::time_point at);
  void sweep();

  asio::steady_timer timer_;
  Deadline* first_ = nullptr;
  Deadline* next_in_sweep_ = nullptr;
  Clock::time_point armed_ = Deadline::never;
};

enum class End {
  none,
  eof,          // the peer closed in good order
  truncated,    // TLS: closed without close_notify
  reset,        // the transport failed; text() says how
  tls,          // the TLS layer failed or the peer sent an alert; text() says which
  expired,      // the deadline passed
  interrupted,  // interrupt() was called
};

struct Read {
  std::size_t n = 0;  // 0: see end
  End end = End::none;
};

// What the BIO below OpenSSL works on. A peer whose octets never become a message (key updates, say, which SSL_read()
// answers without returning) must not keep the loop: after so many octets within one call the socket pretends to be
// empty until others had a turn.
struct Wire {
  static constexpr std::size_t turn = 32 << 10;
  // Messages of TLS itself once the handshake is done: new keys, tickets, refused renegotiations. An honest peer sends
  // a handful in the life of a connection; beyond that it is closed.
  static constexpr unsigned most_asides = 64;
  unsigned asides = 0;
  bool shaken = false;  // the handshake is done
  int fd = -1;
  std::size_t left = turn;
};

class Channel : public Deadline {
 public:
  Channel(Socket s, std::shared_ptr<Deadlines> d) : Deadline(std::move(d)), socket_(std::move(s)) {}
  ~Channel() override;

  asio::awaitable<bool> connect(Tcp::endpoint to);
  void prepare();                             // connected or accepted: non-blocking, no delay
  asio::awaitable<bool> handshake(SSL* ssl);  // takes ssl; its state (accept or connect) is set
  asio::awaitable<bool> readable();           // waits for the first octet or the end of the connection, reads nothing
  asio::awaitable<void> pause();              // waits for the deadline; interrupt() and a broken connection end it
  // `wait_first`: nothing is expected yet, so do not spend a system call to find that out.
  asio::awaitable<Read> read_some(char* p, std::size_t n, bool wait_first);
  asio::awaitable<bool> write(std::string_view data);
  [[nodiscard]] bool quiet();  // idle connection: still open, and nothing unasked has arrived
  // Answered, and closing: says goodbye, then waits (until the deadline) for the peer to close, so that what it is
  // still sending does not make the kernel reset the connection and take our answer away with it.
  asio::awaitable<void> linger();
  asio::awaitable<void> yield();  // lets everybody else on the loop have a turn
  void close();                   // at once; close_notify when that is possible without waiting
  void interrupt();               // the read or write that waits returns; later ones too

  void expired() override;
  void until(Clock::time_point at) {  // a new phase: what expired before does not matter any more
    expired_ = false;
    set_deadline(at);
  }
  [[nodiscard]] End end() const { return end_; }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] SSL* ssl() const { return ssl_; }
  [[nodiscard]] Socket& socket() { return socket_; }

 private:
  asio::awaitable<bool> wait(Socket::wait_type w);
  bool over();  // expired or interrupted: end() says so
  // Looks at what an OpenSSL call returned. True: wait for `w`, then call again. False: end() is set.
  bool ssl_wants(int ret, int saved_errno, Socket::wait_type& w);
  void fail(End e, std::string text);
  void io_error(int err);

  Socket socket_;
  Wire wire_;
  SSL* ssl_ = nullptr;
  End end_ = End::none;
  bool expired_ = false;
  bool interrupted_ = false;
  bool secured_ = false;  // handshake done, no fatal TLS error: close_notify makes sense
  std::string text_;
};

std::string text_of(const Tcp::endpoint& e);  // "127.0.0.1:40000", "[::1]:40000"
bool out_of_descriptors(const boost::system::error_code& ec);

// Bytes that were read and not yet used.
class InBuffer {
 public:
  static constexpr std::size_t size = record;
  [[nodiscard]] std::string_view view() const { return {data_.get() + begin_, end_ - begin_}; }
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  void used_to(std::string_view rest) { begin_ = end_ - rest.size(); }
  // Room for more; `limit`: how large the buffer may grow when what is in it is still needed. 0: full.
  std::size_t room(std::size_t limit);
  [[nodiscard]] char* tail() { return data_.get() + end_; }
  void filled(std::size_t n) { end_ += n; }

 private:
  std::unique_ptr<char[]> data_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace kf::net::detail
