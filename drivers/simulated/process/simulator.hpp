// The loop of keyferry-ecc-sim: a board whose registers are a mailbox and whose memory is shared with the host.
#pragma once

#include <csignal>
#include <functional>
#include <optional>

#include "drivers/simulated/board/board.hpp"
#include "drivers/simulated/mailbox/mailbox.hpp"

namespace kf::ecc {

struct SimulatorProcess {
  bool test_build = false;
  bool any_thread = false;            // ends with the socket only, not with the thread that started it
  std::optional<std::uint64_t> seed;  // test builds only
  // Test equipment that makes the board, and looks into it now and then; the product has neither.
  std::function<Result<std::unique_ptr<Board>>(const BoardOptions&)> make = Board::make;
  std::function<void(const Board&)> after_slice;
};
// What main() does: attaches to the descriptors the driver left open, makes the board, runs it until the driver hangs
// up or SIGTERM. Returns the exit status: 0; 1 the shared memory is not as expected, or the board cannot be made (a
// line on stderr says which); 3 this build holds no model; 64 started by hand.
int run_simulator_process(const SimulatorProcess& p);

class Simulator {
 public:
  Simulator(mailbox::Mailbox& mailbox, Board& board, std::function<void(const Board&)> after_slice = {})
      : mailbox_(mailbox), board_(board), after_slice_(std::move(after_slice)) {}
  // Until the control socket closes or `stop` is set.
  void run(const volatile std::sig_atomic_t& stop);

 private:
  bool serve_host();  // true: there was something
  void raise_interrupt();
  void look_at_status();
  [[nodiscard]] bool host_gone() const;
  void publish();
  void sleep();

  mailbox::Mailbox& mailbox_;
  Board& board_;
  std::function<void(const Board&)> after_slice_;
  bool line_ = false;          // the interrupt as last seen
  bool resting_ = false;       // nothing to do until the host wants something
  std::uint64_t busy_at_ = 0;  // cycle at which there was last something to do
  std::uint64_t linger_ = 0;   // cycles after it in which an interrupt may still fall due
};

}  // namespace kf::ecc
