// SendingCert, SendingKey, Installing: what the eUICC and we say to each other.
#include <algorithm>

#include "host/crypto/ec.hpp"
#include "host/download/machine_impl.hpp"

namespace kf::download {
namespace {
using es8::ScriptFault;

constexpr unsigned kInitializeRepeats = 2;  // of an INITIALIZE UPDATE that the card refused; nothing came of it

struct Verdict {  // of an EUICCResponse
  bool bad = false, warn = false;
};
Verdict judge(const profile::EuiccResponse& r, std::span<const std::uint32_t> optional) {
  Verdict v{r.aborted, false};
  for (const auto& s : r.statuses) {
    if (s.status == 0) continue;
    if (s.identification && std::find(optional.begin(), optional.end(), *s.identification) != optional.end())
      v.warn = true;
    else
      v.bad = true;
  }
  return v;
}
}  // namespace

// ---- SendingCert ----
void Machine::send_cert() {
  std::vector<Bytes> apdus{es8::install_for_personalization(isd_p())};
  auto blocks = es8::store_data_certificate(cert_dp());
  d().blocks_sent = static_cast<std::uint8_t>(blocks.size());
  for (auto& b : blocks) apdus.push_back(std::move(b));
  send_data(isd_r_aid(), es8::wrap_c_apdus(apdus), true);
}
// The card's answers, or the cause when there are none that can be used. SCP03t answers are taken bare and inside 23,
// whatever this SM-SR is configured to be sent (docs/spec/interfaces.md 2.4).
Result<std::vector<es8::CardAnswer>> Machine::card_answers(const es::Response& r, bool scp03t) {
  if (r.bad_euicc_response_data) return Error{ScriptFault::bad_format, "EuiccResponseData is not hex"};
  if (!r.euicc_response_data) return Error{ScriptFault::missing_answer, "no EuiccResponseData"};
  return es8::parse_euicc_response_data(*r.euicc_response_data, scp03t);
}
void Machine::on_cert_answer(es::Response& r) {
  auto answers = card_answers(r, false);
  if (!answers) {
    if (!executed(r) && !r.bad_euicc_response_data && !r.euicc_response_data) return delete_as(r, "SendData refused");
    return begin_delete({Code::isd_r_failed, d().isd_p_aid, "answer to STORE DATA #1: " + answers.error().text()});
  }
  auto rc = es8::rc_of(*answers, 1 + std::size_t{d().blocks_sent});
  if (!rc) {
    const bool sw = rc.error().is(ScriptFault::card_status);
    return begin_delete(
        {sw ? Code::smdp_unverified : Code::isd_r_failed, d().isd_p_aid,
         "Key establishment failed: " + (sw ? "card refused CERT.DP.ECDSA, " : std::string()) + rc.error().text()});
  }
  if (!executed(r)) return delete_as(r, "SendData refused");
  d().rc = std::move(*rc);
  enter(State::sending_key);
  d().crt = es8::control_reference_template(p_.plan);
  d().sign_wanted = !d().secrets.epk;
  if (!d().sign_wanted) sign();
}
void Machine::sign() {
  d().sign_wanted = false;
  emit(Sign{d().curve, sha256(es8::signing_input(d().crt, *d().secrets.epk, d().rc))});
}
void Machine::delete_as(const es::Response& r, const std::string& what) {
  if (r.status == es::ExecStatus::expired) {
    d().expiring = true;
    return begin_delete(expired_cause());
  }
  begin_delete(passed_on(r, {Code::isd_r_failed, d().isd_p_aid, what + " without a code"}));
}

// ---- engines ----
void Machine::on_ecc(EccCompletion& c) {
  if (c.op == EccOp::ephemeral_ecka) {
    if (c.status != EccStatus::ok) {
      const Cause cause{Code::provider_failed, "",
                        "ephemeral key agreement failed: " + std::string(to_string(c.status))};
      if (d().state == State::sending_cert || d().state == State::sending_key) return begin_delete(cause);
      d().ephemeral_failed = cause;
      return;
    }
    // It is asked for once, with the first CreateISDP; a stale ISD-P may be cleaned away before the second one.
    const State s = d().state;
    if (s != State::creating_isdp && s != State::cleaning_stale && s != State::sending_cert && s != State::sending_key)
      return;
    d().secrets.epk = c.epk;
    d().secrets.shs = std::move(c.shs);
    if (d().sign_wanted && d().state == State::sending_key) sign();
    return;
  }
  if (c.op != EccOp::sign || d().state != State::sending_key) return;
  if (c.status != EccStatus::ok)
    return begin_delete({Code::provider_failed, "", "signature failed: " + std::string(to_string(c.status))});
  send_data(isd_r_aid(),
            es8::wrap_c_apdus(es8::store_data_key(d().crt, *d().secrets.epk, c.signature, d().blocks_sent)), true);
}

// ---- SendingKey ----
void Machine::on_key_answer(es::Response& r) {
  auto answers = card_answers(r, false);
  d().rc.clear();  // single use
  if (!answers) {
    if (!executed(r) && !r.bad_euicc_response_data && !r.euicc_response_data) return delete_as(r, "SendData refused");
    return begin_delete({Code::isd_r_failed, d().isd_p_aid, "answer to STORE DATA #2: " + answers.error().text()});
  }
  auto k = es8::key_answer_of(*answers, 1, p_.plan);
  if (!k) {
    const bool receipt = k.error().is(ScriptFault::missing_dr, ScriptFault::bad_receipt);
    if (receipt) emit(Alarm{"receipt unusable for EID " + d().order.eid.str() + ": " + k.error().text()});
    return begin_delete({receipt ? Code::isd_r_unverified : Code::isd_r_failed, d().isd_p_aid,
                         "Key establishment failed: " + k.error().text()});
  }
  if (!executed(r)) return delete_as(r, "SendData refused");
  es8::DerivedKeys keys = es8::derive_keys(d().secrets.shs.expose(), p_.plan, k->dr);
  d().secrets.shs.wipe_now();
  d().secrets.epk.reset();
  if (!es8::receipt_matches(keys, d().crt, *k)) {
    emit(Alarm{"receipt differs for EID " + d().order.eid.str() + ": wrong PK.ECASD, a broken engine, or an attack"});
    return begin_delete({Code::isd_r_unverified, d().isd_p_aid, "Key establishment failed: receipt differs"});
  }
  d().secrets.keys = std::move(keys.keys);
  d().header_taken = true;  // from the next call on the card may know the profile's POL1
  ledger().content_sent(iccid(), m_.now_ms);
  enter_persisted(State::installing);
  if (p_.scp03t_online) return emit(DrawChallenge{});
  emit(SealOffline{d().secrets.keys->clone(), isd_p()});
}

// ---- Installing ----
void Machine::on_sealed(Sealed& x) {
  if (d().state != State::installing) return;
  if (!x.status) {
    if (x.status.error().is(ScriptFault::bad_cryptogram, ScriptFault::bad_challenge)) {
      emit(Alarm{"card cryptogram wrong for EID " + d().order.eid.str()});
      return begin_delete({Code::isd_p_unverified, d().isd_p_aid, "SCP03t: " + x.status.error().text()});
    }
    return begin_delete({Code::provider_failed, "", "profile could not be sealed: " + x.status.error().text()});
  }
  d().secrets.script = std::move(x.script);
  d().secrets.parts = std::move(x.parts);
  d().answered = 0;
  send_part();
}
void Machine::send_part() {
  const bool last = d().secrets.parts.size() == 1 && !d().order.enable;
  send_data(isd_p(), d().secrets.parts.front(), !last);
}
void Machine::on_install_answer(es::Response& r) {
  if (d().online_open) return on_online_answer(r);
  Download& x = d();
  auto answers = card_answers(r, true);
  if (!answers) {
    if (!executed(r) && !r.euicc_response_data && !r.bad_euicc_response_data) {
      if (not_reached(r) && x.resends++ < p_.timeouts.not_reached_resends) return send_part();
      return delete_as(r, "SendData refused");
    }
    return begin_delete({Code::isd_r_failed, x.isd_p_aid, "answer to SCP03t: " + answers.error().text()});
  }
  auto opened = es8::open_answers(*x.secrets.script, x.answered, *answers);
  if (!opened) {
    const bool mac = !opened.error().is(ScriptFault::bad_format);
    if (mac) emit(Alarm{"SCP03t answer of EID " + x.order.eid.str() + ": " + opened.error().text()});
    return begin_delete(
        {mac ? Code::isd_p_unverified : Code::isd_p_failed, x.isd_p_aid, "SCP03t: " + opened.error().text()});
  }
  x.segments_accepted += opened->segments_accepted;
  append(x.euicc_response, opened->data);
  if (opened->error_tlv) return on_scp_error(*opened->error_tlv);
  if (!executed(r)) {
    if (not_reached(r) && opened->accepted == 0 && x.resends++ < p_.timeouts.not_reached_resends) return send_part();
    return delete_as(r, "SendData refused");
  }
  if (r.status == es::ExecStatus::with_warning) note_warning(r);
  const std::size_t sent = x.secrets.parts.front().commands;
  x.answered += opened->accepted;
  if (opened->accepted < sent && x.euicc_response.empty())
    return begin_delete(
        {Code::isd_p_failed, x.isd_p_aid,
         "card answered " + std::to_string(opened->accepted) + " of " + std::to_string(sent) + " commands"});
  x.secrets.parts.erase(x.secrets.parts.begin());
  if (!x.secrets.parts.empty() && x.euicc_response.empty()) return send_part();
  on_euicc_response();
}

// 9F xx ends the session. What the card said of the profile before it says more.
void Machine::on_scp_error(const Bytes& tlv) {
  Download& x = d();
  const std::string code = to_hex(tlv);
  const bool before_segments = tlv.size() >= 2 && tlv[0] == 0x9F && (tlv[1] == 0x44 || tlv[1] == 0x45);
  if (before_segments && x.segments_accepted == 0 && session_again()) return;
  if (!x.euicc_response.empty()) {
    const auto res = profile::parse_euicc_response(x.euicc_response);
    if (res && judge(*res, m_.optional_elements).bad) return begin_delete(pe_cause(*res, x.order));
  }
  begin_delete({Code::isd_p_failed, x.isd_p_aid, "SCP03t error " + code});
}
// Once: a second session in online mode with a fresh HC (docs/spec/interfaces.md 4.2).
bool Machine::session_again() {
  Download& x = d();
  if (x.sessions_again != 0) return false;
  ++x.sessions_again;
  x.secrets.script.reset();
  x.secrets.parts.clear();
  emit(DrawChallenge{});
  return true;
}
void Machine::on_euicc_response() {
  Download& x = d();
  const bool all_sent = x.secrets.parts.empty();
  x.secrets.script.reset();
  x.secrets.parts.clear();
  auto res = profile::parse_euicc_response(x.euicc_response);
  if (!res)
    return begin_delete(
        {Code::isd_p_failed, x.isd_p_aid,
         x.euicc_response.empty() ? "no EUICCResponse after the last segment" : "EUICCResponse: " + res.error().text(),
         ""});
  const Verdict v = judge(*res, m_.optional_elements);
  if (v.bad) return begin_delete(pe_cause(*res, x.order));
  if (!all_sent) return begin_delete({Code::isd_p_failed, x.isd_p_aid, "EUICCResponse before the last segment"});
  if (v.warn && !x.warning) {
    x.warning = pe_cause(*res, x.order);
    x.warning->message = "installed, a non-mandated element was not: " + x.warning->message;
  }
  complete();
}

// An SCP03t session with CC from the card (docs/spec/crypto.md 6.3): INITIALIZE UPDATE goes alone.
void Machine::on_host_challenge(HostChallenge& h) {
  if (d().state != State::installing) return;
  d().online_hc = h.hc;
  d().online_open = true;
  Bytes iu = es8::initialize_update(d().secrets.keys->kvn, h.hc);
  send_data(isd_p(), p_.scp03t_in_22 ? make_tlv(0x22, iu) : std::move(iu), true);
}
void Machine::initialize_again() {
  d().online_open = false;
  emit(DrawChallenge{});
}
void Machine::on_online_answer(es::Response& r) {
  Download& x = d();
  auto answers = card_answers(r, true);
  if (!answers || answers->empty()) {
    if (not_reached(r) && x.resends++ < p_.timeouts.not_reached_resends) return initialize_again();
    return delete_as(r, "INITIALIZE UPDATE not answered");
  }
  x.online_open = false;
  auto a = es8::parse_initialize_update_answer(answers->front());
  if (!a) {
    if (a.error().is(ScriptFault::scp_error) && x.initialize_repeats++ < kInitializeRepeats) return initialize_again();
    return begin_delete({Code::isd_p_failed, x.isd_p_aid, "INITIALIZE UPDATE: " + a.error().text()});
  }
  x.sequence_counter =
      static_cast<std::uint32_t>(a->counter[0]) << 16 | static_cast<std::uint32_t>(a->counter[1]) << 8 | a->counter[2];
  emit(SealOnline{x.secrets.keys->clone(), isd_p(), x.online_hc, *a});
}

}  // namespace kf::download
