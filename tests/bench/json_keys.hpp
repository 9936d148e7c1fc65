// The names in a JSON object: what a report is expected to say.
#pragma once

#include <set>
#include <string>

#include "bench/report/burst_report.hpp"

namespace kf::bench {

inline std::set<std::string> keys(const Json& j) {
  std::set<std::string> out;
  for (const auto& [k, v] : j.items()) out.insert(k);
  return out;
}

}  // namespace kf::bench
