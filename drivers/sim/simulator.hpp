// The loop of keyferry-ecc-sim: a board whose registers are a mailbox and whose memory is shared with the host.
#pragma once

#include <csignal>

#include "drivers/board/board.hpp"
#include "drivers/mailbox/mailbox.hpp"

namespace kf::ecc {

class Simulator {
 public:
  Simulator(mailbox::Mailbox& mailbox, Board& board) : mailbox_(mailbox), board_(board) {}
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
  bool line_ = false;          // the interrupt as last seen
  bool resting_ = false;       // nothing to do until the host wants something
  std::uint64_t busy_at_ = 0;  // cycle at which there was last something to do
  std::uint64_t linger_ = 0;   // cycles after it in which an interrupt may still fall due
};

}  // namespace kf::ecc
