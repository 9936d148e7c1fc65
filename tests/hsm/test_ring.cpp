// The shared memory between engine and worker, and the small messages on the socket: no processes, no token.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <thread>

#include "hsm/wire/ring.hpp"

namespace kf::hsm {
namespace {

using wire::Ring;

std::unique_ptr<Ring> other_end(const Ring& r) {
  auto a = Ring::attach(::dup(r.fd()));
  EXPECT_TRUE(a.ok()) << (a.ok() ? "" : a.error().text());
  return a.ok() ? std::move(*a) : nullptr;
}

TEST(Ring, NothingIsThereBeforeTheDoorbell) {
  auto engine = Ring::create();
  ASSERT_TRUE(engine.ok());
  const auto worker = other_end(**engine);
  std::uint32_t slot = 0;
  EXPECT_FALSE(worker->pop_job(slot));
  EXPECT_FALSE((*engine)->pop_done(slot)) << "fresh memory holds no completion";
  (*engine)->push(7);
  EXPECT_FALSE(worker->jobs_wait());
  EXPECT_FALSE((*engine)->ring_doorbell()) << "nobody slept";
  ASSERT_TRUE(worker->pop_job(slot));
  EXPECT_EQ(slot, 7U);
  EXPECT_FALSE(worker->pop_job(slot));
}

TEST(Ring, ManyLapsInOrderAndEachOnce) {
  auto engine = Ring::create();
  ASSERT_TRUE(engine.ok());
  const auto worker = other_end(**engine);
  std::uint32_t next = 0;
  std::uint32_t expected = 0;
  for (int lap = 0; lap < 2000; ++lap) {
    const std::uint32_t n = static_cast<std::uint32_t>(lap * 37 % wire::kSlots) + 1;
    for (std::uint32_t i = 0; i < n; ++i) (*engine)->push(next++ % wire::kSlots);
    (*engine)->ring_doorbell();
    std::uint32_t slot = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
      ASSERT_TRUE(worker->pop_job(slot));
      worker->push_done(slot);
    }
    ASSERT_FALSE(worker->pop_job(slot));
    for (std::uint32_t i = 0; i < n; ++i) {
      ASSERT_TRUE((*engine)->pop_done(slot));
      ASSERT_EQ(slot, expected++ % wire::kSlots);
    }
    ASSERT_FALSE((*engine)->pop_done(slot));
  }
}

TEST(Ring, FourThreadsTakeEachJobOnce) {
  auto engine = Ring::create();
  ASSERT_TRUE(engine.ok());
  const auto worker = other_end(**engine);
  constexpr std::uint32_t kJobs = 100'000;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      std::uint32_t slot = 0;
      while (!stop) {
        if (worker->pop_job(slot)) {
          worker->memory().slots[slot].done.tag = worker->memory().slots[slot].job.tag;
          worker->push_done(slot);
        } else {
          worker->sleep(50, [&] { return stop.load(); });
        }
      }
    });
  }
  std::vector<std::uint32_t> free_slots;
  for (std::uint32_t i = 0; i < wire::kSlots; ++i) free_slots.push_back(i);
  std::vector<bool> seen(kJobs);
  std::uint32_t sent = 0;
  std::uint32_t got = 0;
  const std::uint64_t give_up = wire::now_ns() + 60'000'000'000ULL;
  while (got < kJobs && wire::now_ns() < give_up) {
    while (sent < kJobs && !free_slots.empty()) {
      (*engine)->job(free_slots.back()).tag = sent++;
      (*engine)->push(free_slots.back());
      free_slots.pop_back();
    }
    (*engine)->ring_doorbell();
    std::uint32_t slot = 0;
    wire::DoneEntry d{};
    while ((*engine)->pop_done(slot)) {
      (*engine)->read_done(slot, d);
      ASSERT_LT(d.tag, kJobs);
      ASSERT_FALSE(seen[d.tag]);
      seen[d.tag] = true;
      free_slots.push_back(slot);
      ++got;
    }
  }
  EXPECT_EQ(got, kJobs);
  stop = true;
  worker->wake_all();
  for (auto& t : threads) t.join();
}

TEST(Ring, ASleeperIsWoken) {
  auto engine = Ring::create();
  ASSERT_TRUE(engine.ok());
  const auto worker = other_end(**engine);
  std::atomic<int> rounds{0};
  std::thread t([&] {
    std::uint32_t slot = 0;
    while (rounds < 2000) {
      if (worker->pop_job(slot)) {
        worker->push_done(slot);
        ++rounds;
      } else {
        worker->sleep(-1, [] { return false; });  // for ever: a lost wake-up hangs the test
      }
    }
  });
  for (int i = 0; i < 2000; ++i) {
    (*engine)->push(3);
    (*engine)->ring_doorbell();
    std::uint32_t slot = 0;
    while (!(*engine)->pop_done(slot)) std::this_thread::yield();
  }
  t.join();
}

TEST(Ring, ReadingACompletionWipesIt) {
  auto engine = Ring::create();
  ASSERT_TRUE(engine.ok());
  auto& shared = (*engine)->memory().slots[5].done;
  std::fill(std::begin(shared.shs), std::end(shared.shs), std::uint8_t{0xA5});
  wire::DoneEntry d{};
  (*engine)->read_done(5, d);
  EXPECT_EQ(d.shs[31], 0xA5);
  EXPECT_TRUE(std::all_of(std::begin(shared.shs), std::end(shared.shs), [](auto b) { return b == 0; }));
}

TEST(Ring, CannotBeResizedAndStrangersAreRefused) {
  auto engine = Ring::create();
  ASSERT_TRUE(engine.ok());
  EXPECT_NE(::ftruncate((*engine)->fd(), 0), 0) << "a worker could kill the engine with SIGBUS";
  const int other = ::memfd_create("x", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(other, 100), 0);
  EXPECT_EQ(Ring::attach(other).error().reason, "hsm-worker");
  (*engine)->memory().version = 999;
  EXPECT_EQ(Ring::attach(::dup((*engine)->fd())).error().reason, "hsm-worker");
}

TEST(Ring, TheEngineIsToldOnceASleep) {
  auto engine = Ring::create();
  ASSERT_TRUE(engine.ok());
  EXPECT_FALSE((*engine)->take_engine_sleeps());
  (*engine)->announce_sleep();
  EXPECT_TRUE((*engine)->take_engine_sleeps());
  EXPECT_FALSE((*engine)->take_engine_sleeps());
}

TEST(Wire, ReaderRefusesWhatIsTruncatedOrTooLong) {
  wire::Writer w;
  w.u32(5);
  w.field("abc");
  const ByteView all = w.bytes();
  for (std::size_t n = 0; n < all.size(); ++n) {
    wire::Reader r(all.first(n));
    r.u32();
    r.field();
    EXPECT_FALSE(r.at_end()) << n;
  }
  wire::Reader r(all);
  EXPECT_EQ(r.u32(), 5U);
  EXPECT_EQ(r.string(), "abc");
  EXPECT_TRUE(r.at_end());
  wire::Writer lying;
  lying.u32(0xFFFFFFF0U);  // a length far beyond the message
  wire::Reader l(lying.bytes());
  EXPECT_TRUE(l.field().empty());
  EXPECT_FALSE(l.ok());
}

TEST(Wire, ConfigurationAndAnswersRoundTrip) {
  wire::Configuration c;
  c.module_path = "/m.so";
  c.token_uri = "pkcs11:token=a%20b";
  c.pin_env = "P";
  c.wrap_key_label = "KEK";
  c.threads = 3;
  c.keep_alive_ms = 500;
  c.keys = {{0x00, "one"}, {0x03, "two"}};
  const auto d = wire::Configuration::decode(c.encode().expose());
  ASSERT_TRUE(d);
  EXPECT_EQ(d->token_uri, c.token_uri);
  ASSERT_EQ(d->keys.size(), 2U);
  EXPECT_EQ(d->keys[1].label, "two");
  EXPECT_FALSE(d->allow_test_import);
  EXPECT_EQ(d->threads, 3U);
  EXPECT_EQ(d->keep_alive_ms, 500U);
  const SecretBytes whole = c.encode();
  EXPECT_FALSE(wire::Configuration::decode(whole.expose().first(whole.size() - 1)));
  const auto e = wire::decode_answer(wire::encode_answer(Error{"hsm-pin", "why"}).expose());
  ASSERT_FALSE(e);
  EXPECT_EQ(e.error().text(), "hsm-pin: why");
  EXPECT_EQ(wire::decode_answer({}).error().reason, "hsm-worker");
}

}  // namespace
}  // namespace kf::hsm
