// Messages to Operators: callbacks with outcomes and notifications. Stored before they are sent, deleted when the
// receiver took them, repeated with growing pauses until limits say stop; polled messages wait for MakeConnection. Loop
// thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <deque>
#include <map>
#include <memory>

#include "host/server/config.hpp"
#include "host/server/metrics.hpp"
#include "host/server/storage.hpp"

namespace kf::server {

class DeliveryService {
 public:
  DeliveryService(asio::io_context& io, const Config& c, Storage& s, Metrics& m)
      : io_(io), config_(c), storage_(s), metrics_(m) {}
  void load(std::vector<store::DeliveryRow> rows);  // at start: what the old process left
  void add(store::DeliveryRow row);                 // committed; kind poll is left to MakeConnection
  void stop();
  [[nodiscard]] std::size_t waiting() const;

 private:
  struct Lane {  // one receiver (host and port): its connections and its queue
    std::unique_ptr<net::HttpClient> client;
    std::deque<store::DeliveryRow> queue;
    std::size_t sending = 0, limit = 16;
    std::size_t open = 0;  // messages in some coroutine's hands, those that wait to be tried again included
    std::chrono::steady_clock::time_point used;
  };
  static constexpr std::size_t max_idle_lanes = 64;
  static constexpr std::chrono::seconds idle_lane{60};
  void drop_idle_lanes();
  void pump(Lane& l);
  asio::awaitable<void> send(Lane& l, store::DeliveryRow row);

  asio::io_context& io_;
  const Config& config_;
  Storage& storage_;
  Metrics& metrics_;
  std::map<std::string, Lane> lanes_;
  bool stopped_ = false;
};

}  // namespace kf::server
