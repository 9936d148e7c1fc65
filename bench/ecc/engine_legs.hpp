// Requests through the engine of the server: CoreEngine on simulated cores, asked by the calling thread, which sleeps
// on its event. Answers are judged with OpenSSL after each leg.
#pragma once

#include <functional>
#include <vector>

#include "bench/ecc/tap.hpp"
#include "bench/load/player.hpp"
#include "bench/report/ecc_path_report.hpp"
#include "drivers/engine/core_engine.hpp"

namespace kf::bench {

class EngineLegs {
 public:
  // An engine with `cores` cores, all past their self-test. Reasons: those of CoreEngine.
  static Result<std::unique_ptr<EngineLegs>> start(unsigned cores);

  struct Plan {
    Work work = Work::ecka;  // ecka (an ephemeral_ecka: two jobs of the core), verify
    std::size_t curve = 0;   // index in the material
    unsigned depth = 1;      // in flight, a core
    bool in_turn = false;
    double seconds = 1;
  };
  // Errors: silence (no answer for a minute).
  Result<PathRow> run(const Plan& p, const Material& m, std::uint64_t& serial,
                      const std::function<void(const std::string&)>& tell);

  [[nodiscard]] double sim_cpu_s() const;
  [[nodiscard]] const Tally& tally() const { return total_; }
  [[nodiscard]] std::uint64_t faults() const;
  [[nodiscard]] PathCore facts() const { return facts_; }

 private:
  EngineLegs() = default;
  std::vector<std::unique_ptr<TapControl>> taps_;  // before the engine, which holds on to them
  PathCore facts_;                                 // of the first core, as it was opened
  std::unique_ptr<ecc::CoreEngine> engine_;
  Tally total_;
};

}  // namespace kf::bench
