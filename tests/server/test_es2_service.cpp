// What Operators ask: refused, accepted, repeated, polled, relayed, put off. No socket: the test plays the Operator.
// The SM-SR cannot be reached, so every order that was accepted ends FAILED at once.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "host/base/calendar.hpp"
#include "host/server/es2_service.hpp"
#include "tests/server/services_fixture.hpp"

namespace kf::server {
namespace {

constexpr const char *kMno = "2.999.10", *kOtherMno = "2.999.11", *kSr = "2.999.31";
constexpr const char *kProfile = "8949000000000000000", *kOthersProfile = "8949000000000000018";
constexpr const char* kCallback = "https://mno.example/callback";

class Es2ServiceTest : public ServicesTest {
 protected:
  void SetUp() override {
    config_.oid = Oid::trusted("2.999.1");
    config_.es2_url = "https://dp.example/es2";
    config_.timeouts.get_eis = 200;
    for (const auto& [oid, role] :
         {std::pair(kMno, Role::operator_), std::pair(kOtherMno, Role::operator_), std::pair(kSr, Role::smsr)}) {
      Party p;
      p.oid = Oid::trusted(oid);
      p.role = role;
      p.url = "https://127.0.0.1:1/";  // nobody is there
      p.fingerprints = {oid};
      p.reply_hosts = {"mno.example"};
      p.ns = es::kNs3;
      config_.parties.push_back(p);
    }
    ServicesTest::SetUp();
    eid_ = eid_with_check_digits("890010120123412340987654321001");
    ASSERT_TRUE(
        store_
            ->run([&](store::Tx& tx) {
              tx.count_usage();  // as the server does when it starts
              for (const auto& [iccid, owner] : {std::pair(kProfile, kMno), std::pair(kOthersProfile, kOtherMno)}) {
                store::ProfileRow p;
                p.iccid = iccid;
                p.owner = owner;
                p.profile_type = "T";
                tx.insert_profile(p);
              }
            })
            .ok());
    relays_ = std::make_unique<RelayService>(*parts_);
    es2_ = std::make_unique<Es2Service>(*parts_, *service_, *relays_);
  }
  void TearDown() override {
    relays_->stop();
    replies_->stop();
    delivery_->stop();
    ServicesTest::TearDown();
  }

  es::Request order(const std::string& fcid = "call-1") const {
    es::Request r;
    r.function = es::Function::download_profile;
    r.function_call_identifier = fcid;
    r.eid = eid_;
    r.smsr_id = kSr;
    r.iccid = kProfile;
    return r;
  }
  struct Header {
    std::string reply_to = kCallback,
                message_id = "//2.999.10/urn:uuid:1?TransactionId=t&MessageDate=2026-03-02T09:00:00Z", from = kMno,
                to = "2.999.1";
  };
  template <class M>
  static std::string written(const M& m, const Header& header) {
    es::SendHeader h;
    h.from = es::make_address("https://mno.example/es2", header.from, "MNO");
    h.to = es::make_address("https://dp.example/es2", header.to, "");
    h.reply_to = header.reply_to;
    h.message_id = header.message_id;
    h.action = es::action_of(m);
    return es::write_message(h, m);
  }
  static net::Request post(std::string body, std::string certificate = kMno) {
    return posted("/es2", std::move(certificate), std::move(body));
  }
  // The answer comes when the loop has run for it.
  std::shared_ptr<std::optional<net::Response>> begin(net::Request r) {
    auto answer = std::make_shared<std::optional<net::Response>>();
    const auto into = [](Es2Service& s, net::Request q,
                         std::shared_ptr<std::optional<net::Response>> to) -> asio::awaitable<void> {
      *to = co_await s.handle(std::move(q));
    };
    asio::co_spawn(io_, into(*es2_, std::move(r), answer), asio::detached);
    return answer;
  }
  net::Response handle(net::Request r) {
    const auto answer = begin(std::move(r));
    EXPECT_TRUE(until([&] { return answer->has_value(); }));
    return answer->value_or(net::Response{});
  }
  net::Response ask(const es::Request& r) { return ask(r, Header{}); }
  net::Response ask(const es::Request& r, const Header& h) { return handle(post(written(r, h))); }
  // STATUS of what was answered on the connection, with its code: "FAILED 8.1.1/3.7".
  static std::string told(const net::Response& answer) {
    const auto m = es::parse_message(answer.body, es::CodecOptions{});
    if (const auto* f = std::get_if<es::Fault>(&m)) return "not readable: " + f->reason;
    const auto* r = std::get_if<es::Response>(&std::get<es::Message>(m).body);
    if (r == nullptr) return "no response";
    const char* const names[] = {"SUCCESS", "WARNING", "FAILED", "EXPIRED"};
    return names[static_cast<int>(r->status)] + (r->code ? " " + r->code->subject + "/" + r->code->reason : "");
  }
  static Header synchronous() {
    Header h;
    h.reply_to.clear();
    return h;
  }
  std::vector<store::DeliveryRow> messages() {
    return stored([](store::Tx& tx) { return tx.pending_deliveries(100); });
  }

  std::string eid_;
  std::unique_ptr<RelayService> relays_;
  std::unique_ptr<Es2Service> es2_;
};

TEST_F(Es2ServiceTest, AnOrderIsTakenAndItsOutcomeCalledBack) {
  EXPECT_EQ(ask(order()).status, 202U);
  ASSERT_TRUE(until([&] { return ended() == 1; }));
  const auto rows = messages();
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].party, kMno);
  EXPECT_EQ(rows[0].address, kCallback);
  const auto body = stored([&](store::Tx& tx) { return tx.delivery_body(rows[0].id); });
  EXPECT_EQ(told({.status = 200, .content_type = {}, .headers = {}, .body = body.value()}), "FAILED 8.7/5.1");
  EXPECT_NE(body->find(">" + Header{}.message_id.substr(0, 30)), std::string::npos) << "RelatesTo names the order";
}

TEST_F(Es2ServiceTest, OnTheSameConnectionTheAnswerIsTheOutcome) {
  const net::Response x = ask(order(), synchronous());
  EXPECT_EQ(x.status, 200U);
  EXPECT_EQ(told(x), "FAILED 8.7/5.1");
  EXPECT_EQ(messages().size(), 0U);
}

TEST_F(Es2ServiceTest, ARepeatIsNotAnotherOrder) {
  ask(order());
  ASSERT_TRUE(until([&] { return ended() == 1; }));
  const std::int64_t first = messages().at(0).id;
  Header again;
  again.message_id = "again";
  EXPECT_EQ(ask(order(), again).status, 202U);
  ASSERT_TRUE(until([&] { return messages().size() == 1 && messages()[0].id != first; })) << "in place of the first";
  const auto body = stored([id = messages()[0].id](store::Tx& tx) { return tx.delivery_body(id); });
  EXPECT_NE(body->find(">again</"), std::string::npos);
  EXPECT_EQ(told(ask(order(), synchronous())), "FAILED 8.7/5.1") << "and on a connection";
  es::Request other = order();
  other.enable_profile = true;
  EXPECT_EQ(told(ask(other)), "FAILED 1.6/3.3") << "the identifier is taken";
  es::Request padded = order();
  padded.iccid = std::string(kProfile) + "F";
  EXPECT_EQ(told(ask(padded, synchronous())), "FAILED 8.7/5.1") << "the same ICCID";
  EXPECT_EQ(ended(), 1);
}

// While the order runs: the outcome is bound to the request that came last.
TEST_F(Es2ServiceTest, TheOutcomeAnswersTheLastRepeat) {
  const auto first = begin(post(written(order(), Header{})));
  Header again;
  again.message_id = "again";
  again.reply_to = "https://mno.example/elsewhere";
  const auto second = begin(post(written(order(), again)));
  ASSERT_TRUE(until([&] { return first->has_value() && second->has_value() && ended() == 1; }));
  const auto rows = messages();
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].address, again.reply_to);
}

TEST_F(Es2ServiceTest, OfManyConnectionsForOneCallTheOldestIsLetGo) {
  service_->drain();  // nothing is started: the order waits
  std::vector<std::shared_ptr<std::optional<net::Response>>> all;
  for (std::size_t i = 0; i <= Replies::kMostWaiting; ++i) all.push_back(begin(post(written(order(), synchronous()))));
  ASSERT_TRUE(until([&] { return all[0]->has_value(); }));
  EXPECT_EQ((**all[0]).status, 503U);
  replies_->stop();
  ASSERT_TRUE(until([&] { return all.back()->has_value(); }));
  EXPECT_NE((**all.back()).body.find("being restarted"), std::string::npos);
}

TEST_F(Es2ServiceTest, WhatCannotBeDoneIsRefusedAtOnce) {
  const auto with = [&](auto change) {
    es::Request r = order();
    change(r);
    return told(ask(r));
  };
  EXPECT_EQ(with([](es::Request& r) { r.eid[5] = r.eid[5] == '1' ? '2' : '1'; }), "FAILED 8.1.1/2.1");
  EXPECT_EQ(with([](es::Request& r) { r.iccid = "12345"; }).substr(0, 12), "not readable") << "no ICCID by the schema";
  EXPECT_EQ(with([](es::Request& r) { r.iccid.reset(); }), "FAILED 8.2.1/2.3");
  EXPECT_EQ(with([](es::Request& r) { r.smsr_id = "2.999.77"; }), "FAILED 8.7/3.9");
  EXPECT_EQ(with([](es::Request& r) { r.smsr_id = kOtherMno; }), "FAILED 8.7/3.9") << "an Operator is no SM-SR";
  EXPECT_EQ(with([](es::Request& r) { r.iccid = kOthersProfile; }), "FAILED 8.2.1/3.9");
  EXPECT_EQ(with([](es::Request& r) { r.profile_type = "U"; }), "FAILED 8.2.5/3.10");
  EXPECT_EQ(with([](es::Request& r) { r.validity_period = 1; }), "EXPIRED 1.6/5.3");
  Header h;
  h.from = kOtherMno;
  EXPECT_EQ(told(ask(order(), h)).substr(0, 6), "FAILED");
  h = {};
  h.to = "2.999.2";
  EXPECT_EQ(told(ask(order(), h)).substr(0, 6), "FAILED");
  h = {};
  h.reply_to = "https://elsewhere.example/";
  EXPECT_EQ(told(ask(order(), h)).substr(0, 6), "FAILED");
  EXPECT_EQ(stored([](store::Tx& tx) { return tx.download_counts(); }).running, 0);
  EXPECT_EQ(ended(), 0);
  EXPECT_GE(metrics_.refused, 9U);
}

TEST_F(Es2ServiceTest, WhatCannotBeTakenNowMayComeAgain) {
  config_.stored_calls = 0;
  net::Response x = ask(order());
  EXPECT_EQ(x.status, 503U);
  ASSERT_EQ(x.headers.size(), 1U);
  EXPECT_EQ(x.headers[0].first, "Retry-After");
  config_.stored_calls = 100;
  es2_->drain();
  x = ask(order());
  EXPECT_EQ(x.status, 503U);
  EXPECT_NE(x.body.find("about to stop"), std::string::npos);
  EXPECT_EQ(metrics_.put_off, 2U);
}

TEST_F(Es2ServiceTest, AStoredAnswerThatCannotBeReadIsOurFailure) {
  ask(order());
  ASSERT_TRUE(until([&] { return ended() == 1; }));
  ASSERT_TRUE(store_->run([](store::Tx& tx) { tx.set_call_response(kMno, "call-1", "<torn", anchored_ms()); }).ok());
  EXPECT_EQ(told(ask(order(), synchronous())), "FAILED 1.2/4.2");
  EXPECT_EQ(metrics_.alarms, 1U);
}

TEST_F(Es2ServiceTest, PolledAnswersAreGivenOneByOne) {
  Header polls;
  polls.reply_to = std::string(es::kMakeConnectionPrefix) + "1";
  es::Request relay = order("call-2");
  relay.function = es::Function::get_eis;
  relay.iccid.reset();
  EXPECT_EQ(ask(order(), polls).status, 202U);
  EXPECT_EQ(ask(relay, polls).status, 202U);
  ASSERT_TRUE(until([&] {
    return ended() == 1 && !stored([](store::Tx& tx) { return tx.find_call(kMno, "call-2"); })->response.empty();
  }));
  es::SendHeader h;
  h.from = es::make_address("https://mno.example/es2", kMno, "MNO");
  h.to = es::make_address("https://dp.example/es2", "2.999.1", "");
  h.message_id = "poll";
  h.action = "http://docs.oasis-open.org/ws-rx/wsmc/200702/MakeConnection";
  const std::string poll = es::write_make_connection(h, polls.reply_to);
  EXPECT_TRUE(handle(post(poll, kOtherMno)).body.empty()) << "another Operator's";
  const net::Response first = handle(post(poll)), second = handle(post(poll)), third = handle(post(poll));
  EXPECT_EQ(told(first).substr(0, 6), "FAILED");
  EXPECT_EQ(told(second).substr(0, 6), "FAILED");
  const auto pending = [](const net::Response& x) {
    const auto m = es::parse_message(x.body, es::CodecOptions{});
    return std::get<es::Message>(m).header.message_pending;
  };
  EXPECT_EQ(pending(first), std::optional<bool>(true));
  EXPECT_EQ(pending(second), std::optional<bool>(false));
  EXPECT_EQ(third.status, 202U);
  EXPECT_TRUE(third.body.empty());
}

TEST_F(Es2ServiceTest, ARelayIsAnsweredWhateverTheSmsrDoes) {
  es::Request r = order();
  r.function = es::Function::enable_profile;
  EXPECT_EQ(told(ask(r, synchronous())), "FAILED 8.7/5.1");
  r.function_call_identifier = "call-2";
  r.iccid = kOthersProfile;
  EXPECT_EQ(told(ask(r, synchronous())), "FAILED 8.2.1/3.9");
  config_.relays_per_operator = 0;
  r.function_call_identifier = "call-3";
  r.iccid = kProfile;
  EXPECT_EQ(ask(r).status, 503U);
  EXPECT_EQ(told(ask(
                [&] {
                  es::Request first = r;
                  first.function_call_identifier = "call-1";
                  return first;
                }(),
                synchronous())),
            "FAILED 8.7/5.1")
      << "a repeat needs no room";
}

TEST_F(Es2ServiceTest, StrangersAndStrangeMessagesGetNothing) {
  EXPECT_EQ(handle(post(written(order(), Header{}), "nobody")).status, 403U);
  EXPECT_EQ(handle(post("<not soap", kMno)).status, 400U);
  es::Request notification;
  notification.interface = es::Interface::es2;
  notification.function = es::Function::handle_profile_enabled;
  notification.eid = eid_;
  notification.iccid = kProfile;
  notification.smsr_id = kSr;
  notification.completion_timestamp = "2026-03-02T09:01:16Z";
  const net::Response x = handle(post(written(notification, Header{})));
  EXPECT_NE(x.body.find("Fault"), std::string::npos) << "an SM-DP sends these, it takes none";
  net::Request head = post({}, kSr);
  EXPECT_EQ(es2_->admit(head).status, 403U) << "an SM-SR at ES2";
  head.peer.fingerprint = kMno;
  EXPECT_EQ(es2_->admit(head).status, 0U);
  EXPECT_EQ(ended(), 0);
}

TEST_F(Es2ServiceTest, AnOperatorSeesOfAnEisOnlyWhatIsItsOwn) {
  es::Eis eis;
  eis.profiles.resize(2);
  eis.profiles[0].mno_id = kMno;
  eis.profiles[1].mno_id = kOtherMno;
  eis.isd_r.keysets.resize(1);
  eis.isd_r.keysets[0].certs.resize(1);
  show_only_to(config_.parties[0], eis);
  ASSERT_EQ(eis.profiles.size(), 1U);
  EXPECT_EQ(eis.profiles[0].mno_id, kMno);
  EXPECT_TRUE(eis.isd_r.keysets[0].certs.empty());
}

}  // namespace
}  // namespace kf::server
