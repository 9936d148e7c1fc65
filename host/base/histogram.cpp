#include "host/base/histogram.hpp"

#include <algorithm>
#include <bit>

namespace kf {
std::size_t Histogram::bucket(std::uint64_t v) noexcept {
  if (v < kSub) return static_cast<std::size_t>(v);
  const unsigned exp = static_cast<unsigned>(std::bit_width(v)) - 1;  // >= 5
  const unsigned shift = exp - 5;
  return static_cast<std::size_t>(shift + 1) * kSub + static_cast<std::size_t>((v >> shift) - kSub);
}
std::uint64_t Histogram::low_of(std::size_t b) noexcept {
  if (b < kSub) return b;
  const std::size_t shift = b / kSub - 1;
  return (kSub + b % kSub) << shift;
}
void Histogram::add(std::uint64_t v, std::uint64_t times) noexcept {
  n_[bucket(v)] += times;
  count_ += times;
  sum_ += v * times;
  max_ = std::max(max_, v);
  min_ = std::min(min_, v);
}
void Histogram::merge(const Histogram& o) noexcept {
  for (std::size_t i = 0; i < n_.size(); ++i) n_[i] += o.n_[i];
  count_ += o.count_;
  sum_ += o.sum_;
  max_ = std::max(max_, o.max_);
  min_ = std::min(min_, o.min_);
}
double Histogram::mean() const noexcept {
  return count_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(count_);
}
std::uint64_t Histogram::percentile(double p) const noexcept {
  if (count_ == 0) return 0;
  const auto want =
      std::max<std::uint64_t>(1, static_cast<std::uint64_t>(p / 100.0 * static_cast<double>(count_) + 0.5));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < n_.size(); ++i) {
    seen += n_[i];
    if (seen >= want) return std::clamp(low_of(i), min(), max_);
  }
  return max_;
}
std::vector<Histogram::Bar> Histogram::bars() const {
  std::vector<Bar> out;
  for (std::size_t i = 0; i < n_.size(); ++i)
    if (n_[i] != 0) out.push_back({low_of(i), n_[i]});
  return out;
}
}  // namespace kf
