// The probe against real modules: SoftHSM, SoftHSM behind the fault shim, p11-kit remoting, opencryptoki where it runs,
// and files that are no module.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "hsm/probe/probe.hpp"
#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm::testing {
namespace {
namespace fs = std::filesystem;

using Answer = CustodyVerdict::Answer;
using State = ProbeAttempt::State;
constexpr const char* kP256Key = "SK.DP.ECDSA P-256";
constexpr const char* kBrainpoolKey = "SK.DP.ECDSA brainpoolP256r1";

ProbeOptions options(const TokenConfig& t, bool with_identity = true) {
  ProbeOptions o;
  o.token = t;
  o.seconds = 0;
  if (with_identity) o.identity = {kP256Key, kBrainpoolKey};
  return o;
}
ProbeReport must(const ProbeOptions& o) {
  auto r = probe(o, {});
  if (!r) {
    ADD_FAILURE() << r.error().text();
    return {};
  }
  return std::move(*r);
}
CustodyVerdict verdict(const ProbeReport& r, const std::string& policy) {
  for (CustodyVerdict& v : judge(r)) {
    if (v.policy == policy) return v;
  }
  return {};
}
const ProbeCurve& p256(const ProbeReport& r) {
  static const ProbeCurve none;
  return r.curves.empty() ? none : r.curves.front();
}
bool listed(const ProbeReport& r, std::string_view name) {
  const ProbeSlot* s = r.probed();
  return s != nullptr && std::any_of(s->mechanisms.begin(), s->mechanisms.end(),
                                     [&](const ProbeMechanism& m) { return m.name == name && m.listed; });
}
bool mentions(const std::vector<std::string>& list, std::string_view part) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& s) { return s.find(part) != std::string::npos; });
}

TEST(Probe, SoftHsm) {
  ProbeOptions o = options(token_config().tokens.front());
  o.seconds = 0.3;
  o.max_threads = 2;
  o.max_processes = 2;
  const ProbeReport r = must(o);
  EXPECT_NE(r.library.find("SoftHSM"), std::string::npos) << r.library;
  ASSERT_NE(r.probed(), nullptr);
  EXPECT_EQ(r.probed()->token->label, "keyferry-test");
  EXPECT_EQ(r.probed()->token->sessions_max, "no limit");
  EXPECT_TRUE(r.logged_in);
  for (const char* m : {"CKM_EC_KEY_PAIR_GEN", "CKM_ECDSA", "CKM_ECDH1_DERIVE", "CKM_AES_GCM", "CKM_AES_KEY_WRAP"}) {
    EXPECT_TRUE(listed(r, m)) << m;
  }
  EXPECT_FALSE(listed(r, "CKM_ECDSA_SHA256"));
  EXPECT_EQ(r.key_count, 5U);
  ASSERT_EQ(r.identities.size(), 2U);
  for (const ProbeIdentity& i : r.identities) {
    EXPECT_TRUE(i.sign.good()) << i.sign.why;
    EXPECT_TRUE(i.copy.good()) << i.copy.why;
    EXPECT_TRUE(i.copy_guarded);
  }
  EXPECT_EQ(r.identities[1].curve, Curve::brainpool_p256r1);
  ASSERT_EQ(r.curves.size(), 2U);
  for (const ProbeCurve& c : r.curves) {
    for (const ProbeAttempt* a :
         {&c.pair, &c.destroyed, &c.ecdh_raw, &c.ecdh_der, &c.without_value_len, &c.sign, &c.verify_der, &c.copy}) {
      EXPECT_TRUE(a->good()) << curve_name(c.curve) << ": " << a->why;
    }
    EXPECT_FALSE(c.read_write);
    EXPECT_TRUE(c.point_der);
    EXPECT_EQ(c.value_octets, 32U);
    EXPECT_EQ(c.off_curve.why, "C_DeriveKey: CKR_GENERAL_ERROR");
    EXPECT_FALSE(c.verify_raw.good());
    ASSERT_EQ(c.kdfs.size(), 4U);
    for (const auto& [name, a] : c.kdfs) EXPECT_EQ(a.why, "C_DeriveKey: CKR_MECHANISM_PARAM_INVALID") << name;
  }
  for (const ProbeAttempt* a : {&r.random, &r.aes_key, &r.gcm, &r.key_wrap, &r.key_wrap_pad, &r.sessions, &r.ended}) {
    EXPECT_TRUE(a->good()) << a->why;
  }
  EXPECT_EQ(r.sessions_opened, 64U);
  EXPECT_EQ(r.objects_left, 0U);
  EXPECT_TRUE(r.incidents.empty());
  EXPECT_TRUE(r.left_out.empty());
  EXPECT_EQ(verdict(r, "strict").text, "yes, on P-256 and brainpoolP256r1");
  EXPECT_GT(r.return_codes.size(), 40U);

  EXPECT_EQ(r.operations.size(), 10U) << "five kinds on two curves";
  for (const ProbeRate& p : r.operations) {
    EXPECT_TRUE(p.problem.empty()) << p.problem;
    EXPECT_GT(p.per_second, 0);
    EXPECT_GT(p.p50_us, 0);
  }
  ASSERT_EQ(r.threads.size(), 2U);
  ASSERT_EQ(r.processes.size(), 2U);
  EXPECT_EQ(r.processes[1].kind, DirectKind::set);
  const std::string text = to_text(document(r, {"keyferry", "now"}));
  EXPECT_NE(text.find("wrap_key = \"KEK\""), std::string::npos) << text;
  EXPECT_NE(text.find("copy into a session"), std::string::npos);
}

TEST(Probe, WithoutPinOnlyTheSurvey) {
  TokenConfig t = token_config().tokens.front();
  t.token_uri.clear();  // the only initialised one is taken
  t.pin_file.clear();
  const ProbeReport r = must(options(t));
  ASSERT_NE(r.probed(), nullptr);
  EXPECT_EQ(r.probed()->token->label, "keyferry-test");
  EXPECT_FALSE(r.tried);
  EXPECT_TRUE(r.curves.empty());
  EXPECT_TRUE(mentions(r.left_out, "--pin-file"));
  EXPECT_EQ(verdict(r, "strict").answer, Answer::unknown);
}

TEST(Probe, TheTokenMustBeChosen) {
  TokenConfig t = token_config().tokens.front();
  t.token_uri = "pkcs11:token=another";
  ProbeReport r = must(options(t));
  EXPECT_EQ(r.probed(), nullptr);
  EXPECT_TRUE(mentions(r.left_out, "no token matches"));
  EXPECT_TRUE(mentions(r.left_out, "keyferry-test")) << "says which there are";

  const ScratchDir empty;  // a SoftHSM without any token
  fs::create_directory(empty.path() + "/tokens");
  std::ofstream(empty.path() + "/conf") << "directories.tokendir = " << empty.path() << "/tokens\n";
  t.token_uri.clear();
  t.environment = {{"SOFTHSM2_CONF", empty.path() + "/conf"}};
  r = must(options(t));
  EXPECT_TRUE(mentions(r.left_out, "no initialised one"));
  EXPECT_EQ(verdict(r, "strict").answer, Answer::unknown) << "the list of the empty slot has all";
}

TEST(Probe, AWrongPinIsTriedOnce) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  std::ofstream(dir.path() + "/pin") << "99999999\n";
  fs::permissions(dir.path() + "/pin", fs::perms::owner_read | fs::perms::owner_write);
  s.config.tokens.front().pin_file = dir.path() + "/pin";
  ProbeOptions o = options(s.config.tokens.front());
  o.seconds = 0.1;
  const ProbeReport r = must(o);
  EXPECT_EQ(s.shim.count("C_Login"), 1U);
  EXPECT_FALSE(r.logged_in);
  EXPECT_TRUE(mentions(r.left_out, "CKR_PIN_INCORRECT"));
  EXPECT_FALSE(mentions(r.left_out, "99999999"));
}

TEST(Probe, NothingStaysInTheToken) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir);
  const std::uint64_t before = must(options(s.config.tokens.front())).key_count;
  EXPECT_EQ(must(options(s.config.tokens.front())).key_count, before);
  EXPECT_EQ(s.shim.count("C_InitToken") + s.shim.count("C_SetPIN") + s.shim.count("C_InitPIN"), 0U);
}

// What a module wants, or lacks, is found by trying.
struct Quirk {
  const char* rules;
  void (*check)(const ProbeReport&);
};
class ProbeQuirks : public ::testing::TestWithParam<Quirk> {};
TEST_P(ProbeQuirks, AreFound) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir, GetParam().rules);
  const ProbeReport r = must(options(s.config.tokens.front()));
  EXPECT_TRUE(r.logged_in);
  GetParam().check(r);
}
const Quirk kQuirks[] = {
    {"hide-mechanism CKM_ECDH1_DERIVE",
     [](const ProbeReport& r) {
       EXPECT_EQ(verdict(r, "strict").text, "no: CKM_ECDH1_DERIVE is missing (C_DeriveKey: CKR_MECHANISM_INVALID)");
       EXPECT_EQ(verdict(r, "hybrid").answer, Answer::yes);
       EXPECT_FALSE(listed(r, "CKM_ECDH1_DERIVE"));
     }},
    {"der-only\nneed-value-len",
     [](const ProbeReport& r) {
       EXPECT_FALSE(p256(r).ecdh_raw.good());
       EXPECT_TRUE(p256(r).ecdh_der.good());
       EXPECT_EQ(p256(r).without_value_len.why, "C_DeriveKey: CKR_TEMPLATE_INCOMPLETE");
       EXPECT_EQ(verdict(r, "strict").answer, Answer::yes);
     }},
    {"raw-only\nrefuse-value-len",
     [](const ProbeReport& r) {
       EXPECT_FALSE(p256(r).ecdh_raw.good());
       EXPECT_TRUE(p256(r).without_value_len.good()) << p256(r).without_value_len.why;
       EXPECT_TRUE(p256(r).ecdh());
     }},
    {"der-only\nrefuse-value-len",
     [](const ProbeReport& r) {
       EXPECT_TRUE(p256(r).without_value_len.good()) << p256(r).without_value_len.why;
       EXPECT_EQ(p256(r).off_curve.state, State::refused);
     }},
    {"forbid-copy",
     [](const ProbeReport& r) {
       ASSERT_EQ(r.identities.size(), 2U);
       EXPECT_EQ(r.identities[0].copy.why, "C_CopyObject: CKR_FUNCTION_NOT_SUPPORTED");
       EXPECT_EQ(verdict(r, "strict").answer, Answer::yes) << "signs with the key itself";
     }},
    {"sessions 5",
     [](const ProbeReport& r) {
       EXPECT_EQ(r.sessions_opened, 4U) << "and the keeper";
       EXPECT_EQ(r.sessions.why, "C_OpenSession: CKR_SESSION_COUNT");
       EXPECT_EQ(advise(r).workers, 1U);
     }},
    {"announce max-sessions 1\nannounce max-rw-sessions all-ones",
     [](const ProbeReport& r) {
       EXPECT_EQ(r.probed()->token->sessions_max, "1");
       EXPECT_EQ(r.probed()->token->rw_sessions_max, "not told");
       EXPECT_EQ(r.sessions_opened, 64U) << "the announcement is not believed";
     }},
    {"rv C_DestroyObject always CKR_ACTION_PROHIBITED",
     [](const ProbeReport& r) {
       EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
       EXPECT_EQ(p256(r).destroyed.why, "C_DestroyObject: CKR_ACTION_PROHIBITED");
       EXPECT_GT(r.objects_left.value_or(0), 0U);
     }},
    {"rv C_EncryptInit always CKR_MECHANISM_INVALID",
     [](const ProbeReport& r) { EXPECT_EQ(verdict(r, "hybrid").answer, Answer::no); }},
    {"hide-object \"SK.DP.ECDSA P-256\"",
     [](const ProbeReport& r) {
       ASSERT_EQ(r.identities.size(), 2U);
       EXPECT_FALSE(r.identities[0].found.good());
       EXPECT_TRUE(r.identities[1].sign.good());
     }},
    {"wrong-key \"SK.DP.ECDSA P-256\" \"SK.DP.ECDSA brainpoolP256r1\" private",
     [](const ProbeReport& r) { EXPECT_FALSE(r.identities.at(0).found.good() && r.identities.at(0).sign.good()); }},
};
INSTANTIATE_TEST_SUITE_P(Shim, ProbeQuirks, ::testing::ValuesIn(kQuirks));

TEST(ProbeFaults, CrashWhileLoading) {
  for (const char* rules : {"crash C_Initialize always segv", "crash C_GetSlotList always"}) {
    const ScratchDir dir;
    const Shimmed s = shimmed(dir, rules);
    const auto r = probe(options(s.config.tokens.front()), {});
    ASSERT_FALSE(r.ok()) << rules;
    EXPECT_EQ(r.error().reason, "hsm-worker-lost") << r.error().text();
    EXPECT_NE(r.error().detail.find("SIG"), std::string::npos) << r.error().detail;
  }
}

TEST(ProbeFaults, HangWhileLoading) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir, "hang C_Initialize always");
  ProbeOptions o = options(s.config.tokens.front());
  o.start_limit = std::chrono::milliseconds(300);
  const auto r = probe(o, {});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().reason, "hsm-worker") << r.error().text();
}

TEST(ProbeFaults, ACrashCostsOneStep) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir, "crash C_DeriveKey always segv");
  const ProbeReport r = must(options(s.config.tokens.front()));
  EXPECT_EQ(p256(r).ecdh_raw.state, State::lost);
  EXPECT_EQ(r.incidents.size(), 3U) << "then ECDH is left alone";
  EXPECT_EQ(r.curves.at(1).ecdh_raw.state, State::not_tried);
  EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
  EXPECT_EQ(verdict(r, "hybrid").answer, Answer::yes);
  EXPECT_TRUE(r.gcm.good());
  EXPECT_NE(to_text(document(r, {"keyferry", "now"})).find("SIGSEGV"), std::string::npos);
}

TEST(ProbeFaults, AHangCostsOneStep) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir, "hang C_SignInit always");
  ProbeOptions o = options(s.config.tokens.front());
  o.step_limit = std::chrono::seconds(3);  // far beyond what the steps that work need
  o.seconds = 0.1;
  o.max_processes = o.max_threads = 1;
  const ProbeReport r = must(o);
  EXPECT_EQ(p256(r).sign.state, State::lost);
  EXPECT_TRUE(p256(r).ecdh());
  EXPECT_EQ(verdict(r, "hybrid").answer, Answer::no);
  EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
}

TEST(ProbeFaults, CrashAndHangOnTheWayOut) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir, "crash C_Finalize always");
  const ProbeReport r = must(options(s.config.tokens.front()));
  EXPECT_EQ(r.ended.state, State::lost);
  EXPECT_EQ(verdict(r, "strict").answer, Answer::yes);
}

TEST(ProbeFaults, ALoginThatCrashesIsNotRepeated) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir, "crash C_Login always");
  const ProbeReport r = must(options(s.config.tokens.front()));
  EXPECT_EQ(s.shim.count("C_Login"), 1U);
  EXPECT_FALSE(r.tried);
  EXPECT_EQ(r.incidents.size(), 1U);
}

TEST(ProbeFaults, NoModule) {
  const ScratchDir dir;
  std::ofstream(dir.path() + "/text.so") << "not a library\n";
  for (const std::string& path : {dir.path() + "/text.so", dir.path() + "/missing.so", std::string("")}) {
    ProbeOptions o;
    o.token.module_path = path;
    const auto r = probe(o, {});
    ASSERT_FALSE(r.ok()) << path;
    EXPECT_EQ(r.error().reason, "hsm-module") << r.error().text();
  }
}

TEST(ProbeFaults, StopsOnRequest) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir, "hang C_DeriveKey always");
  std::atomic<bool> stop{false};
  ProbeOptions o = options(s.config.tokens.front());
  o.stop = &stop;
  const auto begun = std::chrono::steady_clock::now();
  const auto r = probe(o, [&](const std::string& what) { stop = stop || what.starts_with("curve"); });
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().reason, "interrupted");
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(8)) << "less than one step's limit";
}

// p11-kit as a remote module: `p11-kit server` in front of SoftHSM. It carries few mechanism parameters over the wire,
// so it offers ECDSA and neither ECDH nor AES-GCM.
class Remote {
 public:
  static std::string client() {
    for (const char* p :
         {"/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so", "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
          "/usr/lib64/pkcs11/p11-kit-client.so"}) {
      if (fs::exists(p)) return p;
    }
    return {};
  }
  explicit Remote(const TokenConfig& t) : socket_(dir_.path() + "/p11") {
    ::setenv("SOFTHSM2_CONF", t.environment.front().second.c_str(), 1);
    std::vector<std::string> args{"p11-kit", "server", "--provider", t.module_path, "-f",
                                  "-n",      socket_,  "-s",         t.token_uri};
    std::vector<char*> argv;
    for (std::string& a : args) argv.push_back(a.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (::posix_spawnp(&pid_, "p11-kit", &quiet, nullptr, argv.data(), environ) != 0) pid_ = -1;
    posix_spawn_file_actions_destroy(&quiet);
    ::unsetenv("SOFTHSM2_CONF");
    for (int i = 0; pid_ > 0 && i < 100 && !fs::exists(socket_); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  Remote(const Remote&) = delete;
  Remote& operator=(const Remote&) = delete;
  ~Remote() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] bool running() const { return pid_ > 0 && fs::exists(socket_); }
  [[nodiscard]] std::string address() const { return "unix:path=" + socket_; }

 private:
  ScratchDir dir_;
  std::string socket_;
  pid_t pid_ = -1;
};

TEST(ProbeModules, P11KitRemoting) {
  if (Remote::client().empty())
    GTEST_SKIP() << "p11-kit-client.so is not installed (packages p11-kit, p11-kit-modules)";
  TokenConfig t = token_config().tokens.front();
  const Remote server(t);
  if (!server.running()) GTEST_SKIP() << "`p11-kit server` does not run (package p11-kit)";
  t.module_path = Remote::client();
  t.environment = {{"P11_KIT_SERVER_ADDRESS", server.address()}};
  ProbeOptions o = options(t);
  o.seconds = 0.1;
  o.max_processes = o.max_threads = 2;
  const ProbeReport r = must(o);
  EXPECT_TRUE(r.logged_in) << (r.left_out.empty() ? "" : r.left_out.front());
  EXPECT_TRUE(listed(r, "CKM_ECDSA"));
  EXPECT_FALSE(listed(r, "CKM_ECDH1_DERIVE"));
  EXPECT_TRUE(p256(r).sign.good()) << p256(r).sign.why;
  EXPECT_FALSE(p256(r).ecdh());
  EXPECT_EQ(verdict(r, "strict").answer, Answer::no);
  EXPECT_NE(verdict(r, "strict").text.find("CKM_ECDH1_DERIVE is missing"), std::string::npos);
  ASSERT_FALSE(r.processes.empty()) << "signatures are measured where sets cannot be";
  EXPECT_EQ(r.processes.front().kind, DirectKind::sign);
}

// Only looked at: its daemon and its token belong to the machine.
TEST(ProbeModules, OpencryptokiHasNoEllipticCurves) {
  std::string path;
  for (const char* p : {"/usr/lib/x86_64-linux-gnu/opencryptoki/libopencryptoki.so.0",
                        "/usr/lib/opencryptoki/libopencryptoki.so.0", "/usr/lib64/opencryptoki/libopencryptoki.so.0"}) {
    if (fs::exists(p)) path = p;
  }
  if (path.empty()) GTEST_SKIP() << "opencryptoki is not installed";
  ProbeOptions o;
  o.token.module_path = path;
  const auto r = probe(o, {});
  if (!r) GTEST_SKIP() << "opencryptoki does not run here (pkcsslotd): " << r.error().detail;
  if (r->slots.empty()) GTEST_SKIP() << "opencryptoki shows no slot";
  EXPECT_EQ(verdict(*r, "strict").answer, Answer::no) << verdict(*r, "strict").text;
  EXPECT_NE(verdict(*r, "hybrid").text.find("CKM_ECDSA"), std::string::npos) << verdict(*r, "hybrid").text;
}

// The command itself ----------------------------------------------------------------------------------------------

struct Ran {
  int status = -1;
  std::string out;
};
Ran keyferry(const std::string& arguments) {
  Ran r;
  FILE* p = ::popen((std::string(KF_BIN_DIR "/keyferry probe ") + arguments + " 2>&1").c_str(), "r");
  if (p == nullptr) return r;
  char b[4096];
  for (std::size_t n = 0; (n = ::fread(b, 1, sizeof b, p)) > 0;) r.out.append(b, n);
  const int s = ::pclose(p);
  r.status = WIFEXITED(s) ? WEXITSTATUS(s) : 128 + WTERMSIG(s);
  return r;
}
std::string flags_for(const TokenConfig& t) {
  std::string s = "--seconds 0 --module '" + t.module_path + "' --pin-file '" + t.pin_file + "'";
  for (const auto& [name, value] : t.environment) s += " --env '" + name + "=" + value + "'";
  return s;
}

TEST(ProbeCommand, PageReportsAndStatus) {
  const ScratchDir dir;
  const TokenConfig t = token_config().tokens.front();
  const Ran good = keyferry(flags_for(t) + " --identity '" + kP256Key + "' --identity '" + kBrainpoolKey +
                            "' --report-json " + dir.path() + "/r.json --report-html " + dir.path() + "/r.html");
  EXPECT_EQ(good.status, 0) << good.out;
  EXPECT_NE(good.out.find("  strict  yes, on P-256 and brainpoolP256r1\n"), std::string::npos) << good.out;
  EXPECT_NE(good.out.find("[token]\n"), std::string::npos);
  EXPECT_TRUE(fs::exists(dir.path() + "/r.json"));
  EXPECT_TRUE(fs::exists(dir.path() + "/r.html"));
  // The PIN is in none of them.
  std::string pin;
  std::getline(std::ifstream(t.pin_file) >> std::ws, pin);
  ASSERT_GE(pin.size(), 4U);
  for (const std::string& f : {dir.path() + "/r.json", dir.path() + "/r.html"}) {
    std::ifstream in(f);
    const std::string text(std::istreambuf_iterator<char>(in), {});
    EXPECT_EQ(text.find(pin), std::string::npos) << f;
  }
  EXPECT_EQ(good.out.find(pin), std::string::npos);

  EXPECT_EQ(keyferry(flags_for(t) + " --report-json /nonexistent/r.json").status, 1);
}

TEST(ProbeCommand, MistakesAreNamed) {
  const TokenConfig t = token_config().tokens.front();
  const auto expect = [](const std::string& arguments, int status, std::string_view part) {
    const Ran r = keyferry(arguments);
    EXPECT_EQ(r.status, status) << arguments << "\n" << r.out;
    EXPECT_NE(r.out.find(part), std::string::npos) << arguments << "\n" << r.out;
    EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 1) << r.out;
  };
  expect("", 2, "--module");
  expect("--module /nonexistent.so", 2, "no such file");
  expect("--module /etc/passwd", 1, "PKCS#11 module '/etc/passwd'");
  expect("--module " + t.module_path + " --pin 1234", 2, "--pin-file");
  expect("--module " + t.module_path + " --pin-file /nonexistent", 2, "--pin-file: no such file");
  expect("--module " + t.module_path + " --pin-env KF_NO_SUCH_VARIABLE", 2, "is not set");
  expect("--module " + t.module_path + " --token dp", 2, "RFC 7512");
  expect("--module " + t.module_path + " --env NONSENSE", 2, "NAME=VALUE");
  expect("--module " + t.module_path + " --max-threads 0", 2, "--max-threads");
  expect("--module " + t.module_path + " --seconds soon", 2, "--seconds");
}

TEST(ProbeCommand, CtrlCLeavesNoWorker) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir, "hang C_DeriveKey always");
  std::vector<std::string> args{"keyferry", "probe"};
  const TokenConfig& t = s.config.tokens.front();
  for (const std::string& a : {std::string("--module"), t.module_path, std::string("--pin-file"), t.pin_file})
    args.push_back(a);
  for (const auto& [name, value] : t.environment) {
    args.emplace_back("--env");
    args.push_back(name + "=" + value);
  }
  std::vector<char*> argv;
  for (std::string& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  ASSERT_EQ(::posix_spawn(&pid, KF_BIN_DIR "/keyferry", &quiet, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&quiet);
  // The call that hangs is in the log, begun and not returned, with the worker's process id.
  int worker = 0;
  for (int i = 0; worker == 0 && i < 400; ++i) {
    for (const Shim::Call& c : s.shim.calls()) {
      if (c.function == "C_DeriveKey" && c.end == 0) worker = c.pid;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  EXPECT_NE(worker, 0) << "the log has no call that hangs";
  ::kill(pid, SIGINT);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 130) << status;
  if (worker != 0) {
    EXPECT_NE(::kill(worker, 0), 0) << "worker " << worker << " is still there";
  }
}

}  // namespace
}  // namespace kf::hsm::testing
