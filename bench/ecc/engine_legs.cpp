#include "bench/ecc/engine_legs.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"

namespace kf::bench {
namespace {

using Clock = Player::Clock;
// The engine, with the CPU time that its caller spends in it.
class Metered final : public EccEngine {
 public:
  explicit Metered(EccEngine& e) : engine_(e) {}
  std::string_view name() const noexcept override { return engine_.name(); }
  int event_fd() const noexcept override { return engine_.event_fd(); }
  std::size_t submit(std::span<const EccRequest> requests) noexcept override {
    const double start = proc::thread_cpu_seconds();
    const std::size_t n = engine_.submit(requests);
    cpu_s += proc::thread_cpu_seconds() - start;
    return n;
  }
  std::size_t poll(std::span<EccCompletion> out) noexcept override {
    const double start = proc::thread_cpu_seconds();
    const std::size_t n = engine_.poll(out);
    cpu_s += proc::thread_cpu_seconds() - start;
    return n;
  }
  double cpu_s = 0;

 private:
  EccEngine& engine_;
};

}  // namespace

Result<std::unique_ptr<EngineLegs>> EngineLegs::start(unsigned cores) {
  std::unique_ptr<EngineLegs> e(new EngineLegs);
  for (unsigned i = 0; i < cores; ++i) e->taps_.push_back(std::make_unique<TapControl>());
  ecc::CoreEngineConfig c;
  c.cores = cores;
  EngineLegs* legs = e.get();
  c.open = [legs](unsigned i) -> Result<std::unique_ptr<ecc::Device>> {
    const auto start = Clock::now();
    KF_TRY(auto transport, open_tapped(*legs->taps_.at(i)));
    KF_TRY(auto device, ecc::Device::open(std::move(transport)));
    if (i == 0 && legs->facts_.contexts == 0) {  // at the start, which start() below waits for
      const ecc::Capabilities& k = device->capabilities();
      legs->facts_ = {k.version, k.build, k.contexts, k.ii, k.key_slots, seconds_between(start, Clock::now())};
    }
    return device;
  };
  KF_TRY(e->engine_, ecc::CoreEngine::start(std::move(c)));
  return e;
}

double EngineLegs::sim_cpu_s() const {
  double sum = 0;
  for (const auto& t : taps_)
    if (const auto s = proc::cpu_seconds(t->pid())) sum += *s;
  return sum;
}

std::uint64_t EngineLegs::faults() const {
  std::uint64_t n = 0;
  for (const auto& c : engine_->stats().cores) n += c.faults + c.losses;
  return n;
}

Result<PathRow> EngineLegs::run(const Plan& p, const Material& m, std::uint64_t& serial,
                                const std::function<void(const std::string&)>& tell) {
  PathRow row;
  row.path = "engine";
  row.operation = p.work == Work::verify ? "verify" : "ephemeral_ecka";
  row.curve = curve_name(m.curve(p.curve));
  row.cores = static_cast<unsigned>(taps_.size());
  row.depth = p.depth;
  row.in_turn = p.in_turn;
  row.contexts = facts_.contexts;
  row.ii = facts_.ii;
  const std::uint64_t jobs_each = p.work == Work::verify ? 1 : 2;

  Metered metered(*engine_);
  Judge judge(m, 0);
  const std::size_t places = std::size_t{p.depth} * taps_.size();
  Player player(metered, m, judge, serial, places, 1);

  // The counters are asked for at both ends; what is measured lies within. It begins a turn of the engine later, so
  // that reading them is not in its account.
  enum class Stage : std::uint8_t { warm_up, first_look, ready, measuring, last_look, over } stage = Stage::warm_up;
  const auto ask = [&](Look look) {
    for (auto& t : taps_) t->ask(look);
  };
  const auto counts = [&]() -> std::optional<CoreCounts> {
    CoreCounts all;
    for (auto& t : taps_) {
      const auto c = t->taken();
      if (!c) return {};
      all = all + *c;
    }
    return all;
  };
  CoreCounts before;
  ecc::CoreEngineStats stats;
  double waiting = 0, sim = 0;
  std::uint64_t done = 0;
  auto heard = Clock::now();
  auto told = heard;
  Clock::time_point begun{};
  Status result;
  while (stage != Stage::over && !proc::interrupted()) {
    const auto now = Clock::now();
    if (!p.in_turn || player.under_way() == 0) {
      while (player.begin(p.work, p.curve, now)) {
      }
    }
    std::size_t came = player.turn();
    if (came == 0) {
      const double start = proc::thread_cpu_seconds();
      // A wake-up by time costs more than one by an answer: none of the bench's own while it measures.
      player.wait(now + std::chrono::milliseconds(stage == Stage::measuring ? 1000 : 100));
      waiting += proc::thread_cpu_seconds() - start;
      came = player.turn();
    }
    const auto then = Clock::now();
    if (stage == Stage::measuring)
      for (const auto& x : player.ended())
        if (x.ok) row.latency_ms.push_back(1e3 * seconds_between(x.due, x.at));
    if (came != 0) heard = then;
    if (then - heard > kPatience) {
      result = Error{"silence", fmt::format("the engine has not answered for {} s", kPatience.count())};
      break;
    }
    if (then - told > std::chrono::milliseconds(500)) {
      told = then;
      tell(fmt::format("{} answers", player.completed()));
    }
    const bool turn_over = came != 0 && (!p.in_turn || player.under_way() == 0);
    switch (stage) {
      case Stage::warm_up:
        if (player.completed() < places) break;
        ask(Look::first);
        stage = Stage::first_look;
        break;
      case Stage::first_look:
        if (const auto c = counts()) {
          before = *c;
          stage = Stage::ready;
        }
        break;
      case Stage::ready:
        if (!turn_over) break;
        stats = engine_->stats();
        metered.cpu_s = waiting = 0;
        done = player.completed();
        sim = sim_cpu_s();
        begun = Clock::now();
        stage = Stage::measuring;
        break;
      case Stage::measuring: {
        if (!turn_over || then - begun < std::chrono::duration<double>(p.seconds)) break;
        row.seconds = seconds_between(begun, Clock::now());
        row.sim_cpu_s = sim_cpu_s() - sim;
        row.operations = row.cpu_operations = player.completed() - done;
        row.cpu_jobs = jobs_each * row.operations;
        row.calls_cpu_s = metered.cpu_s;
        row.waiting_cpu_s = waiting;
        const ecc::CoreEngineStats last = engine_->stats();
        row.engine_cpu_s = last.thread_cpu_seconds - stats.thread_cpu_seconds;
        row.batch = Distribution::between(stats.batch_size, last.batch_size);
        ask(Look::last);
        stage = Stage::last_look;
        break;
      }
      case Stage::last_look:
        if (const auto c = counts()) {
          const CoreCounts n = *c - before;
          row.cycles = n.cycles;
          row.busy_cycles = n.busy_cycles;
          row.mul_issued = n.mul_issued;
          row.jobs = n.jobs;
          row.batches = n.batches;
          stage = Stage::over;
        }
        break;
      case Stage::over:
        break;
    }
  }
  player.drain(kPatience);
  Tally t = player.tally();
  judge.finish(t);
  total_.add(t);
  if (!result.ok()) return result.error();
  return row;
}

}  // namespace kf::bench
