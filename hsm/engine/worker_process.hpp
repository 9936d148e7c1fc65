// One keyferry-hsm-worker: started with its end of a socket pair at descriptor 3, ended and reaped. One thread at a
// time.
//
// The worker dies with the *thread* that started it (PR_SET_PDEATHSIG): start it from one that lives as long as needed.
#pragma once

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "host/os/child_process.hpp"
#include "hsm/engine/hsm_engine.hpp"
#include "hsm/wire/wire.hpp"

namespace kf::hsm {

using IdentityPoints = std::vector<std::pair<Curve, Point>>;

// Path of the worker: the configured one, else the one that came with this executable. Reasons: hsm-worker.
Result<std::string> worker_path(const HsmConfig& c);
Result<IdentityPoints> decode_ready(ByteView answer);

class WorkerProcess {
 public:
  // The process and its configuration message; does not wait. Reasons: hsm-worker.
  // Mode serve: the ring at descriptor 4, the engine's eventfd at 5.
  static Result<WorkerProcess> spawn(const HsmConfig& c, const TokenConfig& t, wire::Configuration::Mode mode,
                                     int ring_fd = -1, int event_fd = -1);

  [[nodiscard]] pid_t pid() const noexcept { return child_.pid(); }
  [[nodiscard]] int fd() const noexcept { return child_.control(); }

  // Blocking, for tools that own the process alone. Reasons: those of the worker, hsm-worker.
  Result<IdentityPoints> wait_ready(std::chrono::milliseconds limit);
  Result<SecretBytes> call(wire::AdminOp op, const wire::Writer& args, std::chrono::milliseconds limit);

  void hang_up() noexcept { child_.hang_up(); }  // the worker finishes its job and ends
  void kill_now() noexcept { child_.kill_now(); }
  std::optional<int> reap(std::chrono::milliseconds limit) noexcept { return child_.reap(limit); }

 private:
  explicit WorkerProcess(os::ChildProcess child) : child_(std::move(child)) {}
  Result<SecretBytes> receive(wire::Kind kind, std::chrono::milliseconds limit);
  os::ChildProcess child_;
};

using os::wait_status_text;

}  // namespace kf::hsm
