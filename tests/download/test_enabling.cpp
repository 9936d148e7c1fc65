// Enabling: the outcome follows the EIS, and one failed call is not the end.
#include <gtest/gtest.h>

#include "tests/download/drive.hpp"

namespace kf::download {
namespace {

void to_enabling(Drive& t) {
  t.d.order.enable = true;
  t.to_completing();
  t.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  ASSERT_EQ(t.d.state, State::enabling);
}
bool told(const Drive& t, const char* what) { return t.d.cause && t.d.cause->message.find(what) != std::string::npos; }

TEST(Enabling, AnSmsrThatCannotBeReachedIsTriedUntilTheValidityPeriodIsOver) {
  Drive t;
  to_enabling(t);
  std::vector<std::int64_t> pauses;
  for (int i = 0; i < 200 && t.find<CallEs3>()->request.function == F::enable_profile; ++i) {
    EXPECT_LE(t.find<CallEs3>()->timeout_ms, t.d.order.deadline_ms - t.c.now_ms);
    t.fail(F::enable_profile, CallFault::unreachable);
    if (auto* timer = t.find<StartTimer>()) {
      pauses.push_back(timer->ms);
      t.c.now_ms += timer->ms;
      t.feed(TimerFired{});
    }
  }
  ASSERT_GT(pauses.size(), 50U);
  EXPECT_EQ((std::vector<std::int64_t>(pauses.begin(), pauses.begin() + 5)),
            (std::vector<std::int64_t>{1000, 4000, 16000, 60000, 60000}));
  t.answer_eis(t.eis_with("Disabled"));
  t.expect_end(State::done_with_warning, "8.7", "5.1");
  EXPECT_TRUE(told(t, "Disabled; enabling failed: EnableProfile got no usable answer from the SM-SR: brief"))
      << t.d.cause->message;
  EXPECT_FALSE(told(t, "internal"));
  EXPECT_EQ(t.d.cause->detail, "internal");
}

TEST(Enabling, OneFailureCostsNothing) {
  for (const char* reason : {"5.1", "4.4", ""}) {
    Drive t;
    to_enabling(t);
    if (*reason == 0)
      t.fail(F::enable_profile, CallFault::unreachable);
    else
      t.answer(F::enable_profile, Drive::failed(F::enable_profile, "8.1", reason));
    ASSERT_NE(t.find<StartTimer>(), nullptr) << reason;
    t.feed(TimerFired{});
    t.answer(F::enable_profile, Drive::ok(F::enable_profile));
    t.expect_end(State::done);
  }
}

// Seen: "not enabled", of a profile whose state the EIS gave in letters that mean nothing.
TEST(Enabling, AStateThatNobodyKnowsSaysNothing) {
  for (const std::string state : {"ssss", "Deleted", "Disabled"}) {
    Drive t;
    to_enabling(t);
    t.fail(F::enable_profile, CallFault::refused);
    while (t.find<StartTimer>() != nullptr) {
      t.feed(TimerFired{});
      t.fail(F::enable_profile, CallFault::refused);
    }
    t.answer_eis(t.eis_with(state));
    t.expect_end(State::done_with_warning, "8.7", "5.1");
    EXPECT_EQ(told(t, "not known"), state == "ssss") << t.d.cause->message;
  }
}

// Seen: a 503, though the card was at work; the next EnableProfile was refused since the profile was enabled already,
// and an EIS that lagged behind was believed.
TEST(Enabling, A503IsNoProofThatNothingWasEnabled) {
  for (const bool answered : {false, true}) {
    Drive t;
    to_enabling(t);
    t.fail(F::enable_profile, CallFault::unreachable, answered);
    t.feed(TimerFired{});
    t.answer(F::enable_profile, Drive::failed(F::enable_profile, "8.2.1", "3.5"));
    t.answer_eis(t.eis_with("Disabled"));
    t.expect_end(State::done_with_warning, "8.2.1", "3.5");
    EXPECT_EQ(told(t, "may yet be executed"), answered) << t.d.cause->message;
  }
}

TEST(Enabling, WhatHttpTurnsAwayIsNotTriedForEver) {
  Drive t;
  to_enabling(t);
  unsigned calls = 0;
  while (t.find<CallEs3>()->request.function == F::enable_profile && calls < 100) {
    ++calls;
    t.fail(F::enable_profile, CallFault::refused);
    if (t.find<StartTimer>() != nullptr) t.feed(TimerFired{});
  }
  EXPECT_EQ(calls, 3U);
  t.answer_eis(t.eis_with("Disabled"));
  t.expect_end(State::done_with_warning, "8.7", "5.1");
}

// Seen: the Operator was told "enabling failed" while the EIS said Enabled.
TEST(Enabling, TheEisIsAskedBeforeTheOutcome) {
  for (const auto& ruin : std::vector<std::function<void(Drive&)>>{
           [](Drive& t) { t.feed(DeadlinePassed{}); }, [](Drive& t) { t.fail(F::enable_profile, CallFault::timeout); },
           [](Drive& t) { t.fail(F::enable_profile, CallFault::lost); },
           [](Drive& t) { t.fail(F::enable_profile, CallFault::fault); },
           [](Drive& t) { t.answer(F::enable_profile, Drive::failed(F::enable_profile, "8.2.1", "3.5")); },
           [](Drive& t) {
             es::Response r = Drive::failed(F::enable_profile, "1.6", "5.3");
             r.status = es::ExecStatus::expired;
             t.answer(F::enable_profile, r);
           }}) {
    Drive t;
    to_enabling(t);
    ruin(t);
    ASSERT_EQ(t.d.state, State::enabling);
    t.answer_eis(t.eis_with("Enabled"));
    t.expect_end(State::done);
  }
}

TEST(Enabling, WhatCannotBeKnownIsSaidSo) {
  {
    Drive t;
    to_enabling(t);
    t.feed(DeadlinePassed{});
    t.fail(F::get_eis, CallFault::timeout);
    t.expect_end(State::done_with_warning, "1.6", "5.3");
    EXPECT_TRUE(told(t, "not known")) << t.d.cause->message;
  }
  {
    Drive t;
    to_enabling(t);
    t.feed(DeadlinePassed{});
    t.answer_eis(t.eis_with("Disabled"));
    t.expect_end(State::done_with_warning, "1.6", "5.3");
    EXPECT_TRUE(told(t, "may yet be executed")) << t.d.cause->message;
  }
  {
    Drive t;
    to_enabling(t);
    t.answer(F::enable_profile, Drive::failed(F::enable_profile, "8.2.1", "4.2"));
    t.answer_eis(t.eis_with("Created"));  // the completion was no completion
    t.expect_end(State::done_with_warning, "8.2.1", "4.2");
    EXPECT_TRUE(told(t, "not known, its EIS still shows it as Created")) << t.d.cause->message;
    EXPECT_NE(t.find<Alarm>(), nullptr);
  }
}

TEST(Enabling, ALostCallIsMadeAgainAndEitherAnswerCounts) {
  Drive t;
  to_enabling(t);
  const unsigned first = t.call(F::enable_profile)->call;
  t.fail(F::enable_profile, CallFault::lost);
  t.answer_eis(t.eis_with("Disabled"));
  ASSERT_NE(t.find<StartTimer>(), nullptr);
  t.feed(TimerFired{});
  ASSERT_NE(t.call(F::enable_profile), nullptr);
  t.feed(Answer{first, Drive::failed(F::enable_profile, "8.2.1", "4.2")});
  EXPECT_EQ(t.d.state, State::enabling) << "that one of two failed decides nothing";
  t.feed(Answer{first, Drive::ok(F::enable_profile)});
  t.expect_end(State::done);
}

// Seen: told "not answered and may yet be executed" at the end of the ValidityPeriod, of a card that nobody had asked
// since the restart.
TEST(Enabling, ARestartWithinThePauseAsksTheCardAgain) {
  for (const bool eis_answers : {true, false}) {
    Drive t;
    to_enabling(t);
    t.answer(F::enable_profile, Drive::failed(F::enable_profile, "8.1", "5.1"));
    ASSERT_NE(t.find<StartTimer>(), nullptr);
    EXPECT_TRUE(t.persisted);
    t.d = *from_record(to_record(t.d));
    t.c.now_ms += 600'000;
    t.feed(Restart{});
    if (eis_answers) {
      t.answer_eis(t.eis_with("Disabled"));
    } else {
      t.fail(F::get_eis, CallFault::timeout);
      while (t.find<StartTimer>() != nullptr && t.d.pending_call == 0) {
        t.feed(TimerFired{});
        if (auto* x = t.find<CallEs3>(); x == nullptr || x->request.function != F::get_eis) break;
        t.fail(F::get_eis, CallFault::timeout);
      }
    }
    if (t.find<CallEs3>() == nullptr) {
      ASSERT_NE(t.find<StartTimer>(), nullptr);
      t.feed(TimerFired{});
    }
    ASSERT_NE(t.call(F::enable_profile), nullptr);
    EXPECT_TRUE(t.persisted) << "another restart must not think that none is under way";
    EXPECT_FALSE(from_record(to_record(t.d))->enable_due);
    t.answer(F::enable_profile, Drive::ok(F::enable_profile));
    t.expect_end(State::done);
  }
}

// Seen: an acknowledgement that came after 61 s, once, ended the enabling of an order with two days left.
TEST(Enabling, ASlowAcknowledgementIsNotTheEndOfTheValidityPeriod) {
  Drive t;
  to_enabling(t);
  t.fail(F::enable_profile, CallFault::timeout);
  t.answer_eis(t.eis_with("Disabled"));
  ASSERT_NE(t.find<StartTimer>(), nullptr);
  t.feed(TimerFired{});
  t.answer(F::enable_profile, Drive::ok(F::enable_profile));
  t.expect_end(State::done);
}

// Seen: numbers of calls used again after a restart, once enabling had taken more than a thousand.
TEST(Enabling, CallsOfALongOrderNeverShareANumberWithTheNextLife) {
  Drive t;
  to_enabling(t);
  t.d.order.deadline_ms = t.c.now_ms + std::int64_t{60} * 86'400'000;
  Download stored = *from_record(to_record(t.d));
  unsigned last = 0;
  for (int i = 0; i < 2500; ++i) {
    last = t.call(F::enable_profile)->call;
    t.fail(F::enable_profile, CallFault::unreachable);
    ASSERT_NE(t.find<StartTimer>(), nullptr);
    t.c.now_ms += t.find<StartTimer>()->ms;
    t.d.enable_due = false;  // as if it were not stored for another reason
    t.feed(TimerFired{});
    if (t.persisted) stored = *from_record(to_record(t.d));
  }
  t.d = std::move(stored);
  t.feed(Restart{});
  EXPECT_GT(t.find<CallEs3>()->call, last);
}

}  // namespace
}  // namespace kf::download
