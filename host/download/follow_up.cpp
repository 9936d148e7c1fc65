#include "host/download/follow_up.hpp"

#include <nlohmann/json.hpp>

#include "host/base/text.hpp"
#include "host/download/answers.hpp"
#include "host/download/codes.hpp"
#include "host/download/possession_record.hpp"

namespace kf::download {
namespace {
using Json = nlohmann::json;

class FollowUpMachine {
 public:
  FollowUpMachine(FollowUp f, std::int64_t now, const std::string& smdp, const FollowUpLimits& l)
      : now_(now), smdp_(smdp), l_(l) {
    out_.follow_up = std::move(f);
  }
  FollowUpStep run(FollowUpEvent e) {
    if (ended(x())) return std::move(out_);
    ledger().tick(now_);
    std::visit(Overload{[&](Look&) { look(); }, [&](Answer& a) { on_answer(a); }, [&](CallFailed& f) { on_failed(f); },
                        [&](LateEnd& c) { on_late(c); }},
               e);
    return std::move(out_);
  }

 private:
  FollowUp& x() { return out_.follow_up; }
  Possession& ledger() { return x().possession; }
  std::string transaction(unsigned call) { return x().id + "." + std::to_string(call); }

  void call(es::Function f, const std::string& iccid, std::int64_t timeout) {
    CallEs3 c;
    c.request.interface = es::Interface::es3;
    c.request.function = f;
    c.request.eid = x().eid.str();
    if (!iccid.empty()) c.request.iccid = iccid;
    c.timeout_ms = timeout;
    c.resend_safe = true;
    c.call = x().pending_call = ++x().calls;
    out_.call = std::move(c);
    out_.persist = true;  // a call number is never used twice, also by a life after a restart
  }
  void look() {
    if (x().pending_call != 0) return;
    // Time counts that was waited, not that passed: an order that went first and a server that stood use none up.
    if (!ledger().calls_under_way(now_)) x().left_ms -= std::exchange(x().pausing_ms, 0);
    ++x().looks;
    x().state = FollowUp::State::looking;
    x().asked_ms = now_;
    call(es::Function::get_eis, "", l_.get_eis_ms);
  }
  // Doubled from look to look; one more look when an EIS may prove more than this one. Given up only here: after a
  // look. `news`: something was just deleted, or came to its end, and the EIS has to say so soon, be it the last look.
  void pause(bool news = false) {
    const bool over = x().looks >= l_.max_looks || x().left_ms <= 0;
    if (over && (!news || std::exchange(x().grace, true))) return give_up("time is over");
    x().state = FollowUp::State::waiting;
    std::int64_t ms = l_.backoff_ms;
    for (unsigned i = 1; !news && i < x().looks && ms < l_.longest_pause_ms; ++i) ms *= 2;
    ms = std::min(ms, l_.longest_pause_ms);
    if (const auto next = ledger().next_moment(now_, l_.settle_ms)) ms = std::min(ms, *next - now_ + 1);
    out_.pause_ms = x().pausing_ms = ms;
    out_.persist = true;
  }
  void give_up(const std::string& why) {
    x().state = FollowUp::State::given_up;
    if (x().trouble.empty()) x().trouble = why;
    out_.persist = true;
  }
  bool pending(unsigned call) {
    if (call == 0 || call != x().pending_call) return false;
    x().pending_call = 0;
    return true;
  }
  void note_end(const std::string& id, bool done) {
    if (done)
      ledger().executed(id, now_);
    else
      ledger().not_executed(id, now_);
  }
  void on_answer(Answer& a) {
    if (const std::string id = transaction(a.call); ledger().open(id))
      if (const auto done = end_of(ledger(), id, a.response)) note_end(id, *done);
    if (!pending(a.call)) return;
    if (x().state == FollowUp::State::deleting) return on_deleted(a.response);
    on_eis(a.response);
  }
  void on_failed(CallFailed& f) {
    if ((f.fault == CallFault::unreachable && !f.answered) || f.fault == CallFault::refused)
      ledger().not_executed(transaction(f.call), now_);
    if (!pending(f.call)) return;
    x().trouble = std::string(x().state == FollowUp::State::deleting ? "DeleteISDP" : "GetEIS") +
                  " got no usable answer: " + (f.brief.empty() ? "no answer" : f.brief);
    pause();  // after a DeleteISDP too: the EIS decides
  }

  void on_eis(es::Response& r) {
    if (!executed(r) || !r.eis || r.eis->eid != x().eid.str()) {
      const Cause c = passed_on(r, {Code::eis_missing, "", "no EIS of this EID"});
      x().trouble = "GetEIS: " + c.subject + "/" + c.reason + " " + c.message;
      return pause();
    }
    ledger().seen(look_at_eis(*r.eis, ledger(), smdp_, x().asked_ms, now_), l_.settle_ms);
    ledger().compact(now_, l_.settle_ms);
    // What counts as installed is not ours to delete, and an EIS that shows it as Created lags behind. That for which
    // the ledger has no room has its turn when something else is gone.
    const auto stale = std::ranges::find_if(r.eis->profiles, [&](const auto& p) {
      return is_stale(p, smdp_) && ledger().knows(p.iccid) && !ledger().counts_as_installed(p.iccid);
    });
    if (stale != r.eis->profiles.end()) {
      if (same_iccid(stale->iccid, x().deleted)) {  // an SM-SR that contradicts itself is not asked at once again
        x().trouble = "the EIS still shows ICCID " + x().deleted + " after its deletion";
        x().deleted.clear();
        if (++x().refusals >= l_.max_refusals) return give_up("");
        return pause();
      }
      return call_delete(stale->iccid);
    }
    if (!ledger().calls_under_way(now_)) {
      std::set<std::string_view> mine;
      for (const std::string& iccid : x().iccids) mine.insert(iccid_value(iccid));
      for (const auto& p : r.eis->profiles)
        if (entry_state(p) != es::EntryState::deleted && !in_use(p) && mine.contains(iccid_value(p.iccid)))
          return give_up("the EIS shows ICCID " + clip_text(p.iccid, 32) + " as an entry that is not ours to delete");
    }
    const bool more = std::ranges::any_of(  // for which the ledger had no room
        r.eis->profiles, [&](const auto& p) { return is_stale(p, smdp_) && !ledger().knows(p.iccid); });
    if (more || !ledger().clean(now_)) return pause();
    x().state = FollowUp::State::clean;
    out_.persist = true;
  }
  void call_delete(const std::string& iccid) {
    x().state = FollowUp::State::deleting;
    x().deleting = clip_text(iccid, 32);
    call(es::Function::delete_isdp, iccid, l_.card_ms);
    // Not begun any more once its answer is not waited for: an order that comes then must not be met by it.
    out_.call->not_after_ms = now_ + l_.card_ms;
    // Sent within its time-out, its ValidityPeriod counts from when it arrives, and the card takes its time.
    ledger().deletion_asked(transaction(x().calls), x().deleting, now_, now_ + 3 * l_.card_ms + 1000);
  }
  void on_deleted(es::Response& r) {
    if (executed(r) || unknown_profile(r)) {
      x().deleted = x().deleting;
      return pause(true);  // it has to be seen gone
    }
    const Cause c = passed_on(r, {Code::isd_r_failed, "", "refused without a code"});
    x().trouble = "DeleteISDP of ICCID " + x().deleting + " refused: " + c.subject + "/" + c.reason + " " + c.message;
    if (!end_unknown(r) && !not_reached(r) && ++x().refusals >= l_.max_refusals) return give_up("");
    pause();
  }
  void on_late(LateEnd& c) {
    if (!ledger().open(c.transaction)) return;
    note_end(c.transaction, c.executed);
    out_.persist = true;
    if (x().state == FollowUp::State::deleting) return;  // its own call is under way, and a look follows
    x().pending_call = 0;                                // an EIS that is under way may be older
    pause(true);
  }

  std::int64_t now_;
  const std::string& smdp_;
  const FollowUpLimits& l_;
  FollowUpStep out_;
};
}  // namespace

FollowUp with_outcome(const std::optional<FollowUp>& into, const Download& d, std::int64_t now_ms,
                      const FollowUpLimits& l) {
  FollowUp f = into ? *into : FollowUp{};
  const Order& o = d.order;
  f.requester = o.requester;
  if (f.id.empty()) {
    f.id = "after-" + o.id;
    f.eid = o.eid;
    f.smsr = o.smsr;
  }
  const bool first = !into || f.state == FollowUp::State::clean;
  if (first) f.first_left_ms = now_ms, f.days_told = 0;
  const Possession before = f.possession;
  f.possession.tick(now_ms);
  f.possession.merge(d.possession);
  f.possession.compact(now_ms, l.settle_ms);
  std::erase(f.iccids, o.iccid.str());
  if (iccid_after(d, now_ms) == IccidState::uncertain) f.iccids.push_back(o.iccid.str());
  // Orders that leave nothing must not put its end off, however many there are.
  if (first || f.crowded || f.possession.adds_to(before, now_ms)) {
    f.left_ms = l.give_up_ms;
    f.looks = f.refusals = 0;
    f.grace = false;
  }
  if (f.state != FollowUp::State::deleting) f.state = FollowUp::State::waiting;
  return f;
}

FollowUpStep step(FollowUp f, FollowUpEvent e, std::int64_t now_ms, const std::string& smdp_oid,
                  const FollowUpLimits& l) {
  return FollowUpMachine(std::move(f), now_ms, smdp_oid, l).run(std::move(e));
}

void rest(FollowUp& f) {
  f.pausing_ms = 0;
  if (f.state != FollowUp::State::looking) return;
  f.pending_call = 0;
  f.state = FollowUp::State::waiting;
}

std::int64_t untold_days(const FollowUp& f, std::int64_t now_ms) {
  constexpr std::int64_t kDay = 86'400'000;
  const std::int64_t days = (now_ms - f.first_left_ms) / kDay;
  return days > f.days_told ? days : 0;
}

Settled settled(const FollowUp& f, std::int64_t now_ms) {
  Settled s;
  for (const std::string& iccid : f.iccids) {
    if (!f.possession.may_hold(iccid, now_ms))
      s.gone.push_back(iccid);
    else if (f.possession.in_use(iccid, now_ms))
      s.used.push_back(iccid);
  }
  return s;
}

std::string to_record(const FollowUp& f) {
  JsonText j;
  j.begin('{')
      .field("id", f.id)
      .field("eid", f.eid.str())
      .field("smsr", f.smsr.str())
      .field("for", f.requester.str())
      .field("crowded", f.crowded)
      .key("iccids")
      .begin('[');
  for (const auto& iccid : f.iccids) j.value(iccid);
  j.end(']').key("possession");
  PossessionRecord::write(f.possession, j);
  j.field("given_up", f.state == FollowUp::State::given_up)
      .field("left", f.left_ms)
      .field("looks", f.looks)
      .field("refusals", f.refusals)
      .field("calls", f.calls)
      .field("trouble", f.trouble)
      .field("first_left", f.first_left_ms)
      .field("days_told", f.days_told)
      .end('}');
  return j.take();
}

namespace {
// Of a record without a ledger: what it asked after may be there, and each CreateISDP it names may be under way as long
// as it was to wait for it.
Possession ledger_of_old(const Json& j, const std::vector<std::string>& iccids) {
  Possession p;
  const auto left = std::max<std::int64_t>(0, j.at("quiet").get<std::int64_t>() - j.at("began").get<std::int64_t>());
  for (const auto& iccid : iccids) p.claimed(iccid, 0);
  for (const auto& c : j.at("open")) p.creation_asked(c.at(0).get<std::string>(), c.at(1).get<std::string>(), 0, left);
  return p;
}
}  // namespace

Result<FollowUp> follow_up_from_record(std::string_view record, std::int64_t now_ms) {
  try {
    const Json j = Json::parse(record);
    FollowUp f;
    f.id = j.at("id").get<std::string>();
    f.eid = Eid::trusted(j.at("eid").get<std::string>());
    f.smsr = Oid::trusted(j.at("smsr").get<std::string>());
    f.requester = Oid::trusted(j.value("for", ""));
    f.crowded = j.value("crowded", false);
    f.iccids = j.at("iccids").get<std::vector<std::string>>();
    if (j.contains("possession")) {
      f.possession = PossessionRecord::read(j.at("possession"));
      f.left_ms = j.at("left").get<std::int64_t>();
      if (j.at("given_up").get<bool>()) f.state = FollowUp::State::given_up;
    } else {
      f.possession = ledger_of_old(j, f.iccids);
      f.left_ms = std::max<std::int64_t>(0, j.at("give_up").get<std::int64_t>() - j.at("quiet").get<std::int64_t>());
    }
    f.possession.resume(now_ms);
    f.looks = j.at("looks").get<unsigned>();
    f.refusals = j.at("refusals").get<unsigned>();
    f.calls = j.at("calls").get<unsigned>();
    f.trouble = j.at("trouble").get<std::string>();
    f.first_left_ms = std::min(now_ms, j.value("first_left", now_ms));  // the clock may have been set back since
    f.days_told = j.value("days_told", std::int64_t{0});
    return f;
  } catch (const Json::exception& e) {
    return Error{"bad-record", e.what()};
  }
}

}  // namespace kf::download
