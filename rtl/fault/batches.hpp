// The batches that the fault campaign flips bits under, with what is due for each job and what must never come out.
// Keys and nonces are given (TEST_IMPORT), so that every answer is known beforehand. Judged against OpenSSL.
#pragma once

#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../test/engine.hpp"

namespace kf::fault {

struct Expected {
  std::uint8_t status = rtl::kOk;
  rtl::Num x{}, y{};
};

struct Batch {
  std::vector<rtl::Job> jobs;
  std::vector<Expected> want;
  std::vector<rtl::Num> secrets;                // and their negatives, which are as good
  std::vector<std::pair<rtl::Num, bool>> keys;  // of the key slots from 0 on; whether they sign
};

/// A digest and a pair (r, s) that is no signature of it, of one kind after the other: a random pair, and what would
/// pass if one number were another one. `d` is the private key, which the first three do without; `e` any digest.
template <class Draw>
std::pair<rtl::Num, rtl::Point> forgery(std::size_t number, const rtl::OpensslCurve& curve, const rtl::Num& d,
                                        const rtl::Point& q, const rtl::Num& e, const Draw& scalar) {
  using namespace rtl;
  Point s;
  switch (number % 5) {
    case 0:
      return {e, Point{scalar(), scalar()}};
    case 1: {  // Q in place of u2 Q
      const Num t = scalar();
      const auto a = curve.mul(t, nullptr);
      s.x = curve.reduce(curve.add(*a, q)->x);
      s.y = curve.mod_op('/', e, t);
      return {e, s};
    }
    case 2: {  // u1 = 0: it signs the digest 0
      const Num c = scalar();
      s.x = curve.reduce(curve.mul(c, &q)->x);
      s.y = curve.mod_op('/', s.x, c);
      return {e, s};
    }
    case 3:  // -u2
      return {curve.mod_op('-', Num{}, e), *curve.sign(d, e, scalar())};
    default: {  // the digest, but for its lowest bit
      Num other = e;
      other[0] ^= 1;
      return {other, *curve.sign(d, e, scalar())};
    }
  }
}

/// The point of P-256 with x = 0: checks that multiply by x say nothing of it. (brainpoolP256r1 has none.)
inline rtl::Point x_zero(const rtl::OpensslCurve& curve) {
  rtl::Bn b, p(curve.prime()), y;
  BN_hex2bn(&b.p, "5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B");
  BN_CTX* const ctx = BN_CTX_new();
  const bool found = BN_mod_sqrt(y.p, b.p, p.p, ctx) != nullptr;
  BN_CTX_free(ctx);
  const rtl::Point q{rtl::Num{}, y.num()};
  if (!found || !curve.on_curve(q)) throw std::runtime_error("no point with x = 0");
  return q;
}

/// `n` jobs of `program` (generate, ecka, sign, verify, check) on `curve`, whose number is `number`.
inline Batch make_batch(const std::string& program, std::size_t n, int number, const rtl::OpensslCurve& curve,
                        std::mt19937_64& rng) {
  using namespace rtl;
  Batch b;
  const auto scalar = [&] { return curve.random_below(rng, curve.order()); };
  const auto job = [&](Op op, std::size_t slot) {
    Job j{.op = op, .curve = static_cast<std::uint8_t>(number), .slot = static_cast<std::uint16_t>(slot)};
    j.tag = rng();
    return j;
  };
  const auto put = [&b](const Job& j, const Expected& e) {
    b.jobs.push_back(j);
    b.want.push_back(e);
  };
  const auto secret = [&](const Num& v) {
    b.secrets.push_back(v);
    b.secrets.push_back(curve.mod_op('-', Num{}, v));
  };
  for (std::size_t i = 0; i < n; ++i) {
    const Num d = scalar(), k = scalar(), e = scalar();
    const bool good = i % 2 == 0;  // every other signature is forged, every other point off the curve
    if (program == "generate") {
      Job j = job(kGenerate, i);
      j.given = true;
      j.v[0] = k;
      secret(k);
      const auto q = curve.mul(k, nullptr);
      put(j, {kOk, q->x, q->y});
    } else if (program == "ecka") {
      Job j = job(kEcka, i);
      const Point q = number == 0 && i % 4 == 1 ? x_zero(curve) : *curve.mul(e, nullptr);
      j.v[0] = q.x;
      j.v[1] = q.y;
      b.keys.emplace_back(d, false);
      secret(d);
      put(j, {kOk, curve.mul(d, &q)->x, {}});
    } else if (program == "sign") {
      Job j = job(kSign, i);
      j.given = true;
      j.v[0] = e;
      j.v[1] = k;
      b.keys.emplace_back(d, true);
      secret(d);
      secret(k);
      const auto s = curve.sign(d, e, k);
      put(j, {kOk, s->x, s->y});
    } else if (program == "verify") {
      Job j = job(kVerify, 0);
      const auto q = curve.mul(d, nullptr);
      const auto [digest, s] = good ? std::pair(e, *curve.sign(d, e, k)) : forgery(i / 2, curve, d, *q, e, scalar);
      j.v = {q->x, q->y, digest, s.x, s.y};
      if (curve.verify(*q, digest, s.x, s.y) != good) throw std::runtime_error("no forgery, or no signature");
      put(j, {good ? kOk : kBadSignature, {}, {}});
    } else if (program == "check") {  // off the curve by as little as can be
      Job j = job(kCheck, 0);
      const auto q = good ? *curve.mul(d, nullptr) : curve.near_miss(rng);
      j.v[0] = q.x;
      j.v[1] = q.y;
      put(j, {good ? kOk : kOffCurve, {}, {}});
    } else {
      throw std::runtime_error("no such program: " + program);
    }
  }
  return b;
}

}  // namespace kf::fault
