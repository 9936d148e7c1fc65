// Jobs for the core whose answers can be judged, and their judgement with OpenSSL. Everything follows from the seed.
#pragma once

#include <map>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "drivers/simulated/board/core_session.hpp"
#include "host/crypto/ec.hpp"

namespace kf::bench {

class EccWork {
 public:
  EccWork(std::uint64_t seed, Curve c);

  std::vector<ecc::Descriptor> generate(std::size_t n, bool for_sign);  // into slots 0, 1, ...
  std::vector<ecc::Descriptor> ecka(std::size_t n);                     // with the keys of the last generate()
  std::vector<ecc::Descriptor> sign(std::size_t n);                     // with all keys of the last generate() in turn
  std::vector<ecc::Descriptor> verify(std::size_t n);                   // one in eight is not right
  std::vector<ecc::Descriptor> erase(std::size_t n);

  // Of the jobs that were made last, only the first n were asked of a core.
  void asked(std::size_t n) { jobs_.resize(n); }
  // Of the jobs that were made last; one without an answer is wrong. What is wrong is counted in failures().
  void judge(std::span<const ecc::Completion> answers);
  [[nodiscard]] std::uint64_t answers() const { return answers_; }
  [[nodiscard]] std::uint64_t wrong() const { return wrong_; }
  [[nodiscard]] const std::map<std::string, std::uint64_t>& failures() const { return failures_; }

 private:
  struct Key {
    std::array<std::uint8_t, 32> d{};
    Point q{};
  };
  Digest32 digest();
  ecc::Descriptor next(ecc::Opcode op, std::size_t slot);
  std::string fault_in(std::size_t i, const ecc::Completion& c);

  Curve curve_;
  ecc::CurveNumber number_;
  std::mt19937_64 random_;
  std::vector<Key> pool_;    // peers, and signers of what is verified
  std::vector<Point> keys_;  // that the core made, by slot
  std::vector<ecc::Descriptor> jobs_;
  std::vector<Digest32> digests_;
  std::vector<bool> good_;
  std::set<std::array<std::uint8_t, 32>> seen_;  // points and nonces that must not come twice
  std::uint64_t tag_ = 0, answers_ = 0, wrong_ = 0;
  std::map<std::string, std::uint64_t> failures_;
};

}  // namespace kf::bench
