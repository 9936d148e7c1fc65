// Which batch goes into a core's ring, and when: a pure function of what waits, what the core is doing and the time.
// Inner header of this room. No state, no clock of its own; any thread.
//
// A core takes as long for one job as for all its contexts, so jobs wait for company: at an idle core for batch_wait at
// most, at a busy one until the batch at work is half done (one batch works, one waits behind it in the ring).
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <span>

namespace kf::ecc {

using EngineClock = std::chrono::steady_clock;

// The core's two curves, as indices.
inline constexpr std::size_t kUnitCurves = 2;
inline constexpr std::size_t kNoCurve = kUnitCurves;

// Jobs of one operation and curve that wait: how many, and since when the oldest has (of none: anything).
struct Waiting {
  std::size_t jobs = 0;
  EngineClock::time_point since{};
};
struct Demand {
  std::array<Waiting, kUnitCurves> agree, verify;
  std::array<bool, kUnitCurves> keys_wanted{};  // key pairs of that curve are made ahead
};

// What a core is doing.
struct CoreView {
  std::size_t contexts = 0;         // jobs of a full batch
  std::size_t batches = 0;          // in the ring or at work
  double progress = 1;              // of the batch at work: 0 to 1, more when it is overdue; 1 when there is none
  bool has_doubtful_slots = false;  // of which nobody knows what they hold
  std::array<std::size_t, kUnitCurves> keys_ready{}, keys_coming{};
  // When the batch at work will be as far as a second one waits for; max(): not known. Without one it means nothing.
  EngineClock::time_point late_enough = EngineClock::time_point::max();
  bool silent = false;  // jobs are in the ring, and nothing tells when one is answered (no interrupt)
};

struct BatchingPolicy {
  std::chrono::microseconds batch_wait{500};
  std::size_t keys_ahead = 128;  // a core and curve
};

enum class BatchKind { none, agree, verify, erase, generate };
struct NextBatch {
  BatchKind kind = BatchKind::none;
  std::size_t curve = 0;  // of all but erase
  std::size_t most = 0;   // jobs; for agree not more than there are keys
  bool operator==(const NextBatch&) const = default;
};

// A second batch joins the ring when so much of the one at work has passed: preparing 64 jobs takes a tenth of an ECKA
// batch.
inline constexpr double kLateEnough = 0.5;

NextBatch next_batch(const BatchingPolicy& p, const Demand& d, const CoreView& core, EngineClock::time_point now);

// When next_batch() may answer otherwise for one of these cores though nothing else happens; max(): at no moment.
EngineClock::time_point look_again(const BatchingPolicy& p, const Demand& d, std::span<const CoreView> cores,
                                   EngineClock::time_point now);

}  // namespace kf::ecc
