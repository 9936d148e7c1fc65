#include "host/crypto/ec.hpp"

#include <openssl/core_names.h>
#include <openssl/sha.h>

#include <algorithm>

#include "host/crypto/ec_openssl.hpp"
#include "host/crypto/ec_plain.hpp"
#include "host/crypto/ec_signature.hpp"

namespace kf {
namespace {
Result<Point> uncompressed(ByteView encoded) {
  if (encoded.size() != 65) return Error{"bad-point", "a point has 65 bytes, not " + std::to_string(encoded.size())};
  if (encoded[0] != 0x04) return Error{"bad-point", "only the uncompressed form (04) is taken"};
  Point p{};
  std::copy(encoded.begin(), encoded.end(), p.begin());
  return p;
}
}  // namespace

Result<Point> check_point(Curve c, ByteView encoded) {
  KF_TRY(Point p, uncompressed(encoded));
  const ossl::Scratch& s = ossl::scratch_of(c);
  // Refuses coordinates >= p and points off the curve; with cofactor 1 every other point is in the group.
  if (!ossl::quietly(
          [&] { return EC_POINT_oct2point(ossl::group_of(c), s.point.get(), p.data(), p.size(), s.bn.get()) == 1; }))
    return Error{"bad-point", "not a point of " + std::string(curve_name(c))};
  return p;
}

Digest32 sha256(ByteView message) {
  Digest32 d{};
  if (openssl_context() != nullptr) {
    Sha256 plain;
    plain.update(message);
    return plain.finish();
  }
  ossl::must(EVP_Digest(message.data(), message.size(), d.data(), nullptr, ossl::sha256_method(), nullptr) == 1);
  return d;
}

bool ecdsa_verify(Curve c, const Point& q, const Digest32& hash, ByteView signature64) {
  if (signature64.size() != 64 || q[0] != 0x04) return false;
  ossl::Kit& k = ossl::kit_of(c);
  if (!ossl::load_public(k, q.data())) return false;
  DerSignature der;
  encode_der(signature64, der);
  ossl::PkeyCtxPtr ctx(ossl::must(EVP_PKEY_CTX_new_from_pkey(openssl_context(), k.pub.get(), nullptr)));
  ossl::must(EVP_PKEY_verify_init(ctx.get()) == 1);
  return ossl::clear_unless(EVP_PKEY_verify(ctx.get(), der.bytes.data(), der.size, hash.data(), hash.size()) == 1);
}

KeyPair generate_key_pair(Curve c) {
  EVP_PKEY* raw = nullptr;
  ossl::must(EVP_PKEY_generate(ossl::kit_of(c).keygen.get(), &raw) == 1);
  const ossl::PkeyPtr key(raw);
  KeyPair pair;
  BIGNUM* d = nullptr;
  ossl::must(EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1);
  const ossl::BnPtr owned(d);
  ossl::must(BN_bn2binpad(d, pair.d.expose_mut().data(), 32) == 32);
  pair.q = ossl::public_point(key.get());
  return pair;
}

Result<Point> public_of(Curve c, ByteView d32) {
  if (!ossl::scalar_in_range(c, d32)) return Error{"bad-scalar", "not in 1 .. n-1"};
  const ossl::Scratch& k = ossl::scratch_of(c);
  const ossl::BnPtr d(ossl::must(BN_secure_new()));
  ossl::must(BN_bin2bn(d32.data(), 32, d.get()) != nullptr);
  BN_set_flags(d.get(), BN_FLG_CONSTTIME);
  const EC_GROUP* g = ossl::group_of(c);
  ossl::must(EC_POINT_mul(g, k.point.get(), d.get(), nullptr, nullptr, k.bn.get()) == 1);
  Point q{};
  ossl::must(EC_POINT_point2oct(g, k.point.get(), POINT_CONVERSION_UNCOMPRESSED, q.data(), q.size(), k.bn.get()) ==
             q.size());
  return q;
}

Signature ecdsa_sign(Curve c, ByteView d32, const Digest32& h) {
  ossl::must(ossl::scalar_in_range(c, d32));
  const ossl::PkeyPtr key = ossl::private_key(c, d32);
  Signature s{};
  ossl::must(ossl::sign(key.get(), h, s));
  return s;
}

Result<SecretArray<32>> ecka(Curve c, ByteView d32, ByteView q) {
  if (!ossl::scalar_in_range(c, d32)) return Error{"bad-scalar", "not in 1 .. n-1"};
  KF_TRY(const Point peer, uncompressed(q));
  ossl::Kit& k = ossl::kit_of(c);
  if (!ossl::load_public(k, peer.data())) return Error{"bad-point", "not a point of " + std::string(curve_name(c))};
  const ossl::PkeyPtr own = ossl::private_key(c, d32);
  SecretArray<32> z;
  if (!ossl::derive(own.get(), k.pub.get(), z.expose_mut().data()))
    return Error{"bad-point", "the product is infinity"};
  return z;
}
}  // namespace kf
