// A load of download sets on one engine: one signature and one ephemeral_ecka each, every answer checked with OpenSSL.
//
// Closed loop (so many jobs in flight) or open loop (so many jobs a second, whatever the engine does: a job's latency
// counts from the moment at which it was due). One thread, the engine's own.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <vector>

#include "host/base/histogram.hpp"
#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm::testing {

struct LoadPlan {
  std::size_t in_flight = 64;  // closed loop
  double jobs_per_second = 0;  // > 0: open loop
  Curve curve = Curve::p256;
  bool signs = true;
  bool eckas = true;
  std::chrono::milliseconds deadline{0};  // of each job, from its submission; 0: the engine's limit
  bool check = true;                      // every answer with OpenSSL (costs about 140 us of CPU a set)
  bool keep_samples = true;               // long runs without latencies need no memory for them
};

class Load {
 public:
  using Clock = std::chrono::steady_clock;
  struct Sample {
    Clock::time_point due, done;
    EccOp op = EccOp::sign;
    EccStatus status = EccStatus::failed;
    [[nodiscard]] double ms() const { return std::chrono::duration<double, std::milli>(done - due).count(); }
  };

  Load(HsmEngine& e, const LoadPlan& plan);
  // Both wait for what is in flight at the end, at most `patience`.
  void run_for(std::chrono::milliseconds t, const std::function<void()>& each_turn = {});
  void run_jobs(std::uint64_t n, const std::function<void()>& each_turn = {});

  [[nodiscard]] std::uint64_t submitted() const { return next_id_ - 1; }
  [[nodiscard]] std::uint64_t ok() const { return of(EccStatus::ok); }
  [[nodiscard]] std::uint64_t of(EccStatus s) const { return by_status_[static_cast<std::size_t>(s)]; }
  [[nodiscard]] std::uint64_t wrong() const { return wrong_; }  // ok and not right, or answered twice, or never asked
  [[nodiscard]] std::uint64_t unanswered() const { return in_flight_; }
  [[nodiscard]] std::uint64_t leading_zeros() const { return leading_zeros_; }  // signatures with one in r or in s
  [[nodiscard]] const std::vector<Sample>& samples() const { return samples_; }
  // Everything asked was answered, well and once.
  void expect_perfect() const;

  std::chrono::seconds patience{30};

 private:
  struct Open {
    bool open = false;
    EccRequest request;
    std::size_t peer = 0;
    Clock::time_point due;
  };
  struct Peer {
    SecretArray<32> d;
    Point q{};
  };
  EccRequest make(std::uint64_t id, Clock::time_point due);
  void turn(bool more, Clock::time_point begun, std::uint64_t limit);
  void take(const EccCompletion& c, Clock::time_point now);
  [[nodiscard]] bool right(const Open& o, const EccCompletion& c);
  void finish();

  HsmEngine& engine_;
  const LoadPlan plan_;
  Point own_{};
  std::array<Peer, 16> peers_;
  std::vector<Open> open_;
  std::vector<EccRequest> waiting_;  // not yet accepted
  std::uint64_t next_id_ = 1;
  std::uint64_t in_flight_ = 0, wrong_ = 0, leading_zeros_ = 0;
  std::array<std::uint64_t, 8> by_status_{};
  std::vector<Sample> samples_;
  std::vector<EccCompletion> some_{128};
};

// p in 0..100 of the latencies of samples that were due in [from, until), in ms; 0 when there are none.
double percentile_ms(const std::vector<Load::Sample>& s, double p, Load::Clock::time_point from,
                     Load::Clock::time_point until);

}  // namespace kf::hsm::testing
