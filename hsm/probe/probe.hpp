// `keyferry probe`: what a PKCS#11 module can do, learnt by trying it in worker processes that it may crash or hang.
//
// Every step is a call to a worker of its own (hsm/worker/probe_steps.hpp); a worker that is lost costs that step and
// is started again. At most one refused login: after it nothing is tried that needs one. Blocking, one thread.
#pragma once

#include <functional>

#include "hsm/probe/probe_report.hpp"

namespace kf::hsm {

struct ProbeOptions {
  std::string worker_path;  // empty: what came with this executable
  TokenConfig token;        // module_path is a must; no token_uri: the only initialised one; no PIN: survey only
  std::vector<std::string> identity;  // labels or RFC 7512 URIs of identity keys
  double seconds = 1;                 // of each measurement; 0: nothing is measured
  unsigned max_threads = 8;
  unsigned max_processes = 0;  // 0: twice the cores
  std::chrono::milliseconds start_limit{20'000};
  std::chrono::milliseconds step_limit{10'000};
  const std::atomic<bool>* stop = nullptr;  // may be set by a signal handler
};
using ProbeProgress = std::function<void(const std::string& what)>;

// Reasons: hsm-worker, hsm-module (the module cannot be loaded), hsm-worker-lost (it crashes while it is loaded or
// asked for its slots), interrupted.
Result<ProbeReport> probe(const ProbeOptions& o, const ProbeProgress& progress);

}  // namespace kf::hsm
