// X.509 for CI and EUM and the chain CI -> EUM -> CERT.ECASD.ECKA. docs/spec/crypto.md 5.2.
#pragma once

#include <map>
#include <memory>

#include "host/pki/gp_cert.hpp"

namespace kf {

struct X509Info {  // what the chain needs of one X.509 certificate; parsed once
  Bytes der;
  Bytes subject_der;  // X509_NAME encodings, compared byte for byte
  Bytes issuer_der;
  std::string subject;  // one line, for messages
  Bytes ski, aki;       // empty when absent
  bool is_ca = false;
  bool key_cert_sign = false;
  std::int64_t not_before = 0, not_after = 0;  // Unix seconds
  Curve curve = Curve::p256;
  Point q{};
  Bytes tbs;  // signed bytes
  Bytes signature_der;
  bool ecdsa_sha256 = false;
};
// DER or PEM. Reasons: bad-x509, unknown-curve, bad-point.
Result<X509Info> parse_x509(ByteView der_or_pem);

// Steps 1 and 2 of docs/spec/crypto.md 5.2: `eum` chains to one of `roots` (trusted by SKI). Reasons: untrusted-root,
// bad-issuer, bad-aki, not-ca, bad-usage, bad-curve, not-yet-valid, expired, bad-signature. A day counts from 00:00 to
// 24:00 UTC.
Status verify_eum(const X509Info& eum, std::span<const X509Info> roots, Date today);
GpIssuer issuer_of(const X509Info& x);

struct EumCache {  // EUM certificates already verified on a day, by SHA-256 of the DER; bounded; one owner thread
  std::map<Bytes, Date> verified;
};
// verify_eum, once per certificate and day. The cache belongs to one set of roots: clear it when they change.
Status verify_eum_cached(EumCache& cache, const X509Info& eum, std::span<const X509Info> roots, Date today);

// Steps 1 to 6. Reasons: prefix "eum:" for EUM failures (eum:untrusted-root ...), else those of gp_cert.hpp.
Result<GpCertificate> verify_ecasd_chain(ByteView cert_ecasd, const X509Info& eum, std::span<const X509Info> roots,
                                         Date today, const Eid& eid);

}  // namespace kf
