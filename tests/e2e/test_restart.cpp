// kill -9 in the middle of a burst: after the restart every order ends in exactly one outcome, the Operator is told,
// and no ISD-P is left in state Created.
#include <sqlite3.h>

#include <thread>

#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

struct Moment {
  int ms;  // after the first order, and between kills
  unsigned kills;
};
class KillNine : public ::testing::TestWithParam<Moment> {};

std::int64_t key_sets(const Rig& rig) {
  sqlite3* db = nullptr;
  sqlite3_stmt* s = nullptr;
  EXPECT_EQ(sqlite3_open_v2((rig.dir() + "/store.db").c_str(), &db, SQLITE_OPEN_READONLY, nullptr), SQLITE_OK);
  EXPECT_EQ(sqlite3_prepare_v2(db, "SELECT count(*) FROM keysets", -1, &s, nullptr), SQLITE_OK);
  EXPECT_EQ(sqlite3_step(s), SQLITE_ROW);
  const std::int64_t n = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  sqlite3_close(db);
  return n;
}

TEST_P(KillNine, EveryOrderEndsInOneOutcome) {
  RigOptions o;
  o.euiccs = 60;
  o.radio = "constant:250";  // seven exchanges: no download can be done before 1.75 s, however fast the machine
  o.settings = {{"timeouts.card_s", std::int64_t{15}}, {"timeouts.backoff_ms", std::int64_t{50}}};
  Rig rig(o);
  asio::steady_timer t(rig.io(), std::chrono::milliseconds(GetParam().ms));
  unsigned kills = 0;
  std::function<void(const boost::system::error_code&)> strike = [&](const boost::system::error_code&) {
    rig.world().kill_smdp();
    Rig::must(rig.world().start_smdp());
    if (++kills < GetParam().kills) {
      t.expires_after(std::chrono::milliseconds(GetParam().ms));
      t.async_wait(strike);
    }
  };
  t.async_wait(strike);
  // An order whose 202 was lost with the connection is placed again with the same FunctionCallIdentifier, as an
  // Operator would.
  std::size_t left = 60;
  std::vector<Outcome> out(60);
  std::function<void(unsigned, unsigned)> place = [&](unsigned i, unsigned attempt) {
    sim::Order order = rig.order_of(i);
    order.call_id = "burst-" + std::to_string(i);
    asio::co_spawn(
        rig.io(), rig.op().order(order, Pattern::callback, std::chrono::seconds(60)),
        [&, i, attempt](std::exception_ptr, Outcome x) {
          if (!x.response && attempt < 5) {
            auto pause = std::make_shared<asio::steady_timer>(rig.io(), std::chrono::milliseconds(700));
            pause->async_wait([&, i, attempt, pause](const boost::system::error_code&) { place(i, attempt + 1); });
            return;
          }
          out[i] = std::move(x);
          if (--left == 0) rig.io().stop();
        });
  };
  for (unsigned i = 0; i < 60; ++i) place(i, 0);
  rig.io().restart();
  rig.io().run();

  unsigned succeeded = 0;
  for (unsigned i = 0; i < 60; ++i) {
    ASSERT_TRUE(out[i].response.has_value()) << i << ": " << out[i].text();
    const bool ok = out[i].succeeded();
    succeeded += ok ? 1 : 0;
    EXPECT_EQ(rig.verified(i), ok) << i << " was told " << told(out[i]);
    if (!ok) {
      EXPECT_EQ(told(out[i]), "FAILED 1.2/4.2") << out[i].text();
    }
  }
  EXPECT_GE(kills, 1U);
  // One crash costs no order: what was interrupted is done once more with fresh keys. A second one may end it
  // (docs/spec/interfaces.md 4.2).
  if (GetParam().kills == 1) {
    EXPECT_EQ(succeeded, 60U);
  }
  // Each profile has its key set, the ones that were made twice as well; they are sealed a little later.
  for (int i = 0; i < 200 && key_sets(rig) != succeeded; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(key_sets(rig), succeeded);
  EXPECT_EQ(rig.created_left(), 0U);
  const Json s = Rig::must(rig.world().smdp_status());
  EXPECT_EQ(s["downloads"]["in_flight"], 0);
  RecordProperty("succeeded", static_cast<int>(succeeded));
}
// Early, in the middle and late in the downloads.
INSTANTIATE_TEST_SUITE_P(Moments, KillNine,
                         ::testing::Values(Moment{150, 1}, Moment{800, 1}, Moment{1400, 1}, Moment{900, 2}));

TEST(Restart, StopsCleanlyAndGoesOn) {
  RigOptions o;
  o.euiccs = 2;
  Rig rig(o);
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS");
  Rig::must(rig.world().stop_smdp());
  EXPECT_EQ(key_sets(rig), 1) << "a stop in order loses none, however late they are sealed";
  Rig::must(rig.world().start_smdp());
  sim::Order again = rig.order_of(0);
  EXPECT_EQ(told(rig.run(rig.op().order(again, Pattern::callback, std::chrono::seconds(20)))), "FAILED 8.2.1/3.3");
  EXPECT_EQ(told(rig.download(1)), "EXECUTED_SUCCESS");
}

}  // namespace
}  // namespace kf::e2e
