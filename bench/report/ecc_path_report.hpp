// The numbers of one run of `keyferry-bench ecc --through driver|engine` as a value, with its JSON
// and its document. Pure. Units are in the names.
//
// driver: jobs of the core through drivers/core (Device) by one thread. engine: requests through drivers/engine
// (CoreEngine) by one thread; an ephemeral_ecka is two jobs of the core, GENERATE and ECKA. Every core is a process of
// its own, whose CPU time is the simulation's and is never counted as the host's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/report/machine.hpp"
#include "bench/report/numbers.hpp"
#include "host/report/document.hpp"

namespace kf::bench {

// What was asked for in the measured windows, and what it cost. A window begins when the first answers have come and
// ends before the last request is submitted: in between the number in flight is the same all the time.
struct PathRow {
  std::string path;  // "driver", "engine"
  std::string operation, curve;
  unsigned cores = 1;
  unsigned depth = 1;     // in flight, a core
  bool in_turn = false;   // `depth` are submitted at once and all waited for, then the next
  unsigned contexts = 0;  // of a core

  double seconds = 0;
  std::uint64_t operations = 0;  // answered
  std::vector<double> latency_ms;
  Distribution batch;  // driver: jobs in a batch of the core; engine: jobs that went into a ring together

  // CPU time of the host: of the thread that submits and polls, within these calls and with its sleep on the interrupt
  // (the load generator's own books left out); of the engine's thread.
  double calls_cpu_s = 0, waiting_cpu_s = 0, engine_cpu_s = 0;
  std::uint64_t cpu_operations = 0, cpu_jobs = 0;  // in the time these were taken in
  double sim_cpu_s = 0;                            // of the simulators

  // Of the cores' own counters, summed over the cores.
  std::uint64_t cycles = 0, busy_cycles = 0, mul_issued = 0, jobs = 0, batches = 0;
  unsigned ii = 1;
  double other_cpus = 0;  // that other programs kept busy meanwhile

  [[nodiscard]] bool queued() const { return !in_turn && contexts != 0 && depth >= 2 * contexts; }
  [[nodiscard]] double per_s() const;
  [[nodiscard]] double busy() const;            // of the cycles: a batch runs or is exchanged
  [[nodiscard]] double multiplier_use() const;  // of the cycles
  [[nodiscard]] double jobs_a_batch()
      const;                              // of the batches that began and ended in a window; else by the core's count
  [[nodiscard]] double calls_us() const;  // an operation
  [[nodiscard]] double host_us() const;   // an operation: calls, waiting and the engine's thread
  [[nodiscard]] double host_us_a_job() const;  // a job of the core
  [[nodiscard]] double calls_us_a_job() const;
  [[nodiscard]] double sim_us() const;
};

// More cores against one: legs side by side, round by round.
struct PathPair {
  std::string path, operation, curve;
  unsigned cores = 2;
  std::vector<double> one_per_s, more_per_s;
  std::vector<double> other_cpus;  // in the more disturbed of the two
  [[nodiscard]] std::vector<double> ratios() const;
  [[nodiscard]] std::vector<double> quiet_ratios() const;
};

struct PathCore {
  std::uint32_t version = 0, build = 0;
  unsigned contexts = 0, ii = 0, key_slots = 0;
  double start_s = 0;  // until it took jobs
};

struct EccPathReport {
  std::string version, commit, build, started, command;
  Machine machine;
  double other_cpus = 0;
  bool interrupted = false;
  std::uint64_t seed = 0;
  double seconds = 0;
  unsigned rounds = 0;
  std::vector<std::string> paths, curves;
  std::vector<unsigned> depths, cores;
  PathCore core;
  std::vector<PathRow> rows;
  std::vector<PathPair> pairs;

  std::uint64_t answers = 0, checked = 0, wrong = 0, failed = 0, lost = 0, repeated_keys = 0;
  std::map<std::string, std::uint64_t> failures;
  std::uint64_t device_faults = 0;  // the driver's own counters of faults

  [[nodiscard]] bool clean() const;  // something was asked, nothing wrong, failed, lost or broken off
};

inline constexpr unsigned kCostBatch = 32;  // the batch at which the driver's cost is told

// The lowest over rows that always had work queued (queued()); empty: none.
std::optional<double> busy_while_queued(const EccPathReport& r, std::string_view path);
// The dearest over operations and curves of the rows that go in turn at kCostBatch; a job of the core.
std::optional<double> cost_us_a_job(const EccPathReport& r, std::string_view path);
std::optional<double> cost_us_a_request(const EccPathReport& r, std::string_view path);
// Median over rounds, the lowest over operations and curves.
std::optional<double> cores_ratio(const EccPathReport& r, std::string_view path, unsigned cores);

OrderedJson to_json(const EccPathReport& r);
report::Document document(const EccPathReport& r);

}  // namespace kf::bench
