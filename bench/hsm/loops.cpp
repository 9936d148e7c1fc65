#include "bench/hsm/loops.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"

namespace kf::bench {
namespace {

using Clock = Player::Clock;

constexpr double kLongestWarmUp = 10;  // seconds, for an engine that is slow or stands still

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}
Clock::duration duration_of(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// CPU time of everybody who takes part, and its difference. A worker that was replaced meanwhile counts as nothing.
struct Cost {
  double workers = 0, process = 0, caller = 0, machine = 0;
  static Cost now(const std::vector<int>& workers) {
    Cost c;
    for (const int pid : workers)
      if (const auto s = proc::cpu_seconds(pid)) c.workers += *s;
    c.process = proc::own_cpu_seconds();
    c.caller = proc::thread_cpu_seconds();
    c.machine = proc::machine_busy_seconds();
    return c;
  }
};

struct Histograms {
  explicit Histograms(const hsm::HsmEngine& e) : before(e.stats()) {}
  template <class Row>
  void take(const hsm::HsmEngine& e, Row& row) const {
    const hsm::HsmStats after = e.stats();
    row.batch_size = Distribution::between(before.batch_size, after.batch_size);
    row.queue_us = Distribution::between(before.queue_us, after.queue_us);
    row.service_us = Distribution::between(before.service_us, after.service_us);
  }
  hsm::HsmStats before;
};

// Timers of this thread that fire when asked to, not 50 us later.
class SharpTimers {
 public:
  SharpTimers() { ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); }
  SharpTimers(const SharpTimers&) = delete;
  SharpTimers& operator=(const SharpTimers&) = delete;
  ~SharpTimers() { ::prctl(PR_SET_TIMERSLACK, 0UL, 0UL, 0UL, 0UL); }
};

void settle(Stage& s, Player& p, Judge& j) {
  p.drain(s.patience);
  s.total.add(p.tally());
  j.finish(s.total);
}

std::uint64_t rss_of(pid_t pid) {
  const auto r = proc::rss_bytes(pid);
  return r ? *r : 0;
}

}  // namespace

Full run_full(hsm::HsmEngine& e, Stage& s, Work w, std::size_t curve, std::size_t in_flight, double seconds) {
  Full out;
  Judge judge(*s.material, 0);
  Player p(e, *s.material, judge, s.serial, in_flight, s.judge_every);
  const Histograms histograms(e);
  const std::vector<int> workers = e.worker_pids();

  const auto start = Clock::now();
  const auto warm_at = start + duration_of(seconds / 20);
  const auto hurry_at = start + duration_of(std::max(seconds, kLongestWarmUp));
  auto to = Clock::time_point::max();  // known when the warm-up is over
  Cost before;
  auto measured_from = start;
  std::uint64_t done_before = 0;
  bool measuring = false;
  auto now = start;
  // Begun all alike, sets would move through the engine's queue in waves, first every key agreement, then every
  // signature, and the count would hang on where in a wave the time ends. So every other one begins with its signature.
  for (std::size_t i = 0; i < in_flight && p.begin(w, curve, now, w == Work::set && i % 2 == 1); ++i) {
  }
  while (now < to && !proc::interrupted()) {
    if (p.turn() == 0) p.wait(std::min(to, now + std::chrono::milliseconds(50)));
    now = Clock::now();
    if (!measuring && now >= warm_at && (p.completed() >= in_flight || now >= hurry_at)) {
      measuring = true;
      measured_from = now;
      to = now + duration_of(seconds);
      done_before = p.completed();
      before = Cost::now(workers);
    }
    while (p.begin(w, curve, now)) {
    }
  }
  const Cost after = Cost::now(workers);
  if (measuring) {
    out.done = p.completed() - done_before;
    out.seconds = seconds_between(measured_from, now);
    out.per_s = out.seconds > 0 ? static_cast<double>(out.done) / out.seconds : 0;
    out.worker_cpu_s = std::max(0.0, after.workers - before.workers);
    out.process_cpu_s = after.process - before.process;
    out.caller_cpu_s = after.caller - before.caller;
    const double others = after.machine - before.machine - out.worker_cpu_s - out.process_cpu_s;
    out.other_cpus = out.seconds > 0 ? std::max(0.0, others / out.seconds) : 0;
  }
  settle(s, p, judge);
  histograms.take(e, out);
  return out;
}

OpenRow run_open(hsm::HsmEngine& e, Stage& s, Work w, std::size_t curve, double per_s, double seconds,
                 std::uint64_t seed) {
  OpenRow out;
  out.kind = to_string(w);
  out.curve = curve_name(s.material->curve(curve));
  if (!(per_s > 0)) return out;
  Judge judge(*s.material, 0);
  Player p(e, *s.material, judge, s.serial, Player::kMostUnits, s.judge_every);
  const Histograms histograms(e);
  const SharpTimers sharp;
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> pause(per_s);
  const auto expected = static_cast<std::size_t>(per_s * seconds * 1.2) + 64;
  out.latency_ms.reserve(expected);
  out.late_us.reserve(expected);

  const auto start = Clock::now();
  const auto to = start + duration_of(seconds);
  const auto give_up = to + s.patience;
  auto next = start + duration_of(pause(random));
  std::uint64_t offered = 0;
  auto last = start;
  const auto take_ended = [&] {
    for (const auto& x : p.ended()) {
      if (x.ok) out.latency_ms.push_back(seconds_between(x.due, x.at) * 1e3);
      last = std::max(last, x.at);
    }
  };
  // Who arrives while no place is free still arrived then: the time from the intended arrival counts.
  while (next < to || p.under_way() > 0) {
    auto now = Clock::now();
    if (now >= give_up || proc::interrupted()) break;
    while (next < to && next <= now && p.begin(w, curve, next)) {
      out.late_us.push_back(seconds_between(next, now) * 1e6);
      ++offered;
      next += duration_of(pause(random));
      now = Clock::now();
    }
    const std::size_t taken = p.turn();
    take_ended();
    if (taken == 0) p.wait(next < to ? next : give_up);
  }
  settle(s, p, judge);
  out.seconds = seconds_between(start, std::max(last, to));
  out.offered_per_s = static_cast<double>(offered) / seconds;
  out.done_per_s = out.seconds > 0 ? static_cast<double>(out.latency_ms.size()) / out.seconds : 0;
  histograms.take(e, out);
  return out;
}

Endurance run_endurance(hsm::HsmEngine& e, Stage& s, std::uint64_t sets, std::size_t in_flight,
                        std::size_t memory_budget, const std::function<void(std::uint64_t)>& tell) {
  Endurance out;
  out.sets = sets;
  out.memory_budget_bytes = memory_budget;
  const hsm::HsmStats before = e.stats();
  Judge judge(*s.material, sets);
  judge.start();
  Player p(e, *s.material, judge, s.serial, in_flight, 1);
  out.samples.reserve(4096);

  out.rss_start_bytes = out.rss_peak_bytes = rss_of(::getpid());
  const auto start = Clock::now();
  auto look_at = start;
  const auto look = [&](Clock::time_point now) {
    look_at = now + std::chrono::milliseconds(500);
    out.rss_end_bytes = rss_of(::getpid());
    out.rss_peak_bytes = std::max(out.rss_peak_bytes, out.rss_end_bytes);
    std::uint64_t largest = 0;
    for (const int pid : e.worker_pids()) largest = std::max(largest, rss_of(pid));
    out.worker_rss_peak_bytes = std::max(out.worker_rss_peak_bytes, largest);
    if (out.samples.size() < out.samples.capacity())
      out.samples.push_back(
          {seconds_between(start, now), static_cast<double>(out.rss_end_bytes), static_cast<double>(largest)});
    tell(out.completed);
  };
  std::uint64_t begun = 0;
  auto progress_at = start;
  const auto begin_more = [&](Clock::time_point now) {
    while (begun < sets && p.begin(Work::set, begun % s.material->curves(), now)) ++begun;
  };
  begin_more(start);
  while (p.under_way() > 0 && !proc::interrupted()) {
    const std::size_t taken = p.turn();
    const auto now = Clock::now();
    if (taken > 0) progress_at = now;
    out.completed = p.completed();
    begin_more(now);
    if (now >= look_at) look(now);
    if (now - progress_at > s.patience) break;  // the engine gives nothing any more
    if (taken == 0) p.wait(look_at);
  }
  const auto end = Clock::now();
  p.drain(s.patience);
  out.completed = p.completed();
  Tally t = p.tally();
  judge.finish(t);
  s.total.add(t);
  out.seconds = seconds_between(start, end);
  look(end);
  out.wrong = t.wrong;
  out.lost = t.lost;
  out.failed = t.failed;
  out.repeated_keys = t.repeated_keys;
  const hsm::HsmStats after = e.stats();
  for (std::size_t i = 0; i < after.workers.size(); ++i) {
    const auto& w = after.workers[i];
    const bool known = i < before.workers.size();
    out.workers.push_back({w.token, w.pid, w.jobs - (known ? before.workers[i].jobs : 0),
                           w.restarts - (known ? before.workers[i].restarts : 0),
                           w.recycled - (known ? before.workers[i].recycled : 0), w.pid != 0 ? rss_of(w.pid) : 0});
  }
  if (const auto n = e.session_objects()) out.session_objects = *n;
  return out;
}

}  // namespace kf::bench
