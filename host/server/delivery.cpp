#include "host/server/delivery.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>

#include "host/base/clock.hpp"
#include "host/server/es3_client.hpp"
#include "host/server/guard.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {
enum class MessageFault : std::uint8_t { gone };
std::string_view slug(MessageFault) { return "gone"; }
}  // namespace

void DeliveryService::load(std::vector<store::DeliveryRow> rows) {
  for (auto& r : rows) {
    const std::int64_t id = r.id;
    if (guarded(metrics_, "taking up message " + std::to_string(id), [&] { add(std::move(r)); })) continue;
    note_set_aside(metrics_, "message " + std::to_string(id) + ": could not be taken up");
    book_.set_aside(id, "could not be taken up");
  }
}

void DeliveryService::add(store::DeliveryRow row) {
  if (stopped_) return;
  if (row.replaces != 0) withdraw(row.replaces);
  if (row.kind == store::DeliveryKind::poll) return;
  auto m = std::make_shared<Message>(io_, std::move(row));
  hold_body(*m);
  const auto u = net::parse_url(m->row.address);
  if (!u || !u->tls) {
    peer_line(spdlog::level::err, "address", m->row.party,
              "message to " + m->row.party + ": unusable address " + m->row.address);
    return keep(m, "unusable address", 0);
  }
  drop_idle_lanes();
  Lane& l = lanes_[u->authority()];
  if (!l.client) {
    const Party* p = config_.by_oid(m->row.party);
    l.limit = p == nullptr ? 16 : p->max_connections;
    l.client = std::make_unique<net::HttpClient>(io_, client_options(config_, *u, l.limit));
    l.rest = std::make_unique<asio::steady_timer>(io_);
  }
  m->lane = &l;
  messages_[m->row.id] = m;
  enqueue(l, m);
  // Whoever has just ordered is likely to be there again: a new outcome does not wait for the pause of what failed
  // before it.
  if (l.rests && !is_news(*m) && std::chrono::steady_clock::now() - l.rested > std::chrono::seconds(1))
    l.rest->cancel();
  pump(l);
}

// ---- memory ----
void DeliveryService::hold_body(Message& m) {
  if (octets_ + m.row.body.size() > kMostOctets)
    m.row.body = std::string();  // read again when its turn comes
  else
    octets_ += m.row.body.size();
}

void DeliveryService::drop_body(Message& m) {
  octets_ -= m.row.body.size();
  m.row.body = std::string();
}

void DeliveryService::forget(const MessagePtr& m) {
  m->where = Where::gone;
  drop_body(*m);
  messages_.erase(m->row.id);
}

// Another message has taken its place in the store.
void DeliveryService::withdraw(std::int64_t id) {
  const auto it = messages_.find(id);
  if (it == messages_.end()) return;
  const MessagePtr m = it->second;
  Lane& l = *m->lane;
  if (m->where == Where::queue) (is_news(*m) ? l.news[m->row.source] : l.outcomes).erase(m->at);
  if (m->where == Where::resting) {
    --l.resting;
    m->pause.cancel();
  }
  forget(m);
}

// ---- whose turn it is ----
std::size_t DeliveryService::Lane::queued() const {
  std::size_t n = outcomes.size();
  for (const auto& [source, q] : news) n += q.size();
  return n;
}

void DeliveryService::enqueue(Lane& l, const MessagePtr& m, bool in_front) {
  Queue& q = is_news(*m) ? l.news[m->row.source] : l.outcomes;
  m->at = q.insert(in_front ? q.begin() : q.end(), m);
  m->where = Where::queue;
}

DeliveryService::MessagePtr DeliveryService::next(Lane& l) {
  std::erase_if(l.news, [](const auto& of) { return of.second.empty(); });
  const bool news = !l.news.empty() && l.sending_news < std::max<std::size_t>(1, l.limit / 2);
  MessagePtr m;
  if (!l.outcomes.empty() && (!news || l.outcomes_in_a_row < kOutcomesInARow)) {
    m = l.outcomes.front();
    l.outcomes.pop_front();
    ++l.outcomes_in_a_row;
  } else if (news) {
    auto of = l.news.upper_bound(l.last_source);
    if (of == l.news.end()) of = l.news.begin();
    l.last_source = of->first;
    m = of->second.front();
    of->second.pop_front();
    l.outcomes_in_a_row = 0;
  }
  return m;
}

void DeliveryService::pump(Lane& l) {
  while (!stopped_ && !l.rests && l.sending < (l.failures == 0 ? l.limit : 1)) {
    const MessagePtr m = next(l);
    if (!m) return;
    m->where = Where::sending;
    ++l.sending;
    if (is_news(*m)) ++l.sending_news;
    asio::co_spawn(io_, send(l, m), [this, m](const std::exception_ptr& e) {
      if (e) report(metrics_, "the delivery of message " + std::to_string(m->row.id), e);
    });
  }
}

// ---- one message ----
asio::awaitable<Result<net::Response>> DeliveryService::post(Lane& l, MessagePtr m) {
  net::Request q;
  q.target = net::parse_url(m->row.address)->target;
  q.body = m->row.body;
  if (q.body.empty()) {
    auto body = co_await book_.body(m->row.id);
    if (!body) co_return body.error();
    if (!*body) co_return Error{MessageFault::gone, "it is not in the store any more"};
    q.body = std::move(**body);
  }
  q.content_type = es::soap_content_type(es::action_of(q.body));
  co_return co_await l.client->call(std::move(q), net::Millis(config_.delivery_timeout_ms), true);
}

asio::awaitable<void> DeliveryService::send(Lane& l, MessagePtr m) {
  struct Sending {
    Lane& lane;
    bool news;
    ~Sending() {
      --lane.sending;
      if (news) --lane.sending_news;
      lane.used = std::chrono::steady_clock::now();
    }
  };
  std::optional<Result<net::Response>> answer;
  {
    const Sending sending{l, is_news(*m)};
    try {
      answer.emplace(co_await post(l, m));
    } catch (...) {  // it must not be lost
      report(metrics_, "the delivery of message " + std::to_string(m->row.id), std::current_exception());
      answer.emplace(Error{"internal", "internal failure"});
    }
  }
  if (stopped_) co_return;
  const unsigned status = answer->ok() ? (**answer).status : 0;
  const bool timed_out = !answer->ok() && answer->error().is(net::NetFault::timeout);
  const bool connected =
      answer->ok() || (!answer->error().is(net::NetFault::connect, net::NetFault::tls) && !timed_out);
  if (connected) l.failures = l.silent = 0;
  if (status / 100 == 2) ++metrics_.deliveries;
  if (m->where == Where::gone || (!answer->ok() && answer->error().is(MessageFault::gone))) {  // replaced meanwhile
    if (m->where != Where::gone) forget(m);
    pump(l);
    co_return;
  }
  const std::string why = answer->ok() ? "HTTP " + std::to_string(status) : answer->error().text();
  if (status / 100 == 2) {
    book_.over(m->row.id);
    forget(m);
    pump(l);
    co_return;
  }
  // One message without an answer may be the message's fault; several in a row are a receiver that takes connections
  // and says nothing. The next attempt is another message's: this one may be why it is silent.
  const bool nobody = timed_out ? ++l.silent >= kSilent : !connected;
  if (nobody) co_return unreachable(l, m, why, !timed_out);
  if (refused_for_good(*m, status) || too_old(*m)) {
    keep(m, why, age_s(*m));
    pump(l);
    co_return;
  }
  ++metrics_.delivery_retries;
  if (m->row.attempts == 0)
    peer_warn("delivery", m->row.party, "message to " + m->row.party + " not delivered, trying again: " + why);
  again(l, m);
}

// Whoever is refused an outcome may poll for it; nobody asks for a notification, so only an answer that speaks of the
// message itself ends it. An address that is not there may be so for as long as something is being redeployed.
bool DeliveryService::refused_for_good(const Message& m, unsigned status) {
  if (status / 100 != 4 || status == 408 || status == 429) return false;
  return !is_news(m) || status == 400 || status == 413 || status == 415 || status == 422;
}

// The receiver does not want it, or is not there. The outcome is not lost: a repeated call is answered from the ledger,
// and the message itself waits for a poll.
void DeliveryService::keep(const MessagePtr& m, const std::string& why, std::int64_t age_s) {
  const store::DeliveryRow& row = m->row;
  const std::string after = " after " + std::to_string(age_s) + " s";
  if (is_news(*m)) {  // news, no answer to anything: nobody will ask for it
    ++metrics_.notifications_lost;
    peer_line(spdlog::level::err, "news", row.party, "notification to " + row.party + " given up" + after + ": " + why);
    book_.over(row.id);
    return forget(m);
  }
  ++metrics_.deliveries_kept;
  peer_line(
      spdlog::level::err, "kept", row.party,
      "message " + std::to_string(row.id) + " to " + row.party + " not taken" + after + " and kept for a poll: " + why);
  book_.keep_for_poll(row.id);
  forget(m);
}

void DeliveryService::again(Lane& l, const MessagePtr& m) {
  ++m->row.attempts;
  drop_body(*m);
  m->where = Where::resting;
  ++l.resting;
  pump(l);
  m->pause.expires_after(std::chrono::seconds(std::min(60, 1 << std::min(m->row.attempts - 1, 6))));
  m->pause.async_wait([this, m](const boost::system::error_code&) {
    if (m->where != Where::resting) return;  // withdrawn
    --m->lane->resting;
    if (stopped_) return;
    enqueue(*m->lane, m);
    pump(*m->lane);
  });
}

// Nobody is there: asking for each message would only be more of the same.
void DeliveryService::unreachable(Lane& l, const MessagePtr& m, const std::string& why, bool in_front) {
  ++metrics_.delivery_retries;
  if (l.failures == 0)
    peer_warn("delivery", m->row.party, "messages to " + m->row.party + " not delivered, trying again: " + why);
  ++m->row.attempts;
  drop_body(*m);
  enqueue(l, m, in_front);
  give_up_old(l, why);
  if (l.rests) return;  // others were on their way when the first one failed
  l.rests = true;
  l.rested = std::chrono::steady_clock::now();
  l.rest->expires_after(std::chrono::seconds(std::min(60, 1 << std::min(l.failures, 6U))));
  ++l.failures;
  l.rest->async_wait([this, &l](const boost::system::error_code&) {
    if (stopped_) return;
    l.rests = false;
    pump(l);
  });
}

// Only one of them is sent, and each of them grows old. Some at a time: the receiver may have thousands.
void DeliveryService::give_up_old(Lane& l, const std::string& why) {
  std::size_t left = kGiveUpAtOnce;
  const auto clear = [&](Queue& q) {
    for (; !q.empty() && left > 0 && too_old(*q.front()); --left) {
      const MessagePtr m = q.front();
      q.pop_front();
      keep(m, why, age_s(*m));
    }
  };
  clear(l.outcomes);
  for (auto& [source, q] : l.news) clear(q);
}

std::int64_t DeliveryService::age_s(const Message& m) {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - m.since).count();
}

// A pool of connections is kept for a while after its last message, and then no longer: addresses come from requests.
void DeliveryService::drop_idle_lanes() {
  const auto now = std::chrono::steady_clock::now();
  const bool many = lanes_.size() > kIdleLanes;
  std::erase_if(lanes_, [&](const auto& lane) {
    const Lane& l = lane.second;
    return !l.rests && l.sending == 0 && l.resting == 0 && l.queued() == 0 && (many || now - l.used > kIdleLane);
  });
}

std::size_t DeliveryService::waiting() const {
  std::size_t n = 0;
  for (const auto& [k, l] : lanes_) n += l.queued() + l.sending + l.resting;
  return n;
}

void DeliveryService::stop() {
  stopped_ = true;
  for (auto& [k, l] : lanes_) {
    l.outcomes.clear();
    l.news.clear();
    l.rest->cancel();
  }
}

}  // namespace kf::server
