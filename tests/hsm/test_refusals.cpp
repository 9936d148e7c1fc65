// Start-up that must fail, clearly and without harm: every reason of HsmEngine::start.
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <fstream>

#include "hsm/setup/softhsm.hpp"
#include "hsm/setup/test_token.hpp"
#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm {
namespace {

using namespace testing;

Error refusal(const HsmConfig& c) {
  const auto e = HsmEngine::start(c);
  return e.ok() ? Error{"", "started"} : e.error();
}
void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

TEST(Refusals, WrongPinIsTriedOnce) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;  // not even by the second worker
  s.config.tokens.front().pin_file = dir.path() + "/wrong";
  write(s.config.tokens.front().pin_file, "00000000\n");
  const Error e = refusal(s.config);
  EXPECT_EQ(e.reason, "hsm-pin") << e.text();
  EXPECT_NE(e.detail.find("CKR_PIN_INCORRECT"), std::string::npos) << e.text();
  EXPECT_EQ(e.detail.find("00000000"), std::string::npos) << "the PIN must not be in the message";
  EXPECT_EQ(s.shim.count("C_Login"), 1U);  // L20
}

TEST(Refusals, NoTryWhenTheTokenWarnsOfTheLast) {
  const ScratchDir dir;
  for (const char* rules : {"token-flags 0x20000", "token-flags 0x40000"}) {  // USER_PIN_FINAL_TRY, USER_PIN_LOCKED
    const Shimmed s = shimmed(dir, rules);
    const Error e = refusal(s.config);
    EXPECT_EQ(e.reason, "hsm-pin") << e.text();
    EXPECT_EQ(s.shim.count("C_Login"), 0U);
  }
}

TEST(Refusals, PinSources) {
  const ScratchDir dir;
  HsmConfig c = token_config();
  const std::string good_file = c.tokens.front().pin_file;
  c.tokens.front().pin_file = dir.path() + "/absent";
  EXPECT_EQ(refusal(c).reason, "hsm-pin");
  c.tokens.front().pin_file = dir.path() + "/empty";
  write(c.tokens.front().pin_file, "\n");
  EXPECT_EQ(refusal(c).reason, "hsm-pin");
  c.tokens.front().pin_file = dir.path() + "/long";
  write(c.tokens.front().pin_file, std::string(300, '1'));
  EXPECT_EQ(refusal(c).reason, "hsm-pin");
  c.tokens.front().pin_file.clear();
  EXPECT_EQ(refusal(c).reason, "hsm-pin") << "neither file nor variable";
  c.tokens.front().pin_env = "KEYFERRY_TEST_PIN_THAT_IS_NOT_SET";
  EXPECT_EQ(refusal(c).reason, "hsm-pin");
  c.tokens.front().pin_env = "KEYFERRY_TEST_PIN";
  std::string pin;
  std::getline(std::ifstream(good_file), pin);
  c.tokens.front().environment.emplace_back(c.tokens.front().pin_env, pin);
  const auto e = HsmEngine::start(c);
  ASSERT_TRUE(e.ok()) << e.error().text();
  // Wiped in the worker, where other processes of the same user could read it.
  std::ifstream environ_of_worker("/proc/" + std::to_string((*e)->worker_pids().at(0)) + "/environ");
  const std::string all((std::istreambuf_iterator<char>(environ_of_worker)), std::istreambuf_iterator<char>());
  EXPECT_NE(all.find("SOFTHSM2_CONF"), std::string::npos);
  EXPECT_EQ(all.find(pin), std::string::npos);
}

TEST(Refusals, ModuleWorkerTokenKey) {
  const struct {
    const char* what;
    void (*change)(HsmConfig&);
    const char* reason;
    const char* mentions;
  } rows[] = {
      {"module absent", [](HsmConfig& c) { c.tokens.front().module_path = "/nonexistent/p11.so"; }, "hsm-module",
       "/nonexistent/p11.so"},
      {"module is no module", [](HsmConfig& c) { c.tokens.front().module_path = "libm.so.6"; }, "hsm-module",
       "C_GetFunctionList"},
      {"module empty", [](HsmConfig& c) { c.tokens.front().module_path.clear(); }, "hsm-module", "no PKCS#11 module"},
      {"module's own configuration",
       [](HsmConfig& c) {
         c.tokens.front().environment = {{"SOFTHSM2_CONF", "/nonexistent.conf"}};
       },
       "hsm-module", "C_Initialize"},
      {"worker absent", [](HsmConfig& c) { c.worker_path = "/nonexistent/worker"; }, "hsm-worker",
       "/nonexistent/worker"},
      {"worker is another program", [](HsmConfig& c) { c.worker_path = "/bin/false"; }, "hsm-worker", "exit status 1"},
      {"no workers", [](HsmConfig& c) { c.tokens.front().workers = 0; }, "hsm-worker", "workers"},
      {"no ring", [](HsmConfig& c) { c.ring_entries = 0; }, "hsm-worker", "ring_entries"},
      {"token absent", [](HsmConfig& c) { c.tokens.front().token_uri = "pkcs11:token=other"; }, "hsm-token",
       "keyferry-test"},
      {"token by serial", [](HsmConfig& c) { c.tokens.front().token_uri = "pkcs11:token=keyferry-test;serial=0000"; },
       "hsm-token", "no token matches"},
      {"URI malformed", [](HsmConfig& c) { c.tokens.front().token_uri = "token=keyferry-test"; }, "hsm-token",
       "malformed"},
      {"URI bad escape", [](HsmConfig& c) { c.tokens.front().token_uri = "pkcs11:token=a%2"; }, "hsm-token",
       "malformed"},
      {"PIN in the URI", [](HsmConfig& c) { c.tokens.front().token_uri = "pkcs11:token=keyferry-test?pin-value=1234"; },
       "hsm-token", "pin_file"},
      {"key absent", [](HsmConfig& c) { c.identity_keys[0].label = "nobody"; }, "hsm-key", "nobody"},
      {"key on another curve", [](HsmConfig& c) { c.identity_keys[0].curve = Curve::brainpool_p256r1; }, "hsm-key",
       "another curve"},
      {"key on FRP256v1", [](HsmConfig& c) { c.identity_keys[0].curve = Curve::frp256v1; }, "hsm-key", "not supported"},
      {"wrap key absent", [](HsmConfig& c) { c.wrap_key_label = "no such KEK"; }, "hsm-key", "no such KEK"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    HsmConfig c = token_config();
    row.change(c);
    const Error e = refusal(c);
    EXPECT_EQ(e.reason, row.reason) << e.text();
    EXPECT_NE(e.detail.find(row.mentions), std::string::npos) << e.text();
    EXPECT_EQ(e.detail.find("1234"), std::string::npos);
  }
}

TEST(Refusals, AWorkerThatNeverGetsReadyIsGivenUp) {
  const ScratchDir dir;
  HsmConfig c = token_config();
  c.worker_path = dir.path() + "/sleeper";
  write(c.worker_path, "#!/bin/sh\nexec sleep 60\n");
  ASSERT_EQ(::chmod(c.worker_path.c_str(), 0700), 0);
  c.start_limit = std::chrono::milliseconds(300);
  const auto t0 = std::chrono::steady_clock::now();
  const Error e = refusal(c);
  EXPECT_EQ(e.reason, "hsm-worker") << e.text();
  EXPECT_NE(e.detail.find("not ready within 300 ms"), std::string::npos) << e.text();
  EXPECT_LT(std::chrono::steady_clock::now() - t0, std::chrono::seconds(5));
}

TEST(SetUp, IsIdempotentAndAddsWhatIsMissing) {
  const ScratchDir dir;
  auto s = softhsm_setup(dir.path(), "a label, with blanks");
  ASSERT_TRUE(s.ok()) << s.error().text();
  struct stat st {};
  for (const std::string& f : {s->so_pin_file, s->config.tokens.front().pin_file}) {
    ASSERT_EQ(::stat(f.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777U, 0600U) << f;
  }
  const auto keys = s->config.identity_keys;
  s->config.identity_keys = {keys[0]};
  auto first = set_up_token(*s);
  ASSERT_TRUE(first.ok()) << first.error().text();
  EXPECT_TRUE(first->token_created);
  EXPECT_EQ(first->keys_created, (std::vector<std::string>{keys[0].label, "KEK"}));
  auto second = set_up_token(*s);
  ASSERT_TRUE(second.ok()) << second.error().text();
  EXPECT_FALSE(second->token_created);
  EXPECT_TRUE(second->keys_created.empty());
  Point before{};
  {
    s->config.tokens.front().workers = 1;
    const auto e = start(s->config);
    ASSERT_TRUE(e);
    before = *e->public_key(keys[0].curve);
  }
  s->config.identity_keys = keys;
  // The files stay as they are: a second softhsm_setup must not lose the PIN of the token.
  ASSERT_TRUE(softhsm_setup(dir.path(), "a label, with blanks").ok());
  auto third = set_up_token(*s);
  ASSERT_TRUE(third.ok()) << third.error().text();
  EXPECT_EQ(third->keys_created, (std::vector<std::string>{keys[1].label}));
  const auto e = start(s->config);
  ASSERT_TRUE(e);
  EXPECT_EQ(*e->public_key(keys[0].curve), before);
  EXPECT_TRUE(e->public_key(keys[1].curve).ok());
}

TEST(SetUp, SaysWhatIsWrong) {
  const ScratchDir dir;
  auto s = softhsm_setup(dir.path(), "t");
  ASSERT_TRUE(s.ok());
  TokenSetup bad = *s;
  bad.so_pin_file = dir.path() + "/absent";
  EXPECT_EQ(set_up_token(bad).error().reason, "hsm-pin");
  bad = *s;
  bad.token_label = std::string(33, 'x');
  EXPECT_EQ(set_up_token(bad).error().reason, "hsm-token");
  bad = *s;
  bad.config.tokens.front().token_uri = "pkcs11:token=other";
  EXPECT_EQ(set_up_token(bad).error().reason, "hsm-token") << "the server would look for another token";
}

}  // namespace
}  // namespace kf::hsm
