// Life cycle of ISD-Ps, status words of docs/spec/crypto.md 9 and docs/spec/interfaces.md 3, scripts and chaining, the
// whole run on both curves.
#ifdef __linux__
#include <malloc.h>
#endif

#include "tests/sim/card/test_host.hpp"

namespace kf::sim::test {
namespace {

class Curves : public ::testing::TestWithParam<CardCurve> {};
INSTANTIATE_TEST_SUITE_P(Both, Curves, ::testing::Values(CardCurve::p256, CardCurve::brainpool_p256r1));

TEST_P(Curves, WholeLife) {
  World w({}, GetParam());
  w.card->keep_plaintext(true);
  w.create();
  EXPECT_EQ(w.profile().state, IsdpState::selectable);
  EXPECT_EQ(w.card->free_memory(), 524288U - 65536U);
  const HostKeys k = w.establish();
  EXPECT_EQ(w.profile().state, IsdpState::personalized);
  Bytes response;
  const Bytes der = package();
  w.download(k, der, 1, isdp_aid(), &response);
  EXPECT_EQ(to_hex(response), "3007A0053003800100");
  const InstalledProfile p = w.profile();
  EXPECT_EQ(p.state, IsdpState::disabled);
  EXPECT_EQ(p.iccid, "89000123456789012341");
  EXPECT_EQ(p.sha256, to_bytes(card::sha256({der})));
  EXPECT_EQ(p.bytes, der.size());
  EXPECT_EQ(p.elements, 4U);
  EXPECT_TRUE(p.verified);
  EXPECT_EQ(w.card->plaintext(p.isdp_aid), der);
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid())), "9000");
  EXPECT_EQ(w.profile().state, IsdpState::enabled);
  EXPECT_EQ(to_hex(w.card->take_notification().value()),
            "E12B4C10890010120123412340987654321001914D01024E0200012F10" + to_hex(isdp_aid()));
  EXPECT_FALSE(w.card->take_notification());
  EXPECT_EQ(send(*w.card, confirm_apdu(2)), "6A88");
  EXPECT_EQ(send(*w.card, confirm_apdu(1)), "80009000");
  EXPECT_EQ(send(*w.card, confirm_apdu(1)), "6A88");
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid())), "6985");
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid())), "6985");
  EXPECT_EQ(send(*w.card, disable_apdu(isdp_aid())), "9000");
  EXPECT_EQ(send(*w.card, disable_apdu(isdp_aid())), "6985");
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid())), "009000");
  EXPECT_TRUE(w.card->profiles().empty());
  EXPECT_EQ(w.card->free_memory(), 524288U);
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid())), "6A88");
}

TEST(LifeCycle, Ts48Profiles) {
  unsigned run = 0;
  for (const char* f : {"ts48v7-saip23-bertlv-suci.der", "ts48v7-saip23-bertlv-suci-noramrfm.der",
                        "ts48v7-saip23-nobertlv.der", "ts48v7-saip23-nobertlv-noramrfm.der"}) {
    const auto der = read_file(shared_path(std::string("profiles/") + f));
    if (!der) continue;
    SCOPED_TRACE(f);
    World w;
    w.install(isdp_aid(), *der);
    EXPECT_EQ(w.profile().sha256, to_bytes(card::sha256({*der})));
    EXPECT_TRUE(w.card->plaintext(to_hex(isdp_aid())).empty());  // nobody asked for it to be kept
    ++run;
  }
  if (run == 0) GTEST_SKIP() << "../shared/profiles is absent";
  EXPECT_EQ(run, 4U);
}

TEST(LifeCycle, OnlyOneIsEnabled) {
  World w;
  w.install(isdp_aid(0), package());
  w.install(isdp_aid(1), package());
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(0))), "9000");
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(1))), "9000");
  EXPECT_EQ(w.profile(0).state, IsdpState::disabled);
  EXPECT_EQ(w.profile(1).state, IsdpState::enabled);
}

TEST(LifeCycle, EnableNeedsACompleteProfile) {
  World w;
  w.create();
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid())), "6985");
  EXPECT_EQ(send(*w.card, disable_apdu(isdp_aid())), "6985");
  w.establish();
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid())), "6985");
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(1))), "6A88");
  EXPECT_EQ(send(*w.card, disable_apdu(isdp_aid(1))), "6A88");
}

TEST(LifeCycle, Pol1) {
  World w;
  w.install(isdp_aid(0), package(std::uint8_t{0x01}));  // disabling not allowed
  w.install(isdp_aid(1), package(std::uint8_t{0x02}));  // deletion not allowed
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid(1))), "69E1");
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(0))), "9000");
  EXPECT_EQ(send(*w.card, disable_apdu(isdp_aid(0))), "69E1");
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(1))), "69E1");
  EXPECT_EQ(w.profile(0).state, IsdpState::enabled);
}

// POL1 forbids deletion as soon as the header was taken, also when the rest never came.
TEST(LifeCycle, Pol1OfAHalfInstalledProfile) {
  World w;
  w.create();
  const HostKeys k = w.establish();
  const Bytes hc = random_bytes(8);
  HostSession s(k, isdp_aid(), 1, hc);
  EXPECT_EQ(answers(w.card->process_script(
                        script(in_order({HostSession::init(hc), s.auth(), s.segment(header_pe(std::uint8_t{0x02}))})),
                        isdp_aid()))
                .substr(68),
            "85008600");
  EXPECT_EQ(w.profile().iccid, "89000123456789012341");
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid())), "69E1");
}

TEST(LifeCycle, DeleteWhenDisabled) {
  World w;
  w.install(isdp_aid(0), package(std::uint8_t{0x04}));
  w.install(isdp_aid(1), package());
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(0))), "9000");
  EXPECT_EQ(send(*w.card, confirm_apdu(1)), "80009000");
  EXPECT_EQ(send(*w.card, enable_apdu(isdp_aid(1))), "9000");
  EXPECT_EQ(w.card->profiles().size(), 2U);
  EXPECT_EQ(send(*w.card, confirm_apdu(2)), "80124F10" + to_hex(isdp_aid(0)) + "9000");
  ASSERT_EQ(w.card->profiles().size(), 1U);
  EXPECT_EQ(w.profile().isdp_aid, to_hex(isdp_aid(1)));
}

TEST(LifeCycle, Memory) {
  World w({}, CardCurve::p256, [](EuiccIdentity& id) { id.memory = 1000; });
  EXPECT_EQ(send(*w.card, install_apdu(isdp_aid(0), 1001)), "6A84");
  w.create(isdp_aid(0), 600);
  EXPECT_EQ(send(*w.card, install_apdu(isdp_aid(1), 401)), "6A84");
  EXPECT_EQ(send(*w.card, install_apdu(isdp_aid(0), 10)), "6A80");  // AID in use
  w.create(isdp_aid(1), 400);
  EXPECT_EQ(w.card->free_memory(), 0U);
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid(0))), "009000");
  EXPECT_EQ(w.card->free_memory(), 600U);
}

TEST(LifeCycle, MemoryWithoutRequest) {
  World w({}, CardCurve::p256, [](EuiccIdentity& id) { id.memory = 5000; });
  w.create(isdp_aid(), std::nullopt);
  EXPECT_EQ(w.card->free_memory(), 5000U);
  const HostKeys k = w.establish();
  Bytes response;
  w.download(k, package(), 1, isdp_aid(), &response);
  EXPECT_EQ(to_hex(response), "3007A0053003800100");
  EXPECT_EQ(w.card->free_memory(), 5000U - package().size());
  EXPECT_EQ(send(*w.card, delete_apdu(isdp_aid())), "009000");
  EXPECT_EQ(w.card->free_memory(), 5000U);
}

TEST(LifeCycle, ProfileLargerThanItsMemory) {
  World w;
  w.create(isdp_aid(), 1500);
  const HostKeys k = w.establish();
  const Bytes hc = random_bytes(8);
  HostSession s(k, isdp_aid(), 1, hc);
  Bytes list = concat(HostSession::init(hc), s.auth());
  const Bytes der = package(std::nullopt, middle_pe(2000));
  append(list, s.segment(ByteView(der).first(1007)));
  append(list, s.segment(ByteView(der).subspan(1007, 1007)));
  const std::string a = answers(w.card->process_script(script(list), isdp_aid()));
  EXPECT_EQ(a.substr(68, 8), "85008600");
  EXPECT_EQ(to_hex(s.open(hex(a.substr(76)))), pe_response({{"04", "01"}}, true));
}

// --- Status words
// ------------------------------------------------------------------------------------------------------

TEST(StatusWords, Apdus) {
  World w;
  w.create();
  const Bytes aid = isdp_aid();
  struct Case {
    const char* name;
    Bytes apdu;
    const char* sw;
  };
  Bytes long_lc = delete_apdu(aid);
  long_lc[4] += 3;
  Bytes short_lc = delete_apdu(aid);
  short_lc[4] -= 1;
  const Bytes lf = hex("A0000005591010FFFFFFFF8900000D00");
  const Bytes mod = hex("A0000005591010FFFFFFFF8900000E00");
  const auto install = [](ByteView load, ByteView module, ByteView id, const char* priv, const char* params,
                          const char* tail = "00") {
    return apdu({0x80, 0xE6, 0x0C, 0x00}, concat(lv(load), lv(module), lv(id), hex(priv), lv(hex(params)), hex(tail)));
  };
  const std::vector<Case> cases = {
      {"no Lc", hex("80E40040"), "6700"},
      {"empty", hex(""), "6700"},
      {"Lc too long", long_lc, "6700"},
      {"Lc too short", short_lc, "6700"},
      {"class", hex("84E400400100"), "6E00"},
      {"unknown INS", hex("80CA004000"), "6A86"},
      {"INSTALL for another purpose", hex("80E6040000"), "6A86"},
      {"install: unknown load file", install(mod, mod, isdp_aid(1), "0380C000", "C90481020370"), "6A88"},
      {"install: unknown module", install(lf, lf, isdp_aid(1), "0380C000", "C90481020370"), "6A88"},
      {"install: AID of the ISD-R",
       install(lf, mod, hex("A0000005591010FFFFFFFF8900000100"), "0380C000", "C90481020370"), "6A80"},
      {"install: AID too short", install(lf, mod, hex("A000000559"), "0380C000", "C90481020370"), "6A80"},
      {"install: AID twice", install(lf, mod, aid, "0380C000", "C90481020370"), "6A80"},
      {"install: privileges", install(lf, mod, isdp_aid(1), "03800000", "C90481020370"), "6A80"},
      {"install: other SCP", install(lf, mod, isdp_aid(1), "0380C000", "C90481020255"), "6A80"},
      {"install: no SCP", install(lf, mod, isdp_aid(1), "0380C000", "EF06830400010000"), "6A80"},
      {"install: memory field empty", install(lf, mod, isdp_aid(1), "0380C000", "C90481020370EF028300"), "6A80"},
      {"install: token", install(lf, mod, isdp_aid(1), "0380C000", "C90481020370", "01AA"), "6A80"},
      {"install: truncated", apdu({0x80, 0xE6, 0x0C, 0x00}, hex("10A0")), "6A80"},
      {"install: bytes behind", install(lf, mod, isdp_aid(1), "0380C000", "C90481020370", "0000"), "6A80"},
      {"personalization: unknown AID", perso_apdu(isdp_aid(1)), "6A88"},
      {"personalization: malformed", apdu({0x80, 0xE6, 0x20, 0x00}, concat(hex("0000"), lv(aid), hex("0000"))), "6A80"},
      {"STORE DATA without INSTALL", World::cert_apdu(w.cert()), "6985"},
      {"STORE DATA P1", apdu({0x80, 0xE2, 0x00, 0x00}, hex("3A0100")), "6A86"},
      {"STORE DATA 88, P2", apdu({0x80, 0xE2, 0x88, 0x01}, dgi(0x3A03, tlv(0x4F, aid))), "6A86"},
      {"STORE DATA 88, other DGI", apdu({0x80, 0xE2, 0x88, 0x00}, dgi(0x3A09, tlv(0x4F, aid))), "6A80"},
      {"enable: not an AID", apdu({0x80, 0xE2, 0x88, 0x00}, dgi(0x3A03, tlv(0x4E, aid))), "6A80"},
      {"enable: bytes behind", apdu({0x80, 0xE2, 0x88, 0x00}, concat(dgi(0x3A03, tlv(0x4F, aid)), hex("00"))), "6A80"},
      {"confirmation: malformed", apdu({0x80, 0xE2, 0x89, 0x00}, dgi(0x3A08, hex("4E0101"))), "6A80"},
      {"confirmation: nothing to confirm", confirm_apdu(0), "6A88"},
      {"DELETE: of a key", apdu({0x80, 0xE4, 0x00, 0x00}, tlv(0x4F, aid)), "6A86"},
      {"DELETE: malformed", apdu({0x80, 0xE4, 0x00, 0x40}, tlv(0x4E, aid)), "6A80"},
      {"DELETE: two AIDs", apdu({0x80, 0xE4, 0x00, 0x40}, concat(tlv(0x4F, aid), tlv(0x4F, aid))), "6A80"},
  };
  for (const Case& c : cases) EXPECT_EQ(send(*w.card, c.apdu), c.sw) << c.name;
  EXPECT_EQ(w.card->profiles().size(), 1U);
}

TEST(StatusWords, Certificate) {
  World w;
  w.create();
  const KeyPair other = make_key(CardCurve::p256);
  const CertParts good = cert_parts(w.dp, w.ski);
  const auto with = [&](const std::function<void(CertParts&)>& change) {
    CertParts p = good;
    change(p);
    return make_cert(p, w.ci);
  };
  Bytes off_curve = w.dp.q;
  off_curve[64] ^= 0x01;
  const auto key = [](ByteView point, const char* curve) {
    return tlv(0x7F49, concat(tlv(0xB0, point), tlv(0xF0, hex(curve))));
  };
  Bytes trailing = w.cert();
  trailing.push_back(0x00);
  Bytes flipped = w.cert();
  flipped.back() ^= 0x01;
  Bytes other_tag = w.cert();
  other_tag[1] = 0x22;
  struct Case {
    const char* name;
    Bytes cert;
    const char* sw;
  };
  const std::vector<Case> cases = {
      {"wrong outer tag", other_tag, "6A80"},
      {"bytes behind 7F21", trailing, "6A80"},
      {"signature", flipped, "6600"},
      {"signed by another", make_cert(good, other), "6600"},
      {"C9 of another CI", make_cert(cert_parts(w.dp, Bytes(20, 0x11)), w.ci), "6600"},
      {"C9 of 19 bytes",
       with([](auto& p) { p.discretionary = tlv(0x73, concat(hex("C80101"), tlv(0xC9, Bytes(19, 0x11)))); }), "6A80"},
      {"no C8", with([&](auto& p) { p.discretionary = tlv(0x73, tlv(0xC9, w.ski)); }), "6A80"},
      {"C8 of an SM-SR", with([&](auto& p) { p.discretionary = tlv(0x73, concat(hex("C80102"), tlv(0xC9, w.ski))); }),
       "6A80"},
      {"C8 twice", with([&](auto& p) { p.discretionary = tlv(0x73, hex("C80101C80101")); }), "6A80"},
      {"53 in place of 73", with([](auto& p) { p.discretionary = tlv(0x53, hex("C80101")); }), "6A80"},
      {"53 and 73", with([](auto& p) { p.discretionary = concat(tlv(0x53, hex("C80101")), p.discretionary); }), "6A80"},
      {"key usage of an ECASD", with([](auto& p) { p.usage = hex("95020080"); }), "6A80"},
      {"unknown usage", with([](auto& p) { p.usage = hex("950180"); }), "6A80"},
      {"no expiration", with([](auto& p) { p.expiry = {}; }), "6A80"},
      {"date not BCD", with([](auto& p) { p.expiry = hex("5F24042032022A"); }), "6A80"},
      {"30 February", with([](auto& p) { p.expiry = hex("5F240420320230"); }), "6A80"},
      {"no serial number", with([](auto& p) { p.serial = {}; }), "6A80"},
      {"serial number twice", with([](auto& p) { p.serial = concat(p.serial, p.serial); }), "6A80"},
      {"order", with([](auto& p) { std::swap(p.serial, p.issuer); }), "6A80"},
      {"unknown inner tag", with([](auto& p) { p.cin = hex("460101"); }), "6A80"},
      {"length not minimal", with([](auto& p) { p.serial = hex("93810401020304"); }), "6A80"},
      {"unknown curve", with([&](auto& p) { p.key = key(w.dp.q, "09"); }), "6A80"},
      {"other curve", with([&](auto& p) { p.key = key(make_key(CardCurve::brainpool_p256r1).q, "03"); }), "6A80"},
      {"compressed point",
       with([&](auto& p) { p.key = key(concat(hex("02"), ByteView(w.dp.q).subspan(1, 32)), "00"); }), "6A80"},
      {"infinity", with([&](auto& p) { p.key = key(hex("00"), "00"); }), "6A80"},
      {"point off the curve", with([&](auto& p) { p.key = key(off_curve, "00"); }), "6A80"},
      {"raw point", with([&](auto& p) { p.key = tlv(0x7F49, w.dp.q); }), "6A80"},
  };
  for (const Case& c : cases) {
    ASSERT_EQ(send(*w.card, perso_apdu(isdp_aid()), 0x11), "009000");
    EXPECT_EQ(send(*w.card, World::cert_apdu(c.cert), 0x02), c.sw) << c.name;
    // Any error clears INSTALL's target.
    EXPECT_EQ(send(*w.card, World::cert_apdu(w.cert()), 0x02), "6985") << c.name;
  }
  // Without effective date, with 82, with a CIN, without C9, long expired: all fine (the card has no clock).
  for (const Bytes& cert :
       {with([](auto& p) { p.effective = {}; }), with([](auto& p) { p.usage = hex("950182"); }),
        with([](auto& p) { p.cin = hex("450101"); }), with([](auto& p) { p.discretionary = tlv(0x73, hex("C80101")); }),
        with([](auto& p) { p.discretionary = tlv(0x73, hex("C80101DF2001AA")); }),
        with([](auto& p) { p.expiry = hex("5F240420010101"); })}) {
    ASSERT_EQ(send(*w.card, perso_apdu(isdp_aid()), 0x11), "009000");
    EXPECT_EQ(send(*w.card, World::cert_apdu(cert), 0x02).substr(0, 4), "8510");
  }
}

TEST(StatusWords, StoreDataOne) {
  World w;
  w.create();
  const Bytes cert_dgi = dgi(0x3A01, w.cert());
  struct Case {
    const char* name;
    Bytes apdu;
    const char* sw;
  };
  const std::vector<Case> cases = {
      {"last block at once", apdu({0x80, 0xE2, 0x89, 0x00}, cert_dgi), "6A86"},
      {"block number", apdu({0x80, 0xE2, 0x09, 0x01}, cert_dgi), "6A86"},
      {"other DGI", apdu({0x80, 0xE2, 0x09, 0x00}, dgi(0x3A00, w.cert())), "6A80"},
      {"BER length",
       apdu({0x80, 0xE2, 0x09, 0x00},
            concat(hex("3A0181"), Bytes{static_cast<std::uint8_t>(w.cert().size())}, w.cert())),
       "6A80"},
      {"truncated", apdu({0x80, 0xE2, 0x09, 0x00}, ByteView(cert_dgi).first(100)), "6A80"},
      {"bytes behind", apdu({0x80, 0xE2, 0x09, 0x00}, concat(cert_dgi, hex("00"))), "6A80"},
      {"DGI length not minimal", apdu({0x80, 0xE2, 0x09, 0x00}, hex("3A01FF0001AA")), "6A80"},
      {"empty", hex("80E2090000"), "6A80"},
  };
  for (const Case& c : cases) {
    ASSERT_EQ(send(*w.card, perso_apdu(isdp_aid()), 0x11), "009000");
    EXPECT_EQ(send(*w.card, c.apdu, 0x02), c.sw) << c.name;
    EXPECT_EQ(send(*w.card, World::cert_apdu(w.cert()), 0x02), "6985") << c.name;
  }
}

TEST(StatusWords, StoreDataTwo) {
  World w;
  w.create();
  const KeyPair e = make_key(CardCurve::p256);
  const KeyPair bp = make_key(CardCurve::brainpool_p256r1);
  const Bytes crt = World::default_crt();
  Bytes off_curve = e.q;
  off_curve[64] ^= 0x01;
  const auto b0f0 = [](ByteView q, const char* curve) { return concat(tlv(0xB0, q), tlv(0xF0, hex(curve))); };
  const auto crt_of = [](const char* inner) { return tlv(0xA6, hex(inner)); };
  using Make = std::function<Bytes(ByteView rc)>;
  const auto keyed = [&](const Bytes& c, const Bytes& key = {}) {
    return Make([&w, &e, c, key](ByteView rc) { return w.key_data(e, rc, c, key); });
  };
  const auto changed = [&](const std::function<Bytes(Bytes)>& f) {
    return Make([&w, &e, crt, f](ByteView rc) { return f(w.key_data(e, rc, crt)); });
  };
  struct Case {
    const char* name;
    Make make;
    const char* sw;
  };
  const std::size_t crt_dgi = 3 + crt.size();
  const std::vector<Case> cases = {
      {"signature", changed([](Bytes d) {
         d.back() ^= 1;
         return d;
       }),
       "6600"},
      {"CRT changed after signing", changed([](Bytes d) {
         d[8] = 0x09;
         return d;
       }),
       "6600"},
      {"key changed after signing", changed([&](Bytes d) {
         d[crt_dgi + 20] ^= 1;
         return d;
       }),
       "6600"},
      {"nonsense CRT, not signed: the signature comes first", changed([](Bytes d) {
         d[3] = 0x00;
         return d;
       }),
       "6600"},
      {"other RC", Make([&](ByteView) { return w.key_data(e, random_bytes(16), crt); }), "6600"},
      {"r zero", changed([](Bytes d) {
         std::fill(d.end() - 64, d.end() - 32, std::uint8_t{0});
         return d;
       }),
       "6600"},
      {"s above n", changed([](Bytes d) {
         std::fill(d.end() - 32, d.end(), std::uint8_t{0xFF});
         return d;
       }),
       "6600"},
      {"DER signature", changed([](Bytes d) {
         d.erase(d.end() - 67, d.end());
         append(d, dgi(0x5F37, Bytes(70, 0x30)));
         return d;
       }),
       "6A80"},
      {"no signature", changed([](Bytes d) {
         d.erase(d.end() - 67, d.end());
         return d;
       }),
       "6A80"},
      {"bytes behind", changed([](Bytes d) {
         d.push_back(0);
         return d;
       }),
       "6A80"},
      {"order", changed([&](Bytes d) {
         std::rotate(d.begin(), d.begin() + static_cast<std::ptrdiff_t>(crt_dgi), d.end());
         return d;
       }),
       "6A80"},
      {"point off the curve", keyed(crt, off_curve), "6A80"},
      {"point of another curve", keyed(crt, bp.q), "6A80"},
      {"B0/F0 naming another curve", keyed(crt, b0f0(e.q, "03")), "6A80"},
      {"compressed point", keyed(crt, concat(hex("02"), ByteView(e.q).subspan(1, 32))), "6A80"},
      {"CRT: not A6", keyed(tlv(0xA7, ByteView(crt).subspan(2))), "6A80"},
      {"CRT: scenario 2", keyed(crt_of("9002020B9501108001888101108201018301309100")), "6A80"},
      {"CRT: b4 clear", keyed(crt_of("900203039501108001888101108201018301309100")), "6A80"},
      {"CRT: b5 set", keyed(crt_of("9002031B9501108001888101108201018301309100")), "6A80"},
      {"CRT: usage", keyed(crt_of("9002030B9501118001888101108201018301309100")), "6A80"},
      {"CRT: key type DES", keyed(crt_of("9002030B9501108001808101108201018301309100")), "6A80"},
      {"CRT: key length 17", keyed(crt_of("9002030B9501108001888101118201018301309100")), "6A80"},
      {"CRT: key identifier 2", keyed(crt_of("9002030B9501108001888101108201028301309100")), "6A80"},
      {"CRT: key version 03", keyed(crt_of("9002030B9501108001888101108201018301039100")), "6A80"},
      {"CRT: counter of four bytes", keyed(crt_of("9002030B950110800188810110820101830130910400000001")), "6A80"},
      {"CRT: counter too large", keyed(crt_of("9002030B95011080018881011082010183013091050001000000")), "6A80"},
      {"CRT: order", keyed(crt_of("9501109002030B8001888101108201018301309100")), "6A80"},
      {"CRT: 91 missing", keyed(crt_of("9002030B950110800188810110820101830130")), "6A80"},
      {"CRT: 84 without b3", keyed(crt_of("9002030B95011080018881011082010183013091008401AA")), "6A80"},
      {"CRT: b3 without 45 and 84", keyed(crt_of("9002030F9501108001888101108201018301309100")), "6A80"},
      {"CRT: SDIN of another", keyed(crt_of("9002030F95011080018881011082010183013091004501AA8401BB")), "6A88"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Bytes rc = w.begin();
    ASSERT_EQ(rc.size(), 16U);
    EXPECT_EQ(send(*w.card, World::key_apdu(c.make(rc)), 0x02), c.sw);
    EXPECT_EQ(send(*w.card, World::key_apdu(w.key_data(e, rc, crt)), 0x03), "6985");  // RC is single use
    EXPECT_EQ(w.profile().state, IsdpState::selectable);
  }
  const Bytes rc = w.begin();
  EXPECT_EQ(send(*w.card, apdu({0x80, 0xE2, 0x89, 0x00}, w.key_data(e, rc, crt)), 0x03), "6A86");  // the count goes on
}

// All scenario bits, key lengths and both shapes of the key set; the host derives the same keys and a download works.
TEST(Establishment, Variants) {
  struct Case {
    std::uint8_t scenario;
    std::uint8_t usage;
    std::uint8_t length;
    bool b0f0;
    const char* counter;
    std::uint32_t first;
  };
  for (const Case& c : {Case{0x0B, 0x10, 16, false, "9100", 1}, Case{0x08, 0x10, 16, false, "9100", 1},
                        Case{0x09, 0x10, 24, true, "91020000", 1}, Case{0x0A, 0x10, 32, false, "9103000010", 0x11},
                        Case{0x0B, 0x5C, 16, true, "91050000000000", 1},
                        Case{0x0B, 0x5C, 32, false, "91080000000000000005", 6}, Case{0x0F, 0x10, 16, false, "9100", 1},
                        Case{0x0D, 0x10, 24, true, "9100", 1}, Case{0x0F, 0x5C, 24, false, "9100", 1}}) {
    SCOPED_TRACE(testing::Message() << int{c.scenario} << " " << int{c.usage} << " " << int{c.length});
    const Bytes sin = hex("0102030405");
    const Bytes sdin = hex("A1A2A3");
    const Bytes host_id = hex("5566778899");
    World w({}, CardCurve::p256, [&](EuiccIdentity& id) {
      id.sin = sin;
      id.sdin = sdin;
    });
    w.create();
    Bytes inner = concat(hex("900203"), Bytes{c.scenario},
                         Bytes{0x95, 0x01, c.usage, 0x96, 0x01, 0x00, 0x80, 0x01, 0x88, 0x81, 0x01, c.length},
                         hex("820101830130"), hex(c.counter));
    Bytes tail;
    if ((c.scenario & 4) != 0) {
      append(inner, concat(tlv(0x45, sdin), tlv(0x84, host_id)));
      tail = concat(lv(host_id), lv(sin), lv(sdin));
    }
    const Bytes crt = tlv(0xA6, inner);
    const Bytes rc = w.begin();
    const KeyPair e = make_key(CardCurve::p256);
    const Bytes key = c.b0f0 ? concat(tlv(0xB0, e.q), hex("F00100")) : Bytes();
    const std::string a = send(*w.card, World::key_apdu(w.key_data(e, rc, crt, key)), 0x03);
    const bool dr_used = (c.scenario & 2) != 0;
    ASSERT_EQ(a.size(), dr_used ? 76U : 40U) << a;
    const Bytes dr = dr_used ? hex(a.substr(4, 32)) : Bytes();
    const HostKeys k = w.derive(e, c.length, c.usage, dr, tail);
    const Block receipt = dr_used ? card::cmac(w.receipt_key, {crt, tlv(0x85, dr)}) : card::cmac(w.receipt_key, {crt});
    EXPECT_EQ(a.substr(a.size() - 36), to_hex(receipt) + "9000");
    Bytes response;
    w.download(k, package(), c.first, isdp_aid(), &response);
    EXPECT_EQ(to_hex(response), "3007A0053003800100");
  }
}

// A second establishment replaces the keys only with b1.
TEST(Establishment, ExistingKeys) {
  World w;
  w.create();
  const HostKeys old = w.establish();
  Bytes rc = w.begin();
  const KeyPair e = make_key(CardCurve::p256);
  EXPECT_EQ(
      send(*w.card, World::key_apdu(w.key_data(e, rc, hex("A6159002030A9501108001888101108201018301309100"))), 0x03),
      "6985");
  const HostKeys fresh = w.establish();
  EXPECT_NE(fresh.enc, old.enc);
  const std::string a = w.download(old, package(), 1);
  EXPECT_EQ(a.substr(a.size() - 8), "9F450102");
  Bytes response;
  w.download(fresh, package(), 2, isdp_aid(), &response);
  EXPECT_EQ(to_hex(response), "3007A0053003800100");
}

// Also after success, and in the same chain, RC is gone.
TEST(Establishment, RcIsSingleUseInsideAChain) {
  World w;
  w.create();
  const Bytes rc = w.begin();
  const Bytes a = World::key_apdu(w.key_data(make_key(CardCurve::p256), rc, World::default_crt()));
  EXPECT_EQ(send(*w.card, a, 0x02).size(), 76U);
  EXPECT_EQ(send(*w.card, a, 0x02), "6985");
}

// A certificate whose DGI is longer than a block: 255 bytes and the rest, the block count runs through both commands
// (docs/spec/crypto.md A2).
TEST(Establishment, CertificateInTwoBlocks) {
  World w;
  w.create();
  CertParts p = cert_parts(w.dp, w.ski);
  p.discretionary = tlv(0x73, concat(hex("C80101"), tlv(0xC9, w.ski), tlv(0xC0, Bytes(64, 0x42))));
  const Bytes d = dgi(0x3A01, make_cert(p, w.ci));
  ASSERT_GT(d.size(), 255U);
  ASSERT_EQ(send(*w.card, perso_apdu(isdp_aid()), 0x11), "009000");
  EXPECT_EQ(send(*w.card, apdu({0x80, 0xE2, 0x09, 0x00}, ByteView(d).first(255), false), 0x02), "9000");
  const std::string a = send(*w.card, apdu({0x80, 0xE2, 0x09, 0x01}, ByteView(d).subspan(255)), 0x02);
  ASSERT_EQ(a.size(), 40U) << a;
  const KeyPair e = make_key(CardCurve::p256);
  const Bytes k = w.key_data(e, hex(a.substr(4, 32)), World::default_crt());
  EXPECT_EQ(send(*w.card, apdu({0x80, 0xE2, 0x09, 0x02}, ByteView(k).first(100), false), 0x02), "9000");
  EXPECT_EQ(send(*w.card, apdu({0x80, 0xE2, 0x89, 0x03}, ByteView(k).subspan(100)), 0x03).size(), 76U);
}

// --- SCP03t
// ------------------------------------------------------------------------------------------------------------

class Scp03t : public ::testing::Test {
 protected:
  void SetUp() override {
    w.create();
    keys = w.establish();
  }
  std::string run(ByteView list) { return answers(w.card->process_script(script(list), isdp_aid())); }
  // 84 and 85 with right contents, for counter n.
  HostSession session(std::uint32_t n) {
    hc = random_bytes(8);
    return HostSession(keys, isdp_aid(), n, hc);
  }
  World w;
  HostKeys keys;
  Bytes hc;
};

TEST_F(Scp03t, Errors) {
  std::uint32_t n = 0;  // raised by every accepted 84
  EXPECT_EQ(run(hex("8409300001020304050607")), "9F440101");
  EXPECT_EQ(run(hex("840B30000102030405060708AA")), "9F440101");
  EXPECT_EQ(run(HostSession::init(Bytes(8), 0x31)), "9F440103");
  EXPECT_EQ(run(HostSession::init(Bytes(8), 0x30, 0x02)), "9F440103");
  EXPECT_EQ(run(HostSession::init(Bytes(8), 0x30, 0x01)).substr(62), "000001");  // the set's own KID is accepted
  ++n;
  EXPECT_EQ(run(hex("850133")), "9F450101");
  EXPECT_EQ(run(tlv(0x85, Bytes(17, 0x33))), "9F450102");  // no 84 in this script
  EXPECT_EQ(run(tlv(0x86, Bytes(24))), "9F460102");        // no session
  EXPECT_EQ(run(tlv(0x86, Bytes(23))), "9F460101");        // structure comes first
  EXPECT_EQ(run(tlv(0x86, Bytes(8))), "9F460101");
  EXPECT_EQ(run(hex("8700")), "9F460101");      // unknown tag
  EXPECT_EQ(run(hex("840A30")), "9F440101");    // truncated
  EXPECT_EQ(run(hex("85811133")), "9F450101");  // length not minimal
  EXPECT_EQ(run(hex("868180")), "9F460101");
  const auto broken = [&](const std::function<Bytes(HostSession&)>& rest) {
    HostSession s = session(++n);
    const Bytes tail = rest(s);
    return run(concat(HostSession::init(hc), tail)).substr(68);
  };
  EXPECT_EQ(broken([](auto& s) { return s.auth(0x11); }), "9F450102");
  EXPECT_EQ(broken([](auto& s) { return s.auth(0x33, true); }), "9F450102");  // cryptogram
  EXPECT_EQ(broken([](auto& s) {
              Bytes a = s.auth();
              a.back() ^= 1;
              return a;
            }),
            "9F450102");  // MAC
  EXPECT_EQ(broken([](auto& s) {
              s.auth();
              return s.segment(header_pe());
            }),
            "9F460102");  // 85 left out
  EXPECT_EQ(broken([](auto& s) {
              const Bytes a = s.auth();
              return concat(a, s.auth());
            }),
            "85009F450102");
  EXPECT_EQ(broken([](auto& s) {
              const Bytes a = s.auth();
              return concat(a, s.segment(Bytes(32, 0x11), false));
            }),
            "85009F460102");  // no 80
  EXPECT_EQ(broken([](auto& s) {
              const Bytes a = s.auth();
              return concat(a, s.segment(Bytes(16), false));
            }),
            "85009F460102");
  EXPECT_EQ(broken([](auto& s) {
              const Bytes a = s.auth();
              return concat(a, s.segment(Bytes()));
            }),
            "85009F460101");  // nothing in it
  EXPECT_EQ(broken([](auto& s) {
              const Bytes a = s.auth();
              return concat(a, s.segment(Bytes(1007, 0xA0)));
            }).substr(0, 8),
            "85008618");
  EXPECT_EQ(broken([](auto& s) {
              const Bytes a = s.auth();
              return concat(a, s.segment(Bytes(1008, 0xA0)));
            }),
            "85009F460101");  // over 1024
  EXPECT_EQ(broken([](auto& s) {
              const Bytes a = s.auth();
              const Bytes one = s.segment(header_pe());
              return concat(a, one, one);
            }),
            "850086009F460102");
  EXPECT_EQ(broken([](auto& s) {  // segments swapped
              const Bytes a = s.auth();
              const Bytes one = s.segment(ByteView(header_pe()).first(10));
              const Bytes two = s.segment(ByteView(header_pe()).subspan(10));
              return concat(a, two, one);
            }),
            "85009F460102");
  Bytes response;
  w.download(keys, package(), ++n, isdp_aid(), &response);
  EXPECT_EQ(to_hex(response), "3007A0053003800100");
}

// A session belongs to one ISD-P.
TEST_F(Scp03t, OtherIsdp) {
  w.create(isdp_aid(1));
  HostSession s = session(1);
  const Bytes auth = s.auth();
  EXPECT_EQ(answers(w.card->process_script(script(concat(HostSession::init(hc), auth), 0x11), isdp_aid())).substr(68),
            "8500");
  EXPECT_EQ(answers(w.card->process_script(script(s.segment(package()), 0x02), isdp_aid(1))), "9F460102");
}

TEST_F(Scp03t, ANewSessionStartsAgain) {
  HostSession one = session(1);
  const Bytes hc1 = hc;
  const Bytes first = in_order({HostSession::init(hc1), one.auth(), one.segment(ByteView(package()).first(50))});
  EXPECT_EQ(answers(w.card->process_script(script(first, 0x11), isdp_aid())).substr(68), "85008600");
  HostSession two = session(2);
  const Bytes second = in_order({HostSession::init(hc), two.auth(), two.segment(package())});
  const std::string a = answers(w.card->process_script(script(second, 0x03), isdp_aid()));
  EXPECT_EQ(to_hex(two.open(hex(a.substr(72)))), "3007A0053003800100");
  EXPECT_EQ(w.profile().bytes, package().size());
}

// --- Scripts
// -----------------------------------------------------------------------------------------------------------

TEST(Script, Targets) {
  World w;
  const ScriptResult r = w.card->process_script(script(cmd(hex("80E4004000"))), isdp_aid());
  EXPECT_EQ(r.script_status, "unknown-application");
  EXPECT_EQ(to_hex(r.body), "AF800000");
  EXPECT_EQ(w.card->process_script(script({}), hex("A0000000")).script_status, "unknown-application");
  w.create();
  EXPECT_EQ(answers(w.card->process_script(script(cmd(delete_apdu(isdp_aid()))), isdp_aid())),
            "23026985");  // in clear, to the ISD-P
  EXPECT_EQ(
      answers(w.card->process_script(script(cmd(delete_apdu(isdp_aid()))), hex("A0000005591010FFFFFFFF8900000200"))),
      "23026985");
  EXPECT_EQ(answers(w.card->process_script(script(hex("850133")), {})), "900101");
  EXPECT_EQ(
      answers(w.card->process_script(script(cmd(delete_apdu(isdp_aid()))), hex("A0000005591010FFFFFFFF8900000100"))),
      "2303009000");
}

TEST(Script, Malformed) {
  World w;
  w.create();
  for (const char* bad :
       {"", "AE", "AE80", "AE8000", "AE802200", "AD800000", "AE00", "AA", "AA01", "AA8100", "AA0122FF"}) {
    const ScriptResult r = w.card->process_script(hex(bad), {});
    EXPECT_EQ(to_hex(r.body), "AF809001020000") << bad;
    EXPECT_EQ(r.script_status, "script-format-error") << bad;
  }
  EXPECT_EQ(answers(w.card->process_script(hex("AE8022050000"), {})), "900102");
  EXPECT_EQ(answers(w.card->process_script(hex("AE80220000"), {})), "900103");
  EXPECT_EQ(answers(w.card->process_script(hex("AE8022820000"), {})), "900103");
  // What stands before the malformed TLV is done.
  EXPECT_EQ(answers(w.card->process_script(script(concat(cmd(delete_apdu(isdp_aid())), hex("22810180"))), {})),
            "2303009000900102");
  EXPECT_TRUE(w.card->profiles().empty());
  EXPECT_EQ(answers(w.card->process_script(script({}), {})), "");
}

TEST(Script, StopsAtTheFirstFailure) {
  World w;
  const Bytes list =
      concat(cmd(install_apdu(isdp_aid(0))), cmd(delete_apdu(isdp_aid(1))), cmd(install_apdu(isdp_aid(2))));
  EXPECT_EQ(answers(w.card->process_script(script(list), {})), "230300900023026A88");
  EXPECT_EQ(w.card->profiles().size(), 1U);
}

TEST(Script, ActionTlvsAreIgnored) {
  World w;
  EXPECT_EQ(
      answers(w.card->process_script(script(concat(hex("810100"), cmd(install_apdu(isdp_aid())), hex("820101"))), {})),
      "2303009000");
}

// RC lives from one script to the next only inside a chain.
TEST(Script, Chaining) {
  struct Case {
    int first;
    int second;
    bool kept;
  };
  for (const Case& c :
       {Case{0x11, 0x03, true}, Case{0x01, 0x03, true}, Case{0x11, 0x02, true}, Case{-1, 0x03, false},
        Case{0x11, -1, false}, Case{0x03, 0x03, false}, Case{0x11, 0x11, false}, Case{0x02, 0x03, true}}) {
    SCOPED_TRACE(testing::Message() << c.first << " " << c.second);
    World w;
    w.create();
    const std::string a = answers(w.card->process_script(
        script(concat(cmd(perso_apdu(isdp_aid())), cmd(World::cert_apdu(w.cert()))), c.first), {}));
    ASSERT_EQ(a.size(), 54U);
    const Bytes data = w.key_data(make_key(CardCurve::p256), hex(a.substr(18, 32)), World::default_crt());
    EXPECT_EQ(send(*w.card, World::key_apdu(data), c.second).size() == 76, c.kept);
  }
  World w;
  w.create();
  for (const char* bad : {"8300", "83020111", "830104"})
    EXPECT_EQ(answers(w.card->process_script(script(concat(hex(bad), cmd(delete_apdu(isdp_aid())))), {})), "900102")
        << bad;
  EXPECT_EQ(answers(w.card->process_script(script(concat(cmd(enable_apdu(isdp_aid(1))), hex("830111"))), {})),
            "23026A88");
  EXPECT_EQ(w.card->profiles().size(), 1U);
}

// Enabling resets the card: a 01 chain loses its context, an 11 chain keeps it.
TEST(Script, ChainAcrossAReset) {
  for (const int kind : {0x01, 0x11}) {
    World w;
    w.install(isdp_aid(0), package());
    w.create(isdp_aid(1));
    const std::string a = answers(w.card->process_script(
        script(concat(cmd(perso_apdu(isdp_aid(1))), cmd(World::cert_apdu(w.cert())), cmd(enable_apdu(isdp_aid(0)))),
               kind),
        {}));
    ASSERT_EQ(a.substr(a.size() - 8), "23029000");
    const Bytes data = w.key_data(make_key(CardCurve::p256), hex(a.substr(18, 32)), World::default_crt());
    const std::string second = send(*w.card, World::key_apdu(data), 0x03);
    if (kind == 0x01) {
      EXPECT_EQ(second, "6985");
    } else {
      EXPECT_EQ(second.size(), 76U);
    }
  }
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Thousands of cards in one process: an idle card with an installed profile stays under 1 KiB beside its identity.
TEST(Scale, StatePerCard) {
  constexpr std::size_t n = 300;
  World once;  // one-time set-up of the library is not a card's
  once.install(isdp_aid(), package());
  // A card as made, its identity moved in: only the fixed part of the identity is counted with it.
  std::vector<EuiccIdentity> ids(n, once.card->identity());
  std::vector<std::unique_ptr<Euicc>> bare(n);
  std::size_t before = mallinfo2().uordblks;
  for (std::size_t i = 0; i < n; ++i) bare[i] = std::make_unique<Euicc>(std::move(ids[i]));
  const std::size_t made = (mallinfo2().uordblks - before) / n;
  ASSERT_GT(made, sizeof(EuiccIdentity));
  // What a key set and an installed profile add.
  std::vector<std::unique_ptr<World>> worlds;
  for (std::size_t i = 0; i < n; ++i) {
    worlds.push_back(std::make_unique<World>());
    worlds.back()->drawn.reserve(64);
  }
  before = mallinfo2().uordblks;
  for (auto& w : worlds) w->install(isdp_aid(), package());
  const std::size_t installed = (mallinfo2().uordblks - before) / n;
  EXPECT_LT(made - sizeof(EuiccIdentity) + installed, 1024U);
  RecordProperty("bytes_made", static_cast<int>(made));
  RecordProperty("bytes_installed", static_cast<int>(installed));
}
#endif

}  // namespace
}  // namespace kf::sim::test
