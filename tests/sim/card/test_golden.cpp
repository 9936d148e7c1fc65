// The golden run, eUICC side (docs/spec/interfaces.md 8), and attempts to replay it to a card.
#include <nlohmann/json.hpp>

#include "tests/sim/card/test_host.hpp"

namespace kf::sim::test {
namespace {

using nlohmann::json;

class Golden : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto text = read_file(shared_path("reference/samples/golden.json"));
    if (!text) GTEST_SKIP() << "../shared/reference/samples/golden.json is absent";
    doc = json::parse(*text);
    in = doc["in"];
    aid = value("isdp_aid");
    isdr = value("isdr_aid");
  }
  [[nodiscard]] Bytes value(const char* name) const { return hex(in.at(name).get<std::string>()); }
  [[nodiscard]] Bytes data(const char* n) const { return hex(doc["out"]["send_data"].at(n).get<std::string>()); }
  [[nodiscard]] std::string answer(const char* n) const {
    return doc["out"]["euicc_response_data"].at(n).get<std::string>();
  }

  // A card that draws these values in this order, then fresh ones.
  [[nodiscard]] Euicc card(std::vector<Bytes> draws, EuiccFaults faults = {}) const {
    EuiccIdentity id;
    id.eid = in["eid"];
    id.sk_ecasd = value("sk_ecasd_ecka");
    id.cert_ecasd = value("cert_ecasd_ecka");
    id.pk_ci = public_of(CardCurve::p256, value("sk_ci_ecdsa"));
    id.ci_ski = hex("3F29AFCB63F4CB29BF99833F807D46B591ABACD1");
    auto queue = std::make_shared<std::deque<Bytes>>(draws.begin(), draws.end());
    return Euicc(std::move(id), faults, [queue](std::span<std::uint8_t> out) {
      if (queue->empty()) return random_fill(out);
      EXPECT_EQ(queue->front().size(), out.size());
      std::copy(queue->front().begin(), queue->front().end(), out.begin());
      queue->pop_front();
    });
  }
  [[nodiscard]] Euicc golden_card(EuiccFaults faults = {}) const {
    Euicc c = card({value("rc"), value("dr")}, faults);
    c.keep_plaintext(true);
    EXPECT_EQ(send(c, install_apdu(aid)), "009000");
    return c;
  }
  void establish(Euicc& c) const {
    EXPECT_EQ(answers(c.process_script(script(data("08"), 0x11), isdr)), answer("09"));
    EXPECT_EQ(answers(c.process_script(script(data("10"), 0x03), isdr)), answer("11"));
  }
  void expect_installed(const Euicc& c) const {
    const InstalledProfile p = c.profiles().at(0);
    EXPECT_EQ(p.state, IsdpState::disabled);
    EXPECT_TRUE(p.verified);
    EXPECT_EQ(p.iccid, in["iccid"]);
    EXPECT_EQ(p.elements, 10U);
    EXPECT_EQ(p.bytes, 2244U);
    EXPECT_EQ(c.plaintext(to_hex(aid)), value("profile"));
    EXPECT_EQ(p.sha256, to_bytes(kf::sim::card::sha256({value("profile")})));
    if (const auto der = read_file(shared_path("reference/samples/golden-profile.der"))) {
      EXPECT_EQ(*der, value("profile"));
    }
  }
  json doc, in;
  Bytes aid, isdr;
};

TEST_F(Golden, SendDataByteForByte) {
  Euicc c = golden_card();
  establish(c);
  EXPECT_EQ(answers(c.process_script(script(data("12"), 0x11), aid)), answer("13"));
  EXPECT_EQ(c.profiles().at(0).state, IsdpState::personalized);
  EXPECT_EQ(c.profiles().at(0).iccid, in["iccid"]);  // the header came with the first segment
  EXPECT_FALSE(c.profiles().at(0).verified);
  EXPECT_EQ(answers(c.process_script(script(data("14"), 0x03), aid)), answer("15"));
  expect_installed(c);
}

// A product that sends the whole script at once sends 12 || 14 and gets 13 || 15.
TEST_F(Golden, WholeDownloadInOneScriptWithoutChaining) {
  Euicc c = golden_card();
  establish(c);
  EXPECT_EQ(answers(c.process_script(script(concat(data("12"), data("14"))), aid)), answer("13") + answer("15"));
  expect_installed(c);
}

// The definite template, and the option that carries each SCP03t TLV in a 22 and each answer in a 23.
TEST_F(Golden, DefiniteTemplateAndWrappedTlvs) {
  Euicc c = golden_card();
  EXPECT_EQ(answers(c.process_script(tlv(0xAA, concat(hex("830111"), data("08"))), isdr)), answer("09"));
  EXPECT_EQ(answers(c.process_script(tlv(0xAA, concat(hex("830103"), data("10"))), {})), answer("11"));
  const Bytes commands = concat(data("12"), data("14"));
  Bytes wrapped;
  kf::sim::card::TlvWalker w(commands);
  kf::sim::card::TlvItem t;
  while (w.next(t)) append(wrapped, tlv(0x22, t.whole));
  const Bytes expected = hex(answer("13") + answer("15"));
  Bytes wrapped_answers;
  kf::sim::card::TlvWalker a(expected);
  while (a.next(t)) append(wrapped_answers, tlv(0x23, t.whole));
  EXPECT_EQ(answers(c.process_script(script(wrapped), aid)), to_hex(wrapped_answers));
  expect_installed(c);
}

// The bodies of the ES5 session of file 60, in their order, each answer as in the file.
TEST_F(Golden, HttpSessionBodies) {
  const auto file = read_file(shared_path("reference/samples/60-ES5-http-session.txt"));
  if (!file) GTEST_SKIP() << "../shared/reference/samples/60-ES5-http-session.txt is absent";
  Euicc c = card({value("rc"), value("dr")});
  c.keep_plaintext(true);
  std::string lines(text(*file));
  Bytes target;
  std::string got;
  unsigned scripts = 0;
  unsigned compared = 0;
  std::size_t at = 0;
  while (at < lines.size()) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    const std::string line = lines.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("< HTTP/")) target.clear();
    if (line.starts_with("< X-Admin-Targeted-Application: //aid/")) {
      std::string h = line.substr(38);
      std::erase(h, '/');
      target = hex(h);
    }
    if (line.starts_with("< AE80")) {
      const ScriptResult r = c.process_script(hex(line.substr(2)), target);
      EXPECT_EQ(r.script_status, "ok");
      got = to_hex(r.body);
      ++scripts;
    }
    if (line.starts_with("> AF80")) {
      EXPECT_EQ(got, line.substr(2)) << "script " << scripts;
      ++compared;
    }
  }
  EXPECT_EQ(scripts, 5U);
  EXPECT_EQ(compared, 5U);
  expect_installed(c);
}

// 11b: the last bit of the signature changed. Verified before the CRT is parsed: a CRT that is nonsense gives 6600 too.
TEST_F(Golden, Negative11bSignature) {
  Euicc c = golden_card();
  EXPECT_EQ(answers(c.process_script(script(data("08"), 0x11), isdr)), answer("09"));
  Bytes d = data("10");
  d[d.size() - 2] ^= 0x01;  // the octet behind is Le
  EXPECT_EQ(answers(c.process_script(script(d, 0x02), isdr)), answer("11b"));
  EXPECT_EQ(c.profiles().at(0).state, IsdpState::selectable);
  // RC is gone with the refusal: the right command comes too late.
  EXPECT_EQ(answers(c.process_script(script(data("10"), 0x03), isdr)), "23026985");
}

// 13b: a bit of the first 86's MAC changed; the card stops there and the session is over.
TEST_F(Golden, Negative13bMac) {
  Euicc c = golden_card();
  establish(c);
  Bytes d = data("12");
  const std::size_t first_mac_end = 12 + 19 + 1020;
  d[first_mac_end - 1] ^= 0x01;
  EXPECT_EQ(answers(c.process_script(script(d, 0x11), aid)), answer("13b"));
  EXPECT_EQ(answers(c.process_script(script(data("14"), 0x03), aid)), "9F460102");
  EXPECT_EQ(c.profiles().at(0).state, IsdpState::personalized);
}

// 15b: "bad values" in PE 7, aborted.
TEST_F(Golden, Negative15bProfileElement) {
  EuiccFaults f;
  f.pe_error_at = 7;
  f.pe_error_status = 3;
  Euicc c = golden_card(f);
  establish(c);
  EXPECT_EQ(answers(c.process_script(script(data("12"), 0x11), aid)), answer("13"));
  EXPECT_EQ(answers(c.process_script(script(data("14"), 0x03), aid)), answer("15b"));
  EXPECT_EQ(c.profiles().at(0).state, IsdpState::personalized);
  EXPECT_FALSE(c.profiles().at(0).verified);
}

// A recorded conversation played back to the card it was recorded from.
TEST_F(Golden, ReplayToTheSameCardIsRefused) {
  Euicc c = golden_card();
  establish(c);
  // RC was used up by the first STORE DATA #2.
  EXPECT_EQ(answers(c.process_script(script(data("10"), 0x03), isdr)), "23026985");
  // The keys exist: the recorded SCP03t commands meet another sequence counter.
  EXPECT_EQ(answers(c.process_script(script(data("12"), 0x11), aid)), answer("13"));
  const std::string again = answers(c.process_script(script(data("12"), 0x11), aid));
  EXPECT_EQ(again.substr(again.size() - 8), "9F450102");
  EXPECT_EQ(again.substr(62, 6), "000002");
  EXPECT_EQ(answers(c.process_script(script(data("14"), 0x03), aid)), "9F460102");
  // A second key establishment draws a new RC, so the recorded signature does not fit.
  const std::string first = answers(c.process_script(script(data("08"), 0x11), isdr));
  EXPECT_NE(first, answer("09"));
  EXPECT_EQ(first.size(), answer("09").size());
  EXPECT_EQ(answers(c.process_script(script(data("10"), 0x03), isdr)), "23026600");
}

TEST_F(Golden, ReplayAfterInstallationIsRefused) {
  Euicc c = golden_card();
  establish(c);
  EXPECT_EQ(answers(c.process_script(script(concat(data("12"), data("14"))), aid)), answer("13") + answer("15"));
  EXPECT_EQ(answers(c.process_script(script(data("08"), 0x11), isdr)), "23026985");
  EXPECT_EQ(answers(c.process_script(script(data("10"), 0x03), isdr)), "23026985");
  const std::string again = answers(c.process_script(script(concat(data("12"), data("14"))), aid));
  EXPECT_EQ(again.substr(again.size() - 8), "9F450102");
  expect_installed(c);
}

// Played back to a fresh card of the same identity.
TEST_F(Golden, ReplayToAFreshCardIsRefused) {
  Euicc c = card({});
  ASSERT_EQ(send(c, install_apdu(aid)), "009000");
  EXPECT_NE(answers(c.process_script(script(data("08"), 0x11), isdr)), answer("09"));
  EXPECT_EQ(answers(c.process_script(script(data("10"), 0x03), isdr)), "23026600");
  EXPECT_EQ(answers(c.process_script(script(data("12"), 0x11), aid)), "9F440103");  // no keys
  EXPECT_EQ(c.profiles().at(0).state, IsdpState::selectable);
  // Even a card whose generator repeats RC gives other keys through DR.
  Euicc weak = card({value("rc")});
  ASSERT_EQ(send(weak, install_apdu(aid)), "009000");
  EXPECT_EQ(answers(weak.process_script(script(data("08"), 0x11), isdr)), answer("09"));
  EXPECT_NE(answers(weak.process_script(script(data("10"), 0x03), isdr)), answer("11"));
  const std::string a = answers(weak.process_script(script(data("12"), 0x11), aid));
  EXPECT_EQ(a.substr(a.size() - 8), "9F450102");
}

}  // namespace
}  // namespace kf::sim::test
