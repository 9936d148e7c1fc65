#include "host/server/admin_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <memory>

namespace kf::server {
namespace {

namespace asio = boost::asio;
using Socket = asio::local::stream_protocol::socket;

constexpr std::size_t kLongestLine = 512;

struct Conversation {
  explicit Conversation(Socket s) : socket(std::move(s)) {}
  Socket socket;
  std::string in, out;
};

}  // namespace

AdminSocket::~AdminSocket() {
  if (open_) ::unlink(path_.c_str());
}

Status AdminSocket::start() {
  ::unlink(path_.c_str());
  try {
    const asio::local::stream_protocol::endpoint ep(path_);
    acceptor_.open(ep.protocol());
    const mode_t old = ::umask(0177);
    acceptor_.bind(ep);
    ::umask(old);
    acceptor_.listen();
  } catch (const std::exception& e) {
    return Error{"admin", path_ + ": " + e.what()};
  }
  open_ = true;
  accept();
  return {};
}

void AdminSocket::stop() {
  boost::system::error_code ec;
  acceptor_.close(ec);
}

void AdminSocket::accept() {
  acceptor_.async_accept([this](const boost::system::error_code& ec, Socket s) {
    if (ec) return;
    auto c = std::make_shared<Conversation>(std::move(s));
    asio::async_read_until(c->socket, asio::dynamic_buffer(c->in, kLongestLine), '\n',
                           [this, c](const boost::system::error_code& e, std::size_t n) {
                             if (e && e != asio::error::eof) return;
                             std::string line = c->in.substr(0, e ? c->in.size() : n);
                             while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
                             c->out = handler_(line);
                             asio::async_write(c->socket, asio::buffer(c->out),
                                               [c](const boost::system::error_code&, std::size_t) {});
                           });
    accept();
  });
}

Result<std::string> ask_server(const std::string& path, const std::string& line) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  path.copy(a.sun_path, sizeof a.sun_path - 1);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) {
    if (fd >= 0) ::close(fd);
    return Error{"admin", "not running: nobody answers at " + path};
  }
  const std::string question = line + "\n";
  std::string text;
  if (::send(fd, question.data(), question.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(question.size())) {
    std::array<char, 65536> some;
    for (ssize_t n = 0; (n = ::read(fd, some.data(), some.size())) > 0;)
      text.append(some.data(), static_cast<std::size_t>(n));
  }
  ::close(fd);
  if (text.empty()) return Error{"admin", "the server at " + path + " gave no answer"};
  return text;
}

}  // namespace kf::server
