#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <map>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "host/crypto/software_engine.hpp"

namespace kf {
namespace {

bool readable(int fd, int ms) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, ms) == 1 && (p.revents & POLLIN) != 0;
}

// Waits on the event descriptor alone, as a server's loop does.
std::vector<EccCompletion> collect(SoftwareEngine& e, std::size_t want, std::size_t at_once = 16) {
  std::vector<EccCompletion> all;
  std::vector<EccCompletion> some(at_once);
  while (all.size() < want && readable(e.event_fd(), 20000)) {
    while (const std::size_t n = e.poll(some))
      for (std::size_t i = 0; i < n; ++i) all.push_back(std::move(some[i]));
  }
  return all;
}

EccRequest ephemeral(std::uint64_t id, const KeyPair& peer, Curve c = Curve::p256) {
  EccRequest r;
  r.id = id;
  r.op = EccOp::ephemeral_ecka;
  r.curve = c;
  r.peer = peer.q;
  return r;
}

TEST(SoftwareEngine, EveryAcceptedRequestCompletesExactlyOnce) {
  SoftwareEngine e({.threads = 3, .queue_limit = 64});
  const KeyPair peer = generate_key_pair(Curve::p256);
  std::map<std::uint64_t, int> seen;
  std::uint64_t next = 0;
  std::size_t done = 0;
  std::vector<EccCompletion> out(7);
  bool full_seen = false;
  while (done < 500) {
    std::vector<EccRequest> offer;
    for (std::uint64_t i = 0; i < 40 && next + i < 500; ++i) offer.push_back(ephemeral(next + i, peer));
    const std::size_t n = e.submit(offer);
    full_seen = full_seen || n < offer.size();
    next += n;
    ASSERT_LE(next - done, 64U) << "more in flight than the limit";
    ASSERT_TRUE(readable(e.event_fd(), 20000));
    while (const std::size_t k = e.poll(out)) {
      done += k;
      for (std::size_t i = 0; i < k; ++i) {
        ++seen[out[i].id];
        EXPECT_EQ(out[i].status, EccStatus::ok);
      }
    }
  }
  EXPECT_TRUE(full_seen) << "the limit was never reached: the test proves nothing about it";
  EXPECT_EQ(seen.size(), 500U);
  for (const auto& [id, n] : seen) EXPECT_EQ(n, 1) << id;
  EXPECT_EQ(e.poll(out), 0U);
  EXPECT_FALSE(readable(e.event_fd(), 0));
}

TEST(SoftwareEngine, BackPressureIsACountAndNeverAWait) {
  SoftwareEngine e({.threads = 1, .queue_limit = 3});
  const KeyPair peer = generate_key_pair(Curve::p256);
  std::vector<EccRequest> r;
  for (std::uint64_t i = 0; i < 5; ++i) r.push_back(ephemeral(i, peer));
  EXPECT_EQ(e.submit(r), 3U);
  EXPECT_EQ(e.submit(r), 0U) << "accepted and not yet polled counts, whether it has run or not";
  EXPECT_EQ(collect(e, 3).size(), 3U);
  EXPECT_EQ(e.submit(r), 3U);
  EXPECT_EQ(collect(e, 3).size(), 3U);
  EXPECT_EQ(e.submit({}), 0U);
}

TEST(SoftwareEngine, EventDescriptorIsLevelTriggered) {
  SoftwareEngine e({.threads = 2, .queue_limit = 16});
  EXPECT_FALSE(readable(e.event_fd(), 0));
  const KeyPair peer = generate_key_pair(Curve::p256);
  std::vector<EccRequest> r;
  for (std::uint64_t i = 0; i < 4; ++i) r.push_back(ephemeral(i, peer));
  ASSERT_EQ(e.submit(r), 4U);
  std::vector<EccCompletion> one(1);
  for (std::size_t got = 0; got < 4;) {
    ASSERT_TRUE(readable(e.event_fd(), 20000)) << "after " << got;
    got += e.poll(one);
  }
  EXPECT_EQ(e.poll(one), 0U);
  EXPECT_FALSE(readable(e.event_fd(), 0));
}

TEST(SoftwareEngine, EphemeralSecretIsTheOneThePeerComputes) {
  SoftwareEngine e;
  for (const Curve c : {Curve::p256, Curve::brainpool_p256r1}) {
    const KeyPair peer = generate_key_pair(c);
    const std::vector<EccRequest> r{ephemeral(1, peer, c), ephemeral(2, peer, c)};
    ASSERT_EQ(e.submit(r), 2U);
    const auto done = collect(e, 2);
    ASSERT_EQ(done.size(), 2U);
    EXPECT_NE(done[0].epk, done[1].epk);
    for (const EccCompletion& d : done) {
      ASSERT_EQ(d.status, EccStatus::ok);
      const auto z = ecka(c, peer.d.expose(), d.epk);
      ASSERT_TRUE(z.ok());
      EXPECT_TRUE(std::ranges::equal(z->expose(), d.shs.expose()));
    }
  }
}

TEST(SoftwareEngine, BadInputIsAnAnswer) {
  SoftwareEngine e;
  const KeyPair peer = generate_key_pair(Curve::p256);
  std::vector<EccRequest> r(5, ephemeral(0, peer));
  r[0].peer[64] ^= 1;                     // off the curve
  r[1].curve = static_cast<Curve>(0x7F);  // unknown
  r[2].peer = {};                         // infinity, no 04
  r[3].op = EccOp::verify;                // off the curve, verify
  r[3].peer[10] ^= 1;
  r[4].curve = Curve::brainpool_p256r1;  // a point of another curve
  for (std::size_t i = 0; i < r.size(); ++i) r[i].id = i;
  ASSERT_EQ(e.submit(r), r.size());
  const auto done = collect(e, r.size());
  ASSERT_EQ(done.size(), r.size());
  for (const EccCompletion& d : done) EXPECT_EQ(d.status, EccStatus::bad_input) << d.id;
}

TEST(SoftwareEngine, SignsOnlyWithAGivenTestIdentityAndVerifies) {
  SoftwareEngine e;
  const KeyPair identity = generate_key_pair(Curve::brainpool_p256r1);
  EccRequest sign;
  sign.op = EccOp::sign;
  sign.curve = Curve::brainpool_p256r1;
  random_fill(sign.hash);
  ASSERT_EQ(e.submit(std::span(&sign, 1)), 1U);
  auto done = collect(e, 1);
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].status, EccStatus::no_key);

  e.add_test_identity(Curve::brainpool_p256r1, identity.d.expose());
  ASSERT_EQ(e.submit(std::span(&sign, 1)), 1U);
  done = collect(e, 1);
  ASSERT_EQ(done.size(), 1U);
  ASSERT_EQ(done[0].status, EccStatus::ok);
  EXPECT_TRUE(ecdsa_verify(sign.curve, identity.q, sign.hash, done[0].signature));

  std::vector<EccRequest> verify(2, sign);
  for (EccRequest& v : verify) {
    v.op = EccOp::verify;
    v.peer = identity.q;
    v.signature = done[0].signature;
  }
  verify[1].id = 1;
  verify[1].hash[0] ^= 1;
  ASSERT_EQ(e.submit(verify), 2U);
  done = collect(e, 2);
  ASSERT_EQ(done.size(), 2U);
  for (const EccCompletion& d : done) EXPECT_EQ(d.status, d.id == 1 ? EccStatus::bad_signature : EccStatus::ok);
}

TEST(SoftwareEngine, EndsWithWorkStillQueued) {
  const KeyPair peer = generate_key_pair(Curve::brainpool_p256r1);
  for (int i = 0; i < 20; ++i) {
    SoftwareEngine e({.threads = 2, .queue_limit = 100});
    const std::vector<EccRequest> r(100, ephemeral(7, peer, Curve::brainpool_p256r1));
    EXPECT_EQ(e.submit(r), 100U);
  }
}

}  // namespace
}  // namespace kf
