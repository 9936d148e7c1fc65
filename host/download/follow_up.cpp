#include "host/download/follow_up.hpp"

#include <nlohmann/json.hpp>

#include "host/base/text.hpp"
#include "host/download/answers.hpp"
#include "host/download/codes.hpp"

namespace kf::download {
namespace {
using Json = nlohmann::json;
constexpr std::size_t kMaxIccids = 64;  // merged into one; more would be a card that never gets clean

class FollowUpMachine {
 public:
  FollowUpMachine(FollowUp f, std::int64_t now, const std::string& smdp, const FollowUpLimits& l)
      : now_(now), smdp_(smdp), l_(l) {
    out_.follow_up = std::move(f);
  }
  FollowUpStep run(FollowUpEvent e) {
    if (ended(x())) return std::move(out_);
    std::visit(Overload{[&](Look&) { look(); }, [&](Answer& a) { on_answer(a); }, [&](CallFailed& f) { on_failed(f); },
                        [&](LateCreation& c) { on_late(c); }},
               e);
    return std::move(out_);
  }

 private:
  FollowUp& x() { return out_.follow_up; }

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
    if (x().looks >= l_.max_looks || now_ >= x().give_up_ms) return give_up("time is over");
    ++x().looks;
    x().state = FollowUp::State::looking;
    call(es::Function::get_eis, "", l_.get_eis_ms);
  }
  // Doubled from look to look; one more look when quiet begins.
  void pause() {
    x().state = FollowUp::State::waiting;
    std::int64_t ms = l_.backoff_ms;
    for (unsigned i = 1; i < x().looks && ms < l_.longest_pause_ms; ++i) ms *= 2;
    ms = std::min(ms, l_.longest_pause_ms);
    for (const std::int64_t t : {x().settle_ms, x().quiet_ms})
      if (now_ < t) ms = std::min(ms, t - now_ + 1);
    out_.pause_ms = ms;
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
  void on_answer(Answer& a) {
    if (!pending(a.call)) return;
    if (x().state == FollowUp::State::deleting) return on_deleted(a.response);
    on_eis(a.response);
  }
  void on_failed(CallFailed& f) {
    if (!pending(f.call)) return;
    x().trouble = std::string(x().state == FollowUp::State::deleting ? "DeleteISDP" : "GetEIS") +
                  " got no usable answer: " + (f.brief.empty() ? "no answer" : f.brief);
    pause();  // after a DeleteISDP too: the EIS decides
  }

  void on_eis(es::Response& r) {
    if (!executed(r) || !r.eis || r.eis->eid != x().eid.str()) {
      const Cause c = passed_on(r, {"8.6", "2.2", "", "no EIS of this EID", ""});
      x().trouble = "GetEIS: " + c.subject + "/" + c.reason + " " + c.message;
      return pause();
    }
    const auto stale = std::ranges::find_if(r.eis->profiles, [&](const auto& p) { return is_stale(p, smdp_); });
    if (stale != r.eis->profiles.end()) {
      if (same_iccid(stale->iccid, x().deleted)) {  // an SM-SR that contradicts itself is not asked at once again
        x().trouble = "the EIS still shows ICCID " + x().deleted + " after its deletion";
        x().deleted.clear();
        if (++x().refusals >= l_.max_refusals) return give_up("");
        return pause();
      }
      x().state = FollowUp::State::deleting;
      x().deleting = clip_text(stale->iccid, 32);
      return call(es::Function::delete_isdp, stale->iccid, l_.card_ms);
    }
    if (now_ < (x().creations.empty() ? x().settle_ms : x().quiet_ms)) return pause();
    settle(*r.eis);
  }
  // Nothing of ours is in state Created. What became of each ICCID stands in this EIS.
  void settle(const es::Eis& e) {
    for (const std::string& iccid : x().iccids) {
      const es::ProfileInfo* p = find_profile(e, iccid);
      if (p == nullptr || p->state == "Deleted") {
        x().gone.push_back(iccid);
      } else if (in_use(*p)) {
        x().used.push_back(iccid);
      } else {
        return give_up("the EIS shows ICCID " + iccid + " as an entry that is not ours to delete");
      }
    }
    x().state = FollowUp::State::clean;
    out_.persist = true;
  }
  void on_deleted(es::Response& r) {
    if (executed(r) || unknown_profile(r)) {
      // One attempt made what is gone now. Another one of the same ICCID may be carried out yet, since its place is
      // free.
      const auto made =
          std::ranges::find_if(x().creations, [&](const auto& c) { return same_iccid(c.iccid, x().deleting); });
      if (made != x().creations.end()) x().creations.erase(made);
      x().deleted = x().deleting;
      x().looks = std::min(x().looks, l_.max_looks - 1);  // one more look: it has to be seen gone
      return look();
    }
    const Cause c = passed_on(r, {"8.4", "4.2", "", "refused without a code", ""});
    x().trouble = "DeleteISDP of ICCID " + x().deleting + " refused: " + c.subject + "/" + c.reason + " " + c.message;
    if (!end_unknown(r) && !not_reached(r) && ++x().refusals >= l_.max_refusals) return give_up("");
    pause();
  }
  void on_late(LateCreation& c) {
    const auto it = std::ranges::find(x().creations, c.transaction, &FollowUp::Creation::transaction);
    if (it == x().creations.end()) return;
    const bool known = executed(c.response) || (c.response.code && !end_unknown(c.response));
    if (known) x().creations.erase(it);  // whatever was made is in the EIS from now on
    out_.persist = true;
    if (x().pending_call == 0) {
      look();
    } else if (x().state == FollowUp::State::looking) {
      x().pending_call = 0;  // that EIS may be older
      look();
    }
  }

  std::int64_t now_;
  const std::string& smdp_;
  const FollowUpLimits& l_;
  FollowUpStep out_;
};
}  // namespace

FollowUp follow_up_of(const Download& d, std::int64_t now_ms, const FollowUpLimits& l, std::optional<FollowUp> into) {
  FollowUp f = into ? std::move(*into) : FollowUp{};
  const Order& o = d.order;
  if (f.id.empty()) {
    f.id = "after-" + o.id;
    f.eid = o.eid;
    f.began_ms = now_ms;
  }
  f.smsr = o.smsr;
  if (iccid_after(d) == IccidState::uncertain && f.iccids.size() < kMaxIccids &&
      std::ranges::find(f.iccids, o.iccid.str()) == f.iccids.end())
    f.iccids.push_back(o.iccid.str());
  for (const unsigned n : d.open_creations)
    if (f.creations.size() < kMaxIccids) f.creations.push_back({o.id + "." + std::to_string(n), o.iccid.str()});
  // A command may have been given to the card at the very end of the ValidityPeriod.
  f.settle_ms = now_ms + l.settle_ms;
  f.quiet_ms = std::max({f.quiet_ms, f.settle_ms, d.open_creations.empty() ? now_ms : o.deadline_ms + l.card_ms});
  f.give_up_ms = f.quiet_ms + l.give_up_ms;
  f.looks = f.refusals = 0;
  f.state = FollowUp::State::waiting;
  f.pending_call = 0;
  return f;
}

FollowUpStep step(FollowUp f, FollowUpEvent e, std::int64_t now_ms, const std::string& smdp_oid,
                  const FollowUpLimits& l) {
  return FollowUpMachine(std::move(f), now_ms, smdp_oid, l).run(std::move(e));
}

std::string to_record(const FollowUp& f) {
  Json creations = Json::array();
  for (const auto& c : f.creations) creations.push_back(Json::array({c.transaction, c.iccid}));
  const Json j{{"id", f.id},          {"eid", f.eid.str()},     {"smsr", f.smsr.str()},
               {"iccids", f.iccids},  {"open", creations},      {"began", f.began_ms},
               {"quiet", f.quiet_ms}, {"settle", f.settle_ms},  {"give_up", f.give_up_ms},
               {"looks", f.looks},    {"refusals", f.refusals}, {"calls", f.calls},
               {"trouble", f.trouble}};
  return j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<FollowUp> follow_up_from_record(std::string_view record) {
  try {
    const Json j = Json::parse(record);
    FollowUp f;
    f.id = j.at("id").get<std::string>();
    f.eid = Eid::trusted(j.at("eid").get<std::string>());
    f.smsr = Oid::trusted(j.at("smsr").get<std::string>());
    f.iccids = j.at("iccids").get<std::vector<std::string>>();
    for (const auto& c : j.at("open")) f.creations.push_back({c.at(0).get<std::string>(), c.at(1).get<std::string>()});
    f.began_ms = j.at("began").get<std::int64_t>();
    f.quiet_ms = j.at("quiet").get<std::int64_t>();
    f.settle_ms = j.at("settle").get<std::int64_t>();
    f.give_up_ms = j.at("give_up").get<std::int64_t>();
    f.looks = j.at("looks").get<unsigned>();
    f.refusals = j.at("refusals").get<unsigned>();
    f.calls = j.at("calls").get<unsigned>();
    f.trouble = j.at("trouble").get<std::string>();
    return f;
  } catch (const Json::exception& e) {
    return Error{"bad-record", e.what()};
  }
}

}  // namespace kf::download
