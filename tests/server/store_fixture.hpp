// A store of the test's own, in a folder that goes with it.
#pragma once
#include <gtest/gtest.h>

#include <filesystem>

#include "host/base/random.hpp"
#include "host/store/store.hpp"

namespace kf::server {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / ("kf-server-" + random_uuid());
    std::filesystem::create_directories(dir_);
    auto s = store::Store::open({(dir_ / "s.db").string()});
    ASSERT_TRUE(s.ok());
    store_ = std::move(*s);
  }
  void TearDown() override {
    store_.reset();  // its last callbacks are posted to the test's loop
    std::filesystem::remove_all(dir_);
  }
  void run(const store::Store::Work& work) { ASSERT_TRUE(store_->run(work).ok()); }

  std::filesystem::path dir_;
  std::unique_ptr<store::Store> store_;
};

}  // namespace kf::server
