// The numbers of one burst run as a value, with its JSON and its document. Pure.
// Units are in the names; CPU seconds are of all threads of the processes named.
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

// Of the JSON: raised when a key changes its meaning or goes; keys may come without it. 1: before it was written.
constexpr int kBurstSchema = 2;

// CPU seconds of one download's unavoidable cryptography, each part the mean of many, measured alone.
struct CryptoFloor {
  double verify_s = 0;     // CERT.ECASD.ECKA: hash and ECDSA verification
  double sign_s = 0;       // ECDSA with SK.DP.ECDSA
  double ephemeral_s = 0;  // key pair and ECDH
  double kdf_s = 0;        // key derivation and receipt
  double seal_s = 0;       // SCP03t over this profile
  double sign_single_s = 0,
         ephemeral_single_s = 0;  // the same on the token, one operation a message (0: not on the token)
  std::string verify_engine, sign_engine, ephemeral_engine;
  unsigned repetitions = 0;
  std::string method;  // one paragraph for the reader of the report
  [[nodiscard]] double total_s() const { return verify_s + sign_s + ephemeral_s + kdf_s + seal_s; }
};

struct CpuRow {
  std::string key, label;
  double cpu_s = 0;
  bool smdp = true;  // false: test equipment, for context
};

struct BurstReport {
  std::string version, commit, build, started;  // started: UTC, ISO 8601
  Machine machine;
  std::string custody, curve, pattern, radio;
  std::vector<std::string> faults, settings;  // settings: every --set, as given
  std::vector<std::string> command_line;
  double other_cpus = 0;  // kept busy by other programs meanwhile
  bool enable = false, interrupted = false;
  std::size_t concurrency = 0;
  unsigned hsm_workers = 0;
  std::string profile_name;
  std::size_t profile_bytes = 0, profile_elements = 0;

  std::uint64_t requested = 0, completed = 0, with_warning = 0, failed = 0, euicc_verified = 0;
  std::uint64_t isdp_left_created = 0;
  // Of those that failed: at the Operator of the bench, and at eUICCs that could not open a connection.
  std::uint64_t failed_at_operator = 0, card_errors = 0;
  std::map<std::string, std::uint64_t> outcomes;  // "FAILED 8.4/6.1" -> count; successes included
  double wall_s = 0;
  std::vector<double> latency_ms;      // one each completed download, in any order
  std::vector<double> sent_s, done_s;  // of every order that was answered, seconds from the start
  std::uint64_t peak_in_flight = 0;

  double smdp_cpu_s = 0;  // server and workers
  std::uint64_t smdp_peak_rss_bytes = 0;
  std::vector<CpuRow> cpu;
  CryptoFloor floor;
  Json operations = Json::object();  // op -> engine -> count
  Json batch_size = Json::object();  // engine -> histogram (count, mean, p50 ..., bars [low, count])
  Json routes = Json::object();      // op -> the engines that may do it
  Json cores = Json::object();       // what the ECC cores say of themselves; empty: there are none
  std::uint64_t scp03t_bytes = 0, scp03t_segments = 0;
  double scp03t_cpu_s = 0;

  [[nodiscard]] double downloads_per_s() const { return wall_s > 0 ? static_cast<double>(completed) / wall_s : 0; }
  [[nodiscard]] double cpu_s_per_download() const {
    return completed > 0 ? smdp_cpu_s / static_cast<double>(completed) : 0;
  }
  [[nodiscard]] double ratio() const { return floor.total_s() > 0 ? cpu_s_per_download() / floor.total_s() : 0; }
  // Every order completed, every profile verified at its eUICC, nothing left in state Created: exit status 0.
  [[nodiscard]] bool clean() const;
};

// What failed without the SM-DP's part in it, to be said behind what failed; empty: nothing.
std::string not_the_smdps(const BurstReport& r);

// Completed per second and orders in flight in steps of a round width, about 60 of them.
struct Timeline {
  double step_s = 1;
  std::vector<double> completed_per_s;  // the last step is the one that ends with the run, half to one and a half long
  std::vector<double> in_flight;        // highest within the step
};
Timeline timeline(const BurstReport& r);

// Faults that a core has counted in itself or answered with: wrong cycle counts, parity, entropy, failed transfers.
std::uint64_t core_faults(const Json& core);

OrderedJson to_json(const BurstReport& r);
report::Document document(const BurstReport& r);

}  // namespace kf::bench
