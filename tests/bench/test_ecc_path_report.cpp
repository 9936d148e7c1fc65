// The report of the ECC core through driver and engine: by hand-computed values, the exact JSON keys, a page that
// stands alone.
#include <gtest/gtest.h>

#include <set>

#include "bench/report/ecc_path_report.hpp"
#include "tests/bench/json_keys.hpp"

namespace kf::bench {
namespace {

PathRow row(const char* path, const char* operation, const char* curve, unsigned depth) {
  PathRow r;
  r.path = path;
  r.operation = operation;
  r.curve = curve;
  r.depth = depth;
  r.contexts = 64;
  r.seconds = 2;
  r.operations = r.cpu_operations = r.cpu_jobs = 1000;
  r.latency_ms = {3, 1, 2};
  r.calls_cpu_s = 0.001;
  r.waiting_cpu_s = 0.0005;
  r.sim_cpu_s = 1.5;
  r.cycles = 4'000'000;
  r.busy_cycles = 3'980'000;
  r.mul_issued = 3'960'000;
  r.jobs = 1000;
  r.batches = 16;
  return r;
}

EccPathReport sample_path_report() {
  EccPathReport r;
  r.version = "1.2.3";
  r.commit = "abc";
  r.command = "keyferry-bench ecc --curve <P-256>";
  r.paths = {"driver", "engine"};
  r.curves = {"P-256", "brainpoolP256r1"};
  r.depths = {1, 128};
  r.cores = {1, 2};
  r.rows = {row("driver", "ecka", "P-256", 128),
            row("driver", "ecka", "P-256", 1),
            row("driver", "ecka", "P-256", 32),
            row("driver", "verify", "P-256", 32),
            row("engine", "ephemeral_ecka", "P-256", 128),
            row("engine", "ephemeral_ecka", "P-256", 32)};
  r.rows[1].busy_cycles = 2'000'000;  // one in flight: nothing is queued
  r.rows[2].in_turn = r.rows[3].in_turn = r.rows[5].in_turn = true;
  r.rows[3].calls_cpu_s = 0.002;
  r.rows[4].busy_cycles = 3'960'000;
  r.rows[5].engine_cpu_s = 0.0045;
  r.rows[5].cpu_jobs = 2000;
  PathPair p;
  p.path = "driver";
  p.operation = "ecka";
  p.curve = "P-256";
  p.one_per_s = {100, 100, 200};
  p.more_per_s = {180, 150, 380};
  p.other_cpus = {0, 0.5, 0.1};
  r.pairs = {p};
  r.answers = r.checked = 6000;
  return r;
}

TEST(EccPathReport, OneRow) {
  PathRow r = row("engine", "ephemeral_ecka", "P-256", 128);
  EXPECT_DOUBLE_EQ(r.per_s(), 500);
  EXPECT_DOUBLE_EQ(r.busy(), 0.995);
  EXPECT_DOUBLE_EQ(r.multiplier_use(), 0.99);
  EXPECT_DOUBLE_EQ(r.jobs_a_batch(), 62.5);
  EXPECT_DOUBLE_EQ(r.calls_us(), 1);
  EXPECT_DOUBLE_EQ(r.host_us(), 1.5);
  r.engine_cpu_s = 0.0025;
  r.cpu_jobs = 2000;
  EXPECT_DOUBLE_EQ(r.host_us(), 4);
  EXPECT_DOUBLE_EQ(r.host_us_a_job(), 2);
  EXPECT_DOUBLE_EQ(r.sim_us(), 1500);
  r.batch.bars = {{60, 1}};
  r.batch.count = 1;
  r.batch.sum = 60;
  EXPECT_DOUBLE_EQ(r.jobs_a_batch(), 60);
  r.contexts = 65;  // then two batches are not always there
  EXPECT_FALSE(r.queued());
  EXPECT_EQ(PathRow{}.per_s(), 0);
  EXPECT_EQ(PathRow{}.busy(), 0);
  EXPECT_EQ(PathRow{}.host_us_a_job(), 0);
}

TEST(EccPathReport, TheWorstStandsAtTheTop) {
  const EccPathReport r = sample_path_report();
  EXPECT_DOUBLE_EQ(busy_while_queued(r, "driver").value(), 0.995);  // the row with one in flight has no say
  EXPECT_DOUBLE_EQ(busy_while_queued(r, "engine").value(), 0.99);
  EXPECT_DOUBLE_EQ(cost_us_a_job(r, "driver").value(), 2.5);
  EXPECT_DOUBLE_EQ(cost_us_a_job(r, "engine").value(), 3);
  EXPECT_DOUBLE_EQ(cost_us_a_request(r, "engine").value(), 6);
  EXPECT_DOUBLE_EQ(cores_ratio(r, "driver", 2).value(), 1.8);
  EXPECT_FALSE(cores_ratio(r, "engine", 2));
  EXPECT_EQ(r.pairs[0].quiet_ratios(), (std::vector<double>{1.8, 1.9}));
  EXPECT_FALSE(busy_while_queued({}, "driver"));
  EXPECT_FALSE(cost_us_a_job({}, "driver"));
}

TEST(EccPathReport, CleanOnlyWhenEverythingCameAndWasRight) {
  EXPECT_TRUE(sample_path_report().clean());
  EXPECT_FALSE(EccPathReport{}.clean());
  for (auto member :
       {&EccPathReport::wrong, &EccPathReport::lost, &EccPathReport::failed, &EccPathReport::repeated_keys}) {
    EccPathReport r = sample_path_report();
    r.*member = 1;
    EXPECT_FALSE(r.clean());
  }
}

TEST(EccPathReport, JsonHasItsKeys) {
  const Json j = Json::parse(to_json(sample_path_report()).dump());
  EXPECT_EQ(keys(j),
            (std::set<std::string>{"version", "commit", "build", "started", "command", "interrupted", "machine",
                                   "other_cpus", "configuration", "core", "ratios", "busy_while_queued",
                                   "driver_us_per_job", "driver_calls_us_per_job", "engine_us_per_job",
                                   "engine_us_per_request", "rows", "ratio_rows", "results"}));
  EXPECT_EQ(keys(j["ratios"]), (std::set<std::string>{"driver_two_cores_vs_one", "engine_two_cores_vs_one"}));
  EXPECT_EQ(j["ratios"]["driver_two_cores_vs_one"], 1.8);
  EXPECT_TRUE(j["ratios"]["engine_two_cores_vs_one"].is_null());  // not measured, never 0
  EXPECT_EQ(j["driver_us_per_job"], 2.5);
  EXPECT_EQ(j["driver_calls_us_per_job"], 2);
  EXPECT_EQ(j["engine_us_per_job"], 3);
  EXPECT_EQ(j["engine_us_per_request"], 6);
  EXPECT_EQ(j["busy_while_queued"]["engine"], 0.99);
  ASSERT_EQ(j["rows"].size(), 6U);
  EXPECT_EQ(keys(j["rows"][0]),
            (std::set<std::string>{"through", "operation", "curve", "cores", "queue_depth", "in_turn", "seconds",
                                   "operations", "per_s", "latency_ms", "batch", "host_cpu_us", "sim_cpu_us",
                                   "core_jobs", "core_batches", "cycles", "busy", "multiplier_use", "other_cpus"}));
  EXPECT_EQ(j["rows"][0]["latency_ms"]["p50"], 2);
  EXPECT_EQ(j["rows"][0]["latency_ms"]["max"], 3);
  EXPECT_EQ(j["ratio_rows"][0]["quiet_median"], 1.85);
  EXPECT_EQ(j["results"]["lost"], 0);
}

TEST(EccPathReport, TableAndPageCarryTheNumbers) {
  EccPathReport r = sample_path_report();
  r.lost = 1;
  r.failures["driver: an <odd> answer"] = 1;
  const std::string table = to_text(document(r));
  for (const char* part :
       {"through driver", "through engine", "32*", "2.50 us  of host CPU", "6.00 us a request", "99.50",
        "1.80×  two cores against one, through the driver", "2 : 1    1.80", "1 lost", "an <odd> answer"})
    EXPECT_NE(table.find(part), std::string::npos) << part << table;
  const std::string page = to_html(document(r));
  EXPECT_NE(page.find("</html>"), std::string::npos);
  EXPECT_NE(page.find("1.80×"), std::string::npos);
  EXPECT_NE(page.find("an &lt;odd&gt; answer"), std::string::npos);
  EXPECT_EQ(page.find("<odd>"), std::string::npos);
  EXPECT_EQ(page.find("nan"), std::string::npos);
  for (const char* fetched : {"http://", "https://", "<script", "<link"})
    EXPECT_EQ(page.find(fetched), std::string::npos) << fetched;
}

}  // namespace
}  // namespace kf::bench
