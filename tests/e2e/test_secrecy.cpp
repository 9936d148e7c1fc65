// What must stay secret does: the SM-SR relays nothing readable, a recorded conversation opens nothing again, and
// neither store nor logs hold a key or a readable profile.
#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

// Every run of 16 bytes of `secret` that is not constant filling.
std::vector<std::string> windows(ByteView secret) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i + 16 <= secret.size(); ++i) {
    const ByteView w = secret.subspan(i, 16);
    if (std::all_of(w.begin(), w.end(), [&](std::uint8_t b) { return b == w[0]; })) continue;
    out.emplace_back(text(w));
  }
  return out;
}

class Secrecy : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    audit_ = (fs::temp_directory_path() / ("kf-audit-" + random_uuid() + ".jsonl")).string();
    RigOptions o;
    o.euiccs = 6;
    o.sim_args = {"--audit", audit_};
    o.log_level = "debug";
    rig_ = std::make_unique<Rig>(o);
    csv_ = std::string(text(rig_->subscriptions().csv.expose()));
    for (const auto& out : rig_->download_all(true)) ASSERT_EQ(told(out), "EXECUTED_SUCCESS") << out.text();
    Rig::must(rig_->world().sim_summary());
  }
  static void TearDownTestSuite() {
    rig_.reset();
    fs::remove(audit_);
  }
  // Ki and OPc of every subscription, from the CSV that was imported.
  static std::vector<Bytes> subscriber_keys() {
    std::vector<Bytes> out;
    std::size_t at = csv_.find('\n') + 1;
    while (at < csv_.size()) {
      const std::string line = csv_.substr(at, csv_.find('\n', at) - at);
      at += line.size() + 1;
      for (std::size_t p = 0; p <= line.size();) {
        const std::size_t e = std::min(line.find(',', p), line.size());
        if (e - p == 32)
          if (auto h = from_hex(line.substr(p, 32))) out.push_back(*h);
        p = e + 1;
      }
    }
    return out;
  }
  static void expect_absent(const std::string& haystack, const std::string& where) {
    for (const auto& w : windows(rig_->profile_template().der))
      ASSERT_EQ(haystack.find(w), std::string::npos) << "profile bytes in " << where;
    for (const auto& k : subscriber_keys()) {
      ASSERT_EQ(haystack.find(std::string(text(k))), std::string::npos) << "a subscriber key in " << where;
      ASSERT_EQ(haystack.find(to_hex(k)), std::string::npos) << "a subscriber key in hex in " << where;
    }
  }
  static inline std::unique_ptr<Rig> rig_;
  static inline std::string audit_, csv_;
};

TEST_F(Secrecy, TheSmsrRelaysNothingReadable) {
  std::string lines = slurp(audit_);
  ASSERT_FALSE(lines.empty());
  ASSERT_GE(subscriber_keys().size(), 12U);
  std::string relayed;
  std::size_t count = 0;
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t e = std::min(lines.find('\n', at), lines.size());
    const Json j = Json::parse(lines.substr(at, e - at), nullptr, false);
    at = e + 1;
    if (!j.is_object() || !j.contains("data")) continue;
    relayed += text(hex(j["data"].get<std::string>()));
    relayed += '\n';
    ++count;
  }
  ASSERT_GT(count, 30U);
  ASSERT_GT(relayed.size(), 6U * rig_->profile_template().der.size()) << "the audit must hold the sealed profiles";
  expect_absent(relayed, "what the SM-SR relayed");
}

TEST_F(Secrecy, ARecordedConversationIsRefused) {
  // The audit's commands of one download, sent again by the SM-SR's own means to the same card: see tests/sim/card for
  // every step; here the whole chain: SendData with the recorded bytes through ES3 is refused by the card.
  const std::string lines = slurp(audit_);
  const std::string eid = rig_->subscriptions().list[0].eid;
  std::vector<Bytes> to_card;
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t e = std::min(lines.find('\n', at), lines.size());
    const Json j = Json::parse(lines.substr(at, e - at), nullptr, false);
    at = e + 1;
    if (j.is_object() && j.value("eid", "") == eid && j.value("function", "") == "SendData" &&
        j.value("direction", "").find("card") != std::string::npos)
      to_card.push_back(hex(j["data"].get<std::string>()));
  }
  ASSERT_GE(to_card.size(), 3U) << lines.substr(0, 300);
  // The SM-DP's own ES3 client is not available here; speak ES3 as the SM-DP would, with its certificate.
  const Json sim = Rig::must(rig_->world().sim_report());
  std::string aid;
  for (const auto& c : sim["euiccs"])
    if (c["eid"] == eid) aid = c["profiles"].at(0).value("isdp_aid", c["profiles"].at(0).value("aid", ""));
  ASSERT_FALSE(aid.empty()) << sim.dump().substr(0, 400);
  const std::string config = slurp(rig_->world().config_file());
  const auto url_at = config.find("https://", config.find("Simulated SM-SR"));
  const auto url = net::parse_url(config.substr(url_at, config.find_first_of("\"'", url_at) - url_at));
  ASSERT_TRUE(url.ok()) << config;
  const net::Url& smsr = *url;
  net::ClientOptions c;
  c.host = smsr.host;
  c.port = smsr.port;
  const auto t = rig_->world().tls("smdp");
  c.tls = {t.cert, t.key, t.ca};
  net::HttpClient client(rig_->io(), c);
  for (const auto& data : to_card) {
    es::Request q;
    q.interface = es::Interface::es3;
    q.function = es::Function::send_data;
    q.function_call_identifier = random_uuid();
    q.eid = eid;
    const bool scp03t = !data.empty() && data[0] != 0x22;
    q.sd_aid = scp03t ? hex(aid) : to_bytes(isd_r_aid().bytes());
    q.data = data;
    q.more_to_do = true;
    es::SendHeader h;
    h.from = "https://smdp/es3?EntityId=2.999.20";
    h.to = "https://smsr/es3?EntityId=2.999.30";
    h.message_id = es::make_message_id("2.999.20", random_uuid(), random_uuid(), "2026-03-02T09:00:00Z");
    h.action = es::action_of(q);
    net::Request http;
    http.target = smsr.target;
    http.content_type = std::string(es::kSoapContentType);
    http.body = es::write_message(h, q);
    auto r = rig_->run(client.call(http, std::chrono::seconds(30), false));
    ASSERT_TRUE(r.ok()) << r.error().text();
    auto m = es::parse_message(r->body, {});
    ASSERT_TRUE(std::holds_alternative<es::Message>(m)) << r->body;
    const auto& x = std::get<es::Response>(std::get<es::Message>(m).body);
    const bool certificate_step = !scp03t && data.size() > 40 && to_hex(data).find("80E6200016") != std::string::npos;
    if (certificate_step) continue;  // a card may take a certificate again: it draws a fresh RC
    EXPECT_EQ(x.status, es::ExecStatus::failed) << to_hex(data).substr(0, 40);
  }
  EXPECT_TRUE(rig_->verified(0)) << "the installed profile is untouched";
}

TEST_F(Secrecy, StoreAndLogsHoldNothingReadable) {
  // At level debug: whatever is logged at all.
  std::size_t files = 0;
  for (const auto& e : fs::recursive_directory_iterator(rig_->dir())) {
    if (!e.is_regular_file()) continue;
    const std::string name = e.path().filename().string();
    if (name == "template.der") continue;  // the test's own input
    expect_absent(slurp(e.path().string()), e.path().string());
    ++files;
  }
  EXPECT_GT(files, 5U);
  Rig::must(rig_->world().stop_smdp());  // everything is in the log then
  const std::string log = slurp(rig_->world().smdp_log());
  Rig::must(rig_->world().start_smdp());
  ASSERT_FALSE(log.empty());
  EXPECT_EQ(log.find(slurp(rig_->dir() + "/token/pin")), std::string::npos) << "the PIN in the log";
}

TEST_F(Secrecy, NoSecretOnACommandLine) {
  const std::string pin = slurp(rig_->dir() + "/token/pin");
  ASSERT_GE(pin.size(), 4U);
  std::vector<pid_t> pids{rig_->world().smdp().pid(), rig_->world().sim().pid()};
  const Json status = Rig::must(rig_->world().smdp_status());
  for (const auto& p : status["worker_pids"]) pids.push_back(p.get<pid_t>());
  for (pid_t p : pids) {
    const std::string cmd = slurp("/proc/" + std::to_string(p) + "/cmdline");
    ASSERT_FALSE(cmd.empty());
    EXPECT_EQ(cmd.find(pin), std::string::npos);
  }
  for (pid_t p : {pids[0]}) {  // the server never maps the module
    EXPECT_EQ(slurp("/proc/" + std::to_string(p) + "/maps").find("softhsm"), std::string::npos);
  }
}

}  // namespace
}  // namespace kf::e2e
