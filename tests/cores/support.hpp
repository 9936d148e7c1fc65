// What the tests of the core engine share: requests whose answers are known, and answers by their number.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <map>
#include <set>
#include <vector>

#include "drivers/engine/core_engine.hpp"
#include "host/crypto/ec.hpp"

namespace kf::ecc {

inline constexpr std::array kBoth{Curve::p256, Curve::brainpool_p256r1};

struct Answers {
  std::map<std::uint64_t, EccCompletion> by_id;
  // Until n more have come; false after two minutes.
  bool collect(CoreEngine& e, std::size_t n) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    const std::size_t want = by_id.size() + n;
    std::array<EccCompletion, 16> some;
    while (by_id.size() < want) {
      pollfd p{e.event_fd(), POLLIN, 0};
      ::poll(&p, 1, 1000);
      for (std::size_t k = e.poll(some); k != 0; k = e.poll(some)) {
        for (std::size_t i = 0; i < k; ++i) {
          EXPECT_TRUE(by_id.emplace(some[i].id, std::move(some[i])).second) << "answered twice";
        }
      }
      if (std::chrono::steady_clock::now() > end) return false;
    }
    return true;
  }
};

struct Peers {
  std::vector<KeyPair> keys;
  std::vector<EccRequest> requests;
  explicit Peers(std::size_t n, std::uint64_t first_id = 1) {
    for (std::size_t i = 0; i < n; ++i) {
      EccRequest r;
      r.id = first_id + i;
      r.op = EccOp::ephemeral_ecka;
      r.curve = kBoth.at(i % 2);
      keys.push_back(generate_key_pair(r.curve));
      r.peer = keys.back().q;
      requests.push_back(r);
    }
  }
  void expect(const Answers& a) const {
    std::set<Point> seen;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto it = a.by_id.find(requests[i].id);
      ASSERT_NE(it, a.by_id.end()) << "request " << i;
      const EccCompletion& c = it->second;
      ASSERT_EQ(c.status, EccStatus::ok) << to_string(c.status);
      ASSERT_TRUE(check_point(requests[i].curve, c.epk).ok());
      EXPECT_TRUE(seen.insert(c.epk).second) << "a key was used twice";
      const auto same = kf::ecka(requests[i].curve, keys[i].d.expose(), c.epk);
      ASSERT_TRUE(same.ok());
      EXPECT_TRUE(equal_ct(same->expose(), c.shs.expose())) << "request " << i;
    }
  }
};

}  // namespace kf::ecc
