#include "bench/report/hsm_report.hpp"

#include <algorithm>

namespace kf::bench {
namespace {

// The rows of one ratio on one curve.
void add_ratio(std::vector<RatioRow>& out, std::string_view name, const RateRow& a, const RateRow& b) {
  RatioRow row{std::string(name), a.curve, a.processes, b.processes, {}, {}};
  const auto others = [](const RateRow& r, std::size_t i) { return i < r.other_cpus.size() ? r.other_cpus[i] : 0; };
  for (std::size_t i = 0; i < std::min(a.per_s.size(), b.per_s.size()); ++i)
    if (a.per_s[i] > 0 && b.per_s[i] > 0) {
      row.rounds.push_back(a.per_s[i] / b.per_s[i]);
      row.other_cpus.push_back(std::max(others(a, i), others(b, i)));
    }
  if (!row.rounds.empty()) out.push_back(std::move(row));
}

OrderedJson list_of(const std::vector<double>& v) {
  OrderedJson j = OrderedJson::array();
  for (const double x : v) j.push_back(rounded(x));
  return j;
}

OrderedJson to_json(const Distribution& d) {
  OrderedJson bars = OrderedJson::array();
  for (const auto& b : d.bars) bars.push_back({b.low, b.count});
  return {{"count", d.count},
          {"mean", rounded(d.mean())},
          {"p50", rounded(d.percentile(50))},
          {"p95", rounded(d.percentile(95))},
          {"p99", rounded(d.percentile(99))},
          {"max", rounded(d.max())},
          {"bars", std::move(bars)}};
}

OrderedJson quantiles(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return {{"p50", rounded(percentile(v, 50))},
          {"p95", rounded(percentile(v, 95))},
          {"p99", rounded(percentile(v, 99))},
          {"max", rounded(v.empty() ? 0 : v.back())}};
}

OrderedJson to_json(const Endurance& e) {
  OrderedJson workers = OrderedJson::array();
  for (const auto& w : e.workers)
    workers.push_back({{"token", w.token},
                       {"pid", w.pid},
                       {"jobs", w.jobs},
                       {"restarts", w.restarts},
                       {"recycled", w.recycled},
                       {"rss_bytes", w.rss_bytes}});
  OrderedJson j = {{"sets", e.sets},
                   {"completed", e.completed},
                   {"wrong", e.wrong},
                   {"lost", e.lost},
                   {"failed", e.failed},
                   {"repeated_keys", e.repeated_keys},
                   {"seconds", rounded(e.seconds)},
                   {"sets_per_s", rounded(e.seconds > 0 ? static_cast<double>(e.completed) / e.seconds : 0)},
                   {"rss_start_bytes", e.rss_start_bytes},
                   {"rss_end_bytes", e.rss_end_bytes},
                   {"rss_peak_bytes", e.rss_peak_bytes},
                   {"rss_drift_bytes", e.drift_bytes()},
                   {"worker_rss_peak_bytes", e.worker_rss_peak_bytes},
                   {"memory_budget_bytes", e.memory_budget_bytes},
                   {"workers", std::move(workers)}};
  j["session_objects"] = e.session_objects ? OrderedJson(*e.session_objects) : OrderedJson(nullptr);
  return j;
}

OrderedJson pairs_json(const std::vector<std::pair<std::string, std::string>>& facts) {
  OrderedJson j = OrderedJson::object();
  for (const auto& [name, value] : facts) j[name] = value;
  return j;
}

}  // namespace

std::string_view to_string(Way w) {
  switch (w) {
    case Way::direct:
      return "direct";
    case Way::engine:
      return "engine";
    case Way::synchronous:
      return "synchronous";
  }
  return "";
}

std::vector<double> RatioRow::quiet_rounds() const {
  std::vector<double> out;
  for (std::size_t i = 0; i < rounds.size(); ++i)
    if (i < other_cpus.size() && other_cpus[i] < kDisturbed) out.push_back(rounds[i]);
  return out;
}

const RateRow* HsmReport::rate(std::string_view kind, std::string_view curve, Way w, unsigned processes) const {
  for (const auto& r : rates)
    if (r.kind == kind && r.curve == curve && r.way == w && r.processes == processes) return &r;
  return nullptr;
}

bool HsmReport::clean() const {
  return operations > 0 && wrong == 0 && failed == 0 && lost == 0 && repeated_keys == 0 && !interrupted;
}

std::vector<RatioRow> ratio_rows(const HsmReport& r) {
  std::vector<RatioRow> out;
  for (const std::string& curve : r.curves) {
    for (const auto& a : r.rates) {
      if (a.curve != curve || a.way != Way::engine) continue;
      if (const RateRow* b = r.rate(a.kind, curve, Way::direct, a.processes))
        add_ratio(out, a.kind + "_engine_vs_direct", a, *b);
    }
    const RateRow* two = r.rate("set", curve, Way::engine, 2);
    if (const RateRow* one = r.rate("set", curve, Way::direct, 1); one != nullptr && two != nullptr)
      add_ratio(out, "set_two_workers_vs_one_direct", *two, *one);
    const RateRow* all = r.rate("set", curve, Way::engine, r.workers);
    if (const RateRow* one = r.rate("set", curve, Way::synchronous, 1); one != nullptr && all != nullptr)
      add_ratio(out, "set_engine_vs_synchronous", *all, *one);
  }
  return out;
}

std::optional<Spread> headline(const HsmReport& r, std::string_view name) {
  if (r.curves.empty()) return {};
  for (const auto& row : ratio_rows(r)) {
    if (row.name != name || row.curve != r.curves.front()) continue;
    const bool same_number = name == "sign_engine_vs_direct" || name == "set_engine_vs_direct";
    if (same_number && row.processes != 1) continue;
    return spread(row.rounds);
  }
  return {};
}

OrderedJson to_json(const HsmReport& r) {
  OrderedJson j;
  j["version"] = r.version;
  j["commit"] = r.commit;
  j["build"] = r.build;
  j["started"] = r.started;
  j["machine"] = to_json(r.machine);
  j["other_cpus"] = rounded(r.other_cpus);
  j["interrupted"] = r.interrupted;
  j["target"] = {{"what", r.target}, {"curves", r.curves}, {"facts", pairs_json(r.facts)}};
  j["configuration"] = {{"rounds", r.rounds},
                        {"seconds", rounded(r.seconds)},
                        {"open_seconds", rounded(r.open_seconds)},
                        {"workers", r.workers},
                        {"threads", r.threads},
                        {"in_flight", r.in_flight},
                        {"seed", r.seed},
                        {"check", r.check},
                        {"direct_sign", r.direct_sign}};
  j["ratios"] = OrderedJson::object();
  for (const std::string_view name : kRatioNames) {
    const auto s = headline(r, name);
    j["ratios"][std::string(name)] = s ? OrderedJson(rounded(s->median)) : OrderedJson(nullptr);
  }
  j["ratio_rows"] = OrderedJson::array();
  for (const auto& row : ratio_rows(r)) {
    const Spread s = spread(row.rounds);
    const std::vector<double> quiet = row.quiet_rounds();
    j["ratio_rows"].push_back(
        {{"name", row.name},
         {"curve", row.curve},
         {"processes", row.processes},
         {"than_processes", row.than_processes},
         {"median", rounded(s.median)},
         {"low", rounded(s.low)},
         {"high", rounded(s.high)},
         {"quiet_median", quiet.empty() ? OrderedJson(nullptr) : OrderedJson(rounded(spread(quiet).median))},
         {"quiet_rounds", quiet.size()},
         {"rounds", list_of(row.rounds)},
         {"other_cpus", list_of(row.other_cpus)}});
  }
  j["rates"] = OrderedJson::array();
  for (const auto& row : r.rates) {
    const Spread s = spread(row.per_s);
    j["rates"].push_back({{"kind", row.kind},
                          {"curve", row.curve},
                          {"way", to_string(row.way)},
                          {"processes", row.processes},
                          {"median_per_s", rounded(s.median)},
                          {"low_per_s", rounded(s.low)},
                          {"high_per_s", rounded(s.high)},
                          {"per_s", list_of(row.per_s)},
                          {"other_cpus", list_of(row.other_cpus)},
                          {"cpu_us",
                           {{"workers", rounded(row.worker_cpu_us)},
                            {"process", rounded(row.process_cpu_us)},
                            {"caller_thread", rounded(row.caller_cpu_us)}}}});
  }
  j["saturation"] = OrderedJson::array();
  for (const auto& row : r.saturation)
    j["saturation"].push_back({{"curve", row.curve},
                               {"batch_size", to_json(row.batch_size)},
                               {"queue_us", to_json(row.queue_us)},
                               {"service_us", to_json(row.service_us)}});
  j["open_loop"] = OrderedJson::array();
  for (const auto& row : r.open)
    j["open_loop"].push_back({{"kind", row.kind},
                              {"curve", row.curve},
                              {"load", rounded(row.load)},
                              {"offered_per_s", rounded(row.offered_per_s)},
                              {"done_per_s", rounded(row.done_per_s)},
                              {"done", row.latency_ms.size()},
                              {"latency_ms", quantiles(row.latency_ms)},
                              {"generator_late_us", quantiles(row.late_us)},
                              {"batch_size", to_json(row.batch_size)},
                              {"queue_us", to_json(row.queue_us)},
                              {"service_us", to_json(row.service_us)}});
  j["direct"] = OrderedJson::array();
  for (const auto& row : r.direct)
    j["direct"].push_back({{"mechanism", row.mechanism},
                           {"curve", row.curve},
                           {"per_s", rounded(row.per_s)},
                           {"p50_us", rounded(row.p50_us)},
                           {"p95_us", rounded(row.p95_us)},
                           {"p99_us", rounded(row.p99_us)},
                           {"cpu_us", rounded(row.cpu_us)},
                           {"refused", row.refused}});
  j["results"] = {{"operations", r.operations},
                  {"checked", r.checked},
                  {"wrong", r.wrong},
                  {"failed", r.failed},
                  {"lost", r.lost},
                  {"repeated_keys", r.repeated_keys},
                  {"failures", r.failures},
                  {"worker_restarts", r.worker_restarts}};
  j["endurance"] = r.endurance ? to_json(*r.endurance) : OrderedJson(nullptr);
  return j;
}

}  // namespace kf::bench
