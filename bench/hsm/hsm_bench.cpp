#include "bench/hsm/hsm_bench.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "bench/hsm/direct_legs.hpp"
#include "bench/hsm/loops.hpp"
#include "bench/hsm/target.hpp"
#include "bench/load/console.hpp"
#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"
#include "bench/report/hsm_report.hpp"
#include "generated/version.hpp"
#include "host/base/calendar.hpp"
#include "host/base/text.hpp"

namespace kf::bench {
namespace {

using Clock = std::chrono::steady_clock;

int complain_of(const Error& e) {
  if (e.reason == "interrupted") return complain(130, "interrupted");
  return complain(e.reason == "usage" ? 2 : 1, e.detail.empty() ? e.reason : e.detail);
}

struct Leg {
  Way way = Way::direct;
  unsigned processes = 1;
};

class Run {
 public:
  Run(const HsmBenchOptions& o, Target t) : options_(o), target_(std::move(t)) {}

  Status set_up() {
    progress_.part("starting the processes that load the module");
    for (const std::string& name : options_.curves) {
      const Curve c = *curve_by_name(name);
      if (!has_key(c)) return Error{"usage", "--curve " + name + ": no identity key is configured on it"};
      if (std::find(curves_.begin(), curves_.end(), c) == curves_.end()) curves_.push_back(c);
    }
    for (const auto& k : target_.config.identity_keys)
      if (options_.curves.empty() && std::find(curves_.begin(), curves_.end(), k.curve) == curves_.end())
        curves_.push_back(k.curve);
    for (const Work w : {Work::sign, Work::ecka, Work::set}) {
      const auto& kinds = options_.kinds;
      if (kinds.empty() || std::find(kinds.begin(), kinds.end(), to_string(w)) != kinds.end()) works_.push_back(w);
    }

    for (const unsigned n : {1U, 2U, target_.workers}) {
      if (n > target_.workers || engines_.contains(n)) continue;
      KF_TRY(engines_[n], hsm::HsmEngine::start(with_workers(target_.config, n)));
    }
    KF_TRY(auto direct, DirectLegs::start(target_.config, target_.workers));
    direct_.emplace(std::move(direct));
    std::vector<std::pair<Curve, Point>> identity;
    for (const Curve c : curves_) {
      KF_TRY(const Point q, all().public_key(c));
      identity.emplace_back(c, q);
    }
    material_.emplace(identity);
    stage_.material = &*material_;
    stage_.judge_every = options_.check ? 1 : 64;
    stage_.patience = target_.config.job_limit + std::chrono::seconds(2);
    describe();
    return {};
  }

  // Errors of the token end the run; what was measured stays in the report.
  Status measure() {
    const double busy = proc::machine_busy_seconds();
    const double own = family_cpu();
    const auto start = Clock::now();
    const Status s = parts();
    const double wall = std::chrono::duration<double>(Clock::now() - start).count();
    const double others = proc::machine_busy_seconds() - busy - (family_cpu() - own);
    report_.other_cpus = busy > 0 && wall > 0 ? std::max(0.0, others / wall) : 0;
    report_.interrupted = proc::interrupted();
    finish();
    progress_.clear();
    return s;
  }

  const HsmReport& report() const { return report_; }
  std::vector<std::string> messages() const { return target_.messages->latest(); }

 private:
  bool has_key(Curve c) const {
    const auto& keys = target_.config.identity_keys;
    return std::any_of(keys.begin(), keys.end(), [&](const auto& k) { return k.curve == c; });
  }
  hsm::HsmEngine& all() { return *engines_.at(target_.workers); }
  static double family_cpu() {
    const auto u = proc::family_usage(::getpid());
    return u ? u->cpu_s() : 0;
  }

  void describe() {
    HsmReport& r = report_;
    r.version = KEYFERRY_VERSION;
    r.commit = KEYFERRY_COMMIT;
    r.build = KEYFERRY_BUILD;
    while (!r.build.empty() && r.build.back() == ' ') r.build.pop_back();
    r.started = iso_seconds(wall_now());
    r.machine = machine_facts();
    r.target = target_.what;
    for (const Curve c : curves_) r.curves.emplace_back(curve_name(c));
    r.workers = target_.workers;
    r.threads = target_.config.tokens.front().threads;
    r.rounds = options_.rounds;
    r.in_flight = options_.in_flight;
    r.seconds = options_.seconds;
    r.open_seconds = options_.open_seconds;
    r.seed = options_.seed;
    r.check = options_.check;
    if (auto facts = all().describe()) r.facts = std::move(*facts);
  }

  // The legs of one round; those that are compared lie side by side.
  std::vector<Leg> legs(Work w) const {
    std::vector<Leg> out;
    for (const auto& [n, e] : engines_) {
      out.push_back({Way::direct, n});
      out.push_back({Way::engine, n});
    }
    if (w == Work::set) out.push_back({Way::synchronous, 1});
    return out;
  }

  Status parts() {
    const double curves = static_cast<double>(curves_.size());
    double legs_a_round = 0;
    for (const Work w : works_) legs_a_round += static_cast<double>(legs(w).size()) * curves;
    progress_.plan(curves * 5 * options_.seconds / 2 + legs_a_round * options_.rounds * options_.seconds * 1.05 +
                   curves * static_cast<double>(options_.loads.size()) * options_.open_seconds +
                   static_cast<double>(options_.sets) / 1000);
    progress_.part("direct calls, each mechanism alone");
    KF_TRY(report_.direct, direct_->mechanisms(curves_, options_.seconds / 2));
    report_.direct_sign = direct_->signs_with();
    for (unsigned round = 0; round < options_.rounds && !proc::interrupted(); ++round) {
      progress_.part(fmt::format("round {} of {}", round + 1, options_.rounds));
      for (std::size_t c = 0; c < curves_.size(); ++c)
        for (const Work w : works_) {
          if (proc::interrupted()) return {};
          KF_CHECK(run_legs(w, c));
        }
    }
    for (std::size_t c = 0; c < curves_.size(); ++c) KF_CHECK(open_loop(c));
    if (options_.sets > 0 && !proc::interrupted()) endurance();
    return {};
  }

  RateRow& row(Work w, std::size_t curve, const Leg& leg) {
    for (auto& r : report_.rates)
      if (r.kind == to_string(w) && r.curve == curve_name(curves_[curve]) && r.way == leg.way &&
          r.processes == leg.processes)
        return r;
    RateRow r;
    r.kind = to_string(w);
    r.curve = curve_name(curves_[curve]);
    r.way = leg.way;
    r.processes = leg.processes;
    return report_.rates.emplace_back(std::move(r));
  }

  // The legs of one kind of work in one round. With --wait-quiet: begun when other programs pause, and begun again when
  // they did not stay so, while there is time left for that.
  Status run_legs(Work w, std::size_t curve) {
    const std::vector<Leg> all_legs = legs(w);
    for (;;) {
      const auto begun = Clock::now();
      const double waited = wait_for_quiet();
      std::vector<Full> results;
      double others = 0;
      for (const Leg& leg : all_legs) {
        progress_.show(
            fmt::format("{} {}, {} x{}", to_string(w), curve_name(curves_[curve]), to_string(leg.way), leg.processes));
        KF_TRY(Full f, run_leg(w, curve, leg));
        if (proc::interrupted()) return {};  // a leg that was cut short tells less than none
        others = std::max(others, f.other_cpus);
        results.push_back(std::move(f));
      }
      quiet_left_ -= waited;
      if (others > kDisturbed && quiet_left_ > 0) {
        quiet_left_ -= std::chrono::duration<double>(Clock::now() - begun).count() - waited;
        continue;
      }
      for (std::size_t i = 0; i < all_legs.size(); ++i) keep(w, curve, all_legs[i], results[i]);
      return {};
    }
  }

  // Seconds that passed until other programs used little CPU time for a moment.
  double wait_for_quiet() {
    const auto start = Clock::now();
    const auto waited = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
    while (waited() < quiet_left_ && !proc::interrupted()) {
      progress_.show("waiting for other programs to pause");
      const double busy = proc::machine_busy_seconds() - proc::own_cpu_seconds();
      const auto from = Clock::now();
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      const double seconds = std::chrono::duration<double>(Clock::now() - from).count();
      if (proc::machine_busy_seconds() - proc::own_cpu_seconds() - busy < kDisturbed / 2 * seconds) break;
    }
    return waited();
  }

  Result<Full> run_leg(Work w, std::size_t curve, const Leg& leg) {
    if (leg.way == Way::direct) {
      KF_TRY(const DirectLegs::Rate d, direct_->run(w, curves_[curve], leg.processes, options_.seconds));
      if (d.failed > 0) {
        report_.failed += d.failed;
        report_.failures["direct: " + d.first_error] += d.failed;
      }
      Full f;
      f.per_s = d.per_s;
      f.done = d.done;
      f.worker_cpu_s = d.cpu_s;
      f.other_cpus = d.other_cpus;
      return f;
    }
    const std::size_t in_flight =
        leg.way == Way::synchronous ? 1 : std::size_t{options_.in_flight} * leg.processes * report_.threads;
    return run_full(*engines_.at(leg.processes), stage_, w, curve, in_flight, options_.seconds);
  }

  void keep(Work w, std::size_t curve, const Leg& leg, const Full& f) {
    RateRow& r = row(w, curve, leg);
    const auto n = static_cast<double>(r.per_s.size());
    const auto mean = [&](double& m, double seconds) {  // over the rounds
      if (f.done > 0) m += (seconds / static_cast<double>(f.done) * 1e6 - m) / (n + 1);
    };
    r.per_s.push_back(f.per_s);
    r.other_cpus.push_back(f.other_cpus);
    mean(r.worker_cpu_us, f.worker_cpu_s);
    mean(r.process_cpu_us, f.process_cpu_s);
    mean(r.caller_cpu_us, f.caller_cpu_s);
    if (leg.way == Way::engine && w == works_.back() && leg.processes == target_.workers) add_saturation(curve, f);
  }

  void add_saturation(std::size_t curve, const Full& f) {
    const std::string_view name = curve_name(curves_[curve]);
    auto it = std::find_if(report_.saturation.begin(), report_.saturation.end(),
                           [&](const SaturationRow& s) { return s.curve == name; });
    if (it == report_.saturation.end())
      it = report_.saturation.insert(it, SaturationRow{std::string(name), {}, {}, {}});
    it->batch_size.merge(f.batch_size);
    it->queue_us.merge(f.queue_us);
    it->service_us.merge(f.service_us);
  }

  Status open_loop(std::size_t curve) {
    const Work w = works_.back();
    const RateRow* full = report_.rate(to_string(w), curve_name(curves_[curve]), Way::engine, target_.workers);
    const double most = full == nullptr ? 0 : spread(full->per_s).median;
    if (!(most > 0)) return {};
    progress_.part(fmt::format("Poisson arrivals, {}", curve_name(curves_[curve])));
    for (const unsigned percent : options_.loads) {
      if (proc::interrupted()) return {};
      const double load = percent / 100.0;
      progress_.show(fmt::format("{} % of {:.0f} a second", percent, most));
      OpenRow row = run_open(all(), stage_, w, curve, load * most, options_.open_seconds, options_.seed + percent);
      row.load = load;
      if (!proc::interrupted()) report_.open.push_back(std::move(row));
    }
    return {};
  }

  void endurance() {
    progress_.part(fmt::format("{} download sets, every answer verified", options_.sets));
    report_.endurance = run_endurance(all(), stage_, options_.sets, std::size_t{options_.in_flight} * target_.workers,
                                      target_.config.memory_budget,
                                      [&](std::uint64_t done) { progress_.show(fmt::format("{} done", done)); });
  }

  void finish() {
    const Tally& t = stage_.total;
    report_.operations = t.operations;
    report_.checked = t.checked;
    report_.wrong = t.wrong;
    report_.failed += t.failed;
    report_.lost = t.lost;
    report_.repeated_keys = t.repeated_keys;
    for (const auto& [what, n] : t.failures) report_.failures[what] += n;
    for (const auto& [n, e] : engines_)
      for (const auto& w : e->stats().workers) report_.worker_restarts += w.restarts;
  }

  const HsmBenchOptions& options_;
  Target target_;
  Progress progress_{"hsm"};
  std::vector<Curve> curves_;
  std::vector<Work> works_;
  std::map<unsigned, std::unique_ptr<hsm::HsmEngine>> engines_;  // by number of workers: one, two, all
  std::optional<DirectLegs> direct_;
  std::optional<Material> material_;
  Stage stage_;
  double quiet_left_ = options_.wait_quiet;  // seconds
  HsmReport report_;
};

// Everything that can be said before anything is started. Empty: fine.
std::string fault_in(const HsmBenchOptions& o) {
  for (const std::string& k : o.kinds)
    if (k != "sign" && k != "ecka" && k != "set") return "--kind " + k + ": must be sign, ecka or set";
  for (const std::string& c : o.curves) {
    const auto curve = curve_by_name(c);
    if (!curve || *curve == Curve::frp256v1) return "--curve " + c + ": must be P-256 or brainpoolP256r1";
  }
  if (o.rounds < 1 || o.rounds > 1000) return "--pairs: must be from 1 to 1000";
  if (!(o.seconds >= 0.05 && o.seconds <= 600)) return "--seconds: must be from 0.05 to 600";
  if (!(o.open_seconds >= 0.05 && o.open_seconds <= 600)) return "--open-seconds: must be from 0.05 to 600";
  if (!(o.wait_quiet >= 0)) return "--wait-quiet: must not be negative";
  if (o.in_flight < 1 || o.in_flight > 1024) return "--in-flight: must be from 1 to 1024";
  if (o.workers > 64) return "--workers: must be from 1 to 64";
  if (o.threads > 64) return "--threads: must be from 1 to 64";
  for (const unsigned l : o.loads)
    if (l < 1 || l > 200) return fmt::format("--load {}: must be from 1 to 200 percent", l);
  if (o.sets > 100'000'000) return "--sets: must be at most 100000000";
  if (const auto p = proc::sibling("keyferry-hsm-worker"); !p) return p.error().detail;
  return {};
}

}  // namespace

int run_hsm(const HsmBenchOptions& o) {
  if (const std::string fault = fault_in(o); !fault.empty()) return complain(2, fault);
  proc::catch_interrupts();
  auto target = find_target(o);
  if (!target) return complain_of(target.error());
  Run run(o, std::move(*target));
  if (const Status s = run.set_up(); !s) return complain_of(s.error());
  const Status measured = run.measure();
  const HsmReport& r = run.report();
  std::fputs(to_text(document(r)).c_str(), stdout);
  std::fflush(stdout);
  if (!o.report_json.empty())
    if (const Status s = write_file(o.report_json, to_json(r).dump(2) + "\n"); !s) return complain_of(s.error());
  if (!o.report_html.empty())
    if (const Status s = write_file(o.report_html, to_html(document(r))); !s) return complain_of(s.error());
  for (const std::string& path : {o.report_json, o.report_html})
    if (!path.empty()) std::printf("  written      %s\n", path.c_str());
  std::fflush(stdout);
  if (!measured) return complain_of(measured.error());
  if (r.interrupted) return 130;
  if (r.clean()) return 0;
  for (const std::string& m : run.messages()) std::fprintf(stderr, "%s\n", one_line(m).c_str());
  return complain(1, fmt::format("not clean: {} wrong, {} lost, {} failed, {} ephemeral keys came twice", r.wrong,
                                 r.lost, r.failed, r.repeated_keys));
}

void add_hsm(CLI::App& app, int& status) {
  auto o = std::make_shared<HsmBenchOptions>();
  auto quick = std::make_shared<bool>(false);
  auto* s = app.add_subcommand(
      "hsm",
      "the HSM engine against bare PKCS#11 calls on the same token in the same run: rates, ratios, latency by load");
  s->footer(
      "Measures in rounds; in each, every kind of work runs side by side as bare calls by one process, through the\n"
      "engine with one worker, the same with all workers, and (download sets) through the engine with one job in\n"
      "flight. Ratios are taken within a round, their medians are the headline: a machine's mood drops out. Then sets\n"
      "arrive at random at parts of the measured saturation, and latency counts from when each should have arrived.\n"
      "\n"
      "  keyferry-bench hsm                                       a SoftHSM token of its own, about six minutes\n"
      "  keyferry-bench hsm --curve P-256 --report-html hsm.html  one curve, with plots\n"
      "  keyferry-bench hsm --config var/smdp.toml                the token of that configuration\n"
      "  keyferry-bench hsm --module /usr/lib/vendor.so --token pkcs11:token=dp --pin-file pin --identity SK.DP\n"
      "  keyferry-bench hsm --pairs 1 --check --sets 100000       does it stay right, and within its memory?\n"
      "\n"
      "Exit status: 0 nothing wrong, failed or lost; 1 something was; 2 wrong usage; 130 interrupted.");
  s->add_option("--config", o->config, "configuration of the SM-DP whose tokens are measured");
  s->add_option("--module", o->module, "PKCS#11 module to measure; needs --token, a PIN and --identity");
  s->add_option("--token", o->token, "PKCS#11 URI of the token");
  s->add_option("--pin-file", o->pin_file, "file that holds the PIN");
  s->add_option("--pin-env", o->pin_env, "environment variable that holds the PIN");
  s->add_option("--identity", o->identities, "key that signs: LABEL, or CURVE=LABEL; may be repeated");
  s->add_option("--env", o->environment, "NAME=VALUE for the processes that load the module; may be repeated");
  s->add_option("--dir", o->dir, "SoftHSM token when neither --config nor --module is given")->capture_default_str();
  s->add_option("--workers", o->workers, "worker processes in all (default: as configured; else 2)");
  s->add_option("--threads", o->threads, "sessions at work in each process (default: as configured; else 1)");
  s->add_option("--curve", o->curves, "P-256 or brainpoolP256r1; may be repeated (default: each with an identity key)");
  s->add_option("--kind", o->kinds,
                "sign, ecka or set (a download's ecka, then its signature); may be repeated "
                "(default: all)");
  s->add_option("--wait-quiet", o->wait_quiet,
                "seconds to spend in all on waiting for other programs to pause, and on repeating what they disturbed")
      ->capture_default_str();
  auto* pairs = s->add_option("--pairs", o->rounds, "rounds of direct and engine legs")->capture_default_str();
  auto* seconds = s->add_option("--seconds", o->seconds, "for each leg")->capture_default_str();
  auto* open =
      s->add_option("--open-seconds", o->open_seconds, "for each load with random arrivals")->capture_default_str();
  s->add_option("--in-flight", o->in_flight, "jobs under way for each worker at saturation")->capture_default_str();
  s->add_option("--load", o->loads, "percent of saturation at which work arrives at random")
      ->delimiter(',')
      ->capture_default_str();
  s->add_option("--seed", o->seed, "of the random arrivals")->capture_default_str();
  s->add_option("--sets", o->sets, "then so many download sets, each verified, with an eye on memory (default: none)");
  s->add_flag("--check", o->check,
              "verify every answer with OpenSSL, after each leg (default: those of every 64th job)");
  s->add_flag("--quick", *quick, "legs of 0.2 s, two rounds: does it work?");
  s->add_option("--report-json", o->report_json, "write the report as JSON");
  s->add_option("--report-html", o->report_html, "write the report as one HTML file with plots");
  s->callback([o, quick, pairs, seconds, open, &status] {
    if (*quick) {
      if (pairs->count() == 0) o->rounds = 2;
      if (seconds->count() == 0) o->seconds = 0.2;
      if (open->count() == 0) o->open_seconds = 0.2;
    }
    status = run_hsm(*o);
  });
}

}  // namespace kf::bench
