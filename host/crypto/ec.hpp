// Elliptic-curve primitives in software (OpenSSL 3): point checks, plain ECDSA, ECKA. docs/spec/crypto.md 3, 4.6. All
// functions are thread-safe. Curves: P-256, brainpoolP256r1, FRP256v1.
#pragma once

#include "host/base/secret.hpp"
#include "host/crypto/curve.hpp"

namespace kf {

// Length 65, 04, X < p, Y < p, on the curve. Reasons: bad-point.
Result<Point> check_point(Curve c, ByteView encoded);

Digest32 sha256(ByteView message);
// Verifies plain r||s over a SHA-256 digest; 0 < r,s < n, no low-s rule. `q` must have passed check_point.
bool ecdsa_verify(Curve c, const Point& q, const Digest32& hash, ByteView signature64);
Result<Bytes> signature_to_der(ByteView plain64);
Result<Signature> signature_from_der(ByteView der);

struct KeyPair {
  SecretArray<32> d;
  Point q{};
};
KeyPair generate_key_pair(Curve c);              // for tools, simulators' certificates and hybrid custody
Result<Point> public_of(Curve c, ByteView d32);  // 1 <= d < n; reasons: bad-scalar
Signature ecdsa_sign(Curve c, ByteView d32, const Digest32& h);          // random k
Signature ecdsa_sign_rfc6979(Curve c, ByteView d32, const Digest32& h);  // deterministic, for vectors only
// ECKA: x coordinate of [d]Q. Reasons: bad-point, bad-scalar.
Result<SecretArray<32>> ecka(Curve c, ByteView d32, ByteView q);

}  // namespace kf
