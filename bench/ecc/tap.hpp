// Simulated cores for a bench, and a look at their own counters from outside, without a hand in the driver or engine
// that drives them: a transport that reads the counters when it is asked to, in between.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "drivers/core/device.hpp"
#include "drivers/simulated/transport/sim_transport.hpp"

namespace kf::bench {

inline constexpr std::chrono::seconds kPatience{60};  // without an answer, then a core counts as silent

inline double seconds_between(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// Of one core, since its reset.
struct CoreCounts {
  std::uint64_t cycles = 0, busy_cycles = 0, mul_issued = 0, jobs = 0, batches = 0;
};
CoreCounts operator-(const CoreCounts& a, const CoreCounts& b);
CoreCounts operator+(const CoreCounts& a, const CoreCounts& b);
// Some 0.2 ms: ten register reads, while the core goes on. In such an order that the share of busy cycles between a
// first and a last look is told too low rather than too high.
enum class Look : std::uint8_t { first, last };
CoreCounts read_counts(ecc::Transport& t, Look look);

// One for each core, from any thread; outlives its transports.
class TapControl {
 public:
  void ask(Look look) {
    look_ = look;
    ++asked_;
  }
  // What the counters said at the next poll of the device after ask(); empty: not yet.
  [[nodiscard]] std::optional<CoreCounts> taken() const;
  [[nodiscard]] pid_t pid() const { return pid_; }  // of the simulator

 private:
  friend class Tap;
  std::atomic<unsigned> asked_{0}, served_{0};
  std::atomic<Look> look_{Look::first};
  std::atomic<pid_t> pid_{-1};
  mutable std::mutex lock_;
  CoreCounts counts_;
};

// Starts a simulator behind a tap. Reasons: those of SimTransport::open.
Result<std::unique_ptr<ecc::Transport>> open_tapped(TapControl& control);

}  // namespace kf::bench
