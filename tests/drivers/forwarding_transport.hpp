// A transport that hands everything to another one: what a test's own transport is made from, which changes a call or
// two.
#pragma once

#include <memory>

#include "drivers/core/transport.hpp"

namespace kf::ecc::test {

class ForwardingTransport : public Transport {
 public:
  explicit ForwardingTransport(std::unique_ptr<Transport> inner) : inner_(std::move(inner)) {}
  std::uint32_t read(std::uint32_t offset) override { return inner_->read(offset); }
  void write(std::uint32_t offset, std::uint32_t value) override { inner_->write(offset, value); }
  [[nodiscard]] std::string name() const override { return inner_->name(); }
  [[nodiscard]] int end_fd() const override { return inner_->end_fd(); }
  [[nodiscard]] std::span<std::uint8_t> dma() const override { return inner_->dma(); }
  [[nodiscard]] std::uint64_t dma_base() const override { return inner_->dma_base(); }
  void sync() override { inner_->sync(); }
  [[nodiscard]] int interrupt_fd() const override { return inner_->interrupt_fd(); }
  void rearm_interrupt() override { inner_->rearm_interrupt(); }
  Status alive() override { return inner_->alive(); }
  void pause() override { inner_->pause(); }

 private:
  std::unique_ptr<Transport> inner_;
};

}  // namespace kf::ecc::test
