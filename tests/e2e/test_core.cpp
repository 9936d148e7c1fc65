// Custody `core`: every ephemeral key is born, used and erased in the (simulated) ECC core, and a core that dies loses
// no download.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <sstream>

#include "bench/process/usage.hpp"
#include "tests/e2e/memory.hpp"
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
  o.settings = {{"routing.verify", std::string("core")}, {"core.cores", std::int64_t{2}}};
  Rig rig(o);
  expect_good(rig, rig.download_all());
  const Json s = Rig::must(rig.world().smdp_status());
  EXPECT_EQ(s["operations"]["verify"], (Json{{"core", 6}}));
  EXPECT_EQ(s["core"]["cores"].size(), 2U);
}

// Two engines may make ephemeral keys and two may verify: each download has one of each, and the report says which.
TEST(CoreRouting, SeveralEnginesShareByLoad) {
  RigOptions o;
  o.custody = "core";
  o.euiccs = 60;
  o.settings = {{"routing.ephemeral", std::vector<std::string>{"core", "hsm"}},
                {"routing.verify", std::vector<std::string>{"software", "core"}}};
  Rig rig(o);
  expect_good(rig, rig.download_all());
  const Json s = Rig::must(rig.world().smdp_status());
  EXPECT_EQ(s["routes"], Json::parse(R"({"sign":["hsm"],"ephemeral":["core","hsm"],"verify":["software","core"]})"));
  const auto done = [&](const char* op, const char* engine) { return s["operations"][op].value(engine, 0); };
  EXPECT_EQ(done("ephemeral", "core") + done("ephemeral", "hsm"), 60) << s["operations"];
  EXPECT_EQ(done("ecka", "core") + done("ecka", "hsm"), 60);
  EXPECT_EQ(done("verify", "core") + done("verify", "software"), 60);
  EXPECT_GT(done("ecka", "hsm"), 0);
  EXPECT_GT(done("verify", "software"), 0);
  EXPECT_GT(done("ecka", "core") + done("verify", "core"), 0) << "each is asked at least to learn its speed";
}

// The other engine carries on where the policy names it, and only there.
TEST(CoreRouting, TheTokenCarriesOnWhereItMay) {
  RigOptions o;
  o.custody = "core";
  o.euiccs = 12;
  o.settings = {{"routing.ephemeral", std::vector<std::string>{"core", "hsm"}},
                {"core.job_limit_ms", std::int64_t{1000}}};
  Rig rig(o);
  const Meanwhile killer(rig.io(), std::chrono::milliseconds(20), [&] {
    for (const pid_t p : proc::children_of(rig.world().smdp().pid())) {
      if (proc::name_of(p) == std::string("keyferry-ecc-sim").substr(0, 15)) ::kill(p, SIGKILL);
    }
  });
  expect_good(rig, rig.download_all());
  const Json s = Rig::must(rig.world().smdp_status());
  EXPECT_EQ(s["operations"]["ecka"].value("core", 0) + s["operations"]["ecka"].value("hsm", 0), 12);
  EXPECT_GT(s["operations"]["ecka"].value("hsm", 0), 0) << "the core was killed whenever it was seen";
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

// One bit of one flop or memory of the core flips every few jobs. A core that answers with a wrong number would end in
// a wrong receipt or a card that refuses its profile; each flip ends in a repeated job, a new core, or nothing.
TEST(CoreFaults, FlippedBitsDeliverNoWrongKeyAndLoseNoDownload) {
  const char* many = std::getenv("KF_FLIP_DOWNLOADS");  // the soak test's
  const unsigned downloads = many == nullptr ? 60 : static_cast<unsigned>(std::stoul(many));
  const std::string flips = (fs::temp_directory_path() / ("kf-flips-" + random_uuid())).string();
  const std::map<std::string, std::string> environment{
      {"KEYFERRY_TEST_FLIPS", flips}, {"KEYFERRY_TEST_FLIP_EVERY", "200000"}, {"KEYFERRY_TEST_FLIP_SEED", "12"}};
  for (const auto& [name, value] : environment) ASSERT_EQ(::setenv(name.c_str(), value.c_str(), 1), 0);
  RigOptions o;
  o.custody = "core";
  o.euiccs = downloads;
  o.settings = {{"core.simulator", std::string(KF_BIN_DIR) + "/../tests/keyferry-ecc-sim-faulty"}};
  Rig rig(o);
  for (const auto& [name, value] : environment) ::unsetenv(name.c_str());
  expect_good(rig, rig.download_all());
  const Json s = Rig::must(rig.world().smdp_status());
  EXPECT_EQ(s["operations"]["ecka"], (Json{{"core", downloads}}));
  const std::string all = slurp(flips);
  const auto count = std::ranges::count(all, '\n');
  EXPECT_GE(count, 1) << "nothing was disturbed";
  std::printf("%ld flips, seen by the driver: %s\n", static_cast<long>(count), s["core"]["cores"].dump().c_str());
  fs::remove(flips);
}

// No ephemeral scalar was ever in the server's memory, nor in an HSM worker's: not whole, not a half of it, in neither
// byte order. A core that tells the test what its slots held says what to look for; that the search finds such things
// is seen in the core's own process, whose slots hold the key pairs that were made ahead (and which remembers what it
// told).
TEST(CoreSecrecy, NoScalarReachesTheServer) {
  const std::string told = (fs::temp_directory_path() / ("kf-told-" + random_uuid())).string();
  ASSERT_EQ(::setenv("KEYFERRY_TEST_TELL", told.c_str(), 1), 0);
  RigOptions o;
  o.custody = "core";
  o.euiccs = 40;
  o.settings = {{"core.simulator", std::string(KF_BIN_DIR) + "/../tests/keyferry-ecc-sim-telling"}};
  Rig rig(o);
  ::unsetenv("KEYFERRY_TEST_TELL");
  const auto scalars = [&] {
    std::vector<Bytes> out;
    std::istringstream lines(slurp(told));
    for (std::string line; std::getline(lines, line);) {
      if (auto b = from_hex(line); b && b->size() == 32) out.push_back(std::move(*b));
    }
    return out;
  };
  const auto needles_of = [](const std::vector<Bytes>& all) {
    Needles n;
    for (Bytes s : all) {
      for (int order = 0; order < 2; ++order) {
        n.add(s.data(), 16);
        n.add(s.data() + 16, 16);
        std::ranges::reverse(s);
      }
    }
    return n;
  };
  const pid_t server = rig.world().smdp().pid();
  std::size_t found_on_the_way = 0;
  {
    const Beside look(std::chrono::milliseconds(100), [&] {
      if (const auto m = scan_memory(server, needles_of(scalars()))) found_on_the_way += m->found.size();
    });
    expect_good(rig, rig.download_all());
  }
  const std::vector<Bytes> all = scalars();
  fs::remove(told);
  ASSERT_GE(all.size(), 40U) << "one for each download at least";
  const Needles needles = needles_of(all);
  const auto of_server = scan_memory(server, needles);
  if (!of_server) GTEST_SKIP() << "the memory of another process cannot be read here";
  EXPECT_GT(of_server->bytes, 4U << 20);
  EXPECT_EQ(of_server->found.size() + found_on_the_way, 0U) << "of " << all.size() << " scalars";
  unsigned cores = 0;
  for (const pid_t p : proc::children_of(server)) {
    const auto m = scan_memory(p, needles);
    ASSERT_TRUE(m.has_value());
    if (proc::name_of(p) == std::string("keyferry-ecc-sim").substr(0, 15)) {
      ++cores;
      EXPECT_GT(m->found.size(), 64U) << "the search must find them where they are";
    } else {
      EXPECT_EQ(m->found.size(), 0U) << proc::name_of(p);
    }
  }
  EXPECT_EQ(cores, 1U);
}

}  // namespace
}  // namespace kf::e2e
