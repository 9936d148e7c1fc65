// The HSM under a whole SM-DP: workers that die all the time, and a token taken out for maintenance, lose no download.
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

int keyferry(const std::string& arguments) {
  const int status = std::system((std::string(KF_BIN_DIR) + "/keyferry " + arguments + " >/dev/null 2>&1").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Workers, KilledAgainAndAgainLoseNoDownload) {
  RigOptions o;
  o.euiccs = 80;
  o.radio = "constant:150";  // long enough for several kills
  Rig rig(o);
  unsigned kills = 0;
  {
    // Each kill waits until all workers serve again and something was done since the last one: a machine on which a worker
    // takes longer to start than the time between two kills would otherwise never serve, and the downloads would rightly end
    // after the two minutes for which they wait for a token.
    std::uint64_t done_before = 0;
    const Meanwhile killer(rig.io(), std::chrono::milliseconds(120), [&] {
      const auto s = rig.world().smdp_status();
      if (!s) return;
      const Json& workers = (*s)["hsm"]["workers"];
      if (workers.empty() || !std::ranges::all_of(workers, [](const Json& w) { return w["live"].get<bool>(); })) return;
      std::uint64_t done = 0;
      for (const auto& t : (*s)["hsm"]["tokens"]) done += t["jobs"].get<std::uint64_t>();
      if (kills > 0 && done == done_before) return;
      done_before = done;
      ::kill(workers[kills % workers.size()]["pid"].get<int>(), SIGKILL);
      ++kills;
    });
    const auto out = rig.download_all();
    for (unsigned i = 0; i < out.size(); ++i) EXPECT_EQ(told(out[i]), "EXECUTED_SUCCESS") << out[i].text();
  }
  for (unsigned i = 0; i < o.euiccs; ++i) EXPECT_TRUE(rig.verified(i)) << i;
  EXPECT_EQ(rig.created_left(), 0U);
  EXPECT_GE(kills, 2U) << "the downloads were over before anything was killed";
  const Json s = Rig::must(rig.world().smdp_status());
  EXPECT_EQ(s["downloads"]["completed"], o.euiccs);
  std::uint64_t restarts = 0;
  for (const auto& w : s["hsm"]["workers"]) restarts += w["restarts"].get<std::uint64_t>();
  EXPECT_GE(restarts, 2U);
}

TEST(Drain, DownloadsWaitForTheTokenAndThenArrive) {
  RigOptions o;
  o.euiccs = 6;
  Rig rig(o);
  const std::string config = " --config " + rig.dir() + "/smdp.toml";
  const Json before = Rig::must(rig.world().smdp_status());
  ASSERT_EQ(before["hsm"]["health"], "green");
  const auto name = before["hsm"]["tokens"][0]["name"].get<std::string>();
  EXPECT_EQ(keyferry("token drain nobody" + config), 2);
  ASSERT_EQ(keyferry("token drain " + name + config), 0);
  EXPECT_EQ(Rig::must(rig.world().smdp_status())["hsm"]["tokens"][0]["state"], "drained");
  EXPECT_EQ(Rig::must(rig.world().smdp_status())["hsm"]["health"], "red");
  bool resumed = false;
  int looks = 0;
  std::vector<Outcome> out;
  {
    const Meanwhile look(rig.io(), std::chrono::milliseconds(300), [&] {
      if (++looks < 4) {
        EXPECT_EQ(Rig::must(rig.world().smdp_status())["downloads"]["completed"], 0);
      } else if (!resumed) {
        resumed = true;
        EXPECT_EQ(keyferry("token resume " + name + config), 0);
      }
    });
    out = rig.download_all();
  }
  EXPECT_TRUE(resumed);
  for (unsigned i = 0; i < out.size(); ++i) {
    EXPECT_EQ(told(out[i]), "EXECUTED_SUCCESS") << out[i].text();
    EXPECT_TRUE(rig.verified(i)) << i;
  }
  EXPECT_EQ(Rig::must(rig.world().smdp_status())["hsm"]["health"], "green");
}

}  // namespace
}  // namespace kf::e2e
