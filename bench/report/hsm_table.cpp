#include <algorithm>

#include "bench/report/hsm_report.hpp"
#include "bench/report/numbers.hpp"
#include "bench/report/text.hpp"

namespace kf::bench {
namespace {

double mib(std::uint64_t octets) { return static_cast<double>(octets) / kMiB; }

void rates(Text& t, const HsmReport& r) {
  if (r.rates.empty()) return;
  t.line("");
  t.line("  {:<17} {:<5} {:<12} {:>9} {:>9} {:>17} {:>11} {:>13} {:>13}", "rates", "kind", "way", "processes",
         "median/s", "lowest-highest", "workers us", "process us", "of it caller");
  std::string last;
  for (const auto& x : r.rates) {
    const Spread s = spread(x.per_s);
    const std::string us = x.way == Way::direct ? fmt::format("{:>11.1f} {:>13} {:>13}", x.worker_cpu_us, "", "")
                                                : fmt::format("{:>11.1f} {:>13.1f} {:>13.1f}", x.worker_cpu_us,
                                                              x.process_cpu_us, x.caller_cpu_us);
    const std::string head = x.curve;
    t.line("  {:<17} {:<5} {:<12} {:>9} {:>9.0f} {:>17} {}", head == last ? "" : head, x.kind, to_string(x.way),
           x.processes, s.median, fmt::format("{:.0f}-{:.0f}", s.low, s.high), us);
    last = head;
  }
}

void ratios(Text& t, const HsmReport& r) {
  const auto rows = ratio_rows(r);
  if (rows.empty()) return;
  t.line("");
  t.line("  {:<30} {:<17} {:>9} {:>8} {:>15} {:>7} {:>17} {:>17}", "ratios, round by round", "curve", "processes",
         "median", "lowest-highest", "rounds", "other CPUs, most", "in quiet rounds");
  for (const auto& x : rows) {
    const Spread s = spread(x.rounds);
    const std::vector<double> quiet = x.quiet_rounds();
    t.line("  {:<30} {:<17} {:>9} {:>8.3f} {:>15} {:>7} {:>17.2f} {:>17}", x.name, x.curve,
           x.processes == x.than_processes ? fmt::format("{}", x.processes)
                                           : fmt::format("{} : {}", x.processes, x.than_processes),
           s.median, fmt::format("{:.3f}-{:.3f}", s.low, s.high), x.rounds.size(), spread(x.other_cpus).high,
           quiet.empty() ? "none" : fmt::format("{:.3f} of {}", spread(quiet).median, quiet.size()));
  }
}

void open_loop(Text& t, const HsmReport& r) {
  if (r.open.empty()) return;
  t.line("");
  t.line("  {:<17} {:<5} {:>5} {:>9} {:>9} {:>24} {:>19} {:>19} {:>10} {:>12}", "random arrivals", "kind", "load",
         "offered/s", "done/s", "ms p50 / p95 / p99", "queued us p50/p99", "in token us p50/p99", "mean batch",
         "late us p99");
  for (const auto& x : r.open) {
    std::vector<double> ms = x.latency_ms;
    std::vector<double> late = x.late_us;
    std::sort(ms.begin(), ms.end());
    std::sort(late.begin(), late.end());
    t.line("  {:<17} {:<5} {:>3.0f} % {:>9.0f} {:>9.0f} {:>24} {:>19} {:>19} {:>10.2f} {:>12.0f}", x.curve, x.kind,
           x.load * 100, x.offered_per_s, x.done_per_s,
           fmt::format("{:.2f} / {:.2f} / {:.2f}", percentile(ms, 50), percentile(ms, 95), percentile(ms, 99)),
           fmt::format("{:.0f} / {:.0f}", x.queue_us.percentile(50), x.queue_us.percentile(99)),
           fmt::format("{:.0f} / {:.0f}", x.service_us.percentile(50), x.service_us.percentile(99)),
           x.batch_size.mean(), percentile(late, 99));
  }
}

void endurance(Text& t, const Endurance& e) {
  t.line("");
  t.row("endurance", "{} of {} sets, {} wrong, {} lost, {} failed, {} ephemeral keys twice; {:.1f} s, {:.0f} sets/s",
        e.completed, e.sets, e.wrong, e.lost, e.failed, e.repeated_keys, e.seconds,
        e.seconds > 0 ? static_cast<double>(e.completed) / e.seconds : 0.0);
  t.row("", "this process: {:.1f} MiB at the start, {:.1f} at the end (drift {:+.1f} MB), {:.1f} at most",
        mib(e.rss_start_bytes), mib(e.rss_end_bytes), static_cast<double>(e.drift_bytes()) / 1e6,
        mib(e.rss_peak_bytes));
  t.row("", "largest worker: {:.1f} MiB of a budget of {:.0f}; session objects left: {}", mib(e.worker_rss_peak_bytes),
        mib(e.memory_budget_bytes), e.session_objects ? std::to_string(*e.session_objects) : "not known");
  for (const auto& w : e.workers)
    t.row("", "worker {}{}: {} jobs, {:.1f} MiB, {} restarts, {} of them for memory", w.pid,
          w.token.empty() ? "" : " on " + w.token, w.jobs, mib(w.rss_bytes), w.restarts, w.recycled);
}

}  // namespace

std::string to_table(const HsmReport& r) {
  Text t;
  t.line("");
  t.line("keyferry-bench hsm{}", r.interrupted ? " (interrupted: what was measured until then)" : "");
  t.row("token", "{}", r.target);
  t.row("run", "{} rounds of {:g} s legs, {} worker{} of {} thread{}, {} jobs in flight a worker, seed {}", r.rounds,
        r.seconds, r.workers, r.workers == 1 ? "" : "s", r.threads, r.threads == 1 ? "" : "s", r.in_flight, r.seed);
  t.row("machine", "{} x {}, {}; other programs kept {:.2f} CPUs busy meanwhile", r.machine.cores, r.machine.cpu,
        r.machine.os, r.other_cpus);
  t.row("build", "keyferry {} ({}), {}", r.version, r.commit, r.build);
  if (!r.direct.empty()) {
    t.line("");
    t.line("  {:<17} {:<32} {:>9} {:>8} {:>8} {:>8} {:>8}", "direct calls", "one process", "per s", "p50 us", "p95 us",
           "p99 us", "CPU us");
    for (const auto& d : r.direct) {
      if (!d.refused.empty() && d.per_s == 0)
        t.line("  {:<17} {:<32} {}", d.curve, d.mechanism, d.refused);
      else
        t.line("  {:<17} {:<32} {:>9.0f} {:>8.0f} {:>8.0f} {:>8.0f} {:>8.0f}", d.curve, d.mechanism, d.per_s, d.p50_us,
               d.p95_us, d.p99_us, d.cpu_us);
    }
    t.line("  direct legs sign with {}", r.direct_sign);
  }
  rates(t, r);
  ratios(t, r);
  open_loop(t, r);
  if (r.endurance) endurance(t, *r.endurance);
  t.line("");
  t.row("results", "{} operations, {} verified with OpenSSL: {} wrong, {} failed, {} lost, {} ephemeral keys twice",
        r.operations, r.checked, r.wrong, r.failed, r.lost, r.repeated_keys);
  for (const auto& [what, n] : r.failures) t.row("", "{:>7}  {}", n, what);
  if (r.worker_restarts > 0) t.row("", "{} worker restarts during the run", r.worker_restarts);
  return t.take();
}

}  // namespace kf::bench
