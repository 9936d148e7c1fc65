// The books of cards and messages.
#include "host/server/sqlite_books.hpp"

#include "host/base/clock.hpp"

namespace kf::server {

// ---- cards ----
void SqliteCardBook::keep_ledger(const store::FollowUpRow& ledger, Kept done) {
  storage_.submit([l = ledger](store::Tx& tx) { tx.put_follow_up(l.eid, l.smsr, l.record); }, std::move(done));
}

void SqliteCardBook::settle(CardSettled s,
                            std::function<void(const Status&, const std::set<std::string>& changed)> done) {
  auto changed = std::make_shared<std::set<std::string>>();  // one that was set aside stays reserved, for example
  storage_.submit(
      [s = std::move(s), changed](store::Tx& tx) {
        if (s.record.empty())
          tx.delete_follow_up(s.eid, s.smsr);
        else
          tx.put_follow_up(s.eid, s.smsr, s.record);
        // What another SM-SR may have put there is not for this one's EIS to say.
        changed->clear();
        for (const auto& i : s.gone)
          if (tx.settle_uncertain(i, s.eid, s.smsr, store::ProfileState::free)) changed->insert(i);
        for (const auto& i : s.used)
          if (tx.settle_uncertain(i, s.eid, s.smsr, store::ProfileState::installed)) changed->insert(i);
      },
      [changed, done = std::move(done)](const Status& stored) { done(stored, *changed); });
}

void SqliteCardBook::set_aside_ledger(const store::FollowUpRow& ledger, const store::SetAsideRow& as) {
  storage_.submit_until_stored("follow-up " + ledger.eid + " " + ledger.smsr,
                               [ledger, as](store::Tx& tx) { tx.set_aside_follow_up(ledger, as); });
}

void SqliteCardBook::take_back_ledger(const store::SetAsideRow& kept, const store::FollowUpRow& ledger, Kept done) {
  storage_.submit(
      [kept, l = ledger](store::Tx& tx) {
        tx.put_follow_up(l.eid, l.smsr, l.record);
        tx.delete_set_aside(kept);
      },
      std::move(done));
}

// ---- messages ----
asio::awaitable<Result<std::int64_t>> SqliteMessageBook::add_notification(store::DeliveryRow m, std::int64_t most,
                                                                          std::int64_t most_bytes) {
  const std::function<std::int64_t(store::Tx&)> work = [m = std::move(m), most, most_bytes](store::Tx& tx) {
    const store::Usage u = tx.usage(store::usage_key(m.party, m.kind, m.source));
    if (u.bytes >= most_bytes || u.calls >= most) throw store::StoreError("too many of its notifications wait already");
    return tx.insert_delivery(m);
  };
  co_return co_await storage_.tx<std::int64_t>(work);
}

asio::awaitable<Result<std::optional<std::string>>> SqliteMessageBook::body(std::int64_t id) {
  const std::function<std::optional<std::string>(store::Tx&)> work = [id](store::Tx& tx) {
    return tx.delivery_body(id);
  };
  co_return co_await storage_.tx<std::optional<std::string>>(work);
}

asio::awaitable<Result<Polled>> SqliteMessageBook::poll(std::string party, std::string address) {
  const std::function<Polled(store::Tx&)> work = [party = std::move(party),
                                                  address = std::move(address)](store::Tx& tx) {
    Polled p;
    p.message = tx.next_polled(party, address);
    if (p.message) tx.delete_delivery(p.message->id);
    p.more = tx.more_polled(party, address);
    return p;
  };
  co_return co_await storage_.tx<Polled>(work);
}

void SqliteMessageBook::over(std::int64_t id) {
  storage_.submit_until_stored("the end of message " + std::to_string(id),
                               [id](store::Tx& tx) { tx.delete_delivery(id); });
}

void SqliteMessageBook::keep_for_poll(std::int64_t id) {
  storage_.submit_until_stored("that message " + std::to_string(id) + " is kept for a poll",
                               [id](store::Tx& tx) { tx.keep_delivery(id); });
}

void SqliteMessageBook::set_aside(std::int64_t id, const std::string& why) {
  storage_.submit(
      [id, why](store::Tx& tx) {
        tx.keep_delivery(id);
        tx.set_aside({"message", std::to_string(id), "", why, anchored_ms()});
      },
      [](const Status&) {});
}

}  // namespace kf::server
