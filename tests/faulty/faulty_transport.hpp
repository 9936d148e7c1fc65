// A transport that goes wrong by a seeded script: test equipment. Completions are damaged in place, in sync(), after
// the core wrote them and before the Device looks; one fault at most for each completion. One thread.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <random>

#include "drivers/core/transport.hpp"
#include "drivers/ecc/ecc_regs.hpp"

namespace kf::ecc {

enum class Fault : std::uint8_t {
  tag,       // a bit of the tag
  status,    // a bit of the status
  output,    // a bit of x or y
  swap,      // x and y exchanged
  phase,     // the phase bit: the completion looks as if it had not come
  early,     // the phase bit of the entry that comes next: it looks as if it were there
  late,      // held back for some calls of sync(), with what comes behind it
  doorbell,  // a write of SQ_TAIL is lost
  head,      // a write of CQ_HEAD is lost
  stuck,     // from then on reads give all ones, writes are lost and nothing moves
  reset,     // the core is reset
};
inline constexpr std::size_t kFaults = 11;

struct FaultScript {
  std::uint64_t seed = 1;
  // Of 65536 completions, doorbells and so on, how many meet this fault; stuck and reset: the number of the completion
  // at which it happens, 0: never.
  std::array<std::uint32_t, kFaults> rate{};
  unsigned late_syncs = 20;
  std::function<void()> reset;  // what resets the device
  [[nodiscard]] std::uint32_t& operator[](Fault f) { return rate[static_cast<std::size_t>(f)]; }
  [[nodiscard]] std::uint32_t operator[](Fault f) const { return rate[static_cast<std::size_t>(f)]; }
};

class FaultyTransport final : public Transport {
 public:
  FaultyTransport(std::unique_ptr<Transport> inner, FaultScript script)
      : inner_(std::move(inner)), script_(std::move(script)), random_(script_.seed) {}
  std::uint32_t read(std::uint32_t offset) override;
  void write(std::uint32_t offset, std::uint32_t value) override;
  [[nodiscard]] std::span<std::uint8_t> dma() const override { return inner_->dma(); }
  [[nodiscard]] std::uint64_t dma_base() const override { return inner_->dma_base(); }
  void sync() override;
  [[nodiscard]] int interrupt_fd() const override { return inner_->interrupt_fd(); }
  void rearm_interrupt() override;
  Status alive() override { return inner_->alive(); }
  void pause() override;

  [[nodiscard]] std::uint64_t injected(Fault f) const { return injected_[static_cast<std::size_t>(f)]; }
  void calm() { calm_ = true; }  // no new fault from now on; a stuck device stays stuck

 private:
  bool happens(Fault f);
  bool count(Fault f);
  std::uint64_t& last_word(std::uint32_t index) const;
  [[nodiscard]] bool there(std::uint32_t index) const;
  void flip_phase(std::uint32_t index);
  void damage(std::uint32_t index);

  std::unique_ptr<Transport> inner_;
  FaultScript script_;
  std::mt19937_64 random_;
  std::array<std::uint64_t, kFaults> injected_{};
  std::uint64_t cq_at_ = 0;     // as the driver told the core
  std::uint32_t cq_log2_ = 31;  // 31: no ring yet
  std::uint32_t seen_ = 0;      // index behind the last completion that was looked at
  std::uint32_t tail_ = 0;      // as the driver rang
  std::uint64_t completions_ = 0;
  std::uint32_t late_from_ = 0;  // from here on everything is hidden
  unsigned late_left_ = 0;       // so many calls of sync() more
  bool early_done_ = false;      // the entry at seen_ was made to look as if it were there
  bool calm_ = false, stuck_ = false;
};

}  // namespace kf::ecc
