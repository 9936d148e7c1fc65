#include "bench/report/parts.hpp"

#include <algorithm>

#include "host/base/text.hpp"

namespace kf::bench {

using report::number;

Quantiles quantiles_of(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return {percentile(v, 50), percentile(v, 95), percentile(v, 99), v.empty() ? 0 : v.back()};
}

report::Cell verdict(bool clean, std::string_view what) {
  return {fmt::format("{}: {}", clean ? "Clean" : "Not clean", what), clean ? report::Tone::good : report::Tone::bad};
}

report::Section failed(std::string title, const std::map<std::string, std::uint64_t>& failures) {
  report::Facts f;
  for (const auto& [what, n] : failures) f.rows.push_back({what, count_of(n)});
  return {std::move(title), "", {std::move(f)}};
}

report::Chart powers_of_two(std::string title, const std::vector<std::pair<double, double>>& counts,
                            std::string_view word, bool microseconds) {
  report::Bars out;
  double last = -1;
  for (const auto& [value, count] : counts) {
    double from = value < 1 ? 0 : 1;
    while (from >= 1 && from * 2 <= value) from *= 2;
    if (out.data.empty() || from != last) {
      out.data.push_back({microseconds ? "from " + report::duration(from)
                          : from <= 1  ? number(from)
                                       : number(from) + " to " + number(from * 2 - 1)});
      last = from;
    }
    out.data.back().value += count;
  }
  for (auto& b : out.data) b.text = number(b.value);
  if (!out.data.empty()) {
    const bool one = out.data.front().value == 1;
    out.data.front().text += " " + std::string(word.substr(0, word.size() - (!one                     ? 0
                                                                             : word.ends_with("ches") ? 2
                                                                                                      : 1)));
  }
  return {std::move(title), std::move(out), true};
}

report::Chart powers_of_two(std::string title, const Distribution& d, std::string_view word, bool microseconds) {
  std::vector<std::pair<double, double>> counts;
  for (const auto& b : d.bars) counts.emplace_back(static_cast<double>(b.low), static_cast<double>(b.count));
  const auto text = [&](double v) { return microseconds ? report::duration(v) : number(v); };
  return powers_of_two(
      fmt::format("{}: mean {}, p50 {}, p99 {}", title, text(d.mean()), text(d.percentile(50)), text(d.percentile(99))),
      counts, word, microseconds);
}

report::Chart columns_of(std::string title, const std::vector<Bin>& bins, const std::string& unit,
                         const std::string& word, const Quantiles& marks, int height) {
  report::Columns c{{}, {unit, 0, bins.empty() ? 1 : bins.back().high}, word + "s"};
  for (const Bin& b : bins)
    c.data.push_back({static_cast<double>(b.count), fmt::format("{} to {} {}", number(b.low), number(b.high), unit),
                      counted(b.count, word)});
  for (const auto& [name, at] : {std::pair{"p50", marks.p50}, {"p95", marks.p95}, {"p99", marks.p99}})
    if (at <= c.x.high) c.marks.push_back({at, fmt::format("{} {} {}", name, number(at), unit)});
  c.height = height;
  return {std::move(title), std::move(c)};
}

}  // namespace kf::bench
