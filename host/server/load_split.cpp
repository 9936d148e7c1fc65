#include "host/server/load_split.hpp"

#include <algorithm>
#include <cmath>

namespace kf::server {
namespace {
constexpr double kWeight = 0.1;  // of one answer in the smoothed unit
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
  std::size_t best = among.front();
  const auto rank = [&](std::size_t i) {
    const Engine& e = engines_[i];
    // Nothing known yet: by the length of the queue, so that each is tried early and none gets everything unseen.
    const double u = std::max(unit(i, now), 1e-9);
    return std::pair(e.avoided_until > now, u * static_cast<double>(e.open + 1));
  };
  for (const std::size_t i : among) {
    if (rank(i) < rank(best)) best = i;
  }
  ++engines_[best].open;
  return best;
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
