#include "host/server/load_split.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace kf::server {
namespace {
constexpr double kWeight = 0.1;  // of one answer in the smoothed unit
constexpr std::size_t kProbes = 8;
constexpr std::chrono::seconds kHalving{5};
constexpr std::chrono::milliseconds kAvoid{1000};
}  // namespace

double LoadSplit::unit(std::size_t engine, Time now) const {
  const Engine& e = engines_[engine];
  if (e.unit_s == 0) return 0;
  const double halvings = std::floor(std::chrono::duration<double>(now - e.measured) / kHalving);
  return halvings <= 0 ? e.unit_s : e.unit_s * std::exp2(-std::min(halvings, 30.0));
}

std::size_t LoadSplit::choose(const std::vector<std::size_t>& among, Time now) {
  // An engine of which nothing is known gets a few requests to learn by; then it waits behind those that are known,
  // and among themselves the order is the caller's.
  enum Tier { learning, known, unseen };
  const auto rank = [&](std::size_t position) {
    const Engine& e = engines_[among[position]];
    const double u = unit(among[position], now);
    const Tier tier = u > 0 ? known : e.open < kProbes ? learning : unseen;
    const double cost = tier == known      ? u * static_cast<double>(e.open + 1)
                        : tier == learning ? static_cast<double>(e.open)
                                           : static_cast<double>(position);
    return std::tuple(e.avoided_until > now, tier, cost);
  };
  std::size_t best = 0;
  for (std::size_t i = 1; i < among.size(); ++i) {
    if (rank(i) < rank(best)) best = i;
  }
  ++engines_[among[best]].open;
  return among[best];
}

void LoadSplit::answered(std::size_t engine, Duration took, std::size_t open_then, bool served, Time now) {
  Engine& e = engines_[engine];
  if (e.open != 0) --e.open;
  if (!served) {
    e.avoided_until = now + kAvoid;
    return;
  }
  const double sample =
      std::chrono::duration<double>(took).count() / static_cast<double>(std::max<std::size_t>(1, open_then));
  const double known = unit(engine, now);
  e.unit_s = std::max(1e-9, known == 0 ? sample : known + kWeight * (sample - known));
  e.measured = now;
}

}  // namespace kf::server
