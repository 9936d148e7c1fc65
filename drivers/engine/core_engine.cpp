#include "drivers/engine/core_engine.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "drivers/engine/core_unit.hpp"
#include "host/crypto/software_engine.hpp"

namespace kf::ecc {
namespace {

using Time = EngineClock::time_point;
using std::chrono::milliseconds;
constexpr milliseconds kLongestPause{10'000};
constexpr milliseconds kIdleLook{1000};     // a core without work is asked so often whether it is still there
constexpr milliseconds kCounterLook{5000};  // the core's own counters are read so often
constexpr milliseconds kOverdue{300};       // no answer for so long: look at the device's registers
constexpr double kLateEnough = 0.5;  // a batch that is not full joins the ring when so much of the one at work has
                                     // passed: preparing 64 jobs takes a tenth of an ECKA batch

// What the engine holds of a core.
struct Unit {
  std::unique_ptr<CoreUnit> core;  // null: not up
  bool opening = false;
  Time next_try{}, looked{}, counters_read{};
  milliseconds pause{};
  std::string why;
  UnitCounts lost_counts;  // of the cores that were here before
  std::uint64_t losses = 0, batches_at_check = 0;
  std::uint64_t lost_bad_completions = 0, lost_repeats = 0;
};

std::uint64_t bad_completions(const DeviceCounters& c) { return c.tags_not_due + c.missing + c.implausible + c.early; }
std::uint64_t repeats(const DeviceCounters& c) { return c.doorbells_repeated + c.heads_repeated; }

UnitCounts operator+(const UnitCounts& a, const UnitCounts& b) {
  return {
      a.generated + b.generated, a.agreed + b.agreed,         a.verified + b.verified,          a.batches + b.batches,
      a.faults + b.faults,       a.exceptions + b.exceptions, a.known_answers + b.known_answers};
}

class EventFd {
 public:
  EventFd() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (fd_ < 0) std::abort();
  }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;
  ~EventFd() { ::close(fd_); }
  [[nodiscard]] int fd() const { return fd_; }
  void set() const noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(fd_, &one, sizeof one);
  }
  void clear() const noexcept {
    std::uint64_t n = 0;
    [[maybe_unused]] const auto r = ::read(fd_, &n, sizeof n);
  }

 private:
  int fd_;
};

std::uint64_t micros(EngineClock::duration d) {
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::microseconds>(d).count()));
}

}  // namespace

struct CoreEngine::Impl {
  CoreEngineConfig config;
  EventFd wake;   // something for the engine's thread
  EventFd event;  // completions wait

  mutable std::mutex lock;
  std::vector<Work> inbox;  // guarded by lock, as all below
  std::deque<EccCompletion> outbox;
  std::size_t held = 0;                   // accepted and not yet polled
  bool stopping = false, closed = false;  // no more jobs; no more cores
  CoreEngineStats published;
  bool stats_wanted = false;
  std::condition_variable stats_there;

  // The engine's thread only.
  std::vector<Unit> units;
  std::array<std::deque<Work>, kUnitCurves> to_agree, to_verify;
  std::array<bool, kUnitCurves> wanted{};
  Histogram batch_size, queue_us;
  std::uint64_t retries = 0, timed_out = 0;
  std::vector<EccCompletion> finished;
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
  }
  void lose(unsigned i, const Error& e, Time now) {
    Unit& u = units[i];
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
      finish(software_execute(w.request));  // public data on a curve that certificates may have and the core has not
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
        std::erase_if(q, [&](const Work& w) {
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
  void entered(const std::deque<Work>& works, std::size_t n, Time now) {
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

  // What is finished goes to whoever polls.
  void deliver() {
    if (finished.empty()) return;
    {
      const std::lock_guard g(lock);
      for (auto& c : finished) outbox.push_back(std::move(c));
    }
    finished.clear();
    // After the lock, which whoever wakes up wants at once. Readable and nothing there is cleared by the next poll().
    event.set();
  }

  // For those who asked: two histograms are 32 KiB, too much for every turn.
  void publish() {
    timespec t{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
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
    s.thread_cpu_seconds = static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
    const std::lock_guard g(lock);
    published = std::move(s);
    stats_wanted = false;
    stats_there.notify_all();
  }

  // How long nothing happens by itself: no request, no interrupt, and no batch that grows ripe by waiting.
  EngineClock::duration rest(Time now) const {
    EngineClock::duration most = milliseconds(200);
    Time oldest = Time::max();
    for (const auto* queues : {&to_agree, &to_verify})
      for (const auto& q : *queues)
        if (!q.empty()) oldest = std::min(oldest, q.front().since);
    for (const Unit& u : units) {
      if (!u.core) {
        most = std::min<EngineClock::duration>(most, milliseconds(20));
        continue;
      }
      if (u.core->interrupt_fd() < 0 && u.core->in_flight() != 0)
        most = std::min<EngineClock::duration>(most, milliseconds(1));
      if (oldest == Time::max() || u.core->batches() >= 2) continue;
      // Past it and still not sent: there is no key yet, and one will come with an interrupt.
      const Time ripe_at = u.core->batches() == 0 ? oldest + config.batch_wait : u.core->when(kLateEnough);
      if (ripe_at > now && ripe_at - now < most) most = ripe_at - now;
      if (ripe_at <= now && u.core->batches() == 0) most = std::min<EngineClock::duration>(most, milliseconds(1));
    }
    return most;
  }

  void run() {
    std::vector<UnitAnswer> answers;
    std::vector<pollfd> fds;
    for (;;) {
      std::vector<Work> come;
      bool asked = false;
      {
        const std::lock_guard g(lock);
        if (stopping) return;
        come.swap(inbox);
        asked = stats_wanted;
      }
      for (auto& w : come) accept(std::move(w));
      Time now = EngineClock::now();
      tend(now);
      for (unsigned i = 0; i < units.size(); ++i) {
        if (!units[i].core) continue;
        answers.clear();
        Status s = units[i].core->poll(answers);
        now = EngineClock::now();
        if (s.ok() && units[i].core->in_flight() == 0 && now - units[i].looked > kIdleLook) {
          s = units[i].core->check();
          units[i].looked = now;
        }
        if (s.ok() && units[i].core->in_flight() != 0) {
          const auto silent = now - std::max(units[i].core->last_answer(), units[i].looked);
          if (now - units[i].core->last_answer() > config.silence_limit) {
            s = Error{"core-lost", "no answer for " + std::to_string(config.silence_limit.count()) + " ms"};
          } else if (silent > kOverdue) {
            s = units[i].core->check();
            units[i].looked = now;
          }
        }
        if (s.ok() && now - units[i].counters_read > kCounterLook) {
          units[i].counters_read = now;
          if (units[i].core->look()) {
            say("core " + std::to_string(i) + " has counted faults in itself; it is asked for a known answer");
            units[i].core->known_answer();
          }
        }
        for (auto& a : answers) {
          switch (a.what) {
            case UnitAnswer::What::done:
              finish(std::move(a.completion));
              break;
            case UnitAnswer::What::again:
              again(std::move(a.work), now);
              break;
            case UnitAnswer::What::decide_in_software:
              finish(software_execute(a.work.request));
              break;
          }
        }
        if (!s.ok()) lose(i, s.error(), now);
      }
      expire(now);
      for (Unit& u : units) {
        while (u.core && feed(u, now)) {
        }
      }
      deliver();
      if (asked) publish();

      fds.clear();
      fds.push_back({wake.fd(), POLLIN, 0});
      for (const Unit& u : units) {
        if (u.core && u.core->interrupt_fd() >= 0) fds.push_back({u.core->interrupt_fd(), POLLIN, 0});
      }
      const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(rest(EngineClock::now())).count();
      const timespec t{left / 1'000'000'000, left % 1'000'000'000};
      ::ppoll(fds.data(), fds.size(), &t, nullptr);
      if ((fds[0].revents & POLLIN) != 0) wake.clear();
      std::size_t k = 1;
      for (Unit& u : units) {
        if (!u.core || u.core->interrupt_fd() < 0) continue;
        if ((fds[k++].revents & POLLIN) != 0) u.core->interrupted();
      }
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

int CoreEngine::event_fd() const noexcept { return impl_->event.fd(); }

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
  if (n != 0) impl_->wake.set();
  return n;
}

std::size_t CoreEngine::poll(std::span<EccCompletion> out) noexcept {
  const std::lock_guard g(impl_->lock);
  const std::size_t n = std::min(out.size(), impl_->outbox.size());
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = std::move(impl_->outbox.front());
    impl_->outbox.pop_front();
  }
  impl_->held -= n;
  if (impl_->outbox.empty()) impl_->event.clear();
  return n;
}

CoreEngineStats CoreEngine::stats() const {
  std::unique_lock g(impl_->lock);
  impl_->stats_wanted = true;
  impl_->wake.set();
  // The engine's thread is at a device at the moment, perhaps at one that does not answer: then what was known before.
  impl_->stats_there.wait_for(g, milliseconds(200), [this] { return !impl_->stats_wanted; });
  return impl_->published;
}

}  // namespace kf::ecc
