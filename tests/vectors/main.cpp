// keyferry-vectors [--engine software|hsm|core] FILE...
#include <iostream>

#include "host/base/command_line.hpp"
#include "tests/vectors/runner.hpp"

int main(int argc, char** argv) {
  CLI::App app{
      "Runs cryptographic vector files (this project's JSON and Wycheproof's schemas).\n"
      "Exit status: 0 all matched, 1 a mismatch or an unreadable file, 2 wrong usage, or a group this tool does not "
      "know and all others matched, "
      "3 the engine could not be started."};
  app.name("keyferry-vectors");
  std::string engine = "software";
  kf::vectors::HsmOptions hsm;
  std::vector<std::string> files;
  app.add_option("--engine", engine, "who does the elliptic-curve work")
      ->check(CLI::IsMember({"software", "hsm", "core"}));
  app.add_option("--module", hsm.module_path, "SoftHSM module for --engine hsm (default: the usual places)");
  app.add_option("FILE", files, "vector files")->required();
  if (const auto ended = kf::parse_command_line(app, "keyferry-vectors", argc, argv)) return *ended;

  std::unique_ptr<kf::vectors::VectorEngine> backend;
  if (engine == "software") {
    backend = kf::vectors::software_backend();
  } else if (engine == "core") {
    auto started = kf::vectors::core_backend();
    if (!started) {
      std::cerr << "the simulated core could not be started: " << started.error().text() << "\n";
      return 3;
    }
    backend = std::move(started).value();
  } else {
    auto started = kf::vectors::hsm_backend(hsm);
    if (!started) {
      std::cerr << "the HSM test token could not be started: " << started.error().text() << "\n";
      return 3;
    }
    backend = std::move(started).value();
  }
  kf::vectors::Runner runner(*backend, std::cout, std::cerr);
  for (const std::string& f : files) runner.run_file(f);
  std::cerr.flush();
  runner.report();
  return kf::end_program("keyferry-vectors", runner.exit_status());
}
