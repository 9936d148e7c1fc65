// The outcome agrees with the world: an SM-SR that is slow, late or silent at every call, but tells the truth, and one
// eUICC behind it. ValidityPeriods end at random moments, processes die. Whatever the Operator was told, in the end no
// ISD-P is left in state Created without an alarm, and no ICCID is free that the card holds or may come to hold.
#include <map>

#include "host/download/answers.hpp"
#include "tests/download/walk.hpp"

namespace kf::download {
namespace {

class World : public Walk {
 public:
  explicit World(unsigned seed) : Walk(seed) { d_.order.enable = seed % 3 == 0; }

  State run() {
    feed("start", Start{});
    const unsigned when = below(60);  // the step at which the ValidityPeriod ends, for half of the walks
    const bool ends = chance(50);
    for (unsigned i = 0; i < 3000 && !ended(d_.state); ++i) {
      world_moves();
      if (ended(d_.state)) break;
      if (chance(2)) {
        d_ = *from_record(record_);
        open_.clear();
        feed("restart", Restart{});
        if (over_) feed("deadline", DeadlinePassed{});
      } else if (!over_ && (time_is_over() || (ends && i >= when))) {
        deadline();
      } else if (!open_.empty()) {
        answer(take(below(open_.size())));
      } else if (d_.state == State::enabling && late_.empty() && !over_) {
        deadline();
      } else if (late_.empty()) {
        break;
      }
    }
    return d_.state;
  }

  // What the Operator was told against what is.
  void judge() {
    const bool profile = entry_ == "Disabled" || entry_ == "Enabled";
    const std::string said = d_.cause ? d_.cause->message : "";
    switch (d_.state) {
      case State::done:
        EXPECT_EQ(entry_, d_.order.enable ? "Enabled" : "Disabled") << path();
        break;
      case State::done_with_warning:
        EXPECT_TRUE(profile) << entry_ << ": " << said << path();
        if (said.find("Disabled; enabling failed") != std::string::npos) {
          EXPECT_EQ(entry_, "Disabled") << said << path();
        }
        if (entry_ == "Enabled") {
          EXPECT_TRUE(said.find("not known") != std::string::npos ||
                      said.find("may yet be executed") != std::string::npos)
              << said << path();
        }
        break;
      default:
        if (profile) {
          EXPECT_TRUE(followed()) << said << path();
        }
    }
    if (!entry_.empty() || creation_at_work()) {
      EXPECT_NE(static_cast<int>(iccid_after(d_, c_.now_ms)), static_cast<int>(IccidState::free)) << said << path();
    }
    if (entry_ == "Created" || creation_at_work()) {
      EXPECT_TRUE(followed()) << said << path();
    }
  }
  FollowUp::State look_after() {
    FollowUpLimits l;
    FollowUp f = with_outcome(std::nullopt, d_, c_.now_ms, l);
    std::optional<CallEs3> call;
    std::int64_t pause = 0;
    bool waits = true;  // for the end of the pause
    for (unsigned i = 0; i < 3000 && !ended(f); ++i) {
      FollowUpEvent e = Look{};
      if (!calls_back_.empty() && chance(30)) {
        const std::string transaction = d_.order.id + "." + std::to_string(calls_back_.back().first);
        const auto done = end_of(f.possession, transaction, calls_back_.back().second);
        calls_back_.pop_back();
        if (!done) continue;  // says nothing
        e = LateEnd{transaction, *done};
      } else if (call) {
        CallEs3 open = std::move(*call);
        call.reset();
        e = answer_to(open);
      } else if (waits) {
        waits = false;
        c_.now_ms += pause;
        if (c_.now_ms >= d_.order.deadline_ms + l.card_ms / 2) happen_all();  // a creation never ends later than that
        if (chance(5)) f = *follow_up_from_record(to_record(f), c_.now_ms);
      } else {
        ADD_FAILURE() << "the follow-up waits for nothing" << path();
        break;
      }
      FollowUpStep s = step(std::move(f), std::move(e), c_.now_ms, c_.smdp_oid, l);
      f = std::move(s.follow_up);
      if (s.call) call = std::move(s.call);
      if (s.pause_ms) waits = true, pause = *s.pause_ms;
    }
    EXPECT_TRUE(ended(f)) << path();
    if (f.state == FollowUp::State::clean) {
      happen_all();
      EXPECT_NE(entry_, "Created") << path();
      const Settled s = settled(f, c_.now_ms);
      for (const auto& iccid : s.gone) EXPECT_EQ(entry_, "") << iccid << path();
      for (const auto& iccid : s.used) EXPECT_TRUE(entry_ == "Disabled" || entry_ == "Enabled") << iccid << path();
    }
    return f.state;
  }

 private:
  struct Late {  // a command that the SM-SR has taken and not carried out yet
    unsigned call;
    es::Request request;
    bool answered;  // it calls back then
  };

  void deadline() {
    over_ = true;
    c_.now_ms = std::max(c_.now_ms, d_.order.deadline_ms);
    feed("deadline", DeadlinePassed{});
  }
  [[nodiscard]] bool creation_at_work() const {
    return std::ranges::any_of(late_, [](const Late& l) { return l.request.function == F::create_isdp; });
  }
  void world_moves() {
    if (!late_.empty() && chance(15)) happen();
    if (!calls_back_.empty() && chance(30)) {
      const auto [call, r] = calls_back_.back();
      calls_back_.pop_back();
      feed("callback", Answer{call, r});
    }
  }
  void happen() {
    const Late l = late_.front();
    late_.erase(late_.begin());
    path_ += " [" + std::string(es::function_name(l.request.function)) + " happens]";
    es::Response r = carry_out(l.request);
    if (l.answered) calls_back_.emplace_back(l.call, std::move(r));
  }
  void happen_all() {
    while (!late_.empty()) happen();
  }

  es::Response refused(F f, const char* subject, const char* reason) {
    es::Response r;
    r.function = f;
    r.status = es::ExecStatus::failed;
    r.code = es::StatusCode{subject, reason, "", ""};
    return r;
  }
  // The SM-SR and the card do it now.
  es::Response carry_out(const es::Request& q) {
    es::Response r;
    r.interface = es::Interface::es3;
    r.function = q.function;
    switch (q.function) {
      case F::get_eis:
        r.eis = eis();
        break;
      case F::create_isdp:
        if (!entry_.empty()) return refused(q.function, "8.2.1", "3.3");
        if (chance(5)) return refused(q.function, "8.4", "4.2");
        entry_ = "Created";
        if (!chance(5)) r.isd_p_aid = hex(kWalkAid);
        break;
      case F::send_data:
        if (entry_ != "Created") return refused(q.function, "8.3.1", "3.9");
        r.euicc_response_data = card_answer();
        break;
      case F::profile_download_completed:
        if (entry_ != "Created") return refused(q.function, "8.2.1", "3.5");
        if (chance(10)) return refused(q.function, "8.7", "4.2");
        entry_ = "Disabled";
        break;
      case F::enable_profile:
        if (entry_ != "Disabled") return refused(q.function, "8.2.1", "3.5");
        if (chance(15)) return refused(q.function, "8.2.1", "4.2");
        entry_ = "Enabled";
        break;
      case F::delete_isdp:
        if (entry_.empty()) return refused(q.function, "8.2.1", "3.9");
        if (entry_ == "Enabled" || chance(20)) return refused(q.function, "8.4", "4.2");
        entry_.clear();
        break;
      default:
        break;
    }
    return r;
  }
  std::variant<Answer, CallFailed> answer_now(CallEs3& c) {
    const F f = c.request.function;
    const unsigned n = below(100);
    if (n < 75) return Answer{c.call, carry_out(c.request)};
    if (n < 79) return CallFailed{c.call, CallFault::unreachable, "", "no connection"};
    if (n < 81) return CallFailed{c.call, CallFault::refused, "", "HTTP 403"};
    if (n < 84) return Answer{c.call, refused(f, "8.1", "5.1")};
    if (n < 88) {  // done, the answer is lost
      const es::Response r = carry_out(c.request);
      if (f != F::get_eis && f != F::send_data && chance(30)) calls_back_.emplace_back(c.call, r);
      return CallFailed{c.call, CallFault::lost, "", "connection lost"};
    }
    const CallFailed lost{c.call, chance(50) ? CallFault::timeout : CallFault::lost, "", "no answer in time"};
    // Late: CreateISDP and EnableProfile are what an SM-SR may still be at when the call is over.
    if ((f == F::create_isdp && entry_.empty() && !creation_at_work()) || (f == F::enable_profile && late_.empty()))
      late_.push_back({c.call, c.request, chance(50)});
    return lost;
  }
  FollowUpEvent answer_to(CallEs3& c) {
    return std::visit([](auto x) -> FollowUpEvent { return x; }, answer_now(c));
  }
  void reply(CallEs3& c) override {
    // A CreateISDP that is at work already: the ICCID is in use, and the EIS does not say why.
    const std::string name(es::function_name(c.request.function));
    if (c.request.function == F::create_isdp && creation_at_work())
      return feed(name + "-3.3", Answer{c.call, refused(F::create_isdp, "8.2.1", "3.3")});
    if (c.request.function == F::enable_profile) enabling_ = true;
    std::visit([&](auto x) { feed(name + (std::is_same_v<decltype(x), Answer> ? "" : "-lost"), std::move(x)); },
               answer_now(c));
  }
  es::Eis eis() {
    es::Eis e;
    e.eid = d_.order.eid.str();
    e.http_support = true;
    e.remote_provisioning_version = "4.2.0";
    e.remaining_memory = 400'000;
    e.ecasd.keysets.push_back({"116", "CA", "", {Bytes{0x7F, 0x21, 0x00}}, {}});
    if (entry_.empty()) return e;
    es::ProfileInfo p;
    p.iccid = d_.order.iccid.str();
    p.isd_p_aid = kWalkAid;
    p.state = entry_;
    p.smdp_id = c_.smdp_oid;
    e.profiles.push_back(p);
    return e;
  }

  std::string entry_;  // of the ordered ICCID: its state in the EIS, empty: none
  std::vector<Late> late_;
  std::vector<std::pair<unsigned, es::Response>> calls_back_;  // callbacks under way
  bool over_ = false, enabling_ = false;
};

TEST(DownloadWorld, OutcomesAgreeWithTheEis) {
  std::map<State, unsigned> ends;
  std::map<FollowUp::State, unsigned> followed;
  for (unsigned seed = 0; seed < 4000; ++seed) {
    World w(seed);
    const State s = w.run();
    ASSERT_TRUE(ended(s)) << "seed " << seed << ": waits for nothing in " << state_name(s) << " after" << w.path();
    ++ends[s];
    w.judge();
    if (w.followed()) ++followed[w.look_after()];
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  for (const State s : {State::done, State::done_with_warning, State::failed, State::expired})
    EXPECT_GT(ends[s], 50U) << state_name(s) << ": the walks no longer get there";
  EXPECT_GT(followed[FollowUp::State::clean], 50U);
  RecordProperty("followed", static_cast<int>(followed[FollowUp::State::clean]));
}

}  // namespace
}  // namespace kf::download
