#include "host/download/machine.hpp"

#include <algorithm>
#include <array>

#include "host/crypto/ec.hpp"
#include "host/download/codes.hpp"

namespace kf::download {
namespace {

constexpr std::array<std::string_view, 15> kStates{"Received",        "GettingEis",  "Checking",   "CleaningStale",
                                                   "CreatingIsdp",    "SendingCert", "SendingKey", "Installing",
                                                   "Completing",      "Enabling",    "Deleting",   "Done",
                                                   "DoneWithWarning", "Failed",      "Expired"};

template <class... F>
struct Overload : F... {
  using F::operator()...;
};
template <class... F>
Overload(F...) -> Overload<F...>;

bool executed(const es::Response& r) {
  return r.status == es::ExecStatus::success || r.status == es::ExecStatus::with_warning;
}
bool says(const es::Response& r, std::string_view subject, std::string_view reason) {
  return r.code && r.code->subject == subject && r.code->reason == reason;
}
bool not_reached(const es::Response& r) { return r.code && r.code->reason == "5.1"; }

const es::ProfileInfo* find_profile(const es::Eis& e, const std::string& iccid) {
  for (const auto& p : e.profiles)
    if (p.iccid == iccid) return &p;
  return nullptr;
}

class Machine {
 public:
  Machine(Download d, const Context& c) : c_(c) { out_.download = std::move(d); }

  Step run(Event e) {
    if (ended(d().state)) return std::move(out_);
    std::visit(
        Overload{[&](Start&) { start(); }, [&](Restart& r) { restart(r.planned); }, [&](Answer& a) { on_answer(a); },
                 [&](CallFailed& f) { on_call_failed(f); }, [&](CertificatesChecked& x) { on_certificates(x); },
                 [&](EccDone& x) { on_ecc(x.completion); }, [&](Sealed& x) { on_sealed(x); },
                 [&](HostChallenge& x) { on_host_challenge(x); }, [&](TimerFired&) { on_timer(); },
                 [&](DeadlinePassed&) { on_deadline(); }, [&](EnabledSeen&) { on_enabled_seen(); }},
        e);
    return std::move(out_);
  }

 private:
  Download& d() { return out_.download; }
  void emit(Effect e) { out_.effects.push_back(std::move(e)); }
  void enter(State s) {
    d().state = s;
    d().tries = 0;
    d().pending_call = 0;
    d().ask = Download::Ask::none;
  }
  void enter_persisted(State s) {
    enter(s);
    out_.persist = true;
  }

  // ---- calls ----
  es::Request request(es::Function f) {
    es::Request r;
    r.interface = es::Interface::es3;
    r.function = f;
    r.eid = d().order.eid.str();
    return r;
  }
  es::Request request_iccid(es::Function f, const std::string& iccid) {
    es::Request r = request(f);
    r.iccid = iccid;
    return r;
  }
  void call(es::Request r, std::int64_t timeout, bool resend_safe, Download::Ask ask = Download::Ask::step) {
    d().pending_call = ++d().calls;
    d().ask = ask;
    emit(CallEs3{d().calls, std::move(r), timeout, resend_safe});
  }
  void send_data(const Aid& target, Bytes data, bool more) {
    es::Request r = request(es::Function::send_data);
    r.sd_aid = to_bytes(target.bytes());
    r.data = std::move(data);
    r.more_to_do = more;
    call(std::move(r), c_.timeouts.card, false);
  }
  void send_data(const Aid& target, const es8::SendPart& part, bool more) {
    es::Request r = request(es::Function::send_data);
    r.sd_aid = to_bytes(target.bytes());
    r.data_hex = part.hex;
    r.more_to_do = more;
    call(std::move(r), c_.timeouts.card, false);
  }
  void ask_eis(Download::Ask ask) { call(request(es::Function::get_eis), c_.timeouts.get_eis, true, ask); }
  void probe() {
    d().tries = 0;
    ask_eis(Download::Ask::probe);
  }
  // Waits 1, 4, 16 ... times the back-off before the call is made again; false when the tries are used up.
  bool again_later(unsigned limit) {
    if (++d().tries >= limit) return false;
    std::int64_t ms = c_.timeouts.backoff;
    for (unsigned i = 1; i < d().tries; ++i) ms *= 4;
    emit(StartTimer{ms});
    return true;
  }
  Aid isd_p() { return Aid::of(d().isd_p_aid); }

  // ---- ends ----
  void finish(State s) {
    enter_persisted(s);
    d().secrets = Secrets{};
    emit(Finish{});
  }
  void fail(Cause cause) {
    d().cause = std::move(cause);
    finish(d().expiring ? State::expired : State::failed);
  }
  void succeed() {
    if (!d().warning) return finish(State::done);
    d().cause = d().warning;
    finish(State::done_with_warning);
  }
  void fail_as(const es::Response& r, const Cause& when_missing) {
    if (r.status == es::ExecStatus::expired) d().expiring = true;
    fail(r.status == es::ExecStatus::expired ? expired_cause() : passed_on(r, when_missing));
  }
  Cause down(const std::string& what) { return {"8.7", "5.1", d().order.smsr.str(), "SM-SR did not answer " + what}; }

  // ---- GettingEis, Checking ----
  void start() {
    enter(State::getting_eis);
    ask_eis(Download::Ask::step);
  }

  void on_eis(es::Response& r) {
    Download& x = d();
    if (!executed(r)) return fail_as(r, {"8.1.1", "3.9", x.order.eid.str(), "GetEIS refused without a code"});
    if (!r.eis) return fail({"8.6", "2.2", x.order.eid.str(), "GetEIS answered without an EIS"});
    const es::Eis& e = *r.eis;
    if (e.eid != x.order.eid.str()) return fail({"8.1.1", "3.8", x.order.eid.str(), "the EIS is of another EID"});
    enter(State::checking);
    x.ineligible = eligibility(e);
    read_stale(e);
    Bytes cert;
    for (const auto& ks : e.ecasd.keysets) {
      if (!ks.type.empty() && ks.type != "CA") continue;
      if (cert.empty() && !ks.certs.empty()) cert = ks.certs.front().value;
      if (cert.empty() && !ks.certificates.empty()) cert = ks.certificates.front();
    }
    if (cert.empty()) return fail({"8.1.3", "6.1", x.order.eid.str(), "no CERT.ECASD.ECKA in the EIS"});
    emit(CheckCertificates{std::move(cert), e.eum_certificate});
  }

  void read_stale(const es::Eis& e) {  // 4.5; an entry without Smdp-id is not ours (rule 14)
    d().stale.clear();
    for (const auto& p : e.profiles)
      if (p.state == "Created" && !p.smdp_id.empty() && p.smdp_id == c_.smdp_oid) d().stale.push_back(p.iccid);
  }

  static bool matches(const std::vector<Platform>& list, const es::Eis& e) {
    if (list.empty()) return true;
    return std::any_of(list.begin(), list.end(), [&](const Platform& p) {
      return (p.eum_id.empty() || p.eum_id == e.eum_id) && (p.type.empty() || p.type == e.platform_type) &&
             (p.version.empty() || p.version == e.platform_version);
    });
  }

  std::optional<Cause> eligibility(const es::Eis& e) {  // sgp02-interfaces.md 2.5, points 4 to 7
    const Order& o = d().order;
    auto no = [&](std::string why) -> Cause {
      return {o.by_profile_type ? "8.2.5" : "8.2.1", "2.1", o.by_profile_type ? o.profile_type : o.iccid.str(),
              "eUICC not eligible: " + std::move(why)};
    };
    if (!e.http_support && !e.cattp_support) return no("neither HTTPS nor CAT_TP");
    unsigned major = 0;
    for (char ch : e.remote_provisioning_version) {
      if (ch < '0' || ch > '9') break;
      major = major * 10 + static_cast<unsigned>(ch - '0');
    }
    if (std::find(c_.rsp_majors.begin(), c_.rsp_majors.end(), major) == c_.rsp_majors.end())
      return no("remote provisioning version " + e.remote_provisioning_version);
    if (!matches(c_.compatible, e))
      return no("platform " + e.platform_type + " " + e.platform_version + " does not fit the profile type");
    if (!matches(c_.certified, e))
      return no("platform " + e.platform_type + " " + e.platform_version + " is not certified");
    if (const auto* p = find_profile(e, o.iccid.str()); p != nullptr && p->state != "Created" && p->state != "Deleted")
      return Cause{"8.2.1", "3.3", o.iccid.str(), "ICCID is already on this eUICC"};
    std::uint64_t freed = 0;
    for (const auto& p : e.profiles)
      if (p.state == "Created" && !p.smdp_id.empty() && p.smdp_id == c_.smdp_oid) freed += p.allocated_memory;
    if (o.required_memory > e.remaining_memory + freed)
      return Cause{"8.1", "4.8", o.eid.str(),
                   "RequiredMemory " + std::to_string(o.required_memory) + " exceeds RemainingMemory " +
                       std::to_string(e.remaining_memory)};
    return std::nullopt;
  }

  const Bytes& cert_dp() { return d().curve == Curve::p256 ? c_.cert_dp_p256 : c_.cert_dp_brainpool; }

  void on_certificates(CertificatesChecked& x) {
    if (d().state != State::checking) return;
    if (!x.status) return fail(certificate_cause(x.status.error(), d().order.eid));
    d().curve = x.curve;
    d().pk_ecasd = x.pk_ecasd;
    if ((x.curve != Curve::p256 && x.curve != Curve::brainpool_p256r1) || cert_dp().empty())
      return fail({"8.8", "3.1", d().order.eid.str(), "no CERT.DP.ECDSA on " + std::string(curve_name(x.curve))});
    if (d().ineligible) return fail(*d().ineligible);
    clean_next();
  }

  // ---- CleaningStale ----
  void clean_next() {
    if (d().stale.empty()) return create();
    if (d().state != State::cleaning_stale) enter(State::cleaning_stale);
    call(request_iccid(es::Function::delete_isdp, d().stale.front()), c_.timeouts.card, true);
  }
  void on_cleaned(es::Response& r) {
    if (!executed(r) && !says(r, "8.2.1", "3.9")) {
      const Cause missing{"8.2.1", "4.2", d().stale.front(), "stale ISD-P could not be deleted"};
      if (r.status == es::ExecStatus::expired) {
        d().leftover = true;
        return fail_as(r, missing);
      }
      d().refused = passed_on(r, missing);
      return probe();  // it may be gone all the same: by a DeleteISDP of the old life, or by one given up for lost
    }
    d().stale.erase(d().stale.begin());
    d().tries = 0;
    clean_next();
  }

  // ---- CreatingIsdp ----
  void create() {
    enter_persisted(State::creating_isdp);
    if (!d().ephemeral_asked) emit(MakeEphemeral{d().curve, *d().pk_ecasd});
    d().ephemeral_asked = true;
    es::Request r = request_iccid(es::Function::create_isdp, d().order.iccid.str());
    r.mno_id = d().order.requester.str();
    r.required_memory = d().order.required_memory;
    r.more_to_do = true;
    call(std::move(r), c_.timeouts.card, false);
  }
  void on_created(es::Response& r) {
    if (executed(r)) {
      if (r.status == es::ExecStatus::with_warning) note_warning(r);
      if (r.isd_p_aid.empty()) return probe();
      return created(to_hex(r.isd_p_aid));
    }
    if (says(r, "8.2.1", "3.3") && !d().create_retried) return probe();
    Cause c = passed_on(r, {"8.4", "4.2", d().order.eid.str(), "CreateISDP refused without a code"});
    if (r.euicc_response_data) {
      if (auto answers = es8::parse_euicc_response_data(*r.euicc_response_data); answers && !answers->empty()) {
        const std::uint16_t sw = answers->back().sw();
        if (sw == 0x6A84) c.subject = "8.1", c.reason = "4.8";
        const std::string hex_sw =
            to_hex(std::array{static_cast<std::uint8_t>(sw >> 8), static_cast<std::uint8_t>(sw)});
        if (c.message.find(hex_sw) == std::string::npos) c.message += (c.message.empty() ? "SW " : ", SW ") + hex_sw;
      }
    }
    if (r.status == es::ExecStatus::expired) return fail_as(r, c);
    fail(std::move(c));
  }
  void note_warning(const es::Response& r) {
    if (!d().warning) d().warning = passed_on(r, {"1.6", "4.3", "", "executed with a warning"});
  }
  void created(std::string aid) {
    if (aid.size() < 10 || aid.size() > 32)
      return fail({"8.3.1", "2.1", aid, "CreateISDP answered with an unusable ISD-P AID"});
    d().isd_p_aid = std::move(aid);
    if (d().ephemeral_failed) return begin_delete(*d().ephemeral_failed);
    enter_persisted(State::sending_cert);
    send_cert();
  }

  // ---- SendingCert ----
  void send_cert() {
    std::vector<Bytes> apdus{es8::install_for_personalization(isd_p())};
    auto blocks = es8::store_data_certificate(cert_dp());
    d().blocks_sent = static_cast<std::uint8_t>(blocks.size());
    for (auto& b : blocks) apdus.push_back(std::move(b));
    send_data(isd_r_aid(), es8::wrap_c_apdus(apdus), true);
  }
  // The card's answers, or the cause when there are none that can be used.
  Result<std::vector<es8::CardAnswer>> card_answers(const es::Response& r, bool scp03t) {
    if (r.bad_euicc_response_data) return Error{"bad-format", "EuiccResponseData is not hex"};
    if (!r.euicc_response_data) return Error{"missing-answer", "no EuiccResponseData"};
    return es8::parse_euicc_response_data(*r.euicc_response_data, scp03t && c_.scp03t_in_22);
  }
  void on_cert_answer(es::Response& r) {
    auto answers = card_answers(r, false);
    if (!answers) {
      if (!executed(r) && !r.bad_euicc_response_data && !r.euicc_response_data) return delete_as(r, "SendData refused");
      return begin_delete({"8.4", "4.2", d().isd_p_aid, "answer to STORE DATA #1: " + answers.error().text()});
    }
    auto rc = es8::rc_of(*answers, 1 + std::size_t{d().blocks_sent});
    if (!rc) {
      const bool sw = rc.error().reason == "card-status";
      return begin_delete(
          {sw ? "8.8" : "8.4", sw ? "6.1" : "4.2", d().isd_p_aid,
           "Key establishment failed: " + (sw ? "card refused CERT.DP.ECDSA, " : std::string()) + rc.error().text()});
    }
    if (!executed(r)) return delete_as(r, "SendData refused");
    d().rc = std::move(*rc);
    enter(State::sending_key);
    d().crt = es8::control_reference_template(c_.plan);
    d().sign_wanted = !d().secrets.epk;
    if (!d().sign_wanted) sign();
  }
  void sign() {
    d().sign_wanted = false;
    emit(Sign{d().curve, sha256(es8::signing_input(d().crt, *d().secrets.epk, d().rc))});
  }
  void delete_as(const es::Response& r, const std::string& what) {
    if (r.status == es::ExecStatus::expired) {
      d().expiring = true;
      return begin_delete(expired_cause());
    }
    begin_delete(passed_on(r, {"8.4", "4.2", d().isd_p_aid, what + " without a code"}));
  }

  // ---- engines ----
  void on_ecc(EccCompletion& c) {
    if (c.op == EccOp::ephemeral_ecka) {
      if (c.status != EccStatus::ok) {
        const Cause cause{"1.2", "4.2", "", "ephemeral key agreement failed: " + std::string(to_string(c.status))};
        if (d().state == State::sending_cert || d().state == State::sending_key) return begin_delete(cause);
        d().ephemeral_failed = cause;
        return;
      }
      // It is asked for once, with the first CreateISDP; a stale ISD-P may be cleaned away before the second one.
      const State s = d().state;
      if (s != State::creating_isdp && s != State::cleaning_stale && s != State::sending_cert &&
          s != State::sending_key)
        return;
      d().secrets.epk = c.epk;
      d().secrets.shs = std::move(c.shs);
      if (d().sign_wanted && d().state == State::sending_key) sign();
      return;
    }
    if (c.op != EccOp::sign || d().state != State::sending_key) return;
    if (c.status != EccStatus::ok)
      return begin_delete({"1.2", "4.2", "", "signature failed: " + std::string(to_string(c.status))});
    send_data(isd_r_aid(),
              es8::wrap_c_apdus(es8::store_data_key(d().crt, *d().secrets.epk, c.signature, d().blocks_sent)), true);
  }

  // ---- SendingKey ----
  void on_key_answer(es::Response& r) {
    auto answers = card_answers(r, false);
    d().rc.clear();  // single use
    if (!answers) {
      if (!executed(r) && !r.bad_euicc_response_data && !r.euicc_response_data) return delete_as(r, "SendData refused");
      return begin_delete({"8.4", "4.2", d().isd_p_aid, "answer to STORE DATA #2: " + answers.error().text()});
    }
    auto k = es8::key_answer_of(*answers, 1, c_.plan);
    if (!k) {
      const bool receipt = k.error().reason == "missing-dr" || k.error().reason == "bad-receipt";
      if (receipt) emit(Alarm{"receipt unusable for EID " + d().order.eid.str() + ": " + k.error().text()});
      return begin_delete(
          {"8.4", receipt ? "6.1" : "4.2", d().isd_p_aid, "Key establishment failed: " + k.error().text()});
    }
    if (!executed(r)) return delete_as(r, "SendData refused");
    es8::DerivedKeys keys = es8::derive_keys(d().secrets.shs.expose(), c_.plan, k->dr);
    d().secrets.shs.wipe_now();
    d().secrets.epk.reset();
    if (!es8::receipt_matches(keys, d().crt, *k)) {
      emit(Alarm{"receipt differs for EID " + d().order.eid.str() + ": wrong PK.ECASD, a broken engine, or an attack"});
      return begin_delete({"8.4", "6.1", d().isd_p_aid, "Key establishment failed: receipt differs"});
    }
    d().secrets.keys = std::move(keys.keys);
    d().header_taken = true;  // from the next call on the card may know the profile's POL1
    enter_persisted(State::installing);
    if (c_.scp03t_online) {
      d().online_tried = true;
      return emit(DrawChallenge{});
    }
    emit(SealOffline{d().secrets.keys->clone(), isd_p()});
  }

  // ---- Installing ----
  void on_sealed(Sealed& x) {
    if (d().state != State::installing) return;
    if (!x.status) {
      if (x.status.error().reason == "bad-cryptogram" || x.status.error().reason == "bad-challenge") {
        emit(Alarm{"card cryptogram wrong for EID " + d().order.eid.str()});
        return begin_delete({"8.3", "6.1", d().isd_p_aid, "SCP03t: " + x.status.error().text()});
      }
      return begin_delete({"1.2", "4.2", "", "profile could not be sealed: " + x.status.error().text()});
    }
    d().secrets.script = std::move(x.script);
    d().secrets.parts = std::move(x.parts);
    d().answered = 0;
    send_part();
  }
  void send_part() {
    const bool last = d().secrets.parts.size() == 1 && !d().order.enable;
    send_data(isd_p(), d().secrets.parts.front(), !last);
  }
  void on_install_answer(es::Response& r) {
    if (d().online_open) return on_online_answer(r);
    Download& x = d();
    auto answers = card_answers(r, true);
    if (!answers) {
      if (!executed(r) && !r.euicc_response_data && !r.bad_euicc_response_data) {
        if (not_reached(r) && x.resends++ < c_.timeouts.not_reached_resends) return send_part();
        return delete_as(r, "SendData refused");
      }
      return begin_delete({"8.4", "4.2", x.isd_p_aid, "answer to SCP03t: " + answers.error().text()});
    }
    auto opened = es8::open_answers(*x.secrets.script, x.answered, *answers);
    if (!opened) {
      const bool mac = opened.error().reason != "bad-format";
      if (mac) emit(Alarm{"SCP03t answer of EID " + x.order.eid.str() + ": " + opened.error().text()});
      return begin_delete({"8.3", mac ? "6.1" : "4.2", x.isd_p_aid, "SCP03t: " + opened.error().text()});
    }
    x.segments_accepted += opened->segments_accepted;
    append(x.euicc_response, opened->data);
    if (opened->error_tlv) {
      const std::string code = to_hex(*opened->error_tlv);
      const bool before_segments = code.starts_with("9F44") || code.starts_with("9F45");
      if (before_segments && x.segments_accepted == 0 && !x.online_tried) {
        x.online_tried = true;
        x.secrets.script.reset();
        x.secrets.parts.clear();
        emit(DrawChallenge{});
        return;
      }
      return begin_delete({"8.3", "4.2", x.isd_p_aid, "SCP03t error " + code});
    }
    if (!executed(r)) {
      if (not_reached(r) && opened->accepted == 0 && x.resends++ < c_.timeouts.not_reached_resends) return send_part();
      return delete_as(r, "SendData refused");
    }
    if (r.status == es::ExecStatus::with_warning) note_warning(r);
    const std::size_t sent = x.secrets.parts.front().commands;
    x.answered += opened->accepted;
    if (opened->accepted < sent && x.euicc_response.empty())
      return begin_delete(
          {"8.3", "4.2", x.isd_p_aid,
           "card answered " + std::to_string(opened->accepted) + " of " + std::to_string(sent) + " commands"});
    x.secrets.parts.erase(x.secrets.parts.begin());
    if (!x.secrets.parts.empty() && x.euicc_response.empty()) return send_part();
    on_euicc_response();
  }
  void on_euicc_response() {
    Download& x = d();
    const bool all_sent = x.secrets.parts.empty();
    x.secrets.script.reset();
    x.secrets.parts.clear();
    auto res = profile::parse_euicc_response(x.euicc_response);
    if (!res)
      return begin_delete({"8.3", "4.2", x.isd_p_aid,
                           x.euicc_response.empty() ? "no EUICCResponse after the last segment"
                                                    : "EUICCResponse: " + res.error().text()});
    bool bad = res->aborted;
    bool warn = false;
    for (const auto& s : res->statuses) {
      if (s.status == 0) continue;
      const auto& opt = c_.optional_elements;
      if (s.identification && std::find(opt.begin(), opt.end(), *s.identification) != opt.end())
        warn = true;
      else
        bad = true;
    }
    if (bad) return begin_delete(pe_cause(*res, x.order));
    if (!all_sent) return begin_delete({"8.3", "4.2", x.isd_p_aid, "EUICCResponse before the last segment"});
    if (warn && !x.warning) {
      x.warning = pe_cause(*res, x.order);
      x.warning->message = "installed, a non-mandated element was not: " + x.warning->message;
    }
    complete();
  }

  // A second SCP03t session with a fresh HC, CC from the card (crypto 6.3).
  void on_host_challenge(HostChallenge& h) {
    if (d().state != State::installing) return;
    d().online_hc = h.hc;
    d().online_open = true;
    Bytes iu = es8::initialize_update(d().secrets.keys->kvn, h.hc);
    send_data(isd_p(), c_.scp03t_in_22 ? make_tlv(0x22, iu) : std::move(iu), true);
  }
  void on_online_answer(es::Response& r) {
    d().online_open = false;
    auto answers = card_answers(r, true);
    if (!answers || answers->empty()) return delete_as(r, "INITIALIZE UPDATE not answered");
    auto a = es8::parse_initialize_update_answer(answers->front());
    if (!a) return begin_delete({"8.3", "4.2", d().isd_p_aid, "INITIALIZE UPDATE: " + a.error().text()});
    d().sequence_counter = static_cast<std::uint32_t>(a->counter[0]) << 16 |
                           static_cast<std::uint32_t>(a->counter[1]) << 8 | a->counter[2];
    emit(SealOnline{d().secrets.keys->clone(), isd_p(), d().online_hc, *a});
  }

  // ---- Completing, Enabling ----
  void complete() {
    enter_persisted(State::completing);
    if (c_.keep_key_set && d().secrets.keys)
      emit(KeepKeySet{std::move(*d().secrets.keys), isd_p(), d().sequence_counter});
    d().secrets = Secrets{};
    call_completed();
  }
  void call_completed() {
    es::Request r = request_iccid(es::Function::profile_download_completed, d().order.iccid.str());
    if (!d().order.profile_type.empty()) r.profile_type = d().order.profile_type;
    const auto& s = d().order.subscription;
    if (!s.imsi.empty() || !s.msisdn.empty()) r.subscription = s;
    r.pol2 = d().order.pol2;
    call(std::move(r), c_.timeouts.completed, true);
  }
  void on_completed(es::Response& r) {
    if (executed(r)) {
      if (r.status == es::ExecStatus::with_warning) note_warning(r);
      return accepted();
    }
    d().cause = passed_on(r, {"8.6", "4.2", d().order.iccid.str(), "ProfileDownloadCompleted refused without a code"});
    if (!again_later(c_.timeouts.completed_tries)) probe();
  }
  void accepted() {
    d().completed = true;
    d().cause.reset();
    if (!d().order.enable || d().expiring || c_.now_ms >= d().order.deadline_ms) {
      if (d().order.enable && !d().warning)
        d().warning =
            Cause{"1.6", "5.3", d().order.iccid.str(), "Profile installed and Disabled; no time left to enable it"};
      return succeed();
    }
    enter_persisted(State::enabling);
    es::Request r = request_iccid(es::Function::enable_profile, d().order.iccid.str());
    call(std::move(r), std::min(d().order.deadline_ms - c_.now_ms, c_.timeouts.enable), false);
    d().enable_call = d().calls;
  }
  void not_enabled(const Cause& why) {
    d().warning =
        Cause{why.subject, why.reason, d().order.iccid.str(), "Profile installed and Disabled; enabling failed"};
    if (!why.message.empty()) d().warning->message += ": " + why.message;
    succeed();
  }
  void on_enabled(es::Response& r) {
    if (!executed(r)) {
      if (r.status == es::ExecStatus::expired) return not_enabled(expired_cause());
      return not_enabled(passed_on(r, {"8.2.1", "4.2", "", ""}));
    }
    if (r.status == es::ExecStatus::with_warning) note_warning(r);
    succeed();
  }
  void on_enabled_seen() {  // only counts where the callback may have been lost with the old process
    if (d().state == State::enabling && d().taken_up) succeed();
  }

  // ---- Deleting (error management, 3.1.4) ----
  void begin_delete(Cause cause) {
    if (d().pol1_forbade) {  // entered at most once for one ISD-P
      d().warning = std::move(cause);
      return succeed();
    }
    d().cause = std::move(cause);
    if (d().state == State::completing) emit(DropKeySet{});
    auto keys = std::move(d().secrets.keys);  // POL1 may yet turn this into an installation
    d().secrets = Secrets{};
    d().secrets.keys = std::move(keys);
    enter_persisted(State::deleting);
    if (d().isd_p_aid.empty()) return probe();  // not known whether the ISD-P was made
    call_delete();
  }
  void call_delete() { call(request_iccid(es::Function::delete_isdp, d().order.iccid.str()), c_.timeouts.card, true); }
  void deleted(bool by_us) {
    if (d().again_after_delete && c_.now_ms < d().order.deadline_ms) {  // restart: once more, with fresh keys
      Download fresh;
      fresh.order = std::move(d().order);
      fresh.restarts = d().restarts;
      fresh.taken_up = d().taken_up;
      fresh.calls = d().calls;
      d() = std::move(fresh);
      return start();
    }
    if (by_us && d().cause) d().cause->message += "; ISD-P deleted";
    end_deleting();
  }
  void end_deleting() { finish(d().expiring ? State::expired : State::failed); }
  void left_behind(const std::string& why) {
    const auto& c = d().refused;  // says more than what came after it
    d().leftover = true;
    d().cause->message += "; ISD-P left behind: " + (c ? c->subject + "/" + c->reason + " " + c->message : why);
    end_deleting();
  }
  static bool pol1_refusal(const es::Response& r) {
    if (says(r, "8.2.2", "3.8")) return true;
    if (!r.euicc_response_data) return false;
    auto a = es8::parse_euicc_response_data(*r.euicc_response_data);
    return a && !a->empty() && a->back().sw() == 0x69E1;
  }
  void on_deleted(es::Response& r) {
    if (executed(r) || says(r, "8.2.1", "3.9") || says(r, "8.2.1", "1.1")) return deleted(true);
    if (pol1_refusal(r)) {
      if (!d().header_taken) {  // rule 11: a card fault
        if (d().delete_probed) return left_behind("card refuses deletion");
        d().delete_probed = true;
        return probe();
      }
      d().pol1_forbade = true;
      d().again_after_delete = false;
      d().warning = d().cause;
      if (d().warning) d().warning->message += "; POL1 forbids deletion, counted as installed";
      return complete();
    }
    if (not_reached(r) && again_later(c_.timeouts.delete_tries)) return;
    d().refused = passed_on(r, {"8.4", "4.2", d().isd_p_aid, "refused without a code"});
    d().delete_probed = true;
    probe();  // as in on_cleaned
  }

  // ---- probes: a GetEIS that decides what happened ----
  void on_probe(es::Response& r) {
    const bool have = executed(r) && r.eis && r.eis->eid == d().order.eid.str();
    const es::ProfileInfo* p = have ? find_profile(*r.eis, d().order.iccid.str()) : nullptr;
    const bool ours = p != nullptr && (p->smdp_id.empty() || p->smdp_id == c_.smdp_oid);
    switch (d().state) {
      case State::cleaning_stale: {
        const std::string first = d().stale.front();
        if (have) read_stale(*r.eis);
        const bool there = std::find(d().stale.begin(), d().stale.end(), first) != d().stale.end();
        if (d().refused && there) {
          d().leftover = true;
          return fail(*d().refused);
        }
        d().refused.reset();
        if (!have) return fail_as(r, down("DeleteISDP"));
        if (there && ++d().resends >= c_.timeouts.delete_tries) {
          d().leftover = true;
          return fail(down("DeleteISDP"));
        }
        return clean_next();
      }
      case State::creating_isdp:
        if (!have) return fail_as(r, down("CreateISDP"));
        if (p != nullptr && p->state == "Created" && p->smdp_id == c_.smdp_oid) {
          if (d().ask_after_refusal) {  // 8.2.1/3.3: an ISD-P of ours from before: clean up and try once more
            d().ask_after_refusal = false;
            d().create_retried = true;
            read_stale(*r.eis);
            return clean_next();
          }
          return created(p->isd_p_aid);
        }
        if (p != nullptr || d().create_retried)
          return fail(p != nullptr ? Cause{"8.2.1", "3.3", d().order.iccid.str(), "ICCID is in use at the SM-SR"}
                                   : down("CreateISDP"));
        if (d().ask_after_refusal && d().taken_up && d().in_creation_waits < 8) {
          // In-Creation entries are not shown: most likely our own CreateISDP from before the restart. Ask again later.
          emit(StartTimer{c_.timeouts.backoff << d().in_creation_waits++});
          return;
        }
        if (d().ask_after_refusal)
          return fail({"8.2.1", "3.3", d().order.iccid.str(), "SM-SR says that the ICCID is in use"});
        d().create_retried = true;
        return create();
      case State::completing:
        if (ours && (p->state == "Disabled" || p->state == "Enabled")) return accepted();
        if (d().taken_up && ours && p->state == "Created" && !d().completing_repeated) {
          d().completing_repeated = true;
          return call_completed();
        }
        return begin_delete(d().cause.value_or(down("ProfileDownloadCompleted")));
      case State::enabling:
        if (ours && p->state == "Enabled") return succeed();
        return;  // wait for the callback, the notification or the end of the ValidityPeriod
      case State::deleting:
        if (!have) return left_behind("GetEIS not answered");
        if (p == nullptr || p->state == "Deleted") return deleted(false);
        if (d().delete_probed) return left_behind("card refuses deletion");
        d().isd_p_aid = p->isd_p_aid;
        if (p->state == "Created" && p->smdp_id == c_.smdp_oid) return call_delete();
        return deleted(false);
      default:
        return;
    }
  }

  // ---- dispatch ----
  void on_answer(Answer& a) {
    Download& x = d();
    const bool late_enable = x.state == State::enabling && x.enable_call != 0 && a.call == x.enable_call;
    if ((a.call != x.pending_call || a.call == 0) && !late_enable) return;  // late, repeated or superseded
    const auto ask = late_enable ? Download::Ask::step : x.ask;
    x.pending_call = 0;
    x.ask = Download::Ask::none;
    if (ask == Download::Ask::probe) return on_probe(a.response);
    switch (x.state) {
      case State::getting_eis:
        return on_eis(a.response);
      case State::cleaning_stale:
        return on_cleaned(a.response);
      case State::creating_isdp:
        x.ask_after_refusal = says(a.response, "8.2.1", "3.3");
        return on_created(a.response);
      case State::sending_cert:
        return on_cert_answer(a.response);
      case State::sending_key:
        return on_key_answer(a.response);
      case State::installing:
        return on_install_answer(a.response);
      case State::completing:
        return on_completed(a.response);
      case State::enabling:
        return on_enabled(a.response);
      case State::deleting:
        return on_deleted(a.response);
      default:
        return;
    }
  }

  void on_call_failed(CallFailed& f) {
    Download& x = d();
    if (f.call != x.pending_call || f.call == 0) return;
    const auto ask = x.ask;
    x.pending_call = 0;
    if (ask == Download::Ask::probe || x.state == State::getting_eis) {
      if (again_later(c_.timeouts.get_eis_tries)) return;  // ask is kept: on_timer asks again
      switch (x.state) {
        case State::cleaning_stale:
          x.leftover = true;
          return fail(x.refused.value_or(down("GetEIS")));
        case State::creating_isdp:
          x.leftover = true;
          return fail(down("CreateISDP"));
        case State::completing:
          return begin_delete(x.cause.value_or(down("ProfileDownloadCompleted")));
        case State::enabling:
          return;
        case State::deleting:
          return left_behind("GetEIS not answered");
        default:
          return fail(down("GetEIS"));
      }
    }
    switch (x.state) {
      case State::cleaning_stale:
        return probe();
      case State::creating_isdp:
        // Never reached the SM-SR: nothing was made, the call may simply be made again.
        if (f.fault == CallFault::unreachable && again_later(c_.timeouts.get_eis_tries)) return;
        if (f.fault == CallFault::unreachable) return fail(down("CreateISDP"));
        return probe();
      case State::sending_cert:
        if (!x.cert_repeated) {  // a new RC replaces the old; nothing after it was sent
          x.cert_repeated = true;
          return send_cert();
        }
        return begin_delete(down("SendData"));
      case State::sending_key:
        return begin_delete(down("SendData"));
      case State::installing:
        if (f.fault == CallFault::unreachable && x.resends < c_.timeouts.not_reached_resends && !x.online_open) {
          ++x.resends;
          ++x.tries;
          emit(StartTimer{c_.timeouts.backoff});
          return;
        }
        return begin_delete(down("SendData"));
      case State::completing:
        if (!again_later(c_.timeouts.completed_tries)) probe();
        return;
      case State::enabling: {
        const Cause c = f.fault == CallFault::timeout ? expired_cause() : down("EnableProfile");
        return not_enabled(c);
      }
      case State::deleting:
        if (!again_later(c_.timeouts.delete_tries)) left_behind("DeleteISDP not answered");
        return;
      default:
        return;
    }
  }

  void on_timer() {
    Download& x = d();
    if (x.pending_call != 0) return;
    if (x.ask == Download::Ask::probe || x.state == State::getting_eis)
      return ask_eis(x.state == State::getting_eis ? Download::Ask::step : Download::Ask::probe);
    switch (x.state) {
      case State::creating_isdp:
        return create();
      case State::installing:
        if (!x.secrets.parts.empty()) send_part();
        return;
      case State::completing:
        return call_completed();
      case State::deleting:
        return call_delete();
      default:
        return;
    }
  }

  void on_deadline() {
    switch (d().state) {
      case State::received:
      case State::getting_eis:
      case State::checking:
      case State::cleaning_stale:
        d().expiring = true;
        return fail(expired_cause());
      case State::creating_isdp:
      case State::sending_cert:
      case State::sending_key:
      case State::installing:
      case State::completing:
        d().expiring = true;
        return begin_delete(expired_cause());
      case State::enabling:
        return not_enabled(expired_cause());
      default:
        return;  // Deleting goes on to its end
    }
  }

  void restart(bool planned) {  // sgp02-interfaces.md 4.2, row "SM-DP restart"
    Download& x = d();
    if (!planned) ++x.restarts;
    x.taken_up = true;
    x.pending_call = 0;
    x.enable_call = x.calls;
    // The old life may have made calls that its last record does not know: a fresh block of numbers keeps
    // FunctionCallIdentifiers unique, and the commit keeps a second crash from taking the same block.
    x.calls = (x.calls / 1000 + 1) * 1000;
    out_.persist = true;
    switch (x.state) {
      case State::received:
      case State::getting_eis:
      case State::checking:
      case State::cleaning_stale:
      case State::creating_isdp:
        return start();  // a Created entry of the old life is stale now and is cleaned before a new one is made
      case State::sending_cert:
      case State::sending_key:
      case State::installing:
        x.again_after_delete = x.restarts <= 1;
        return begin_delete({"1.2", "4.2", x.isd_p_aid, "interrupted by a restart of the SM-DP"});
      case State::completing:
        return probe();
      case State::enabling:
        return probe();
      case State::deleting:
        if (!x.cause) x.cause = Cause{"1.2", "4.2", x.isd_p_aid, "interrupted by a restart of the SM-DP"};
        x.tries = 0;
        if (x.isd_p_aid.empty()) return probe();
        return call_delete();
      default:
        return;
    }
  }

  const Context& c_;
  Step out_;
};

}  // namespace

std::string_view state_name(State s) { return kStates[static_cast<std::size_t>(s)]; }
std::optional<State> state_by_name(std::string_view n) {
  for (std::size_t i = 0; i < kStates.size(); ++i)
    if (kStates[i] == n) return static_cast<State>(i);
  return std::nullopt;
}

Step step(Download d, Event e, const Context& c) { return Machine(std::move(d), c).run(std::move(e)); }

}  // namespace kf::download
