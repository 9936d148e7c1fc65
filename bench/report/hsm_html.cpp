// The report of `keyferry-bench hsm` as one HTML file.
#include <algorithm>

#include "bench/report/hsm_report.hpp"
#include "bench/report/numbers.hpp"
#include "bench/report/page.hpp"
#include "bench/report/svg.hpp"

namespace kf::bench {
namespace {

using svg::escape;
using svg::number;

std::string with_processes(std::string_view what, unsigned n) {
  return fmt::format("{}, {} process{}", what, n, n == 1 ? "" : "es");
}

void head(Page& p, const HsmReport& r) {
  p.add(
      "<h1>Keyferry HSM report</h1><p class=\"dim\">{}. {} rounds of {} s legs, {} workers, {}. keyferry {} "
      "({}).{}</p>",
      escape(r.target), r.rounds, number(r.seconds), r.workers, escape(r.started), escape(r.version), escape(r.commit),
      r.interrupted ? " <b class=\"bad\">Interrupted.</b>" : "");
  const auto tile = [&](std::string_view name, std::string_view what) {
    const auto s = headline(r, name);
    p.tile(s ? fmt::format("{:.2f}×", s->median) : "–", what);
  };
  p.add("<div class=\"tiles\">");
  tile("sign_engine_vs_direct", "signatures: engine with one worker against direct calls by one process");
  tile("set_engine_vs_direct", "download sets: engine with one worker against direct calls by one process");
  tile("set_two_workers_vs_one_direct", "download sets: engine with two workers against one direct process");
  tile("set_engine_vs_synchronous", "download sets: engine kept full, all workers, against one job at a time");
  p.add("</div>");
  p.add(
      "<p class=\"small dim\">Medians over the rounds, {}. <b class=\"{}\">{}</b>: {} operations, {} verified with "
      "OpenSSL, {} wrong, {} failed, {} lost.</p>",
      r.curves.empty() ? "no curve" : escape(r.curves.front()), r.clean() ? "ok" : "bad",
      r.clean() ? "Clean" : "Not clean", number(static_cast<double>(r.operations)),
      number(static_cast<double>(r.checked)), r.wrong, r.failed, r.lost);
  if (!r.failures.empty()) {
    p.open("What failed", "");
    p.add("<table>");
    for (const auto& [what, n] : r.failures) p.add("<tr><td class=\"n\">{}</td><td>{}</td></tr>", n, escape(what));
    p.add("</table>");
    p.close();
  }
}

void rates(Page& p, const HsmReport& r) {
  const std::vector<RatioRow> ratios = ratio_rows(r);
  for (const std::string& curve : r.curves) {
    bool opened = false;
    for (const std::string_view kind : {"sign", "ecka", "set"}) {
      std::vector<svg::Bar> bars;
      double most = 0;
      for (const auto& x : r.rates) {
        if (x.curve != curve || x.kind != kind) continue;
        const Spread s = spread(x.per_s);
        most = std::max(most, s.high);
        std::string of;  // of the direct calls beside it
        for (const auto& q : ratios)
          if (x.way == Way::engine && q.name == x.kind + "_engine_vs_direct" && q.curve == curve &&
              q.processes == x.processes)
            of = fmt::format(" ({:.1f} %)", 100 * spread(q.rounds).median);
        const std::string label = x.way == Way::direct ? with_processes("direct calls", x.processes)
                                  : x.way == Way::engine
                                      ? fmt::format("engine, {} worker{}", x.processes, x.processes == 1 ? "" : "s")
                                      : "engine, one job at a time";
        bars.push_back({label, s.median, number(s.median) + " a second" + of,
                        x.way == Way::direct   ? "c3"
                        : x.way == Way::engine ? "c1"
                                               : "c2",
                        s.low, s.high});
      }
      if (bars.empty()) continue;
      if (!opened)
        p.open(fmt::format("Rates on {}", escape(curve)),
               "Medians over the rounds; the whisker spans the lowest and the highest. Grey: bare PKCS#11 calls, the "
               "ceiling.");
      opened = true;
      p.add("<p class=\"small\"><b>{}</b></p>", kind == "sign"   ? "signatures"
                                                : kind == "ecka" ? "ephemeral key, key agreement, destruction"
                                                                 : "download sets: key agreement, then a signature");
      p.raw(svg::bars(bars, most, 200, 190));
    }
    if (opened) p.close();
  }
}

std::string of_two(double v) { return fmt::format("{:.2f}", v); }
std::string of_three(double v) { return fmt::format("{:.3f}", v); }

void ratios(Page& p, const HsmReport& r) {
  const auto rows = ratio_rows(r);
  if (rows.empty()) return;
  p.open("Ratios",
         "Taken within a round, whose legs lie side by side; median and spread over the rounds. Other CPUs: what other "
         "programs kept busy in the most disturbed round; rounds with less than 0.2 are quiet.");
  p.table(2, {"ratio", "curve", "processes", "median", "lowest", "highest", "other CPUs", "quiet median", "quiet"});
  for (const auto& x : rows) {
    const Spread s = spread(x.rounds);
    const std::vector<double> quiet = x.quiet_rounds();
    p.row({x.name, x.curve,
           x.processes == x.than_processes ? std::to_string(x.processes)
                                           : fmt::format("{} : {}", x.processes, x.than_processes),
           of_three(s.median), of_three(s.low), of_three(s.high), of_two(spread(x.other_cpus).high),
           quiet.empty() ? "–" : of_three(spread(quiet).median),
           fmt::format("{} of {}", quiet.size(), x.rounds.size())});
  }
  p.end_table();
  p.close();
}

// One of two small drawings side by side.
void histogram(Page& p, const std::string& title, const Distribution& d, std::string_view word, bool us = false) {
  std::vector<std::pair<double, double>> counts;
  for (const auto& b : d.bars) counts.emplace_back(static_cast<double>(b.low), static_cast<double>(b.count));
  const auto text = [us](double v) { return us ? svg::duration(v) : number(v); };
  p.add("<div><p class=\"small\"><b>{}</b>: mean {}, p50 {}, p99 {}</p>", escape(title), text(d.mean()),
        text(d.percentile(50)), text(d.percentile(99)));
  p.raw(svg::powers_of_two(counts, word, us));
  p.add("</div>");
}

void service_times(Page& p, const Distribution& d) {
  const auto bins = distribution_bins(d, 40, 97);
  if (bins.empty()) return;
  std::vector<svg::Column> data;
  for (const auto& b : bins)
    data.push_back(
        {static_cast<double>(b.count), fmt::format("{} to {} us: {} jobs", number(b.low), number(b.high), b.count)});
  const auto mark = [&](const char* name, double q) {
    return svg::Mark{d.percentile(q), fmt::format("{} {} us", name, number(d.percentile(q)))};
  };
  p.raw(svg::columns(data, {"us", 0, bins.back().high}, "jobs", {mark("p50", 50), mark("p95", 95)}, 190));
}

void latency_by_load(Page& p, const HsmReport& r) {
  for (const std::string& curve : r.curves) {
    std::vector<svg::Line> lines{{"p50", "c1", {}}, {"p95", "c3", {}}, {"p99", "c2", {}}};
    constexpr std::array<double, 3> kQuantiles{50, 95, 99};
    double top = 100;
    for (const auto& x : r.open) {
      if (x.curve != curve || x.latency_ms.empty()) continue;
      std::vector<double> ms = x.latency_ms;
      std::sort(ms.begin(), ms.end());
      for (std::size_t i = 0; i < lines.size(); ++i) {
        const double v = percentile(ms, kQuantiles.at(i));
        lines[i].points.push_back({x.load * 100, v,
                                   fmt::format("{:.0f} % load, {} a second: {} {} ms", x.load * 100,
                                               number(x.offered_per_s), lines[i].label, number(v))});
      }
      top = std::max(top, x.load * 100);
    }
    if (lines.front().points.empty()) continue;
    p.open(fmt::format("Latency by load, {}", escape(curve)),
           "Work arrives at random (Poisson) at parts of the measured saturation. Counted from the moment in which it "
           "should have arrived to its result, so that a stall counts for everyone whom it kept waiting. Times in ms.");
    p.raw(svg::lines(lines, {"% load", 0, top}, "ms", 260));
    p.table(2, {"load", "work", "offered/s", "done/s", "p50", "p95", "p99", "queued p50", "p99", "in token p50", "p99",
                "mean batch", "generator late p99"});
    const OpenRow* middle = nullptr;
    const OpenRow* highest = nullptr;
    for (const auto& x : r.open) {
      if (x.curve != curve) continue;
      if (middle == nullptr || std::abs(x.load - 0.5) < std::abs(middle->load - 0.5)) middle = &x;
      if (highest == nullptr || x.load > highest->load) highest = &x;
      std::vector<double> ms = x.latency_ms;
      std::vector<double> late = x.late_us;
      std::sort(ms.begin(), ms.end());
      std::sort(late.begin(), late.end());
      const auto of_us = [](double us) { return of_two(us / 1e3); };
      p.row({fmt::format("{:.0f}\u00a0%", x.load * 100), x.kind, number(x.offered_per_s), number(x.done_per_s),
             of_two(percentile(ms, 50)), of_two(percentile(ms, 95)), of_two(percentile(ms, 99)),
             of_us(x.queue_us.percentile(50)), of_us(x.queue_us.percentile(99)), of_us(x.service_us.percentile(50)),
             of_us(x.service_us.percentile(99)), of_two(x.batch_size.mean()), of_us(percentile(late, 99))});
    }
    p.end_table();
    p.add("<div class=\"two\">");
    histogram(p, fmt::format("queued at {:.0f} % load", middle->load * 100), middle->queue_us, "jobs", true);
    if (highest != middle)
      histogram(p, fmt::format("queued at {:.0f} % load", highest->load * 100), highest->queue_us, "jobs", true);
    p.add("</div>");
    p.close();
  }
}

void saturation(Page& p, const HsmReport& r) {
  for (const auto& x : r.saturation) {
    p.open(fmt::format("At saturation, {}", escape(x.curve)),
           "The engine's own histograms over its full legs with all workers: how many jobs a worker was handed in one "
           "turn, how long they waited before, and how long the token took for each.");
    p.add("<div class=\"two\">");
    histogram(p, "jobs in one turn", x.batch_size, "turns");
    histogram(p, "queued", x.queue_us, "jobs", true);
    p.add("</div><p class=\"small\"><b>inside the token</b> (the last column takes everything beyond)</p>");
    service_times(p, x.service_us);
    p.close();
  }
}

void direct(Page& p, const HsmReport& r) {
  if (r.direct.empty()) return;
  p.open("Direct calls",
         fmt::format("One process, one session, nothing around the calls. The direct legs above sign with {}.",
                     escape(r.direct_sign)));
  p.table(2, {"operation", "curve", "a second", "p50 us", "p95 us", "p99 us", "CPU us"});
  for (const auto& d : r.direct) {
    if (!d.refused.empty() && d.per_s == 0)
      p.row({d.mechanism, d.curve + ": " + d.refused, "–", "–", "–", "–", "–"});
    else
      p.row({d.mechanism, d.curve, number(d.per_s), number(d.p50_us), number(d.p95_us), number(d.p99_us),
             number(d.cpu_us)});
  }
  p.end_table();
  p.close();
}

void cpu(Page& p, const HsmReport& r) {
  if (r.rates.empty()) return;
  p.open("CPU time of one operation",
         "Microseconds, mean over the rounds. Workers: the processes that load the module. This process: the engine's "
         "own threads, submit and poll, and the load generator; the last column is the share of the thread that "
         "generates the load, submits and polls.");
  p.table(3, {"curve", "work", "way", "processes", "workers", "this process", "of it the caller"});
  for (const auto& x : r.rates) {
    const auto here = [&](double us) { return x.way == Way::direct ? "–" : fmt::format("{:.1f}", us); };
    p.row({x.curve, x.kind, std::string(to_string(x.way)), std::to_string(x.processes),
           fmt::format("{:.1f}", x.worker_cpu_us), here(x.process_cpu_us), here(x.caller_cpu_us)});
  }
  p.end_table();
  p.close();
}

void endurance(Page& p, const Endurance& e) {
  p.open("Endurance",
         "Download sets one after the other, the curves in turn, every answer verified with OpenSSL meanwhile.");
  const auto mib = [](std::uint64_t v) { return fmt::format("{:.1f} MiB", static_cast<double>(v) / kMiB); };
  p.add("<table>");
  p.fact("sets", fmt::format("{} of {}: {} wrong, {} lost, {} failed, {} ephemeral keys twice", e.completed, e.sets,
                             e.wrong, e.lost, e.failed, e.repeated_keys));
  p.fact("time", fmt::format("{:.1f} s, {} sets a second, verification on the same machine", e.seconds,
                             number(e.seconds > 0 ? static_cast<double>(e.completed) / e.seconds : 0)));
  p.fact("this process",
         fmt::format("{} at the start, {} at the end (drift {:+.1f} MB), {} at most", mib(e.rss_start_bytes),
                     mib(e.rss_end_bytes), static_cast<double>(e.drift_bytes()) / 1e6, mib(e.rss_peak_bytes)));
  p.fact("largest worker",
         fmt::format("{} of a budget of {}", mib(e.worker_rss_peak_bytes), mib(e.memory_budget_bytes)));
  p.fact("session objects left", e.session_objects ? std::to_string(*e.session_objects) : "not known");
  for (const auto& w : e.workers)
    p.fact(fmt::format("worker {}{}", w.pid, w.token.empty() ? "" : " on " + w.token),
           fmt::format("{} jobs, {}, {} restarts, {} of them for memory", w.jobs, mib(w.rss_bytes), w.restarts,
                       w.recycled));
  p.add("</table>");
  if (e.samples.size() > 2) {
    const double end = e.samples.back()[0];
    for (const std::size_t i : {1U, 2U}) {
      std::vector<svg::Column> data;
      const std::size_t step = std::max<std::size_t>(1, e.samples.size() / 300);
      for (std::size_t k = 0; k < e.samples.size(); k += step)
        data.push_back({e.samples[k].at(i) / kMiB,
                        fmt::format("{} s: {} MiB", number(e.samples[k][0]), number(e.samples[k].at(i) / kMiB))});
      p.raw(svg::area(data, {"s", 0, end}, i == 1 ? "MiB, this process" : "MiB, the largest worker", 130));
    }
  }
  p.close();
}

void facts(Page& p, const HsmReport& r) {
  p.open("Machine and configuration", "");
  p.add("<table>");
  p.facts(r.machine);
  p.fact("other programs", fmt::format("kept {:.2f} CPUs busy during the run", r.other_cpus));
  p.fact("build", fmt::format("keyferry {} ({}), {}", r.version, r.commit, r.build));
  p.fact("token", r.target);
  for (const auto& [name, value] : r.facts) p.fact(name, value);
  p.fact("workers", fmt::format("{}, {} thread{} each", r.workers, r.threads, r.threads == 1 ? "" : "s"));
  p.fact("jobs in flight", fmt::format("{} a worker at saturation", r.in_flight));
  p.fact("legs", fmt::format("{} s; {} s for each load with random arrivals, seed {}", number(r.seconds),
                             number(r.open_seconds), r.seed));
  p.fact("verified", r.check ? "every answer" : "the answers of every 64th job");
  p.add("</table>");
  p.close();
}

}  // namespace

std::string to_html(const HsmReport& r) {
  Page p(fmt::format("Keyferry HSM: {}", r.target));
  head(p, r);
  rates(p, r);
  ratios(p, r);
  latency_by_load(p, r);
  saturation(p, r);
  direct(p, r);
  cpu(p, r);
  if (r.endurance) endurance(p, *r.endurance);
  facts(p, r);
  return p.take();
}

}  // namespace kf::bench
