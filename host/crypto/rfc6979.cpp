// Deterministic ECDSA (RFC 6979, HMAC-SHA256) so that signing can be compared byte for byte with vector files. The
// product signs with random k; BIGNUM arithmetic modulo n here is not meant to resist a local attacker.
#include <openssl/core_names.h>

#include <algorithm>

#include "host/crypto/ec.hpp"
#include "host/crypto/ec_openssl.hpp"

namespace kf {
namespace {
using Block = SecretArray<32>;

void hmac(const Block& key, std::initializer_list<ByteView> parts, Block& out) {
  SecretBytes message;
  {
    Bytes m;
    m.reserve(160);  // one block: growing would leave a copy of d behind
    for (const ByteView p : parts) append(m, p);
    message = SecretBytes::adopt(std::move(m));
  }
  std::size_t n = 0;
  ossl::must(EVP_Q_mac(openssl_context(), "HMAC", nullptr, "SHA256", nullptr, key.expose().data(), key.expose().size(),
                       message.expose().data(), message.size(), out.expose_mut().data(), 32, &n) != nullptr &&
             n == 32);
}

ossl::BnPtr bn_of(ByteView v) {
  return ossl::BnPtr(ossl::must(BN_bin2bn(v.data(), static_cast<int>(v.size()), nullptr)));
}
}  // namespace

Signature ecdsa_sign_rfc6979(Curve c, ByteView d32, const Digest32& h) {
  ossl::must(ossl::scalar_in_range(c, d32));
  const EC_GROUP* g = ossl::group_of(c);
  const BIGNUM* n = EC_GROUP_get0_order(g);
  ossl::BnCtxPtr ctx(ossl::must(BN_CTX_secure_new()));

  // bits2octets: the digest as long as n, reduced.
  Scalar h_mod{};
  const ossl::BnPtr z = bn_of(h);
  ossl::must(BN_nnmod(z.get(), z.get(), n, ctx.get()) == 1 && BN_bn2binpad(z.get(), h_mod.data(), 32) == 32);

  Block k;
  Block v;
  std::ranges::fill(v.expose_mut(), std::uint8_t{0x01});
  constexpr std::array<std::uint8_t, 1> kZero{0x00};
  constexpr std::array<std::uint8_t, 1> kOne{0x01};
  hmac(k, {v.expose(), kZero, d32, h_mod}, k);
  hmac(k, {v.expose()}, v);
  hmac(k, {v.expose(), kOne, d32, h_mod}, k);
  hmac(k, {v.expose()}, v);

  const ossl::BnPtr d = bn_of(d32);
  for (;;) {
    hmac(k, {v.expose()}, v);
    if (ossl::scalar_in_range(c, v.expose())) {
      const ossl::BnPtr t = bn_of(v.expose());
      ossl::PointPtr p(ossl::must(EC_POINT_new(g)));
      ossl::BnPtr r(ossl::must(BN_new()));
      ossl::BnPtr s(ossl::must(BN_new()));
      ossl::must(EC_POINT_mul(g, p.get(), t.get(), nullptr, nullptr, ctx.get()) == 1);
      ossl::must(EC_POINT_get_affine_coordinates(g, p.get(), r.get(), nullptr, ctx.get()) == 1);
      ossl::must(BN_nnmod(r.get(), r.get(), n, ctx.get()) == 1);
      // s = (z + r d) / k
      ossl::must(BN_mod_mul(s.get(), r.get(), d.get(), n, ctx.get()) == 1);
      ossl::must(BN_mod_add(s.get(), s.get(), z.get(), n, ctx.get()) == 1);
      const ossl::BnPtr inverse(ossl::must(BN_mod_inverse(nullptr, t.get(), n, ctx.get())));
      ossl::must(BN_mod_mul(s.get(), s.get(), inverse.get(), n, ctx.get()) == 1);
      if (!BN_is_zero(r.get()) && !BN_is_zero(s.get())) {
        Signature out{};
        ossl::must(BN_bn2binpad(r.get(), out.data(), 32) == 32 && BN_bn2binpad(s.get(), out.data() + 32, 32) == 32);
        return out;
      }
    }
    hmac(k, {v.expose(), kZero}, k);
    hmac(k, {v.expose()}, v);
  }
}
}  // namespace kf
