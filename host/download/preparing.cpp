// GettingEis, Checking, CleaningStale, CreatingIsdp.
#include <algorithm>
#include <set>

#include "host/base/text.hpp"
#include "host/download/machine_impl.hpp"

namespace kf::download {
namespace {
constexpr std::size_t kMaxCertificates = 16;       // of CA key sets that are tried
constexpr std::size_t kMaxStale = 16;              // cleaned away before CreateISDP; the rest is the follow-up's
constexpr unsigned kMaxCleanings = 3 * kMaxStale;  // also where the EIS shows other ones each time

std::vector<Bytes> ecasd_certificates(const es::Eis& e) {
  std::vector<Bytes> out;
  for (const auto& ks : e.ecasd.keysets) {
    if (keyset_type(ks) == es::KeysetType::other) continue;
    for (const auto& c : ks.certs) out.push_back(c.value);
    if (ks.certs.empty()) out.insert(out.end(), ks.certificates.begin(), ks.certificates.end());
  }
  std::erase_if(out, [](const Bytes& b) { return b.empty(); });
  if (out.size() > kMaxCertificates) out.resize(kMaxCertificates);
  return out;
}

bool matches(const std::vector<Platform>& list, const es::Eis& e) {
  if (list.empty()) return true;
  return std::any_of(list.begin(), list.end(), [&](const Platform& p) {
    return (p.eum_id.empty() || p.eum_id == e.eum_id) && (p.type.empty() || p.type == e.platform_type) &&
           (p.version.empty() || p.version == e.platform_version);
  });
}
}  // namespace

// ---- GettingEis, Checking ----
void Machine::start() {
  enter(State::getting_eis);
  ask_eis(Ask::step);
}

void Machine::on_eis(es::Response& r) {
  Download& x = d();
  if (!executed(r)) return fail_as(r, {Code::eid_unknown, x.order.eid.str(), "GetEIS refused without a code"});
  if (!r.eis) return fail({Code::eis_missing, x.order.eid.str(), "GetEIS answered without an EIS"});
  const es::Eis& e = *r.eis;
  if (e.eid != x.order.eid.str()) return fail({Code::eid_refused, x.order.eid.str(), "the EIS is of another EID"});
  enter(State::checking);
  const es::ProfileInfo* p = find_profile(e, iccid());
  // Whatever the inventory thought, no other eUICC may get it.
  if (p != nullptr && entry_state(*p) != es::EntryState::deleted && x.order.iccid_was != IccidState::installed)
    ledger().claimed(iccid(), m_.now_ms);
  x.unproved = look_at(e);
  read_stale(e);
  // Before its certificates are good an EIS may say more of what we know, and make up nothing that we would have to
  // look after.
  if (!x.unproved->entries.empty()) {
    Possession::Eis known = *x.unproved;
    std::erase_if(known.entries, [&](const Possession::Entry& entry) {
      return !ledger().knows(entry.iccid) && !same_iccid(entry.iccid, iccid());
    });
    ledger().shown(known);
  }
  x.ineligible = eligibility(e);
  std::vector<Bytes> certificates = ecasd_certificates(e);
  if (certificates.empty())
    return fail({Code::euicc_certificate_unverified, x.order.eid.str(), "no CERT.ECASD.ECKA in the EIS"});
  emit(CheckCertificates{std::move(certificates), e.eum_certificate});
}

// The ordered one first. Others that count as installed are not ours to delete, however the EIS shows them; of the rest
// those that the ledger knows, or has room for.
void Machine::read_stale(const es::Eis& e) {
  auto& stale = d().stale;
  stale.clear();
  if (std::ranges::none_of(e.profiles, [&](const auto& p) { return is_stale(p, p_.smdp_oid); })) return;
  const Possession::Eis look = look_at(e);
  std::set<std::string_view> room;
  for (const auto& entry : look.entries) room.insert(iccid_value(entry.iccid));
  if (const auto* p = find_profile(e, iccid());
      p != nullptr && is_stale(*p, p_.smdp_oid) && !ledger().lags(iccid(), d().eis_asked_ms, p_.settle_ms))
    stale.push_back(iccid());
  for (const auto& p : e.profiles) {
    if (stale.size() >= kMaxStale) return;
    if (is_stale(p, p_.smdp_oid) && room.contains(iccid_value(p.iccid)) && !ledger().counts_as_installed(p.iccid) &&
        !is_ordered_or_listed(p.iccid))
      stale.push_back(clip_text(p.iccid, 32));
  }
}
bool Machine::is_ordered_or_listed(std::string_view i) {
  return same_iccid(i, iccid()) || std::ranges::any_of(d().stale, [&](const auto& s) { return same_iccid(s, i); });
}

std::optional<Cause> Machine::eligibility(const es::Eis& e) {  // docs/spec/interfaces.md 2.5, points 4 to 7
  const Order& o = d().order;
  auto no = [&](std::string why) -> Cause {
    return {o.by_profile_type ? Code::profile_type_invalid : Code::iccid_invalid,
            o.by_profile_type ? o.profile_type : o.iccid.str(), "eUICC not eligible: " + std::move(why)};
  };
  if (!e.http_support && !e.cattp_support) return no("neither HTTPS nor CAT_TP");
  unsigned major = 0;
  for (char ch : e.remote_provisioning_version) {
    if (ch < '0' || ch > '9') break;
    major = major * 10 + static_cast<unsigned>(ch - '0');
  }
  if (std::find(p_.rsp_majors.begin(), p_.rsp_majors.end(), major) == p_.rsp_majors.end())
    return no("remote provisioning version " + clip_text(e.remote_provisioning_version, 20));
  const std::string platform = clip_text(e.platform_type, 100) + " " + clip_text(e.platform_version, 20);
  if (!matches(p_.compatible, e)) return no("platform " + platform + " does not fit the profile type");
  if (!matches(p_.certified, e)) return no("platform " + platform + " is not certified");
  if (const auto* p = find_profile(e, o.iccid.str());
      p != nullptr && entry_state(*p) != es::EntryState::created && entry_state(*p) != es::EntryState::deleted)
    return Cause{Code::iccid_in_use, o.iccid.str(), "ICCID is already on this eUICC"};
  std::uint64_t freed = 0;
  for (const std::string& i : d().stale)
    if (const auto* p = find_profile(e, i)) freed += p->allocated_memory;
  if (o.required_memory > e.remaining_memory + freed)
    return Cause{Code::euicc_memory, o.eid.str(),
                 "RequiredMemory " + std::to_string(o.required_memory) + " exceeds RemainingMemory " +
                     std::to_string(e.remaining_memory),
                 ""};
  return std::nullopt;
}

void Machine::on_certificates(CertificatesChecked& x) {
  if (d().state != State::checking) return;
  // An SM-SR can show any ECASD; what it says of an eUICC that it does not prove to know frees nothing.
  if (!x.status) return fail(certificate_cause(x.status.error(), x.trouble, d().order.eid));
  if (d().unproved) ledger().seen(*d().unproved, p_.settle_ms);
  d().unproved.reset();
  d().curve = x.curve;
  d().pk_ecasd = x.pk_ecasd;
  if ((x.curve != Curve::p256 && x.curve != Curve::brainpool_p256r1) || cert_dp().empty())
    return fail(
        {Code::smdp_unsupported, d().order.eid.str(), "no CERT.DP.ECDSA on " + std::string(curve_name(x.curve))});
  if (d().ineligible) return fail(*d().ineligible);
  clean_next();
}

// ---- CleaningStale ----
void Machine::clean_next() {
  if (d().stale.empty()) return create();
  if (d().state != State::cleaning_stale) enter(State::cleaning_stale);
  if (++d().cleanings > kMaxCleanings)
    return fail({Code::iccid_failed, d().stale.front(), "the eUICC has no end of stale ISD-Ps"});
  call_delete(d().stale.front());
}
void Machine::on_cleaned(es::Response& r) {
  if (!executed(r) && !unknown_profile(r)) {
    const Cause missing{Code::iccid_failed, d().stale.front(), "stale ISD-P could not be deleted"};
    if (r.status == es::ExecStatus::expired && m_.now_ms >= d().order.deadline_ms) return fail_as(r, missing);
    d().refused = passed_on(r, missing);
    return probe();  // it may be gone all the same: by a DeleteISDP of the old life, or by one given up for lost
  }
  d().stale.erase(d().stale.begin());
  d().tries = 0;
  clean_next();
}
void Machine::probed_cleaning(const es::Response& r, bool have) {
  const std::string first = d().stale.front();
  if (have) read_stale(*r.eis);
  const bool there = std::find(d().stale.begin(), d().stale.end(), first) != d().stale.end();
  if (d().refused && there) return fail(*d().refused);
  d().refused.reset();
  if (!have) return fail_as(r, down("DeleteISDP"));
  if (there && ++d().resends >= p_.timeouts.delete_tries) return fail(down("DeleteISDP"));
  clean_next();
}

// ---- CreatingIsdp ----
void Machine::create() {
  if (may_vanish()) {  // a DeleteISDP that may yet be executed would take the new ISD-P away
    if (d().state != State::cleaning_stale) enter(State::cleaning_stale);
    return emit(StartTimer{ledger().vanishing_until(iccid()) - m_.now_ms + 1});
  }
  enter_persisted(State::creating_isdp);
  if (!d().ephemeral_asked) emit(MakeEphemeral{d().curve, *d().pk_ecasd});
  d().ephemeral_asked = true;
  call_create();
}

void Machine::on_created(es::Response& r) {
  d().ask_after_refusal = false;
  if (executed(r)) {
    if (r.status == es::ExecStatus::with_warning) note_warning(r);
    if (r.isd_p_aid.empty()) return probe();  // the EIS says which
    return created(to_hex(r.isd_p_aid));
  }
  if (says(r, Code::iccid_in_use) && (!d().create_retried || may_appear())) {
    d().ask_after_refusal = true;
    return probe();
  }
  Cause c = passed_on(r, {Code::isd_r_failed, d().order.eid.str(), "CreateISDP refused without a code"});
  if (r.euicc_response_data) {
    if (auto answers = es8::parse_euicc_response_data(*r.euicc_response_data); answers && !answers->empty()) {
      const std::uint16_t sw = answers->back().sw();
      if (sw == 0x6A84) c.set(Code::euicc_memory);
      const std::string hex_sw = to_hex(std::array{static_cast<std::uint8_t>(sw >> 8), static_cast<std::uint8_t>(sw)});
      if (c.message.find(hex_sw) == std::string::npos) c.message += (c.message.empty() ? "SW " : ", SW ") + hex_sw;
    }
  }
  if (r.status == es::ExecStatus::expired) return fail_as(r, c);
  fail(std::move(c));
}
void Machine::created(std::string aid) {
  if (aid.size() < 10 || aid.size() > 32)
    return fail({Code::isd_p_aid_invalid, clip_text(aid, 64), "CreateISDP answered with an unusable ISD-P AID"});
  d().isd_p_aid = std::move(aid);
  if (d().ephemeral_failed) return begin_delete(*d().ephemeral_failed);
  enter_persisted(State::sending_cert);
  send_cert();
}

void Machine::probed_creating(const es::Response& r, const es::ProfileInfo* p, bool have) {
  const bool after_refusal = std::exchange(d().ask_after_refusal, false);
  if (!have) return fail_as(r, down("CreateISDP"));
  if (p != nullptr && is_stale(*p, p_.smdp_oid)) {
    if (!after_refusal || d().create_retried) return created(p->isd_p_aid);
    d().create_retried = true;  // 8.2.1/3.3: an ISD-P of ours from before: clean up and try once more
    read_stale(*r.eis);
    return clean_next();
  }
  if (p != nullptr && entry_state(*p) != es::EntryState::deleted) {
    return fail({Code::iccid_in_use, d().order.iccid.str(), "ICCID is in use at the SM-SR"});
  }
  if (after_refusal) {
    // In-Creation entries are not shown: most likely a CreateISDP of ours that is still at work. Ask again later.
    const bool perhaps_ours = d().taken_up || may_appear();
    if (perhaps_ours && d().in_creation_waits < 8)
      return emit(StartTimer{p_.timeouts.backoff << d().in_creation_waits++});
    if (perhaps_ours) ledger().claimed(iccid(), m_.now_ms);  // for all we know
    return fail({Code::iccid_in_use, d().order.iccid.str(), "SM-SR says that the ICCID is in use"});
  }
  if (d().create_retried) return fail(down("CreateISDP"));
  d().create_retried = true;
  create();
}

// The answer to a CreateISDP that was given up for lost, or that a life before the restart had made.
void Machine::on_late_creation(es::Response& r) {
  const State s = d().state;
  if (!executed(r) || r.isd_p_aid.empty()) return;  // the EIS will tell
  // Beside an ISD-P that is in hand, or just being deleted, it is looked at when the order has ended.
  if (!d().isd_p_aid.empty() && d().isd_p_aid != to_hex(r.isd_p_aid)) return;
  if (s == State::creating_isdp) return created(to_hex(r.isd_p_aid));
  if (s == State::cleaning_stale) {
    if (std::ranges::none_of(d().stale, [&](const auto& i) { return same_iccid(i, d().order.iccid.str()); }))
      d().stale.push_back(d().order.iccid.str());
  } else if (s == State::deleting && d().isd_p_aid.empty()) {
    d().isd_p_aid = to_hex(r.isd_p_aid);
    enter_persisted(State::deleting);
    call_delete(iccid());
  }
}

}  // namespace kf::download
