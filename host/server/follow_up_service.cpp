#include "host/server/follow_up_service.hpp"

#include <spdlog/spdlog.h>

#include <set>
#include <tuple>
#include <utility>

#include "host/base/calendar.hpp"
#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/download/answers.hpp"
#include "host/server/guard.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {
constexpr unsigned kCallsAtOnce = 4;                    // to one SM-SR: orders need its connections more
constexpr std::int64_t kCrowdedMs = 1'000;              // until the next try to be one of them
constexpr std::string_view kSetAside = ", set aside ";  // in the name of a record: between its card and when
}  // namespace

bool FollowUpService::an_hour_since(std::optional<Clock::time_point>& last) {
  const auto now = Clock::now();
  if (last && now - *last < std::chrono::hours(1)) return false;
  last = now;
  return true;
}

// ---- what is known ----
void FollowUpService::load(const std::vector<store::FollowUpRow>& records,
                           const std::vector<store::ProfileRow>& uncertain, const std::set<std::string>& ordered,
                           const std::vector<store::SetAsideRow>& aside) {
  const std::int64_t now = anchored_ms();
  std::set<std::tuple<std::string_view, std::string_view, std::string_view>> depend;
  for (const auto& p : uncertain) depend.emplace(p.iccid, p.eid, p.smsr);
  // What the operator released, or an order has taken meanwhile, does not depend on it any more.
  const auto forget_settled = [&](download::FollowUp& f) {
    std::erase_if(f.iccids, [&](const std::string& iccid) {
      return !depend.contains({iccid, f.eid.str(), f.smsr.str()});
    });
  };
  std::set<std::string> unread;  // cards whose ledgers are lost to this program
  for (const auto& row : records) {
    auto f = download::follow_up_from_record(row.record, now);
    if (!f) {
      set_aside(row, f.error());
      unread.insert(row.eid + " " + row.smsr);
      continue;
    }
    forget_settled(*f);
    add(std::move(*f))->begun = true;
  }
  for (const auto& kept : aside) {
    auto f = download::follow_up_from_record(kept.record, now);
    if (!f) {  // still; it was told at the start that found it so
      unread.insert(kept.name.substr(0, kept.name.find(kSetAside)));
      continue;
    }
    forget_settled(*f);
    spdlog::info("{} {}, once set aside, can be read", kept.kind, printable(kept.name));
    LivePtr l = find(download::card_of(*f));
    if (l) {
      l->f.possession.merge(f->possession);
      if (download::ended(l->f) && !download::ended(*f)) revive(l);  // what stood in for it had been given up
      index(l);
    } else {
      l = add(std::move(*f));
    }
    l->begun = true;
    // Once: what cannot be stored now is still set aside at the next start. Later, this record would be an old one.
    cards_.take_back_ledger(kept, {l->f.eid.str(), l->f.smsr.str(), download::to_record(l->f)},
                            [name = kept.name](const Status& s) {
                              if (!s) spdlog::error("{} stays set aside: {}", printable(name), s.error().text());
                            });
  }
  std::set<std::pair<std::string, const Live*>> noted;
  for (const auto& [card, l] : live_)
    for (const auto& iccid : l->f.iccids) noted.emplace(iccid, l.get());
  std::set<LivePtr> substitutes;
  for (const auto& p : uncertain) {
    const Eid eid = Eid::trusted(p.eid);
    const Oid smsr = Oid::trusted(p.smsr);
    LivePtr l = find(download::card_of(eid, smsr));
    if (!l) {  // given up by a program that kept no ledger of it, or one that cannot be read
      download::FollowUp f;
      f.id = "after-" + p.download_id + "-" + p.iccid;
      f.eid = eid;
      f.smsr = smsr;
      f.state = download::FollowUp::State::given_up;
      l = add(std::move(f));
      if (unread.contains(l->card)) substitutes.insert(l);
    }
    if (noted.emplace(p.iccid, l.get()).second) l->f.iccids.push_back(p.iccid);
    if (!l->f.possession.knows(p.iccid)) l->f.possession.claimed(p.iccid, now);
    if (!substitutes.contains(l)) continue;
    // Nobody knows which calls the lost ledger had: each may be executed as late as any call of ours.
    const std::int64_t until = now + download::kLongestCall + 2 * config_.follow_up.card_ms;
    l->f.possession.unnamed_creations(p.iccid, now, until);
    l->f.possession.unnamed_deletions(p.iccid, now, until);
  }
  for (const auto& l : substitutes) keep(l);  // so that its time goes on where this process ends
  std::vector<LivePtr> over;
  for (const auto& [card, l] : live_)
    if (!l->f.crowded && !ordered.contains(card) && nobody_depends_on(*l, now)) over.push_back(l);
  for (const auto& l : over) settle(l, {}, true);
  for (const auto& [card, l] : live_) {
    if (!download::ended(l->f) && !held(card)) look_after(l, config_.follow_up.backoff_ms);
    if (download::ended(l->f) && l->f.crowded) crowd(l);
    count(l);
  }
  admit_crowded();
  watch_days();
}

// The record goes, whole, to what is set aside: the next one of its card would take its place.
void FollowUpService::set_aside(const store::FollowUpRow& row, const Error& why) {
  const std::string card = row.eid + " " + row.smsr;
  ++metrics_.alarms;
  note_set_aside(metrics_, "follow-up " + card + ": " + why.text());
  spdlog::error("ALARM follow-up of EID {} at SM-SR {} cannot be read and is set aside: {}", printable(row.eid, 64),
                printable(row.smsr, 64), printable(why.text(), 400));
  const store::SetAsideRow as{"follow-up",
                              card + std::string(kSetAside) + iso_seconds(wall_now()),
                              "",
                              clip_text(why.text(), 1000),
                              anchored_ms(),
                              row.record};
  cards_.set_aside_ledger(row, as);
}

// Given up, and neither an ICCID nor a call waits for what its ledger knows. The next order for the card looks itself.
bool FollowUpService::nobody_depends_on(const Live& l, std::int64_t now) {
  return download::ended(l.f) && l.f.iccids.empty() && !l.f.possession.calls_under_way(now);
}

FollowUpService::LivePtr FollowUpService::find(const std::string& card) const {
  const auto it = live_.find(card);
  return it == live_.end() ? nullptr : it->second;
}

void FollowUpService::brief(const std::string& card, download::Possession& p) {
  if (const LivePtr l = find(card)) p.merge(l->f.possession);
  if (const auto it = installed_.find(card); it != installed_.end())
    for (const auto& [iccid, at_ms] : it->second) p.installed(iccid, at_ms);
}

void FollowUpService::remember_installed(const download::Download& d, std::int64_t now) {
  while (!installed_by_age_.empty() && installed_by_age_.front().at_ms + config_.follow_up.settle_ms < now) {
    const Installed& oldest = installed_by_age_.front();
    if (const auto it = installed_.find(oldest.card); it != installed_.end()) {
      if (const auto at = it->second.find(oldest.iccid); at != it->second.end() && at->second == oldest.at_ms)
        it->second.erase(at);
      if (it->second.empty()) installed_.erase(it);
    }
    installed_by_age_.pop_front();
  }
  if (d.state != download::State::done && d.state != download::State::done_with_warning) return;
  const std::string card = download::card_of(d.order);
  installed_[card][d.order.iccid.str()] = now;
  installed_by_age_.push_back({now, card, d.order.iccid.str()});
}

std::optional<std::string> FollowUpService::outcome(const download::Download& d) {
  const std::int64_t now = anchored_ms();
  remember_installed(d, now);
  LivePtr l = find(download::card_of(d.order));
  if (!l && !download::needs_follow_up(d, now)) return std::nullopt;
  const bool begins = !l || download::ended(l->f);
  const bool crowded = begins && !room_for(d.order.smsr, d.order.requester);
  download::FollowUp next = download::with_outcome(l ? std::optional(l->f) : std::nullopt, d, now, config_.follow_up);
  if (l) {
    cancel_settling(l);
    l->f = std::move(next);
  } else {
    l = add(std::move(next));
  }
  if (begins) l->begun = false;
  l->f.crowded = crowded;
  if (crowded) {
    crowd(l);
    l->f.state = download::FollowUp::State::given_up;
    l->f.trouble = "too many eUICCs of this SM-SR are looked after already";
  }
  index(l);
  count(l);
  return download::to_record(l->f);
}

std::optional<std::string> FollowUpService::record_of(const std::string& card) const {
  const LivePtr l = find(card);
  if (!l) return std::nullopt;
  return download::to_record(l->f);
}

bool FollowUpService::knows(const std::string& card, std::string_view iccid) const {
  const LivePtr l = find(card);
  return l && l->f.possession.knows(iccid);
}

void FollowUpService::settled(const download::Download& d) {
  const LivePtr l = find(download::card_of(d.order));
  if (!l || l->begun) return;
  l->begun = true;
  if (!download::ended(l->f)) {
    ++metrics_.follow_ups_begun;
    spdlog::info("EID {}: followed up after download {}, an ISD-P may be left", d.order.eid.str(), d.order.id);
  } else if (l->f.iccids.empty() && l->f.possession.clean(anchored_ms())) {
    settle(l, {}, true);
  } else {
    alarm_given_up(*l);
  }
}

FollowUpService::LivePtr FollowUpService::add(download::FollowUp f) {
  auto l = std::make_shared<Live>();
  l->f = std::move(f);
  if (l->f.first_left_ms == 0) l->f.first_left_ms = anchored_ms();
  l->card = download::card_of(l->f);
  live_[l->card] = l;
  index(l);
  count(l);
  return l;
}

void FollowUpService::index(const LivePtr& l) {
  if (l->f.possession.open_calls_are(l->indexed)) return;
  std::vector<std::string> open = l->f.possession.open_calls();
  for (const auto& transaction : l->indexed)
    if (!l->f.possession.open(transaction)) open_.erase(transaction);
  for (const auto& transaction : open) open_.insert_or_assign(transaction, l->card);
  l->indexed = std::move(open);
}

// ---- orders go first ----
void FollowUpService::hold(const std::string& card) {
  ++held_[card];
  const LivePtr l = find(card);
  if (!l) return;
  l->timer.reset();
  cancel_settling(l);  // the order takes the ledger along
  // An EIS under way would show the order's own ISD-P, and later be taken for a reason to delete it. What is just being
  // committed is not carried out.
  if (!l->committing) download::rest(l->f);
}

void FollowUpService::release(const std::string& card) {
  const auto it = held_.find(card);
  if (it == held_.end() || --it->second != 0) return;
  held_.erase(it);
  const LivePtr l = find(card);
  if (!l || l->settling) return;
  if (!l->f.crowded && nobody_depends_on(*l, anchored_ms())) return settle(l, {}, true);  // the hold had cancelled it
  if (!download::ended(l->f) && !l->timer && !l->committing && l->f.pending_call == 0)
    look_after(l, config_.follow_up.backoff_ms);
}

bool FollowUpService::busy(const std::string& card) const {
  const LivePtr l = find(card);
  return l && deleting(*l);
}

// ---- steps ----
void FollowUpService::look_after(const LivePtr& l, std::int64_t ms) {
  l->timer = std::make_unique<asio::steady_timer>(io_, std::chrono::milliseconds(ms));
  l->timer->async_wait([this, w = std::weak_ptr<Live>(l)](const boost::system::error_code& ec) {
    auto x = w.lock();
    if (!x || ec || stopped_) return;
    x->timer.reset();
    if (held(x->card)) return;  // release() goes on
    if (calling_[x->f.smsr.str()] >= kCallsAtOnce) return look_after(x, kCrowdedMs);
    post(x, download::Look{});
  });
}

void FollowUpService::post(const LivePtr& l, download::FollowUpEvent e) {
  if (stopped_ || l->dropped) return;
  l->events.push_back(std::move(e));
  advance(l);
}

void FollowUpService::advance(const LivePtr& l) {
  const bool was_deleting = deleting(*l);
  while (!l->committing && !l->events.empty() && !l->dropped && !download::ended(l->f)) {
    download::FollowUpEvent e = std::move(l->events.front());
    l->events.pop_front();
    try {
      auto s = std::make_shared<download::FollowUpStep>();
      if (!turn(l, std::move(e), *s)) continue;
      index(l);
      count(l);
      if (download::ended(l->f)) {
        end(l);
      } else if (s->persist) {
        l->committing = true;
        commit(l, s, 0);
      } else {
        carry_out(l, *s);
      }
    } catch (...) {
      l->committing = false;
      broke(l, text_of(std::current_exception()));
    }
  }
  if (was_deleting && !deleting(*l) && idle) idle();
}

// One step. What it throws about costs no ledger: all goes on from what was before. An answer that cannot be dealt with
// counts as none, so that the bounds on looks hold; an end that cannot be noted stays unknown.
bool FollowUpService::turn(const LivePtr& l, download::FollowUpEvent e, download::FollowUpStep& out) {
  download::FollowUp before = l->f;
  const auto* answer = std::get_if<download::Answer>(&e);
  const unsigned awaited = answer != nullptr && answer->call == l->f.pending_call ? answer->call : 0;
  const bool late = std::holds_alternative<download::LateEnd>(e) || (answer != nullptr && awaited == 0);
  try {
    out = step(std::move(l->f), std::move(e), anchored_ms(), config_.oid.str(), config_.follow_up);
    l->f = std::move(out.follow_up);
    return true;
  } catch (...) {
    l->f = std::move(before);
    const std::string why = text_of(std::current_exception());
    if (awaited == 0 && !late) {
      broke(l, why);
      return false;
    }
    tell_broken(*l, why);
    if (awaited != 0)
      l->events.push_front(download::CallFailed{awaited, download::CallFault::fault, why, "internal failure", true});
    return false;
  }
}

// It has its ledger and nothing that it waits for: it looks again after its longest pause, since what threw once may
// throw at each look.
void FollowUpService::broke(const LivePtr& l, const std::string& why) {
  tell_broken(*l, why);
  if (stopped_ || l->dropped) return;
  cancel_settling(l);
  if (download::ended(l->f)) return;
  l->events.clear();
  l->f.pending_call = 0;
  l->f.pausing_ms = config_.follow_up.longest_pause_ms;
  l->f.state = download::FollowUp::State::waiting;
  if (!held(l->card)) look_after(l, config_.follow_up.longest_pause_ms);
}

void FollowUpService::tell_broken(const Live& l, const std::string& why) {
  ++metrics_.exceptions;
  ++metrics_.alarms;
  peer_line(spdlog::level::err, "follow-up broke", l.card,
            "ALARM EID " + l.f.eid.str() + " of SM-SR " + l.f.smsr.str() +
                ": its follow-up met an unexpected failure: " + why);
}

void FollowUpService::commit(const LivePtr& l, std::shared_ptr<download::FollowUpStep> s, unsigned attempt) {
  cards_.keep_ledger(
      {l->f.eid.str(), l->f.smsr.str(), download::to_record(l->f)}, [this, l, s, attempt](const Status& stored) {
        if (stopped_ || l->dropped) return;
        if (!stored) {
          if (attempt % 30 == 0)
            spdlog::error("follow-up of EID {}: not stored, trying again: {}", l->f.eid.str(), stored.error().text());
          l->retry = std::make_unique<asio::steady_timer>(io_, std::chrono::seconds(1));
          l->retry->async_wait([this, l, s, attempt](const boost::system::error_code& ec) {
            if (!ec && !stopped_) commit(l, s, attempt + 1);
          });
          return;
        }
        const bool was_deleting = deleting(*l);
        l->committing = false;
        try {
          carry_out(l, *s);
          advance(l);
        } catch (...) {
          broke(l, text_of(std::current_exception()));
        }
        if (was_deleting && !deleting(*l) && idle) idle();
      });
}

void FollowUpService::carry_out(const LivePtr& l, const download::FollowUpStep& s) {
  if (held(l->card)) {  // an order came: it cleans up itself, and release() goes on
    if (s.call)
      post(l,
           download::CallFailed{s.call->call, download::CallFault::unreachable, "", "not made, an order goes first"});
    return;
  }
  if (s.call) call(l, *s.call);
  if (s.pause_ms) look_after(l, *s.pause_ms);
}

void FollowUpService::call(const LivePtr& l, const download::CallEs3& c) {
  const std::string oid = l->f.smsr.str();
  const Party* smsr = config_.by_oid(oid);
  const unsigned n = c.call;
  const std::int64_t left = (c.not_after_ms == 0 ? c.timeout_ms : c.not_after_ms - anchored_ms());
  if (smsr == nullptr || smsr->role != Role::smsr)
    return post(l, download::CallFailed{n, download::CallFault::unreachable, "", "SM-SR is no longer configured"});
  if (left <= 0)  // it took that long to be stored
    return post(l, download::CallFailed{n, download::CallFault::unreachable, "", "not made in time"});
  const auto validity = static_cast<std::uint32_t>(std::max<std::int64_t>(1, left / 1000));
  ++calling_[oid];
  const auto called = [this, oid] {
    if (auto it = calling_.find(oid); it != calling_.end() && --it->second == 0) calling_.erase(it);
  };
  try {
    es3_.call(*smsr, l->f.id + "." + std::to_string(n), c.request, c.timeout_ms, validity, c.resend_safe,
              [this, l, n, called](CallResult r) {
                called();
                if (auto* ok = std::get_if<es::Response>(&r)) return post(l, download::Answer{n, std::move(*ok)});
                auto& f = std::get<CallFailure>(r);
                post(l, download::CallFailed{n, f.fault, std::move(f.detail), std::move(f.brief), f.answered});
              });
  } catch (...) {  // it may have been on its way
    called();
    const std::string why = text_of(std::current_exception());
    tell_broken(*l, why);
    post(l, download::CallFailed{n, download::CallFault::lost, why, "internal failure"});
  }
}

// ---- what others learn ----
bool FollowUpService::late_callback(const Party& from, const std::string& transaction, const es::Response& r) {
  const auto c = open_.find(transaction);
  const LivePtr l = c == open_.end() ? nullptr : find(c->second);
  if (!l || l->f.smsr != from.oid || !l->f.possession.open(transaction)) return false;
  const auto done = download::end_of(l->f.possession, transaction, r);
  const bool queued = std::ranges::any_of(l->events, [&](const auto& e) {
    const auto* end = std::get_if<download::LateEnd>(&e);
    return end != nullptr && end->transaction == transaction;
  });
  if (!done || queued) {  // says nothing, or nothing new
    ++metrics_.callbacks_dropped;
    return true;
  }
  cancel_settling(l);
  if (download::ended(l->f)) {  // given up, but there is news: looked at once more, an SM-SR may not have it at will
    if (l->f.crowded || !an_hour_since(l->revived)) {
      const std::int64_t now = anchored_ms();
      if (*done)
        l->f.possession.executed(transaction, now);
      else
        l->f.possession.not_executed(transaction, now);
      keep(l);
      return true;
    }
    revive(l);
  }
  post(l, download::LateEnd{transaction, *done});
  return true;
}

void FollowUpService::revive(const LivePtr& l) {
  l->f.state = download::FollowUp::State::waiting;
  l->f.looks = l->f.refusals = 0;
  l->f.left_ms = config_.follow_up.give_up_ms;
  l->f.crowded = l->f.grace = false;
  count(l);
}

void FollowUpService::seen(const Party& smsr, const es::Eis& e, Clock::time_point asked) {
  const LivePtr l = find(e.eid + " " + smsr.oid.str());
  // One that goes on looks for itself, and an order knows more.
  if (!l || !download::ended(l->f) || l->settling || held(l->card)) return;
  const std::int64_t now = anchored_ms();
  const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - asked).count();
  l->f.possession.seen(download::look_at_eis(e, l->f.possession, config_.oid.str(), now - age, now),
                       config_.follow_up.settle_ms);
  l->f.possession.compact(now, config_.follow_up.settle_ms);
  download::Settled s = download::settled(l->f, now);
  s.used.clear();  // that takes an alarm, and a look of our own
  if (s.gone.empty()) return;
  settle(l, s, l->f.possession.clean(now) && s.gone.size() == l->f.iccids.size());
}

void FollowUpService::stop() {
  stopped_ = true;
  days_.cancel();
  for (auto& [card, l] : live_) l->timer.reset(), l->retry.reset(), l->settle_retry.reset();
}

}  // namespace kf::server
