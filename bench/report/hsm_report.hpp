// The numbers of one run of `keyferry-bench hsm` as a value, with its JSON and its document. Pure.
// Units are in the names. A *set* is what one strict download asks of the token: an ephemeral_ecka, then a signature.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/report/machine.hpp"
#include "bench/report/numbers.hpp"
#include "host/report/document.hpp"

namespace kf::bench {

// Who did the work. direct: PKCS#11 calls in a loop, nothing around them; engine: kept full; synchronous: the same
// engine with one job in flight at a time.
enum class Way : std::uint8_t { direct, engine, synchronous };
std::string_view to_string(Way w);  // "direct", "engine", "synchronous"

// One kind of work done one way, again in each round; per_s[i] belongs to round i, shorter when the run was broken off.
struct RateRow {
  std::string kind, curve;  // "sign", "ecka", "set"
  Way way = Way::direct;
  unsigned processes = 1;  // that load the module
  std::vector<double> per_s;
  std::vector<double> other_cpus;  // CPUs that other programs kept busy meanwhile, as long as per_s
  // CPU time of one operation (of one set), mean over the rounds: the processes with the module, this process with the
  // load generator in it, and within that the thread that generates the load, submits and polls.
  double worker_cpu_us = 0, process_cpu_us = 0, caller_cpu_us = 0;
};

// From so many CPUs that other programs keep busy on, a leg does not count as quiet.
inline constexpr double kDisturbed = 0.2;

// One rate over another, round by round.
struct RatioRow {
  std::string name;  // "set_engine_vs_direct"
  std::string curve;
  unsigned processes = 1;       // of the first
  unsigned than_processes = 1;  // of the second
  std::vector<double> rounds;
  std::vector<double> other_cpus;  // in the more disturbed of the two legs, as long as rounds
  [[nodiscard]] std::vector<double> quiet_rounds() const;
};

struct OpenRow {  // Poisson arrivals
  std::string kind, curve;
  double load = 0;  // of the measured saturation, 0..1
  double offered_per_s = 0, done_per_s = 0, seconds = 0;
  std::vector<double> latency_ms;  // from the intended arrival to the result, in any order
  std::vector<double> late_us;     // from the intended arrival to its turn in the load generator, in any order
  Distribution queue_us, service_us, batch_size;
};

struct DirectRow {  // one PKCS#11 operation in one process
  std::string mechanism, curve;
  double per_s = 0, p50_us = 0, p95_us = 0, p99_us = 0, cpu_us = 0;
  std::string refused;  // the module's answer, when it does not do this
};

struct SaturationRow {  // what the engine's own histograms say about its full legs with all workers
  std::string curve;
  Distribution batch_size, queue_us, service_us;
};

struct EnduranceWorker {
  std::string token;
  int pid = 0;
  std::uint64_t jobs = 0, restarts = 0, recycled = 0, rss_bytes = 0;
};
struct Endurance {
  std::uint64_t sets = 0, completed = 0, wrong = 0, lost = 0, failed = 0, repeated_keys = 0;
  double seconds = 0;
  std::uint64_t rss_start_bytes = 0, rss_end_bytes = 0, rss_peak_bytes = 0;  // this process
  std::vector<EnduranceWorker> workers;                                      // at the end
  std::uint64_t worker_rss_peak_bytes = 0, memory_budget_bytes = 0;
  std::optional<std::uint64_t> session_objects;  // left in the token; empty: could not be asked
  std::vector<std::array<double, 3>> samples;    // seconds, octets here, octets of the largest worker
  [[nodiscard]] std::int64_t drift_bytes() const {
    return static_cast<std::int64_t>(rss_end_bytes) - static_cast<std::int64_t>(rss_start_bytes);
  }
};

struct HsmReport {
  std::string version, commit, build, started;  // started: UTC, ISO 8601
  Machine machine;
  double other_cpus = 0;  // CPUs that other programs kept busy during the run, on average
  bool interrupted = false;
  std::string target;                                      // one line for people
  std::vector<std::pair<std::string, std::string>> facts;  // of the token, as the engine describes it
  std::vector<std::string> curves;
  unsigned rounds = 0, in_flight = 0, workers = 0, threads = 1;
  double seconds = 0, open_seconds = 0;
  std::uint64_t seed = 0;
  bool check = false;
  std::string direct_sign;  // "a copy of the key in a session object" or "the key in the token"

  std::vector<RateRow> rates;
  std::vector<SaturationRow> saturation;
  std::vector<OpenRow> open;
  std::vector<DirectRow> direct;
  std::optional<Endurance> endurance;

  // Over all engine legs, endurance included.
  std::uint64_t operations = 0, checked = 0, wrong = 0, failed = 0, lost = 0, repeated_keys = 0;
  std::map<std::string, std::uint64_t> failures;  // status, or the direct call and its code -> count
  std::uint64_t worker_restarts = 0;

  [[nodiscard]] const RateRow* rate(std::string_view kind, std::string_view curve, Way w, unsigned processes) const;
  // Something was done, nothing wrong, failed, lost or broken off: exit status 0.
  [[nodiscard]] bool clean() const;
};

inline constexpr std::array<std::string_view, 4> kRatioNames{
    "sign_engine_vs_direct", "set_engine_vs_direct", "set_two_workers_vs_one_direct", "set_engine_vs_synchronous"};

// Every ratio of the four that the rates give, and ecka_engine_vs_direct, by curve and number of processes; rounds
// where a leg is missing are left out.
std::vector<RatioRow> ratio_rows(const HsmReport& r);
// The headline of that name: first curve, one process (set_engine_vs_synchronous: all workers). Empty: not measured.
std::optional<Spread> headline(const HsmReport& r, std::string_view name);

OrderedJson to_json(const HsmReport& r);
report::Document document(const HsmReport& r);

}  // namespace kf::bench
