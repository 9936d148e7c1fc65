#include "drivers/core/sim_transport.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "drivers/ecc/ecc_regs.hpp"
#include "host/os/programs.hpp"

namespace kf::ecc {
namespace {

using Clock = std::chrono::steady_clock;

Error system_error(const char* what) { return {"ecc-sim", std::string(what) + ": " + std::strerror(errno)}; }

Result<std::string> program_path(const std::string& configured) {
  if (!configured.empty()) return configured;
  const auto here = os::own_folder();
  if (auto p = os::find_program(here, "keyferry-ecc-sim")) return *p;
  return Error{"ecc-sim", "keyferry-ecc-sim is not in " + here.string() + "; build it or configure its path"};
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

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

std::string exit_text(int status) {
  return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                             : "exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

Result<std::unique_ptr<SimTransport>> SimTransport::open(const SimOptions& options) {
  if (options.dma_bytes == 0 || options.dma_bytes % 4096 != 0 || options.dma_base % 4096 != 0)
    return Error{"ecc-sim", "the DMA memory must be whole pages"};
  std::unique_ptr<SimTransport> t(new SimTransport);
  t->answer_limit_ = options.answer_limit;
  KF_TRY(t->mailbox_, mailbox::Mailbox::create(options.dma_bytes, options.dma_base));
  KF_CHECK(t->spawn(options));
  t->mailbox_->close_fd();
  // The first answer may take longer: the model is being made.
  if (t->mailbox_->ask(kRegId)) t->ring();
  if (!t->wait_for_answer(options.start_limit)) {
    const bool no_model = t->exit_status_ && WIFEXITED(*t->exit_status_) && WEXITSTATUS(*t->exit_status_) == 3;
    if (no_model) return Error{"no-model", "this build of keyferry-ecc-sim holds no simulated core"};
    return Error{"ecc-sim", t->state_.error().detail};
  }
  return t;
}

Status SimTransport::spawn(const SimOptions& options) {
  KF_TRY(const std::string path, program_path(options.program));
  doorbell_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  interrupt_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (doorbell_fd_ < 0 || interrupt_fd_ < 0) return system_error("eventfd");
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return system_error("socketpair");
  control_fd_ = ends[0];

  SpawnPlan plan;
  // In two steps, by numbers above all of them: a descriptor may already have the number that another one is to get.
  const std::array<int, 4> fds{ends[1], mailbox_->fd(), doorbell_fd_, interrupt_fd_};
  constexpr std::array<int, 4> as{mailbox::kControlFd, mailbox::kMemoryFd, mailbox::kDoorbellFd, mailbox::kInterruptFd};
  const int aside = std::max(*std::max_element(fds.begin(), fds.end()), as.back()) + 1;
  for (std::size_t i = 0; i < fds.size(); ++i)
    posix_spawn_file_actions_adddup2(&plan.actions, fds[i], aside + static_cast<int>(i));
  for (std::size_t i = 0; i < fds.size(); ++i)
    posix_spawn_file_actions_adddup2(&plan.actions, aside + static_cast<int>(i), as[i]);
  posix_spawn_file_actions_addclosefrom_np(&plan.actions, as.back() + 1);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&plan.attributes, &none);
  posix_spawnattr_setsigdefault(&plan.attributes, &all);
  // Its own process group: Ctrl-C at the terminal stops the server, which then ends its simulators in order.
  posix_spawnattr_setpgroup(&plan.attributes, 0);
  posix_spawnattr_setflags(&plan.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::vector<std::string> arguments{"keyferry-ecc-sim"};
  if (options.test_build) arguments.emplace_back("--test-build");
  if (options.any_thread) arguments.emplace_back("--any-thread");
  if (options.seed) arguments.insert(arguments.end(), {"--seed", std::to_string(*options.seed)});
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  const int rc = posix_spawn(&pid_, path.c_str(), &plan.actions, &plan.attributes, argv.data(), environ);
  ::close(ends[1]);
  if (rc != 0) {
    pid_ = -1;
    return Error{"ecc-sim", "cannot start '" + path + "': " + std::strerror(rc)};
  }
  pid_fd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  if (pid_fd_ < 0) return system_error("pidfd_open");
  return {};
}

SimTransport::~SimTransport() {
  close_fd(control_fd_);
  if (pid_ > 0 && !reap(std::chrono::milliseconds(500))) {
    // By the descriptor: where somebody else reaps children, the number may belong to another process by now.
    if (pid_fd_ >= 0)
      ::syscall(SYS_pidfd_send_signal, pid_fd_, SIGKILL, nullptr, 0);
    else
      ::kill(pid_, SIGKILL);
    reap(std::chrono::milliseconds(5000));
  }
  close_fd(pid_fd_);
  close_fd(doorbell_fd_);
  close_fd(interrupt_fd_);
}

std::optional<int> SimTransport::reap(std::chrono::milliseconds limit) {
  if (pid_fd_ >= 0) {
    pollfd p{pid_fd_, POLLIN, 0};
    ::poll(&p, 1, static_cast<int>(limit.count()));
  }
  int status = 0;
  const pid_t reaped = ::waitpid(pid_, &status, WNOHANG);
  // A host that ignores SIGCHLD or waits for any child has it already.
  if (reaped < 0 && errno == ECHILD && ended())
    status = 0;
  else if (reaped != pid_)
    return std::nullopt;
  pid_ = -1;
  exit_status_ = status;
  return status;
}

bool SimTransport::ended() const {
  pollfd p{pid_fd_, POLLIN, 0};
  return ::poll(&p, 1, 0) != 0;
}

void SimTransport::lose(const char* reason, std::string detail) {
  if (state_.ok()) state_ = Error{reason, std::move(detail)};
}

Status SimTransport::alive() {
  if (state_.ok() && ended()) {
    const auto status = reap(std::chrono::milliseconds(100));
    lose("device-gone", "keyferry-ecc-sim ended: " + (status ? exit_text(*status) : std::string("not reaped yet")));
  }
  return state_;
}

void SimTransport::ring() {
  const std::uint64_t one = 1;
  // It cannot fill up: the simulator takes what is there when it wakes.
  if (::write(doorbell_fd_, &one, sizeof one) < 0) return;
}

std::optional<std::uint32_t> SimTransport::wait_for_answer(std::chrono::milliseconds limit) {
  for (int spin = 0; spin < 64; ++spin)
    if (const auto a = mailbox_->answer()) return a;
  const auto end = Clock::now() + limit;
  for (;;) {
    mailbox_->wait_answer(20);
    if (const auto a = mailbox_->answer()) return a;
    if (!alive().ok()) return mailbox_->answer();
    if (Clock::now() > end) {
      lose("device-stuck", "keyferry-ecc-sim (pid " + std::to_string(pid_) + ") did not answer within " +
                               std::to_string(limit.count()) + " ms");
      return std::nullopt;
    }
  }
}

std::uint32_t SimTransport::read(std::uint32_t offset) {
  if (!state_.ok()) return kAllOnes;
  if (mailbox_->ask(offset)) ring();
  return wait_for_answer(answer_limit_).value_or(kAllOnes);
}

void SimTransport::write(std::uint32_t offset, std::uint32_t value) {
  if (!state_.ok()) return;
  if (mailbox_->full()) {
    const auto end = Clock::now() + answer_limit_;
    while (mailbox_->full()) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      if (!alive().ok()) return;
      if (Clock::now() > end) {
        lose("device-stuck", "keyferry-ecc-sim (pid " + std::to_string(pid_) + ") took no write within " +
                                 std::to_string(answer_limit_.count()) + " ms");
        return;
      }
    }
  }
  if (mailbox_->post(offset, value)) ring();
}

void SimTransport::rearm_interrupt() {
  std::uint64_t count = 0;
  // Nothing there: nobody rang.
  if (::read(interrupt_fd_, &count, sizeof count) < 0) count = 0;
  write(kRegIrqStatus, kIrqStatusCompletion.mask() | kIrqStatusError.mask() | kIrqStatusEntropy.mask());
}

double SimTransport::sim_cpu_seconds() const {
  return 1e-9 * static_cast<double>(mailbox_->header().cpu_ns.load(std::memory_order_relaxed));
}
std::uint64_t SimTransport::sim_cycles() const { return mailbox_->header().cycles.load(std::memory_order_relaxed); }
std::uint64_t SimTransport::sim_heartbeat() const {
  return mailbox_->header().heartbeat.load(std::memory_order_relaxed);
}

}  // namespace kf::ecc
