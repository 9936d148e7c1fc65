// The book of messages that wait for their receivers: callbacks, notifications, answers to be polled. See
// order_book.hpp for what holds of all books: whole transactions, errors, threads.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <optional>
#include <string>

#include "host/base/result.hpp"
#include "host/store/rows.hpp"

namespace kf::server {

namespace asio = boost::asio;

struct Polled {
  std::optional<store::DeliveryRow> message;  // taken out of the book
  bool more = false;                          // others wait for the same poll
};

class MessageBook {
 public:
  MessageBook() = default;
  MessageBook(const MessageBook&) = delete;
  MessageBook& operator=(const MessageBook&) = delete;
  virtual ~MessageBook() = default;

  // The number that it was kept under. Refused (StoreFault::failed) where its source has `most` messages, or
  // `most_bytes`, waiting for its receiver already.
  virtual asio::awaitable<Result<std::int64_t>> add_notification(store::DeliveryRow m, std::int64_t most,
                                                                 std::int64_t most_bytes) = 0;
  virtual asio::awaitable<Result<std::optional<std::string>>> body(std::int64_t id) = 0;  // nothing: it is gone
  virtual asio::awaitable<Result<Polled>> poll(std::string party, std::string address) = 0;
  // Tried until stored: nobody waits for it; it is kept for a poll of its party.
  virtual void over(std::int64_t id) = 0;
  virtual void keep_for_poll(std::int64_t id) = 0;
  virtual void set_aside(std::int64_t id, const std::string& why) = 0;
};

}  // namespace kf::server
