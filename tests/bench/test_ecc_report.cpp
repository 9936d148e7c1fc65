// The report of the ECC core: worst of curves and styles by hand-computed values, the exact JSON keys, a page that
// stands alone.
#include <gtest/gtest.h>

#include <set>

#include "bench/report/ecc_report.hpp"
#include "tests/bench/json_keys.hpp"

namespace kf::bench {
namespace {

EccRow row(const char* style, const char* curve, const char* operation, std::uint64_t cycles, double cpu_s) {
  EccRow r;
  r.style = style;
  r.curve = curve;
  r.operation = operation;
  r.jobs = 100;
  r.batches = 2;
  r.cycles = cycles;
  r.mul_issued = cycles / 2;
  r.mul_slots = cycles / 2 + cycles / 8;
  r.busy_cycles = cycles;
  r.cpu_s = cpu_s;
  return r;
}

EccReport sample_ecc_report() {
  EccReport r;
  r.version = "1.2.3";
  r.commit = "abc";
  r.command = "keyferry-bench ecc --curve <P-256>";
  r.curves = {"P-256", "brainpoolP256r1"};
  r.cores = {{"fast", "kf_core_fast_test", 1, 64, 1000, 0.5, 7},
             {"pipelined", "kf_core_pipelined_test", 1, 64, 1000, 2, 7}};
  r.rows = {row("fast", "P-256", "ecka", 400'000, 0.1), row("fast", "brainpoolP256r1", "ecka", 390'000, 0.2),
            row("pipelined", "P-256", "ecka", 400'000, 1), row("fast", "P-256", "sign", 130'000, 0.05)};
  r.rows[1].mul_issued = 100'000;
  r.answers = 400;
  return r;
}

TEST(EccReport, OneRow) {
  EccRow r = row("fast", "P-256", "ecka", 400'000, 0.1);
  EXPECT_DOUBLE_EQ(r.cycles_per_op(), 4000);
  EXPECT_DOUBLE_EQ(r.multiplier_use(), 0.5);
  EXPECT_DOUBLE_EQ(r.slot_use(), 0.8);
  EXPECT_DOUBLE_EQ(r.busy(), 1);
  EXPECT_DOUBLE_EQ(r.ops_per_cpu_s(), 1000);
  r.ii = 2;  // every multiplication takes two cycles of the multiplier
  EXPECT_DOUBLE_EQ(r.multiplier_use(), 1);
  EXPECT_EQ(EccRow{}.cycles_per_op(), 0);
  EXPECT_EQ(EccRow{}.ops_per_cpu_s(), 0);
}

TEST(EccReport, TheWorseCurveStandsAtTheTop) {
  const EccReport r = sample_ecc_report();
  EXPECT_DOUBLE_EQ(worst_cycles(r, "ecka"), 4000);
  EXPECT_DOUBLE_EQ(worst_cycles(r, "ecka", "brainpoolP256r1"), 3900);
  EXPECT_EQ(worst_cycles(r, "verify"), 0);
  EXPECT_NEAR(worst_use(r, "ecka"), 100.0 / 390, 1e-12);
  EXPECT_DOUBLE_EQ(worst_rate(r, "fast", "ecka"), 500);
  EXPECT_DOUBLE_EQ(worst_rate(r, "pipelined", "ecka"), 100);
}

TEST(EccReport, JsonHasItsKeys) {
  const Json j = Json::parse(to_json(sample_ecc_report()).dump());
  EXPECT_EQ(keys(j), (std::set<std::string>{"version",
                                            "commit",
                                            "build",
                                            "started",
                                            "command",
                                            "seed",
                                            "interrupted",
                                            "machine",
                                            "other_cpus",
                                            "n",
                                            "ii",
                                            "cycles_per_op",
                                            "curves",
                                            "multiplier_use",
                                            "multiplier_use_by_operation",
                                            "ops_per_cpu_s",
                                            "jobs",
                                            "warm_up_batches",
                                            "memory_latency",
                                            "cores",
                                            "rows",
                                            "results"}));
  const std::set<std::string> operations{"ephemeral", "ecka", "sign", "verify"};
  EXPECT_EQ(keys(j["cycles_per_op"]), operations);
  EXPECT_EQ(keys(j["curves"]), (std::set<std::string>{"P-256", "brainpoolP256r1"}));
  for (const auto& [name, c] : j["curves"].items()) EXPECT_EQ(keys(c), operations) << name;
  EXPECT_EQ(keys(j["ops_per_cpu_s"]), (std::set<std::string>{"fast", "pipelined"}));
  EXPECT_EQ(j["cycles_per_op"]["ecka"], 4000);
  EXPECT_TRUE(j["cycles_per_op"]["verify"].is_null());  // not measured, never 0
  EXPECT_EQ(j["curves"]["brainpoolP256r1"]["ecka"], 3900);
  EXPECT_EQ(j["ops_per_cpu_s"]["pipelined"]["ecka"], 100);
  EXPECT_NEAR(j["multiplier_use"].get<double>(), 100.0 / 390, 1e-6);
  EXPECT_EQ(j["n"], 64);
  EXPECT_EQ(j["rows"].size(), 4U);
}

TEST(EccReport, TableAndPageCarryTheNumbers) {
  EccReport r = sample_ecc_report();
  EXPECT_TRUE(r.clean());
  r.wrong = 1;
  r.failures["sign: the same <nonce> twice"] = 1;
  EXPECT_FALSE(r.clean());
  const std::string table = to_text(document(r));
  for (const char* part : {"4000.0", "3900.0", "kf_core_fast_test", "1 wrong", "the same <nonce> twice"})
    EXPECT_NE(table.find(part), std::string::npos) << part << table;
  const std::string page = to_html(document(r));
  EXPECT_NE(page.find("</html>"), std::string::npos);
  EXPECT_NE(page.find("the same &lt;nonce&gt; twice"), std::string::npos);
  EXPECT_EQ(page.find("<nonce>"), std::string::npos);
  EXPECT_EQ(page.find("nan"), std::string::npos);
  for (const char* fetched : {"http://", "https://", "<script", "<link"})
    EXPECT_EQ(page.find(fetched), std::string::npos) << fetched;
}

}  // namespace
}  // namespace kf::bench
