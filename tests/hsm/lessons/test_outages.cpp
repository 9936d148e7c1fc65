// Lessons about tokens that fail, processes that crash or hang, and what the caller is told: L11 to L20.
#include <p11-kit/pkcs11.h>

#include <algorithm>
#include <csignal>
#include <fstream>
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

constexpr const char* kBroken = "rv C_SignInit always CKR_DEVICE_ERROR\nrv C_GenerateKeyPair always CKR_DEVICE_ERROR";

TEST(L11, ADeadTokenIsAnAlarmNotAFlood) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  const Journal journal(s.config);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  s.shim.set(kBroken);
  Load load(*e, {});
  load.run_jobs(200);
  EXPECT_EQ(load.unanswered(), 0U);
  EXPECT_EQ(load.ok(), 0U);
  ASSERT_TRUE(eventually(milliseconds(5000), [&] { return e->stats().tokens.at(0).state == "down"; }))
      << journal.text();
  // Now every job is answered at once.
  std::vector<double> ms;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const auto t0 = Load::Clock::now();
    const auto a = run_all(*e, {sign_request(1000 + i, Curve::p256)}, 10);
    ms.push_back(seconds_since(t0) * 1000);
    ASSERT_EQ(a.at(1000 + i).status, EccStatus::engine_down) << to_string(a.at(1000 + i).status);
  }
  std::sort(ms.begin(), ms.end());
  EXPECT_LT(ms[100], 5.0) << "median, ms";
  std::printf("[ down     ] answered within %.2f ms (median), %.2f ms (p99)\n", ms[100], ms[198]);
  EXPECT_EQ(journal.count("ALARM"), 1U) << journal.text();
  EXPECT_LE(journal.lines().size(), 6U) << journal.text();
  s.shim.clear();
  const auto back = Load::Clock::now();
  ASSERT_TRUE(eventually(milliseconds(15'000), [&] { return e->stats().tokens.at(0).state == "up"; }))
      << journal.text();
  std::printf("[ up again ] after %.2f s\n", seconds_since(back));
  EXPECT_EQ(journal.count("is up again"), 1U) << journal.text();
  EXPECT_EQ(journal.count("ALARM"), 1U) << journal.text();
  Load after(*e, {});
  after.run_jobs(100);
  after.expect_perfect();
  EXPECT_EQ(e->stats().tokens.at(0).outages, 1U);
}

TEST(L12, AReturningTokenIsServedAgainWithoutARestart) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  const Journal journal(s.config);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  Load before(*e, {});
  before.run_jobs(50);
  before.expect_perfect();
  s.shim.take_away();
  Load during(*e, {});
  during.run_for(milliseconds(2500));
  EXPECT_EQ(during.unanswered(), 0U);
  EXPECT_EQ(during.wrong(), 0U);
  EXPECT_EQ(during.ok(), 0U);
  EXPECT_EQ(e->stats().tokens.at(0).state, "down");
  s.shim.bring_back();
  const auto back = Load::Clock::now();
  ASSERT_TRUE(eventually(milliseconds(15'000), [&] { return e->stats().tokens.at(0).state == "up"; }))
      << journal.text();
  std::printf("[ returned ] served again after %.2f s\n", seconds_since(back));
  Load after(*e, {});
  after.run_jobs(200);
  after.expect_perfect();
}

// C_Finalize ends a process's work: nothing begins after it, nothing runs beside it, whatever made the worker go.
TEST(L13, NobodyFinalisesWhileOthersWork) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  s.config.tokens.front().threads = 3;
  s.config.memory_budget = std::size_t{16} << 20;
  const Journal journal(s.config);
  std::map<int, std::int64_t> finalised;
  {
    const auto e = start(s.config);
    ASSERT_TRUE(e);
    Load load(*e, {});
    std::thread weather([&] {
      s.shim.set("rv C_SignInit once CKR_CRYPTOKI_NOT_INITIALIZED");
      std::this_thread::sleep_for(milliseconds(500));
      s.shim.set("leak 64 C_DeriveKey");
    });
    const auto recycled = [&] {
      std::uint64_t n = 0;
      for (const auto& w : e->stats().workers) n += w.recycled;
      return n;
    };
    load.run_for(milliseconds(2500));
    const auto give_up = Load::Clock::now() + std::chrono::seconds(60);
    while (recycled() == 0 && Load::Clock::now() < give_up) load.run_for(milliseconds(250));
    weather.join();
    load.expect_perfect();
    EXPECT_GT(recycled(), 0U) << journal.text();
  }
  const auto calls = s.shim.calls();
  for (const Shim::Call& c : calls) {
    if (c.function == "C_Finalize") finalised[c.pid] = c.begin;
  }
  EXPECT_GE(finalised.size(), 3U) << "two workers at the end, and those replaced in order";
  for (const Shim::Call& c : calls) {
    if (finalised.count(c.pid) == 0 || c.function == "C_Finalize") continue;
    EXPECT_LE(c.end, finalised[c.pid]) << c.function << " in worker " << c.pid << " beside or after C_Finalize";
  }
}

TEST(L14, OnlyTheWorkerMapsTheModule) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  const auto mapped = [](const std::string& pid, const char* what) {
    std::ifstream maps("/proc/" + pid + "/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find(what) != std::string::npos) return true;
    }
    return false;
  };
  for (const char* module : {"libsofthsm", "kf_p11_shim"}) {
    EXPECT_TRUE(mapped(std::to_string(e->worker_pids().at(0)), module)) << "the look itself must be able to find it";
    EXPECT_FALSE(mapped("self", module)) << module;
  }
  EXPECT_FALSE(mapped("self", "libp11-kit"));
}

TEST(L15, StartAndStop) { start_and_stop(200); }

TEST(L16, WorkersAreReplacedBeforeTheyGrowTooLarge) { memory_stays(2500, 48); }

TEST(L17, ObjectsMadeInParallel) { objects_made_in_parallel(milliseconds(4000)); }

TEST(L18, ThrottlingIsAbsorbed) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  s.shim.set("rv C_SignInit percent 20 CKR_FUNCTION_FAILED\nrv C_GenerateKeyPair percent 10 CKR_DEVICE_MEMORY");
  Load load(*e, {});
  load.run_jobs(1000);
  EXPECT_EQ(load.wrong(), 0U);
  EXPECT_EQ(load.unanswered(), 0U);
  // 500 signatures, six attempts each: 0.2^6 of them may end as busy, less than one in thirty runs.
  EXPECT_GE(load.ok() + load.of(EccStatus::busy), load.submitted());
  EXPECT_LE(load.of(EccStatus::busy), 2U);
  EXPECT_GT(e->stats().retries, 50U);
  EXPECT_EQ(e->stats().tokens.at(0).outages, 0U) << "throttling is no outage";
  EXPECT_EQ(e->stats().workers.at(0).restarts + e->stats().workers.at(1).restarts, 0U);
}

TEST(L18, RetriesOfAThrottledJobAreCappedAndSpread) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  s.shim.set("rv C_SignInit always CKR_FUNCTION_FAILED");
  std::vector<std::vector<double>> gaps;  // ms between the attempts of one job
  for (std::uint64_t i = 1; i <= 3; ++i) {
    s.shim.forget_calls();
    const auto a = run_all(*e, {sign_request(i, Curve::p256)}, 20);
    EXPECT_EQ(a.at(i).status, EccStatus::busy) << to_string(a.at(i).status);
    std::vector<double> g;
    std::int64_t last = 0;
    for (const Shim::Call& c : s.shim.calls()) {
      if (c.function != "C_SignInit") continue;
      if (last != 0) g.push_back(static_cast<double>(c.begin - last) / 1e6);
      last = c.end;
    }
    EXPECT_GE(g.size(), 2U);
    EXPECT_LE(g.size(), 12U) << "capped";
    if (i == 1 && !g.empty()) {  // the next ones find a token that has been full for long
      EXPECT_GT(g.back(), g.front()) << "the pauses grow";
    }
    gaps.push_back(g);
  }
  EXPECT_TRUE(gaps[0] != gaps[1] && gaps[1] != gaps[2]) << "without jitter a crowd comes back as a crowd";
  EXPECT_EQ(e->stats().tokens.at(0).state, "up");
}

TEST(L18, AFullTokenIsRelievedByTheOther) {
  const ScratchDir dir;
  HsmConfig c = two_tokens();
  Shim a(dir, c.tokens[0]);
  const auto e = start(c);
  ASSERT_TRUE(e);
  a.set("rv C_SignInit always CKR_FUNCTION_FAILED\nrv C_GenerateKeyPair always CKR_DEVICE_MEMORY");
  Load load(*e, {});
  load.run_jobs(600);
  load.expect_perfect();
}

// An attempt that failed leaves nothing behind: what comes out is one key, the one that the shared secret belongs to.
TEST(L18, ARetryNeverMixesTwoEphemeralKeys) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  LoadPlan plan;
  plan.signs = false;
  Load load(*e, plan);
  std::thread weather([&] {
    for (const char* rules :
         {"rv C_DeriveKey percent 10 CKR_DEVICE_MEMORY", "rv-after C_DeriveKey percent 5 CKR_FUNCTION_FAILED",
          "rv C_GetAttributeValue percent 3 CKR_SESSION_HANDLE_INVALID",
          "rv-after C_DestroyObject percent 2 CKR_OBJECT_HANDLE_INVALID", "crash C_DestroyObject once"}) {
      s.shim.set(rules);
      std::this_thread::sleep_for(milliseconds(300));
    }
    s.shim.clear();
  });
  load.run_for(milliseconds(1800));
  weather.join();
  load.expect_perfect();
  EXPECT_GT(e->stats().retries, 10U);
}

TEST(L19, ACallThatNeverReturns) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  s.config.call_limit = milliseconds(3000);  // no call that only stalls for a while takes so long
  s.config.job_limit = milliseconds(30'000);
  const Journal journal(s.config);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  const auto pids = e->worker_pids();
  LoadPlan plan;
  plan.in_flight = 4;
  Load load(*e, plan);
  load.run_for(milliseconds(700));
  const auto before = Load::Clock::now();
  s.shim.set("hang C_Sign once");
  load.run_for(milliseconds(1000));  // beside the hanging call, then until another worker, which tries itself, serves
  const auto give_up = Load::Clock::now() + std::chrono::seconds(60);
  while (journal.count("serves again") == 0 && Load::Clock::now() < give_up) load.run_for(milliseconds(250));
  load.expect_perfect();  // its job was done by the other one
  EXPECT_EQ(s.shim.count("C_Sign", 0), s.shim.count("C_Sign"));
  std::size_t hung = 0;
  for (const Shim::Call& c : s.shim.calls()) hung += c.end == 0 ? 1 : 0;
  EXPECT_EQ(hung, 1U);
  const auto now = e->worker_pids();
  EXPECT_NE(std::set<int>(pids.begin(), pids.end()), std::set<int>(now.begin(), now.end())) << journal.text();
  EXPECT_EQ(journal.count("has not returned"), 1U) << journal.text();
  std::printf("[ hang     ] p99 of all jobs %.1f ms before, %.1f ms in the first second of the hanging call\n",
              percentile_ms(load.samples(), 99, {}, before),
              percentile_ms(load.samples(), 99, before, before + milliseconds(1000)));
}

TEST(L19, ItsJobEndsAtItsDeadline) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.call_limit = milliseconds(3000);
  const Journal journal(s.config);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  s.shim.set("hang C_Sign once");
  EccRequest r = sign_request(1, Curve::p256);
  const auto t0 = Load::Clock::now();
  r.deadline = t0 + milliseconds(400);
  const auto a = run_all(*e, {r}, 20);
  EXPECT_EQ(a.at(1).status, EccStatus::timed_out) << to_string(a.at(1).status);
  EXPECT_GE(seconds_since(t0), 0.4);
  EXPECT_EQ(journal.count("has not returned"), 0U) << "not only when its worker was given up";
  EXPECT_EQ(e->stats().timed_out, 1U);
  EXPECT_TRUE(eventually(milliseconds(30'000), [&] { return journal.count("serves again") == 1; })) << journal.text();
}

TEST(L19, AJobThatKillsWorkersIsGivenUpAfterTheSecond) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.tokens.front().workers = 2;
  const Journal journal(s.config);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  const auto pids = e->worker_pids();
  const KeyPair signer = generate_key_pair(Curve::p256);
  EccRequest poison = sign_request(1, Curve::p256);
  poison.op = EccOp::verify;
  poison.peer = signer.q;
  poison.signature = ecdsa_sign(Curve::p256, signer.d.expose(), poison.hash);
  s.shim.set("crash C_Verify always segv");
  const auto t0 = Load::Clock::now();
  const auto a = run_all(*e, {poison}, 20);
  EXPECT_EQ(a.at(1).status, EccStatus::failed) << to_string(a.at(1).status) << journal.text();
  EXPECT_LT(seconds_since(t0), 9.0);
  std::set<int> killed;  // by the job; the replacements die of their self test in this weather
  for (const Shim::Call& c : s.shim.calls()) {
    if (c.function == "C_Verify" && c.end == 0 && std::count(pids.begin(), pids.end(), c.pid) != 0)
      killed.insert(c.pid);
  }
  EXPECT_EQ(killed.size(), 2U);
  s.shim.clear();
  Load load(*e, {});
  load.run_jobs(100);
  load.expect_perfect();
}

// While it runs, the PIN stops being accepted: one attempt, then none, although workers die and jobs come.
TEST(L20, ARefusedPinIsTriedOnce) {
  const ScratchDir dir;
  HsmConfig c = two_tokens();
  Shim a(dir, c.tokens[0]);
  c.tokens[0].workers = 3;
  const Journal journal(c);
  const auto e = start(c);
  ASSERT_TRUE(e);
  a.set("rv C_Login always CKR_PIN_INCORRECT");
  a.forget_calls();
  for (const auto& w : e->stats().workers) {
    if (w.token == "a") ::kill(w.pid, SIGKILL);
  }
  Load load(*e, {});
  load.run_for(milliseconds(2500));
  EXPECT_TRUE(eventually(milliseconds(30'000), [&] { return token_stats(*e, "a").state == "refused"; }))
      << journal.text();
  load.run_for(milliseconds(500));
  load.expect_perfect();
  EXPECT_EQ(a.count("C_Login"), 1U);
  EXPECT_NE(token_stats(*e, "a").why.find("hsm-pin"), std::string::npos) << token_stats(*e, "a").why;
  EXPECT_EQ(token_stats(*e, "b").state, "up");
}

// What is wrong with the session or the device is not wrong with the PIN: such a login is tried again.
TEST(L20, AFailingLoginIsNotARefusedPin) {
  for (const char* code : {"CKR_SESSION_HANDLE_INVALID", "CKR_DEVICE_ERROR", "CKR_FUNCTION_FAILED"}) {
    SCOPED_TRACE(code);
    const ScratchDir dir;
    Shimmed s = shimmed(dir);
    const Journal journal(s.config);
    const auto e = start(s.config);
    ASSERT_TRUE(e);
    s.shim.set("rv C_Login once " + std::string(code));
    ::kill(e->worker_pids().at(0), SIGKILL);
    ASSERT_TRUE(eventually(milliseconds(5000), [&] { return s.shim.count("C_Login") == 3; })) << journal.text();
    ASSERT_TRUE(eventually(milliseconds(5000), [&] { return e->stats().workers.at(0).live; })) << journal.text();
    EXPECT_EQ(e->stats().tokens.at(0).state, "up");
    Load load(*e, {});
    load.run_jobs(20);
    load.expect_perfect();
  }
}

TEST(L20, NoAttemptWhenItMayBeTheLast) {
  for (const char* flags : {"token-flags 0x20000", "token-flags 0x40000"}) {  // USER_PIN_FINAL_TRY, USER_PIN_LOCKED
    SCOPED_TRACE(flags);
    const ScratchDir dir;
    const Shimmed s = shimmed(dir, flags);
    const auto e = HsmEngine::start(s.config);
    ASSERT_FALSE(e.ok());
    EXPECT_EQ(e.error().reason, "hsm-pin") << e.error().text();
    EXPECT_EQ(s.shim.count("C_Login"), 0U);
  }
}

}  // namespace
}  // namespace kf::hsm
