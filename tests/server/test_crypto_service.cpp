// Requests for key operations on their way to engines and back: what is gathered, who gets it, what happens when an
// engine is full or away. The engines here are the test's own and answer when they are told to.
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <deque>
#include <stdexcept>

#include "host/os/fd.hpp"
#include "host/server/crypto_service.hpp"

namespace kf::server {
namespace {

class ScriptedEngine final : public EccEngine {
 public:
  explicit ScriptedEngine(std::string name) : name_(std::move(name)) {}
  std::string_view name() const noexcept override { return name_; }
  std::size_t submit(std::span<const EccRequest> requests) noexcept override {
    const std::size_t n = std::min(requests.size(), room);
    spans.push_back(n);
    accepted.insert(accepted.end(), requests.begin(), requests.begin() + static_cast<std::ptrdiff_t>(n));
    room -= n;
    return n;
  }
  std::size_t poll(std::span<EccCompletion> out) noexcept override {
    std::size_t n = 0;
    for (; n < out.size() && !done_.empty(); ++n, done_.pop_front()) out[n] = std::move(done_.front());
    if (n == 0) event_.clear();
    return n;
  }
  int event_fd() const noexcept override { return event_.fd(); }

  // The oldest accepted request that has no answer gets this one.
  void answer(EccStatus s) {
    ASSERT_FALSE(accepted.empty());
    EccCompletion c;
    c.id = accepted.front().id;
    c.op = accepted.front().op;
    c.status = s;
    c.epk[1] = accepted.front().hash[0];
    accepted.pop_front();
    ++room;
    done_.push_back(std::move(c));
    event_.set();
  }
  void answer_nobody() {
    EccCompletion c;
    c.id = 1'000'000;
    done_.push_back(std::move(c));
    event_.set();
  }

  std::size_t room = 1000;
  std::vector<std::size_t> spans;
  std::deque<EccRequest> accepted;

 private:
  std::string name_;
  os::EventFd event_;
  std::deque<EccCompletion> done_;
};

class CryptoServiceTest : public ::testing::Test {
 protected:
  struct Answer {
    int number;
    EccStatus status;
    friend bool operator==(const Answer&, const Answer&) = default;
    friend void PrintTo(const Answer& a, std::ostream* out) { *out << a.number << ": " << to_string(a.status); }
  };
  void ask(EccOp op, int number) {
    EccRequest r;
    r.op = op;
    r.hash[0] = static_cast<std::uint8_t>(number);
    const std::size_t before = answers.size();
    service->request(r, [this, number](EccCompletion& c) {
      EXPECT_EQ(c.epk[1], number) << "the answer to another request";
      answers.push_back({number, c.status});
      if (number == throws_at) throw std::runtime_error("the owner of " + std::to_string(number));
    });
    EXPECT_EQ(answers.size(), before) << "called inside request()";
  }
  // What is ready on the loop, and what its timers bring until `ready`.
  void turn() {
    io.restart();
    io.poll();
  }
  template <class F>
  [[nodiscard]] bool run_until(F ready) {
    const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!ready() && std::chrono::steady_clock::now() < late) {
      io.restart();
      io.run_for(std::chrono::milliseconds(5));
    }
    return ready();
  }

  asio::io_context io;
  ScriptedEngine hsm{"hsm"}, core{"core"}, software{"software"};
  std::unique_ptr<CryptoService> service =
      std::make_unique<CryptoService>(io, CryptoService::Routing{{&hsm}, {&core}, {&software, &core}});
  std::vector<Answer> answers;
  int throws_at = -1;
};

TEST_F(CryptoServiceTest, ATurnOfTheLoopIsOneSpan) {
  for (int i = 0; i < 5; ++i) ask(EccOp::sign, i);
  EXPECT_TRUE(hsm.spans.empty());
  turn();
  EXPECT_EQ(hsm.spans, std::vector<std::size_t>{5});
  for (int i = 0; i < 5; ++i) hsm.answer(EccStatus::ok);
  turn();
  ASSERT_EQ(answers.size(), 5U);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(answers.at(static_cast<std::size_t>(i)), (Answer{i, EccStatus::ok}));
}

TEST_F(CryptoServiceTest, TheOperationDecidesWhoIsAsked) {
  ask(EccOp::sign, 1);
  ask(EccOp::ephemeral_ecka, 2);
  for (int i = 10; i < 20; ++i) ask(EccOp::verify, i);
  turn();
  ASSERT_EQ(hsm.accepted.size(), 1U);
  EXPECT_EQ(hsm.accepted.front().op, EccOp::sign);
  ASSERT_FALSE(core.accepted.empty());
  EXPECT_EQ(core.accepted.front().op, EccOp::ephemeral_ecka);
  EXPECT_EQ(software.accepted.size() + core.accepted.size(), 11U);
  EXPECT_FALSE(software.accepted.empty());
  for (const EccRequest& r : software.accepted) EXPECT_EQ(r.op, EccOp::verify);
}

TEST_F(CryptoServiceTest, WhatDoesNotFitWaitsInItsOrder) {
  hsm.room = 2;
  for (int i = 0; i < 5; ++i) ask(EccOp::sign, i);
  turn();
  EXPECT_EQ(hsm.accepted.size(), 2U);
  std::vector<Answer> expected;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(run_until([&] { return !hsm.accepted.empty(); }));
    hsm.answer(EccStatus::ok);
    turn();
    expected.push_back({i, EccStatus::ok});
  }
  EXPECT_EQ(answers, expected);
}

// Nothing of it is in flight, so that no answer would wake the service.
TEST_F(CryptoServiceTest, AnEngineThatTookNothingIsAskedAgain) {
  hsm.room = 0;
  ask(EccOp::sign, 7);
  turn();
  EXPECT_EQ(hsm.spans, std::vector<std::size_t>{0});
  hsm.room = 1;
  ASSERT_TRUE(run_until([&] { return !hsm.accepted.empty(); }));
  hsm.answer(EccStatus::ok);
  turn();
  EXPECT_EQ(answers, (std::vector<Answer>{{7, EccStatus::ok}}));
}

TEST_F(CryptoServiceTest, WhatLeftNothingOutsideIsAskedForAgain) {
  for (const EccStatus away : {EccStatus::engine_down, EccStatus::busy, EccStatus::timed_out}) {
    answers.clear();
    ask(EccOp::sign, 3);
    turn();
    hsm.answer(away);
    turn();
    EXPECT_TRUE(answers.empty()) << to_string(away);
    ASSERT_TRUE(run_until([&] { return !hsm.accepted.empty(); })) << to_string(away);
    hsm.answer(EccStatus::ok);
    turn();
    EXPECT_EQ(answers, (std::vector<Answer>{{3, EccStatus::ok}}));
  }
  EXPECT_EQ(service->counters().front().retries, 3U);
  EXPECT_EQ(service->counters().front().sign, 3U);
  EXPECT_EQ(service->counters().front().failures, 0U);
}

TEST_F(CryptoServiceTest, WhatFailedIsTheOwnersToDecide) {
  const std::vector<EccStatus> final{EccStatus::failed, EccStatus::bad_input, EccStatus::no_key,
                                     EccStatus::bad_signature};
  for (std::size_t i = 0; i < final.size(); ++i) ask(EccOp::sign, static_cast<int>(i));
  turn();
  for (const EccStatus s : final) hsm.answer(s);
  turn();
  ASSERT_EQ(answers.size(), final.size());
  for (std::size_t i = 0; i < final.size(); ++i) EXPECT_EQ(answers[i].status, final[i]);
  EXPECT_EQ(service->counters().front().failures, 3U);  // "the signature is wrong" is an answer
  EXPECT_EQ(service->counters().front().queue_us.count(), final.size());
}

TEST_F(CryptoServiceTest, AnOwnerThatThrowsHarmsNoOther) {
  throws_at = 0;
  for (int i = 0; i < 3; ++i) ask(EccOp::sign, i);
  turn();
  for (int i = 0; i < 3; ++i) hsm.answer(EccStatus::ok);
  turn();
  EXPECT_EQ(answers.size(), 3U);
  ask(EccOp::sign, 9);  // the engine is watched on
  turn();
  hsm.answer(EccStatus::ok);
  turn();
  EXPECT_EQ(answers.size(), 4U);
}

TEST_F(CryptoServiceTest, AnAnswerToNobodyIsPassedOver) {
  ask(EccOp::sign, 1);
  turn();
  hsm.answer_nobody();
  hsm.answer(EccStatus::ok);
  turn();
  EXPECT_EQ(answers, (std::vector<Answer>{{1, EccStatus::ok}}));
}

TEST_F(CryptoServiceTest, NobodyIsCalledOnceItHasStopped) {
  ask(EccOp::sign, 1);
  turn();
  ask(EccOp::sign, 2);
  hsm.answer(EccStatus::ok);
  service->stop();
  turn();
  EXPECT_TRUE(answers.empty());
  EXPECT_EQ(hsm.spans.size(), 1U);
}

}  // namespace
}  // namespace kf::server
