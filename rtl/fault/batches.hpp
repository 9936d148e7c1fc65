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
    const bool good = i % 2 == 0;  // every other signature is a random pair, every other point off the curve
    if (program == "generate") {
      Job j = job(kGenerate, i);
      j.given = true;
      j.v[0] = k;
      secret(k);
      const auto q = curve.mul(k, nullptr);
      put(j, {kOk, q->x, q->y});
    } else if (program == "ecka") {
      Job j = job(kEcka, i);
      const auto q = curve.mul(e, nullptr);
      j.v[0] = q->x;
      j.v[1] = q->y;
      b.keys.emplace_back(d, false);
      secret(d);
      put(j, {kOk, curve.mul(d, &*q)->x, {}});
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
      const auto s = good ? *curve.sign(d, e, k) : Point{scalar(), scalar()};
      j.v = {q->x, q->y, e, s.x, s.y};
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
