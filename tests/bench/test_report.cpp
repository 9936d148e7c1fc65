// The report: percentiles, bins and time steps by hand-computed values, the exact JSON keys, and a page that stands
// alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "bench/report/burst_report.hpp"
#include "tests/bench/json_keys.hpp"

namespace kf::bench {
namespace {

BurstReport sample() {
  BurstReport r;
  r.version = "1.2.3";
  r.commit = "abc";
  r.custody = "strict";
  r.curve = "P-256";
  r.pattern = "callback";
  r.requested = 4;
  r.completed = 3;
  r.with_warning = 1;
  r.failed = 1;
  r.euicc_verified = 3;
  r.outcomes = {{"EXECUTED_SUCCESS", 2}, {"EXECUTED_WITHWARNING 8.1/4.2", 1}, {"FAILED <8.4/6.1>", 1}};
  r.wall_s = 2;
  r.latency_ms = {30, 10, 20};
  r.sent_s = {0, 0, 0.5, 1};
  r.done_s = {0.5, 1.0, 1.5, 2.0};
  r.peak_in_flight = 2;
  r.smdp_cpu_s = 0.6;
  r.smdp_peak_rss_bytes = 50 << 20;
  r.cpu = {{"hsm_workers", "HSM workers", 0.4, true}, {"loop", "loop", 0.2, true}, {"bench", "bench", 9, false}};
  r.floor.verify_s = 0.01;
  r.floor.sign_s = 0.02;
  r.floor.ephemeral_s = 0.03;
  r.floor.kdf_s = 0.015;
  r.floor.seal_s = 0.025;
  r.operations = {
      {"sign", {{"hsm", 3}}}, {"ephemeral", {{"hsm", 3}}}, {"ecka", {{"hsm", 3}}}, {"verify", {{"software", 3}}}};
  r.batch_size = {{"hsm", {{"count", 2}, {"mean", 1.5}, {"p95", 2}, {"max", 2}, {"bars", {{1, 1}, {2, 1}}}}}};
  r.routes = {{"ephemeral", {"core", "hsm"}}, {"sign", {"hsm"}}, {"verify", {"software"}}};
  r.cores = {{"cores",
              {{{"state", "up"},
                {"agreed", 77},
                {"generated", 128},
                {"faults", 1},
                {"cycle_gate_faults", 2},
                {"losses", 3}}}}};
  r.scp03t_bytes = 15000;
  r.scp03t_segments = 15;
  r.scp03t_cpu_s = 0.001;
  return r;
}

TEST(BurstReport, WhereNothingWasCompletedNothingIsSaidOfADownload) {
  BurstReport r = sample();
  r.completed = r.with_warning = r.euicc_verified = 0;
  r.failed = r.requested;
  r.latency_ms.clear();
  r.done_s.clear();
  const std::string table = to_text(document(r));
  EXPECT_NE(table.find("nothing was completed"), std::string::npos) << table;
  for (const char* odd : {"0.0 downloads", "p50", "ms a download =", "times that", "nan", "inf"})
    EXPECT_EQ(table.find(odd), std::string::npos) << odd << table;
  EXPECT_EQ(to_html(document(r)).find("0 / 0 / 0"), std::string::npos);
  EXPECT_NE(to_text(document(sample())).find("what did not complete is in it"), std::string::npos);
}

TEST(BurstReport, ShowsTheCoresAndTheRoutes) {
  const BurstReport r = sample();
  EXPECT_EQ(core_faults(r.cores["cores"][0]), 3U) << "answered with fault, and counted by the core itself";
  const OrderedJson j = to_json(r);
  EXPECT_EQ(j["core"]["cores"][0]["agreed"], 77);
  EXPECT_EQ(j["routes"]["ephemeral"].dump(), R"(["core","hsm"])");
  const std::string html = to_html(document(r));
  EXPECT_NE(html.find("ECC cores"), std::string::npos);
  EXPECT_NE(html.find("engines for ephemeral"), std::string::npos);
  EXPECT_NE(html.find("core, hsm"), std::string::npos);
  EXPECT_NE(to_text(document(r)).find("128 key pairs, 77 agreements"), std::string::npos);
  BurstReport without = r;
  without.cores = Json::object();
  EXPECT_EQ(to_html(document(without)).find("ECC cores"), std::string::npos);
  EXPECT_FALSE(to_json(without).contains("core"));
}

TEST(Percentile, NearestRank) {
  const std::vector<double> v{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  EXPECT_EQ(percentile(v, 50), 5);
  EXPECT_EQ(percentile(v, 51), 6);
  EXPECT_EQ(percentile(v, 95), 10);
  EXPECT_EQ(percentile(v, 100), 10);
  EXPECT_EQ(percentile(v, 0), 1);
  EXPECT_EQ(percentile({7}, 99), 7);
  EXPECT_EQ(percentile({}, 50), 0);
}

TEST(LatencyBins, HoldEverySampleAndTakeOutliersLast) {
  std::vector<double> v;
  for (int i = 0; i < 999; ++i) v.push_back(i * 0.1);
  v.push_back(1e6);
  const auto bins = latency_bins(v, 40);
  ASSERT_FALSE(bins.empty());
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < bins.size(); ++i) {
    n += bins[i].count;
    EXPECT_DOUBLE_EQ(bins[i].low, i == 0 ? 0.0 : bins[i - 1].high);
  }
  EXPECT_EQ(n, v.size());
  EXPECT_EQ(bins.front().low, 0);
  EXPECT_GE(bins.back().high, percentile(v, 99.5));
  EXPECT_LT(bins.back().high, 1000);
  EXPECT_LE(bins.size(), 41U);
  EXPECT_TRUE(latency_bins({}).empty());
}

TEST(Timeline, CountsOutcomesAndOrdersInFlight) {
  BurstReport r = sample();
  r.wall_s = 2;
  const Timeline t = timeline(r);
  double done = 0;
  for (const double v : t.completed_per_s) done += v * t.step_s;
  EXPECT_NEAR(done, 4, 1e-6);  // 2 s are a whole number of steps
  ASSERT_FALSE(t.in_flight.empty());
  EXPECT_EQ(t.in_flight.front(), 2);
  EXPECT_EQ(*std::max_element(t.in_flight.begin(), t.in_flight.end()), 2);  // one ends in the instant the next is sent
  EXPECT_EQ(t.in_flight.back(), 1);
  EXPECT_TRUE(timeline(BurstReport{}).completed_per_s.empty());
}

TEST(Timeline, ARunThatEndsJustBehindAStepHasNoFalsePeak) {
  BurstReport r;
  r.wall_s = 6.0001;  // steps of 0.1 s
  for (int i = 0; i < 600; ++i) {
    r.sent_s.push_back(i * 0.01);
    r.done_s.push_back((i + 1) * 0.01);
  }
  r.done_s.back() = r.wall_s;
  const Timeline t = timeline(r);
  EXPECT_LT(*std::max_element(t.completed_per_s.begin(), t.completed_per_s.end()), 130);
}

TEST(Json, HasExactlyTheKeysThatComparisonsRelyOn) {
  const Json j = Json::parse(to_json(sample()).dump());
  for (const char* k : {"schema", "version", "commit", "command_line", "machine", "custody", "curve", "profile",
                        "downloads", "wall_s", "downloads_per_s", "latency_ms", "peak_in_flight", "smdp",
                        "crypto_floor", "operations", "batch_size", "scp03t"})
    EXPECT_TRUE(j.contains(k)) << k;
  EXPECT_EQ(j["schema"], kBurstSchema);
  for (const char* k : {"settings", "concurrency", "faults"}) EXPECT_TRUE(j["configuration"].contains(k)) << k;
  EXPECT_TRUE(j["machine"].contains("other_cpus_busy"));
  for (const char* k : {"failed_at_operator", "card_errors"}) EXPECT_TRUE(j["test_equipment"].contains(k)) << k;
  EXPECT_EQ(keys(j["latency_ms"]), (std::set<std::string>{"p50", "p95", "p99", "max"}));
  for (const char* k : {"bytes", "elements"}) EXPECT_TRUE(j["profile"].contains(k)) << k;
  for (const char* k : {"requested", "completed", "with_warning", "failed", "euicc_verified"})
    EXPECT_TRUE(j["downloads"].contains(k)) << k;
  for (const char* k : {"cpu_s", "downloads_per_cpu_s", "peak_rss_bytes"}) EXPECT_TRUE(j["smdp"].contains(k)) << k;
  for (const char* k : {"cpu_s_per_download", "ratio"}) EXPECT_TRUE(j["crypto_floor"].contains(k)) << k;
  EXPECT_EQ(keys(j["operations"]), (std::set<std::string>{"sign", "ephemeral", "ecka", "verify"}));
  EXPECT_EQ(keys(j["scp03t"]), (std::set<std::string>{"bytes", "segments", "bytes_per_cpu_s"}));
}

TEST(Json, ComputesWhatTheReaderExpects) {
  const Json j = Json::parse(to_json(sample()).dump());
  EXPECT_DOUBLE_EQ(j["downloads_per_s"], 1.5);
  EXPECT_DOUBLE_EQ(j["latency_ms"]["p50"], 20);
  EXPECT_DOUBLE_EQ(j["latency_ms"]["max"], 30);
  EXPECT_DOUBLE_EQ(j["smdp"]["cpu_s"], 0.6);
  EXPECT_DOUBLE_EQ(j["smdp"]["downloads_per_cpu_s"], 5);
  EXPECT_DOUBLE_EQ(j["crypto_floor"]["cpu_s_per_download"], 0.1);
  EXPECT_DOUBLE_EQ(j["crypto_floor"]["ratio"], 2);  // 0.6 s for 3 downloads against 0.1 s each
  EXPECT_DOUBLE_EQ(j["scp03t"]["bytes_per_cpu_s"], 15'000'000);
  EXPECT_DOUBLE_EQ(j["smdp"]["cpu_by_part_s"]["hsm_workers"], 0.4);
  EXPECT_FALSE(j["smdp"]["cpu_by_part_s"].contains("bench"));
}

TEST(Json, AnEmptyRunDividesByNothing) {
  const Json j = Json::parse(to_json(BurstReport{}).dump());
  EXPECT_EQ(j["downloads_per_s"], 0);
  EXPECT_EQ(j["crypto_floor"]["ratio"], 0);
  EXPECT_EQ(j["smdp"]["downloads_per_cpu_s"], 0);
  EXPECT_FALSE(to_text(document(BurstReport{})).empty());
  EXPECT_FALSE(to_html(document(BurstReport{})).empty());
}

TEST(Clean, OnlyWhenNothingIsMissing) {
  BurstReport r;
  r.requested = r.completed = r.euicc_verified = 5;
  EXPECT_TRUE(r.clean());
  for (const auto& spoil : std::vector<void (*)(BurstReport&)>{
           [](BurstReport& x) { --x.completed; }, [](BurstReport& x) { ++x.failed; },
           [](BurstReport& x) { --x.euicc_verified; }, [](BurstReport& x) { ++x.isdp_left_created; },
           [](BurstReport& x) { x.interrupted = true; },
           [](BurstReport& x) { x.requested = x.completed = x.euicc_verified = 0; }}) {
    BurstReport bad = r;
    spoil(bad);
    EXPECT_FALSE(bad.clean());
  }
}

TEST(Html, StandsAloneAndEscapes) {
  BurstReport r = sample();
  r.profile_name = "<script>alert(1)</script>";
  const std::string page = to_html(document(r));
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_NE(page.find("FAILED &lt;8.4/6.1&gt;"), std::string::npos);
  for (const char* foreign : {"http://", "https://", "src=", "@import", "url("})
    EXPECT_EQ(page.find(foreign), std::string::npos) << foreign;
  EXPECT_NE(page.find("prefers-color-scheme:dark"), std::string::npos);
  const auto count = [&page](std::string_view what) {
    std::size_t n = 0;
    for (auto at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("<svg"), count("</svg>"));
  EXPECT_EQ(count("<section"), count("</section>"));
  EXPECT_GE(count("<svg"), 6U);
  EXPECT_EQ(page.find("nan"), std::string::npos);
  EXPECT_EQ(page.find("inf\""), std::string::npos);
}

TEST(Blame, WhatTheEquipmentFailedIsNotTheSmDps) {
  BurstReport r = sample();
  EXPECT_EQ(not_the_smdps(r), "");
  r.failed_at_operator = 7;
  EXPECT_NE(not_the_smdps(r).find("7 of them failed at the bench's Operator"), std::string::npos);
  r.failed_at_operator = 0;
  r.card_errors = 9;
  r.faults.clear();
  EXPECT_NE(not_the_smdps(r).find("could not open a connection 9 times"), std::string::npos);
  r.faults = {"lost-session"};  // asked for
  EXPECT_EQ(not_the_smdps(r), "");
}

TEST(Machine, IsThisOne) {
  const Machine m = machine_facts();
  EXPECT_GE(m.cores, 1U);
  EXPECT_GT(m.memory_bytes, 1U << 20);
  EXPECT_FALSE(m.kernel.empty());
}

}  // namespace
}  // namespace kf::bench
