// Simulated radio: how long one exchange between the SM-SR and a card takes on the air.
//
// none | constant:MS | uniform:MIN:MAX | lognormal:MEDIAN:SIGMA (sigma of the logarithm). Milliseconds, added once
// before each POST of a card and once for the trigger. Capped at 60 s.
#pragma once

#include <chrono>
#include <random>
#include <string>
#include <string_view>

#include "host/base/result.hpp"

namespace kf::sim {

class Radio {
 public:
  static Result<Radio> parse(std::string_view s);  // reasons: bad-radio
  [[nodiscard]] std::chrono::microseconds sample(std::mt19937_64& rng) const;
  [[nodiscard]] std::string text() const;

 private:
  enum class Kind { none, constant, uniform, lognormal };
  Kind kind_ = Kind::none;
  double a_ = 0, b_ = 0;
};

}  // namespace kf::sim
