#include "bench/ecc/work.hpp"

#include <algorithm>
#include <cstring>

namespace kf::bench {
namespace {

constexpr std::size_t kPool = 64;

Point point_of(const ecc::Completion& c) {
  Point p{};
  p[0] = 4;
  std::ranges::copy(ecc::big_endian(c.x), p.begin() + 1);
  std::ranges::copy(ecc::big_endian(c.y), p.begin() + 33);
  return p;
}
std::string_view name_of(ecc::Opcode op) {
  switch (op) {
    case ecc::Opcode::generate:
      return "generate";
    case ecc::Opcode::ecka:
      return "ecka";
    case ecc::Opcode::sign:
      return "sign";
    case ecc::Opcode::verify:
      return "verify";
    case ecc::Opcode::erase:
      return "erase";
    default:
      return "job";
  }
}
void set_point(ecc::Descriptor& d, const Point& q) {
  ecc::set_operand(d.v[0], ByteView(q).subspan(1, 32));
  ecc::set_operand(d.v[1], ByteView(q).subspan(33, 32));
}

}  // namespace

EccWork::EccWork(std::uint64_t seed, Curve c)
    : curve_(c),
      number_(c == Curve::p256 ? ecc::CurveNumber::p256 : ecc::CurveNumber::brainpoolp256r1),
      random_(seed * 2 + (c == Curve::p256 ? 0 : 1)) {
  while (pool_.size() < kPool) {
    Key k;
    k.d = digest();
    if (auto q = public_of(c, k.d); q) {  // else: not below the order
      k.q = *q;
      pool_.push_back(k);
    }
  }
}

Digest32 EccWork::digest() {
  Digest32 d{};
  for (auto& b : d) b = static_cast<std::uint8_t>(random_());
  return d;
}

ecc::Descriptor EccWork::next(ecc::Opcode op, std::size_t slot) {
  return ecc::job(op, number_, static_cast<std::uint16_t>(slot), tag_++);
}

std::vector<ecc::Descriptor> EccWork::generate(std::size_t n, bool for_sign) {
  jobs_.clear();
  for (std::size_t i = 0; i < n; ++i) {
    jobs_.push_back(next(ecc::Opcode::generate, i));
    if (for_sign) jobs_.back().flags = ecc::kDescriptorKeyForSign;
  }
  keys_.assign(n, Point{});
  return jobs_;
}

std::vector<ecc::Descriptor> EccWork::ecka(std::size_t n) {
  jobs_.clear();
  for (std::size_t i = 0; i < n; ++i) {
    jobs_.push_back(next(ecc::Opcode::ecka, i));
    set_point(jobs_.back(), pool_[i % kPool].q);
  }
  return jobs_;
}

std::vector<ecc::Descriptor> EccWork::sign(std::size_t n) {
  jobs_.clear();
  digests_.clear();
  for (std::size_t i = 0; i < n; ++i) {
    jobs_.push_back(next(ecc::Opcode::sign, i % keys_.size()));
    digests_.push_back(digest());
    ecc::set_operand(jobs_.back().v[0], digests_.back());
  }
  return jobs_;
}

std::vector<ecc::Descriptor> EccWork::verify(std::size_t n) {
  jobs_.clear();
  good_.clear();
  for (std::size_t i = 0; i < n; ++i) {
    const Key& k = pool_[i % kPool];
    const Digest32 h = digest();
    Signature s = ecdsa_sign_rfc6979(curve_, k.d, h);
    good_.push_back(random_() % 8 != 0);
    if (!good_.back()) s[random_() % 64] ^= static_cast<std::uint8_t>(1U << random_() % 8);
    ecc::Descriptor d = next(ecc::Opcode::verify, 0);
    set_point(d, k.q);
    ecc::set_operand(d.v[2], h);
    ecc::set_operand(d.v[3], ByteView(s).first(32));
    ecc::set_operand(d.v[4], ByteView(s).last(32));
    jobs_.push_back(d);
  }
  return jobs_;
}

std::vector<ecc::Descriptor> EccWork::erase(std::size_t n) {
  jobs_.clear();
  for (std::size_t i = 0; i < n; ++i) jobs_.push_back(next(ecc::Opcode::erase, i));
  return jobs_;
}

void EccWork::judge(std::span<const ecc::Completion> answers) {
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    ++answers_;
    const std::string fault = i < answers.size() ? fault_in(i, answers[i]) : "no answer";
    if (fault.empty()) continue;
    ++wrong_;
    ++failures_[fault];
  }
}

// Empty: right.
std::string EccWork::fault_in(std::size_t i, const ecc::Completion& c) {
  using ecc::JobStatus;
  using ecc::Opcode;
  const ecc::Descriptor& d = jobs_[i];
  const auto status = static_cast<JobStatus>(c.status);
  if (c.tag != d.tag || c.opcode != d.opcode || c.curve != d.curve) return "an answer to another job";
  const std::array<std::uint8_t, 32> zero{};
  const bool blank = std::ranges::equal(c.x, zero) && std::ranges::equal(c.y, zero);
  const auto op = static_cast<Opcode>(d.opcode);
  if (op == Opcode::verify && !good_[i]) {
    if (status != JobStatus::bad_signature && status != JobStatus::range)
      return "verify took a signature that is not right: " + std::string(to_string(status));
    return blank ? "" : "verify: an answer beside a status";
  }
  if (status != JobStatus::ok) return std::string(name_of(op)) + ": status " + std::string(to_string(status));
  switch (op) {
    case Opcode::generate: {
      const Point q = point_of(c);
      if (!check_point(curve_, q)) return "generate: the point is not on the curve";
      if (!seen_.insert(ecc::big_endian(c.x)).second) return "generate: the same point twice";
      keys_[d.key_slot] = q;
      return "";
    }
    case Opcode::ecka: {  // the other way round: the peer's scalar times the point that the core made
      const auto z = kf::ecka(curve_, pool_[i % kPool].d, keys_[d.key_slot]);
      if (!z || !equal_ct(z->expose(), ecc::big_endian(c.x))) return "ecka: another secret than OpenSSL's";
      return std::ranges::equal(c.y, zero) ? "" : "ecka: a second coordinate came out";
    }
    case Opcode::sign: {
      Signature s{};
      std::ranges::copy(ecc::big_endian(c.x), s.begin());
      std::ranges::copy(ecc::big_endian(c.y), s.begin() + 32);
      if (!ecdsa_verify(curve_, keys_[d.key_slot], digests_[i], s)) return "sign: the signature does not verify";
      return seen_.insert(ecc::big_endian(c.x)).second ? "" : "sign: the same nonce twice";
    }
    default:
      return blank ? "" : "an answer where there is none";
  }
}

}  // namespace kf::bench
