// Arithmetic over measured values: percentiles, medians with their spread, bins, distributions from a bounded
// histogram. Pure functions; empty input gives 0, never a division by nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "host/base/histogram.hpp"

namespace kf::bench {

inline constexpr double kMiB = 1024.0 * 1024.0;

// Nearest rank; p in 0..100. 0 for no samples. `sorted` in rising order.
double percentile(const std::vector<double>& sorted, double p);
inline double over(double a, double b) { return b > 0 ? a / b : 0; }
double rounded(double v);  // six significant digits: beyond that lies noise; 0 for what is not finite

// Median (of an even number: the mean of the middle two) with the lowest and highest value.
struct Spread {
  double median = 0, low = 0, high = 0;
};
Spread spread(std::vector<double> v);

struct Bin {
  double low = 0, high = 0;
  std::uint64_t count = 0;
};
// Equal bins from 0 to a round value at or above the 99.5th percentile; the last one also takes what lies beyond.
std::vector<Bin> latency_bins(const std::vector<double>& sorted, std::size_t about = 40);

// What a histogram took in between two looks at it.
struct Distribution {
  std::vector<Histogram::Bar> bars;  // lowest value of a bucket and how many; rising
  std::uint64_t count = 0;
  double sum = 0;
  static Distribution between(const Histogram& before, const Histogram& after);
  void merge(const Distribution& o);
  [[nodiscard]] double mean() const { return count == 0 ? 0 : sum / static_cast<double>(count); }
  [[nodiscard]] double percentile(double p) const;  // nearest rank, right to a bucket (3 %)
  [[nodiscard]] double max() const { return bars.empty() ? 0 : static_cast<double>(bars.back().low); }
};
// As latency_bins(), up to the percentile `top`; a bucket that lies across bins is shared out among them.
std::vector<Bin> distribution_bins(const Distribution& d, std::size_t about = 40, double top = 99.5);

}  // namespace kf::bench
