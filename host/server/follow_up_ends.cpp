// FollowUpService: how what is looked after comes to its end, and what is told of it.
#include <spdlog/spdlog.h>

#include <set>
#include <utility>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/server/follow_up_service.hpp"
#include "host/server/guard.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {
constexpr auto kDaysWatch = std::chrono::minutes(10);
constexpr auto kStoreAgain = std::chrono::seconds(1);

void without(std::vector<std::string>& iccids, const download::Settled& s) {
  std::set<std::string_view> over(s.gone.begin(), s.gone.end());
  over.insert(s.used.begin(), s.used.end());
  std::erase_if(iccids, [&](const std::string& iccid) { return over.contains(iccid); });
}
}  // namespace

void FollowUpService::end(const LivePtr& l) {
  if (l->f.state != download::FollowUp::State::clean) {
    alarm_given_up(*l);
    l->events.clear();
    if (nobody_depends_on(*l, anchored_ms()))
      settle(l, {}, true);
    else
      keep(l);
    return admit_crowded();
  }
  l->events.clear();
  settle(l, download::settled(l->f, anchored_ms()), true);
}

void FollowUpService::alarm_given_up(Live& l) {
  ++metrics_.follow_ups_given_up;
  if (l.f.crowded) {
    ++metrics_.alarms;
    return peer_line(spdlog::level::err, "follow-ups crowded", l.f.smsr.str(),
                     "ALARM EID " + l.f.eid.str() + " of SM-SR " + l.f.smsr.str() +
                         ": an ISD-P may be left in state Created, not looked after yet: " + l.f.trouble);
  }
  if (!an_hour_since(l.alarmed)) return;  // once a card
  ++metrics_.alarms;
  spdlog::error("ALARM EID {} of SM-SR {}: an ISD-P may be left in state Created, given up after {} looks: {}",
                l.f.eid.str(), l.f.smsr.str(), l.f.looks, printable(l.f.trouble, 400));
}

// The ledger of one that nobody looks after; a record that could not be written is written with the next change.
void FollowUpService::keep(const LivePtr& l) {
  keep_ledger(l->f.eid.str(), l->f.smsr.str(), download::to_record(l->f));
  index(l);
  count(l);
}

void FollowUpService::keep_ledger(const std::string& eid, const std::string& smsr, const std::string& record,
                                  std::function<void()> done) {
  cards_.keep_ledger({eid, smsr, record}, [eid, done = std::move(done)](const Status& s) {
    if (!s) spdlog::error("ledger of EID {} not stored: {}", eid, s.error().text());
    if (done) done();
  });
}

// Nothing of the ledger goes before that is stored: until then it is there for the next order and the next look.
void FollowUpService::settle(const LivePtr& l, download::Settled settled, bool forget) {
  l->settling = std::make_shared<const Settling>(Settling{std::move(settled), forget});
  count(l);
  store_settled(l, l->settling, 0);
}

void FollowUpService::store_settled(const LivePtr& l, const std::shared_ptr<const Settling>& s, unsigned attempt) {
  CardSettled settled{l->f.eid.str(), l->f.smsr.str(), {}, s->what.gone, s->what.used};
  if (!s->forget) {
    download::FollowUp kept = l->f;
    without(kept.iccids, s->what);
    settled.record = download::to_record(kept);
  }
  cards_.settle(std::move(settled), [this, l, s, attempt](const Status& stored, const std::set<std::string>& changed) {
    if (stopped_ || l->settling != s) return;  // an order came, or news: nothing is over
    if (!stored) {
      if (attempt % 30 == 0)
        spdlog::error("end of the follow-up of EID {} not stored, trying again: {}", l->f.eid.str(),
                      stored.error().text());
      l->settle_retry = std::make_unique<asio::steady_timer>(io_, kStoreAgain);
      l->settle_retry->async_wait([this, l, s, attempt](const boost::system::error_code& ec) {
        if (ec || stopped_ || l->settling != s) return;
        // An order that held the card before: its outcome comes after, and must not be overtaken.
        if (held(l->card)) return cancel_settling(l);
        store_settled(l, s, attempt + 1);
      });
      return;
    }
    l->settling.reset();
    without(l->f.iccids, s->what);
    if (l->f.state == download::FollowUp::State::clean) {
      ++metrics_.follow_ups_clean;
      spdlog::info("EID {}: followed up, nothing is left", l->f.eid.str());
    }
    for (const auto& iccid : s->what.used) {
      if (!changed.contains(iccid)) continue;
      ++metrics_.alarms;
      spdlog::error(
          "ALARM EID {}: ICCID {} was told as not installed, its EIS shows it as a profile; kept as installed",
          l->f.eid.str(), iccid);
    }
    for (const auto& iccid : s->what.gone)
      if (changed.contains(iccid))
        spdlog::info("ICCID {} is free again: the EIS of EID {} proves it gone", iccid, l->f.eid.str());
    count(l);
    if (!s->forget) return;
    drop(l);
    admit_crowded();
  });
}

// It is looked after again where it was at its end: what was proved then is in the ledger, and is proved once more.
void FollowUpService::cancel_settling(const LivePtr& l) {
  if (!l->settling) return;
  l->settling.reset();
  l->settle_retry.reset();
  l->events.clear();
  if (l->f.state == download::FollowUp::State::clean) l->f.state = download::FollowUp::State::waiting;
  count(l);
}

void FollowUpService::drop(const LivePtr& l) {
  l->timer.reset();
  l->retry.reset();
  l->settle_retry.reset();
  l->events.clear();
  l->dropped = true;  // whatever is still under way for it is ignored
  for (const auto& transaction : l->indexed) open_.erase(transaction);
  live_.erase(l->card);
  l->f.iccids.clear();
  count(l);
}

// ---- days ----
void FollowUpService::watch_days() {
  days_.expires_after(kDaysWatch);
  days_.async_wait([this](const boost::system::error_code& ec) {
    if (ec || stopped_) return;
    guarded(metrics_, "alarms of the day", [&] { tell_days(anchored_ms()); });
    watch_days();
  });
}

void FollowUpService::tell_days(std::int64_t now_ms) {
  for (const auto& [card, l] : live_) {
    if (download::ended(l->f) && !l->f.crowded) {  // told when it was given up
      if (!l->settling && !held(card) && nobody_depends_on(*l, now_ms)) settle(l, {}, true);
      continue;
    }
    const std::int64_t days = download::untold_days(l->f, now_ms);
    if (days == 0) continue;
    l->f.days_told = days;
    ++metrics_.alarms;
    spdlog::error("ALARM EID {} of SM-SR {}: an ISD-P may be left in state Created, for {} now, after {} looks{}{}",
                  l->f.eid.str(), l->f.smsr.str(), counted(static_cast<std::size_t>(days), "day"), l->f.looks,
                  held(card) ? "; an order for it goes first" : "",
                  l->f.trouble.empty() ? "" : ": " + printable(l->f.trouble, 400));
    keep(l);
  }
}

}  // namespace kf::server
