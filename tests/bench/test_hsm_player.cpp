// The instruments of `keyferry-bench hsm` and `ecc` against an engine that errs on purpose: every fault must be
// counted.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <deque>

#include "bench/load/player.hpp"

namespace kf::bench {
namespace {

// Does the work at once with OpenSSL and answers in poll(), in the order of submission.
class FaultyEngine final : public EccEngine {
 public:
  FaultyEngine() : key_(generate_key_pair(Curve::p256)), fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  FaultyEngine(const FaultyEngine&) = delete;
  FaultyEngine& operator=(const FaultyEngine&) = delete;
  ~FaultyEngine() override { ::close(fd_); }
  std::string_view name() const noexcept override { return "faulty"; }
  int event_fd() const noexcept override { return fd_; }
  std::size_t submit(std::span<const EccRequest> requests) noexcept override {
    const std::size_t n = std::min(requests.size(), room);
    for (const EccRequest& r : requests.first(n)) answer(r);
    return n;
  }
  std::size_t poll(std::span<EccCompletion> out) noexcept override {
    std::size_t n = 0;
    for (; n < out.size() && !done_.empty(); ++n) {
      out[n] = std::move(done_.front());
      done_.pop_front();
    }
    return n;
  }

  std::vector<std::pair<Curve, Point>> identity() const { return {{Curve::p256, key_.q}}; }
  std::size_t room = 7;  // accepted at most in one submit()
  // Which request in order of acceptance (1, 2 ...) meets what; 0: none.
  std::uint64_t swallow = 0, twice = 0, spoil = 0, fail = 0, stale_key = 0;
  std::uint64_t accepted = 0;

 private:
  void answer(const EccRequest& r) {
    ++accepted;
    if (accepted == swallow) return;
    EccCompletion c;
    c.id = r.id;
    c.op = r.op;
    c.status = accepted == fail ? EccStatus::failed : EccStatus::ok;
    if (r.op == EccOp::sign) {
      c.signature = ecdsa_sign(r.curve, key_.d.expose(), r.hash);
      if (accepted == spoil) c.signature[40] ^= 1;
    } else if (r.op == EccOp::verify) {
      const bool good = ecdsa_verify(r.curve, r.peer, r.hash, r.signature) != (accepted == spoil);
      if (c.status == EccStatus::ok && !good) c.status = EccStatus::bad_signature;
    } else {
      const KeyPair fresh = generate_key_pair(r.curve);
      if (stale_.q[0] == 0 || accepted != stale_key) {
        stale_.q = fresh.q;
        std::copy(fresh.d.expose().begin(), fresh.d.expose().end(), stale_.d.expose_mut().begin());
      }
      auto shared = ecka(r.curve, stale_.d.expose(), r.peer);
      c.epk = stale_.q;
      c.shs = std::move(*shared);
      if (accepted == spoil) c.shs.expose_mut()[0] ^= 1;
    }
    EccCompletion again;
    again.id = c.id;
    again.op = c.op;
    again.status = c.status;
    again.signature = c.signature;
    done_.push_back(std::move(c));
    if (accepted == twice) done_.push_back(std::move(again));
  }
  KeyPair key_;
  KeyPair stale_;
  int fd_;
  std::deque<EccCompletion> done_;
};

// `units` of work through a player with 16 places.
Tally play(FaultyEngine& e, Work w, unsigned units, std::uint64_t judge_every = 1, bool thread = false,
           std::uint64_t* completed = nullptr) {
  const Material m(e.identity());
  Judge judge(m, units);
  if (thread) judge.start();
  std::uint64_t serial = 0;
  Player p(e, m, judge, serial, 16, judge_every);
  unsigned begun = 0;
  const auto end = Player::Clock::now() + std::chrono::seconds(20);
  while ((begun < units || p.under_way() > 0) && Player::Clock::now() < end) {
    while (begun < units && p.begin(w, 0, Player::Clock::now())) ++begun;
    if (p.turn() == 0 && begun == units) break;
  }
  p.drain(std::chrono::milliseconds(20));
  EXPECT_EQ(p.under_way(), 0U);
  Tally t = p.tally();
  judge.finish(t);
  if (completed != nullptr) *completed = p.completed();
  return t;
}

TEST(Player, PlaysEverySetToItsEndThroughANarrowEngine) {
  for (const bool thread : {false, true}) {
    FaultyEngine e;
    std::uint64_t completed = 0;
    const Tally t = play(e, Work::set, 100, 1, thread, &completed);
    EXPECT_EQ(completed, 100U);
    EXPECT_EQ(t.operations, 200U);
    EXPECT_EQ(t.checked, 200U);
    EXPECT_EQ(t.wrong + t.failed + t.lost + t.repeated_keys, 0U);
  }
}

TEST(Player, OneOperationAUnitWhenAskedForOne) {
  for (const Work w : {Work::sign, Work::ecka, Work::verify}) {
    FaultyEngine e;
    const Tally t = play(e, w, 50);
    EXPECT_EQ(t.operations, 50U);
    EXPECT_EQ(t.checked, 50U);
    EXPECT_EQ(t.wrong + t.failed + t.lost + t.repeated_keys, 0U);
  }
}

TEST(Player, ASecondHalfOnlySigns) {
  FaultyEngine e;
  const Material m(e.identity());
  Judge judge(m, 4);
  std::uint64_t serial = 0;
  Player p(e, m, judge, serial, 4, 1);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(p.begin(Work::set, 0, Player::Clock::now(), i % 2 == 1));
  EXPECT_FALSE(p.begin(Work::set, 0, Player::Clock::now()));
  p.drain(std::chrono::seconds(5));
  EXPECT_EQ(p.completed(), 4U);
  Tally t = p.tally();
  judge.finish(t);
  EXPECT_EQ(t.operations, 6U);
  EXPECT_EQ(t.checked, 6U);
  EXPECT_EQ(t.wrong, 0U);
}

TEST(Player, JudgesASampleWhenAskedFor) {
  FaultyEngine e;
  const Tally t = play(e, Work::set, 64, 16);
  EXPECT_EQ(t.operations, 128U);
  EXPECT_EQ(t.checked, 8U);
}

TEST(Player, CountsAWrongAnswerOfEveryKind) {
  for (const Work w : {Work::sign, Work::ecka, Work::verify}) {
    for (const bool thread : {false, true}) {
      FaultyEngine e;
      e.spoil = 10;
      const Tally t = play(e, w, 30, 1, thread);
      EXPECT_EQ(t.wrong, 1U);
      EXPECT_EQ(t.failed + t.lost + t.repeated_keys, 0U);
    }
  }
}

TEST(Player, CountsAnEphemeralKeyThatComesTwice) {
  FaultyEngine e;
  e.stale_key = 10;
  const Tally t = play(e, Work::ecka, 30);
  EXPECT_EQ(t.repeated_keys, 1U);
  EXPECT_EQ(t.wrong, 0U);  // the secret fits the key: only the repetition tells
}

TEST(Player, CountsWhatNeverComesAsLost) {
  FaultyEngine e;
  e.swallow = 5;
  std::uint64_t completed = 0;
  const Tally t = play(e, Work::set, 30, 1, false, &completed);
  EXPECT_EQ(t.lost, 1U);
  EXPECT_EQ(completed, 29U);
  EXPECT_EQ(t.wrong + t.failed, 0U);
}

TEST(Player, CountsACompletionThatComesTwiceAsWrong) {
  FaultyEngine e;
  e.twice = 5;
  const Tally t = play(e, Work::sign, 30);
  EXPECT_EQ(t.failures.at("a completion that was not asked for"), 1U);
  EXPECT_EQ(t.wrong, 1U);
  EXPECT_EQ(t.lost, 0U);
}

TEST(Player, CountsAFailedOperationAndDoesNotSignForIt) {
  FaultyEngine e;
  e.fail = 3;
  std::uint64_t completed = 0;
  const Tally t = play(e, Work::set, 10, 1, false, &completed);
  EXPECT_EQ(t.failed, 1U);
  EXPECT_EQ(t.failures.at("engine: failed"), 1U);
  EXPECT_EQ(completed, 9U);
  EXPECT_EQ(t.operations, 19U);
  EXPECT_EQ(t.lost, 0U);
}

TEST(Player, WhatTheEngineNeverTakesIsNotLostButFailed) {
  FaultyEngine e;
  e.room = 0;
  const Tally t = play(e, Work::sign, 5);
  EXPECT_EQ(t.failed, 5U);
  EXPECT_EQ(t.failures.at("engine: not accepted"), 5U);
  EXPECT_EQ(t.lost, 0U);
}

}  // namespace
}  // namespace kf::bench
