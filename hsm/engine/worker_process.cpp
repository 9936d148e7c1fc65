#include "hsm/engine/worker_process.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "host/os/programs.hpp"

namespace kf::hsm {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

Result<std::string> worker_path(const HsmConfig& c) {
  if (!c.worker_path.empty()) return c.worker_path;
  const auto here = os::own_folder();
  if (auto p = os::find_program(here, "keyferry-hsm-worker")) return *p;
  return Error{"hsm-worker", "keyferry-hsm-worker is not in " + here.string() + "; build it or configure worker_path"};
}

Result<IdentityPoints> decode_ready(ByteView answer) {
  KF_TRY(const SecretBytes payload, wire::decode_answer(answer));
  wire::Reader r(payload.expose());
  IdentityPoints points(std::min<std::uint32_t>(r.u32(), 16));
  for (auto& [curve, point] : points) {
    curve = static_cast<Curve>(r.u32());
    if (!r.fixed(point)) break;
  }
  if (!r.at_end()) return Error{"hsm-worker", "malformed ready message"};
  return points;
}

Result<WorkerProcess> WorkerProcess::spawn(const HsmConfig& c, const TokenConfig& t, wire::Configuration::Mode mode,
                                           int ring_fd, int event_fd) {
  wire::Configuration w;
  w.mode = mode;
  w.module_path = t.module_path;
  w.token_uri = t.token_uri;
  w.pin_file = t.pin_file;
  w.pin_env = t.pin_env;
  w.pin_credential = t.pin_credential;
  w.wrap_key_label = c.wrap_key_label;
  for (const auto& k : c.identity_keys) w.keys.push_back({static_cast<std::uint8_t>(k.curve), k.label});
  w.threads = t.threads;
  w.sign_only = c.sign_only;
  w.keep_alive_ms = static_cast<std::uint32_t>(c.keep_alive.count());
  w.allow_test_import = mode == wire::Configuration::Mode::test_vectors;

  os::ChildCommand command;
  KF_TRY(command.program, worker_path(c));
  command.arguments = {"keyferry-hsm-worker"};
  command.environment = t.environment;
  command.descriptors = {ring_fd, event_fd};
  auto child = os::ChildProcess::start(command);
  if (!child) return Error{"hsm-worker", child.error().detail};
  WorkerProcess p(std::move(*child));
  const SecretBytes message = w.encode();
  if (const int rc = wire::send_message(p.fd(), wire::Kind::configure, 0, message.expose()); rc != 0 && rc != EPIPE) {
    return Error{"hsm-worker", std::string("sending the configuration: ") + std::strerror(rc)};
  }
  return p;
}

Result<SecretBytes> WorkerProcess::receive(wire::Kind kind, std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  SecretBytes buffer(wire::kMaxMessage);
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return Error{"hsm-worker", "no answer within " + std::to_string(limit.count()) + " ms"};
    pollfd p{fd(), POLLIN, 0};
    if (const int n = ::poll(&p, 1, static_cast<int>(left)); n <= 0) continue;
    wire::Message m{};
    const int rc = wire::receive_message(fd(), buffer.expose_mut(), m, MSG_DONTWAIT);
    if (rc == EAGAIN) continue;
    if (rc == EPIPE) {
      const auto status = reap(std::chrono::milliseconds(500));
      return Error{"hsm-worker", "the worker ended early (" + (status ? wait_status_text(*status) : "still ending") +
                                     "): the PKCS#11 module may have crashed it"};
    }
    if (rc != 0 || m.header.kind != kind) return Error{"hsm-worker", "unexpected message from the worker"};
    return SecretBytes(m.body);
  }
}

Result<IdentityPoints> WorkerProcess::wait_ready(std::chrono::milliseconds limit) {
  KF_TRY(const SecretBytes answer, receive(wire::Kind::ready, limit));
  return decode_ready(answer.expose());
}

Result<SecretBytes> WorkerProcess::call(wire::AdminOp op, const wire::Writer& args, std::chrono::milliseconds limit) {
  wire::Writer message;
  message.u32(static_cast<std::uint32_t>(op));
  const SecretBytes full = SecretBytes::adopt(concat(message.bytes(), args.bytes()));
  if (const int rc = wire::send_message(fd(), wire::Kind::call, 1, full.expose()); rc != 0 && rc != EPIPE) {
    return Error{"hsm-worker", std::string("sending a call: ") + std::strerror(rc)};
  }
  KF_TRY(const SecretBytes answer, receive(wire::Kind::answer, limit));
  return wire::decode_answer(answer.expose());
}

}  // namespace kf::hsm
