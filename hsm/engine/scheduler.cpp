#include "hsm/engine/scheduler.hpp"

#include <algorithm>
#include <cstring>

namespace kf::hsm {
namespace {

using Ns = Scheduler::Ns;

constexpr double kFirstGuess = 200'000;  // ns: a service time before the first measurement
constexpr double kLaneWork =
    12'000'000;  // ns of work a lane holds for each thread: longer than the engine's thread is away
constexpr Ns kForget = 2'000'000'000;  // an estimate without a sample for so long is halved: a slow link is tried again
constexpr unsigned kBroken = 3;        // device-class failures in a row until a token counts as down
constexpr unsigned kMaxAttempts = 6;   // by class busy, session, key, device
constexpr unsigned kMaxKills = 2;      // workers lost with one job in hand until the job is suspected
constexpr unsigned kMaxDeviceFaults = 3;  // device-class failures of one job on a token that is well otherwise
constexpr Ns kFirstRest = 5'000'000;      // doubled for each attempt, with jitter

std::size_t op_index(std::uint8_t op) noexcept { return std::min<std::size_t>(op, 2); }
std::size_t curve_index(std::uint8_t curve) noexcept {
  switch (static_cast<Curve>(curve)) {
    case Curve::p256:
      return 0;
    case Curve::brainpool_p256r1:
      return 1;
    case Curve::frp256v1:
      return 2;
  }
  return 3;
}

}  // namespace

double& Scheduler::Lane::estimate(const wire::JobEntry& j) noexcept {
  return estimate_ns[op_index(j.op)][curve_index(j.curve)];
}

bool Scheduler::Lane::room(const wire::JobEntry& j) noexcept {
  if (inside >= wire::kSlots) return false;
  return inside < std::size_t{2} * link->threads || finish(j) <= kLaneWork;
}

Scheduler::Scheduler(const Options& o, std::function<void(std::size_t)> token_broken, std::function<void()> link_idle)
    : options_(o),
      token_broken_(std::move(token_broken)),
      link_idle_(std::move(link_idle)),
      jobs_(o.entries),
      queue_(o.entries),
      done_(o.entries),
      tokens_(o.tokens) {
  free_.reserve(o.entries);
  for (std::size_t i = o.entries; i-- > 0;) free_.push_back(static_cast<std::uint32_t>(i));
}

// ---- in and out

std::size_t Scheduler::submit(std::span<const EccRequest> requests, Ns now) noexcept {
  const bool down = !hope();
  std::size_t n = 0;
  for (; n < requests.size() && !free_.empty(); ++n) {
    const EccRequest& r = requests[n];
    const std::uint32_t index = free_.back();
    free_.pop_back();
    Job& j = jobs_[index];
    j.attempts = j.kills = j.device_faults = 0;
    j.avoid = 0xFFFF;
    j.id = r.id;
    j.since = now;
    const auto wanted = std::chrono::duration_cast<std::chrono::nanoseconds>(r.deadline.time_since_epoch()).count();
    j.deadline = wanted > 0 ? static_cast<Ns>(wanted) : now + options_.job_limit;
    next_due_ = std::min(next_due_, j.deadline);
    j.entry.op = static_cast<std::uint8_t>(r.op);
    j.entry.curve = static_cast<std::uint8_t>(r.curve);
    std::memcpy(j.entry.hash, r.hash.data(), sizeof j.entry.hash);
    std::memcpy(j.entry.peer, r.peer.data(), sizeof j.entry.peer);
    std::memcpy(j.entry.signature, r.signature.data(), sizeof j.entry.signature);
    if (down) {
      finish(index, EccStatus::engine_down);
    } else {
      j.state = State::queued;
      queue_.push(index);
    }
  }
  if (!down) dispatch(now);
  return n;
}

bool Scheduler::collect(EccCompletion& out) noexcept {
  if (done_.size() == 0) return false;
  const std::uint32_t index = done_.pop();
  Job& j = jobs_[index];
  out.id = j.id;
  out.op = static_cast<EccOp>(j.entry.op);
  out.status = static_cast<EccStatus>(j.result.status);
  std::memcpy(out.signature.data(), j.result.signature, out.signature.size());
  std::memcpy(out.epk.data(), j.result.epk, out.epk.size());
  std::memcpy(out.shs.expose_mut().data(), j.result.shs, sizeof j.result.shs);
  wipe(&j.result, sizeof j.result);
  j.state = State::free;
  free_.push_back(index);
  return true;
}

void Scheduler::finish(std::uint32_t index, EccStatus s) noexcept {
  Job& j = jobs_[index];
  if (s == EccStatus::timed_out) ++counters_.timed_out;
  if (s == EccStatus::busy) ++counters_.busy;
  if (s == EccStatus::engine_down) ++counters_.engine_down;
  wipe(&j.result, sizeof j.result);
  j.result.status = static_cast<std::uint8_t>(s);
  j.state = State::done;
  ++j.generation;
  done_.push(index);
}

// ---- links and tokens

void Scheduler::take(const Mail& m, Ns now) {
  switch (m.kind) {
    case Mail::Kind::ready: {
      auto l = std::make_unique<Lane>();
      l->link = m.link;
      l->job_of.assign(wire::kSlots, kNone);
      l->cost_of.assign(wire::kSlots, 0);
      l->free_slots.reserve(wire::kSlots);
      for (std::uint32_t i = wire::kSlots; i-- > 0;) l->free_slots.push_back(i);
      for (auto& row : l->estimate_ns) std::fill(std::begin(row), std::end(row), kFirstGuess);
      l->sampled_at = now;
      l->link->ring->announce_sleep();
      lanes_.push_back(std::move(l));
      break;
    }
    case Mail::Kind::lost:
      lose(m.link, now);
      break;
    case Mail::Kind::retire:
      for (auto& l : lanes_) {
        if (l->link == m.link) l->retiring = true;
      }
      break;
    case Mail::Kind::token:
      tokens_[m.token].state = m.state;
      tokens_[m.token].consecutive = 0;
      break;
  }
  if (!hope()) answer_all_down();
}

void Scheduler::lose(const LinkPtr& link, Ns now) {
  const auto it = std::find_if(lanes_.begin(), lanes_.end(), [&](const auto& l) { return l->link == link; });
  if (it == lanes_.end()) return;
  Lane& l = **it;
  receive(l, now);  // what it finished counts
  std::vector<std::uint32_t> in_hand;
  for (std::uint32_t t = 0; t < wire::kMaxThreads; ++t) {
    const auto& busy = l.link->ring->memory().busy[t];
    if (busy.since.load(std::memory_order_acquire) != 0) in_hand.push_back(busy.slot.load(std::memory_order_relaxed));
  }
  for (std::uint32_t slot = wire::kSlots; slot-- > 0;) {
    const std::uint32_t index = l.job_of[slot];
    if (index >= jobs_.size()) continue;
    Job& j = jobs_[index];
    const bool suspect = std::find(in_hand.begin(), in_hand.end(), slot) != in_hand.end();
    if (suspect && ++j.kills >= kMaxKills) {
      finish(index, EccStatus::failed);
    } else {
      ++counters_.retries;
      again(index, 0, true);
    }
  }
  lanes_.erase(it);
}

bool Scheduler::usable(const Lane& l) const noexcept {
  const TokenBooks& t = tokens_[l.link->token];
  return t.state == TokenState::up && !t.draining && !l.retiring;
}

bool Scheduler::hope() const noexcept {
  return std::any_of(tokens_.begin(), tokens_.end(), [](const TokenBooks& t) {
    return !t.draining && (t.state == TokenState::up || t.state == TokenState::starting);
  });
}

bool Scheduler::elsewhere(std::size_t token) const noexcept {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [&](const auto& l) { return l->link->token != token && usable(*l); });
}

void Scheduler::answer_all_down() noexcept {
  while (queue_.size() != 0) finish(queue_.pop(), EccStatus::engine_down);
  for (std::uint32_t i = 0; resting_ != 0 && i < jobs_.size(); ++i) {
    if (jobs_[i].state != State::resting) continue;
    --resting_;
    finish(i, EccStatus::engine_down);
  }
}

std::size_t Scheduler::outstanding_in(std::size_t token) const noexcept {
  std::size_t n = 0;
  for (const auto& l : lanes_) n += l->link->token == token ? l->inside : 0;
  return n;
}

std::vector<Scheduler::LinkBooks> Scheduler::links() const {
  std::vector<LinkBooks> out;
  for (const auto& l : lanes_) out.push_back({l->link, l->jobs, l->batches, l->doorbells, l->service_ns});
  return out;
}

// ---- one turn

void Scheduler::turn(Ns now) noexcept {
  for (const auto& l : lanes_) {
    receive(*l, now);
    if (now - l->sampled_at > kForget && now > l->sampled_at) {
      for (auto& row : l->estimate_ns) {
        for (double& e : row) e = std::max(e / 2, 1'000.0);
      }
      l->sampled_at = now;
    }
    if (l->retiring && l->inside == 0 && !l->link->idle.exchange(true)) link_idle_();
  }
  if (now >= next_due_) due(now);
  if (hope()) {
    dispatch(now);
  } else {
    answer_all_down();
  }
}

bool Scheduler::prepare_sleep() noexcept {
  for (const auto& l : lanes_) l->link->ring->announce_sleep();
  return std::none_of(lanes_.begin(), lanes_.end(), [](const auto& l) { return l->link->ring->done_waits(); });
}

void Scheduler::receive(Lane& l, Ns now) noexcept {
  std::uint32_t slot = 0;
  wire::DoneEntry d{};
  bool any = false;
  // No more than can be under way at once: a worker gone mad could go on for ever.
  for (std::uint32_t left = wire::kSlots; left != 0 && l.link->ring->pop_done(slot); --left) {
    if (slot >= wire::kSlots || l.job_of[slot] == kNone) continue;  // a worker gone mad: its numbers are not believed
    l.link->ring->read_done(slot, d);
    complete(l, slot, d, now);
    any = true;
  }
  if (any) wipe(&d, sizeof d);
}

void Scheduler::free_slot(Lane& l, std::uint32_t slot) noexcept {
  l.job_of[slot] = kNone;
  l.work_ns = std::max(0.0, l.work_ns - l.cost_of[slot]);
  --l.inside;
  l.free_slots.push_back(slot);
}

void Scheduler::complete(Lane& l, std::uint32_t slot, const wire::DoneEntry& d, Ns now) noexcept {
  const std::uint32_t index = l.job_of[slot];
  free_slot(l, slot);
  ++l.jobs;
  TokenBooks& t = tokens_[l.link->token];
  ++t.jobs;
  if (index == kAbandoned) return;
  Job& j = jobs_[index];
  if (d.tag != j.entry.tag || d.op != j.entry.op || d.status > static_cast<std::uint8_t>(EccStatus::failed)) {
    // Not an answer to this job. The slot is used up, the job is as if its worker had died.
    ++counters_.retries;
    return again(index, 0, true);
  }
  const auto fault = static_cast<wire::Fault>(d.fault);
  const auto sample = static_cast<double>(d.service_ns);
  if (fault == wire::Fault::none) {  // a failure says nothing about how long the work takes
    double& e = l.estimate(j.entry);
    e = e == kFirstGuess ? sample : e + (sample - e) / 16;
    l.service_ns += (sample - l.service_ns) / 16;
    l.sampled_at = now;
    counters_.service_us.add(d.service_ns / 1000);
    counters_.queue_us.add(d.begun_ns > j.since ? (d.begun_ns - j.since) / 1000 : 0);
    l.busy_streak = 0;
  }
  if (fault != wire::Fault::device || d.healthy != 0) t.consecutive = 0;
  if (fault == wire::Fault::none || fault == wire::Fault::job) {
    j.result = d;
    j.state = State::done;
    ++j.generation;
    done_.push(index);
    return;
  }
  failed_attempt(index, l, d, now);
}

void Scheduler::failed_attempt(std::uint32_t index, Lane& l, const wire::DoneEntry& d, Ns now) noexcept {
  Job& j = jobs_[index];
  const std::size_t token = l.link->token;
  TokenBooks& t = tokens_[token];
  const auto fault = static_cast<wire::Fault>(d.fault);
  ++counters_.retries;
  ++j.attempts;
  j.avoid = static_cast<std::uint16_t>(token);
  if (fault == wire::Fault::busy) {
    if (now >= l.rest_until) {  // one rest for all answers of one batch
      l.rest_until = now + (kFirstRest << std::min(l.busy_streak, 5U));
      ++l.busy_streak;
    }
    next_due_ = std::min(next_due_, l.rest_until);
  }
  if (fault == wire::Fault::device) {
    ++t.device_errors;
    if (d.healthy != 0) {
      if (++j.device_faults >= kMaxDeviceFaults) return finish(index, EccStatus::failed);
    } else if (++t.consecutive >= kBroken && t.state == TokenState::up) {
      t.state = TokenState::down;
      token_broken_(token);
    }
  }
  if (j.attempts >= kMaxAttempts) {
    const bool full = fault == wire::Fault::busy;
    const bool own = fault == wire::Fault::session || fault == wire::Fault::key;
    return finish(index, full ? EccStatus::busy : (own ? EccStatus::failed : EccStatus::engine_down));
  }
  if (fault == wire::Fault::fatal || elsewhere(token)) return again(index, 0, true);
  const Ns rest = kFirstRest << j.attempts;
  again(index, now + rest / 2 + jitter_() % rest, false);
}

void Scheduler::again(std::uint32_t index, Ns not_before, bool front) noexcept {
  Job& j = jobs_[index];
  ++j.generation;
  if (not_before != 0) {
    j.state = State::resting;
    j.not_before = not_before;
    ++resting_;
    next_due_ = std::min(next_due_, not_before);
    return;
  }
  j.state = State::queued;
  if (front) {
    queue_.push_front(index);
  } else {
    queue_.push(index);
  }
}

void Scheduler::due(Ns now) noexcept {
  next_due_ = ~Ns{0};
  bool gone_from_queue = false;
  for (std::uint32_t i = 0; i < jobs_.size(); ++i) {
    Job& j = jobs_[i];
    if (j.state == State::free || j.state == State::done) continue;
    if (now >= j.deadline) {
      if (j.state == State::resting) --resting_;
      if (j.state == State::sent) {
        for (const auto& l : lanes_) {
          std::replace(l->job_of.begin(), l->job_of.end(), i, kAbandoned);
        }
      }
      gone_from_queue = gone_from_queue || j.state == State::queued;
      finish(i, EccStatus::timed_out);
      continue;
    }
    if (j.state == State::resting && now >= j.not_before) {
      --resting_;
      j.state = State::queued;
      queue_.push(i);
    }
    next_due_ = std::min(next_due_, j.state == State::resting ? std::min(j.deadline, j.not_before) : j.deadline);
  }
  for (const auto& l : lanes_) {
    if (l->rest_until > now) next_due_ = std::min(next_due_, l->rest_until);
  }
  if (gone_from_queue) {
    for (std::size_t i = queue_.size(); i-- > 0;) {
      if (jobs_[queue_.at(i)].state != State::queued) queue_.erase(i);
    }
  }
}

void Scheduler::send(Lane& l, std::uint32_t index) noexcept {
  Job& j = jobs_[index];
  const std::uint32_t slot = l.free_slots.back();
  l.free_slots.pop_back();
  l.job_of[slot] = index;
  l.cost_of[slot] = l.estimate(j.entry);
  l.work_ns += l.cost_of[slot];
  ++l.inside;
  j.entry.tag = (std::uint64_t{j.generation} << 32) | index;
  j.state = State::sent;
  l.link->ring->job(slot) = j.entry;
  l.link->ring->push(slot);
  ++l.fresh;
}

// The first job from `from` on that some link may take now; `best` has room for it, `full` is the faster one without
// room.
std::size_t Scheduler::next_dispatchable(std::size_t from, Lane*& best, Lane*& full, double& threads, Ns now) noexcept {
  constexpr std::size_t kLookAhead = 64;  // jobs passed over because they avoid the only token with room
  const std::size_t end = std::min(queue_.size(), from + kLookAhead);
  for (std::size_t i = from; i < end; ++i) {
    Job& j = jobs_[queue_.at(i)];
    const bool avoiding = j.avoid != 0xFFFF && elsewhere(j.avoid);
    best = full = nullptr;
    threads = 0;
    for (const auto& l : lanes_) {
      if (!usable(*l) || now < l->rest_until || (avoiding && l->link->token == j.avoid)) continue;
      Lane*& x = l->room(j.entry) ? best : full;
      if (x == nullptr || l->finish(j.entry) < x->finish(j.entry)) x = l.get();
      threads += l->link->threads;
    }
    if (best != nullptr) return i;
    if (!avoiding) break;  // nobody has room for anything
  }
  return queue_.size();
}

void Scheduler::dispatch(Ns now) noexcept {
  for (std::size_t at = 0; queue_.size() != 0;) {
    Lane* best = nullptr;
    Lane* full = nullptr;
    double threads = 0;
    at = next_dispatchable(at, best, full, threads, now);
    if (at >= queue_.size()) break;
    Job& head = jobs_[queue_.at(at)];
    if (full == nullptr || best->finish(head.entry) <= full->finish(head.entry)) {
      send(*best, queue_.take(at));
      continue;
    }
    // Only slower links have room. The last of the queue would wait for all before it: a slow link may be faster for
    // it.
    const double wait = static_cast<double>(queue_.size()) * full->estimate(head.entry) / threads;
    Job& tail = jobs_[queue_.at(queue_.size() - 1)];
    if (tail.avoid == best->link->token || best->finish(tail.entry) >= full->finish(head.entry) + wait) break;
    send(*best, queue_.pop_tail());
  }
  for (const auto& l : lanes_) {
    if (l->fresh == 0) continue;
    counters_.batch_size.add(l->fresh);
    ++l->batches;
    l->fresh = 0;
    if (l->link->ring->ring_doorbell()) ++l->doorbells;
  }
}

}  // namespace kf::hsm
