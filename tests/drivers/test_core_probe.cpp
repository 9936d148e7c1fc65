// What a Device refuses at the probe. Needs no core.
#include <gtest/gtest.h>

#include <vector>

#include "drivers/core/device.hpp"

namespace kf::ecc::test {
namespace {

// Registers as another core, or none, would show them.
class Strange final : public Transport {
 public:
  Strange(std::uint32_t offset, std::uint32_t value) : offset_(offset), value_(value) {}
  std::uint32_t read(std::uint32_t offset) override {
    if (offset_ == kAllOnes) return kAllOnes;
    if (offset == offset_) return value_;
    switch (offset) {
      case kRegId:
        return kIdWord;
      case kRegVersion:
        return kVersionWord;
      case kRegCap0:
        return kGoodCap0;
      case kRegCap1:
        return kGoodCap1;
      case kRegStatus:
        return kStatusSelftestFailed.put(1);
      default:
        return 0;
    }
  }
  void write(std::uint32_t, std::uint32_t) override {}
  [[nodiscard]] std::span<std::uint8_t> dma() const override {
    return {reinterpret_cast<std::uint8_t*>(const_cast<Line*>(memory_.data())), memory_.size() * sizeof(Line)};
  }
  [[nodiscard]] std::uint64_t dma_base() const override { return 0x10000; }
  [[nodiscard]] int interrupt_fd() const override { return -1; }
  void rearm_interrupt() override {}
  Status alive() override { return {}; }
  static constexpr std::uint32_t kGoodCap0 = 64 | 1U << 8 | 9U << 11 | 3U << 16 | 0x7EU << 24;
  static constexpr std::uint32_t kGoodCap1 = 16 | 13U << 8 | 4U << 16;

 private:
  struct alignas(64) Line {
    std::uint8_t bytes[64];
  };
  std::uint32_t offset_, value_;
  std::vector<Line> memory_ = std::vector<Line>(4096);
};

TEST(Probe, RefusesWhatItDoesNotKnow) {
  constexpr std::uint32_t g0 = Strange::kGoodCap0, g1 = Strange::kGoodCap1;
  struct Case {
    const char* what;
    std::uint32_t offset, value;
    const char* reason;
  };
  const Case cases[] = {
      {"as ours, up to the self-test", kRegId, kIdWord, "self-test"},
      {"a later minor version", kRegVersion, kVersionWord + 0x100, "self-test"},
      {"nothing there", kAllOnes, 0, "device-gone"},
      {"another device", kRegId, 0x12345678, "not-a-core"},
      {"an older minor version", kRegVersion, kVersionWord - 0x100, "unknown-core"},
      {"a major version", kRegVersion, kVersionWord + 0x10000, "unknown-core"},
      {"a reserved bit", kRegCap0, g0 | 1U << 22, "unknown-core"},
      {"another reserved bit", kRegCap1, g1 | 1U << 31, "unknown-core"},
      {"a third curve", kRegCap0, g0 | 1U << 18, "unknown-core"},
      {"one curve", kRegCap0, g0 & ~(1U << 17), "unknown-core"},
      {"no ECKA", kRegCap0, g0 & ~(1U << 26), "unknown-core"},
      {"no contexts", kRegCap0, g0 & ~0xFFU, "unknown-core"},
      {"II 3", kRegCap0, g0 | 3U << 8, "unknown-core"},
      {"2^31 slots", kRegCap0, g0 | 31U << 11, "unknown-core"},
      {"another table", kRegCap1, g1 ^ 1U << 8, "unknown-core"},
      {"small rings", kRegCap1, (g1 & ~0x1FU) | 8, "bad-option"},
      {"a test build", kRegCap0, g0 | 1U << 20, "test-build"},
  };
  for (const Case& c : cases) {
    const auto d = Device::open(std::make_unique<Strange>(c.offset, c.value));
    ASSERT_FALSE(d.ok()) << c.what;
    EXPECT_EQ(d.error().reason, c.reason) << c.what << ": " << d.error().text();
    if (d.error().reason == "unknown-core") {
      char word[16];
      std::snprintf(word, sizeof word, "%08X", c.value);
      EXPECT_NE(d.error().detail.find(word), std::string::npos) << d.error().detail;
    }
  }
}

}  // namespace
}  // namespace kf::ecc::test
