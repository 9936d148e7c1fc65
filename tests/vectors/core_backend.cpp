// The simulated ECC core under the vectors, through its driver (Device) on the board in this process: a test build,
// which takes scalars and nonces from outside. What the core answers with `exception` (the few cases that its formulas
// exclude) is decided by software, as the server does, and counted.
#include <openssl/obj_mac.h>

#include <array>
#include <map>

#include "drivers/core/device.hpp"
#include "drivers/simulated/board/core_session.hpp"  // operands, names of statuses
#include "drivers/simulated/in_process/board_transport.hpp"
#include "host/crypto/ec.hpp"
#include "host/crypto/openssl_ptr.hpp"
#include "tests/vectors/engine.hpp"
#include "tests/vectors/runner.hpp"

namespace kf::vectors {
namespace {
using ecc::Descriptor;
using ecc::JobStatus;
using ecc::Opcode;

constexpr std::uint64_t kPatience = 20'000'000;                        // cycles; a job alone takes some 300 000
constexpr std::uint16_t kAgreeSlot = 0, kSignSlot = 1, kMadeSlot = 2;  // a key each; every case leaves them empty

ecc::CurveNumber number_of(Curve c) {
  return c == Curve::p256 ? ecc::CurveNumber::p256 : ecc::CurveNumber::brainpoolp256r1;
}

// The nonce of a signature whose key is known: k = (e + r d) / s.
Scalar nonce_of(Curve c, ByteView d, const Digest32& h, const Signature& sig) {
  const ossl::GroupPtr group(
      ossl::must(EC_GROUP_new_by_curve_name(c == Curve::p256 ? NID_X9_62_prime256v1 : NID_brainpoolP256r1)));
  const BIGNUM* n = EC_GROUP_get0_order(group.get());
  const auto bn = [](ByteView v) {
    return ossl::BnPtr(ossl::must(BN_bin2bn(v.data(), static_cast<int>(v.size()), nullptr)));
  };
  const ossl::BnCtxPtr ctx(ossl::must(BN_CTX_new()));
  const ossl::BnPtr r = bn(ByteView(sig).first(32)), s = bn(ByteView(sig).last(32)), k = bn(d), e = bn(h);
  ossl::must(BN_mod_mul(k.get(), k.get(), r.get(), n, ctx.get()) == 1);
  ossl::must(BN_mod_add(k.get(), k.get(), e.get(), n, ctx.get()) == 1);
  const ossl::BnPtr inverse(ossl::must(BN_mod_inverse(nullptr, s.get(), n, ctx.get())));
  ossl::must(BN_mod_mul(k.get(), k.get(), inverse.get(), n, ctx.get()) == 1);
  Scalar out{};
  ossl::must(BN_bn2binpad(k.get(), out.data(), 32) == 32);
  return out;
}

class Core final : public VectorEngine {
 public:
  Core(std::unique_ptr<ecc::Board> b, std::unique_ptr<ecc::Device> d) : board_(std::move(b)), device_(std::move(d)) {}
  std::string_view name() const override { return "core"; }
  bool carries(Curve c) const override { return c == Curve::p256 || c == Curve::brainpool_p256r1; }
  bool deterministic() const override { return true; }  // it gets the nonce of RFC 6979

  Result<Signature> sign(Curve c, ByteView d32, const Point&, const Digest32& h) override {
    const Signature software = ecdsa_sign_rfc6979(c, d32, h);
    Descriptor import = job(Opcode::import, c, kSignSlot, {d32});
    import.flags = ecc::kDescriptorKeyForSign;
    Descriptor sign = job(Opcode::sign, c, kSignSlot, {h, nonce_of(c, d32, h, software)});
    sign.flags = ecc::kDescriptorGiven;
    const auto done = run({import, sign, job(Opcode::erase, c, kSignSlot, {})});
    if (by_software(done[1])) return software;
    expect(done[1], JobStatus::ok);
    return pair_of(done[1]);
  }

  Result<SecretArray<32>> ecka(Curve c, ByteView d32, const Point& own_q, const Point& peer) override {
    // The public point that belongs to d, as the core would have made it.
    Descriptor make = job(Opcode::generate, c, kMadeSlot, {d32});
    make.flags = ecc::kDescriptorGiven;
    const auto made = run({make, job(Opcode::erase, c, kMadeSlot, {})});
    if (!by_software(made[0])) {
      expect(made[0], JobStatus::ok);
      same("public point of d", pair_of(made[0]), ByteView(own_q).subspan(1));
    }
    const auto done =
        run({job(Opcode::import, c, kAgreeSlot, {d32}), job(Opcode::ecka, c, kAgreeSlot, coordinates(peer))});
    if (by_software(done[1])) return kf::ecka(c, d32, peer);
    if (static_cast<JobStatus>(done[1].status) == JobStatus::fault) {
      // The driver takes a secret of zero for damage: there is none in 2^256, but here.
      auto software = kf::ecka(c, d32, peer);
      if (software.ok() && equal_ct(software->expose(), Scalar{})) {
        ++zero_secrets_;
        return software;
      }
    }
    expect(done[1], JobStatus::ok);
    SecretArray<32> z;
    std::ranges::copy(ecc::big_endian(done[1].x), z.expose_mut().begin());
    return z;
  }

  Result<bool> verify(Curve c, const Point& q, const Digest32& h, ByteView signature) override {
    if (signature.size() != 64) return false;  // no r and s to give to it
    const std::vector<ByteView> xy = coordinates(q);
    const auto done = run({job(Opcode::verify, c, 0, {xy[0], xy[1], h, signature.first(32), signature.last(32)})});
    if (by_software(done[0])) return ecdsa_verify(c, q, h, signature);
    return one_of(done[0], JobStatus::bad_signature, JobStatus::range);
  }

  std::optional<bool> accepts_point(Curve c, const Point& q) override {
    const auto done = run({job(Opcode::check, c, 0, coordinates(q))});
    return one_of(done[0], JobStatus::off_curve, JobStatus::range);
  }
  std::optional<bool> accepts_scalar(Curve c, const Scalar& d) override {
    const auto done = run({job(Opcode::import, c, kMadeSlot, {d}), job(Opcode::erase, c, kMadeSlot, {})});
    return one_of(done[0], JobStatus::range, JobStatus::range);
  }

  std::string remarks() const override {
    std::string s = "simulated core:";
    const char* separator = " ";
    for (const auto& [op, n] : jobs_) {
      s += separator + std::to_string(n) + " " + op;
      separator = ", ";
    }
    const ecc::DeviceCounters& n = device_->counters();
    return s + "; " + std::to_string(exceptions_) + " answered with exception and decided by software, " +
           std::to_string(zero_secrets_) +
           " secrets of zero, which the driver refuses; driver: " + std::to_string(n.completed) + " of " +
           std::to_string(n.submitted) + " jobs answered, " +
           std::to_string(n.tags_not_due + n.missing + n.damaged + n.implausible + n.early + n.doorbells_repeated +
                          n.lost) +
           " faults";
  }

 private:
  static std::vector<ByteView> coordinates(const Point& q) {
    return {ByteView(q).subspan(1, 32), ByteView(q).subspan(33, 32)};
  }
  static Descriptor job(Opcode op, Curve c, std::uint16_t slot, std::vector<ByteView> operands) {
    Descriptor d = ecc::job(op, number_of(c), slot, 0);
    for (std::size_t i = 0; i < operands.size(); ++i) ecc::set_operand(d.v[i], operands[i]);
    return d;
  }
  std::vector<ecc::Completion> run(std::vector<Descriptor> jobs) {
    for (Descriptor& d : jobs) d.tag = tag_++;
    std::vector<ecc::Completion> answers = through_the_rings(jobs);
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      static const std::array<const char*, 8> kNames{"nop",    "generate", "ecka",  "sign",
                                                     "verify", "check",    "erase", "import"};
      ++jobs_[kNames.at(jobs[i].opcode)];
      if (answers[i].tag != jobs[i].tag) throw Mismatch("the core answered another job");
      const auto op = static_cast<Opcode>(jobs[i].opcode);
      if (op == Opcode::erase) expect(answers[i], JobStatus::ok);
    }
    return answers;
  }
  std::vector<ecc::Completion> through_the_rings(std::span<const Descriptor> jobs) {
    std::vector<ecc::Completion> answers(jobs.size());
    if (device_->submit(jobs) != jobs.size()) throw Mismatch("the ring has no room for a case");
    const std::uint64_t limit = board_->cycles() + kPatience;
    for (std::size_t got = 0; got < answers.size();) {
      device_->transport().pause();
      got += device_->poll(std::span(answers).subspan(got));
      if (board_->cycles() > limit) throw Mismatch("the simulated core does not answer");
    }
    return answers;
  }
  bool by_software(const ecc::Completion& c) {
    if (static_cast<JobStatus>(c.status) != JobStatus::exception) return false;
    same("what stands beside an exception", pair_of(c), Signature{});
    ++exceptions_;
    return true;
  }
  static Signature pair_of(const ecc::Completion& c) {
    Signature s{};
    std::ranges::copy(ecc::big_endian(c.x), s.begin());
    std::ranges::copy(ecc::big_endian(c.y), s.begin() + 32);
    return s;
  }
  static void expect(const ecc::Completion& c, JobStatus want) {
    if (static_cast<JobStatus>(c.status) != want)
      throw Mismatch("the core answers " + std::string(to_string(static_cast<JobStatus>(c.status))));
  }
  // ok: true; one of the two refusals: false; anything else is a mismatch.
  static bool one_of(const ecc::Completion& c, JobStatus a, JobStatus b) {
    const auto s = static_cast<JobStatus>(c.status);
    if (s == a || s == b) return false;
    expect(c, JobStatus::ok);
    return true;
  }

  std::unique_ptr<ecc::Board> board_;
  std::unique_ptr<ecc::Device> device_;
  std::uint64_t tag_ = 0, exceptions_ = 0, zero_secrets_ = 0;
  std::map<std::string, std::uint64_t> jobs_;
};
}  // namespace

Result<std::unique_ptr<VectorEngine>> core_backend() {
  ecc::BoardOptions o;
  o.test_build = true;
  o.seed = 1;
  KF_TRY(auto board, ecc::Board::make(o));
  ecc::DeviceOptions device_options;
  device_options.batch_timeout = 1;  // cases come one at a time
  device_options.allow_test_build = true;
  KF_TRY(auto device, ecc::Device::open(std::make_unique<ecc::BoardTransport>(*board), device_options));
  return std::unique_ptr<VectorEngine>(std::make_unique<Core>(std::move(board), std::move(device)));
}
}  // namespace kf::vectors
