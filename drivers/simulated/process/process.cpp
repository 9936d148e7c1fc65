#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "drivers/simulated/process/simulator.hpp"

namespace kf::ecc {
namespace {

volatile std::sig_atomic_t stop = 0;

bool is_socket(int fd) {
  struct stat st {};
  return ::fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

}  // namespace

int run_simulator_process(const SimulatorProcess& p) {
  if (!is_socket(mailbox::kControlFd)) {
    std::fprintf(stderr, "keyferry-ecc-sim: started by keyferry itself, not by hand\n");
    return 2;
  }
  if (board_models().empty()) {
    std::fprintf(stderr, "keyferry-ecc-sim: this build holds no simulated core (sanitizers leave it out)\n");
    return 3;
  }
  if (!p.any_thread) ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // beside the socket
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);   // the server turns its log at it; this process has none
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
  o.test_build = p.test_build;
  o.seed = p.seed;
  o.memory = (*box)->dma();
  o.dma_base = (*box)->dma_base();
  auto board = p.make(o);
  if (!board) {
    std::fprintf(stderr, "keyferry-ecc-sim: %s\n", board.error().text().c_str());
    return board.error().reason == "no-model" ? 3 : 1;
  }
  Simulator(**box, **board, p.after_slice).run(stop);
  return 0;
}

}  // namespace kf::ecc
