#include "bench/burst/floor.hpp"

#include <poll.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "bench/process/child.hpp"
#include "bench/process/usage.hpp"
#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "host/crypto/software_engine.hpp"
#include "host/es8/scp03t.hpp"
#include "hsm/engine/hsm_engine.hpp"

namespace kf::bench {
namespace {

constexpr std::size_t kBatch = 64;
constexpr std::size_t kTbsBytes = 160;  // what the signature of a CERT.ECASD.ECKA covers, about

// Mean CPU seconds of this thread; a few unmeasured rounds first.
template <class F>
double mean_cpu(unsigned repetitions, F&& f) {
  for (unsigned i = 0; i < std::max(4U, repetitions / 16); ++i) f();
  const double t0 = proc::thread_cpu_seconds();
  for (unsigned i = 0; i < repetitions; ++i) f();
  return (proc::thread_cpu_seconds() - t0) / repetitions;
}

// The token through a worker process of its own, whose CPU time is the measure: submits `batch` at a time, waits for
// all.
class TokenMeter {
 public:
  static Result<TokenMeter> start(const server::Config& c) {
    hsm::HsmConfig token = c.hsm;
    token.tokens.front().workers = 1;
    TokenMeter m;
    KF_TRY(m.engine_, hsm::HsmEngine::start(token));
    const auto pids = m.engine_->worker_pids();
    if (pids.size() != 1) return Error{"floor", "the HSM worker is not there"};
    m.worker_ = pids[0];
    return m;
  }
  Result<double> mean_cpu(const EccRequest& what, unsigned repetitions, std::size_t batch) {
    KF_CHECK(run(what, std::max(16U, repetitions / 16), batch));
    KF_TRY(const double t0, proc::cpu_seconds(worker_));
    KF_CHECK(run(what, repetitions, batch));
    KF_TRY(const double t1, proc::cpu_seconds(worker_));
    return (t1 - t0) / repetitions;
  }

 private:
  TokenMeter() = default;
  Status run(const EccRequest& what, unsigned repetitions, std::size_t batch) {
    const std::vector<EccRequest> span(batch, what);
    for (std::size_t left = repetitions; left > 0;) {
      const std::size_t now = std::min(left, batch);
      if (engine_->submit(std::span(span).first(now)) != now) return Error{"floor", "the HSM engine took no work"};
      for (std::size_t got = 0; got < now;) {
        std::array<EccCompletion, kBatch> done;
        const std::size_t n = engine_->poll(done);
        for (std::size_t i = 0; i < n; ++i)
          if (done.at(i).status != EccStatus::ok)
            return Error{"floor", "the token: " + std::string(to_string(done.at(i).status))};
        got += n;
        if (proc::interrupted()) return Error{"interrupted", "interrupted"};
        if (n == 0) {
          pollfd p{engine_->event_fd(), POLLIN, 0};
          ::poll(&p, 1, 100);
        }
      }
      left -= now;
    }
    return {};
  }
  std::unique_ptr<hsm::HsmEngine> engine_;
  int worker_ = 0;
};

// Who did an operation: each engine's part of it, and the names for the report ("core 75 %, hsm 25 %").
struct Parts {
  std::map<std::string, double> of;
  std::string names;
  Parts(const Json& operations, const char* op) {
    const Json counts = operations.value(op, Json::object());
    double all = 0;
    for (const auto& n : counts) all += n.get<double>();
    for (const auto& [engine, n] : counts.items()) {
      of[engine] = n.get<double>() / all;
      names += names.empty() ? "" : ", ";
      names += counts.size() == 1 ? engine : fmt::format("{} {:.0f} %", engine, 100 * of[engine]);
    }
  }
  [[nodiscard]] double operator[](const char* engine) const {
    const auto it = of.find(engine);
    return it == of.end() ? 0 : it->second;
  }
};

}  // namespace

Result<CryptoFloor> measure_floor(const server::Config& c, Curve curve, const Bytes& package, unsigned repetitions,
                                  const Json& operations) {
  CryptoFloor f;
  f.repetitions = repetitions;
  const KeyPair card = generate_key_pair(curve);
  const Bytes tbs = random_bytes(kTbsBytes);

  EccRequest verify;
  verify.op = EccOp::verify;
  verify.curve = curve;
  verify.peer = card.q;
  verify.hash = sha256(tbs);
  verify.signature = ecdsa_sign(curve, card.d.expose(), verify.hash);
  bool good = true;
  const Parts verifying(operations, "verify");
  f.verify_engine = verifying.names;
  f.verify_s = verifying["software"] * mean_cpu(repetitions, [&] {
                 verify.hash = sha256(tbs);
                 good = good && software_execute(verify).status == EccStatus::ok;
               });

  KF_TRY(auto token, TokenMeter::start(c));
  EccRequest sign;
  sign.op = EccOp::sign;
  sign.curve = curve;
  sign.hash = verify.hash;
  f.sign_engine = "hsm";
  KF_TRY(f.sign_s, token.mean_cpu(sign, repetitions, kBatch));
  KF_TRY(f.sign_single_s, token.mean_cpu(sign, repetitions, 1));

  EccRequest ephemeral;
  ephemeral.op = EccOp::ephemeral_ecka;
  ephemeral.curve = curve;
  ephemeral.peer = card.q;
  const Parts agreeing(operations, "ephemeral");
  f.ephemeral_engine = agreeing.names;
  if (agreeing["hsm"] > 0) {
    KF_TRY(const double in_batches, token.mean_cpu(ephemeral, repetitions, kBatch));
    f.ephemeral_s += agreeing["hsm"] * in_batches;
    KF_TRY(f.ephemeral_single_s, token.mean_cpu(ephemeral, repetitions, 1));
  }
  if (agreeing["software"] > 0) {
    f.ephemeral_s += agreeing["software"] *
                     mean_cpu(repetitions, [&] { good = good && software_execute(ephemeral).status == EccStatus::ok; });
  }

  const Bytes crt = es8::control_reference_template(c.plan);
  const SecretBytes shs(ByteView(random_bytes(32)));
  es8::KeyAnswer answer;
  if (c.plan.with_dr()) answer.dr = random_bytes(16);
  answer.receipt = random_bytes(16);
  f.kdf_s = mean_cpu(repetitions, [&] {
    const es8::DerivedKeys k = es8::derive_keys(shs.expose(), c.plan, answer.dr);
    good = good && !es8::receipt_matches(k, crt, answer);  // a random receipt is wrong; the work is the same
  });

  const es8::DerivedKeys keys = es8::derive_keys(shs.expose(), c.plan, answer.dr);
  const Aid isd_p = Aid::of("A0000005591010FFFFFFFF8900001000");
  es8::Challenge hc{};
  random_fill(hc);
  f.seal_s = mean_cpu(repetitions, [&] {
    const es8::SealedScript s = es8::seal_offline(keys.keys, isd_p, hc, {0, 0, 1}, package);
    good = good && s.tlvs.size() > s.first_segment();
  });
  if (!good) return Error{"floor", "an operation of the crypto floor gave a wrong result"};
  f.method = "Measured in the same run, after the burst, on the same machine: the mean CPU time of " +
             std::to_string(repetitions) +
             " repetitions of each part alone. Software parts run on one thread and count its CPU time. Parts on the "
             "token run in one HSM worker "
             "process, 64 operations a message so that the way there is shared by many, and count that process's CPU "
             "time. The chain check is one "
             "ECDSA verification with its hash: the EUM certificate's own check is made once a day.";
  return f;
}

}  // namespace kf::bench
