// A transport whose core lies without a trace: completions are changed before the driver sees them, and their check
// words with them. For what only a known answer or a second opinion can find.
#pragma once

#include <functional>
#include <memory>

#include "drivers/core/transport.hpp"
#include "drivers/ecc/ecc_regs.hpp"

namespace kf::ecc::test {

class LyingTransport final : public Transport {
 public:
  // `lie` is shown each completion that is whole, more than once, and may change it.
  using Lie = std::function<void(Completion&)>;
  LyingTransport(std::unique_ptr<Transport> inner, Lie lie) : inner_(std::move(inner)), lie_(std::move(lie)) {}
  std::uint32_t read(std::uint32_t offset) override { return inner_->read(offset); }
  void write(std::uint32_t offset, std::uint32_t value) override {
    if (offset == kRegCqBaseLo) at_ = value - static_cast<std::uint32_t>(inner_->dma_base());
    if (offset == kRegCqLog2) entries_ = std::size_t{1} << value;
    inner_->write(offset, value);
  }
  [[nodiscard]] std::string name() const override { return inner_->name(); }
  [[nodiscard]] int end_fd() const override { return inner_->end_fd(); }
  [[nodiscard]] std::span<std::uint8_t> dma() const override { return inner_->dma(); }
  [[nodiscard]] std::uint64_t dma_base() const override { return inner_->dma_base(); }
  void sync() override {
    inner_->sync();
    auto* ring = reinterpret_cast<Completion*>(dma().data() + at_);
    for (Completion& c : std::span(ring, entries_)) {
      if (c.opcode == 0 || c.check != check_word(c)) continue;
      lie_(c);
      c.check = check_word(c);
    }
  }
  [[nodiscard]] int interrupt_fd() const override { return inner_->interrupt_fd(); }
  void rearm_interrupt() override { inner_->rearm_interrupt(); }
  Status alive() override { return inner_->alive(); }
  void pause() override { inner_->pause(); }

 private:
  std::unique_ptr<Transport> inner_;
  Lie lie_;
  std::size_t at_ = 0, entries_ = 0;
};

}  // namespace kf::ecc::test
