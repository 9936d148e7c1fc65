#include "host/download/codes.hpp"

#include "host/base/text.hpp"

namespace kf::download {
namespace {
constexpr std::size_t kMaxCode = 32, kMaxIdentifier = 128, kMaxMessage = 500;  // bytes of a peer's text that are kept
}  // namespace

Cause certificate_cause(const Error& e, CertificateTrouble t, const Eid& eid) {
  const bool eum = t == CertificateTrouble::eum || t == CertificateTrouble::eum_dates;
  const bool dates = t == CertificateTrouble::ecasd_dates || t == CertificateTrouble::eum_dates;
  std::string what = eum ? "EUM certificate" : "CERT.ECASD.ECKA";
  what += ": " + e.reason;
  if (!e.detail.empty()) what += " (" + e.detail + ")";
  const Code code = eum ? (dates ? Code::eum_certificate_expired : Code::eum_certificate_unverified)
                        : (dates ? Code::euicc_certificate_expired : Code::euicc_certificate_unverified);
  return {code, eid.str(), clip_text(what, kMaxMessage)};
}

Cause pe_cause(const profile::EuiccResponse& r, const Order& o) {
  const profile::PeStatus* worst = nullptr;
  for (const auto& s : r.statuses)
    if (s.status != 0 && worst == nullptr) worst = &s;
  const std::uint32_t status = worst == nullptr ? 0 : worst->status;
  std::string message = "eUICC refused the profile";
  if (worst != nullptr) {
    message += ": PE status " + std::to_string(status);
    if (worst->identification) message += " at identification " + std::to_string(*worst->identification);
  }
  if (r.aborted) message += ", installation aborted";
  if (status == 2 || status == 4) return {Code::euicc_memory, o.eid.str(), message};
  if (status == 1 || (status >= 7 && status <= 10) || status == 31)
    return {o.by_profile_type ? Code::profile_type_unsupported : Code::iccid_unsupported,
            o.by_profile_type ? o.profile_type : o.iccid.str(), message};
  return {Code::profile_failed, o.iccid.str(), message};
}

Cause passed_on(const es::Response& r, const Cause& when_missing) {
  if (!r.code || r.code->subject.empty()) return when_missing;
  return {clip_text(r.code->subject, kMaxCode), clip_text(r.code->reason, kMaxCode),
          clip_text(r.code->subject_identifier, kMaxIdentifier), clip_text(r.code->message, kMaxMessage), ""};
}

Cause expired_cause() { return {Code::function_expired, "", "ValidityPeriod over"}; }

}  // namespace kf::download
