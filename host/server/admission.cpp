#include "host/server/admission.hpp"

#include <utility>

namespace kf::server {

bool Admission::may_wait(const std::string& operator_oid) const {
  if (waiting_ >= limits_.waiting) return false;
  const auto it = operators_.find(operator_oid);
  const std::size_t held = it == operators_.end() ? 0 : it->second.waiting;
  return share_allows(limits_.share_operators, held, limits_.waiting - waiting_);
}

template <class F>
void Admission::change(Lane& l, F&& f) {
  ready_.erase({l.op->running, l.op->turn, l.op});
  l.op->ready.erase({l.running, l.turn, &l});
  std::forward<F>(f)();
  if (!l.queue.empty()) l.op->ready.insert({l.running, l.turn, &l});
  if (!l.op->ready.empty()) ready_.insert({l.op->running, l.op->turn, l.op});
}

void Admission::enqueue(Id id, Item& i, bool front) {
  i.where = Where::lane;
  change(*i.lane, [&] { i.at = i.lane->queue.insert(front ? i.lane->queue.begin() : i.lane->queue.end(), id); });
}

void Admission::add(Id id, const std::string& operator_oid, const std::string& smsr_oid, const std::string& eid) {
  Party& op = operators_[operator_oid];
  Party& smsr = smsrs_[smsr_oid];
  Lane& lane = lanes_[{&op, &smsr}];
  lane.op = &op;
  lane.smsr = &smsr;
  Item& i = items_[id];
  i.lane = &lane;
  i.eid = eid;
  ++waiting_, ++op.waiting, ++smsr.waiting;
  Card& card = cards_[eid];
  if (!card.busy && card.parked.empty()) return enqueue(id, i, false);
  i.where = Where::parked;
  card.parked.insert(id);
}

// The first order of the lane whose turn it is; an order whose card is busy is parked on the way.
Admission::Item* Admission::pick(Id& id) {
  const std::size_t free = limits_.places - running_;
  for (auto op = ready_.begin(); op != ready_.end();) {
    Party& party = *std::get<Party*>(*op);
    if (!share_allows(limits_.share_operators, party.running, free))
      return nullptr;  // all further ones hold as many or more
    bool again = false;
    for (const auto& [held, turn, lane] : party.ready) {
      if (!share_allows(limits_.share_smsrs, lane->smsr->running, free)) continue;
      id = lane->queue.front();
      Item& i = items_.at(id);
      Card& card = cards_[i.eid];
      if (!card.busy) return &i;
      change(*lane, [l = lane] { l->queue.pop_front(); });
      i.where = Where::parked;
      card.parked.insert(id);
      again = true;
      break;
    }
    if (again)
      op = ready_.begin();
    else
      ++op;
  }
  return nullptr;
}

std::optional<Admission::Id> Admission::next() {
  if (running_ >= limits_.places) return std::nullopt;
  Id id = 0;
  Item* i = pick(id);
  if (i == nullptr) return std::nullopt;
  leave_queue(id, *i);
  Lane& l = *i->lane;
  i->where = Where::running;
  cards_[i->eid].busy = true;
  ++running_, ++l.smsr->running;
  change(l, [&] {
    ++l.running, ++l.op->running;
    l.turn = l.op->turn = ++turns_;
  });
  return id;
}

void Admission::leave_queue(Id id, Item& i) {
  if (i.where == Where::lane)
    change(*i.lane, [&] { i.lane->queue.erase(i.at); });
  else
    cards_[i.eid].parked.erase(id);
  --waiting_, --i.lane->op->waiting, --i.lane->smsr->waiting;
}

void Admission::promote(const std::string& eid) {
  const auto it = cards_.find(eid);
  if (it == cards_.end() || it->second.busy) return;
  Card& card = it->second;
  if (card.parked.empty()) {
    cards_.erase(it);
    return;
  }
  const Id id = *card.parked.begin();
  card.parked.erase(card.parked.begin());
  enqueue(id, items_.at(id), true);
}

bool Admission::withdraw(Id id) {
  const auto it = items_.find(id);
  if (it == items_.end() || (it->second.where != Where::lane && it->second.where != Where::parked)) return false;
  const std::string eid = it->second.eid;
  const bool in_lane = it->second.where == Where::lane;
  leave_queue(id, it->second);
  items_.erase(it);
  if (in_lane) promote(eid);
  return true;
}

void Admission::only_waits(Id id) {
  const auto it = items_.find(id);
  if (it == items_.end() || it->second.where != Where::running) return;
  Item& i = it->second;
  if (enabling_ >= limits_.enabling) {
    i.where = Where::only_waiting;
    i.at = would_leave_.insert(would_leave_.end(), id);
    return;
  }
  i.where = Where::enabling;
  Lane& l = *i.lane;
  ++enabling_, ++l.op->enabling, ++l.smsr->enabling;
  --running_, --l.smsr->running;
  change(l, [&] { --l.running, --l.op->running; });
}

void Admission::end(Id id) {
  const auto it = items_.find(id);
  if (it == items_.end()) return;
  Item& i = it->second;
  if (i.where == Where::lane || i.where == Where::parked) {
    withdraw(id);
    return;
  }
  Lane& l = *i.lane;
  if (i.where == Where::only_waiting) would_leave_.erase(i.at);
  if (i.where == Where::enabling) {
    --enabling_, --l.op->enabling, --l.smsr->enabling;
    if (!would_leave_.empty()) {
      const Id other = would_leave_.front();
      would_leave_.pop_front();
      items_.at(other).where = Where::running;
      only_waits(other);
    }
  } else {
    --running_, --l.smsr->running;
    change(l, [&] { --l.running, --l.op->running; });
  }
  const std::string eid = i.eid;
  items_.erase(it);
  cards_[eid].busy = false;
  promote(eid);
}

void Admission::vacate(const std::string& eid) {
  if (const auto it = cards_.find(eid); it != cards_.end()) it->second.busy = false;
  promote(eid);
}

std::vector<Admission::Count> Admission::counts(const Parties& p) {
  std::vector<Count> out;
  for (const auto& [oid, c] : p) out.push_back({oid, c.waiting, c.running, c.enabling});
  return out;
}

}  // namespace kf::server
