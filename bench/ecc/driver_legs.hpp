// Jobs of the core through the driver: Devices on simulated cores, all driven by the calling thread, which sleeps on
// their interrupts. Answers are judged with OpenSSL after each measured window.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "bench/ecc/tap.hpp"
#include "bench/ecc/work.hpp"
#include "bench/report/ecc_path_report.hpp"

namespace kf::bench {

class DriverLegs {
 public:
  // `cores` of them, each past its self-test. Reasons: those of SimTransport and Device. Keep to this thread: the
  // simulators die with it.
  static Result<std::unique_ptr<DriverLegs>> start(unsigned cores, std::uint64_t seed);

  struct Plan {
    std::string_view operation;  // of kEccOperations
    Curve curve = Curve::p256;
    unsigned cores = 1, depth = 1;
    bool in_turn = false;
    double seconds = 1;  // of measured windows, about
  };
  // `tell` is called now and then with a word about progress. Reasons: device-gone, device-stuck, core-reset, silence
  // (a core answers no more).
  Result<PathRow> run(const Plan& p, const std::function<void(const std::string&)>& tell);

  [[nodiscard]] PathCore facts() const;
  [[nodiscard]] double sim_cpu_s() const;    // of all simulators
  void account(EccPathReport& r) const;      // answers, wrong, lost, faults
  static constexpr unsigned kDeepest = 256;  // in flight, a core: half the key slots

 private:
  struct Core {
    std::unique_ptr<TapControl> tap;
    std::unique_ptr<ecc::Device> device;
    std::map<Curve, EccWork> work;
    double start_s = 0;
  };
  struct Lane;
  struct Sums;
  using Seconds = std::chrono::duration<double>;
  DriverLegs() = default;
  // Both answer every job of the lanes. With `sums`, a window of that length is measured, from the first full batch on.
  Status drive(std::vector<Lane>& lanes, const Plan& p, Seconds window, Sums* sums);
  Status round(std::vector<Lane>& lanes, const Plan& p, Seconds window, Sums* sums);

  std::vector<Core> cores_;
  std::uint64_t lost_ = 0;
};

}  // namespace kf::bench
