// A process of ours on a leash: descriptor 3 of the child is its end of a socket pair, and the end of the pair is its
// sign to go. One thread at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/base/result.hpp"
#include "host/os/fd.hpp"

namespace kf::os {

struct ChildCommand {
  std::string program;                                           // a path; nothing is searched for
  std::vector<std::string> arguments;                            // the first is the name it goes by; never a secret
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours, or in place of it
  std::vector<int> descriptors;  // the child has them as 4, 5 ...; negative ones are left out. Of others it gets 0 to 2
};

class ChildProcess {
 public:
  // Every signal at its default and none blocked. In a process group of its own: Ctrl-C at the terminal stops us, who
  // then end our children in order. Reasons: child.
  static Result<ChildProcess> start(const ChildCommand& c);
  ChildProcess(ChildProcess&& o) noexcept;
  ChildProcess& operator=(ChildProcess&& o) noexcept;  // ends the one that was held, like the destructor
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();  // SIGKILL to what still runs

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }             // -1 once it was reaped
  [[nodiscard]] int control() const noexcept { return socket_.get(); }  // SOCK_SEQPACKET; -1 after hang_up()
  [[nodiscard]] int end_fd() const noexcept { return process_.get(); }  // readable at its end; -1: it ended at once
  [[nodiscard]] bool ended() const noexcept;

  void hang_up() noexcept { socket_.reset(); }
  void kill_now() noexcept;  // SIGKILL, to this process only
  // The wait status once the process was reaped, by us or, as 0, by somebody else; empty while it runs on.
  std::optional<int> reap(std::chrono::milliseconds limit) noexcept;

 private:
  ChildProcess() = default;
  void end() noexcept;
  pid_t pid_ = -1;
  Fd process_, socket_;
  int status_ = 0;
};

std::string wait_status_text(int status);  // "exit status 3", "signal 9"

}  // namespace kf::os
