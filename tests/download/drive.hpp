// Drives one download in the tests: keeps the last effects by kind and answers them.
#pragma once
#include <gtest/gtest.h>

#include "host/download/machine.hpp"
#include "host/download/record.hpp"
#include "tests/download/card_double.hpp"
#include "tests/download/given.hpp"

namespace kf::download {

inline const std::string kEid = eid_with_check_digits("890010120123412340987654321001");
inline const std::string kIccid = "89000123456789012341";
inline const std::string kAid = "A0000005591010FFFFFFFF8900001300";

struct Drive {
  Given c;
  Download d;
  std::vector<Effect> effects;
  bool persisted = false;
  test::CardDouble card;
  KeyPair ecasd = generate_key_pair(Curve::p256);
  SecretArray<32> shs;

  Drive() {
    c.now_ms = 1'000'000;
    c.smdp_oid = "2.999.20";
    c.cert_dp_p256 = Bytes(200, 0x7F);
    d.order.id = "dl";
    d.order.requester = *parse_oid("2.999.10");
    d.order.smsr = *parse_oid("2.999.30");
    d.order.eid = *parse_eid(kEid);
    d.order.iccid = *parse_iccid(kIccid);
    d.order.received_ms = c.now_ms;
    d.order.deadline_ms = c.now_ms + 3'600'000;
  }
  void feed(Event e) {
    Step s = step(std::move(d), std::move(e), c, c.moment());
    d = std::move(s.download);
    effects = std::move(s.effects);
    persisted = s.persist;
  }
  [[nodiscard]] IccidState iccid_state() const { return iccid_after(d, c.now_ms); }
  [[nodiscard]] bool followed() const { return needs_follow_up(d, c.now_ms); }
  // Number of the n-th call whose end is open.
  [[nodiscard]] unsigned open_call(std::size_t n) const {
    return static_cast<unsigned>(std::stoul(d.possession.open_calls().at(n).substr(d.order.id.size() + 1)));
  }
  template <class T>
  T* find() {
    for (auto& e : effects)
      if (auto* x = std::get_if<T>(&e)) return x;
    return nullptr;
  }
  CallEs3* call(es::Function f) {
    auto* x = find<CallEs3>();
    EXPECT_NE(x, nullptr) << "expected a call of " << es::function_name(f) << " in " << state_name(d.state);
    if (x == nullptr) return nullptr;
    EXPECT_EQ(es::function_name(x->request.function), es::function_name(f));
    return x->request.function == f ? x : nullptr;
  }
  static es::Response ok(es::Function f) {
    es::Response r;
    r.interface = es::Interface::es3;
    r.function = f;
    return r;
  }
  static es::Response failed(es::Function f, const char* subject, const char* reason) {
    es::Response r = ok(f);
    r.status = es::ExecStatus::failed;
    r.code = es::StatusCode{subject, reason, "", "because"};
    return r;
  }
  void answer(es::Function f, es::Response r) {
    auto* x = call(f);
    ASSERT_NE(x, nullptr);
    feed(Answer{x->call, std::move(r)});
  }
  void fail(es::Function f, CallFault fault, bool answered = false) {
    auto* x = call(f);
    ASSERT_NE(x, nullptr);
    feed(CallFailed{x->call, fault, "internal", "brief", answered});
  }
  es::Eis eis() {
    es::Eis e;
    e.eid = kEid;
    e.eum_id = "2.999.40";
    e.platform_type = "T";
    e.platform_version = "4.2.0";
    e.http_support = true;
    e.remote_provisioning_version = "4.2.0";
    e.remaining_memory = 400'000;
    e.ecasd.keysets.push_back({"116", "CA", "", {Bytes{0x7F, 0x21, 0x00}}, {}});
    return e;
  }
  es::ProfileInfo entry(const std::string& iccid, const std::string& state, const std::string& smdp = "2.999.20") {
    es::ProfileInfo p;
    p.iccid = iccid;
    p.isd_p_aid = kAid;
    p.state = state;
    p.smdp_id = smdp;
    return p;
  }
  es::Eis eis_with(const std::string& state, const std::string& iccid = kIccid) {
    es::Eis e = eis();
    e.profiles.push_back(entry(iccid, state));
    return e;
  }
  void answer_eis(es::Eis e) {
    es::Response r = ok(es::Function::get_eis);
    r.eis = std::move(e);
    answer(es::Function::get_eis, std::move(r));
  }
  void certificates_good() {
    ASSERT_NE(find<CheckCertificates>(), nullptr);
    feed(CertificatesChecked{Status(), Curve::p256, ecasd.q});
  }
  void to_creating() {
    feed(Start{});
    answer_eis(eis());
    certificates_good();
    ASSERT_EQ(d.state, State::creating_isdp);
  }
  EccDone ephemeral() {
    EccCompletion x;
    x.op = EccOp::ephemeral_ecka;
    const KeyPair e = generate_key_pair(Curve::p256);
    x.epk = e.q;
    x.shs = std::move(*ecka(Curve::p256, e.d.expose(), ecasd.q));
    std::copy(x.shs.expose().begin(), x.shs.expose().end(), shs.expose_mut().begin());
    x.status = EccStatus::ok;
    return EccDone{std::move(x)};
  }
  void created() {
    es::Response r = ok(es::Function::create_isdp);
    r.isd_p_aid = hex(kAid);
    answer(es::Function::create_isdp, std::move(r));
  }
  void to_sending_cert() {
    to_creating();
    auto call_effect = *call(es::Function::create_isdp);
    ASSERT_NE(find<MakeEphemeral>(), nullptr);
    feed(ephemeral());
    es::Response r = ok(es::Function::create_isdp);
    r.isd_p_aid = hex(kAid);
    feed(Answer{call_effect.call, std::move(r)});
    ASSERT_EQ(d.state, State::sending_cert);
  }
  void card_says(Bytes data, es::ExecStatus s = es::ExecStatus::success) {
    es::Response r = ok(es::Function::send_data);
    r.status = s;
    if (s == es::ExecStatus::failed) r.code = es::StatusCode{"8.4", "4.2", "", ""};
    r.euicc_response_data = std::move(data);
    answer(es::Function::send_data, std::move(r));
  }
  void to_sending_key() {
    to_sending_cert();
    card_says(card.cert_answer());
    ASSERT_EQ(d.state, State::sending_key);
    ASSERT_NE(find<Sign>(), nullptr);
    EccCompletion x;
    x.op = EccOp::sign;
    x.status = EccStatus::ok;
    feed(EccDone{std::move(x)});
  }
  void to_installing() {
    to_sending_key();
    card_says(card.key_answer(shs.expose()));
    ASSERT_EQ(d.state, State::installing);
    ASSERT_TRUE(persisted);
  }
  std::shared_ptr<es8::SealedScript> script;
  std::size_t send_data_limit = 0;
  [[nodiscard]] Sealed sealed_event(std::shared_ptr<es8::SealedScript> s) const {
    auto parts = test::parts_of(*s, send_data_limit, c.scp03t_in_22);
    return {Status(), std::move(s), std::move(parts)};
  }
  // Data of a SendData, however it is held.
  static Bytes data_of(const CallEs3& call) {
    return call.request.data_hex ? from_hex(*call.request.data_hex).value() : call.request.data;
  }
  void sealed(std::size_t bytes = 3000) {
    auto* s = find<SealOffline>();
    ASSERT_NE(s, nullptr);
    const Bytes profile(bytes, 0x5A);
    script = std::make_shared<es8::SealedScript>(
        es8::seal_offline(s->keys, s->isd_p, {1, 2, 3, 4, 5, 6, 7, 8}, {0, 0, 1}, profile));
    keep = std::make_shared<es8::SealedScript>(
        es8::seal_offline(s->keys, s->isd_p, {1, 2, 3, 4, 5, 6, 7, 8}, {0, 0, 1}, profile));
    feed(sealed_event(script));
  }
  std::shared_ptr<es8::SealedScript> keep;  // the card's view of the same session
  [[nodiscard]] Bytes installed(std::string_view response_hex = "3007A0053003800100") const {
    return test::CardDouble::script_answer(*keep, hex("000001"), 0x30, hex(response_hex));
  }
  void to_completing() {
    to_installing();
    sealed();
    card_says(installed());
    ASSERT_EQ(d.state, State::completing) << (d.cause ? d.cause->message : "");
  }
  void expect_end(State s, const std::string& subject = "", const std::string& reason = "") {
    EXPECT_EQ(state_name(d.state), state_name(s));
    if (!subject.empty()) {
      ASSERT_TRUE(d.cause.has_value());
      EXPECT_EQ(d.cause->subject + "/" + d.cause->reason, subject + "/" + reason) << d.cause->message;
    }
    EXPECT_TRUE(persisted);
    EXPECT_NE(find<Finish>(), nullptr);
    EXPECT_FALSE(d.secrets.keys.has_value());
    EXPECT_FALSE(d.secrets.script);
  }
};

using F = es::Function;

}  // namespace kf::download
