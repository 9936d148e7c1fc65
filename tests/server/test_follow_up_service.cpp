// The ledgers of cards in the running server: each by its EID and SM-SR, none loses what another order, the follow-up
// itself or a late callback learns at the same time. No SM-SR is configured, so every call fails at once.
#include <gtest/gtest.h>
#include <boost/asio/executor_work_guard.hpp>

#include <filesystem>

#include "host/base/clock.hpp"
#include "host/base/random.hpp"
#include "host/download/record.hpp"
#include "host/server/follow_up_service.hpp"
#include "host/server/sqlite_books.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;
using download::FollowUp;
const std::string kX = "89000123456789012341", kY = "89000123456789012358";
const Oid kA = Oid::trusted("2.999.30"), kB = Oid::trusted("2.999.31");

class FollowUpServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("kf-follow-up-" + random_uuid());
    fs::create_directories(dir_);
    config_.follow_up.backoff_ms = 1;
    config_.follow_up.longest_pause_ms = 1;
    config_.follow_up.settle_ms = 1;
    auto s = store::Store::open({(dir_ / "s.db").string()});
    ASSERT_TRUE(s.ok());
    store_ = std::move(*s);
    storage_ = std::make_unique<Storage>(io_, *store_);
    cards_ = std::make_unique<SqliteCardBook>(*storage_);
    es3_ = std::make_unique<Es3Client>(io_, config_, metrics_);
    service_ = std::make_unique<FollowUpService>(io_, config_, *cards_, metrics_, *es3_);
  }
  void TearDown() override {
    service_->stop();
    store_.reset();  // its last callbacks are posted to io_
    fs::remove_all(dir_);
  }
  static Eid eid() { return Eid::trusted(eid_with_check_digits("890010120123412340987654321001")); }
  // An order that ended FAILED, its CreateISDP still open.
  static download::Download failed(const std::string& id, const std::string& iccid, const Oid& smsr) {
    download::Download d;
    d.order.id = id;
    d.order.eid = eid();
    d.order.iccid = Iccid::trusted(iccid);
    d.order.smsr = smsr;
    d.state = download::State::failed;
    d.possession.creation_asked(id + ".2", iccid, anchored_ms(), anchored_ms() + 3'600'000);
    return d;
  }
  void commit(const download::Download& d, const std::optional<std::string>& record) {
    ASSERT_TRUE(record.has_value());
    // What failed() sets: the caller's own may be gone when the store comes to it.
    auto kept = std::make_shared<download::Download>();
    kept->order = d.order;
    kept->state = d.state;
    kept->possession = d.possession;
    storage_->submit(
        [kept, r = *record](store::Tx& tx) { tx.put_follow_up(kept->order.eid.str(), kept->order.smsr.str(), r); },
        [this, kept](const Status& s) {
          ASSERT_TRUE(s.ok());
          service_->settled(*kept);
        });
  }
  std::vector<FollowUp> stored() {
    std::vector<store::FollowUpRow> rows;
    EXPECT_TRUE(store_->run([&](store::Tx& tx) { rows = tx.follow_ups(); }).ok());
    std::vector<FollowUp> out;
    for (const auto& r : rows) out.push_back(*download::follow_up_from_record(r.record, anchored_ms()));
    return out;
  }
  static store::FollowUpRow row_of(const FollowUp& f) { return {f.eid.str(), f.smsr.str(), download::to_record(f)}; }
  // Given up, the ICCID perhaps there and no call under way.
  static FollowUp given_up() {
    FollowUp f;
    f.id = "after-old";
    f.eid = eid();
    f.smsr = kA;
    f.state = FollowUp::State::given_up;
    f.iccids = {kX};
    f.possession.claimed(kX, anchored_ms());
    return f;
  }
  store::ProfileRow profile(store::ProfileState s) {
    store::ProfileRow row;
    row.iccid = kX;
    row.owner = "2.999.10";
    row.state = s;
    if (s != store::ProfileState::free) {
      row.eid = eid().str();
      row.smsr = kA.str();
      row.download_id = "old";
    }
    EXPECT_TRUE(store_->run([&](store::Tx& tx) { EXPECT_TRUE(tx.insert_profile(row)); }).ok());
    return row;
  }
  store::ProfileState state_of_x() {
    store::ProfileState s{};
    EXPECT_TRUE(store_->run([&](store::Tx& tx) { s = tx.get_profile(kX)->state; }).ok());
    return s;
  }
  void sql(const char* text) {
    EXPECT_TRUE(store_->run([&](store::Tx& tx) { tx.exec(text); }).ok()) << text;
  }
  void settle_time() {
    for (const auto began = anchored_ms(); anchored_ms() < began + 5;) {  // beyond settle_ms
    }
  }
  void see_an_empty_eis() {  // of kA, too late to lag behind
    Party a;
    a.oid = kA;
    es::Eis eis;
    eis.eid = eid().str();
    settle_time();
    service_->seen(a, eis, FollowUpService::Clock::now());
  }
  void run_for(int ms) {
    io_.restart();
    io_.run_for(std::chrono::milliseconds(ms));
  }
  template <class F>
  bool until(F f) {  // a slow machine only makes it later
    for (int i = 0; i < 3000; ++i) {
      if (f()) return true;
      io_.restart();
      io_.run_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  unsigned looks(const Oid& smsr) {
    for (const auto& f : stored())
      if (f.smsr == smsr) return f.looks;
    return 0;
  }

  fs::path dir_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};  // answers come from elsewhere
  Settings config_;
  Metrics metrics_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<SqliteCardBook> cards_;
  std::unique_ptr<Es3Client> es3_;
  std::unique_ptr<FollowUpService> service_;
};

TEST_F(FollowUpServiceTest, AnOrderThroughAnotherSmsrNeitherHoldsNorRedirectsIt) {
  const auto a = failed("a", kX, kA), b = failed("b", kY, kB);
  service_->hold(download::card_of(b.order));  // for good
  service_->hold(download::card_of(a.order));
  commit(a, service_->outcome(a));
  commit(b, service_->outcome(b));
  service_->release(download::card_of(a.order));
  ASSERT_TRUE(until([&] { return looks(kA) >= 2; }))
      << "it looks at its own SM-SR, whatever is ordered through another";
  EXPECT_EQ(looks(kB), 0U);
  const auto all = stored();
  ASSERT_EQ(all.size(), 2U);
  for (const auto& f : all) {
    const bool first = f.smsr == kA;
    EXPECT_TRUE(f.possession.may_appear(first ? kX : kY, anchored_ms()));
    EXPECT_FALSE(f.possession.knows(first ? kY : kX));
    EXPECT_EQ(f.iccids, std::vector<std::string>{first ? kX : kY});
  }
}

TEST_F(FollowUpServiceTest, TwoOrdersThatEndTogetherLoseNothing) {
  const auto one = failed("one", kX, kA), two = failed("two", kY, kA);
  const auto first = service_->outcome(one), second = service_->outcome(two);  // before either is committed
  commit(one, first);
  commit(two, second);
  ASSERT_TRUE(until([&] { return metrics_.follow_ups_begun == 1; }));
  const auto all = stored();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].iccids.size(), 2U);
  EXPECT_TRUE(all[0].possession.may_appear(kX, anchored_ms()));
  EXPECT_TRUE(all[0].possession.may_appear(kY, anchored_ms()));
}

// Its own commit is in flight while an order ends: what the order left is in the store all the same.
TEST_F(FollowUpServiceTest, ACommitOfItsOwnDoesNotOverwriteWhatAnOrderLeft) {
  const auto one = failed("one", kX, kA), two = failed("two", kY, kA);
  commit(one, service_->outcome(one));
  ASSERT_TRUE(until([&] { return metrics_.follow_ups_begun == 1; }));
  Party a;
  a.oid = kA;
  es::Response refused;
  refused.function = es::Function::create_isdp;
  refused.status = es::ExecStatus::failed;
  refused.code = es::StatusCode{"8.1", "4.8", "", ""};
  for (int i = 0; i < 2; ++i) {  // in either order
    EXPECT_EQ(service_->late_callback(a, "one.2", refused), i == 0) << "known once";
    commit(two, service_->outcome(two));
  }
  ASSERT_TRUE(until([&] { return looks(kA) >= 2; }));
  const auto all = stored();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_TRUE(all[0].possession.may_appear(kY, anchored_ms()));
  EXPECT_FALSE(all[0].possession.may_appear(kX, anchored_ms()));
}

TEST_F(FollowUpServiceTest, ALateCallbackOfAnotherSmsrIsNotBelieved) {
  const auto one = failed("one", kX, kA);
  commit(one, service_->outcome(one));
  Party b;
  b.oid = kB;
  es::Response refused;
  refused.status = es::ExecStatus::failed;
  refused.code = es::StatusCode{"8.1", "4.8", "", ""};
  EXPECT_FALSE(service_->late_callback(b, "one.2", refused));
}

// A call stays open as long as nobody says how it ended: callbacks that do not say it drive nothing.
TEST_F(FollowUpServiceTest, CallbacksThatSayNothingChangeNothing) {
  const auto one = failed("one", kX, kA);
  service_->hold(download::card_of(one.order));
  commit(one, service_->outcome(one));
  ASSERT_TRUE(until([&] { return metrics_.follow_ups_begun == 1; }));
  Party a;
  a.oid = kA;
  es::Response expired;
  expired.function = es::Function::create_isdp;
  expired.status = es::ExecStatus::expired;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(service_->late_callback(a, "one.2", expired));
  EXPECT_EQ(metrics_.callbacks_dropped, 100U);
  const auto all = stored();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].looks, 0U);
  EXPECT_TRUE(all[0].possession.open("one.2"));
}

TEST_F(FollowUpServiceTest, OneThatFoundNoPlaceIsLookedAtWhenOneIsFree) {
  config_.follow_ups_per_smsr = 1;
  const auto one = failed("one", kX, kA);
  auto two = failed("two", kY, kA);
  two.order.eid = Eid::trusted(eid_with_check_digits("890010120123412340987654321002"));
  service_->hold(download::card_of(one.order));
  commit(one, service_->outcome(one));
  commit(two, service_->outcome(two));
  ASSERT_TRUE(until([&] { return metrics_.follow_ups_begun == 1 && metrics_.follow_ups_given_up == 1; }));
  EXPECT_EQ(metrics_.follow_ups, 1U);
  service_->release(download::card_of(one.order));  // it has 100 looks, and is given up
  EXPECT_TRUE(until([&] {
    return std::ranges::any_of(stored(), [&](const FollowUp& f) { return f.eid == two.order.eid && f.looks > 0; });
  }));
}

TEST_F(FollowUpServiceTest, AnOperatorDoesNotFillAllPlacesOfAnSmsr) {
  config_.follow_ups_per_smsr = 3;
  config_.parties.resize(2);
  for (auto& p : config_.parties) p.role = Role::operator_;
  std::vector<download::Download> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(failed("d" + std::to_string(i), kX, kA));
    all[i].order.eid = Eid::trusted(eid_with_check_digits("89001012012341234098765432100" + std::to_string(i)));
    all[i].order.requester = Oid::trusted(i < 3 ? "2.999.10" : "2.999.11");
    service_->hold(download::card_of(all[i].order));
    (void)service_->outcome(all[i]);
  }
  EXPECT_EQ(metrics_.follow_ups, 3U) << "two of the one, one of the other";
}

// An ISD-P may be left that no ICCID and no call of ours waits for: the operator is told once, and memory keeps
// nothing.
TEST_F(FollowUpServiceTest, OneThatIsGivenUpIsForgottenWhereNobodyDependsOnIt) {
  config_.follow_up.max_looks = 2;
  auto one = failed("one", kX, kA);
  one.order.iccid_was = download::IccidState::installed;  // stays so, whatever is left beside it
  one.possession = {};
  one.possession.claimed(kY, anchored_ms());
  service_->hold(download::card_of(one.order));
  commit(one, service_->outcome(one));
  service_->release(download::card_of(one.order));
  ASSERT_TRUE(until([&] { return metrics_.follow_ups_given_up == 1; }));
  EXPECT_TRUE(until([&] { return stored().empty(); }));
  EXPECT_EQ(metrics_.alarms, 1U);
  EXPECT_EQ(metrics_.follow_ups, 0U);
}

// One that found no place was looked at by nobody: a restart does not take its place in the queue away.
TEST_F(FollowUpServiceTest, OneThatFoundNoPlaceKeepsItsTurnAcrossARestart) {
  FollowUp f;
  f.id = "after-x";
  f.eid = eid();
  f.smsr = kA;
  f.crowded = true;
  f.state = FollowUp::State::given_up;
  f.possession.claimed(kY, anchored_ms());
  service_->load({row_of(f)}, {});
  EXPECT_EQ(metrics_.follow_ups, 1U) << "there is a place now";
}

// Whole, and out of the way of the next record of its card. What it knew is not known any more: each call that it may
// have had may be executed for as long as any. That is told once, and the next start goes on from it.
TEST_F(FollowUpServiceTest, ARecordThatCannotBeReadIsSetAsideAndTakenForTheWorst) {
  const auto uncertain = profile(store::ProfileState::uncertain);
  const std::string nonsense(3000, '?');
  ASSERT_TRUE(store_->run([&](store::Tx& tx) { tx.put_follow_up(uncertain.eid, uncertain.smsr, nonsense); }).ok());
  std::vector<store::FollowUpRow> rows;
  std::vector<store::SetAsideRow> aside;
  const auto look = [&] {
    ASSERT_TRUE(store_
                    ->run([&](store::Tx& tx) {
                      rows = tx.follow_ups();
                      aside = tx.set_aside_records();
                    })
                    .ok());
  };
  look();
  service_->load(rows, {uncertain});
  EXPECT_EQ(metrics_.set_aside, 1U);
  EXPECT_EQ(metrics_.alarms, 1U);
  const auto month = std::int64_t{30} * 86'400'000;
  const auto check = [&] {
    const auto all = stored();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_TRUE(all[0].possession.may_appear(kX, anchored_ms() + month));
    EXPECT_TRUE(all[0].possession.may_vanish(kX, anchored_ms() + month));
    EXPECT_EQ(all[0].iccids, std::vector<std::string>{kX});
  };
  check();
  look();
  ASSERT_EQ(aside.size(), 1U);
  EXPECT_EQ(aside[0].record, nonsense);
  // The next start; and one at which the substitute was not stored any more.
  for (const bool lost : {false, true}) {
    if (lost) {
      service_->stop();
      ASSERT_TRUE(store_->run([&](store::Tx& tx) { tx.delete_follow_up(uncertain.eid, uncertain.smsr); }).ok());
    }
    look();
    service_ = std::make_unique<FollowUpService>(io_, config_, *cards_, metrics_, *es3_);
    service_->load(rows, {uncertain}, {}, aside);
    EXPECT_EQ(metrics_.alarms, 1U) << "told once";
    check();
  }
  // A program that can read it takes it up.
  aside[0].record = download::to_record(given_up());
  service_ = std::make_unique<FollowUpService>(io_, config_, *cards_, metrics_, *es3_);
  service_->load({}, {uncertain}, {}, aside);
  look();
  EXPECT_TRUE(aside.empty());
  ASSERT_EQ(stored().size(), 1U);
  EXPECT_FALSE(stored()[0].possession.may_appear(kX, anchored_ms()));
  EXPECT_TRUE(stored()[0].possession.may_hold(kX, anchored_ms()));
}

// A disk that is full for a moment: the ledger stays until its end is stored, and that is tried again.
TEST_F(FollowUpServiceTest, AnEndThatCannotBeStoredIsTriedAgain) {
  const auto uncertain = profile(store::ProfileState::uncertain);
  const auto row = row_of(given_up());
  ASSERT_TRUE(store_->run([&](store::Tx& tx) { tx.put_follow_up(row.eid, row.smsr, row.record); }).ok());
  service_->load({row}, {uncertain});
  sql("CREATE TRIGGER full BEFORE UPDATE ON profiles BEGIN SELECT RAISE(ABORT,'full'); END");
  see_an_empty_eis();
  run_for(200);
  EXPECT_EQ(state_of_x(), store::ProfileState::uncertain);
  EXPECT_EQ(metrics_.uncertain, 1U);
  EXPECT_EQ(stored().size(), 1U);
  sql("DROP TRIGGER full");
  EXPECT_TRUE(until([&] { return metrics_.uncertain == 0; }));
  EXPECT_EQ(state_of_x(), store::ProfileState::free);
  EXPECT_TRUE(stored().empty());
}

// The same with one of several ICCIDs, where the ledger goes on.
TEST_F(FollowUpServiceTest, APartOfAnEndThatCannotBeStoredIsTriedAgain) {
  const auto uncertain = profile(store::ProfileState::uncertain);
  auto other = uncertain;
  other.iccid = kY;
  FollowUp f = given_up();
  f.iccids.push_back(kY);
  f.possession.unnamed_creations(kY, anchored_ms(), anchored_ms() + 3'600'000);
  service_->load({row_of(f)}, {uncertain, other});
  sql("CREATE TRIGGER full BEFORE UPDATE ON profiles BEGIN SELECT RAISE(ABORT,'full'); END");
  see_an_empty_eis();
  run_for(200);
  EXPECT_EQ(metrics_.uncertain, 2U);
  sql("DROP TRIGGER full");
  EXPECT_TRUE(until([&] { return metrics_.uncertain == 1; }));
  EXPECT_EQ(state_of_x(), store::ProfileState::free);
  ASSERT_EQ(stored().size(), 1U);
  EXPECT_EQ(stored()[0].iccids, std::vector<std::string>{kY});
}

// An order that comes before it is stored: nothing is over, and nothing of an end is written any more that the order
// could have made untrue meanwhile.
TEST_F(FollowUpServiceTest, AnOrderPutsAnEndOffThatIsNotStored) {
  const auto uncertain = profile(store::ProfileState::uncertain);
  const auto row = row_of(given_up());
  ASSERT_TRUE(store_->run([&](store::Tx& tx) { tx.put_follow_up(row.eid, row.smsr, row.record); }).ok());
  service_->load({row}, {uncertain});
  sql("CREATE TRIGGER full BEFORE UPDATE ON profiles BEGIN SELECT RAISE(ABORT,'full'); END");
  see_an_empty_eis();
  run_for(100);
  const auto one = failed("one", kX, kA);  // for the ICCID that was proven gone
  service_->hold(download::card_of(one.order));
  commit(one, service_->outcome(one));
  sql("DROP TRIGGER full");
  run_for(1500);
  EXPECT_EQ(state_of_x(), store::ProfileState::uncertain) << "its CreateISDP may be executed yet";
  ASSERT_EQ(stored().size(), 1U);
  EXPECT_TRUE(stored()[0].possession.may_appear(kX, anchored_ms()));
  service_->release(download::card_of(one.order));
  EXPECT_TRUE(until([&] { return looks(kA) >= 1; }));
}

// Two profiles were installed one right after the other: the next order's EIS may lag behind both, and would have the
// first one deleted as a leftover.
TEST_F(FollowUpServiceTest, WhatWasInstalledAMomentAgoIsRememberedOfEachProfile) {
  config_.follow_up.settle_ms = 60'000;
  for (const auto& [id, iccid] : {std::pair("one", kX), std::pair("two", kY)}) {
    auto d = failed(id, iccid, kA);
    d.state = download::State::done;
    d.possession = download::Possession{};
    d.possession.installed(iccid, anchored_ms());
    EXPECT_FALSE(service_->outcome(d).has_value()) << "nothing is left";
  }
  download::Possession next;
  service_->brief(eid().str() + " " + kA.str(), next);
  EXPECT_TRUE(next.counts_as_installed(kX));
  EXPECT_TRUE(next.counts_as_installed(kY));
  download::Possession other;
  service_->brief(eid().str() + " " + kB.str(), other);
  EXPECT_EQ(other.size(), 0U);
}

// A bug that an SM-SR has found must not cost the ledger: what was known is there still, and it looks again.
TEST_F(FollowUpServiceTest, AStepThatThrowsCostsNoLedger) {
  const auto one = failed("one", kX, kA), two = failed("two", kY, kA);
  service_->hold(download::card_of(one.order));
  commit(one, service_->outcome(one));
  ASSERT_TRUE(until([&] { return metrics_.follow_ups_begun == 1; }));
  service_->step = [](FollowUp f, download::FollowUpEvent, std::int64_t, const std::string&,
                      const download::FollowUpLimits&) -> download::FollowUpStep {
    const FollowUp gone = std::move(f);
    throw std::runtime_error("poison");
  };
  service_->release(download::card_of(one.order));
  ASSERT_TRUE(until([&] { return metrics_.exceptions >= 2; })) << "it looks again";
  EXPECT_EQ(metrics_.alarms, metrics_.exceptions);
  service_->step = download::step;
  commit(two, service_->outcome(two));
  const auto all = stored();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].eid, eid());
  EXPECT_TRUE(all[0].possession.may_appear(kX, anchored_ms()));
  EXPECT_TRUE(all[0].possession.may_appear(kY, anchored_ms()));
  EXPECT_TRUE(until([&] { return looks(kA) >= 2; }));
}
// Whatever orders come and go, or hold the card for days, each day is told once.
TEST_F(FollowUpServiceTest, EachDayIsToldOnce) {
  constexpr std::int64_t kOneDay = 86'400'000;
  const auto one = failed("one", kX, kA), two = failed("two", kY, kA);
  service_->hold(download::card_of(one.order));  // by an order in enabling, say
  commit(one, service_->outcome(one));
  ASSERT_TRUE(until([&] { return metrics_.follow_ups_begun == 1; }));
  const std::int64_t now = anchored_ms();
  service_->tell_days(now);
  EXPECT_EQ(metrics_.alarms, 0U);
  service_->tell_days(now + kOneDay + 1000);
  service_->tell_days(now + kOneDay + 2000);
  EXPECT_EQ(metrics_.alarms, 1U);
  commit(two, service_->outcome(two));
  service_->tell_days(now + 2 * kOneDay - 1000);
  EXPECT_EQ(metrics_.alarms, 1U);
  service_->tell_days(now + 2 * kOneDay + 1000);
  EXPECT_EQ(metrics_.alarms, 2U);
  EXPECT_EQ(stored().at(0).days_told, 2) << "also by the next process";
}

// One that found no place is looked after by nobody: it is told each day, too.
TEST_F(FollowUpServiceTest, CardsThatFoundNoPlaceAreToldEachDay) {
  config_.follow_ups_per_smsr = 1;
  const auto one = failed("one", kX, kA);
  auto two = failed("two", kY, kA);
  two.order.eid = Eid::trusted(eid_with_check_digits("890010120123412340987654321002"));
  for (const auto* d : std::vector<const download::Download*>{&one, &two}) {
    service_->hold(download::card_of(d->order));
    commit(*d, service_->outcome(*d));
  }
  ASSERT_TRUE(until([&] { return metrics_.follow_ups_begun == 1 && metrics_.follow_ups_given_up == 1; }));
  const auto before = metrics_.alarms;
  const std::int64_t later = anchored_ms() + 2 * 86'400'000;
  service_->tell_days(later);
  EXPECT_EQ(metrics_.alarms, before + 2);
  service_->tell_days(later + 1000);
  EXPECT_EQ(metrics_.alarms, before + 2);
}

// Given up while a DeleteISDP of an entry that is not ours might still be executed: when its time is over nobody
// depends on the ledger, and it goes.
TEST_F(FollowUpServiceTest, ALedgerThatOnlyAnOpenCallKeptIsForgotten) {
  FollowUp f = given_up();
  f.iccids.clear();
  f.possession = download::Possession{};
  f.possession.deletion_asked("old.2", kY, anchored_ms(), anchored_ms() + 60'000);
  const auto row = row_of(f);
  ASSERT_TRUE(store_->run([&](store::Tx& tx) { tx.put_follow_up(row.eid, row.smsr, row.record); }).ok());
  service_->load({row}, {});
  run_for(20);
  ASSERT_EQ(stored().size(), 1U) << "that call may yet be executed";
  service_->tell_days(anchored_ms() + 30'000);
  run_for(20);
  ASSERT_EQ(stored().size(), 1U);
  service_->tell_days(anchored_ms() + 120'000);
  EXPECT_TRUE(until([&] { return stored().empty(); }));
}

// Given up, its ICCID stays uncertain; an EIS frees it, but not one of another SM-SR, nor one that was asked for
// before, nor while an order for that card runs.
TEST_F(FollowUpServiceTest, OnlyAnEisThatProvesItFrees) {
  const auto row = profile(store::ProfileState::uncertain);
  const auto before = FollowUpService::Clock::now();
  service_->load({}, {row});
  EXPECT_EQ(metrics_.uncertain, 1U);
  EXPECT_EQ(metrics_.follow_ups, 0U);
  const auto state = [&] { return state_of_x(); };
  es::Eis eis;
  eis.eid = eid().str();
  Party a, b;
  a.oid = kA;
  b.oid = kB;
  settle_time();
  const auto now = FollowUpService::Clock::now();
  const std::string card = download::card_of(eid(), kA);
  service_->seen(b, eis, now);
  service_->seen(a, eis, before - std::chrono::seconds(1));
  service_->hold(card);
  service_->seen(a, eis, now);
  service_->release(card);
  EXPECT_EQ(state(), store::ProfileState::uncertain);
  EXPECT_EQ(metrics_.uncertain, 1U);
  service_->seen(a, eis, now);
  EXPECT_EQ(state(), store::ProfileState::free);
  EXPECT_TRUE(until([&] { return metrics_.uncertain == 0; }));
}

}  // namespace
}  // namespace kf::server
