// The simulated board within this process: benches, vectors and tests, one thread. Simulated time passes only in
// register accesses, in run() and in pause(). No interrupt descriptor: who waits, runs.
#pragma once

#include "drivers/core/transport.hpp"
#include "drivers/simulated/board/board.hpp"

namespace kf::ecc {

class BoardTransport final : public Transport {
 public:
  explicit BoardTransport(Board& board) : board_(board) {}  // which outlives it
  std::uint32_t read(std::uint32_t offset) override;
  void write(std::uint32_t offset, std::uint32_t value) override;
  [[nodiscard]] std::span<std::uint8_t> dma() const override;
  [[nodiscard]] std::uint64_t dma_base() const override;
  [[nodiscard]] int interrupt_fd() const override { return -1; }
  void rearm_interrupt() override;
  Status alive() override { return {}; }
  void pause() override { run(4096); }
  void run(std::uint64_t cycles);

 private:
  Board& board_;
};

}  // namespace kf::ecc
