#include "hsm/worker/probe.hpp"

#include <unistd.h>

#include <cstring>
#include <optional>

#include "hsm/p11/token.hpp"
#include "hsm/worker/log.hpp"
#include "hsm/worker/measure.hpp"
#include "hsm/worker/probe_steps.hpp"
#include "hsm/worker/provision.hpp"

namespace kf::hsm::worker {
namespace {

Status open(ProbeContext& x, const wire::Configuration& c) {
  const bool with_pin = !c.pin_file.empty() || !c.pin_env.empty() || !c.pin_credential.empty();
  if (c.token_uri.empty()) {
    if (with_pin) return Error{"hsm-token", "a PIN source without a token: name the token by its URI"};
    return {};
  }
  auto info = p11::find_token(*x.module, c.token_uri);
  if (!info) {
    if (with_pin) return info.error();
    x.no_token = info.error();  // the survey goes on without it
    return {};
  }
  x.token = std::make_unique<p11::Token>(*x.module, std::move(*info));
  if (!with_pin) return {};
  KF_TRY(const SecretBytes pin, user_pin(c));
  KF_CHECK(x.token->login(pin, false));
  x.logged_in = true;
  return {};
}

Result<SecretBytes> answer(ProbeContext& x, const wire::Configuration& c, wire::Reader& args) {
  const auto op = static_cast<wire::AdminOp>(args.u32());
  if (op == wire::AdminOp::measure) {
    const auto run = wire::MeasureRun::decode(args);
    if (!run) return Error{"hsm-call", "malformed arguments"};
    KF_CHECK(x.need_token());
    KF_TRY(const wire::MeasureRate rate, measure(*x.module, x.token->info().slot, c, *run));
    return rate.encode();
  }
  if (op != wire::AdminOp::probe)
    return Error{"hsm-call", "operation " + std::to_string(static_cast<std::uint32_t>(op)) + " is unknown here"};
  const std::string name = args.string();
  const std::string arguments = args.string();
  if (!args.at_end()) return Error{"hsm-call", "malformed arguments"};
  KF_TRY(const std::string text, probe_step(x, name, arguments));
  if (text.size() > wire::kMaxMessage - 256) return Error{"hsm-call", "step " + name + ": the answer is too long"};
  return SecretBytes(view(text));
}

}  // namespace

int run_probe(int fd, const wire::Configuration& c) {
  ::dup2(STDERR_FILENO, STDOUT_FILENO);  // what the module prints must not end up in the page
  ProbeContext x;
  const auto tell = [&](wire::Kind kind, std::uint64_t serial, const Result<SecretBytes>& r) {
    const SecretBytes message = wire::encode_answer(r);
    return wire::send_message(fd, kind, serial, message.expose()) == 0;
  };
  auto module = p11::Module::load(c.module_path);
  if (!module) {
    tell(wire::Kind::ready, 0, module.error());
    return 2;
  }
  x.module = std::move(*module);
  if (const Status s = open(x, c); !s) {
    tell(wire::Kind::ready, 0, s.error());
    return 2;
  }
  wire::Writer none;
  none.u32(0);  // identity keys
  if (!tell(wire::Kind::ready, 0, none.take())) return 1;

  SecretBytes buffer(wire::kMaxMessage);
  for (;;) {
    wire::Message m{};
    const int rc = wire::receive_message(fd, buffer.expose_mut(), m);
    if (rc == EPIPE) return 0;
    if (rc != 0 || m.header.kind != wire::Kind::call) {
      log_line(rc != 0 ? std::string("receive: ") + std::strerror(rc) : "unexpected message");
      return 1;
    }
    wire::Reader args(m.body);
    if (!tell(wire::Kind::answer, m.header.serial, answer(x, c, args))) return 1;
  }
}

}  // namespace kf::hsm::worker
