// CoreService on a simulated core: what many callers ask for at once is put into batches.
#include <gtest/gtest.h>

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include "drivers/p11/core_service.hpp"
#include "drivers/simulated/transport/sim_transport.hpp"
#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "tests/drivers/lying_transport.hpp"

namespace kf::p11core {
namespace {

Result<std::unique_ptr<ecc::Device>> simulated() {
  ecc::SimOptions o;
  o.program = KF_BIN_DIR "/keyferry-ecc-sim";
  KF_TRY(auto t, ecc::SimTransport::open(o));
  return ecc::Device::open(std::move(t));
}

TEST(Service, BatchesWhatComesTogether) {
  CoreService core("core", simulated, [](const std::string& line) { std::printf("%s\n", line.c_str()); });
  core.warm_up();
  constexpr unsigned kThreads = 32;
  constexpr unsigned kRounds = 4;
  const KeyPair k = generate_key_pair(Curve::p256);
  std::latch together(kThreads);
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      const Digest32 hash = sha256(random_bytes(9));
      const Signature s = ecdsa_sign(Curve::p256, k.d.expose(), hash);
      together.arrive_and_wait();
      for (unsigned i = 0; i < kRounds; ++i)
        if (core.verify(ecc::CurveNumber::p256, k.q, hash, s) != Outcome::ok) ++wrong;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0U);
  const CoreFacts f = core.facts();
  std::printf("%u callers, %llu jobs in %llu batches\n", kThreads, static_cast<unsigned long long>(f.jobs),
              static_cast<unsigned long long>(f.batches));
  EXPECT_EQ(f.jobs, kThreads * kRounds + 2) << "two known answers before the first";
  // A batch takes longer than all callers need to come back, so a batch a job would be a fault, whatever the machine.
  EXPECT_LE(2 * f.batches, f.jobs);
}

// Every slot comes back: made, used or not, erased, again and again, more often than there are slots.
TEST(Service, SlotsGoRound) {
  CoreService core("core", simulated, [](const std::string& line) { std::printf("%s\n", line.c_str()); });
  const KeyPair peer = generate_key_pair(Curve::brainpool_p256r1);
  CoreKey first;
  Point q{};
  ASSERT_EQ(core.generate(ecc::CurveNumber::p256, true, first, q), Outcome::ok);
  const unsigned before = core.facts().key_slots - 1;
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 24; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < 12; ++i) {
        CoreKey key;
        Point own{};
        if (core.generate(ecc::CurveNumber::brainpoolp256r1, false, key, own) != Outcome::ok) ++wrong;
        SecretArray<32> shs;
        if ((t + i) % 4 == 0) {
          const auto z = ecka(Curve::brainpool_p256r1, peer.d.expose(), own);
          if (core.agree(key, peer.q, shs.expose_mut()) != Outcome::ok || !z || !equal_ct(z->expose(), shs.expose()))
            ++wrong;
        } else if (core.erase({&key, 1}) != Outcome::ok) {
          ++wrong;
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0U);
  // Facts are told after each turn of the service's thread: one more job makes them current.
  Signature s{};
  EXPECT_EQ(core.sign(first, sha256(Bytes{1}), s), Outcome::ok);
  EXPECT_TRUE(ecdsa_verify(Curve::p256, q, sha256(Bytes{1}), s)) << "the first key is what it was";
  EXPECT_EQ(core.facts().free_slots, before);
}

CoreService::Open lying(ecc::test::LyingTransport::Lie lie) {
  return [lie = std::move(lie)]() -> Result<std::unique_ptr<ecc::Device>> {
    ecc::SimOptions o;
    o.program = KF_BIN_DIR "/keyferry-ecc-sim";
    KF_TRY(auto t, ecc::SimTransport::open(o));
    return ecc::Device::open(std::make_unique<ecc::test::LyingTransport>(std::move(t), lie));
  };
}

// A core that takes every signature for right, one that takes none, and one that signs wrongly: nothing of theirs is
// believed, be it that their check words are right.
TEST(Service, KnownAnswersComeFirst) {
  const auto is = [](const ecc::Completion& c, ecc::Opcode op) { return c.opcode == static_cast<std::uint8_t>(op); };
  const KeyPair k = generate_key_pair(Curve::brainpool_p256r1);
  const Digest32 hash = sha256(Bytes{7});
  const Signature s = ecdsa_sign(Curve::brainpool_p256r1, k.d.expose(), hash);
  for (const auto always : {ecc::JobStatus::ok, ecc::JobStatus::bad_signature}) {
    CoreService core("core", lying([&](ecc::Completion& c) {
                       if (is(c, ecc::Opcode::verify)) c.status = static_cast<std::uint8_t>(always);
                     }),
                     [](const std::string&) {});
    for (int i = 0; i < 2; ++i)
      EXPECT_EQ(core.verify(ecc::CurveNumber::brainpoolp256r1, k.q, hash, s), Outcome::fault) << i;
    EXPECT_GE(core.facts().losses, 1U) << "it is given up";
  }
  CoreService core("core", lying([&](ecc::Completion& c) {
                     if (is(c, ecc::Opcode::sign)) c.y[0] ^= 1;
                   }),
                   [](const std::string&) {});
  CoreKey key;
  Point q{};
  EXPECT_EQ(core.generate(ecc::CurveNumber::p256, true, key, q), Outcome::fault);
  EXPECT_EQ(core.generate(ecc::CurveNumber::p256, false, key, q), Outcome::ok) << "it needs no signature";
  EXPECT_EQ(core.facts().free_slots, core.facts().key_slots - 1) << "the other one went with its core";
}

// A fault that the core has noticed is that key's alone: nobody else's keys go with it.
TEST(Service, AFaultCostsOneKey) {
  CoreService core("core", lying([](ecc::Completion& c) {
                     if (c.opcode != static_cast<std::uint8_t>(ecc::Opcode::sign)) return;
                     c.status = static_cast<std::uint8_t>(ecc::JobStatus::fault);
                     std::ranges::fill(c.x, 0);
                     std::ranges::fill(c.y, 0);
                   }),
                   [](const std::string&) {});
  CoreKey other, key;
  Point q{};
  ASSERT_EQ(core.generate(ecc::CurveNumber::p256, false, other, q), Outcome::ok);
  EXPECT_EQ(core.generate(ecc::CurveNumber::p256, true, key, q), Outcome::fault);
  EXPECT_TRUE(core.alive(other));
  EXPECT_EQ(core.erase({&other, 1}), Outcome::ok);
  EXPECT_EQ(core.facts().losses, 0U);
  EXPECT_EQ(core.facts().free_slots, core.facts().key_slots);
}

// An honest core is asked and dies while nobody looks; the one that comes after it takes every signature for right.
// What was asked of the first one says nothing of the second.
TEST(Service, KnownAnswersAreOfOneLife) {
  std::atomic<int> opened{0};
  std::atomic<pid_t> pid{0};
  const auto open = [&]() -> Result<std::unique_ptr<ecc::Device>> {
    ecc::SimOptions o;
    o.program = KF_BIN_DIR "/keyferry-ecc-sim";
    KF_TRY(auto t, ecc::SimTransport::open(o));
    pid = t->pid();
    if (++opened == 1) return ecc::Device::open(std::move(t));
    return ecc::Device::open(std::make_unique<ecc::test::LyingTransport>(std::move(t), [](ecc::Completion& c) {
      if (c.opcode == static_cast<std::uint8_t>(ecc::Opcode::verify))
        c.status = static_cast<std::uint8_t>(ecc::JobStatus::ok);
    }));
  };
  CoreService core("core", open, [](const std::string& line) { std::printf("%s\n", line.c_str()); });
  const KeyPair k = generate_key_pair(Curve::p256);
  const Signature right = ecdsa_sign(Curve::p256, k.d.expose(), sha256(Bytes{1}));
  ASSERT_EQ(core.verify(ecc::CurveNumber::p256, k.q, sha256(Bytes{1}), right), Outcome::ok);
  ::kill(pid, SIGKILL);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_NE(core.verify(ecc::CurveNumber::p256, k.q, sha256(Bytes{2}), right), Outcome::ok) << "a forgery";
  EXPECT_NE(core.verify(ecc::CurveNumber::p256, k.q, sha256(Bytes{2}), right), Outcome::ok) << "a forgery";
  EXPECT_GE(opened, 2);
}

// What throws in a turn (no memory, say) ends the jobs, not the process, and whoever comes later is served.
TEST(Service, AnExceptionEndsTheJobs) {
  using Threads = CoreService::Threads;
  for (const Threads threads : {Threads::own, Threads::callers}) {
    std::atomic<int> opened{0};
    const auto open = [&]() -> Result<std::unique_ptr<ecc::Device>> {
      if (++opened == 1) throw std::bad_alloc();
      if (opened == 2) throw 42;
      return simulated();
    };
    CoreService core(
        "core", open, [](const std::string& line) -> void { throw std::runtime_error(line); }, threads);
    CoreKey key;
    Point q{};
    const auto from = std::chrono::steady_clock::now();
    Outcome o = Outcome::lost;
    // A pause lies between two attempts to open it.
    while (o == Outcome::lost && std::chrono::steady_clock::now() - from < std::chrono::seconds(60))
      o = core.generate(ecc::CurveNumber::p256, true, key, q);
    EXPECT_EQ(o, Outcome::ok);
    EXPECT_EQ(opened, 3);
    EXPECT_EQ(core.facts().losses, 2U);
    Signature s{};
    EXPECT_EQ(core.sign(key, sha256(Bytes{1}), s), Outcome::ok);
    EXPECT_TRUE(ecdsa_verify(Curve::p256, q, sha256(Bytes{1}), s));
  }
}

}  // namespace
}  // namespace kf::p11core
