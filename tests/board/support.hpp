// What both tests need: a seed that is printed, keys and jobs with known answers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "drivers/simulated/board/core_session.hpp"
#include "host/crypto/ec.hpp"

namespace kf::ecc::test {

inline std::uint64_t seed() {
  static const std::uint64_t value = [] {
    const char* given = std::getenv("KF_SEED");
    const std::uint64_t s = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("seed %llu (KF_SEED sets it)\n", static_cast<unsigned long long>(s));
    return s;
  }();
  return value;
}

inline constexpr std::array<std::pair<Curve, CurveNumber>, 2> kCurves{
    {{Curve::p256, CurveNumber::p256}, {Curve::brainpool_p256r1, CurveNumber::brainpoolp256r1}}};

inline JobStatus status_of(const Completion& c) { return static_cast<JobStatus>(c.status); }
inline void PrintTo(JobStatus s, std::ostream* out) { *out << to_string(s); }

struct Key {
  std::array<std::uint8_t, 32> d{};
  Point q{};
};
inline Digest32 random_bytes32(std::mt19937_64& random) {
  Digest32 d{};
  for (auto& b : d) b = static_cast<std::uint8_t>(random());
  return d;
}
inline Key random_key(std::mt19937_64& random, Curve c) {
  for (;;) {
    Key k;
    k.d = random_bytes32(random);
    if (auto q = public_of(c, k.d); q) {
      k.q = *q;
      return k;
    }
  }
}

inline void set_point(Descriptor& d, const Point& q) {
  set_operand(d.v[0], ByteView(q).subspan(1, 32));
  set_operand(d.v[1], ByteView(q).subspan(33, 32));
}
inline Point point_of(const Completion& c) {
  Point p{};
  p[0] = 4;
  std::ranges::copy(big_endian(c.x), p.begin() + 1);
  std::ranges::copy(big_endian(c.y), p.begin() + 33);
  return p;
}
inline Signature signature_of(const Completion& c) {
  Signature s{};
  std::ranges::copy(big_endian(c.x), s.begin());
  std::ranges::copy(big_endian(c.y), s.begin() + 32);
  return s;
}
inline bool blank(const Completion& c) {
  const std::array<std::uint8_t, 32> zero{};
  return std::ranges::equal(c.x, zero) && std::ranges::equal(c.y, zero);
}

inline Descriptor verify_job(CurveNumber n, std::uint64_t tag, const Point& q, const Digest32& h, const Signature& s) {
  Descriptor d = job(Opcode::verify, n, 0, tag);
  set_point(d, q);
  set_operand(d.v[2], h);
  set_operand(d.v[3], ByteView(s).first(32));
  set_operand(d.v[4], ByteView(s).last(32));
  return d;
}

// A board with a core at work on it.
struct Bench {
  std::unique_ptr<Board> board;
  std::unique_ptr<CoreSession> session;
  explicit Bench(const BoardOptions& o, const SessionOptions& so = {}) {
    auto b = Board::make(o);
    if (!b) {
      ADD_FAILURE() << b.error().text();
      return;
    }
    board = std::move(*b);
    auto s = CoreSession::start(*board, so);
    if (!s)
      ADD_FAILURE() << s.error().text();
    else
      session = std::move(*s);
  }
  explicit operator bool() const { return session != nullptr; }
};
inline BoardOptions test_build(Style style = Style::fast, unsigned ii = 1) {
  BoardOptions o;
  o.style = style;
  o.ii = ii;
  o.test_build = true;
  o.seed = seed();
  return o;
}

// Of every operation a few, on one curve, with their expected answers. Keys go into the slots from `slot` on; they are
// used up or erased.
class Mixed {
 public:
  Mixed(std::mt19937_64& random, Curve c, CurveNumber n, std::uint16_t slot, std::size_t of_each) : curve_(c) {
    for (std::size_t i = 0; i < of_each; ++i) {
      const auto at = [&](std::size_t k) { return static_cast<std::uint16_t>(slot + 3 * i + k); };
      const auto given = [&](Descriptor d, ByteView v0, std::uint32_t flags) {
        set_operand(d.v[0], v0);
        d.flags = flags;
        return d;
      };
      // A key from outside agrees with a peer and is gone.
      const Key own = random_key(random, c), peer = random_key(random, c);
      add(given(job(Opcode::import, n, at(0), 0), own.d, 0), JobStatus::ok);
      Descriptor d = job(Opcode::ecka, n, at(0), 0);
      set_point(d, peer.q);
      add(d, JobStatus::ok, to_bytes(kf::ecka(c, own.d, peer.q).value().expose()));
      add(d, JobStatus::key);
      // A key made from a given scalar has the right public point.
      add(given(job(Opcode::generate, n, at(1), 0), own.d, kDescriptorGiven), JobStatus::ok,
          ByteView(own.q).subspan(1));
      add(job(Opcode::erase, n, at(1), 0), JobStatus::ok);
      // A key that signs, with a nonce that the core draws.
      add(given(job(Opcode::import, n, at(2), 0), peer.d, kDescriptorKeyForSign), JobStatus::ok);
      const Digest32 h = random_bytes32(random);
      d = job(Opcode::sign, n, at(2), 0);
      set_operand(d.v[0], h);
      add(d, JobStatus::ok);
      checks_.back().signer = peer.q;
      checks_.back().digest = h;
      add(job(Opcode::erase, n, at(2), 0), JobStatus::ok);
      // Signatures, right and wrong.
      Signature s = ecdsa_sign(c, own.d, h);
      add(verify_job(n, 0, own.q, h, s), JobStatus::ok);
      add(verify_job(n, 0, peer.q, h, s), JobStatus::bad_signature);
      s.fill(0);
      add(verify_job(n, 0, own.q, h, s), JobStatus::range);
      // Points.
      d = job(Opcode::check, n, 0, 0);
      set_point(d, own.q);
      add(d, JobStatus::ok);
      d.v[1][0] ^= 1;
      add(d, JobStatus::off_curve);
    }
  }
  [[nodiscard]] const std::vector<Descriptor>& jobs() const { return jobs_; }
  void expect(std::span<const Completion> answers) const {
    ASSERT_EQ(answers.size(), jobs_.size());
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const Completion& c = answers[i];
      const Check& k = checks_[i];
      SCOPED_TRACE("job " + std::to_string(i) + ", opcode " + std::to_string(jobs_[i].opcode));
      EXPECT_EQ(c.tag, jobs_[i].tag);
      EXPECT_EQ(c.opcode, jobs_[i].opcode);
      EXPECT_EQ(c.curve, jobs_[i].curve);
      EXPECT_EQ(status_of(c), k.status);
      if (k.signer) {
        EXPECT_TRUE(ecdsa_verify(curve_, *k.signer, k.digest, signature_of(c)));
      } else if (k.answer.empty()) {
        EXPECT_TRUE(blank(c));
      } else {
        const Signature xy = signature_of(c);
        EXPECT_TRUE(std::equal(k.answer.begin(), k.answer.end(), xy.begin()));
      }
    }
  }

 private:
  struct Check {
    JobStatus status;
    Bytes answer;  // x, or x and y; empty: both 0
    std::optional<Point> signer;
    Digest32 digest{};
  };
  void add(Descriptor d, JobStatus s, ByteView answer = {}) {
    d.tag = 0xABCD'0000'0000'0000 + jobs_.size();
    jobs_.push_back(d);
    checks_.push_back({s, to_bytes(answer), std::nullopt, {}});
  }
  Curve curve_;
  std::vector<Descriptor> jobs_;
  std::vector<Check> checks_;
};

}  // namespace kf::ecc::test
