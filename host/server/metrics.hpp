// What the server counts about itself. Owned and written by the loop thread; `keyferry status` and the burst report
// read it as JSON through the admin socket.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "host/base/histogram.hpp"

namespace kf::server {

nlohmann::json histogram_json(const Histogram& h);

class Stopwatch {  // adds the elapsed time of a scope to a counter of nanoseconds
 public:
  explicit Stopwatch(std::uint64_t& ns) : ns_(ns), t0_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() {
    ns_ += static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - t0_).count());
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  std::uint64_t& ns_;
  std::chrono::steady_clock::time_point t0_;
};

struct Metrics {
  // downloads
  std::uint64_t accepted = 0, completed = 0, with_warning = 0, failed = 0, expired = 0, taken_up = 0, left_behind = 0;
  // Given up: with an alarm, at most one a card and hour.
  std::uint64_t follow_ups_begun = 0, follow_ups_clean = 0, follow_ups_given_up = 0;
  std::size_t follow_ups = 0, uncertain = 0;  // running now; ICCIDs in that state, as far as this process knows
  std::uint64_t set_aside = 0;                // records that wait for a person
  std::vector<std::string> set_aside_names;   // the first of them
  std::size_t in_flight = 0, peak_in_flight = 0, waiting = 0;
  Histogram download_ms;
  std::map<std::string, std::uint64_t> failures;  // "8.4/6.1" -> count
  // messages
  std::uint64_t es2_requests = 0, es3_calls = 0, es3_callbacks = 0, notifications_in = 0, faults_sent = 0, refused = 0;
  std::uint64_t callbacks_dropped = 0, deliveries = 0, delivery_retries = 0, deliveries_kept = 0, alarms = 0;
  std::uint64_t notifications_lost = 0;  // given up: refused for good, or too old
  std::uint64_t put_off = 0;             // requests answered 503
  std::uint64_t exceptions = 0;          // that a handler let out; each also an alarm
  // where loop time goes, nanoseconds of wall time spent inside
  std::uint64_t soap_ns = 0, machine_ns = 0;
  // the store, as last looked at (upkeep.hpp)
  std::string store_trouble;  // empty: it can be written
  std::uint64_t store_free_bytes = 0;
  std::set<std::string> unknown_elements;  // "OID element", logged when first seen (docs/spec/interfaces.md 10.18)
};

// One log line per party and element that we do not know and ignore.
void note_unknown_elements(Metrics& m, const std::string& oid, const std::vector<std::string>& elements);

void note_set_aside(Metrics& m, const std::string& what);

}  // namespace kf::server
