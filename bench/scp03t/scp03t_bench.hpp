// `keyferry-bench scp03t`: sealing profiles, and the way from the template to the SOAP body.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kf::bench {

struct Scp03tOptions {
  std::vector<std::string> engines;    // empty: openssl, ipsec-mb and the best of the own kernels
  std::vector<std::size_t> kib;        // empty: 1, 4, 16, 64, 256
  std::vector<std::size_t> in_flight;  // empty: 1, 8, 64, 1024
  unsigned rounds = 7;
  double seconds = 0.01;  // CPU time of one leg at least
  unsigned key_bits = 128;
  std::size_t memory_mib = 600;  // cells that need more are left out
  std::size_t path_downloads = 1024, path_batch = 64;
  std::uint64_t seed = 1;
  bool quick = false;
  std::string report_json, report_html;
};

// Exit status: 0 every engine left the right octets; 1 one did not; 2 wrong usage (one line on stderr); 130
// interrupted.
int run_scp03t(const Scp03tOptions& o);

// The subcommand; its callback stores the exit status.
void add_scp03t(CLI::App& app, int& status);

}  // namespace kf::bench
