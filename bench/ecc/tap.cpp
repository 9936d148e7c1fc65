#include "bench/ecc/tap.hpp"

namespace kf::bench {

CoreCounts operator-(const CoreCounts& a, const CoreCounts& b) {
  return {a.cycles - b.cycles, a.busy_cycles - b.busy_cycles, a.mul_issued - b.mul_issued, a.jobs - b.jobs,
          a.batches - b.batches};
}
CoreCounts operator+(const CoreCounts& a, const CoreCounts& b) {
  return {a.cycles + b.cycles, a.busy_cycles + b.busy_cycles, a.mul_issued + b.mul_issued, a.jobs + b.jobs,
          a.batches + b.batches};
}

CoreCounts read_counts(ecc::Transport& t, Look look) {
  const auto counter = [&t](std::uint32_t offset) {
    const std::uint64_t low = t.read(offset);
    return low | static_cast<std::uint64_t>(t.read(offset + 4)) << 32;
  };
  CoreCounts c;
  if (look == Look::first) c.cycles = counter(ecc::kCountCycles);
  if (look == Look::last) c.mul_issued = counter(ecc::kCountMulIssued);
  c.busy_cycles = counter(ecc::kCountBusyCycles);
  if (look == Look::first) c.mul_issued = counter(ecc::kCountMulIssued);
  if (look == Look::last) c.cycles = counter(ecc::kCountCycles);
  c.jobs = counter(ecc::kCountJobs);
  c.batches = counter(ecc::kCountBatches);
  return c;
}

std::optional<CoreCounts> TapControl::taken() const {
  if (served_ != asked_) return {};
  const std::lock_guard g(lock_);
  return counts_;
}

class Tap final : public ecc::Transport {
 public:
  Tap(std::unique_ptr<ecc::SimTransport> inner, TapControl& control) : inner_(std::move(inner)), control_(control) {
    control_.pid_ = inner_->pid();
  }
  std::uint32_t read(std::uint32_t offset) override { return inner_->read(offset); }
  void write(std::uint32_t offset, std::uint32_t value) override { inner_->write(offset, value); }
  [[nodiscard]] std::span<std::uint8_t> dma() const override { return inner_->dma(); }
  [[nodiscard]] std::uint64_t dma_base() const override { return inner_->dma_base(); }
  void sync() override {
    inner_->sync();
    const unsigned asked = control_.asked_;
    if (asked == control_.served_) return;
    const CoreCounts c = read_counts(*inner_, control_.look_);
    {
      const std::lock_guard g(control_.lock_);
      control_.counts_ = c;
    }
    control_.served_ = asked;
  }
  [[nodiscard]] int interrupt_fd() const override { return inner_->interrupt_fd(); }
  void rearm_interrupt() override { inner_->rearm_interrupt(); }
  Status alive() override { return inner_->alive(); }
  void pause() override { inner_->pause(); }

 private:
  std::unique_ptr<ecc::SimTransport> inner_;
  TapControl& control_;
};

Result<std::unique_ptr<ecc::Transport>> open_tapped(TapControl& control) {
  KF_TRY(auto sim, ecc::SimTransport::open({}));
  return std::unique_ptr<ecc::Transport>(std::make_unique<Tap>(std::move(sim), control));
}

}  // namespace kf::bench
