// `keyferry-bench hsm`: what the HSM engine makes of a token, measured against bare PKCS#11 calls in the same run.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace CLI {
class App;
}

namespace kf::bench {

struct HsmBenchOptions {
  // What to measure: a configuration file, or a module, or (neither) a private SoftHSM below `dir`.
  std::string config, module, token, pin_file, pin_env, dir = "var/bench-hsm";
  std::vector<std::string> identities;   // LABEL or CURVE=LABEL
  std::vector<std::string> environment;  // NAME=VALUE for the processes that load the module
  unsigned workers = 0, threads = 0;     // 0: as configured (SoftHSM and --module: 2 and 1)

  std::vector<std::string> curves, kinds;  // empty: every curve with an identity key; sign, ecka and set
  unsigned rounds = 5;
  double seconds = 2, open_seconds = 5;
  double wait_quiet = 0;    // seconds in all, for other programs to pause
  unsigned in_flight = 64;  // a worker
  std::vector<unsigned> loads{25, 50, 75, 90};
  std::uint64_t seed = 1;
  std::uint64_t sets = 0;  // of the endurance run; 0: none
  bool check = false;
  std::string report_json, report_html;
};

// Exit status: 0 nothing was wrong, failed or lost; 1 something was, or the token could not be used; 2 wrong usage (one
// line on stderr); 130 interrupted (what was measured is printed).
int run_hsm(const HsmBenchOptions& o);

// The subcommand; its callback stores the exit status.
void add_hsm(CLI::App& app, int& status);

}  // namespace kf::bench
