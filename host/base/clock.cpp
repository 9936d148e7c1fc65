#include "host/base/clock.hpp"

namespace kf {

WallTime anchored_now() {
  static const AnchoredClock clock(wall_now(), std::chrono::steady_clock::now());
  return clock.at(std::chrono::steady_clock::now());
}

}  // namespace kf
