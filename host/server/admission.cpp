#include "host/server/admission.hpp"

#include <algorithm>
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
  // Of those who never had a turn the first to come is first, wherever it lies in memory.
  const auto [operator_at, new_operator] = operators_.try_emplace(operator_oid);
  Party& op = operator_at->second;
  if (new_operator) op.turn = ++turns_;
  Party& smsr = smsrs_[smsr_oid];
  const auto [lane_at, new_lane] = lanes_.try_emplace({&op, &smsr});
  Lane& lane = lane_at->second;
  if (new_lane) lane.turn = ++turns_;
  lane.op = &op;
  lane.smsr = &smsr;
  Item& i = items_[id];
  i.lane = &lane;
  i.eid = eid;
  ++waiting_, ++op.waiting, ++smsr.waiting;
  Card& card = cards_[eid];
  std::set<Id>& own = card.operators[&op].waiting;
  const bool first = own.empty();
  own.insert(id);
  if (!card.busy && first) return enqueue(id, i, false);
  i.where = Where::parked;
}

// Of the orders for a free card that may take one of the free places: that of the Operator whose turn at this card was
// longest ago, of those who never had one the first to come. `reached` is one that may.
Admission::Id Admission::whose_turn(const Card& c, Id reached, std::size_t free) const {
  std::optional<std::pair<std::uint64_t, Id>> best;
  for (const auto& [op, queue] : c.operators) {
    if (queue.waiting.empty()) continue;
    const Id id = *queue.waiting.begin();
    const std::pair mine{queue.turn, id};
    if (best && *best < mine) continue;
    const Lane& l = *items_.at(id).lane;
    if (!share_allows(limits_.share_operators, op->running, free) ||
        !share_allows(limits_.share_smsrs, l.smsr->running, free))
      continue;
    best = mine;
  }
  return best ? best->second : reached;
}

// The first order of the lane whose turn it is, or the one that goes before it at its card; an order whose card is busy
// is parked on the way.
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
      const Card& card = cards_[i.eid];
      if (!card.busy) {
        id = whose_turn(card, id, free);
        return &items_.at(id);
      }
      change(*lane, [l = lane] { l->queue.pop_front(); });
      i.where = Where::parked;
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
  i->has_card = true;
  Card& card = cards_[i->eid];
  card.busy = true;
  ++running_, ++l.smsr->running;
  change(l, [&] {
    ++l.running, ++l.op->running;
    l.turn = l.op->turn = ++turns_;
  });
  card.operators[l.op].turn = turns_;
  return id;
}

void Admission::leave_queue(Id id, Item& i) {
  if (i.where == Where::lane) change(*i.lane, [&] { i.lane->queue.erase(i.at); });
  cards_[i.eid].operators[i.lane->op].waiting.erase(id);
  --waiting_, --i.lane->op->waiting, --i.lane->smsr->waiting;
}

void Admission::promote(const std::string& eid) {
  const auto it = cards_.find(eid);
  if (it == cards_.end() || it->second.busy) return;
  bool waits = false;
  for (const auto& [op, queue] : it->second.operators) {
    if (queue.waiting.empty()) continue;
    waits = true;
    const Id id = *queue.waiting.begin();
    if (Item& i = items_.at(id); i.where == Where::parked) enqueue(id, i, true);
  }
  if (!waits) cards_.erase(it);
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

bool Admission::may_enable(const Item& i) const {
  if (enabling_ >= limits_.enabling) return false;
  const std::size_t free = limits_.enabling - enabling_;
  return share_allows(limits_.share_operators, i.lane->op->enabling, free) &&
         share_allows(limits_.share_smsrs, i.lane->smsr->enabling, free);
}

void Admission::only_waits(Id id) {
  const auto it = items_.find(id);
  if (it == items_.end() || it->second.where != Where::running) return;
  Item& i = it->second;
  if (!may_enable(i)) {
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
    const auto next = std::ranges::find_if(would_leave_, [this](Id x) { return may_enable(items_.at(x)); });
    if (next != would_leave_.end()) {
      const Id other = *next;
      would_leave_.erase(next);
      items_.at(other).where = Where::running;
      only_waits(other);
    }
  } else {
    --running_, --l.smsr->running;
    change(l, [&] { --l.running, --l.op->running; });
  }
  leave_card(id);
  items_.erase(it);
}

void Admission::leave_card(Id id) {
  const auto it = items_.find(id);
  if (it == items_.end() || !std::exchange(it->second.has_card, false)) return;
  vacate(it->second.eid);
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
