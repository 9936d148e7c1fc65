#include "host/main/admin_socket.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <exception>

#include "host/base/text.hpp"

namespace kf::server {
namespace {

namespace asio = boost::asio;
using Socket = asio::local::stream_protocol::socket;
using ErrorCode = boost::system::error_code;

constexpr std::chrono::seconds kServerPatience{10};
constexpr auto kAcceptAgain = std::chrono::milliseconds(100);

std::string refusal(const std::string& why) { return "{\"ok\": false, \"error\": \"" + why + "\"}\n"; }

}  // namespace

struct AdminSocket::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& context, std::string p, Handler h, AdminLimits l)
      : io(context), acceptor(context), again(context), path(std::move(p)), handler(std::move(h)), limits(l) {}

  struct Conversation {
    Conversation(std::shared_ptr<Impl> impl, Socket s)
        : owner(std::move(impl)), socket(std::move(s)), deadline(socket.get_executor()) {
      ++owner->clients;
    }
    ~Conversation() {
      --owner->clients;
      owner->accept();
    }
    Conversation(const Conversation&) = delete;
    Conversation& operator=(const Conversation&) = delete;
    std::shared_ptr<Impl> owner;
    Socket socket;
    asio::steady_timer deadline;
    std::string in, out;
  };
  using Talk = std::shared_ptr<Conversation>;

  void accept() {
    if (accepting || !acceptor.is_open() || clients >= limits.clients) return;
    accepting = true;
    acceptor.async_accept([self = shared_from_this()](const ErrorCode& ec, Socket s) {
      self->accepting = false;
      if (!self->acceptor.is_open()) return;
      if (ec) {  // no descriptor left, or a client that went away
        self->again.expires_after(kAcceptAgain);
        self->again.async_wait([self](const ErrorCode& cancelled) {
          if (!cancelled) self->accept();
        });
        return;
      }
      talk(std::make_shared<Conversation>(self, std::move(s)));
      self->accept();
    });
  }

  static void talk(const Talk& c) {
    c->deadline.expires_after(c->owner->limits.time);
    c->deadline.async_wait([w = std::weak_ptr<Conversation>(c)](const ErrorCode& ec) {
      ErrorCode ignored;
      if (auto x = w.lock(); x && !ec) x->socket.close(ignored);
    });
    asio::async_read_until(c->socket, asio::dynamic_buffer(c->in, c->owner->limits.line), '\n',
                           [c](const ErrorCode& e, std::size_t n) {
                             if (e == asio::error::not_found) return answer(c, refusal("line too long"));
                             if (e && e != asio::error::eof) return;
                             std::string line = c->in.substr(0, e ? c->in.size() : n);
                             while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
                             answer(c, c->owner->reply_to(line));
                           });
  }

  std::string reply_to(const std::string& line) {
    try {
      return handler(clip_text(line, limits.line));
    } catch (const std::exception& e) {
      spdlog::error("ALARM administration: \"{}\" failed: {}", printable(line), printable(e.what()));
    }
    return refusal("failed inside, see the log");
  }

  static void answer(const Talk& c, std::string text) {
    c->out = std::move(text);
    asio::async_write(c->socket, asio::buffer(c->out), [c](const ErrorCode&, std::size_t) { c->deadline.cancel(); });
  }

  asio::io_context& io;
  asio::local::stream_protocol::acceptor acceptor;
  asio::steady_timer again;
  std::string path;
  Handler handler;
  AdminLimits limits;
  std::size_t clients = 0;
  bool accepting = false, bound = false;
};

AdminSocket::AdminSocket(asio::io_context& io, const std::string& path, Handler handler, AdminLimits limits)
    : impl_(std::make_shared<Impl>(io, path, std::move(handler), limits)) {}

AdminSocket::~AdminSocket() {
  stop();
  if (impl_->bound) ::unlink(impl_->path.c_str());
}

Status socket_place_free(const std::string& path) {
  struct stat s {};
  if (::lstat(path.c_str(), &s) == 0 && !S_ISSOCK(s.st_mode))
    return Error{"admin", path + ": is there and no socket; it is not touched"};
  return {};
}

Status AdminSocket::start() {
  Impl& i = *impl_;
  KF_CHECK(socket_place_free(i.path));
  ::unlink(i.path.c_str());  // of a server that is no more: the store's lock lets no two run
  try {
    const asio::local::stream_protocol::endpoint ep(i.path);
    i.acceptor.open(ep.protocol());
    const mode_t old = ::umask(0177);
    ErrorCode ec;
    i.acceptor.bind(ep, ec);
    ::umask(old);
    if (ec) return Error{"admin", i.path + ": " + ec.message()};
    i.bound = true;
    i.acceptor.listen();
  } catch (const std::exception& e) {
    return Error{"admin", i.path + ": " + e.what()};
  }
  i.accept();
  return {};
}

void AdminSocket::stop() {
  ErrorCode ec;
  impl_->acceptor.close(ec);
  impl_->again.cancel();
}

Result<std::string> ask_server(const std::string& path, const std::string& line) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{kServerPatience.count(), 0};
  if (fd >= 0) ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);  // a full queue of connections
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  path.copy(a.sun_path, sizeof a.sun_path - 1);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) {
    if (fd >= 0) ::close(fd);
    return Error{"admin", "not running: nobody answers at " + path};
  }
  // A server that stands still accepts connections: the kernel does that for it.
  const auto end = std::chrono::steady_clock::now() + kServerPatience;
  const auto ready = [&](short events) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
    pollfd p{fd, events, 0};
    return left > 0 && ::poll(&p, 1, static_cast<int>(left)) == 1;
  };
  bool late = false;
  const std::string question = line + "\n";
  std::string text;
  if (::send(fd, question.data(), question.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(question.size())) {
    std::array<char, 65536> some;
    for (ssize_t n = 1; n > 0;) {
      if (!ready(POLLIN)) {
        late = true;
        break;
      }
      n = ::read(fd, some.data(), some.size());
      if (n > 0) text.append(some.data(), static_cast<std::size_t>(n));
    }
  }
  ::close(fd);
  if (late)
    return Error{"admin-silent", "the server at " + path + " did not answer within " +
                                     std::to_string(kServerPatience.count()) + " s: it is there and stands still"};
  if (text.empty()) return Error{"admin-silent", "the server at " + path + " gave no answer"};
  return text;
}

}  // namespace kf::server
