// The follow-up of an eUICC on which an ended order may have left an ISD-P.
#include "host/download/follow_up.hpp"

#include <gtest/gtest.h>

#include "tests/download/drive.hpp"

namespace kf::download {
namespace {

struct After {
  std::int64_t now = 2'000'000;
  FollowUpLimits limits;
  FollowUp f;
  FollowUpStep last;
  Drive made;  // the download before, and its EIS values

  void feed(FollowUpEvent e) {
    last = step(std::move(f), std::move(e), now, "2.999.20", limits);
    f = std::move(last.follow_up);
  }
  void begin(const Drive& t) {
    f = with_outcome(std::nullopt, t.d, now, limits);
    now += limits.settle_ms;
  }
  void call(es::Function expected) {
    ASSERT_TRUE(last.call.has_value()) << "waits";
    ASSERT_EQ(es::function_name(last.call->request.function), es::function_name(expected));
    EXPECT_TRUE(last.persist) << "a call number is used once";
  }
  void eis(es::Eis e) {
    call(F::get_eis);
    es::Response r = Drive::ok(F::get_eis);
    r.eis = std::move(e);
    feed(Answer{last.call->call, std::move(r)});
  }
  void deletion(es::Response r) {
    call(F::delete_isdp);
    feed(Answer{last.call->call, std::move(r)});
  }
  void look() {
    ASSERT_TRUE(last.pause_ms.has_value());
    now += *last.pause_ms;
    feed(Look{});
  }
};

// The ValidityPeriod ends while CreateISDP is at work.
void end_in_creation(Drive& t) {
  t.to_creating();
  t.c.now_ms = t.d.order.deadline_ms;
  t.feed(DeadlinePassed{});
  t.answer_eis(t.eis());
  ASSERT_TRUE(t.followed());
}
void end_left_behind(Drive& t, const std::string& iccid = kIccid) {
  t.to_completing();
  t.feed(DeadlinePassed{});
  t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "4.2"));
  t.answer_eis(t.eis_with("Created", iccid));
  ASSERT_TRUE(t.followed());
}

TEST(FollowUp, AnIsdpThatAppearsLateIsDeleted) {
  After a;
  end_in_creation(a.made);
  a.now = a.made.c.now_ms;
  a.begin(a.made);
  a.feed(Look{});
  a.eis(a.made.eis());
  ASSERT_TRUE(a.last.pause_ms.has_value()) << "an empty EIS proves nothing while CreateISDP may be at work";
  EXPECT_EQ(*a.last.pause_ms, 1000);
  a.now += *a.last.pause_ms;
  a.feed(Look{});
  a.eis(a.made.eis());
  EXPECT_EQ(*a.last.pause_ms, 2000);
  a.feed(Look{});
  a.eis(a.made.eis_with("Created"));
  a.deletion(Drive::ok(F::delete_isdp));
  a.look();
  a.eis(a.made.eis());
  EXPECT_EQ(a.f.state, FollowUp::State::clean);
  EXPECT_EQ(settled(a.f, a.now).gone, std::vector<std::string>{kIccid});
}

TEST(FollowUp, ALateCallbackSaysWhatToDo) {
  for (const bool success : {true, false}) {
    After a;
    end_in_creation(a.made);
    a.now = a.made.c.now_ms;
    a.begin(a.made);
    ASSERT_EQ(a.f.possession.open_calls().size(), 1U);
    const std::string transaction = a.f.possession.open_calls().front();
    EXPECT_TRUE(transaction.starts_with("dl.")) << transaction;
    a.feed(LateEnd{transaction, success});
    a.look();
    a.eis(success ? a.made.eis_with("Created") : a.made.eis());
    if (success) {
      a.deletion(Drive::ok(F::delete_isdp));
      a.look();
      a.eis(a.made.eis());
    }
    EXPECT_EQ(a.f.state, FollowUp::State::clean) << "no waiting any more";
  }
}

TEST(FollowUp, EndsWhenNothingCanAppearAnyMore) {
  After a;
  end_in_creation(a.made);
  a.now = a.made.c.now_ms;
  a.begin(a.made);
  a.feed(Look{});
  unsigned looks = 0;
  for (; !ended(a.f) && looks < 50; ++looks) {
    a.eis(a.made.eis());
    if (ended(a.f)) break;
    ASSERT_TRUE(a.last.pause_ms.has_value());
    a.now += *a.last.pause_ms;
    a.feed(Look{});
  }
  EXPECT_EQ(a.f.state, FollowUp::State::clean);
  EXPECT_GE(a.now, a.made.d.order.deadline_ms + a.limits.card_ms);
  EXPECT_LT(looks, 20U);
}

TEST(FollowUp, RefusedDeletionsEndInAnAlarm) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  for (unsigned i = 0; i < a.limits.max_refusals; ++i) {
    ASSERT_FALSE(ended(a.f));
    a.feed(Look{});
    a.eis(a.made.eis_with("Created"));
    a.deletion(Drive::failed(F::delete_isdp, "8.4", "4.2"));
  }
  EXPECT_EQ(a.f.state, FollowUp::State::given_up);
  EXPECT_NE(a.f.trouble.find("8.4/4.2"), std::string::npos) << a.f.trouble;
  EXPECT_TRUE(settled(a.f, a.now).gone.empty());
}

TEST(FollowUp, ASilentSmsrEndsInAnAlarm) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  const std::int64_t began = a.now;
  a.feed(Look{});
  for (unsigned i = 0; i < 1000 && !ended(a.f); ++i) {
    a.call(F::get_eis);
    a.feed(CallFailed{a.last.call->call, CallFault::timeout, "10.1.2.3: no answer", "no answer in time"});
    if (ended(a.f)) break;
    ASSERT_TRUE(a.last.pause_ms.has_value());
    a.now += *a.last.pause_ms;
    a.feed(Look{});
  }
  EXPECT_EQ(a.f.state, FollowUp::State::given_up);
  EXPECT_GE(a.now - began, a.limits.give_up_ms);
  EXPECT_LE(a.f.looks, a.limits.max_looks);
  EXPECT_NE(a.f.trouble.find("no answer in time"), std::string::npos);
  EXPECT_EQ(a.f.trouble.find("10.1.2.3"), std::string::npos);
}

TEST(FollowUp, AnSmsrThatContradictsItselfIsNotAskedForEver) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  unsigned pauses = 0;
  a.feed(Look{});
  for (unsigned i = 0; i < 1000 && !ended(a.f); ++i) {  // deletes, and shows it still
    if (a.last.call) {
      if (a.last.call->request.function == F::get_eis)
        a.eis(a.made.eis_with("Created"));
      else
        a.deletion(Drive::ok(F::delete_isdp));
    } else {
      ++pauses;
      a.now += *a.last.pause_ms;
      a.feed(Look{});
    }
  }
  EXPECT_EQ(a.f.state, FollowUp::State::given_up);
  EXPECT_LE(pauses, 2 * a.limits.max_refusals);
}

TEST(FollowUp, OnlyOurStaleEntriesAreDeleted) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.feed(Look{});
  es::Eis e = a.made.eis();
  e.profiles.push_back(a.made.entry("89000123456789099967", "Created", "2.999.21"));
  e.profiles.push_back(a.made.entry("89000123456789099975", "Created", ""));
  e.profiles.push_back(a.made.entry("89000123456789099983", "Enabled"));
  a.eis(e);
  EXPECT_EQ(a.f.state, FollowUp::State::clean);
}

TEST(FollowUp, AProfileThatIsInUseIsInstalled) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.feed(Look{});
  a.eis(a.made.eis_with("Disabled"));
  EXPECT_EQ(a.f.state, FollowUp::State::clean);
  EXPECT_TRUE(settled(a.f, a.now).gone.empty());
  EXPECT_EQ(settled(a.f, a.now).used, std::vector<std::string>{kIccid});
}

TEST(FollowUp, AnEntryThatIsNotOursToDeleteIsAnAlarm) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.feed(Look{});
  es::Eis e = a.made.eis();
  e.profiles.push_back(a.made.entry(kIccid, "Created", ""));
  a.eis(e);
  EXPECT_EQ(a.f.state, FollowUp::State::given_up);
}

TEST(FollowUp, AnEisThatIsAskedTooSoonProvesNothing) {
  After a;
  end_left_behind(a.made);
  a.now = a.made.c.now_ms;
  a.begin(a.made);
  a.now -= a.limits.settle_ms;
  a.feed(Look{});
  a.eis(a.made.eis());
  ASSERT_FALSE(ended(a.f));
  a.now += a.limits.settle_ms;
  a.feed(Look{});
  a.eis(a.made.eis());
  EXPECT_EQ(a.f.state, FollowUp::State::clean);
}

TEST(FollowUp, RecordRoundTripAndMerge) {
  After a;
  end_in_creation(a.made);
  a.begin(a.made);
  a.feed(Look{});
  const auto again = follow_up_from_record(to_record(a.f), a.now);
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_EQ(to_record(*again), to_record(a.f));
  Drive other;
  other.d.order.id = "dl2";
  other.d.order.iccid = Iccid::trusted("89000123456789012358");
  other.c.now_ms = a.now;
  end_left_behind(other, "89000123456789012358");
  const FollowUp both = with_outcome(*again, other.d, a.now, a.limits);
  EXPECT_EQ(both.iccids.size(), 2U);
  EXPECT_TRUE(both.possession.may_appear(kIccid, a.now)) << "the first order's creation is still open";
  EXPECT_TRUE(both.possession.may_hold("89000123456789012358", a.now));
  EXPECT_EQ(both.calls, again->calls) << "call numbers go on";
  EXPECT_FALSE(follow_up_from_record("{}", 0).ok());
  EXPECT_FALSE(follow_up_from_record("\xFF", 0).ok());
}

// It was held, or the server stood, for longer than it may look: that was no time in which it could look.
TEST(FollowUp, ItLooksBeforeItGivesUpHoweverLongItHadToRest) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.feed(Look{});
  a.call(F::get_eis);
  a.feed(CallFailed{a.last.call->call, CallFault::timeout, "", ""});
  rest(a.f);  // an order goes first
  a.now += 10 * a.limits.give_up_ms;
  a.f = *follow_up_from_record(to_record(a.f), a.now);
  a.now += 10 * a.limits.give_up_ms;
  a.feed(Look{});
  ASSERT_FALSE(ended(a.f));
  a.eis(a.made.eis());
  EXPECT_EQ(a.f.state, FollowUp::State::clean);
}

// The wall clock was set forward while the server stood: what is left of a CreateISDP's time is still left.
TEST(FollowUp, AClockStepEndsNoCreation) {
  After a;
  end_in_creation(a.made);
  a.now = a.made.c.now_ms;
  a.begin(a.made);
  a.now += 365LL * 86'400'000;
  a.f = *follow_up_from_record(to_record(a.f), a.now);
  a.feed(Look{});
  a.eis(a.made.eis());
  ASSERT_FALSE(ended(a.f)) << "it may yet appear";
}

TEST(FollowUp, ALateEndDuringItsDeletionForgetsNoCall) {
  After a;
  end_in_creation(a.made);
  a.begin(a.made);
  const std::string creation = a.f.possession.open_calls().front();
  a.feed(Look{});
  a.eis(a.made.eis_with("Created"));
  a.call(F::delete_isdp);
  const unsigned deletion = a.last.call->call;
  a.feed(LateEnd{creation, true});
  EXPECT_FALSE(a.last.call.has_value());
  EXPECT_EQ(a.f.pending_call, deletion);
  EXPECT_EQ(a.f.state, FollowUp::State::deleting);
  a.feed(Answer{deletion, Drive::ok(F::delete_isdp)});
  a.look();
  a.eis(a.made.eis());
  ASSERT_FALSE(ended(a.f) && !a.f.possession.clean(a.now));
}

// Every EIS shows another entry as ours, and every DeleteISDP is said to be executed.
TEST(FollowUp, AnSmsrThatAlwaysShowsAnotherEntryHasItsEnd) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.feed(Look{});
  unsigned looks = 0, at_once = 0, strange = 0;
  for (unsigned i = 0; i < 5000 && !ended(a.f); ++i) {
    if (!a.last.call) {
      a.now += *a.last.pause_ms;
      at_once = 0;
      a.feed(Look{});
    } else if (a.last.call->request.function == F::get_eis) {
      ++looks;
      es::Eis e = a.made.eis();
      for (int n = 0; n < 100; ++n)
        e.profiles.push_back(a.made.entry("8" + std::to_string(100'000 + ++strange), "Created"));
      a.eis(e);
      ASSERT_LE(++at_once, 1U) << "looks without a pause";
      ASSERT_LE(a.f.possession.iccids().size(), 70U);
    } else {
      a.deletion(Drive::ok(F::delete_isdp));
    }
  }
  EXPECT_EQ(a.f.state, FollowUp::State::given_up);
  EXPECT_LE(looks, a.limits.max_looks + 1);
}

// Two orders that end together: what each of them learnt is in the ledger, in whichever order they are joined.
TEST(FollowUp, TwoOrdersThatEndTogetherLoseNothing) {
  Drive one, two;
  two.d.order.id = "dl2";
  two.d.order.iccid = Iccid::trusted("89000123456789012358");
  end_in_creation(one);
  end_left_behind(two, "89000123456789012358");
  FollowUpLimits l;
  const std::int64_t now = std::max(one.c.now_ms, two.c.now_ms);
  const FollowUp a = with_outcome(with_outcome(std::nullopt, one.d, now, l), two.d, now, l);
  const FollowUp b = with_outcome(with_outcome(std::nullopt, two.d, now, l), one.d, now, l);
  for (const FollowUp& f : {a, b, with_outcome(a, one.d, now, l)}) {
    EXPECT_EQ(f.iccids.size(), 2U);
    EXPECT_TRUE(f.possession.may_appear(kIccid, now));
    EXPECT_TRUE(f.possession.may_hold("89000123456789012358", now));
  }
}

// What counts as installed may be shown as Created for a while: the follow-up of another ICCID leaves it alone.
TEST(FollowUp, WhatWasInstalledSinceIsNotDeleted) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.f.possession.installed("89000123456789099959", a.now);
  a.feed(Look{});
  es::Eis e = a.made.eis();
  e.profiles.push_back(a.made.entry("89000123456789099959", "Created"));
  a.eis(e);
  EXPECT_FALSE(a.last.call.has_value());
}

// An order that leaves nothing: it ends at GetEIS.
Download in_vain(const After& a, unsigned n) {
  Drive t;
  t.d.order.id = "vain" + std::to_string(n);
  t.d.order.iccid = Iccid::trusted("89000123456789012358");
  t.c.now_ms = a.now;
  t.d.possession = a.f.possession;
  t.feed(Start{});
  t.feed(DeadlinePassed{});
  EXPECT_EQ(t.d.state, State::expired);
  return std::move(t.d);
}
// Order after order ends for the card: what is left there is given up all the same when it was refused often enough.
TEST(FollowUp, OrdersThatLeaveNothingDoNotPutItsEndOff) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  unsigned orders = 0;
  for (; orders < 50 && !ended(a.f); ++orders) {
    a.f = with_outcome(a.f, in_vain(a, orders), a.now, a.limits);
    a.feed(Look{});
    a.eis(a.made.eis_with("Created"));
    a.deletion(Drive::failed(F::delete_isdp, "8.4", "4.2"));
  }
  EXPECT_EQ(a.f.state, FollowUp::State::given_up);
  EXPECT_EQ(orders, a.limits.max_refusals);
  // It is looked at once more when yet another one has ended, and not from the beginning.
  a.f = with_outcome(a.f, in_vain(a, 99), a.now, a.limits);
  a.feed(Look{});
  a.eis(a.made.eis_with("Created"));
  a.deletion(Drive::failed(F::delete_isdp, "8.4", "4.2"));
  EXPECT_EQ(a.f.state, FollowUp::State::given_up);
}
TEST(FollowUp, AnOrderThatLeavesSomethingBeginsAnew) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.f.looks = 50;
  a.f.refusals = 4;
  Drive t;
  t.d.order.id = "dl2";
  t.d.order.iccid = Iccid::trusted("89000123456789012358");
  end_in_creation(t);
  a.f = with_outcome(a.f, t.d, a.now, a.limits);
  EXPECT_EQ(a.f.looks, 0U);
  EXPECT_EQ(a.f.refusals, 0U);
}
// However often it begins anew, each day since something was first left is told.
TEST(FollowUp, DaysCountFromTheFirstThatWasLeft) {
  constexpr std::int64_t kDay = 86'400'000;
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  const std::int64_t first = a.f.first_left_ms;
  EXPECT_EQ(untold_days(a.f, first + kDay - 1), 0);
  for (int i = 1; i <= 30; ++i) {
    Drive t;
    t.d.order.id = "next" + std::to_string(i);
    t.d.order.iccid = Iccid::trusted("89000123456789" + std::to_string(100'000 + i));
    end_in_creation(t);
    a.now = first + i * kDay;
    a.f = with_outcome(a.f, t.d, a.now, a.limits);
    EXPECT_EQ(untold_days(a.f, a.now), i);
    a.f.days_told = i;
    EXPECT_EQ(untold_days(a.f, a.now), 0);
    a.f = *follow_up_from_record(to_record(a.f), a.now);
  }
  EXPECT_EQ(a.f.first_left_ms, first);
  EXPECT_EQ(follow_up_from_record(to_record(a.f), first - kDay)->first_left_ms, first - kDay) << "a clock set back";
}

TEST(FollowUp, RecordsWithoutALedgerAreTakenForTheWorst) {
  const std::string old =
      R"({"id":"after-x","eid":")" + kEid + R"(","smsr":"2.999.30","iccids":[")" + kIccid + R"("],"open":[["x.3",")" +
      kIccid +
      R"("]],"began":1000,"quiet":601000,"settle":11000,"give_up":87001000,"looks":1,"refusals":0,"calls":4,"trouble":""})";
  const auto f = follow_up_from_record(old, 5'000'000);
  ASSERT_TRUE(f.ok()) << f.error().text();
  EXPECT_TRUE(f->possession.may_hold(kIccid, 5'000'000));
  EXPECT_TRUE(f->possession.may_appear(kIccid, 5'599'999));
  EXPECT_FALSE(f->possession.may_appear(kIccid, 5'600'000));
  EXPECT_EQ(f->left_ms, 86'400'000);
}

}  // namespace
}  // namespace kf::download
