// What `keyferry-bench ecc --through ...` found, as a document.
#include <algorithm>

#include "bench/report/ecc_path_report.hpp"
#include "bench/report/parts.hpp"

namespace kf::bench {
namespace {

using report::Hue;
using report::number;
using report::Section;
using report::Table;

std::string or_dash(const std::optional<double>& v, auto text) { return v ? text(*v) : std::string("–"); }

report::Document path_head(const EccPathReport& r) {
  const std::string through = r.paths.size() == 2 ? "driver and engine" : r.paths.empty() ? "nothing" : r.paths.front();
  report::Document d = document_of(r, "Keyferry ECC core through " + through,
                                   fmt::format("Simulated cores, a process each. Legs of {} s; {} rounds of cores "
                                               "against one; seed {}",
                                               number(r.seconds), r.rounds, r.seed));
  for (const auto& path : r.paths) {
    d.tiles.push_back(
        {or_dash(cost_us_a_job(r, path), [](double v) { return of_two(v) + " us"; }),
         fmt::format(
             "of host CPU of the {} for a job of the core, batches of {}{}", path, kCostBatch,
             path == "engine" ? fmt::format("; {} us a request", or_dash(cost_us_a_request(r, path), of_two)) : "")});
    d.tiles.push_back({or_dash(busy_while_queued(r, path), percent),
                       fmt::format("of its cycles a core is busy while the {} has jobs queued", path)});
    d.tiles.push_back({or_dash(cores_ratio(r, path, 2), [](double v) { return of_two(v) + "×"; }),
                       fmt::format("two cores against one, through the {}", path)});
  }
  d.summary.emplace_back("The worst over operations and curves.");
  d.summary.push_back(
      verdict(r.clean(),
              fmt::format("{} answers, {} checked with OpenSSL: {} wrong, {} failed, {} lost, {} keys twice; {} faults "
                          "seen by the driver.",
                          count_of(r.answers), count_of(r.checked), r.wrong, r.failed, r.lost, r.repeated_keys,
                          r.device_faults)));
  return d;
}

Section costs(const EccPathReport& r) {
  report::Bars bars;
  for (const auto& x : r.rows)
    if (x.in_turn)
      bars.data.push_back({fmt::format("{}: {}, {}", x.path, x.operation, x.curve), x.host_us_a_job(),
                           fmt::format("{:.2f} us a job, {:.2f} in calls", x.host_us_a_job(), x.calls_us_a_job()),
                           x.path == "driver" ? Hue::first : Hue::second});
  if (bars.data.empty()) return {};
  bars.in_terminal = true;
  return {fmt::format("Host CPU a job of the core, {} at a time", kCostBatch),
          "Submission, polling and sleep of the thread that has the work; through the engine its own thread too. The "
          "simulation's CPU time is not in it.",
          {report::Chart{"", std::move(bars)}}};
}

Section more_cores(const EccPathReport& r) {
  Table t{{"through", "operation", "curve", "cores", "median", "lowest", "highest", "quiet median", "quiet rounds"},
          {},
          3,
          {}};
  for (const auto& x : r.pairs) {
    const Spread s = spread(x.ratios());
    const std::vector<double> quiet = x.quiet_ratios();
    t.rows.push_back({x.path, x.operation, x.curve, fmt::format("{} : 1", x.cores), of_two(s.median), of_two(s.low),
                      of_two(s.high), quiet.empty() ? "–" : of_two(spread(quiet).median),
                      fmt::format("{} of {}", quiet.size(), x.ratios().size())});
  }
  if (t.rows.empty()) return {};
  return {"More cores",
          "Each core is simulated by a process of its own. Legs side by side; the ratio belongs to a round.",
          {std::move(t)}};
}

// Rates and latency by depth, an operation and curve.
Section by_depth(const EccPathReport& r, const PathRow& of) {
  report::Bars rate, latency;
  for (const auto& x : r.rows) {
    if (x.path != of.path || x.in_turn || x.operation != of.operation || x.curve != of.curve || x.cores != 1) continue;
    const Quantiles ms = quantiles_of(x.latency_ms);
    const std::string label = fmt::format("{} in flight", x.depth);
    rate.data.push_back(
        {label, x.per_s(),
         fmt::format("{} a second, {:.1f} a batch, busy {}", number(x.per_s()), x.jobs_a_batch(), percent(x.busy()))});
    latency.data.push_back({label, ms.p50,
                            fmt::format("p50 {}, p95 {}, p99 {} ms", number(ms.p50), number(ms.p95), number(ms.p99)),
                            Hue::second, ms.p50, ms.p99});
  }
  if (rate.data.empty()) return {};
  return {fmt::format("{} on {}, through the {}", of.operation, of.curve, of.path),
          "One core. A batch takes the core as long with one job in it as with all: depth is throughput. The whisker "
          "spans p50 to p99.",
          {report::Chart{"rate", std::move(rate)},
           report::Chart{"latency, from submission to answer", std::move(latency)}}};
}

Section batch_fill(const EccPathReport& r) {
  Section s{"Batch fill",
            "Jobs in a batch: through the driver as the core formed them, through the engine as it sent them. The "
            "deepest queue of each operation, first curve.",
            {}};
  for (const auto& path : r.paths) {
    std::map<std::string, const PathRow*> deepest;
    for (const auto& x : r.rows) {
      if (x.path != path || x.in_turn || x.batch.count == 0 || r.curves.empty() || x.curve != r.curves.front())
        continue;
      const PathRow*& at = deepest[x.operation];
      if (at == nullptr || x.depth > at->depth) at = &x;
    }
    for (const auto& [operation, x] : deepest)
      s.blocks.emplace_back(
          powers_of_two(fmt::format("{}, {}, {} in flight", operation, path, x->depth), x->batch, "batches"));
  }
  return s.blocks.empty() ? Section{} : s;
}

Section path_rows(const EccPathReport& r) {
  Section s{
      "All numbers",
      "depth: in flight, a core; *: so many at once, all waited for, then the next. batch: jobs in a batch of the "
      "core. us: CPU time an operation; calls: submit and poll; host: with the sleep on the event and the "
      "engine's thread; sim: of the simulator. busy, multiplier: of the core's cycles, by its own counters. "
      "others: CPUs kept busy by other programs.",
      {}};
  for (const auto& path : r.paths) {
    Table t{{"operation", "curve", "cores", "depth", "per s", "p50 ms", "p95 ms", "p99 ms", "batch", "calls us",
             "host us", "sim us", "busy", "multiplier", "others"},
            {},
            2,
            "through " + path};
    for (const auto& x : r.rows) {
      if (x.path != path) continue;
      const Quantiles ms = quantiles_of(x.latency_ms);
      t.rows.push_back({x.operation, x.curve, std::to_string(x.cores),
                        fmt::format("{}{}", x.depth, x.in_turn ? "*" : ""), number(x.per_s()), number(ms.p50),
                        number(ms.p95), number(ms.p99), fmt::format("{:.1f}", x.jobs_a_batch()), of_two(x.calls_us()),
                        of_two(x.host_us()), number(x.sim_us()), percent(x.busy()), percent(x.multiplier_use()),
                        of_two(x.other_cpus)});
    }
    s.blocks.emplace_back(std::move(t));
  }
  return s;
}

}  // namespace

report::Document document(const EccPathReport& r) {
  report::Document d = path_head(r);
  const auto add = [&d](Section s) {
    if (!s.title.empty()) d.sections.push_back(std::move(s));
  };
  if (!r.failures.empty()) add(failed("What was wrong", r.failures));
  add(costs(r));
  add(more_cores(r));
  for (const auto& path : r.paths) {
    std::vector<std::pair<std::string, std::string>> seen;
    for (const auto& x : r.rows) {
      if (x.path != path || x.in_turn || std::ranges::find(seen, std::pair{x.operation, x.curve}) != seen.end())
        continue;
      seen.emplace_back(x.operation, x.curve);
      add(by_depth(r, x));
    }
  }
  add(batch_fill(r));
  add(path_rows(r));
  add(configuration(
      r, {{"command", r.command},
          {"core", fmt::format("II {}, {} contexts, {} key slots, sources {:08X}; takes jobs after {:.1f} s", r.core.ii,
                               r.core.contexts, r.core.key_slots, r.core.build, r.core.start_s)}}));
  return d;
}

}  // namespace kf::bench
