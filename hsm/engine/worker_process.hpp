// One keyferry-hsm-worker: started with its end of a socket pair at descriptor 3, ended and reaped. One thread at a
// time.
//
// The worker dies with the *thread* that started it (PR_SET_PDEATHSIG): start it from one that lives as long as needed.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "hsm/engine/hsm_engine.hpp"
#include "hsm/wire/wire.hpp"

namespace kf::hsm {

using IdentityPoints = std::vector<std::pair<Curve, Point>>;

// Path of the worker: the configured one, else the one that came with this executable. Reasons: hsm-worker.
Result<std::string> worker_path(const HsmConfig& c);
Result<IdentityPoints> decode_ready(ByteView answer);

class WorkerProcess {
 public:
  // posix_spawn and the configuration message; does not wait. Reasons: hsm-worker.
  // Mode serve: the ring at descriptor 4, the engine's eventfd at 5.
  static Result<WorkerProcess> spawn(const HsmConfig& c, const TokenConfig& t, wire::Configuration::Mode mode,
                                     int ring_fd = -1, int event_fd = -1);
  WorkerProcess(WorkerProcess&& o) noexcept : pid_(std::exchange(o.pid_, -1)), fd_(std::exchange(o.fd_, -1)) {}
  WorkerProcess& operator=(WorkerProcess&& o) noexcept;
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;
  ~WorkerProcess();  // kills what still runs

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] int fd() const noexcept { return fd_; }

  // Blocking, for tools that own the process alone. Reasons: those of the worker, hsm-worker.
  Result<IdentityPoints> wait_ready(std::chrono::milliseconds limit);
  Result<SecretBytes> call(wire::AdminOp op, const wire::Writer& args, std::chrono::milliseconds limit);

  void hang_up() noexcept;   // closes the socket: the worker finishes its job and ends
  void kill_now() noexcept;  // SIGKILL, to this process only
  // The wait status once the process is gone; empty while it runs on.
  std::optional<int> reap(std::chrono::milliseconds limit) noexcept;

 private:
  WorkerProcess(pid_t pid, int fd) : pid_(pid), fd_(fd) {}
  Result<SecretBytes> receive(wire::Kind kind, std::chrono::milliseconds limit);
  pid_t pid_;
  int fd_;
};

std::string wait_status_text(int status);  // "exit status 3", "signal 9"

}  // namespace kf::hsm
