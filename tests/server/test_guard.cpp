// Nothing that a handler or a coroutine throws is lost, and the loop goes on.
#include <gtest/gtest.h>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include <stdexcept>

#include "host/server/guard.hpp"

namespace kf::server {
namespace {
namespace asio = boost::asio;

asio::awaitable<void> broken() {
  throw std::runtime_error("a bug");
  co_return;
}

TEST(Guard, TheLoopOutlivesItsHandlers) {
  asio::io_context io;
  Metrics m;
  int after = 0;
  asio::post(io, [] { throw std::runtime_error("a bug"); });
  asio::post(io, [] { throw 7; });
  asio::post(io, [&] { ++after; });
  asio::co_spawn(io, broken(), reporting(m, "a coroutine"));
  asio::post(io, [&] { ++after; });
  run_loop(io, m);
  EXPECT_EQ(after, 2);
  EXPECT_EQ(m.exceptions, 3U) << "each is counted";
  EXPECT_EQ(m.alarms, 3U);
}

TEST(Guard, SaysWhatItWasAndCannotForgeLines) {
  Metrics m;
  EXPECT_TRUE(guarded(m, "nothing", [] {}));
  EXPECT_FALSE(guarded(m, "something", [] { throw std::runtime_error("one\ntwo"); }));
  EXPECT_EQ(text_of(std::make_exception_ptr(std::runtime_error("one\ntwo"))), "one\\x0Atwo");
  EXPECT_EQ(text_of(std::make_exception_ptr(7)), "unknown exception");
}

}  // namespace
}  // namespace kf::server
