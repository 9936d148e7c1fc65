// Every switch of EuiccFaults, and what the card is like when it is off.
#include "tests/sim/card/test_host.hpp"

namespace kf::sim::test {
namespace {

EuiccFaults faults(const std::function<void(EuiccFaults&)>& set) {
  EuiccFaults f;
  set(f);
  return f;
}

// STORE DATA #2 with the default CRT; the R-APDU's value and the receipt it should carry.
std::pair<std::string, std::string> key_step(World& w) {
  const Bytes rc = w.begin();
  const KeyPair e = make_key(w.ci.curve);
  const Bytes crt = World::default_crt();
  const std::string a = send(*w.card, World::key_apdu(w.key_data(e, rc, crt)), 0x03);
  const Bytes dr(w.drawn.end() - 16, w.drawn.end());
  w.derive(e, 16, 0x10, dr);
  return {a, to_hex(card::cmac(w.receipt_key, {crt, tlv(0x85, dr)}))};
}

TEST(Faults, WrongReceipt) {
  World w(faults([](auto& f) { f.wrong_receipt = true; }));
  w.create();
  const auto [a, receipt] = key_step(w);
  ASSERT_EQ(a.size(), 76U);
  EXPECT_EQ(a.substr(0, 4), "8510");
  EXPECT_NE(a.substr(40, 32), receipt);
  World good;
  good.create();
  const auto [b, right] = key_step(good);
  EXPECT_EQ(b.substr(40, 32), right);
}

TEST(Faults, OmitDr) {
  World w(faults([](auto& f) { f.omit_dr = true; }));
  w.create();
  const auto [a, receipt] = key_step(w);
  EXPECT_EQ(a, "8610" + receipt + "9000");
}

TEST(Faults, WrongRMac) {
  World w(faults([](auto& f) { f.wrong_r_mac = true; }));
  w.create();
  const HostKeys k = w.establish();
  Bytes response;
  const std::string a = w.download(k, package(), 1, isdp_aid(), &response);
  EXPECT_NE(a.find("8618"), std::string::npos);
  EXPECT_TRUE(response.empty());                      // the host's check fails
  EXPECT_EQ(w.profile().state, IsdpState::disabled);  // the card itself is content
}

// Offline mode fails once with 9F45 02; a session with the counter the card reports then works.
TEST(Faults, WrongCounterOnce) {
  World w(faults([](auto& f) { f.wrong_counter = true; }));
  w.create();
  const HostKeys k = w.establish();
  const std::string a = w.download(k, package(), 1);
  EXPECT_EQ(a.substr(62, 6), "000002");
  EXPECT_EQ(a.substr(68), "9F450102");  // and nothing behind it: the script stopped
  Bytes response;
  w.download(k, package(), 3, isdp_aid(), &response);
  EXPECT_EQ(to_hex(response), "3007A0053003800100");
  EXPECT_TRUE(w.profile().verified);
}

TEST(Faults, Pol1ForbidsDeleteOnlyAfterTheHeader) {
  World w(faults([](auto& f) { f.pol1_forbids_delete = true; }));
  w.create();
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid())), "009000");  // no header yet
  w.create();
  const HostKeys k = w.establish();
  w.card->faults().scp_error_at_segment = 1;
  const std::string a = w.download(k, package(std::nullopt, middle_pe(1500)));
  EXPECT_EQ(a.substr(a.size() - 16),
            "85008600"
            "9F460102");
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid())), "69E1");
  EXPECT_EQ(w.card->profiles().size(), 1U);
  w.card->faults().pol1_forbids_delete = false;
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid())), "009000");
}

TEST(Faults, EnableRollsBack) {
  World w(faults([](auto& f) { f.enable_rolls_back = true; }));
  w.install(isdp_aid(0), package());
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(0))), "9000");
  EXPECT_EQ(w.profile().state, IsdpState::disabled);
  const auto n = w.card->take_notification();
  ASSERT_TRUE(n);
  EXPECT_EQ(to_hex(*n), "E12B4C10890010120123412340987654321001914D01034E0200012F10" + to_hex(isdp_aid(0)));
  EXPECT_FALSE(w.card->take_notification());
  w.card->faults().enable_rolls_back = false;
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(0))), "9000");
  EXPECT_EQ(w.profile().state, IsdpState::enabled);
  // With another profile enabled the card falls back to that one and says so.
  w.install(isdp_aid(1), package());
  w.card->faults().enable_rolls_back = true;
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(1))), "9000");
  EXPECT_EQ(w.profile(0).state, IsdpState::enabled);
  EXPECT_EQ(w.profile(1).state, IsdpState::disabled);
  const std::string rolled = to_hex(w.card->take_notification().value());
  EXPECT_EQ(rolled.substr(40, 6), "4D0103");
  EXPECT_EQ(rolled.substr(rolled.size() - 32), to_hex(isdp_aid(0)));
}

TEST(Faults, InstallAndDelete) {
  World w;
  w.card->faults().refuse_install = true;
  EXPECT_EQ(send(*w.card, install_apdu(isdp_aid())), "6A80");
  w.card->faults().refuse_install = false;
  w.card->faults().memory_full = true;
  EXPECT_EQ(send(*w.card, install_apdu(isdp_aid())), "6A84");
  w.card->faults().memory_full = false;
  EXPECT_TRUE(w.card->profiles().empty());
  EXPECT_EQ(w.card->free_memory(), 524288U);
  w.create();
  w.card->faults().delete_fails = true;
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid())), "6581");
  EXPECT_EQ(w.card->profiles().size(), 1U);
}

TEST(Faults, ProfileElementErrors) {
  struct Case {
    unsigned at;
    bool aborts;
    std::uint32_t status;
    std::string response;
  };
  for (const Case& c :
       {Case{0, true, 3, pe_response({{"03", ""}}, true)}, Case{1, true, 2, pe_response({{"02", "01"}}, true)},
        Case{3, true, 4, pe_response({{"04", "09"}}, true)}, Case{1, false, 3, pe_response({{"03", "01"}}, false)},
        Case{3, false, 6, pe_response({{"06", "09"}}, false)}}) {
    SCOPED_TRACE(c.at);
    World w(faults([&](auto& f) {
      f.pe_error_at = c.at;
      f.pe_error_aborts = c.aborts;
      f.pe_error_status = c.status;
    }));
    w.create();
    const HostKeys k = w.establish();
    const Bytes hc = random_bytes(8);
    HostSession s(k, isdp_aid(), 1, hc);
    const Bytes der = package();
    const Bytes list = in_order({HostSession::init(hc), s.auth(), s.segment(der)});
    const std::string a = answers(w.card->process_script(script(list, 0x11), isdp_aid()));
    const Bytes response = s.open(hex(a.substr(72)));
    EXPECT_EQ(to_hex(response), c.response);
    EXPECT_EQ(w.profile().state, c.aborts ? IsdpState::personalized : IsdpState::disabled);
    EXPECT_EQ(w.profile().verified, !c.aborts);
    EXPECT_EQ(w.profile().iccid.empty(), c.at == 0);  // a refused header leaves nothing behind
    // The session is over after an abort, and there is nothing to install after success.
    EXPECT_EQ(answers(w.card->process_script(script(s.segment(hex("01")), 0x03), isdp_aid())), "9F460102");
  }
}

// An abort in an early segment stops the script: the rest of the package is not answered.
TEST(Faults, AbortStopsTheScript) {
  World w(faults([](auto& f) { f.pe_error_at = 1; }));
  w.create();
  const HostKeys k = w.establish();
  const std::string a = w.download(k, package(std::nullopt, middle_pe(3000)));
  EXPECT_EQ(a.substr(68, 8), "85008618");  // 84, 85, one protected 86 and no more
  EXPECT_EQ(a.size(), 72U + 2 * 26);
}

TEST(Faults, ScpErrorAtSegment) {
  for (const unsigned at : {0U, 2U}) {
    World w(faults([&](auto& f) { f.scp_error_at_segment = at; }));
    w.create();
    const HostKeys k = w.establish();
    std::string expected = "8500";
    for (unsigned i = 0; i < at; ++i) expected += "8600";
    const std::string a = w.download(k, package(std::nullopt, middle_pe(3000)));
    EXPECT_EQ(a.substr(68), expected + "9F460102");
    // What came so far is discarded: the next session starts with the header again.
    w.card->faults().scp_error_at_segment.reset();
    Bytes response;
    w.download(k, package(), 2, isdp_aid(), &response);
    EXPECT_EQ(to_hex(response), "3007A0053003800100");
    EXPECT_EQ(w.profile().sha256, to_bytes(card::sha256({package()})));
  }
}

TEST(Options, RMacOnEmptyAnswers) {
  World w({}, CardCurve::p256, [](EuiccIdentity& id) { id.r_mac_on_empty = true; });
  w.create();
  const HostKeys k = w.establish();
  const Bytes hc = random_bytes(8);
  HostSession s(k, isdp_aid(), 1, hc);
  const Bytes list = in_order({HostSession::init(hc), s.auth(), s.segment(header_pe())});
  const std::string a = answers(w.card->process_script(script(list), isdp_aid()));
  const Block m = card::cmac(s.s_rmac, {s.mcv, hex("8608")});
  EXPECT_EQ(a.substr(72), "8608" + to_hex(ByteView(m).first(8)));
}

TEST(Options, RcOf32Bytes) {
  World w({}, CardCurve::p256, [](EuiccIdentity& id) { id.rc_length = 32; });
  w.create();
  const Bytes rc = w.begin();
  ASSERT_EQ(rc.size(), 32U);
  const KeyPair e = make_key(CardCurve::p256);
  EXPECT_EQ(send(*w.card, World::key_apdu(w.key_data(e, rc, World::default_crt())), 0x03).size(), 76U);
}

}  // namespace
}  // namespace kf::sim::test
