// The configuration file: what `init` writes is good, and every mistake is one line that names the file and the key.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "host/base/random.hpp"
#include "host/main/config/config.hpp"
#include "host/pki/test_pki.hpp"
#include "hsm/probe/probe_report.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

class ConfigTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = fs::temp_directory_path() / ("kf-config-" + random_uuid());
    fs::create_directories(dir_ / "pki");
    fs::create_directories(dir_ / "token");
    for (Curve c : {Curve::p256, Curve::brainpool_p256r1}) {
      ASSERT_TRUE(ensure_test_pki((dir_ / "pki").string(), c, default_parties()).ok());
      std::ofstream(dir_ / "pki" / ("cert-dp-" + std::string(curve_name(c)) + ".der")) << "x";
    }
    std::ofstream(dir_ / "token" / "pin") << "1234";
    std::ofstream(dir_ / "token" / "softhsm2.conf") << "directories.tokendir = " << (dir_ / "token").string() << "\n";
    std::ofstream(dir_ / "module.so") << "x";
    good_ = initial_config({}, "keyferry", (dir_ / "module.so").string());
  }
  static void TearDownTestSuite() { fs::remove_all(dir_); }
  static Result<Config> load(const std::string& text) {
    std::ofstream(dir_ / "smdp.toml") << text;
    return load_config((dir_ / "smdp.toml").string());
  }
  static std::string with(const std::string& from, const std::string& to) {
    std::string s = good_;
    const auto at = s.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return at == std::string::npos ? s : s.replace(at, from.size(), to);
  }
  static void expect_bad(const std::string& text, const std::string& key, const std::string& what) {
    const auto c = load(text);
    ASSERT_FALSE(c.ok()) << key;
    const std::string& line = c.error().detail;
    EXPECT_NE(line.find("smdp.toml"), std::string::npos) << line;
    EXPECT_NE(line.find(key), std::string::npos) << line;
    EXPECT_NE(line.find(what), std::string::npos) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  }
  // These mistakes, a line each, in any order, and no others.
  static void expect_all(const std::string& text, std::vector<std::string> mistakes) {
    const auto c = load(text);
    ASSERT_FALSE(c.ok());
    std::istringstream in(c.error().detail);
    for (std::string line; std::getline(in, line);) {
      const auto is = [&](const std::string& m) { return line.find("smdp.toml: " + m) != std::string::npos; };
      const auto found = std::find_if(mistakes.begin(), mistakes.end(), is);
      EXPECT_NE(found, mistakes.end()) << "not expected: " << line;
      if (found != mistakes.end()) mistakes.erase(found);
    }
    for (const auto& m : mistakes) ADD_FAILURE() << "not said: " << m;
  }
  static inline fs::path dir_;
  static inline std::string good_;
};

TEST_F(ConfigTest, WhatInitWritesIsGood) {
  const auto c = load(good_);
  ASSERT_TRUE(c.ok()) << c.error().text();
  EXPECT_EQ(c->oid.str(), "2.999.20");
  EXPECT_EQ(c->parties.size(), 2U);
  EXPECT_EQ(c->identities.size(), 2U);
  EXPECT_EQ(c->custody, CustodyPolicy::strict);
  EXPECT_EQ(c->by_oid("2.999.30")->role, Role::smsr);
  EXPECT_EQ(c->by_peer({.fingerprint = c->by_oid("2.999.10")->fingerprints.front(),
                        .subject = {},
                        .psk_identity = {},
                        .names = {},
                        .address = {},
                        .network = {}})
                ->oid.str(),
            "2.999.10");
  EXPECT_EQ(c->by_oid("2.999.30")->callback_url, "https://127.0.0.1:8444/es3/callback");
  EXPECT_TRUE(fs::path(c->store_path).is_absolute());
}

TEST_F(ConfigTest, MistakesNameFileAndKey) {
  expect_bad(with("oid = \"2.999.20\"", "oid = \"2.x\""), "smdp.oid", "OID");
  expect_bad(with("es2_url = \"https://127.0.0.1:8443/es2\"", ""), "smdp.es2_url", "required");
  expect_bad(with("es2 = \"127.0.0.1:8443\"", "es2 = \"127.0.0.1\""), "listen.es2", "127.0.0.1:8443");
  expect_bad(with("es2 = \"127.0.0.1:8443\"", "es2 = \"127.0.0.1:99999\""), "listen.es2", "127.0.0.1:8443");
  expect_bad(with("certificate = \"pki/tls-smdp.pem\"", "certificate = \"pki/none.pem\""), "tls.certificate",
             "not found");
  expect_bad(with("role = \"operator\"", "role = \"boss\""), "party[0].role", "operator");
  expect_bad(with("oid = \"2.999.30\"", "oid = \"2.999.10\""), "party[1].oid", "two parties");
  expect_bad(with("oid = \"2.999.30\"", "oid = \"2.999.20\""), "party[1].oid", "smdp.oid");
  expect_bad(with("policy = \"strict\"", "policy = \"lax\""), "custody.policy", "strict");
  expect_bad(with("policy = \"strict\"", "policy = \"core\"") + "\n[core]\ncores = 0\n", "core.cores", "from 1");
  expect_bad(with("policy = \"strict\"", "policy = \"core\"") + "\n[core]\nboards = \"0000:01:00.0\"\n", "core.boards",
             "list of strings");
  expect_bad(good_ + "\n[scp03t]\nengine = \"abacus\"\n", "scp03t.engine", "openssl");
  expect_bad(good_ + "\n[scp03t]\nmemory_mib = 0\n", "scp03t.memory_mib", "from 1");
  expect_bad(with("role = \"smsr\"", "role = \"smsr\"\ninstall = \"slowly\""), "party[1].install", "stepwise");
  expect_bad(with("workers = 2", "workers = 0"), "token.workers", "from 1");
  expect_bad(with("workers = 2", "workers = \"two\""), "token.workers", "whole number");
  expect_bad(with("workers = 2", "workres = 2"), "token.workres", "unknown key");
  expect_bad(with("pin_file = \"token/pin\"", ""), "token.pin_file", "pin_env");
  expect_bad(with("[custody]", "[custdy]"), "custdy", "unknown key");
  expect_bad(with("curve = \"brainpoolP256r1\"", "curve = \"P-256\""), "identity[1].curve", "twice");
  expect_bad(with("[custody]", "[custody"), "smdp.toml:", "");
  expect_bad(good_ + "\n[limits]\nmin_validity_s = -1\n", "limits.min_validity_s", "from 1");
  expect_bad(good_ + "\n[download]\nkey_length = 17\n", "download.key_length", "16, 24 or 32");
}

TEST_F(ConfigTest, AllMistakesAreNamedAtOnce) {
  std::string text = with("oid = \"2.999.20\"", "oid = \"2.x\"");
  const auto change = [&text](const std::string& from, const std::string& to) {
    ASSERT_NE(text.find(from), std::string::npos) << from;
    text.replace(text.find(from), from.size(), to);
  };
  change("es2 = \"127.0.0.1:8443\"", "es2 = \"localhost:8443\"");
  change("key = \"pki/tls-smdp.key\"", "key = \"pki/none.key\"");
  change("role = \"smsr\"", "role = \"smsr\"\ninstall = \"slowly\"\nsynchronous = 1");
  change("uri = \"pkcs11:token", "uri = \"pkcs12:token");
  change("[custody]", "[custdy]");
  expect_all(text + "\n[limits]\ncrypto_threads = 0\nspeed = 9\n",
             {"smdp.oid: ", "listen.es2: \"localhost\" is no IP address", "tls.key: file not found",
              "party[1].install: ", "party[1].synchronous: must be true or false", "token.uri: must be an RFC 7512 URI",
              "custdy: unknown key", "limits.crypto_threads: must be from 1", "limits.speed: unknown key"});
  expect_all("", {"smdp.oid: required", "smdp.es2_url: required", "smdp.es3_url: required", "tls.certificate: required",
                  "tls.key: required", "tls.ca: required", "party: at least one", "pki.ci_roots: required",
                  "identity: at least one", "token.module: required", "token.uri: required",
                  "token.pin_file: give exactly", "token.wrap_key: required", "store.path: required"});
}

TEST_F(ConfigTest, MessagesNeverGoOutInClear) {
  for (const auto& [from, key] : {std::pair("https://127.0.0.1:9444/es3", "party[1].url"),
                                  std::pair("https://127.0.0.1:9443/es2", "party[0].url"),
                                  std::pair("https://127.0.0.1:8443/es2", "smdp.es2_url"),
                                  std::pair("https://127.0.0.1:8444/es3", "smdp.es3_url")})
    expect_bad(with(from, "http" + std::string(from).substr(5)), key, "https://");
  expect_bad(with("role = \"smsr\"", "role = \"smsr\"\ncallback_url = \"http://127.0.0.1:8444/x\""),
             "party[1].callback_url", "https://");
}

TEST_F(ConfigTest, ListenersNeedTwoPlaces) {
  expect_bad(with("es3 = \"127.0.0.1:8444\"", "es3 = \"127.0.0.1:8443\""), "listen.es3", "two ports");
  expect_bad(with("es3 = \"127.0.0.1:8444\"", "es3 = \"0.0.0.0:8443\""), "listen.es3", "two ports");
  EXPECT_TRUE(load(with("es3 = \"127.0.0.1:8444\"", "es3 = \"127.0.0.2:8443\"")).ok());
  for (const char* bad : {"127.0.0.1:0", "127.0.0.1:84x", "127.0.0.1:", ":8444", "127.0.0.1:-1", "127.0.0.1:65536"})
    expect_bad(with("es3 = \"127.0.0.1:8444\"", std::string("es3 = \"") + bad + "\""), "listen.es3", "must look like");
}

// What `keyferry init` writes is what the readers take, whatever its options; what they would not take is refused.
TEST_F(ConfigTest, InitWritesOnlyWhatIsGood) {
  InitOptions o;
  o.dir = dir_.string();
  const auto written = [](const InitOptions& x) {
    return load(initial_config(x, "keyferry", (dir_ / "module.so").string()));
  };
  o.bind = "::1";
  ASSERT_TRUE(check_init_options(o).ok());
  auto c = written(o);
  ASSERT_TRUE(c.ok()) << c.error().text();
  EXPECT_EQ(c->es2_address, "::1");
  EXPECT_EQ(c->es2_url, "https://[::1]:8443/es2");
  o.bind = "0.0.0.0";
  o.host = "smdp.example";
  ASSERT_TRUE(check_init_options(o).ok());
  c = written(o);
  ASSERT_TRUE(c.ok()) << c.error().text();
  EXPECT_EQ(c->es2_address, "0.0.0.0");
  EXPECT_EQ(c->es3_url, "https://smdp.example:8444/es3");

  const auto refused = [](auto change, const std::string& option) {
    InitOptions x;
    x.dir = dir_.string();
    change(x);
    const Status s = check_init_options(x);
    ASSERT_FALSE(s.ok()) << option;
    EXPECT_EQ(s.error().reason, "usage");
    EXPECT_NE(s.error().detail.find(option), std::string::npos) << s.error().detail;
  };
  refused([](InitOptions& x) { x.dir = ""; }, "--dir");
  refused([](InitOptions& x) { x.dir = std::string(120, 'd'); }, "--dir");
  refused([](InitOptions& x) { x.bind = "localhost"; }, "--bind");
  refused([](InitOptions& x) { x.bind = ""; }, "--bind");
  refused([](InitOptions& x) { x.bind = "0.0.0.0"; }, "--host");
  refused([](InitOptions& x) { x.bind = "::"; }, "--host");
  refused([](InitOptions& x) { x.host = "no/host"; }, "--host");
  refused([](InitOptions& x) { x.es2_port = 0; }, "--es2-port");
  refused([](InitOptions& x) { x.es3_port = x.es2_port; }, "two ports");
  refused([](InitOptions& x) { x.smsr_url = "http://127.0.0.1/es3"; }, "--smsr-url");
  refused([](InitOptions& x) { x.operator_url = "nowhere"; }, "--operator-url");
}

TEST_F(ConfigTest, SeveralTokensAndTheLimitsOfTheHsm) {
  const std::string one = good_.substr(good_.find("[token]"), good_.find("[custody]") - good_.find("[token]"));
  ASSERT_NE(one.find("[token.environment]"), std::string::npos);
  std::string list = one;
  list.replace(0, 7, "[[token]]\nname = \"a\"");
  std::string second = list;
  second.replace(second.find("\"a\""), 3, "\"b\"");
  second.replace(second.find("workers = 2"), 11, "workers = 5\nthreads = 7");
  const auto c = load(with(one, list + second + "[hsm]\nentries = 77\njob_limit_ms = 900\nkeep_alive_s = 0\n"));
  ASSERT_TRUE(c.ok()) << c.error().text();
  ASSERT_EQ(c->hsm.tokens.size(), 2U);
  EXPECT_EQ(c->hsm.tokens[0].name, "a");
  EXPECT_EQ(c->hsm.tokens[0].workers, 2U);
  EXPECT_EQ(c->hsm.tokens[0].threads, 1U);
  EXPECT_EQ(c->hsm.tokens[1].name, "b");
  EXPECT_EQ(c->hsm.tokens[1].workers, 5U);
  EXPECT_EQ(c->hsm.tokens[1].threads, 7U);
  for (const auto& t : c->hsm.tokens) {
    ASSERT_EQ(t.environment.size(), 1U);
    EXPECT_TRUE(fs::path(t.environment[0].second).is_absolute());
  }
  EXPECT_EQ(c->hsm.ring_entries, 77U);
  EXPECT_EQ(c->hsm.job_limit, std::chrono::milliseconds(900));
  EXPECT_EQ(c->hsm.keep_alive.count(), 0);

  std::string other_wrap = second;
  other_wrap.replace(other_wrap.find("wrap_key = \""), 12, "wrap_key = \"x");
  expect_bad(with(one, list + other_wrap), "token[1].wrap_key", "same for all tokens");
  expect_all(with(one, list + second + second.substr(0, 9) + "\n"),
             {"token[2].module: required", "token[2].uri: required", "token[2].wrap_key: required",
              "token[2].pin_file: give exactly one"});
  expect_bad(with("pin_file = \"token/pin\"", "pin_file = \"token/pin\"\npin_credential = \"c\""), "token.pin_file",
             "exactly one");
  expect_bad(with("[custody]", "[hsm]\ncall_limit_ms = 0\n[custody]"), "hsm.call_limit_ms", "from 10");
}

// The block that `keyferry probe` prints is pasted in place of [token].
TEST_F(ConfigTest, TheProbesBlockIsGood) {
  hsm::ProbeReport r;
  r.module_path = (dir_ / "module.so").string();
  r.token_uri = "pkcs11:token=my%20token;serial=0815";
  r.config.pin_file = (dir_ / "token" / "pin").string();
  r.config.environment = {{"SOFTHSM2_CONF", (dir_ / "token" / "softhsm2.conf").string()}, {"odd.name", "a \"b\"\n"}};
  r.processes.resize(3);
  for (unsigned i = 0; i < 3; ++i) {
    r.processes[i].processes = i + 1;
    r.processes[i].per_second = 100.0 * (i + 1);
  }
  const hsm::ProbeAdvice a = hsm::advise(r);
  const std::size_t from = good_.find("[token]");
  const auto c = load(std::string(good_).replace(from, good_.find("[custody]") - from, a.toml));
  ASSERT_TRUE(c.ok()) << c.error().text() << "\n" << a.toml;
  ASSERT_EQ(c->hsm.tokens.size(), 1U);
  const hsm::TokenConfig& t = c->hsm.tokens.front();
  EXPECT_EQ(t.module_path, r.module_path);
  EXPECT_EQ(t.token_uri, r.token_uri);
  EXPECT_EQ(t.pin_file, r.config.pin_file);
  EXPECT_EQ(t.workers, 3U);
  EXPECT_EQ(t.threads, 1U);
  auto environment = t.environment;
  std::sort(environment.begin(), environment.end());
  EXPECT_EQ(environment, r.config.environment);
}

TEST_F(ConfigTest, AFileThatIsNotThere) {
  const auto c = load_config((dir_ / "none.toml").string());
  ASSERT_FALSE(c.ok());
  EXPECT_NE(c.error().detail.find("none.toml"), std::string::npos);
  EXPECT_NE(c.error().detail.find("keyferry init"), std::string::npos) << "the way out";
}

TEST_F(ConfigTest, OptionsReachTheirPlace) {
  const auto c = load(
      good_ +
      "\n[download]\nkey_set = \"base-key\"\nkey_length = 24\nderivation_random = false\nkey_set_after = \"forget\"\n"
      "[[download.certified]]\ntype = \"SimChip-1\"\n"
      "[[download.profile_type]]\nname = \"meter\"\n[[download.profile_type.compatible]]\nversion = \"4.2.0\"\n"
      "[timeouts]\ncard_s = 7\n");
  ASSERT_TRUE(c.ok()) << c.error().text();
  EXPECT_EQ(c->plan.key_usage, 0x5C);
  EXPECT_EQ(c->plan.key_length, 24);
  EXPECT_EQ(c->plan.scenario_param, 0x09);
  EXPECT_FALSE(c->keep_key_set);
  EXPECT_EQ(c->timeouts.card, 7000);
  ASSERT_EQ(c->certified.size(), 1U);
  EXPECT_EQ(c->certified[0].type, "SimChip-1");
  ASSERT_EQ(c->profile_types.size(), 1U);
  EXPECT_EQ(c->profile_types[0].compatible.at(0).version, "4.2.0");
}

TEST_F(ConfigTest, RoutesFollowFromCustodyAndStayWithinIt) {
  using E = EngineName;
  const auto routed = [](const std::string& policy, const std::string& routing) {
    return with("policy = \"strict\"", "policy = \"" + policy + "\"\n\n[routing]\n" + routing);
  };
  for (const auto& [policy, engine] : {std::pair("strict", E::hsm), {"core", E::core}, {"hybrid", E::software}}) {
    const auto c = load(routed(policy, ""));
    ASSERT_TRUE(c.ok()) << c.error().text();
    EXPECT_EQ(c->routes.ephemeral, std::vector{engine}) << policy;
    EXPECT_EQ(c->routes.verify, std::vector{E::software});
    EXPECT_EQ(c->hsm.sign_only, engine != E::hsm);
  }
  const auto c = load(routed("core", "ephemeral = [\"core\", \"hsm\"]\nverify = \"core\"\n"));
  ASSERT_TRUE(c.ok()) << c.error().text();
  EXPECT_EQ(c->routes.ephemeral, (std::vector{E::core, E::hsm}));
  EXPECT_EQ(c->routes.verify, std::vector{E::core});
  EXPECT_FALSE(c->hsm.sign_only) << "the token needs ECDH then";
  expect_bad(routed("core", "ephemeral = [\"core\", \"software\"]"), "routing.ephemeral", "custody core allows");
  expect_bad(routed("strict", "ephemeral = \"core\""), "routing.ephemeral", "\"hsm\"");
  expect_bad(routed("hybrid", "verify = \"hsm\""), "routing.verify", "not among");
  expect_bad(routed("hybrid", "verify = [\"core\", \"core\"]"), "routing.verify", "twice");
  expect_bad(routed("hybrid", "sign = \"core\""), "routing.sign", "unknown key");
}

}  // namespace
}  // namespace kf::server
