#include "host/report/wording.hpp"

#include <fmt/format.h>

#include <cmath>

namespace kf::report {

std::string number(double v) {
  if (!std::isfinite(v)) return "–";
  if (v == 0) return "0";
  const double a = std::fabs(v);
  if (a >= 1000) {
    std::string digits = fmt::format("{:.0f}", a);
    for (std::ptrdiff_t at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
      digits.insert(static_cast<std::size_t>(at), ",");
    return (v < 0 ? "-" : "") + digits;
  }
  std::string s = fmt::format("{:.{}f}", v, a >= 100 ? 0 : a >= 10 ? 1 : a >= 1 ? 2 : 3);
  if (s.find('.') != std::string::npos) {
    while (s.back() == '0') s.pop_back();
    if (s.back() == '.') s.pop_back();
  }
  return s;
}

std::string duration(double us) {
  if (us < 1000) return number(us) + " us";
  return us < 1e6 ? number(us / 1e3) + " ms" : number(us / 1e6) + " s";
}

double round_up_nice(double v) {
  if (!(v > 0) || !std::isfinite(v)) return 1;
  const double unit = std::pow(10.0, std::floor(std::log10(v)));
  for (const double f : {1.0, 2.0, 2.5, 5.0})
    if (v <= f * unit * (1 + 1e-9)) return f * unit;
  return 10 * unit;
}

std::string joined(const std::vector<std::string>& parts, std::string_view between) {
  return fmt::format("{}", fmt::join(parts, between));
}

}  // namespace kf::report
