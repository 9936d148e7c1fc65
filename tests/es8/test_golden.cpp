// The host's side of the golden run (docs/spec/interfaces.md 8): every value of one whole download, from the given
// random values.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "host/es8/scp03t.hpp"
#include "host/pki/chain.hpp"

namespace kf::es8 {
namespace {

class Golden : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = KF_SOURCE_DIR "/../shared/reference/samples/golden.json";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "no golden run beside the source tree: " << path;
    std::ifstream f(path);
    j = nlohmann::json::parse(f);
  }
  Bytes in(const char* key) const { return hex(j["in"][key].get<std::string>()); }
  std::string out(const char* key) const { return j["out"][key].get<std::string>(); }
  std::vector<Bytes> list(const char* key) const {
    std::vector<Bytes> v;
    for (const auto& e : j["out"][key]) v.push_back(hex(e.get<std::string>()));
    return v;
  }
  Bytes data(const char* of, const char* message) const { return hex(j["out"][of][message].get<std::string>()); }
  std::vector<CardAnswer> answers(const char* message) const {
    auto r = parse_euicc_response_data(data("euicc_response_data", message));
    EXPECT_TRUE(r.ok()) << message;
    return r ? *r : std::vector<CardAnswer>{};
  }
  nlohmann::json j;
};

TEST_F(Golden, CertificatesAndChain) {
  const auto today = parse_date(j["date"].get<std::string>());
  const auto eid = parse_eid(j["in"]["eid"].get<std::string>());
  const auto ci = parse_x509(in("ci_x509"));
  const auto eum = parse_x509(in("eum_x509"));
  ASSERT_TRUE(today.ok() && eid.ok() && ci.ok() && eum.ok());
  const auto ecasd = verify_ecasd_chain(in("cert_ecasd_ecka"), *eum, std::span(&*ci, 1), *today, *eid);
  ASSERT_TRUE(ecasd.ok()) << ecasd.error().text();
  EXPECT_EQ(ecasd->q, *public_of(Curve::p256, in("sk_ecasd_ecka")));
  const auto dp = parse_gp_certificate(in("cert_dp_ecdsa"));
  ASSERT_TRUE(dp.ok());
  EXPECT_TRUE(verify_gp_certificate(*dp, GpRole::dp, issuer_of(*ci), *today, std::nullopt).ok());
  EXPECT_EQ(dp->q, *public_of(Curve::p256, in("sk_dp_ecdsa")));
}

TEST_F(Golden, KeyEstablishmentMessageByMessage) {
  const Aid isd_p = *Aid::parse(in("isdp_aid"));
  EXPECT_EQ(isd_r_aid().str(), j["in"]["isdr_aid"].get<std::string>());
  const KeySetPlan plan;

  std::vector<Bytes> first{install_for_personalization(isd_p)};
  for (Bytes& b : store_data_certificate(in("cert_dp_ecdsa"))) first.push_back(std::move(b));
  EXPECT_EQ(to_hex(wrap_c_apdus(first)), to_hex(data("send_data", "08")));
  const auto rc = rc_of(answers("09"), first.size());
  ASSERT_TRUE(rc.ok()) << rc.error().text();
  EXPECT_EQ(*rc, in("rc"));

  const Point epk = *public_of(Curve::p256, in("esk_dp_ecka"));
  EXPECT_EQ(to_hex(epk), out("epk_dp_ecka"));
  const Bytes crt = control_reference_template(plan);
  EXPECT_EQ(to_hex(crt), out("crt"));
  const Bytes to_sign = signing_input(crt, epk, *rc);
  EXPECT_EQ(to_hex(to_sign), out("signing_input"));
  const Signature signature = ecdsa_sign_rfc6979(Curve::p256, in("sk_dp_ecdsa"), sha256(to_sign));
  EXPECT_EQ(to_hex(signature), out("signature"));
  const auto second = store_data_key(crt, epk, signature, static_cast<std::uint8_t>(first.size() - 1));
  EXPECT_EQ(to_hex(wrap_c_apdus(second)), to_hex(data("send_data", "10")));

  const auto refused = key_answer_of(answers("11b"), second.size(), plan);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().reason, "card-status");
  EXPECT_EQ(refused.error().detail.substr(0, 4), "6600");

  const auto answer = key_answer_of(answers("11"), second.size(), plan);
  ASSERT_TRUE(answer.ok()) << answer.error().text();
  EXPECT_EQ(*answer->dr, in("dr"));
  EXPECT_EQ(to_hex(answer->receipt), out("receipt"));
  const auto ecasd = parse_gp_certificate(in("cert_ecasd_ecka"));
  const auto shs = ecka(Curve::p256, in("esk_dp_ecka"), ecasd->q);
  ASSERT_TRUE(shs.ok());
  EXPECT_EQ(to_hex(shs->expose()), out("shs"));
  EXPECT_EQ(to_hex(shared_info(plan, answer->dr)), out("shared_info"));
  const DerivedKeys k = derive_keys(shs->expose(), plan, answer->dr);
  EXPECT_EQ(to_hex(k.receipt_key.expose()), out("receipt_key"));
  EXPECT_EQ(to_hex(k.keys.enc.expose()), out("key_enc"));
  EXPECT_EQ(to_hex(k.keys.mac.expose()), out("key_mac"));
  EXPECT_EQ(to_hex(k.keys.dek.expose()), out("key_dek"));
  EXPECT_TRUE(receipt_matches(k, crt, *answer));
}

class GoldenSession : public Golden {
 protected:
  void SetUp() override {
    Golden::SetUp();
    if (IsSkipped()) return;
    const KeySet k{SecretBytes(hex(out("key_enc"))), SecretBytes(hex(out("key_mac"))), SecretBytes(hex(out("key_dek"))),
                   0x30};
    Challenge hc{};
    const Bytes h = in("hc");
    std::copy(h.begin(), h.end(), hc.begin());
    s = seal_offline(k, *Aid::parse(in("isdp_aid")), hc, {0, 0, 1}, in("profile"));
  }
  SealedScript s;
};

TEST_F(GoldenSession, TheSealedScript) {
  EXPECT_EQ(to_hex(s.cc), out("card_challenge"));
  EXPECT_EQ(to_hex(s.keys.s_enc.expose()), out("s_enc"));
  EXPECT_EQ(to_hex(s.keys.s_mac.expose()), out("s_mac"));
  EXPECT_EQ(to_hex(s.keys.s_rmac.expose()), out("s_rmac"));
  EXPECT_EQ(to_hex(card_cryptogram(s.keys, s.hc, s.cc)), out("card_cryptogram"));
  EXPECT_EQ(to_hex(host_cryptogram(s.keys, s.hc, s.cc)), out("host_cryptogram"));
  const Bytes profile = in("profile");
  const auto parts = cut_profile(profile);
  const auto want = list("segments");
  ASSERT_EQ(parts.size(), want.size());
  for (std::size_t i = 0; i < parts.size(); ++i) EXPECT_EQ(to_hex(parts[i]), to_hex(want[i]));
  EXPECT_EQ(s.tlvs, list("commands"));
  // The samples cut the script behind the second 86.
  const auto runs = cut_between_tlvs(s.tlvs, data("send_data", "12").size());
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0], data("send_data", "12"));
  EXPECT_EQ(runs[1], data("send_data", "14"));
}

TEST_F(GoldenSession, TheCardsAnswers) {
  Bytes all;
  for (const Bytes& r : list("responses")) append(all, r);
  const auto opened = open_answers(s, 0, *parse_euicc_response_data(all));
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  EXPECT_EQ(opened->accepted, s.tlvs.size());
  EXPECT_EQ(to_hex(opened->data), out("euicc_response"));

  const auto first = open_answers(s, 0, answers("13"));
  const auto last = open_answers(s, 4, answers("15"));
  ASSERT_TRUE(first.ok() && last.ok());
  EXPECT_EQ(first->accepted, 4U);
  EXPECT_EQ(first->segments_accepted, 2U);
  EXPECT_EQ(to_hex(last->data), out("euicc_response"));
}

TEST_F(GoldenSession, TheBranchesThatFail) {
  const auto refused = open_answers(s, 0, answers("13b"));
  ASSERT_TRUE(refused.ok());
  EXPECT_EQ(refused->accepted, 2U);
  EXPECT_EQ(refused->segments_accepted, 0U);
  EXPECT_EQ(to_hex(*refused->error_tlv), "9F460102");
  const auto pe_error = open_answers(s, 4, answers("15b"));
  ASSERT_TRUE(pe_error.ok());
  EXPECT_EQ(to_hex(pe_error->data), out("euicc_response_pe_error"));
}

}  // namespace
}  // namespace kf::es8
