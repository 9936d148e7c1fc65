#include <algorithm>

#include "bench/report/burst_report.hpp"
#include "bench/report/numbers.hpp"
#include "bench/report/text.hpp"
#include "host/base/text.hpp"

namespace kf::bench {
std::string to_table(const BurstReport& r) {
  std::vector<double> sorted = r.latency_ms;
  std::sort(sorted.begin(), sorted.end());
  const auto each = [&r](double seconds) {
    return r.completed == 0 ? std::string() : fmt::format("{:.3f}", seconds / static_cast<double>(r.completed) * 1e3);
  };
  Text t;
  t.line("");
  t.line("keyferry-bench burst{}", r.interrupted ? " (interrupted: what was done until then)" : "");
  t.row("run", "{}, {} in flight, custody {}, curve {}, pattern {}{}", counted(r.requested, "download"), r.concurrency,
        r.custody, r.curve, r.pattern, r.enable ? ", with enabling" : "");
  t.row("profile", "{}, {} bytes, {} elements", r.profile_name, r.profile_bytes, r.profile_elements);
  t.row("machine", "{} x {}, {}; other programs kept {:.2f} CPUs busy meanwhile", r.machine.cores, r.machine.cpu,
        r.machine.os, r.other_cpus);
  t.row("build", "keyferry {} ({}), {}", r.version, r.commit, r.build);
  t.line("");
  t.row("downloads", "{} requested, {} completed ({} with warning), {} failed", r.requested, r.completed,
        r.with_warning, r.failed);
  t.row("verified", "{} profiles decrypted, checked and equal at their eUICC; {} ISD-P left in Created",
        r.euicc_verified, r.isdp_left_created);
  for (const auto& [what, count] : r.outcomes) t.row("", "{:>7}  {}", count, what);
  if (r.completed == 0) {  // then a rate, a latency and a cost each would be numbers about nothing
    t.row("rate", "none: nothing was completed in {:.2f} s", r.wall_s);
    t.row("SM-DP", "{:.2f} CPU s", r.smdp_cpu_s);
  } else {
    t.row("rate", "{:.1f} downloads/s over {:.2f} s", r.downloads_per_s(), r.wall_s);
    t.row("latency", "p50 {:.0f} ms   p95 {:.0f} ms   p99 {:.0f} ms   max {:.0f} ms", percentile(sorted, 50),
          percentile(sorted, 95), percentile(sorted, 99), sorted.empty() ? 0.0 : sorted.back());
    t.row("SM-DP", "{:.2f} CPU s = {:.2f} ms a download = {:.1f} downloads per CPU second{}", r.smdp_cpu_s,
          r.cpu_s_per_download() * 1e3, r.smdp_cpu_s > 0 ? static_cast<double>(r.completed) / r.smdp_cpu_s : 0.0,
          r.completed < r.requested ? "; what did not complete is in it" : "");
  }
  t.row("", "peak memory {:.1f} MiB, peak in flight {}", static_cast<double>(r.smdp_peak_rss_bytes) / kMiB,
        r.peak_in_flight);
  const CryptoFloor& f = r.floor;
  if (f.total_s() > 0) {
    if (r.completed == 0)
      t.row("crypto floor", "{:.3f} ms a download", f.total_s() * 1e3);
    else
      t.row("crypto floor", "{:.3f} ms a download; the SM-DP spent {:.2f} times that", f.total_s() * 1e3, r.ratio());
    t.row("", "verify {:.3f} ({})  sign {:.3f} ({})  key pair and ECDH {:.3f} ({})  KDF {:.3f}  SCP03t {:.3f} ms",
          f.verify_s * 1e3, f.verify_engine, f.sign_s * 1e3, f.sign_engine, f.ephemeral_s * 1e3, f.ephemeral_engine,
          f.kdf_s * 1e3, f.seal_s * 1e3);
  }
  t.line("");
  t.line("  {:<38} {:>9} {:>14} {:>8}", "where the CPU time went", "s", "ms/download", "share");
  for (const bool smdp : {true, false}) {
    if (!smdp) t.line("  {:<38} {:>9} {:>14} {:>8}", "test equipment, for context", "", "", "");
    for (const auto& c : r.cpu) {
      if (c.smdp != smdp) continue;
      const std::string share = smdp && r.smdp_cpu_s > 0 ? fmt::format("{:.1f} %", 100 * c.cpu_s / r.smdp_cpu_s) : "";
      t.line("    {:<36} {:>9.3f} {:>14} {:>8}", c.label, c.cpu_s, each(c.cpu_s), share);
    }
    if (smdp) t.line("    {:<36} {:>9.3f} {:>14} {:>8}", "SM-DP, all of it", r.smdp_cpu_s, each(r.smdp_cpu_s), "100 %");
  }
  t.line("");
  t.line("  {:<14} {:<12} {:>10}", "operation", "engine", "count");
  for (const auto& [op, engines] : r.operations.items())
    for (const auto& [engine, count] : engines.items())
      t.line("  {:<14} {:<12} {:>10}", op, engine, count.get<std::uint64_t>());
  t.line("  {:<14} {:<12} {:>10} {:>8} {:>8} {:>8}", "batches", "engine", "count", "mean", "p95", "max");
  for (const auto& [engine, h] : r.batch_size.items())
    if (h.value("count", 0) != 0)
      t.line("  {:<14} {:<12} {:>10} {:>8.2f} {:>8} {:>8}", "", engine, h.value("count", 0), h.value("mean", 0.0),
             h.value("p95", 0), h.value("max", 0));
  for (const auto& [engine, h] : r.batch_size.items()) {
    if (!h.contains("service_us")) continue;
    t.line("  {:<14} {:<12} waited p50 {} p99 {} us, inside the token p50 {} p99 {} us", "", engine,
           h["queue_us"].value("p50", 0), h["queue_us"].value("p99", 0), h["service_us"].value("p50", 0),
           h["service_us"].value("p99", 0));
  }
  std::size_t core = 0;
  for (const Json& c : r.cores.value("cores", Json::array())) {
    t.line("  {:<14} {} key pairs, {} agreements, {} verifications in {} batches, {} known answers right",
           fmt::format("ECC core {}", core++), c.value("generated", 0), c.value("agreed", 0), c.value("verified", 0),
           c.value("batches", 0), c.value("known_answers", 0));
    t.line("  {:<14} {} losses, {} faults, {} exceptional cases, {} completions that could not be right", "",
           c.value("losses", 0), core_faults(c), c.value("exceptions", 0), c.value("bad_completions", 0));
  }
  t.line("  {:<14} {} bytes in {} segments, {:.1f} MiB per CPU second", "SCP03t", r.scp03t_bytes, r.scp03t_segments,
         r.scp03t_cpu_s > 0 ? static_cast<double>(r.scp03t_bytes) / r.scp03t_cpu_s / kMiB : 0.0);
  return t.take();
}

}  // namespace kf::bench
