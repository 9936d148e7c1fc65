// A complete test world below one directory: `keyferry serve` (the SM-DP) and `keyferry-sim run` (SM-SR and eUICCs) as
// separate processes on loopback with mutual TLS. For keyferry-bench and the end-to-end tests.
//
// One thread, the one that calls prepare(): the processes die with it. DIR is locked for as long as the object lives.
//   DIR/smdp.toml, pki/, token/   kept from run to run        DIR/store.db   made anew unless keep_store
//   DIR/run/                      admin socket and the logs smdp.log, sim.log of the last run
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"

namespace kf::bench {

using Json = nlohmann::json;
using proc::Millis;

// A dotted key of smdp.toml ("limits.downloads_in_flight"); "operator.KEY" and "smsr.KEY" mean that [[party]].
struct Setting {
  std::string key;
  std::variant<std::int64_t, bool, std::string, std::vector<std::string>> value;
};

// From "KEY=VALUE": true, false and whole numbers as such, a list where the value has a comma. Reasons: world-option.
Result<Setting> setting_of(std::string_view text);

struct WorldOptions {
  std::string dir;
  std::string curve = "P-256", custody = "strict";
  unsigned euiccs = 1;
  std::string radio = "none";
  std::vector<std::string> faults;
  std::vector<std::string> sim_args;  // further options of `keyferry-sim run`
  std::string log_level = "warning";
  std::vector<Setting> settings;                                      // on top of what `keyferry init` writes
  std::vector<std::pair<std::string, std::string>> smdp_environment;  // of `keyferry serve`, added to ours
  bool keep_store = false;
};

struct TlsNames {
  std::string cert, key, ca;
};

class World {
 public:
  // Directory, ports, `keyferry init`, configuration. Reasons: world-dir (not to be made, or locked by another run),
  // world-tool (detail: the program's own line), proc-missing, proc-ports, config, interrupted.
  static Result<std::unique_ptr<World>> prepare(WorldOptions o);
  ~World();  // ends both processes
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Runs `keyferry ARGS`; its lines on stderr become the error. Reasons: world-tool, proc-timeout, interrupted.
  Result<std::string> keyferry(const std::vector<std::string>& args, Millis limit = Millis(60'000));
  // Subscriptions in CSV (header line first) into the inventory. The text goes through a file of mode 0600 that is
  // removed on every path. While the SM-DP does not run, or runs: both work.
  Status import_template(const std::string& template_file, std::string_view csv, const std::string& type,
                         std::uint64_t required_memory);
  Status import_packages(const std::vector<std::string>& files, const std::string& type);

  Status start_sim();   // returns when it is ready. Reasons: world-sim, world-option (a fault or radio it does not
                        // know), interrupted
  Status start_smdp();  // returns when its admin socket answers. Reasons: world-smdp (detail: last line of its log)
  Status stop_smdp();   // SIGTERM, exit status 0 expected
  void kill_smdp();     // SIGKILL: the power cut; its workers die with it
  [[nodiscard]] proc::Child& smdp() { return *smdp_; }  // only after start_smdp()
  [[nodiscard]] proc::Child& sim() { return *sim_; }
  // Empty while both run; else which one ended how, with the last line of its log.
  std::string trouble();

  Result<Json> smdp_status();  // the admin socket's document
  Result<Json> sim_summary();
  Result<Json> sim_report(bool touched_only = true);
  Status sim_fault(const std::string& spec);  // adds a fault while it runs
  Status sim_clear_faults();
  std::string sim_story(const std::string& eid);  // what a hostile SM-SR did with that card, line by line
  Status sim_hostile(const std::string& spec);    // `keyferry-sim run --hostile`; empty: well-behaved again

  [[nodiscard]] std::string eid(std::uint64_t n);  // the n-th card of the fleet
  [[nodiscard]] std::string es2_url() const;
  [[nodiscard]] std::string es3_url() const;
  [[nodiscard]] std::uint16_t operator_port() const { return operator_port_; }  // where the Operator must listen
  [[nodiscard]] TlsNames tls(const std::string& party) const;                   // operator, smsr, smdp, m2m
  [[nodiscard]] std::string config_file() const { return dir_ + "/smdp.toml"; }
  [[nodiscard]] const std::string& dir() const { return dir_; }
  [[nodiscard]] std::string smdp_log() const { return dir_ + "/run/smdp.log"; }
  [[nodiscard]] std::string sim_log() const { return dir_ + "/run/sim.log"; }
  static constexpr const char* kOperatorOid = "2.999.10";
  static constexpr const char* kSmsrOid = "2.999.30";

 private:
  World() = default;
  Status lock_dir();
  WorldOptions options_;
  std::string dir_, keyferry_, sim_program_;
  int lock_fd_ = -1;
  std::uint16_t es2_port_ = 0, es3_port_ = 0, smsr_port_ = 0, operator_port_ = 0, control_port_ = 0;
  std::optional<proc::Child> sim_, smdp_;
};

// The settings written into the TOML file that `keyferry init` made. Reasons: config.
Status apply_settings(const std::string& toml_file, const std::vector<Setting>& settings);

// A whole document from a Unix stream socket, closed by the other side. Reasons: wire.
Result<std::string> read_unix_socket(const std::string& path, Millis limit);
// Plain HTTP on loopback, one request a connection; the body of a 200. Reasons: wire.
Result<std::string> http_loopback(const std::string& method, std::uint16_t port, const std::string& target,
                                  const std::string& body, Millis limit);
std::string last_line(const std::string& file);  // empty when there is none

}  // namespace kf::bench
