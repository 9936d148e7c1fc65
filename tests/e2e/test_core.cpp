// Custody `core`: every ephemeral key is born, used and erased in the (simulated) ECC core, and a core that dies loses
// no download.
#include <signal.h>
#include <unistd.h>

#include "bench/process/usage.hpp"
#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

void expect_good(Rig& rig, const std::vector<Outcome>& out) {
  for (unsigned i = 0; i < out.size(); ++i) {
    EXPECT_EQ(told(out[i]), "EXECUTED_SUCCESS") << out[i].text();
    EXPECT_TRUE(rig.verified(i)) << i;
  }
  EXPECT_EQ(rig.created_left(), 0U);
}

class CoreCustody : public ::testing::TestWithParam<const char*> {};

TEST_P(CoreCustody, EphemeralKeysLiveInTheCore) {
  RigOptions o;
  o.custody = "core";
  o.curve = GetParam();
  o.euiccs = 24;
  Rig rig(o);
  expect_good(rig, rig.download_all());
  const Json s = Rig::must(rig.world().smdp_status());
  EXPECT_EQ(s["operations"]["sign"]["hsm"], 24);
  EXPECT_EQ(s["operations"]["verify"]["software"], 24);
  EXPECT_EQ(s["operations"]["ephemeral"], (Json{{"core", 24}})) << "custody is never mixed";
  EXPECT_EQ(s["operations"]["ecka"], (Json{{"core", 24}}));
  EXPECT_EQ(s["core"]["health"], "green");
  EXPECT_EQ(s["core"]["cores"][0]["agreed"], 24);
  EXPECT_EQ(s["core"]["cores"][0]["faults"], 0);
  EXPECT_EQ(s["messages"]["alarms"], 0);
}
INSTANTIATE_TEST_SUITE_P(Curves, CoreCustody, ::testing::Values("P-256", "brainpoolP256r1"));

TEST(CoreRouting, TheCoreVerifiesWhenToldTo) {
  RigOptions o;
  o.custody = "core";
  o.euiccs = 6;
  o.settings = {{"core.verify", std::string("core")}, {"core.cores", std::int64_t{2}}};
  Rig rig(o);
  expect_good(rig, rig.download_all());
  const Json s = Rig::must(rig.world().smdp_status());
  EXPECT_EQ(s["operations"]["verify"], (Json{{"core", 6}}));
  EXPECT_EQ(s["core"]["cores"].size(), 2U);
}

TEST(CoreCrash, KillingTheCoreLosesNoDownload) {
  RigOptions o;
  o.custody = "core";
  o.euiccs = 40;
  o.radio = "constant:150";
  Rig rig(o);
  unsigned kills = 0;
  std::vector<Outcome> out;
  {
    const Meanwhile killer(rig.io(), std::chrono::milliseconds(250), [&] {
      if (kills == 2) return;  // a core needs some time to be of use again
      for (const pid_t p : proc::children_of(rig.world().smdp().pid())) {
        if (proc::name_of(p) != std::string("keyferry-ecc-sim").substr(0, 15)) continue;
        ::kill(p, SIGKILL);
        ++kills;
      }
    });
    out = rig.download_all();
  }
  expect_good(rig, out);
  EXPECT_GE(kills, 1U) << "the downloads were over before anything was killed";
  Json s;
  for (int i = 0; i < 100; ++i) {  // a core that had nothing to do is missed at the next look at it
    s = Rig::must(rig.world().smdp_status());
    if (s["core"]["cores"][0]["losses"] != 0) break;
    ::usleep(100'000);
  }
  EXPECT_EQ(s["downloads"]["completed"], 40);
  EXPECT_EQ(s["operations"]["ecka"], (Json{{"core", 40}}));
  EXPECT_GE(s["core"]["cores"][0]["losses"], 1);
}

}  // namespace
}  // namespace kf::e2e
