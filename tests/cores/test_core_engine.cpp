// CoreEngine on simulated cores, each in a process of its own.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <set>

#include "drivers/core/known_answers.hpp"
#include "drivers/simulated/transport/sim_transport.hpp"
#include "tests/cores/support.hpp"
#include "tests/drivers/lying_transport.hpp"

namespace kf::ecc {
namespace {

// Cores that can be killed: the processes of those that are open.
struct Cores {
  std::mutex lock;
  std::map<unsigned, int> pids;
  std::atomic<bool> refuse{false};

  Result<std::unique_ptr<Device>> open(unsigned i) {
    if (refuse) return Error{"device-gone", "refused by the test"};
    SimOptions o;
    o.program = std::string(KF_BIN_DIR) + "/keyferry-ecc-sim";
    KF_TRY(auto t, SimTransport::open(o));
    {
      const std::lock_guard g(lock);
      pids[i] = t->pid();
    }
    return Device::open(std::move(t));
  }
  // Waits for a core that is just being opened anew: what is to be killed must run.
  void kill(unsigned i, int signal = SIGKILL) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    const auto killed = [&] {
      const std::lock_guard g(lock);
      return ::kill(pids.at(i), signal) == 0;
    };
    while (!killed()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "core " << i << " does not come back";
      ::usleep(5000);
    }
  }
};

std::unique_ptr<CoreEngine> start(Cores& cores, unsigned n = 1,
                                  const std::function<void(CoreEngineConfig&)>& change = {}) {
  CoreEngineConfig c;
  c.cores = n;
  c.open = [&cores](unsigned i) { return cores.open(i); };
  c.log = [](const std::string& line) { std::printf("%s\n", line.c_str()); };
  if (change) change(c);
  auto e = CoreEngine::start(std::move(c));
  EXPECT_TRUE(e.ok()) << e.error().text();
  return e ? std::move(*e) : nullptr;
}

TEST(CoreEngine, AgreesOnBothCurves) {
  Cores cores;
  auto e = start(cores);
  ASSERT_TRUE(e);
  const Peers p(300);
  ASSERT_EQ(e->submit(p.requests), p.requests.size());
  Answers a;
  ASSERT_TRUE(a.collect(*e, p.requests.size()));
  p.expect(a);
  const CoreEngineStats s = e->stats();
  EXPECT_EQ(s.cores.at(0).agreed, 300U);
  EXPECT_GE(s.cores.at(0).generated, 300U);
  EXPECT_EQ(s.cores.at(0).faults + s.cores.at(0).losses + s.retries, 0U);
  EXPECT_GT(s.batch_size.max(), 32U) << "requests that wait together go together";
}

TEST(CoreEngine, VerifiesAndSaysNo) {
  Cores cores;
  auto e = start(cores);
  ASSERT_TRUE(e);
  std::vector<EccRequest> requests;
  std::vector<EccStatus> want;
  const auto add = [&](Curve c, const auto& change, EccStatus s) {
    const KeyPair k = generate_key_pair(c);
    EccRequest r;
    r.id = requests.size() + 1;
    r.op = EccOp::verify;
    r.curve = c;
    r.hash = sha256(k.q);
    r.peer = k.q;
    r.signature = ecdsa_sign(c, k.d.expose(), r.hash);
    change(r);
    requests.push_back(r);
    want.push_back(s);
  };
  for (const Curve c : kBoth) {
    for (int i = 0; i < 5; ++i)
      add(
          c, [](EccRequest&) {}, EccStatus::ok);
    add(
        c, [](EccRequest& r) { r.signature[40] ^= 1; }, EccStatus::bad_signature);
    add(
        c, [](EccRequest& r) { r.hash[0] ^= 1; }, EccStatus::bad_signature);
    add(
        c, [](EccRequest& r) { r.signature.fill(0); }, EccStatus::bad_signature);  // range: decided in software
    add(
        c, [](EccRequest& r) { r.peer[64] ^= 1; }, EccStatus::bad_input);  // off the curve
    add(
        c, [](EccRequest& r) { r.op = EccOp::sign; }, EccStatus::no_key);  // identity keys are not here
    add(
        c, [](EccRequest& r) { r.op = EccOp::ephemeral_ecka, r.peer[64] ^= 1; }, EccStatus::bad_input);
  }
  add(
      Curve::frp256v1, [](EccRequest&) {}, EccStatus::ok);  // a curve of certificates that the core does not have
  add(
      Curve::frp256v1, [](EccRequest& r) { r.op = EccOp::ephemeral_ecka; }, EccStatus::bad_input);
  ASSERT_EQ(e->submit(requests), requests.size());
  Answers a;
  ASSERT_TRUE(a.collect(*e, requests.size()));
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(a.by_id.at(i + 1).status, want[i]) << i << ": " << to_string(a.by_id.at(i + 1).status);
  }
}

TEST(CoreEngine, AKilledCoreLosesNothing) {
  Cores cores;
  auto e = start(cores, 2);
  ASSERT_TRUE(e);
  std::mt19937 random(std::random_device{}());
  Answers a;
  std::vector<Peers> all;
  std::size_t sent = 0;
  for (int round = 0; round < 6; ++round) {
    all.emplace_back(100, sent + 1);
    ASSERT_EQ(e->submit(all.back().requests), 100U);
    sent += 100;
    ::usleep(static_cast<useconds_t>(random() % 150'000));
    if (round % 2 == 1) cores.kill(random() % 2);
  }
  ASSERT_TRUE(a.collect(*e, sent));
  for (const Peers& p : all) p.expect(a);
  const CoreEngineStats s = e->stats();
  EXPECT_GE(s.cores.at(0).losses + s.cores.at(1).losses, 1U);
  EXPECT_EQ(s.timed_out, 0U);
}

// A simulator that stands still: the engine's thread waits for its registers, the caller for nothing.
TEST(CoreEngine, ACoreThatStandsStillIsReplaced) {
  Cores cores;
  auto e = start(cores);
  ASSERT_TRUE(e);
  const Peers p(40);
  ASSERT_EQ(e->submit(p.requests), 40U);
  cores.kill(0, SIGSTOP);
  const Peers q(30, 100);
  ASSERT_EQ(e->submit(q.requests), 30U);
  Answers a;
  ASSERT_TRUE(a.collect(*e, 70));
  p.expect(a);
  q.expect(a);
  EXPECT_GE(e->stats().cores.at(0).losses, 1U);
  EXPECT_EQ(e->stats().timed_out, 0U);
}

TEST(CoreEngine, WithoutACoreARequestEndsAtItsDeadline) {
  Cores cores;
  auto e = start(cores);
  ASSERT_TRUE(e);
  cores.refuse = true;
  cores.kill(0);
  Peers p(3);
  for (auto& r : p.requests) r.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
  ASSERT_EQ(e->submit(p.requests), 3U);
  Answers a;
  ASSERT_TRUE(a.collect(*e, 3));
  for (const auto& [id, c] : a.by_id) EXPECT_EQ(c.status, EccStatus::timed_out) << to_string(c.status);
  EXPECT_EQ(e->stats().timed_out, 3U);
  EXPECT_NE(e->stats().cores.at(0).state, "up");
  EXPECT_FALSE(e->stats().cores.at(0).why.empty());
  // And back.
  cores.refuse = false;
  const Peers q(4, 100);
  ASSERT_EQ(e->submit(q.requests), 4U);
  ASSERT_TRUE(a.collect(*e, 4));
  q.expect(a);
}

TEST(CoreEngine, FullMeansFewer) {
  Cores cores;
  auto e = start(cores, 1, [](CoreEngineConfig& c) { c.queue_limit = 10; });
  ASSERT_TRUE(e);
  const Peers p(25);
  ASSERT_EQ(e->submit(p.requests), 10U);
  EXPECT_EQ(e->submit(std::span(p.requests).subspan(10)), 0U);
  Answers a;
  ASSERT_TRUE(a.collect(*e, 10));
  ASSERT_EQ(e->submit(std::span(p.requests).subspan(10)), 10U);
  ASSERT_TRUE(a.collect(*e, 10));
  ASSERT_EQ(e->submit(std::span(p.requests).subspan(20)), 5U);
  ASSERT_TRUE(a.collect(*e, 5));
  p.expect(a);
}

TEST(CoreEngine, AsksForKnownAnswers) {
  Cores cores;
  auto e = start(cores, 1, [](CoreEngineConfig& c) { c.known_answer_every = 2; });
  ASSERT_TRUE(e);
  const Peers p(200);
  ASSERT_EQ(e->submit(p.requests), p.requests.size());
  Answers a;
  ASSERT_TRUE(a.collect(*e, p.requests.size()));
  p.expect(a);
  EXPECT_GE(e->stats().cores.at(0).known_answers, 1U);
  EXPECT_EQ(e->stats().cores.at(0).losses, 0U);
}

TEST(KnownAnswers, AreWhatSoftwareSays) {
  std::array<std::uint8_t, 32> d{};
  d[31] = 2;
  for (const auto& [curve, number] :
       {std::pair(Curve::p256, CurveNumber::p256), std::pair(Curve::brainpool_p256r1, CurveNumber::brainpoolp256r1)}) {
    const KnownSignature& k = known_signature(number);
    static constexpr std::string_view text = "keyferry known answer";
    EXPECT_EQ(k.e, sha256(ByteView(reinterpret_cast<const std::uint8_t*>(text.data()), text.size())));
    EXPECT_EQ(k.q, public_of(curve, d).value());
    EXPECT_EQ(k.s, ecdsa_sign_rfc6979(curve, d, k.e));
    EXPECT_TRUE(signs_for(number, k.q, k.s));
    EXPECT_FALSE(signs_for(number, k.q, k.wrong));
  }
}

// A core that takes every signature for right: the first batch finds out, and the request is decided by another core.
TEST(CoreEngine, NoVerificationIsBelievedBeforeAKnownAnswer) {
  std::atomic<int> opened{0};
  CoreEngineConfig config;
  config.log = [](const std::string& line) { std::printf("%s\n", line.c_str()); };
  config.open = [&](unsigned) -> Result<std::unique_ptr<Device>> {
    SimOptions o;
    o.program = KF_BIN_DIR "/keyferry-ecc-sim";
    KF_TRY(auto t, SimTransport::open(o));
    if (++opened > 1) return Device::open(std::move(t));
    return Device::open(std::make_unique<test::LyingTransport>(std::move(t), [](Completion& c) {
      if (c.opcode == static_cast<std::uint8_t>(Opcode::verify)) c.status = static_cast<std::uint8_t>(JobStatus::ok);
    }));
  };
  auto e = CoreEngine::start(std::move(config));
  ASSERT_TRUE(e.ok()) << e.error().text();
  const KeyPair k = generate_key_pair(Curve::p256);
  EccRequest r;
  r.id = 1;
  r.op = EccOp::verify;
  r.curve = Curve::p256;
  r.peer = k.q;
  r.hash = sha256(Bytes{1});
  r.signature = ecdsa_sign(Curve::p256, k.d.expose(), sha256(Bytes{2}));
  ASSERT_EQ((*e)->submit({&r, 1}), 1U);
  Answers a;
  ASSERT_TRUE(a.collect(**e, 1));
  EXPECT_EQ(a.by_id.at(1).status, EccStatus::bad_signature);
  EXPECT_EQ((*e)->stats().cores.at(0).losses, 1U);
  EXPECT_EQ(opened, 2);
}

TEST(CoreEngine, ACoreThatIsNotThereIsToldAtTheStart) {
  CoreEngineConfig c;
  c.open = [](unsigned) -> Result<std::unique_ptr<Device>> {
    SimOptions o;
    o.program = "/nowhere/keyferry-ecc-sim";
    KF_TRY(auto t, SimTransport::open(o));
    return Device::open(std::move(t));
  };
  const auto e = CoreEngine::start(std::move(c));
  ASSERT_FALSE(e.ok());
  EXPECT_NE(e.error().text().find("/nowhere/keyferry-ecc-sim"), std::string::npos) << e.error().text();
}

}  // namespace
}  // namespace kf::ecc
