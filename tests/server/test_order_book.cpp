// The books of orders and messages on a real store: what is accepted, repeated, refused, ended, and what a crash
// leaves.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "host/download/record.hpp"
#include "host/server/sqlite_books.hpp"
#include "tests/server/store_fixture.hpp"

namespace kf::server {
namespace {
using Kind = Accepted::Kind;
using store::ReplyKind;

constexpr const char* kOrdered = "8900012345678910000";
constexpr const char* kOrderer = "2.999.10";

class OrderBookTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    storage_ = std::make_unique<Storage>(io_, *store_);
    book_ = std::make_unique<SqliteOrderBook>(*storage_, config_);
    messages_ = std::make_unique<SqliteMessageBook>(*storage_);
    run([](store::Tx& tx) {
      tx.count_usage();
      store::ProfileRow p;
      p.iccid = kOrdered;
      p.owner = kOrderer;
      p.profile_type = "T";
      ASSERT_TRUE(tx.insert_profile(p));
    });
  }
  template <class T>
  T wait(asio::awaitable<T> what) {
    std::optional<T> out;
    const auto into = [&out](asio::awaitable<T> a) -> asio::awaitable<void> { out.emplace(co_await std::move(a)); };
    asio::co_spawn(io_, into(std::move(what)), asio::detached);
    while (!out) step();
    return std::move(*out);
  }
  void step() {
    io_.restart();
    io_.run_for(std::chrono::milliseconds(5));
  }
  static store::CallRow call(const std::string& message_id = "m1", ReplyKind reply = ReplyKind::callback) {
    store::CallRow c;
    c.requester = kOrderer;
    c.fcid = "f";
    c.function = "DownloadProfile";
    c.digest = Bytes(32, 7);
    c.reply = reply;
    if (reply != ReplyKind::sync) c.reply_to = "https://op.example/cb";
    c.message_id = message_id;
    c.ns = "urn:n";
    c.received_ms = 1000;
    return c;
  }
  static OrderAsked asked(const store::CallRow& c, const std::string& id = "d1") {
    OrderAsked a;
    a.call = c;
    a.order.id = id;
    a.order.requester = Oid::trusted(kOrderer);
    a.order.function_call_identifier = c.fcid;
    a.order.eid = Eid::trusted(eid_with_check_digits("890010120123412340987654321001"));
    a.order.smsr = Oid::trusted("2.999.30");
    a.iccid = a.iccid_as_ordered = kOrdered;
    return a;
  }
  Accepted accept(const store::CallRow& c, const std::string& id = "d1") {
    auto a = wait(book_->accept(asked(c, id)));
    EXPECT_TRUE(a.ok());
    return a.ok() ? std::move(*a) : Accepted{};
  }
  static BoundAnswer answer(const store::CallRow& c, const std::string& text = "told") {
    BoundAnswer a;
    a.call = c;
    a.kept = text;
    if (c.reply != ReplyKind::sync) a.message = text;
    return a;
  }
  Result<Answered> end(const download::Order& o, const BoundAnswer& a,
                       download::IccidState iccid = download::IccidState::installed) {
    OrderEnd e;
    e.order = o;
    e.record = "{}";
    e.iccid = iccid;
    e.succeeded = true;
    e.ledger = "ledger";
    e.answer = a;
    std::optional<Result<Answered>> out;
    book_->end_order(std::move(e), [&out](Result<Answered> r) { out.emplace(std::move(r)); });
    while (!out) step();
    return std::move(*out);
  }
  store::ProfileRow profile() {
    store::ProfileRow out;
    run([&](store::Tx& tx) { out = tx.get_profile(kOrdered).value(); });
    return out;
  }
  std::int64_t ended() {
    std::int64_t n = 0;
    run([&](store::Tx& tx) { n = tx.download_counts().ended; });
    return n;
  }

  asio::io_context io_{1};
  Settings config_;
  std::unique_ptr<Storage> storage_;
  std::unique_ptr<SqliteOrderBook> book_;
  std::unique_ptr<SqliteMessageBook> messages_;
};

TEST_F(OrderBookTest, AnOrderIsAcceptedOnceAndItsRepeatsAreBound) {
  const Accepted first = accept(call());
  EXPECT_EQ(first.kind, Kind::started);
  EXPECT_EQ(first.order.iccid.str(), kOrdered);
  EXPECT_EQ(first.order.profile_type, "T");
  EXPECT_EQ(profile().state, store::ProfileState::reserved);
  EXPECT_EQ(profile().download_id, "d1");
  const Accepted repeat = accept(call("m2"), "d2");
  EXPECT_EQ(repeat.kind, Kind::running);
  EXPECT_EQ(repeat.call.message_id, "m2");
  store::CallRow other = call();
  other.digest = Bytes(32, 8);
  EXPECT_EQ(accept(other, "d3").kind, Kind::used_otherwise);
  run([](store::Tx& tx) { EXPECT_EQ(tx.download_counts().running, 1); });
}

TEST_F(OrderBookTest, WhatIsRefusedLeavesNothing) {
  OrderAsked a = asked(call());
  a.iccid = "8900012345678910001";
  const auto no = wait(book_->accept(std::move(a)));
  ASSERT_TRUE(no.ok());
  EXPECT_EQ(no->kind, Kind::refused);
  EXPECT_EQ(no->cause->subject + "/" + no->cause->reason, "8.2.1/3.9");
  run([](store::Tx& tx) { EXPECT_FALSE(tx.find_call(kOrderer, "f").has_value()); });
  config_.stored_calls = 0;
  EXPECT_EQ(accept(call()).kind, Kind::over_quota);
  EXPECT_EQ(profile().state, store::ProfileState::free);
}

TEST_F(OrderBookTest, ARelayNeedsItsIccidAndRoomARepeatNeither) {
  const auto relay = [&](const std::string& fcid, const std::string& iccid, bool no_room = false) {
    store::CallRow c = call();
    c.fcid = fcid;
    RelayAsked a{c, iccid, iccid + "F", no_room};
    auto r = wait(book_->accept(std::move(a)));
    return r.ok() ? std::move(*r) : Accepted{};
  };
  EXPECT_EQ(relay("a", kOrdered).kind, Kind::started);
  EXPECT_EQ(relay("b", "").kind, Kind::started) << "GetEIS";
  const Accepted unknown = relay("c", "8900012345678910001");
  EXPECT_EQ(unknown.kind, Kind::refused);
  EXPECT_EQ(unknown.cause->identifier, "8900012345678910001F") << "as it was ordered";
  EXPECT_EQ(relay("d", kOrdered, true).kind, Kind::no_room);
  EXPECT_EQ(relay("a", kOrdered, true).kind, Kind::running);
}

TEST_F(OrderBookTest, AnOutcomeIsOneTransaction) {
  const Accepted a = accept(call());
  const auto told = end(a.order, answer(call()));
  ASSERT_TRUE(told.ok());
  EXPECT_FALSE(told->rebound.has_value());
  ASSERT_TRUE(told->delivery.has_value());
  EXPECT_EQ(told->delivery->body, "told");
  EXPECT_EQ(told->delivery->address, "https://op.example/cb");
  EXPECT_EQ(profile().state, store::ProfileState::installed);
  EXPECT_EQ(ended(), 1);
  run([](store::Tx& tx) {
    EXPECT_EQ(tx.find_call(kOrderer, "f")->response, "told");
    ASSERT_EQ(tx.follow_ups().size(), 1U);
    EXPECT_EQ(tx.follow_ups()[0].record, "ledger");
  });
}

// The texts were written for a request that is not the last one any more: nothing is done, and the book says which is.
TEST_F(OrderBookTest, AnOutcomeThatIsBoundToAnEarlierRequestIsNotKept) {
  const Accepted a = accept(call());
  EXPECT_EQ(accept(call("m2"), "d2").kind, Kind::running);
  const auto stale = end(a.order, answer(call()));
  ASSERT_TRUE(stale.ok());
  ASSERT_TRUE(stale->rebound.has_value());
  EXPECT_EQ(stale->rebound->message_id, "m2");
  EXPECT_FALSE(stale->delivery.has_value());
  EXPECT_EQ(ended(), 0);
  EXPECT_EQ(profile().state, store::ProfileState::reserved);
  BoundAnswer unknown;  // after a restart
  unknown.call.requester = kOrderer;
  unknown.call.fcid = "f";
  EXPECT_TRUE(end(a.order, unknown)->rebound.has_value());
  BoundAnswer last_word = answer(call());
  last_word.rewritten = BoundAnswer::kMostRewritten;
  EXPECT_TRUE(end(a.order, last_word)->delivery.has_value());
  EXPECT_EQ(ended(), 1);
}

TEST_F(OrderBookTest, OfRequestsThatWaitOnConnectionsAnyIsAsGood) {
  const Accepted a = accept(call("m1", ReplyKind::sync));
  EXPECT_EQ(accept(call("m2", ReplyKind::sync), "d2").kind, Kind::running);
  const auto told = end(a.order, answer(call("m1", ReplyKind::sync)));
  ASSERT_TRUE(told.ok());
  EXPECT_FALSE(told->rebound.has_value());
  EXPECT_FALSE(told->delivery.has_value());
  // Now it asks for a callback.
  const Accepted again = accept(call("m3"), "d3");
  EXPECT_EQ(again.kind, Kind::answered);
  EXPECT_EQ(again.call.response, "told");
  EXPECT_EQ(again.ns, "urn:n");
  const auto message = wait(book_->answer_again(again.call, "told again"));
  ASSERT_TRUE(message.ok() && message->has_value());
  EXPECT_EQ((*message)->replaces, 0);
  const auto next = wait(book_->answer_again(again.call, "and again"));
  ASSERT_TRUE(next.ok() && next->has_value());
  EXPECT_EQ((*next)->replaces, (*message)->id) << "a call has one message at most";
  EXPECT_FALSE((*wait(messages_->body((*message)->id))).has_value());
  EXPECT_EQ(*wait(messages_->body((*next)->id)), "and again");
}

TEST_F(OrderBookTest, WhatNobodyAsksForAnyMoreEndsAllTheSame) {
  const Accepted a = accept(call());
  store::CallRow gone = call();
  gone.fcid = "forgotten";
  const auto told = end(a.order, answer(gone), download::IccidState::free);
  ASSERT_TRUE(told.ok());
  EXPECT_FALSE(told->rebound || told->delivery);
  EXPECT_EQ(profile().state, store::ProfileState::free);
}

TEST_F(OrderBookTest, TheNextProcessFindsWhatThisOneLeft) {
  const Accepted a = accept(call());
  store::CallRow relay = call();
  relay.fcid = "r";
  ASSERT_TRUE(wait(book_->accept(RelayAsked{relay, "", "", false})).ok());
  run([](store::Tx& tx) { tx.put_download("odd", "nonsense", false, 1); });
  auto left = book_->take_up();
  ASSERT_TRUE(left.ok()) << left.error().text();
  EXPECT_FALSE(left->planned_stop);
  ASSERT_EQ(left->orders.size(), 1U);
  EXPECT_EQ(left->orders[0].download.order.id, "d1");
  EXPECT_EQ(left->orders[0].profile.iccid, kOrdered);
  ASSERT_EQ(left->relays.size(), 1U);
  EXPECT_EQ(left->relays[0].fcid, "r");
  ASSERT_EQ(left->set_aside.size(), 1U);
  EXPECT_EQ(left->set_aside[0].name, "odd");
  ASSERT_TRUE(book_->note_planned_stop().ok());
  left = book_->take_up();
  ASSERT_TRUE(left.ok());
  EXPECT_TRUE(left->planned_stop);
  left = book_->take_up();
  ASSERT_TRUE(left.ok());
  EXPECT_FALSE(left->planned_stop) << "it stands for one stop";
}

TEST_F(OrderBookTest, KeySetsAreKeptForTheirOrderWhileTheyAreDue) {
  const Accepted a = accept(call());
  const auto keys = [&] {
    bool there = false;
    run([&](store::Tx& tx) { there = tx.get_key_set(kOrdered).has_value(); });
    return there;
  };
  const store::KeySetRow row{kOrdered, a.order.eid.str(), "A0000005591010FFFFFFFF8900001000", 0x30, Bytes(8, 1)};
  book_->keep_key_set(row, "d1", [] { return false; });
  EXPECT_FALSE(keys());
  book_->keep_key_set(row, "another", [] { return true; });
  EXPECT_FALSE(keys()) << "the ICCID is not that order's";
  book_->keep_key_set(row, "d1", [] { return true; });
  EXPECT_TRUE(keys());
  book_->drop_key_set(kOrdered, "d1", [] { return false; });
  EXPECT_TRUE(keys());
  book_->drop_key_set(kOrdered, "d1", [] { return true; });
  EXPECT_FALSE(keys());
}

TEST_F(OrderBookTest, OneSourceHasItsShareOfWhatWaits) {
  store::DeliveryRow m;
  m.party = kOrderer;
  m.kind = store::DeliveryKind::notification;
  m.address = "https://op.example/";
  m.body = std::string(100, 'n');
  m.source = "2.999.30";
  EXPECT_TRUE(wait(messages_->add_notification(m, 2, 1 << 20)).ok());
  EXPECT_TRUE(wait(messages_->add_notification(m, 2, 1 << 20)).ok());
  EXPECT_FALSE(wait(messages_->add_notification(m, 2, 1 << 20)).ok());
  m.source = "2.999.31";
  EXPECT_FALSE(wait(messages_->add_notification(m, 2, 0)).ok());
  EXPECT_TRUE(wait(messages_->add_notification(m, 2, 1 << 20)).ok());
}

TEST_F(OrderBookTest, APolledMessageIsGivenOnce) {
  store::CallRow c = call("m1", ReplyKind::poll);
  c.reply_to = "poll address";
  const Accepted a = accept(c);
  ASSERT_TRUE(end(a.order, answer(c)).ok());
  EXPECT_FALSE(wait(messages_->poll("2.999.11", c.reply_to))->message.has_value()) << "another party's";
  const auto got = wait(messages_->poll(kOrderer, c.reply_to));
  ASSERT_TRUE(got.ok() && got->message.has_value());
  EXPECT_EQ(got->message->body, "told");
  EXPECT_FALSE(got->more);
  EXPECT_FALSE(wait(messages_->poll(kOrderer, c.reply_to))->message.has_value());
}

}  // namespace
}  // namespace kf::server
