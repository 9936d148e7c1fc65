#include "bench/ecc/through.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "bench/ecc/driver_legs.hpp"
#include "bench/ecc/engine_legs.hpp"
#include "bench/load/console.hpp"
#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"
#include "bench/report/ecc_report.hpp"  // kEccOperations

namespace kf::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr unsigned kMostCores = 8;

class Through {
 public:
  Through(const EccBenchOptions& o, const std::vector<Curve>& curves, EccPathReport& r)
      : options_(o), curves_(curves), report_(r) {
    deepest_ = *std::ranges::max_element(o.depths);
  }

  Status run() {
    for (const auto& path : report_.paths) {
      KF_CHECK(start(path));
      KF_CHECK(legs(path));
      account();
    }
    return {};
  }
  // Also after an error: what was answered until then.
  void account() {
    if (driver_) driver_->account(report_);
    for (const auto& [n, e] : engines_) {
      const Tally& t = e->tally();
      report_.answers += t.operations;
      report_.checked += t.checked;
      report_.wrong += t.wrong;
      report_.failed += t.failed;
      report_.lost += t.lost;
      report_.repeated_keys += t.repeated_keys;
      for (const auto& [what, k] : t.failures) report_.failures[what] += k;
      report_.device_faults += e->faults();
    }
    driver_.reset();
    engines_.clear();
  }
  [[nodiscard]] double sim_cpu_s() const {
    double sum = driver_ ? driver_->sim_cpu_s() : 0;
    for (const auto& [n, e] : engines_) sum += e->sim_cpu_s();
    return sum;
  }

 private:
  Status start(const std::string& path) {
    const unsigned most = *std::ranges::max_element(options_.cores);
    progress_.part(fmt::format("{}: starting cores", path));
    if (path == "driver") {
      KF_TRY(driver_, DriverLegs::start(most, options_.seed));
      report_.core = driver_->facts();
      return {};
    }
    for (const unsigned n : options_.cores)
      if (!engines_.contains(n)) {
        KF_TRY(engines_[n], EngineLegs::start(n));
      }
    report_.core = engines_.begin()->second->facts();
    if (!material_) {
      std::vector<std::pair<Curve, Point>> no_identity;  // nothing is signed here
      for (const Curve c : curves_) no_identity.emplace_back(c, Point{});
      material_.emplace(no_identity);
    }
    return {};
  }

  [[nodiscard]] std::vector<std::string_view> operations(const std::string& path) const {
    if (path == "driver") return {kEccOperations.begin(), kEccOperations.end()};
    return {"ecka", "verify"};
  }

  Status legs(const std::string& path) {
    const unsigned first = options_.cores.front();
    for (const std::string_view op : operations(path)) {
      for (std::size_t c = 0; c < curves_.size(); ++c) {
        for (const unsigned depth : options_.depths) {
          if (proc::interrupted()) return {};
          KF_TRY(auto row, leg(path, op, c, first, depth, false));
          report_.rows.push_back(std::move(row));
        }
        // What a job costs when so many go together.
        KF_TRY(auto row, leg(path, op, c, first, kCostBatch, true));
        report_.rows.push_back(std::move(row));
      }
    }
    for (const unsigned n : options_.cores)
      if (n != 1 && std::ranges::find(options_.cores, 1U) != options_.cores.end()) KF_CHECK(pairs(path, n));
    return {};
  }

  // Side by side, the first of the two in turn.
  Status pairs(const std::string& path, unsigned n) {
    for (std::size_t c = 0; c < curves_.size(); ++c) {
      PathPair pair;
      pair.path = path;
      pair.operation = path == "driver" ? "ecka" : "ephemeral_ecka";
      pair.curve = curve_name(curves_[c]);
      pair.cores = n;
      for (unsigned round = 0; round < options_.rounds && !proc::interrupted(); ++round) {
        std::map<unsigned, PathRow> two;
        for (const bool second : {false, true}) {
          const unsigned cores = second == (round % 2 == 0) ? n : 1;
          KF_TRY(two[cores], leg(path, "ecka", c, cores, std::max(deepest_, 128U), false));
        }
        if (two[1].operations == 0 || two[n].operations == 0) continue;  // broken off
        pair.one_per_s.push_back(two[1].per_s());
        pair.more_per_s.push_back(two[n].per_s());
        pair.other_cpus.push_back(std::max(two[1].other_cpus, two[n].other_cpus));
        if (round == 0) report_.rows.push_back(std::move(two[n]));
      }
      report_.pairs.push_back(std::move(pair));
    }
    return {};
  }

  Result<PathRow> leg(const std::string& path, std::string_view op, std::size_t curve, unsigned cores, unsigned depth,
                      bool in_turn) {
    progress_.part(fmt::format("{}: {} on {}, {} in flight{}, {} core{}", path, op, curve_name(curves_[curve]), depth,
                               in_turn ? " in turn" : "", cores, cores == 1 ? "" : "s"));
    const auto tell = [this](const std::string& now) { progress_.show(now); };
    const double busy = proc::machine_busy_seconds();
    const double ours = proc::own_cpu_seconds() + sim_cpu_s();
    const auto start = Clock::now();
    const auto result = [&]() -> Result<PathRow> {
      if (path == "driver") {
        DriverLegs::Plan p;
        p.operation = op;
        p.curve = curves_[curve];
        p.cores = cores;
        p.depth = depth;
        p.in_turn = in_turn;
        p.seconds = options_.seconds;
        return driver_->run(p, tell);
      }
      EngineLegs::Plan p;
      p.work = op == "verify" ? Work::verify : Work::ecka;
      p.curve = curve;
      p.depth = depth;
      p.in_turn = in_turn;
      p.seconds = options_.seconds;
      return engines_.at(cores)->run(p, *material_, serial_, tell);
    };
    KF_TRY(auto row, result());
    const double wall = std::chrono::duration<double>(Clock::now() - start).count();
    const double others = proc::machine_busy_seconds() - busy - (proc::own_cpu_seconds() + sim_cpu_s() - ours);
    row.other_cpus = busy > 0 && wall > 0 ? std::max(0.0, others / wall) : 0;
    return row;
  }

  const EccBenchOptions& options_;
  const std::vector<Curve>& curves_;
  EccPathReport& report_;
  Progress progress_{"ecc"};
  unsigned deepest_ = 1;
  std::unique_ptr<DriverLegs> driver_;
  std::map<unsigned, std::unique_ptr<EngineLegs>> engines_;  // by number of cores
  std::optional<Material> material_;
  std::uint64_t serial_ = 0;
};

}  // namespace

std::string fault_in_through(const EccBenchOptions& o) {
  if (o.through != "driver" && o.through != "engine" && o.through != "both")
    return "--through " + o.through + ": must be core, driver, engine or both";
  for (const unsigned d : o.depths)
    if (d < 1 || d > DriverLegs::kDeepest)
      return fmt::format("--queue-depth {}: must be from 1 to {}", d, DriverLegs::kDeepest);
  for (const unsigned n : o.cores)
    if (n < 1 || n > kMostCores) return fmt::format("--cores {}: must be from 1 to {}", n, kMostCores);
  if (o.depths.empty()) return "--queue-depth: must name at least one";
  if (o.cores.empty()) return "--cores: must name at least one";
  if (o.rounds < 1 || o.rounds > 1000) return "--rounds: must be from 1 to 1000";
  if (!(o.seconds >= 0.05 && o.seconds <= 3600)) return "--seconds: must be from 0.05 to 3600";
  return {};
}

Status measure_through(const EccBenchOptions& o, const std::vector<Curve>& curves, EccPathReport& r) {
  r.seed = o.seed;
  r.seconds = o.seconds;
  r.rounds = o.rounds;
  r.depths = o.depths;
  r.cores = o.cores;
  r.paths = o.through == "both" ? std::vector<std::string>{"driver", "engine"} : std::vector<std::string>{o.through};
  r.command =
      fmt::format("keyferry-bench ecc --through {} --queue-depth {} --cores {} --seconds {} --rounds {} --seed {}",
                  o.through, fmt::join(o.depths, ","), fmt::join(o.cores, ","), o.seconds, o.rounds, o.seed);
  for (const Curve c : curves) {
    r.curves.emplace_back(curve_name(c));
    if (!o.curves.empty()) r.command += fmt::format(" --curve {}", curve_name(c));
  }
  Through t(o, curves, r);
  const Status s = t.run();
  t.account();
  r.interrupted = proc::interrupted();
  double others = 0;
  for (const auto& x : r.rows) others += x.other_cpus;
  r.other_cpus = r.rows.empty() ? 0 : others / static_cast<double>(r.rows.size());
  return s;
}

}  // namespace kf::bench
