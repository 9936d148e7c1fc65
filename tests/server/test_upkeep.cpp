// The store is looked after while the server runs: what is old goes in small steps, a store that cannot be written is
// said to be so, and a clock that was set makes nobody forget.
#include <gtest/gtest.h>
#include <boost/asio/executor_work_guard.hpp>

#include <filesystem>
#include <functional>

#include "host/base/clock.hpp"
#include "host/base/random.hpp"
#include "host/server/upkeep.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;
using std::chrono::milliseconds;
constexpr std::int64_t kDay = 86'400'000;

class UpkeepTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("kf-upkeep-" + random_uuid());
    fs::create_directories(dir_);
    config_.store_path = (dir_ / "s.db").string();
    config_.keep_outcomes_days = 7;
    config_.keep_downloads_days = 30;
    auto s = store::Store::open({config_.store_path});
    ASSERT_TRUE(s.ok());
    store_ = std::move(*s);
    storage_ = std::make_unique<Storage>(io_, *store_);
    pace_.look = pace_.first = pace_.between = milliseconds(1);
    pace_.rows = 3;
  }
  void TearDown() override {
    store_.reset();  // its last callbacks are posted to io_
    fs::remove_all(dir_);
  }
  // Ten calls and ten ended downloads of each age, in days.
  void fill(const std::vector<int>& ages) {
    ASSERT_TRUE(store_
                    ->run([&](store::Tx& tx) {
                      for (const int age : ages)
                        for (int i = 0; i < 10; ++i) {
                          store::CallRow c;
                          c.requester = "2.999.10";
                          c.fcid = std::to_string(age) + "-" + std::to_string(i);
                          c.response = "<a/>";
                          c.received_ms = anchored_ms() - age * kDay;
                          tx.insert_call(c);
                          tx.put_download(c.fcid, "r", true, c.received_ms);
                        }
                    })
                    .ok());
  }
  struct Left {
    int calls = 0;
    std::int64_t downloads = 0;
  };
  Left left(const std::vector<int>& ages) {
    Left out;
    EXPECT_TRUE(store_
                    ->run([&](store::Tx& tx) {
                      for (const int age : ages)
                        for (int i = 0; i < 10; ++i)
                          out.calls += tx.find_call("2.999.10", std::to_string(age) + "-" + std::to_string(i)) ? 1 : 0;
                      out.downloads = tx.download_counts().ended;
                    })
                    .ok());
    return out;
  }
  bool run_until(const std::function<bool()>& so) {
    for (int i = 0; i < 2000 && !so(); ++i) {
      io_.restart();
      io_.run_for(milliseconds(10));
    }
    return so();
  }

  fs::path dir_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};  // answers come from elsewhere
  Settings config_;
  Metrics metrics_;
  UpkeepPace pace_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Storage> storage_;
};

TEST_F(UpkeepTest, WhatIsOldGoesAndWhatIsNotStays) {
  const std::vector<int> ages{1, 8, 40};
  fill(ages);
  Upkeep u(io_, config_, *storage_, metrics_, pace_);
  u.start(0);
  EXPECT_TRUE(run_until([&] { return left(ages).downloads == 20; }));
  EXPECT_EQ(left(ages).calls, 10);
  EXPECT_EQ(left(ages).downloads, 20) << "downloads are kept for longer";
  u.stop();
}

TEST_F(UpkeepTest, AfterTheClockHasMovedNothingIsForgottenForADay) {
  const std::vector<int> ages{1, 8, 40};
  fill(ages);
  pace_.doubt = std::chrono::hours(1);
  Upkeep u(io_, config_, *storage_, metrics_, pace_);
  u.start(anchored_ms() - 2 * kDay);
  io_.run_for(milliseconds(300));
  EXPECT_EQ(left(ages).calls, 30);
  EXPECT_EQ(left(ages).downloads, 30);
  u.stop();
}

TEST_F(UpkeepTest, AStoreThatIsGoneIsSaidToBeSoAndThatItIsBack) {
  Upkeep u(io_, config_, *storage_, metrics_, pace_);
  u.start(0);
  io_.run_for(milliseconds(100));
  EXPECT_EQ(metrics_.store_trouble, "");
  fs::rename(config_.store_path, config_.store_path + ".away");
  EXPECT_TRUE(run_until([&] { return !metrics_.store_trouble.empty(); }));
  EXPECT_EQ(metrics_.alarms, 1U);
  fs::rename(config_.store_path + ".away", config_.store_path);
  EXPECT_TRUE(run_until([&] { return metrics_.store_trouble.empty(); }));
  EXPECT_GT(metrics_.store_free_bytes, 0U);
  u.stop();
}

}  // namespace
}  // namespace kf::server
