// Plays jobs of one kind on a core and measures its steady state.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "bench/report/ecc_report.hpp"
#include "drivers/simulated/board/core_session.hpp"

namespace kf::bench {

// The span begins when the last answer of batch `warm_up` has come and ends with the last answer of the batch before
// the last one, so that within it the core always has a batch before and a batch behind the one it works on. Needs
// warm_up + 2 full batches.
inline constexpr std::uint64_t kTrailing = 1;
std::uint64_t fewest_batches(std::uint64_t warm_up);

struct Played {
  std::vector<ecc::Completion> answers;  // in the order of the jobs
  std::uint64_t jobs = 0, batches = 0, cycles = 0, mul_issued = 0, mul_slots = 0, busy_cycles = 0, batch_cycles = 0;
  double cpu_s = 0;
};
// `jobs` is a whole number of batches of one operation and curve. `go_on` is asked now and then; false ends the run.
// Reasons: interrupted, cycle-limit, not-full (a batch was started part filled: that would be no steady state).
Result<Played> play(ecc::CoreSession& s, std::span<const ecc::Descriptor> jobs, std::uint64_t warm_up,
                    const std::function<bool(std::size_t done)>& go_on);
void add_to(EccRow& row, const Played& p);

}  // namespace kf::bench
