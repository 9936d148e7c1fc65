// Who has a card: an order that only waits for enabling keeps no other one from it, and forgets nothing by that.
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "tests/server/services_fixture.hpp"

namespace kf::server {
namespace {
using download::State;
const std::string kMine = "89000123456789012341", kTheirs = "89000123456789012358", kOld = "89000123456789012366";

using DownloadQueueTest = ServicesTest;

// The callback of its EnableProfile was lost, and it is valid for long.
TEST_F(DownloadQueueTest, AnOrderThatWaitsForEnablingKeepsNobodyFromItsCard) {
  download::Download waits;
  waits.order = order("waits", "2.999.10", kMine);
  waits.state = State::enabling;
  waits.completed = true;
  const std::int64_t now = anchored_ms();
  waits.possession.deletion_asked("waits.2", kOld, now, now + 3'600'000);  // its end is not known
  waits.possession.content_sent(kMine, now);
  const auto other = order("other", "2.999.11", kTheirs);
  const download::Order mine = waits.order;
  service_->take_up(std::move(waits), {}, {}, false);
  service_->start(other, {}, {});
  ASSERT_TRUE(until([&] { return ended() == 1 && !service_->has("other"); }))
      << "the other Operator's order waits for this one's enabling";
  EXPECT_TRUE(service_->has("waits"));
  EXPECT_EQ(service_->admission().waiting(), 0U);

  // What it knew of the card is in the card's ledger now, and it knows of nothing but its own profile.
  const auto left = stored([](store::Tx& tx) { return tx.unfinished_downloads(); });
  ASSERT_EQ(left.size(), 1U);
  const auto record = download::from_record(left.front().record);
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->state, State::enabling);
  EXPECT_EQ(record->possession.iccids(), std::vector<std::string>{kMine});
  EXPECT_TRUE(record->possession.open_calls().empty());
  const auto ledger = [&] {
    const auto all = stored([](store::Tx& tx) { return tx.follow_ups(); });
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? download::FollowUp{} : *download::follow_up_from_record(all.front().record, anchored_ms());
  };
  EXPECT_TRUE(ledger().possession.open("waits.2"));
  EXPECT_TRUE(ledger().possession.counts_as_installed(kMine)) << "another order would delete it where the EIS lags";

  // The answer to that call comes late: the ledger learns of it.
  Party smsr;
  smsr.oid = Oid::trusted("2.999.30");
  es::Response deleted;
  deleted.function = es::Function::delete_isdp;
  deleted.status = es::ExecStatus::success;
  service_->late_callback(smsr, "waits.2", deleted);
  EXPECT_TRUE(until([&] { return !ledger().possession.open("waits.2"); }));

  // And the profile is enabled in the end.
  service_->enabled_seen(mine.eid.str(), mine.smsr.str(), kMine);
  ASSERT_TRUE(until([&] { return metrics_.completed == 1; }));
  EXPECT_EQ(ended(), 2);
  EXPECT_EQ(stored([](store::Tx& tx) { return tx.get_profile(kMine)->state; }), store::ProfileState::installed);
  EXPECT_EQ(service_->admission().running() + service_->admission().enabling(), 0U);
}

// Denied, and made after all: nobody else would say that an ISD-P may be left.
TEST_F(DownloadQueueTest, ACreationThatNoCallAccountsForIsAnAlarm) {
  download::Download waits;
  waits.order = order("waits", "2.999.10", kMine);
  waits.state = State::enabling;
  waits.completed = true;
  waits.calls = 7;
  waits.isd_p_aid = "A0000005591010FFFFFFFF8900001300";
  service_->take_up(std::move(waits), {}, {}, false);
  ASSERT_TRUE(until([&] { return service_->has("waits"); }));
  Party smsr;
  smsr.oid = Oid::trusted("2.999.30");
  es::Response made;
  made.function = es::Function::create_isdp;
  made.status = es::ExecStatus::success;
  made.isd_p_aid = hex("A0000005591010FFFFFFFF8900001300");
  const auto before = metrics_.alarms;
  service_->late_callback(smsr, "waits.3", made);
  EXPECT_EQ(metrics_.alarms, before) << "its own, told once more";
  made.isd_p_aid = hex("A0000005591010FFFFFFFF8900001400");
  service_->late_callback(smsr, "waits.3", made);
  EXPECT_EQ(metrics_.alarms, before + 1);
}

// Denied, and made after its order has ended: nobody else would look after that ISD-P, and its ICCID must go nowhere.
TEST_F(DownloadQueueTest, ACreationThatIsToldAfterTheEndMakesTheIccidUncertainAgain) {
  download::Download gone;
  gone.order = order("gone", "2.999.10", kMine);
  gone.state = State::failed;
  gone.calls = 3;
  gone.isd_p_aid = "A0000005591010FFFFFFFF8900001300";  // deleted since
  ASSERT_TRUE(store_
                  ->run([&](store::Tx& tx) {
                    tx.put_download("gone", download::to_record(gone), true, anchored_ms());
                    tx.set_profile(kMine, store::ProfileState::free, "", "", "");
                  })
                  .ok());
  Party smsr, stranger;
  smsr.oid = Oid::trusted("2.999.30");
  stranger.oid = Oid::trusted("2.999.31");
  es::Response made;
  made.function = es::Function::create_isdp;
  made.status = es::ExecStatus::success;
  made.isd_p_aid = hex("A0000005591010FFFFFFFF8900001400");
  config_.follow_up.backoff_ms = 1;
  service_->late_callback(stranger, "gone.3", made);
  io_.restart();
  io_.run_for(std::chrono::milliseconds(100));
  EXPECT_EQ(metrics_.alarms, 0U) << "not its own order";
  const auto state = [&] { return stored([](store::Tx& tx) { return tx.get_profile(kMine)->state; }); };
  EXPECT_EQ(state(), store::ProfileState::free);
  service_->late_callback(smsr, "gone.4", made);
  made.isd_p_aid = hex("A0000005591010FFFFFFFF8900001300");
  service_->late_callback(smsr, "gone.2", made);
  io_.restart();
  io_.run_for(std::chrono::milliseconds(100));
  EXPECT_EQ(metrics_.alarms, 0U) << "no call of ours; its own ISD-P, told once more";
  EXPECT_EQ(state(), store::ProfileState::free);
  made.isd_p_aid = hex("A0000005591010FFFFFFFF8900001400");
  service_->late_callback(smsr, "gone.3", made);
  EXPECT_TRUE(until([&] { return state() == store::ProfileState::uncertain; }));
  EXPECT_EQ(metrics_.alarms, 1U);
  const auto looks = [&] {
    const auto rows = stored([](store::Tx& tx) { return tx.follow_ups(); });
    return rows.empty() ? 0U : download::follow_up_from_record(rows.front().record, anchored_ms())->looks;
  };
  EXPECT_TRUE(until([&] { return looks() != 0; })) << "the card is looked after";
}

// After a restart an order waits for a place again; what its SM-SR says meanwhile of a call that the old process made
// is not lost.
TEST_F(DownloadQueueTest, AnAnswerReachesAnOrderThatWaitsAgainAfterARestart) {
  service_->start(order("first", "2.999.11", kTheirs), {}, {});  // has the card
  download::Download again;
  again.order = order("again", "2.999.10", kMine);
  again.state = State::creating_isdp;
  again.calls = 4;
  const std::int64_t now = anchored_ms();
  again.possession.creation_asked("again.3", kMine, now, now + 3'600'000);
  service_->take_up(std::move(again), {}, {}, false);
  ASSERT_FALSE(service_->has("again"));
  Party smsr;
  smsr.oid = Oid::trusted("2.999.30");
  es::Response refused;
  refused.function = es::Function::create_isdp;
  refused.status = es::ExecStatus::failed;
  refused.code = es::StatusCode{"8.1", "4.8", "", ""};
  const auto dropped = metrics_.callbacks_dropped;
  service_->late_callback(smsr, "again.3", refused);
  EXPECT_EQ(metrics_.callbacks_dropped, dropped);
  ASSERT_TRUE(until([&] { return ended() == 2; }));
  EXPECT_EQ(stored([](store::Tx& tx) { return tx.get_profile(kMine)->state; }), store::ProfileState::free)
      << "the only CreateISDP was refused: nothing can be on the card";
}

// While that it leaves its card is being stored, its calls are the card's ledger's already.
TEST_F(DownloadQueueTest, AnAnswerThatComesWhileItLeavesItsCardIsNotLost) {
  download::Download waits;
  waits.order = order("waits", "2.999.10", kMine);
  waits.state = State::enabling;
  waits.completed = true;
  const std::int64_t now = anchored_ms();
  waits.possession.deletion_asked("waits.2", kOld, now, now + 3'600'000);
  EXPECT_TRUE(store_
                  ->run([&](store::Tx& tx) {
                    tx.put_download("waits", download::to_record(waits), false, anchored_ms());
                    tx.exec("CREATE TRIGGER full BEFORE UPDATE ON downloads BEGIN SELECT RAISE(ABORT,'full'); END");
                  })
                  .ok());
  service_->take_up(std::move(waits), {}, {}, false);
  ASSERT_TRUE(until([&] { return service_->has("waits"); }));
  io_.restart();
  io_.run_for(std::chrono::milliseconds(100));
  Party smsr;
  smsr.oid = Oid::trusted("2.999.30");
  es::Response deleted;
  deleted.function = es::Function::delete_isdp;
  deleted.status = es::ExecStatus::success;
  service_->late_callback(smsr, "waits.2", deleted);
  // What an answer closed stays closed, however often the commit is tried again.
  io_.restart();
  io_.run_for(std::chrono::milliseconds(2500));
  EXPECT_TRUE(store_->run([](store::Tx& tx) { tx.exec("DROP TRIGGER full"); }).ok());
  EXPECT_TRUE(until([&] {
    const auto rows = stored([](store::Tx& tx) { return tx.follow_ups(); });
    return !rows.empty() &&
           !download::follow_up_from_record(rows.front().record, anchored_ms())->possession.open("waits.2");
  }));
}

// Before the restart it had left its card, and the card's ledger has its calls; it does not know that yet.
TEST_F(DownloadQueueTest, AnAnswerForTheCardsLedgerReachesItPastAQueuedOrder) {
  const std::int64_t now = anchored_ms();
  download::Download waits;
  waits.order = order("waits", "2.999.10", kMine);
  waits.state = State::enabling;
  waits.completed = true;
  waits.calls = 5;
  waits.possession.installed(kMine, now);
  download::FollowUp f;
  f.id = "after-waits";
  f.eid = waits.order.eid;
  f.smsr = waits.order.smsr;
  f.iccids = {kOld};
  f.possession.claimed(kOld, now);
  f.possession.deletion_asked("waits.3", kOld, now, now + 3'600'000);
  f.possession.creation_asked("waits.2", kOld, now, now + 3'600'000);
  store::ProfileRow old;
  old.iccid = kOld;
  EXPECT_TRUE(store_
                  ->run([&](store::Tx& tx) {
                    tx.insert_profile(old);
                    tx.set_profile(kOld, store::ProfileState::uncertain, f.eid.str(), f.smsr.str(), "waits");
                    tx.put_follow_up(f.eid.str(), f.smsr.str(), download::to_record(f));
                  })
                  .ok());
  follow_ups_->load(stored([](store::Tx& tx) { return tx.follow_ups(); }),
                    stored([](store::Tx& tx) { return tx.uncertain_profiles(); }), {download::card_of(waits.order)});
  service_->start(order("first", "2.999.11", kTheirs), {}, {});  // has the card
  service_->take_up(std::move(waits), {}, {}, false);
  ASSERT_FALSE(service_->has("waits"));
  Party smsr;
  smsr.oid = Oid::trusted("2.999.30");
  es::Response deleted;
  deleted.function = es::Function::delete_isdp;
  deleted.status = es::ExecStatus::success;
  es::Response made;
  made.function = es::Function::create_isdp;
  made.status = es::ExecStatus::success;
  made.isd_p_aid = hex("A0000005591010FFFFFFFF8900001400");
  service_->late_callback(smsr, "waits.2", made);
  EXPECT_EQ(metrics_.alarms, 0U) << "the ledger had that call open: it is followed up";
  service_->late_callback(smsr, "waits.3", deleted);
  const auto open = [&] {
    for (const auto& row : stored([](store::Tx& tx) { return tx.follow_ups(); }))
      if (download::follow_up_from_record(row.record, anchored_ms())->possession.open("waits.3")) return true;
    return false;
  };
  EXPECT_TRUE(until([&] { return ended() == 1 && !open(); })) << "nobody repeats that answer";
}

// While its record cannot be stored nobody takes its events, and an SM-SR that gets 503 sends its notification again.
TEST_F(DownloadQueueTest, NotificationsDoNotPileUpWhileNothingCanBeStored) {
  download::Download waits;
  waits.order = order("waits", "2.999.10", kMine);
  waits.state = State::enabling;
  waits.completed = true;
  const download::Order o = waits.order;
  EXPECT_TRUE(store_
                  ->run([&](store::Tx& tx) {
                    tx.put_download(o.id, download::to_record(waits), false, anchored_ms());
                    tx.exec("CREATE TRIGGER full BEFORE UPDATE ON downloads BEGIN SELECT RAISE(ABORT,'full'); END");
                  })
                  .ok());
  service_->take_up(std::move(waits), {}, {}, false);
  ASSERT_TRUE(until([&] { return service_->has("waits"); }));
  const std::size_t before = service_->events_waiting("waits");
  for (int i = 0; i < 1000; ++i) service_->enabled_seen(o.eid.str(), o.smsr.str(), kMine);
  EXPECT_LE(service_->events_waiting("waits"), before + 1);
  EXPECT_TRUE(store_->run([](store::Tx& tx) { tx.exec("DROP TRIGGER full"); }).ok());
  EXPECT_TRUE(until([&] { return metrics_.completed == 1; })) << "once is enough";
}

// An order that was refused its ISD-P, its SM-SR, and what that says of a CreateISDP afterwards.
struct Refused {
  Refused() {
    smsr.oid = Oid::trusted("2.999.30");
    made.function = es::Function::create_isdp;
    made.status = es::ExecStatus::success;
  }
  static void put(store::Tx& tx, const download::Order& o) {
    download::Download gone;
    gone.order = o;
    gone.state = State::failed;
    gone.calls = 3;
    tx.put_download(o.id, download::to_record(gone), true, anchored_ms());
    tx.set_profile(kMine, store::ProfileState::free, "", "", "");
  }
  Party smsr;
  es::Response made;
};

// An answer may leave its AID out, and an order that was refused has none: they are not the same ISD-P.
TEST_F(DownloadQueueTest, ACreationToldLateWithoutItsAidCounts) {
  const auto o = order("gone", "2.999.10", kMine);
  ASSERT_TRUE(store_->run([&](store::Tx& tx) { Refused::put(tx, o); }).ok());
  const Refused x;
  service_->late_callback(x.smsr, "gone.2", x.made);
  EXPECT_TRUE(until([&] {
    return stored([](store::Tx& tx) { return tx.get_profile(kMine)->state; }) == store::ProfileState::uncertain;
  }));
  EXPECT_EQ(metrics_.alarms, 1U);
}

// Nor is it the one that the order knew, where that is gone. What is told twice is one alarm.
TEST_F(DownloadQueueTest, ACreationToldLateWithoutItsAidIsNoneThatIsGone) {
  const auto o = order("gone", "2.999.10", kMine);
  ASSERT_TRUE(store_
                  ->run([&](store::Tx& tx) {
                    Refused::put(tx, o);
                    download::Download gone;
                    gone.order = o;
                    gone.state = State::failed;
                    gone.calls = 3;
                    gone.isd_p_aid = "A0000005591010FFFFFFFF8900001300";  // deleted since
                    tx.put_download(o.id, download::to_record(gone), true, anchored_ms());
                  })
                  .ok());
  Refused x;
  const auto uncertain = [&] {
    return stored([](store::Tx& tx) { return tx.get_profile(kMine)->state; }) == store::ProfileState::uncertain;
  };
  service_->late_callback(x.smsr, "gone.2", x.made);
  EXPECT_TRUE(until(uncertain));
  EXPECT_EQ(metrics_.alarms, 1U);
  x.made.isd_p_aid = hex("A0000005591010FFFFFFFF8900001400");
  service_->late_callback(x.smsr, "gone.2", x.made);
  io_.restart();
  io_.run_for(std::chrono::milliseconds(100));
  EXPECT_EQ(metrics_.alarms, 1U) << "the card is looked after already";
}

// It was acknowledged, so nobody says it again; and while the store has no room it is one job, however often it is
// said.
TEST_F(DownloadQueueTest, ACreationToldLateOutlivesAStoreThatFails) {
  const auto o = order("gone", "2.999.10", kMine);
  ASSERT_TRUE(store_->run([&](store::Tx& tx) { Refused::put(tx, o); }).ok());
  ASSERT_TRUE(store_->run([](store::Tx& tx) { tx.exec("ALTER TABLE downloads RENAME TO away"); }).ok());
  const Refused x;
  for (int i = 0; i < 100; ++i) {
    service_->late_callback(x.smsr, "gone.2", x.made);
    io_.restart();
    io_.run_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(metrics_.alarms, 0U);
  ASSERT_TRUE(store_->run([](store::Tx& tx) { tx.exec("ALTER TABLE away RENAME TO downloads"); }).ok());
  EXPECT_TRUE(until([&] {
    return stored([](store::Tx& tx) { return tx.get_profile(kMine)->state; }) == store::ProfileState::uncertain;
  }));
  EXPECT_EQ(metrics_.alarms, 1U) << "said a hundred times, looked into once";
}

// Made-up names do not fill memory and store; that something may have been missed is said.
TEST_F(DownloadQueueTest, OneSmsrsLateCreationsAreBounded) {
  const Refused x;
  for (int i = 0; i < 400; ++i) service_->late_callback(x.smsr, "nobody-" + std::to_string(i) + ".1", x.made);
  EXPECT_EQ(metrics_.alarms, 400U - 256U);
  io_.restart();
  EXPECT_TRUE(until([&] {
    const auto before = metrics_.alarms;
    service_->late_callback(x.smsr, "nobody.1", x.made);
    return metrics_.alarms == before;
  })) << "there is room again";
}

// Denied, then told as made while the outcome of its order is being stored.
TEST_F(DownloadQueueTest, ACreationToldWhileTheEndIsBeingStoredIsLookedAfter) {
  ASSERT_TRUE(store_
                  ->run([](store::Tx& tx) {
                    tx.exec(
                        "CREATE TRIGGER full BEFORE INSERT ON downloads WHEN NEW.ended=1 "
                        "BEGIN SELECT RAISE(ABORT,'full'); END");
                  })
                  .ok());
  service_->start(order("ends", "2.999.10", kMine), {}, {});
  // The log says when its end is at the store.
  std::ostringstream log;
  auto& sinks = spdlog::default_logger()->sinks();
  sinks.push_back(std::make_shared<spdlog::sinks::ostream_sink_mt>(log));
  const bool at_store = until([&] { return log.str().find("outcome not stored") != std::string::npos; });
  sinks.pop_back();
  ASSERT_TRUE(at_store);
  Refused x;
  x.made.isd_p_aid = hex("A0000005591010FFFFFFFF8900001400");
  config_.parties.push_back(x.smsr);
  service_->late_callback(x.smsr, "ends.1", x.made);
  EXPECT_EQ(service_->events_waiting("ends"), 1U);
  EXPECT_EQ(metrics_.alarms, 0U);
  ASSERT_TRUE(store_->run([](store::Tx& tx) { tx.exec("DROP TRIGGER full"); }).ok());
  EXPECT_TRUE(until([&] {
    return stored([](store::Tx& tx) { return tx.get_profile(kMine)->state; }) == store::ProfileState::uncertain;
  }));
  EXPECT_EQ(metrics_.alarms, 1U);
}

// After a restart nobody knows the calls of an order until its first step, which waits for the store: what answers one
// of them is kept, and nothing that cannot.
TEST_F(DownloadQueueTest, AnAnswerBeforeTheFirstStepAfterARestartIsKept) {
  download::Download waits;
  waits.order = order("waits", "2.999.10", kMine);
  waits.state = State::enabling;
  waits.completed = true;
  waits.calls = 5;
  EXPECT_TRUE(store_
                  ->run([&](store::Tx& tx) {
                    tx.put_download("waits", download::to_record(waits), false, anchored_ms());
                    tx.exec("CREATE TRIGGER full BEFORE UPDATE ON downloads BEGIN SELECT RAISE(ABORT,'full'); END");
                  })
                  .ok());
  service_->take_up(std::move(waits), {}, {}, false);
  ASSERT_TRUE(until([&] { return service_->has("waits"); }));
  io_.restart();
  io_.run_for(std::chrono::milliseconds(50));
  ASSERT_EQ(service_->events_waiting("waits"), 1U) << "its Restart";
  Party smsr;
  smsr.oid = Oid::trusted("2.999.30");
  es::Response r;
  r.function = es::Function::get_eis;
  r.status = es::ExecStatus::success;
  service_->late_callback(smsr, "waits.4", r);
  r.function = es::Function::enable_profile;
  service_->late_callback(smsr, "waits.1001", r);
  EXPECT_EQ(service_->events_waiting("waits"), 1U) << "a question of old; a call that no life can have made";
  service_->late_callback(smsr, "waits.5", r);
  EXPECT_EQ(service_->events_waiting("waits"), 2U);
  EXPECT_TRUE(store_->run([](store::Tx& tx) { tx.exec("DROP TRIGGER full"); }).ok());
  EXPECT_TRUE(until([&] { return metrics_.completed == 1; })) << "it was enabled";
}

// An order for what is installed that fails does not make the inventory forget which download brought the profile.
TEST_F(DownloadQueueTest, AnOrderInVainLeavesTheInventoryAsItWas) {
  auto again = order("again", "2.999.10", kMine);
  again.iccid_was = download::IccidState::installed;
  again.smsr_was = "2.999.31";
  again.download_was = "first";
  service_->start(again, {}, {});
  ASSERT_TRUE(until([&] { return ended() == 1; }));
  const auto row = stored([](store::Tx& tx) { return *tx.get_profile(kMine); });
  EXPECT_EQ(row.state, store::ProfileState::installed);
  EXPECT_EQ(row.download_id, "first");
  EXPECT_EQ(row.smsr, "2.999.31");
}

}  // namespace
}  // namespace kf::server
