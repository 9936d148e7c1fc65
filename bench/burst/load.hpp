// The Operator of a burst: keeps a number of orders in flight until all have an outcome. Own io_context, calling
// thread.
#pragma once

#include <string>
#include <vector>

#include "bench/burst/subscriptions.hpp"
#include "bench/world/world.hpp"

namespace kf::bench {

struct LoadOptions {
  std::size_t concurrency = 64;
  std::string pattern = "callback";  // sync, callback, polling
  bool enable = false;
  unsigned timeout_s = 900;
};

struct OrderResult {
  bool answered = false, succeeded = false, warning = false;
  double sent_s = 0, done_s = 0;  // from the start of the load
  std::string code;               // "EXECUTED_SUCCESS", "FAILED 8.1.1/1.1", "fault ...", "error net-timeout"
  bool by_equipment = false;      // it failed at the bench or the simulators; the SM-DP did its part
};
struct LoadResult {
  std::vector<OrderResult> orders;  // as the subscriptions; those never sent are not answered
  std::size_t sent = 0;
  double wall_s = 0;  // first order sent to last outcome
  bool interrupted = false;
  std::string trouble;  // a process died: which, and the last line of its log
  std::uint64_t notifications = 0;
};
// Shows a progress line (a terminal), or a line now and then. Reasons: net-bind, net-tls-files, bad-url.
Result<LoadResult> run_load(World& w, const std::vector<Subscription>& subscriptions, const LoadOptions& o);

}  // namespace kf::bench
