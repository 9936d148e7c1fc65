#include "tests/sim/fleet/radio.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kf::sim {

Result<Radio> Radio::parse(std::string_view s) {
  std::vector<std::string> parts;
  std::string_view rest = s;
  for (;;) {
    const auto c = rest.find(':');
    parts.emplace_back(rest.substr(0, c));
    if (c == std::string_view::npos) break;
    rest = rest.substr(c + 1);
  }
  const Error bad{"bad-radio",
                  "'" + std::string(s) + "': none, constant:MS, uniform:MIN:MAX or lognormal:MEDIAN:SIGMA"};
  std::vector<double> n;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    char* end = nullptr;
    const double v = std::strtod(parts[i].c_str(), &end);
    if (parts[i].empty() || *end != '\0' || !std::isfinite(v) || v < 0 || v > 60'000) return bad;
    n.push_back(v);
  }
  Radio r;
  if (parts[0] == "none" && n.empty()) return r;
  if (parts[0] == "constant" && n.size() == 1)
    r.kind_ = Kind::constant, r.a_ = n[0];
  else if (parts[0] == "uniform" && n.size() == 2 && n[0] <= n[1])
    r.kind_ = Kind::uniform, r.a_ = n[0], r.b_ = n[1];
  else if (parts[0] == "lognormal" && n.size() == 2 && n[0] > 0 && n[1] <= 5)
    r.kind_ = Kind::lognormal, r.a_ = n[0], r.b_ = n[1];
  else
    return bad;
  return r;
}

std::chrono::microseconds Radio::sample(std::mt19937_64& rng) const {
  double ms = 0;
  switch (kind_) {
    case Kind::none:
      return {};
    case Kind::constant:
      ms = a_;
      break;
    case Kind::uniform:
      ms = std::uniform_real_distribution<double>(a_, b_)(rng);
      break;
    case Kind::lognormal:
      ms = std::lognormal_distribution<double>(std::log(a_), b_)(rng);
      break;
  }
  return std::chrono::microseconds(static_cast<std::int64_t>(std::min(ms, 60'000.0) * 1000));
}

std::string Radio::text() const {
  const auto num = [](double v) {
    auto t = std::to_string(v);
    t.erase(t.find_last_not_of('0') + 1);
    if (t.back() == '.') t.pop_back();
    return t;
  };
  switch (kind_) {
    case Kind::none:
      break;
    case Kind::constant:
      return "constant:" + num(a_);
    case Kind::uniform:
      return "uniform:" + num(a_) + ":" + num(b_);
    case Kind::lognormal:
      return "lognormal:" + num(a_) + ":" + num(b_);
  }
  return "none";
}

}  // namespace kf::sim
