#include "hsm/wire/wire.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

namespace kf::hsm::wire {

void Writer::put(const void* p, std::size_t n) {
  // Grown by hand so that the outgrown buffer is wiped, which a plain vector would not do.
  SecretBytes grown(buffer_.size() + n);
  if (!buffer_.empty()) std::memcpy(grown.expose_mut().data(), buffer_.expose().data(), buffer_.size());
  if (n != 0) std::memcpy(grown.expose_mut().data() + buffer_.size(), p, n);
  buffer_ = std::move(grown);
}
void Writer::u32(std::uint32_t v) { put(&v, sizeof v); }
void Writer::field(ByteView v) {
  u32(static_cast<std::uint32_t>(v.size()));
  put(v.data(), v.size());
}

std::uint32_t Reader::u32() {
  std::uint32_t v = 0;
  if (!ok_ || rest_.size() < sizeof v) {
    ok_ = false;
    return 0;
  }
  std::memcpy(&v, rest_.data(), sizeof v);
  rest_ = rest_.subspan(sizeof v);
  return v;
}
ByteView Reader::field() {
  const std::uint32_t n = u32();
  if (!ok_ || n > rest_.size()) {
    ok_ = false;
    return {};
  }
  const ByteView v = rest_.first(n);
  rest_ = rest_.subspan(n);
  return v;
}

SecretBytes Configuration::encode() const {
  Writer w;
  w.u32(static_cast<std::uint32_t>(mode));
  for (const std::string* s : {&module_path, &token_uri, &pin_file, &pin_env, &pin_credential, &wrap_key_label})
    w.field(*s);
  w.u32(threads);
  w.u32(keep_alive_ms);
  w.u32(allow_test_import ? 1 : 0);
  w.u32(sign_only ? 1 : 0);
  w.u32(static_cast<std::uint32_t>(keys.size()));
  for (const Key& k : keys) {
    w.u32(k.curve);
    w.field(k.label);
  }
  return w.take();
}

std::optional<Configuration> Configuration::decode(ByteView v) {
  Reader r(v);
  Configuration c;
  c.mode = static_cast<Mode>(r.u32());
  for (std::string* s : {&c.module_path, &c.token_uri, &c.pin_file, &c.pin_env, &c.pin_credential, &c.wrap_key_label})
    *s = r.string();
  c.threads = r.u32();
  c.keep_alive_ms = r.u32();
  c.allow_test_import = r.u32() != 0;
  c.sign_only = r.u32() != 0;
  const std::uint32_t n = r.u32();
  for (std::uint32_t i = 0; i < n && r.ok(); ++i) {
    Key k;
    k.curve = static_cast<std::uint8_t>(r.u32());
    k.label = r.string();
    c.keys.push_back(std::move(k));
  }
  if (!r.at_end() || c.mode < Mode::serve || c.mode > Mode::probe) return std::nullopt;
  return c;
}

SecretBytes encode_answer(const Result<SecretBytes>& r) {
  Writer w;
  w.u32(r.ok() ? 1 : 0);
  if (r.ok()) {
    w.field(r.value().expose());
  } else {
    w.field(r.error().reason);
    w.field(r.error().detail);
  }
  return w.take();
}

Result<SecretBytes> decode_answer(ByteView v) {
  Reader r(v);
  if (r.u32() == 1) {
    const ByteView payload = r.field();
    if (r.at_end()) return SecretBytes(payload);
  } else {
    Error e{r.string(), r.string()};  // braces: evaluated from left to right
    if (r.at_end() && !e.reason.empty()) return e;
  }
  return Error{"hsm-worker", "malformed answer from the worker"};
}

int send_message(int fd, Kind kind, std::uint64_t serial, ByteView body, int flags) {
  if (sizeof(Header) + body.size() > kMaxMessage) return EMSGSIZE;
  Header h;
  h.kind = kind;
  h.octets = static_cast<std::uint32_t>(body.size());
  h.serial = serial;
  iovec iov[2] = {{&h, sizeof h}, {const_cast<std::uint8_t*>(body.data()), body.size()}};
  msghdr m{};
  m.msg_iov = iov;
  m.msg_iovlen = 2;
  for (;;) {
    if (::sendmsg(fd, &m, flags | MSG_NOSIGNAL) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

int receive_message(int fd, std::span<std::uint8_t> buffer, Message& out, int flags) {
  ssize_t n = 0;
  do n = ::recv(fd, buffer.data(), buffer.size(), flags | MSG_TRUNC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EWOULDBLOCK ? EAGAIN : (errno == ECONNRESET ? EPIPE : errno);
  if (n == 0) return EPIPE;
  const auto got = static_cast<std::size_t>(n);
  if (got > buffer.size() || got < sizeof(Header)) return EPROTO;
  std::memcpy(&out.header, buffer.data(), sizeof(Header));
  const Header& h = out.header;
  if (h.magic != kMagic || h.version != kVersion || h.octets != got - sizeof(Header)) return EPROTO;
  out.body = ByteView(buffer.data() + sizeof(Header), h.octets);
  return 0;
}

}  // namespace kf::hsm::wire
