// Direct PKCS#11 calls in worker processes with no engine around them: the ceiling that the engine is measured against,
// and the probe's hands. Blocking, one thread per client; the client must not outlive the thread that started it.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "hsm/engine/hsm_engine.hpp"

namespace kf::hsm {

enum class DirectKind : std::uint32_t {
  sign = 1,        // CKM_ECDSA with the identity key object in the token
  sign_with_copy,  // the same with a copy of the key in a session object, where the module permits that
  ecka,            // ephemeral pair, read point, derive, read value, destroy all
  set,             // a download set: ecka and sign_with_copy (sign where no copy is permitted)
  verify,
};

struct DirectRun {
  DirectKind kind = DirectKind::set;
  Curve curve = Curve::p256;
  unsigned threads = 1;  // each with a session of its own
  unsigned milliseconds = 1000;
};
struct DirectRate {
  std::uint64_t done = 0;
  std::uint64_t failed = 0;
  double seconds = 0;                         // wall, first call to last return
  double cpu_seconds = 0;                     // of the process
  double p50_us = 0, p95_us = 0, p99_us = 0;  // of one operation
  std::string first_error;                    // "C_SignInit: CKR_..." when something failed
};

class DirectClient {
 public:
  // Starts one worker in mode `probe`. With `log_in` false neither PIN nor token are needed. Reasons: hsm-worker,
  // hsm-module, hsm-token, hsm-pin; hsm-worker-lost and hsm-worker as for step(). Once `*stop` is true (a signal
  // handler may set it) every wait of this client ends within 0.2 s with the reason `interrupted`; it must outlive the
  // client.
  static Result<std::unique_ptr<DirectClient>> start(const HsmConfig& c, const TokenConfig& t, bool log_in = true,
                                                     const std::atomic<bool>* stop = nullptr);
  ~DirectClient();
  DirectClient(const DirectClient&) = delete;
  DirectClient& operator=(const DirectClient&) = delete;

  // One measurement; begin() returns at once, so that several processes run at the same time; finish() waits for it.
  // Signs with HsmConfig.identity_keys of the curve, with a session key pair when there is none. Reasons: hsm-key (not
  // found; sign_with_copy: no copy permitted), hsm-token (no session, no ECDH ...), hsm-call, and those of step().
  Status begin(const DirectRun& r);
  Result<DirectRate> finish();
  Result<DirectRate> measure(const DirectRun& r);

  // One step of the probe; JSON text. Reasons: hsm-worker-lost (the module crashed the worker; the detail names signal
  // or exit status), hsm-worker (no answer within `limit`: the worker is killed), hsm-call.
  Result<std::string> step(const std::string& name, const std::string& arguments, std::chrono::milliseconds limit);
  // Hangs up and waits for the end of the process, which finalises the module. Reasons: hsm-worker-lost (it crashed on
  // its way out), hsm-worker (it hung and was killed). Without this the destructor does the same silently.
  Status end();
  [[nodiscard]] int pid() const;

 private:
  DirectClient();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kf::hsm
