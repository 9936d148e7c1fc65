// The golden run, SM-DP side, message by message: the sample answers go in as XML, what the machine sends must be the
// Data of samples 08, 10, 12, 14 (docs/spec/interfaces.md 8).
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "host/download/machine.hpp"
#include "host/es/soap.hpp"
#include "host/pki/chain.hpp"
#include "tests/download/card_double.hpp"
#include "tests/download/given.hpp"

namespace kf::download {
namespace {
using Json = nlohmann::json;
const std::string kSamples = KF_SOURCE_DIR "/../shared/reference/samples/";

std::string slurp(const std::string& name) {
  std::ifstream f(kSamples + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(f), {}};
}
es::Response sample(const std::string& name) {
  auto m = es::parse_message(slurp(name), {});
  EXPECT_TRUE(std::holds_alternative<es::Message>(m)) << name;
  return std::get<es::Response>(std::get<es::Message>(m).body);
}

class Golden : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string text = slurp("golden.json");
    if (text.empty()) GTEST_SKIP() << "the reference samples are not on this machine";
    g_ = Json::parse(text);
    c_.smdp_oid = "2.999.20";
    c_.cert_dp_p256 = in("cert_dp_ecdsa");
    send_data_limit_ = 2100;  // the samples cut the script after the second 86
    c_.now_ms = 0;
    Order& o = d_.order;
    o.id = "golden";
    o.requester = *parse_oid("2.999.10");
    o.smsr = *parse_oid("2.999.30");
    o.eid = *parse_eid(g_["in"]["eid"].get<std::string>());
    o.iccid = *parse_iccid(g_["in"]["iccid"].get<std::string>());
    o.enable = true;
    o.deadline_ms = 7'200'000;
    o.profile_type = "Keyferry sample profile";
    o.subscription = {"001010123456789", "447700900123"};
    o.pol2 = es::Pol2{{"PROFILE", "DELETE", "Not-Allowed"}};
  }
  Bytes in(const char* k) { return hex(g_["in"][k].get<std::string>()); }
  Bytes out(const char* k) { return hex(g_["out"][k].get<std::string>()); }
  Bytes data(const char* k) { return hex(g_["out"]["send_data"][k].get<std::string>()); }
  void feed(Event e) {
    Step s = step(std::move(d_), std::move(e), c_, c_.moment());
    d_ = std::move(s.download);
    effects_ = std::move(s.effects);
  }
  template <class T>
  T* find() {
    for (auto& e : effects_)
      if (auto* x = std::get_if<T>(&e)) return x;
    return nullptr;
  }
  void answer(const std::string& file) {
    auto* call = find<CallEs3>();
    ASSERT_NE(call, nullptr) << "before " << file << " in " << state_name(d_.state);
    feed(Answer{call->call, sample(file)});
  }
  Bytes sent() {
    auto* call = find<CallEs3>();
    if (call == nullptr) return {};
    return call->request.data_hex ? from_hex(*call->request.data_hex).value() : call->request.data;
  }
  // CERT.ECASD.ECKA against the EUM certificate of KeyInfo and the sample CI, on the day of the run.
  void check_certificates() {
    auto* cc = find<CheckCertificates>();
    ASSERT_NE(cc, nullptr);
    ASSERT_TRUE(cc->eum_certificate.has_value());
    const auto eum = parse_x509(*cc->eum_certificate);
    const auto ci = parse_x509(in("ci_x509"));
    ASSERT_TRUE(eum.ok() && ci.ok());
    const std::vector<X509Info> roots{*ci};
    auto cert = verify_ecasd_chain(cc->cert_ecasd.at(0), *eum, roots, *parse_date("2026-03-02"), d_.order.eid);
    ASSERT_TRUE(cert.ok()) << cert.error().text();
    feed(CertificatesChecked{Status(), cert->curve, cert->q});
  }
  void ephemeral() {
    auto* m = find<MakeEphemeral>();
    ASSERT_NE(m, nullptr);
    EccCompletion x;
    x.op = EccOp::ephemeral_ecka;
    x.status = EccStatus::ok;
    x.epk = *public_of(Curve::p256, in("esk_dp_ecka"));
    x.shs = std::move(*ecka(Curve::p256, in("esk_dp_ecka"), m->peer));
    EXPECT_EQ(to_hex(x.epk), to_hex(out("epk_dp_ecka")));
    EXPECT_EQ(to_hex(x.shs.expose()), to_hex(out("shs")));
    feed(EccDone{std::move(x)});
  }
  void sign() {
    auto* s = find<Sign>();
    ASSERT_NE(s, nullptr);
    EXPECT_EQ(to_hex(s->hash), to_hex(sha256(out("signing_input"))));
    EccCompletion x;
    x.op = EccOp::sign;
    x.status = EccStatus::ok;
    x.signature = ecdsa_sign_rfc6979(Curve::p256, in("sk_dp_ecdsa"), s->hash);
    EXPECT_EQ(to_hex(x.signature), to_hex(out("signature")));
    feed(EccDone{std::move(x)});
  }
  void seal() {
    auto* s = find<SealOffline>();
    ASSERT_NE(s, nullptr);
    es8::Challenge hc{};
    const Bytes h = in("hc");
    std::copy(h.begin(), h.end(), hc.begin());
    auto script =
        std::make_shared<es8::SealedScript>(es8::seal_offline(s->keys, s->isd_p, hc, {0, 0, 1}, in("profile")));
    auto parts = test::parts_of(*script, send_data_limit_);
    feed(Sealed{Status(), std::move(script), std::move(parts)});
  }
  void to_created() {
    feed(Start{});
    answer("03-ES3-GetEIS-response.xml");
    check_certificates();
    ASSERT_EQ(d_.state, State::cleaning_stale);
    EXPECT_EQ(*find<CallEs3>()->request.iccid, "89000123456789099959");
    answer("05-ES3-DeleteISDP-response.xml");
    ASSERT_EQ(d_.state, State::creating_isdp);
    const CallEs3 create = *find<CallEs3>();
    ephemeral();
    feed(Answer{create.call, sample("07-ES3-CreateISDP-response.xml")});
    ASSERT_EQ(d_.state, State::sending_cert);
  }

  Json g_;
  Given c_;
  std::size_t send_data_limit_ = 0;
  Download d_;
  std::vector<Effect> effects_;
};

TEST_F(Golden, WholeRun) {
  to_created();
  EXPECT_EQ(to_hex(sent()), to_hex(data("08")));
  answer("09-ES3-SendData-response-RC.xml");
  sign();
  EXPECT_EQ(to_hex(sent()), to_hex(data("10")));
  answer("11-ES3-SendData-response-receipt.xml");
  seal();
  EXPECT_EQ(to_hex(sent()), to_hex(data("12")));
  answer("13-ES3-SendData-response-scp03t-first.xml");
  EXPECT_EQ(to_hex(sent()), to_hex(data("14")));
  answer("15-ES3-SendData-response-scp03t-last.xml");
  ASSERT_EQ(d_.state, State::completing) << (d_.cause ? d_.cause->message : "");

  // ProfileDownloadCompleted carries what sample 16 carries.
  auto m = es::parse_message(slurp("16-ES3-ProfileDownloadCompleted-request.xml"), {});
  const auto& want = std::get<es::Request>(std::get<es::Message>(m).body);
  const auto& got = find<CallEs3>()->request;
  EXPECT_EQ(got.iccid, want.iccid);
  EXPECT_EQ(got.profile_type, want.profile_type);
  EXPECT_EQ(got.subscription, want.subscription);
  EXPECT_EQ(got.pol2, want.pol2);
  answer("17-ES3-ProfileDownloadCompleted-response.xml");
  ASSERT_EQ(d_.state, State::enabling);
  answer("19-ES3-EnableProfile-response.xml");
  EXPECT_EQ(d_.state, State::done);
}

TEST_F(Golden, WholeScriptAtOnce) {
  send_data_limit_ = 0;
  to_created();
  answer("09-ES3-SendData-response-RC.xml");
  sign();
  answer("11-ES3-SendData-response-receipt.xml");
  seal();
  EXPECT_EQ(to_hex(sent()), to_hex(concat(data("12"), data("14"))));
}

TEST_F(Golden, NegativeAnswers) {
  struct Row {
    const char* file;
    const char* instead_of;
    const char* code;
  };
  for (const Row& r : {Row{"11b-ES3-SendData-response-card-error.xml", "11", "8.4/4.2"},
                       Row{"13b-ES3-SendData-response-scp03t-error.xml", "13", "8.3/4.2"},
                       Row{"15b-ES3-SendData-response-pe-error.xml", "15", "8.2/4.2"}}) {
    d_ = Download{};
    SetUp();
    to_created();
    answer("09-ES3-SendData-response-RC.xml");
    sign();
    if (std::string(r.instead_of) != "11") {
      answer("11-ES3-SendData-response-receipt.xml");
      seal();
      if (std::string(r.instead_of) == "15") answer("13-ES3-SendData-response-scp03t-first.xml");
    }
    answer(r.file);
    ASSERT_EQ(d_.state, State::deleting) << r.file;
    answer("05-ES3-DeleteISDP-response.xml");
    EXPECT_EQ(d_.state, State::failed);
    ASSERT_TRUE(d_.cause.has_value());
    EXPECT_EQ(d_.cause->subject + "/" + d_.cause->reason, r.code) << d_.cause->message;
  }
}

TEST_F(Golden, Pol1RefusalInErrorManagement) {
  to_created();
  answer("09-ES3-SendData-response-RC.xml");
  sign();
  answer("11-ES3-SendData-response-receipt.xml");
  seal();
  answer("13-ES3-SendData-response-scp03t-first.xml");
  answer("15b-ES3-SendData-response-pe-error.xml");
  answer("05b-ES3-DeleteISDP-response-POL1-refused.xml");
  EXPECT_EQ(d_.state, State::completing);
  answer("17-ES3-ProfileDownloadCompleted-response.xml");
  answer("19b-ES3-EnableProfile-response-rolled-back.xml");
  answer("03-ES3-GetEIS-response.xml");  // the outcome follows the EIS
  EXPECT_EQ(d_.state, State::done_with_warning);
}

}  // namespace
}  // namespace kf::download
