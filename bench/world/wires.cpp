#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "bench/world/world.hpp"

namespace kf::bench {
namespace {

class Socket {
 public:
  Socket(int family, Millis limit) : fd_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval t{limit.count() / 1000, (limit.count() % 1000) * 1000};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int fd() const { return fd_; }

  Status send_all(std::string_view s) {
    while (!s.empty()) {
      const ssize_t n = ::send(fd_, s.data(), s.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return Error{"wire", std::string("send: ") + std::strerror(errno)};
      s.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
  }
  Result<std::string> read_all() {
    std::string out;
    std::array<char, 65536> chunk{};
    for (;;) {
      const ssize_t n = ::recv(fd_, chunk.data(), chunk.size(), 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Error{"wire", std::string("receive: ") + std::strerror(errno)};
      if (n == 0) return out;
      out.append(chunk.data(), static_cast<std::size_t>(n));
    }
  }

 private:
  int fd_;
};

}  // namespace

Result<std::string> read_unix_socket(const std::string& path, Millis limit) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.size() >= sizeof a.sun_path) return Error{"wire", path + ": longer than a Unix socket's path may be"};
  path.copy(a.sun_path, path.size());
  Socket s(AF_UNIX, limit);
  if (s.fd() < 0 || ::connect(s.fd(), reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0)
    return Error{"wire", path + ": " + std::strerror(errno)};
  KF_CHECK(s.send_all("status\n"));
  return s.read_all();
}

Result<std::string> http_loopback(const std::string& method, std::uint16_t port, const std::string& target,
                                  const std::string& body, Millis limit) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Socket s(AF_INET, limit);
  if (s.fd() < 0 || ::connect(s.fd(), reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0)
    return Error{"wire", "port " + std::to_string(port) + ": " + std::strerror(errno)};
  KF_CHECK(s.send_all(method + " " + target +
                      " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n" +
                      "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body));
  KF_TRY(std::string answer, s.read_all());
  const auto head = answer.find("\r\n\r\n");
  if (head == std::string::npos) return Error{"wire", target + ": answer cut short"};
  if (answer.compare(0, 9, "HTTP/1.1 ") != 0 || answer.compare(9, 3, "200") != 0)
    return Error{"wire", target + ": " + answer.substr(0, answer.find('\r')) + " " + answer.substr(head + 4, 300)};
  answer.erase(0, head + 4);
  return answer;
}

}  // namespace kf::bench
