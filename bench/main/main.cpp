// keyferry-bench: load generator and benchmarks. Each subcommand lives in its own folder below bench/.
#include <CLI/CLI.hpp>

#include <cstdio>

#include "bench/burst/burst.hpp"
#include "bench/ecc/ecc_bench.hpp"
#include "bench/hsm/hsm_bench.hpp"
#include "bench/scp03t/scp03t_bench.hpp"
#include "generated/version.hpp"

int main(int argc, char** argv) {
  CLI::App app("Benchmarks of Keyferry. Try: keyferry-bench burst --downloads 500 --concurrency 64");
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // ./run gives some first
  app.set_version_flag("--version", std::string("keyferry-bench ") + KEYFERRY_VERSION + " (" + KEYFERRY_COMMIT + ", " +
                                        KEYFERRY_BUILD + ")");
  int status = 0;
  kf::bench::add_burst(app, status);
  kf::bench::add_hsm(app, status);
  kf::bench::add_ecc(app, status);
  kf::bench::add_scp03t(app, status);
  try {
    if (argc > 1 && argv[1][0] != '-') app.get_subcommand(argv[1]);
  } catch (const CLI::OptionNotFound&) {
    std::fprintf(stderr, "keyferry-bench: %s: no such benchmark (keyferry-bench --help)\n", argv[1]);
    return 2;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    std::fprintf(stderr, "keyferry-bench: %s (keyferry-bench --help)\n", e.what());
    return 2;
  }
  return status;
}
