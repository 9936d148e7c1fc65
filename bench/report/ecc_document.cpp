// What `keyferry-bench ecc` found, as a document.
#include "bench/report/ecc_report.hpp"
#include "bench/report/parts.hpp"
#include "host/base/text.hpp"

namespace kf::bench {
namespace {

using report::joined;
using report::number;
using report::Section;

report::Document ecc_head(const EccReport& r) {
  std::vector<std::string> cores;
  for (const auto& c : r.cores)
    cores.push_back(fmt::format("style {} at II = {} with {} contexts", c.style, c.ii, c.contexts));
  report::Document d = document_of(r, "Keyferry ECC core report", "Simulated RTL: " + joined(cores));
  for (const auto op : kEccOperations)
    d.tiles.push_back({worst_cycles(r, op) > 0 ? number(worst_cycles(r, op)) : "–",
                       fmt::format("cycles for one {}, the worse curve", op)});
  d.summary.push_back(verdict(
      r.clean(), fmt::format("{} answers, each checked with OpenSSL: {} wrong.", count_of(r.answers), r.wrong)));
  return d;
}

Section by_operation(const EccReport& r, std::string title, std::string about, std::string_view unit, auto value) {
  Section s{std::move(title), std::move(about), {}};
  for (const auto op : kEccOperations) {
    report::Bars bars;
    for (const auto& x : r.rows)
      if (x.operation == op)
        bars.data.push_back({x.curve + ", " + x.style, value(x), number(value(x)) + std::string(unit),
                             x.style == "fast" ? report::Hue::first : report::Hue::grey});
    s.blocks.emplace_back(report::Chart{std::string(op), std::move(bars)});
  }
  return s;
}

Section ecc_rows(const EccReport& r) {
  report::Table t{
      {"operation", "curve", "style", "batches", "cycles/op", "multiplier", "its slots", "busy", "op/CPU-s"},
      {},
      3,
      {}};
  for (const auto op : kEccOperations)
    for (const auto& x : r.rows)
      if (x.operation == op)
        t.rows.push_back({x.operation, x.curve, x.style, std::to_string(x.batches),
                          fmt::format("{:.1f}", x.cycles_per_op()), percent(x.multiplier_use()), percent(x.slot_use()),
                          percent(x.busy()), number(x.ops_per_cpu_s())});
  return {"All numbers",
          "Multiplier: of all cycles. Its slots: of those in which a program ran. Busy: a batch ran or was exchanged. "
          "op/CPU-s: simulated operations in a second of CPU time of the simulator.",
          {std::move(t)}};
}

}  // namespace

report::Document document(const EccReport& r) {
  report::Document d = ecc_head(r);
  d.sections.push_back(by_operation(r, "Cycles an operation",
                                    "In the steady state, batches full, descriptors and completions moved by the "
                                    "core's DMA. Both styles take the same "
                                    "cycles: they differ in how the simulator gets along with them.",
                                    " cycles", [](const EccRow& x) { return x.cycles_per_op(); }));
  d.sections.push_back(by_operation(r, "Simulated operations in a second of CPU time",
                                    "How fast the simulator is on this machine; it says nothing about an FPGA.",
                                    " a second", [](const EccRow& x) { return x.ops_per_cpu_s(); }));
  d.sections.push_back(ecc_rows(r));
  if (!r.failures.empty()) d.sections.push_back(failed("What was wrong", r.failures));
  std::vector<report::Fact> own{
      {"command", r.command},
      {"run", fmt::format("{} jobs an operation and curve through the rings, seed {}", r.jobs, r.seed)},
      {"memory", fmt::format("answers after {} cycles", r.latency)}};
  for (const auto& c : r.cores)
    own.push_back({"core " + c.style, fmt::format("{}, sources {:08X}; table and self-test: {} cycles ({:.2f} CPU-s)",
                                                  c.model, c.build, c.start_cycles, c.start_cpu_s)});
  own.push_back(
      {"steady", fmt::format("full batches, from the last completion of one to that of a later one; {} batch{} "
                             "before and one behind left out",
                             r.warm_up_batches, r.warm_up_batches == 1 ? "" : "es")});
  d.sections.push_back(configuration(r, std::move(own)));
  return d;
}

}  // namespace kf::bench
