#include "bench/ecc/ecc_bench.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "bench/ecc/span.hpp"
#include "bench/ecc/through.hpp"
#include "bench/ecc/work.hpp"
#include "bench/load/console.hpp"
#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"
#include "bench/report/ecc_report.hpp"
#include "generated/version.hpp"
#include "host/base/calendar.hpp"

namespace kf::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kSigners = 16;  // keys that sign in turn

template <class Report>
void head(Report& r) {
  r.version = KEYFERRY_VERSION;
  r.commit = KEYFERRY_COMMIT;
  r.build = KEYFERRY_BUILD;
  while (!r.build.empty() && r.build.back() == ' ') r.build.pop_back();
  r.started = iso_seconds(wall_now());
  r.machine = machine_facts();
}

class Run {
 public:
  Run(const EccBenchOptions& o, std::vector<ecc::Style> styles, std::vector<Curve> curves)
      : options_(o), styles_(std::move(styles)), curves_(std::move(curves)) {
    head(report_);
    report_.seed = o.seed;
    report_.latency = o.latency;
    report_.warm_up_batches = o.quick ? 1 : 2;
    report_.command =
        fmt::format("keyferry-bench ecc --style {} --ii {} --seed {} --latency {}", o.style, o.ii, o.seed, o.latency);
    report_.command += o.quick ? std::string(" --quick") : fmt::format(" --jobs {}", o.jobs);
    for (const Curve c : curves_) {
      report_.curves.emplace_back(curve_name(c));
      if (!o.curves.empty()) report_.command += fmt::format(" --curve {}", curve_name(c));
    }
  }

  Status measure() {
    const double busy = proc::machine_busy_seconds();
    const double own = proc::own_cpu_seconds();
    const auto start = Clock::now();
    Status s = all();
    if (!s && s.error().reason == "interrupted") {
      report_.interrupted = true;
      s = {};
    }
    const double wall = std::chrono::duration<double>(Clock::now() - start).count();
    const double others = proc::machine_busy_seconds() - busy - (proc::own_cpu_seconds() - own);
    report_.other_cpus = busy > 0 && wall > 0 ? std::max(0.0, others / wall) : 0;
    progress_.clear();
    return s;
  }
  const EccReport& report() const { return report_; }

 private:
  Status all() {
    for (const ecc::Style style : styles_) {
      KF_CHECK(start(style));
      for (const Curve c : curves_) {
        EccWork work(options_.seed, c);
        const Status s = curve(style, c, work);
        report_.answers += work.answers();
        report_.wrong += work.wrong();
        for (const auto& [what, n] : work.failures()) report_.failures[what] += n;
        KF_CHECK(s);
      }
      session_.reset();
      board_.reset();
    }
    return {};
  }

  Status start(ecc::Style style) {
    progress_.part(fmt::format("style {}: table and self-test", to_string(style)));
    ecc::BoardOptions o;
    o.style = style;
    o.ii = options_.ii;
    o.test_build = true;  // for its seed; no scalar is imported
    o.seed = options_.seed;
    o.latency = options_.latency;
    KF_TRY(board_, ecc::Board::make(o));
    KF_TRY(session_, ecc::CoreSession::start(*board_, {}));
    EccCore c;
    c.style = to_string(style);
    for (const auto& m : ecc::board_models())
      if (m.style == style && m.ii == o.ii && m.test_build) c.model = m.name;
    c.ii = session_->ii();
    c.contexts = session_->contexts();
    c.start_cycles = board_->cycles();
    c.start_cpu_s = board_->cpu_seconds();
    c.build = board_->read(ecc::kRegBuild);
    report_.cores.push_back(c);
    return {};
  }

  std::size_t whole_batches(std::size_t jobs) const {
    const std::size_t n = session_->contexts();
    return std::max((jobs + n - 1) / n, static_cast<std::size_t>(fewest_batches(report_.warm_up_batches))) * n;
  }

  Status curve(ecc::Style style, Curve c, EccWork& w) {
    const auto row = [&](std::string_view op) {
      EccRow r;
      r.style = to_string(style);
      r.curve = curve_name(c);
      r.operation = op;
      r.ii = session_->ii();
      return r;
    };
    const std::size_t jobs = whole_batches(options_.jobs);
    report_.jobs = jobs;

    // A key serves one ECKA: the core makes as many as it has slots for, then uses them up.
    EccRow ephemeral = row("ephemeral");
    EccRow ecka = row("ecka");
    const std::size_t round = std::min<std::size_t>(jobs, session_->key_slots());
    for (std::size_t done = 0; done < jobs; done += round) {
      KF_CHECK(leg(ephemeral, w, w.generate(round, false), done, jobs));
      KF_CHECK(leg(ecka, w, w.ecka(round), done, jobs));
    }
    report_.rows.push_back(ephemeral);
    report_.rows.push_back(ecka);

    KF_CHECK(aside(w, w.generate(kSigners, true)));
    EccRow sign = row("sign");
    KF_CHECK(leg(sign, w, w.sign(jobs), 0, jobs));
    report_.rows.push_back(sign);
    KF_CHECK(aside(w, w.erase(kSigners)));

    EccRow verify = row("verify");
    KF_CHECK(leg(verify, w, w.verify(jobs), 0, jobs));
    report_.rows.push_back(verify);
    return {};
  }

  Status leg(EccRow& row, EccWork& w, std::span<const ecc::Descriptor> jobs, std::size_t before, std::size_t all) {
    if (before == 0) progress_.part(fmt::format("style {}: {} on {}", row.style, row.operation, row.curve));
    KF_TRY(const Played p, play(*session_, jobs, report_.warm_up_batches, [&](std::size_t done) {
             progress_.show(fmt::format("{} of {}", before + done, all));
             return !proc::interrupted();
           }));
    add_to(row, p);
    w.judge(p.answers);
    return {};
  }
  // What is not measured but must be right.
  Status aside(EccWork& w, std::span<const ecc::Descriptor> jobs) {
    KF_TRY(const auto answers, session_->run(jobs));
    w.judge(answers);
    return {};
  }

  const EccBenchOptions& options_;
  std::vector<ecc::Style> styles_;
  std::vector<Curve> curves_;
  Progress progress_{"ecc"};
  std::unique_ptr<ecc::Board> board_;
  std::unique_ptr<ecc::CoreSession> session_;
  EccReport report_;
};

bool built(ecc::Style s, unsigned ii) {
  return std::ranges::any_of(ecc::board_models(),
                             [&](const auto& m) { return m.style == s && m.ii == ii && m.test_build; });
}

// Everything that can be said before anything is started. Empty: fine.
std::string fault_in(const EccBenchOptions& o, std::vector<ecc::Style>& styles, std::vector<Curve>& curves) {
  if (o.through != "core")
    if (std::string fault = fault_in_through(o); !fault.empty()) return fault;
  if (o.style == "both")
    styles = {ecc::Style::fast, ecc::Style::pipelined};
  else if (const auto s = ecc::style_by_name(o.style))
    styles = {*s};
  else
    return "--style " + o.style + ": must be fast, pipelined or both";
  for (const std::string& name : o.curves) {
    const auto c = curve_by_name(name);
    if (!c || *c == Curve::frp256v1) return "--curve " + name + ": must be P-256 or brainpoolP256r1";
    if (std::ranges::find(curves, *c) == curves.end()) curves.push_back(*c);
  }
  if (curves.empty()) curves = {Curve::p256, Curve::brainpool_p256r1};
  if (o.ii != 1 && o.ii != 2 && o.ii != 4) return fmt::format("--ii {}: must be 1, 2 or 4", o.ii);
  if (o.jobs < 1 || o.jobs > 10'000'000) return "--jobs: must be from 1 to 10000000";
  if (o.latency > 10'000) return "--latency: must be at most 10000";
  if (ecc::board_models().empty()) return "this build holds no simulated core (sanitizers leave it out)";
  std::erase_if(styles,
                [&](ecc::Style s) { return o.style == "both" && s == ecc::Style::pipelined && !built(s, o.ii); });
  for (const ecc::Style s : styles)
    if (!built(s, o.ii))
      return fmt::format(
          "--style {} --ii {}: this build holds no such core{}", to_string(s), o.ii,
          s == ecc::Style::fast ? "; cmake --preset release -DKEYFERRY_EVERY_CORE=ON, then ./run build" : "");
  return {};
}

}  // namespace

namespace {

template <class Report>
Status show(const Report& r, const EccBenchOptions& o) {
  std::fputs(to_text(document(r)).c_str(), stdout);
  std::fflush(stdout);
  if (!o.report_json.empty()) KF_CHECK(write_file(o.report_json, to_json(r).dump(2) + "\n"));
  if (!o.report_html.empty()) KF_CHECK(write_file(o.report_html, to_html(document(r))));
  for (const std::string& path : {o.report_json, o.report_html})
    if (!path.empty()) std::printf("  written      %s\n", path.c_str());
  std::fflush(stdout);
  return {};
}

int run_through(const EccBenchOptions& o, const std::vector<Curve>& curves) {
  EccPathReport r;
  head(r);
  const Status measured = measure_through(o, curves, r);
  if (const Status s = show(r, o); !s) return complain(1, s.error().detail);
  if (r.interrupted) return 130;
  if (!measured) return complain(1, measured.error().text());
  return r.clean() ? 0
                   : complain(1, fmt::format("of {} answers {} were wrong, {} failed, {} were lost, {} keys came twice",
                                             r.answers, r.wrong, r.failed, r.lost, r.repeated_keys));
}

}  // namespace

int run_ecc(const EccBenchOptions& o) {
  std::vector<ecc::Style> styles;
  std::vector<Curve> curves;
  if (const std::string fault = fault_in(o, styles, curves); !fault.empty()) return complain(2, fault);
  proc::catch_interrupts();
  if (o.through != "core") return run_through(o, curves);
  Run run(o, styles, curves);
  const Status measured = run.measure();
  const EccReport& r = run.report();
  if (const Status s = show(r, o); !s) return complain(1, s.error().detail);
  if (!measured) return complain(1, measured.error().text());
  if (r.interrupted) return 130;
  return r.clean() ? 0 : complain(1, fmt::format("{} of {} answers were wrong", r.wrong, r.answers));
}

void add_ecc(CLI::App& app, int& status) {
  auto o = std::make_shared<EccBenchOptions>();
  auto* s = app.add_subcommand("ecc",
                               "the ECC core, simulated: cycles an operation, use of its multiplier; through driver "
                               "and engine: jobs a second, latency, "
                               "host CPU a job");
  s->footer(
      "Alone (--through core), the core's RTL runs in Verilator behind a simulated board with its submission ring "
      "always full:\n"
      "new key pairs, key agreements, signatures and verifications on each curve. Measured is the steady state, from "
      "the last\n"
      "answer of one full batch to that of a later one, blinding on. Two styles of the same core: `fast` is written "
      "for the\n"
      "simulator, `pipelined` is what goes into an FPGA; their cycles are equal, their simulated speeds are not.\n"
      "\n"
      "Through the driver (jobs of the core by one thread) or the engine (what the server uses: an ephemeral key and "
      "its\n"
      "agreement in one request), each core is a process of its own, as in the server. For each operation, curve and "
      "number in\n"
      "flight: rate, latency, jobs a batch, CPU time of the host apart from that of the simulators, and the share of "
      "its cycles\n"
      "in which a core was busy, by its own counters. Then 32 at a time, for what a job costs the host; then more "
      "cores against\n"
      "one, side by side (two simulators need two idle CPUs). Every answer is checked with OpenSSL, outside the "
      "measured time.\n"
      "\n"
      "  keyferry-bench ecc                                         the core alone: both styles, both curves, about a "
      "minute\n"
      "  keyferry-bench ecc --style fast --report-html ecc.html     the faster one, with plots\n"
      "  keyferry-bench ecc --style fast --ii 4                     one multiplication every 4 cycles\n"
      "  keyferry-bench ecc --style fast --jobs 10000 --seed 7      does every answer stay right?\n"
      "  keyferry-bench ecc --through both --report-html path.html  driver and engine, about five minutes\n"
      "  keyferry-bench ecc --through engine --curve P-256 --queue-depth 256 --cores 1,2 --rounds 9\n"
      "\n"
      "Exit status: 0 every answer was right; 1 one was not; 2 wrong usage; 130 interrupted.");
  s->add_option("--through", o->through, "core (alone), driver, engine or both (driver and engine)")
      ->capture_default_str();
  auto* style = s->add_option("--style", o->style, "alone: fast, pipelined or both")->capture_default_str();
  auto* ii = s->add_option("--ii", o->ii, "alone: cycles from one multiplication to the next: 1, 2 or 4")
                 ->capture_default_str();
  s->add_option("--curve", o->curves, "P-256 or brainpoolP256r1; may be repeated (default: both)");
  auto* jobs = s->add_option("--jobs", o->jobs, "alone: for each operation and curve, made up to whole batches")
                   ->capture_default_str();
  s->add_option("--seed", o->seed, "of jobs; alone, of the core's entropy too")->capture_default_str();
  auto* latency = s->add_option("--latency", o->latency, "alone: cycles in which the simulated memory answers")
                      ->capture_default_str();
  auto* depths = s->add_option("--queue-depth", o->depths, "through: in flight, a core; a list, each 1 to 256")
                     ->delimiter(',')
                     ->capture_default_str();
  auto* cores = s->add_option("--cores", o->cores,
                              "through: how many; a list. The first is measured at all depths, the others against 1")
                    ->delimiter(',')
                    ->capture_default_str();
  auto* seconds =
      s->add_option("--seconds", o->seconds, "through: measured for each number in flight")->capture_default_str();
  auto* rounds = s->add_option("--rounds", o->rounds, "through: of more cores against one")->capture_default_str();
  s->add_flag("--quick", o->quick,
              "does it work? Alone: three batches of each, one of them measured; through: short legs, one round");
  s->add_option("--report-json", o->report_json, "write the report as JSON");
  s->add_option("--report-html", o->report_html, "write the report as one HTML file with plots");
  s->callback([=, &status] {
    const bool alone = o->through == "core";
    for (const CLI::Option* x : {style, ii, jobs, latency})
      if (!alone && x->count() != 0) {
        status = complain(2, x->get_name() + ": goes with --through core only");
        return;
      }
    for (const CLI::Option* x : {depths, cores, seconds, rounds})
      if (alone && x->count() != 0) {
        status = complain(2, x->get_name() + ": goes with --through driver, engine or both");
        return;
      }
    if (o->quick) {
      if (jobs->count() == 0) o->jobs = 1;
      if (depths->count() == 0) o->depths = {1, 128};
      if (cores->count() == 0) o->cores = {1};
      if (seconds->count() == 0) o->seconds = 0.2;
      if (rounds->count() == 0) o->rounds = 1;
    }
    status = run_ecc(*o);
  });
}

}  // namespace kf::bench
