// `keyferry-bench ecc` as its user runs it: the keys of the report, cycles that cannot be otherwise, every answer
// right. No speed: a shared machine has none.
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <set>

#include "tests/bench/run_bench.hpp"

namespace kf::bench {
namespace {

using Json = nlohmann::json;

Result<proc::ToolResult> bench(const std::vector<std::string>& args, int seconds) {
  return run_bench("ecc", args, seconds);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(BenchEcc, AQuickRunIsCompleteAndRight) {
  const Scratch dir;
  const auto r =
      bench({"--quick", "--seed", "77", "--report-json", dir / "r.json", "--report-html", dir / "r.html"}, 280);
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->status, 0) << r->out << r->err;
  EXPECT_NE(r->out.find("seed 77"), std::string::npos) << r->out;
  EXPECT_NE(r->out.find("0 wrong"), std::string::npos) << r->out;
  const Json j = Json::parse(slurp(dir / "r.json"));
  EXPECT_EQ(j["n"], 64);
  EXPECT_EQ(j["ii"], 1);
  EXPECT_EQ(j["seed"], 77);
  EXPECT_TRUE(j["commit"].is_string());
  EXPECT_EQ(j["command"], "keyferry-bench ecc --style both --ii 1 --seed 77 --latency 40 --quick");
  const std::vector<std::string> operations{"ephemeral", "ecka", "sign", "verify"};
  for (const auto& op : operations) {
    EXPECT_GT(j["cycles_per_op"][op].get<double>(), 500) << op;
    for (const char* curve : {"P-256", "brainpoolP256r1"}) {
      EXPECT_GT(j["curves"][curve][op].get<double>(), 500) << op;
      EXPECT_LE(j["curves"][curve][op], j["cycles_per_op"][op]) << op;
    }
    for (const char* style : {"fast", "pipelined"}) EXPECT_GT(j["ops_per_cpu_s"][style][op].get<double>(), 0) << op;
    EXPECT_GE(j["multiplier_use_by_operation"][op], j["multiplier_use"]) << op;
  }
  EXPECT_GT(j["multiplier_use"].get<double>(), 0.9);
  EXPECT_LE(j["multiplier_use"].get<double>(), 1);
  ASSERT_EQ(j["rows"].size(), 2U * 2 * 4);
  for (const auto& row : j["rows"]) {
    EXPECT_EQ(row["jobs"], 64) << row;  // the one batch between the first and the last
    EXPECT_GT(row["busy"].get<double>(), 0.99) << row;
    EXPECT_GT(row["batch_cycles"].get<int>(), 30'000) << row;
    EXPECT_LT(row["batch_cycles"].get<int>(), row["cycles"].get<int>()) << row;
  }
  // Both styles and both curves: four operations of three batches, and the sixteen keys that sign.
  EXPECT_EQ(j["results"]["answers"], 2 * 2 * (4 * 3 * 64 + 2 * 16));
  EXPECT_EQ(j["results"]["wrong"], 0);
  EXPECT_NE(slurp(dir / "r.html").find("</html>"), std::string::npos);
}
#endif

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(BenchEcc, ThroughDriverAndEngineNothingIsWrongOrLost) {
  const Scratch dir;
  const auto r = bench({"--through", "both", "--quick", "--curve", "brainpoolP256r1", "--cores", "1,2", "--seconds",
                        "0.1", "--report-json", dir / "r.json", "--report-html", dir / "r.html"},
                       280);
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->status, 0) << r->out << r->err;
  const Json j = Json::parse(slurp(dir / "r.json"));
  EXPECT_EQ(j["core"]["contexts"], 64);
  EXPECT_GT(j["results"]["answers"], 1000);
  EXPECT_EQ(j["results"]["checked"], j["results"]["answers"]);
  for (const char* none : {"wrong", "failed", "lost", "repeated_keys"}) EXPECT_EQ(j["results"][none], 0) << none;
  std::set<std::string> seen;
  for (const auto& row : j["rows"]) {
    const bool one = row["queue_depth"] == 1;
    seen.insert(row["through"].get<std::string>() + " " + row["operation"].get<std::string>());
    EXPECT_GT(row["operations"], 0) << row;
    EXPECT_GT(row["cycles"], 0) << row;
    EXPECT_GT(row["busy"].get<double>(), 0.3) << row;
    EXPECT_LE(row["busy"].get<double>(), 1) << row;
    EXPECT_GT(row["host_cpu_us"]["all"], row["host_cpu_us"]["calls"]) << row;
    EXPECT_GT(row["sim_cpu_us"], row["host_cpu_us"]["all"]) << row;  // a simulated job costs a hundred times its driver
    if (one) {
      EXPECT_LT(row["batch"]["mean"].get<double>(), 64) << row;
    }
  }
  EXPECT_EQ(seen, (std::set<std::string>{"driver ephemeral", "driver ecka", "driver sign", "driver verify",
                                         "engine ephemeral_ecka", "engine verify"}));
  for (const char* path : {"driver", "engine"}) {
    const std::string name = path;
    EXPECT_GT(j["ratios"][name + "_two_cores_vs_one"], 0) << name;
    EXPECT_GT(j[name + "_us_per_job"], 0) << name;
    EXPECT_GT(j["busy_while_queued"][name], 0) << name;
  }
  EXPECT_NE(slurp(dir / "r.html").find("</html>"), std::string::npos);
}
#endif

TEST(BenchEcc, WrongUsageNamesTheInput) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases {
    {{"--style", "slow"}, "--style slow: must be fast, pipelined or both"},
        {{"--curve", "P-384"}, "--curve P-384: must be"}, {{"--ii", "3"}, "--ii 3: must be 1, 2 or 4"},
        {{"--jobs", "0"}, "--jobs: must be from 1"},
        {{"--through", "wire"}, "--through wire: must be core, driver, engine or both"},
        {{"--through", "driver", "--queue-depth", "8,257"}, "--queue-depth 257: must be from 1 to 256"},
        {{"--through", "engine", "--cores", "0"}, "--cores 0: must be from 1 to 8"},
        {{"--through", "engine", "--style", "fast"}, "--style: goes with --through core only"},
        {{"--queue-depth", "8"}, "--queue-depth: goes with --through driver"},
        {{"--latency", "1000000"}, "--latency: must be"},
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        {{"--style", "pipelined", "--ii", "4"}, "--style pipelined --ii 4: this build holds no such core"},
#else
        {{"--quick"}, "this build holds no simulated core"},
#endif
    {
      {"--nonsense"}, "--nonsense"
    }
  };
  for (const auto& [args, said] : cases) {
    const auto r = bench(args, 20);
    ASSERT_TRUE(r.ok()) << r.error().text();
    EXPECT_EQ(r->status, 2) << said << ": " << r->err;
    EXPECT_NE(r->err.find(said), std::string::npos) << r->err;
    EXPECT_EQ(std::count(r->err.begin(), r->err.end(), '\n'), 1) << r->err;
  }
}

TEST(BenchEcc, HelpTeaches) {
  const auto r = bench({"--help"}, 20);
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->status, 0);
  for (const char* part : {"--style", "--report-html", "keyferry-bench ecc --style fast", "--through both",
                           "--queue-depth", "Exit status"})
    EXPECT_NE(r->out.find(part), std::string::npos) << part;
}

}  // namespace
}  // namespace kf::bench
