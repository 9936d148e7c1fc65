// The pieces of the simulator by themselves: scripts and chaining, trigger, EIS signature, certificates, faults, radio.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "host/base/tlv.hpp"
#include "host/crypto/ec.hpp"
#include "host/pki/chain.hpp"
#include "tests/sim/smsr/smdp_stub.hpp"

namespace kf::sim::test {
namespace {

const std::string kShared = std::string(KF_SOURCE_DIR) + "/../shared/reference/samples/";
bool have_samples() { return std::filesystem::exists(kShared + "60-ES5-http-session.txt"); }

TEST(Script, Es5CommandsAsInTheReference) {
  const Bytes aid = hex("A0000005591010FFFFFFFF8900001300");
  EXPECT_EQ(to_hex(create_isdp_apdu(aid, 65536)),
            "80E60C004710A0000005591010FFFFFFFF8900000D0010A0000005591010FFFFFFFF8900000E0010A0000005591010FFFFFFFF8900"
            "00130003"
            "80C0000EC90481020370EF068304000100000000");
  EXPECT_EQ(to_hex(create_isdp_apdu(aid, 0)).substr(0, 10), "80E60C003F");
  EXPECT_EQ(to_hex(enable_apdu(aid)), "80E28800153A03124F10A0000005591010FFFFFFFF8900001300");
  EXPECT_EQ(to_hex(disable_apdu(aid)), "80E28800153A04124F10A0000005591010FFFFFFFF8900001300");
  EXPECT_EQ(to_hex(delete_apdu(aid)), "80E40040124F10A0000005591010FFFFFFFF890000130000");
  EXPECT_EQ(to_hex(confirm_notification_apdu(0x0102)), "80E28900073A08044E02010200");
  EXPECT_EQ(isdp_aid_for(0x13), "A0000005591010FFFFFFFF8900001300");
}

// The bodies of sample 60 come out when the Data of the SendData samples goes in.
TEST(Script, TemplatesAndChainingAsInSample60) {
  if (!have_samples()) GTEST_SKIP() << "no ../shared here";
  std::vector<std::string> to_card;
  std::vector<std::string> from_card;
  std::ifstream in(kShared + "60-ES5-http-session.txt");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("< AE80")) to_card.push_back(line.substr(2));
    if (line.starts_with("> AF80")) from_card.push_back(line.substr(2));
  }
  ASSERT_EQ(to_card.size(), 5u);
  ASSERT_EQ(from_card.size(), 5u);
  EXPECT_EQ(to_hex(script_template(as_command(create_isdp_apdu(hex(isdp_aid_for(0x13)), 65536)), Chain::none)),
            to_card[0]);
  const char* samples[] = {"08-ES3-SendData-request-cert.xml", "10-ES3-SendData-request-ephemeral-key.xml",
                           "12-ES3-SendData-request-scp03t-first.xml", "14-ES3-SendData-request-scp03t-last.xml"};
  const char* answers[] = {"09-ES3-SendData-response-RC.xml", "11-ES3-SendData-response-receipt.xml",
                           "13-ES3-SendData-response-scp03t-first.xml", "15-ES3-SendData-response-scp03t-last.xml"};
  bool open = false;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto m = es::parse_message(slurp(kShared + samples[i]), {});
    ASSERT_TRUE(std::holds_alternative<es::Message>(m)) << samples[i];
    const auto& q = std::get<es::Request>(std::get<es::Message>(m).body);
    const auto kind = look_at(q.data);
    ASSERT_TRUE(kind.ok()) << kind.error().text();
    const Chain c = chain_for(*kind, open, q.more_to_do.value_or(false));
    open = c == Chain::first || c == Chain::subsequent;
    EXPECT_EQ(to_hex(script_template(q.data, c)), to_card[i + 1]) << samples[i];

    const auto a = read_answer(hex(from_card[i + 1]));
    ASSERT_TRUE(a.ok());
    const auto r = es::parse_message(slurp(kShared + answers[i]), {});
    EXPECT_EQ(a->relay, *std::get<es::Response>(std::get<es::Message>(r).body).euicc_response_data) << answers[i];
  }
}

TEST(Script, LooksAtDataAndRefusesMixtures) {
  EXPECT_EQ(look_at(hex("")).error().reason, "truncated");
  EXPECT_EQ(look_at(hex("2205")).error().reason, "truncated");
  EXPECT_EQ(look_at(hex("220580E6200000"
                        "8400"))
                .error()
                .reason,
            "mixed-data");
  EXPECT_EQ(look_at(hex("9900")).error().reason, "mixed-data");
  EXPECT_EQ(look_at(hex("220180")).error().reason, "truncated");
  const auto whole =
      look_at(hex("8400"
                  "8500"
                  "8610"
                  "00112233445566778899AABBCCDDEEFF"));
  ASSERT_TRUE(whole.ok());
  EXPECT_TRUE(whole->scp03t && whole->starts_session && !whole->ends_mid_profile);
  EXPECT_EQ(chain_for(*whole, false, true), Chain::none) << "a whole script needs no chain";
  const auto start = look_at(hex("84008500"));
  EXPECT_EQ(chain_for(*start, false, true), Chain::first);
  EXPECT_EQ(chain_for(*start, true, true), Chain::first) << "84 begins anew";
  EXPECT_EQ(chain_for(*start, false, false), Chain::none);
}

TEST(Script, ReadsAnswersLeniently) {
  EXPECT_EQ(to_hex(read_answer(hex("AB09"
                                   "800101"
                                   "23029000"
                                   "8300"))
                       ->relay),
            "23029000");
  EXPECT_EQ(to_hex(read_answer(hex("AF80"
                                   "800101"
                                   "2302"
                                   "6A80"
                                   "0000"))
                       ->relay),
            "23026A80");
  EXPECT_EQ(read_answer(hex("AF80230269850000"))->first_bad_sw(), 0x6985u);
  EXPECT_EQ(read_answer(hex("AF802301FF0000"))->first_bad_sw(), 0x6F00u);
  EXPECT_TRUE(read_answer(hex("AF8085009F4601020000"))->scp03t_error());
  EXPECT_EQ(read_answer(hex("AF809001010000")).error().reason, "bad-format");
  EXPECT_EQ(read_answer(hex("AF80230290")).error().reason, "truncated");
  EXPECT_EQ(read_answer(hex("23029000")).error().reason, "bad-format");
  EXPECT_FALSE(read_answer({}).ok());
}

TEST(Script, CardNotification) {
  const auto n =
      read_notification(hex("E12B"
                            "4C1089001012012341234098765432100191"
                            "4D0102"
                            "4E020007"
                            "2F10A0000005591010FFFFFFFF8900001300"));
  ASSERT_TRUE(n.ok()) << n.error().text();
  EXPECT_EQ(n->eid, "89001012012341234098765432100191");
  EXPECT_EQ(n->type, 2);
  EXPECT_EQ(n->sequence, 7);
  EXPECT_EQ(n->isdp_aid, "A0000005591010FFFFFFFF8900001300");
  EXPECT_EQ(read_notification(hex("E1034D0102")).error().reason, "bad-notification");
  EXPECT_EQ(deleted_profiles(hex("80124F10A0000005591010FFFFFFFF8900001300")),
            std::vector<std::string>{"A0000005591010FFFFFFFF8900001300"});
}

TEST(TriggerParameters, ComeBackAsSent) {
  Trigger t;
  t.address = "10.1.2.3";
  t.port = 40327;
  t.psk_identity = psk_identity_of("89001012012341234098765432100191");
  t.host = "smsr.example";
  t.agent_id = "aid/A000000559/1010FFFFFFFF8900000100";
  t.uri = "/server/adminagent?cmd=1";
  const Bytes sms = encode_trigger(t);
  EXPECT_EQ(sms[0], 0x81);
  const auto back = decode_trigger(sms);
  ASSERT_TRUE(back.ok()) << back.error().text();
  EXPECT_EQ(back->address, t.address);
  EXPECT_EQ(back->port, t.port);
  EXPECT_EQ(back->psk_identity, t.psk_identity);
  EXPECT_EQ(back->host, t.host);
  EXPECT_EQ(back->uri, t.uri);
  EXPECT_EQ(back->key_version, 0x40);
  for (std::size_t n = 0; n < sms.size(); ++n) EXPECT_FALSE(decode_trigger(ByteView(sms).first(n)).ok()) << n;
  // Sample 60.
  EXPECT_EQ(t.psk_identity,
            "8001028110890010120123412340987654321001914F10A0000005591010FFFFFFFF8900000100820101830140");
  EXPECT_EQ(*eid_of_psk_identity(t.psk_identity), "89001012012341234098765432100191");
  EXPECT_FALSE(eid_of_psk_identity("8001028110").ok());
}

TEST(Fleet, EidsAreValidAndDistinct) {
  std::set<std::string> seen;
  for (std::uint64_t n = 0; n < 2000; ++n) {
    EXPECT_TRUE(parse_eid(fleet_eid(n)).ok());
    seen.insert(fleet_eid(n));
  }
  EXPECT_EQ(seen.size(), 2000u);
}

TEST(Eum, CanonicalFormHasTheDigestOfSample03) {
  if (!have_samples()) GTEST_SKIP() << "no ../shared here";
  const auto m = es::parse_message(slurp(kShared + "03-ES3-GetEIS-response.xml"), {});
  const auto& r = std::get<es::Response>(std::get<es::Message>(m).body);
  const std::string c = canonical_eum_signed_info(*r.eis, es::kNs3, 8);
  EXPECT_EQ(to_hex(sha256(view(c))), "9F4D588D4D699DF9C641DB4DCA034C39D3088E79012779885DB5043A4E26B541") << c;
}

std::string between(const std::string& s, const std::string& from, const std::string& to) {
  const auto a = s.find(from), b = s.find(to);
  return a == std::string::npos || b == std::string::npos ? "" : s.substr(a, b + to.size() - a);
}

// Checked on what really goes over the wire, with the product's verification and the received bytes.
TEST(Eum, SignatureOnTheWireVerifies) {
  for (const char* fault : {"", "bad-eum-signature"}) {
    World w(*fault == '\0' ? std::vector<std::string>{} : std::vector<std::string>{fault}, 1);
    const auto a = w.get_eis(fleet_eid(0));
    ASSERT_EQ(a.code(), "ok");
    std::string info = between(a.body, "<rps:EumSignedInfo>", "</rps:EumSignedInfo>");
    ASSERT_FALSE(info.empty());
    info.insert(std::string("<rps:EumSignedInfo").size(), " xmlns:rps=\"" + std::string(es::kNs3) + "\"");
    EXPECT_EQ(info, canonical_eum_signed_info(*a.response->eis, es::kNs3)) << "the codec writes the canonical form";
    const std::string signed_info = between(a.body, "<ds:SignedInfo", "</ds:SignedInfo>");
    const std::string digest = "<ds:DigestValue>" + to_base64(sha256(view(info))) + "</ds:DigestValue>";
    EXPECT_EQ(signed_info.find(digest) != std::string::npos, *fault == '\0');
    std::string value = between(a.body, "<ds:SignatureValue", "</ds:SignatureValue>");
    value = value.substr(value.find('>') + 1);
    const auto sig = from_base64(value.substr(0, value.find('<')));
    ASSERT_TRUE(sig.ok());
    ASSERT_TRUE(a.response->eis->eum_certificate);
    const auto eum = parse_x509(*a.response->eis->eum_certificate);
    ASSERT_TRUE(eum.ok());
    EXPECT_TRUE(ecdsa_verify(eum->curve, eum->q, sha256(view(signed_info)), *sig));
  }
}

TEST(Eum, CertificatesAreWhatTheirNamesSay) {
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1}) {
    ASSERT_TRUE(ensure_test_pki(pki_dir(), curve, default_parties()).ok());
    auto eum = Eum::load(pki_dir(), curve);
    ASSERT_TRUE(eum.ok()) << eum.error().text();
    const auto made = eum->make(fleet_eid(7), 7, 1000, "2.999.30");
    const auto pair = public_of(curve, made.sk_ecasd);
    ASSERT_TRUE(pair.ok());
    EXPECT_EQ(*pair, made.record.pk_ecasd);
    const std::string name(curve_name(curve));
    const auto ci = parse_x509(view(slurp(pki_dir() + "/ci-" + name + ".pem")));
    const auto x = parse_x509(view(slurp(pki_dir() + "/eum-" + name + ".pem")));
    ASSERT_TRUE(ci.ok() && x.ok());
    const std::vector<X509Info> roots{*ci};
    const Eid eid = *parse_eid(fleet_eid(7));
    const auto verdict = [&](EcasdVariant v) {
      const auto r = verify_ecasd_chain(eum->certificate(made.record, v), *x, roots, today_utc(), eid);
      return r.ok() ? std::string("ok") : r.error().reason;
    };
    EXPECT_EQ(verdict(EcasdVariant::good), "ok");
    EXPECT_EQ(verdict(EcasdVariant::expired), "expired");
    EXPECT_EQ(verdict(EcasdVariant::badly_signed), "bad-signature");
    EXPECT_EQ(verdict(EcasdVariant::off_curve), "bad-point");
    EXPECT_EQ(verdict(EcasdVariant::infinite), "bad-point");
    EXPECT_EQ(verdict(EcasdVariant::truncated), "truncated");
    EXPECT_EQ(verdict(EcasdVariant::nonminimal), "bad-length");
    EXPECT_EQ(verdict(EcasdVariant::other_eid), "wrong-subject");
  }
}

TEST(Eum, FaultsReachTheEis) {
  World w({}, 1);
  const Bytes good = w.get_eis(fleet_eid(0)).response->eis->ecasd.keysets[0].certificates[0];
  for (const char* f : {"expired-ecasd", "badly-signed-ecasd", "off-curve-ecasd", "infinite-ecasd", "truncated-ecasd",
                        "nonminimal-ecasd", "other-eid-ecasd"}) {
    w.sim->clear_faults();
    ASSERT_TRUE(w.sim->add_fault(f).ok());
    const auto a = w.get_eis(fleet_eid(0));
    ASSERT_EQ(a.code(), "ok") << f;
    EXPECT_NE(a.response->eis->ecasd.keysets[0].certificates[0], good) << f;
  }
  w.sim->clear_faults();
  ASSERT_TRUE(w.sim->add_fault("wrong-eis-eid").ok());
  EXPECT_NE(w.get_eis(fleet_eid(0)).response->eis->eid, fleet_eid(0));
  w.sim->clear_faults();
  ASSERT_TRUE(w.sim->add_fault("memory-full=eis").ok());
  EXPECT_EQ(w.get_eis(fleet_eid(0)).response->eis->remaining_memory, 0u);
  w.sim->clear_faults();
  EXPECT_EQ(w.get_eis(fleet_eid(0)).response->eis->ecasd.keysets[0].certificates[0], good);
}

TEST(Faults, SpecsSelectorsAndCounts) {
  FaultPlan p;
  ASSERT_TRUE(p.add("wrong-receipt:every-3").ok());
  ASSERT_TRUE(p.add("http-500=SendData@2:91").ok());
  ASSERT_TRUE(p.add("pe-rejected=6").ok());
  EXPECT_TRUE(p.find("wrong-receipt", {"1", 0}));
  EXPECT_FALSE(p.find("wrong-receipt", {"1", 1}));
  EXPECT_TRUE(p.find("wrong-receipt", {"1", 3}));
  const CardId id{"89001012012341234098765432100191", 1};
  EXPECT_FALSE(p.fire("http-500", id, "GetEIS"));
  EXPECT_TRUE(p.fire("http-500", id, "SendData"));
  EXPECT_TRUE(p.fire("http-500", id, "SendData"));
  EXPECT_FALSE(p.fire("http-500", id, "SendData"));
  EXPECT_FALSE(p.fire("http-500", {"89001012012341234098765432100192", 2}, "SendData"));
  EXPECT_EQ(fault_number(*p.find("pe-rejected", id), 3), 6u);
  EXPECT_EQ(p.list(), (std::vector<std::string>{"wrong-receipt:every-3", "http-500=SendData@2:91", "pe-rejected=6"}));
  for (const char* bad :
       {"", "no-such", "wrong-receipt=1", "wrong-receipt:every-0", "wrong-receipt:xyz", "http-500@0", "http-500@x"})
    EXPECT_EQ(p.add(bad).error().reason, "bad-fault") << bad;
}

TEST(SimulatedRadio, Distributions) {
  std::mt19937_64 rng(1);
  EXPECT_EQ(Radio::parse("none")->sample(rng).count(), 0);
  EXPECT_EQ(Radio::parse("constant:2.5")->sample(rng).count(), 2500);
  const auto u = *Radio::parse("uniform:20:80");
  std::vector<std::int64_t> l;
  const auto log = *Radio::parse("lognormal:60:0.5");
  for (int i = 0; i < 2001; ++i) {
    const auto v = u.sample(rng).count();
    EXPECT_TRUE(v >= 20'000 && v <= 80'000);
    l.push_back(log.sample(rng).count());
  }
  std::sort(l.begin(), l.end());
  EXPECT_NEAR(static_cast<double>(l[1000]), 60'000, 4'000) << "the median is the parameter";
  for (const char* bad :
       {"", "x", "constant", "constant:-1", "constant:1:2", "uniform:9:3", "lognormal:0:1", "constant:1e9"})
    EXPECT_EQ(Radio::parse(bad).error().reason, "bad-radio") << bad;
}

}  // namespace
}  // namespace kf::sim::test
