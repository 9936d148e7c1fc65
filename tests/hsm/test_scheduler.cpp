// The engine's books, with rings in this process and the test in the place of the workers: no token, no clock but the
// test's.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "host/base/random.hpp"
#include "hsm/engine/scheduler.hpp"

namespace kf::hsm {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

struct Bench {
  explicit Bench(std::size_t tokens = 1, std::size_t entries = 1024)
      : scheduler(
            [&] {
              Scheduler::Options o;
              o.tokens = tokens;
              o.entries = entries;
              return o;
            }(),
            [this](std::size_t t) { broken.push_back(t); }, [this] { ++idle; }) {
    for (std::size_t t = 0; t < tokens; ++t) state(t, TokenState::up);
  }
  void state(std::size_t token, TokenState s) { scheduler.take({Mail::Kind::token, nullptr, token, s}, now); }
  LinkPtr link(std::size_t token = 0) {
    auto l = std::make_shared<Link>();
    l->token = token;
    auto r = wire::Ring::create();
    if (!r) std::abort();
    l->ring = std::move(*r);
    scheduler.take({Mail::Kind::ready, l, token, TokenState::up}, now);
    return l;
  }
  std::size_t submit(std::uint64_t from, std::size_t n, EccOp op = EccOp::sign, std::uint64_t deadline_ms = 0) {
    std::vector<EccRequest> rs(n);
    for (std::size_t i = 0; i < n; ++i) {
      rs[i].id = from + i;
      rs[i].op = op;
      if (deadline_ms != 0)
        rs[i].deadline = std::chrono::steady_clock::time_point(std::chrono::nanoseconds(now + deadline_ms * kMs));
    }
    return scheduler.submit(rs, now);
  }
  // What a worker finds in its ring now; it does nothing yet.
  static std::vector<std::uint32_t> inbox(const LinkPtr& l) {
    std::vector<std::uint32_t> slots;
    std::uint32_t s = 0;
    while (l->ring->pop_job(s)) slots.push_back(s);
    return slots;
  }
  static void answer(const LinkPtr& l, std::uint32_t slot, wire::Fault fault = wire::Fault::none, bool healthy = false,
                     std::uint32_t service_ns = 100'000) {
    auto& s = l->ring->memory().slots[slot];
    s.done = {};
    s.done.tag = s.job.tag;
    s.done.op = s.job.op;
    s.done.fault = static_cast<std::uint8_t>(fault);
    s.done.status = static_cast<std::uint8_t>(fault == wire::Fault::none ? EccStatus::ok : EccStatus::failed);
    s.done.healthy = healthy ? 1 : 0;
    s.done.service_ns = service_ns;
    l->ring->push_done(slot);
  }
  void answer_all(const LinkPtr& l, wire::Fault fault = wire::Fault::none) {
    for (const auto s : inbox(l)) answer(l, s, fault);
  }
  // Every completion so far, by id; each at most once.
  std::map<std::uint64_t, EccStatus> turn(std::uint64_t ms = 0) {
    now += ms * kMs;
    scheduler.turn(now);
    std::map<std::uint64_t, EccStatus> out;
    EccCompletion c;
    while (scheduler.collect(c)) EXPECT_TRUE(out.emplace(c.id, c.status).second) << c.id;
    return out;
  }
  std::uint64_t now = 1'000'000 * kMs;
  std::vector<std::size_t> broken;
  int idle = 0;
  Scheduler scheduler;
};

TEST(Scheduler, EveryJobOnceAndTheBooksAreBounded) {
  Bench b(1, 100);
  const auto l = b.link();
  EXPECT_EQ(b.submit(0, 150), 100U);
  EXPECT_EQ(b.submit(1000, 1), 0U) << "accepted and not collected counts";
  std::map<std::uint64_t, EccStatus> all;
  for (int i = 0; i < 50 && all.size() < 100; ++i) {
    b.answer_all(l);
    all.merge(b.turn(1));
  }
  EXPECT_EQ(all.size(), 100U);
  EXPECT_EQ(b.submit(2000, 1), 1U);
}

TEST(Scheduler, ALinkHoldsAFewMillisecondsOfWorkAndTheRestWaits) {
  Bench b;
  const auto l = b.link();
  b.submit(0, 500);
  const auto first = b.inbox(l);
  EXPECT_GE(first.size(), 20U);
  EXPECT_LE(first.size(), 100U);
  for (const auto s : first) b.answer(l, s, wire::Fault::none, false, 5'000'000);  // 5 ms each: far slower than guessed
  b.turn();
  EXPECT_LE(b.inbox(l).size(), 4U);
}

TEST(Scheduler, TheFasterOfTwoLinksGetsMoreAndTheSlowOneNotNothing) {
  Bench b(2);
  const auto fast = b.link(0);
  const auto slow = b.link(1);
  std::size_t n_fast = 0, n_slow = 0, submitted = 0;
  // A simulated clock: each link works its jobs off in order.
  std::map<std::uint64_t, std::pair<LinkPtr, std::uint32_t>> events;
  std::uint64_t free_fast = b.now, free_slow = b.now;
  std::size_t done = 0;
  for (int i = 0; done < 20'000 && i < 1'000'000; ++i) {
    submitted += b.submit(submitted, std::min<std::size_t>(400 - (submitted - done), 20'000 - submitted));
    const auto feed = [&](const LinkPtr& l, std::uint64_t& free_at, std::uint64_t service, std::size_t& n) {
      for (const auto s : b.inbox(l)) {
        free_at = std::max(free_at, b.now) + service;
        while (events.count(free_at) != 0) ++free_at;
        events[free_at] = {l, s};
        ++n;
      }
    };
    feed(fast, free_fast, 100'000, n_fast);
    feed(slow, free_slow, 10 * kMs, n_slow);
    ASSERT_FALSE(events.empty());
    const auto [at, e] = *events.begin();
    events.erase(events.begin());
    b.now = std::max(b.now, at);
    b.answer(e.first, e.second, wire::Fault::none, false, e.first == slow ? 10'000'000 : 100'000);
    done += b.turn().size();
  }
  EXPECT_EQ(done, 20'000U);
  EXPECT_GT(n_slow, 50U) << "it could have helped";
  EXPECT_LT(n_slow, 600U) << "a hundred times slower: its fair share is about 1 %";
}

TEST(Scheduler, WhatALostWorkerHadIsDoneByAnother) {
  Bench b;
  const auto one = b.link();
  b.submit(0, 10);
  const auto slots = b.inbox(one);
  ASSERT_EQ(slots.size(), 10U);
  b.answer(one, slots[0]);
  b.answer(one, slots[1]);
  one->ring->set_busy(0, slots[2], 1);  // it died with this one in hand
  const auto two = b.link();
  b.scheduler.take({Mail::Kind::lost, one, 0, TokenState::up}, b.now);
  auto all = b.turn();
  EXPECT_EQ(all.size(), 2U) << "what it had finished counts";
  b.answer_all(two);
  all.merge(b.turn());
  EXPECT_EQ(all.size(), 10U);
  for (const auto& [id, s] : all) EXPECT_EQ(s, EccStatus::ok) << id;
  EXPECT_EQ(b.scheduler.counters().retries, 8U);
}

TEST(Scheduler, AJobThatTakesTwoWorkersDownIsGivenUp) {
  Bench b;
  auto l = b.link();
  b.submit(0, 3);
  std::map<std::uint64_t, EccStatus> all;
  for (int i = 0; i < 2; ++i) {
    const auto slots = b.inbox(l);
    const auto poison = std::find_if(slots.begin(), slots.end(), [&](std::uint32_t s) {
      return (l->ring->memory().slots[s].job.tag & 0xFFFFFFFFU) == 0;  // job number 0: request 0
    });
    ASSERT_NE(poison, slots.end());
    l->ring->set_busy(0, *poison, 1);
    const auto next = b.link();
    b.scheduler.take({Mail::Kind::lost, l, 0, TokenState::up}, b.now);
    all.merge(b.turn());
    l = next;
  }
  EXPECT_EQ(all.size(), 1U);
  EXPECT_EQ(all.at(0), EccStatus::failed);
  b.answer_all(l);
  all.merge(b.turn());
  EXPECT_EQ(all.size(), 3U);
}

TEST(Scheduler, BusyIsTriedElsewhereFirstThenWithPausesThenTyped) {
  Bench b(2);
  const auto one = b.link(0);
  b.submit(0, 1);
  const auto two = b.link(1);
  b.answer_all(one, wire::Fault::busy);
  b.turn();
  EXPECT_EQ(b.inbox(one).size(), 0U);
  auto at_two = b.inbox(two);
  ASSERT_EQ(at_two.size(), 1U) << "at once, on the other token";
  b.answer(two, at_two[0]);
  EXPECT_EQ(b.turn().at(0), EccStatus::ok);

  Bench c;
  const auto only = c.link();
  c.submit(0, 1);
  std::map<std::uint64_t, EccStatus> out;
  int tries = 0;
  for (int ms = 0; ms < 5000 && out.empty(); ++ms) {
    for (const auto s : c.inbox(only)) {
      ++tries;
      c.answer(only, s, wire::Fault::busy);
    }
    out = c.turn(1);
  }
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out.at(0), EccStatus::busy);
  EXPECT_EQ(tries, 6);
}

TEST(Scheduler, DeviceErrorsBringATokenDownOnlyWhenTheTokenIsSick) {
  Bench b(2);
  const auto one = b.link(0);
  const auto two = b.link(1);
  b.submit(0, 40);
  int faults = 0;
  for (int i = 0; i < 100 && b.broken.empty(); ++i) {
    for (const auto s : b.inbox(one)) {
      b.answer(one, s, wire::Fault::device);
      ++faults;
    }
    b.turn();
  }
  EXPECT_EQ(b.broken, std::vector<std::size_t>{0});
  EXPECT_EQ(b.scheduler.token(0).state, TokenState::down);
  std::map<std::uint64_t, EccStatus> all;
  for (int i = 0; i < 100 && all.size() < 40; ++i) {
    b.answer_all(two);
    all.merge(b.turn(5));
  }
  EXPECT_EQ(all.size(), 40U);
  for (const auto& [id, s] : all) EXPECT_EQ(s, EccStatus::ok);

  Bench c;  // one bad job on a healthy token: the job ends, the token stays
  const auto l = c.link();
  c.submit(0, 1);
  std::map<std::uint64_t, EccStatus> out;
  for (int ms = 0; ms < 2000 && out.empty(); ++ms) {
    for (const auto s : c.inbox(l)) c.answer(l, s, wire::Fault::device, true);
    out = c.turn(1);
  }
  EXPECT_EQ(out.at(0), EccStatus::failed);
  EXPECT_TRUE(c.broken.empty());
}

TEST(Scheduler, WithoutATokenTheAnswerComesAtOnce) {
  Bench b;
  const auto l = b.link();
  b.submit(0, 5);
  b.state(0, TokenState::down);
  b.scheduler.take({Mail::Kind::lost, l, 0, TokenState::up}, b.now);
  auto out = b.turn();
  EXPECT_EQ(out.size(), 5U);
  for (const auto& [id, s] : out) EXPECT_EQ(s, EccStatus::engine_down);
  b.submit(10, 1);
  out = b.turn();
  EXPECT_EQ(out.at(10), EccStatus::engine_down);
  b.state(0, TokenState::up);
  const auto again = b.link();
  b.submit(20, 1);
  b.answer_all(again);
  EXPECT_EQ(b.turn().at(20), EccStatus::ok);
}

TEST(Scheduler, ADeadlineIsKeptWhereverTheJobIs) {
  Bench b;
  const auto l = b.link();
  b.submit(0, 1, EccOp::ephemeral_ecka, 50);
  const auto slots = b.inbox(l);  // in a worker that says nothing
  b.submit(1, 400, EccOp::sign, 80);
  EXPECT_LE(b.scheduler.next_due(), b.now + 50 * kMs);
  auto out = b.turn(51);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out.at(0), EccStatus::timed_out);
  out = b.turn(40);
  EXPECT_EQ(out.size(), 400U) << "those in the ring and those that still wait";
  b.answer(l, slots[0]);  // much later
  b.answer_all(l);
  EXPECT_TRUE(b.turn().empty()) << "nobody gets an answer twice";
  b.submit(1000, 1);
  b.answer_all(l);
  EXPECT_EQ(b.turn().at(1000), EccStatus::ok);
}

TEST(Scheduler, DrainAndRetireLetWorkFinishAndGiveNoMore) {
  Bench b(2);
  const auto one = b.link(0);
  const auto two = b.link(1);
  b.submit(0, 20);
  b.scheduler.drain(0, true);
  b.submit(100, 20);
  b.turn();
  const auto in_one = b.inbox(one);
  EXPECT_EQ(b.scheduler.outstanding_in(0), in_one.size());
  for (const auto s : in_one) b.answer(one, s);
  b.turn();
  EXPECT_EQ(b.scheduler.outstanding_in(0), 0U);
  EXPECT_TRUE(b.inbox(one).empty());
  b.scheduler.drain(0, false);
  b.answer_all(two);
  b.turn();

  b.scheduler.take({Mail::Kind::retire, one, 0, TokenState::up}, b.now);
  b.submit(200, 4);
  EXPECT_TRUE(b.inbox(one).empty());
  b.turn();
  EXPECT_TRUE(one->idle.load());
  EXPECT_EQ(b.idle, 1);
}

TEST(Scheduler, AWorkerGoneMadIsNotBelieved) {
  Bench b;
  const auto l = b.link();
  b.submit(0, 4);
  const auto slots = b.inbox(l);
  l->ring->push_done(200);  // a slot that has no job
  l->ring->push_done(0x7FFFFFFF);
  auto& wrong = l->ring->memory().slots[slots[0]];
  b.answer(l, slots[1]);
  wrong.done.tag = ~wrong.job.tag;  // an answer to something else
  l->ring->push_done(slots[0]);
  auto out = b.turn();
  EXPECT_EQ(out.size(), 1U);
  b.answer(l, slots[2]);
  b.answer(l, slots[3]);
  b.answer_all(l);  // the one that got the wrong answer is done again
  out.merge(b.turn());
  EXPECT_EQ(out.size(), 4U);
}

// Whatever happens in whatever order: each accepted job ends exactly once, and nothing is left over.
TEST(Scheduler, RandomWeather) {
  std::array<std::uint8_t, 4> raw{};
  random_fill(raw);
  const std::uint32_t seed = raw[0] | (raw[1] << 8U) | (raw[2] << 16U);
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand r(seed + 1);
  Bench b(2, 300);
  std::vector<LinkPtr> links{b.link(0), b.link(0), b.link(1)};
  std::map<LinkPtr, std::vector<std::uint32_t>> hands;
  std::map<std::uint64_t, EccStatus> all;
  std::uint64_t next = 0;
  for (int step = 0; step < 20'000; ++step) {
    const auto dice = r() % 100;
    if (dice < 40) next += b.submit(next, r() % 20, EccOp::sign, 20 + r() % 500);
    for (const auto& l : links) {
      for (const auto s : b.inbox(l)) hands[l].push_back(s);
    }
    auto& l = links[r() % links.size()];
    auto& hand = hands[l];
    for (std::size_t n = r() % 12; n-- > 0 && !hand.empty();) {
      std::swap(hand.back(), hand[r() % hand.size()]);
      const auto weather = r() % 50;
      b.answer(l, hand.back(),
               weather == 0   ? wire::Fault::busy
               : weather == 1 ? wire::Fault::device
               : weather == 2 ? wire::Fault::session
               : weather == 3 ? wire::Fault::fatal
               : weather == 4 ? wire::Fault::job
                              : wire::Fault::none,
               r() % 2 == 0);
      hand.pop_back();
    }
    if (dice == 99) {
      if (!hand.empty()) l->ring->set_busy(0, hand.back(), 1);
      b.scheduler.take({Mail::Kind::lost, l, l->token, TokenState::up}, b.now);
      hands.erase(l);
      l = b.link(l->token);
    }
    if (dice == 98) b.state(r() % 2, r() % 2 == 0 ? TokenState::down : TokenState::up);
    for (const auto& [id, s] : b.turn(r() % 3)) ASSERT_TRUE(all.emplace(id, s).second) << id;
  }
  for (const std::size_t t : {0U, 1U}) b.state(t, TokenState::up);
  for (int i = 0; i < 2000 && all.size() < next; ++i) {
    for (const auto& l : links) {
      for (const auto s : b.inbox(l)) hands[l].push_back(s);
      for (const auto s : hands[l]) b.answer(l, s);
      hands[l].clear();
    }
    for (const auto& [id, s] : b.turn(1)) ASSERT_TRUE(all.emplace(id, s).second) << id;
  }
  EXPECT_EQ(all.size(), next);
  EXPECT_EQ(b.scheduler.outstanding_in(0) + b.scheduler.outstanding_in(1), 0U);
}

}  // namespace
}  // namespace kf::hsm
