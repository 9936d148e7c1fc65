#include "drivers/engine/core_engine.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "drivers/engine/core_unit.hpp"
#include "host/crypto/software_engine.hpp"
#include "host/os/cpu_time.hpp"
#include "host/os/fd.hpp"

namespace kf::ecc {
namespace {

using Time = EngineClock::time_point;
using std::chrono::milliseconds;
constexpr milliseconds kLongestPause{10'000};
constexpr milliseconds kIdleLook{1000};     // a core without work is asked so often whether it is still there
constexpr milliseconds kCounterLook{5000};  // the core's own counters are read so often
constexpr milliseconds kOverdue{300};       // no answer for so long: look at the device's registers
constexpr milliseconds kSlowTurn{500};      // of the engine's thread, when nobody wakes it
constexpr milliseconds kSlowTurnWhileIdle{1000};
constexpr milliseconds kSlowTurnWhileDown{20};
constexpr std::chrono::microseconds kTurnWait{200};  // of poll() for a turn that another thread makes
constexpr double kLateEnough = 0.5;  // a batch that is not full joins the ring when so much of the one at work has
                                     // passed: preparing 64 jobs takes a tenth of an ECKA batch

// What the engine holds of a core.
struct Unit {
  std::unique_ptr<CoreUnit> core;  // null: not up
  bool opening = false;
  bool troubled = false;  // a turn on a caller's thread met an error
  bool ended = false;     // the device has: to be looked at now
  Time next_try{}, looked{}, counters_read{};
  milliseconds pause{};
  std::string why;
  UnitCounts lost_counts;  // of the cores that were here before
  std::uint64_t losses = 0, batches_at_check = 0;
  std::uint64_t lost_bad_completions = 0, lost_repeats = 0;
};

std::uint64_t bad_completions(const DeviceCounters& c) { return c.tags_not_due + c.missing + c.damaged + c.implausible + c.early; }
std::uint64_t repeats(const DeviceCounters& c) { return c.doorbells_repeated + c.heads_repeated; }

UnitCounts operator+(const UnitCounts& a, const UnitCounts& b) {
  return {
      a.generated + b.generated, a.agreed + b.agreed,         a.verified + b.verified,          a.batches + b.batches,
      a.faults + b.faults,       a.exceptions + b.exceptions, a.known_answers + b.known_answers};
}

// One descriptor that is readable when a caller has something to do: completions were delivered, a core has raised its
// interrupt, a moment has come.
class Readiness {
 public:
  Readiness()
      : epoll_(::epoll_create1(EPOLL_CLOEXEC)), timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
    if (!event_.open() || !epoll_.open() || !timer_.open()) std::abort();
    add(event_.fd(), kEvent);
    add(timer_.get(), kTimer);
  }
  [[nodiscard]] int fd() const { return epoll_.get(); }

  // The interrupt of core i, until forget(); -1: it has none.
  void watch(int fd, unsigned i) const {
    if (fd >= 0) add(fd, i);
  }
  void forget(int fd) const {
    if (fd >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  }
  void completions() const { event_.set(); }
  // Readable at that moment at the latest; max(): at none.
  void at(Time moment) {
    if (came_.exchange(false)) armed_ = Time::max();
    if (moment == armed_) return;
    armed_ = moment;
    itimerspec t{};
    if (moment != Time::max()) {
      const auto ns = std::max<std::int64_t>(
          1, std::chrono::duration_cast<std::chrono::nanoseconds>(moment - EngineClock::now()).count());
      t.it_value = {ns / 1'000'000'000, ns % 1'000'000'000};
    }
    ::timerfd_settime(timer_.get(), 0, &t, nullptr);
  }
  // What made it readable: a bit for each core with an interrupt. Nothing: it is not.
  std::optional<std::uint32_t> take() {
    std::array<epoll_event, 18> events;
    const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    if (n <= 0) return std::nullopt;
    std::uint32_t interrupts = 0;
    for (const auto& e : std::span(events).first(static_cast<std::size_t>(n))) {
      if (e.data.u32 == kEvent) {
        event_.clear();
      } else if (e.data.u32 == kTimer) {
        std::uint64_t expirations = 0;
        if (::read(timer_.get(), &expirations, sizeof expirations) < 0) continue;
        came_ = true;
      } else {
        interrupts |= 1U << e.data.u32;
      }
    }
    return interrupts;
  }

 private:
  static constexpr std::uint32_t kEvent = 100, kTimer = 101;
  void add(int fd, std::uint32_t who) const {
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.u32 = who;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) std::abort();
  }
  os::EventFd event_;
  os::Fd epoll_, timer_;
  Time armed_ = Time::max();       // of who makes the turn
  std::atomic<bool> came_{false};  // the timer has fired since
};

std::uint64_t micros(EngineClock::duration d) {
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::microseconds>(d).count()));
}

}  // namespace

struct CoreEngine::Impl {
  CoreEngineConfig config;
  os::EventFd wake;  // something for the engine's thread
  Readiness ready;   // what the caller watches: completions, the cores' interrupts, the moment a batch grows ripe

  mutable std::mutex lock;
  std::vector<Work> inbox;  // guarded by lock, as all below
  Queue<EccCompletion> outbox;
  std::size_t held = 0;                   // accepted and not yet polled
  bool stopping = false, closed = false;  // no more jobs; no more cores
  CoreEngineStats published;

  // A turn takes what has come, asks the cores and feeds them. The caller makes most turns itself, in submit() and
  // poll(): a batch then costs no thread but its own two wake-ups. The engine's thread makes the slow ones, in which
  // registers are read and cores come and go; the caller never waits for one (it tries the lock, and leaves its work in
  // the inbox). Taken before `lock`; guards all below.
  mutable std::timed_mutex turn;
  std::vector<Unit> units;
  std::array<Queue<Work>, kUnitCurves> to_agree, to_verify;
  std::array<bool, kUnitCurves> wanted{};
  Histogram batch_size, queue_us;
  std::uint64_t retries = 0, timed_out = 0;
  std::vector<EccCompletion> finished;
  Queue<Work> to_software;  // public data that the cores cannot decide
  std::vector<Work> come;   // taken from the inbox
  std::vector<UnitAnswer> answers;
  double thread_seconds = 0, turn_seconds = 0;  // CPU of the engine's thread; of turns on callers' threads
  std::thread thread;

  // Opening takes long, so it has a thread; one that lives as long as the engine, since a simulated core dies with the
  // thread that started it.
  std::condition_variable to_opener, from_opener;
  std::deque<unsigned> to_open;  // guarded by lock, like the next
  std::deque<std::pair<unsigned, Result<std::unique_ptr<Device>>>> opened;
  std::thread opener;

  explicit Impl(CoreEngineConfig c) : config(std::move(c)), units(std::max(1U, config.cores)) {
    for (const Curve k : config.curves) {
      if (curve_index(k) != kNoCurve) wanted[curve_index(k)] = true;
    }
  }

  void say(const std::string& line) const {
    if (config.log) config.log(line);
  }

  // ---- cores come and go
  void open(unsigned i) {
    units[i].opening = true;
    const std::lock_guard g(lock);
    to_open.push_back(i);
    to_opener.notify_one();
  }
  void serve_openings() {
    std::unique_lock g(lock);
    for (;;) {
      to_opener.wait(g, [this] { return closed || !to_open.empty(); });
      if (closed) return;
      const unsigned i = to_open.front();
      to_open.pop_front();
      g.unlock();
      auto d = config.open(i);
      g.lock();
      opened.emplace_back(i, std::move(d));
      from_opener.notify_one();
      wake.set();
    }
  }
  void take_up(unsigned i, std::unique_ptr<Device> d) {
    Unit& u = units[i];
    u.core = std::make_unique<CoreUnit>(std::move(d), config.keys_ahead);
    u.pause = config.reopen_pause;
    u.batches_at_check = 0;
    ready.watch(u.core->interrupt_fd(), i);
  }
  void lose(unsigned i, const Error& e, Time now) {
    Unit& u = units[i];
    ready.forget(u.core->interrupt_fd());
    std::vector<Work> back = u.core->give_up();
    u.lost_counts = u.lost_counts + u.core->counts();
    u.lost_bad_completions += bad_completions(u.core->device_counters());
    u.lost_repeats += repeats(u.core->device_counters());
    ++u.losses;
    u.why = e.text();
    u.core.reset();
    u.next_try = now;
    u.pause = config.reopen_pause;
    say("core " + std::to_string(i) + " lost: " + e.text() + "; " + std::to_string(back.size()) +
        " jobs are done again");
    for (auto& w : back) again(std::move(w), now);
  }
  void tend(Time now) {
    for (unsigned i = 0; i < units.size(); ++i) {
      Unit& u = units[i];
      if (!u.core && !u.opening && now >= u.next_try) open(i);
    }
    for (;;) {
      std::unique_lock g(lock);
      if (opened.empty()) return;
      const unsigned i = opened.front().first;
      auto d = std::move(opened.front().second);
      opened.pop_front();
      g.unlock();
      Unit& u = units[i];
      u.opening = false;
      if (d) {
        take_up(i, std::move(*d));
        say("core " + std::to_string(i) + " serves again");
      } else {
        u.why = d.error().text();
        u.next_try = now + u.pause;
        say("core " + std::to_string(i) + " cannot be opened: " + u.why + "; next try in " +
            std::to_string(u.pause.count()) + " ms");
        u.pause = std::min(2 * u.pause, kLongestPause);
      }
    }
  }

  // ---- requests
  void finish(EccCompletion c) { finished.push_back(std::move(c)); }
  void end(const Work& w, EccStatus s) {
    EccCompletion c;
    c.id = w.request.id;
    c.op = w.request.op;
    c.status = s;
    finish(std::move(c));
  }
  void again(Work w, Time now) {
    if (now >= w.deadline) {
      ++timed_out;
      end(w, EccStatus::timed_out);
      return;
    }
    ++retries;
    const std::size_t c = curve_index(w.request.curve);
    auto& queue = w.request.op == EccOp::verify ? to_verify[c] : to_agree[c];
    queue.push_front(std::move(w));
  }
  void accept(Work w) {
    const std::size_t c = curve_index(w.request.curve);
    if (w.request.op == EccOp::sign) {
      end(w, EccStatus::no_key);
    } else if (w.request.op == EccOp::verify && c == kNoCurve) {
      to_software.push_back(std::move(w));  // public data on a curve that certificates may have and the core has not
    } else if (c == kNoCurve || w.request.peer[0] != 4) {
      end(w, EccStatus::bad_input);
    } else {
      wanted[c] = true;
      (w.request.op == EccOp::verify ? to_verify[c] : to_agree[c]).push_back(std::move(w));
    }
  }
  void expire(Time now) {
    for (auto* queues : {&to_agree, &to_verify}) {
      for (auto& q : *queues) {
        q.erase_if([&](const Work& w) {
          if (now < w.deadline) return false;
          ++timed_out;
          end(w, EccStatus::timed_out);
          return true;
        });
      }
    }
  }

  // ---- batches
  // Whether n jobs, the oldest of them waiting since `since`, go into the ring of `u` now.
  bool ripe(const Unit& u, std::size_t n, Time since, Time now) const {
    if (n == 0) return false;
    if (n >= u.core->contexts()) return true;
    // An idle core: half a batch goes at once, since a core takes as long for one as for all and the wait would cost a
    // wake-up; less waits a little.
    if (u.core->batches() == 0) return 2 * n >= u.core->contexts() || now - since >= config.batch_wait;
    return u.core->progress(now) >= kLateEnough;
  }
  void sent(std::size_t n, Unit& u) {
    batch_size.add(n);
    if (config.known_answer_every != 0 && u.core->counts().batches - u.batches_at_check >= config.known_answer_every) {
      u.core->known_answer();
      u.batches_at_check = u.core->counts().batches;
    }
  }
  void entered(const Queue<Work>& works, std::size_t n, Time now) {
    for (std::size_t i = 0; i < n; ++i) queue_us.add(micros(now - works[i].since));
  }
  bool feed(Unit& u, Time now) {
    // One batch at work, one behind it.
    if (u.core->batches() >= 2) return false;
    const std::size_t full = u.core->contexts();
    for (std::size_t c = 0; c < kUnitCurves; ++c) {
      auto& q = to_agree[c];
      const std::size_t n = std::min({q.size(), u.core->keys_ready(c), full});
      if (ripe(u, n, q.empty() ? now : q.front().since, now)) {
        entered(q, n, now);
        if (const std::size_t k = u.core->agree(c, q, n); k != 0) return sent(k, u), true;
      }
    }
    for (std::size_t c = 0; c < kUnitCurves; ++c) {
      auto& q = to_verify[c];
      const std::size_t n = std::min(q.size(), full);
      if (ripe(u, n, q.empty() ? now : q.front().since, now)) {
        entered(q, n, now);
        if (const std::size_t k = u.core->verify(c, q, n); k != 0) return sent(k, u), true;
      }
    }
    if (u.core->has_doubtful_slots() && u.core->batches() == 0) {
      if (u.core->erase(full) != 0) return true;
    }
    // Keys: at once when somebody waits for one, else ahead in idle time.
    for (std::size_t c = 0; c < kUnitCurves; ++c) {
      const std::size_t have = u.core->keys_ready(c) + u.core->keys_coming(c);
      const bool short_of = to_agree[c].size() > have;
      const bool ahead = wanted[c] && u.core->batches() == 0 && have + full <= config.keys_ahead;
      if (!short_of && !ahead) continue;
      if (const std::size_t k = u.core->generate(c, full); k != 0) return sent(k, u), true;
    }
    return false;
  }

  // What is finished goes to whoever polls; the one who is polling needs no word of it.
  void deliver(bool to_poller) {
    if (finished.empty()) return;
    {
      const std::lock_guard g(lock);
      for (auto& c : finished) outbox.push_back(std::move(c));
    }
    finished.clear();
    // After the lock, which whoever wakes up wants at once.
    if (!to_poller) ready.completions();
  }

  // For those who ask: two histograms are 32 KiB, too much for every turn.
  void publish() {
    CoreEngineStats s;
    for (const Unit& u : units) {
      const UnitCounts n = u.core ? u.lost_counts + u.core->counts() : u.lost_counts;
      CoreEngineStats::Core c;
      c.state = u.core ? "up" : u.opening ? "opening" : "down";
      c.why = u.why;
      c.generated = n.generated;
      c.agreed = n.agreed;
      c.verified = n.verified;
      c.batches = n.batches;
      c.losses = u.losses;
      c.faults = n.faults;
      c.exceptions = n.exceptions;
      c.known_answers = n.known_answers;
      c.bad_completions = u.lost_bad_completions;
      c.repeats = u.lost_repeats;
      if (u.core) {
        c.where = u.core->where();
        c.keys_ready = static_cast<unsigned>(u.core->keys_ready(0) + u.core->keys_ready(1));
        c.in_flight = static_cast<unsigned>(u.core->in_flight());
        c.bad_completions += bad_completions(u.core->device_counters());
        c.repeats += repeats(u.core->device_counters());
        const CoreHardware& h = u.core->hardware();
        c.cycles = h.cycles;
        c.busy_cycles = h.busy_cycles;
        c.bad_descriptors = h.bad_descriptors;
        c.axi_errors = h.axi_errors;
        c.parity_faults = h.parity_faults;
        c.cycle_gate_faults = h.cycle_gate_faults;
        c.entropy_failures = h.entropy_failures;
      }
      s.cores.push_back(std::move(c));
    }
    s.batch_size = batch_size;
    s.queue_us = queue_us;
    s.retries = retries;
    s.timed_out = timed_out;
    s.thread_cpu_seconds = thread_seconds;
    s.turn_cpu_seconds = turn_seconds;
    const std::lock_guard g(lock);
    published = std::move(s);
  }

  // When a batch grows ripe by waiting; max(): nothing waits for a moment.
  Time ripe_at(Time now) const {
    Time soonest = Time::max();
    Time oldest = Time::max();
    for (const auto* queues : {&to_agree, &to_verify})
      for (const auto& q : *queues)
        if (!q.empty()) oldest = std::min(oldest, q.front().since);
    for (const Unit& u : units) {
      if (!u.core) continue;
      if (u.core->interrupt_fd() < 0 && u.core->in_flight() != 0) soonest = std::min(soonest, now + milliseconds(1));
      if (oldest == Time::max() || u.core->batches() >= 2) continue;
      const Time at = u.core->batches() == 0 ? oldest + config.batch_wait : u.core->when(kLateEnough);
      // Past it and still not sent: there is no key yet, and one will come with an interrupt.
      if (at > now) soonest = std::min(soonest, at);
      if (at <= now && u.core->batches() == 0) soonest = std::min(soonest, now + milliseconds(1));
    }
    return soonest;
  }

  bool take_inbox() {
    {
      const std::lock_guard g(lock);
      if (stopping) return false;
      come.swap(inbox);
    }
    for (auto& w : come) accept(std::move(w));
    come.clear();
    return true;
  }
  Status take_answers(Unit& u) {
    answers.clear();
    const Status s = u.core->poll(answers);
    const Time now = EngineClock::now();
    for (auto& a : answers) {
      switch (a.what) {
        case UnitAnswer::What::done:
          finish(std::move(a.completion));
          break;
        case UnitAnswer::What::again:
          again(std::move(a.work), now);
          break;
        case UnitAnswer::What::decide_in_software:
          to_software.push_back(std::move(a.work));
          break;
      }
    }
    return s;
  }
  void feed_all(Time now) {
    for (Unit& u : units) {
      while (u.core && feed(u, now)) {
      }
    }
    ready.at(ripe_at(now));
  }

  // On the caller's thread: nothing that could take long. What does is left to the engine's thread.
  void quick_turn(std::uint32_t interrupts, bool to_poller) {
    const double start = os::thread_cpu_seconds();
    if (!take_inbox()) return;
    bool trouble = !to_software.empty();
    for (std::size_t i = 0; i < units.size(); ++i) {
      Unit& u = units[i];
      if (!u.core) continue;
      if ((interrupts >> i & 1U) != 0) u.core->interrupted();
      if (u.troubled || (u.core->in_flight() != 0 && !take_answers(u).ok())) u.troubled = trouble = true;
    }
    feed_all(EngineClock::now());
    trouble = trouble || !to_software.empty();
    deliver(to_poller);
    if (trouble) wake.set();
    turn_seconds += os::thread_cpu_seconds() - start;
  }

  // Reads registers where it is time to; what is wrong with the core.
  Status examine(Unit& u, Time now) {
    if (std::exchange(u.ended, false)) {
      // Whatever else: the look finds out why.
    } else if (u.core->in_flight() == 0) {
      if (now - u.looked <= kIdleLook) return {};
    } else {
      const auto silent = now - u.core->last_answer();
      if (silent > config.silence_limit)
        return Error{"core-lost", "no answer for " + std::to_string(config.silence_limit.count()) + " ms"};
      if (std::min(silent, now - u.looked) <= kOverdue) return {};
    }
    u.looked = now;
    return u.core->check();
  }
  bool slow_turn() {
    if (!take_inbox()) return false;
    tend(EngineClock::now());
    for (unsigned i = 0; i < units.size(); ++i) {
      Unit& u = units[i];
      if (!u.core) continue;
      Status s = take_answers(u);
      const Time now = EngineClock::now();
      if (s.ok()) s = examine(u, now);
      if (s.ok() && now - u.counters_read > kCounterLook) {
        u.counters_read = now;
        if (u.core->look()) {
          say("core " + std::to_string(i) + " has counted faults in itself; it is asked for a known answer");
          u.core->known_answer();
        }
      }
      u.troubled = false;
      if (!s.ok()) lose(i, s.error(), now);
    }
    const Time now = EngineClock::now();
    expire(now);
    feed_all(now);
    for (; !to_software.empty(); to_software.pop_front()) finish(software_execute(to_software.front().request));
    deliver(false);
    thread_seconds = os::thread_cpu_seconds();
    return true;
  }
  // Each wake-up by time costs some sixty microseconds on a virtual machine, so there are few of them.
  milliseconds until_next_slow_turn() const {
    if (std::ranges::any_of(units, [](const Unit& u) { return !u.core; })) return kSlowTurnWhileDown;
    const auto none = [](const auto& queues) {
      return std::ranges::all_of(queues, [](const auto& q) { return q.empty(); });
    };
    const bool idle = none(to_agree) && none(to_verify) &&
                      std::ranges::all_of(units, [](const Unit& u) { return u.core->in_flight() == 0; });
    return idle ? kSlowTurnWhileIdle : kSlowTurn;
  }
  void run() {
    std::vector<pollfd> fds;
    std::vector<unsigned> of;  // whose end each tells
    for (;;) {
      milliseconds next{};
      fds.assign(1, {wake.fd(), POLLIN, 0});
      {
        const std::lock_guard t(turn);
        if (!slow_turn()) return;
        next = until_next_slow_turn();
        // A core that ends is missed at once. Only this thread closes these descriptors.
        of.assign(1, 0);
        for (unsigned i = 0; i < units.size(); ++i) {
          if (!units[i].core || units[i].core->end_fd() < 0) continue;
          fds.push_back({units[i].core->end_fd(), POLLIN, 0});
          of.push_back(i);
        }
      }
      ::poll(fds.data(), fds.size(), static_cast<int>(next.count()));
      wake.clear();
      const std::lock_guard t(turn);
      for (std::size_t k = 1; k < fds.size(); ++k)
        if (fds[k].revents != 0) units[of[k]].ended = true;
    }
  }
};

CoreEngine::CoreEngine(CoreEngineConfig c) : impl_(std::make_unique<Impl>(std::move(c))) {}

Result<std::unique_ptr<CoreEngine>> CoreEngine::start(CoreEngineConfig c) {
  std::unique_ptr<CoreEngine> e(new CoreEngine(std::move(c)));
  Impl& m = *e->impl_;
  m.opener = std::thread([&m] { m.serve_openings(); });
  for (unsigned i = 0; i < m.units.size(); ++i) m.open(i);
  for (unsigned n = 0; n < m.units.size(); ++n) {  // a core that cannot be opened at the start is a mistake to be told
    std::unique_lock g(m.lock);
    m.from_opener.wait(g, [&m] { return !m.opened.empty(); });
    const unsigned i = m.opened.front().first;
    auto d = std::move(m.opened.front().second);
    m.opened.pop_front();
    g.unlock();
    m.units[i].opening = false;
    if (!d) return Error{d.error().reason, "core " + std::to_string(i) + ": " + d.error().detail};
    m.take_up(i, std::move(*d));
  }
  m.publish();
  m.thread = std::thread([&m] { m.run(); });
  return e;
}

CoreEngine::~CoreEngine() {
  {
    const std::lock_guard g(impl_->lock);
    impl_->stopping = true;
  }
  impl_->wake.set();
  if (impl_->thread.joinable()) impl_->thread.join();
  impl_->units.clear();  // devices stop their cores while the thread that started these still lives
  {
    const std::lock_guard g(impl_->lock);
    impl_->closed = true;
    impl_->opened.clear();
    impl_->to_opener.notify_one();
  }
  if (impl_->opener.joinable()) impl_->opener.join();
}

int CoreEngine::event_fd() const noexcept { return impl_->ready.fd(); }

std::size_t CoreEngine::submit(std::span<const EccRequest> requests) noexcept {
  const auto now = EngineClock::now();
  std::size_t n = 0;
  {
    const std::lock_guard g(impl_->lock);
    n = std::min(requests.size(), impl_->config.queue_limit - impl_->held);
    for (std::size_t i = 0; i < n; ++i) {
      const Time own = now + impl_->config.job_limit;
      impl_->inbox.push_back(
          {requests[i], now, requests[i].deadline == Time{} ? own : std::min(own, requests[i].deadline)});
    }
    impl_->held += n;
  }
  if (n == 0) return 0;
  if (const std::unique_lock t(impl_->turn, std::try_to_lock); t)
    impl_->quick_turn(0, false);
  else
    impl_->wake.set();  // after the turn that is being made
  return n;
}

std::size_t CoreEngine::poll(std::span<EccCompletion> out) noexcept {
  Impl& m = *impl_;
  const auto take = [&] {
    const std::lock_guard g(m.lock);
    const std::size_t n = std::min(out.size(), m.outbox.size());
    for (std::size_t i = 0; i < n; ++i) {
      out[i] = std::move(m.outbox.front());
      m.outbox.pop_front();
    }
    m.held -= n;
    if (!m.outbox.empty()) m.ready.completions();  // for a caller who waits before it has taken all
    return n;
  };
  if (const std::size_t n = take(); n != 0) return n;
  // Readable until nothing is there: what comes from now on makes it readable again.
  const std::optional<std::uint32_t> interrupts = m.ready.take();
  if (!interrupts) return 0;
  // Interrupts that are not worked on keep the descriptor readable: a short wait, for not to spin meanwhile.
  if (const std::unique_lock t(m.turn, kTurnWait); t)
    m.quick_turn(*interrupts, true);
  else
    m.wake.set();
  return take();
}

CoreEngineStats CoreEngine::stats() const {
  // While the engine's thread is at a device, perhaps at one that does not answer: what was known before.
  if (const std::unique_lock t(impl_->turn, milliseconds(200)); t) impl_->publish();
  const std::lock_guard g(impl_->lock);
  return impl_->published;
}

}  // namespace kf::ecc
