#include "hsm/worker/serve.hpp"

#include <cerrno>
#include <cstring>

#include "hsm/worker/log.hpp"

namespace kf::hsm::worker {

int serve_calls(int fd, TokenOps& ops) {
  SecretBytes buffer(wire::kMaxMessage);
  for (;;) {
    wire::Message m{};
    const int rc = wire::receive_message(fd, buffer.expose_mut(), m);
    if (rc == EPIPE) return 0;  // the client closed its end, or died
    if (rc != 0 || m.header.kind != wire::Kind::call) {
      log_line(rc != 0 ? std::string("receive: ") + std::strerror(rc) : "unexpected message");
      return 1;
    }
    wire::Reader args(m.body);
    const auto op = static_cast<wire::AdminOp>(args.u32());
    const SecretBytes answer = wire::encode_answer(ops.admin(op, args));
    wipe(buffer.expose_mut().data(), sizeof(wire::Header) + m.body.size());
    if (wire::send_message(fd, wire::Kind::answer, m.header.serial, answer.expose()) != 0) return 1;
    if (ops.must_exit()) return 3;
  }
}

}  // namespace kf::hsm::worker
