// The test PKI: CI root, EUM, TLS certificates for every party. For `keyferry init`, the simulators and the tests; a
// real CI takes its place by configuration. Private keys go to files of mode 0600.
#pragma once

#include <string>
#include <vector>

#include "host/pki/chain.hpp"

namespace kf {

struct IssuedX509 {
  std::string cert_pem;
  std::string key_pem;  // PKCS#8, secret: wipe after writing
};
// P-256 and brainpoolP256r1; another curve, or `ci`/`root` that these functions did not issue, aborts: tools only.
// `own_key`, a PEM private key on the curve, is the key certified; empty: a new one.
// Self-signed CI root on the given curve; SKI = SHA-1 of the point; SAN registered id = oid.
IssuedX509 make_ci_root(Curve c, const std::string& common_name, const Oid& oid, Date from, Date to,
                        const std::string& own_key = {});
IssuedX509 make_eum(Curve c, const std::string& common_name, const Oid& oid, const IssuedX509& ci, Date from, Date to,
                    const std::string& own_key = {});
// TLS root and leaf (always P-256); leaf: SAN dns/ip names and registered id = oid, both client and server usage.
IssuedX509 make_tls_root(const std::string& common_name, Date from, Date to, const std::string& own_key = {});
IssuedX509 make_tls_leaf(const std::string& common_name, const Oid& oid, const std::vector<std::string>& dns_or_ip,
                         const IssuedX509& root, Date from, Date to, const std::string& own_key = {});

struct PemKey {
  Curve curve = Curve::p256;
  SecretArray<32> d;
  Point q{};
};
// The scalar of a PEM private key (PKCS#8, EC): read once, then sign often. Reasons: bad-key, unknown-curve.
Result<PemKey> load_pem_key(const std::string& key_pem);
// Signs with a PEM private key (PKCS#8, EC).
Result<Signature> sign_with_pem_key(const std::string& key_pem, const Digest32& h);

// The whole tree below `dir` (docs/pki.md lists the files), idempotent: what exists is kept. P-256 or brainpoolP256r1.
// A certificate that is missing beside its key is issued for that key. Reasons: unknown-curve, pki-file (cannot read or
// write; detail names the file), pki-incomplete (the key of a certificate is missing), pki-mismatch (EUM and CI of that
// directory do not belong together), bad-key.
struct TestPkiParties {
  Oid op, smdp, smsr, eum, m2m, ci;
};
TestPkiParties default_parties();  // 2.999.10, .20, .30, .40, .50, .60
// Names and addresses in the TLS certificates, beside localhost and its addresses: what others call each by.
struct TestPkiHosts {
  std::vector<std::string> smdp, smsr, op;
};
struct TestPkiFile {
  std::string path;      // of the certificate
  bool new_key = false;  // false: issued for the key that was there
};
// `made`: what was not there before is added to it.
Status ensure_test_pki(const std::string& dir, Curve c, const TestPkiParties& p, const TestPkiHosts& hosts = {},
                       std::vector<TestPkiFile>* made = nullptr);
// The files of the tree without ".pem" and ".key": roots before what they issue.
std::vector<std::string> test_pki_stems(const std::string& dir);
// CERT.DP.ECDSA by the test CI of `dir` over the public key that the token holds.
Result<Bytes> issue_cert_dp(const std::string& dir, Curve c, const Point& q, const Oid& smdp);

}  // namespace kf
