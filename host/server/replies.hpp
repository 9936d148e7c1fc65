// Answers to ES2 requests by the pattern that was asked for: waiting connections, callbacks, polled messages. Turns a
// response value into the envelope of one requester. docs/spec/interfaces.md 1.4, 1.6. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "host/es/soap.hpp"
#include "host/server/settings.hpp"
#include "host/server/storage.hpp"

namespace kf::server {

class Replies {
 public:
  Replies(asio::io_context& io, const Settings& c) : io_(io), config_(c) {}

  // Within a transaction: stores the answer with its call and, for callback and polling, the message to deliver.
  // Gives the delivery to hand to DeliveryService after the commit. What is larger than kMostKept is not kept: a call
  // that asked for a callback or polls, and every repeat, is answered FAILED, 1.2/4.2.
  static constexpr std::size_t kMostKept = 64
                                           << 10;  // octets of an envelope: an SM-SR must not fill an Operator's share
  std::optional<store::DeliveryRow> store_answer(store::Tx& tx, const std::string& requester, const std::string& fcid,
                                                 const es::Response& r) const;
  // A repeat of an answered call: the stored answer bound to the new request. Its message takes the place of the one
  // before, if that still waits.
  std::optional<store::DeliveryRow> store_repeat(store::Tx& tx, const store::CallRow& call) const;

  // The envelope of an answer on the same connection.
  std::string synchronous(const Party& to, const es::MessageHeader& request, const es::Response& r,
                          const std::string& ns) const;
  // The stored envelope of an answer back to its value.
  static Result<es::Response> read_stored(const std::string& xml, const std::string& ns);

  // Wakes connections that wait for this call.
  void wake(const std::string& requester, const std::string& fcid, const es::Response& r);
  // Waits until wake() (or stop(): nothing). A call may be repeated on any number of connections: beyond
  // kMostWaiting the oldest of them is let go, since whoever repeats has most likely given up that one.
  static constexpr std::size_t kMostWaiting = 4;
  struct Waited {
    std::shared_ptr<const es::Response> answer;
    bool displaced = false;  // by newer repeats
  };
  asio::awaitable<Waited> wait(std::string requester, std::string fcid);
  void stop();

 private:
  struct Waiter {
    explicit Waiter(asio::io_context& io) : timer(io, asio::steady_timer::time_point::max()) {}
    asio::steady_timer timer;
    Waited outcome;
  };
  std::string envelope(const store::CallRow& c, const es::Response& r) const;
  std::optional<store::DeliveryRow> store_message(store::Tx& tx, const store::CallRow& call,
                                                  const es::Response& r) const;
  es::Dialect dialect_of(const std::string& requester) const;
  asio::io_context& io_;
  const Settings& config_;
  std::multimap<std::pair<std::string, std::string>, std::shared_ptr<Waiter>> waiters_;
};

}  // namespace kf::server
