// What `keyferry-bench hsm` found, as a document.
#include <algorithm>

#include "bench/report/hsm_report.hpp"
#include "bench/report/parts.hpp"
#include "host/base/text.hpp"

namespace kf::bench {
namespace {

using report::Facts;
using report::Hue;
using report::number;
using report::Section;
using report::Table;

std::string of_three(double v) { return fmt::format("{:.3f}", v); }
std::string of_one(double v) { return fmt::format("{:.1f}", v); }
std::string mib(std::uint64_t octets) { return fmt::format("{:.1f} MiB", static_cast<double>(octets) / kMiB); }

report::Document hsm_head(const HsmReport& r) {
  report::Document d =
      document_of(r, "Keyferry HSM report",
                  fmt::format("{}. {} rounds of {} s legs, {} of {}", r.target, r.rounds, number(r.seconds),
                              counted(r.workers, "worker"), counted(r.threads, "thread")));
  const auto tile = [&](std::string_view name, std::string what) {
    const auto s = headline(r, name);
    d.tiles.push_back({s ? fmt::format("{:.2f}×", s->median) : "–", std::move(what)});
  };
  tile("sign_engine_vs_direct", "signatures: engine with one worker against direct calls by one process");
  tile("set_engine_vs_direct", "download sets: engine with one worker against direct calls by one process");
  tile("set_two_workers_vs_one_direct", "download sets: engine with two workers against one direct process");
  tile("set_engine_vs_synchronous", "download sets: engine kept full, all workers, against one job at a time");
  d.summary.emplace_back(fmt::format("Medians over the rounds, {}.", r.curves.empty() ? "no curve" : r.curves.front()));
  std::string results =
      fmt::format("{} operations, {} verified with OpenSSL: {} wrong, {} failed, {} lost, {} ephemeral keys twice",
                  count_of(r.operations), count_of(r.checked), r.wrong, r.failed, r.lost, r.repeated_keys);
  if (r.worker_restarts > 0)
    results += fmt::format("; {} during the run", counted(r.worker_restarts, "worker restart"));
  d.summary.push_back(verdict(r.clean(), results + "."));
  return d;
}

Section direct_calls(const HsmReport& r) {
  Table t{{"operation", "curve", "a second", "p50 us", "p95 us", "p99 us", "CPU us"}, {}, 2, {}};
  for (const auto& d : r.direct) {
    if (!d.refused.empty() && d.per_s == 0)
      t.rows.push_back({d.mechanism, d.curve + ": " + d.refused, "–", "–", "–", "–", "–"});
    else
      t.rows.push_back({d.mechanism, d.curve, number(d.per_s), number(d.p50_us), number(d.p95_us), number(d.p99_us),
                        number(d.cpu_us)});
  }
  return {
      "Direct calls",
      fmt::format("One process, one session, nothing around the calls. The direct legs sign with {}.", r.direct_sign),
      {std::move(t)}};
}

std::string way_of(const RateRow& x) {
  return x.way == Way::direct   ? fmt::format("direct calls, {} process{}", x.processes, x.processes == 1 ? "" : "es")
         : x.way == Way::engine ? "engine, " + counted(x.processes, "worker")
                                : "engine, one job at a time";
}

// Bars of one kind of work; the engine's say how much of the direct calls' rate they are.
report::Chart rates_of(const HsmReport& r, const std::string& curve, std::string_view kind, std::string title) {
  const std::vector<RatioRow> ratios = ratio_rows(r);
  report::Bars bars;
  for (const auto& x : r.rates) {
    if (x.curve != curve || x.kind != kind) continue;
    const Spread s = spread(x.per_s);
    std::string text = number(s.median) + " a second";
    for (const auto& q : ratios)
      if (x.way == Way::engine && q.name == x.kind + "_engine_vs_direct" && q.curve == curve &&
          q.processes == x.processes)
        text += fmt::format(" ({:.1f} %)", 100 * spread(q.rounds).median);
    const Hue hue = x.way == Way::direct ? Hue::grey : x.way == Way::engine ? Hue::first : Hue::second;
    bars.data.push_back({way_of(x), s.median, std::move(text), hue, s.low, s.high});
  }
  return {std::move(title), std::move(bars)};
}

Section rates(const HsmReport& r, const std::string& curve) {
  Section s{
      "Rates on " + curve,
      "Medians over the rounds; the whisker spans the lowest and the highest. Grey: bare PKCS#11 calls, the "
      "ceiling. CPU time in microseconds an operation: of the processes that load the module; of this process, "
      "the engine's own threads and the load generator; of the thread that generates the load, submits and polls.",
      {}};
  s.blocks.emplace_back(rates_of(r, curve, "sign", "signatures"));
  s.blocks.emplace_back(rates_of(r, curve, "ecka", "ephemeral key, key agreement, destruction"));
  s.blocks.emplace_back(rates_of(r, curve, "set", "download sets: key agreement, then a signature"));
  Table t{{"work", "way", "median/s", "lowest", "highest", "workers us", "process us", "of it caller"}, {}, 2, {}};
  for (const auto& x : r.rates) {
    if (x.curve != curve) continue;
    const Spread of = spread(x.per_s);
    const auto here = [&](double us) { return x.way == Way::direct ? "–" : of_one(us); };
    t.rows.push_back({x.kind, way_of(x), number(of.median), number(of.low), number(of.high), of_one(x.worker_cpu_us),
                      here(x.process_cpu_us), here(x.caller_cpu_us)});
  }
  const bool any = !t.rows.empty();
  s.blocks.emplace_back(std::move(t));
  return any ? s : Section{};
}

Section ratios(const std::vector<RatioRow>& rows) {
  Table t{{"ratio", "curve", "processes", "median", "lowest", "highest", "other CPUs", "quiet median", "quiet rounds"},
          {},
          2,
          {}};
  for (const auto& x : rows) {
    const Spread s = spread(x.rounds);
    const std::vector<double> quiet = x.quiet_rounds();
    t.rows.push_back({x.name, x.curve,
                      x.processes == x.than_processes ? std::to_string(x.processes)
                                                      : fmt::format("{} : {}", x.processes, x.than_processes),
                      of_three(s.median), of_three(s.low), of_three(s.high), of_two(spread(x.other_cpus).high),
                      quiet.empty() ? "–" : of_three(spread(quiet).median),
                      fmt::format("{} of {}", quiet.size(), x.rounds.size())});
  }
  return {
      "Ratios",
      "Taken within a round, whose legs lie side by side; median and spread over the rounds. Other CPUs: what other "
      "programs kept busy in the most disturbed round; rounds with less than 0.2 are quiet.",
      {std::move(t)}};
}

Section latency_by_load(const HsmReport& r, const std::string& curve) {
  report::Lines lines{
      {{"p50", Hue::first, {}}, {"p95", Hue::grey, {}}, {"p99", Hue::second, {}}}, {"% load", 0, 100}, "ms"};
  Table t{{"load", "work", "offered/s", "done/s", "p50", "p95", "p99", "queued p50 us", "p99 us", "in token p50 us",
           "p99 us", "mean batch", "late p99 us"},
          {},
          2,
          {}};
  const OpenRow* middle = nullptr;
  const OpenRow* highest = nullptr;
  for (const auto& x : r.open) {
    if (x.curve != curve) continue;
    if (middle == nullptr || std::abs(x.load - 0.5) < std::abs(middle->load - 0.5)) middle = &x;
    if (highest == nullptr || x.load > highest->load) highest = &x;
    const Quantiles ms = quantiles_of(x.latency_ms), late = quantiles_of(x.late_us);
    const std::string load = fmt::format("{:.0f} %", x.load * 100);
    if (!x.latency_ms.empty())
      for (const auto& [i, v] : {std::pair{0U, ms.p50}, {1U, ms.p95}, {2U, ms.p99}})
        lines.data[i].points.push_back({x.load * 100, v, load, number(v) + " ms"});
    lines.x.high = std::max(lines.x.high, x.load * 100);
    t.rows.push_back({load, x.kind, number(x.offered_per_s), number(x.done_per_s), of_two(ms.p50), of_two(ms.p95),
                      of_two(ms.p99), number(x.queue_us.percentile(50)), number(x.queue_us.percentile(99)),
                      number(x.service_us.percentile(50)), number(x.service_us.percentile(99)),
                      of_two(x.batch_size.mean()), number(late.p99)});
  }
  if (middle == nullptr) return {};
  Section s{
      "Latency by load, " + curve,
      "Work arrives at random (Poisson) at parts of the measured saturation. Counted from the moment in which it "
      "should have arrived to its result, so that a stall counts for everyone whom it kept waiting. Latency in ms; "
      "late: of the load generator.",
      {report::Chart{"Latency", std::move(lines)}, std::move(t)}};
  const auto queued = [](const OpenRow& x) {
    return powers_of_two(fmt::format("queued at {:.0f} % load", x.load * 100), x.queue_us, "jobs", true);
  };
  s.blocks.emplace_back(queued(*middle));
  if (highest != middle) s.blocks.emplace_back(queued(*highest));
  return s;
}

Section saturation(const SaturationRow& x) {
  const Quantiles marks{x.service_us.percentile(50), x.service_us.percentile(95), x.service_us.percentile(99)};
  return {"At saturation, " + x.curve,
          "The engine's own histograms over its full legs with all workers: how many jobs a worker was handed in one "
          "turn, how long they waited before, and how long the token took for each. The last column takes everything "
          "beyond.",
          {powers_of_two("jobs in one turn", x.batch_size, "turns"), powers_of_two("queued", x.queue_us, "jobs", true),
           columns_of("inside the token", distribution_bins(x.service_us, 40, 97), "us", "job", marks, 190)}};
}

Section endurance(const Endurance& e) {
  Facts f{{{"sets", fmt::format("{} of {}: {} wrong, {} lost, {} failed, {} ephemeral keys twice", e.completed, e.sets,
                                e.wrong, e.lost, e.failed, e.repeated_keys)},
           {"time", fmt::format("{:.1f} s, {} sets a second, verification on the same machine", e.seconds,
                                number(e.seconds > 0 ? static_cast<double>(e.completed) / e.seconds : 0))},
           {"this process",
            fmt::format("{} at the start, {} at the end (drift {:+.1f} MB), {} at most", mib(e.rss_start_bytes),
                        mib(e.rss_end_bytes), static_cast<double>(e.drift_bytes()) / 1e6, mib(e.rss_peak_bytes))},
           {"largest worker",
            fmt::format("{} of a budget of {}", mib(e.worker_rss_peak_bytes), mib(e.memory_budget_bytes))},
           {"session objects left", e.session_objects ? std::to_string(*e.session_objects) : "not known"}}};
  for (const auto& w : e.workers)
    f.rows.push_back({fmt::format("worker {}{}", w.pid, w.token.empty() ? "" : " on " + w.token),
                      fmt::format("{} jobs, {}, {} restarts, {} of them for memory", w.jobs, mib(w.rss_bytes),
                                  w.restarts, w.recycled)});
  Section s{"Endurance",
            "Download sets one after the other, the curves in turn, every answer verified with OpenSSL meanwhile.",
            {std::move(f)}};
  if (e.samples.size() <= 2) return s;
  const std::size_t step = std::max<std::size_t>(1, e.samples.size() / 300);
  for (const std::size_t i : {1U, 2U}) {
    report::Columns c{{}, {"s", 0, e.samples.back()[0]}, "MiB", {}, 130, true};
    for (std::size_t k = 0; k < e.samples.size(); k += step) {
      const double v = e.samples[k].at(i) / kMiB;
      c.data.push_back({v, number(e.samples[k][0]) + " s", number(v) + " MiB"});
    }
    s.blocks.emplace_back(
        report::Chart{i == 1 ? "Memory of this process" : "Memory of the largest worker", std::move(c)});
  }
  return s;
}

Section hsm_configuration(const HsmReport& r) {
  std::vector<report::Fact> own{{"token", r.target}};
  for (const auto& [name, value] : r.facts) own.push_back({name, value});
  own.insert(own.end(), {{"workers", fmt::format("{}, {} each", r.workers, counted(r.threads, "thread"))},
                         {"jobs in flight", fmt::format("{} a worker at saturation", r.in_flight)},
                         {"legs", fmt::format("{} s; {} s for each load with random arrivals, seed {}",
                                              number(r.seconds), number(r.open_seconds), r.seed)},
                         {"verified", r.check ? "every answer" : "the answers of every 64th job"}});
  return configuration(r, std::move(own));
}

}  // namespace

report::Document document(const HsmReport& r) {
  report::Document d = hsm_head(r);
  const auto add = [&d](Section s) {
    if (!s.title.empty()) d.sections.push_back(std::move(s));
  };
  if (!r.failures.empty()) add(failed("What failed", r.failures));
  for (const std::string& curve : r.curves) add(rates(r, curve));
  if (const auto rows = ratio_rows(r); !rows.empty()) add(ratios(rows));
  for (const std::string& curve : r.curves) add(latency_by_load(r, curve));
  for (const auto& x : r.saturation) add(saturation(x));
  if (!r.direct.empty()) add(direct_calls(r));
  if (r.endurance) add(endurance(*r.endurance));
  add(hsm_configuration(r));
  return d;
}

}  // namespace kf::bench
