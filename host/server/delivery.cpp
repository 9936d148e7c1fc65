#include "host/server/delivery.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/server/es3_client.hpp"
#include "host/server/guard.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {

void DeliveryService::load(std::vector<store::DeliveryRow> rows) {
  for (auto& r : rows) {
    const std::int64_t id = r.id;
    if (guarded(metrics_, "taking up message " + std::to_string(id), [&] { add(std::move(r)); })) continue;
    note_set_aside(metrics_, "message " + std::to_string(id) + ": could not be taken up");
    storage_.submit(
        [id](store::Tx& tx) {
          tx.keep_delivery(id);
          tx.set_aside({"message", std::to_string(id), "", "could not be taken up", anchored_ms()});
        },
        [](const Status&) {});
  }
}

void DeliveryService::add(store::DeliveryRow row) {
  if (row.kind == store::DeliveryKind::poll || stopped_) return;
  auto m = std::make_shared<Message>(Message{std::move(row), std::chrono::steady_clock::now()});
  const auto u = net::parse_url(m->row.address);
  if (!u || !u->tls) {
    peer_line(spdlog::level::err, "address", m->row.party,
              "message to " + m->row.party + ": unusable address " + m->row.address);
    return keep(*m, "unusable address", 0);
  }
  drop_idle_lanes();
  Lane& l = lanes_[u->authority()];
  if (!l.client) {
    const Party* p = config_.by_oid(m->row.party);
    l.limit = p == nullptr ? 16 : p->max_connections;
    l.client = std::make_unique<net::HttpClient>(io_, client_options(config_, *u, l.limit));
  }
  l.queue.push_back(std::move(m));
  pump(l);
}

void DeliveryService::pump(Lane& l) {
  while (!stopped_ && l.sending < l.limit && !l.queue.empty()) {
    MessagePtr m = std::move(l.queue.front());
    l.queue.pop_front();
    ++l.sending;
    asio::co_spawn(io_, send(l, m), [this, m](const std::exception_ptr& e) {
      if (!e) return;
      report(metrics_, "the delivery of message " + std::to_string(m->row.id), e);
      if (stopped_) return;
      const auto u = net::parse_url(m->row.address);
      const auto it = u ? lanes_.find(u->authority()) : lanes_.end();  // it may have gone meanwhile
      if (it != lanes_.end()) return again(it->second, m);
      add(m->row);
    });
  }
}

asio::awaitable<void> DeliveryService::send(Lane& l, MessagePtr m) {
  struct Sending {
    Lane& lane;
    ~Sending() {
      --lane.sending;
      lane.used = std::chrono::steady_clock::now();
    }
  };
  std::optional<Result<net::Response>> answer;
  {
    const Sending sending{l};
    net::Request q;
    q.target = net::parse_url(m->row.address)->target;
    q.content_type = es::soap_content_type(es::action_of(m->row.body));
    q.body = m->row.body;
    answer.emplace(co_await l.client->call(std::move(q), net::Millis(config_.delivery_timeout_ms), true));
  }
  if (stopped_) co_return;
  const unsigned status = answer->ok() ? (**answer).status : 0;
  const std::string why = answer->ok() ? "HTTP " + std::to_string(status) : printable(answer->error().text());
  if (status / 100 == 2) {
    ++metrics_.deliveries;
    storage_.submit([id = m->row.id](store::Tx& tx) { tx.delete_delivery(id); }, [](const Status&) {});
    pump(l);
    co_return;
  }
  const std::int64_t age_s =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - m->since).count();
  if ((status / 100 == 4 && status != 408 && status != 429) || age_s > config_.delivery_give_up_s) {
    keep(*m, why, age_s);
    pump(l);
    co_return;
  }
  ++metrics_.delivery_retries;
  if (m->row.attempts == 0) spdlog::warn("message to {} not delivered, trying again: {}", m->row.party, why);
  again(l, m);
}

// The receiver does not want it, or is not there. The outcome is not lost: a repeated call is answered from the ledger,
// and the message itself waits for a poll.
void DeliveryService::keep(const Message& m, const std::string& why, std::int64_t age_s) {
  if (m.row.kind == store::DeliveryKind::notification) {  // news, no answer to anything: nobody will ask for it
    spdlog::error("notification to {} given up after {} s: {}", m.row.party, age_s, why);
    storage_.submit([id = m.row.id](store::Tx& tx) { tx.delete_delivery(id); }, [](const Status&) {});
    return;
  }
  ++metrics_.deliveries_kept;
  spdlog::error("message {} to {} not taken after {} s and kept for a poll: {}", m.row.id, m.row.party, age_s, why);
  storage_.submit([id = m.row.id](store::Tx& tx) { tx.keep_delivery(id); },
                  [id = m.row.id](const Status& s) {
                    if (!s) spdlog::error("message {} could not be marked as kept: {}", id, s.error().text());
                  });
}

void DeliveryService::again(Lane& l, const MessagePtr& m) {
  ++m->row.attempts;
  ++l.resting;
  pump(l);
  auto t = std::make_shared<asio::steady_timer>(
      io_, std::chrono::seconds(std::min(60, 1 << std::min(m->row.attempts - 1, 6))));
  t->async_wait([this, &l, m, t](const boost::system::error_code& ec) {
    --l.resting;
    if (ec || stopped_) return;
    l.queue.push_back(m);
    pump(l);
  });
}

// A pool of connections is kept for a while after its last message, and then no longer: addresses come from requests.
void DeliveryService::drop_idle_lanes() {
  const auto now = std::chrono::steady_clock::now();
  const bool many = lanes_.size() > kIdleLanes;
  std::erase_if(lanes_, [&](const auto& lane) {
    const Lane& l = lane.second;
    return l.sending == 0 && l.resting == 0 && l.queue.empty() && (many || now - l.used > kIdleLane);
  });
}

std::size_t DeliveryService::waiting() const {
  std::size_t n = 0;
  for (const auto& [k, l] : lanes_) n += l.queue.size() + l.sending + l.resting;
  return n;
}

void DeliveryService::stop() {
  stopped_ = true;
  for (auto& [k, l] : lanes_) l.queue.clear();
}

}  // namespace kf::server
