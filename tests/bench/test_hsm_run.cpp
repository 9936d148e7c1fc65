// `keyferry-bench hsm` as its user runs it, on a throw-away SoftHSM token: the keys of the report and that nothing was
// wrong or lost. No speed: a shared machine has none.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "bench/process/usage.hpp"
#include "tests/bench/run_bench.hpp"

namespace kf::bench {
namespace {

using Json = nlohmann::json;

proc::SpawnOptions bench(const std::vector<std::string>& args) { return bench_options("hsm", args); }

TEST(BenchHsm, AQuickRunIsCompleteAndClean) {
  const Scratch dir;
  const auto r =
      proc::run_tool(bench({"--quick", "--seconds", "0.1", "--check", "--sets", "300", "--load", "25,90", "--dir",
                            dir / "token", "--report-json", dir / "r.json", "--report-html", dir / "r.html"}),
                     proc::Millis(240'000));
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->status, 0) << r->out << r->err;
  for (const char* part : {"set_engine_vs_direct", "arrives at random", "300 of 300: 0 wrong"})
    EXPECT_NE(r->out.find(part), std::string::npos) << part << "\n" << r->out;

  const Json j = Json::parse(slurp(dir / "r.json"));
  EXPECT_EQ(j["ratios"].size(), 4U);
  for (const auto& [name, v] : j["ratios"].items()) {
    ASSERT_TRUE(v.is_number()) << name;
    EXPECT_GT(v.get<double>(), 0) << name;
  }
  EXPECT_EQ(j["target"]["curves"], Json({"P-256", "brainpoolP256r1"}));
  // Both curves: sign and ecka direct and through the engine by one and by two, sets one at a time besides.
  ASSERT_EQ(j["rates"].size(), 2U * (4 + 4 + 5));
  for (const auto& row : j["rates"]) {
    EXPECT_EQ(row["per_s"].size(), 2U) << row;
    EXPECT_GT(row["median_per_s"].get<double>(), 0) << row;
#if !defined(__SANITIZE_ADDRESS__)  // there workers outgrow their budget and are replaced during a leg
    EXPECT_GT(row["cpu_us"]["workers"].get<double>(), 0) << row;
#endif
  }
  EXPECT_EQ(j["open_loop"].size(), 4U);
  for (const auto& row : j["open_loop"]) {
    EXPECT_GT(row["done"].get<int>(), 0) << row;
    EXPECT_GT(row["latency_ms"]["p50"].get<double>(), 0) << row;
    EXPECT_GT(row["service_us"]["count"].get<int>(), 0) << row;
  }
  EXPECT_EQ(j["saturation"].size(), 2U);
  for (const auto& row : j["saturation"]) EXPECT_GT(row["batch_size"]["count"].get<int>(), 0) << row;
  EXPECT_EQ(j["direct"].size(), 10U);
  for (const auto& row : j["direct"]) EXPECT_GT(row["p50_us"].get<double>(), 0) << row;
  const Json& results = j["results"];
  EXPECT_GT(results["operations"].get<int>(), 600);
  EXPECT_EQ(results["checked"], results["operations"]);  // --check: every one
  for (const char* bad : {"wrong", "failed", "lost", "repeated_keys"}) EXPECT_EQ(results[bad], 0) << bad;
  const Json& e = j["endurance"];
  EXPECT_EQ(e["completed"], 300);
  for (const char* bad : {"wrong", "failed", "lost", "repeated_keys"}) EXPECT_EQ(e[bad], 0) << bad;
  EXPECT_EQ(e["session_objects"], 0);
  EXPECT_GT(e["rss_start_bytes"].get<std::uint64_t>(), 1'000'000U);
  EXPECT_GT(e["worker_rss_peak_bytes"].get<std::uint64_t>(), 1'000'000U);
  EXPECT_EQ(e["workers"].size(), 2U);
  EXPECT_NE(slurp(dir / "r.html").find("</html>"), std::string::npos);
}

TEST(BenchHsm, CtrlCEndsInOrderWithWhatWasMeasured) {
  const Scratch dir;
  proc::SpawnOptions o = bench({"--pairs", "200", "--seconds", "0.1", "--curve", "P-256", "--kind", "set", "--dir",
                                dir / "token", "--report-json", dir / "r.json"});
  o.stderr_file = dir / "err";
  o.stdout_file = dir / "out";
  auto child = proc::Child::spawn(o);
  ASSERT_TRUE(child.ok()) << child.error().text();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (slurp(dir / "err").find("round 2 of") == std::string::npos && child->running() &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto workers = proc::children_of(child->pid());
  EXPECT_EQ(workers.size(), 5U);  // engines with one and two workers, two with bare calls
  child->signal(SIGINT);
  const auto status = child->wait(proc::Millis(30'000));
  ASSERT_TRUE(status.ok()) << status.error().text();
  EXPECT_EQ(*status, 130) << slurp(dir / "err");
  for (const pid_t w : workers) EXPECT_FALSE(proc::cpu_seconds(w).ok()) << "worker " << w << " was left behind";
  const Json j = Json::parse(slurp(dir / "r.json"));
  EXPECT_EQ(j["interrupted"], true);
  EXPECT_TRUE(j["ratios"]["set_engine_vs_direct"].is_number());
  EXPECT_EQ(j["results"]["lost"], 0);
  EXPECT_NE(slurp(dir / "out").find("interrupted"), std::string::npos);
}

TEST(BenchHsm, WrongUsageNamesTheInput) {
  const Scratch dir;
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"--kind", "wrap"}, "--kind wrap: must be sign, ecka or set"},
      {{"--curve", "P-384"}, "--curve P-384"},
      {{"--load", "0"}, "--load 0"},
      {{"--seconds", "0"}, "--seconds"},
      {{"--pairs", "0"}, "--pairs"},
      {{"--env", "X"}, "--env X: must be NAME=VALUE"},
      {{"--config", "/nonexistent/smdp.toml"}, "/nonexistent/smdp.toml"},
      {{"--module", "/nonexistent/p11.so"}, "--token"},
      {{"--token", "pkcs11:token=x"}, "--token: only with --module"},
      {{"--module", "m.so", "--token", "pkcs11:token=x", "--pin-file", "p", "--identity", "P-384=k"},
       "--identity P-384=k"},
      {{"--nonsense"}, "--nonsense"}};
  for (const auto& [args, said] : cases) {
    std::vector<std::string> all = args;
    all.insert(all.end(), {"--dir", dir / "token"});
    const auto r = proc::run_tool(bench(all), proc::Millis(20'000));
    ASSERT_TRUE(r.ok()) << r.error().text();
    EXPECT_EQ(r->status, 2) << said << ": " << r->err;
    EXPECT_NE(r->err.find(said), std::string::npos) << r->err;
    EXPECT_EQ(std::count(r->err.begin(), r->err.end(), '\n'), 1) << r->err;
  }
}

TEST(BenchHsm, AModuleThatCannotBeLoadedIsNamed) {
  const Scratch dir;
  std::ofstream(dir / "pin") << "1234\n";
  const auto r = proc::run_tool(bench({"--module", "/nonexistent/p11.so", "--token", "pkcs11:token=x", "--pin-file",
                                       dir / "pin", "--identity", "k"}),
                                proc::Millis(60'000));
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->status, 1) << r->err;
  EXPECT_NE(r->err.find("/nonexistent/p11.so"), std::string::npos) << r->err;
}

}  // namespace
}  // namespace kf::bench
