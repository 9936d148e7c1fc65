// Lessons about login, sessions and handles: L2 to L10. What each asks for: tests/hsm/README.md.
#include <p11-kit/pkcs11.h>

#include <algorithm>
#include <map>
#include <set>

#include "host/crypto/ec.hpp"
#include "tests/hsm/lessons/journal.hpp"
#include "tests/hsm/lessons/load.hpp"
#include "tests/hsm/lessons/runs.hpp"

namespace kf::hsm {
namespace {

using namespace testing;
using std::chrono::milliseconds;
using Handle = unsigned long;

const std::string kP256Label = "SK.DP.ECDSA P-256";

std::map<int, std::size_t> calls_by_pid(const Shim& s, std::string_view function) {
  std::map<int, std::size_t> n;
  for (const Shim::Call& c : s.calls()) n[c.pid] += c.function == function ? 1 : 0;
  return n;
}

TEST(L02, OneLoginForEachWorkerAndNoLogoutWhileItWorks) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  s.config.tokens.front().threads = 2;
  const Journal journal(s.config);
  {
    const auto e = start(s.config);
    ASSERT_TRUE(e);
    Load load(*e, {});
    load.run_jobs(600);
    load.expect_perfect();
    EXPECT_EQ(s.shim.count("C_Logout"), 0U);
  }
  const auto logins = calls_by_pid(s.shim, "C_Login");
  EXPECT_EQ(logins.size(), 2U);
  for (const auto& [pid, n] : logins) EXPECT_EQ(n, 1U) << "worker " << pid;
  // After the end: a log-out, if any, was the last thing that its process did but close and finalise.
  std::map<int, std::int64_t> out;
  const auto calls = s.shim.calls();
  for (const Shim::Call& c : calls) {
    if (c.function == "C_Logout") out[c.pid] = c.begin;
  }
  for (const Shim::Call& c : calls) {
    if (c.function == "C_Sign" && out.count(c.pid) != 0) {
      EXPECT_LT(c.end, out[c.pid]);
    }
  }
}

TEST(L02, AlreadyLoggedInIsSuccess) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir, "rv-after C_Login always CKR_USER_ALREADY_LOGGED_IN");
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  Load load(*e, {});
  load.run_jobs(20);
  load.expect_perfect();
}

TEST(L03, TheKeeperSessionKeepsTheLogin) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.keep_alive = milliseconds(0);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  Load load(*e, {});
  load.run_jobs(10);
  const std::size_t opened = s.shim.count("C_OpenSession");
  // Idle for a while; the work session has died by the time of the next job.
  s.shim.set("dead-sessions first 1");
  std::this_thread::sleep_for(milliseconds(1200));
  load.run_jobs(10);
  load.expect_perfect();
  EXPECT_EQ(s.shim.count("C_Login"), 1U);
  EXPECT_EQ(s.shim.count("C_OpenSession"), opened + 1) << "the dead session is replaced by one";
  EXPECT_EQ(e->stats().workers.at(0).restarts, 0U);
}

TEST(L04, NoSessionIsSharedByThreads) { no_session_is_shared(milliseconds(2500)); }

TEST(L05, DeadSessionsAreReplacedAndNeverComeBack) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  s.config.tokens.front().threads = 2;
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  Load load(*e, {});
  std::thread weather([&] {  // every second handle of each worker dies, ten times
    for (int i = 0; i < 10; ++i) {
      s.shim.set("dead-sessions every 2");
      std::this_thread::sleep_for(milliseconds(150));
    }
    s.shim.clear();
  });
  load.run_for(milliseconds(2000));
  weather.join();
  load.expect_perfect();
  std::set<Handle> dead;
  std::map<Handle, int> later;
  auto calls = s.shim.calls();
  std::sort(calls.begin(), calls.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  for (const Shim::Call& c : calls) {
    if (c.session == 0 || c.function == "C_CloseSession") continue;
    if (dead.count(c.session) != 0) ++later[c.session];
    if (c.rv == CKR_SESSION_HANDLE_INVALID) dead.insert(c.session);
  }
  EXPECT_GE(dead.size(), 10U) << "the weather was too mild to prove anything";
  for (const auto& [handle, n] : later) EXPECT_LE(n, 1) << "session " << handle << " was used on after its death";
  // The pool is full again: all four threads work.
  s.shim.forget_calls();
  load.run_for(milliseconds(500));
  std::set<Handle> used;
  for (const Shim::Call& c : s.shim.calls()) {
    if (c.function == "C_SignInit") used.insert(c.session);
  }
  EXPECT_EQ(used.size(), 4U);
}

TEST(L06, NothingIsProbedOnTheHotPath) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  Load load(*e, {});
  load.run_jobs(50);
  s.shim.forget_calls();
  load.run_jobs(400);
  load.expect_perfect();
  const std::set<std::string> needed{"C_SignInit",  "C_Sign",          "C_GenerateKeyPair",
                                     "C_DeriveKey", "C_DestroyObject", "C_GetAttributeValue"};
  std::set<std::string> seen;
  for (const Shim::Call& c : s.shim.calls()) seen.insert(c.function);
  EXPECT_EQ(seen, needed);
}

TEST(L07, TwoSessionsAreEnough) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir, "sessions 2");
  s.config.tokens.front().threads = 4;
  const Journal journal(s.config);
  const auto t0 = Load::Clock::now();
  const auto e = start(s.config);
  ASSERT_TRUE(e) << journal.text();
  Load load(*e, {});
  load.run_jobs(500);
  load.expect_perfect();
  EXPECT_TRUE(e->seal_record({}, hex("00")).ok()) << "administration shares what there is";
  // A storm of opens would be hundreds.
  EXPECT_LE(static_cast<double>(s.shim.count("C_OpenSession", CKR_SESSION_COUNT)), 40 + 20 * seconds_since(t0));
}

TEST(L07, TwoSessionsForTwoWorkers) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir, "sessions-total 2");
  s.config.tokens.front().workers = 2;
  const Journal journal(s.config);
  const auto t0 = Load::Clock::now();
  const auto e = start(s.config);
  ASSERT_TRUE(e) << journal.text();
  Load load(*e, {});
  load.run_for(milliseconds(1500));
  load.expect_perfect();
  EXPECT_LE(static_cast<double>(s.shim.count("C_OpenSession", CKR_SESSION_COUNT)), 40 + 20 * seconds_since(t0));
}

TEST(L07, AFullTokenIsAnsweredAsBusy) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  const Journal journal(s.config);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  s.shim.set("dead-sessions always\nrv C_OpenSession always CKR_SESSION_COUNT");
  s.shim.forget_calls();
  const auto t0 = Load::Clock::now();
  const auto a = run_all(*e, {sign_request(1, Curve::p256)}, 20);
  EXPECT_EQ(a.at(1).status, EccStatus::busy) << to_string(a.at(1).status) << journal.text();
  EXPECT_LT(seconds_since(t0), 9.0) << "before its deadline";
  EXPECT_LE(s.shim.count("C_OpenSession"), 60U) << "retries are capped";
  s.shim.clear();
  Load load(*e, {});
  load.run_jobs(50);
  load.expect_perfect();
}

// The limit comes while the worker runs: the sessions that die cannot all be replaced, those that are left do the work.
TEST(L07, AShrunkenPoolServesOnWithoutAStorm) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().threads = 4;
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  Load load(*e, {});
  load.run_jobs(100);
  s.shim.set("sessions 2\ndead-sessions first 4");
  s.shim.forget_calls();
  const auto t0 = Load::Clock::now();
  load.run_for(milliseconds(2000));
  load.expect_perfect();
  EXPECT_LE(static_cast<double>(s.shim.count("C_OpenSession", CKR_SESSION_COUNT)), 40 + 20 * seconds_since(t0));
  s.shim.clear();
  std::this_thread::sleep_for(milliseconds(1500));
  s.shim.forget_calls();
  load.run_for(milliseconds(500));
  std::set<Handle> used;
  for (const Shim::Call& c : s.shim.calls()) {
    if (c.function == "C_SignInit") used.insert(c.session);
  }
  EXPECT_EQ(used.size(), 4U) << "it has not grown again";
}

TEST(L07, OpensThatCameTooFastAreRepeated) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  s.shim.set("dead-sessions first 1\nrv C_OpenSession first 2 CKR_ARGUMENTS_BAD");
  Load load(*e, {});
  load.run_jobs(50);
  load.expect_perfect();
  EXPECT_EQ(s.shim.count("C_OpenSession", CKR_ARGUMENTS_BAD), 2U);
}

TEST(L08, AnnouncedSessionCountsAreNoLimits) {
  for (const char* n : {"0", "all-ones", "1", "2"}) {
    SCOPED_TRACE(n);
    const ScratchDir dir;
    Shimmed s =
        shimmed(dir, "announce max-sessions " + std::string(n) + "\nannounce max-rw-sessions " + std::string(n));
    s.config.tokens.front().threads = 2;
    const auto e = start(s.config);
    ASSERT_TRUE(e);
    Load load(*e, {});
    load.run_jobs(100);
    load.expect_perfect();
  }
}

TEST(L09, NoLookUpsAmongFiveHundredKeys) { no_look_ups(3000); }

TEST(L10, StaleHandlesAreLookedUpAgain) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  Load load(*e, {});
  std::thread weather([&] {
    for (int i = 0; i < 10; ++i) {
      s.shim.set("dead-objects nth 7");
      std::this_thread::sleep_for(milliseconds(80));
    }
    s.shim.clear();
  });
  load.run_for(milliseconds(1200));
  weather.join();
  load.expect_perfect();
  std::size_t stale = 0;
  for (const Shim::Call& c : s.shim.calls())
    stale += c.rv == CKR_KEY_HANDLE_INVALID || c.rv == CKR_OBJECT_HANDLE_INVALID ? 1 : 0;
  EXPECT_GE(stale, 10U);
  EXPECT_EQ(*e->session_objects(), 0U);
}

TEST(L10, AnotherKeyThanTheCertificatesIsNotUsed) {
  HsmConfig c = token_config();
  c.identity_keys[0].expected = generate_key_pair(Curve::p256).q;
  const auto refused = HsmEngine::start(c);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().reason, "hsm-key") << refused.error().text();
  EXPECT_NE(refused.error().detail.find(kP256Label), std::string::npos) << refused.error().text();
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  c.identity_keys[0].expected = *e->public_key(Curve::p256);
  EXPECT_TRUE(HsmEngine::start(c).ok());
}

// A handle has gone stale, and now the label leads to another key: with its public half, or beside the old one's.
TEST(L10, AKeyThatIsLookedUpAgainMustBeTheSame) {
  for (const char* halves : {"", " private"}) {
    SCOPED_TRACE(halves);
    const ScratchDir dir;
    HsmConfig c = crowded_token();
    Shim shim(dir, c.tokens.front());
    const Journal journal(c);
    const auto e = start(c);
    ASSERT_TRUE(e);
    LoadPlan plan;
    plan.eckas = false;
    Load load(*e, plan);
    load.run_jobs(50);
    load.expect_perfect();
    shim.set("rv C_SignInit once CKR_KEY_HANDLE_INVALID\nwrong-key \"" + kP256Label + "\" bystander-17" + halves);
    load.run_for(milliseconds(700));
    EXPECT_EQ(load.wrong(), 0U) << "signed with a key that is not ours";
    EXPECT_EQ(load.unanswered(), 0U);
    EXPECT_TRUE(eventually(milliseconds(5000), [&] { return e->stats().tokens.at(0).state != "up"; }))
        << journal.text();
    EXPECT_NE(e->stats().tokens.at(0).why.find("hsm-key"), std::string::npos) << e->stats().tokens.at(0).why;
  }
}

}  // namespace
}  // namespace kf::hsm
