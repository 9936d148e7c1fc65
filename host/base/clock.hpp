// The one clock for what means elapsed time: deadlines, ages, retention.
//
// It reads as Unix time, so that what is stored can be compared by the next process, but it is anchored once, when it
// is first asked, and runs on the monotonic clock from then on: a step of the wall clock, by NTP or by hand, neither
// ends an order nor lengthens one. What is shown to others (timestamps in messages, the validity of certificates)
// takes the wall clock (calendar.hpp). Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>

#include "host/base/calendar.hpp"

namespace kf {

class AnchoredClock {
 public:
  using Steady = std::chrono::steady_clock::time_point;
  AnchoredClock(WallTime wall, Steady steady) : wall_(wall), steady_(steady) {}
  [[nodiscard]] WallTime at(Steady now) const {
    return wall_ + std::chrono::floor<std::chrono::milliseconds>(now - steady_);
  }

 private:
  WallTime wall_;
  Steady steady_;
};

WallTime anchored_now();
inline std::int64_t anchored_ms() { return anchored_now().time_since_epoch().count(); }  // Unix time, ms

}  // namespace kf
