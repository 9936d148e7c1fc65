// ECC cores as an EccEngine: custody `core`.
//
// ephemeral_ecka: a key pair that was made ahead inside a core (GENERATE) agrees there with the peer (ECKA); the scalar
// never leaves and its slot is erased by the agreement. verify: in a core as well, what it cannot decide (exceptional
// cases of public data) in software. sign: no_key, identity keys do not live here. SGP.02 3.1.2; docs/ecc-core.md.
//
// A core works on up to 64 jobs of one operation and curve for the time of one, so requests wait a little for company;
// how long follows from what the core is doing. A core that is lost (process killed, device gone, wrong known answer)
// is opened anew; what it had not answered is done again elsewhere or later with a new key, since nothing of it has
// left. What cannot be done by its deadline ends as timed_out; a request never becomes software's silently.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "drivers/core/device.hpp"
#include "host/base/histogram.hpp"
#include "host/crypto/engine.hpp"

namespace kf::ecc {

struct CoreEngineConfig {
  // Opens the device of core `i`; called at the start and after a loss, from a thread of its own.
  std::function<Result<std::unique_ptr<Device>>(unsigned i)> open;
  unsigned cores = 1;
  std::vector<Curve> curves{Curve::p256, Curve::brainpool_p256r1};  // of which key pairs are made ahead
  unsigned keys_ahead = 128;                        // at most, a core and curve; a bounded pool of slots
  std::size_t queue_limit = 4096;                   // accepted and not yet polled
  std::chrono::microseconds batch_wait{500};        // an idle core waits so long for company
  std::chrono::milliseconds job_limit{30'000};      // for a request without a deadline of its own
  std::chrono::milliseconds reopen_pause{200};      // after a loss; doubled up to 10 s while opening fails
  std::chrono::milliseconds silence_limit{20'000};  // jobs in the core and no answer: the core is lost
  unsigned known_answer_every = 256;                // batches between two known-answer jobs; 0: never
  std::function<void(const std::string&)> log;      // a line an event, from the engine's thread
};

struct CoreEngineStats {
  struct Core {
    std::string state;  // "up", "opening", "down"
    std::string where;  // "board 0000:01:00.0"; empty while there is none
    std::string why;    // of the last loss
    std::uint64_t generated = 0, agreed = 0, verified = 0, batches = 0, losses = 0;
    std::uint64_t faults = 0, exceptions = 0;  // answers with status fault; exceptional cases
    std::uint64_t known_answers = 0;           // known-answer jobs that were right
    unsigned keys_ready = 0;
    unsigned in_flight = 0;  // jobs in the ring, not yet answered
    // By the core's own counters, of this life of it, a few seconds old.
    std::uint64_t cycles = 0, busy_cycles = 0, bad_descriptors = 0, axi_errors = 0;
    std::uint64_t parity_faults = 0, cycle_gate_faults = 0, entropy_failures = 0;
    // What the driver saw on the way, of all lives: completions that could not be right, doorbells and consumer indices
    // that had to be repeated.
    std::uint64_t bad_completions = 0, repeats = 0;
  };
  std::vector<Core> cores;
  Histogram batch_size;  // jobs in a batch
  Histogram queue_us;    // from submit() to the job's entry into a ring
  std::uint64_t retries = 0, timed_out = 0;
  // What the driver costs: the engine's thread, and the turns that submit() and poll() make on the caller's.
  double thread_cpu_seconds = 0, turn_cpu_seconds = 0;
};

class CoreEngine final : public EccEngine {
 public:
  // Opens every core and waits until each has passed its self-test. Reasons: those of `open`.
  static Result<std::unique_ptr<CoreEngine>> start(CoreEngineConfig c);
  ~CoreEngine() override;
  std::string_view name() const noexcept override { return "core"; }
  std::size_t submit(std::span<const EccRequest> requests) noexcept override;
  std::size_t poll(std::span<EccCompletion> out) noexcept override;
  int event_fd() const noexcept override;
  [[nodiscard]] CoreEngineStats stats() const;  // any thread; waits 0.2 s at most for a turn to end

 private:
  struct Impl;
  explicit CoreEngine(CoreEngineConfig c);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kf::ecc
