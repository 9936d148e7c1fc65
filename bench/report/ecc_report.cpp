#include "bench/report/ecc_report.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kf::bench {
namespace {

OrderedJson number_or_null(double v) { return v > 0 ? OrderedJson(rounded(v)) : OrderedJson(nullptr); }

}  // namespace

double EccRow::cycles_per_op() const { return over(static_cast<double>(cycles), static_cast<double>(jobs)); }
double EccRow::multiplier_use() const {
  return over(static_cast<double>(mul_issued * ii), static_cast<double>(cycles));
}
double EccRow::slot_use() const { return over(static_cast<double>(mul_issued), static_cast<double>(mul_slots)); }
double EccRow::busy() const { return over(static_cast<double>(busy_cycles), static_cast<double>(cycles)); }
double EccRow::ops_per_cpu_s() const { return over(static_cast<double>(jobs), cpu_s); }

double worst_cycles(const EccReport& r, std::string_view operation, std::string_view curve) {
  double worst = 0;
  for (const auto& x : r.rows)
    if (x.operation == operation && (curve.empty() || x.curve == curve)) worst = std::max(worst, x.cycles_per_op());
  return worst;
}

double worst_use(const EccReport& r, std::string_view operation) {
  double worst = 0;
  for (const auto& x : r.rows)
    if (x.operation == operation && (worst == 0 || x.multiplier_use() < worst)) worst = x.multiplier_use();
  return worst;
}

double worst_rate(const EccReport& r, std::string_view style, std::string_view operation) {
  double worst = 0;
  for (const auto& x : r.rows)
    if (x.style == style && x.operation == operation && (worst == 0 || x.ops_per_cpu_s() < worst))
      worst = x.ops_per_cpu_s();
  return worst;
}

OrderedJson to_json(const EccReport& r) {
  OrderedJson cycles, curves = OrderedJson::object(), uses, rates = OrderedJson::object();
  double use = 0;
  for (const auto op : kEccOperations) {
    cycles[std::string(op)] = number_or_null(worst_cycles(r, op));
    const double u = worst_use(r, op);
    uses[std::string(op)] = number_or_null(u);
    if (u > 0 && (use == 0 || u < use)) use = u;
  }
  for (const auto& curve : r.curves)
    for (const auto op : kEccOperations) curves[curve][std::string(op)] = number_or_null(worst_cycles(r, op, curve));
  OrderedJson cores = OrderedJson::array();
  for (const auto& c : r.cores) {
    for (const auto op : kEccOperations) rates[c.style][std::string(op)] = number_or_null(worst_rate(r, c.style, op));
    cores.push_back({{"style", c.style},
                     {"model", c.model},
                     {"ii", c.ii},
                     {"n", c.contexts},
                     {"build", fmt::format("{:08X}", c.build)},
                     {"start_cycles", c.start_cycles},
                     {"start_cpu_s", rounded(c.start_cpu_s)}});
  }
  OrderedJson rows = OrderedJson::array();
  for (const auto& x : r.rows)
    rows.push_back({{"style", x.style},
                    {"curve", x.curve},
                    {"operation", x.operation},
                    {"jobs", x.jobs},
                    {"batches", x.batches},
                    {"cycles", x.cycles},
                    {"cycles_per_op", rounded(x.cycles_per_op())},
                    {"batch_cycles", x.batch_cycles},
                    {"multiplier_use", rounded(x.multiplier_use())},
                    {"multiplier_slot_use", rounded(x.slot_use())},
                    {"busy", rounded(x.busy())},
                    {"cpu_s", rounded(x.cpu_s)},
                    {"ops_per_cpu_s", rounded(x.ops_per_cpu_s())}});
  OrderedJson failures = OrderedJson::object();
  for (const auto& [what, n] : r.failures) failures[what] = n;
  return {{"version", r.version},
          {"commit", r.commit},
          {"build", r.build},
          {"started", r.started},
          {"command", r.command},
          {"seed", r.seed},
          {"interrupted", r.interrupted},
          {"machine", to_json(r.machine)},
          {"other_cpus", rounded(r.other_cpus)},
          {"n", r.cores.empty() ? 0 : r.cores.front().contexts},
          {"ii", r.cores.empty() ? 0 : r.cores.front().ii},
          {"cycles_per_op", std::move(cycles)},
          {"curves", std::move(curves)},
          {"multiplier_use", number_or_null(use)},
          {"multiplier_use_by_operation", std::move(uses)},
          {"ops_per_cpu_s", std::move(rates)},
          {"jobs", r.jobs},
          {"warm_up_batches", r.warm_up_batches},
          {"memory_latency", r.latency},
          {"cores", std::move(cores)},
          {"rows", std::move(rows)},
          {"results", {{"answers", r.answers}, {"wrong", r.wrong}, {"failures", std::move(failures)}}}};
}

}  // namespace kf::bench
