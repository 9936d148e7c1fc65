// DownloadService: who waits, who runs, and what happens to a download about which something failed on our side.
#include <spdlog/spdlog.h>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/server/download_service.hpp"
#include "host/server/station.hpp"

namespace kf::server {
// An eUICC has one SM-SR: an order that names another one fails there and holds up nobody here.
using download::card_of;
namespace {
constexpr std::int64_t kLookAgainMs = 100;   // until a record is stored
constexpr std::size_t kMostInstalled = 128;  // on one card that an order is told of

Admission::Limits limits_of(const Settings& c) {
  const auto several = [&c](Role role) { return std::ranges::count(c.parties, role, &Party::role) > 1; };
  return {.places = c.downloads_in_flight,
          .enabling = c.downloads_enabling,
          .waiting = c.orders_waiting,
          .share_operators = several(Role::operator_),
          .share_smsrs = several(Role::smsr)};
}
std::string profile_of(const download::Order& o) { return card_of(o) + " " + o.iccid.str(); }
}  // namespace

DownloadService::DownloadService(Parts p) : p_(std::move(p)), admission_(limits_of(p_.config)) {
  p_.follow_ups.idle = [this] { card_idle(); };
}

void DownloadService::start(download::Order o, store::ProfileRow profile, std::vector<std::string> installed) noexcept {
  ++p_.metrics.accepted;
  LivePtr l;
  const bool begun = guarded(p_.metrics, "the beginning of a download", [&] {
    l = std::make_shared<Live>();
    l->order = l->d.order = std::move(o);
    l->profile = std::move(profile);
    l->installed = std::move(installed);
    enqueue(l, download::Start{});
  });
  if (begun) return;
  // Accepted, and nothing was asked of anybody. Without an object to end it waits in the store for the next start.
  guarded(p_.metrics, "the end of a download", [&] {
    if (!l || l->order.id.empty()) return;
    admission_.withdraw(l->ticket);
    leave_queue(l);
    broke(l, "it could not be queued");
  });
}

void DownloadService::take_up(download::Download d, store::ProfileRow profile, std::vector<std::string> installed,
                              bool planned) {
  auto l = std::make_shared<Live>();
  l->d = std::move(d);
  l->d.possession.resume(anchored_ms());
  l->record = std::make_shared<const std::string>(download::to_record(l->d));
  l->profile = std::move(profile);
  l->installed = std::move(installed);
  ++p_.metrics.taken_up;
  taken_up_[l->d.order.id] = l;
  by_profile_[profile_of(l->d.order)] = l;
  enqueue(l, download::Restart{planned});
}

void DownloadService::enqueue(const LivePtr& l, download::Event first) {
  l->since = std::chrono::steady_clock::now();
  l->order = l->d.order;
  l->policy = &policy(l->order);
  l->ticket = ++tickets_;
  l->events.push_back(std::move(first));
  l->deadline = std::make_unique<asio::steady_timer>(p_.io);
  l->deadline->expires_after(
      std::chrono::milliseconds(std::max<std::int64_t>(0, l->order.deadline_ms - anchored_ms())));
  l->deadline->async_wait([this, w = std::weak_ptr<Live>(l)](const boost::system::error_code& ec) {
    if (auto x = w.lock(); x && !ec && !stopped_) on_deadline(x);
  });
  in_queue_[l->ticket] = l;
  const std::string card = card_of(l->order);
  p_.follow_ups.hold(card);
  l->holds = true;
  vacate_idle_cards();
  if (p_.follow_ups.busy(card) && followed_up_.insert(card).second) admission_.occupy(card);
  admission_.add(l->ticket, l->order.requester.str(), l->order.smsr.str(), card_of(l->order));
  admit();
}

void DownloadService::leave_queue(const LivePtr& l) {
  live_[l->order.id] = l;
  in_queue_.erase(l->ticket);
  taken_up_.erase(l->order.id);
  l->queued = false;
}

DownloadService::LivePtr DownloadService::at_work_or_taken_up(const std::string& id) const {
  for (const auto* of : {&live_, &taken_up_})
    if (const auto it = of->find(id); it != of->end()) return it->second;
  return nullptr;
}

// Starts what may start: a place in flight, and the card free.
void DownloadService::admit() {
  while (!stopped_ && !draining_) {
    const auto ticket = admission_.next();
    if (!ticket) break;
    const LivePtr l = in_queue_.find(*ticket)->second;
    leave_queue(l);
    station(l->order.id, "start");
    careful(l, [&] {
      by_profile_[profile_of(l->order)] = l;
      p_.follow_ups.brief(card_of(l->order), l->d.possession);
      note_installed(*l);
      asio::post(p_.io, [this, l] {
        // Nobody knows any more how long it has had its card to itself.
        if (l->d.state == download::State::enabling) careful(l, [&] { leave_card(l); });
        advance(l);
      });
    });
  }
  p_.metrics.in_flight = live_.size();
  p_.metrics.peak_in_flight = std::max(p_.metrics.peak_in_flight, live_.size());
  p_.metrics.waiting = admission_.waiting();
}

// Beside what the inventory had as installed: what has been completed since by orders that now wait for enabling. A
// ledger that knows of it knows more.
void DownloadService::note_installed(Live& l) {
  const std::string card = card_of(l.order) + " ";
  for (auto it = by_profile_.lower_bound(card); it != by_profile_.end() && it->first.starts_with(card); ++it) {
    if (l.installed.size() >= kMostInstalled) break;
    if (it->second->left_card) l.installed.push_back(it->second->order.iccid.str());
  }
  for (const auto& iccid : l.installed)
    if (!l.d.possession.knows(iccid)) l.d.possession.installed(iccid, anchored_ms());
}

// A follow-up's DeleteISDP has come to its end: orders for that eUICC may start.
void DownloadService::card_idle() {
  vacate_idle_cards();
  admit();
}

// Also asked at each order: a DeleteISDP that ends while no order waits for its eUICC is told to nobody.
void DownloadService::vacate_idle_cards() {
  for (auto it = followed_up_.begin(); it != followed_up_.end();) {
    if (p_.follow_ups.busy(*it)) {
      ++it;
      continue;
    }
    admission_.vacate(*it);
    it = followed_up_.erase(it);
  }
}

void DownloadService::on_deadline(const LivePtr& l) {
  if (l->queued && l->d.state == download::State::received && admission_.withdraw(l->ticket)) {
    // Nothing was asked of anybody yet: it ends on time, whoever keeps the places.
    leave_queue(l);
    l->events.clear();
    admit();
  }
  post(l, download::DeadlinePassed{});
}

// EnableProfile is answered whenever the device can be reached, perhaps never. For as long as a call that the card
// executes may take nothing else is asked of it; then others may use it, orders and follow-ups.
void DownloadService::keep_card_for(const LivePtr& l, std::int64_t ms) {
  l->at_card = std::make_unique<asio::steady_timer>(p_.io, std::chrono::milliseconds(ms));
  l->at_card->async_wait([this, w = std::weak_ptr<Live>(l)](const boost::system::error_code& ec) {
    if (auto x = w.lock(); x && !ec && !stopped_) careful(x, [&] { leave_card(x); });
  });
}

// As at its end, what the order knows of the card goes over to the card's ledger, with its record, and from then on it
// knows of its own profile only: the card changes without it, and what an EIS shows to it is another order's to judge.
void DownloadService::leave_card(const LivePtr& l) {
  if (l->d.state != download::State::enabling || l->left_card || live_.count(l->order.id) == 0) return;
  if (l->busy) return keep_card_for(l, kLookAgainMs);
  const std::int64_t now = anchored_ms();
  auto left = std::make_shared<download::Download>();
  left->order = l->order;
  left->state = download::State::done;  // its completion was taken: the profile is there
  left->possession = l->d.possession;
  left->possession.installed(l->order.iccid.str(), now);
  know_only_its_own(*l);
  l->busy = l->leaving = true;
  auto ledger = p_.follow_ups.outcome(*left);
  leave_card_commit(l, std::move(left), std::move(ledger));
}

void DownloadService::know_only_its_own(Live& l) {
  l.d.possession = download::Possession{};
  l.d.possession.installed(l.order.iccid.str(), anchored_ms());
}

// Answers to calls of its own that are the card's ledger's now.
void DownloadService::hand_over_answers(const Live& l) {
  const Party* smsr = p_.config.by_oid(l.order.smsr.str());
  if (smsr == nullptr) return;
  for (const auto& e : l.events)
    if (const auto* a = std::get_if<download::Answer>(&e))
      p_.follow_ups.late_callback(*smsr, l.order.id + "." + std::to_string(a->call), a->response);
}

void DownloadService::leave_card_commit(const LivePtr& l, std::shared_ptr<download::Download> left,
                                        std::optional<std::string> ledger) {
  auto record = std::make_shared<const std::string>(download::to_record(l->d));
  p_.orders.leave_card(l->order, record, std::move(ledger), [this, l, left, record, life = l->broken](const Status& s) {
    if (stopped_ || l->broken != life) return;
    careful(l, [&] {
      if (!s) {
        if (s.error().is(store::StoreFault::job)) return broke(l, s.error().detail);
        l->at_card = std::make_unique<asio::steady_timer>(p_.io, std::chrono::seconds(1));
        l->at_card->async_wait([this, l, left, life = l->broken](const boost::system::error_code& ec) {
          if (!ec && !stopped_ && l->broken == life)
            careful(l, [&] { leave_card_commit(l, left, p_.follow_ups.record_of(card_of(l->order))); });
        });
        return;
      }
      l->record = record;
      l->busy = l->leaving = false;
      l->left_card = true;
      p_.follow_ups.settled(*left);
      hand_over_answers(*l);
      admission_.leave_card(l->ticket);
      if (std::exchange(l->holds, false)) p_.follow_ups.release(card_of(l->order));
      admit();
      turn(l);
    });
  });
}

void DownloadService::release(const LivePtr& l) {
  l->cancel_all();
  if (const auto it = by_profile_.find(profile_of(l->order)); it != by_profile_.end() && it->second == l)
    by_profile_.erase(it);
  live_.erase(l->order.id);
  admission_.end(l->ticket);
  if (std::exchange(l->holds, false)) p_.follow_ups.release(card_of(l->order));
  admit();
}

// Something threw about this download: a bug of ours that a peer has found. What the last record says is cleaned up as
// after a restart, without trying the profile again; where nothing was made yet, or it throws again, it ends FAILED.
void DownloadService::broke(const LivePtr& l, const std::string& why) noexcept {
  try {
    ++p_.metrics.exceptions;
    ++p_.metrics.alarms;
    spdlog::error("ALARM download {} EID {} ICCID {}: unexpected failure: {}", l->order.id, l->order.eid.str(),
                  l->order.iccid.str(), why);
    if (stopped_ || live_.count(l->order.id) == 0) return;
    l->timer.reset();
    l->store_again.reset();
    l->at_card.reset();
    alarm_unread_answers(*l);
    l->events.clear();
    l->busy = l->leaving = false;
    ++l->broken;
    if (l->broken > 2) return put_aside(l, why);
    if (l->broken > 1 || !l->record) return end_broken(l, why);
    auto d = download::from_record(*l->record);
    if (!d || d->state == download::State::received) return end_broken(l, why);
    d->order = l->order;
    d->restarts = std::max(d->restarts, 1U);  // not a second time from the start
    d->possession.resume(anchored_ms());
    l->d = std::move(*d);
    l->events.push_back(download::Restart{});
    asio::post(p_.io, [this, l] { advance(l); });
  } catch (...) {
    report(p_.metrics, "the end of a download", std::current_exception());
    guarded(p_.metrics, "the end of a download", [&] { release(l); });
  }
}

void DownloadService::end_broken(const LivePtr& l, const std::string& why) {
  const unsigned calls = l->d.calls;
  l->d = download::Download{};
  l->d.order = l->order;
  l->d.state = download::State::failed;
  l->d.calls = calls;  // late answers to them are still ours
  l->d.possession = last_known_of_card(*l);
  std::string message = "internal failure of the SM-DP";
  if (!l->d.possession.clean(anchored_ms())) message += "; an ISD-P may have been left behind";
  // Also one that had left its card: its follow-up begins when the card is released.
  if (!std::exchange(l->holds, true)) p_.follow_ups.hold(card_of(l->order));
  l->d.cause = download::Cause{es::Code::provider_failed, "", std::move(message)};
  l->busy = true;
  try {
    finish(l);
  } catch (...) {
    put_aside(l, why);
  }
}

download::Possession DownloadService::last_known_of_card(const Live& l) {
  download::Possession p;
  const std::int64_t now = anchored_ms();
  if (l.record) {
    if (auto last = download::from_record(*l.record)) {
      p = std::move(last->possession);
      p.resume(now);
    } else {
      p.claimed(l.order.iccid.str(), now);
    }
  }
  if (l.order.iccid_was == download::IccidState::uncertain) p.claimed(l.order.iccid.str(), now);
  return p;
}

// Not even an outcome could be written: place and card are free, the record waits for a person. What the order may have
// left on the card is the card's ledger's to know all the same, for the next order goes there.
void DownloadService::put_aside(const LivePtr& l, const std::string& why) {
  auto left = std::make_shared<download::Download>();
  std::optional<std::string> ledger;
  if (!l->left_card) {
    guarded(p_.metrics, "what an order left", [&] {
      left->order = l->order;
      left->state = download::State::failed;
      left->possession = last_known_of_card(*l);
      ledger = p_.follow_ups.outcome(*left);
    });
  }
  l->d = download::Download{};  // whatever still answers, no step is taken for it any more
  l->d.state = download::State::failed;
  l->busy = true;
  if (ledger)  // apart, so that neither is lost with the other
    p_.follow_ups.keep_ledger(left->order.eid.str(), left->order.smsr.str(), *ledger, [this, left] {
      if (!stopped_) guarded(p_.metrics, "what an order left", [&] { p_.follow_ups.settled(*left); });
    });
  p_.replies.forget(l->order.requester.str(), l->order.function_call_identifier);
  p_.orders.set_aside(l->order.id, why, [this, l, why](const Status& s) {
    note_set_aside(p_.metrics, "download " + l->order.id + ": " + why);
    spdlog::error("ALARM download {} is set aside: {}{}", l->order.id, why,
                  s.ok() ? "" : "; not even that could be stored: " + s.error().text());
  });
  release(l);
}

// A full disk, a store that is gone: nothing goes on until the record is safe.
void DownloadService::commit_failed(const LivePtr& l, std::shared_ptr<std::vector<download::Effect>> effects,
                                    unsigned attempt, const Error& why) {
  if (why.is(store::StoreFault::job)) return broke(l, why.detail);
  if (attempt % 30 == 0) spdlog::error("download {}: state not stored, trying again: {}", l->order.id, why.text());
  l->store_again = std::make_unique<asio::steady_timer>(p_.io, std::chrono::seconds(1));
  l->store_again->async_wait([this, l, effects, attempt, life = l->broken](const boost::system::error_code& ec) {
    if (!ec && !stopped_ && l->broken == life) careful(l, [&] { commit(l, effects, attempt + 1); });
  });
}

void DownloadService::finish_failed(const LivePtr& l, const std::shared_ptr<Ending>& e, unsigned attempt,
                                    const Error& why) {
  if (why.is(store::StoreFault::job)) return broke(l, why.detail);
  if (attempt % 30 == 0) spdlog::error("download {}: outcome not stored, trying again: {}", l->order.id, why.text());
  l->store_again = std::make_unique<asio::steady_timer>(p_.io, std::chrono::seconds(1));
  l->store_again->async_wait([this, l, e, attempt, life = l->broken](const boost::system::error_code& ec) {
    if (!ec && !stopped_ && l->broken == life) careful(l, [&] { finish_commit(l, e, attempt + 1); });
  });
}

void DownloadService::enabled_seen(const std::string& eid, const std::string& smsr, const std::string& iccid) {
  const auto it = by_profile_.find(eid + " " + smsr + " " + iccid);
  if (it == by_profile_.end() || it->second->d.state != download::State::enabling) return;
  // Once is enough; while its record cannot be stored nobody takes it, and an SM-SR may send it again and again.
  const auto seen = [](const download::Event& e) { return std::holds_alternative<download::EnabledSeen>(e); };
  if (std::ranges::none_of(it->second->events, seen)) post(it->second, download::EnabledSeen{});
}

std::size_t DownloadService::events_waiting(const std::string& id) const {
  const auto it = live_.find(id);
  return it == live_.end() ? 0 : it->second->events.size();
}

void DownloadService::stop() {
  stopped_ = true;
  for (auto& [id, l] : live_) {
    l->cancel_all();
  }
  for (auto& [ticket, l] : in_queue_)
    if (l->deadline) l->deadline->cancel();
}

}  // namespace kf::server
