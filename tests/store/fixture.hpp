// A store of its own for each test, and what the tests put into it.
#pragma once

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "host/base/random.hpp"
#include "host/store/store.hpp"

namespace kf::store {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / ("kf-store-" + random_uuid());
    std::filesystem::create_directories(dir_);
    path_ = (dir_ / "s.db").string();
  }
  void TearDown() override {
    ::umount2(dir_.c_str(), MNT_DETACH);  // where a test has mounted something
    std::filesystem::remove_all(dir_);
  }
  std::unique_ptr<Store> open() {
    auto s = Store::open({path_});
    EXPECT_TRUE(s.ok()) << s.error().text();
    return std::move(*s);
  }
  std::filesystem::path dir_;
  std::string path_;
};

inline CallRow a_call(const std::string& id) {
  CallRow c;
  c.requester = "2.999.10";
  c.fcid = id;
  c.function = "DownloadProfile";
  c.digest = Bytes(32, 1);
  c.reply = ReplyKind::callback;
  c.reply_to = "https://x/cb";
  c.message_id = "//m";
  c.ns = "ns";
  c.received_ms = 5;
  return c;
}

inline std::int64_t forget_all(Tx& tx, std::int64_t before, std::int64_t rows = 2) {
  ForgetCursor at;
  std::int64_t n = 0;
  for (int i = 0; at.table != ForgetCursor::Table::none && i < 1000; ++i)
    n += tx.forget_batch(at, before, before, rows);
  EXPECT_EQ(at.table, ForgetCursor::Table::none);
  return n;
}

}  // namespace kf::store
