// The HSM report: medians, ratios and distributions by hand-computed values, the exact JSON keys, a page that stands
// alone, and no number that is none.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>

#include "bench/report/hsm_report.hpp"
#include "bench/report/parts.hpp"
#include "tests/bench/json_keys.hpp"

namespace kf::bench {
namespace {

RateRow rate(const char* kind, Way way, unsigned processes, std::vector<double> per_s) {
  RateRow r;
  r.kind = kind;
  r.curve = "P-256";
  r.way = way;
  r.processes = processes;
  r.other_cpus.assign(per_s.size(), 0.1);
  r.per_s = std::move(per_s);
  return r;
}

Histogram histogram(std::initializer_list<std::uint64_t> values) {
  Histogram h;
  for (const auto v : values) h.add(v);
  return h;
}

HsmReport sample_hsm_report() {
  HsmReport r;
  r.version = "1.2.3";
  r.target = "a <token>";
  r.curves = {"P-256", "brainpoolP256r1"};
  r.rounds = 3;
  r.workers = 2;
  r.rates = {rate("sign", Way::direct, 1, {1000, 2000, 1000}), rate("sign", Way::engine, 1, {900, 1900, 1100}),
             rate("set", Way::direct, 1, {100, 200, 100}),     rate("set", Way::engine, 1, {90, 220, 95}),
             rate("set", Way::direct, 2, {190, 200, 190}),     rate("set", Way::engine, 2, {180, 360, 190}),
             rate("set", Way::synchronous, 1, {60, 120, 50})};
  r.rates[4].other_cpus = {0.1, 0.7, 0.1};
  r.saturation = {{"P-256", Distribution::between({}, histogram({1, 2, 64})),
                   Distribution::between({}, histogram({10, 1000})), Distribution::between({}, histogram({200, 400}))}};
  OpenRow open;
  open.kind = "set";
  open.curve = "P-256";
  open.load = 0.5;
  open.latency_ms = {3, 1, 2};
  open.late_us = {5};
  open.queue_us = Distribution::between({}, histogram({7}));
  r.open = {open};
  r.direct = {{"sign, key in the token", "P-256", 1000, 10, 20, 30, 9, ""},
              {"sign, copy in a session object", "P-256", 0, 0, 0, 0, 0, "C_CopyObject: CKR_ACTION_PROHIBITED"}};
  Endurance e;
  e.sets = e.completed = 1000;
  e.seconds = 2;
  e.rss_start_bytes = 30'000'000;
  e.rss_end_bytes = 29'000'000;
  e.workers = {{"t", 17, 2000, 1, 1, 12'000'000}};
  e.samples = {{0.5, 3e7, 1e7}, {1, 3e7, 1.1e7}, {2, 2.9e7, 1.2e7}};
  r.endurance = e;
  r.operations = 5000;
  r.checked = 2000;
  return r;
}

TEST(Spread, MedianLowestHighest) {
  EXPECT_EQ(spread({3, 1, 2}).median, 2);
  EXPECT_EQ(spread({4, 1, 2, 3}).median, 2.5);
  EXPECT_EQ(spread({3, 1, 2}).low, 1);
  EXPECT_EQ(spread({3, 1, 2}).high, 3);
  EXPECT_EQ(spread({}).median, 0);
}

TEST(Distribution, IsWhatCameInBetween) {
  Histogram h = histogram({5, 5, 100});
  const Histogram before = h;
  h.add(5);
  h.add(40, 3);
  const Distribution d = Distribution::between(before, h);
  ASSERT_EQ(d.bars.size(), 2U);
  EXPECT_EQ(d.bars[0].low, 5U);
  EXPECT_EQ(d.bars[0].count, 1U);
  EXPECT_EQ(d.bars[1].low, 40U);
  EXPECT_EQ(d.bars[1].count, 3U);
  EXPECT_EQ(d.count, 4U);
  EXPECT_NEAR(d.mean(), (5 + 3 * 40) / 4.0, 1e-9);
  EXPECT_EQ(d.percentile(25), 5);
  EXPECT_EQ(d.percentile(26), 40);
  EXPECT_EQ(d.max(), 40);
  EXPECT_EQ(Distribution::between(h, h).count, 0U);
  EXPECT_EQ(Distribution::between(h, h).mean(), 0);
  EXPECT_EQ(Distribution::between(h, h).percentile(99), 0);
}

TEST(Distribution, MergesAndBinsLoseNothing) {
  Distribution d = Distribution::between({}, histogram({5, 700}));
  d.merge(Distribution::between({}, histogram({5, 6, 100'000})));
  EXPECT_EQ(d.count, 5U);
  EXPECT_EQ(d.bars.size(), 4U);
  EXPECT_EQ(d.bars[0].count, 2U);
  Histogram wide;
  for (std::uint64_t v = 0; v < 5000; ++v) wide.add(v);
  const Distribution w = Distribution::between({}, wide);
  const auto bins = distribution_bins(w, 40);
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < bins.size(); ++i) {
    n += bins[i].count;
    if (i + 1 < bins.size()) {  // every value from 0 to 4999 once: buckets of any width are shared out evenly
      EXPECT_NEAR(static_cast<double>(bins[i].count), bins[i].high - bins[i].low, 3) << i;
    }
  }
  EXPECT_EQ(n, 5000U);
  EXPECT_LE(distribution_bins(w, 40, 50).back().high, 2700);
  EXPECT_TRUE(distribution_bins({}).empty());
}

TEST(Ratios, AreTakenRoundByRound) {
  const HsmReport r = sample_hsm_report();
  // sign: 0.9, 0.95, 1.1. The ratio of the medians would be 1.1.
  EXPECT_NEAR(headline(r, "sign_engine_vs_direct")->median, 0.95, 1e-12);
  EXPECT_NEAR(headline(r, "sign_engine_vs_direct")->high, 1.1, 1e-12);
  EXPECT_NEAR(headline(r, "set_engine_vs_direct")->median, 0.95, 1e-12);          // 0.9, 1.1, 0.95, one process
  EXPECT_NEAR(headline(r, "set_two_workers_vs_one_direct")->median, 1.8, 1e-12);  // 1.8, 1.8, 1.9
  EXPECT_NEAR(headline(r, "set_engine_vs_synchronous")->median, 3.0, 1e-12);      // 3, 3, 3.8
  EXPECT_FALSE(headline(r, "sign_engine_vs_nothing"));
  std::set<std::pair<std::string, unsigned>> found;
  for (const auto& row : ratio_rows(r)) {
    EXPECT_EQ(row.curve, "P-256");
    EXPECT_EQ(row.rounds.size(), 3U);
    EXPECT_EQ(row.other_cpus.size(), 3U);
    found.insert({row.name, row.processes});
    if (row.name == "set_engine_vs_direct" && row.processes == 2) {
      EXPECT_NEAR(row.rounds[1], 1.8, 1e-12);
      EXPECT_NEAR(row.other_cpus[1], 0.7, 1e-12);  // the more disturbed of the two legs
      EXPECT_EQ(row.quiet_rounds().size(), 2U);    // without that one
      EXPECT_NEAR(spread(row.quiet_rounds()).median, (180.0 / 190 + 1) / 2, 1e-12);
    }
  }
  EXPECT_EQ(found, (std::set<std::pair<std::string, unsigned>>{{"sign_engine_vs_direct", 1},
                                                               {"set_engine_vs_direct", 1},
                                                               {"set_engine_vs_direct", 2},
                                                               {"set_two_workers_vs_one_direct", 2},
                                                               {"set_engine_vs_synchronous", 2}}));
}

TEST(Ratios, ARunThatWasBrokenOffComparesTheRoundsThereAre) {
  HsmReport r = sample_hsm_report();
  r.rates[1].per_s = {900};  // sign through the engine: one round
  r.rates[6].per_s = {0, 90};
  EXPECT_NEAR(headline(r, "sign_engine_vs_direct")->median, 0.9, 1e-12);
  EXPECT_NEAR(headline(r, "set_engine_vs_synchronous")->median, 4.0, 1e-12);  // 180 over nothing is left out
  r.rates[1].per_s.clear();
  EXPECT_FALSE(headline(r, "sign_engine_vs_direct"));
  EXPECT_TRUE(Json::parse(to_json(r).dump())["ratios"]["sign_engine_vs_direct"].is_null());
}

TEST(HsmJson, HasExactlyTheKeysThatComparisonsRelyOn) {
  const Json j = Json::parse(to_json(sample_hsm_report()).dump());
  using Set = std::set<std::string>;
  EXPECT_EQ(keys(j), (Set{"version", "commit", "build", "started", "machine", "other_cpus", "interrupted", "target",
                          "configuration", "ratios", "ratio_rows", "rates", "saturation", "open_loop", "direct",
                          "results", "endurance"}));
  EXPECT_EQ(keys(j["ratios"]), (Set{"sign_engine_vs_direct", "set_engine_vs_direct", "set_two_workers_vs_one_direct",
                                    "set_engine_vs_synchronous"}));
  EXPECT_EQ(keys(j["ratio_rows"][0]), (Set{"name", "curve", "processes", "than_processes", "median", "low", "high",
                                           "quiet_median", "quiet_rounds", "rounds", "other_cpus"}));
  EXPECT_EQ(keys(j["rates"][0]), (Set{"kind", "curve", "way", "processes", "median_per_s", "low_per_s", "high_per_s",
                                      "per_s", "other_cpus", "cpu_us"}));
  EXPECT_EQ(keys(j["rates"][0]["cpu_us"]), (Set{"workers", "process", "caller_thread"}));
  EXPECT_EQ(keys(j["saturation"][0]), (Set{"curve", "batch_size", "queue_us", "service_us"}));
  const Set histogram{"count", "mean", "p50", "p95", "p99", "max", "bars"};
  EXPECT_EQ(keys(j["saturation"][0]["batch_size"]), histogram);
  EXPECT_EQ(keys(j["open_loop"][0]), (Set{"kind", "curve", "load", "offered_per_s", "done_per_s", "done", "latency_ms",
                                          "generator_late_us", "batch_size", "queue_us", "service_us"}));
  EXPECT_EQ(keys(j["open_loop"][0]["latency_ms"]), (Set{"p50", "p95", "p99", "max"}));
  EXPECT_EQ(keys(j["open_loop"][0]["queue_us"]), histogram);
  EXPECT_EQ(keys(j["direct"][0]),
            (Set{"mechanism", "curve", "per_s", "p50_us", "p95_us", "p99_us", "cpu_us", "refused"}));
  EXPECT_EQ(keys(j["results"]),
            (Set{"operations", "checked", "wrong", "failed", "lost", "repeated_keys", "failures", "worker_restarts"}));
  EXPECT_EQ(keys(j["endurance"]),
            (Set{"sets", "completed", "wrong", "lost", "failed", "repeated_keys", "seconds", "sets_per_s",
                 "rss_start_bytes", "rss_end_bytes", "rss_peak_bytes", "rss_drift_bytes", "worker_rss_peak_bytes",
                 "memory_budget_bytes", "workers", "session_objects"}));
  EXPECT_EQ(keys(j["endurance"]["workers"][0]), (Set{"token", "pid", "jobs", "restarts", "recycled", "rss_bytes"}));
}

TEST(HsmJson, ComputesWhatTheReaderExpects) {
  const Json j = Json::parse(to_json(sample_hsm_report()).dump());
  EXPECT_DOUBLE_EQ(j["ratios"]["set_two_workers_vs_one_direct"], 1.8);
  EXPECT_DOUBLE_EQ(j["open_loop"][0]["latency_ms"]["p50"], 2);
  EXPECT_DOUBLE_EQ(j["open_loop"][0]["latency_ms"]["max"], 3);
  EXPECT_EQ(j["endurance"]["rss_drift_bytes"], -1'000'000);
  EXPECT_DOUBLE_EQ(j["endurance"]["sets_per_s"], 500);
  EXPECT_TRUE(j["endurance"]["session_objects"].is_null());
}

// Every number of a document; nlohmann writes what is not finite as null, so the text is searched as well.
void each_number(const Json& j, const std::function<void(double)>& f) {
  if (j.is_number()) f(j.get<double>());
  if (j.is_structured())
    for (const auto& x : j) each_number(x, f);
}

TEST(HsmJson, AnEmptyOrHalfRunDividesByNothing) {
  HsmReport half = sample_hsm_report();
  for (auto& r : half.rates) r.per_s = {0, 0};
  half.open[0].latency_ms.clear();
  half.endurance->seconds = 0;
  for (const HsmReport& r : {HsmReport{}, half}) {
    const std::string text = to_json(r).dump();
    each_number(Json::parse(text), [](double v) { EXPECT_TRUE(std::isfinite(v)); });
    for (const std::string& face : {text, to_text(document(r)), to_html(document(r))}) {
      EXPECT_FALSE(face.empty());
      EXPECT_EQ(face.find("nan"), std::string::npos) << face;
      EXPECT_EQ(face.find("inf\""), std::string::npos);
      EXPECT_EQ(face.find(" inf"), std::string::npos);
    }
  }
  const Json ratios = Json::parse(to_json(half).dump())["ratios"];
  EXPECT_EQ(ratios.size(), 4U);
  for (const auto& v : ratios) EXPECT_TRUE(v.is_null());
}

TEST(HsmClean, OnlyWhenNothingIsMissing) {
  HsmReport r;
  r.operations = 10;
  EXPECT_TRUE(r.clean());
  for (const auto& spoil : std::vector<void (*)(HsmReport&)>{
           [](HsmReport& x) { ++x.wrong; }, [](HsmReport& x) { ++x.failed; }, [](HsmReport& x) { ++x.lost; },
           [](HsmReport& x) { ++x.repeated_keys; }, [](HsmReport& x) { x.interrupted = true; },
           [](HsmReport& x) { x.operations = 0; }}) {
    HsmReport bad = r;
    spoil(bad);
    EXPECT_FALSE(bad.clean());
  }
}

TEST(HsmDocument, HistogramsAsPowersOfTwo) {
  const auto bars = [](const report::Chart& c) { return std::get<report::Bars>(c.drawing).data; };
  const auto jobs = bars(powers_of_two("", {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {5, 6}}, "jobs"));
  ASSERT_EQ(jobs.size(), 4U);
  EXPECT_EQ(jobs[0].label + ": " + jobs[0].text, "0: 1 job");
  EXPECT_EQ(jobs[2].label + ": " + jobs[2].text, "2 to 3: 7");
  EXPECT_EQ(jobs[3].label, "4 to 7");
  EXPECT_EQ(bars(powers_of_two("", {{1'100'000, 2}}, "jobs", true))[0].label, "from 1.05 s");
  EXPECT_TRUE(bars(powers_of_two("", Distribution{}, "jobs")).empty());
}

TEST(HsmHtml, StandsAloneAndEscapes) {
  HsmReport r = sample_hsm_report();
  r.target = "<script>alert(1)</script>";
  r.failures = {{"direct: <b>", 1}};
  const std::string page = to_html(document(r));
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_NE(page.find("direct: &lt;b&gt;"), std::string::npos);
  for (const char* foreign : {"http://", "https://", "src=", "@import", "url("})
    EXPECT_EQ(page.find(foreign), std::string::npos) << foreign;
  const auto count = [&page](std::string_view what) {
    std::size_t n = 0;
    for (auto at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) ++n;
    return n;
  };
  for (const char* tag : {"svg", "section", "table", "div"})
    EXPECT_EQ(count(std::string("<") + tag), count(std::string("</") + tag)) << tag;
  EXPECT_GE(count("<svg"), 8U);
  EXPECT_NE(page.find("class=\"whisker\""), std::string::npos);
  EXPECT_NE(page.find("CKR_ACTION_PROHIBITED"), std::string::npos);
}

}  // namespace
}  // namespace kf::bench
