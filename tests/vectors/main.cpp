// keyferry-vectors [--engine software|hsm|core] FILE...
#include <iostream>

#include <CLI/CLI.hpp>

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
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    std::cerr << "keyferry-vectors: " << e.what() << " (keyferry-vectors --help)\n";
    return 2;
  }

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
#ifdef KF_WITH_HSM
    auto started = kf::vectors::hsm_backend(hsm);
    if (!started) {
      std::cerr << "the HSM test token could not be started: " << started.error().text() << "\n";
      return 3;
    }
    backend = std::move(started).value();
#else
    std::cerr << "built without the HSM backend\n";
    return 3;
#endif
  }
  kf::vectors::Runner runner(*backend, std::cout, std::cerr);
  for (const std::string& f : files) runner.run_file(f);
  std::cerr.flush();
  runner.report();
  return runner.exit_status();
}
