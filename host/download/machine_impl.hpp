// The machine behind step(): one object a step. Not for other rooms. Its functions stand in the file of their phase:
// preparing.cpp (GetEIS to CreateISDP), conversing.cpp (keys, SCP03t), completing.cpp (completion, enabling),
// deleting.cpp (error management), failures.cpp (calls without an answer, the deadline), restart.cpp; machine.cpp
// deals events out.
#pragma once

#include <array>
#include <utility>

#include "host/download/answers.hpp"
#include "host/download/codes.hpp"
#include "host/download/machine.hpp"

namespace kf::download {

class Machine {
 public:
  Machine(Download d, const Policy& p, const Moment& m) : p_(p), m_(m) { out_.download = std::move(d); }
  Step run(Event e);

 private:
  using Ask = Download::Ask;

  Download& d() { return out_.download; }
  void emit(Effect e) { out_.effects.push_back(std::move(e)); }
  void enter(State s);
  void enter_persisted(State s);

  // ---- calls (machine.cpp) ----
  es::Request request(es::Function f);
  es::Request request_iccid(es::Function f, const std::string& iccid);
  void call(es::Request r, std::int64_t timeout, bool resend_safe, Ask ask = Ask::step);
  void send_data(const Aid& target, Bytes data, bool more);
  void send_data(const Aid& target, const es8::SendPart& part, bool more);
  void ask_eis(Ask ask);
  [[nodiscard]] std::int64_t latest_end(std::int64_t not_after) const;  // of a call that may change the card
  void call_create();
  void call_delete(const std::string& iccid);
  std::string transaction(unsigned call) { return d().order.id + "." + std::to_string(call); }
  void probe();
  bool again_later(unsigned limit);
  Aid isd_p() { return Aid::of(d().isd_p_aid); }

  // ---- ends (machine.cpp) ----
  void finish(State s);
  void fail(Cause cause);
  void succeed();
  void fail_as(const es::Response& r, const Cause& when_missing);
  Cause down(const std::string& what);
  void note_warning(const es::Response& r);

  // ---- GettingEis to CreatingIsdp (preparing.cpp) ----
  void start();
  void on_eis(es::Response& r);
  void read_stale(const es::Eis& e);
  bool is_ordered_or_listed(std::string_view iccid);
  std::optional<Cause> eligibility(const es::Eis& e);
  const Bytes& cert_dp() { return d().curve == Curve::p256 ? p_.cert_dp_p256 : p_.cert_dp_brainpool; }
  void on_certificates(CertificatesChecked& x);
  void clean_next();
  void on_cleaned(es::Response& r);
  void probed_cleaning(const es::Response& r, bool have);
  void create();
  void on_created(es::Response& r);
  void created(std::string aid);
  void probed_creating(const es::Response& r, const es::ProfileInfo* p, bool have);
  void on_late_creation(es::Response& r);

  // ---- the card's ledger, of the ordered ICCID ----
  Possession& ledger() { return d().possession; }
  const std::string& iccid() { return d().order.iccid.str(); }
  bool may_appear() { return ledger().may_appear(iccid(), m_.now_ms); }
  bool may_vanish() { return ledger().may_vanish(iccid(), m_.now_ms); }
  Possession::Eis look_at(const es::Eis& e);

  // ---- SendingCert to Installing (conversing.cpp) ----
  void send_cert();
  Result<std::vector<es8::CardAnswer>> card_answers(const es::Response& r, bool scp03t);
  void on_cert_answer(es::Response& r);
  void sign();
  void delete_as(const es::Response& r, const std::string& what);
  void on_ecc(EccCompletion& c);
  void on_key_answer(es::Response& r);
  void on_sealed(Sealed& x);
  void send_part();
  void on_install_answer(es::Response& r);
  void on_scp_error(const Bytes& tlv);
  bool session_again();
  void initialize_again();
  void on_euicc_response();
  void on_host_challenge(HostChallenge& h);
  void on_online_answer(es::Response& r);

  // ---- Completing, Enabling (completing.cpp) ----
  void complete();
  void call_completed();
  void on_completed(es::Response& r);
  void accepted();
  void call_enable();
  void on_enabled(es::Response& r);
  void on_enabled_seen();
  struct NotEnabled {
    Cause why;
    bool again = false;  // EnableProfile is to be made again
  };
  NotEnabled not_enabled_by(const es::Response& r);
  void note_enable_failed(const es::Response& r);
  void look_again();
  void enable_again(const Cause& why);
  void end_enabling(Cause why);
  void tell_not_enabled(const es::ProfileInfo* p, bool have);
  void probed_completing(const es::ProfileInfo* p, bool ours);
  void probed_enabling(const es::ProfileInfo* p, bool have, bool ours);

  // ---- Deleting (deleting.cpp) ----
  void begin_delete(Cause cause);
  void deleted(bool by_us);
  void end_deleting() { finish(d().expiring ? State::expired : State::failed); }
  void left_behind(const std::string& why);
  void on_deleted(es::Response& r);
  void probed_deleting(const es::ProfileInfo* p, bool have, bool ours);
  void on_probe(es::Response& r);

  // ---- dispatch (machine.cpp), failures.cpp, restart.cpp ----
  bool note_end(const Answer& a);
  void on_answer(Answer& a);
  void on_call_failed(CallFailed& f);
  void on_probe_failed();
  void on_timer();
  void on_deadline();
  void restart(bool planned);

  const Policy& p_;
  const Moment& m_;
  Step out_;
};

}  // namespace kf::download
