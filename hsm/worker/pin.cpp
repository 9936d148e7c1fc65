#include "hsm/worker/pin.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "hsm/worker/log.hpp"

namespace kf::hsm::worker {
namespace {

constexpr std::size_t kMaxPin = 255;

Result<SecretBytes> checked(ByteView raw, const std::string& source, std::string_view what) {
  const auto end =
      std::find_if(raw.begin(), raw.end(), [](std::uint8_t c) { return c == '\n' || c == '\r' || c == 0; });
  const ByteView pin = raw.first(static_cast<std::size_t>(end - raw.begin()));
  if (pin.empty()) return Error{"hsm-pin", std::string(what) + ": " + source + " is empty"};
  if (pin.size() > kMaxPin) return Error{"hsm-pin", std::string(what) + ": " + source + " holds more than 255 octets"};
  return SecretBytes(pin);
}

}  // namespace

Result<SecretBytes> read_pin_file(const std::string& path, std::string_view what) {
  const auto refuse = [&](const char* why) {
    return Error{"hsm-pin", std::string(what) + " file '" + path + "': " + why};
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return refuse(std::strerror(errno));
  struct stat st {};
  if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    log_line("warning: " + std::string(what) + " file '" + path + "' is open to other users; chmod 600 it");
  }
  SecretBytes buffer(kMaxPin + 3);
  std::size_t n = 0;
  while (n < buffer.size()) {
    const ssize_t got = ::read(fd, buffer.expose_mut().data() + n, buffer.size() - n);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int e = errno;
      ::close(fd);
      return refuse(std::strerror(e));
    }
    if (got == 0) break;
    n += static_cast<std::size_t>(got);
  }
  ::close(fd);
  return checked(buffer.expose().first(n), "file '" + path + "'", what);
}

Result<SecretBytes> take_pin_from_environment(const std::string& name, std::string_view what) {
  char* value = std::getenv(name.c_str());
  if (value == nullptr) return Error{"hsm-pin", std::string(what) + ": environment variable " + name + " is not set"};
  auto pin = checked(view(value), "environment variable " + name, what);
  wipe(value, std::strlen(value));
  ::unsetenv(name.c_str());
  return pin;
}

}  // namespace kf::hsm::worker
