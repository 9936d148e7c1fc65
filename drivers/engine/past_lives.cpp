#include "drivers/engine/past_lives.hpp"

#include <utility>

namespace kf::ecc {
namespace {

std::uint64_t bad_completions(const DeviceCounters& c) {
  return c.tags_not_due + c.missing + c.damaged + c.implausible + c.early;
}
std::uint64_t repeats(const DeviceCounters& c) { return c.doorbells_repeated + c.heads_repeated; }

UnitCounts operator+(const UnitCounts& a, const UnitCounts& b) {
  return {
      a.generated + b.generated, a.agreed + b.agreed,         a.verified + b.verified,          a.batches + b.batches,
      a.faults + b.faults,       a.exceptions + b.exceptions, a.known_answers + b.known_answers};
}

}  // namespace

void PastLives::add(const CoreUnit& lost, std::string reason) {
  counts = counts + lost.counts();
  bad_completions += kf::ecc::bad_completions(lost.device_counters());
  repeats += kf::ecc::repeats(lost.device_counters());
  ++losses;
  why = std::move(reason);
}

CoreEngineStats::Core stats_of(const PastLives& past, const CoreUnit* now, bool opening) {
  const UnitCounts n = now != nullptr ? past.counts + now->counts() : past.counts;
  CoreEngineStats::Core c;
  c.state = now != nullptr ? "up" : opening ? "opening" : "down";
  c.why = past.why;
  c.generated = n.generated;
  c.agreed = n.agreed;
  c.verified = n.verified;
  c.batches = n.batches;
  c.losses = past.losses;
  c.faults = n.faults;
  c.exceptions = n.exceptions;
  c.known_answers = n.known_answers;
  c.bad_completions = past.bad_completions;
  c.repeats = past.repeats;
  if (now == nullptr) return c;
  c.where = now->where();
  c.keys_ready = static_cast<unsigned>(now->keys_ready(0) + now->keys_ready(1));
  c.in_flight = static_cast<unsigned>(now->in_flight());
  c.bad_completions += bad_completions(now->device_counters());
  c.repeats += repeats(now->device_counters());
  const CoreHardware& h = now->hardware();
  c.cycles = h.cycles;
  c.busy_cycles = h.busy_cycles;
  c.bad_descriptors = h.bad_descriptors;
  c.axi_errors = h.axi_errors;
  c.parity_faults = h.parity_faults;
  c.cycle_gate_faults = h.cycle_gate_faults;
  c.entropy_failures = h.entropy_failures;
  return c;
}

}  // namespace kf::ecc
