#include <algorithm>

#include "bench/report/scp03t_report.hpp"
#include "bench/report/text.hpp"

namespace kf::bench {
namespace {

std::string gigabytes(const SealRow* x) {
  return x == nullptr ? "-" : fmt::format("{:.2f}", spread(x->bytes_per_cpu_s).median / 1e9);
}
std::string times(const std::optional<Spread>& s) {
  return s ? fmt::format("{:.2f} ({:.2f} to {:.2f})", s->median, s->low, s->high) : "not measured";
}

void cells(Text& t, const Scp03tReport& r) {
  std::string head = fmt::format("  {:>9} {:>9} {:>8}", "bytes", "in flight", "naive");
  for (const auto& e : r.engines) head += fmt::format(" {:>14}", e);
  t.line("{} {:>8} {:>11}", head, "copy", "best/naive");
  std::vector<std::pair<std::size_t, std::size_t>> done;
  for (const SealRow& x : r.seal) {
    const std::pair cell{x.bytes, x.in_flight};
    if (std::ranges::find(done, cell) != done.end()) continue;
    done.push_back(cell);
    std::string line =
        fmt::format("  {:>9} {:>9} {:>8}", x.bytes, x.in_flight, gigabytes(r.row(x.bytes, x.in_flight, kNaive)));
    for (const auto& e : r.engines) line += fmt::format(" {:>14}", gigabytes(r.row(x.bytes, x.in_flight, e)));
    const auto ratio = seal_ratio(r, x.bytes, x.in_flight, r.engine);
    t.line("{} {:>8} {:>11}", line, gigabytes(r.row(x.bytes, x.in_flight, kCopy)),
           ratio ? fmt::format("{:.1f}", ratio->median) : "-");
  }
}

}  // namespace

std::string to_table(const Scp03tReport& r) {
  Text t;
  t.line("");
  t.line("keyferry-bench scp03t{}", r.interrupted ? " (interrupted: what was measured until then)" : "");
  t.row("engine", "{} is what the product takes here; AES-{} keys, medians of {} interleaved rounds", r.engine,
        r.key_bits, r.rounds);
  t.row("machine", "{} x {}, {}; other programs kept {:.2f} CPUs busy meanwhile", r.machine.cores, r.machine.cpu,
        r.machine.os, r.other_cpus);
  t.row("build", "keyferry {} ({}), {}", r.version, r.commit, r.build);
  t.line("");
  t.line("  gigabytes of plaintext sealed in a CPU second, by size of the package and downloads in flight");
  cells(t, r);
  for (const auto& l : r.left_out) t.row("left out", "{}", l);
  if (!r.path.empty()) {
    t.line("");
    t.line("  from the template to the SOAP body: {} downloads of {} bytes, {} at a time, ns a byte", r.path_downloads,
           r.path_bytes, r.path_batch);
    for (const StepRow& x : r.path) t.line("  {:<9} {:<12} {:>8.3f}", x.way, x.step, spread(x.ns_per_byte).median);
    t.row("memory", "{:.1f} MiB in flight", static_cast<double>(r.path_memory_bytes) / (1 << 20));
    t.row("keys", "session keys and 85 of one download, not in the path: naive {:.2f} us, product {:.2f} us",
          r.derive_naive_ns / 1e3, r.derive_product_ns / 1e3);
  }
  t.line("");
  t.row("seal/naive", "{} at 1024 downloads of 16 KiB; {} at 64; {} at one",
        times(seal_ratio(r, 16384, 1024, r.engine)), times(seal_ratio(r, 16384, 64, r.engine)),
        times(seal_ratio(r, 16384, 1, r.engine)));
  t.row("path/naive", "{}", times(path_ratio(r)));
  t.row("results", "{} packages compared with the naive loop's octets: {} wrong", r.checked, r.wrong);
  return t.take();
}

}  // namespace kf::bench
