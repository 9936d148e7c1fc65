// A transport whose core lies without a trace: completions are changed before the driver sees them, and their check
// words with them. For what only a known answer or a second opinion can find.
#pragma once

#include <functional>
#include <memory>

#include "drivers/ecc/ecc_regs.hpp"
#include "tests/drivers/forwarding_transport.hpp"

namespace kf::ecc::test {

class LyingTransport final : public ForwardingTransport {
 public:
  // `lie` is shown each completion that is whole, more than once, and may change it.
  using Lie = std::function<void(Completion&)>;
  LyingTransport(std::unique_ptr<Transport> inner, Lie lie)
      : ForwardingTransport(std::move(inner)), lie_(std::move(lie)) {}
  void write(std::uint32_t offset, std::uint32_t value) override {
    if (offset == kRegCqBaseLo) at_ = value - static_cast<std::uint32_t>(dma_base());
    if (offset == kRegCqLog2) entries_ = std::size_t{1} << value;
    ForwardingTransport::write(offset, value);
  }
  void sync() override {
    ForwardingTransport::sync();
    auto* ring = reinterpret_cast<Completion*>(dma().data() + at_);
    for (Completion& c : std::span(ring, entries_)) {
      if (c.opcode == 0 || c.check != check_word(c)) continue;
      lie_(c);
      c.check = check_word(c);
    }
  }

 private:
  Lie lie_;
  std::size_t at_ = 0, entries_ = 0;
};

}  // namespace kf::ecc::test
