// Both ends of the mailbox, the simulator's played by a thread.
#include "drivers/simulated/mailbox/mailbox.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <thread>
#include <vector>

namespace kf::ecc::mailbox {
namespace {

struct Ends {
  std::unique_ptr<Mailbox> host, simulator;
};
Ends make() {
  auto host = Mailbox::create(8192, 0x7000);
  EXPECT_TRUE(host.ok()) << host.error().text();
  if (!host) return {};
  auto other = Mailbox::attach(::dup((*host)->fd()));
  EXPECT_TRUE(other.ok()) << other.error().text();
  if (!other) return {};
  return {std::move(*host), std::move(*other)};
}

TEST(Mailbox, SharesTheMemory) {
  const Ends e = make();
  ASSERT_TRUE(e.simulator);
  EXPECT_EQ(e.simulator->dma().size(), 8192U);
  EXPECT_EQ(e.simulator->dma_base(), 0x7000U);
  e.host->dma()[8191] = 5;
  EXPECT_EQ(e.simulator->dma()[8191], 5);
  EXPECT_NE(::ftruncate(e.host->fd(), 100), 0);  // sealed
}

TEST(Mailbox, AFullRingSaysSo) {
  const Ends e = make();
  ASSERT_TRUE(e.simulator);
  for (std::uint32_t i = 0; i < kPosted; ++i) {
    ASSERT_FALSE(e.host->full());
    EXPECT_FALSE(e.host->post(4 * i, i));
  }
  EXPECT_TRUE(e.host->full());
  Posted p{};
  for (std::uint32_t i = 0; i < kPosted; ++i) {
    ASSERT_TRUE(e.simulator->take(p));
    EXPECT_EQ(p.offset, 4 * i);
    EXPECT_EQ(p.value, i);
  }
  EXPECT_FALSE(e.simulator->take(p));
  EXPECT_FALSE(e.host->full());
}

TEST(Mailbox, AnotherVersionIsRefused) {
  const Ends e = make();
  ASSERT_TRUE(e.simulator);
  ++e.host->header().version;
  EXPECT_FALSE(Mailbox::attach(::dup(e.host->fd())).ok());
}

// The other end keeps registers, sleeps whenever there is nothing to do, and is rung only then.
TEST(Mailbox, ReadsSeeEveryWriteBeforeThem) {
  const Ends e = make();
  ASSERT_TRUE(e.simulator);
  const int bell = ::eventfd(0, EFD_CLOEXEC);
  ASSERT_GE(bell, 0);
  std::uint64_t slept = 0;
  std::thread simulator([&] {
    std::array<std::uint32_t, 16> registers{};
    for (bool more = true; more;) {
      const auto read = e.simulator->read_pending();
      Posted p{};
      bool any = read.has_value();
      while (e.simulator->take(p)) {
        any = true;
        registers[p.offset % 16] = p.value;
        if (p.offset == 99) more = false;
      }
      if (read) e.simulator->give(registers[*read % 16]);
      if (!any && e.simulator->fall_asleep()) {
        std::uint64_t rung = 0;
        if (::read(bell, &rung, sizeof rung) < 0) more = false;
        e.simulator->awake();
        ++slept;
      }
    }
  });
  const auto ring = [&](bool needed) {
    const std::uint64_t one = 1;
    if (needed) {
      EXPECT_EQ(::write(bell, &one, sizeof one), static_cast<ssize_t>(sizeof one));
    }
  };
  for (std::uint32_t i = 1; i <= 2000; ++i) {
    for (std::uint32_t k = 0; k < i % 7; ++k) {
      while (e.host->full()) std::this_thread::yield();
      ring(e.host->post(k, i * 100 + k));
    }
    while (e.host->full()) std::this_thread::yield();
    ring(e.host->post(9, i));
    ring(e.host->ask(9));
    int waits = 0;
    for (; !e.host->answer() && waits < 500; ++waits) e.host->wait_answer(20);
    ASSERT_EQ(e.host->answer().value_or(0), i);
    if (i % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it falls asleep
  }
  ring(e.host->post(99, 0));
  simulator.join();
  EXPECT_GT(slept, 3U);
  ::close(bell);
}

}  // namespace
}  // namespace kf::ecc::mailbox
