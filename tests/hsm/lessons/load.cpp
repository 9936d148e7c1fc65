#include "tests/hsm/lessons/load.hpp"

#include <poll.h>

#include <algorithm>
#include <cmath>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"

namespace kf::hsm::testing {

Load::Load(HsmEngine& e, const LoadPlan& plan) : engine_(e), plan_(plan), open_(65'536) {
  if (const auto q = e.public_key(plan.curve)) own_ = *q;
  for (Peer& p : peers_) {
    KeyPair k = generate_key_pair(plan.curve);
    p.q = k.q;
    p.d = std::move(k.d);
  }
}

EccRequest Load::make(std::uint64_t id, Clock::time_point due) {
  EccRequest r;
  r.id = id;
  r.op = !plan_.eckas || (plan_.signs && id % 2 == 1) ? EccOp::sign : EccOp::ephemeral_ecka;
  r.curve = plan_.curve;
  if (plan_.deadline.count() > 0) r.deadline = due + plan_.deadline;
  Open& o = open_[id % open_.size()];
  o.peer = id % peers_.size();
  if (r.op == EccOp::sign) {
    random_fill(r.hash);
  } else {
    r.peer = peers_[o.peer].q;
  }
  if (o.open) ADD_FAILURE() << "job " << o.request.id << " has not been answered for " << open_.size() << " jobs";
  o.open = true;
  o.request = r;
  o.due = due;
  return r;
}

bool Load::right(const Open& o, const EccCompletion& c) {
  if (c.op != o.request.op) return false;
  if (!plan_.check) return true;
  if (c.op == EccOp::sign) {
    leading_zeros_ += c.signature[0] == 0 || c.signature[32] == 0 ? 1 : 0;
    return ecdsa_verify(plan_.curve, own_, o.request.hash, c.signature);
  }
  const auto expected = ecka(plan_.curve, peers_[o.peer].d.expose(), c.epk);
  return expected.ok() && equal_ct(expected->expose(), c.shs.expose());
}

void Load::take(const EccCompletion& c, Clock::time_point now) {
  Open& o = open_[c.id % open_.size()];
  if (!o.open || o.request.id != c.id) {
    ++wrong_;
    ADD_FAILURE() << "job " << c.id << " was answered twice, or never asked";
    return;
  }
  o.open = false;
  --in_flight_;
  ++by_status_[static_cast<std::size_t>(c.status)];
  if (c.status == EccStatus::ok && !right(o, c)) ++wrong_;
  if (plan_.keep_samples) samples_.push_back({o.due, now, c.op, c.status});
}

void Load::turn(bool more, Clock::time_point begun, std::uint64_t limit) {
  const auto now = Clock::now();
  if (more) {
    std::uint64_t target = 0;  // jobs that ought to have been made by now
    if (plan_.jobs_per_second > 0) {
      target = static_cast<std::uint64_t>(std::chrono::duration<double>(now - begun).count() * plan_.jobs_per_second);
      target = std::min(target, limit);
      for (std::uint64_t made = next_id_ - 1; made < target; ++made) {
        const auto due = begun + std::chrono::duration_cast<Clock::duration>(
                                     std::chrono::duration<double>(static_cast<double>(made) / plan_.jobs_per_second));
        waiting_.push_back(make(next_id_++, due));
      }
    } else {
      while (in_flight_ + waiting_.size() < plan_.in_flight && next_id_ - 1 < limit)
        waiting_.push_back(make(next_id_++, now));
    }
  }
  if (!waiting_.empty()) {
    const std::size_t n = engine_.submit(waiting_);
    in_flight_ += n;
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(n));
  }
  pollfd p{engine_.event_fd(), POLLIN, 0};
  ::poll(&p, 1, plan_.jobs_per_second > 0 && more ? 1 : 20);
  while (const std::size_t n = engine_.poll(some_)) {
    const auto done = Clock::now();
    for (std::size_t i = 0; i < n; ++i) take(some_[i], done);
  }
}

void Load::finish() {
  const auto give_up = Clock::now() + patience;
  while ((in_flight_ != 0 || !waiting_.empty()) && Clock::now() < give_up) turn(false, give_up, 0);
}

void Load::run_for(std::chrono::milliseconds t, const std::function<void()>& each_turn) {
  // A second run on an open loop begins its own clock: what was made before does not count as a debt.
  const auto begun = Clock::now() - (plan_.jobs_per_second > 0
                                         ? std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
                                               static_cast<double>(next_id_ - 1) / plan_.jobs_per_second))
                                         : Clock::duration::zero());
  const auto end = Clock::now() + t;
  while (Clock::now() < end) {
    turn(true, begun, ~std::uint64_t{0});
    if (each_turn) each_turn();
  }
  finish();
}

void Load::run_jobs(std::uint64_t n, const std::function<void()>& each_turn) {
  const auto begun = Clock::now();
  const std::uint64_t limit = next_id_ - 1 + n;
  const auto give_up = begun + std::chrono::minutes(10);
  while (next_id_ - 1 < limit && Clock::now() < give_up) {
    turn(true, begun, limit);
    if (each_turn) each_turn();
  }
  finish();
}

void Load::expect_perfect() const {
  EXPECT_GT(submitted(), 0U);
  EXPECT_EQ(unanswered(), 0U);
  EXPECT_EQ(wrong(), 0U);
  for (std::size_t s = 0; s < by_status_.size(); ++s) {
    if (static_cast<EccStatus>(s) == EccStatus::ok) continue;
    EXPECT_EQ(by_status_[s], 0U) << "jobs that ended as " << to_string(static_cast<EccStatus>(s));
  }
}

double percentile_ms(const std::vector<Load::Sample>& s, double p, Load::Clock::time_point from,
                     Load::Clock::time_point until) {
  std::vector<double> v;
  for (const auto& x : s) {
    if (x.due >= from && x.due < until) v.push_back(x.ms());
  }
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  const auto i = static_cast<std::size_t>(std::ceil(p / 100 * static_cast<double>(v.size())));
  return v[std::min(std::max<std::size_t>(i, 1) - 1, v.size() - 1)];
}

}  // namespace kf::hsm::testing
