// A key slot that stays damaged is not erased for ever.
#include <gtest/gtest.h>

#include "drivers/core/worn_slots.hpp"

namespace kf::ecc {
namespace {

TEST(WornSlots, AreThoseThatFailAgainAndAgain) {
  WornSlots w;
  EXPECT_FALSE(w.worn(5, JobStatus::fault));
  EXPECT_FALSE(w.worn(5, JobStatus::fault));
  EXPECT_FALSE(w.worn(6, JobStatus::fault)) << "each slot for itself";
  EXPECT_FALSE(w.worn(5, JobStatus::ok)) << "it was another job's fault";
  EXPECT_FALSE(w.worn(5, JobStatus::fault));
  EXPECT_FALSE(w.worn(5, JobStatus::aborted)) << "nothing is known";
  for (unsigned n = 1; n < WornSlots::kErasures; ++n) EXPECT_FALSE(w.worn(5, JobStatus::fault)) << n;
  EXPECT_TRUE(w.worn(5, JobStatus::fault));
  EXPECT_FALSE(w.worn(7, JobStatus::fault));
}

}  // namespace
}  // namespace kf::ecc
