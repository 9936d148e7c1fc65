// DownloadService: who waits, who runs, and what happens to a download about which something failed on our side.
#include <spdlog/spdlog.h>
#include <boost/asio/post.hpp>

#include <algorithm>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/server/download_service.hpp"

namespace kf::server {
namespace {
// An eUICC has one SM-SR: an order that names another one fails there and holds up nobody here.
std::string card_of(const download::Order& o) { return o.eid.str() + " " + o.smsr.str(); }

Admission::Limits limits_of(const Config& c) {
  const auto several = [&c](Role role) { return std::ranges::count(c.parties, role, &Party::role) > 1; };
  return {.places = c.downloads_in_flight,
          .enabling = c.downloads_enabling,
          .waiting = c.orders_waiting,
          .share_operators = several(Role::operator_),
          .share_smsrs = several(Role::smsr)};
}

}  // namespace

DownloadService::DownloadService(Parts p) : p_(std::move(p)), admission_(limits_of(p_.config)) {
  p_.follow_ups.idle = [this] { card_idle(); };
}

void DownloadService::start(download::Order o, store::ProfileRow profile) {
  auto l = std::make_shared<Live>();
  l->d.order = std::move(o);
  l->profile = std::move(profile);
  ++p_.metrics.accepted;
  enqueue(l, download::Start{});
}

void DownloadService::take_up(download::Download d, store::ProfileRow profile, bool planned) {
  auto l = std::make_shared<Live>();
  l->d = std::move(d);
  l->record = std::make_shared<const std::string>(download::to_record(l->d));
  l->profile = std::move(profile);
  ++p_.metrics.taken_up;
  enqueue(l, download::Restart{planned});
}

void DownloadService::enqueue(const LivePtr& l, download::Event first) {
  l->since = std::chrono::steady_clock::now();
  l->order = l->d.order;
  l->ticket = ++tickets_;
  l->events.push_back(std::move(first));
  l->deadline = std::make_unique<asio::steady_timer>(p_.io);
  l->deadline->expires_after(
      std::chrono::milliseconds(std::max<std::int64_t>(0, l->order.deadline_ms - anchored_ms())));
  l->deadline->async_wait([this, w = std::weak_ptr<Live>(l)](const boost::system::error_code& ec) {
    if (auto x = w.lock(); x && !ec && !stopped_) on_deadline(x);
  });
  in_queue_[l->ticket] = l;
  const std::string& eid = l->order.eid.str();
  p_.follow_ups.hold(eid);
  vacate_idle_cards();
  if (p_.follow_ups.busy(eid) && followed_up_.emplace(card_of(l->order), eid).second)
    admission_.occupy(card_of(l->order));
  admission_.add(l->ticket, l->order.requester.str(), l->order.smsr.str(), card_of(l->order));
  admit();
}

// Starts what may start: a place in flight, and the card free.
void DownloadService::admit() {
  while (!stopped_ && !draining_) {
    const auto ticket = admission_.next();
    if (!ticket) break;
    const auto it = in_queue_.find(*ticket);
    const LivePtr l = it->second;
    in_queue_.erase(it);
    by_card_[card_of(l->order)] = l;
    live_[l->order.id] = l;
    l->queued = false;
    asio::post(p_.io, [this, l] { advance(l); });
  }
  p_.metrics.in_flight = live_.size();
  p_.metrics.peak_in_flight = std::max(p_.metrics.peak_in_flight, live_.size());
  p_.metrics.waiting = admission_.waiting();
}

// A follow-up's DeleteISDP has come to its end: orders for that eUICC may start.
void DownloadService::card_idle() {
  vacate_idle_cards();
  admit();
}

// Also asked at each order: a DeleteISDP that ends while no order waits for its eUICC is told to nobody.
void DownloadService::vacate_idle_cards() {
  for (auto it = followed_up_.begin(); it != followed_up_.end();) {
    if (p_.follow_ups.busy(it->second)) {
      ++it;
      continue;
    }
    admission_.vacate(it->first);
    it = followed_up_.erase(it);
  }
}

void DownloadService::on_deadline(const LivePtr& l) {
  if (l->queued && l->d.state == download::State::received && admission_.withdraw(l->ticket)) {
    // Nothing was asked of anybody yet: it ends on time, whoever keeps the places.
    in_queue_.erase(l->ticket);
    live_[l->order.id] = l;
    l->queued = false;
    l->events.clear();
    admit();
  }
  post(l, download::DeadlinePassed{});
}

void DownloadService::release(const LivePtr& l) {
  if (l->timer) l->timer->cancel();
  if (l->deadline) l->deadline->cancel();
  if (const auto it = by_card_.find(card_of(l->order)); it != by_card_.end() && it->second == l) by_card_.erase(it);
  live_.erase(l->order.id);
  admission_.end(l->ticket);
  p_.follow_ups.release(l->order.eid.str());
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
    if (l->timer) l->timer->cancel();
    l->events.clear();
    l->busy = false;
    ++l->broken;
    if (l->broken > 2) return put_aside(l, why);
    if (l->broken > 1 || !l->record) return end_broken(l, why);
    auto d = download::from_record(*l->record);
    if (!d || d->state == download::State::received) return end_broken(l, why);
    d->order = l->order;
    d->restarts = std::max(d->restarts, 1U);  // not a second time from the start
    l->d = std::move(*d);
    l->events.push_back(download::Restart{});
    asio::post(p_.io, [this, l] { advance(l); });
  } catch (...) {
    report(p_.metrics, "the end of a download", std::current_exception());
    guarded(p_.metrics, "the end of a download", [&] { release(l); });
  }
}

void DownloadService::end_broken(const LivePtr& l, const std::string& why) {
  l->d = download::Download{};
  l->d.order = l->order;
  l->d.state = download::State::failed;
  l->d.leftover = l->d.on_card = l->record != nullptr;  // for all we know
  if (l->record)
    if (const auto last = download::from_record(*l->record)) l->d.open_creations = last->open_creations;
  l->d.cause = download::Cause{
      "1.2", "4.2", "",
      l->record ? "internal failure of the SM-DP; an ISD-P may have been left behind" : "internal failure of the SM-DP",
      ""};
  l->busy = true;
  try {
    finish(l);
  } catch (...) {
    put_aside(l, why);
  }
}

// Not even an outcome could be written: place and card are free, the record waits for a person.
void DownloadService::put_aside(const LivePtr& l, const std::string& why) {
  l->d = download::Download{};  // whatever still answers, no step is taken for it any more
  l->d.state = download::State::failed;
  l->busy = true;
  p_.storage.submit(
      [id = l->order.id, why = clip_text(why, 1000)](store::Tx& tx) { tx.set_aside_download(id, why, anchored_ms()); },
      [this, l, why](const Status& s) {
        note_set_aside(p_.metrics, "download " + l->order.id + ": " + why);
        spdlog::error("ALARM download {} is set aside: {}{}", l->order.id, why,
                      s.ok() ? "" : "; not even that could be stored: " + s.error().text());
      });
  release(l);
}

// A full disk, a store that is gone: nothing goes on until the record is safe.
void DownloadService::commit_failed(const LivePtr& l, std::shared_ptr<std::vector<download::Effect>> effects,
                                    unsigned attempt, const Error& why) {
  if (why.reason == "store-job") return broke(l, why.detail);
  if (attempt % 30 == 0) spdlog::error("download {}: state not stored, trying again: {}", l->order.id, why.text());
  l->timer = std::make_unique<asio::steady_timer>(p_.io, std::chrono::seconds(1));
  l->timer->async_wait([this, l, effects, attempt](const boost::system::error_code& ec) {
    if (!ec && !stopped_) careful(l, [&] { commit(l, effects, attempt + 1); });
  });
}

void DownloadService::finish_failed(const LivePtr& l, std::shared_ptr<es::Response> r, unsigned attempt,
                                    const Error& why) {
  if (why.reason == "store-job") return broke(l, why.detail);
  if (attempt % 30 == 0) spdlog::error("download {}: outcome not stored, trying again: {}", l->order.id, why.text());
  l->timer = std::make_unique<asio::steady_timer>(p_.io, std::chrono::seconds(1));
  l->timer->async_wait([this, l, r, attempt](const boost::system::error_code& ec) {
    if (!ec && !stopped_) careful(l, [&] { finish_commit(l, r, attempt + 1); });
  });
}

void DownloadService::enabled_seen(const std::string& eid, const std::string& smsr, const std::string& iccid) {
  auto it = by_card_.find(eid + " " + smsr);
  if (it != by_card_.end() && it->second->order.iccid.str() == iccid) post(it->second, download::EnabledSeen{});
}

void DownloadService::stop() {
  stopped_ = true;
  for (auto& [id, l] : live_) {
    if (l->timer) l->timer->cancel();
    if (l->deadline) l->deadline->cancel();
  }
  for (auto& [ticket, l] : in_queue_)
    if (l->deadline) l->deadline->cancel();
}

}  // namespace kf::server
