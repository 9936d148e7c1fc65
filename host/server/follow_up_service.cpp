#include "host/server/follow_up_service.hpp"

#include <spdlog/spdlog.h>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"

namespace kf::server {
namespace {
constexpr unsigned kCallsAtOnce = 4;        // to one SM-SR: orders need its connections more
constexpr std::int64_t kCrowdedMs = 1'000;  // until the next try to be one of them

bool shows(const es::Eis& e, std::string_view iccid) {
  return std::ranges::any_of(
      e.profiles, [&](const es::ProfileInfo& p) { return same_iccid(p.iccid, iccid) && p.state != "Deleted"; });
}
}  // namespace

void FollowUpService::load(const std::vector<std::string>& records, const std::vector<store::ProfileRow>& uncertain) {
  for (const auto& p : uncertain) uncertain_[p.eid].push_back({p.iccid, p.smsr, Clock::now()});
  for (const auto& text : records) {
    auto f = download::follow_up_from_record(text);
    if (f) {
      add(std::move(*f));
    } else {
      ++metrics_.alarms;
      spdlog::error("ALARM a follow-up of the old process cannot be read: {}", printable(text));
    }
  }
  count();
}

std::optional<download::FollowUp> FollowUpService::plan(const download::Download& d) {
  if (!download::needs_follow_up(d)) return std::nullopt;
  const std::string& eid = d.order.eid.str();
  const auto it = live_.find(eid);
  if (it == live_.end() && of(d.order.smsr) >= config_.follow_ups_per_smsr) {
    ++metrics_.alarms;
    spdlog::error(
        "ALARM EID {}: an ISD-P for ICCID {} may be left, and too many eUICCs of SM-SR {} are looked after already",
        eid, d.order.iccid.str(), d.order.smsr.str());
    return std::nullopt;
  }
  std::optional<download::FollowUp> into;
  if (it != live_.end()) into = it->second->f;
  return download::follow_up_of(d, anchored_ms(), config_.follow_up, std::move(into));
}

void FollowUpService::settled(const download::Download& d, std::optional<download::FollowUp> f) {
  const std::string& eid = d.order.eid.str();
  forget(eid, d.order.iccid.str());
  if (download::iccid_after(d) == download::IccidState::uncertain)
    uncertain_[eid].push_back({d.order.iccid.str(), d.order.smsr.str(), Clock::now()});
  if (f) {
    ++metrics_.follow_ups_begun;
    spdlog::info("EID {}: followed up after download {}, an ISD-P may be left", eid, d.order.id);
    if (auto it = live_.find(eid); it != live_.end()) drop(it->second);
    add(std::move(*f));
  }
  count();
}

void FollowUpService::add(download::FollowUp f) {
  auto l = std::make_shared<Live>();
  l->f = std::move(f);
  for (const auto& c : l->f.creations) creations_[c.transaction] = l->f.eid.str();
  live_[l->f.eid.str()] = l;
  count();
  if (!held(l->f.eid.str())) look_after(l, config_.follow_up.backoff_ms);
}

void FollowUpService::hold(const std::string& eid) {
  ++held_[eid];
  const auto it = live_.find(eid);
  if (it == live_.end()) return;
  Live& l = *it->second;
  l.timer.reset();
  if (l.f.state != download::FollowUp::State::looking || l.committing) return;
  // That EIS would show the order's own ISD-P, and later be taken for a reason to delete it.
  l.f.pending_call = 0;
  l.f.state = download::FollowUp::State::waiting;
}

void FollowUpService::release(const std::string& eid) {
  const auto it = held_.find(eid);
  if (it == held_.end() || --it->second != 0) return;
  held_.erase(it);
  const auto l = live_.find(eid);
  if (l != live_.end() && !l->second->timer && !l->second->committing && l->second->f.pending_call == 0)
    look_after(l->second, config_.follow_up.backoff_ms);
}

bool FollowUpService::busy(const std::string& eid) const {
  const auto it = live_.find(eid);
  return it != live_.end() && it->second->f.state == download::FollowUp::State::deleting &&
         (it->second->f.pending_call != 0 || it->second->committing);
}

void FollowUpService::look_after(const LivePtr& l, std::int64_t ms) {
  l->timer = std::make_unique<asio::steady_timer>(io_, std::chrono::milliseconds(ms));
  l->timer->async_wait([this, w = std::weak_ptr<Live>(l)](const boost::system::error_code& ec) {
    auto x = w.lock();
    if (!x || ec || stopped_) return;
    x->timer.reset();
    if (held(x->f.eid.str())) return;  // release() goes on
    if (calling_[x->f.smsr.str()] >= kCallsAtOnce) return look_after(x, kCrowdedMs);
    post(x, download::Look{});
  });
}

void FollowUpService::post(LivePtr l, download::FollowUpEvent e) {
  if (stopped_) return;
  l->events.push_back(std::move(e));
  advance(l);
}

void FollowUpService::advance(const LivePtr& l) {
  while (!l->committing && !l->events.empty() && !download::ended(l->f)) {
    download::FollowUpEvent e = std::move(l->events.front());
    l->events.erase(l->events.begin());
    auto s = std::make_shared<download::FollowUpStep>(
        download::step(std::move(l->f), std::move(e), anchored_ms(), config_.oid.str(), config_.follow_up));
    l->f = std::move(s->follow_up);
    if (download::ended(l->f)) return end(l);
    if (s->persist) {
      l->committing = true;
      return commit(l, std::move(s), 0);
    }
    carry_out(l, *s);
  }
}

void FollowUpService::commit(const LivePtr& l, std::shared_ptr<download::FollowUpStep> s, unsigned attempt) {
  storage_.submit(
      [eid = l->f.eid.str(), record = download::to_record(l->f)](store::Tx& tx) { tx.put_follow_up(eid, record); },
      [this, l, s, attempt](const Status& stored) {
        if (stopped_ || download::ended(l->f)) return;
        if (!stored) {
          if (attempt % 30 == 0)
            spdlog::error("follow-up of EID {}: not stored, trying again: {}", l->f.eid.str(), stored.error().text());
          l->retry = std::make_unique<asio::steady_timer>(io_, std::chrono::seconds(1));
          l->retry->async_wait([this, l, s, attempt](const boost::system::error_code& ec) {
            if (!ec && !stopped_) commit(l, s, attempt + 1);
          });
          return;
        }
        l->committing = false;
        carry_out(l, *s);
        advance(l);
      });
}

void FollowUpService::carry_out(const LivePtr& l, const download::FollowUpStep& s) {
  const std::string& eid = l->f.eid.str();
  if (held(eid)) {  // an order came: it cleans up itself, and release() goes on
    l->f.pending_call = 0;
    l->f.state = download::FollowUp::State::waiting;
    if (idle) idle();
    return;
  }
  if (s.call) call(l, *s.call);
  if (s.pause_ms) look_after(l, *s.pause_ms);
}

void FollowUpService::call(const LivePtr& l, const download::CallEs3& c) {
  const std::string oid = l->f.smsr.str();
  const Party* smsr = config_.by_oid(oid);
  const unsigned n = c.call;
  if (smsr == nullptr || smsr->role != Role::smsr)
    return post(l, download::CallFailed{n, download::CallFault::unreachable, "", "SM-SR is no longer configured"});
  ++calling_[oid];
  // Not executed any more once its answer is not waited for: an order that comes then must not be met by it.
  const auto validity = static_cast<std::uint32_t>(std::max<std::int64_t>(1, c.timeout_ms / 1000));
  es3_.call(*smsr, l->f.id + "." + std::to_string(n), c.request, c.timeout_ms, validity, c.resend_safe,
            [this, l, n, oid, smsr, asked = Clock::now()](CallResult r) {
              if (auto it = calling_.find(oid); it != calling_.end() && --it->second == 0) calling_.erase(it);
              if (auto* ok = std::get_if<es::Response>(&r)) return post(l, download::Answer{n, std::move(*ok)});
              auto& f = std::get<CallFailure>(r);
              post(l, download::CallFailed{n, f.fault, std::move(f.detail), std::move(f.brief)});
            });
}

void FollowUpService::end(const LivePtr& l) {
  const auto& f = l->f;
  const std::string& eid = f.eid.str();
  const bool clean = f.state == download::FollowUp::State::clean;
  if (clean) {
    ++metrics_.follow_ups_clean;
    spdlog::info("EID {}: followed up, nothing is left", eid);
  } else {
    ++metrics_.follow_ups_given_up;
    ++metrics_.alarms;
    spdlog::error("ALARM EID {} of SM-SR {}: an ISD-P may be left in state Created, given up after {} looks: {}", eid,
                  f.smsr.str(), f.looks, printable(f.trouble, 400));
  }
  for (const auto& iccid : f.used) {
    ++metrics_.alarms;
    spdlog::error("ALARM EID {}: ICCID {} was told as not installed, its EIS shows it as a profile; kept as installed",
                  eid, iccid);
  }
  storage_.submit(
      [eid, smsr = f.smsr.str(), gone = f.gone, used = f.used](store::Tx& tx) {
        tx.delete_follow_up(eid);
        // What another SM-SR may have put there is not for this one's EIS to say.
        for (const auto& i : gone) tx.settle_uncertain(i, eid, smsr, store::ProfileState::free);
        for (const auto& i : used) tx.settle_uncertain(i, eid, smsr, store::ProfileState::installed);
      },
      [eid](const Status& s) {  // the record stays: the next start looks once more
        if (!s) spdlog::error("end of the follow-up of EID {} not stored: {}", eid, s.error().text());
      });
  for (const auto& i : f.gone) forget(eid, i, f.smsr.str());
  for (const auto& i : f.used) forget(eid, i, f.smsr.str());
  drop(l);
  if (idle) idle();
}

void FollowUpService::drop(LivePtr l) {
  l->timer.reset();
  l->retry.reset();
  l->f.state = download::FollowUp::State::given_up;  // whatever is still under way for it is ignored
  l->events.clear();
  std::erase_if(creations_, [&](const auto& c) { return c.second == l->f.eid.str(); });
  live_.erase(l->f.eid.str());
  count();
}

bool FollowUpService::late_callback(const Party& from, const std::string& transaction, const es::Response& r) {
  const auto c = creations_.find(transaction);
  if (c == creations_.end()) return false;
  const auto it = live_.find(c->second);
  if (it == live_.end() || it->second->f.smsr != from.oid) return false;
  post(it->second, download::LateCreation{transaction, r});
  return true;
}

void FollowUpService::seen(const Party& smsr, const es::Eis& e, Clock::time_point asked) {
  if (uncertain_.empty()) return;
  const auto it = uncertain_.find(e.eid);
  if (it == uncertain_.end() || live_.count(e.eid) != 0) return;  // a follow-up knows what may yet appear
  std::vector<std::string> gone;
  const auto settled = asked - std::chrono::milliseconds(config_.follow_up.settle_ms);  // an EIS may lag behind
  for (const auto& u : it->second)
    if (u.smsr == smsr.oid.str() && u.since < settled && !shows(e, u.iccid)) gone.push_back(u.iccid);
  for (const auto& iccid : gone) {
    storage_.submit([iccid, eid = e.eid, at = smsr.oid.str()](
                        store::Tx& tx) { tx.settle_uncertain(iccid, eid, at, store::ProfileState::free); },
                    [iccid, eid = e.eid](const Status& s) {
                      if (s) spdlog::info("ICCID {} is free again: the EIS of EID {} shows it gone", iccid, eid);
                    });
    forget(e.eid, iccid, smsr.oid.str());
  }
}

void FollowUpService::forget(const std::string& eid, const std::string& iccid, const std::string& smsr) {
  const auto it = uncertain_.find(eid);
  if (it == uncertain_.end()) return;
  std::erase_if(it->second, [&](const Uncertain& u) { return u.iccid == iccid && (smsr.empty() || u.smsr == smsr); });
  if (it->second.empty()) uncertain_.erase(it);
  count();
}

std::size_t FollowUpService::of(const Oid& smsr) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(live_, [&](const auto& x) { return x.second->f.smsr == smsr; }));
}

void FollowUpService::count() {
  metrics_.follow_ups = live_.size();
  metrics_.uncertain = 0;
  for (const auto& [eid, list] : uncertain_) metrics_.uncertain += list.size();
}

void FollowUpService::stop() {
  stopped_ = true;
  for (auto& [eid, l] : live_) l->timer.reset(), l->retry.reset();
}

}  // namespace kf::server
