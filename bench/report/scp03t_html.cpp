// The report of `keyferry-bench scp03t` as one HTML file.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "bench/report/page.hpp"
#include "bench/report/scp03t_report.hpp"
#include "bench/report/svg.hpp"

namespace kf::bench {
namespace {

using svg::escape;
using svg::number;

std::string factor(const std::optional<Spread>& s) { return s ? fmt::format("{:.1f}", s->median) : "–"; }

std::string css_of(const Scp03tReport& r, std::string_view engine) {
  return engine == r.engine ? "c1" : engine == kNaive ? "c3" : engine == kCopy ? "c3" : "c2";
}

void head(Page& p, const Scp03tReport& r) {
  p.add("<h1>Keyferry SCP03t report</h1><p class=\"dim\">Engine {}. {}. keyferry {} ({}).{}</p>", escape(r.engine),
        escape(r.started), escape(r.version), escape(r.commit),
        r.interrupted ? " <b class=\"bad\">Interrupted.</b>" : "");
  p.add("<div class=\"tiles\">");
  p.tile(factor(seal_ratio(r, 16384, 1024, r.engine)), "times the naive loop: 1024 downloads of 16 KiB");
  p.tile(factor(seal_ratio(r, 16384, 64, r.engine)), "times the naive loop: 64 downloads of 16 KiB");
  p.tile(factor(seal_ratio(r, 16384, 1, r.engine)), "times the naive loop: one download of 16 KiB");
  p.tile(factor(path_ratio(r)), "times the naive path from the template to the SOAP body");
  p.add("</div>");
  p.add("<p class=\"small dim\"><b class=\"{}\">{}</b>: {} packages compared octet for octet, {} wrong.</p>",
        r.clean() ? "ok" : "bad", r.clean() ? "Clean" : "Not clean", number(static_cast<double>(r.checked)), r.wrong);
}

std::vector<svg::Line> lines_of(const Scp03tReport& r, std::size_t bytes, double& most) {
  std::vector<svg::Line> lines;
  std::set<std::size_t> flights;
  for (const SealRow& x : r.seal)
    if (x.bytes == bytes) flights.insert(x.in_flight);
  std::vector<std::string> names{std::string(kNaive)};
  names.insert(names.end(), r.engines.begin(), r.engines.end());
  for (const auto& e : names) {
    svg::Line line;
    line.label = e;
    line.css = css_of(r, e);
    for (const std::size_t n : flights)
      if (const SealRow* x = r.row(bytes, n, e)) {
        const double y = spread(x->bytes_per_cpu_s).median / 1e9;
        const double at = std::log2(static_cast<double>(n));
        most = std::max(most, at);
        line.points.push_back({at, y, fmt::format("{}: {} in flight, {:.2f} GB/s", e, n, y)});
      }
    if (!line.points.empty()) lines.push_back(std::move(line));
  }
  return lines;
}

// A drawing for each size of package, all on one scale.
void by_downloads(Page& p, const Scp03tReport& r) {
  std::map<std::size_t, std::vector<svg::Line>> drawings;
  std::vector<svg::Line> all;
  double most = 1;
  for (const SealRow& x : r.seal) {
    if (drawings.count(x.bytes) != 0) continue;
    auto& lines = drawings[x.bytes] = lines_of(r, x.bytes, most);
    all.insert(all.end(), lines.begin(), lines.end());
  }
  const svg::Range scale = svg::range_of(all);
  for (const auto& [bytes, lines] : drawings) {
    if (lines.empty()) continue;
    p.add("<p class=\"small\"><b>{} KiB</b></p>", bytes / 1024);
    p.raw(svg::lines(lines, {"log2 of downloads in flight", 0, most}, "GB a CPU second", 230, scale));
  }
}

void path(Page& p, const Scp03tReport& r) {
  if (r.path.empty()) return;
  p.open("From the template to the SOAP body",
         fmt::format("{} downloads of {} bytes, {} at a time ({:.1f} MiB in flight); CPU time of one thread for a byte "
                     "of the package. Session keys are not in it: naive {:.2f} us, product {:.2f} us a download.",
                     r.path_downloads, r.path_bytes, r.path_batch, static_cast<double>(r.path_memory_bytes) / (1 << 20),
                     r.derive_naive_ns / 1e3, r.derive_product_ns / 1e3));
  double most = 0;  // of both ways: a bar means the same in either drawing
  for (const StepRow& x : r.path) most = std::max(most, spread(x.ns_per_byte).high);
  for (const std::string_view way : {kNaive, std::string_view("product")}) {
    std::vector<svg::Bar> bars;
    for (const StepRow& x : r.path) {
      if (x.way != way) continue;
      const Spread s = spread(x.ns_per_byte);
      bars.push_back(
          {x.step, s.median, fmt::format("{:.3f} ns a byte", s.median), way == kNaive ? "c3" : "c1", s.low, s.high});
    }
    p.add("<p class=\"small\"><b>{}</b></p>", way);
    p.raw(svg::bars(bars, most, 150, 190));
  }
  p.close();
}

}  // namespace

std::string to_html(const Scp03tReport& r) {
  Page p("Keyferry SCP03t");
  head(p, r);
  p.open("Sealed plaintext in a CPU second",
         "By downloads in flight. The naive loop sets contexts and keys once a download and makes one EVP call a "
         "segment and mode.");
  by_downloads(p, r);
  p.close();
  path(p, r);
  p.open("All numbers",
         "Gigabytes of plaintext a CPU second: median, lowest, highest; and over the naive loop. Copy: "
         "the same octets copied once.");
  p.table(1, {"engine", "bytes", "in flight", "GB/CPU-s", "low", "high", "times naive"});
  for (const SealRow& x : r.seal) {
    const Spread s = spread(x.bytes_per_cpu_s);
    p.row({x.engine, std::to_string(x.bytes), std::to_string(x.in_flight), fmt::format("{:.2f}", s.median / 1e9),
           fmt::format("{:.2f}", s.low / 1e9), fmt::format("{:.2f}", s.high / 1e9),
           factor(seal_ratio(r, x.bytes, x.in_flight, x.engine))});
  }
  p.end_table();
  for (const auto& l : r.left_out) p.add("<p class=\"small dim\">Left out: {}</p>", escape(l));
  p.close();
  p.open("Machine and configuration", "");
  p.add("<table>");
  p.facts(r.machine);
  p.fact("other programs", fmt::format("kept {:.2f} CPUs busy during the run", r.other_cpus));
  p.fact("build", fmt::format("keyferry {} ({}), {}", r.version, r.commit, r.build));
  p.fact("command", r.command);
  p.fact("rounds", fmt::format("{}, interleaved; AES-{} keys", r.rounds, r.key_bits));
  p.add("</table>");
  p.close();
  return p.take();
}

}  // namespace kf::bench
