#include "bench/report/scp03t_report.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace kf::bench {
namespace {

std::optional<Spread> over(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    if (b[i] > 0 && a[i] > 0) ratios.push_back(a[i] / b[i]);
  if (ratios.empty()) return std::nullopt;
  return spread(std::move(ratios));
}

OrderedJson to_json(const std::optional<Spread>& s) {
  if (!s) return nullptr;
  return rounded(s->median);
}

OrderedJson spread_json(const std::vector<double>& v) {
  const Spread s = spread(v);
  return {{"median", rounded(s.median)}, {"low", rounded(s.low)}, {"high", rounded(s.high)}, {"rounds", v.size()}};
}

}  // namespace

const SealRow* Scp03tReport::row(std::size_t bytes, std::size_t in_flight, std::string_view e) const {
  for (const SealRow& x : seal)
    if (x.bytes == bytes && x.in_flight == in_flight && x.engine == e) return &x;
  return nullptr;
}

std::optional<Spread> seal_ratio(const Scp03tReport& r, std::size_t bytes, std::size_t in_flight,
                                 std::string_view engine) {
  const SealRow* a = r.row(bytes, in_flight, engine);
  const SealRow* b = r.row(bytes, in_flight, kNaive);
  if (a == nullptr || b == nullptr) return std::nullopt;
  return over(a->bytes_per_cpu_s, b->bytes_per_cpu_s);
}

std::optional<Spread> path_ratio(const Scp03tReport& r) {
  const StepRow* naive = nullptr;
  const StepRow* product = nullptr;
  for (const StepRow& x : r.path) {
    if (x.step != "all") continue;
    (x.way == kNaive ? naive : product) = &x;
  }
  if (naive == nullptr || product == nullptr) return std::nullopt;
  return over(naive->ns_per_byte, product->ns_per_byte);
}

OrderedJson to_json(const Scp03tReport& r) {
  constexpr std::size_t kHeadline = 16 * 1024;
  OrderedJson by_engine = OrderedJson::object();
  for (const auto& e : r.engines) by_engine[e] = to_json(seal_ratio(r, kHeadline, 1024, e));
  OrderedJson ratios{{"seal_vs_naive", to_json(seal_ratio(r, kHeadline, 1024, r.engine))},
                     {"path_vs_naive", to_json(path_ratio(r))},
                     {"seal_vs_naive_64", to_json(seal_ratio(r, kHeadline, 64, r.engine))},
                     {"one_download_vs_naive", to_json(seal_ratio(r, kHeadline, 1, r.engine))},
                     {"seal_vs_naive_by_engine", std::move(by_engine)}};
  OrderedJson seal = OrderedJson::array();
  for (const SealRow& x : r.seal) {
    OrderedJson j{{"bytes", x.bytes},
                  {"in_flight", x.in_flight},
                  {"engine", x.engine},
                  {"bytes_per_cpu_s", spread_json(x.bytes_per_cpu_s)}};
    if (x.engine != kNaive && x.engine != kCopy) j["vs_naive"] = to_json(seal_ratio(r, x.bytes, x.in_flight, x.engine));
    seal.push_back(std::move(j));
  }
  OrderedJson path = OrderedJson::array();
  for (const StepRow& x : r.path)
    path.push_back({{"way", x.way}, {"step", x.step}, {"ns_per_byte", spread_json(x.ns_per_byte)}});
  return {
      {"version", r.version},
      {"commit", r.commit},
      {"build", r.build},
      {"started", r.started},
      {"command", r.command},
      {"interrupted", r.interrupted},
      {"machine", to_json(r.machine)},
      {"other_cpus", rounded(r.other_cpus)},
      {"engine", r.engine},
      {"key_bits", r.key_bits},
      {"rounds", r.rounds},
      {"ratios", std::move(ratios)},
      {"seal", std::move(seal)},
      {"path",
       {{"bytes", r.path_bytes},
        {"downloads", r.path_downloads},
        {"batch", r.path_batch},
        {"memory_in_flight_bytes", r.path_memory_bytes},
        {"steps", std::move(path)}}},
      {"derive_ns_per_download", {{"naive", rounded(r.derive_naive_ns)}, {"product", rounded(r.derive_product_ns)}}},
      {"left_out", r.left_out},
      {"results", {{"checked", r.checked}, {"wrong", r.wrong}}}};
}

}  // namespace kf::bench
