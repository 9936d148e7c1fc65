// keyferry-ecc-sim-telling: the product's simulated core, in a process that tells a test what its key slots hold. Test
// equipment; nothing of the product starts it unless a test's configuration names it.
//
// Appends each scalar it sees, as one line of 64 hex digits (big-endian), to the file KEYFERRY_TEST_TELL.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "drivers/simulated/process/simulator.hpp"
#include "host/base/bytes.hpp"

int main() {
  const char* file = std::getenv("KEYFERRY_TEST_TELL");
  std::FILE* out = file == nullptr ? nullptr : std::fopen(file, "a");
  if (out == nullptr) {
    std::fprintf(stderr, "keyferry-ecc-sim-telling: KEYFERRY_TEST_TELL must name a file that can be written\n");
    return 1;
  }
  std::set<std::array<std::uint8_t, 32>> told;
  std::vector<std::array<std::uint8_t, 32>> now;
  kf::ecc::SimulatorProcess p;
  p.after_slice = [&](const kf::ecc::Board& board) {
    board.key_slots(now);
    for (auto& scalar : now) {
      if (!told.insert(scalar).second) continue;
      std::ranges::reverse(scalar);
      std::fprintf(out, "%s\n", kf::to_hex(scalar).c_str());
      std::fflush(out);
    }
  };
  return kf::ecc::run_simulator_process(p);
}
