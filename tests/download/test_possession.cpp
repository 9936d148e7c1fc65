// One subscription, at most one card: what the inventory says of an ICCID after every kind of end, and whether anybody
// goes on looking after the eUICC.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/download/drive.hpp"

namespace kf::download {
namespace {

void expect_iccid(const Drive& t, IccidState s, bool followed) {
  EXPECT_EQ(static_cast<int>(t.iccid_state()), static_cast<int>(s)) << (t.d.cause ? t.d.cause->message : "");
  EXPECT_EQ(t.followed(), followed);
}
void refuse_deletion(Drive& t) {
  t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "4.2"));
  t.answer_eis(t.eis_with("Created"));
}

TEST(Possession, InstalledAfterSuccess) {
  Drive t;
  t.to_completing();
  t.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  expect_iccid(t, IccidState::installed, false);
}

TEST(Possession, FreeWhenNothingWasMade) {
  {
    Drive t;
    t.feed(Start{});
    t.feed(DeadlinePassed{});
    expect_iccid(t, IccidState::free, false);
  }
  {
    Drive t;
    t.to_creating();
    t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.1", "4.8"));
    expect_iccid(t, IccidState::free, false);
  }
  for (const CallFault fault : {CallFault::unreachable, CallFault::refused}) {  // never executed
    Drive t;
    t.to_creating();
    for (int i = 0; i < 10 && !ended(t.d.state); ++i) {
      if (t.find<StartTimer>() != nullptr) {
        t.feed(TimerFired{});
      } else if (t.find<CallEs3>()->request.function == F::get_eis) {
        t.answer_eis(t.eis());
      } else {
        t.fail(F::create_isdp, fault);
      }
    }
    t.expect_end(State::failed, "8.7", "5.1");
    expect_iccid(t, IccidState::free, false);
  }
}

TEST(Possession, FreeAfterDeletion) {
  Drive t;
  t.to_sending_key();
  t.feed(DeadlinePassed{});
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  expect_iccid(t, IccidState::free, false);
}

// Seen in the field trial: completion refused, deletion fails, the whole profile on the card, and the next order by
// ProfileType took the same ICCID, IMSI and Ki for another card.
TEST(Possession, UncertainWhenTheIsdpIsLeftBehind) {
  Drive t;
  t.to_completing();
  for (int i = 0; i < 4; ++i) {
    t.answer(F::profile_download_completed, Drive::failed(F::profile_download_completed, "8.7", "4.2"));
    t.feed(TimerFired{});
  }
  t.answer(F::profile_download_completed, Drive::failed(F::profile_download_completed, "8.7", "4.2"));
  t.answer_eis(t.eis_with("Created"));
  refuse_deletion(t);
  t.expect_end(State::failed, "8.7", "4.2");
  expect_iccid(t, IccidState::uncertain, true);
  EXPECT_EQ(t.find<DropKeySet>(), nullptr) << "the ISD-P may be there, and with it the key set";
}

TEST(Possession, UncertainWhileACreationIsOpen) {
  Drive t;
  t.to_creating();
  t.feed(DeadlinePassed{});
  t.answer_eis(t.eis());  // In-Creation is not shown
  t.expect_end(State::expired, "1.6", "5.3");
  EXPECT_EQ(t.d.possession.open_calls().size(), 1U);
  expect_iccid(t, IccidState::uncertain, true);
  EXPECT_NE(t.d.cause->message.find("not known"), std::string::npos) << t.d.cause->message;
}

// Seen with an SM-SR that sends poison: "failed, with a code" was taken for "nothing was made", and the ISD-P stayed.
TEST(Possession, UncertainWhenNobodyKnowsWhatTheAnswerSays) {
  Drive t;
  t.to_creating();
  es::Response r = Drive::failed(F::create_isdp, "1.2", "4.2");
  r.unknown_status = true;
  t.answer(F::create_isdp, r);
  expect_iccid(t, IccidState::uncertain, true);
}

TEST(Possession, ALateCallbackSettlesACreation) {
  for (const bool success : {true, false}) {
    Drive t;
    t.to_creating();
    const unsigned create = t.call(F::create_isdp)->call;
    t.feed(DeadlinePassed{});
    const CallEs3 look = *t.call(F::get_eis);
    es::Response r = success ? Drive::ok(F::create_isdp) : Drive::failed(F::create_isdp, "8.4", "4.2");
    if (success) r.isd_p_aid = hex(kAid);
    t.feed(Answer{create, r});
    if (success) {
      t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
    } else {
      es::Response eis = Drive::ok(F::get_eis);
      eis.eis = t.eis();
      t.feed(Answer{look.call, eis});
    }
    t.expect_end(State::expired, "1.6", "5.3");
    expect_iccid(t, IccidState::free, false);
  }
}

// The repeated CreateISDP is answered 8.2.1/3.3 because the first one is still at work.
TEST(Possession, ACreationStillAtWorkIsWaitedFor) {
  Drive t;
  t.to_creating();
  t.fail(F::create_isdp, CallFault::timeout);
  t.answer_eis(t.eis());
  t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.2.1", "3.3"));
  t.answer_eis(t.eis());
  ASSERT_NE(t.find<StartTimer>(), nullptr) << state_name(t.d.state);
  t.feed(TimerFired{});
  t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.2.1", "3.3"));
  t.answer_eis(t.eis_with("Created"));
  EXPECT_EQ(t.d.state, State::sending_cert) << "the ISD-P of the first call is the one";
  EXPECT_TRUE(t.d.possession.open_calls().empty());
}

TEST(Possession, ACreationStillAtWorkAtTheEndIsFollowedUp) {
  Drive t;
  t.to_creating();
  t.fail(F::create_isdp, CallFault::timeout);
  t.answer_eis(t.eis());
  for (int i = 0; i < 9; ++i) {
    t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.2.1", "3.3"));
    t.answer_eis(t.eis());
    if (ended(t.d.state)) break;
    t.feed(TimerFired{});
  }
  t.expect_end(State::failed, "8.2.1", "3.3");
  EXPECT_EQ(t.d.possession.open_calls().size(), 1U);
  expect_iccid(t, IccidState::uncertain, true);
}

TEST(Possession, AnUnreachableSmsrEndsTheOrderAfterItsTries) {
  Drive t;
  t.to_creating();
  for (int i = 0; i < 2; ++i) {
    t.fail(F::create_isdp, CallFault::unreachable);
    ASSERT_NE(t.find<StartTimer>(), nullptr);
    t.feed(TimerFired{});
  }
  t.fail(F::create_isdp, CallFault::unreachable);
  t.expect_end(State::failed, "8.7", "5.1");
}

// A 503 says that nothing was done, but the HTTP server that says it may stand before an SM-SR that is at work.
TEST(Possession, ACreationThatHttpTurnedAwayMayHaveBeenMade) {
  Drive t;
  t.to_creating();
  t.fail(F::create_isdp, CallFault::unreachable, true);
  t.feed(TimerFired{});
  for (int i = 0; i < 9; ++i) {
    t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.2.1", "3.3"));
    t.answer_eis(t.eis());
    if (ended(t.d.state)) break;
    t.feed(TimerFired{});
  }
  t.expect_end(State::failed, "8.2.1", "3.3");
  expect_iccid(t, IccidState::uncertain, true);
}

TEST(Possession, AfterTheLastRefusalOfHttpTheEisIsAsked) {
  Drive t;
  t.to_creating();
  for (int i = 0; i < 2; ++i) {
    t.fail(F::create_isdp, CallFault::unreachable, true);
    t.feed(TimerFired{});
  }
  t.fail(F::create_isdp, CallFault::unreachable, true);
  ASSERT_FALSE(ended(t.d.state));
  t.answer_eis(t.eis());
  t.expect_end(State::failed, "8.7", "5.1");
}

TEST(Possession, ARestartForgetsNoOpenCreation) {
  Drive a;
  a.to_creating();
  Drive t;
  t.d = *from_record(to_record(a.d));
  t.feed(Restart{});
  t.feed(DeadlinePassed{});
  t.expect_end(State::expired, "1.6", "5.3");
  expect_iccid(t, IccidState::uncertain, true);
}

// The CreateISDP of a life before the restart is carried out when the ISD-P of the second one has been deleted.
TEST(Possession, ADeletionSaysNothingOfTheOtherOpenCreations) {
  Drive a;
  a.to_creating();
  Drive t;
  t.d = *from_record(to_record(a.d));
  ASSERT_EQ(t.d.possession.open_calls().size(), 1U);
  t.feed(Restart{});
  t.answer_eis(t.eis());
  t.feed(CertificatesChecked{});
  es::Response created = Drive::ok(F::create_isdp);
  created.isd_p_aid = hex("A0000005591010FFFFFFFF8900001300");
  t.answer(F::create_isdp, created);
  ASSERT_EQ(t.d.possession.open_calls().size(), 1U) << "the first one is still open";
  t.feed(DeadlinePassed{});
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::expired, "1.6", "5.3");
  expect_iccid(t, IccidState::uncertain, true);
}

// A DeleteISDP that nobody answered may be carried out yet: what the EIS still shows is not told as installed.
TEST(Possession, ADeletionThatMayYetBeExecutedLeavesNoInstallationToTell) {
  Drive t;
  t.to_completing();
  t.feed(DeadlinePassed{});
  ASSERT_EQ(t.d.state, State::deleting);
  for (int i = 0; i < 2; ++i) {
    t.fail(F::delete_isdp, CallFault::lost);
    t.feed(TimerFired{});
  }
  t.fail(F::delete_isdp, CallFault::lost);
  t.answer_eis(t.eis_with("Disabled"));
  t.expect_end(State::expired, "1.6", "5.3");
  expect_iccid(t, IccidState::uncertain, true);
}

// The same, and its callback comes while the ISD-P of the second one is being deleted.
TEST(Possession, ALateIsdpBesideTheOneBeingDeletedIsLookedAfter) {
  Drive a;
  a.to_creating();
  Drive t;
  t.d = *from_record(to_record(a.d));
  const unsigned first = t.open_call(0);
  t.feed(Restart{});
  t.answer_eis(t.eis());
  t.feed(CertificatesChecked{});
  es::Response created = Drive::ok(F::create_isdp);
  created.isd_p_aid = hex("A0000005591010FFFFFFFF8900001300");
  t.answer(F::create_isdp, created);
  t.feed(DeadlinePassed{});
  const unsigned deletion = t.d.pending_call;
  created.isd_p_aid = hex("A0000005591010FFFFFFFF8900001400");
  t.feed(Answer{first, created});
  t.feed(Answer{deletion, Drive::ok(F::delete_isdp)});
  t.expect_end(State::expired, "1.6", "5.3");
  expect_iccid(t, IccidState::uncertain, true);
}

// An order for the same eUICC that ends before it could look leaves the ICCID what it was.
TEST(Possession, WhatWasUncertainStaysSoUntilAnEisShowsItGone) {
  {
    Drive t;
    t.d.order.iccid_was = IccidState::uncertain;
    t.feed(Start{});
    t.feed(DeadlinePassed{});
    expect_iccid(t, IccidState::uncertain, true);  // an order that could not look is a reason to look again
  }
  {
    Drive t;
    t.d.order.iccid_was = IccidState::uncertain;
    t.feed(Start{});
    t.answer_eis(t.eis());
    t.feed(CertificatesChecked{Status(Error{"bad-signature", ""}), Curve::p256, {}});
    expect_iccid(t, IccidState::uncertain, true);  // one EIS may lag behind
  }
  {
    Drive t;
    t.d.order.iccid_was = IccidState::uncertain;
    t.feed(Start{});
    t.answer_eis(t.eis_with("Created"));
    t.certificates_good();
    t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
    t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.1", "4.8"));
    expect_iccid(t, IccidState::free, false);
  }
}

TEST(Possession, WhatWasInstalledNeverGoesToAnotherCard) {
  for (const bool gone : {true, false}) {
    Drive t;
    t.d.order.iccid_was = IccidState::installed;
    t.feed(Start{});
    t.answer_eis(gone ? t.eis() : t.eis_with("Enabled"));
    t.certificates_good();
    if (gone) {
      EXPECT_EQ(t.d.state, State::creating_isdp) << "deleted: it may be ordered for the same eUICC again";
      t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.1", "4.8"));
    } else {
      t.expect_end(State::failed, "8.2.1", "3.3");
    }
    expect_iccid(t, IccidState::installed, false);
  }
}

TEST(Possession, AnEisThatLagsBehindFreesNothing) {
  Drive t;
  t.to_sending_key();
  t.card_says(t.card.key_answer(t.shs.expose(), true));
  t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "4.2"));
  t.answer_eis(t.eis());  // refused, and yet not shown
  t.expect_end(State::failed, "8.4", "6.1");
  expect_iccid(t, IccidState::uncertain, true);
}

// The inventory thought it free, the card has it.
TEST(Possession, EveryCertificateOfTheCaKeySetsIsOffered) {
  Drive t;
  t.feed(Start{});
  es::Eis e = t.eis();
  e.ecasd.keysets.push_back({"117", "SCP03", "", {Bytes{0x7F, 0x21, 0x01}}, {}});
  es::SecurityDomain::Keyset more{"118", "CA", "", {}, {}};
  more.certs = {{"1", "", Bytes{0x7F, 0x21, 0x02}}, {"2", "", Bytes{0x7F, 0x21, 0x03}}};
  e.ecasd.keysets.push_back(more);
  t.answer_eis(e);
  auto* check = t.find<CheckCertificates>();
  ASSERT_NE(check, nullptr);
  const std::vector<Bytes> want{{0x7F, 0x21, 0x00}, {0x7F, 0x21, 0x02}, {0x7F, 0x21, 0x03}};
  EXPECT_EQ(check->cert_ecasd, want);
}

TEST(Possession, AnEisThatShowsTheProfileKeepsItFromOthers) {
  Drive t;
  t.feed(Start{});
  t.answer_eis(t.eis_with("Disabled"));
  t.feed(CertificatesChecked{Status(Error{"bad-signature", ""}), Curve::p256, {}});
  expect_iccid(t, IccidState::uncertain, true);
}

TEST(Possession, ACompletionThatWasTakenAfterAllCountsAsInstalled) {
  Drive t;
  t.to_completing();
  t.feed(DeadlinePassed{});
  t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.2.3", "3.8"));  // POL2, set by the completion
  t.answer_eis(t.eis_with("Disabled"));
  t.expect_end(State::done_with_warning, "1.6", "5.3");
  expect_iccid(t, IccidState::installed, false);
}

TEST(Possession, IccidsAreComparedByValue) {
  Drive t;
  t.d.order.iccid = Iccid::trusted("8900012345678901234");
  t.feed(Start{});
  es::Eis e = t.eis_with("Enabled", "8900012345678901234F");
  e.profiles.push_back(t.entry("not an ICCID at all", "Enabled", "2.999.77"));
  t.answer_eis(e);
  t.certificates_good();
  t.expect_end(State::failed, "8.2.1", "3.3");
}

TEST(Possession, RecordsOfTheFirstVersionAreTakenForTheWorst) {
  Drive a;
  a.to_creating();
  auto json = nlohmann::json::parse(to_record(a.d));
  for (const char* later : {"possession", "was", "was_at"}) ASSERT_EQ(json.erase(later), 1U) << later;
  const std::string text = json.dump();
  auto d = from_record(text);
  ASSERT_TRUE(d.ok()) << d.error().text() << text;
  d->possession.resume(a.c.now_ms);
  EXPECT_TRUE(d->possession.may_hold(kIccid, a.c.now_ms));
  EXPECT_TRUE(d->possession.may_appear(kIccid, a.c.now_ms));
  EXPECT_TRUE(d->possession.may_vanish(kIccid, a.c.now_ms)) << "nobody knows what was under way";
}

// What the SM-SR refuses the second time says nothing of the ISD-P that the first CreateISDP made.
TEST(Possession, ARefusedSecondCreationDoesNotWipeTheFirst) {
  Drive t;
  t.to_creating();
  t.fail(F::create_isdp, CallFault::timeout);
  const unsigned first = t.open_call(0);
  t.answer_eis(t.eis());
  const unsigned second = t.call(F::create_isdp)->call;
  t.feed(Answer{first, [] {
                  es::Response r = Drive::ok(F::create_isdp);  // made, and which one it is the EIS will say
                  return r;
                }()});
  t.feed(Answer{second, Drive::failed(F::create_isdp, "8.1", "4.8")});
  t.expect_end(State::failed, "8.1", "4.8");
  expect_iccid(t, IccidState::uncertain, true);
}

// An SM-SR can show the ECASD of a card that it does not manage, or none that is good: such an EIS frees nothing,
// however long ago the ICCID became uncertain.
TEST(Possession, AnEisWithoutGoodCertificatesProvesNothing) {
  for (const bool good : {true, false}) {
    Drive t;
    t.d.order.iccid_was = IccidState::uncertain;
    t.d.possession.claimed(kIccid, t.c.now_ms - 2 * t.c.settle_ms);
    t.feed(Start{});
    t.answer_eis(t.eis());
    if (good) {
      t.certificates_good();
      t.feed(DeadlinePassed{});
      t.answer_eis(t.eis());
      expect_iccid(t, IccidState::uncertain, true);  // its own CreateISDP is under way
      EXPECT_FALSE(t.d.possession.may_hold(kIccid, t.c.now_ms) && !t.d.possession.may_appear(kIccid, t.c.now_ms));
    } else {
      t.feed(CertificatesChecked{Status(Error{"bad-signature", ""}), Curve::p256, {}});
      expect_iccid(t, IccidState::uncertain, true);
    }
  }
}

// Nor can it make anything up that we would have to look after: one SM-SR could show some of it for every EID.
TEST(Possession, AnEisWithoutGoodCertificatesLeavesNothingToFollowUp) {
  Drive t;
  t.feed(Start{});
  t.answer_eis(t.eis_with("Created", "89000123456789012358"));
  t.feed(CertificatesChecked{Status(Error{"bad-signature", ""}), Curve::p256, {}});
  EXPECT_EQ(t.d.state, State::failed);
  expect_iccid(t, IccidState::free, false);
}

// A 503 says that nothing was done, but the HTTP server that says it may stand before an SM-SR that is at work.
TEST(Possession, A503IsNoProofThatNothingWasMade) {
  Drive t;
  t.to_creating();
  for (int i = 0; i < 3; ++i) {
    t.fail(F::create_isdp, CallFault::unreachable, true);
    if (t.find<StartTimer>() != nullptr) t.feed(TimerFired{});
  }
  t.answer_eis(t.eis());
  t.expect_end(State::failed, "8.7", "5.1");
  expect_iccid(t, IccidState::uncertain, true);
}

// A DeleteISDP of an earlier order whose end nobody knows would take the new ISD-P away.
TEST(Possession, NothingIsMadeWhileADeletionMayYetStrike) {
  Drive t;
  t.d.possession.deletion_asked("after-x.1", kIccid, t.c.now_ms - 10, t.c.now_ms + 5'000);
  t.feed(Start{});
  t.answer_eis(t.eis());
  t.certificates_good();
  ASSERT_NE(t.find<StartTimer>(), nullptr);
  EXPECT_EQ(t.find<StartTimer>()->ms, 5'001);
  EXPECT_EQ(t.find<CallEs3>(), nullptr);
  t.c.now_ms += 5'001;
  t.feed(TimerFired{});
  EXPECT_NE(t.call(F::create_isdp), nullptr);
}

TEST(Possession, ACallThatMayChangeTheCardIsInTheRecordBeforeItIsMade) {
  Drive t;
  t.feed(Start{});
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry("89000123456789099959", "Created"));
  t.answer_eis(e);
  t.certificates_good();
  ASSERT_NE(t.call(F::delete_isdp), nullptr);
  EXPECT_TRUE(t.persisted);
  auto again = from_record(to_record(t.d));
  ASSERT_TRUE(again.ok());
  again->possession.resume(t.c.now_ms);
  EXPECT_TRUE(again->possession.may_vanish("89000123456789099959", t.c.now_ms));
  t.fail(F::delete_isdp, CallFault::lost);
  t.answer_eis(e);
  ASSERT_NE(t.call(F::delete_isdp), nullptr) << "once more";
  EXPECT_TRUE(t.persisted);
  EXPECT_GT(t.call(F::delete_isdp)->not_after_ms, t.c.now_ms);
}

// Order after order for one card: what was just installed is not taken for stale by an EIS that lags behind.
TEST(Possession, WhatWasJustInstalledIsNotCleanedAway) {
  Drive t;
  t.d.possession.installed("89000123456789099959", t.c.now_ms - 100);
  t.feed(Start{});
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry("89000123456789099959", "Created"));
  t.answer_eis(e);
  t.certificates_good();
  EXPECT_NE(t.call(F::create_isdp), nullptr);
}

// Found by kill -9: the callback of the old life's CreateISDP came when its ISD-P had been cleaned away, and was taken
// for the new one.
TEST(Possession, ALateCallbackOfWhatWasCleanedAwayIsNotTakenForTheNewIsdp) {
  Drive a;
  a.to_creating();
  Drive t;
  t.d = *from_record(to_record(a.d));
  t.c.now_ms = a.c.now_ms;
  const unsigned old = t.open_call(0);
  t.feed(Restart{});
  t.answer_eis(t.eis_with("Created"));
  t.certificates_good();
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  ASSERT_NE(t.call(F::create_isdp), nullptr);
  const unsigned mine = t.call(F::create_isdp)->call;
  es::Response created = Drive::ok(F::create_isdp);
  created.isd_p_aid = hex("A0000005591010FFFFFFFF8900001400");
  t.feed(Answer{old, created});
  EXPECT_EQ(t.d.state, State::creating_isdp);
  created.isd_p_aid = hex(kAid);
  t.feed(Answer{mine, created});
  EXPECT_EQ(t.d.state, State::sending_cert);
  EXPECT_EQ(t.d.isd_p_aid, kAid);
}

}  // namespace
}  // namespace kf::download
