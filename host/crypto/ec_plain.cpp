// OpenSSL's SHA-256 itself, without EVP before it; deprecated for those who have the choice.
#undef OPENSSL_NO_DEPRECATED
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "host/crypto/ec_plain.hpp"

#include "host/crypto/ec_openssl.hpp"

namespace kf {

void prepare_plain() { static_cast<void>(ossl::group_of(Curve::p256)); }

namespace {
static_assert(sizeof(SHA256_CTX) <= 112 && alignof(SHA256_CTX) <= 8);
SHA256_CTX* in(std::array<std::uint8_t, 112>& state) { return reinterpret_cast<SHA256_CTX*>(state.data()); }
}  // namespace

Sha256::Sha256() noexcept { SHA256_Init(in(state_)); }
Sha256::~Sha256() { wipe(state_.data(), state_.size()); }
void Sha256::update(ByteView part) { SHA256_Update(in(state_), part.data(), part.size()); }
Digest32 Sha256::finish() {
  Digest32 d{};
  SHA256_Final(d.data(), in(state_));
  return d;
}

// SEC 1, 4.1.4, by points alone.
bool ecdsa_verify_in_points(Curve c, const Point& q, const Digest32& hash, ByteView signature64) {
  if (signature64.size() != 64 || !ossl::scalar_in_range(c, signature64.first(32)) ||
      !ossl::scalar_in_range(c, signature64.subspan(32)) || !check_point(c, q))
    return false;
  const EC_GROUP* g = ossl::group_of(c);
  const BIGNUM* n = EC_GROUP_get0_order(g);
  BN_CTX* const bn = ossl::scratch_of(c).bn.get();
  const auto number = [](ByteView v) {
    return ossl::BnPtr(ossl::must(BN_bin2bn(v.data(), static_cast<int>(v.size()), nullptr)));
  };
  const ossl::BnPtr r = number(signature64.first(32));
  const ossl::BnPtr s = number(signature64.subspan(32));
  const ossl::BnPtr u1 = number(hash);
  const ossl::BnPtr u2 = number(signature64.first(32));
  ossl::must(BN_mod_inverse(s.get(), s.get(), n, bn) != nullptr);
  ossl::must(BN_mod_mul(u1.get(), u1.get(), s.get(), n, bn) == 1 &&
             BN_mod_mul(u2.get(), u2.get(), s.get(), n, bn) == 1);
  const ossl::PointPtr key(ossl::must(EC_POINT_new(g)));
  const ossl::PointPtr sum(ossl::must(EC_POINT_new(g)));
  ossl::must(EC_POINT_oct2point(g, key.get(), q.data(), q.size(), bn) == 1);
  ossl::must(EC_POINT_mul(g, sum.get(), u1.get(), key.get(), u2.get(), bn) == 1);
  if (EC_POINT_is_at_infinity(g, sum.get()) == 1) return false;
  const ossl::BnPtr x(ossl::must(BN_new()));
  ossl::must(EC_POINT_get_affine_coordinates(g, sum.get(), x.get(), nullptr, bn) == 1);
  ossl::must(BN_nnmod(x.get(), x.get(), n, bn) == 1);
  return BN_cmp(x.get(), r.get()) == 0;
}

}  // namespace kf
