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
#include "host/server/order_book.hpp"
#include "host/server/settings.hpp"

namespace kf::server {

class Replies {
 public:
  Replies(asio::io_context& io, const Settings& c) : io_(io), config_(c) {}

  // The requests that open calls are bound to, each the last one that came. One that nobody knows here, after a restart
  // for example, the book tells (Answered::rebound).
  void bind(store::CallRow call);                                      // it begins
  void rebind(const store::CallRow& call);                             // it was repeated
  void forget(const std::string& requester, const std::string& fcid);  // it gets no answer

  // The answer to a call, for the book to keep: what repeats are told and, for callback and polling, the message. What
  // is larger than kMostKept is not kept: a call that asked for a callback or polls, and every repeat, is answered
  // FAILED, 1.2/4.2.
  static constexpr std::size_t kMostKept = 64
                                           << 10;  // octets of an envelope: an SM-SR must not fill an Operator's share
  [[nodiscard]] BoundAnswer answer(const std::string& requester, const std::string& fcid, const es::Response& r) const;
  // For the request that the book names.
  void rewrite(BoundAnswer& a, store::CallRow bound_to, const es::Response& r) const;
  // The message to a request that repeats an answered call.
  [[nodiscard]] std::string message(const store::CallRow& call, const es::Response& r) const {
    return envelope(call, r);
  }

  // The envelope of an answer on the same connection.
  std::string synchronous(const Party& to, const es::MessageHeader& request, const es::Response& r,
                          const std::string& ns) const;
  // The stored envelope of an answer back to its value.
  static Result<es::Response> read_stored(const std::string& xml, const std::string& ns);

  // The call has its answer: wakes connections that wait for it.
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
  [[nodiscard]] BoundAnswer written_for(store::CallRow call, const es::Response& r) const;
  es::Dialect dialect_of(const std::string& requester) const;
  asio::io_context& io_;
  const Settings& config_;
  using Key = std::pair<std::string, std::string>;  // requester, FunctionCallIdentifier
  std::multimap<Key, std::shared_ptr<Waiter>> waiters_;
  std::map<Key, store::CallRow> bound_;
};

}  // namespace kf::server
