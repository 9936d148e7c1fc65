// Good runs: every custody, curve and pattern; the platform functions; notifications reach the Operator.
#include <cstdio>
#include <cstdlib>

#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

// Every envelope of the runs below, of both sides, is held against the schemas when all of them are over: ours, and the
// published ones where they exist.
class Validation : public ::testing::Environment {
 public:
  void SetUp() override { Rig::recording() = std::system("/usr/bin/python3 -c 'import lxml' 2>/dev/null") == 0; }
  void TearDown() override {
    if (!Rig::recording()) {
      std::printf("[ SKIPPED  ] Validation of the messages: python3-lxml is not installed\n");
      return;
    }
    const std::string source = KF_SOURCE_DIR;
    validate(source + "/docs/interfaces/messages.xsd");
    if (fs::exists(source + "/../shared/wsdl"))
      validate(source + "/../shared/wsdl/xsd");
    else
      std::printf("[ SKIPPED  ] Validation by the published schemas: ../shared/wsdl is absent\n");
    fs::remove_all(Rig::records());
  }

 private:
  static void validate(const std::string& schemas) {
    if (!fs::exists(Rig::records())) return;  // a filter left nothing to record
    const std::string command = "/usr/bin/python3 " + std::string(KF_SOURCE_DIR) + "/tests/interop/validate.py " +
                                schemas + " " + Rig::records();
    std::fflush(stdout);
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
};
[[maybe_unused]] const auto* const kValidation = ::testing::AddGlobalTestEnvironment(new Validation);
using F = es::Function;

struct Kind {
  const char* custody;
  const char* curve;
};
class GoodRun : public ::testing::TestWithParam<Kind> {};

TEST_P(GoodRun, EveryDownloadArrivesByteForByte) {
  RigOptions o;
  o.custody = GetParam().custody;
  o.curve = GetParam().curve;
  o.euiccs = 12;
  Rig rig(o);
  const auto out = rig.download_all();
  for (unsigned i = 0; i < out.size(); ++i) {
    EXPECT_EQ(told(out[i]), "EXECUTED_SUCCESS") << out[i].text();
    EXPECT_TRUE(rig.verified(i)) << i;
  }
  EXPECT_EQ(rig.created_left(), 0U);
  const Json s = Rig::must(rig.world().smdp_status());
  EXPECT_EQ(s["downloads"]["completed"], 12);
  const std::string ephemeral = std::string(GetParam().custody) == "strict" ? "hsm" : "software";
  EXPECT_EQ(s["operations"]["sign"]["hsm"], 12);
  EXPECT_EQ(s["operations"]["ephemeral"][ephemeral], 12);
  EXPECT_EQ(s["operations"]["ephemeral"].size(), 1U) << "custody is never mixed";
  EXPECT_EQ(s["messages"]["alarms"], 0);
}
INSTANTIATE_TEST_SUITE_P(Custody, GoodRun,
                         ::testing::Values(Kind{"strict", "P-256"}, Kind{"strict", "brainpoolP256r1"},
                                           Kind{"hybrid", "P-256"}, Kind{"hybrid", "brainpoolP256r1"}));

TEST(Patterns, AllThreeGiveTheSameOutcome) {
  RigOptions o;
  o.euiccs = 3;
  Rig rig(o);
  unsigned i = 0;
  for (Pattern p : {Pattern::sync, Pattern::callback, Pattern::polling}) {
    const Outcome out = rig.download(i, false, p);
    EXPECT_EQ(told(out), "EXECUTED_SUCCESS") << out.text();
    EXPECT_EQ(out.response ? out.response->iccid.value_or("") : "", rig.subscriptions().list[i].iccid);
    EXPECT_TRUE(rig.verified(i));
    ++i;
  }
}

TEST(ByProfileType, AFreeProfileIsPickedAndNamed) {
  RigOptions o;
  o.euiccs = 2;
  Rig rig(o);
  sim::Order order = rig.order_of(0);
  order.iccid.clear();
  order.profile_type = Rig::kType;
  const Outcome out = rig.run(rig.op().order(order, Pattern::callback, std::chrono::seconds(60)));
  ASSERT_EQ(told(out), "EXECUTED_SUCCESS") << out.text();
  EXPECT_EQ(out.response->iccid.value_or("").size(), 20U);
}

TEST(Platform, EnableDisableUpdateDeleteAndGetEis) {
  RigOptions o;
  o.euiccs = 2;
  Rig rig(o);
  ASSERT_EQ(told(rig.download(0, true)), "EXECUTED_SUCCESS");
  const std::string iccid = rig.subscriptions().list[0].iccid;
  EXPECT_TRUE(rig.run(rig.op().wait_notification(F::handle_profile_enabled, iccid, std::chrono::seconds(20))));

  const Outcome eis = rig.call(rig.request(F::get_eis, 0), Pattern::sync);
  ASSERT_TRUE(eis.response && eis.response->eis) << eis.text();
  ASSERT_EQ(eis.response->eis->profiles.size(), 1U);
  EXPECT_EQ(eis.response->eis->profiles[0].state, "Enabled");

  EXPECT_EQ(told(rig.call(rig.request(F::disable_profile, 0))), "EXECUTED_SUCCESS");
  EXPECT_TRUE(rig.run(rig.op().wait_notification(F::handle_profile_disabled, iccid, std::chrono::seconds(20))));
  EXPECT_EQ(told(rig.call(rig.request(F::enable_profile, 0))), "EXECUTED_SUCCESS");
  EXPECT_EQ(told(rig.call(rig.request(F::disable_profile, 0))), "EXECUTED_SUCCESS");

  es::Request pol2 = rig.request(F::update_policy_rules, 0);
  pol2.pol2 = es::Pol2{{"PROFILE", "DELETE", "Not-Allowed"}};
  EXPECT_EQ(told(rig.call(pol2)), "EXECUTED_SUCCESS");
  EXPECT_EQ(told(rig.call(rig.request(F::delete_profile, 0))), "FAILED 8.2.3/3.8") << "POL2 is enforced at the SM-SR";
  pol2.pol2 = es::Pol2{};
  EXPECT_EQ(told(rig.call(pol2)), "EXECUTED_SUCCESS");
  EXPECT_EQ(told(rig.call(rig.request(F::delete_profile, 0))), "EXECUTED_SUCCESS");
  EXPECT_TRUE(rig.run(rig.op().wait_notification(F::handle_profile_deleted, iccid, std::chrono::seconds(20))));

  // Once installed an ICCID is never given to another eUICC; the same one may have it again.
  sim::Order elsewhere = rig.order_of(0);
  elsewhere.eid = rig.order_of(1).eid;
  EXPECT_EQ(told(rig.run(rig.op().order(elsewhere, Pattern::callback, std::chrono::seconds(60)))), "FAILED 8.2.1/3.3");
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
}

// What SGP.02 has beyond the published descriptions, and the relays that have no state of their own at the SM-DP.
TEST(Platform, SubscriptionAddressAuditAndConnectivity) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  ASSERT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  es::Request q = rig.request(F::update_subscription_address, 0);
  q.subscription = es::SubscriptionAddress{"240011234567890", "46700000001"};
  EXPECT_EQ(told(rig.call(q)), "EXECUTED_SUCCESS");
  q = rig.request(F::audit_eis, 0);
  q.iccid.reset();
  const Outcome audit = rig.call(q);
  ASSERT_TRUE(audit.response && audit.response->eis) << audit.text();
  ASSERT_EQ(audit.response->eis->profiles.size(), 1U);
  EXPECT_EQ(audit.response->eis->profiles[0].subscription, (es::SubscriptionAddress{"240011234567890", "46700000001"}));
  EXPECT_FALSE(audit.response->eis->last_audit_date.empty()) << "of the audit";
  q = rig.request(F::update_connectivity_parameters, 0);
  q.connectivity_parameters = hex("A00702050104030201");
  EXPECT_EQ(told(rig.call(q)), "EXECUTED_SUCCESS");
  q = rig.request(F::update_subscription_address, 0);
  q.iccid = "893301000000000001";
  q.subscription = es::SubscriptionAddress{};
  EXPECT_EQ(told(rig.call(q)), "FAILED 8.2.1/3.9") << "nobody's profile";
}

// HandleSMSRChangeNotification: from the new SM-SR to the Operator that it names, whose own profiles alone it shows.
TEST(Platform, SmsrChangeIsPassedOn) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  ASSERT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  const Outcome eis = rig.call(rig.request(F::get_eis, 0), Pattern::sync);
  ASSERT_TRUE(eis.response && eis.response->eis) << eis.text();
  const auto es3 = *net::parse_url(rig.world().es3_url());
  const auto tls = rig.world().tls("smsr");
  net::ClientOptions c;
  c.host = es3.host;
  c.port = es3.port;
  c.tls = {tls.cert, tls.key, tls.ca};
  net::HttpClient client(rig.io(), c);
  const auto notify = [&](const es::Eis& of, const std::string& op) {
    es::Request n;
    n.interface = es::Interface::es3;
    n.function = F::handle_smsr_change;
    n.eis = of;
    n.eis->profiles.push_back(of.profiles.at(0));
    n.eis->profiles.back().mno_id = "2.999.99";  // another Operator's
    n.mno_id = op;
    n.completion_timestamp = "2026-03-02T09:00:00Z";
    es::SendHeader h;
    h.from = "https://smsr/es3?EntityId=2.999.30";
    h.to = "https://smdp/es3?EntityId=2.999.20";
    h.message_id = "//2.999.30/" + random_uuid();
    h.action = es::action_of(n);
    net::Request q;
    q.target = es3.target + "/callback";
    q.content_type = std::string(es::kSoapContentType);
    q.body = es::write_message(h, n);
    auto r = rig.run(client.call(q, std::chrono::seconds(10), false));
    EXPECT_TRUE(r.ok() && r->status == 202U);
  };
  const auto alarms = [&] { return Rig::must(rig.world().smdp_status())["messages"]["alarms"].get<int>(); };
  es::Eis other = *eis.response->eis;
  other.smsr_id = "2.999.31";
  notify(other, World::kOperatorOid);
  EXPECT_EQ(alarms(), 1) << "of an SM-SR that the EIS does not name";
  notify(*eis.response->eis, "2.999.98");
  notify(*eis.response->eis, World::kOperatorOid);
  EXPECT_TRUE(rig.run(rig.op().wait_notification(F::handle_smsr_change, "", std::chrono::seconds(20))));
  ASSERT_EQ(rig.op().notifications().size(), 1U);
  EXPECT_EQ(rig.op().notifications()[0].eid, rig.subscriptions().list[0].eid);
  EXPECT_EQ(alarms(), 1);
}

TEST(Dialects, ThePartiesMayWantTheOtherOne) {
  RigOptions o;
  o.euiccs = 2;
  o.record = false;  // not what the schemas say
  o.settings = {{"operator.dialect", std::string("reference")}, {"smsr.dialect", std::string("reference")}};
  Rig rig(o);
  ASSERT_EQ(told(rig.download(0, true)), "EXECUTED_SUCCESS");
  const std::string iccid = rig.subscriptions().list[0].iccid;
  EXPECT_TRUE(rig.run(rig.op().wait_notification(F::handle_profile_enabled, iccid, std::chrono::seconds(20))));
  EXPECT_TRUE(rig.run(rig.op().wait_notification(F::handle_profile_downloaded, iccid, std::chrono::seconds(20))))
      << "not in the published descriptions, so only this dialect has it";
  const Outcome disabled = rig.call(rig.request(F::disable_profile, 0));
  ASSERT_TRUE(disabled.response) << disabled.text();
  EXPECT_TRUE(disabled.response->euicc_response_data);
}

// An SM-SR and an Operator that take the published descriptions literally carry a hundred downloads, in all patterns.
TEST(Dialects, StrictPeersCarryAHundredDownloads) {
  RigOptions o;
  o.euiccs = 100;
  o.custody = "hybrid";
  o.strict = true;
  o.record = false;
  Rig rig(o);
  std::size_t left = 100;
  std::vector<Outcome> out(left);
  for (unsigned i = 0; i < 100; ++i) {
    const Pattern pattern = i % 10 == 5 ? Pattern::sync : i % 2 == 0 ? Pattern::callback : Pattern::polling;
    asio::co_spawn(rig.io(), rig.op().order(rig.order_of(i, i % 10 == 0), pattern, std::chrono::seconds(240)),
                   [&, i](std::exception_ptr, Outcome x) {
                     out[i] = std::move(x);
                     if (--left == 0) rig.io().stop();
                   });
  }
  rig.io().restart();
  rig.io().run();
  for (unsigned i = 0; i < 100; ++i) ASSERT_EQ(told(out[i]), "EXECUTED_SUCCESS") << i << " " << out[i].text();
  const std::string iccid = rig.subscriptions().list[0].iccid;
  EXPECT_TRUE(rig.run(rig.op().wait_notification(F::handle_profile_enabled, iccid, std::chrono::seconds(20))));
  for (const F f : {F::get_eis, F::disable_profile, F::delete_profile})
    EXPECT_EQ(told(rig.call(rig.request(f, 0), f == F::get_eis ? Pattern::sync : Pattern::callback)),
              "EXECUTED_SUCCESS");
  es::Request q = rig.request(F::update_policy_rules, 1);
  q.pol2 = es::Pol2{{"PROFILE", "DELETE", "Not-Allowed"}};
  EXPECT_EQ(told(rig.call(q, Pattern::sync)), "EXECUTED_SUCCESS");
  const auto& seen = rig.op().counters();
  EXPECT_EQ(seen.refused, 0U) << seen.complaint;
  EXPECT_GE(seen.callbacks, 40U);
  EXPECT_GE(seen.notifications, 1U);
  EXPECT_EQ(seen.with_action, seen.callbacks + seen.notifications) << "SOAP 1.2, 6.5.3: the media type says it, too";
  EXPECT_EQ(rig.created_left(), 0U);
}

// They are strict in fact: the other dialect gets nowhere with them, and for that reason.
TEST(Dialects, StrictPeersRefuseTheOtherDialect) {
  RigOptions o;
  o.euiccs = 1;
  o.strict = true;
  o.record = false;
  o.settings = {{"smsr.dialect", std::string("reference")}, {"operator.dialect", std::string("reference")}};
  Rig rig(o);
  const std::string get_eis =
      "wsa:Action http://gsma.com/ES3/ProfileManagement/ES3-GetEIS belongs to no operation with "
      "ES3-GetEISRequest";
  const Outcome out = rig.call(rig.request(F::get_eis, 0), Pattern::sync);
  EXPECT_EQ(out.error,
            "strict: wsa:Action http://gsma.com/ES2/ProfileManagement/ES2-GetEIS belongs to no operation with "
            "ES2-GetEISResponse");
  const Json failed = Rig::must(rig.world().sim_summary())["counters"]["es3"]["failed"];
  EXPECT_EQ(failed.size(), 1U) << failed.dump();
  EXPECT_GE(failed.value("strict: " + get_eis, 0), 1) << failed.dump();
}

// A stack that fills in only what WS-Addressing 1.0 demands: no From, no To, no EntityId anywhere.
TEST(Dialects, AnOrderWithTheLeastHeaders) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  es::Request q = rig.request(F::download_profile, 0);
  q.function_call_identifier = "least";
  q.iccid = rig.subscriptions().list[0].iccid;
  std::string xml = rig.op().envelope(q, "urn:uuid:1", "");
  for (const std::string h : {"From", "To"}) {
    const auto from = xml.find("<wsa:" + h + ">");
    const auto to = xml.find("</wsa:" + h + ">") + h.size() + 7;
    ASSERT_NE(from, std::string::npos);
    xml.erase(from, to - from);
  }
  sim::Operator::Raw raw;
  raw.body = xml;
  const auto r = rig.run(rig.op().raw_post(raw, std::chrono::seconds(60)));
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->status, 200U) << r->body;
  EXPECT_NE(r->body.find("EXECUTED_SUCCESS"), std::string::npos) << r->body;
  EXPECT_TRUE(rig.verified(0));
}

TEST(Iccids, OfAnyLengthAndPaddingAreOneValue) {
  RigOptions o;
  o.euiccs = 3;
  o.iccid_digits = {18, 19, 20};
  Rig rig(o);
  for (unsigned i = 0; i < 3; ++i) {
    sim::Order order = rig.order_of(i);
    const std::string plain = order.iccid;
    ASSERT_EQ(plain.size(), 18 + i);
    order.iccid.resize(20, i == 0 ? 'F' : 'f');
    const Outcome out = rig.run(rig.op().order(order, Pattern::callback, std::chrono::seconds(60)));
    ASSERT_EQ(told(out), "EXECUTED_SUCCESS") << out.text();
    EXPECT_EQ(out.response->iccid.value_or(""), order.iccid) << "answered in the spelling of the order";
    EXPECT_TRUE(rig.verified(i));
    EXPECT_EQ(told(rig.download(i)), "FAILED 8.2.1/3.3") << "the same value in the other spelling";
    es::Request q = rig.request(F::enable_profile, i);
    q.iccid = order.iccid;
    EXPECT_EQ(told(rig.call(q)), "EXECUTED_SUCCESS");
  }
}

TEST(Idempotence, ARepeatGivesTheSameOutcomeAndNoSecondDownload) {
  RigOptions o;
  o.euiccs = 2;
  Rig rig(o);
  sim::Order order = rig.order_of(0);
  order.call_id = "call-1";
  const Outcome first = rig.run(rig.op().order(order, Pattern::callback, std::chrono::seconds(60)));
  EXPECT_EQ(told(first), "EXECUTED_SUCCESS");
  for (Pattern p : {Pattern::callback, Pattern::sync, Pattern::polling})
    EXPECT_EQ(told(rig.run(rig.op().order(order, p, std::chrono::seconds(20)))), "EXECUTED_SUCCESS");
  sim::Order other = rig.order_of(1);
  other.call_id = "call-1";
  EXPECT_EQ(told(rig.run(rig.op().order(other, Pattern::callback, std::chrono::seconds(20)))), "FAILED 1.6/3.3");
  EXPECT_EQ(Rig::must(rig.world().smdp_status())["downloads"]["accepted"], 1);
}

TEST(OneAtATime, TwoOrdersForOneEidRunOneAfterTheOther) {
  RigOptions o;
  o.euiccs = 2;
  o.radio = "constant:20";
  Rig rig(o);
  sim::Order a = rig.order_of(0), b = rig.order_of(1);
  b.eid = a.eid;  // another ICCID on the same eUICC
  std::vector<Outcome> out(2);
  std::size_t left = 2;
  for (auto* order : {&a, &b})
    asio::co_spawn(rig.io(), rig.op().order(*order, Pattern::callback, std::chrono::seconds(60)),
                   [&, i = order == &a ? 0 : 1](std::exception_ptr, Outcome x) {
                     out[static_cast<std::size_t>(i)] = std::move(x);
                     if (--left == 0) rig.io().stop();
                   });
  rig.io().restart();
  rig.io().run();
  EXPECT_EQ(told(out[0]), "EXECUTED_SUCCESS") << out[0].text();
  EXPECT_EQ(told(out[1]), "EXECUTED_SUCCESS") << out[1].text();
  EXPECT_EQ(Rig::must(rig.world().smdp_status())["downloads"]["peak_in_flight"], 1);
}

class RealProfiles : public ::testing::TestWithParam<const char*> {};
TEST_P(RealProfiles, Ts48) {
  const std::string file = std::string(KF_SOURCE_DIR) + "/../shared/profiles/" + GetParam();
  if (!fs::exists(file)) GTEST_SKIP() << "the TS.48 profiles are not on this machine";
  RigOptions o;
  o.euiccs = 3;
  o.profile = file;
  o.custody = "hybrid";
  Rig rig(o);
  for (const auto& out : rig.download_all()) EXPECT_EQ(told(out), "EXECUTED_SUCCESS") << out.text();
  for (unsigned i = 0; i < 3; ++i) EXPECT_TRUE(rig.verified(i));
}
INSTANTIATE_TEST_SUITE_P(Files, RealProfiles,
                         ::testing::Values("ts48v7-saip23-bertlv-suci.der", "ts48v7-saip23-bertlv-suci-noramrfm.der",
                                           "ts48v7-saip23-nobertlv.der", "ts48v7-saip23-nobertlv-noramrfm.der"));

struct Variant {
  const char* name;
  std::vector<bench::Setting> settings;
  std::vector<std::string> sim_args;
};
class Variants : public ::testing::TestWithParam<Variant> {};
TEST_P(Variants, Complete) {
  RigOptions o;
  o.euiccs = 3;
  o.settings = GetParam().settings;
  o.sim_args = GetParam().sim_args;
  Rig rig(o);
  for (const auto& out : rig.download_all()) EXPECT_EQ(told(out), "EXECUTED_SUCCESS") << out.text();
  for (unsigned i = 0; i < 3; ++i) EXPECT_TRUE(rig.verified(i));
}
INSTANTIATE_TEST_SUITE_P(
    Settings, Variants,
    ::testing::Values(Variant{"base-key", {{"download.key_set", std::string("base-key")}}, {}},
                      Variant{"no-dr", {{"download.derivation_random", false}}, {}},
                      Variant{"aes256", {{"download.key_length", std::int64_t{32}}}, {}},
                      Variant{
                          "aes192-base",
                          {{"download.key_length", std::int64_t{24}}, {"download.key_set", std::string("base-key")}},
                          {}},
                      Variant{"in-parts", {{"smsr.send_data_limit", std::int64_t{2048}}}, {}},
                      Variant{"stepwise", {{"smsr.install", std::string("stepwise")}}, {}},
                      Variant{"every-command-alone",
                              {{"smsr.install", std::string("stepwise")}, {"smsr.send_data_limit", std::int64_t{1}}},
                              {}},
                      Variant{"openssl-sealer", {{"scp03t.engine", std::string("openssl")}}, {}},
                      Variant{"synchronous-smsr", {{"smsr.synchronous", true}}, {}},
                      Variant{"rc-32-rmac-on-empty", {}, {"--rc-length", "32", "--r-mac-on-empty"}},
                      Variant{"plain-es5", {}, {"--plain-es5"}}),
    [](const auto& i) {
      std::string n = i.param.name;
      std::replace(n.begin(), n.end(), '-', '_');
      return n;
    });

}  // namespace
}  // namespace kf::e2e
