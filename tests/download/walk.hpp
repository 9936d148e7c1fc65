// A random walk of one download: engines that fail now and then, a card that answers well or badly, processes that
// die. What the SM-SR does is the test's.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "host/download/follow_up.hpp"
#include "host/download/record.hpp"
#include "tests/download/card_double.hpp"
#include "tests/download/given.hpp"

namespace kf::download {
using F = es::Function;

inline const std::string kWalkAid = "A0000005591010FFFFFFFF8900001300";

class Walk {
 public:
  virtual ~Walk() = default;
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;
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
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Download& download() const { return d_; }
  [[nodiscard]] bool followed() const { return needs_follow_up(d_, c_.now_ms); }

 protected:
  virtual void reply(CallEs3& call) = 0;  // the SM-SR
  virtual void alarm() {}

  unsigned below(std::size_t n) { return static_cast<unsigned>(random_() % n); }
  bool chance(unsigned percent) { return below(100) < percent; }
  Effect take(std::size_t i) {
    Effect e = std::move(open_[i]);
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(i));
    return e;
  }
  void feed(const std::string& what, Event e) {
    path_ += " " + what;
    Step s = step(std::move(d_), std::move(e), c_, c_.moment());
    d_ = std::move(s.download);
    path_ += ":" + std::string(state_name(d_.state));
    if (s.persist) record_ = to_record(d_);
    for (Effect& x : s.effects) {
      if (std::holds_alternative<Alarm>(x)) alarm();
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
  void reply(StartTimer& t) {
    c_.now_ms += t.ms;
    feed("timer", TimerFired{});
  }
  [[nodiscard]] bool time_is_over() const { return c_.now_ms >= d_.order.deadline_ms; }
  void reply(KeepKeySet&) {}
  void reply(DropKeySet&) {}
  void reply(Alarm&) {}
  void reply(Finish&) {}

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
      const es8::Challenge cc = es8::card_challenge(keys, counter_, Aid::of(kWalkAid));
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
  Given c_;
  Download d_;
  std::string record_, path_;
  std::vector<Effect> open_;  // asked for, not yet answered
  test::CardDouble card_;
  KeyPair ecasd_ = generate_key_pair(Curve::p256);
  Bytes shs_;
  std::shared_ptr<es8::SealedScript> card_view_;
  es8::SequenceCounter counter_{0, 0, 1};
};

}  // namespace kf::download
