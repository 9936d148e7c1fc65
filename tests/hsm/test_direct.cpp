// Direct calls in worker processes of mode probe: the rates are printed, what is asserted is that they are rates of the
// right thing.
#include <gtest/gtest.h>

#include "hsm/direct/direct.hpp"
#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm::testing {
namespace {

std::unique_ptr<DirectClient> direct(const HsmConfig& c, bool log_in = true) {
  auto d = DirectClient::start(c, c.tokens.front(), log_in);
  if (!d) {
    ADD_FAILURE() << d.error().text();
    return nullptr;
  }
  return std::move(*d);
}

TEST(Direct, EveryKindOnBothCurves) {
  const HsmConfig c = token_config();
  const auto d = direct(c);
  ASSERT_TRUE(d);
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1}) {
    for (const DirectKind kind :
         {DirectKind::sign, DirectKind::sign_with_copy, DirectKind::ecka, DirectKind::set, DirectKind::verify}) {
      const auto r = d->measure({kind, curve, 1, 100});
      ASSERT_TRUE(r.ok()) << r.error().text();
      EXPECT_GT(r->done, 0U);
      EXPECT_EQ(r->failed, 0U) << r->first_error;
      EXPECT_GE(r->seconds, 0.1);
      EXPECT_GT(r->cpu_seconds, 0.0);
      EXPECT_GT(r->p50_us, 0.0);
      EXPECT_LE(r->p50_us, r->p95_us);
      EXPECT_LE(r->p95_us, r->p99_us);
      std::printf("%-16s kind %u: %8.0f/s  p50 %.0f us  p99 %.0f us\n", std::string(curve_name(curve)).c_str(),
                  static_cast<unsigned>(kind), static_cast<double>(r->done) / r->seconds, r->p50_us, r->p99_us);
    }
  }
  const auto end = d->end();
  EXPECT_TRUE(end.ok()) << end.error().text();
}

TEST(Direct, ThreadsEachWithASession) {
  const auto d = direct(token_config());
  ASSERT_TRUE(d);
  const auto r = d->measure({DirectKind::set, Curve::p256, 4, 200});
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_GT(r->done, 3U);  // each did one at least
  EXPECT_EQ(r->failed, 0U) << r->first_error;
}

TEST(Direct, ProcessesAtTheSameTime) {
  const HsmConfig c = token_config();
  const auto a = direct(c);
  const auto b = direct(c);
  ASSERT_TRUE(a && b);
  EXPECT_NE(a->pid(), b->pid());
  ASSERT_TRUE(a->begin({DirectKind::set, Curve::p256, 1, 300}).ok());
  ASSERT_TRUE(b->begin({DirectKind::set, Curve::p256, 1, 300}).ok());
  EXPECT_FALSE(a->begin({}).ok()) << "one at a time in each process";
  const auto ra = a->finish();
  const auto rb = b->finish();
  ASSERT_TRUE(ra.ok() && rb.ok());
  EXPECT_GT(ra->done, 0U);
  EXPECT_GT(rb->done, 0U);
  EXPECT_EQ(a->finish().error().reason, "hsm-call");
}

TEST(Direct, WithoutIdentityKeysASessionPairSigns) {
  HsmConfig c = token_config();
  c.identity_keys.clear();
  const auto d = direct(c);
  ASSERT_TRUE(d);
  const auto r = d->measure({DirectKind::set, Curve::brainpool_p256r1, 1, 100});
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_GT(r->done, 0U);
}

TEST(Direct, Refusals) {
  HsmConfig c = token_config();
  c.identity_keys.front().label = "no such key";
  {
    const auto d = direct(c);
    ASSERT_TRUE(d);
    const auto r = d->measure({DirectKind::sign, Curve::p256, 1, 50});
    ASSERT_FALSE(r.ok());
    EXPECT_EQ(r.error().reason, "hsm-key") << r.error().text();
    EXPECT_EQ(d->measure({DirectKind::sign, Curve::p256, 0, 50}).error().reason, "hsm-call");
    EXPECT_EQ(d->measure({DirectKind::sign, Curve::p256, 1, 0}).error().reason, "hsm-call");
    EXPECT_EQ(d->measure({DirectKind::sign, Curve::frp256v1, 1, 50}).error().reason, "hsm-call");
    EXPECT_TRUE(d->measure({DirectKind::ecka, Curve::p256, 1, 50}).ok()) << "needs no identity key";
  }
  c.tokens.front().module_path = "/nonexistent.so";
  EXPECT_EQ(DirectClient::start(c, c.tokens.front()).error().reason, "hsm-module");
  c = token_config();
  c.tokens.front().token_uri = "pkcs11:token=another";
  EXPECT_EQ(DirectClient::start(c, c.tokens.front()).error().reason, "hsm-token");
  // Without login neither is needed, and what needs them says so.
  const auto d = direct(c, false);
  ASSERT_TRUE(d);
  EXPECT_EQ(d->measure({DirectKind::ecka, Curve::p256, 1, 50}).error().reason, "hsm-token");
}

TEST(Direct, StopsOnRequest) {
  std::atomic<bool> stop{false};
  const HsmConfig c = token_config();
  auto d = DirectClient::start(c, c.tokens.front(), true, &stop);
  ASSERT_TRUE(d.ok()) << d.error().text();
  ASSERT_TRUE((*d)->begin({DirectKind::set, Curve::p256, 1, 60'000}).ok());
  stop = true;
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ((*d)->finish().error().reason, "interrupted");
  d->reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(20));
}

}  // namespace
}  // namespace kf::hsm::testing
