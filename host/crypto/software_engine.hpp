// The software EccEngine: OpenSSL on a bounded pool of threads. Carries `verify` always and `ephemeral_ecka` in hybrid
// custody; `sign` only when test keys were given (never in the product).
#pragma once

#include <memory>

#include "host/crypto/engine.hpp"

namespace kf {

struct SoftwareEngineOptions {
  unsigned threads = 2;
  std::size_t queue_limit = 4096;  // accepted and not yet polled
};

class SoftwareEngine final : public EccEngine {
 public:
  explicit SoftwareEngine(SoftwareEngineOptions o = {});
  ~SoftwareEngine() override;
  std::string_view name() const noexcept override { return "software"; }
  std::size_t submit(std::span<const EccRequest> requests) noexcept override;
  std::size_t poll(std::span<EccCompletion> out) noexcept override;
  int event_fd() const noexcept override;
  void add_test_identity(Curve c, ByteView d32);  // vector runs and tests

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One request done at once on the calling thread: the software engine's inner step and the crypto floor's yardstick.
EccCompletion software_execute(const EccRequest& r);

}  // namespace kf
