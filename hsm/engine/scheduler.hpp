// Which job goes to which worker, and what becomes of it: the engine's books. Values in, values out; the only things it
// touches are the rings of the links it was given.
//
// A job: queued -> sent (in one link's ring) -> done -> collected; or back to queued, when it may be tried again. It
// leaves exactly once. Tried again is what left nothing outside: until a completion is collected, nobody has seen a
// signature or an ephemeral key of it, so that a second attempt never puts a second ephemeral key beside a challenge
// already signed.
//
// Balance: a job goes where it will be finished first, by the measured service time of each link, operation and curve.
// A link holds no more than about 10 ms of work; the rest waits here, where any link can take it. A slow link still
// gets jobs from the tail of a long queue: those that would wait longer here than it needs.
//
// Bounded: `entries` jobs in all. No allocation after construction but for links coming and going. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "host/base/histogram.hpp"
#include "host/crypto/engine.hpp"
#include "hsm/engine/link.hpp"

namespace kf::hsm {

class Scheduler {
 public:
  using Ns = std::uint64_t;  // wire::now_ns()
  struct Options {
    std::size_t entries = 1024;
    std::size_t tokens = 1;
    Ns job_limit = 10'000'000'000;
  };
  struct Counters {
    std::uint64_t retries = 0, timed_out = 0, busy = 0, engine_down = 0;
    Histogram batch_size, queue_us, service_us;
  };
  struct TokenBooks {
    TokenState state = TokenState::starting;
    bool draining = false;
    unsigned consecutive = 0;  // device-class failures of different jobs in a row
    std::uint64_t jobs = 0, device_errors = 0;
  };
  struct LinkBooks {
    LinkPtr link;
    std::uint64_t jobs = 0, batches = 0, doorbells = 0;
    double service_ns = 0;  // lately
  };

  // `token_broken` is called when one token gave too many device-class failures in a row; `link_idle` when a link that
  // was asked to retire holds nothing any more.
  Scheduler(const Options& o, std::function<void(std::size_t)> token_broken, std::function<void()> link_idle);

  std::size_t submit(std::span<const EccRequest> requests, Ns now) noexcept;
  void take(const Mail& m, Ns now);
  void drain(std::size_t token, bool on) noexcept { tokens_[token].draining = on; }
  // Completions out of the rings, deadlines, retries, jobs into the rings, doorbells.
  void turn(Ns now) noexcept;
  bool collect(EccCompletion& out) noexcept;
  [[nodiscard]] bool has_done() const noexcept { return done_.size() != 0; }
  // Before the thread sleeps: true when it may; false when completions came in the meantime.
  bool prepare_sleep() noexcept;
  [[nodiscard]] Ns next_due() const noexcept { return next_due_; }  // a deadline or a retry; ~0: none

  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }
  [[nodiscard]] const TokenBooks& token(std::size_t i) const noexcept { return tokens_[i]; }
  [[nodiscard]] std::size_t outstanding_in(std::size_t token) const noexcept;  // jobs sent to it
  [[nodiscard]] std::vector<LinkBooks> links() const;

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  static constexpr std::size_t kOps = 3, kCurves = 4;
  enum class State : std::uint8_t { free, queued, resting, sent, done };  // resting: until not_before, then queued
  struct Job {
    State state = State::free;
    std::uint8_t attempts = 0;       // ended by class busy, session, key or device
    std::uint8_t kills = 0;          // workers that died or hung with it in hand
    std::uint8_t device_faults = 0;  // on a token that was well otherwise
    std::uint16_t avoid = 0xFFFF;    // token of the last failure
    std::uint32_t generation = 0;    // in the tag: an answer to an earlier attempt is recognised
    std::uint64_t id = 0;
    Ns deadline = 0, since = 0, not_before = 0;
    wire::JobEntry entry{};
    wire::DoneEntry result{};
  };
  struct Lane {
    LinkPtr link;
    bool retiring = false;
    unsigned busy_streak = 0;  // answers of class busy in a row
    Ns rest_until = 0;         // after one: a full token that fails fast must not look like a fast one
    std::vector<std::uint32_t> free_slots;
    std::vector<std::uint32_t> job_of;  // by slot; kNone: free, kAbandoned: its job has left
    std::vector<double> cost_of;        // by slot, as estimated when it was sent
    double work_ns = 0;                 // of what is in it, by estimate
    std::size_t inside = 0;
    double estimate_ns[kOps][kCurves] = {};
    Ns sampled_at = 0;
    std::uint32_t fresh = 0;  // pushed in this turn
    std::uint64_t jobs = 0, batches = 0, doorbells = 0;
    double service_ns = 0;
    [[nodiscard]] double& estimate(const wire::JobEntry& j) noexcept;
    [[nodiscard]] double finish(const wire::JobEntry& j) noexcept { return (work_ns + estimate(j)) / link->threads; }
    [[nodiscard]] bool room(const wire::JobEntry& j) noexcept;
  };
  // Numbers of jobs, first in first out at the front; the tail can be taken too.
  class IndexQueue {
   public:
    explicit IndexQueue(std::size_t capacity) : a_(capacity) {}
    [[nodiscard]] std::size_t size() const noexcept { return n_; }
    [[nodiscard]] std::uint32_t at(std::size_t i) const noexcept { return a_[(head_ + i) % a_.size()]; }
    void push(std::uint32_t v) noexcept { a_[(head_ + n_++) % a_.size()] = v; }
    void push_front(std::uint32_t v) noexcept {
      head_ = (head_ + a_.size() - 1) % a_.size();
      a_[head_] = v;
      ++n_;
    }
    std::uint32_t take(std::size_t i) noexcept {
      const std::uint32_t v = at(i);
      if (i == 0) return pop();
      erase(i);
      return v;
    }
    std::uint32_t pop() noexcept {
      const std::uint32_t v = a_[head_];
      head_ = (head_ + 1) % a_.size();
      --n_;
      return v;
    }
    std::uint32_t pop_tail() noexcept { return at(--n_); }
    void erase(std::size_t i) noexcept {
      for (; i + 1 < n_; ++i) a_[(head_ + i) % a_.size()] = at(i + 1);
      --n_;
    }

   private:
    std::vector<std::uint32_t> a_;
    std::size_t head_ = 0, n_ = 0;
  };
  static constexpr std::uint32_t kAbandoned = kNone - 1;

  void receive(Lane& l, Ns now) noexcept;
  void complete(Lane& l, std::uint32_t slot, const wire::DoneEntry& d, Ns now) noexcept;
  void failed_attempt(std::uint32_t index, Lane& l, const wire::DoneEntry& d, Ns now) noexcept;
  void again(std::uint32_t index, Ns not_before, bool front) noexcept;
  void finish(std::uint32_t index, EccStatus s) noexcept;
  void lose(const LinkPtr& link, Ns now);
  void free_slot(Lane& l, std::uint32_t slot) noexcept;
  void due(Ns now) noexcept;  // deadlines, rests
  void answer_all_down() noexcept;
  void dispatch(Ns now) noexcept;
  void send(Lane& l, std::uint32_t index) noexcept;
  [[nodiscard]] bool usable(const Lane& l) const noexcept;
  [[nodiscard]] std::size_t next_dispatchable(std::size_t from, Lane*& best, Lane*& full, double& threads,
                                              Ns now) noexcept;
  [[nodiscard]] bool hope() const noexcept;
  [[nodiscard]] bool elsewhere(std::size_t token) const noexcept;

  const Options options_;
  std::function<void(std::size_t)> token_broken_;
  std::function<void()> link_idle_;
  std::vector<Job> jobs_;
  std::vector<std::uint32_t> free_;
  IndexQueue queue_, done_;
  std::size_t resting_ = 0;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<TokenBooks> tokens_;
  Counters counters_;
  Ns next_due_ = ~Ns{0};
  std::minstd_rand jitter_{std::random_device{}()};
};

}  // namespace kf::hsm
