#include "bench/ecc/span.hpp"

#include <fmt/format.h>

namespace kf::bench {
namespace {

constexpr std::uint64_t kStep = 128;  // cycles between two looks at the ring: the error of a span's ends

struct Reading {
  std::uint64_t cycle = 0, mul_issued = 0, mul_slots = 0, busy_cycles = 0;
  double cpu_s = 0;
};
Reading look(ecc::CoreSession& s) {
  Reading l;
  l.cycle = s.board().cycles();
  l.cpu_s = s.board().cpu_seconds();
  l.mul_issued = s.counter(ecc::kCountMulIssued);
  l.mul_slots = s.counter(ecc::kCountMulSlots);
  l.busy_cycles = s.counter(ecc::kCountBusyCycles);
  return l;
}

}  // namespace

std::uint64_t fewest_batches(std::uint64_t warm_up) { return warm_up + 1 + kTrailing; }

Result<Played> play(ecc::CoreSession& s, std::span<const ecc::Descriptor> jobs, std::uint64_t warm_up,
                    const std::function<bool(std::size_t done)>& go_on) {
  Played p;
  p.answers.resize(jobs.size());
  const std::size_t n = s.contexts();
  const std::size_t first = warm_up * n;
  const std::size_t last = jobs.size() - kTrailing * n;
  Reading begin, end;
  std::size_t sent = 0, got = 0;
  constexpr std::uint64_t kPatience = 8'000'000;  // a batch takes some 300 000 cycles at II = 1
  std::uint64_t limit = s.board().cycles() + kPatience;
  while (got < jobs.size()) {
    if (sent < jobs.size()) sent += s.submit(jobs.subspan(sent));
    s.board().run(kStep);
    // Never beyond an end of the span at once: the look belongs to the answer that ends a batch.
    const std::size_t until = got < first ? first : got < last ? last : jobs.size();
    const std::size_t came = s.poll(std::span(p.answers).subspan(got, until - got));
    if (came != 0) limit = s.board().cycles() + kPatience;
    if (s.board().cycles() > limit)
      return Error{"cycle-limit", fmt::format("{} of {} jobs are not answered", jobs.size() - got, jobs.size())};
    got += came;
    if (came != 0 && got == first) begin = look(s);
    if (came != 0 && got == last) end = look(s);
    if (came != 0 && !go_on(got)) return Error{"interrupted", ""};
  }
  for (std::size_t i = 0; i < p.answers.size(); ++i)
    if (p.answers[i].context != i % n)
      return Error{"not-full", fmt::format("job {} was done by context {}", i, p.answers[i].context)};
  p.jobs = last - first;
  p.batches = p.jobs / n;
  p.cycles = end.cycle - begin.cycle;
  p.mul_issued = end.mul_issued - begin.mul_issued;
  p.mul_slots = end.mul_slots - begin.mul_slots;
  p.busy_cycles = end.busy_cycles - begin.busy_cycles;
  p.cpu_s = end.cpu_s - begin.cpu_s;
  p.batch_cycles = p.answers[first].cycles;
  return p;
}

void add_to(EccRow& row, const Played& p) {
  row.jobs += p.jobs;
  row.batches += p.batches;
  row.cycles += p.cycles;
  row.mul_issued += p.mul_issued;
  row.mul_slots += p.mul_slots;
  row.busy_cycles += p.busy_cycles;
  row.batch_cycles = p.batch_cycles;
  row.cpu_s += p.cpu_s;
}

}  // namespace kf::bench
