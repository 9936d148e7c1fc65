// The report of `keyferry-bench ecc` as one HTML file.
#include <algorithm>

#include "bench/report/ecc_report.hpp"
#include "bench/report/page.hpp"
#include "bench/report/svg.hpp"

namespace kf::bench {
namespace {

using svg::escape;
using svg::number;

std::string percent(double v) { return fmt::format("{:.2f}\u00a0%", 100 * v); }

void head(Page& p, const EccReport& r) {
  std::string cores;
  for (const auto& c : r.cores)
    cores +=
        fmt::format("{}style {} at II = {} with {} contexts", cores.empty() ? "" : ", ", c.style, c.ii, c.contexts);
  p.add("<h1>Keyferry ECC core report</h1><p class=\"dim\">Simulated RTL: {}. {}. keyferry {} ({}).{}</p>",
        escape(cores), escape(r.started), escape(r.version), escape(r.commit),
        r.interrupted ? " <b class=\"bad\">Interrupted.</b>" : "");
  p.add("<div class=\"tiles\">");
  for (const auto op : kEccOperations)
    p.tile(worst_cycles(r, op) > 0 ? number(worst_cycles(r, op)) : "–", fmt::format("cycles for one {}", op));
  p.add("</div>");
  p.add(
      "<p class=\"small dim\">The worse curve. <b class=\"{}\">{}</b>: {} answers, each checked with OpenSSL, {} "
      "wrong.</p>",
      r.clean() ? "ok" : "bad", r.clean() ? "Clean" : "Not clean", number(static_cast<double>(r.answers)), r.wrong);
}

void chart(Page& p, const EccReport& r, const std::string& title, const std::string& about, auto value, auto text) {
  p.open(title, about);
  for (const auto op : kEccOperations) {
    std::vector<svg::Bar> bars;
    double most = 0;
    for (const auto& x : r.rows) {
      if (x.operation != op) continue;
      bars.push_back({x.curve + ", " + x.style, value(x), text(x), x.style == "fast" ? "c1" : "c3"});
      most = std::max(most, value(x));
    }
    if (bars.empty()) continue;
    p.add("<p class=\"small\"><b>{}</b></p>", op);
    p.raw(svg::bars(bars, most, 230, 190));
  }
  p.close();
}

}  // namespace

std::string to_html(const EccReport& r) {
  Page p("Keyferry ECC core");
  head(p, r);
  chart(
      p, r, "Cycles an operation",
      "In the steady state, batches full, descriptors and completions moved by the core's DMA. Both styles take the "
      "same "
      "cycles: they differ in how the simulator gets along with them.",
      [](const EccRow& x) { return x.cycles_per_op(); },
      [](const EccRow& x) { return number(x.cycles_per_op()) + " cycles"; });
  chart(
      p, r, "Simulated operations in a second of CPU time",
      "How fast the simulator is on this machine; it says nothing about an FPGA.",
      [](const EccRow& x) { return x.ops_per_cpu_s(); },
      [](const EccRow& x) { return number(x.ops_per_cpu_s()) + " a second"; });
  p.open("All numbers",
         "Multiplier: of all cycles. Its slots: of those in which a program ran. Busy: a batch ran or was exchanged.");
  p.table(3, {"operation", "curve", "style", "batches", "cycles/op", "multiplier", "its slots", "busy", "op/CPU-s"});
  for (const auto op : kEccOperations)
    for (const auto& x : r.rows)
      if (x.operation == op)
        p.row({x.operation, x.curve, x.style, std::to_string(x.batches), fmt::format("{:.1f}", x.cycles_per_op()),
               percent(x.multiplier_use()), percent(x.slot_use()), percent(x.busy()), number(x.ops_per_cpu_s())});
  p.end_table();
  p.close();
  if (!r.failures.empty()) {
    p.open("What was wrong", "");
    p.add("<table>");
    for (const auto& [what, n] : r.failures) p.fact(what, std::to_string(n));
    p.add("</table>");
    p.close();
  }
  p.open("Machine and configuration", "");
  p.add("<table>");
  p.facts(r.machine);
  p.fact("other programs", fmt::format("kept {:.2f} CPUs busy during the run", r.other_cpus));
  p.fact("build", fmt::format("keyferry {} ({}), {}", r.version, r.commit, r.build));
  p.fact("command", r.command);
  p.fact("memory", fmt::format("answers after {} cycles", r.latency));
  for (const auto& c : r.cores)
    p.fact("core " + c.style, fmt::format("{}, sources {:08X}, ready after {} cycles ({:.2f} CPU-s)", c.model, c.build,
                                          c.start_cycles, c.start_cpu_s));
  p.fact("left out", fmt::format("{} batches before the measured span and one behind", r.warm_up_batches));
  p.add("</table>");
  p.close();
  return p.take();
}

}  // namespace kf::bench
