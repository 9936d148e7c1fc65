// What everything cost between two moments: CPU time of the SM-DP's processes and of the test equipment, and the
// SM-DP's own counters.
#pragma once

#include <chrono>

#include "bench/report/burst_report.hpp"
#include "bench/world/world.hpp"

namespace kf::bench {

struct Snapshot {
  proc::FamilyUsage smdp;
  Json status;  // of the admin socket
  double sim_cpu_s = 0, own_cpu_s = 0;
  double cores_cpu_s = 0;  // of the simulated ECC cores, where there are some
  double machine_s = 0;    // of all programs
  std::chrono::steady_clock::time_point at;
};
Result<Snapshot> take_snapshot(World& w);  // reasons: proc-gone, wire

// Downloads and messages that the SM-DP still has to do or to deliver: the tail of the work belongs to the downloads.
Result<std::uint64_t> left_to_do(World& w);  // reasons: wire

// Fills in the SM-DP's side of the report.
void account(const Snapshot& before, const Snapshot& after, BurstReport& r);

}  // namespace kf::bench
