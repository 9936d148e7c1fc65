// LoadSplit against engines whose speed is known: simulated time, no threads.
#include <gtest/gtest.h>

#include <queue>

#include "host/server/load_split.hpp"

namespace kf::server {
namespace {

using namespace std::chrono_literals;
using Time = LoadSplit::Time;

// An engine that works on `width` requests at once, `each` long.
struct Model {
  Model(std::size_t width, std::chrono::microseconds per_request) : each(per_request), lanes(width) {}
  std::chrono::microseconds each;
  std::vector<Time> lanes;
  Time take(Time now) {
    auto& l = *std::min_element(lanes.begin(), lanes.end());
    l = std::max(l, now) + each;
    return l;
  }
};

struct Trial {
  explicit Trial(std::vector<Model> e) : engines(std::move(e)) {}
  std::vector<Model> engines;
  LoadSplit split{engines.size()};
  std::vector<std::size_t> given = std::vector<std::size_t>(engines.size());
  Time now{1s};

  struct Done {
    Time at;
    std::size_t engine, open_then;
    Time since;
    bool operator>(const Done& o) const { return at > o.at; }
  };
  std::priority_queue<Done, std::vector<Done>, std::greater<>> open;

  void finish_until(Time t) {
    while (!open.empty() && open.top().at <= t) {
      const Done d = open.top();
      open.pop();
      split.answered(d.engine, d.at - d.since, d.open_then, true, d.at);
    }
    now = t;
  }
  void ask() {
    std::vector<std::size_t> all(engines.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    const std::size_t e = split.choose(all, now);
    ++given[e];
    open.push({engines[e].take(now), e, split.open(e), now});
  }
  // n requests, one every `gap`; how long until all were answered.
  double run(std::size_t n, std::chrono::microseconds gap) {
    const Time start = now;
    for (std::size_t i = 0; i < n; ++i) {
      finish_until(now + gap);
      ask();
    }
    while (!open.empty()) finish_until(open.top().at);
    return std::chrono::duration<double>(now - start).count();
  }
};

TEST(LoadSplit, SharesByWhatEachCanDo) {
  Trial t({{1, 1000us}, {1, 3000us}});
  const double s = t.run(4000, 100us);  // more than both can do: 1333 a second
  EXPECT_NEAR(static_cast<double>(t.given[0]) / static_cast<double>(t.given[1]), 3.0, 0.5);
  EXPECT_LT(s, 3.3) << "4000 at 1333 a second are 3.0 s";
}

TEST(LoadSplit, LeavesASlowOneAloneWhileTheFastOneKeepsUp) {
  Trial t({{2, 100us}, {64, 60'000us}});  // software, and a batching engine with a long way
  t.run(20'000, 200us);
  EXPECT_LT(t.given[1], 400U);
  EXPECT_GE(t.given[1], 8U) << "it is asked from time to time";
}

TEST(LoadSplit, ABatchingEngineGetsItsBatches) {
  Trial t({{1, 2000us}, {64, 60'000us}});  // 500 and 1067 a second
  const double s = t.run(6000, 500us);
  EXPECT_GT(t.given[1], t.given[0]);
  EXPECT_LT(s, 1.25 * 6000 / 1567) << "either alone needs 5.6 s and more";
}

TEST(LoadSplit, AvoidsOneThatCannotServe) {
  LoadSplit s(2);
  const std::vector<std::size_t> both{0, 1};
  Time now{1s};
  const std::size_t first = s.choose(both, now);
  s.answered(first, 1ms, 1, false, now);
  for (int i = 0; i < 20; ++i) EXPECT_NE(s.choose(both, now), first);
  EXPECT_EQ(s.choose({first}, now), first) << "but when nobody else may";
  now += 2s;
  EXPECT_EQ(s.choose(both, now), first) << "and tries it again after a moment: the other one has 20 open";
}

TEST(LoadSplit, AStaleMeasureFades) {
  LoadSplit s(2);
  Time now{1s};
  const std::vector<std::size_t> both{0, 1};
  ASSERT_EQ(s.choose({0}, now), 0U);
  s.answered(0, 1ms, 1, true, now);
  ASSERT_EQ(s.choose({1}, now), 1U);
  s.answered(1, 40ms, 1, true, now);  // it was ill
  unsigned tried = 0;
  for (int i = 0; i < 600; ++i) {  // a minute
    now += 100ms;
    const std::size_t e = s.choose(both, now);
    tried += e == 1 ? 1 : 0;
    s.answered(e, 1ms, 1, true, now);
  }
  EXPECT_GT(tried, 0U);
}

}  // namespace
}  // namespace kf::server
