#include <algorithm>

#include "bench/report/ecc_path_report.hpp"
#include "bench/report/text.hpp"

namespace kf::bench {

std::string to_table(const EccPathReport& r) {
  Text t;
  t.line("");
  t.line("keyferry-bench ecc, through {}{}",
         r.paths.size() == 2 ? "driver and engine"
         : r.paths.empty()   ? "nothing"
                             : r.paths.front(),
         r.interrupted ? " (interrupted: what was measured until then)" : "");
  t.row("core",
        "simulated, a process each, II {}, {} contexts, {} key slots, sources {:08X}; takes jobs after {:.1f} s",
        r.core.ii, r.core.contexts, r.core.key_slots, r.core.build, r.core.start_s);
  t.row("run", "legs of {} s; {} rounds of cores against one; seed {}", r.seconds, r.rounds, r.seed);
  t.row("machine", "{} x {}, {}; other programs kept {:.2f} CPUs busy meanwhile", r.machine.cores, r.machine.cpu,
        r.machine.os, r.other_cpus);
  t.row("build", "keyferry {} ({}), {}", r.version, r.commit, r.build);
  for (const auto& path : r.paths) {
    t.line("");
    t.line("  {:<15} {:<16} {:>5} {:>6} {:>8} {:>8} {:>8} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8} {:>6}", "through " + path,
           "curve", "cores", "depth", "per s", "p50 ms", "p95 ms", "p99 ms", "batch", "calls us", "host us", "sim us",
           "busy", "others");
    for (const auto& x : r.rows) {
      if (x.path != path) continue;
      std::vector<double> ms = x.latency_ms;
      std::sort(ms.begin(), ms.end());
      t.line(
          "  {:<15} {:<16} {:>5} {:>6} {:>8.1f} {:>8.1f} {:>8.1f} {:>8.1f} {:>6.1f} {:>8.2f} {:>8.2f} {:>8.0f} "
          "{:>6.2f} % {:>6.2f}",
          x.operation, x.curve, x.cores, fmt::format("{}{}", x.depth, x.in_turn ? "*" : ""), x.per_s(),
          percentile(ms, 50), percentile(ms, 95), percentile(ms, 99), x.jobs_a_batch(), x.calls_us(), x.host_us(),
          x.sim_us(), 100 * x.busy(), x.other_cpus);
    }
  }
  t.line("");
  t.line(
      "  depth: in flight, a core; *: so many at once, all waited for, then the next. batch: jobs in a batch of the "
      "core.");
  t.line(
      "  us: CPU time an operation; calls: submit and poll; host: with the sleep on the event and the engine's "
      "thread;");
  t.line(
      "  sim: of the simulator. busy: of the core's cycles, by its own counter. others: CPUs kept busy by other "
      "programs");
  const auto told = [](const std::optional<double>& v, double times = 1) {
    return v ? fmt::format("{:.2f}", times * *v) : std::string("-");
  };
  t.line("");
  for (const auto& path : r.paths) {
    t.row(path,
          "{} us of host CPU a job of the core in batches of {}{}; cores busy in {} % of the cycles while jobs are "
          "queued",
          told(cost_us_a_job(r, path)), kCostBatch,
          path == "engine" ? fmt::format(" ({} us a request)", told(cost_us_a_request(r, path))) : std::string(),
          told(busy_while_queued(r, path), 100));
  }
  for (const auto& p : r.pairs) {
    if (p.ratios().empty()) continue;
    const Spread s = spread(p.ratios());
    const std::vector<double> quiet = p.quiet_ratios();
    t.row("cores",
          "{} against one, {}, {} on {}: {:.2f} times (lowest {:.2f}, highest {:.2f}; {} of {} rounds quiet{})",
          p.cores, p.path, p.operation, p.curve, s.median, s.low, s.high, quiet.size(), p.ratios().size(),
          quiet.empty() ? std::string() : fmt::format(": {:.2f}", spread(quiet).median));
  }
  t.row(
      "results",
      "{} answers, {} checked with OpenSSL: {} wrong, {} failed, {} lost, {} keys twice; {} faults seen by the driver",
      r.answers, r.checked, r.wrong, r.failed, r.lost, r.repeated_keys, r.device_faults);
  for (const auto& [what, n] : r.failures) t.row("", "{:>7}  {}", n, what);
  return t.take();
}

}  // namespace kf::bench
