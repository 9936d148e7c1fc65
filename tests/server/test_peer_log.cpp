// Lines of the log that peers have a part in: one line each, cut, and no more than so many a minute.
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {

class PeerLog : public ::testing::Test {
 protected:
  void SetUp() override {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_st>(out_);
    sink->set_formatter(line_formatter());
    before_ = spdlog::default_logger();
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
  }
  void TearDown() override { spdlog::set_default_logger(before_); }
  std::vector<std::string> lines() {
    std::vector<std::string> l;
    std::istringstream in(out_.str());
    for (std::string s; std::getline(in, s);) l.push_back(s);
    return l;
  }

 private:
  std::ostringstream out_;
  std::shared_ptr<spdlog::logger> before_;
};

TEST_F(PeerLog, WhatAPeerSentStaysOneLine) {
  peer_warn("kind a", "2.999.1", "refused \r\n2026-01-01 info forged\x1b[31m\0 and more");
  const auto l = lines();
  ASSERT_EQ(l.size(), 1U);
  EXPECT_NE(l[0].find("warning refused"), std::string::npos) << l[0];
  for (const char c : l[0]) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << l[0];
}

TEST_F(PeerLog, ALineIsCut) {
  peer_warn("kind b", "2.999.1", std::string(100'000, 'x'));
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_LT(lines()[0].size(), 1000U);
}

TEST_F(PeerLog, OnePartyDoesNotFillTheFile) {
  for (int i = 0; i < 10'000; ++i) peer_warn("kind c", "2.999.1", "refused");
  const std::size_t mine = lines().size();
  EXPECT_GE(mine, 1U);
  EXPECT_LT(mine, 100U);
  peer_warn("kind c", "2.999.2", "another party is heard");
  peer_warn("kind d", "2.999.1", "another kind is heard");
  EXPECT_EQ(lines().size(), mine + 2);
}

TEST_F(PeerLog, ALevelThatIsNotLoggedCountsForNothing) {
  for (int i = 0; i < 1000; ++i) peer_line(spdlog::level::debug, "kind e", "2.999.1", "quiet");
  peer_line(spdlog::level::info, "kind e", "2.999.1", "heard");
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_NE(lines()[0].find("heard"), std::string::npos);
}

// The second line of defence: a text that nobody made printable.
TEST_F(PeerLog, TheFormatterWritesControlCharactersAsEscapes) {
  spdlog::info("one{}two", "\n");
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_NE(lines()[0].find("two"), std::string::npos);
}

}  // namespace
}  // namespace kf::server
