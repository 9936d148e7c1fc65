// What SM-SRs send of their own accord: callbacks and notifications, each judged by whose it is. No socket: the test
// plays the SM-SRs.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "host/server/es3_service.hpp"
#include "tests/server/services_fixture.hpp"

namespace kf::server {
namespace {

constexpr const char *kOperator = "2.999.10", *kSmsr = "2.999.31", *kOtherSmsr = "2.999.32";
constexpr const char *kIccid = "8949000000000000001", *kUnknownIccid = "8949000000000000019";

class Es3ServiceTest : public ServicesTest {
 protected:
  void SetUp() override {
    ServicesTest::SetUp();
    config_.oid = Oid::trusted("2.999.1");
    config_.es2_url = "https://dp.example/es2";
    config_.es3_url = "https://dp.example/es3";
    for (const auto& [oid, role] :
         {std::pair(kOperator, Role::operator_), std::pair(kSmsr, Role::smsr), std::pair(kOtherSmsr, Role::smsr)}) {
      Party p;
      p.oid = Oid::trusted(oid);
      p.role = role;
      p.url = "https://127.0.0.1:1/";  // nobody is there: what is to be delivered stays in the store
      p.fingerprints = {oid};
      p.ns = es::kNs3;
      config_.parties.push_back(p);
    }
    eid_ = eid_with_check_digits("890010120123412340987654321001");
    ASSERT_TRUE(store_
                    ->run([&](store::Tx& tx) {
                      store::ProfileRow p;
                      p.iccid = kIccid;
                      p.owner = kOperator;
                      tx.insert_profile(p);
                      tx.count_usage();  // as the server does when it starts
                      tx.set_profile(kIccid, store::ProfileState::installed, eid_, kSmsr, "d-1");
                    })
                    .ok());
    es3_service_ = std::make_unique<Es3Service>(*parts_, *service_);
  }
  void TearDown() override {
    delivery_->stop();
    ServicesTest::TearDown();
  }

  es::Request enabled() const {
    es::Request n;
    n.interface = es::Interface::es3;
    n.function = es::Function::handle_profile_enabled;
    n.eid = eid_;
    n.iccid = kIccid;
    n.completion_timestamp = "2026-03-02T09:01:16Z";
    return n;
  }
  template <class M>
  static std::string written(const M& m, const std::string& entity) {
    es::SendHeader h;
    h.from = es::make_address("https://smsr.example/es3", entity, "SM-SR");
    h.to = "https://dp.example/es3";
    h.message_id = es::make_message_id(entity, random_uuid(), "t", "2026-03-02T09:00:00Z");
    h.action = es::action_of(m);
    return es::write_message(h, m);
  }
  static net::Request post(std::string certificate, std::string body) {
    return posted("/es3", std::move(certificate), std::move(body));
  }
  net::Response handle(net::Request r) {
    std::optional<net::Response> answer;
    asio::co_spawn(
        io_, [&]() -> asio::awaitable<void> { answer = co_await es3_service_->handle(std::move(r)); }, asio::detached);
    EXPECT_TRUE(until([&] { return answer.has_value(); }));
    return answer.value_or(net::Response{});
  }
  net::Response notify(const es::Request& n, const std::string& sender = kSmsr) {
    return handle(post(sender, written(n, sender)));
  }
  std::size_t stored_deliveries() {
    return stored([](store::Tx& tx) { return tx.pending_deliveries(100); }).size();
  }

  std::string eid_;
  std::unique_ptr<Es3Service> es3_service_;
};

TEST_F(Es3ServiceTest, ANotificationOfItsSmsrIsStoredForTheOwner) {
  EXPECT_EQ(notify(enabled()).status, 202U);
  const auto rows = stored([](store::Tx& tx) { return tx.pending_deliveries(100); });
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].party, kOperator);
  EXPECT_EQ(rows[0].source, kSmsr);
  EXPECT_EQ(rows[0].kind, store::DeliveryKind::notification);
  EXPECT_EQ(metrics_.notifications_in, 1U);
  EXPECT_EQ(metrics_.alarms, 0U);
}

TEST_F(Es3ServiceTest, ANotificationOfAnotherSmsrIsAnAlarmAndNothingElse) {
  EXPECT_EQ(notify(enabled(), kOtherSmsr).status, 202U);
  EXPECT_EQ(metrics_.alarms, 1U);
  EXPECT_EQ(stored_deliveries(), 0U);
}

TEST_F(Es3ServiceTest, WhatIsNotOursIsAccepted) {
  es::Request n = enabled();
  n.iccid = kUnknownIccid;
  EXPECT_EQ(notify(n).status, 202U);
  n = enabled();
  n.eid = eid_with_check_digits("890010120123412340987654321002");  // our profile, on a card that never got it
  EXPECT_EQ(notify(n).status, 202U);
  EXPECT_EQ(stored_deliveries(), 0U);
  EXPECT_EQ(metrics_.alarms, 0U);
}

// The certificate says who speaks, not the message.
TEST_F(Es3ServiceTest, AMessageInAnothersNameIsDropped) {
  EXPECT_EQ(handle(post(kOtherSmsr, written(enabled(), kSmsr))).status, 202U);
  EXPECT_EQ(metrics_.callbacks_dropped, 1U);
  EXPECT_EQ(metrics_.notifications_in, 0U);
  EXPECT_EQ(stored_deliveries(), 0U);
}

TEST_F(Es3ServiceTest, StrangersGetNothing) {
  EXPECT_EQ(handle(post("nobody", written(enabled(), kSmsr))).status, 403U);
  EXPECT_EQ(stored_deliveries(), 0U);
  net::Request head = post(kOperator, {});
  EXPECT_EQ(es3_service_->admit(head).status, 403U) << "an Operator at ES3";
  EXPECT_EQ(metrics_.refused, 1U);
  head.peer.fingerprint = kSmsr;
  EXPECT_EQ(es3_service_->admit(head).status, 0U);
  head.target = "/es3/callback";
  EXPECT_EQ(es3_service_->admit(head).status, 0U);
}

TEST_F(Es3ServiceTest, WhatIsNoMessageOrNotForUsIsAFault) {
  for (const std::string& body : {std::string(), std::string("nonsense"), std::string(1000, '<')}) {
    const net::Response a = handle(post(kSmsr, body));
    EXPECT_GE(a.status, 400U) << body;
    EXPECT_LT(a.status, 600U) << body;
    EXPECT_NE(a.body.find("Fault"), std::string::npos) << body;
  }
  es::Request ask;  // what we ask of SM-SRs, nobody asks of us
  ask.interface = es::Interface::es3;
  ask.function = es::Function::get_eis;
  ask.function_call_identifier = "f";
  ask.eid = eid_;
  const net::Response a = handle(post(kSmsr, written(ask, kSmsr)));
  EXPECT_NE(a.body.find("ActionNotSupported"), std::string::npos) << a.body;
  EXPECT_EQ(metrics_.faults_sent, 4U);
}

TEST_F(Es3ServiceTest, ACallbackOfNoOpenCallIsAcceptedAndCounted) {
  es::Response r;
  r.interface = es::Interface::es3;
  r.function = es::Function::enable_profile;
  es::SendHeader h;
  h.from = es::make_address("https://smsr.example/es3", kSmsr, "SM-SR");
  h.to = "https://dp.example/es3/callback";
  h.message_id = es::make_message_id(kSmsr, random_uuid(), "t", "2026-03-02T09:00:00Z");
  h.relates_to = "never-asked";
  h.action = es::action_of(r, es::Way::callback);
  EXPECT_EQ(handle(post(kSmsr, es::write_message(h, r))).status, 202U);
  EXPECT_EQ(metrics_.callbacks_dropped, 1U);
  EXPECT_EQ(metrics_.es3_callbacks, 0U);
}

// One SM-SR has its share of what waits for an Operator; beyond it, it is told to come again.
TEST_F(Es3ServiceTest, AFloodOfNotificationsIsTurnedAway) {
  config_.stored_bytes = 4096;
  unsigned taken = 0;
  net::Response last;
  for (int i = 0; i < 20 && (last = notify(enabled())).status == 202; ++i) ++taken;
  EXPECT_GE(taken, 1U);
  EXPECT_EQ(last.status, 503U);
  EXPECT_EQ(stored_deliveries(), taken);
}

TEST_F(Es3ServiceTest, TheDescriptionIsForWhoIsKnown) {
  net::Request r = post(kSmsr, {});
  r.method = "GET";
  r.target = "/es3?wsdl";
  EXPECT_EQ(handle(r).status, 200U);
}

}  // namespace
}  // namespace kf::server
