#include "hsm/setup/softhsm.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "host/base/random.hpp"

namespace kf::hsm {
namespace {

namespace fs = std::filesystem;

// Whole or not at all: a temporary file beside it, then rename.
Status write_private_file(const std::string& path, ByteView content, const char* reason) {
  const std::string temporary = path + ".new";
  const auto refuse = [&](const std::string& what) { return Error{reason, what + ": " + std::strerror(errno)}; };
  ::unlink(temporary.c_str());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return refuse("cannot create " + temporary);
  const bool written =
      ::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()) && ::fsync(fd) == 0;
  const int e = errno;
  ::close(fd);
  errno = e;
  if (!written) return refuse("cannot write " + temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return refuse("cannot rename " + temporary);
  return {};
}

}  // namespace

Result<std::string> find_softhsm_module() {
  if (const char* chosen = std::getenv("SOFTHSM2_MODULE"); chosen != nullptr && *chosen != 0)
    return std::string(chosen);
  for (const char* path : {"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
                           "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so",
                           "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"}) {
    if (::access(path, R_OK) == 0) return std::string(path);
  }
  return Error{"hsm-module",
               "libsofthsm2.so is not in the usual places; install the package softhsm2 or set SOFTHSM2_MODULE"};
}

Result<std::string> write_softhsm_conf(const std::string& dir) {
  std::error_code ec;
  const fs::path base = fs::absolute(dir, ec);
  if (ec) return Error{"hsm-token", "'" + dir + "': " + ec.message()};
  if (base.string().find('\n') != std::string::npos)
    return Error{"hsm-token", "a line break in the path of the token directory"};
  fs::create_directories(base / "tokens", ec);
  if (ec) return Error{"hsm-token", "cannot create " + (base / "tokens").string() + ": " + ec.message()};
  fs::permissions(base / "tokens", fs::perms::owner_all, ec);
  if (ec) return Error{"hsm-token", "cannot close " + (base / "tokens").string() + " to others: " + ec.message()};
  const std::string conf = (base / "softhsm2.conf").string();
  KF_CHECK(write_private_file(conf,
                              view("directories.tokendir = " + (base / "tokens").string() +
                                   "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"),
                              "hsm-token"));
  return conf;
}

Status write_pin_file(const std::string& path) {
  std::error_code ec;
  if (fs::exists(path, ec)) return {};
  // 20 decimal digits, about 66 bits: digits because some tokens take nothing else. 250 = 25 * 10, so no digit is
  // favoured.
  SecretBytes pin(21);
  for (std::size_t i = 0; i < 20;) {
    std::uint8_t r = 0;
    random_fill({&r, 1});
    if (r < 250) pin.expose_mut()[i++] = static_cast<std::uint8_t>('0' + r % 10);
  }
  pin.expose_mut()[20] = '\n';
  return write_private_file(path, pin.expose(), "hsm-pin");
}

Result<TokenSetup> softhsm_setup(const std::string& dir, const std::string& token_label) {
  TokenSetup s;
  s.config.tokens.emplace_back();
  KF_TRY(s.config.tokens.front().module_path, find_softhsm_module());
  KF_TRY(const std::string conf, write_softhsm_conf(dir));
  const fs::path base = fs::path(conf).parent_path();
  s.token_label = token_label;
  s.so_pin_file = (base / "so-pin").string();
  s.config.tokens.front().pin_file = (base / "pin").string();
  std::error_code ec;  // another SO PIN than the token was made with would only mislead
  if (fs::is_empty(base / "tokens", ec)) {
    KF_CHECK(write_pin_file(s.so_pin_file));
  }
  KF_CHECK(write_pin_file(s.config.tokens.front().pin_file));
  s.config.tokens.front().environment = {{"SOFTHSM2_CONF", conf}};
  s.config.tokens.front().token_uri = "pkcs11:token=";
  for (const char c : token_label) {  // RFC 7512: percent-encoded
    const auto u = static_cast<std::uint8_t>(c);
    if ((u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z') || (u >= '0' && u <= '9') || u == '-' || u == '_' ||
        u == '.') {
      s.config.tokens.front().token_uri += c;
    } else {
      s.config.tokens.front().token_uri += '%';
      append_hex(s.config.tokens.front().token_uri, ByteView(&u, 1));
    }
  }
  s.config.identity_keys = {{Curve::p256, "SK.DP.ECDSA P-256", {}},
                            {Curve::brainpool_p256r1, "SK.DP.ECDSA brainpoolP256r1", {}}};
  s.config.wrap_key_label = "KEK";
  return s;
}

}  // namespace kf::hsm
