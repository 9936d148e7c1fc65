// The books of orders, cards and messages in one SQLite store (host/store): each function is one job of its writer
// thread. Envelopes are neither written nor read there.
#pragma once

#include "host/server/card_book.hpp"
#include "host/server/message_book.hpp"
#include "host/server/order_book.hpp"
#include "host/server/settings.hpp"
#include "host/server/storage.hpp"

namespace kf::server {

class SqliteOrderBook final : public OrderBook {
 public:
  // What each requester may have in the store is read from the settings.
  SqliteOrderBook(Storage& s, const Settings& c) : storage_(s), config_(c) {}

  Result<LeftOver> take_up() override;
  Status note_planned_stop() override;
  asio::awaitable<Result<Accepted>> accept(OrderAsked asked) override;
  asio::awaitable<Result<Accepted>> accept(RelayAsked asked) override;
  asio::awaitable<Result<std::optional<store::DeliveryRow>>> answer_again(store::CallRow call,
                                                                          std::string message) override;
  void keep_record(const std::string& id, std::shared_ptr<const std::string> record, Kept done) override;
  void leave_card(const download::Order& o, std::shared_ptr<const std::string> record,
                  std::optional<std::string> ledger, Kept done) override;
  void set_aside(const std::string& id, const std::string& why, Kept done) override;
  void keep_key_set(store::KeySetRow row, const std::string& id, std::function<bool()> still_due) override;
  void drop_key_set(const std::string& iccid, const std::string& id, std::function<bool()> still_due) override;
  void end_order(OrderEnd end, AnswerKept done) override;
  void end_relay(BoundAnswer answer, AnswerKept done) override;
  void set_aside_relay(const std::string& requester, const std::string& fcid, const std::string& why) override;
  asio::awaitable<Result<std::optional<store::ProfileRow>>> profile(std::string iccid) override;
  void managed_by(const std::string& iccid, const std::string& eid, const std::string& smsr) override;
  void find_ended(const std::string& id, std::function<void(const EndedOrder&)> done) override;
  void uncertain_again(const download::Order& o, std::function<void()> done) override;

 private:
  // All on the store's thread.
  bool settle_repeat(store::Tx& tx, const store::CallRow& call, Accepted& a) const;
  [[nodiscard]] bool over_quota(const store::Tx& tx, const std::string& requester) const;
  void accept_order(store::Tx& tx, const OrderAsked& asked, Accepted& a) const;

  Storage& storage_;
  const Settings& config_;
};

class SqliteCardBook final : public CardBook {
 public:
  explicit SqliteCardBook(Storage& s) : storage_(s) {}

  void keep_ledger(const store::FollowUpRow& ledger, Kept done) override;
  void settle(CardSettled s, std::function<void(const Status&, const std::set<std::string>& changed)> done) override;
  void set_aside_ledger(const store::FollowUpRow& ledger, const store::SetAsideRow& as) override;
  void take_back_ledger(const store::SetAsideRow& kept, const store::FollowUpRow& ledger, Kept done) override;

 private:
  Storage& storage_;
};

class SqliteMessageBook final : public MessageBook {
 public:
  explicit SqliteMessageBook(Storage& s) : storage_(s) {}

  asio::awaitable<Result<std::int64_t>> add_notification(store::DeliveryRow m, std::int64_t most,
                                                         std::int64_t most_bytes) override;
  asio::awaitable<Result<std::optional<std::string>>> body(std::int64_t id) override;
  asio::awaitable<Result<Polled>> poll(std::string party, std::string address) override;
  void over(std::int64_t id) override;
  void keep_for_poll(std::int64_t id) override;
  void set_aside(std::int64_t id, const std::string& why) override;

 private:
  Storage& storage_;
};

// The profile that an order gets, with what it says of the order; or why it gets none. Takes nothing yet. Store thread.
std::optional<download::Cause> choose_profile(store::Tx& tx, const OrderAsked& asked, download::Order& order,
                                              store::ProfileRow& profile);

}  // namespace kf::server
