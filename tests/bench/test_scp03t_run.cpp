// `keyferry-bench scp03t` as its user runs it: the keys of the report, every octet right. No speed: a shared machine
// has none.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/report/scp03t_report.hpp"
#include "tests/bench/run_bench.hpp"

namespace kf::bench {
namespace {

Result<proc::ToolResult> bench(const std::vector<std::string>& args, int seconds) {
  return run_bench("scp03t", args, seconds);
}

TEST(BenchScp03t, AQuickRunOfEveryEngineIsCompleteAndRight) {
  const Scratch dir;
  const auto r = bench({"--quick", "--engine", "all", "--key-bits", "192", "--report-json", dir / "r.json",
                        "--report-html", dir / "r.html"},
                       200);
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->status, 0) << r->out << r->err;
  EXPECT_NE(r->out.find(": 0 wrong"), std::string::npos) << r->out;
  const Json j = Json::parse(slurp(dir / "r.json"));
  EXPECT_EQ(j["key_bits"], 192);
  EXPECT_EQ(j["rounds"], 2);
  EXPECT_EQ(j["results"]["wrong"], 0);
  const std::size_t engines = j["ratios"]["seal_vs_naive_by_engine"].size();
  EXPECT_GE(engines, 1U);
  EXPECT_TRUE(j["ratios"]["seal_vs_naive_by_engine"].contains("openssl"));
  EXPECT_TRUE(j["ratios"]["seal_vs_naive"].is_null()) << "1024 downloads were not measured";
  EXPECT_GT(j["ratios"]["seal_vs_naive_64"].get<double>(), 0);
  EXPECT_GT(j["ratios"]["one_download_vs_naive"].get<double>(), 0);
  EXPECT_GT(j["ratios"]["path_vs_naive"].get<double>(), 0);
  ASSERT_EQ(j["seal"].size(), 4 * (engines + 2));  // two sizes, two numbers of downloads, beside the loop and the copy
  for (const auto& row : j["seal"]) {
    EXPECT_GT(row["bytes_per_cpu_s"]["median"].get<double>(), 0) << row;
    EXPECT_EQ(row["bytes_per_cpu_s"]["rounds"], 2) << row;
  }
  EXPECT_EQ(j["path"]["steps"].size(), 2U * 7);
  // Each cell compares its packages (at most 64) for each engine, and the path its 128 bodies.
  EXPECT_EQ(j["results"]["checked"], 2 * (1 + 64) * engines + 128);
  EXPECT_NE(slurp(dir / "r.html").find("</html>"), std::string::npos);
}

TEST(BenchScp03t, WhatNeedsTooMuchMemoryIsLeftOutAndSaidSo) {
  const auto r =
      bench({"--quick", "--kib", "256", "--in-flight", "64", "--memory-mib", "16", "--path-downloads", "4"}, 100);
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->status, 0) << r->out << r->err;
  EXPECT_NE(r->out.find("64 downloads of 256 KiB"), std::string::npos) << r->out;
}

TEST(BenchScp03t, WrongUsageNamesTheInput) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"--engine", "abacus"}, "--engine \"abacus\""},  {{"--kib", "0"}, "--kib 0: must be"},
      {{"--in-flight", "0"}, "--in-flight 0: must be"}, {{"--rounds", "0"}, "--rounds 0: must be"},
      {{"--seconds", "-1"}, "--seconds -1: must be"},   {{"--key-bits", "512"}, "--key-bits 512: must be"},
      {{"--batch", "0"}, "--batch 0: must be"},         {{"--nonsense"}, "--nonsense"}};
  for (const auto& [args, said] : cases) {
    const auto r = bench(args, 20);
    ASSERT_TRUE(r.ok()) << r.error().text();
    EXPECT_EQ(r->status, 2) << said << ": " << r->err;
    EXPECT_NE(r->err.find(said), std::string::npos) << r->err;
    EXPECT_EQ(std::count(r->err.begin(), r->err.end(), '\n'), 1) << r->err;
  }
}

TEST(BenchScp03t, HelpTeaches) {
  const auto r = bench({"--help"}, 20);
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->status, 0);
  for (const char* part : {"--engine", "--in-flight", "--report-html", "keyferry-bench scp03t --kib", "Exit status"})
    EXPECT_NE(r->out.find(part), std::string::npos) << part;
}

TEST(Scp03tReport, RatiosAreTakenWithinARound) {
  Scp03tReport r;
  r.engine = "fast";
  r.engines = {"fast"};
  r.seal = {{16384, 1024, "naive", {1e9, 2e9, 0.5e9}}, {16384, 1024, "fast", {4e9, 10e9, 3e9}}};
  r.path = {{"naive", "all", {3, 6}}, {"product", "all", {1, 3}}, {"naive", "seal", {1, 1}}};
  const auto seal = seal_ratio(r, 16384, 1024, "fast");
  ASSERT_TRUE(seal.has_value());
  EXPECT_DOUBLE_EQ(seal->median, 5);
  EXPECT_DOUBLE_EQ(seal->low, 4);
  EXPECT_DOUBLE_EQ(seal->high, 6);
  EXPECT_DOUBLE_EQ(path_ratio(r)->median, 2.5);
  EXPECT_FALSE(seal_ratio(r, 16384, 64, "fast").has_value());
  EXPECT_FALSE(path_ratio({}).has_value());
  const auto j = to_json(r);
  EXPECT_EQ(j["ratios"]["seal_vs_naive"], 5);
  EXPECT_EQ(j["ratios"]["path_vs_naive"], 2.5);
  EXPECT_TRUE(j["ratios"]["one_download_vs_naive"].is_null());
  EXPECT_FALSE(r.clean()) << "nothing was checked";
  EXPECT_NE(to_text(document(r)).find("5.00 (4.00 to 6.00)"), std::string::npos);
}

}  // namespace
}  // namespace kf::bench
