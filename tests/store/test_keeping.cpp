// What the store keeps and for how long: retention, usage of a party, pages given back to the file system.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>

#include "host/store/inspect.hpp"
#include "tests/store/fixture.hpp"

namespace kf::store {
namespace {
namespace fs = std::filesystem;

TEST_F(StoreTest, RetentionForgetsWhatIsOldAndOverInSmallSteps) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 for (int i = 0; i < 25; ++i) {
                   CallRow c = a_call("old" + std::to_string(i));
                   c.response = i % 5 == 0 ? "" : "<a/>";  // every fifth still runs
                   tx.insert_call(c);
                   c.fcid = "new" + std::to_string(i);
                   c.response = "<a/>";
                   c.received_ms = 1000;
                   tx.insert_call(c);
                   tx.put_download("e" + std::to_string(i), "r", true, 5);
                   tx.put_download("r" + std::to_string(i), "r", false, 5);
                   DeliveryRow d;
                   d.party = "p";
                   d.created_ms = 5;
                   d.kind = i % 2 == 0 ? DeliveryKind::poll : DeliveryKind::callback;
                   tx.insert_delivery(d);
                 }
               }).ok());
  ASSERT_TRUE(s->run([](Tx& tx) {
                 EXPECT_EQ(forget_all(tx, 100), 20 + 25 + 13);
                 EXPECT_EQ(tx.unfinished_downloads().size(), 25U);
                 EXPECT_EQ(tx.pending_deliveries(100).size(), 12U) << "what is still to be sent stays";
                 EXPECT_TRUE(tx.find_call("2.999.10", "old0").has_value()) << "a running call stays";
                 EXPECT_FALSE(tx.find_call("2.999.10", "old1").has_value());
                 EXPECT_TRUE(tx.find_call("2.999.10", "new1").has_value());
                 EXPECT_EQ(forget_all(tx, 100), 0);
                 tx.give_back_pages(100);
               }).ok());
}

// An order may be valid for longer than outcomes are kept: its repeats are answered as long as those of others.
TEST_F(StoreTest, AnOutcomeIsKeptFromItsEndOn) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 CallRow c = a_call("long");
                 c.received_ms = 5;
                 tx.insert_call(c);
                 tx.set_call_response(c.requester, c.fcid, "<a/>", 500);
                 EXPECT_EQ(forget_all(tx, 100), 0);
                 EXPECT_EQ(forget_all(tx, 501), 1);
               }).ok());
}

// An Operator can make any number of orders that fail at once: they are kept as long as their calls, which are counted.
TEST_F(StoreTest, WhatEndedInVainIsForgottenWithItsOutcome) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 for (const std::string state : {"Done", "DoneWithWarning", "Failed", "Expired"}) {
                   tx.put_download(state, "{\"state\":\"" + state + "\"}", true, 50);
                   tx.put_download("young" + state, "{\"state\":\"" + state + "\"}", true, 150);
                 }
                 tx.put_download("running", "{\"state\":\"Failed\"}", false, 50);
                 ForgetCursor at;
                 std::int64_t n = 0;
                 do n += tx.forget_batch(at, 100, 10, 3);
                 while (at.table != ForgetCursor::Table::none);
                 EXPECT_EQ(n, 2);
                 EXPECT_EQ(tx.download_counts().ended, 6);
                 EXPECT_EQ(tx.unfinished_downloads().size(), 1U);
               }).ok());
}

// Ordered, deleted at the SM-SR and ordered again: one ICCID brings about any number of downloads, one of which counts.
TEST_F(StoreTest, OfTheDownloadsOfAnIccidTheOneThatTheInventoryNamesIsKept) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 const auto profile = [&](const std::string& iccid, ProfileState state, const std::string& by) {
                   ProfileRow p;
                   p.iccid = iccid;
                   tx.insert_profile(p);
                   tx.set_profile(iccid, state, "eid", "sr", by);
                 };
                 const auto done = [&](const std::string& id, const std::string& iccid, std::int64_t at) {
                   tx.put_download(id, R"({"state":"Done","iccid":")" + iccid + R"("})", true, at);
                 };
                 for (int i = 0; i < 5; ++i) done("a" + std::to_string(i), "1", 50);
                 profile("1", ProfileState::installed, "a4");
                 done("b", "2", 50);
                 profile("2", ProfileState::reserved, "running");  // and may be put back
                 done("c", "3", 50);                               // of an inventory that is not ours
                 done("d", "4", 150);
                 profile("4", ProfileState::installed, "newer");
                 ForgetCursor at;
                 std::int64_t n = 0;
                 do n += tx.forget_batch(at, 100, 10, 3);
                 while (at.table != ForgetCursor::Table::none);
                 EXPECT_EQ(n, 4) << "a0 to a3";
                 EXPECT_EQ(tx.download_counts().ended, 4);
                 at = {};
                 do n += tx.forget_batch(at, 100, 60, 3);
                 while (at.table != ForgetCursor::Table::none);
                 EXPECT_EQ(n, 7) << "and a4, b, c in their time";
               }).ok());
}

TEST_F(StoreTest, FreedPagesGoBackToTheFileSystem) {
  auto s = open();
  const auto pages = [&s] {
    std::int64_t n = 0;
    EXPECT_TRUE(s->run([&n](Tx& tx) { n = tx.page_count(); }).ok());
    return n;
  };
  ASSERT_TRUE(s->run([](Tx& tx) {
                 for (int i = 0; i < 200; ++i) {
                   CallRow c = a_call(std::to_string(i));
                   c.response = std::string(8000, 'x');
                   tx.insert_call(c);
                 }
               }).ok());
  const std::int64_t full = pages();
  ASSERT_TRUE(s->run([](Tx& tx) {
                 EXPECT_EQ(forget_all(tx, 100), 200);
                 tx.give_back_pages(10'000);
               }).ok());
  EXPECT_LT(pages(), full / 4);
}

TEST_F(StoreTest, UsageFollowsWhatIsCommittedAndNothingElse) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) { tx.insert_call(a_call("1")); }).ok());
  ASSERT_TRUE(s->run([](Tx& tx) { tx.count_usage(); }).ok());
  Usage start, now;
  const auto look = [&s](Usage& u) { ASSERT_TRUE(s->run([&u](Tx& tx) { u = tx.usage("2.999.10"); }).ok()); };
  look(start);
  EXPECT_EQ(start.calls, 1);
  EXPECT_GT(start.bytes, 0);
  ASSERT_FALSE(s->run([](Tx& tx) {
                  tx.insert_call(a_call("2"));
                  throw StoreError("on purpose");
                }).ok());
  look(now);
  EXPECT_EQ(now.calls, 1) << "a job that was rolled back counts nothing";
  ASSERT_TRUE(s->run([](Tx& tx) {
                 tx.insert_call(a_call("3"));
                 tx.set_call_response("2.999.10", "3", std::string(5000, 'x'), 0);
                 DeliveryRow d;
                 d.party = "2.999.10";
                 d.kind = DeliveryKind::poll;
                 d.body = std::string(700, 'x');
                 tx.insert_delivery(d);
               }).ok());
  look(now);
  EXPECT_EQ(now.calls, 2);
  EXPECT_GE(now.bytes, start.bytes + 5700);
  const Usage counted = now;
  ASSERT_TRUE(s->run([](Tx& tx) {
                 DeliveryRow d;
                 d.party = "2.999.10";
                 d.kind = DeliveryKind::notification;
                 d.body = std::string(900, 'x');
                 tx.insert_delivery(d);
               }).ok());
  look(now);
  EXPECT_EQ(now.bytes, counted.bytes) << "an SM-SR's notifications use up what the Operator may store";
  ASSERT_TRUE(s->run([](Tx& tx) {
                 EXPECT_EQ(tx.usage(usage_key("2.999.10", DeliveryKind::notification, "")).bytes, 900);
               }).ok());
  ASSERT_TRUE(s->run([](Tx& tx) { tx.count_usage(); }).ok());
  look(now);
  EXPECT_EQ(now.calls, counted.calls);
  EXPECT_EQ(now.bytes, counted.bytes) << "counting anew gives the same";
  ASSERT_TRUE(s->run([](Tx& tx) {
                 tx.delete_delivery(tx.next_polled("2.999.10", "")->id);
                 forget_all(tx, 100);
               }).ok());
  look(now);
  EXPECT_EQ(now.calls, 1) << "the unanswered one";
  EXPECT_EQ(now.bytes, start.bytes);
}

// Quotas stand on usage(): what is added up commit by commit must be what is there, whatever fails in between.
TEST_F(StoreTest, UsageIsWhatCountingAnewGives) {
  auto s = open();
  ASSERT_TRUE(s->run([](Tx& tx) { tx.count_usage(); }).ok());
  std::mt19937 dice(20);  // NOLINT(cert-msc51-cpp): the same every time
  const auto roll = [&dice](unsigned n) { return static_cast<unsigned>(dice() % n); };
  const auto some_text = [&] {
    std::string t;
    for (unsigned n = roll(40); n > 0; --n) t += roll(3) == 0 ? "\xC3\xA4" : "x";  // octets, not characters
    return t;
  };
  const std::vector<std::string> parties{"2.999.10", "2.999.11"}, sources{"", "2.999.30", "2.999.31"};
  const auto one_operation = [&](Tx& tx) {
    CallRow c = a_call(std::to_string(roll(12)));
    c.requester = parties[roll(2)];
    c.message_id = some_text();
    c.reply_to = some_text();
    c.reply_parameters = some_text();
    const bool known = tx.find_call(c.requester, c.fcid).has_value();
    DeliveryRow d;
    d.party = c.requester;
    d.kind = static_cast<DeliveryKind>(roll(4));
    d.source = d.kind == DeliveryKind::notification ? sources[roll(3)] : "";
    d.body = some_text();
    d.created_ms = roll(200);
    const auto id = static_cast<std::int64_t>(1 + roll(60));
    switch (roll(9)) {
      case 0:
      case 1:
        if (!known) tx.insert_call(c);
        break;
      case 2:
        tx.rebind_call(c);
        break;
      case 3:
        tx.set_call_response(c.requester, c.fcid, some_text(), 0);
        break;
      case 4:
      case 5:
        tx.insert_delivery(d);
        break;
      case 6:
        tx.delete_delivery(id);
        break;
      case 7:
        tx.keep_delivery(id);
        break;
      default:
        if (roll(8) == 0) forget_all(tx, roll(200));
        break;
    }
  };
  for (int i = 0; i < 1500; ++i) {
    const unsigned end = roll(6);
    (void)s->run([&](Tx& tx) {
      for (unsigned n = 1 + roll(4); n > 0; --n) one_operation(tx);
      if (end == 0) throw StoreError("on purpose");
      if (end == 1) throw std::runtime_error("on purpose");
      if (end == 2 && roll(4) == 0) {  // its savepoint is gone, so that it cannot be undone by itself
        tx.exec("ROLLBACK");
        throw StoreError("on purpose");
      }
    });
    ASSERT_TRUE(s->run([&](Tx& tx) {
                   std::map<std::string, std::pair<std::int64_t, std::int64_t>> followed, counted;
                   std::vector<std::string> names = parties;
                   for (const auto& p : parties)
                     for (const auto& x : sources) names.push_back(usage_key(p, DeliveryKind::notification, x));
                   for (const auto& n : names) followed[n] = {tx.usage(n).calls, tx.usage(n).bytes};
                   tx.count_usage();
                   for (const auto& n : names) counted[n] = {tx.usage(n).calls, tx.usage(n).bytes};
                   ASSERT_EQ(followed, counted) << "after job " << i;
                 }).ok());
    if (HasFatalFailure()) return;
  }
}

// An SM-SR's word counts for what went through it: another one must not free an ICCID by an EIS of its own making.
}  // namespace
}  // namespace kf::store
