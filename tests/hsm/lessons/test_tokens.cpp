// Lessons about several processes and tokens, encodings, and health: L1, L21, L22 and the two more.
#include <p11-kit/pkcs11.h>

#include <csignal>

#include "hsm/setup/set_up_token.hpp"
#include "hsm/setup/test_token.hpp"
#include "tests/hsm/lessons/journal.hpp"
#include "tests/hsm/lessons/load.hpp"
#include "tests/hsm/lessons/runs.hpp"

namespace kf::hsm {
namespace {

using namespace testing;
using std::chrono::milliseconds;

std::string described(HsmEngine& e, std::string_view name) {
  const auto rows = e.describe();
  if (!rows.ok()) return rows.error().text();
  for (const auto& [n, v] : *rows) {
    if (n == name) return v;
  }
  return "(missing)";
}

TEST(L01, ProcessesScaleWhereThreadsDoNot) {  // printed: a shared machine has no fixed speed
  const struct {
    const char* what;
    unsigned workers, threads;
  } rows[] = {{"1 process", 1, 1}, {"2 processes", 2, 1}, {"1 process of 2 threads", 1, 2}};
  double one = 0;
  for (const auto& row : rows) {
    HsmConfig c = token_config();
    c.tokens.front().workers = row.workers;
    c.tokens.front().threads = row.threads;
    const auto e = start(c);
    ASSERT_TRUE(e);
    LoadPlan plan;
    plan.in_flight = 200;
    plan.check = false;
    Load load(*e, plan);
    load.run_jobs(200);
    const auto t0 = Load::Clock::now();
    load.run_for(milliseconds(1000));
    const double rate = static_cast<double>(load.ok() - 200) / 2 / seconds_since(t0);
    load.expect_perfect();
    if (one == 0) one = rate;
    std::printf("[ L1       ] %-22s %6.0f download sets/s, %.2f x one process\n", row.what, rate, rate / one);
  }
}

TEST(L21, SignaturesKeepTheirLeadingZeros) {
  signatures_keep_their_zeros(Curve::p256, 5000);
  signatures_keep_their_zeros(Curve::brainpool_p256r1, 2500);
}

TEST(L21, LearnsWhatTheModuleWants) {
  const struct {
    const char* rules;
    const char* fact;
    const char* value;
  } rows[] = {
      {"der-only", "peer point of ECDH", "OCTET STRING"},
      {"raw-only", "peer point of ECDH", "raw"},
      {"need-value-len", "curves", "P-256, brainpoolP256r1"},
      {"refuse-value-len", "curves", "P-256, brainpoolP256r1"},
      {"der-only\nrefuse-value-len", "peer point of ECDH", "OCTET STRING"},
      {"refuse-kdf CKD_SHA256_KDF", "curves", "P-256, brainpoolP256r1"},
      {"forbid-copy", "work copies of keys", "no"},
      {"forbid-copy CKR_ACTION_PROHIBITED", "work copies of keys", "no"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.rules);
    const ScratchDir dir;
    const Shimmed s = shimmed(dir, row.rules);
    const auto e = HsmEngine::start(s.config);
    ASSERT_TRUE(e.ok()) << e.error().text();
    EXPECT_EQ(described(**e, row.fact), row.value);
    Load load(**e, {});
    load.run_jobs(60);
    load.expect_perfect();
    EXPECT_TRUE((*e)->seal_record({}, hex("00")).ok());
  }
}

TEST(L21, SaysWhatAModuleCannotDo) {
  const struct {
    const char* rules;
    const char* mentions;
  } rows[] = {{"refuse-kdf CKD_NULL", "CKR_MECHANISM_PARAM_INVALID"},
              {"hide-mechanism CKM_ECDH1_DERIVE", "CKR_MECHANISM_INVALID"},
              {"hide-mechanism CKM_ECDSA", "CKR_MECHANISM_INVALID"}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.rules);
    const ScratchDir dir;
    const Shimmed s = shimmed(dir, row.rules);
    const auto e = HsmEngine::start(s.config);
    ASSERT_FALSE(e.ok());
    EXPECT_NE(e.error().detail.find(row.mentions), std::string::npos) << e.error().text();
  }
}

TEST(L22, BothTokensHoldTheSameKeys) {
  const HsmConfig both = two_tokens();
  HsmConfig a = both;
  HsmConfig b = both;
  a.tokens = {both.tokens[0]};
  b.tokens = {both.tokens[1]};
  const auto ea = start(a);
  const auto eb = start(b);
  ASSERT_TRUE(ea && eb);
  for (const Curve c : {Curve::p256, Curve::brainpool_p256r1}) EXPECT_EQ(*ea->public_key(c), *eb->public_key(c));
  const auto sealed = ea->seal_record(hex("AA"), hex("0102"));
  ASSERT_TRUE(sealed.ok()) << sealed.error().text();
  const auto opened = eb->open_record(hex("AA"), *sealed);
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  EXPECT_TRUE(equal_ct(opened->expose(), hex("0102")));
}

TEST(L22, TheOtherTokenStandsInForAKilledWorker) {
  HsmConfig c = two_tokens();
  const Journal journal(c);
  const auto e = start(c);
  ASSERT_TRUE(e);
  Load load(*e, {});
  int killed = 0;
  auto next = Load::Clock::now() + milliseconds(200);
  load.run_for(milliseconds(2500), [&] {
    if (killed == 5 || Load::Clock::now() < next) return;
    next = Load::Clock::now() + milliseconds(400);
    for (const auto& w : e->stats().workers) {
      if (w.live && w.token == (killed % 2 == 0 ? "a" : "b")) ::kill(w.pid, SIGKILL);
    }
    ++killed;
  });
  load.expect_perfect();
  EXPECT_EQ(killed, 5);
  EXPECT_GT(e->stats().retries, 0U);
}

TEST(L22, TheOtherTokenStandsInForAMissingOne) {
  const ScratchDir dir;
  HsmConfig c = two_tokens();
  Shim a(dir, c.tokens[0]);
  const Journal journal(c);
  const auto e = start(c);
  ASSERT_TRUE(e);
  Load load(*e, {});
  std::thread weather([&] {
    std::this_thread::sleep_for(milliseconds(300));
    a.take_away();
    std::this_thread::sleep_for(milliseconds(1500));
    a.bring_back();
  });
  load.run_for(milliseconds(2500));
  weather.join();
  load.expect_perfect();
  EXPECT_EQ(token_stats(*e, "a").outages, 1U) << journal.text();
  EXPECT_TRUE(eventually(milliseconds(15'000), [&] { return token_stats(*e, "a").state == "up"; })) << journal.text();
  const auto before = token_stats(*e, "a").jobs;
  load.run_for(milliseconds(500));
  EXPECT_GT(token_stats(*e, "a").jobs, before) << "it is back and gets nothing to do";
}

TEST(L22, ASlowTokenGetsLess) {
  const ScratchDir dir;
  HsmConfig c = two_tokens();
  Shim a(dir, c.tokens[0]);
  const auto e = start(c);
  ASSERT_TRUE(e);
  a.set("delay C_Sign always 50\ndelay C_DeriveKey always 50");
  LoadPlan plan;
  plan.in_flight = 100;
  Load load(*e, plan);
  load.run_for(milliseconds(500));  // the engine learns
  const auto a0 = token_stats(*e, "a").jobs;
  const auto b0 = token_stats(*e, "b").jobs;
  load.run_for(milliseconds(2000));
  load.expect_perfect();
  const double slow = static_cast<double>(token_stats(*e, "a").jobs - a0);
  const double quick = static_cast<double>(token_stats(*e, "b").jobs - b0);
  std::printf("[ balance  ] slow token %.0f jobs, quick token %.0f\n", slow, quick);
  // 50 ms against some 0.3 ms: a share in proportion is below one in a hundred; one in ten leaves room for any noise.
  EXPECT_LT(slow, 0.1 * quick);
}

TEST(L22, AnIdleTokenIsKeptAlive) {
  const ScratchDir dir;
  Shimmed s = shimmed(dir);
  s.config.keep_alive = milliseconds(200);
  const auto e = start(s.config);
  ASSERT_TRUE(e);
  s.shim.forget_calls();
  std::this_thread::sleep_for(milliseconds(1500));
  const std::size_t n = s.shim.count("C_Sign", CKR_OK);
  EXPECT_GE(n, 2U);
  EXPECT_LE(n, 16U);
  EXPECT_EQ(s.shim.count("C_Login"), 0U);
}

TEST(L22, HealthIsRedWhenTheKeyIsMissingThoughTheSlotIsThere) {
  const ScratchDir dir;
  HsmConfig c = two_tokens();
  Shim a(dir, c.tokens[0]);
  c.keep_alive = milliseconds(200);
  const Journal journal(c);
  const auto e = start(c);
  ASSERT_TRUE(e);
  a.set("hide-object \"SK.DP.ECDSA P-256\"");
  // No job is needed to find out.
  ASSERT_TRUE(eventually(milliseconds(8000), [&] { return token_stats(*e, "a").state != "up"; })) << journal.text();
  EXPECT_NE(token_stats(*e, "a").why.find("hsm-key"), std::string::npos) << token_stats(*e, "a").why;
  EXPECT_EQ(token_stats(*e, "b").state, "up");
  Load load(*e, {});
  load.run_jobs(100);
  load.expect_perfect();
  a.clear();
  EXPECT_TRUE(eventually(milliseconds(15'000), [&] { return token_stats(*e, "a").state == "up"; })) << journal.text();
}

// A module may sign on after its user has been logged out, drained or refused: what may sign is the engine's decision.
TEST(TwoMore, ADrainedTokenSignsNothing) {
  const ScratchDir dir;
  HsmConfig c = two_tokens();
  Shim a(dir, c.tokens[0], "a");
  Shim b(dir, c.tokens[1], "b");
  const auto e = start(c);
  ASSERT_TRUE(e);
  Load load(*e, {});
  load.run_jobs(100);
  EXPECT_FALSE(e->drain("nobody"));
  ASSERT_TRUE(e->drain("a"));
  load.run_jobs(20);
  ASSERT_TRUE(eventually(milliseconds(5000), [&] { return token_stats(*e, "a").state == "drained"; }));
  a.forget_calls();
  b.forget_calls();
  load.run_jobs(300);
  load.expect_perfect();
  EXPECT_EQ(a.count("C_Sign") + a.count("C_DeriveKey"), 0U);
  EXPECT_EQ(b.count("C_Sign"), 150U);
  ASSERT_TRUE(e->resume("a"));
  EXPECT_EQ(token_stats(*e, "a").state, "up");
  load.run_jobs(300);
  load.expect_perfect();
  EXPECT_GT(a.count("C_Sign"), 0U);
}

// A key made by one process can stay invisible to another that already runs: workers start after the provisioning.
TEST(TwoMore, ANewKeyIsFoundByWorkersThatStartAfterIt) {
  const ScratchDir dir(true);
  auto c = make_throwaway_token(dir.path());
  ASSERT_TRUE(c.ok()) << c.error().text();
  const auto running = start(*c);
  ASSERT_TRUE(running);
  TokenSetup more;
  more.config = *c;
  more.config.identity_keys = {{Curve::p256, "a later key", {}}};
  more.token_label = "keyferry-test";
  more.so_pin_file = dir.path() + "/so-pin";
  const auto made = set_up_token(more);
  ASSERT_TRUE(made.ok()) << made.error().text();
  HsmConfig later = more.config;
  const auto e = start(later);
  ASSERT_TRUE(e);
  EXPECT_NE(*e->public_key(Curve::p256), *running->public_key(Curve::p256));
  Load load(*e, {});
  load.run_jobs(20);
  load.expect_perfect();
}

}  // namespace
}  // namespace kf::hsm
