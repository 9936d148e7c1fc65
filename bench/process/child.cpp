#include "bench/process/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "host/os/child_process.hpp"
#include "host/os/programs.hpp"

namespace kf::proc {
namespace {

using Clock = std::chrono::steady_clock;
using os::Fd;
constexpr Millis kTick{5};

std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

Error interrupted_error() { return {"interrupted", "interrupted"}; }

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::vector<std::string> environment_for(const SpawnOptions& o) {
  std::vector<std::string> out;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view entry(*e);
    bool replaced = false;
    for (const auto& [name, value] : o.environment) replaced = replaced || entry.substr(0, entry.find('=')) == name;
    if (!replaced) out.emplace_back(entry);
  }
  for (const auto& [name, value] : o.environment) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& v) {
  std::vector<char*> out;
  out.reserve(v.size() + 1);
  for (std::string& s : v) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

int open_log(const std::string& path) { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600); }

// Between fork and exec: async-signal-safe calls only, since the parent may have other threads.
[[noreturn]] void become(pid_t parent, const char* program, char* const* argv, char* const* envp, int out, int err,
                         int report) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above
  ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int s : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) ::signal(s, SIG_DFL);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) ::dup2(null, 0);
  if (out >= 0) ::dup2(out, 1);
  if (err >= 0) ::dup2(err, 2);
  ::execve(program, argv, envp);
  const int e = errno;
  [[maybe_unused]] const ssize_t n = ::write(report, &e, sizeof e);
  ::_exit(127);
}

}  // namespace

Result<Child> Child::spawn(const SpawnOptions& o) {
  const auto refuse = [&](const std::string& what, int e) {
    return Error{"proc-spawn", "cannot start " + o.program + ": " + what + std::strerror(e)};
  };
  Fd out;
  Fd err;
  Fd reader;
  if (o.pipe_stdout) {
    std::array<int, 2> p{-1, -1};
    if (::pipe2(p.data(), O_CLOEXEC) != 0) return refuse("pipe: ", errno);
    reader.reset(p[0]);
    out.reset(p[1]);
  } else if (!o.stdout_file.empty()) {
    out.reset(open_log(o.stdout_file));
    if (out.get() < 0) return refuse(o.stdout_file + ": ", errno);
  }
  if (!o.stderr_file.empty()) {
    err.reset(open_log(o.stderr_file));
    if (err.get() < 0) return refuse(o.stderr_file + ": ", errno);
  }
  std::array<int, 2> p{-1, -1};  // closed by exec, or carries errno
  if (::pipe2(p.data(), O_CLOEXEC) != 0) return refuse("pipe: ", errno);
  const Fd report_reader(p[0]);
  Fd report(p[1]);

  std::vector<std::string> args{base_name(o.program)};
  args.insert(args.end(), o.args.begin(), o.args.end());
  std::vector<std::string> env = environment_for(o);
  const std::vector<char*> argv = pointers(args);
  const std::vector<char*> envp = pointers(env);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return refuse("fork: ", errno);
  if (pid == 0) become(parent, o.program.c_str(), argv.data(), envp.data(), out.get(), err.get(), report.get());
  report.reset();

  Child c;
  c.name_ = args[0];
  c.pid_ = pid;
  c.out_ = reader.release();
  int e = 0;
  ssize_t n = 0;
  do n = ::read(report_reader.get(), &e, sizeof e);
  while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof e)) {
    c.reap(true);
    return refuse("", e);
  }
  return c;
}

Child::Child(Child&& o) noexcept
    : name_(std::move(o.name_)),
      pid_(std::exchange(o.pid_, -1)),
      out_(std::exchange(o.out_, -1)),
      buffer_(std::move(o.buffer_)),
      wait_status_(o.wait_status_) {}

Child& Child::operator=(Child&& o) noexcept {
  if (this != &o) {
    terminate(Millis(1000));
    if (out_ >= 0) ::close(out_);
    name_ = std::move(o.name_);
    pid_ = std::exchange(o.pid_, -1);
    out_ = std::exchange(o.out_, -1);
    buffer_ = std::move(o.buffer_);
    wait_status_ = o.wait_status_;
  }
  return *this;
}

Child::~Child() {
  terminate(Millis(1000));
  if (out_ >= 0) ::close(out_);
}

bool Child::reap(bool block) noexcept {
  if (pid_ <= 0 || wait_status_) return true;
  int s = 0;
  pid_t r = 0;
  do r = ::waitpid(pid_, &s, block ? 0 : WNOHANG);
  while (r < 0 && errno == EINTR);
  if (r == 0) return false;
  wait_status_ = r == pid_ ? s : 0;
  return true;
}

bool Child::running() noexcept { return !reap(false); }

int Child::status() const noexcept {
  const int s = wait_status_.value_or(0);
  return WIFSIGNALED(s) ? 128 + WTERMSIG(s) : WEXITSTATUS(s);
}

std::string Child::end_text() const {
  if (!wait_status_) return "running";
  return os::wait_status_text(*wait_status_);
}

Result<std::string> Child::read_line(Millis limit) {
  const auto deadline = Clock::now() + limit;
  for (;;) {
    if (const auto nl = buffer_.find('\n'); nl != std::string::npos) {
      std::string line = buffer_.substr(0, nl);
      buffer_.erase(0, nl + 1);
      return line;
    }
    if (interrupted()) return interrupted_error();
    if (Clock::now() >= deadline)
      return Error{"proc-timeout", name_ + " said nothing within " + std::to_string(limit.count()) + " ms"};
    pollfd p{out_, POLLIN, 0};
    if (::poll(&p, 1, 50) <= 0) continue;
    std::array<char, 4096> chunk{};
    const ssize_t n = ::read(out_, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (!wait(Millis(2000))) return Error{"proc-ended", name_ + " closed its output"};
      return Error{"proc-ended", name_ + " ended with " + end_text()};
    }
    buffer_.append(chunk.data(), static_cast<std::size_t>(n));
  }
}

Result<int> Child::wait(Millis limit) {
  const auto deadline = Clock::now() + limit;
  while (!reap(false)) {
    if (interrupted()) return interrupted_error();
    if (Clock::now() >= deadline)
      return Error{"proc-timeout", name_ + " did not end within " + std::to_string(limit.count()) + " ms"};
    std::this_thread::sleep_for(kTick);
  }
  return status();
}

void Child::signal(int number) noexcept {
  if (pid_ > 0 && !reap(false)) ::kill(pid_, number);
}

int Child::terminate(Millis grace) noexcept {
  if (pid_ <= 0) return 0;
  signal(SIGTERM);
  const auto deadline = Clock::now() + grace;
  while (!reap(false) && Clock::now() < deadline) std::this_thread::sleep_for(kTick);
  return kill_now();
}

int Child::kill_now() noexcept {
  if (pid_ <= 0) return 0;
  signal(SIGKILL);
  reap(true);
  return status();
}

Result<ToolResult> run_tool(SpawnOptions o, Millis limit) {
  const auto deadline = Clock::now() + limit;
  std::array<int, 2> err{-1, -1};
  if (::pipe2(err.data(), O_CLOEXEC | O_NONBLOCK) != 0)
    return Error{"proc-spawn", std::string("pipe: ") + std::strerror(errno)};
  const Fd err_reader(err[0]);
  Fd err_writer(err[1]);
  o.pipe_stdout = true;
  o.stderr_file = "/proc/self/fd/" + std::to_string(err_writer.get());
  KF_TRY(Child c, Child::spawn(o));
  err_writer.reset();

  ToolResult r;
  const auto drain_err = [&] {
    std::array<char, 4096> chunk{};
    for (ssize_t n = 0; (n = ::read(err_reader.get(), chunk.data(), chunk.size())) > 0;)
      r.err.append(chunk.data(), static_cast<std::size_t>(n));
  };
  for (;;) {
    const auto left = std::chrono::duration_cast<Millis>(deadline - Clock::now());
    auto line = c.read_line(std::clamp(left, Millis(0), Millis(100)));
    drain_err();
    if (line)
      r.out += *line + "\n";
    else if (line.error().reason == "proc-ended")
      break;
    else if (line.error().reason != "proc-timeout" || left.count() <= 0)
      return std::move(line).error();
  }
  KF_TRY(r.status, c.wait(std::max(std::chrono::duration_cast<Millis>(deadline - Clock::now()), Millis(1))));
  drain_err();
  return r;
}

Result<std::string> sibling(const std::string& program) {
  const auto here = os::own_folder();
  if (auto p = os::find_program(here, program)) return *p;
  return Error{"proc-missing", program + " is not in " + here.string() + "; build it first (./run build programs)"};
}

void catch_interrupts() {
  struct sigaction a {};
  a.sa_handler = [](int) { g_interrupted.store(true); };
  a.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one ends us at once; the children die with us
  sigemptyset(&a.sa_mask);
  ::sigaction(SIGINT, &a, nullptr);
  ::sigaction(SIGTERM, &a, nullptr);
}

bool interrupted() noexcept { return g_interrupted.load(); }

}  // namespace kf::proc
