#include "bench/scp03t/scp03t_bench.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"
#include "bench/report/scp03t_report.hpp"
#include "bench/scp03t/cell.hpp"
#include "bench/scp03t/path.hpp"
#include "generated/version.hpp"
#include "host/base/calendar.hpp"
#include "host/base/text.hpp"

namespace kf::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

int complain(int status, const std::string& line) {
  std::fprintf(stderr, "keyferry-bench: %s\n", one_line(line).c_str());
  return status;
}

Status write_file(const std::string& path, std::string_view text) {
  std::error_code ec;
  if (fs::path(path).has_parent_path()) fs::create_directories(fs::path(path).parent_path(), ec);
  std::ofstream f(path, std::ios::binary | std::ios::trunc);
  f.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!f.flush()) return Error{"file", path + ": cannot be written"};
  return {};
}

class Run {
 public:
  Run(const Scp03tOptions& o, std::vector<std::unique_ptr<seal::ScriptSealer>> engines)
      : options_(o), engines_(std::move(engines)) {
    report_.version = KEYFERRY_VERSION;
    report_.commit = KEYFERRY_COMMIT;
    report_.build = KEYFERRY_BUILD;
    while (!report_.build.empty() && report_.build.back() == ' ') report_.build.pop_back();
    report_.started = iso_seconds(wall_now());
    report_.machine = machine_facts();
    report_.rounds = o.rounds;
    report_.key_bits = o.key_bits;
    report_.engine = seal::engine_names().back();
    report_.command = fmt::format("keyferry-bench scp03t --rounds {} --seconds {} --key-bits {} --seed {}{}", o.rounds,
                                  o.seconds, o.key_bits, o.seed, o.quick ? " --quick" : "");
    for (const auto& e : engines_) {
      report_.engines.emplace_back(e->name());
      if (!o.engines.empty()) report_.command += fmt::format(" --engine {}", e->name());
    }
  }

  void measure() {
    const double busy = proc::machine_busy_seconds();
    const double own = proc::own_cpu_seconds();
    const auto start = Clock::now();
    for (const std::size_t kib : options_.kib)
      for (const std::size_t n : options_.in_flight)
        if (!proc::interrupted()) cell(kib * 1024, n);
    if (!proc::interrupted() && options_.path_downloads > 0) path();
    report_.interrupted = proc::interrupted();
    const double wall = std::chrono::duration<double>(Clock::now() - start).count();
    const double others = proc::machine_busy_seconds() - busy - (proc::own_cpu_seconds() - own);
    report_.other_cpus = busy > 0 && wall > 0 ? std::max(0.0, others / wall) : 0;
    if (terminal_) std::fputs("\r\033[K", stderr);
  }
  [[nodiscard]] const Scp03tReport& report() const { return report_; }

 private:
  void part(const std::string& what) const {
    if (terminal_)
      std::fprintf(stderr, "\r\033[Kscp03t  %s", what.c_str());
    else
      std::fprintf(stderr, "scp03t  %s\n", what.c_str());
    std::fflush(stderr);
  }

  // One leg: whole passes until it has lasted long enough.
  template <class F>
  void leg(SealRow& row, double bytes, F&& pass) const {
    const double t0 = proc::thread_cpu_seconds();
    double t = 0;
    double done = 0;
    // Asking for the time costs as much as a small pass: not after each of those.
    const int passes = std::max(1, static_cast<int>(128 * 1024 / bytes));
    do {
      for (int i = 0; i < passes; ++i) pass();
      done += bytes * passes;
      t = proc::thread_cpu_seconds() - t0;
    } while (t < options_.seconds);
    row.bytes_per_cpu_s.push_back(done / t);
  }

  void cell(std::size_t bytes, std::size_t n) {
    const std::size_t mib = Cell::memory(bytes, n) >> 20;
    if (mib > options_.memory_mib) {
      report_.left_out.push_back(fmt::format("{} downloads of {} KiB: {} MiB, above --memory-mib {}", n, bytes / 1024,
                                             mib, options_.memory_mib));
      return;
    }
    part(fmt::format("{} x {} KiB", n, bytes / 1024));
    Cell c(bytes, n, options_.key_bits / 8, options_.seed);
    c.naive();  // the pages are there after this, and the octets are the measure
    c.keep();
    for (const auto& e : engines_) {
      c.with(*e);
      report_.checked += c.kept();
      report_.wrong += c.wrong();
    }
    std::vector<SealRow> rows;
    const auto add = [&](std::string_view engine) { rows.push_back({bytes, n, std::string(engine), {}}); };
    add(kNaive);
    for (const auto& e : engines_) add(e->name());
    add(kCopy);
    for (unsigned r = 0; r < options_.rounds && !proc::interrupted(); ++r) {
      leg(rows.front(), c.total_bytes(), [&] { c.naive(); });
      for (std::size_t e = 0; e < engines_.size(); ++e)
        leg(rows[1 + e], c.total_bytes(), [&] { c.with(*engines_[e]); });
      leg(rows.back(), c.total_bytes(), [&] { c.copy(); });
    }
    for (SealRow& row : rows) report_.seal.push_back(std::move(row));
  }

  void path() {
    const std::size_t bytes = 16 * 1024;
    part(fmt::format("path: {} x {} KiB", options_.path_downloads, bytes / 1024));
    Path p(bytes, options_.path_downloads, options_.key_bits / 8, options_.seed);
    seal::ScriptSealer& engine = seal::default_sealer();
    report_.path_bytes = bytes;
    report_.path_downloads = options_.path_downloads;
    report_.path_batch = options_.path_batch;
    report_.path_memory_bytes = p.memory(options_.path_batch);
    p.naive();
    p.product(engine, options_.path_batch);
    report_.checked += options_.path_downloads;
    report_.wrong += p.differing();
    std::vector<StepRow> rows;
    const auto note = [&](std::string_view way, const PathTimes& t) {
      const double scale = 1e9 / static_cast<double>(bytes * options_.path_downloads);
      const std::array<std::pair<const char*, double>, 7> steps{{{"personalise", t.personalise},
                                                                 {"cut", t.cut},
                                                                 {"seal", t.seal},
                                                                 {"wipe", t.wipe},
                                                                 {"hex", t.hex},
                                                                 {"envelope", t.envelope},
                                                                 {"all", t.all()}}};
      for (const auto& [step, seconds] : steps) {
        const auto at =
            std::ranges::find_if(rows, [&, s = step](const StepRow& r) { return r.way == way && r.step == s; });
        StepRow& row = at != rows.end() ? *at : rows.emplace_back(StepRow{std::string(way), step, {}});
        row.ns_per_byte.push_back(seconds * scale);
      }
    };
    std::vector<double> derive_naive, derive_product;
    for (unsigned r = 0; r < options_.rounds && !proc::interrupted(); ++r) {
      note(kNaive, p.naive());
      note("product", p.product(engine, options_.path_batch));
      derive_naive.push_back(p.derive_naive() * 1e9);
      derive_product.push_back(p.derive_product(engine, options_.path_batch) * 1e9);
    }
    report_.derive_naive_ns = spread(derive_naive).median;
    report_.derive_product_ns = spread(derive_product).median;
    report_.path = std::move(rows);
  }

  const Scp03tOptions& options_;
  std::vector<std::unique_ptr<seal::ScriptSealer>> engines_;
  bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  Scp03tReport report_;
};

// Everything that can be said before anything is measured. Empty: fine.
std::string fault_in(Scp03tOptions& o, std::vector<std::unique_ptr<seal::ScriptSealer>>& engines) {
  const auto there = seal::engine_names();
  std::vector<std::string> names = o.engines;
  if (names.empty()) {
    for (const auto n : there)
      if (!n.starts_with("lanes") || n == there.back()) names.emplace_back(n);
  } else if (std::ranges::find(names, "all") != names.end()) {
    names.assign(there.begin(), there.end());
  }
  for (const auto& n : names) {
    auto e = seal::make_sealer(n);
    if (!e) return "--engine " + e.error().detail;
    engines.push_back(std::move(e).value());
  }
  if (o.kib.empty()) o.kib = {1, 4, 16, 64, 256};
  if (o.in_flight.empty()) o.in_flight = {1, 8, 64, 1024};
  for (const auto k : o.kib)
    if (k < 1 || k > 1024) return fmt::format("--kib {}: must be from 1 to 1024", k);
  for (const auto n : o.in_flight)
    if (n < 1 || n > 100'000) return fmt::format("--in-flight {}: must be from 1 to 100000", n);
  if (o.rounds < 1 || o.rounds > 1000) return fmt::format("--rounds {}: must be from 1 to 1000", o.rounds);
  if (!(o.seconds > 0) || o.seconds > 60) return fmt::format("--seconds {}: must be above 0 and at most 60", o.seconds);
  if (o.key_bits != 128 && o.key_bits != 192 && o.key_bits != 256)
    return fmt::format("--key-bits {}: must be 128, 192 or 256", o.key_bits);
  if (o.path_batch < 1 || o.path_batch > 100'000)
    return fmt::format("--batch {}: must be from 1 to 100000", o.path_batch);
  if (o.path_downloads > 100'000) return fmt::format("--path-downloads {}: must be at most 100000", o.path_downloads);
  return {};
}

}  // namespace

int run_scp03t(const Scp03tOptions& asked) {
  Scp03tOptions o = asked;
  std::vector<std::unique_ptr<seal::ScriptSealer>> engines;
  if (const std::string fault = fault_in(o, engines); !fault.empty()) return complain(2, fault);
  proc::catch_interrupts();
  Run run(o, std::move(engines));
  run.measure();
  const Scp03tReport& r = run.report();
  std::fputs(to_text(document(r)).c_str(), stdout);
  std::fflush(stdout);
  if (!o.report_json.empty())
    if (const Status s = write_file(o.report_json, to_json(r).dump(2) + "\n"); !s) return complain(1, s.error().detail);
  if (!o.report_html.empty())
    if (const Status s = write_file(o.report_html, to_html(document(r))); !s) return complain(1, s.error().detail);
  for (const std::string& path : {o.report_json, o.report_html})
    if (!path.empty()) std::printf("  written      %s\n", path.c_str());
  std::fflush(stdout);
  if (r.interrupted) return 130;
  return r.clean() ? 0 : complain(1, fmt::format("{} of {} packages came out wrong", r.wrong, r.checked));
}

void add_scp03t(CLI::App& app, int& status) {
  auto o = std::make_shared<Scp03tOptions>();
  auto* s =
      app.add_subcommand("scp03t", "sealing profiles: bytes a CPU second, and the way from template to SOAP body");
  s->footer(
      "Seals packages of several sizes, one or many downloads at once, with each engine, with a naive loop (contexts "
      "and\n"
      "keys once a download, one EVP call a segment and mode) and copies them once, in turns; what counts is CPU time "
      "of\n"
      "this one thread and its ratio within a round. Then the whole path, naive and as the product goes it, step by "
      "step.\n"
      "Octets are compared with the naive loop's.\n"
      "\n"
      "  keyferry-bench scp03t                                      everything, about a minute\n"
      "  keyferry-bench scp03t --kib 16 --in-flight 64 --engine all   every engine and kernel of this processor\n"
      "  keyferry-bench scp03t --report-html scp03t.html            with plots\n"
      "  keyferry-bench scp03t --key-bits 256 --path-downloads 0    AES-256, without the path\n"
      "\n"
      "Exit status: 0 every octet was right; 1 one was not; 2 wrong usage; 130 interrupted.");
  s->add_option("--engine", o->engines,
                "openssl, ipsec-mb, lanes-aesni, lanes-vaes256, lanes-vaes512, all; may be repeated\n"
                "(default: openssl, ipsec-mb and the best of the lanes)");
  s->add_option("--kib", o->kib, "size of a package in KiB; may be repeated (default: 1 4 16 64 256)");
  s->add_option("--in-flight", o->in_flight, "downloads sealed together; may be repeated (default: 1 8 64 1024)");
  s->add_option("--rounds", o->rounds, "of each leg, interleaved")->capture_default_str();
  s->add_option("--seconds", o->seconds, "CPU time of one leg, at least one pass")->capture_default_str();
  s->add_option("--key-bits", o->key_bits, "128, 192 or 256")->capture_default_str();
  s->add_option("--memory-mib", o->memory_mib, "what needs more is left out")->capture_default_str();
  s->add_option("--path-downloads", o->path_downloads, "of 16 KiB on the path; 0: leave it out")->capture_default_str();
  s->add_option("--batch", o->path_batch, "downloads in flight on the product's path")->capture_default_str();
  s->add_option("--seed", o->seed, "of keys and packages")->capture_default_str();
  s->add_flag("--quick", o->quick, "1 and 16 KiB, 1 and 64 in flight, two short rounds: does it work?");
  s->add_option("--report-json", o->report_json, "write the report as JSON");
  s->add_option("--report-html", o->report_html, "write the report as one HTML file with plots");
  s->callback([o, &status] {
    if (o->quick) {
      if (o->kib.empty()) o->kib = {1, 16};
      if (o->in_flight.empty()) o->in_flight = {1, 64};
      o->rounds = 2;
      o->seconds = 0.002;
      o->path_downloads = std::min<std::size_t>(o->path_downloads, 128);
    }
    status = run_scp03t(*o);
  });
}

}  // namespace kf::bench
