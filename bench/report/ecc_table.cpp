#include "bench/report/ecc_report.hpp"
#include "bench/report/text.hpp"

namespace kf::bench {

std::string to_table(const EccReport& r) {
  Text t;
  t.line("");
  t.line("keyferry-bench ecc{}", r.interrupted ? " (interrupted: what was measured until then)" : "");
  for (const auto& c : r.cores)
    t.row("core", "style {}, II {}, {} contexts, {}, sources {:08X}; table and self-test: {} cycles, {:.2f} CPU-s",
          c.style, c.ii, c.contexts, c.model, c.build, c.start_cycles, c.start_cpu_s);
  t.row("run", "{} jobs an operation and curve through the rings, memory answers after {} cycles, seed {}", r.jobs,
        r.latency, r.seed);
  t.row("steady",
        "full batches, from the last completion of one to that of a later one; {} batch{} before and one "
        "behind left out",
        r.warm_up_batches, r.warm_up_batches == 1 ? "" : "es");
  t.row("machine", "{} x {}, {}; other programs kept {:.2f} CPUs busy meanwhile", r.machine.cores, r.machine.cpu,
        r.machine.os, r.other_cpus);
  t.row("build", "keyferry {} ({}), {}", r.version, r.commit, r.build);
  t.line("");
  t.line("  {:<10} {:<16} {:<10} {:>8} {:>10} {:>12} {:>11} {:>7} {:>11}", "operation", "curve", "style", "batches",
         "cycles/op", "multiplier", "its slots", "busy", "op/CPU-s");
  for (const auto op : kEccOperations)
    for (const auto& x : r.rows)
      if (x.operation == op)
        t.line("  {:<10} {:<16} {:<10} {:>8} {:>10.1f} {:>10.2f} % {:>9.2f} % {:>5.1f} % {:>11.0f}", x.operation,
               x.curve, x.style, x.batches, x.cycles_per_op(), 100 * x.multiplier_use(), 100 * x.slot_use(),
               100 * x.busy(), x.ops_per_cpu_s());
  t.line("");
  t.line(
      "  multiplier: of all cycles; its slots: of those in which a program ran; busy: a batch ran or was exchanged;");
  t.line("  op/CPU-s: simulated operations in a second of CPU time of the simulator");
  t.row("results", "{} answers, each checked with OpenSSL: {} wrong", r.answers, r.wrong);
  for (const auto& [what, n] : r.failures) t.row("", "{:>7}  {}", n, what);
  return t.take();
}

}  // namespace kf::bench
