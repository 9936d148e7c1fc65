// When which batch goes: the policy alone, without a core.
#include <gtest/gtest.h>

#include <ostream>
#include <vector>

#include "drivers/engine/batching.hpp"

namespace kf::ecc {

// For what a failing test prints.
static void PrintTo(const NextBatch& b, std::ostream* o) {
  *o << "kind " << static_cast<int>(b.kind) << ", curve " << b.curve << ", " << b.most << " jobs";
}

namespace {

using namespace std::chrono_literals;
using Time = EngineClock::time_point;

constexpr std::size_t kFull = 64;
const Time kStart{1h};
const BatchingPolicy kPolicy{500us, 128};

CoreView idle() {
  CoreView v;
  v.contexts = kFull;
  v.keys_ready = {128, 128};
  return v;
}
CoreView busy(double progress, std::size_t batches = 1) {
  CoreView v = idle();
  v.batches = batches;
  v.progress = progress;
  v.late_enough = kStart + 10ms;
  return v;
}
Demand agree(std::size_t jobs, std::size_t curve = 0) {
  Demand d;
  d.agree[curve] = {jobs, kStart};
  return d;
}
Demand verify(std::size_t jobs, std::size_t curve = 0) {
  Demand d;
  d.verify[curve] = {jobs, kStart};
  return d;
}
TEST(Batching, NothingWaitsNothingGoes) {
  EXPECT_EQ(next_batch(kPolicy, {}, idle(), kStart).kind, BatchKind::none);
  EXPECT_EQ(look_again(kPolicy, {}, std::vector{idle()}, kStart), Time::max());
}

TEST(Batching, AnIdleCoreWaitsForCompanyAndNotForEver) {
  EXPECT_EQ(next_batch(kPolicy, agree(1), idle(), kStart).kind, BatchKind::none);
  EXPECT_EQ(next_batch(kPolicy, agree(31), idle(), kStart + 499us).kind, BatchKind::none);
  EXPECT_EQ(look_again(kPolicy, agree(1), std::vector{idle()}, kStart), kStart + 500us);
  EXPECT_EQ(next_batch(kPolicy, agree(1), idle(), kStart + 500us), (NextBatch{BatchKind::agree, 0, 1}));
  EXPECT_EQ(next_batch(kPolicy, verify(1, 1), idle(), kStart + 500us), (NextBatch{BatchKind::verify, 1, 1}));
}

TEST(Batching, HalfABatchIsCompanyEnoughForAnIdleCore) {
  EXPECT_EQ(next_batch(kPolicy, agree(32), idle(), kStart), (NextBatch{BatchKind::agree, 0, 32}));
  EXPECT_EQ(next_batch(kPolicy, verify(40), idle(), kStart), (NextBatch{BatchKind::verify, 0, 40}));
}

TEST(Batching, AFullOneGoesAtOnceWhateverTheCoreDoes) {
  EXPECT_EQ(next_batch(kPolicy, agree(1000), idle(), kStart), (NextBatch{BatchKind::agree, 0, kFull}));
  EXPECT_EQ(next_batch(kPolicy, verify(64), busy(0), kStart), (NextBatch{BatchKind::verify, 0, kFull}));
}

TEST(Batching, ABusyCoreIsGivenTheNextOneWhenItIsHalfDone) {
  EXPECT_EQ(next_batch(kPolicy, agree(40), busy(0.49), kStart + 1s).kind, BatchKind::none);
  EXPECT_EQ(look_again(kPolicy, agree(40), std::vector{busy(0.49)}, kStart), kStart + 10ms);
  EXPECT_EQ(next_batch(kPolicy, agree(40), busy(0.5), kStart), (NextBatch{BatchKind::agree, 0, 40}));
}

TEST(Batching, TheRingHoldsTwo) {
  EXPECT_EQ(next_batch(kPolicy, agree(1000), busy(3, 2), kStart + 1s).kind, BatchKind::none);
  EXPECT_EQ(look_again(kPolicy, agree(1000), std::vector{busy(0, 2)}, kStart), Time::max()) << "an answer comes first";
}

TEST(Batching, AgreementsTakeNoMoreThanThereAreKeys) {
  CoreView v = idle();
  v.keys_ready = {10, 0};
  EXPECT_EQ(next_batch(kPolicy, agree(50), v, kStart + 500us), (NextBatch{BatchKind::agree, 0, 10}));
  v.keys_ready = {0, 0};
  EXPECT_EQ(next_batch(kPolicy, agree(1), v, kStart), (NextBatch{BatchKind::generate, 0, kFull}))
      << "somebody waits for a key";
  v.keys_coming = {1, 0};
  EXPECT_EQ(next_batch(kPolicy, agree(1), v, kStart).kind, BatchKind::none) << "which is on its way";
}

TEST(Batching, AgreementsComeBeforeVerificationsAndBothBeforeKeysAhead) {
  Demand d = agree(64);
  d.verify[0] = {64, kStart};
  d.keys_wanted = {true, true};
  CoreView v = idle();
  v.keys_ready = {64, 0};
  EXPECT_EQ(next_batch(kPolicy, d, v, kStart), (NextBatch{BatchKind::agree, 0, kFull}));
  d.agree = {};
  EXPECT_EQ(next_batch(kPolicy, d, v, kStart), (NextBatch{BatchKind::verify, 0, kFull}));
  d.verify = {};
  EXPECT_EQ(next_batch(kPolicy, d, v, kStart), (NextBatch{BatchKind::generate, 0, kFull}));
  v.keys_ready = {65, 0};
  EXPECT_EQ(next_batch(kPolicy, d, v, kStart), (NextBatch{BatchKind::generate, 1, kFull}))
      << "129 of the first curve would be too many";
  v.keys_ready = {65, 65};
  EXPECT_EQ(next_batch(kPolicy, d, v, kStart).kind, BatchKind::none);
}

TEST(Batching, KeysAheadAreMadeInIdleTimeOnly) {
  Demand d;
  d.keys_wanted = {true, false};
  CoreView v = busy(0.9);
  v.keys_ready = {0, 0};
  EXPECT_EQ(next_batch(kPolicy, d, v, kStart).kind, BatchKind::none);
  v.batches = 0;
  EXPECT_EQ(next_batch(kPolicy, d, v, kStart), (NextBatch{BatchKind::generate, 0, kFull}));
}

TEST(Batching, DoubtfulSlotsAreErasedWhenNothingElseRuns) {
  CoreView v = busy(0.9);
  v.has_doubtful_slots = true;
  EXPECT_EQ(next_batch(kPolicy, {}, v, kStart).kind, BatchKind::none);
  v.batches = 0;
  EXPECT_EQ(next_batch(kPolicy, {}, v, kStart), (NextBatch{BatchKind::erase, 0, kFull}));
  EXPECT_EQ(next_batch(kPolicy, agree(64), v, kStart), (NextBatch{BatchKind::agree, 0, kFull}));
}

// Whatever waits and however the cores stand: where a batch is held back only by time, the moment that look_again()
// names is not later than the one at which it goes.
TEST(Batching, WhoWaitsIsLookedAtInTime) {
  for (const std::size_t jobs : {1U, 31U, 32U, 63U, 64U, 200U}) {
    for (const double progress : {0.0, 0.3}) {
      for (const bool is_busy : {false, true}) {
        const CoreView v = is_busy ? busy(progress) : idle();
        const Demand d = agree(jobs);
        if (next_batch(kPolicy, d, v, kStart).kind != BatchKind::none) continue;
        const Time at = look_again(kPolicy, d, std::vector{v}, kStart);
        ASSERT_NE(at, Time::max()) << jobs << " jobs would wait for ever";
        CoreView then = v;
        if (is_busy) then.progress = kLateEnough;
        EXPECT_EQ(next_batch(kPolicy, d, then, at).kind, BatchKind::agree) << jobs;
      }
    }
  }
}

TEST(Batching, ACoreWithoutAnInterruptIsAskedEachMillisecond) {
  CoreView v = busy(0.1, 2);
  v.silent = true;
  EXPECT_EQ(look_again(kPolicy, {}, std::vector{idle(), v}, kStart), kStart + 1ms);
}

}  // namespace
}  // namespace kf::ecc
