// keyferry-hsm-worker: one process, one PKCS#11 module, one token. See README.md of this folder.
//
// Exit status: 0 the engine closed the socket; 1 protocol error; 2 refused to start (the reason was sent; not started
// by the engine); 3 fatal CK_RV.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>

#include "hsm/worker/crew.hpp"
#include "hsm/worker/log.hpp"
#include "hsm/worker/probe.hpp"
#include "hsm/worker/provision.hpp"
#include "hsm/worker/serve.hpp"

namespace kf::hsm::worker {
namespace {

void process_hygiene() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // beside the closed socket: also ends a worker that hangs inside the module
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);   // the server turns its log at it; this process has none
  ::signal(SIGINT, SIG_IGN);   // Ctrl-C reaches the whole group: the engine decides, and no call is cut in the middle
  const rlimit no_core{0, 0};  // a core file would hold the PIN and keys
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::umask(077);
}

bool is_socket(int fd) {
  struct stat st {};
  return ::fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

int refuse(int fd, const Error& e) {
  const SecretBytes answer = wire::encode_answer(e);
  wire::send_message(fd, wire::Kind::ready, 0, answer.expose());
  return 2;
}

bool tell_ready(int fd, const std::vector<IdentityKey>& keys) {
  wire::Writer w;
  w.u32(static_cast<std::uint32_t>(keys.size()));
  for (const IdentityKey& k : keys) {
    w.u32(static_cast<std::uint32_t>(k.curve));
    w.field(k.q);
  }
  const SecretBytes answer = wire::encode_answer(w.take());
  return wire::send_message(fd, wire::Kind::ready, 0, answer.expose()) == 0;
}

// One call, one answer, then the end: the keys are found by processes that start afterwards.
int run_provisioning(int fd, p11::Module& module, const wire::Configuration& c) {
  if (!tell_ready(fd, {})) return 1;
  SecretBytes buffer(wire::kMaxMessage);
  wire::Message m{};
  const int rc = wire::receive_message(fd, buffer.expose_mut(), m);
  if (rc == EPIPE) return 0;
  wire::Reader args(m.body);
  if (rc != 0 || m.header.kind != wire::Kind::call ||
      args.u32() != static_cast<std::uint32_t>(wire::AdminOp::provision))
    return 1;
  const SecretBytes answer = wire::encode_answer(provision(module, c, args));
  return wire::send_message(fd, wire::Kind::answer, m.header.serial, answer.expose()) == 0 ? 0 : 1;
}

Result<std::unique_ptr<p11::Token>> open_token(p11::Module& module, const wire::Configuration& c) {
  KF_TRY(auto info, p11::find_token(module, c.token_uri));
  auto token = std::make_unique<p11::Token>(module, std::move(info));
  KF_TRY(const SecretBytes pin, user_pin(c));
  KF_CHECK(token->login(pin, false));
  return token;
}

// One TokenOps a thread, as many as the token has sessions for.
Result<std::vector<std::unique_ptr<TokenOps>>> open_sessions(p11::Token& token, p11::SessionPool& pool,
                                                             const wire::Configuration& c) {
  std::vector<std::unique_ptr<TokenOps>> all(1);
  KF_TRY(all.front(), TokenOps::open(token, pool, c));
  const unsigned wanted = token.module().one_thread_only() ? 1 : std::clamp(c.threads, 1U, wire::kMaxThreads);
  if (wanted < c.threads) log_line("this module cannot lock: one thread instead of " + std::to_string(c.threads));
  while (all.size() < wanted) {
    auto more = TokenOps::open(token, pool, c, &all.front()->learnt());
    if (!more) {
      log_line(std::to_string(all.size()) + " of " + std::to_string(wanted) +
               " sessions at work, the token gives no more: " + more.error().text());
      break;
    }
    all.push_back(std::move(*more));
  }
  return all;
}

int run() {
  constexpr int fd = wire::kWorkerFd;
  if (!is_socket(fd)) {
    std::fprintf(stderr, "keyferry-hsm-worker: started by keyferry itself, not by hand; it takes no options\n");
    return 2;
  }
  process_hygiene();
  wire::Configuration config;
  {
    SecretBytes buffer(wire::kMaxMessage);
    wire::Message m{};
    const int rc = wire::receive_message(fd, buffer.expose_mut(), m);
    if (rc == EPIPE) return 0;
    auto decoded =
        rc == 0 && m.header.kind == wire::Kind::configure ? wire::Configuration::decode(m.body) : std::nullopt;
    if (!decoded)
      return refuse(fd, {"hsm-worker", "malformed configuration (worker and server of different versions?)"});
    config = std::move(*decoded);
  }
  if (config.mode == wire::Configuration::Mode::probe) return run_probe(fd, config);
  auto module = p11::Module::load(config.module_path);
  if (!module) return refuse(fd, module.error());
  if (config.mode == wire::Configuration::Mode::provision) return run_provisioning(fd, **module, config);

  auto token = open_token(**module, config);
  if (!token) return refuse(fd, token.error());
  p11::SessionPool pool(**token);
  auto ops = open_sessions(**token, pool, config);
  if (!ops) return refuse(fd, ops.error());
  if (config.mode == wire::Configuration::Mode::test_vectors) {
    return tell_ready(fd, ops->front()->identity_keys()) ? serve_calls(fd, *ops->front()) : 1;
  }
  auto ring = wire::Ring::attach(wire::kRingFd);
  if (!ring) return refuse(fd, ring.error());
  if (!tell_ready(fd, ops->front()->identity_keys())) return 1;
  Crew crew(**ring, fd, wire::kEventFd, config.keep_alive_ms, std::move(*ops));
  return crew.run();
}

}  // namespace
}  // namespace kf::hsm::worker

int main() {
  const int status = kf::hsm::worker::run();
  // Not through exit(): OpenSSL's and the module's exit handlers run in an order that crashes some modules
  // (docs/spec/pkcs11.md L15).
  std::fflush(nullptr);
  ::_exit(status);
}
