#include "bench/report/burst_report.hpp"

#include <algorithm>
#include <cmath>

#include "host/report/wording.hpp"

namespace kf::bench {
namespace {

OrderedJson seconds_by_row(const std::vector<CpuRow>& rows, bool smdp) {
  OrderedJson j = OrderedJson::object();
  for (const auto& r : rows)
    if (r.smdp == smdp) j[r.key] = rounded(r.cpu_s);
  return j;
}

}  // namespace

bool BurstReport::clean() const {
  return requested > 0 && completed == requested && failed == 0 && euicc_verified == requested &&
         isdp_left_created == 0 && !interrupted;
}

std::string not_the_smdps(const BurstReport& r) {
  std::string s;
  if (r.failed_at_operator != 0)
    s += "; " + std::to_string(r.failed_at_operator) +
         " of them failed at the bench's Operator, which got no connection: not the SM-DP's failure";
  if (r.card_errors != 0 && r.faults.empty())
    s += "; the simulated eUICCs could not open a connection " + std::to_string(r.card_errors) +
         " times: look at the machine's limits first";
  return s;
}

Timeline timeline(const BurstReport& r) {
  Timeline t;
  if (!(r.wall_s > 0)) return t;
  t.step_s = report::round_up_nice(std::max(r.wall_s / 60, 0.01));
  // The last step ends with the run: it takes up to half a step more, or as little as half of one.
  const auto n = static_cast<std::size_t>(std::max(1.0, std::floor(r.wall_s / t.step_s + 0.5)));
  const double last = r.wall_s - static_cast<double>(n - 1) * t.step_s;
  t.completed_per_s.assign(n, 0);
  t.in_flight.assign(n, 0);
  const auto step_of = [&](double s) { return std::min(static_cast<std::size_t>(std::max(s, 0.0) / t.step_s), n - 1); };
  for (const double d : r.done_s) {
    const std::size_t i = step_of(d);
    t.completed_per_s[i] += 1 / (i + 1 == n ? last : t.step_s);
  }

  std::vector<std::pair<double, int>> events;
  for (const double s : r.sent_s) events.emplace_back(s, 1);
  for (const double s : r.done_s) events.emplace_back(s, -1);
  std::sort(events.begin(), events.end());
  int now = 0;
  std::size_t step = 0;
  for (const auto& [at, change] : events) {
    for (const std::size_t to = step_of(at); step < to;) t.in_flight[++step] = now;
    now += change;
    t.in_flight[step] = std::max(t.in_flight[step], static_cast<double>(now));
  }
  return t;
}

std::uint64_t core_faults(const Json& core) {
  std::uint64_t n = 0;
  for (const char* key :
       {"faults", "cycle_gate_faults", "parity_faults", "entropy_failures", "bad_descriptors", "axi_errors"})
    n += core.value(key, std::uint64_t{0});
  return n;
}

OrderedJson to_json(const BurstReport& r) {
  std::vector<double> sorted = r.latency_ms;
  std::sort(sorted.begin(), sorted.end());
  OrderedJson j;
  j["schema"] = kBurstSchema;
  j["version"] = r.version;
  j["commit"] = r.commit;
  j["build"] = r.build;
  j["started"] = r.started;
  j["command_line"] = r.command_line;
  j["machine"] = to_json(r.machine);
  j["machine"]["other_cpus_busy"] = rounded(r.other_cpus);
  j["custody"] = r.custody;
  j["curve"] = r.curve;
  j["configuration"] = {{"concurrency", r.concurrency}, {"pattern", r.pattern}, {"radio", r.radio},
                        {"enable", r.enable},           {"faults", r.faults},   {"hsm_workers", r.hsm_workers},
                        {"settings", r.settings}};
  j["profile"] = {{"bytes", r.profile_bytes}, {"elements", r.profile_elements}, {"name", r.profile_name}};
  j["downloads"] = {{"requested", r.requested},           {"completed", r.completed},
                    {"with_warning", r.with_warning},     {"failed", r.failed},
                    {"euicc_verified", r.euicc_verified}, {"isdp_left_created", r.isdp_left_created}};
  j["outcomes"] = r.outcomes;
  j["interrupted"] = r.interrupted;
  j["wall_s"] = rounded(r.wall_s);
  j["downloads_per_s"] = rounded(r.downloads_per_s());
  j["latency_ms"] = {{"p50", rounded(percentile(sorted, 50))},
                     {"p95", rounded(percentile(sorted, 95))},
                     {"p99", rounded(percentile(sorted, 99))},
                     {"max", rounded(sorted.empty() ? 0 : sorted.back())}};
  j["peak_in_flight"] = r.peak_in_flight;
  j["smdp"] = {{"cpu_s", rounded(r.smdp_cpu_s)},
               {"downloads_per_cpu_s", rounded(r.smdp_cpu_s > 0 ? static_cast<double>(r.completed) / r.smdp_cpu_s : 0)},
               {"cpu_s_per_download", rounded(r.cpu_s_per_download())},
               {"peak_rss_bytes", r.smdp_peak_rss_bytes},
               {"cpu_by_part_s", seconds_by_row(r.cpu, true)}};
  j["test_equipment"] = {{"cpu_by_part_s", seconds_by_row(r.cpu, false)},
                         {"failed_at_operator", r.failed_at_operator},
                         {"card_errors", r.card_errors}};
  const CryptoFloor& f = r.floor;
  j["crypto_floor"] = {
      {"cpu_s_per_download", rounded(f.total_s())},
      {"ratio", rounded(r.ratio())},
      {"parts_s",
       {{"verify", rounded(f.verify_s)},
        {"sign", rounded(f.sign_s)},
        {"ephemeral_ecka", rounded(f.ephemeral_s)},
        {"kdf_and_receipt", rounded(f.kdf_s)},
        {"scp03t_seal", rounded(f.seal_s)}}},
      {"engines", {{"verify", f.verify_engine}, {"sign", f.sign_engine}, {"ephemeral_ecka", f.ephemeral_engine}}},
      {"one_operation_a_message_s",
       {{"sign", rounded(f.sign_single_s)}, {"ephemeral_ecka", rounded(f.ephemeral_single_s)}}},
      {"repetitions", f.repetitions},
      {"method", f.method}};
  j["routes"] = r.routes;
  j["operations"] = r.operations;
  j["batch_size"] = r.batch_size;
  if (!r.cores.empty()) j["core"] = r.cores;
  j["scp03t"] = {
      {"bytes", r.scp03t_bytes},
      {"segments", r.scp03t_segments},
      {"bytes_per_cpu_s", rounded(r.scp03t_cpu_s > 0 ? static_cast<double>(r.scp03t_bytes) / r.scp03t_cpu_s : 0)}};
  OrderedJson bins = OrderedJson::array();
  for (const auto& b : latency_bins(sorted)) bins.push_back({rounded(b.low), rounded(b.high), b.count});
  j["latency_bins_ms"] = std::move(bins);
  const Timeline t = timeline(r);
  j["timeline"] = {
      {"step_s", rounded(t.step_s)}, {"completed_per_s", OrderedJson::array()}, {"in_flight", t.in_flight}};
  for (const double v : t.completed_per_s) j["timeline"]["completed_per_s"].push_back(rounded(v));
  return j;
}

}  // namespace kf::bench
