// What transports of a board have in common: a mapped page of registers, mapped memory for DMA. One thread at a time.
#pragma once

#include <string>

#include "drivers/core/transport.hpp"

namespace kf::ecc {

class MappedTransport : public Transport {
 public:
  ~MappedTransport() override;  // overwrites the memory, then unmaps both

  std::uint32_t read(std::uint32_t offset) final;
  void write(std::uint32_t offset, std::uint32_t value) final;
  [[nodiscard]] std::span<std::uint8_t> dma() const final { return dma_; }
  [[nodiscard]] std::uint64_t dma_base() const final { return address_; }
  [[nodiscard]] int interrupt_fd() const final { return interrupt_fd_; }
  // Registers that read as all ones: the board was pulled, or its bus went down.
  Status alive() final;

 protected:
  static constexpr std::size_t kWindow = 4096;  // the register map
  MappedTransport() = default;
  void clear_interrupts();  // IRQ_STATUS, and reads it back so that the line is down

  volatile std::uint32_t* registers_ = nullptr;
  std::span<std::uint8_t> dma_;
  std::uint64_t address_ = 0;
  int interrupt_fd_ = -1;
  bool gone_ = false;
};

}  // namespace kf::ecc
