// What the engine is for, checked against OpenSSL. SGP.02 3.1.2; docs/spec/crypto.md 3, 4.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <set>

#include "host/crypto/ec.hpp"
#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm {
namespace {

using namespace testing;

class OnCurve : public ::testing::TestWithParam<Curve> {};
INSTANTIATE_TEST_SUITE_P(Curves, OnCurve, ::testing::Values(Curve::p256, Curve::brainpool_p256r1), [](const auto& p) {
  return std::string(curve_name(p.param) == "P-256" ? "P256" : "BrainpoolP256r1");
});

TEST_P(OnCurve, ThousandSignaturesVerifyWithOpenssl) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  const auto q = e->public_key(GetParam());
  ASSERT_TRUE(q.ok()) << q.error().text();
  int leading_zero = 0;
  std::uint64_t asked = 0;
  // About 8 in 1000 have a leading zero octet in r or s (L21): until one has come. None at all would mean that they
  // never come out whole.
  for (int round = 0; round < 10 && leading_zero == 0; ++round) {
    std::vector<EccRequest> rs;
    for (int i = 0; i < 1000; ++i) rs.push_back(sign_request(asked++, GetParam()));
    const auto answers = run_all(*e, rs);
    for (const auto& r : rs) {
      const auto& c = answers.at(r.id);
      ASSERT_EQ(c.status, EccStatus::ok) << to_string(c.status);
      ASSERT_TRUE(ecdsa_verify(GetParam(), *q, r.hash, c.signature)) << r.id;
      leading_zero += c.signature[0] == 0 || c.signature[32] == 0 ? 1 : 0;
    }
  }
  EXPECT_GT(leading_zero, 0) << "none of " << asked;
  EXPECT_EQ(*e->session_objects(), 0U);
}

// A server has its worker's descriptors wherever there is room; the child's own numbers must not overwrite one of them.
TEST(Start, WhateverNumbersTheDescriptorsHave) {
  std::vector<int> fillers;
  for (int highest = 94; highest <= 102; ++highest) {
    while (fillers.empty() || fillers.back() < highest) {
      fillers.push_back(::dup(0));
      ASSERT_GE(fillers.back(), 0);
    }
    EXPECT_TRUE(start(token_config())) << "with " << highest << " as the highest number in use";
  }
  for (const int f : fillers) ::close(f);
}

TEST_P(OnCurve, EphemeralEckaEqualsThePeersComputation) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  std::set<Point> keys;
  int leading_zero = 0;
  std::uint64_t asked = 0;
  // Until a secret with a leading zero octet has come (1 of 256), so that its padding was exercised.
  for (int round = 0; round < 10 && leading_zero == 0; ++round) {
    std::vector<EckaCase> cases;
    std::vector<EccRequest> rs;
    for (int i = 0; i < 600; ++i) {
      cases.push_back(ecka_case(1000 + asked++, GetParam()));
      rs.push_back(cases.back().request);
    }
    const auto answers = run_all(*e, rs);
    for (const auto& k : cases) {
      const auto& c = answers.at(k.request.id);
      ASSERT_EQ(c.status, EccStatus::ok) << to_string(c.status);
      ASSERT_TRUE(check_point(GetParam(), c.epk).ok());
      const auto expected = ecka(GetParam(), k.peer_d.expose(), c.epk);
      ASSERT_TRUE(expected.ok());
      ASSERT_TRUE(equal_ct(expected->expose(), c.shs.expose())) << k.request.id;
      keys.insert(c.epk);
      leading_zero += c.shs.expose()[0] == 0 ? 1 : 0;
    }
  }
  EXPECT_EQ(keys.size(), asked) << "an ephemeral key came twice";
  EXPECT_GT(leading_zero, 0) << "none of " << asked << " (the chance of that is one in ten thousand millions)";
  EXPECT_EQ(*e->session_objects(), 0U) << "session objects left in the token";
}

TEST_P(OnCurve, VerifySaysYesAndNo) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  const KeyPair signer = generate_key_pair(GetParam());
  std::vector<EccRequest> rs;
  std::vector<EccStatus> expected;
  const auto add = [&](EccStatus s, auto&& change) {
    EccRequest r = sign_request(rs.size(), GetParam());
    r.op = EccOp::verify;
    r.peer = signer.q;
    r.signature = ecdsa_sign(GetParam(), signer.d.expose(), r.hash);
    change(r);
    rs.push_back(r);
    expected.push_back(s);
  };
  add(EccStatus::ok, [](EccRequest&) {});
  add(EccStatus::bad_signature, [](EccRequest& r) { r.hash[0] ^= 1; });
  add(EccStatus::bad_signature, [](EccRequest& r) { r.signature[63] ^= 1; });
  add(EccStatus::bad_signature, [](EccRequest& r) { r.signature.fill(0); });     // r = s = 0
  add(EccStatus::bad_signature, [](EccRequest& r) { r.signature.fill(0xFF); });  // above n
  add(EccStatus::bad_signature, [&](EccRequest& r) { r.peer = generate_key_pair(GetParam()).q; });
  add(EccStatus::bad_input, [](EccRequest& r) { r.peer[64] ^= 1; });  // off the curve
  add(EccStatus::ok, [](EccRequest&) {});
  const auto answers = run_all(*e, rs);
  for (std::size_t i = 0; i < rs.size(); ++i)
    EXPECT_EQ(answers.at(i).status, expected[i]) << "case " << i << ": " << to_string(answers.at(i).status);
  EXPECT_EQ(*e->session_objects(), 0U);
}

TEST(HsmEngine, BadRequestsAreAnsweredAndHarmNobody) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  std::vector<EccRequest> rs;
  std::vector<EccStatus> expected;
  const auto add = [&](EccStatus s, EccRequest r) {
    r.id = rs.size();
    rs.push_back(r);
    expected.push_back(s);
  };
  EccRequest off = ecka_case(0, Curve::p256).request;
  off.peer[40] ^= 0x10;
  add(EccStatus::bad_input, off);
  EccRequest infinity = off;
  infinity.peer.fill(0);
  add(EccStatus::bad_input, infinity);
  EccRequest other_curve = ecka_case(0, Curve::brainpool_p256r1).request;
  other_curve.curve = Curve::p256;
  add(EccStatus::bad_input, other_curve);
  EccRequest frp = off;
  frp.curve = Curve::frp256v1;
  add(EccStatus::bad_input, frp);
  add(EccStatus::no_key, sign_request(0, Curve::frp256v1));
  EccRequest no_op = off;
  no_op.op = static_cast<EccOp>(77);
  add(EccStatus::bad_input, no_op);
  add(EccStatus::ok, ecka_case(0, Curve::p256).request);
  add(EccStatus::ok, sign_request(0, Curve::p256));
  const auto answers = run_all(*e, rs);
  for (std::size_t i = 0; i < rs.size(); ++i) {
    EXPECT_EQ(answers.at(i).status, expected[i]) << "case " << i << ": " << to_string(answers.at(i).status);
    if (expected[i] == EccStatus::ok) continue;
    EXPECT_TRUE(std::ranges::all_of(answers.at(i).shs.expose(), [](auto b) { return b == 0; })) << "case " << i;
  }
  EXPECT_EQ(e->stats().workers.at(0).restarts, 0U);
  EXPECT_EQ(*e->session_objects(), 0U);
}

TEST(HsmEngine, PushesBackWhenFullAndRecovers) {
  HsmConfig c = token_config();
  c.ring_entries = 8;
  const auto e = start(c);
  ASSERT_TRUE(e);
  std::vector<EccRequest> rs;
  for (std::uint64_t i = 0; i < 100; ++i) rs.push_back(sign_request(i, Curve::p256));
  for (const pid_t p : e->worker_pids()) ::kill(p, SIGSTOP);  // nothing is done: who waited for a job would stay here
  EXPECT_EQ(e->submit(rs), 8U);
  EXPECT_EQ(e->submit(std::span(rs).subspan(8)), 0U) << "accepted and not polled counts, done or not";
  std::vector<EccCompletion> out(100);
  EXPECT_EQ(e->poll(out), 0U);
  for (const pid_t p : e->worker_pids()) ::kill(p, SIGCONT);
  std::size_t got = 0;
  std::size_t accepted = 8;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (got < rs.size() && std::chrono::steady_clock::now() < deadline) {
    got += e->poll(out);
    accepted += e->submit(std::span(rs).subspan(accepted));
    ASSERT_LE(accepted - got, 8U);
  }
  EXPECT_EQ(got, rs.size());
}

TEST(HsmEngine, EventDescriptorIsReadableWhileCompletionsWait) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  const auto readable = [&](int ms) {
    pollfd p{e->event_fd(), POLLIN, 0};
    return ::poll(&p, 1, ms) == 1;
  };
  EXPECT_FALSE(readable(0));
  const std::vector<EccRequest> rs{sign_request(1, Curve::p256), sign_request(2, Curve::p256)};
  ASSERT_EQ(e->submit(rs), 2U);
  std::vector<EccCompletion> one(1);
  for (int got = 0; got < 2;) {
    ASSERT_TRUE(readable(5000));
    got += static_cast<int>(e->poll(one));
  }
  EXPECT_EQ(e->poll(one), 0U);
  EXPECT_FALSE(readable(0));
}

TEST(HsmEngine, TwoWorkersShareTheLoadInBatches) {
  HsmConfig c = token_config();
  c.tokens.front().workers = 2;
  const auto e = start(c);
  ASSERT_TRUE(e);
  EXPECT_EQ(e->worker_pids().size(), 2U);
  // How many jobs go in one turn follows from the speeds of both sides; with a sanitizer in one of them the mean says
  // nothing, and that some turn had many has to do.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const auto batch = [](const HsmStats& x) { return static_cast<double>(x.batch_size.max()); };
#else
  const auto batch = [](const HsmStats& x) { return x.batch_size.mean(); };
#endif
  // Who gets how much of one burst depends on what else the machine does: a worker that does not run for a while is
  // taken for a slow one. In one of several bursts both have their share.
  HsmStats s;
  std::array<std::uint64_t, 2> share{};
  std::uint64_t asked = 0;
  for (int burst = 0; burst < 20; ++burst) {
    std::vector<EccRequest> rs;
    for (int i = 0; i < 2000; ++i) rs.push_back(sign_request(asked++, Curve::p256));
    const HsmStats before = e->stats();
    const auto answers = run_all(*e, rs);
    for (const auto& [id, a] : answers) ASSERT_EQ(a.status, EccStatus::ok);
    s = e->stats();
    ASSERT_EQ(s.workers.size(), 2U);
    EXPECT_EQ(s.workers[0].jobs + s.workers[1].jobs, asked);
    for (std::size_t w = 0; w < 2; ++w) share[w] = s.workers[w].jobs - before.workers[w].jobs;
    if (share[0] > 200 && share[1] > 200 && batch(s) > 8.0) break;
  }
  EXPECT_GT(share[0], 200U);
  EXPECT_GT(share[1], 200U);
  EXPECT_GT(batch(s), 8.0) << "under load jobs travel in batches";
  EXPECT_LE(s.batch_size.max(), 256U) << "slots of a ring";
}

TEST(HsmEngine, KeysCannotLeaveTheToken) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  const auto keys = e->key_facts();
  ASSERT_TRUE(keys.ok()) << keys.error().text();
  ASSERT_EQ(keys->size(), 3U);
  for (const KeyFacts& k : *keys) {
    SCOPED_TRACE(k.label);
    EXPECT_TRUE(k.token_object && k.private_object && k.sensitive && k.always_sensitive && k.never_extractable);
    EXPECT_FALSE(k.extractable);
    EXPECT_FALSE(k.value_readable);
    const bool wrap_key = k.label == "KEK";
    EXPECT_EQ(k.sign, !wrap_key);
    EXPECT_FALSE(k.derive && !wrap_key) << "an identity key only signs";
    EXPECT_EQ(k.decrypt, wrap_key);
    EXPECT_EQ(k.unwrap, wrap_key);
  }
}

TEST(HsmEngine, OnlyTheWorkerMapsTheModule) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  const auto mapped = [](const std::string& pid) {
    std::ifstream maps("/proc/" + pid + "/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("softhsm") != std::string::npos || line.find("libp11-kit") != std::string::npos) return true;
    }
    return false;
  };
  EXPECT_TRUE(mapped(std::to_string(e->worker_pids().at(0)))) << "the look itself must be able to find it";
  EXPECT_FALSE(mapped("self"));
}

TEST(HsmEngine, OneLoginAndNoLookupsOnTheHotPath) {
  const ScratchDir dir;
  const Shimmed s = shimmed(dir);
  {
    const auto e = start(s.config);
    ASSERT_TRUE(e);
    const std::size_t lookups = s.shim.count("C_FindObjectsInit");
    const std::size_t sessions = s.shim.count("C_OpenSession");
    EXPECT_GT(lookups, 0U);
    std::vector<EccRequest> rs;
    for (std::uint64_t i = 0; i < 300; ++i)
      rs.push_back(i % 2 == 0 ? sign_request(i, Curve::p256) : ecka_case(i, Curve::p256).request);
    run_all(*e, rs);
    EXPECT_EQ(s.shim.count("C_FindObjectsInit"), lookups);  // L9
    EXPECT_EQ(s.shim.count("C_OpenSession"), sessions);
    EXPECT_EQ(s.shim.count("C_Finalize"), 0U);
  }
  EXPECT_EQ(s.shim.count("C_Login"), 1U);  // L2
  EXPECT_EQ(s.shim.count("C_Finalize"), 1U) << "an orderly end closes the module once";
}

TEST(HsmEngine, DescribesTheToken) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  const auto rows = e->describe();
  ASSERT_TRUE(rows.ok());
  const auto value = [&](std::string_view name) {
    for (const auto& [n, v] : *rows) {
      if (n == name) return v;
    }
    return std::string("(missing)");
  };
  EXPECT_EQ(value("token"), "keyferry-test");
  EXPECT_EQ(value("curves"), "P-256, brainpoolP256r1");
  EXPECT_EQ(value("peer point of ECDH"), "raw");
}

}  // namespace
}  // namespace kf::hsm
