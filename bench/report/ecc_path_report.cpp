#include "bench/report/ecc_path_report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "bench/report/hsm_report.hpp"  // kDisturbed

namespace kf::bench {
namespace {

double real(std::uint64_t n) { return static_cast<double>(n); }

OrderedJson or_null(const std::optional<double>& v) { return v ? OrderedJson(rounded(*v)) : OrderedJson(nullptr); }

OrderedJson list_of(const std::vector<double>& v) {
  OrderedJson j = OrderedJson::array();
  for (const double x : v) j.push_back(rounded(x));
  return j;
}

OrderedJson quantiles(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  OrderedJson j = OrderedJson::object();
  for (const int p : {50, 95, 99}) j["p" + std::to_string(p)] = rounded(percentile(v, p));
  j["max"] = v.empty() ? 0.0 : rounded(v.back());
  return j;
}

template <class Value>
std::optional<double> worst(const EccPathReport& r, std::string_view path, Value value) {
  std::optional<double> out;
  for (const auto& x : r.rows) {
    if (x.path != path || !x.in_turn || x.depth != kCostBatch || x.cpu_operations == 0) continue;
    out = std::max(out.value_or(0), value(x));
  }
  return out;
}

}  // namespace

double PathRow::per_s() const { return over(real(operations), seconds); }
double PathRow::busy() const { return over(real(busy_cycles), real(cycles)); }
double PathRow::multiplier_use() const { return over(real(mul_issued * ii), real(cycles)); }
double PathRow::jobs_a_batch() const { return batch.count != 0 ? batch.mean() : over(real(jobs), real(batches)); }
double PathRow::calls_us() const { return 1e6 * over(calls_cpu_s, real(cpu_operations)); }
double PathRow::host_us() const { return 1e6 * over(calls_cpu_s + waiting_cpu_s + engine_cpu_s, real(cpu_operations)); }
double PathRow::host_us_a_job() const { return 1e6 * over(calls_cpu_s + waiting_cpu_s + engine_cpu_s, real(cpu_jobs)); }
double PathRow::calls_us_a_job() const { return 1e6 * over(calls_cpu_s, real(cpu_jobs)); }
double PathRow::sim_us() const { return 1e6 * over(sim_cpu_s, real(operations)); }

std::vector<double> PathPair::ratios() const {
  std::vector<double> out;
  for (std::size_t i = 0; i < std::min(one_per_s.size(), more_per_s.size()); ++i)
    out.push_back(over(more_per_s[i], one_per_s[i]));
  return out;
}
std::vector<double> PathPair::quiet_ratios() const {
  std::vector<double> out;
  const std::vector<double> all = ratios();
  for (std::size_t i = 0; i < std::min(all.size(), other_cpus.size()); ++i)
    if (other_cpus[i] < kDisturbed) out.push_back(all[i]);
  return out;
}

bool EccPathReport::clean() const {
  return answers > 0 && wrong == 0 && failed == 0 && lost == 0 && repeated_keys == 0 && !interrupted;
}

std::optional<double> busy_while_queued(const EccPathReport& r, std::string_view path) {
  std::optional<double> out;
  for (const auto& x : r.rows)
    if (x.path == path && x.queued() && x.cycles != 0) out = std::min(out.value_or(1), x.busy());
  return out;
}
std::optional<double> cost_us_a_job(const EccPathReport& r, std::string_view path) {
  return worst(r, path, [](const PathRow& x) { return x.host_us_a_job(); });
}
std::optional<double> cost_us_a_request(const EccPathReport& r, std::string_view path) {
  return worst(r, path, [](const PathRow& x) { return x.host_us(); });
}
std::optional<double> cores_ratio(const EccPathReport& r, std::string_view path, unsigned cores) {
  std::optional<double> out;
  for (const auto& p : r.pairs) {
    if (p.path != path || p.cores != cores || p.ratios().empty()) continue;
    const double m = spread(p.ratios()).median;
    out = out ? std::min(*out, m) : m;
  }
  return out;
}

OrderedJson to_json(const EccPathReport& r) {
  OrderedJson j;
  j["version"] = r.version;
  j["commit"] = r.commit;
  j["build"] = r.build;
  j["started"] = r.started;
  j["command"] = r.command;
  j["interrupted"] = r.interrupted;
  j["machine"] = to_json(r.machine);
  j["other_cpus"] = rounded(r.other_cpus);
  j["configuration"] = {{"through", r.paths},
                        {"curves", r.curves},
                        {"queue_depths", r.depths},
                        {"cores", r.cores},
                        {"seconds", rounded(r.seconds)},
                        {"rounds", r.rounds},
                        {"seed", r.seed}};
  j["core"] = {{"version", fmt::format("{:08X}", r.core.version)},
               {"build", fmt::format("{:08X}", r.core.build)},
               {"contexts", r.core.contexts},
               {"ii", r.core.ii},
               {"key_slots", r.core.key_slots},
               {"start_s", rounded(r.core.start_s)}};
  j["ratios"] = OrderedJson::object();
  for (const std::string_view path : {"driver", "engine"})
    j["ratios"][fmt::format("{}_two_cores_vs_one", path)] = or_null(cores_ratio(r, path, 2));
  j["busy_while_queued"] = OrderedJson::object();
  for (const std::string path : {"driver", "engine"})
    j["busy_while_queued"][path] = or_null(busy_while_queued(r, path));
  j["driver_us_per_job"] = or_null(cost_us_a_job(r, "driver"));
  j["driver_calls_us_per_job"] = or_null(worst(r, "driver", [](const PathRow& x) { return x.calls_us_a_job(); }));
  j["engine_us_per_job"] = or_null(cost_us_a_job(r, "engine"));
  j["engine_us_per_request"] = or_null(cost_us_a_request(r, "engine"));

  j["rows"] = OrderedJson::array();
  for (const auto& x : r.rows) {
    OrderedJson bars = OrderedJson::array();
    for (const auto& b : x.batch.bars) bars.push_back({b.low, b.count});
    j["rows"].push_back({{"through", x.path},
                         {"operation", x.operation},
                         {"curve", x.curve},
                         {"cores", x.cores},
                         {"queue_depth", x.depth},
                         {"in_turn", x.in_turn},
                         {"seconds", rounded(x.seconds)},
                         {"operations", x.operations},
                         {"per_s", rounded(x.per_s())},
                         {"latency_ms", quantiles(x.latency_ms)},
                         {"batch", {{"mean", rounded(x.jobs_a_batch())}, {"histogram", std::move(bars)}}},
                         {"host_cpu_us",
                          {{"calls", rounded(x.calls_us())},
                           {"sleep", rounded(1e6 * over(x.waiting_cpu_s, real(x.cpu_operations)))},
                           {"engine_thread", rounded(1e6 * over(x.engine_cpu_s, real(x.cpu_operations)))},
                           {"all", rounded(x.host_us())},
                           {"calls_a_core_job", rounded(x.calls_us_a_job())},
                           {"all_a_core_job", rounded(x.host_us_a_job())}}},
                         {"sim_cpu_us", rounded(x.sim_us())},
                         {"core_jobs", x.jobs},
                         {"core_batches", x.batches},
                         {"cycles", x.cycles},
                         {"busy", rounded(x.busy())},
                         {"multiplier_use", rounded(x.multiplier_use())},
                         {"other_cpus", rounded(x.other_cpus)}});
  }
  j["ratio_rows"] = OrderedJson::array();
  for (const auto& p : r.pairs) {
    const Spread s = spread(p.ratios());
    const std::vector<double> quiet = p.quiet_ratios();
    j["ratio_rows"].push_back(
        {{"through", p.path},
         {"operation", p.operation},
         {"curve", p.curve},
         {"cores", p.cores},
         {"median", rounded(s.median)},
         {"low", rounded(s.low)},
         {"high", rounded(s.high)},
         {"quiet_median", quiet.empty() ? OrderedJson(nullptr) : OrderedJson(rounded(spread(quiet).median))},
         {"quiet_rounds", quiet.size()},
         {"rounds", list_of(p.ratios())},
         {"one_per_s", list_of(p.one_per_s)},
         {"more_per_s", list_of(p.more_per_s)},
         {"other_cpus", list_of(p.other_cpus)}});
  }
  j["results"] = {{"answers", r.answers},   {"checked", r.checked},
                  {"wrong", r.wrong},       {"failed", r.failed},
                  {"lost", r.lost},         {"repeated_keys", r.repeated_keys},
                  {"failures", r.failures}, {"device_faults", r.device_faults}};
  return j;
}

}  // namespace kf::bench
