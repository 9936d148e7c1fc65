// Verdicts, knee, advice and page from findings that are made up here: no process, no module.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hsm/probe/probe_report.hpp"

namespace kf::hsm {
namespace {

using Answer = CustodyVerdict::Answer;
using State = ProbeAttempt::State;

const ProbeAttempt kGood{State::good, {}};
ProbeAttempt refused(const std::string& why) { return {State::refused, why}; }

constexpr const char* kAll[] = {"CKM_EC_KEY_PAIR_GEN", "CKM_ECDSA",   "CKM_ECDH1_DERIVE",
                                "CKM_AES_KEY_GEN",     "CKM_AES_GCM", "CKM_AES_KEY_WRAP"};

ProbeCurve good_curve(Curve c) {
  ProbeCurve p;
  p.curve = c;
  p.pair = p.destroyed = p.ecdh_raw = p.ecdh_der = p.without_value_len = p.sign = p.verify_der = p.copy = kGood;
  p.off_curve = refused("C_DeriveKey: CKR_GENERAL_ERROR");
  p.kdfs = {{"CKD_SHA256_KDF", refused("C_DeriveKey: CKR_MECHANISM_PARAM_INVALID")}};
  return p;
}

ProbeReport good_report() {
  ProbeReport r;
  r.module_path = "/opt/vendor/lib.so";
  r.library = "Vendor / Library 1.2";
  r.cryptoki = "2.40";
  r.slot_count = 1;
  ProbeSlot s;
  s.id = 7;
  s.description = "slot seven";
  s.info = s.mechanism_list = kGood;
  s.token.emplace();
  s.token->label = "dp";
  s.token->uri = "pkcs11:token=dp";
  s.token->initialised = s.token->login_required = true;
  s.token->sessions_max = s.token->rw_sessions_max = "no limit";
  for (const char* m : kAll) s.mechanisms.push_back({m, true, 1, 2, {}});
  r.slots.push_back(s);
  r.slot = 7;
  r.token_uri = "pkcs11:token=dp";
  r.logged_in = r.tried = true;
  r.curves = {good_curve(Curve::p256), good_curve(Curve::brainpool_p256r1)};
  r.random = r.aes_key = r.gcm = r.key_wrap = r.key_wrap_pad = r.sessions = r.ended = r.key_list = kGood;
  r.sessions_opened = 64;
  r.objects_left = 0;
  return r;
}
ProbeReport without_mechanism(const char* name) {
  ProbeReport r = good_report();
  for (ProbeMechanism& m : r.slots.front().mechanisms) m.listed = m.listed && m.name != name;
  return r;
}
CustodyVerdict verdict(const ProbeReport& r, const std::string& policy) {
  for (CustodyVerdict& v : judge(r)) {
    if (v.policy == policy) return v;
  }
  ADD_FAILURE() << policy;
  return {};
}
std::vector<ProbeRate> series(std::initializer_list<double> rates, bool of_threads = false) {
  std::vector<ProbeRate> out;
  unsigned n = 1;
  for (const double r : rates) {
    ProbeRate p;
    p.per_second = r;
    (of_threads ? p.threads : p.processes) = n;
    n = of_threads ? n * 2 : n + 1;
    out.push_back(p);
  }
  return out;
}
bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }
bool any_contains(const std::vector<std::string>& list, std::string_view part) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& s) { return contains(s, part); });
}

TEST(ProbeVerdict, GoodModule) {
  const ProbeReport r = good_report();
  EXPECT_EQ(verdict(r, "strict").text, "yes, on P-256 and brainpoolP256r1");
  EXPECT_EQ(verdict(r, "strict").answer, Answer::yes);
  EXPECT_EQ(verdict(r, "hybrid").answer, Answer::yes);
  EXPECT_EQ(verdict(r, "core").answer, Answer::yes);
  EXPECT_TRUE(contains(verdict(r, "core").text, "does its part"));
}

TEST(ProbeVerdict, WithoutEcdhOnlyHybrid) {
  ProbeReport r = without_mechanism("CKM_ECDH1_DERIVE");
  for (ProbeCurve& c : r.curves)
    c.ecdh_raw = c.ecdh_der = c.without_value_len = refused("C_DeriveKey: CKR_MECHANISM_INVALID");
  EXPECT_EQ(verdict(r, "strict").text, "no: CKM_ECDH1_DERIVE is missing (C_DeriveKey: CKR_MECHANISM_INVALID)");
  EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
  EXPECT_EQ(verdict(r, "hybrid").answer, Answer::yes);
}

TEST(ProbeVerdict, ListedButNotWorking) {  // the list is not believed
  ProbeReport r = good_report();
  for (ProbeCurve& c : r.curves)
    c.ecdh_raw = c.ecdh_der = c.without_value_len = refused("C_DeriveKey: CKR_MECHANISM_INVALID");
  EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
  EXPECT_TRUE(contains(verdict(r, "strict").text, "does not work (C_DeriveKey: CKR_MECHANISM_INVALID)"))
      << verdict(r, "strict").text;
  r = without_mechanism("CKM_ECDH1_DERIVE");  // not listed, and works all the same
  EXPECT_EQ(verdict(r, "strict").answer, Answer::yes);
}

TEST(ProbeVerdict, OneCurveIsEnough) {
  ProbeReport r = good_report();
  r.curves[1].pair = refused("C_GenerateKeyPair: CKR_CURVE_NOT_SUPPORTED");
  EXPECT_EQ(verdict(r, "strict").answer, Answer::yes);
  EXPECT_TRUE(contains(verdict(r, "strict").text, "yes, on P-256; not on brainpoolP256r1 making a session key pair"))
      << verdict(r, "strict").text;
  EXPECT_EQ(verdict(r, "hybrid").text, "yes, on P-256 and brainpoolP256r1");
}

TEST(ProbeVerdict, KeysThatCannotBeErased) {
  ProbeReport r = good_report();
  for (ProbeCurve& c : r.curves) c.destroyed = refused("C_DestroyObject: CKR_ACTION_PROHIBITED");
  EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
  EXPECT_TRUE(contains(verdict(r, "strict").text, "cannot be destroyed"));
}

TEST(ProbeVerdict, RecordsAreNeededByEveryPolicy) {
  ProbeReport r = without_mechanism("CKM_AES_GCM");
  r.gcm = refused("C_Encrypt with CKM_AES_GCM: CKR_MECHANISM_INVALID");
  for (const char* policy : {"strict", "hybrid"}) {
    EXPECT_EQ(verdict(r, policy).answer, Answer::no);
    EXPECT_TRUE(contains(verdict(r, policy).text, "CKM_AES_GCM is missing")) << verdict(r, policy).text;
  }
  EXPECT_TRUE(contains(verdict(r, "core").text, "does not do its part"));
}

TEST(ProbeVerdict, IdentityKeyCountsMoreThanASessionKey) {
  ProbeReport r = good_report();
  for (ProbeCurve& c : r.curves) c.sign = c.pair = refused("C_GenerateKeyPair: CKR_TEMPLATE_INCONSISTENT");
  EXPECT_EQ(verdict(r, "hybrid").answer, Answer::unknown);
  EXPECT_TRUE(contains(verdict(r, "hybrid").text, "--identity")) << verdict(r, "hybrid").text;
  r.identities.push_back({"SK", Curve::p256, kGood, kGood, kGood, true});
  EXPECT_EQ(verdict(r, "hybrid").answer, Answer::yes);
  EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
}

TEST(ProbeVerdict, Crashes) {
  ProbeReport r = good_report();
  for (ProbeCurve& c : r.curves) {
    c.ecdh_raw = {State::lost, "the module ended the worker process (signal 11, SIGSEGV)"};
    c.ecdh_der = c.without_value_len = {State::not_tried, "not tried after 3 crashes or hangs"};
  }
  EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
  EXPECT_TRUE(contains(verdict(r, "strict").text, "signal 11")) << verdict(r, "strict").text;
}

TEST(ProbeVerdict, WithoutLoginOnlyTheList) {
  ProbeReport r = good_report();
  r.tried = r.logged_in = false;
  EXPECT_EQ(verdict(r, "strict").answer, Answer::unknown);
  r = without_mechanism("CKM_ECDH1_DERIVE");
  r.tried = r.logged_in = false;
  EXPECT_EQ(verdict(r, "strict").text, "no: CKM_ECDH1_DERIVE is not in the mechanism list");
  EXPECT_EQ(verdict(r, "hybrid").answer, Answer::unknown);
  r.slot.reset();  // no token chosen: the only one tells
  EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
  r.slots.push_back(r.slots.front());
  r.slots.back().id = 8;
  EXPECT_EQ(verdict(r, "strict").text, "unknown: no token was probed");
  r.slots.clear();
  EXPECT_EQ(verdict(r, "hybrid").answer, Answer::unknown);
}

TEST(ProbeKnee, LeastEffortForNinetyPercent) {
  EXPECT_EQ(knee(series({100})), 0U);
  EXPECT_EQ(knee(series({100, 190, 195, 180})), 1U);
  EXPECT_EQ(knee(series({100, 170, 195})), 2U);
  EXPECT_EQ(knee(series({100, 60, 30})), 0U);
  EXPECT_EQ(knee(series({0, 0})), 0U);
  EXPECT_EQ(knee(series({0, 90, 100})), 1U);
}

TEST(ProbeAdvice, ProcessesAtTheirKnee) {
  ProbeReport r = good_report();
  r.processes = series({1000, 1900, 2000, 1950});
  r.threads = series({1000, 1400, 1300, 1000}, true);
  const ProbeAdvice a = advise(r);
  EXPECT_EQ(a.workers, 2U);
  EXPECT_EQ(a.threads, 1U);
}

TEST(ProbeAdvice, ThreadsWhereTheyCarryFurther) {
  ProbeReport r = good_report();  // a remote module: waiting, not computing
  r.processes = series({100, 190});
  r.threads = series({100, 200, 400, 780}, true);
  const ProbeAdvice a = advise(r);
  EXPECT_EQ(a.threads, 8U);
  EXPECT_EQ(a.workers, 2U) << "one to replace the other";
  EXPECT_TRUE(any_contains(a.why, "still rises")) << "eight threads were the last that was tried";
}

TEST(ProbeAdvice, NeverOneWorker) {
  ProbeReport r = good_report();
  r.processes = series({1000, 1010});
  EXPECT_EQ(advise(r).workers, 2U);
  r.processes.clear();
  EXPECT_EQ(advise(r).workers, 2U);
  EXPECT_TRUE(any_contains(advise(r).why, "Nothing was measured"));
  r.processes = series({0, 0});
  EXPECT_TRUE(any_contains(advise(r).why, "Nothing was measured"));
}

TEST(ProbeAdvice, StaysWithinTheSessionLimit) {
  ProbeReport r = good_report();
  r.processes = series({100, 200, 300, 400});
  r.slots.front().token->sessions_max = "6";
  EXPECT_EQ(advise(r).workers, 2U);  // three sessions each
  r.slots.front().token->sessions_max = "1";
  EXPECT_EQ(advise(r).workers, 1U);
  EXPECT_EQ(advise(r).threads, 1U);
  // Announced is "not told" or nonsense: what was found by trying counts.
  for (const char* told : {"not told", "no limit", "no limit (18446744073709551614)", ""}) {
    r.slots.front().token->sessions_max = told;
    EXPECT_EQ(advise(r).workers, 4U) << told;
  }
  r.sessions = refused("C_OpenSession: CKR_SESSION_COUNT");
  r.sessions_opened = 5;  // and the keeper
  EXPECT_EQ(advise(r).workers, 2U);
  r.threads = series({100, 200, 400, 800}, true);
  EXPECT_EQ(advise(r).workers * (advise(r).threads + 2), 6U);
  EXPECT_TRUE(any_contains(advise(r).why, "6 sessions at most"));
}

TEST(ProbeAdvice, SaysWhenTheMachineWasBusy) {
  ProbeReport r = good_report();
  r.processes = series({1000, 2000, 3000});
  r.other_load = 0.05;
  EXPECT_FALSE(any_contains(advise(r).why, "Other programs"));
  r.other_load = 0.2;
  EXPECT_TRUE(any_contains(advise(r).why, "Other programs took 20 %"));
  EXPECT_EQ(advise(r).workers, 3U);
  r.other_load = 0.6;  // what was measured then is not the token
  EXPECT_TRUE(any_contains(advise(r).why, "are the defaults"));
  EXPECT_EQ(advise(r).workers, 2U);
  EXPECT_EQ(advise(r).threads, 1U);
}

TEST(ProbeAdvice, TheBlockToPaste) {
  ProbeReport r = good_report();
  r.module_path = "/opt/a \"b\"\\c.so";
  r.config.pin_env = "HSM_PIN";
  r.config.environment = {{"VENDOR_CONF", "/etc/vendor.conf"}, {"odd.name", "x\ny"}};
  r.keys = {{"secret", "AES", "small", "", "", 128, {"encrypt", "decrypt", "wrap", "unwrap"}},
            {"secret", "AES", "half", "", "", 256, {"encrypt", "decrypt"}},
            {"secret", "AES", "KEK", "", "", 256, {"encrypt", "decrypt", "wrap", "unwrap"}}};
  r.identities.push_back({"SK.DP", Curve::p256, kGood, kGood, kGood, true});
  EXPECT_EQ(advise(r).toml, R"([token]
module = "/opt/a \"b\"\\c.so"
uri = "pkcs11:token=dp"
pin_env = "HSM_PIN"
wrap_key = "KEK"
workers = 2
threads = 1

[token.environment]
VENDOR_CONF = "/etc/vendor.conf"
"odd.name" = "x\u000Ay"

# under [custody]: policy = "strict"
# under [[identity]]: curve = "P-256", label = "SK.DP"
)");
}

const ProbeHead kHead{"keyferry 1.2.3", "2026-01-01 00:00 UTC"};

TEST(ProbePage, Text) {
  ProbeReport r = good_report();
  r.processes = series({1000, 2000});
  r.return_codes = {{0, "CKR_OK", "ok"}, {3, "CKR_SLOT_ID_INVALID", "device"}};
  r.incidents = {{"ECDH on P-256", "the module ended the worker process (signal 11, SIGSEGV)"}};
  r.left_out = {"Something."};
  const std::string t = to_text(document(r, kHead));
  EXPECT_TRUE(
      t.starts_with("Keyferry probe of /opt/vendor/lib.so\n"
                    "keyferry 1.2.3, 2026-01-01 00:00 UTC. Library: Vendor / Library 1.2, Cryptoki 2.40.\n"
                    "\nVerdict\n"
                    "  strict  yes, on P-256 and brainpoolP256r1\n"))
      << t;
  for (const char* part : {"\nCrashes and hangs\n", "signal 11, SIGSEGV", "\nLeft out\n  Something.\n", "    [token]\n",
                           "slot seven  <- probed", "CKM_ECDH1_DERIVE     yes", "ECDH, peer point raw ",
                           "refused (C_DeriveKey:", "1 |######################### 1000\n",
                           "2 |################################################## 2000 (2.00 x)  <- knee\n",
                           "  device  SLOT_ID_INVALID\n"}) {
    EXPECT_TRUE(contains(t, part)) << part << "\n" << t;
  }
  std::istringstream lines(t);
  for (std::string l; std::getline(lines, l);) {
    if (!l.starts_with("    ")) {
      EXPECT_LE(l.size(), 100U) << l;
    }
    EXPECT_FALSE(l.ends_with(' ')) << l;
  }
}

TEST(ProbePage, HtmlEscapesWhatTheModuleSays) {
  ProbeReport r = good_report();
  r.slots.front().token->label = "<script>alert(1)</script>&\"";
  const std::string h = to_html(document(r, kHead));
  EXPECT_FALSE(contains(h, "<script>"));
  EXPECT_TRUE(contains(h, "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;"));
  EXPECT_TRUE(h.starts_with("<!DOCTYPE html>"));
  EXPECT_TRUE(h.ends_with("</html>\n"));
  EXPECT_FALSE(contains(h, "http://")) << "nothing is fetched";
  EXPECT_FALSE(contains(h, "https://"));
}

TEST(ProbePage, Json) {
  ProbeReport r = good_report();
  r.slots.front().token->label = "caf\xE9";  // no UTF-8
  r.processes = series({1000, 2000});
  const auto j = nlohmann::json::parse(probe_json(r, kHead), nullptr, false);
  ASSERT_FALSE(j.is_discarded());
  EXPECT_EQ(j["module"], "/opt/vendor/lib.so");
  EXPECT_EQ(j["verdicts"]["strict"]["answer"], "yes");
  EXPECT_EQ(j["curves"][0]["ecdh_raw"]["state"], "good");
  EXPECT_EQ(j["curves"][1]["kdfs"]["CKD_SHA256_KDF"]["state"], "refused");
  EXPECT_EQ(j["processes"][1]["per_second"], 2000.0);
  EXPECT_EQ(j["advice"]["workers"], 2);
  EXPECT_EQ(j["session_objects_left"], 0);
  r.objects_left.reset();
  EXPECT_TRUE(nlohmann::json::parse(probe_json(r, kHead))["session_objects_left"].is_null());
}

TEST(ProbePage, EmptyReport) {  // a module without a slot
  ProbeReport r;
  r.module_path = "m.so";
  EXPECT_TRUE(contains(to_text(document(r, kHead)), "The module shows no slot."));
  EXPECT_TRUE(contains(to_html(document(r, kHead)), "The module shows no slot."));
  EXPECT_FALSE(nlohmann::json::parse(probe_json(r, kHead), nullptr, false).is_discarded());
}

}  // namespace
}  // namespace kf::hsm
