#include "drivers/engine/batching.hpp"

#include <algorithm>

namespace kf::ecc {
namespace {

using Time = EngineClock::time_point;
using std::chrono::milliseconds;

constexpr std::size_t kBatchesInRing = 2;  // one at work, one behind it

// Whether n jobs, the oldest of them waiting since `since`, go now.
bool ripe(const BatchingPolicy& p, const CoreView& core, std::size_t n, Time since, Time now) {
  if (n == 0) return false;
  if (n >= core.contexts) return true;
  // At an idle core half a batch goes at once: the wait would cost a wake-up. Less waits a little.
  if (core.batches == 0) return 2 * n >= core.contexts || now - since >= p.batch_wait;
  return core.progress >= kLateEnough;
}

}  // namespace

NextBatch next_batch(const BatchingPolicy& p, const Demand& d, const CoreView& core, Time now) {
  if (core.batches >= kBatchesInRing) return {};
  const std::size_t full = core.contexts;
  for (std::size_t c = 0; c < kUnitCurves; ++c) {
    const std::size_t n = std::min({d.agree[c].jobs, core.keys_ready[c], full});
    if (ripe(p, core, n, d.agree[c].since, now)) return {BatchKind::agree, c, n};
  }
  for (std::size_t c = 0; c < kUnitCurves; ++c) {
    const std::size_t n = std::min(d.verify[c].jobs, full);
    if (ripe(p, core, n, d.verify[c].since, now)) return {BatchKind::verify, c, n};
  }
  if (core.has_doubtful_slots && core.batches == 0) return {BatchKind::erase, 0, full};
  // Keys: at once when somebody waits for one, else ahead in idle time.
  for (std::size_t c = 0; c < kUnitCurves; ++c) {
    const std::size_t have = core.keys_ready[c] + core.keys_coming[c];
    const bool short_of = d.agree[c].jobs > have;
    const bool ahead = d.keys_wanted[c] && core.batches == 0 && have + full <= p.keys_ahead;
    if (short_of || ahead) return {BatchKind::generate, c, full};
  }
  return {};
}

Time look_again(const BatchingPolicy& p, const Demand& d, std::span<const CoreView> cores, Time now) {
  Time soonest = Time::max(), oldest = Time::max();
  for (const auto* waiting : {&d.agree, &d.verify})
    for (const Waiting& w : *waiting)
      if (w.jobs != 0) oldest = std::min(oldest, w.since);
  for (const CoreView& core : cores) {
    if (core.silent) soonest = std::min(soonest, now + milliseconds(1));
    if (oldest == Time::max() || core.batches >= kBatchesInRing) continue;
    const Time at = core.batches == 0 ? oldest + p.batch_wait : core.late_enough;
    if (at > now) {
      soonest = std::min(soonest, at);
    } else if (core.batches == 0) {  // due and not sent: the ring had no room, or a key is missing
      soonest = std::min(soonest, now + milliseconds(1));
    }
  }
  return soonest;
}

}  // namespace kf::ecc
