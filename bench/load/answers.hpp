// What is asked of an engine, made so that every answer can be judged: hashes and peer keys follow from the request's
// number, the peers' private keys are known here. Of the signatures to be verified one in eight is wrong. Judged with
// OpenSSL, never with the engine.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "host/crypto/ec.hpp"
#include "host/crypto/engine.hpp"

namespace kf::bench {

// Immutable; any thread.
class Material {
 public:
  explicit Material(const std::vector<std::pair<Curve, Point>>& identity_keys);  // their public keys; for sign only
  [[nodiscard]] std::size_t curves() const { return on_.size(); }
  [[nodiscard]] Curve curve(std::size_t i) const { return on_[i].curve; }
  [[nodiscard]] EccRequest request(std::uint64_t id, EccOp op, std::size_t curve) const;

  struct Answer {
    std::uint64_t id = 0;
    EccOp op = EccOp::sign;
    EccStatus status = EccStatus::ok;
    std::size_t curve = 0;  // index
    Signature signature{};
    Point epk{};
    SecretArray<32> shs;
  };
  [[nodiscard]] bool right(const Answer& a) const;

 private:
  static constexpr std::size_t kPeers = 64;
  struct Signed {  // by the peer of the same number
    Digest32 hash{};
    Signature signature{};
    bool good = true;
  };
  struct OnCurve {
    Curve curve = Curve::p256;
    Point identity{};
    std::vector<KeyPair> peers;
    std::vector<Signed> to_verify;
  };
  [[nodiscard]] Digest32 hash(std::uint64_t id) const;
  static std::size_t peer_of(std::uint64_t id) { return (id ^ (id >> 17)) % kPeers; }
  Digest32 base_{};
  std::vector<OnCurve> on_;
};

struct Tally {
  std::uint64_t operations = 0;     // completed, whatever the status
  std::uint64_t checked = 0;        // of these judged
  std::uint64_t wrong = 0;          // judged and not right; completions nobody asked for
  std::uint64_t failed = 0;         // completed without a result
  std::uint64_t lost = 0;           // accepted and never completed
  std::uint64_t repeated_keys = 0;  // an ephemeral public key that was there before
  std::map<std::string, std::uint64_t> failures;
  void add(const Tally& o);
};

// Judges answers: at once in judge(), or on a thread of its own from start() to finish(), with a bounded queue.
class Judge {
 public:
  // `expected` answers in all: memory is taken now, not while something is measured.
  Judge(const Material& m, std::size_t expected);
  ~Judge();
  Judge(const Judge&) = delete;
  Judge& operator=(const Judge&) = delete;

  void start();                    // the thread
  void put(Material::Answer&& a);  // with the thread: waits while its queue is full; else kept for finish()
  void finish(Tally& t);           // everything judged and counted; keys compared with each other

 private:
  static constexpr std::size_t kQueue = 4096;
  void work();
  void judge(const Material::Answer& a);
  const Material& material_;
  std::vector<Material::Answer> kept_;  // waiting; with the thread never more than kQueue
  std::vector<std::uint64_t> keys_;     // eight octets of each ephemeral public key
  std::uint64_t checked_ = 0, wrong_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace kf::bench
