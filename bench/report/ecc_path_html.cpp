// The report of `keyferry-bench ecc --through ...` as one HTML file.
#include <algorithm>

#include "bench/report/ecc_path_report.hpp"
#include "bench/report/page.hpp"
#include "bench/report/svg.hpp"

namespace kf::bench {
namespace {

using svg::escape;
using svg::number;

std::string of_two(double v) { return fmt::format("{:.2f}", v); }
std::string percent(double v) { return fmt::format("{:.2f}\u00a0%", 100 * v); }
std::string or_dash(const std::optional<double>& v, auto text) { return v ? text(*v) : std::string("–"); }

void head(Page& p, const EccPathReport& r) {
  p.add(
      "<h1>Keyferry ECC core through {}</h1><p class=\"dim\">Simulated cores, a process each. {}. keyferry {} "
      "({}).{}</p>",
      r.paths.size() == 2 ? "driver and engine"
      : r.paths.empty()   ? "nothing"
                          : escape(r.paths.front()),
      escape(r.started), escape(r.version), escape(r.commit),
      r.interrupted ? " <b class=\"bad\">Interrupted.</b>" : "");
  p.add("<div class=\"tiles\">");
  for (const auto& path : r.paths) {
    p.tile(or_dash(cost_us_a_job(r, path), [](double v) { return of_two(v) + " us"; }),
           fmt::format("host CPU of the {} for a job of the core, batches of {}", path, kCostBatch));
    p.tile(or_dash(busy_while_queued(r, path), [](double v) { return percent(v); }),
           fmt::format("of its cycles a core is busy while the {} has jobs queued", path));
    p.tile(or_dash(cores_ratio(r, path, 2), [](double v) { return of_two(v) + "×"; }),
           fmt::format("two cores against one, through the {}", path));
  }
  p.add("</div>");
  p.add(
      "<p class=\"small dim\">The worst over operations and curves. <b class=\"{}\">{}</b>: {} answers, {} checked "
      "with OpenSSL, {} "
      "wrong, {} failed, {} lost.</p>",
      r.clean() ? "ok" : "bad", r.clean() ? "Clean" : "Not clean", number(static_cast<double>(r.answers)),
      number(static_cast<double>(r.checked)), r.wrong, r.failed, r.lost);
  if (r.failures.empty()) return;
  p.open("What was wrong", "");
  p.add("<table>");
  for (const auto& [what, n] : r.failures) p.fact(what, std::to_string(n));
  p.add("</table>");
  p.close();
}

// Rates and latency by depth, an operation and curve.
void by_depth(Page& p, const EccPathReport& r, const std::string& path) {
  std::vector<std::pair<std::string, std::string>> seen;
  for (const auto& x : r.rows) {
    if (x.path != path || x.in_turn) continue;
    const std::pair key{x.operation, x.curve};
    if (std::ranges::find(seen, key) == seen.end()) seen.push_back(key);
  }
  for (const auto& [operation, curve] : seen) {
    std::vector<svg::Bar> rate, latency;
    double fastest = 0, slowest = 0;
    for (const auto& x : r.rows) {
      if (x.path != path || x.in_turn || x.operation != operation || x.curve != curve || x.cores != 1) continue;
      std::vector<double> ms = x.latency_ms;
      std::sort(ms.begin(), ms.end());
      const double p50 = percentile(ms, 50), p95 = percentile(ms, 95), p99 = percentile(ms, 99);
      const std::string label = fmt::format("{} in flight", x.depth);
      rate.push_back(
          {label, x.per_s(),
           fmt::format("{} a second, {:.1f} a batch, busy {}", number(x.per_s()), x.jobs_a_batch(), percent(x.busy())),
           "c1"});
      latency.push_back({label, p50, fmt::format("p50 {}, p95 {}, p99 {} ms", number(p50), number(p95), number(p99)),
                         "c2", p50, p99});
      fastest = std::max(fastest, x.per_s());
      slowest = std::max(slowest, p99);
    }
    if (rate.empty()) continue;
    p.open(fmt::format("{} on {}, through the {}", escape(operation), escape(curve), escape(path)),
           "One core. A batch takes the core as long with one job in it as with all: depth is throughput. The whisker "
           "spans p50 to p99.");
    p.raw(svg::bars(rate, fastest, 130, 330));
    p.add("<p class=\"small\"><b>latency</b>, from submission to answer</p>");
    p.raw(svg::bars(latency, slowest, 130, 330));
    p.close();
  }
}

void batches(Page& p, const EccPathReport& r) {
  p.open("Batch fill",
         "Jobs in a batch: through the driver as the core formed them, through the engine as it sent them. The deepest "
         "queue of each "
         "operation, first curve.");
  p.add("<div class=\"two\">");
  for (const auto& path : r.paths) {
    std::map<std::string, const PathRow*> deepest;
    for (const auto& x : r.rows) {
      if (x.path != path || x.in_turn || x.batch.count == 0 || r.curves.empty() || x.curve != r.curves.front())
        continue;
      const PathRow*& at = deepest[x.operation];
      if (at == nullptr || x.depth > at->depth) at = &x;
    }
    for (const auto& [operation, x] : deepest) {
      std::vector<std::pair<double, double>> counts;
      for (const auto& b : x->batch.bars) counts.emplace_back(static_cast<double>(b.low), static_cast<double>(b.count));
      p.add("<div><p class=\"small\"><b>{}, {}</b>, {} in flight: mean {}</p>", escape(operation), escape(path),
            x->depth, number(x->batch.mean()));
      p.raw(svg::powers_of_two(counts, "batches"));
      p.add("</div>");
    }
  }
  p.add("</div>");
  p.close();
}

void costs(Page& p, const EccPathReport& r) {
  std::vector<svg::Bar> bars;
  double most = 0;
  for (const auto& x : r.rows) {
    if (!x.in_turn) continue;
    bars.push_back({fmt::format("{}: {}, {}", x.path, x.operation, x.curve), x.host_us_a_job(),
                    fmt::format("{:.2f} us a job, {:.2f} in calls", x.host_us_a_job(), x.calls_us_a_job()),
                    x.path == "driver" ? "c1" : "c2"});
    most = std::max(most, x.host_us_a_job());
  }
  if (bars.empty()) return;
  p.open(fmt::format("Host CPU a job of the core, {} at a time", kCostBatch),
         "Submission, polling and sleep of the thread that has the work; through the engine its own thread too. The "
         "simulation's CPU time "
         "is not in it.");
  p.raw(svg::bars(bars, most, 330, 220));
  p.close();
}

void pairs(Page& p, const EccPathReport& r) {
  if (r.pairs.empty()) return;
  p.open("More cores",
         "Each core is simulated by a process of its own. Legs side by side; the ratio belongs to a round.");
  p.table(3, {"through", "operation", "curve", "cores", "median", "lowest", "highest", "quiet median", "quiet rounds"});
  for (const auto& x : r.pairs) {
    const Spread s = spread(x.ratios());
    const std::vector<double> quiet = x.quiet_ratios();
    p.row({x.path, x.operation, x.curve, fmt::format("{} : 1", x.cores), of_two(s.median), of_two(s.low),
           of_two(s.high), quiet.empty() ? "–" : of_two(spread(quiet).median),
           fmt::format("{} of {}", quiet.size(), x.ratios().size())});
  }
  p.end_table();
  p.close();
}

void everything(Page& p, const EccPathReport& r) {
  p.open("All numbers",
         "us: CPU time an operation; host: calls, sleep and the engine's thread; sim: the simulator. *: so many at "
         "once, all waited for, "
         "then the next.");
  p.table(3, {"through", "operation", "curve", "cores", "depth", "per s", "p50 ms", "p95 ms", "p99 ms", "a batch",
              "calls us", "host us", "sim us", "busy", "multiplier"});
  for (const auto& x : r.rows) {
    std::vector<double> ms = x.latency_ms;
    std::sort(ms.begin(), ms.end());
    p.row({x.path, x.operation, x.curve, std::to_string(x.cores), fmt::format("{}{}", x.depth, x.in_turn ? "*" : ""),
           number(x.per_s()), number(percentile(ms, 50)), number(percentile(ms, 95)), number(percentile(ms, 99)),
           fmt::format("{:.1f}", x.jobs_a_batch()), of_two(x.calls_us()), of_two(x.host_us()), number(x.sim_us()),
           percent(x.busy()), percent(x.multiplier_use())});
  }
  p.end_table();
  p.close();
}

}  // namespace

std::string to_html(const EccPathReport& r) {
  Page p("Keyferry ECC core");
  head(p, r);
  costs(p, r);
  pairs(p, r);
  for (const auto& path : r.paths) by_depth(p, r, path);
  batches(p, r);
  everything(p, r);
  p.open("Machine and configuration", "");
  p.add("<table>");
  p.facts(r.machine);
  p.fact("other programs", fmt::format("kept {:.2f} CPUs busy during the run", r.other_cpus));
  p.fact("build", fmt::format("keyferry {} ({}), {}", r.version, r.commit, r.build));
  p.fact("command", r.command);
  p.fact("core", fmt::format("II {}, {} contexts, {} key slots, sources {:08X}, takes jobs after {:.1f} s", r.core.ii,
                             r.core.contexts, r.core.key_slots, r.core.build, r.core.start_s));
  p.add("</table>");
  p.close();
  return p.take();
}

}  // namespace kf::bench
