#include "host/crypto/curve.hpp"

namespace kf {
namespace {
struct Row {
  Curve curve;
  std::string_view name;
};
constexpr std::array<Row, 3> kCurves{
    {{Curve::p256, "P-256"}, {Curve::brainpool_p256r1, "brainpoolP256r1"}, {Curve::frp256v1, "FRP256v1"}}};
}  // namespace

std::string_view curve_name(Curve c) {
  for (const Row& r : kCurves)
    if (r.curve == c) return r.name;
  return "unknown";
}

std::optional<Curve> curve_by_name(std::string_view n) {
  for (const Row& r : kCurves)
    if (r.name == n) return r.curve;
  return std::nullopt;
}

std::optional<Curve> curve_by_f0(std::uint8_t f0) {
  for (const Row& r : kCurves)
    if (static_cast<std::uint8_t>(r.curve) == f0) return r.curve;
  return std::nullopt;
}
}  // namespace kf
