// keyferry-ecc-sim: the ECC core, simulated, in a process of its own. See README.md of this folder.
#include <cstdio>

#include "drivers/simulated/process/simulator.hpp"
#include "host/base/command_line.hpp"

int main(int argc, char** argv) {
  CLI::App app(
      "The ECC core, simulated with Verilator, behind shared memory.\n"
      "Started by keyferry and its tools with open descriptors 3 to 6; not for use by hand.");
  kf::ecc::SimulatorProcess p;
  app.add_flag("--test-build", p.test_build, "The core that takes scalars from descriptors; never in a product");
  app.add_flag("--any-thread", p.any_thread, "Does not end with the thread that started it");
  app.add_option("--seed", p.seed, "Seed of its entropy; test build only");
  if (const auto ended = kf::parse_command_line(app, "keyferry-ecc-sim", argc, argv)) return *ended;
  if (p.seed && !p.test_build) {
    std::fprintf(stderr, "keyferry-ecc-sim: --seed needs --test-build: a product's entropy is the system's\n");
    return 2;
  }
  return kf::ecc::run_simulator_process(p);
}
