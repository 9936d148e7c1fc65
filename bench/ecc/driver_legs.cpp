#include "bench/ecc/driver_legs.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>

#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"

namespace kf::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kSigners = 16;
// The CPU time of this thread between its making and its end, added to a sum.
class Cpu {
 public:
  explicit Cpu(double& sum) : sum_(sum), start_(proc::thread_cpu_seconds()) {}
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;
  ~Cpu() { sum_ += proc::thread_cpu_seconds() - start_; }

 private:
  double& sum_;
  double start_;
};

}  // namespace

// One core's part of a round.
struct DriverLegs::Lane {
  Core* core = nullptr;
  EccWork* work = nullptr;
  std::vector<ecc::Descriptor> jobs;
  std::vector<ecc::Completion> answers;
  std::vector<Clock::time_point> at;  // of submission
  std::size_t sent = 0, got = 0;
  std::size_t batch = 0;  // jobs of the batch whose answers are coming
  Clock::time_point heard, looked;

  void take(std::vector<ecc::Descriptor> j) {
    jobs = std::move(j);
    answers.assign(jobs.size(), {});
    at.assign(jobs.size(), {});
    sent = got = batch = 0;
  }
  [[nodiscard]] std::size_t in_flight() const { return sent - got; }
};

struct DriverLegs::Sums {
  PathRow& row;
  Histogram batches;
};

Result<std::unique_ptr<DriverLegs>> DriverLegs::start(unsigned cores, std::uint64_t seed) {
  std::unique_ptr<DriverLegs> d(new DriverLegs);
  for (unsigned i = 0; i < cores; ++i) {
    Core c;
    const auto start = Clock::now();
    c.tap = std::make_unique<TapControl>();
    KF_TRY(auto transport, open_tapped(*c.tap));
    KF_TRY(c.device, ecc::Device::open(std::move(transport)));
    c.start_s = seconds_between(start, Clock::now());
    for (const Curve k : {Curve::p256, Curve::brainpool_p256r1}) c.work.emplace(k, EccWork(seed + i, k));
    d->cores_.push_back(std::move(c));
  }
  return d;
}

PathCore DriverLegs::facts() const {
  const ecc::Capabilities& c = cores_.front().device->capabilities();
  return {c.version, c.build, c.contexts, c.ii, c.key_slots, cores_.front().start_s};
}

double DriverLegs::sim_cpu_s() const {
  double sum = 0;
  for (const Core& c : cores_)
    if (const auto s = proc::cpu_seconds(c.tap->pid())) sum += *s;
  return sum;
}

void DriverLegs::account(EccPathReport& r) const {
  for (const Core& c : cores_) {
    for (const auto& [curve, w] : c.work) {
      r.answers += w.answers();
      r.checked += w.answers();
      r.wrong += w.wrong();
      for (const auto& [what, n] : w.failures()) r.failures["driver: " + what] += n;
    }
    const ecc::DeviceCounters& n = c.device->counters();
    r.device_faults += n.tags_not_due + n.missing + n.damaged + n.implausible + n.early + n.doorbells_repeated +
                       n.heads_repeated + n.resets_seen + n.lost;
  }
  r.lost += lost_;
}

Status DriverLegs::drive(std::vector<Lane>& lanes, const Plan& p, Seconds window, Sums* sums) {
  const std::size_t warm = std::min<std::size_t>(p.depth, lanes.front().core->device->contexts());
  double calls = 0, waiting = 0;
  bool measuring = false, measured = sums == nullptr, stop = false;
  Clock::time_point begun{};
  double sim = 0;
  std::uint64_t answered = 0;
  CoreCounts before;
  const auto counts = [&](Look look) {
    CoreCounts all;
    for (const Lane& l : lanes) all = all + read_counts(l.core->device->transport(), look);
    return all;
  };
  const auto begin = [&] {
    before = counts(Look::first);  // not within the measured time
    calls = waiting = 0;
    answered = 0;
    sim = sim_cpu_s();
    measuring = true;
    begun = Clock::now();
  };
  const auto end = [&] {
    PathRow& r = sums->row;
    r.seconds += seconds_between(begun, Clock::now());
    r.sim_cpu_s += sim_cpu_s() - sim;
    const CoreCounts c = counts(Look::last) - before;
    r.operations += answered;
    r.cpu_operations += answered;
    r.cpu_jobs += answered;
    r.calls_cpu_s += calls;
    r.waiting_cpu_s += waiting;
    r.cycles += c.cycles;
    r.busy_cycles += c.busy_cycles;
    r.mul_issued += c.mul_issued;
    r.jobs += c.jobs;
    r.batches += c.batches;
    measuring = false;
    measured = true;
  };

  std::vector<pollfd> fds;
  for (Lane& l : lanes) {
    fds.push_back({l.core->device->interrupt_fd(), POLLIN, 0});
    l.heard = l.looked = Clock::now();
  }
  for (;;) {
    bool all_sent = false, idle = true;
    for (Lane& l : lanes) {
      const std::size_t room = p.in_turn ? (l.in_flight() == 0 ? p.depth : 0) : p.depth - l.in_flight();
      const std::size_t n = stop ? 0 : std::min(room, l.jobs.size() - l.sent);
      if (n != 0) {
        if (l.in_flight() == 0) l.heard = Clock::now();
        std::fill_n(l.at.begin() + static_cast<std::ptrdiff_t>(l.sent), n, Clock::now());
        const Cpu cpu(calls);
        l.sent += l.core->device->submit(std::span(l.jobs).subspan(l.sent, n));
      }
      all_sent = all_sent || l.sent == l.jobs.size();
      idle = idle && l.in_flight() == 0;
    }
    if (measuring && all_sent && !p.in_turn) end();
    if (idle) {
      if (measuring) end();
      return {};
    }
    {
      const Cpu cpu(waiting);
      ::poll(fds.data(), fds.size(), 200);
      for (std::size_t i = 0; i < lanes.size(); ++i)
        if ((fds[i].revents & POLLIN) != 0) lanes[i].core->device->rearm_interrupt();
    }
    std::size_t came = 0;
    bool warmed = true;
    for (Lane& l : lanes) {
      std::size_t n = 0;
      if (l.in_flight() != 0) {
        const Cpu cpu(calls);
        n = l.core->device->poll(std::span(l.answers).subspan(l.got, l.in_flight()));
      }
      const auto now = Clock::now();
      for (std::size_t i = l.got; i < l.got + n; ++i) {
        if (l.answers[i].context == 0 && l.batch != 0) {
          if (measuring) sums->batches.add(l.batch);
          l.batch = 0;
        }
        ++l.batch;
        if (measuring) sums->row.latency_ms.push_back(1e3 * seconds_between(l.at[i], now));
      }
      l.got += n;
      came += n;
      if (measuring) answered += n;
      warmed = warmed && l.got >= warm;
      if (n != 0) l.heard = l.looked = now;
      if (l.in_flight() != 0 && now - l.looked > std::chrono::seconds(1)) {
        l.looked = now;
        KF_CHECK(l.core->device->check());
        if (now - l.heard > kPatience)
          return Error{"silence",
                       fmt::format("a core has not answered {} jobs for {} s", l.in_flight(), kPatience.count())};
      }
    }
    if (came == 0) continue;
    // The window is counted from its beginning: a core that is slow at first is measured, too.
    const bool over = proc::interrupted() || (measuring && Clock::now() - begun >= window);
    // In turn: a window is whole turns.
    if (!measuring && !measured && warmed && !over &&
        (!p.in_turn || std::ranges::all_of(lanes, [](const Lane& l) { return l.in_flight() == 0; })))
      begin();
    if (over && !stop) {
      if (measuring && !p.in_turn) end();
      stop = true;
    }
  }
}

// Drives, then judges; what was not answered is lost.
Status DriverLegs::round(std::vector<Lane>& lanes, const Plan& p, Seconds window, Sums* sums) {
  Status s = drive(lanes, p, window, sums);
  for (Lane& l : lanes) {
    // A device that is lost still answers for what it owes.
    if (!s.ok()) l.got += l.core->device->poll(std::span(l.answers).subspan(l.got, l.in_flight()));
    lost_ += l.in_flight();
    l.work->asked(l.got);
    l.work->judge(std::span(l.answers).first(l.got));
  }
  return s;
}

Result<PathRow> DriverLegs::run(const Plan& p, const std::function<void(const std::string&)>& tell) {
  PathRow row;
  row.path = "driver";
  row.operation = p.operation;
  row.curve = curve_name(p.curve);
  row.cores = p.cores;
  row.depth = p.depth;
  row.in_turn = p.in_turn;
  row.contexts = cores_.front().device->contexts();
  row.ii = cores_.front().device->capabilities().ii;
  Sums sums{row, {}};
  std::vector<Lane> lanes(p.cores);
  for (unsigned i = 0; i < p.cores; ++i) {
    lanes[i].core = &cores_.at(i);
    lanes[i].work = &cores_.at(i).work.at(p.curve);
  }
  // What is done for it and not measured: as fast as it goes.
  Plan aside = p;
  aside.depth = kDeepest;
  aside.in_turn = false;
  // As many jobs as there are slots; fewer where a batch holds few, since keys that are not used were made in vain.
  const std::size_t jobs =
      p.depth < 32 ? kDeepest : std::min<std::size_t>(2 * kDeepest, cores_.front().device->key_slots());

  const auto give_up =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(5 * p.seconds + 20));
  while (row.seconds < p.seconds && Clock::now() < give_up && !proc::interrupted()) {
    tell(fmt::format("{:.1f} of {} s", row.seconds, p.seconds));
    if (p.operation == "ecka" || p.operation == "sign") {
      const bool sign = p.operation == "sign";
      for (Lane& l : lanes) l.take(l.work->generate(sign ? kSigners : jobs, sign));
      KF_CHECK(round(lanes, aside, {}, nullptr));
    }
    for (Lane& l : lanes) {
      if (p.operation == "ephemeral") l.take(l.work->generate(jobs, false));
      if (p.operation == "ecka") l.take(l.work->ecka(jobs));
      if (p.operation == "sign") l.take(l.work->sign(2 * jobs));
      if (p.operation == "verify") l.take(l.work->verify(2 * jobs));
    }
    KF_CHECK(round(lanes, p, Seconds(std::max(0.1, p.seconds - row.seconds)), &sums));
    if (p.operation != "verify") {  // a slot that holds a key takes no other
      for (Lane& l : lanes) l.take(l.work->erase(p.operation == "sign" ? kSigners : jobs));
      KF_CHECK(round(lanes, aside, {}, nullptr));
    }
  }
  if (row.operations == 0 && !proc::interrupted())
    return Error{"not measured", fmt::format("{} on {} with {} in flight: no window held an answer", p.operation,
                                             curve_name(p.curve), p.depth)};
  row.batch = Distribution::between({}, sums.batches);
  return row;
}

}  // namespace kf::bench
