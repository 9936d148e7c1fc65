// The burst report as one HTML file.
#include <algorithm>

#include "bench/report/burst_report.hpp"
#include "bench/report/numbers.hpp"
#include "bench/report/page.hpp"
#include "bench/report/svg.hpp"
#include "host/base/text.hpp"

namespace kf::bench {
namespace {

using svg::escape;
using svg::number;

void head(Page& p, const BurstReport& r, const std::vector<double>& sorted) {
  p.add(
      "<h1>Keyferry burst report</h1><p class=\"dim\">{}, {} in flight, custody {}, {}, profile {} ({} "
      "bytes), {}. "
      "keyferry {} ({}).{}</p>",
      counted(r.requested, "download"), r.concurrency, escape(r.custody), escape(r.curve), escape(r.profile_name),
      number(static_cast<double>(r.profile_bytes)), escape(r.started), escape(r.version), escape(r.commit),
      r.interrupted ? " <b class=\"bad\">Interrupted.</b>" : "");
  p.add("<div class=\"tiles\">");
  p.tile(r.completed == 0 ? "–" : number(r.downloads_per_s()), "downloads per second");
  p.tile(r.ratio() > 0 ? fmt::format("{:.2f}×", r.ratio()) : "–", "SM-DP CPU time against the crypto floor");
  p.tile(r.completed == 0 ? "–"
                          : fmt::format("{:.0f} / {:.0f} / {:.0f}", percentile(sorted, 50), percentile(sorted, 95),
                                        percentile(sorted, 99)),
         "ms latency, p50 / p95 / p99", "long");
  p.tile(fmt::format("{} / {}", r.euicc_verified, r.requested), "profiles verified at their eUICC",
         r.clean() ? "long ok" : "long bad");
  p.add("</div>");
  p.add("<p class=\"small dim\">{} completed ({} with warning), {} failed, {} ISD-P left in state Created.</p>",
        r.completed, r.with_warning, r.failed, r.isdp_left_created);
  if (r.failed != 0) {
    p.open("Outcomes", "");
    p.add("<table>");
    for (const auto& [what, count] : r.outcomes)
      p.add("<tr><td class=\"n\">{}</td><td>{}</td></tr>", count, escape(what));
    p.add("</table>");
    p.close();
  }
}

void latency(Page& p, const std::vector<double>& sorted) {
  const auto bins = latency_bins(sorted);
  if (bins.empty()) return;
  p.open("Latency",
         "From sending the order to having its outcome at the Operator, completed downloads. The last column takes "
         "everything "
         "beyond.");
  std::vector<svg::Column> data;
  for (const auto& b : bins)
    data.push_back({static_cast<double>(b.count),
                    fmt::format("{} to {} ms: {}", number(b.low), number(b.high), counted(b.count, "download"))});
  const auto mark = [&](const char* name, double at) { return svg::Mark{at, fmt::format("{} {:.0f} ms", name, at)}; };
  p.raw(svg::columns(
      data, {"ms", 0, bins.back().high}, "downloads",
      {mark("p50", percentile(sorted, 50)), mark("p95", percentile(sorted, 95)), mark("p99", percentile(sorted, 99))}));
  p.close();
}

void over_time(Page& p, const BurstReport& r) {
  const Timeline t = timeline(r);
  if (t.completed_per_s.empty()) return;
  const double end = t.step_s * static_cast<double>(t.completed_per_s.size());
  p.open("Over time", fmt::format("Steps of {} s from the first order.", number(t.step_s)));
  std::vector<svg::Column> done;
  std::vector<svg::Column> flying;
  for (std::size_t i = 0; i < t.completed_per_s.size(); ++i) {
    const std::string at = number(t.step_s * static_cast<double>(i)) + " s: ";
    done.push_back({t.completed_per_s[i], at + number(t.completed_per_s[i]) + " completed a second"});
    flying.push_back({t.in_flight[i], at + number(t.in_flight[i]) + " in flight"});
  }
  p.raw(svg::columns(done, {"s", 0, end}, "outcomes a second", {}, 190));
  p.raw(svg::area(flying, {"s", 0, end}, "orders in flight", 140));
  p.close();
}

void cpu(Page& p, const BurstReport& r) {
  const double n = static_cast<double>(std::max<std::uint64_t>(r.completed, 1));
  p.open("Where the CPU time went",
         fmt::format("The SM-DP (server and HSM workers) used {:.2f} CPU seconds: {:.2f} ms a download, {:.1f} "
                     "downloads per CPU second. Grey: "
                     "the test equipment on the same machine, which is not part of it.",
                     r.smdp_cpu_s, r.cpu_s_per_download() * 1e3,
                     r.smdp_cpu_s > 0 ? static_cast<double>(r.completed) / r.smdp_cpu_s : 0.0));
  std::vector<svg::Bar> bars;
  double most = 0;
  for (const auto& c : r.cpu) {
    most = std::max(most, c.cpu_s);
    const std::string share = c.smdp && r.smdp_cpu_s > 0 ? fmt::format(", {:.1f} %", 100 * c.cpu_s / r.smdp_cpu_s) : "";
    bars.push_back(
        {c.label, c.cpu_s, fmt::format("{:.3f} ms a download{}", c.cpu_s / n * 1e3, share), c.smdp ? "c1" : "c3"});
  }
  p.raw(svg::bars(bars, most));
  p.close();

  const CryptoFloor& f = r.floor;
  if (!(f.total_s() > 0)) return;
  p.open("Crypto floor",
         fmt::format(
             "{:.3f} ms a download is what the cryptography alone costs on these engines; the SM-DP spent {:.2f} times "
             "that. {}",
             f.total_s() * 1e3, r.ratio(), escape(f.method)));
  const auto part = [](std::string label, double s) {
    return svg::Bar{std::move(label), s, fmt::format("{:.3f} ms", s * 1e3), "c1"};
  };
  p.raw(svg::bars(
      {part("verify CERT.ECASD, " + f.verify_engine, f.verify_s), part("sign, " + f.sign_engine, f.sign_s),
       part("key pair and ECDH, " + f.ephemeral_engine, f.ephemeral_s), part("KDF and receipt", f.kdf_s),
       part("SCP03t seal", f.seal_s), svg::Bar{"floor", f.total_s(), fmt::format("{:.3f} ms", f.total_s() * 1e3), "c2"},
       svg::Bar{"SM-DP, really spent", r.cpu_s_per_download(), fmt::format("{:.3f} ms", r.cpu_s_per_download() * 1e3),
                "c3"}},
      std::max(f.total_s(), r.cpu_s_per_download())));
  p.close();
}

void engines(Page& p, const BurstReport& r) {
  p.open("Engines", "Elliptic-curve operations by engine, and how many requests one submission carried.");
  p.add("<table><tr><th>operation</th><th>engine</th><th class=\"n\">count</th></tr>");
  for (const auto& [op, by_engine] : r.operations.items())
    for (const auto& [engine, count] : by_engine.items())
      p.add("<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>", escape(op), escape(engine),
            number(count.get<double>()));
  p.add("</table><div class=\"two\">");
  for (const auto& [engine, h] : r.batch_size.items()) {
    if (h.value("count", 0) == 0) continue;
    p.add("<div><p class=\"small\"><b>{}</b>: {} batches, mean {:.2f}, p95 {}, max {}</p>", escape(engine),
          number(h.value("count", 0.0)), h.value("mean", 0.0), h.value("p95", 0), h.value("max", 0));
    std::vector<std::pair<double, double>> counts;
    for (const auto& b : h.value("bars", Json::array())) counts.emplace_back(b.at(0), b.at(1));
    p.raw(svg::powers_of_two(counts, "batches"));
    p.add("</div>");
  }
  p.add("</div><p class=\"small dim\">SCP03t: {} bytes in {} segments, {} MiB per CPU second.</p>",
        number(static_cast<double>(r.scp03t_bytes)), number(static_cast<double>(r.scp03t_segments)),
        number(r.scp03t_cpu_s > 0 ? static_cast<double>(r.scp03t_bytes) / r.scp03t_cpu_s / kMiB : 0));
  p.close();
}

void cores(Page& p, const BurstReport& r) {
  const Json all = r.cores.value("cores", Json::array());
  if (all.empty()) return;
  p.open("ECC cores",
         "Key pairs are made ahead inside a core, serve one agreement there and are erased by it. A core in "
         "keyferry-ecc-sim is simulated: its speed says nothing about an FPGA's.");
  // A row for each count and a column for each core: few cores, many counts.
  p.add("<table><tr><th></th>");
  for (std::size_t i = 0; i < all.size(); ++i)
    p.add("<th class=\"n\">core {} ({})</th>", i, escape(all[i].value("state", "")));
  p.add("</tr>");
  const auto row = [&](const char* name, const auto& value, bool bad_unless_zero) {
    p.add("<tr><th>{}</th>", name);
    for (const Json& c : all) {
      const double n = value(c);
      p.add("<td class=\"n{}\">{}</td>", bad_unless_zero && n != 0 ? " bad" : "", number(n));
    }
    p.add("</tr>");
  };
  const auto member = [](const char* key) { return [key](const Json& c) { return c.value(key, 0.0); }; };
  p.add("<tr><th>where</th>");
  for (const Json& c : all) p.add("<td class=\"n\">{}</td>", escape(c.value("where", "")));
  p.add("</tr>");
  row("key pairs", member("generated"), false);
  row("agreements", member("agreed"), false);
  row("verifications", member("verified"), false);
  row("batches", member("batches"), false);
  row("known answers right", member("known_answers"), false);
  row("exceptional cases", member("exceptions"), false);
  row(
      "faults", [](const Json& c) { return static_cast<double>(core_faults(c)); }, true);
  row("wrong cycle counts", member("cycle_gate_faults"), true);
  row("impossible completions", member("bad_completions"), true);
  row("losses", member("losses"), true);
  p.add("</table>");
  p.close();
}

void facts(Page& p, const BurstReport& r) {
  std::string faults;
  for (const auto& f : r.faults) faults += (faults.empty() ? "" : ", ") + f;
  p.open("Machine and configuration", "");
  p.add("<table>");
  p.facts(r.machine);
  p.fact("other programs", fmt::format("kept {:.2f} CPUs busy during the run", r.other_cpus));
  p.fact("build", fmt::format("keyferry {} ({}), {}", r.version, r.commit, r.build));
  p.fact("custody", r.custody);
  for (const auto& [op, engines] : r.routes.items()) {
    std::string names;
    for (const auto& e : engines) names += (names.empty() ? "" : ", ") + e.get<std::string>();
    p.fact(("engines for " + op).c_str(), names);
  }
  p.fact("curve", r.curve);
  p.fact("HSM workers", std::to_string(r.hsm_workers));
  p.fact("orders in flight", std::to_string(r.concurrency));
  p.fact("answers to the Operator", r.pattern);
  p.fact("enabling ordered", r.enable ? "yes" : "no");
  p.fact("simulated radio", r.radio);
  p.fact("faults injected", faults.empty() ? "none" : faults);
  for (const auto& s : r.settings) p.fact("--set", s);
  p.fact("profile", fmt::format("{}, {} bytes, {} elements", r.profile_name, r.profile_bytes, r.profile_elements));
  p.fact("SM-DP peak memory",
         fmt::format("{:.1f} MiB, server and workers", static_cast<double>(r.smdp_peak_rss_bytes) / kMiB));
  p.fact("peak in flight", std::to_string(r.peak_in_flight));
  p.fact("wall time", fmt::format("{:.2f} s", r.wall_s));
  p.add("</table>");
  p.close();
}

}  // namespace

std::string to_html(const BurstReport& r) {
  std::vector<double> sorted = r.latency_ms;
  std::sort(sorted.begin(), sorted.end());
  Page p(fmt::format("Keyferry burst: {}, {}", counted(r.requested, "download"), r.custody));
  head(p, r, sorted);
  latency(p, sorted);
  over_time(p, r);
  cpu(p, r);
  engines(p, r);
  cores(p, r);
  facts(p, r);
  return p.take();
}

}  // namespace kf::bench
