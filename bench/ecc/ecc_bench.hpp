// `keyferry-bench ecc`: what the simulated ECC core does with full batches, alone (cycles) or through the driver and
// the engine of the server (jobs a second, latency, what they cost the host).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kf::bench {

struct EccBenchOptions {
  std::string through = "core";     // core, driver, engine, both
  std::string style = "both";       // fast, pipelined, both
  std::vector<std::string> curves;  // empty: both
  unsigned ii = 1;
  std::uint64_t jobs = 1024;  // an operation and curve; made up to whole batches
  std::uint64_t seed = 1;
  unsigned latency = 40;  // of the simulated memory, cycles
  bool quick = false;
  // Through the driver and the engine:
  std::vector<unsigned> depths{1, 8, 64, 256};  // in flight, a core
  std::vector<unsigned> cores{1, 2};            // the rows are measured with the first; the others against 1
  double seconds = 2;                           // measured, a leg
  unsigned rounds = 5;                          // of more cores against one
  std::string report_json, report_html;
};

// Exit status: 0 every answer was right; 1 one was not, or the core could not be brought to work; 2 wrong usage (one
// line on stderr); 130 interrupted (what was measured is printed).
int run_ecc(const EccBenchOptions& o);

// The subcommand; its callback stores the exit status.
void add_ecc(CLI::App& app, int& status);

}  // namespace kf::bench
