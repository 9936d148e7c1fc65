// The three loads on an engine: full (closed loop), Poisson arrivals (open loop), and a long run that counts. Each
// blocks its thread, looks at the Ctrl-C flag and then returns what there is.
#pragma once

#include "bench/load/player.hpp"
#include "bench/report/hsm_report.hpp"
#include "hsm/engine/hsm_engine.hpp"

namespace kf::bench {

// What all loads of one run share.
struct Stage {
  const Material* material = nullptr;
  std::uint64_t serial = 0;
  std::uint64_t judge_every = 64;        // 1: every answer is judged
  std::chrono::milliseconds patience{};  // for what is under way at the end; then it is lost
  Tally total;
};

struct Full {
  double per_s = 0;
  std::uint64_t done = 0;  // units in the measured time
  double seconds = 0;      // of it
  double worker_cpu_s = 0, process_cpu_s = 0, caller_cpu_s = 0;
  double other_cpus = 0;                          // kept busy by other programs in the measured time
  Distribution batch_size, queue_us, service_us;  // of the whole leg, its begin and its end included
};
// Keeps `in_flight` units under way for `seconds`, after a warm-up of a twentieth of it in which each of the first
// units ended; completions within the measured time count. Answers are judged afterwards.
Full run_full(hsm::HsmEngine& e, Stage& s, Work w, std::size_t curve, std::size_t in_flight, double seconds);

// Units arrive at `per_s`, exponentially distributed, by a generator with this seed; each waits for no other.
OpenRow run_open(hsm::HsmEngine& e, Stage& s, Work w, std::size_t curve, double per_s, double seconds,
                 std::uint64_t seed);

// `sets` download sets, curves in turn, every answer judged meanwhile. `tell` is called about twice a second.
Endurance run_endurance(hsm::HsmEngine& e, Stage& s, std::uint64_t sets, std::size_t in_flight,
                        std::size_t memory_budget, const std::function<void(std::uint64_t)>& tell);

}  // namespace kf::bench
