// What OpenSSL needs per curve, built once: inner header of this room, not for others.
//
// EC_GROUPs are shared and read-only; the EVP objects of a Kit belong to one thread, because a public key is loaded
// into Kit::pub again and again (building an EVP_PKEY from parameters costs more than a P-256 point check).
#pragma once

#include "host/crypto/curve.hpp"
#include "host/crypto/openssl_ptr.hpp"

namespace kf::ossl {

const EVP_MD* sha256_method();              // fetched once: a fetch per call takes a lock
const EC_GROUP* group_of(Curve c);          // never null
const Scalar& order_of(Curve c);            // n, big-endian
bool scalar_in_range(Curve c, ByteView d);  // 32 bytes, 1 <= d < n; constant time in the value

struct Kit {
  PkeyPtr params;  // domain parameters
  PkeyPtr pub;     // the public key of the call that runs now
  PkeyCtxPtr keygen;
};
Kit& kit_of(Curve c);  // of the calling thread

// For arithmetic on points, without EVP.
struct Scratch {
  BnCtxPtr bn;
  PointPtr point;
};
Scratch& scratch_of(Curve c);  // of the calling thread

bool load_public(Kit& k, const std::uint8_t* point65);  // false: not on the curve
PkeyPtr private_key(Curve c, ByteView d32);             // d must be in range
Point public_point(EVP_PKEY* key);
bool sign(EVP_PKEY* key, const Digest32& h, Signature& out);  // random k
bool derive(EVP_PKEY* own, EVP_PKEY* peer, std::uint8_t* x32);

}  // namespace kf::ossl
