#include "hsm/worker/serve.hpp"

#include <cerrno>
#include <cstring>

#include "hsm/worker/log.hpp"

namespace kf::hsm::worker {
namespace {

// Every message is a call; anything else ends the worker.
template <class OnCall>
int each_call(int fd, OnCall&& on_call) {
  SecretBytes buffer(wire::kMaxMessage);
  for (;;) {
    wire::Message m{};
    const int rc = wire::receive_message(fd, buffer.expose_mut(), m);
    if (rc == EPIPE) return 0;  // the engine closed its end, or died
    if (rc != 0) {
      log_line(std::string("receive: ") + std::strerror(rc));
      return 1;
    }
    if (m.header.kind != wire::Kind::call) {
      log_line("unexpected message");
      return 1;
    }
    const int status = on_call(m);
    wipe(buffer.expose_mut().data(), sizeof(wire::Header) + m.body.size());  // plaintext of a record may have passed
    if (status >= 0) return status;
  }
}

}  // namespace

int serve(int fd, Crew& crew) {
  return each_call(fd, [&](const wire::Message& m) {
    crew.call(m.header.serial, SecretBytes(m.body));
    return -1;
  });
}

int serve_calls(int fd, TokenOps& ops) {
  return each_call(fd, [&](const wire::Message& m) {
    wire::Reader args(m.body);
    const auto op = static_cast<wire::AdminOp>(args.u32());
    const SecretBytes answer = wire::encode_answer(ops.admin(op, args));
    if (wire::send_message(fd, wire::Kind::answer, m.header.serial, answer.expose()) != 0) return 1;
    return ops.must_exit() ? 3 : -1;
  });
}

}  // namespace kf::hsm::worker
