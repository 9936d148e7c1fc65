// keyferry-ecc-sim-faulty: the product's simulated core, disturbed: now and then one bit of one flop or memory of its
// engine flips. Test equipment; nothing of the product starts it unless a test's configuration names it.
//
//   KEYFERRY_TEST_FLIPS       the file to which each flip is appended as a line: cycle, name, element, bit
//   KEYFERRY_TEST_FLIP_EVERY  cycles from one flip to the next, on average; none: 200 000
//   KEYFERRY_TEST_FLIP_ONLY   a regular expression that the name has to match; none: any
//   KEYFERRY_TEST_FLIP_SEED   of what is chosen, and when; the process's number is added
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "drivers/ecc/ecc_regs.hpp"
#include "drivers/simulated/board/faulty.hpp"
#include "drivers/simulated/process/simulator.hpp"

namespace {
std::string text_from(const char* name) {
  const char* v = std::getenv(name);
  return v == nullptr ? "" : v;
}
std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const std::string v = text_from(name);
  return v.empty() ? otherwise : std::stoull(v);
}
}  // namespace

int main() {
  std::FILE* out = std::fopen(text_from("KEYFERRY_TEST_FLIPS").c_str(), "a");
  if (out == nullptr) {
    std::fprintf(stderr, "keyferry-ecc-sim-faulty: KEYFERRY_TEST_FLIPS must name a file that can be written\n");
    return 1;
  }
  // The first flip of all comes soon after the first core has begun to work, so that the shortest test meets one. A
  // core that is started after a loss gets no such flip: it would never finish a batch.
  std::fseek(out, 0, SEEK_END);
  bool soon = std::ftell(out) == 0;
  const std::string only = text_from("KEYFERRY_TEST_FLIP_ONLY");
  std::mt19937_64 random(number_from("KEYFERRY_TEST_FLIP_SEED", 1) + static_cast<std::uint64_t>(::getpid()));
  std::exponential_distribution<double> pause(1.0 /
                                              static_cast<double>(number_from("KEYFERRY_TEST_FLIP_EVERY", 200'000)));
  kf::ecc::FaultyBoard* board = nullptr;
  // The core starts and passes its self-test undisturbed, however long that takes: one that does not is refused by the
  // server, as it should be.
  bool quiet = true;
  std::uint64_t slices = 0;
  double next = 0;
  kf::ecc::SimulatorProcess p;
  p.make = [&](const kf::ecc::BoardOptions& o) -> kf::Result<std::unique_ptr<kf::ecc::Board>> {
    auto made = kf::ecc::make_faulty_board(o);
    board = made.get();
    board->places();  // while nothing waits
    return std::unique_ptr<kf::ecc::Board>(std::move(made));
  };
  p.after_slice = [&](const kf::ecc::Board&) {
    if (quiet) {
      if (++slices % 64 != 0 || kf::ecc::kStatusSelftestPassed.get(board->read(kf::ecc::kRegStatus)) == 0) return;
      quiet = false;
      next = static_cast<double>(board->cycles()) + (soon ? std::min(pause(random), 20'000.0) : pause(random));
      soon = false;
    }
    if (static_cast<double>(board->cycles()) < next) return;
    const std::string what = board->flip(random, only);
    std::fprintf(out, "%llu %s\n", static_cast<unsigned long long>(board->cycles()), what.c_str());
    std::fflush(out);
    next = static_cast<double>(board->cycles()) + pause(random);
  };
  return kf::ecc::run_simulator_process(p);
}
