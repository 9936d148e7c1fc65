// The golden run over real connections: the sample requests are posted to ES3 over mutual TLS, travel
// to the golden card over ES5 (TLS-PSK), and the answers are compared with the samples byte for byte; then with lost
// sessions.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <deque>
#include <filesystem>

#include "tests/sim/smsr/smdp_stub.hpp"

namespace kf::sim::test {
namespace {

using nlohmann::json;
const std::string kSamples = std::string(KF_SOURCE_DIR) + "/../shared/reference/samples/";

class GoldenRun : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kSamples + "golden.json")) GTEST_SKIP() << "no ../shared here";
    doc = json::parse(slurp(kSamples + "golden.json"));
    eid = doc["in"]["eid"];
    iccid = doc["in"]["iccid"];
    aid = doc["in"]["isdp_aid"];
  }
  void TearDown() override {
    if (!smsr) return;
    smsr->stop();
    let_run(io, std::chrono::milliseconds(20));
    smsr.reset();
    if (!audit.empty()) std::filesystem::remove(audit);
  }
  [[nodiscard]] Bytes in(const char* name) const { return hex(doc["in"].at(name).get<std::string>()); }
  [[nodiscard]] std::string card_answer(const char* n) const { return doc["out"]["euicc_response_data"].at(n); }

  void start(std::vector<std::string> fault_specs = {}, bool psk = true, const char* radio = "none") {
    for (const auto& f : fault_specs) ASSERT_TRUE(faults.add(f).ok());
    auto loaded = Eum::load(pki_dir(), Curve::p256);
    ASSERT_TRUE(loaded.ok());
    eum.emplace(std::move(loaded).value());
    FleetOptions fo;
    fo.psk = psk;
    fo.radio = *Radio::parse(radio);
    fleet = std::make_unique<Fleet>(io, fo, faults);
    EuiccRecord record = eum->make(eid, 0, 524288, "2.999.30").record;
    EuiccIdentity id;
    id.eid = eid;
    id.sk_ecasd = in("sk_ecasd_ecka");
    id.cert_ecasd = in("cert_ecasd_ecka");
    const auto ci = parse_x509(in("ci_x509"));
    ASSERT_TRUE(ci.ok());
    id.pk_ci = to_bytes(ci->q);
    id.ci_ski = ci->ski;
    const auto draws = std::make_shared<std::deque<Bytes>>(std::deque<Bytes>{in("rc"), in("dr")});
    fleet->add_card(record, std::move(id), [draws](std::span<std::uint8_t> out) {
      if (draws->empty()) return random_fill(out);
      std::copy(draws->front().begin(), draws->front().end(), out.begin());
      draws->pop_front();
    });
    dp = std::make_unique<SmdpStub>(io);
    SmsrOptions so;
    so.tls = tls_of("smsr");
    so.es5.psk = psk;
    so.es5.silence = net::Millis(500);
    so.first_isdp = 0x13;
    audit = pki_dir() + "/audit.jsonl";
    so.audit_file = audit;
    Party p;
    p.oid = "2.999.20";
    p.fingerprint = *net::certificate_fingerprint(pki_dir() + "/tls-smdp.pem");
    p.url = dp->callback_url();
    so.parties = {p};
    smsr = std::make_unique<Smsr>(io, so, faults, *eum,
                                  [this](const std::string& e, Bytes b) { fleet->receive_sms(e, std::move(b)); });
    smsr->register_euicc(std::move(record));
    const auto s = smsr->start();
    ASSERT_TRUE(s.ok()) << s.error().text();
    dp->connect(smsr->es3_port());
  }

  // Posts the sample as it stands, but for the host of the callback.
  Answer post(const char* sample) {
    std::string xml = slurp(kSamples + sample);
    const std::string there = "https://smdp.example/es3/callback";
    if (const auto at = xml.find(there); at != std::string::npos) xml.replace(at, there.size(), dp->callback_url());
    const auto m = es::parse_message(xml, {});
    if (!std::holds_alternative<es::Message>(m)) return {};
    return run(io, dp->post(std::move(xml), std::get<es::Message>(m).header.message_id, net::Millis(20'000)));
  }

  void download() {
    const Answer created = post("06-ES3-CreateISDP-request.xml");
    ASSERT_EQ(created.code(), "ok");
    EXPECT_TRUE(created.by_callback);
    EXPECT_EQ(to_hex(created.response->isd_p_aid), aid);
    const Answer rc = post("08-ES3-SendData-request-cert.xml");
    ASSERT_EQ(rc.code(), "ok");
    EXPECT_EQ(rc.card_hex(), card_answer("09"));
    const Answer receipt = post("10-ES3-SendData-request-ephemeral-key.xml");
    ASSERT_EQ(receipt.code(), "ok");
    EXPECT_EQ(receipt.card_hex(), card_answer("11"));
    const Answer first = post("12-ES3-SendData-request-scp03t-first.xml");
    ASSERT_EQ(first.code(), "ok");
    EXPECT_EQ(first.card_hex(), card_answer("13"));
    const Answer last = post("14-ES3-SendData-request-scp03t-last.xml");
    ASSERT_EQ(last.code(), "ok");
    EXPECT_EQ(last.card_hex(), card_answer("15"));
  }
  void expect_installed() {
    const auto card = fleet->report(eid);
    ASSERT_TRUE(card);
    ASSERT_EQ(card->profiles.size(), 1u);
    const auto& p = card->profiles[0];
    EXPECT_TRUE(p.verified);
    EXPECT_EQ(p.iccid, iccid);
    EXPECT_EQ(p.bytes, 2244u);
    EXPECT_EQ(p.elements, 10u);
    EXPECT_EQ(p.sha256, to_bytes(sha256(in("profile"))));
  }

  json doc;
  std::string eid, iccid, aid, audit;
  asio::io_context io;
  FaultPlan faults;
  std::optional<Eum> eum;
  std::unique_ptr<Fleet> fleet;
  std::unique_ptr<SmdpStub> dp;
  std::unique_ptr<Smsr> smsr;
};

TEST_F(GoldenRun, EveryAnswerByteForByteInOneSession) {
  start();
  download();
  expect_installed();
  EXPECT_EQ(smsr->es5_counters().triggers, 1u) << "MoreToDo keeps one session open";
  EXPECT_EQ(fleet->counters().sessions, 1u);
  EXPECT_LE(smsr->es5_counters().posts, 6u) << "a POST without work is held, not polled";

  EXPECT_EQ(post("16-ES3-ProfileDownloadCompleted-request.xml").code(), "ok");
  EXPECT_EQ(post("18-ES3-EnableProfile-request.xml").code(), "ok");
  EXPECT_EQ(smsr->entries(eid)->at(0).info.state, "Enabled");
  EXPECT_EQ(fleet->report(eid)->profiles[0].state, IsdpState::enabled);
  let_run(io, std::chrono::milliseconds(300));
  ASSERT_EQ(dp->notifications.size(), 2u);
  EXPECT_EQ(dp->notifications[0].function, es::Function::handle_profile_downloaded);
  EXPECT_EQ(dp->notifications[1].function, es::Function::handle_profile_enabled);

  // The sample's POL2 forbids deletion; without it the card refuses, because the profile is enabled
  // (docs/spec/interfaces.md 10.12).
  auto q = request(es::Function::delete_isdp, eid);
  q.iccid = iccid;
  EXPECT_EQ(run(io, dp->call(q, true)).code(), "8.2.3/3.8");
  auto none = request(es::Function::update_policy_rules, eid);
  none.iccid = iccid;
  none.pol2 = es::Pol2{};
  EXPECT_EQ(run(io, dp->call(none, false)).code(), "ok");
  const auto refused = run(io, dp->call(q, true));
  EXPECT_EQ(refused.code(), "8.4/4.2");
  EXPECT_EQ(refused.card_hex(), "23026985");
  auto off = request(es::Function::disable_profile, eid);
  off.iccid = iccid;
  EXPECT_EQ(run(io, dp->call(off, true)).code(), "ok");
  EXPECT_EQ(fleet->report(eid)->profiles[0].state, IsdpState::disabled);
  EXPECT_EQ(run(io, dp->call(q, true)).code(), "ok");
  EXPECT_TRUE(fleet->report(eid)->profiles.empty());
  EXPECT_TRUE(smsr->entries(eid)->empty());

  // What the relay saw holds every command, and not sixteen bytes of the profile in a row.
  smsr->flush_audit();
  const std::string seen = slurp(audit);
  EXPECT_NE(seen.find(doc["out"]["send_data"]["12"].get<std::string>()), std::string::npos);
  EXPECT_NE(seen.find(card_answer("15")), std::string::npos);
  const std::string profile = to_hex(in("profile"));
  for (std::size_t i = 0; i + 32 <= profile.size(); i += 16)
    ASSERT_EQ(seen.find(profile.substr(i, 32)), std::string::npos) << "profile bytes at " << i / 2;
}

TEST_F(GoldenRun, PlainHttpAndRadioGiveTheSameAnswers) {
  start({}, false, "uniform:1:20");
  download();
  expect_installed();
}

TEST_F(GoldenRun, ALostResultIsPostedAgainAndNothingIsExecutedTwice) {
  for (const int script : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE("session lost after script " + std::to_string(script));
    if (script > 1) {
      TearDown();
      faults.clear();
    }
    start({"lost-session=" + std::to_string(script)});
    download();
    expect_installed();
    EXPECT_EQ(fleet->counters().lost_sessions, 1u);
    EXPECT_EQ(fleet->counters().resumes, 1u);
    EXPECT_EQ(smsr->es5_counters().resends, 0u);
    EXPECT_EQ(smsr->es5_counters().scripts, 5u);
    EXPECT_EQ(smsr->es5_counters().retriggers, 1u);
  }
}

TEST_F(GoldenRun, ALostScriptIsSentAgain) {
  for (const int script : {1, 3, 5}) {
    SCOPED_TRACE("session lost before script " + std::to_string(script));
    if (script > 1) {
      TearDown();
      faults.clear();
    }
    start({"lost-script=" + std::to_string(script)});
    download();
    expect_installed();
    EXPECT_EQ(smsr->es5_counters().resends, 1u);
    EXPECT_EQ(smsr->es5_counters().scripts, 6u);
  }
}

TEST_F(GoldenRun, EnableRolledBackIsFailedAsInSample19b) {
  start({"enable-fails"});
  download();
  EXPECT_EQ(post("16-ES3-ProfileDownloadCompleted-request.xml").code(), "ok");
  const Answer a = post("18-ES3-EnableProfile-request.xml");
  EXPECT_EQ(a.code(), "8.2.1/4.2");
  ASSERT_TRUE(a.response->code);
  EXPECT_EQ(a.response->code->subject_identifier, iccid);
  EXPECT_EQ(smsr->entries(eid)->at(0).info.state, "Disabled");
  EXPECT_EQ(fleet->report(eid)->profiles[0].state, IsdpState::disabled);
}

TEST_F(GoldenRun, Pol1RefusalIsSample05b) {
  start({"pol1-forbids-delete"});
  download();
  const Answer a = post("04b-ES3-DeleteISDP-request-error-management.xml");
  EXPECT_EQ(a.code(), "8.2.2/3.8");
  EXPECT_EQ(a.card_hex(), "230269E1");
  expect_installed();
}

TEST_F(GoldenRun, WrongReceiptAndScpErrorAreSeenInTheAnswers) {
  start({"wrong-receipt"});
  ASSERT_EQ(post("06-ES3-CreateISDP-request.xml").code(), "ok");
  ASSERT_EQ(post("08-ES3-SendData-request-cert.xml").code(), "ok");
  const Answer a = post("10-ES3-SendData-request-ephemeral-key.xml");
  EXPECT_EQ(a.code(), "ok") << "the SM-SR cannot know";
  EXPECT_NE(a.card_hex(), card_answer("11"));
  TearDown();
  faults.clear();
  start({"scp-error"});
  ASSERT_EQ(post("06-ES3-CreateISDP-request.xml").code(), "ok");
  ASSERT_EQ(post("08-ES3-SendData-request-cert.xml").code(), "ok");
  ASSERT_EQ(post("10-ES3-SendData-request-ephemeral-key.xml").code(), "ok");
  const Answer b = post("12-ES3-SendData-request-scp03t-first.xml");
  EXPECT_EQ(b.code(), "8.3/4.2");
  EXPECT_EQ(b.card_hex(), card_answer("13b"));
}

TEST_F(GoldenRun, MalformedAnswersOnRequest) {
  start({"bad-hex-answer=nothex"});
  ASSERT_EQ(post("06-ES3-CreateISDP-request.xml").code(), "ok");
  const Answer a = post("08-ES3-SendData-request-cert.xml");
  ASSERT_TRUE(a.response);
  EXPECT_TRUE(a.response->bad_euicc_response_data);
  for (const auto& [kind, expected] :
       {std::pair{"truncated", card_answer("09").substr(0, card_answer("09").size() - 2)},
        std::pair{"nonminimal", "2381" + card_answer("09").substr(2)}}) {
    TearDown();
    faults.clear();
    start({"bad-hex-answer=" + std::string(kind)});
    ASSERT_EQ(post("06-ES3-CreateISDP-request.xml").code(), "ok");
    EXPECT_EQ(post("08-ES3-SendData-request-cert.xml").card_hex(), expected) << kind;
  }
  TearDown();
  faults.clear();
  start({"old-rc-replay"});
  ASSERT_EQ(post("06-ES3-CreateISDP-request.xml").code(), "ok");
  const Answer old = post("08-ES3-SendData-request-cert.xml");
  EXPECT_EQ(old.card_hex().size(), card_answer("09").size());
  EXPECT_NE(old.card_hex(), card_answer("09"));
  EXPECT_EQ(post("10-ES3-SendData-request-ephemeral-key.xml").card_hex(), card_answer("11"))
      << "the card is not concerned";
}

}  // namespace
}  // namespace kf::sim::test
