// The log file: a line is there when it is logged, and what could not be written is said.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "host/base/random.hpp"
#include "host/main/log_file.hpp"
#include "host/main/status_text.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

class Log : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = spdlog::default_logger();
    dir_ = fs::temp_directory_path() / ("kf-log-" + random_uuid());
    fs::create_directories(dir_);
  }
  void TearDown() override {
    spdlog::set_default_logger(before_);
    fs::remove_all(dir_);
  }
  void open(const std::string& path) {
    Config c;
    c.log_file = path;
    ASSERT_TRUE(set_up_log(c).ok());
  }
  static std::string text(const fs::path& p) {
    std::ostringstream s;
    s << std::ifstream(p).rdbuf();
    return s.str();
  }
  fs::path dir_;
  std::shared_ptr<spdlog::logger> before_;
};

// Seen: after kill -9 the outcomes of the last second were missing, and with the log on stderr none.
TEST_F(Log, ALineIsThereWhenItIsLogged) {
  open((dir_ / "new" / "a.log").string());
  spdlog::info("one outcome");
  EXPECT_NE(text(dir_ / "new" / "a.log").find("one outcome"), std::string::npos);
  EXPECT_EQ(log_trouble(), "");
}

// Seen: a full file system lost 21 of 51 outcomes, and `keyferry status` said that all was well.
TEST_F(Log, WhatIsLostIsSaid) {
  // A link is followed each time the file is opened: first to a device that is full, then to a file.
  fs::create_symlink("/dev/full", dir_ / "a.log");
  open((dir_ / "a.log").string());
  spdlog::info("lost 1");
  spdlog::info("lost 2");
  const std::string why = log_trouble();
  EXPECT_NE(why.find("2 lines lost: No space left on device"), std::string::npos) << why;
  const auto said = status_trouble({{"log", {{"trouble", why}}}});
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said[0].find("log cannot be written"), std::string::npos);
  fs::remove(dir_ / "a.log");
  ASSERT_TRUE(reopen_log().ok());
  spdlog::info("here again");
  EXPECT_EQ(log_trouble(), "");
  const std::string now = text(dir_ / "a.log");
  EXPECT_NE(now.find("2 lines are missing here: No space left on device"), std::string::npos) << now;
  EXPECT_LT(now.find("are missing"), now.find("here again"));
}

}  // namespace
}  // namespace kf::server
