#include "hsm/engine/worker_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "host/os/programs.hpp"

namespace kf::hsm {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<std::string> environment_for(const TokenConfig& c) {
  std::vector<std::string> out;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view entry(*e);
    const std::string_view name = entry.substr(0, entry.find('='));
    const bool replaced =
        std::any_of(c.environment.begin(), c.environment.end(), [&](const auto& p) { return p.first == name; });
    if (!replaced) out.emplace_back(entry);
  }
  for (const auto& [name, value] : c.environment) out.push_back(name + "=" + value);
  return out;
}

// Owns the two posix_spawn objects.
struct SpawnPlan {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnPlan() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
};

Result<pid_t> spawn_process(const std::string& path, const std::vector<std::string>& environment,
                            std::array<int, 3> fds) {
  SpawnPlan plan;
  // In two steps, by numbers above all of them: a descriptor may already have the number that another one is to get.
  const int aside = std::max(*std::max_element(fds.begin(), fds.end()), wire::kWorkerFd + 2) + 1;
  int next = wire::kWorkerFd;
  for (std::size_t i = 0; i < fds.size(); ++i) {
    if (fds[i] >= 0) posix_spawn_file_actions_adddup2(&plan.actions, fds[i], aside + static_cast<int>(i));
  }
  for (std::size_t i = 0; i < fds.size(); ++i) {
    if (fds[i] >= 0) posix_spawn_file_actions_adddup2(&plan.actions, aside + static_cast<int>(i), next++);
  }
  posix_spawn_file_actions_addclosefrom_np(&plan.actions, next);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&plan.attributes, &none);
  posix_spawnattr_setsigdefault(&plan.attributes, &all);
  // Its own process group: Ctrl-C at the terminal stops the server, which then ends its workers in order.
  posix_spawnattr_setpgroup(&plan.attributes, 0);
  posix_spawnattr_setflags(&plan.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::string name = "keyferry-hsm-worker";
  std::array<char*, 2> argv{name.data(), nullptr};
  std::vector<char*> envp;
  for (const std::string& e : environment) envp.push_back(const_cast<char*>(e.c_str()));
  envp.push_back(nullptr);
  pid_t pid = -1;
  const int rc = posix_spawn(&pid, path.c_str(), &plan.actions, &plan.attributes, argv.data(), envp.data());
  if (rc != 0) return Error{"hsm-worker", "cannot start '" + path + "': " + std::strerror(rc)};
  return pid;
}

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

  KF_TRY(const std::string path, worker_path(c));
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return Error{"hsm-worker", std::string("socketpair: ") + std::strerror(errno)};
  }
  auto pid = spawn_process(path, environment_for(t), {ends[1], ring_fd, event_fd});
  ::close(ends[1]);
  if (!pid) {
    ::close(ends[0]);
    return std::move(pid).error();
  }
  WorkerProcess p(*pid, ends[0]);
  const SecretBytes message = w.encode();
  if (const int rc = wire::send_message(p.fd_, wire::Kind::configure, 0, message.expose()); rc != 0 && rc != EPIPE) {
    return Error{"hsm-worker", std::string("sending the configuration: ") + std::strerror(rc)};
  }
  return p;
}

WorkerProcess& WorkerProcess::operator=(WorkerProcess&& o) noexcept {
  if (this != &o) {
    hang_up();
    kill_now();
    reap(std::chrono::milliseconds(200));
    pid_ = std::exchange(o.pid_, -1);
    fd_ = std::exchange(o.fd_, -1);
  }
  return *this;
}

WorkerProcess::~WorkerProcess() {
  hang_up();
  if (pid_ > 0 && !reap(std::chrono::milliseconds(0))) {
    kill_now();
    reap(std::chrono::milliseconds(200));
  }
}

Result<SecretBytes> WorkerProcess::receive(wire::Kind kind, std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  SecretBytes buffer(wire::kMaxMessage);
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return Error{"hsm-worker", "no answer within " + std::to_string(limit.count()) + " ms"};
    pollfd p{fd_, POLLIN, 0};
    if (const int n = ::poll(&p, 1, static_cast<int>(left)); n <= 0) continue;
    wire::Message m{};
    const int rc = wire::receive_message(fd_, buffer.expose_mut(), m, MSG_DONTWAIT);
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
  if (const int rc = wire::send_message(fd_, wire::Kind::call, 1, full.expose()); rc != 0 && rc != EPIPE) {
    return Error{"hsm-worker", std::string("sending a call: ") + std::strerror(rc)};
  }
  KF_TRY(const SecretBytes answer, receive(wire::Kind::answer, limit));
  return wire::decode_answer(answer.expose());
}

void WorkerProcess::hang_up() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void WorkerProcess::kill_now() noexcept {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

std::optional<int> WorkerProcess::reap(std::chrono::milliseconds limit) noexcept {
  const auto deadline = Clock::now() + limit;
  while (pid_ > 0) {
    int status = 0;
    const pid_t r = ::waitpid(pid_, &status, WNOHANG);
    if (r == pid_ || (r < 0 && errno == ECHILD)) {
      pid_ = -1;
      return status;
    }
    if (Clock::now() >= deadline) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return 0;
}

std::string wait_status_text(int status) {
  return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                             : "exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace kf::hsm
