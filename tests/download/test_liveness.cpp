// No order is ever forgotten: whatever the world answers, and in whatever order, a download that has not ended always
// waits for something that will come, and so does what is looked after when it has ended. Random walks with fixed
// seeds: SM-SRs that answer well, badly, late, not at all or against themselves, engines that fail, processes that die.
#include <map>

#include "tests/download/walk.hpp"

namespace kf::download {
namespace {

class AnyWalk : public Walk {
 public:
  using Walk::Walk;
  // The end, and what led to it where it is none.
  State run() {
    feed("start", Start{});
    for (unsigned i = 0; i < 3000 && !ended(d_.state); ++i) {
      if (chance(2)) {  // kill -9: only the record survives
        d_ = *from_record(record_);
        open_.clear();
        feed("restart", Restart{});
        if (over_) feed("deadline", DeadlinePassed{});
      } else if ((!over_ && time_is_over()) || (chance(1) && chance(20))) {
        deadline();
      } else if (chance(2) && !asked_.empty()) {  // an answer given up for lost comes after all, or comes twice
        late();
      } else if (!open_.empty()) {
        answer(take(below(open_.size())));
      } else if (d_.state == State::enabling) {  // the one state that waits for somebody else's move
        feed("enabled", EnabledSeen{});
        if (!ended(d_.state)) deadline();
      } else {
        break;
      }
    }
    return d_.state;
  }
  // Looks after what is left; the number of calls it took.
  unsigned follow_up(FollowUp& f) {
    FollowUpLimits l;
    f = with_outcome(std::nullopt, d_, c_.now_ms, l);
    FollowUpStep s;
    unsigned calls = 0;
    const unsigned silence = chance(20) ? 100 : 30;  // percent
    std::int64_t now = c_.now_ms;
    for (FollowUpEvent e = Look{}; calls < 1000;) {
      s = step(std::move(f), std::move(e), now, c_.smdp_oid, l);
      f = std::move(s.follow_up);
      if (ended(f)) return calls;
      if (s.call) {
        ++calls;
        if (chance(silence)) {
          e = CallFailed{s.call->call, CallFault::timeout, "", ""};
        } else {
          e = Answer{s.call->call, any_response(s.call->request.function)};
        }
      } else if (s.pause_ms) {
        now += *s.pause_ms;
        if (chance(5)) f = *follow_up_from_record(to_record(f), now);  // a restart
        e = Look{};
      } else {
        return 1'000'000;  // waits for nothing
      }
    }
    return calls;
  }

 private:
  void deadline() {
    over_ = true;
    c_.now_ms = std::max(c_.now_ms, d_.order.deadline_ms);
    feed("deadline", DeadlinePassed{});
  }
  void late() {
    const auto [call, function] = asked_[below(asked_.size())];
    feed("late-" + std::string(es::function_name(function)), Answer{call, any_response(function)});
  }
  es::Response any_response(F f) {
    es::Response r;
    r.interface = es::Interface::es3;
    r.function = f;
    if (chance(f == F::create_isdp ? 25 : 8)) {
      constexpr const char* kCodes[][2] = {{"8.2.1", "3.3"}, {"8.2.1", "3.9"}, {"8.4", "5.1"}, {"8.2.2", "3.8"},
                                           {"8.1", "4.8"},   {"1.6", "5.3"},   {"8.1", "5.4"}};
      const auto& code = kCodes[f == F::create_isdp ? below(2) * below(7) : below(7)];
      r.status = std::string(code[0]) == "1.6" ? es::ExecStatus::expired : es::ExecStatus::failed;
      r.code = es::StatusCode{code[0], code[1], "", ""};
      return r;
    }
    if (f == F::get_eis) r.eis = eis();
    if (f == F::create_isdp && !chance(5)) r.isd_p_aid = hex(kWalkAid);
    return r;
  }
  es::Eis eis() {
    es::Eis e;
    e.eid = d_.order.eid.str();
    e.http_support = true;
    e.remote_provisioning_version = "4.2.0";
    e.remaining_memory = 400'000;
    e.ecasd.keysets.push_back({"116", "CA", "", {Bytes{0x7F, 0x21, 0x00}}, {}});
    // What the ordered profile may be, by what was done so far: most answers make sense, some do not.
    const bool late = d_.state == State::completing || d_.state == State::enabling;
    const unsigned n = below(100);
    const char* state = n < 45                        ? (late ? "Disabled" : nullptr)
                        : n < 90                      ? "Created"
                        : late || below(4) == 0       ? "Enabled"
                        : d_.state == State::deleting ? "Deleted"
                                                      : nullptr;
    if (state == nullptr) return e;
    es::ProfileInfo p;
    p.iccid = d_.order.iccid.str();
    p.isd_p_aid = kWalkAid;
    p.state = state;
    p.smdp_id = c_.smdp_oid;
    e.profiles.push_back(p);
    return e;
  }
  void reply(CallEs3& call) override {
    const std::string name(es::function_name(call.request.function));
    asked_.emplace_back(call.call, call.request.function);
    if (chance(12)) {
      constexpr CallFault kFaults[] = {CallFault::unreachable, CallFault::timeout, CallFault::lost, CallFault::fault,
                                       CallFault::refused};
      return feed(name + "-lost", CallFailed{call.call, kFaults[below(5)], "test", ""});
    }
    es::Response r = any_response(call.request.function);
    if (r.status == es::ExecStatus::success && r.function == F::send_data && !chance(3))
      r.euicc_response_data = card_answer();
    feed(name + (r.code ? "-" + r.code->subject + "/" + r.code->reason : ""), Answer{call.call, std::move(r)});
  }

  std::vector<std::pair<unsigned, F>> asked_;
  bool over_ = false;
};

TEST(DownloadLiveness, WhateverIsAnsweredTheDownloadEnds) {
  std::map<State, unsigned> ends;
  std::map<FollowUp::State, unsigned> followed;
  for (unsigned seed = 0; seed < 6000; ++seed) {
    AnyWalk w(seed);
    const State s = w.run();
    ASSERT_TRUE(ended(s)) << "seed " << seed << ": waits for nothing in " << state_name(s) << " after" << w.path();
    ++ends[s];
    if (!w.followed()) continue;
    FollowUp f;
    ASSERT_LT(w.follow_up(f), 500U) << "seed " << seed << " after" << w.path();
    ASSERT_TRUE(ended(f));
    ++followed[f.state];
  }
  for (const State s : {State::done, State::done_with_warning, State::failed, State::expired})
    EXPECT_GT(ends[s], 20U) << state_name(s) << ": the walks no longer get there";
  EXPECT_GT(followed[FollowUp::State::clean], 20U);
  EXPECT_GT(followed[FollowUp::State::given_up], 5U);
}

}  // namespace
}  // namespace kf::download
