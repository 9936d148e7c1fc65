#include "host/os/child_process.hpp"

#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iterator>
#include <string_view>

namespace kf::os {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kFirstFd = 3;

Error system_error(const char* what) { return {"child", std::string(what) + ": " + std::strerror(errno)}; }

std::vector<std::string> environment_for(const ChildCommand& c) {
  std::vector<std::string> out;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view entry(*e);
    const std::string_view name = entry.substr(0, entry.find('='));
    if (std::ranges::none_of(c.environment, [&](const auto& p) { return p.first == name; })) out.emplace_back(entry);
  }
  for (const auto& [name, value] : c.environment) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& v) {
  std::vector<char*> out;
  out.reserve(v.size() + 1);
  for (std::string& s : v) out.push_back(s.data());
  out.push_back(nullptr);
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

  // They become 3, 4 ... In two steps, by numbers above all of them: one may already have the number that another one
  // is to get.
  void hand_on(const std::vector<int>& fds) {
    const int count = static_cast<int>(fds.size());
    const int aside = std::max(*std::ranges::max_element(fds) + 1, kFirstFd + count);
    for (int i = 0; i < count; ++i)
      posix_spawn_file_actions_adddup2(&actions, fds[static_cast<std::size_t>(i)], aside + i);
    for (int i = 0; i < count; ++i) posix_spawn_file_actions_adddup2(&actions, aside + i, kFirstFd + i);
    posix_spawn_file_actions_addclosefrom_np(&actions, kFirstFd + count);
  }
  void start_afresh() {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
};

}  // namespace

Result<ChildProcess> ChildProcess::start(const ChildCommand& c) {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return system_error("socketpair");
  ChildProcess p;
  p.socket_.reset(ends[0]);
  const Fd theirs(ends[1]);

  std::vector<int> fds{theirs.get()};
  std::ranges::copy_if(c.descriptors, std::back_inserter(fds), [](int fd) { return fd >= 0; });
  SpawnPlan plan;
  plan.hand_on(fds);
  plan.start_afresh();
  std::vector<std::string> arguments = c.arguments;
  std::vector<std::string> environment = environment_for(c);
  pid_t pid = -1;
  const int rc = posix_spawn(&pid, c.program.c_str(), &plan.actions, &plan.attributes, pointers(arguments).data(),
                             pointers(environment).data());
  if (rc != 0) return Error{"child", "cannot start '" + c.program + "': " + std::strerror(rc)};
  p.pid_ = pid;
  p.process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!p.process_.open() && errno != ESRCH) return system_error("pidfd_open");
  if (!p.process_.open()) p.pid_ = -1;  // ended already, and reaped by the system: the host ignores SIGCHLD
  return p;
}

ChildProcess::ChildProcess(ChildProcess&& o) noexcept
    : pid_(std::exchange(o.pid_, -1)),
      process_(std::move(o.process_)),
      socket_(std::move(o.socket_)),
      status_(o.status_) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& o) noexcept {
  if (this != &o) {
    end();
    pid_ = std::exchange(o.pid_, -1);
    process_ = std::move(o.process_);
    socket_ = std::move(o.socket_);
    status_ = o.status_;
  }
  return *this;
}

ChildProcess::~ChildProcess() { end(); }

void ChildProcess::end() noexcept {
  hang_up();
  if (pid_ > 0 && !reap(std::chrono::milliseconds(0))) {
    kill_now();
    reap(std::chrono::milliseconds(200));
  }
}

bool ChildProcess::ended() const noexcept {
  pollfd p{process_.get(), POLLIN, 0};
  return pid_ <= 0 || ::poll(&p, 1, 0) > 0;
}

// By the descriptor: where somebody else reaps children, the number may belong to another process by now.
void ChildProcess::kill_now() noexcept {
  if (pid_ <= 0) return;
  if (process_.open())
    ::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0);
  else
    ::kill(pid_, SIGKILL);
}

std::optional<int> ChildProcess::reap(std::chrono::milliseconds limit) noexcept {
  if (pid_ <= 0) return status_;
  const auto deadline = Clock::now() + limit;
  for (auto left = limit; !ended() && left.count() > 0;) {
    pollfd p{process_.get(), POLLIN, 0};
    ::poll(&p, 1, static_cast<int>(left.count()));
    left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  }
  int status = 0;
  const pid_t reaped = ::waitpid(pid_, &status, WNOHANG);
  // A host that ignores SIGCHLD or waits for any child has it already.
  if (reaped != pid_ && !(reaped < 0 && errno == ECHILD && ended())) return std::nullopt;
  status_ = reaped == pid_ ? status : 0;
  pid_ = -1;
  return status_;
}

std::string wait_status_text(int status) {
  return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                             : "exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace kf::os
