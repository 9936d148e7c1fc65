// The numbers of one run of `keyferry-bench ecc` as a value, with its JSON and its document. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bench/report/machine.hpp"
#include "bench/report/numbers.hpp"
#include "host/report/document.hpp"

namespace kf::bench {

inline constexpr std::array<std::string_view, 4> kEccOperations{"ephemeral", "ecka", "sign", "verify"};

// One operation on one curve by one core, in the steady state: from the last completion of one full batch to that of a
// later one.
struct EccRow {
  std::string style, curve, operation;
  std::uint64_t jobs = 0, batches = 0;  // within the measured span
  std::uint64_t cycles = 0;             // of it
  std::uint64_t mul_issued = 0, mul_slots = 0, busy_cycles = 0;
  std::uint64_t batch_cycles = 0;  // from the first word of the program to its last result, as the completions say
  double cpu_s = 0;                // that the simulator took for it
  unsigned ii = 1;
  [[nodiscard]] double cycles_per_op() const;
  [[nodiscard]] double multiplier_use() const;  // of all cycles of the span
  [[nodiscard]] double slot_use() const;        // of the cycles in which a program ran
  [[nodiscard]] double busy() const;
  [[nodiscard]] double ops_per_cpu_s() const;
};

struct EccCore {  // one simulated core
  std::string style, model;
  unsigned ii = 1, contexts = 0;
  std::uint64_t start_cycles = 0;  // table, self-test
  double start_cpu_s = 0;
  std::uint32_t build = 0;  // its BUILD register
};

struct EccReport {
  std::string version, commit, build, started, command;
  Machine machine;
  double other_cpus = 0;  // CPUs that other programs kept busy during the run, on average
  bool interrupted = false;
  std::uint64_t seed = 0, jobs = 0, warm_up_batches = 0;
  unsigned latency = 0;  // of the simulated memory
  std::vector<std::string> curves;
  std::vector<EccCore> cores;
  std::vector<EccRow> rows;
  std::uint64_t answers = 0, wrong = 0;
  std::map<std::string, std::uint64_t> failures;  // what was wrong -> count

  [[nodiscard]] bool clean() const { return answers > 0 && wrong == 0 && !interrupted; }
};

// The worst over styles and curves (curve empty: all of them); 0: not measured.
double worst_cycles(const EccReport& r, std::string_view operation, std::string_view curve = {});
double worst_use(const EccReport& r, std::string_view operation);                           // the lowest
double worst_rate(const EccReport& r, std::string_view style, std::string_view operation);  // the lowest

OrderedJson to_json(const EccReport& r);
report::Document document(const EccReport& r);

}  // namespace kf::bench
