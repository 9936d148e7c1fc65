// The thread that opens cores: whatever opening does, the process lives and the answer comes.
#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <stdexcept>

#include "drivers/engine/opener.hpp"

namespace kf::ecc {
namespace {

using Opened = Result<std::unique_ptr<Device>>;

TEST(Opener, WhatOpeningThrowsIsAnErrorOfThatCore) {
  std::atomic<int> told = 0;
  Opener opener(
      [](unsigned core) -> Opened {
        if (core == 0) throw std::bad_alloc();
        if (core == 1) throw std::runtime_error("the board is on fire");
        return Error{"absent", "no such board"};
      },
      [&] { ++told; });
  const std::array<std::pair<std::string, std::string>, 3> expected{
      {{"no-memory", ""}, {"core-open", "the board is on fire"}, {"absent", "no such board"}}};
  for (unsigned core = 0; core < 3; ++core) opener.ask(core);
  for (unsigned core = 0; core < 3; ++core) {
    const auto o = opener.wait();
    EXPECT_EQ(o.core, core);
    ASSERT_FALSE(o.device.ok());
    EXPECT_EQ(o.device.error().reason, expected.at(core).first);
    EXPECT_EQ(o.device.error().detail, expected.at(core).second);
  }
  opener.stop();
  EXPECT_EQ(told, 3);
}

TEST(Opener, StopsWithWorkLeft) {
  Opener opener([](unsigned) -> Opened { throw std::runtime_error("never"); }, [] {});
  for (unsigned core = 0; core < 100; ++core) opener.ask(core);
  opener.stop();
  EXPECT_FALSE(opener.take().has_value());
}

}  // namespace
}  // namespace kf::ecc
