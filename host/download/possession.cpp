#include "host/download/possession.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "host/base/ids.hpp"

namespace kf::download {
namespace {
using Ms = Possession::Ms;
constexpr Ms kNever = Possession::kNever;

std::string key(std::string_view iccid) { return std::string(iccid_value(iccid)); }
void raise(Ms& a, Ms b) { a = std::max(a, b); }
Ms after(Ms m) { return m == kNever ? kNever : m + 1; }
bool happened(Ms m) { return m != kNever; }
}  // namespace

// ---- the open calls ----
std::uint64_t& Possession::looked_at() {
  thread_local std::uint64_t n = 0;
  return n;
}
void Possession::insert(const std::string& transaction, Call c) {
  if (const auto it = open_.find(transaction); it != open_.end() && it->second.iccid != c.iccid) erase(it);
  named_[c.iccid].insert(transaction);
  open_.insert_or_assign(transaction, std::move(c));
}
Possession::Calls::iterator Possession::erase(Calls::iterator at) {
  const auto of = named_.find(at->second.iccid);
  of->second.erase(at->first);
  if (of->second.empty()) named_.erase(of);
  return open_.erase(at);
}
template <class F>
void Possession::each_open(std::string_view iccid, F&& f) const {
  const auto of = named_.find(iccid_value(iccid));
  if (of == named_.end()) return;
  looked_at() += of->second.size();
  for (const std::string& transaction : of->second) f(transaction, open_.at(transaction));
}
// The newest call of each ICCID keeps its name before the second newest of any: many calls of one ICCID cost the others
// nothing.
void Possession::fold(std::size_t most, std::size_t most_of_a_card) {
  const bool many = std::ranges::any_of(named_, [&](const auto& x) { return x.second.size() > most; });
  if (!many && open_.size() <= most_of_a_card) return;
  struct Ranked {
    std::size_t rank;  // 0: the newest of its ICCID
    Calls::iterator call;
  };
  const auto newer = [](const Calls::iterator& a, const Calls::iterator& b) {
    return std::tie(a->second.asked, a->second.until, a->first) > std::tie(b->second.asked, b->second.until, b->first);
  };
  std::vector<Ranked> all;
  for (const auto& [iccid, transactions] : named_) {
    std::vector<Calls::iterator> calls;
    for (const auto& t : transactions) calls.push_back(open_.find(t));
    std::ranges::sort(calls, newer);
    for (std::size_t i = 0; i < calls.size(); ++i) all.push_back({i, calls[i]});
  }
  std::ranges::sort(all, [&](const Ranked& a, const Ranked& b) {
    return a.rank != b.rank ? a.rank < b.rank : newer(a.call, b.call);
  });
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].rank < most && i < most_of_a_card) continue;
    const Call& c = all[i].call->second;
    Facts& f = facts(c.iccid);
    raise(c.kind == Kind::creation ? f.appear_until : f.vanish_until, c.until);
    erase(all[i].call);
  }
}

// ---- calls ----
void Possession::ask(Kind k, const std::string& transaction, std::string_view iccid, Ms now, Ms until) {
  tick(now);
  if (closed_.contains(transaction)) return;
  const Facts& f = facts(iccid);
  // What was known to be there before is older than this deletion, though it be the same millisecond.
  if (k == Kind::deletion) now = std::max({now, after(f.present), after(f.used)});
  insert(transaction, Call{k, key(iccid), now, until});
  fold();
}
void Possession::creation_asked(const std::string& transaction, std::string_view iccid, Ms now, Ms until) {
  ask(Kind::creation, transaction, iccid, now, until);
}
void Possession::deletion_asked(const std::string& transaction, std::string_view iccid, Ms now, Ms until) {
  ask(Kind::deletion, transaction, iccid, now, until);
}
void Possession::close(const std::string& transaction) {
  if (const auto it = open_.find(transaction); it != open_.end()) erase(it);
  closed_.insert(transaction);
}
void Possession::executed(const std::string& transaction, Ms now) {
  tick(now);
  const auto it = open_.find(transaction);
  if (it == open_.end()) return;
  Facts& f = facts(it->second.iccid);
  if (it->second.kind == Kind::creation) {
    appeared(it->second.iccid, now);
  } else {
    if (!has_content(f)) raise(f.cleared, it->second.asked);
    raise(f.vanished, now);
  }
  close(transaction);
}
// By that moment at the latest. A deletion that was asked for meanwhile may have been executed before.
void Possession::appeared(std::string_view iccid, Ms now) {
  Facts& f = facts(iccid);
  raise(f.present, std::max(now, f.cleared));
  each_open(iccid, [&](const std::string&, const Call& call) {
    if (call.kind == Kind::deletion) raise(f.present, call.asked);
  });
}
void Possession::not_executed(const std::string& transaction, Ms now) {
  tick(now);
  if (open_.contains(transaction)) close(transaction);
}
bool Possession::is_creation(const std::string& transaction) const {
  const auto it = open_.find(transaction);
  return it != open_.end() && it->second.kind == Kind::creation;
}
bool Possession::deleted_since(const std::string& transaction) const {
  const auto it = open_.find(transaction);
  if (it == open_.end()) return false;
  const Facts* f = find(it->second.iccid);
  return f != nullptr && happened(f->vanished) && f->vanished >= it->second.asked;
}
std::vector<std::string> Possession::open_calls() const {
  std::vector<std::string> out;
  for (const auto& [transaction, call] : open_) out.push_back(transaction);
  return out;
}
bool Possession::open_calls_are(const std::vector<std::string>& sorted) const {
  return std::ranges::equal(open_, sorted, [](const auto& x, const std::string& id) { return x.first == id; });
}

// ---- what else is known ----
void Possession::claimed(std::string_view iccid, Ms now) {
  tick(now);
  appeared(iccid, now);
}
void Possession::installed(std::string_view iccid, Ms now) {
  tick(now);
  Facts& f = facts(iccid);
  raise(f.used, std::max({now, f.present, f.cleared}));
}
void Possession::content_sent(std::string_view iccid, Ms now) {
  tick(now);
  appeared(iccid, now);
  raise(facts(iccid).content, now);
}
void Possession::unnamed_creations(std::string_view iccid, Ms now, Ms until) {
  tick(now);
  raise(facts(iccid).appear_until, until);
}
void Possession::unnamed_deletions(std::string_view iccid, Ms now, Ms until) {
  tick(now);
  raise(facts(iccid).vanish_until, until);
}

void Possession::shown(const Eis& eis) {
  tick(eis.answered);
  for (const Entry& e : eis.entries) {
    if (e.state == Entry::State::created) {
      if (counts_as_installed(e.iccid)) continue;
      raise(facts(e.iccid).shown, eis.asked);
      appeared(e.iccid, eis.answered);
    } else if (knows(e.iccid)) {
      if (e.state == Entry::State::used)
        raise(facts(e.iccid).used, eis.asked);
      else
        appeared(e.iccid, eis.answered);
    }
  }
}
void Possession::seen(const Eis& eis, Ms settle) {
  for (const Entry& e : eis.entries)
    if (e.state == Entry::State::created && !counts_as_installed(e.iccid)) prove_creation(key(e.iccid), eis, settle);
  shown(eis);
  std::set<std::string_view> there;
  for (const Entry& e : eis.entries) there.insert(iccid_value(e.iccid));
  for (const std::string& iccid : iccids())
    if (!there.contains(iccid)) entry_missing(iccid, eis, settle);
}
// Nothing else can have made what is shown as Created, and it is none that went a moment ago: it is the work of the one
// CreateISDP whose end was not known.
void Possession::prove_creation(const std::string& iccid, const Eis& eis, Ms settle) {
  const std::string* only = only_open(Kind::creation, iccid);
  if (only == nullptr) return;
  const Facts& f = facts(iccid);
  const bool explained = held(f) || happened(f.appear_until);
  if (!explained && !lags_behind(f, eis.asked, settle)) executed(std::string(*only), eis.answered);
}
void Possession::entry_missing(const std::string& iccid, const Eis& eis, Ms settle) {
  Facts& f = facts(iccid);
  // It was there before the one DeleteISDP whose end was not known, and nothing else can have taken it away.
  if (const std::string* only = only_open(Kind::deletion, iccid); only != nullptr && !happened(f.vanish_until)) {
    const Ms asked = open_.at(*only).asked;
    if (happened(f.shown) && f.shown <= asked && asked <= eis.asked && !lags_behind(f, f.shown, settle))
      executed(std::string(*only), eis.answered);
  }
  raise(f.cleared, eis.asked - settle + 1);
}

// Not counting what calls with unknown ends may have made.
bool Possession::held(const Facts& f) {
  const Ms m = std::max(f.present, f.used);
  return happened(m) && m >= f.cleared;
}
// Is what an EIS shows perhaps what went a moment ago, or before this life?
bool Possession::lags_behind(const Facts& f, Ms asked, Ms settle) const {
  return (happened(f.vanished) && asked < f.vanished + settle) || (happened(since_) && asked < since_ + settle);
}

// ---- questions ----
Possession::Facts& Possession::facts(std::string_view iccid) { return facts_[key(iccid)]; }
const Possession::Facts* Possession::find(std::string_view iccid) const {
  const auto it = facts_.find(iccid_value(iccid));
  return it == facts_.end() ? nullptr : &it->second;
}
const std::string* Possession::only_open(Kind k, const std::string& iccid) const {
  const std::string* only = nullptr;
  std::size_t n = 0;
  each_open(iccid, [&](const std::string& transaction, const Call& call) {
    if (call.kind == k) only = &transaction, ++n;
  });
  return n == 1 ? only : nullptr;
}
Ms Possession::until(Kind k, std::string_view iccid) const {
  Ms m = kNever;
  each_open(iccid, [&](const std::string&, const Call& call) {
    if (call.kind == k) raise(m, call.until);
  });
  if (const Facts* f = find(iccid)) raise(m, k == Kind::creation ? f->appear_until : f->vanish_until);
  return m;
}
// The latest moment at which it may have come to be.
Ms Possession::source(std::string_view iccid) const {
  const Facts* f = find(iccid);
  if (f == nullptr) return kNever;
  return std::max({f->present, f->used, until(Kind::creation, iccid)});
}

bool Possession::knows(std::string_view iccid) const { return find(iccid) != nullptr; }
bool Possession::may_hold(std::string_view iccid, Ms now) const {
  const Ms m = source(iccid);
  return happened(m) && (m > now || m >= find(iccid)->cleared);
}
bool Possession::may_appear(std::string_view iccid, Ms now) const { return until(Kind::creation, iccid) > now; }
bool Possession::may_vanish(std::string_view iccid, Ms now) const { return until(Kind::deletion, iccid) > now; }
Ms Possession::vanishing_until(std::string_view iccid) const { return until(Kind::deletion, iccid); }
bool Possession::counts_as_installed(std::string_view iccid) const {
  const Facts* f = find(iccid);
  return f != nullptr && happened(f->used) && f->used >= f->present && f->used >= f->cleared;
}
bool Possession::in_use(std::string_view iccid, Ms now) const {
  return counts_as_installed(iccid) && source(iccid) <= now && source(iccid) <= find(iccid)->used;
}
bool Possession::lags(std::string_view iccid, Ms asked, Ms settle) const {
  return counts_as_installed(iccid) && asked < find(iccid)->used + settle;
}
bool Possession::clean(Ms now) const {
  return !calls_under_way(now) &&
         std::ranges::all_of(facts_, [&](const auto& x) { return !may_hold(x.first, now) || in_use(x.first, now); });
}
bool Possession::calls_under_way(Ms now) const {
  return std::ranges::any_of(open_, [&](const auto& x) { return x.second.until > now; }) ||
         std::ranges::any_of(facts_,
                             [&](const auto& x) { return x.second.appear_until > now || x.second.vanish_until > now; });
}
std::optional<Ms> Possession::next_moment(Ms now, Ms settle) const {
  std::optional<Ms> next;
  const auto consider = [&](Ms m) {
    if (m > now && (!next || m < *next)) next = m;
  };
  for (const auto& [iccid, f] : facts_) {
    if (happened(vanishing_until(iccid))) consider(vanishing_until(iccid));
    if (may_hold(iccid, now) && !in_use(iccid, now)) consider(source(iccid) + settle);
  }
  return next;
}
bool Possession::adds_to(const Possession& before, Ms now) const {
  const bool held = std::ranges::any_of(facts_, [&](const auto& x) {
    return may_hold(x.first, now) && !in_use(x.first, now) && !before.may_hold(x.first, now);
  });
  return held || std::ranges::any_of(open_, [&](const auto& x) {
           return x.second.kind == Kind::creation && x.second.until > now && !before.open(x.first);
         });
}
std::vector<std::string> Possession::iccids() const {
  std::vector<std::string> out;
  for (const auto& [iccid, f] : facts_) out.push_back(iccid);
  return out;
}

// ---- copies and lives ----
void Possession::merge(const Possession& other) {
  tick(other.clock_);
  raise(since_, other.since_);
  closed_.insert(other.closed_.begin(), other.closed_.end());
  for (const auto& [transaction, call] : other.open_) {
    const auto it = open_.find(transaction);
    if (it == open_.end()) {
      insert(transaction, call);
      continue;
    }
    it->second.asked = std::min(it->second.asked, call.asked);
    raise(it->second.until, call.until);
  }
  for (auto it = open_.begin(); it != open_.end();) it = closed_.contains(it->first) ? erase(it) : std::next(it);
  for (const auto& [iccid, o] : other.facts_) {
    Facts& f = facts_[iccid];
    for (Ms Facts::*m : {&Facts::present, &Facts::content, &Facts::used, &Facts::cleared, &Facts::shown,
                         &Facts::vanished, &Facts::appear_until, &Facts::vanish_until})
      raise(f.*m, o.*m);
  }
}
void Possession::compact(Ms now, Ms settle) {
  tick(now);
  closed_.clear();
  for (auto it = open_.begin(); it != open_.end();) {
    if (it->second.until > now) {
      ++it;
      continue;
    }
    Facts& f = facts(it->second.iccid);  // it may have been executed until then
    raise(it->second.kind == Kind::creation ? f.present : f.vanished, it->second.until);
    it = erase(it);
  }
  for (auto& [iccid, f] : facts_) {  // and so may those without a name
    if (happened(f.appear_until) && f.appear_until <= now) raise(f.present, std::exchange(f.appear_until, kNever));
    if (happened(f.vanish_until) && f.vanish_until <= now) raise(f.vanished, std::exchange(f.vanish_until, kNever));
  }
  fold();
  std::erase_if(facts_, [&](const auto& x) {
    const auto& [iccid, f] = x;
    const bool young = happened(f.vanished) && f.vanished + settle > now;
    return !young && !may_appear(iccid, now) && !may_vanish(iccid, now) && !may_hold(iccid, now);
  });
}
void Possession::resume(Ms now) {
  const Ms shift = now - clock_;
  const auto move = [&](Ms& m) {
    if (happened(m)) m += shift;
  };
  closed_.clear();
  for (auto& [transaction, call] : open_) call.asked = now, move(call.until);
  for (auto& [iccid, f] : facts_) {
    const bool used = counts_as_installed(iccid);
    f.content = has_content(f) ? now : kNever;
    f.present = held(f) && !used ? now : kNever;
    f.used = used ? now : kNever;
    f.cleared = f.shown = f.vanished = kNever;
    move(f.appear_until);
    move(f.vanish_until);
  }
  clock_ = since_ = now;
  fold();  // a record of a program that knew no bounds
}

}  // namespace kf::download
