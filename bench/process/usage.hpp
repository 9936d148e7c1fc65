// What processes cost: CPU seconds with the resolution of the scheduler's own clock (nanoseconds), peak memory. Linux.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "host/base/result.hpp"
#include "host/os/cpu_time.hpp"

namespace kf::proc {

// User and system time of all threads of one live process, dead threads included, children not. Reasons: proc-gone.
Result<double> cpu_seconds(pid_t pid);
// VmHWM. Reasons: proc-gone.
Result<std::uint64_t> peak_rss_bytes(pid_t pid);
Result<std::uint64_t> rss_bytes(pid_t pid);  // VmRSS, now; reasons: proc-gone
std::vector<pid_t> children_of(pid_t pid);   // direct ones
std::string name_of(pid_t pid);              // the first 15 characters of its program's name; empty: gone

// A process with all its descendants. Differences of cpu_s stay right when a child ends meanwhile: what reaped children
// used is taken from their parent's account (with its resolution of one clock tick).
struct FamilyUsage {
  double own_cpu_s = 0;              // of the process itself
  double children_cpu_s = 0;         // of live and reaped descendants
  std::uint64_t peak_rss_bytes = 0;  // sum of VmHWM over the live ones
  std::size_t children = 0;          // live
  [[nodiscard]] double cpu_s() const { return own_cpu_s + children_cpu_s; }
};
Result<FamilyUsage> family_usage(pid_t pid);  // reasons: proc-gone

// Time that all CPUs of the machine were busy since it was started, whoever was at work; 0 when the kernel does not
// say. Resolution of one clock tick.
double machine_busy_seconds();
inline double own_cpu_seconds() { return os::process_cpu_seconds(); }
using os::thread_cpu_seconds;

}  // namespace kf::proc
