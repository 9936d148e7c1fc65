#include "bench/report/numbers.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "host/report/wording.hpp"

namespace kf::bench {
namespace {

// Bins of a round width up to `top`, which may be any positive value.
std::vector<Bin> empty_bins(double top, std::size_t about) {
  const double width = report::round_up_nice(std::max(top, 1e-3) / static_cast<double>(about));
  const auto n = static_cast<std::size_t>(std::ceil(top / width + 1e-9));
  std::vector<Bin> out;
  for (std::size_t i = 0; i < std::max<std::size_t>(n, 1); ++i)
    out.push_back({static_cast<double>(i) * width, static_cast<double>(i + 1) * width, 0});
  return out;
}

// Width of the histogram bucket that begins at `low`: each power of two from 32 on has 32 steps.
std::uint64_t bucket_width(std::uint64_t low) {
  return low < 64 ? 1 : std::uint64_t{1} << (static_cast<unsigned>(std::bit_width(low)) - 6);
}

}  // namespace

double percentile(const std::vector<double>& sorted, double p) {
  if (sorted.empty()) return 0;
  const double rank = std::ceil(p / 100.0 * static_cast<double>(sorted.size()));
  const auto i = static_cast<std::size_t>(std::clamp(rank, 1.0, static_cast<double>(sorted.size())));
  return sorted[i - 1];
}

double rounded(double v) {
  if (v == 0 || !std::isfinite(v)) return 0;
  const double scale = std::pow(10.0, 5 - std::floor(std::log10(std::fabs(v))));
  return std::round(v * scale) / scale;
}

Spread spread(std::vector<double> v) {
  if (v.empty()) return {};
  std::sort(v.begin(), v.end());
  const std::size_t mid = v.size() / 2;
  return {v.size() % 2 == 1 ? v[mid] : (v[mid - 1] + v[mid]) / 2, v.front(), v.back()};
}

std::vector<Bin> latency_bins(const std::vector<double>& sorted, std::size_t about) {
  if (sorted.empty() || about == 0) return {};
  std::vector<Bin> out = empty_bins(percentile(sorted, 99.5), about);
  const double width = out.front().high;
  for (const double v : sorted)
    ++out[std::min(static_cast<std::size_t>(std::max(v, 0.0) / width), out.size() - 1)].count;
  return out;
}

Distribution Distribution::between(const Histogram& before, const Histogram& after) {
  Distribution d;
  std::map<std::uint64_t, std::uint64_t> earlier;
  for (const auto& b : before.bars()) earlier[b.low] = b.count;
  for (const auto& b : after.bars()) {
    const auto it = earlier.find(b.low);
    const std::uint64_t was = it == earlier.end() ? 0 : it->second;
    if (b.count <= was) continue;
    d.bars.push_back({b.low, b.count - was});
    d.count += b.count - was;
  }
  d.sum = std::max(
      0.0, after.mean() * static_cast<double>(after.count()) - before.mean() * static_cast<double>(before.count()));
  return d;
}

void Distribution::merge(const Distribution& o) {
  std::map<std::uint64_t, std::uint64_t> all;
  for (const Distribution* d : {static_cast<const Distribution*>(this), &o})
    for (const auto& b : d->bars) all[b.low] += b.count;
  bars.clear();
  for (const auto& [low, n] : all) bars.push_back({low, n});
  count += o.count;
  sum += o.sum;
}

double Distribution::percentile(double p) const {
  const auto want = static_cast<std::uint64_t>(
      std::clamp(std::ceil(p / 100.0 * static_cast<double>(count)), 1.0, std::max(1.0, static_cast<double>(count))));
  std::uint64_t seen = 0;
  for (const auto& b : bars) {
    seen += b.count;
    if (seen >= want) return static_cast<double>(b.low);
  }
  return max();
}

std::vector<Bin> distribution_bins(const Distribution& d, std::size_t about, double top) {
  if (d.count == 0 || about == 0) return {};
  const double high = d.percentile(top);
  std::vector<Bin> out = empty_bins(high + static_cast<double>(bucket_width(static_cast<std::uint64_t>(high))), about);
  std::vector<double> parts(out.size(), 0);
  for (const auto& b : d.bars) {
    const auto low = static_cast<double>(b.low);
    const auto width = static_cast<double>(bucket_width(b.low));
    double left = static_cast<double>(b.count);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double shared = std::min(out[i].high, low + width) - std::max(out[i].low, low);
      if (shared <= 0) continue;
      const double part = static_cast<double>(b.count) * shared / width;
      parts[i] += part;
      left -= part;
    }
    parts.back() += std::max(left, 0.0);
  }
  double so_far = 0;  // rounded as running totals, so that nothing is lost or won
  std::uint64_t given = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    so_far += parts[i];
    out[i].count = static_cast<std::uint64_t>(std::llround(so_far)) - given;
    given += out[i].count;
  }
  return out;
}

}  // namespace kf::bench
