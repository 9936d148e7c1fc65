// The core in a process of its own, keyferry-ecc-sim ("verilated"): registers through a mailbox, DMA memory shared. It
// simulates on its own CPU and dies alone; a dead or silent one reads as all ones (Transport), and Device gives up what
// it owed. A new life is a new SimTransport.
//
// A read takes some ten microseconds (the simulator looks at the mailbox between slices of 64 cycles); after 2 s
// without an answer the simulator counts as stuck. One thread at a time. The simulator dies with the *thread* that
// opened it (PR_SET_PDEATHSIG): open it from one that lives as long as it is needed, or ask for `any_thread`; then it
// ends when its control socket does.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "drivers/core/transport.hpp"
#include "drivers/simulated/mailbox/mailbox.hpp"
#include "host/os/child_process.hpp"

namespace kf::ecc {

struct SimOptions {
  std::string program;                           // empty: the keyferry-ecc-sim that came with this executable
  std::size_t dma_bytes = std::size_t{1} << 20;  // a multiple of 4096
  std::uint64_t dma_base = 0x12'3400'0000;       // its address on the core's bus, a multiple of 4096
  std::chrono::milliseconds start_limit{20'000};
  std::chrono::milliseconds answer_limit{2'000};
  bool any_thread = false;            // the core outlives the thread that opens it, not the process
  bool test_build = false;            // tests only
  std::optional<std::uint64_t> seed;  // test build only
};

class SimTransport final : public Transport {
 public:
  // Reasons: ecc-sim (cannot be started, ended at once), no-model (a build without a simulated core).
  static Result<std::unique_ptr<SimTransport>> open(const SimOptions& options);
  ~SimTransport() override;  // hangs up; kills what does not end within 0.5 s

  std::uint32_t read(std::uint32_t offset) override;
  void write(std::uint32_t offset, std::uint32_t value) override;
  [[nodiscard]] std::span<std::uint8_t> dma() const override { return mailbox_->dma(); }
  [[nodiscard]] std::uint64_t dma_base() const override { return mailbox_->dma_base(); }
  [[nodiscard]] int interrupt_fd() const override { return interrupt_.fd(); }
  void rearm_interrupt() override;
  Status alive() override;

  [[nodiscard]] std::string name() const override { return "keyferry-ecc-sim, simulated"; }
  [[nodiscard]] pid_t pid() const { return process_->pid(); }
  [[nodiscard]] int end_fd() const override { return process_->end_fd(); }
  // What the simulator says of itself, some thousand cycles old.
  [[nodiscard]] double sim_cpu_seconds() const;
  [[nodiscard]] std::uint64_t sim_cycles() const;
  [[nodiscard]] std::uint64_t sim_heartbeat() const;

 private:
  SimTransport() = default;
  Status spawn(const SimOptions& options);
  std::optional<std::uint32_t> wait_for_answer(std::chrono::milliseconds limit);
  void ring();
  void lose(const char* reason, std::string detail);

  std::unique_ptr<mailbox::Mailbox> mailbox_;
  os::EventFd doorbell_, interrupt_;
  std::optional<os::ChildProcess> process_;  // empty only while it is being opened
  std::chrono::milliseconds answer_limit_{0};
  std::optional<int> exit_status_;
  Status state_;
};

}  // namespace kf::ecc
