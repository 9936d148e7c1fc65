// GlobalPlatform-format certificates (7F21): CERT.DP.ECDSA and CERT.ECASD.ECKA. docs/spec/crypto.md 5.1.
#pragma once

#include <functional>

#include "host/base/calendar.hpp"
#include "host/base/ids.hpp"
#include "host/crypto/ec.hpp"

namespace kf {

// What is wrong with a certificate, of either kind; broken TLVs, dates and points are host/base's and host/crypto's
// errors. Their slugs: "bad-x509" and so on.
enum class CertificateFault : std::uint8_t {
  bad_x509,
  unknown_curve,
  bad_issuer,
  bad_aki,
  untrusted_root,
  not_ca,
  bad_usage,
  bad_curve,
  not_yet_valid,
  expired,
  bad_signature,
  bad_format,
  bad_tag,
  bad_type,
  wrong_subject
};
std::string_view slug(CertificateFault f);

struct GpCertificate {
  Bytes serial;                        // 93
  Bytes ca_id;                         // 42
  Bytes subject;                       // 5F20
  Bytes key_usage;                     // 95
  std::optional<Date> effective;       // 5F25
  Date expiry{};                       // 5F24
  std::optional<Bytes> cin;            // 45
  std::optional<Bytes> discretionary;  // value of 53 or 73
  std::optional<std::uint8_t> type;    // C8: 01 SM-DP, 02 SM-SR
  std::optional<Bytes> aki;            // C9: 20 bytes
  Curve curve = Curve::p256;           // F0
  Point q{};                           // B0, checked
  Signature signature{};               // 5F37
  Bytes tbs;                           // the signed bytes as received
  Bytes encoded;                       // the whole 7F21
};

// Parser rules of docs/spec/crypto.md 5.1: any other order, unknown or double inner tags, bytes behind 7F21, bad BCD,
// unknown F0, a bad point are refused. Reasons: truncated, bad-length, bad-tag, bad-format, bad-date, unknown-curve,
// bad-point.
Result<GpCertificate> parse_gp_certificate(ByteView der);

enum class GpRole { dp, ecasd };
struct GpIssuer {
  Curve curve = Curve::p256;
  Point q{};
  Bytes ski;  // 20 bytes
};
// Everything but the trust in the issuer: key usage (dp: 88 or 82; ecasd: 0080), C8 (dp: 01; ecasd: none), C9 =
// issuer's SKI when present (ecasd: must be present), curve = issuer's curve, dates, subject = EID (ecasd, when eid is
// given), then the signature. Reasons: bad-usage, bad-type, bad-aki, bad-curve, not-yet-valid, expired, wrong-subject,
// bad-signature.
Status verify_gp_certificate(const GpCertificate& c, GpRole role, const GpIssuer& issuer, Date today,
                             const std::optional<Eid>& eid);
// The same without the signature, for callers whose engine verifies it: hash and signature are then in the certificate.
Status check_gp_certificate(const GpCertificate& c, GpRole role, const GpIssuer& issuer, Date today,
                            const std::optional<Eid>& eid);

struct GpTemplate {  // what an issuer fills in
  Bytes serial, ca_id, subject, key_usage;
  std::optional<Date> effective;
  Date expiry{};
  std::optional<Bytes> cin;
  std::optional<std::uint8_t> type;
  Bytes aki;
  Curve curve = Curve::p256;
  Point q{};
};
// Encodes and signs; `sign` gets the SHA-256 of the signed bytes.
Bytes issue_gp_certificate(const GpTemplate& t, const std::function<Signature(const Digest32&)>& sign);

}  // namespace kf
