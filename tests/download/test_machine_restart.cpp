// The download procedure after a restart of the SM-DP, in every state.
#include <gtest/gtest.h>

#include "tests/download/drive.hpp"

namespace kf::download {
namespace {

// A crash after every persisted state: only the record survives.
Drive revived(Drive& old) {
  Drive t;
  t.d = *from_record(to_record(old.d));
  t.c.now_ms = old.c.now_ms;
  t.feed(Restart{});
  return t;
}

TEST(DownloadRestart, BeforeTheIsdpStartsAgain) {
  Drive a;
  a.to_creating();
  Drive t = revived(a);
  EXPECT_EQ(t.d.state, State::getting_eis);
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry(kIccid, "Created"));  // made by the old life: stale now
  t.answer_eis(e);
  t.certificates_good();
  EXPECT_EQ(t.d.state, State::cleaning_stale);
}

TEST(DownloadRestart, InTheKeyStepDeletesAndTriesOnceMoreWithFreshKeys) {
  Drive a;
  a.to_sending_cert();
  Drive t = revived(a);
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  EXPECT_EQ(t.d.state, State::getting_eis);
  EXPECT_TRUE(t.d.isd_p_aid.empty());
  t.answer_eis(t.eis());
  t.certificates_good();
  EXPECT_NE(t.find<MakeEphemeral>(), nullptr);
  // A second restart in the same place ends it.
  t.created();
  Drive u = revived(t);
  u.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  u.expect_end(State::failed, "1.2", "4.2");
}

// Found by kill -9 in a burst: the SM-SR still worked on the CreateISDP of the old life, which GetEIS does not show.
TEST(DownloadRestart, AnIsdpStillInCreationIsWaitedForAndCleaned) {
  Drive a;
  a.to_creating();
  Drive t = revived(a);
  t.answer_eis(t.eis());
  t.certificates_good();
  for (int i = 0; i < 2; ++i) {
    t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.2.1", "3.3"));
    t.answer_eis(t.eis());
    ASSERT_NE(t.find<StartTimer>(), nullptr) << state_name(t.d.state);
    EXPECT_EQ(t.find<StartTimer>()->ms, i == 0 ? 1000 : 2000);
    t.feed(TimerFired{});
  }
  t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.2.1", "3.3"));
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry(kIccid, "Created"));
  t.answer_eis(e);
  EXPECT_EQ(t.d.state, State::cleaning_stale);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  EXPECT_NE(t.call(F::create_isdp), nullptr);
}

// Found by kill -9 in a burst: the ephemeral key came while the old life's ISD-P was being cleaned away, was dropped
// and never asked for again, so that the order waited for it until its ValidityPeriod was over.
TEST(DownloadRestart, AnEphemeralKeyThatComesDuringCleaningIsUsed) {
  Drive a;
  a.to_creating();
  Drive t = revived(a);
  t.answer_eis(t.eis());
  t.certificates_good();
  ASSERT_NE(t.find<MakeEphemeral>(), nullptr);
  t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.2.1", "3.3"));
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry(kIccid, "Created"));
  t.answer_eis(e);
  ASSERT_EQ(t.d.state, State::cleaning_stale);
  const CallEs3 cleaning = *t.call(F::delete_isdp);
  t.feed(t.ephemeral());
  t.feed(Answer{cleaning.call, Drive::ok(F::delete_isdp)});
  t.created();
  t.card_says(t.card.cert_answer());
  EXPECT_EQ(t.d.state, State::sending_key);
  EXPECT_NE(t.find<Sign>(), nullptr) << "nothing else would ever move this download";
}

// Found by kill -9 twice in a burst: the DeleteISDP of the old life was still at work, and the card refused the second
// one, because nothing was left to delete.
TEST(DownloadRestart, ADeletionThatTheOldLifeHadUnderWayCounts) {
  Drive a;
  a.to_creating();
  {
    Drive t = revived(a);
    es::Eis e = t.eis();
    e.profiles.push_back(t.entry(kIccid, "Created"));
    t.answer_eis(e);
    t.certificates_good();
    t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "4.2"));
    t.answer_eis(t.eis());
    EXPECT_NE(t.call(F::create_isdp), nullptr) << "cleaned: the order goes on";
  }
  a.created();
  Drive t = revived(a);
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "4.2"));
  t.answer_eis(t.eis());
  EXPECT_EQ(t.d.state, State::getting_eis) << "deleted: once more with fresh keys";
  EXPECT_FALSE(t.followed());
}

// Found by kill -9 in a burst: calls made after the last record were made again under the same FunctionCallIdentifier,
// and the SM-SR rightly refused them (1.6/3.3).
TEST(DownloadRestart, CallNumbersAreNeverUsedTwice) {
  Drive a;
  a.to_creating();
  const std::string record = to_record(a.d);
  std::set<unsigned> used{a.call(F::create_isdp)->call};
  a.created();  // the old life goes on after its record, then dies
  used.insert(a.call(F::send_data)->call);
  Drive t;
  t.d = *from_record(record);
  t.feed(Restart{});
  EXPECT_TRUE(t.persisted) << "or a second crash takes the same numbers";
  EXPECT_TRUE(used.insert(t.call(F::get_eis)->call).second);
  Drive u;
  u.d = *from_record(to_record(t.d));
  u.feed(Restart{});
  EXPECT_TRUE(used.insert(u.call(F::get_eis)->call).second);
}

TEST(DownloadRestart, CompletingIsDecidedByTheEis) {
  for (const char* state : {"Disabled", "Created"}) {
    Drive a;
    a.to_completing();
    Drive t = revived(a);
    es::Eis e = t.eis();
    e.profiles.push_back(t.entry(kIccid, state));
    t.answer_eis(e);
    if (std::string(state) == "Created")
      t.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
    t.expect_end(State::done);
  }
}

TEST(DownloadRestart, EnablingWaitsForNotificationOrCallback) {
  Drive a;
  a.d.order.enable = true;
  a.to_completing();
  a.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  const unsigned enable = a.call(F::enable_profile)->call;
  {
    Drive t = revived(a);
    es::Eis e = t.eis();
    e.profiles.push_back(t.entry(kIccid, "Disabled"));
    t.answer_eis(e);
    EXPECT_EQ(t.d.state, State::enabling);
    t.feed(EnabledSeen{});
    t.expect_end(State::done);
  }
  {
    Drive t = revived(a);
    es::Eis e = t.eis();
    e.profiles.push_back(t.entry(kIccid, "Disabled"));
    t.answer_eis(e);
    t.feed(Answer{enable, Drive::ok(F::enable_profile)});
    t.expect_end(State::done);
  }
  {
    Drive t = revived(a);
    es::Eis e = t.eis();
    e.profiles.push_back(t.entry(kIccid, "Enabled"));
    t.answer_eis(e);
    t.expect_end(State::done);
  }
}

// The SM-SR could not deliver the callback while we were down, and repeats it as soon as we are there: while the EIS is
// being asked.
TEST(DownloadRestart, AFailedEnableProfileThatIsToldDuringTheFirstLookCounts) {
  Drive a;
  a.d.order.enable = true;
  a.to_completing();
  a.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  const unsigned enable = a.call(F::enable_profile)->call;
  const auto disabled = [](Drive& t, unsigned call) {
    es::Response r = Drive::ok(F::get_eis);
    r.eis = t.eis();
    r.eis->profiles.push_back(t.entry(kIccid, "Disabled"));
    t.feed(Answer{call, std::move(r)});
  };
  {
    Drive t = revived(a);
    const unsigned look = t.call(F::get_eis)->call;
    t.feed(Answer{enable, Drive::failed(F::enable_profile, "8.2.1", "4.2")});
    disabled(t, look);
    t.expect_end(State::done_with_warning, "8.2.1", "4.2");
    EXPECT_NE(t.d.cause->message.find("enabling failed"), std::string::npos) << t.d.cause->message;
  }
  {  // the card was not reached: once more
    Drive t = revived(a);
    const unsigned look = t.call(F::get_eis)->call;
    t.feed(Answer{enable, Drive::failed(F::enable_profile, "8.1", "5.1")});
    EXPECT_TRUE(t.persisted);
    disabled(t, look);
    ASSERT_NE(t.find<StartTimer>(), nullptr);
    t.feed(TimerFired{});
    EXPECT_NE(t.call(F::enable_profile), nullptr);
  }
  {  // enabled all the same
    Drive t = revived(a);
    const unsigned look = t.call(F::get_eis)->call;
    t.feed(Answer{enable, Drive::failed(F::enable_profile, "8.2.1", "4.2")});
    es::Response r = Drive::ok(F::get_eis);
    r.eis = t.eis();
    r.eis->profiles.push_back(t.entry(kIccid, "Enabled"));
    t.feed(Answer{look, std::move(r)});
    t.expect_end(State::done);
  }
}

// The callback was lost with the old life, and the SM-SR was not there for the first look.
TEST(DownloadRestart, EnablingIsLookedAtAgain) {
  Drive a;
  a.d.order.enable = true;
  a.to_completing();
  a.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  Drive t = revived(a);
  for (unsigned i = 0; i < t.c.timeouts.get_eis_tries; ++i) {
    if (i != 0) t.feed(TimerFired{});
    t.fail(F::get_eis, CallFault::unreachable);
  }
  std::int64_t before = 0;
  for (int i = 0; i < 3; ++i) {
    ASSERT_NE(t.find<StartTimer>(), nullptr) << i;
    const std::int64_t pause = t.find<StartTimer>()->ms;
    EXPECT_GT(pause, before);
    before = pause;
    t.c.now_ms += pause;
    t.feed(TimerFired{});
    es::Eis e = t.eis();
    e.profiles.push_back(t.entry(kIccid, i < 2 ? "Disabled" : "Enabled"));
    t.answer_eis(e);
  }
  t.expect_end(State::done);
}

}  // namespace
}  // namespace kf::download
