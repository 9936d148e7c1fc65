// Messages to Operators: callbacks with outcomes and notifications. Stored before they are sent, deleted when the
// receiver took them, repeated with growing pauses. What the receiver refuses (4xx), and what it did not take for as
// long as limits say, is kept in the store for a poll of the same party until retention; polled messages wait for
// MakeConnection. Ages count from when this process took a message up. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>

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
  struct Message {
    store::DeliveryRow row;
    std::chrono::steady_clock::time_point since;
  };
  using MessagePtr = std::shared_ptr<Message>;
  struct Lane {  // one receiver (host and port): its connections and its queue
    std::unique_ptr<net::HttpClient> client;
    std::deque<MessagePtr> queue;
    std::size_t sending = 0, resting = 0, limit = 16;
    std::chrono::steady_clock::time_point used;
  };
  void pump(Lane& l);
  asio::awaitable<void> send(Lane& l, MessagePtr m);
  void keep(const Message& m, const std::string& why, std::int64_t age_s);
  void again(Lane& l, const MessagePtr& m);
  void drop_idle_lanes();

  asio::io_context& io_;
  const Config& config_;
  Storage& storage_;
  Metrics& metrics_;
  static constexpr std::size_t kIdleLanes = 64;  // beyond that a lane goes as soon as it is idle
  static constexpr std::chrono::seconds kIdleLane{60};
  std::map<std::string, Lane> lanes_;
  bool stopped_ = false;
};

}  // namespace kf::server
