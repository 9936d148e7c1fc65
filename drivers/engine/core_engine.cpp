#include "drivers/engine/core_engine.hpp"

#include <poll.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>

#include "drivers/engine/core_unit.hpp"
#include "drivers/engine/opener.hpp"
#include "drivers/engine/past_lives.hpp"
#include "drivers/engine/readiness.hpp"
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

// What the engine holds of a core.
struct Unit {
  std::unique_ptr<CoreUnit> core;  // null: not up
  bool opening = false;
  bool troubled = false;  // a turn on a caller's thread met an error
  bool ended = false;     // the device has: to be looked at now
  Time next_try{}, looked{}, counters_read{};
  milliseconds pause{};
  PastLives past;
  std::uint64_t batches_at_check = 0;
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
  std::size_t held = 0;  // accepted and not yet polled
  bool stopping = false;
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
  std::vector<CoreView> views;
  double thread_seconds = 0, turn_seconds = 0;  // CPU of the engine's thread; of turns on callers' threads
  std::thread thread;

  Opener opener;

  explicit Impl(CoreEngineConfig c)
      : config(std::move(c)), units(std::max(1U, config.cores)), opener(config.open, [this] { wake.set(); }) {
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
    opener.ask(i);
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
    u.past.add(*u.core, e.text());
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
    while (auto o = opener.take()) {
      const unsigned i = o->core;
      auto& d = o->device;
      Unit& u = units[i];
      u.opening = false;
      if (d) {
        take_up(i, std::move(*d));
        say("core " + std::to_string(i) + " serves again");
      } else {
        u.past.why = d.error().text();
        u.next_try = now + u.pause;
        say("core " + std::to_string(i) + " cannot be opened: " + u.past.why + "; next try in " +
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
  Demand demand() const {
    Demand d;
    for (std::size_t c = 0; c < kUnitCurves; ++c) {
      if (!to_agree[c].empty()) d.agree[c] = {to_agree[c].size(), to_agree[c].front().since};
      if (!to_verify[c].empty()) d.verify[c] = {to_verify[c].size(), to_verify[c].front().since};
      d.keys_wanted[c] = wanted[c];
    }
    return d;
  }
  BatchingPolicy policy() const { return {config.batch_wait, config.keys_ahead}; }
  // The next batch into the ring of `u`; whether one went.
  bool feed(Unit& u, Time now) {
    const NextBatch b = next_batch(policy(), demand(), u.core->view(now), now);
    std::size_t went = 0;
    switch (b.kind) {
      case BatchKind::none:
        return false;
      case BatchKind::agree:
        entered(to_agree[b.curve], b.most, now);
        went = u.core->agree(b.curve, to_agree[b.curve], b.most);
        break;
      case BatchKind::verify:
        entered(to_verify[b.curve], b.most, now);
        went = u.core->verify(b.curve, to_verify[b.curve], b.most);
        break;
      case BatchKind::erase:
        return u.core->erase(b.most) != 0;
      case BatchKind::generate:
        went = u.core->generate(b.curve, b.most);
        break;
    }
    if (went != 0) sent(went, u);
    return went != 0;
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
    for (const Unit& u : units) s.cores.push_back(stats_of(u.past, u.core.get(), u.opening));
    s.batch_size = batch_size;
    s.queue_us = queue_us;
    s.retries = retries;
    s.timed_out = timed_out;
    s.thread_cpu_seconds = thread_seconds;
    s.turn_cpu_seconds = turn_seconds;
    const std::lock_guard g(lock);
    published = std::move(s);
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
    views.clear();
    for (const Unit& u : units)
      if (u.core) views.push_back(u.core->view(now));
    ready.at(look_again(policy(), demand(), views, now));
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
  for (unsigned i = 0; i < m.units.size(); ++i) m.open(i);
  for (unsigned n = 0; n < m.units.size(); ++n) {  // a core that cannot be opened at the start is a mistake to be told
    auto [i, d] = m.opener.wait();
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
  impl_->opener.stop();
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
