// The lessons at full length: `./run soak`.
#include <gtest/gtest.h>

#include "tests/hsm/lessons/runs.hpp"

namespace kf::hsm::testing {
namespace {

TEST(Soak, L04NoSessionIsSharedByThreads) { no_session_is_shared(std::chrono::seconds(60)); }
TEST(Soak, L09NoLookUpsInAHundredThousandJobs) { no_look_ups(100'000); }
TEST(Soak, L16MemoryOfAHundredThousandSets) { memory_stays(100'000, 0); }
TEST(Soak, L21AHundredThousandSignatures) { signatures_keep_their_zeros(Curve::p256, 100'000); }
TEST(Soak, L17ObjectsMadeInParallel) { objects_made_in_parallel(std::chrono::minutes(10)); }

}  // namespace
}  // namespace kf::hsm::testing
