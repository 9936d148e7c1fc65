// One child process: spawned, watched, ended and reaped. One thread at a time; keep to the thread that spawned it,
// because the child is killed when that thread ends (PR_SET_PDEATHSIG), on whatever path.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/base/result.hpp"

namespace kf::proc {

using Millis = std::chrono::milliseconds;

struct SpawnOptions {
  std::string program;                                           // a path; nothing is searched for
  std::vector<std::string> args;                                 // without argv[0]; never a secret
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours, or in place of it
  std::string stdout_file, stderr_file;                          // appended to; empty: inherited
  bool pipe_stdout = false;                                      // for read_line(); stdout_file is then not used
};

class Child {
 public:
  // Reasons: proc-spawn (detail names the program and the cause, a missing program included).
  static Result<Child> spawn(const SpawnOptions& o);
  Child(Child&& o) noexcept;
  Child& operator=(Child&& o) noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();  // SIGTERM, one second, SIGKILL

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }  // stays readable after the end
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  bool running() noexcept;  // reaps when it has ended
  // Reasons: proc-timeout, proc-ended (detail: "keyferry-sim ended with exit status 2"), interrupted.
  Result<std::string> read_line(Millis limit);
  // The end within `limit`: exit status, or 128 + the signal. Reasons: proc-timeout, interrupted.
  Result<int> wait(Millis limit);
  void signal(int number) noexcept;            // only to this process, only while it is not reaped
  int terminate(Millis grace) noexcept;        // SIGTERM, then SIGKILL; exit status as wait()
  int kill_now() noexcept;                     // SIGKILL and reap: the power cut of the restart tests
  [[nodiscard]] std::string end_text() const;  // "exit status 3", "signal 9", "running"

 private:
  Child() = default;
  bool reap(bool block) noexcept;
  int status() const noexcept;
  std::string name_;
  pid_t pid_ = -1;
  int out_ = -1;
  std::string buffer_;
  std::optional<int> wait_status_;
};

// Runs a program to its end and keeps what it prints. Reasons: those of spawn and wait.
struct ToolResult {
  int status = 0;
  std::string out, err;
};
Result<ToolResult> run_tool(SpawnOptions o, Millis limit);

// A program that was built with this one (host/os/programs.hpp). Reasons: proc-missing.
Result<std::string> sibling(const std::string& program);

// Ctrl-C and SIGTERM set a flag that every wait of this room looks at; a second one ends the process at once.
void catch_interrupts();
bool interrupted() noexcept;

}  // namespace kf::proc
