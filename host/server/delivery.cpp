#include "host/server/delivery.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>

#include "host/base/calendar.hpp"
#include "host/server/es3_client.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {

void DeliveryService::load(std::vector<store::DeliveryRow> rows) {
  for (auto& r : rows) add(std::move(r));
}

void DeliveryService::add(store::DeliveryRow row) {
  if (row.kind == store::DeliveryKind::poll || stopped_) return;
  const auto u = net::parse_url(row.address);
  if (!u || !u->tls) {
    peer_line(spdlog::level::err, "address", row.party,
              "message to " + row.party + " has an unusable address and is dropped: " + row.address);
    storage_.submit([id = row.id](store::Tx& tx) { tx.delete_delivery(id); }, [](const Status&) {});
    return;
  }
  drop_idle_lanes();
  Lane& l = lanes_[u->authority()];
  if (!l.client) {
    const Party* p = config_.by_oid(row.party);
    l.limit = p == nullptr ? 16 : p->max_connections;
    l.client = std::make_unique<net::HttpClient>(io_, client_options(config_, *u, l.limit));
  }
  l.queue.push_back(std::move(row));
  pump(l);
}

// A pool of connections is kept for a while after its last message, and then no longer: addresses come from requests.
void DeliveryService::drop_idle_lanes() {
  const auto now = std::chrono::steady_clock::now();
  const bool many = lanes_.size() > max_idle_lanes;
  std::erase_if(lanes_, [&](const auto& lane) {
    const Lane& l = lane.second;
    return l.open == 0 && l.queue.empty() && (many || now - l.used > idle_lane);
  });
}

void DeliveryService::pump(Lane& l) {
  while (!stopped_ && l.sending < l.limit && !l.queue.empty()) {
    store::DeliveryRow row = std::move(l.queue.front());
    l.queue.pop_front();
    ++l.sending;
    asio::co_spawn(io_, send(l, std::move(row)), asio::detached);
  }
}

asio::awaitable<void> DeliveryService::send(Lane& l, store::DeliveryRow row) {
  struct InHand {
    explicit InHand(Lane& lane) : l(lane) { ++l.open; }
    ~InHand() {
      --l.open;
      l.used = std::chrono::steady_clock::now();
    }
    InHand(const InHand&) = delete;
    InHand& operator=(const InHand&) = delete;
    Lane& l;
  };
  const InHand in_hand(l);
  net::Request q;
  q.target = net::parse_url(row.address)->target;
  q.content_type = es::soap_content_type(es::action_of(row.body));
  q.body = row.body;
  auto answer = co_await l.client->call(std::move(q), net::Millis(config_.delivery_timeout_ms), true);
  --l.sending;
  if (stopped_) co_return;
  const bool taken = answer.ok() && answer->status / 100 == 2;
  const bool refused = answer.ok() && answer->status / 100 == 4 && answer->status != 408 && answer->status != 429;
  const std::int64_t age_s = (wall_now().time_since_epoch().count() - row.created_ms) / 1000;
  if (taken || refused || age_s > config_.delivery_give_up_s) {
    if (taken)
      ++metrics_.deliveries;
    else
      spdlog::error("message to {} given up after {} s: {}", row.party, age_s,
                    refused       ? "HTTP " + std::to_string(answer->status)
                    : answer.ok() ? "no success"
                                  : answer.error().text());
    storage_.submit([id = row.id](store::Tx& tx) { tx.delete_delivery(id); }, [](const Status&) {});
    pump(l);
    co_return;
  }
  ++metrics_.delivery_retries;
  ++row.attempts;
  const int pause_s = std::min(60, 1 << std::min(row.attempts - 1, 6));
  if (row.attempts == 1)
    spdlog::warn("message to {} not delivered, trying again: {}", row.party,
                 answer.ok() ? "HTTP " + std::to_string(answer->status) : answer.error().text());
  pump(l);
  asio::steady_timer t(io_, std::chrono::seconds(pause_s));
  boost::system::error_code ec;
  co_await t.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  if (stopped_) co_return;
  l.queue.push_back(std::move(row));
  pump(l);
}

std::size_t DeliveryService::waiting() const {
  std::size_t n = 0;
  for (const auto& [k, l] : lanes_) n += l.queue.size() + l.sending;
  return n;
}

void DeliveryService::stop() {
  stopped_ = true;
  for (auto& [k, l] : lanes_) l.queue.clear();
}

}  // namespace kf::server
