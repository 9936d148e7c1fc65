// FollowUpService: which of an SM-SR's eUICCs are looked after at a time, and which wait for a place.
#include <utility>

#include "host/server/admission.hpp"
#include "host/server/follow_up_service.hpp"

namespace kf::server {

// The rule of admission.hpp: an Operator's eUICCs may not fill all places that an SM-SR has.
bool FollowUpService::room_for(const Oid& smsr, const Oid& requester) const {
  const auto at = places_.find(smsr.str());
  if (at == places_.end()) return config_.follow_ups_per_smsr != 0;
  const std::size_t taken = at->second.taken;
  if (taken >= config_.follow_ups_per_smsr) return false;
  const auto of = at->second.by_operator.find(requester.str());
  const std::size_t held = of == at->second.by_operator.end() ? 0 : of->second;
  const bool shared = std::ranges::count(config_.parties, Role::operator_, &Party::role) > 1;
  return !shared || held == 0 || held < Admission::kShare * (config_.follow_ups_per_smsr - taken - 1);
}

// Under the Operator whose order was the last; where it stood under another one before, that entry is void.
void FollowUpService::crowd(const LivePtr& l) {
  const std::pair key{l->f.smsr.str(), l->f.requester.str()};
  if (l->crowd == key) return;
  l->crowd = key;
  crowded_[key].push_back(l->card);
}

// A place is free: the oldest one of each Operator that may have it is looked at.
void FollowUpService::admit_crowded() {
  for (auto at = crowded_.begin(); at != crowded_.end() && !stopped_;) {
    auto& cards = at->second;
    while (!cards.empty()) {
      const LivePtr l = find(cards.front());
      const bool here = l && l->crowd == at->first;
      const bool waits = here && l->f.crowded && download::ended(l->f);
      if (waits && !room_for(l->f.smsr, l->f.requester)) break;
      cards.pop_front();
      if (here) l->crowd.reset();
      if (!waits) continue;
      revive(l);
      keep(l);
      if (!held(l->card)) look_after(l, config_.follow_up.backoff_ms);
    }
    at = cards.empty() ? crowded_.erase(at) : std::next(at);
  }
}

// Places and figures follow what `l` is now; asked after every change of it.
void FollowUpService::count(const LivePtr& l) {
  metrics_.uncertain += l->f.iccids.size() - l->uncertain;
  l->uncertain = l->f.iccids.size();
  std::optional<std::pair<std::string, std::string>> takes;
  // One that came to a clean end has its place until that is stored.
  if (!l->dropped && l->f.state != download::FollowUp::State::given_up)
    takes.emplace(l->f.smsr.str(), l->f.requester.str());
  if (takes == l->place) return;
  if (l->place) {
    const auto at = places_.find(l->place->first);
    const auto of = at->second.by_operator.find(l->place->second);
    if (--of->second == 0) at->second.by_operator.erase(of);
    if (--at->second.taken == 0) places_.erase(at);
    --metrics_.follow_ups;
  }
  if (takes) {
    Places& p = places_[takes->first];
    ++p.taken;
    ++p.by_operator[takes->second];
    ++metrics_.follow_ups;
  }
  l->place = std::move(takes);
}

}  // namespace kf::server
