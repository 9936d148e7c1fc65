// What the documents of all benchmarks say alike. Pure.
#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/report/machine.hpp"
#include "bench/report/numbers.hpp"
#include "host/report/document.hpp"
#include "host/report/wording.hpp"

namespace kf::bench {

inline std::string count_of(std::uint64_t n) { return report::number(static_cast<double>(n)); }
inline std::string percent(double v) { return fmt::format("{:.2f} %", 100 * v); }
inline std::string of_two(double v) { return fmt::format("{:.2f}", v); }

struct Quantiles {
  double p50 = 0, p95 = 0, p99 = 0, most = 0;
};
Quantiles quantiles_of(std::vector<double> v);

report::Cell verdict(bool clean, std::string_view what);  // "Clean: ..." or "Not clean: ..."
report::Section failed(std::string title, const std::map<std::string, std::uint64_t>& failures);

// Counts by value as bars of 1, 2 to 3, 4 to 7 ...; pairs of value and count in rising order. `word` names what is
// counted, in the plural. Half as wide as a card.
report::Chart powers_of_two(std::string title, const std::vector<std::pair<double, double>>& counts,
                            std::string_view word, bool microseconds = false);
report::Chart powers_of_two(std::string title, const Distribution& d, std::string_view word, bool microseconds = false);
// Bins as columns with marks at p50, p95 and, where it lies within, p99.
report::Chart columns_of(std::string title, const std::vector<Bin>& bins, const std::string& unit,
                         const std::string& word, const Quantiles& marks, int height);

template <class Report>
report::Document document_of(const Report& r, std::string title, const std::string& lead) {
  report::Document d;
  d.title = std::move(title);
  d.lead = fmt::format("{}, {}. keyferry {} ({}).", lead, r.started, r.version, r.commit);
  if (r.interrupted) d.alert = "The run was interrupted: this is what was measured until then.";
  return d;
}

template <class Report>
report::Section configuration(const Report& r, std::vector<report::Fact> own) {
  constexpr double kGiB = 1024 * kMiB;
  std::vector<report::Fact> rows{{"machine", fmt::format("{} × {}, {:.1f} GiB", r.machine.cores, r.machine.cpu,
                                                         static_cast<double>(r.machine.memory_bytes) / kGiB)},
                                 {"system", r.machine.os + ", " + r.machine.kernel},
                                 {"other programs", fmt::format("kept {:.2f} CPUs busy during the run", r.other_cpus)},
                                 {"build", fmt::format("keyferry {} ({}), {}", r.version, r.commit, r.build)}};
  rows.insert(rows.end(), own.begin(), own.end());
  return {"Machine and configuration", "", {report::Facts{std::move(rows)}}};
}

}  // namespace kf::bench
