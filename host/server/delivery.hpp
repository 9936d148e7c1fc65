// Messages to Operators: callbacks with outcomes and notifications. Stored before they are sent, deleted when the
// receiver took them, repeated with growing pauses. What the receiver refuses (4xx; a notification: what it
// finds wrong with it), and what it did not take for as
// long as limits say, is kept in the store for a poll of the same party until retention; polled messages wait for
// MakeConnection. Ages count from when this process took a message up.
//
// A receiver that cannot be connected to, or leaves several messages in a row without an answer, rests with all that
// waits for it, for longer and longer; one message at a time finds out whether it is back. At one receiver outcomes go
// first; notifications have at most half of its connections, and each SM-SR that causes them has its turn among the
// others. What waits is in the store: memory holds a few words of each message, and the bodies of the newest as long as
// there is room. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <list>
#include <map>
#include <memory>
#include <unordered_map>

#include "host/net/http.hpp"
#include "host/server/message_book.hpp"
#include "host/server/metrics.hpp"
#include "host/server/settings.hpp"

namespace kf::server {

class DeliveryService {
 public:
  DeliveryService(asio::io_context& io, const Settings& c, MessageBook& b, Metrics& m)
      : io_(io), config_(c), book_(b), metrics_(m) {}
  void load(std::vector<store::DeliveryRow> rows);  // at start: what the old process left
  // Committed. Kind poll is left to MakeConnection; what the row replaces is not sent any more.
  void add(store::DeliveryRow row);
  void stop();
  [[nodiscard]] std::size_t waiting() const;
  [[nodiscard]] std::size_t octets() const { return octets_; }  // of bodies in memory, those that are being sent aside

  static constexpr std::size_t kMostOctets = 16 << 20;

 private:
  struct Lane;
  struct Message;
  using MessagePtr = std::shared_ptr<Message>;
  using Queue = std::list<MessagePtr>;
  enum class Where { queue, sending, resting, gone };
  struct Message {
    Message(asio::io_context& io, store::DeliveryRow r) : row(std::move(r)), pause(io) {}
    store::DeliveryRow row;  // without its body unless there is room
    std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
    asio::steady_timer pause;
    Lane* lane = nullptr;
    Where where = Where::gone;
    Queue::iterator at;
  };
  struct Lane {  // one receiver (host and port): its connections and its queues
    std::unique_ptr<net::HttpClient> client;
    Queue outcomes;
    std::map<std::string, Queue> news;  // notifications, by the SM-SR that caused them
    std::string last_source;
    std::size_t sending = 0, sending_news = 0, resting = 0, limit = 16, outcomes_in_a_row = 0;
    unsigned failures = 0;  // since it was last there: attempts after which it rested
    unsigned silent = 0;    // messages in a row that got no answer in time
    bool rests = false;
    std::unique_ptr<asio::steady_timer> rest;
    std::chrono::steady_clock::time_point used, rested;  // rested: since when, if it rests
    [[nodiscard]] std::size_t queued() const;
  };
  static bool is_news(const Message& m) { return m.row.kind == store::DeliveryKind::notification; }
  void enqueue(Lane& l, const MessagePtr& m, bool in_front = false);
  static MessagePtr next(Lane& l);
  void withdraw(std::int64_t id);
  void pump(Lane& l);
  asio::awaitable<void> send(Lane& l, MessagePtr m);
  asio::awaitable<Result<net::Response>> post(Lane& l, MessagePtr m);
  [[nodiscard]] static bool refused_for_good(const Message& m, unsigned status);
  void keep(const MessagePtr& m, const std::string& why, std::int64_t age_s);
  void again(Lane& l, const MessagePtr& m);
  void unreachable(Lane& l, const MessagePtr& m, const std::string& why, bool in_front);
  void give_up_old(Lane& l, const std::string& why);
  [[nodiscard]] bool too_old(const Message& m) const { return age_s(m) > config_.delivery_give_up_s; }
  static std::int64_t age_s(const Message& m);
  void forget(const MessagePtr& m);
  void hold_body(Message& m);
  void drop_body(Message& m);
  void drop_idle_lanes();

  asio::io_context& io_;
  const Settings& config_;
  MessageBook& book_;
  Metrics& metrics_;
  static constexpr std::size_t kIdleLanes = 64;  // beyond that a lane goes as soon as it is idle
  static constexpr std::chrono::seconds kIdleLane{60};
  static constexpr std::size_t kGiveUpAtOnce = 1000;
  static constexpr unsigned kSilent = 4;
  static constexpr std::size_t kOutcomesInARow = 7;  // then a notification, if one waits
  std::map<std::string, Lane> lanes_;
  std::unordered_map<std::int64_t, MessagePtr> messages_;  // by number
  std::size_t octets_ = 0;
  bool stopped_ = false;
};

}  // namespace kf::server
