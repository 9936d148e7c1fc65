// The card's side of every published vector file. Skips with a message where they are absent.
#include <nlohmann/json.hpp>

#include "tests/sim/card/test_host.hpp"

namespace kf::sim::test {
namespace {

using nlohmann::json;

Bytes b(const json& j) { return j.is_null() ? Bytes() : hex(j.get<std::string>()); }
std::uint8_t b1(const json& j) { return b(j).at(0); }
std::optional<CardCurve> curve_of(const json& j) {
  const auto s = j.get<std::string>();
  if (s == "P-256") return CardCurve::p256;
  if (s == "brainpoolP256r1") return CardCurve::brainpool_p256r1;
  return std::nullopt;  // FRP256v1: no card of this project has it
}

class Vectors : public ::testing::Test {
 protected:
  // False: the file is absent and the test is to be skipped.
  bool load(const std::string& group) {
    const auto text = read_file(shared_path("reference/vectors/" + group + ".json"));
    if (!text) return false;
    doc = json::parse(*text);
    return true;
  }
  json doc;
};
#define KF_VECTORS(group) \
  if (!load(group)) GTEST_SKIP() << "../shared/reference/vectors/" group ".json is absent"

TEST_F(Vectors, Encoding) {
  KF_VECTORS("encoding");
  for (const auto& c : doc["cases"]) {
    SCOPED_TRACE(c["id"]);
    const Bytes v = b(c["in"]["value"]);
    EXPECT_EQ(tlv(0x86, v), b(c["out"]["ber_86"]));
    ByteView got;
    const Bytes ber = b(c["out"]["ber_7F21"]);
    ASSERT_TRUE(card::single_tlv(ber, 0x7F21, got));
    EXPECT_EQ(to_bytes(got), v);
    const Bytes d = b(c["out"]["dgi_3A01"]);
    ByteView in = d;
    card::DgiItem item;
    ASSERT_EQ(card::read_dgi(in, item), card::DgiRead::ok);
    EXPECT_EQ(item.id, 0x3A01U);
    EXPECT_EQ(to_bytes(item.value), v);
    EXPECT_TRUE(in.empty());
  }
}

TEST_F(Vectors, X963) {
  KF_VECTORS("x963-kdf");
  for (const auto& c : doc["cases"]) {
    SCOPED_TRACE(c["id"]);
    const SecretBytes k = card::x963(b(c["in"]["z"]), b(c["in"]["shared_info"]), c["in"]["length"].get<std::size_t>());
    EXPECT_EQ(to_bytes(k.expose()), b(c["out"]["key_data"]));
  }
}

TEST_F(Vectors, Ecka) {
  KF_VECTORS("ecka");
  unsigned run = 0;
  for (const auto& c : doc["cases"]) {
    const auto curve = curve_of(c["in"]["curve"]);
    if (!curve) continue;
    SCOPED_TRACE(c["id"]);
    const auto z = card::ecka(*curve, b(c["in"]["d"]), b(c["in"]["q"]));
    ASSERT_EQ(z.has_value(), c["valid"].get<bool>());
    EXPECT_EQ(card::point_ok(*curve, b(c["in"]["q"])), c["valid"].get<bool>());
    if (z) {
      EXPECT_EQ(to_bytes(z->expose()), b(c["out"]["z"]));
    }
    ++run;
  }
  EXPECT_GE(run, 8U);
}

TEST_F(Vectors, Ecdsa) {
  KF_VECTORS("ecdsa");
  unsigned run = 0;
  for (const auto& c : doc["cases"]) {
    const auto curve = curve_of(c["in"]["curve"]);
    if (!curve) continue;
    SCOPED_TRACE(c["id"]);
    EXPECT_EQ(card::ecdsa_verify(*curve, b(c["in"]["q"]), {b(c["in"]["message"])}, b(c["in"]["signature"])),
              c["valid"].get<bool>());
    ++run;
  }
  EXPECT_GE(run, 8U);
}

// A CRT with the fields of a key-derivation case.
Bytes crt_bytes(const json& in) {
  Bytes v =
      concat(hex("900203"), b(in["scenario_param"]), hex("9501"), b(in["key_usage_qualifier"]), hex("800188"),
             Bytes{0x81, 0x01, static_cast<std::uint8_t>(in["key_length"].get<unsigned>())}, hex("8201018301309100"));
  if ((b1(in["scenario_param"]) & 0x04) != 0) {
    append(v, tlv(0x45, b(in["sdin"])));
    append(v, tlv(0x84, b(in["host_id"])));
  }
  return tlv(0xA6, v);
}

TEST_F(Vectors, KeyDerivation) {
  KF_VECTORS("key-derivation");
  for (const auto& c : doc["cases"]) {
    SCOPED_TRACE(c["id"]);
    const auto& in = c["in"];
    EuiccIdentity id;
    id.sin = b(in["sin"]);
    id.sdin = b(in["sdin"]);
    card::Crt crt;
    const Bytes raw = crt_bytes(in);
    ASSERT_EQ(card::parse_crt(raw, id, crt), card::kOk);
    const Bytes si = card::shared_info(crt, id, b(in["dr"]));
    EXPECT_EQ(si, b(c["out"]["shared_info"]));
    const card::Derived d = card::derive(crt, b(in["z"]), si);
    EXPECT_EQ(to_bytes(d.receipt_key.expose()), b(c["out"]["receipt_key"]));
    const auto& keys = c["out"]["keys"];
    EXPECT_EQ(to_bytes(d.keys.enc.expose()), b(keys[0]));
    EXPECT_EQ(to_bytes(d.keys.mac.expose()), b(keys[keys.size() == 1 ? 0 : 1]));
    EXPECT_EQ(to_bytes(d.keys.dek.expose()), b(keys[keys.size() == 1 ? 0 : 2]));
    EXPECT_EQ(d.keys.counter, 0U);
  }
}

TEST_F(Vectors, Receipt) {
  KF_VECTORS("receipt");
  for (const auto& c : doc["cases"]) {
    SCOPED_TRACE(c["id"]);
    card::Crt crt;
    const Bytes raw = b(c["in"]["crt"]);
    crt.whole = raw;
    EXPECT_EQ(to_bytes(card::make_receipt(b(c["in"]["receipt_key"]), crt, b(c["in"]["dr"]))), b(c["out"]["receipt"]));
  }
}

// A card as a store-data case describes it; draws RC, then DR.
Euicc card_of(const json& in) {
  EuiccIdentity id;
  id.eid = "89001012012341234012345678901224";
  id.curve = curve_of(in["curve"]).value();
  id.sk_ecasd = b(in["sk_ecasd"]);
  id.pk_ci = b(in["pk_ci"]);
  id.ci_ski = b(in["ci_ski"]);
  if (!in["host_id"].is_null()) {
    id.sin = b(in["sin"]);
    id.sdin = b(in["sdin"]);
  }
  id.rc_length = static_cast<unsigned>(b(in["rc"]).size());
  auto queue = std::make_shared<std::deque<Bytes>>();
  queue->push_back(b(in["rc"]));
  if (!in["dr"].is_null()) queue->push_back(b(in["dr"]));
  return Euicc(std::move(id), {}, [queue](std::span<std::uint8_t> out) {
    ASSERT_FALSE(queue->empty());
    ASSERT_EQ(queue->front().size(), out.size());
    std::copy(queue->front().begin(), queue->front().end(), out.begin());
    queue->pop_front();
  });
}

TEST_F(Vectors, StoreData) {
  KF_VECTORS("store-data");
  for (const auto& c : doc["cases"]) {
    SCOPED_TRACE(c["id"]);
    Euicc e = card_of(c["in"]);
    const Bytes aid = b(c["in"]["isdp_aid"]);
    ASSERT_EQ(send(e, install_apdu(aid)), "009000");
    const auto expected = [](const json& list) {
      Bytes out;
      for (const auto& r : list) append(out, tlv(0x23, b(r)));
      return to_hex(out);
    };
    const auto commands = [](const json& list) {
      Bytes out;
      for (const auto& a : list) append(out, cmd(b(a)));
      return out;
    };
    if (c["out"].contains("data_script1")) {
      EXPECT_EQ(commands(c["out"]["script1"]), b(c["out"]["data_script1"]));
    }
    EXPECT_EQ(answers(e.process_script(script(commands(c["out"]["script1"]), 0x11), {})),
              expected(c["out"]["responses1"]));
    const std::string second = answers(e.process_script(script(commands(c["out"]["script2"]), 0x03), {}));
    if (c["valid"].get<bool>()) {
      EXPECT_EQ(second, expected(c["out"]["responses2"]));
    } else {  // bad-receipt: what the card says is right, the vector's answer was spoilt on the way
      ASSERT_EQ(c["reason"], "bad-receipt");
      const std::string spoilt = expected(c["out"]["responses2"]);
      ASSERT_EQ(second.size(), spoilt.size());
      EXPECT_EQ(second.substr(0, 44), spoilt.substr(0, 44));  // up to the receipt
      EXPECT_NE(second, spoilt);
    }
    EXPECT_EQ(e.profiles().at(0).state, IsdpState::personalized);
    // The keys are the vector's: an SCP03t session with them opens.
    HostKeys k;
    if (c["valid"].get<bool>()) {
      const auto& keys = c["out"]["keys"];
      k = {b(keys[0]), b(keys[keys.size() == 1 ? 0 : 1]), 0x30};
    } else {
      const auto z = card::ecka(curve_of(c["in"]["curve"]).value(), b(c["in"]["esk_dp"]), b(c["in"]["pk_ecasd"]));
      const SecretBytes d = card::x963(z.value().expose(), concat(hex("108810"), b(c["in"]["dr"])), 64);
      k = {to_bytes(d.expose().subspan(16, 16)), to_bytes(d.expose().subspan(32, 16)), 0x30};
      EXPECT_EQ(second.substr(44, 32),
                to_hex(card::cmac(d.expose().first(16), {b(c["out"]["crt"]), tlv(0x85, b(c["in"]["dr"]))})));
    }
    const Bytes hc = random_bytes(8);
    HostSession s(k, aid, 1, hc);
    const std::string a = answers(e.process_script(script(concat(HostSession::init(hc), s.auth())), aid));
    EXPECT_EQ(a.substr(a.size() - 4), "8500");
  }
}

card::KeySet key_set(const json& in) {
  card::KeySet k;
  k.enc = SecretBytes(b(in["key_enc"]));
  k.mac = SecretBytes(b(in["key_mac"]));
  k.kvn = b1(in["kvn"]);
  k.kid = 0x01;
  k.counter = in["counter_before"].get<std::uint32_t>();
  return k;
}
card::Scp03tCard::Diversification diversification(const json& in) {
  card::Scp03tCard::Diversification d{};
  const Bytes v = b(in["key_diversification_data"]);
  std::copy(v.begin(), v.end(), d.begin());
  return d;
}
Bytes value_of(const Bytes& whole) {
  card::TlvWalker w(whole);
  card::TlvItem t;
  EXPECT_TRUE(w.next(t));
  return to_bytes(t.value);
}

TEST_F(Vectors, Scp03t) {
  KF_VECTORS("scp03t");
  for (const auto& c : doc["cases"]) {
    SCOPED_TRACE(c["id"]);
    card::KeySet keys = key_set(c["in"]);
    const auto& out = c["out"];
    auto r = card::Scp03tCard::initialize(keys, b(c["in"]["isdp_aid"]), value_of(b(out["initialize_update"])),
                                          diversification(c["in"]));
    ASSERT_TRUE(std::holds_alternative<card::Scp03tCard>(r));
    auto& s = std::get<card::Scp03tCard>(r);
    EXPECT_EQ(to_bytes(s.answer84()), b(out["initialize_update_response"]));
    ASSERT_FALSE(s.authenticate(value_of(b(out["external_authenticate"]))));
    for (const auto& seg : out["segments"]) {
      auto p = s.open(value_of(b(seg["command"])));
      ASSERT_TRUE(std::holds_alternative<Bytes>(p));
      EXPECT_EQ(std::get<Bytes>(p), b(seg["plaintext"]));
      EXPECT_EQ(s.segments(), seg["counter"].get<std::uint64_t>());
      EXPECT_EQ(s.answer(b(seg["response_plaintext"]), false, false), b(seg["response"]));
    }
  }
}

TEST_F(Vectors, Scp03tNegative) {
  KF_VECTORS("scp03t-negative");
  unsigned run = 0;
  for (const auto& c : doc["cases"]) {
    if (c["in"]["side"] != "card") continue;
    SCOPED_TRACE(c["id"]);
    ++run;
    card::KeySet keys = key_set(c["in"]);
    std::optional<card::Scp03tCard> s;
    const auto& commands = c["in"]["commands"];
    const auto& responses = c["out"]["responses"];
    ASSERT_EQ(commands.size(), responses.size());
    for (std::size_t i = 0; i < commands.size(); ++i) {
      const Bytes whole = b(commands[i]);
      const Bytes v = value_of(whole);
      Bytes answer;
      if (whole[0] == 0x84) {
        auto r = card::Scp03tCard::initialize(keys, b(c["in"]["isdp_aid"]), v, diversification(c["in"]));
        ASSERT_TRUE(std::holds_alternative<card::Scp03tCard>(r));
        s = std::move(std::get<card::Scp03tCard>(r));
        answer = to_bytes(s->answer84());
      } else if (whole[0] == 0x85) {
        const auto e = s->authenticate(v);
        answer = e ? Bytes{0x9F, 0x45, 0x01, static_cast<std::uint8_t>(*e)} : hex("8500");
      } else {
        const auto p = s->open(v);
        const auto* e = std::get_if<card::ScpError>(&p);
        answer = e != nullptr ? Bytes{0x9F, 0x46, 0x01, static_cast<std::uint8_t>(*e)} : s->answer({}, false, false);
      }
      EXPECT_EQ(to_hex(answer), responses[i].get<std::string>()) << "command " << i;
    }
  }
  EXPECT_GE(run, 3U);
}

// Role dp: STORE DATA #1 with the certificate must be taken or refused with the status word of its reason.
TEST_F(Vectors, GpCertificate) {
  KF_VECTORS("gp-cert");
  unsigned run = 0;
  for (const auto& c : doc["cases"]) {
    const auto& in = c["in"];
    SCOPED_TRACE(c["id"]);
    EuiccIdentity id;
    id.pk_ci = b(in["issuer_q"]);
    id.ci_ski = b(in["issuer_ski"]);
    id.curve = id.pk_ci.empty() ? CardCurve::p256 : curve_of(in["issuer_curve"]).value();
    Euicc e(id);
    ASSERT_EQ(send(e, install_apdu(isdp_aid())), "009000");
    ASSERT_EQ(send(e, perso_apdu(isdp_aid()), 0x11), "009000");
    const std::string sw = send(e, World::cert_apdu(b(in["cert"])), 0x02);
    if (in["role"] != "dp") {
      EXPECT_EQ(sw, "6A80");  // an ECASD certificate is no SM-DP's
    } else if (c["valid"].get<bool>()) {
      EXPECT_EQ(sw.size(), 40U) << sw;
      Bytes pk;
      EXPECT_EQ(card::check_dp_certificate(b(in["cert"]), id, pk), card::kOk);
      EXPECT_EQ(pk, b(c["out"]["q"]));
      ++run;
    } else {
      ASSERT_EQ(c["reason"], "bad-signature");
      EXPECT_EQ(sw, "6600");
      ++run;
    }
  }
  EXPECT_GE(run, 3U);
}

// The scripts of script.json in both templates: the card takes them apart alike.
TEST_F(Vectors, Script) {
  KF_VECTORS("script");
  unsigned run = 0;
  for (const auto& c : doc["cases"]) {
    SCOPED_TRACE(c["id"]);
    if (c["in"].contains("c_apdus")) {
      for (const char* form : {"indefinite", "definite"}) {
        EuiccIdentity id;
        id.pk_ci = make_key(CardCurve::p256).q;  // another CI: the certificate is read and refused
        id.ci_ski = hex("3D968445032212208AA05528F437C49595115F33");
        Euicc e(id);
        ASSERT_EQ(send(e, install_apdu(hex("A0000005591010FFFFFFFF8900001170"))), "009000");
        EXPECT_EQ(answers(e.process_script(b(c["out"][form]), {})), "230300900023026600") << form;
      }
      ++run;
    } else if (c["in"].contains("tlvs")) {
      Euicc e(EuiccIdentity{});
      const Bytes aid = b(c["in"]["target_aid"]);
      EXPECT_EQ(e.process_script(b(c["out"]["indefinite"]), aid).script_status, "unknown-application");
      ASSERT_EQ(send(e, install_apdu(aid)), "009000");
      EXPECT_EQ(answers(e.process_script(b(c["out"]["indefinite"]), aid)), "9F440103");
      ++run;
    }
  }
  EXPECT_EQ(run, 2U);
}

TEST_F(Vectors, PublicCrosscheck) {
  KF_VECTORS("public-crosscheck");
  unsigned run = 0;
  for (const auto& c : doc["cases"]) {
    const auto& in = c["in"];
    const std::string kind = c["kind"];
    SCOPED_TRACE(c["id"]);
    if (kind == "scp03-apdu") {
      const Bytes context = concat(b(in["host_challenge"]), b(in["card_challenge"]));
      const Bytes mac = b(in["key_mac"]);
      const SecretBytes s_mac = card::scp03_kdf(mac, 0x06, context, static_cast<unsigned>(mac.size() * 8));
      const auto out = [&](std::uint8_t dc) {
        return to_bytes(card::scp03_kdf(s_mac.expose(), dc, context, 64).expose());
      };
      EXPECT_EQ(out(0x00), b(c["out"]["card_cryptogram"]));
      EXPECT_EQ(out(0x01), b(c["out"]["host_cryptogram"]));
      // EXTERNAL AUTHENTICATE in its APDU form: the MAC chain starts at zero.
      const Bytes ext = b(c["out"]["external_authenticate_apdu"]);
      EXPECT_EQ(to_hex(ByteView(card::cmac(to_bytes(s_mac.expose()), {Block{}, ByteView(ext).first(13)})).first(8)),
                to_hex(ByteView(ext).subspan(13)));
    } else if (kind == "ecdsa-verify") {
      EXPECT_TRUE(card::ecdsa_verify(CardCurve::p256, b(in["q"]), {b(in["message"])}, b(in["signature"])));
    } else if (kind == "ecka-x963") {
      const auto z = card::ecka(CardCurve::p256, b(in["d"]), b(in["q"]));
      ASSERT_TRUE(z);
      EXPECT_EQ(to_bytes(card::x963(z->expose(), b(in["shared_info"]), in["length"].get<std::size_t>()).expose()),
                b(c["out"]["key_data"]));
    } else if (kind == "x963") {
      EXPECT_EQ(to_bytes(card::x963(b(in["z"]), b(in["shared_info"]), in["length"].get<std::size_t>()).expose()),
                b(c["out"]["key_data"]));
    } else if (kind == "scp03-apdu-level33") {  // continues scp03-trace-2: command and response encryption, both MACs
      const auto& t = doc["cases"][2];
      ASSERT_EQ(t["id"], "scp03-trace-2");
      const Bytes context = concat(b(t["in"]["host_challenge"]), b(t["in"]["card_challenge"]));
      const auto key = [&](const char* name, std::uint8_t dc) {
        return to_bytes(card::scp03_kdf(b(t["in"][name]), dc, context, 128).expose());
      };
      const Bytes s_enc = key("key_enc", 0x04);
      const Bytes s_mac = key("key_mac", 0x06);
      const Bytes s_rmac = key("key_mac", 0x07);
      Block counter{};
      counter[15] = 1;
      Block response_counter = counter;
      response_counter[0] = 0x80;
      const Block first = card::cmac(s_mac, {Block{}, ByteView(b(t["out"]["external_authenticate_apdu"])).first(13)});
      const Bytes wrapped = b(c["out"]["wrapped_apdu"]);
      const ByteView body = ByteView(wrapped).subspan(5, wrapped[4]);
      const Block m = card::cmac(s_mac, {first, ByteView(wrapped).first(5), body.first(body.size() - 8)});
      EXPECT_EQ(to_hex(ByteView(m).first(8)), to_hex(body.subspan(body.size() - 8)));
      EXPECT_EQ(
          to_hex(card::cbc_decrypt(s_enc, card::aes_block(s_enc, counter), body.first(body.size() - 8))).substr(0, 14),
          to_hex(ByteView(b(in["plain_apdu"])).subspan(5, 6)) + "80");
      const Bytes answer = b(c["out"]["protected_response"]);
      const Bytes plain =
          card::cbc_decrypt(s_enc, card::aes_block(s_enc, response_counter), ByteView(answer).first(answer.size() - 8));
      EXPECT_EQ(to_hex(plain).substr(0, c["out"]["plain_response"].get<std::string>().size()),
                c["out"]["plain_response"]);
      const Block rm = card::cmac(s_rmac, {m, ByteView(answer).first(answer.size() - 8), b(in["sw"])});
      EXPECT_EQ(to_hex(ByteView(rm).first(8)), to_hex(ByteView(answer).subspan(answer.size() - 8)));
    } else {
      FAIL() << "unknown kind " << kind;
    }
    ++run;
  }
  EXPECT_EQ(run, doc["cases"].size());
}

}  // namespace
}  // namespace kf::sim::test
