// What `keyferry-bench scp03t` found, as a document.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "bench/report/parts.hpp"
#include "bench/report/scp03t_report.hpp"

namespace kf::bench {
namespace {

using report::Hue;
using report::Section;
using report::Table;

std::string times(const std::optional<Spread>& s) {
  return s ? fmt::format("{:.2f} ({:.2f} to {:.2f})", s->median, s->low, s->high) : "–";
}

report::Document scp03t_head(const Scp03tReport& r) {
  report::Document d = document_of(
      r, "Keyferry SCP03t report",
      fmt::format("{} is the engine that the product takes here; AES-{} keys, medians of {} interleaved rounds",
                  r.engine, r.key_bits, r.rounds));
  d.tiles = {{times(seal_ratio(r, 16384, 1024, r.engine)), "times the naive loop: 1024 downloads of 16 KiB"},
             {times(seal_ratio(r, 16384, 64, r.engine)), "times the naive loop: 64 downloads of 16 KiB"},
             {times(seal_ratio(r, 16384, 1, r.engine)), "times the naive loop: one download of 16 KiB"},
             {times(path_ratio(r)), "times the naive path from the template to the SOAP body"}};
  d.summary.push_back(verdict(r.clean(), fmt::format("{} packages compared octet for octet with the naive loop's: {} "
                                                     "wrong.",
                                                     count_of(r.checked), r.wrong)));
  return d;
}

std::string gigabytes(const SealRow* x) { return x == nullptr ? "–" : of_two(spread(x->bytes_per_cpu_s).median / 1e9); }

// The engines side by side.
Table by_engine(const Scp03tReport& r) {
  Table t{{"bytes", "in flight", "naive"}, {}, 0, "Gigabytes of plaintext sealed in a CPU second"};
  t.head.insert(t.head.end(), r.engines.begin(), r.engines.end());
  t.head.insert(t.head.end(), {"copy", "best/naive"});
  std::set<std::pair<std::size_t, std::size_t>> done;
  for (const SealRow& x : r.seal) {
    if (!done.insert({x.bytes, x.in_flight}).second) continue;
    std::vector<report::Cell> row{std::to_string(x.bytes), std::to_string(x.in_flight),
                                  gigabytes(r.row(x.bytes, x.in_flight, kNaive))};
    for (const auto& e : r.engines) row.emplace_back(gigabytes(r.row(x.bytes, x.in_flight, e)));
    const auto ratio = seal_ratio(r, x.bytes, x.in_flight, r.engine);
    row.emplace_back(gigabytes(r.row(x.bytes, x.in_flight, kCopy)));
    row.emplace_back(ratio ? fmt::format("{:.1f}", ratio->median) : "–");
    t.rows.push_back(std::move(row));
  }
  return t;
}

// A drawing for each size of package, all on one scale.
Section by_downloads(const Scp03tReport& r) {
  std::map<std::size_t, report::Lines> drawings;
  std::vector<report::Line> all;
  double most = 1;
  std::vector<std::string> names{std::string(kNaive)};
  names.insert(names.end(), r.engines.begin(), r.engines.end());
  std::map<std::size_t, std::set<std::size_t>> flights;  // by size
  for (const SealRow& x : r.seal) flights[x.bytes].insert(x.in_flight);
  for (const auto& [bytes, in_flight] : flights)
    for (const auto& e : names) {
      report::Line line{e, e == r.engine ? Hue::first : e == kNaive ? Hue::grey : Hue::second, {}};
      for (const std::size_t n : in_flight)
        if (const SealRow* x = r.row(bytes, n, e)) {
          const double y = spread(x->bytes_per_cpu_s).median / 1e9, at = std::log2(static_cast<double>(n));
          most = std::max(most, at);
          line.points.push_back({at, y, fmt::format("{} in flight", n), fmt::format("{:.2f} GB/s", y)});
        }
      if (line.points.empty()) continue;
      all.push_back(line);
      drawings[bytes].data.push_back(std::move(line));
    }
  Section s{"Sealed plaintext in a CPU second",
            "By downloads in flight. The naive loop sets contexts and keys once a download and makes one EVP call a "
            "segment and mode. Copy: the same octets copied once.",
            {}};
  for (auto& [bytes, lines] : drawings) {
    lines.x = {"log2 of downloads in flight", 0, most};
    lines.y_unit = "GB a CPU second";
    lines.scale = report::range_of(all);
    lines.height = 230;
    s.blocks.emplace_back(report::Chart{fmt::format("{} KiB", bytes / 1024), std::move(lines)});
  }
  s.blocks.emplace_back(by_engine(r));
  for (const auto& l : r.left_out) s.blocks.emplace_back(report::Prose{"Left out: " + l});
  return s;
}

Section path(const Scp03tReport& r) {
  Section s{"From the template to the SOAP body",
            fmt::format("{} downloads of {} bytes, {} at a time ({:.1f} MiB in flight); CPU time of one thread for a "
                        "byte of the package. Session keys and 85 are not in it: naive {:.2f} us, product {:.2f} us a "
                        "download.",
                        r.path_downloads, r.path_bytes, r.path_batch, static_cast<double>(r.path_memory_bytes) / kMiB,
                        r.derive_naive_ns / 1e3, r.derive_product_ns / 1e3),
            {}};
  double most = 0;  // of both ways: a bar means the same in either drawing
  for (const StepRow& x : r.path) most = std::max(most, spread(x.ns_per_byte).high);
  for (const std::string_view way : {kNaive, std::string_view("product")}) {
    report::Bars bars;
    for (const StepRow& x : r.path) {
      if (x.way != way) continue;
      const Spread of = spread(x.ns_per_byte);
      bars.data.push_back({x.step, of.median, fmt::format("{:.3f} ns a byte", of.median),
                           way == kNaive ? Hue::grey : Hue::first, of.low, of.high});
    }
    bars.highest = most;
    bars.in_terminal = true;
    s.blocks.emplace_back(report::Chart{std::string(way), std::move(bars)});
  }
  return s;
}

Section seal_rows(const Scp03tReport& r) {
  Table t{{"engine", "bytes", "in flight", "GB/CPU-s", "low", "high", "times naive"}, {}, 1, {}};
  for (const SealRow& x : r.seal) {
    const Spread s = spread(x.bytes_per_cpu_s);
    const auto ratio = seal_ratio(r, x.bytes, x.in_flight, x.engine);
    t.rows.push_back({x.engine, std::to_string(x.bytes), std::to_string(x.in_flight), of_two(s.median / 1e9),
                      of_two(s.low / 1e9), of_two(s.high / 1e9), ratio ? fmt::format("{:.1f}", ratio->median) : "–"});
  }
  return {"All numbers",
          "Gigabytes of plaintext sealed in a CPU second: median, lowest, highest; and over the naive loop.",
          {std::move(t)},
          true};
}

}  // namespace

report::Document document(const Scp03tReport& r) {
  report::Document d = scp03t_head(r);
  d.sections.push_back(by_downloads(r));
  if (!r.path.empty()) d.sections.push_back(path(r));
  d.sections.push_back(seal_rows(r));
  d.sections.push_back(configuration(
      r, {{"command", r.command}, {"rounds", fmt::format("{}, interleaved; AES-{} keys", r.rounds, r.key_bits)}}));
  return d;
}

}  // namespace kf::bench
