// What a core is asked before its answers are believed: for each curve a signature that is right and one that is not,
// and the pairwise check of a key that is to sign. GENERATE and ECKA on both curves are asked by the core itself at its
// start (docs/ecc-core.md, "Theory of operation"); SIGN and VERIFY by the driver, when they are used first, since they
// would cost every start another half million cycles. Threading: any thread. No secrets: the key of the known signature
// is 2.
#pragma once

#include "drivers/ecc/ecc_regs.hpp"
#include "host/crypto/curve.hpp"

namespace kf::ecc {

struct KnownSignature {
  Point q;
  Digest32 e;
  Signature s;
  Signature wrong;  // for the same key and digest: to be refused
};

// SHA-256("keyferry known answer") under the key 2, deterministic (RFC 6979).
const KnownSignature& known_signature(CurveNumber curve);

// Whether `s` is a signature of known_signature()'s digest by the key of `q`, by software: what a new key has signed
// before it is used for anything else (FIPS 140-3, pairwise consistency). Nothing of EVP.
bool signs_for(CurveNumber curve, const Point& q, const Signature& s);

}  // namespace kf::ecc
