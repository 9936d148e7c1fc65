// keyferry-ecc-sim: the ECC core, simulated, in a process of its own. See README.md of this folder.
//
// Exit status: 0 the server closed the socket, or SIGTERM; 1 the shared memory is not as expected; 3 this build holds
// no model; 64 started by hand.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <optional>

#include "drivers/sim/simulator.hpp"

namespace {

volatile std::sig_atomic_t stop = 0;

bool is_socket(int fd) {
  struct stat st {};
  return ::fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

int run(bool test_build, std::optional<std::uint64_t> seed) {
  using namespace kf::ecc;
  if (board_models().empty()) {
    std::fprintf(stderr, "keyferry-ecc-sim: this build holds no simulated core (sanitizers leave it out)\n");
    return 3;
  }
  if (!is_socket(mailbox::kControlFd)) {
    std::fprintf(stderr, "keyferry-ecc-sim is started by keyferry itself, not by hand\n");
    return 64;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // beside the socket
  ::signal(SIGPIPE, SIG_IGN);
  const rlimit no_core{0, 0};  // a core file would hold keys
  ::setrlimit(RLIMIT_CORE, &no_core);
  struct sigaction on_term {};
  on_term.sa_handler = [](int) { stop = 1; };
  ::sigaction(SIGTERM, &on_term, nullptr);

  auto box = mailbox::Mailbox::attach(mailbox::kMemoryFd);
  if (!box) {
    std::fprintf(stderr, "keyferry-ecc-sim: %s\n", box.error().text().c_str());
    return 1;
  }
  BoardOptions o;
  o.test_build = test_build;
  o.seed = seed;
  o.memory = (*box)->dma();
  o.dma_base = (*box)->dma_base();
  auto board = Board::make(o);
  if (!board) {
    std::fprintf(stderr, "keyferry-ecc-sim: %s\n", board.error().text().c_str());
    return board.error().reason == "no-model" ? 3 : 1;
  }
  Simulator(**box, **board).run(stop);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "The ECC core, simulated with Verilator, behind shared memory.\n"
      "Started by keyferry and its tools with open descriptors 3 to 6; not for use by hand.");
  bool test_build = false;
  std::optional<std::uint64_t> seed;
  app.add_flag("--test-build", test_build, "The core that takes scalars from descriptors; never in a product");
  app.add_option("--seed", seed, "Seed of its entropy; test build only");
  CLI11_PARSE(app, argc, argv);
  if (seed && !test_build) {
    std::fprintf(stderr, "keyferry-ecc-sim: --seed needs --test-build: a product's entropy is the system's\n");
    return 1;
  }
  return run(test_build, seed);
}
