// Bare PKCS#11 calls in processes of their own: the ceiling. One thread, the one that started them.
#pragma once

#include <memory>
#include <vector>

#include "bench/load/player.hpp"
#include "bench/report/hsm_report.hpp"
#include "hsm/direct/direct.hpp"

namespace kf::bench {

class DirectLegs {
 public:
  // Reasons: those of DirectClient::start.
  static Result<DirectLegs> start(const hsm::HsmConfig& c, unsigned processes);

  // Each mechanism alone in one process. Also decides how the legs sign: with a copy of the key in a session object
  // where the module permits that and it is not slower.
  Result<std::vector<DirectRow>> mechanisms(const std::vector<Curve>& curves, double seconds);
  [[nodiscard]] const std::string& signs_with() const { return signs_with_; }

  struct Rate {
    double per_s = 0;
    double other_cpus = 0;  // kept busy by other programs meanwhile
    std::uint64_t done = 0, failed = 0;
    double cpu_s = 0;
    std::string first_error;
  };
  // Reasons: those of DirectClient.
  Result<Rate> run(Work w, Curve c, unsigned processes, double seconds);
  [[nodiscard]] unsigned processes() const { return static_cast<unsigned>(clients_.size()); }

 private:
  std::vector<std::unique_ptr<hsm::DirectClient>> clients_;
  std::vector<unsigned> threads_;  // of each client
  hsm::DirectKind sign_ = hsm::DirectKind::sign;
  std::string signs_with_ = "the key in the token";
};

}  // namespace kf::bench
