#include "host/os/cpu_time.hpp"

#include <time.h>

namespace kf::os {
namespace {

std::chrono::nanoseconds used(clockid_t clock) noexcept {
  timespec t{};
  ::clock_gettime(clock, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

}  // namespace

std::chrono::nanoseconds thread_cpu() noexcept { return used(CLOCK_THREAD_CPUTIME_ID); }
std::chrono::nanoseconds process_cpu() noexcept { return used(CLOCK_PROCESS_CPUTIME_ID); }

}  // namespace kf::os
