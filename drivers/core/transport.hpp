// What a driver needs of the place where a core sits: its registers, memory that both reach, an interrupt. One Device
// uses one transport from one thread.
//
// Registers are 32 bits at byte offsets (drivers/ecc/ecc_regs.hpp). Writes are posted: they arrive in order, and before
// any later read, but write() does not wait for them. Addresses of the memory as the core sees it begin at dma_base().
// Errors: a device that is gone answers every read with all ones, as PCI Express does, takes writes without effect, and
// says why in alive().
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <thread>

#include "host/base/result.hpp"

namespace kf::ecc {

inline constexpr std::uint32_t kAllOnes = 0xFFFF'FFFF;

class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // Where the core sits, for people: "board 0000:01:00.0", "keyferry-ecc-sim, simulated".
  [[nodiscard]] virtual std::string name() const { return "in this process, simulated"; }

  virtual std::uint32_t read(std::uint32_t offset) = 0;
  virtual void write(std::uint32_t offset, std::uint32_t value) = 0;

  [[nodiscard]] virtual std::span<std::uint8_t> dma() const = 0;  // aligned to 64
  [[nodiscard]] virtual std::uint64_t dma_base() const = 0;  // of its first byte, on the core's bus; aligned to 256
  // Called before the completion ring is looked at: memory that the processor's caches do not follow is brought in
  // here.
  virtual void sync() {}

  // Readable after the core raised its interrupt; -1: there is none, poll. It stays readable until rearm_interrupt(),
  // which clears the core's IRQ_STATUS; what the core has not reported by then makes it readable again.
  [[nodiscard]] virtual int interrupt_fd() const = 0;
  virtual void rearm_interrupt() = 0;

  // Readable once the device has ended, where that can be watched; -1: it cannot.
  [[nodiscard]] virtual int end_fd() const { return -1; }
  // Reasons: device-gone (it ended, or it answers no more), device-stuck (it lives and answers no more). Sticky.
  virtual Status alive() = 0;
  // Time for the device to go on, between two looks at a register. Where simulated time passes only on order, this is
  // the order.
  virtual void pause() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }
};

}  // namespace kf::ecc
