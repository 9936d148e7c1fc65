// keyferry-bench: load generator and benchmarks. Each subcommand lives in its own folder below bench/.
#include "bench/burst/burst.hpp"
#include "bench/ecc/ecc_bench.hpp"
#include "bench/hsm/hsm_bench.hpp"
#include "bench/scp03t/scp03t_bench.hpp"
#include "generated/version.hpp"
#include "host/base/command_line.hpp"

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
  if (const auto ended = kf::parse_command_line(app, "keyferry-bench", argc, argv)) return *ended;
  return kf::end_program("keyferry-bench", status);
}
