#include "bench/process/ports.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>

#include "host/base/random.hpp"

namespace kf::proc {
namespace {

constexpr std::uint16_t kLow = 15000, kCount = 17000;  // below Linux's ephemeral range (32768 and up)
constexpr int kTries = 2000;

bool can_bind(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool ok = ::bind(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0 && ::listen(fd, 1) == 0;
  ::close(fd);
  return ok;
}

// The lock of a port, held until it is closed or the process ends; -1 where none can be had (another user's file).
// Nothing: somebody has it, also we ourselves.
std::optional<int> lock_of(std::uint16_t port) {
  std::error_code ec;
  const auto dir = std::filesystem::temp_directory_path(ec);
  if (ec) return -1;
  const std::string file = dir / ("kf-port-" + std::to_string(port));
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0 || ::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  const bool taken = errno == EWOULDBLOCK;
  ::close(fd);
  return taken ? std::nullopt : std::optional(-1);
}

}  // namespace

Result<std::vector<std::uint16_t>> free_ports(std::size_t n) {
  std::vector<std::uint16_t> out;
  for (int i = 0; i < kTries && out.size() < n; ++i) {
    const Bytes r = random_bytes(2);
    const auto port = static_cast<std::uint16_t>(kLow + (r[0] << 8 | r[1]) % kCount);
    if (std::find(out.begin(), out.end(), port) != out.end()) continue;
    const auto lock = lock_of(port);
    if (!lock) continue;
    if (can_bind(port))
      out.push_back(port);  // its lock stays open
    else if (*lock >= 0)
      ::close(*lock);
  }
  if (out.size() < n) return Error{"proc-ports", "no free TCP ports on 127.0.0.1"};
  return out;
}

}  // namespace kf::proc
