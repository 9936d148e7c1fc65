// CPU time that was used so far.
#pragma once

#include <chrono>

namespace kf::os {

std::chrono::nanoseconds thread_cpu() noexcept;  // by the calling thread
std::chrono::nanoseconds process_cpu() noexcept;

inline double thread_cpu_seconds() noexcept { return std::chrono::duration<double>(thread_cpu()).count(); }
inline double process_cpu_seconds() noexcept { return std::chrono::duration<double>(process_cpu()).count(); }

}  // namespace kf::os
