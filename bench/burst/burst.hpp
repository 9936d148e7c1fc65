// `keyferry-bench burst`: the main job of the project under load, with the report of docs/burst.md.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kf::bench {

struct BurstOptions {
  unsigned downloads = 500, concurrency = 64;
  std::string profile;  // DER package; empty: the project's sample package
  std::string custody = "strict", curve = "P-256", pattern = "callback", radio = "none", log_level = "warning";
  std::string report_json, report_html, dir = "var/burst";
  std::vector<std::string> faults;
  std::vector<std::string> settings;  // KEY=VALUE for the SM-DP's configuration, on top of all others
  bool enable = false;
  unsigned hsm_workers = 0;  // 0: as `keyferry init` writes it
  unsigned crypto_threads = 0;
  unsigned timeout_s = 900;  // for one order
  unsigned floor_repetitions = 512;
};

// Exit status: 0 every download completed and verified; 1 something failed or could not start; 2 wrong usage (one line
// on stderr); 130 interrupted (what was done is printed).
int run_burst(const BurstOptions& o);

// The subcommand; its callback stores the exit status.
void add_burst(CLI::App& app, int& status);

}  // namespace kf::bench
