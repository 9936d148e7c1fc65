// No order is ever forgotten: whatever the world answers, and in whatever order, a download that has not ended always
// waits for something that will come. Random walks with fixed seeds: SM-SRs that answer well, badly, late or not at
// all, engines that fail, processes that die.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "host/download/machine.hpp"
#include "host/download/record.hpp"
#include "tests/download/card_double.hpp"

namespace kf::download {
namespace {
using F = es::Function;

const std::string kAid = "A0000005591010FFFFFFFF8900001300";

class Walk {
 public:
  explicit Walk(unsigned seed) : random_(seed) {
    c_.now_ms = 1'000'000;
    c_.smdp_oid = "2.999.20";
    c_.cert_dp_p256 = Bytes(200, 0x7F);
    Order& o = d_.order;
    o.id = "dl";
    o.requester = *parse_oid("2.999.10");
    o.smsr = *parse_oid("2.999.30");
    o.eid = *parse_eid(eid_with_check_digits("890010120123412340987654321001"));
    o.iccid = *parse_iccid("89000123456789012341");
    o.received_ms = c_.now_ms;
    o.deadline_ms = c_.now_ms + 3'600'000;
    o.enable = seed % 4 == 0;
    record_ = to_record(d_);
  }
  // The end, and what led to it where it is none.
  State run() {
    feed("start", Start{});
    for (unsigned i = 0; i < 3000 && !ended(d_.state); ++i) {
      if (chance(2)) {  // kill -9: only the record survives
        d_ = *from_record(record_);
        open_.clear();
        feed("restart", Restart{});
      } else if (chance(1) && chance(20)) {
        feed("deadline", DeadlinePassed{});
      } else if (!open_.empty()) {
        answer(take(below(open_.size())));
      } else if (d_.state == State::enabling) {  // the one state that waits for somebody else's move
        feed("enabled", EnabledSeen{});
        if (!ended(d_.state)) feed("deadline", DeadlinePassed{});
      } else {
        break;
      }
    }
    return d_.state;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  unsigned below(std::size_t n) { return static_cast<unsigned>(random_() % n); }
  bool chance(unsigned percent) { return below(100) < percent; }
  Effect take(std::size_t i) {
    Effect e = std::move(open_[i]);
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(i));
    return e;
  }
  void feed(const std::string& what, Event e) {
    path_ += " " + what;
    Step s = step(std::move(d_), std::move(e), c_);
    d_ = std::move(s.download);
    path_ += ":" + std::string(state_name(d_.state));
    if (s.persist) record_ = to_record(d_);
    for (Effect& x : s.effects) {
      const bool asks = !std::holds_alternative<KeepKeySet>(x) && !std::holds_alternative<DropKeySet>(x) &&
                        !std::holds_alternative<Alarm>(x) && !std::holds_alternative<Finish>(x);
      if (!asks) continue;
      if (std::holds_alternative<StartTimer>(x))  // a download has one timer
        std::erase_if(open_, [](const Effect& o) { return std::holds_alternative<StartTimer>(o); });
      open_.push_back(std::move(x));
    }
  }

  void answer(Effect e) {
    std::visit([this](auto& x) { reply(x); }, e);
  }
  void reply(CheckCertificates&) {
    if (chance(2)) return feed("certificates-bad", CertificatesChecked{Error{"bad-signature", ""}, Curve::p256, {}});
    feed("certificates", CertificatesChecked{Status(), Curve::p256, ecasd_.q});
  }
  void reply(MakeEphemeral&) {
    EccCompletion x;
    x.op = EccOp::ephemeral_ecka;
    x.status = chance(3) ? EccStatus::failed : EccStatus::ok;
    const KeyPair e = generate_key_pair(Curve::p256);
    x.epk = e.q;
    x.shs = std::move(*ecka(Curve::p256, e.d.expose(), ecasd_.q));
    shs_ = to_bytes(x.shs.expose());
    feed("ephemeral", EccDone{std::move(x)});
  }
  void reply(Sign&) {
    EccCompletion x;
    x.op = EccOp::sign;
    x.status = chance(3) ? EccStatus::failed : EccStatus::ok;
    feed("sign", EccDone{std::move(x)});
  }
  void reply(SealOffline& s) {
    if (chance(3)) return feed("seal-failed", Sealed{Error{"bad-profile", ""}, nullptr, {}});
    const Bytes profile(500, 0x5A);
    const es8::Challenge hc{1, 2, 3, 4, 5, 6, 7, 8};
    auto make = [&] {
      return std::make_shared<es8::SealedScript>(es8::seal_offline(s.keys, s.isd_p, hc, {0, 0, 1}, profile));
    };
    card_view_ = make();
    counter_ = {0, 0, 1};
    auto mine = make();
    auto parts = test::parts_of(*mine);
    feed("seal", Sealed{Status(), std::move(mine), std::move(parts)});
  }
  void reply(SealOnline& s) {
    const Bytes profile(500, 0x33);
    auto a = es8::seal_online(s.keys, s.isd_p, s.hc, s.answer, profile);
    auto b = es8::seal_online(s.keys, s.isd_p, s.hc, s.answer, profile);
    if (!a || !b) return feed("seal-failed", Sealed{a.error(), nullptr, {}});
    card_view_ = std::make_shared<es8::SealedScript>(std::move(*a));
    auto parts = test::parts_of(*b);
    feed("seal", Sealed{Status(), std::make_shared<es8::SealedScript>(std::move(*b)), std::move(parts)});
  }
  void reply(DrawChallenge&) { feed("challenge", HostChallenge{{9, 9, 9, 9, 9, 9, 9, 9}}); }
  void reply(StartTimer&) { feed("timer", TimerFired{}); }
  void reply(KeepKeySet&) {}
  void reply(DropKeySet&) {}
  void reply(Alarm&) {}
  void reply(Finish&) {}

  void reply(CallEs3& call) {
    const std::string name(es::function_name(call.request.function));
    if (chance(12)) {
      constexpr CallFault kFaults[] = {CallFault::unreachable, CallFault::timeout, CallFault::lost, CallFault::fault};
      return feed(name + "-lost", CallFailed{call.call, kFaults[below(4)], "test"});
    }
    es::Response r;
    r.interface = es::Interface::es3;
    r.function = call.request.function;
    if (chance(call.request.function == F::create_isdp ? 25 : 8)) {
      constexpr const char* kCodes[][2] = {{"8.2.1", "3.3"}, {"8.2.1", "3.9"}, {"8.4", "5.1"},
                                           {"8.2.2", "3.8"}, {"8.1", "4.8"},   {"1.6", "5.3"}};
      const auto& code = kCodes[call.request.function == F::create_isdp ? below(2) * below(6) : below(6)];
      r.status = std::string(code[0]) == "1.6" ? es::ExecStatus::expired : es::ExecStatus::failed;
      r.code = es::StatusCode{code[0], code[1], "", ""};
      return feed(name + "-" + code[0] + "/" + code[1], Answer{call.call, std::move(r)});
    }
    if (r.function == F::get_eis) r.eis = eis();
    if (r.function == F::create_isdp && !chance(5)) r.isd_p_aid = hex(kAid);
    if (r.function == F::send_data && !chance(3)) r.euicc_response_data = card_answer();
    feed(name, Answer{call.call, std::move(r)});
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
    p.isd_p_aid = kAid;
    p.state = state;
    p.smdp_id = c_.smdp_oid;
    e.profiles.push_back(p);
    return e;
  }
  Bytes card_answer() {
    if (chance(3)) return test::r_apdu({}, 0x6600);
    switch (d_.state) {
      case State::sending_cert:
        return card_.cert_answer();
      case State::sending_key:
        return card_.key_answer(shs_, chance(3));
      case State::installing:
        break;
      default:
        return test::r_apdu({}, 0x9000);
    }
    if (d_.online_open) {  // INITIALIZE UPDATE of the second session
      const auto& keys = *d_.secrets.keys;
      counter_ = {0, 0, 7};
      const es8::Challenge cc = es8::card_challenge(keys, counter_, Aid::of(kAid));
      const es8::SessionKeys sk = es8::session_keys(keys, d_.online_hc, cc);
      Bytes iu(10, 0);
      append(iu, {0x30, 0x03, 0x70});
      append(iu, cc);
      append(iu, es8::card_cryptogram(sk, d_.online_hc, cc));
      append(iu, counter_);
      return make_tlv(0x84, iu);
    }
    const Bytes all = test::CardDouble::script_answer(
        *card_view_, counter_, 0x30, hex(chance(10) ? "300CA00830068001038101078100" : "3007A0053003800100"));
    if (card_view_->offline && chance(10)) {  // the counter was another one
      Bytes refused = to_bytes(read_tlvs(all)->front().whole);
      append(refused, hex("9F450102"));
      return refused;
    }
    return all;
  }

  std::mt19937 random_;
  Context c_;
  Download d_;
  std::string record_, path_;
  std::vector<Effect> open_;  // asked for, not yet answered
  test::CardDouble card_;
  KeyPair ecasd_ = generate_key_pair(Curve::p256);
  Bytes shs_;
  std::shared_ptr<es8::SealedScript> card_view_;
  es8::SequenceCounter counter_{0, 0, 1};
};

TEST(DownloadLiveness, WhateverIsAnsweredTheDownloadEnds) {
  std::map<State, unsigned> ends;
  for (unsigned seed = 0; seed < 4000; ++seed) {
    Walk w(seed);
    const State s = w.run();
    ASSERT_TRUE(ended(s)) << "seed " << seed << ": waits for nothing in " << state_name(s) << " after" << w.path();
    ++ends[s];
  }
  for (const State s : {State::done, State::done_with_warning, State::failed, State::expired})
    EXPECT_GT(ends[s], 20U) << state_name(s) << ": the walks no longer get there";
}

}  // namespace
}  // namespace kf::download
