// The follow-up of an eUICC on which an ended order may have left an ISD-P.
#include "host/download/follow_up.hpp"

#include <gtest/gtest.h>

#include "tests/download/drive.hpp"

namespace kf::download {
namespace {
using State = FollowUp::State;

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
    f = follow_up_of(t.d, now, limits, std::nullopt);
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
};

// The ValidityPeriod ends while CreateISDP is at work.
void end_in_creation(Drive& t) {
  t.to_creating();
  t.c.now_ms = t.d.order.deadline_ms;
  t.feed(DeadlinePassed{});
  t.answer_eis(t.eis());
  ASSERT_TRUE(needs_follow_up(t.d));
}
void end_left_behind(Drive& t) {
  t.to_completing();
  t.feed(DeadlinePassed{});
  t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "4.2"));
  t.answer_eis(t.eis_with("Created"));
  ASSERT_TRUE(needs_follow_up(t.d));
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
  a.eis(a.made.eis());
  EXPECT_EQ(a.f.state, State::clean);
  EXPECT_EQ(a.f.gone, std::vector<std::string>{kIccid});
}

TEST(FollowUp, ALateCallbackSaysWhatToDo) {
  for (const bool success : {true, false}) {
    After a;
    end_in_creation(a.made);
    a.begin(a.made);
    ASSERT_EQ(a.f.creations.size(), 1U);
    const std::string transaction = a.f.creations.front().transaction;
    EXPECT_TRUE(transaction.starts_with("dl.")) << transaction;
    es::Response r = success ? Drive::ok(F::create_isdp) : Drive::failed(F::create_isdp, "8.4", "4.2");
    a.feed(LateCreation{transaction, r});
    a.eis(success ? a.made.eis_with("Created") : a.made.eis());
    if (success) {
      a.deletion(Drive::ok(F::delete_isdp));
      a.eis(a.made.eis());
    }
    EXPECT_EQ(a.f.state, State::clean) << "no waiting any more";
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
  EXPECT_EQ(a.f.state, State::clean);
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
  EXPECT_EQ(a.f.state, State::given_up);
  EXPECT_NE(a.f.trouble.find("8.4/4.2"), std::string::npos) << a.f.trouble;
  EXPECT_TRUE(a.f.gone.empty());
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
  EXPECT_EQ(a.f.state, State::given_up);
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
  EXPECT_EQ(a.f.state, State::given_up);
  EXPECT_EQ(pauses, a.limits.max_refusals - 1);
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
  EXPECT_EQ(a.f.state, State::clean);
}

TEST(FollowUp, AProfileThatIsInUseIsInstalled) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.feed(Look{});
  a.eis(a.made.eis_with("Disabled"));
  EXPECT_EQ(a.f.state, State::clean);
  EXPECT_TRUE(a.f.gone.empty());
  EXPECT_EQ(a.f.used, std::vector<std::string>{kIccid});
}

TEST(FollowUp, AnEntryThatIsNotOursToDeleteIsAnAlarm) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.feed(Look{});
  es::Eis e = a.made.eis();
  e.profiles.push_back(a.made.entry(kIccid, "Created", ""));
  a.eis(e);
  EXPECT_EQ(a.f.state, State::given_up);
}

TEST(FollowUp, AnEisThatIsAskedTooSoonProvesNothing) {
  After a;
  end_left_behind(a.made);
  a.begin(a.made);
  a.now -= a.limits.settle_ms;
  a.feed(Look{});
  a.eis(a.made.eis());
  ASSERT_FALSE(ended(a.f));
  a.now += a.limits.settle_ms;
  a.feed(Look{});
  a.eis(a.made.eis());
  EXPECT_EQ(a.f.state, State::clean);
}

TEST(FollowUp, RecordRoundTripAndMerge) {
  After a;
  end_in_creation(a.made);
  a.begin(a.made);
  a.feed(Look{});
  const auto again = follow_up_from_record(to_record(a.f));
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_EQ(to_record(*again), to_record(a.f));
  Drive other;
  other.d.order.id = "dl2";
  end_left_behind(other);
  other.d.order.iccid = Iccid::trusted("89000123456789012358");
  const FollowUp both = follow_up_of(other.d, a.now, a.limits, *again);
  EXPECT_EQ(both.iccids.size(), 2U);
  EXPECT_EQ(both.creations.size(), 1U) << "the first order's creation is still open";
  EXPECT_GE(both.quiet_ms, again->quiet_ms);
  EXPECT_EQ(both.calls, again->calls) << "call numbers go on";
  EXPECT_FALSE(follow_up_from_record("{}").ok());
  EXPECT_FALSE(follow_up_from_record("\xFF").ok());
}

}  // namespace
}  // namespace kf::download
