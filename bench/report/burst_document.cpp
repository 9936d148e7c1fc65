// What a burst found, as a document.
#include <algorithm>

#include "bench/report/burst_report.hpp"
#include "bench/report/parts.hpp"
#include "host/base/text.hpp"

namespace kf::bench {
namespace {

using report::Facts;
using report::joined;
using report::number;
using report::Section;
using report::Table;
using report::Tone;

double a_cpu_second(const BurstReport& r) {
  return r.smdp_cpu_s > 0 ? static_cast<double>(r.completed) / r.smdp_cpu_s : 0;
}

report::Document burst_head(const BurstReport& r, const Quantiles& ms) {
  report::Document d =
      document_of(r, "Keyferry burst report",
                  fmt::format("{}, {} in flight, custody {}, curve {}, pattern {}{}, profile {} ({} bytes)",
                              counted(r.requested, "download"), r.concurrency, r.custody, r.curve, r.pattern,
                              r.enable ? ", with enabling" : "", r.profile_name, count_of(r.profile_bytes)));
  if (r.completed != 0) {  // else a rate, a latency and a cost each would be numbers about nothing
    d.tiles.push_back({number(r.downloads_per_s()), "downloads per second"});
    d.tiles.push_back(
        {r.ratio() > 0 ? fmt::format("{:.2f}×", r.ratio()) : "–", "SM-DP CPU time against the crypto floor"});
    d.tiles.push_back({fmt::format("{:.0f} / {:.0f} / {:.0f}", ms.p50, ms.p95, ms.p99), "ms latency, p50 / p95 / p99"});
  }
  d.tiles.push_back({fmt::format("{} / {}", r.euicc_verified, r.requested),
                     "profiles decrypted, checked and equal at their eUICC", r.clean() ? Tone::good : Tone::bad});
  d.summary.push_back(verdict(
      r.clean(), fmt::format("{} requested, {} completed ({} with warning), {} failed, {} ISD-P left in state Created.",
                             r.requested, r.completed, r.with_warning, r.failed, r.isdp_left_created)));
  return d;
}

Section results(const BurstReport& r, const Quantiles& ms) {
  Facts f;
  if (r.completed == 0) {
    f.rows.push_back({"rate", fmt::format("none: nothing was completed in {:.2f} s", r.wall_s)});
    f.rows.push_back({"SM-DP", fmt::format("{:.2f} CPU s", r.smdp_cpu_s)});
  } else {
    f.rows.push_back({"rate", fmt::format("{:.1f} downloads/s over {:.2f} s", r.downloads_per_s(), r.wall_s)});
    f.rows.push_back({"latency", fmt::format("p50 {:.0f} ms, p95 {:.0f} ms, p99 {:.0f} ms, max {:.0f} ms", ms.p50,
                                             ms.p95, ms.p99, ms.most)});
    f.rows.push_back({"SM-DP", fmt::format("{:.2f} CPU s = {:.2f} ms a download = {:.1f} downloads per CPU second{}",
                                           r.smdp_cpu_s, r.cpu_s_per_download() * 1e3, a_cpu_second(r),
                                           r.completed < r.requested ? "; what did not complete is in it" : "")});
  }
  f.rows.push_back({"peak memory", fmt::format("{:.1f} MiB, server and HSM workers",
                                               static_cast<double>(r.smdp_peak_rss_bytes) / kMiB)});
  f.rows.push_back({"peak in flight", std::to_string(r.peak_in_flight)});
  for (const auto& [what, count] : r.outcomes) f.rows.push_back({what, count_of(count)});
  return {"Results", "", {std::move(f)}};
}

Section over_time(const BurstReport& r) {
  const Timeline t = timeline(r);
  const double end = t.step_s * static_cast<double>(t.completed_per_s.size());
  report::Columns done{{}, {"s", 0, end}, "outcomes a second", {}, 190};
  report::Columns flying{{}, {"s", 0, end}, "orders in flight", {}, 140, true};
  for (std::size_t i = 0; i < t.completed_per_s.size(); ++i) {
    const std::string at = number(t.step_s * static_cast<double>(i)) + " s";
    done.data.push_back({t.completed_per_s[i], at, number(t.completed_per_s[i]) + " a second"});
    flying.data.push_back({t.in_flight[i], at, number(t.in_flight[i]) + " in flight"});
  }
  return {"Over time",
          fmt::format("Steps of {} s from the first order.", number(t.step_s)),
          {report::Chart{"Outcomes", std::move(done)}, report::Chart{"Orders in flight", std::move(flying)}}};
}

Section cpu_time(const BurstReport& r) {
  report::Bars bars;
  bars.in_terminal = true;
  const auto add = [&](std::string label, double s, bool smdp, report::Hue hue) {
    std::string text = fmt::format("{:.3f} s", s);
    if (r.completed != 0) text += fmt::format(", {:.3f} ms a download", s / static_cast<double>(r.completed) * 1e3);
    if (smdp && r.smdp_cpu_s > 0) text += fmt::format(", {:.1f} %", 100 * s / r.smdp_cpu_s);
    bars.data.push_back({std::move(label), s, std::move(text), hue});
  };
  for (const auto& c : r.cpu)
    if (c.smdp) add(c.label, c.cpu_s, true, report::Hue::first);
  add("SM-DP, all of it", r.smdp_cpu_s, true, report::Hue::second);
  for (const auto& c : r.cpu)
    if (!c.smdp) add(c.label + " (test equipment)", c.cpu_s, false, report::Hue::grey);
  return {"Where the CPU time went",
          "The SM-DP is the server and the HSM workers. Test equipment ran on the same machine and is no part of it.",
          {report::Chart{"CPU time", std::move(bars)}}};
}

Section crypto_floor(const BurstReport& r) {
  const CryptoFloor& f = r.floor;
  report::Bars bars;
  bars.in_terminal = true;
  const auto add = [&](std::string label, double s, report::Hue hue = report::Hue::first) {
    bars.data.push_back({std::move(label), s, fmt::format("{:.3f} ms", s * 1e3), hue});
  };
  add("verify CERT.ECASD, " + f.verify_engine, f.verify_s);
  add("sign, " + f.sign_engine, f.sign_s);
  add("key pair and ECDH, " + f.ephemeral_engine, f.ephemeral_s);
  add("KDF and receipt", f.kdf_s);
  add("SCP03t seal", f.seal_s);
  add("floor", f.total_s(), report::Hue::second);
  if (r.completed != 0) add("SM-DP, really spent", r.cpu_s_per_download(), report::Hue::grey);
  return {
      "Crypto floor",
      fmt::format("{:.3f} ms a download is what the cryptography alone costs on these engines{}. {}", f.total_s() * 1e3,
                  r.completed == 0 ? "" : fmt::format("; the SM-DP spent {:.2f} times that", r.ratio()), f.method),
      {report::Chart{"CPU time of one download", std::move(bars)}}};
}

Section engines(const BurstReport& r) {
  Section s{"Engines", "Elliptic-curve operations by engine, and how many requests one submission carried.", {}};
  Table operations{{"operation", "engine", "count"}, {}, 2, {}};
  for (const auto& [op, by_engine] : r.operations.items())
    for (const auto& [engine, count] : by_engine.items())
      operations.rows.push_back({op, engine, number(count.get<double>())});
  s.blocks.emplace_back(std::move(operations));
  Table batches{{"batches", "count", "mean", "p95", "max"}, {}, 1, {}};
  Table waits{{"us in the token", "waited p50", "p99", "inside p50", "p99"}, {}, 1, {}};
  std::vector<report::Chart> charts;
  for (const auto& [engine, h] : r.batch_size.items()) {
    if (h.contains("service_us")) {
      const auto us = [&h = h](const char* what, const char* p) { return std::to_string(h[what].value(p, 0)); };
      waits.rows.push_back(
          {engine, us("queue_us", "p50"), us("queue_us", "p99"), us("service_us", "p50"), us("service_us", "p99")});
    }
    if (h.value("count", 0) == 0) continue;
    batches.rows.push_back({engine, number(h.value("count", 0.0)), of_two(h.value("mean", 0.0)),
                            std::to_string(h.value("p95", 0)), std::to_string(h.value("max", 0))});
    std::vector<std::pair<double, double>> counts;
    for (const auto& b : h.value("bars", Json::array())) counts.emplace_back(b.at(0), b.at(1));
    charts.push_back(powers_of_two("Requests in a batch, " + engine, counts, "batches"));
  }
  s.blocks.emplace_back(std::move(batches));
  s.blocks.emplace_back(std::move(waits));
  s.blocks.insert(s.blocks.end(), charts.begin(), charts.end());
  s.blocks.emplace_back(Facts{
      {{"SCP03t",
        fmt::format("{} bytes in {} segments, {} MiB per CPU second", count_of(r.scp03t_bytes),
                    count_of(r.scp03t_segments),
                    number(r.scp03t_cpu_s > 0 ? static_cast<double>(r.scp03t_bytes) / r.scp03t_cpu_s / kMiB : 0))}}});
  return s;
}

Section cores(const Json& all) {
  Facts f;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Json& c = all[i];
    const auto n = [&c](const char* key) { return c.value(key, std::uint64_t{0}); };
    const std::uint64_t odd = n("cycle_gate_faults"), impossible = n("bad_completions"), losses = n("losses");
    f.rows.push_back({fmt::format("core {}", i), fmt::format("{}, {}", c.value("state", ""), c.value("where", ""))});
    f.rows.push_back(
        {"", fmt::format("{} key pairs, {} agreements, {} verifications in {} batches, {} known answers right",
                         n("generated"), n("agreed"), n("verified"), n("batches"), n("known_answers"))});
    f.rows.push_back({"",
                      {fmt::format("{} losses, {} faults ({} wrong cycle counts), {} exceptional cases, {} completions "
                                   "that could not be right",
                                   losses, core_faults(c), odd, n("exceptions"), impossible),
                       losses + core_faults(c) + odd + impossible != 0 ? Tone::bad : Tone::plain}});
  }
  return {"ECC cores",
          "Key pairs are made ahead inside a core, serve one agreement there and are erased by it. A core in "
          "keyferry-ecc-sim is simulated: its speed says nothing about an FPGA's.",
          {std::move(f)}};
}

Section burst_configuration(const BurstReport& r) {
  std::vector<report::Fact> own{{"custody", r.custody}};
  for (const auto& [op, engines] : r.routes.items())
    own.push_back({"engines for " + op, joined(engines.get<std::vector<std::string>>())});
  own.insert(
      own.end(),
      {{"curve", r.curve},
       {"HSM workers", std::to_string(r.hsm_workers)},
       {"orders in flight", std::to_string(r.concurrency)},
       {"answers to the Operator", r.pattern},
       {"enabling ordered", r.enable ? "yes" : "no"},
       {"simulated radio", r.radio},
       {"faults injected", r.faults.empty() ? "none" : joined(r.faults)},
       {"profile", fmt::format("{}, {} bytes, {} elements", r.profile_name, r.profile_bytes, r.profile_elements)},
       {"wall time", fmt::format("{:.2f} s", r.wall_s)}});
  for (const auto& s : r.settings) own.push_back({"--set", s});
  return configuration(r, std::move(own));
}

}  // namespace

report::Document document(const BurstReport& r) {
  const Quantiles ms = quantiles_of(r.latency_ms);
  report::Document d = burst_head(r, ms);
  d.sections.push_back(results(r, ms));
  std::vector<double> sorted = r.latency_ms;
  std::sort(sorted.begin(), sorted.end());
  if (!sorted.empty())
    d.sections.push_back({"Latency",
                          "From sending the order to having its outcome at the Operator, completed downloads. The last "
                          "column takes everything beyond.",
                          {columns_of("", latency_bins(sorted), "ms", "download", ms, 220)}});
  if (!timeline(r).completed_per_s.empty()) d.sections.push_back(over_time(r));
  d.sections.push_back(cpu_time(r));
  if (r.floor.total_s() > 0) d.sections.push_back(crypto_floor(r));
  d.sections.push_back(engines(r));
  const Json all = r.cores.value("cores", Json::array());
  if (!all.empty()) d.sections.push_back(cores(all));
  d.sections.push_back(burst_configuration(r));
  return d;
}

}  // namespace kf::bench
