// The core's module as one more token of the HSM engine, and under `keyferry probe`.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>

#include "hsm/probe/probe.hpp"
#include "tests/hsm/token_fixture.hpp"
#include "tests/p11module/support.hpp"

namespace kf::p11test {
namespace {

using hsm::HsmConfig;
using hsm::TokenConfig;
using State = hsm::ProbeAttempt::State;
using Answer = hsm::CustodyVerdict::Answer;

HsmConfig core_token(const Scratch& dir) {
  dir.write("pin", "the token asks for none\n");
  ::chmod(dir.file("pin").c_str(), 0600);
  HsmConfig c;
  // A simulated core on a machine with much else to do.
  c.call_limit = std::chrono::seconds(60);
  c.job_limit = std::chrono::seconds(120);
  TokenConfig t;
  t.name = "core";
  t.module_path = kModule;
  t.token_uri = "pkcs11:token=keyferry-core-0";
  t.pin_file = dir.file("pin");
  t.workers = 1;
  t.threads = 8;
  c.tokens.push_back(std::move(t));
  return c;
}

// Strict custody's request on the core: generated, agreed and destroyed in a worker's one job, values by OpenSSL.
TEST(AsToken, EphemeralEckaThroughTheHsmEngine) {
  const Scratch dir;
  auto e = hsm::HsmEngine::start(core_token(dir));
  ASSERT_TRUE(e.ok()) << e.error().text();
  std::vector<hsm::testing::EckaCase> cases;
  std::vector<EccRequest> requests;
  for (std::uint64_t i = 0; i < 48; ++i) {
    cases.push_back(hsm::testing::ecka_case(i, kBoth[i % 2]));
    requests.push_back(cases.back().request);
  }
  const auto answers = hsm::testing::run_all(**e, requests);
  for (const auto& k : cases) {
    const EccCompletion& c = answers.at(k.request.id);
    ASSERT_EQ(c.status, EccStatus::ok) << to_string(c.status);
    const auto z = ecka(k.request.curve, k.peer_d.expose(), c.epk);
    ASSERT_TRUE(z.ok());
    EXPECT_TRUE(equal_ct(z->expose(), c.shs.expose()));
  }
  EXPECT_EQ((*e)->session_objects().value(), 0U);
  // Verification with an imported key, too.
  const KeyPair signer = generate_key_pair(Curve::p256);
  EccRequest r;
  r.id = 1000;
  r.op = EccOp::verify;
  r.curve = Curve::p256;
  r.peer = signer.q;
  r.hash = sha256(random_bytes(3));
  r.signature = ecdsa_sign(Curve::p256, signer.d.expose(), r.hash);
  EXPECT_EQ(hsm::testing::run_all(**e, {r}).at(1000).status, EccStatus::ok);
  r.id = 1001;
  r.signature[1] ^= 1;
  EXPECT_EQ(hsm::testing::run_all(**e, {r}).at(1001).status, EccStatus::bad_signature);
  // No identity key lives here.
  EXPECT_EQ(hsm::testing::run_all(**e, {hsm::testing::sign_request(7, Curve::p256)}).at(7).status, EccStatus::no_key);
}

TEST(AsToken, AnIdentityKeyCannotLiveThere) {
  const Scratch dir;
  HsmConfig c = core_token(dir);
  c.identity_keys.push_back({Curve::p256, "SK.DP.ECDSA P-256", std::nullopt});
  const auto e = hsm::HsmEngine::start(c);
  ASSERT_FALSE(e.ok());
  EXPECT_EQ(e.error().reason, "hsm-key");
  EXPECT_NE(e.error().detail.find("write-protected"), std::string::npos) << e.error().text();
}

TEST(AsToken, TheProbeSaysWhatItIs) {
  hsm::ProbeOptions o;
  o.token.module_path = kModule;
  o.seconds = 0;
  const auto r = hsm::probe(o, {});
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_TRUE(r->tried) << "no PIN is needed";
  EXPECT_FALSE(r->logged_in);
  ASSERT_NE(r->probed(), nullptr);
  EXPECT_NE(r->probed()->description.find("SIMULATED"), std::string::npos);
  ASSERT_EQ(r->curves.size(), 2U);
  for (const hsm::ProbeCurve& c : r->curves) {
    EXPECT_TRUE(c.pair.good()) << c.pair.why;
    EXPECT_TRUE(c.destroyed.good()) << c.destroyed.why;
    EXPECT_TRUE(c.ecdh_raw.good()) << c.ecdh_raw.why;
    EXPECT_TRUE(c.ecdh_der.good()) << c.ecdh_der.why;
    EXPECT_TRUE(c.without_value_len.good()) << c.without_value_len.why;
    EXPECT_TRUE(c.sign.good()) << c.sign.why;
    EXPECT_TRUE(c.verify_der.good()) << c.verify_der.why;
    EXPECT_TRUE(c.copy.good()) << c.copy.why;
    EXPECT_EQ(c.off_curve.state, State::refused);
    EXPECT_NE(c.off_curve.why.find("CKR_MECHANISM_PARAM_INVALID"), std::string::npos) << c.off_curve.why;
    for (const auto& [name, a] : c.kdfs) EXPECT_EQ(a.good(), name == "CKD_SHA256_KDF") << name << a.why;
  }
  EXPECT_EQ(r->key_count, 0U);
  EXPECT_EQ(r->objects_left, 0U);
  EXPECT_TRUE(r->incidents.empty());
  EXPECT_TRUE(r->ended.good()) << r->ended.why;
  EXPECT_EQ(r->random.state, State::refused);
  EXPECT_EQ(r->aes_key.state, State::refused);
  // A token for a server needs a wrap key and keys that last; the core's place is custody `core`.
  for (const auto& v : hsm::judge(*r)) EXPECT_EQ(v.answer, Answer::no) << v.policy << ": " << v.text;
}

TEST(AsToken, TheProbeCommand) {
  const Scratch dir;
  std::vector<std::string> args{"keyferry", "probe", "--module", kModule, "--seconds", "0"};
  std::vector<char*> argv;
  for (std::string& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t to_file;
  posix_spawn_file_actions_init(&to_file);
  posix_spawn_file_actions_addopen(&to_file, STDOUT_FILENO, dir.file("page").c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&to_file, STDERR_FILENO, dir.file("said").c_str(), O_WRONLY | O_CREAT, 0600);
  pid_t pid = -1;
  ASSERT_EQ(::posix_spawn(&pid, KF_BIN_DIR "/keyferry", &to_file, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&to_file);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << dir.read("said");
  const std::string page = dir.read("page");
  for (const char* part : {"SIMULATED", "keyferry-core-0", "CKM_AES_KEY_GEN is missing", "CKM_ECDH1_DERIVE"})
    EXPECT_NE(page.find(part), std::string::npos) << part << "\n" << page;
}

}  // namespace
}  // namespace kf::p11test
