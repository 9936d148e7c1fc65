// Elapsed time: a step of the wall clock moves nothing.
#include <gtest/gtest.h>

#include "host/base/clock.hpp"

namespace kf {
namespace {
using namespace std::chrono_literals;

TEST(AnchoredClock, RunsOnTheMonotonicClockFromItsAnchor) {
  const std::chrono::steady_clock::time_point boot(1h);
  const WallTime wall(1'800'000'000'000ms);
  const AnchoredClock clock(wall, boot);
  EXPECT_EQ(clock.at(boot), wall);
  EXPECT_EQ(clock.at(boot + 1500us), wall + 1ms);
  EXPECT_EQ(clock.at(boot + 24h), wall + 24h);
}

TEST(AnchoredClock, TheProcessHasOneAnchor) {
  const auto steady = std::chrono::steady_clock::now();
  const WallTime first = anchored_now();
  const WallTime second = anchored_now();
  const auto passed = std::chrono::steady_clock::now() - steady;
  EXPECT_LE(first, second);
  EXPECT_LE(second - first, passed + 1ms);
  EXPECT_EQ(anchored_ms() / 1000, anchored_now().time_since_epoch().count() / 1000);
}

}  // namespace
}  // namespace kf
