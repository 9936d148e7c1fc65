// What the server does for its store while it runs: looks whether it can be written, and forgets what is old, in small
// steps. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <chrono>

#include "host/server/metrics.hpp"
#include "host/server/settings.hpp"
#include "host/server/storage.hpp"

namespace kf::server {

struct UpkeepPace {
  std::chrono::milliseconds look{2'000};        // between two looks at the store
  std::chrono::milliseconds first{60'000};      // from the start to the first walk through old rows
  std::chrono::milliseconds every{600'000};     // between two walks
  std::chrono::milliseconds between{50};        // between two steps of a walk
  std::chrono::milliseconds doubt{86'400'000};  // to the first walk where the clock may have been set
  std::int64_t rows = 500;                      // a step
};

class Upkeep {
 public:
  Upkeep(asio::io_context& io, const Settings& c, Storage& s, Metrics& m, const UpkeepPace& pace = {})
      : config_(c), storage_(s), metrics_(m), pace_(pace), look_(io), forget_(io) {}
  // `seen_ms`: the clock when the old process last forgot (meta, kSeen); 0: never. Where it has moved by more than a
  // day since, it may have been set: nothing is forgotten before this process has run for a day.
  void start(std::int64_t seen_ms);
  void stop();
  static constexpr const char* kSeen = "seen_ms";

 private:
  void look();
  void looked(const Status& s);
  void forget_in(std::chrono::milliseconds pause);
  void forget();

  const Settings& config_;
  Storage& storage_;
  Metrics& metrics_;
  UpkeepPace pace_;
  asio::steady_timer look_, forget_;
  store::ForgetCursor at_;
  std::int64_t forgotten_ = 0;
  std::uint64_t failed_seen_ = 0;
  bool stopped_ = false;
};

}  // namespace kf::server
