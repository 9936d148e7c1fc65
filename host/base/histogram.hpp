// A bounded histogram: 64 powers of two with 32 steps each, so that a percentile is right to about 3 %.
// Not synchronised: one owner thread writes; copy it to hand it out.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace kf {

class Histogram {
 public:
  void add(std::uint64_t v, std::uint64_t times = 1) noexcept;
  void merge(const Histogram& o) noexcept;
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }
  [[nodiscard]] std::uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
  [[nodiscard]] double mean() const noexcept;
  [[nodiscard]] std::uint64_t percentile(double p) const noexcept;  // p in 0..100
  struct Bar {
    std::uint64_t low;
    std::uint64_t count;
  };
  [[nodiscard]] std::vector<Bar> bars() const;  // the occupied buckets, in rising order

 private:
  static constexpr unsigned kSub = 32;
  static std::size_t bucket(std::uint64_t v) noexcept;
  static std::uint64_t low_of(std::size_t b) noexcept;
  std::array<std::uint64_t, 64 * kSub> n_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t max_ = 0;
  std::uint64_t min_ = ~std::uint64_t{0};
};

}  // namespace kf
