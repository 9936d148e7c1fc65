#include "host/crypto/ec_openssl.hpp"

#include <openssl/core_names.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>

#include <algorithm>

#include "host/base/secret.hpp"
#include "host/crypto/ec.hpp"

namespace kf::ossl {
namespace {

// ANSSI FRP256v1 (JORF 241, 16 October 2011); OpenSSL does not know it by name.
constexpr const char* kFrpP = "F1FD178C0B3AD58F10126DE8CE42435B3961ADBCABC8CA6DE8FCF353D86E9C03";
constexpr const char* kFrpA = "F1FD178C0B3AD58F10126DE8CE42435B3961ADBCABC8CA6DE8FCF353D86E9C00";
constexpr const char* kFrpB = "EE353FCA5428A9300D4ABA754A44C00FDFEC0C9AE4B1A1803075ED967B7BB73F";
constexpr const char* kFrpG =
    "04B6B3D4C356C139EB31183D4749D423958C27D2DCAF98B70164C97A2DD98F5CFF"
    "6142E0F7C8B204911F9271F0F3ECEF8C2701C307E8E4C9E183115A1554062CFB";
constexpr const char* kFrpN = "F1FD178C0B3AD58F10126DE8CE42435B53DC67E140D2BF941FFDD459C6D655E1";

BnPtr bn_of(const char* hex_digits) {
  BIGNUM* b = nullptr;
  must(BN_hex2bn(&b, hex_digits) != 0);
  return BnPtr(b);
}

GroupPtr make_group(Curve c) {
  if (c == Curve::p256)
    return GroupPtr(must(EC_GROUP_new_by_curve_name_ex(openssl_context(), nullptr, NID_X9_62_prime256v1)));
  if (c == Curve::brainpool_p256r1)
    return GroupPtr(must(EC_GROUP_new_by_curve_name_ex(openssl_context(), nullptr, NID_brainpoolP256r1)));
  GroupPtr g(must(EC_GROUP_new_curve_GFp(bn_of(kFrpP).get(), bn_of(kFrpA).get(), bn_of(kFrpB).get(), nullptr)));
  PointPtr gen(must(EC_POINT_new(g.get())));
  const Bytes enc = hex(kFrpG);
  must(EC_POINT_oct2point(g.get(), gen.get(), enc.data(), enc.size(), nullptr) == 1);
  must(EC_GROUP_set_generator(g.get(), gen.get(), bn_of(kFrpN).get(), BN_value_one()) == 1);
  return g;
}

std::size_t slot(Curve c) { return c == Curve::p256 ? 0 : c == Curve::brainpool_p256r1 ? 1 : 2; }

struct Shared {
  GroupPtr group;
  Scalar order{};
};
const Shared& shared(Curve c) {
  // Never destroyed: threads may still work when the process ends.
  static const auto& all = *[] {
    auto* const made = new std::array<Shared, 3>;
    std::array<Shared, 3>& a = *made;
    for (const Curve k : {Curve::p256, Curve::brainpool_p256r1, Curve::frp256v1}) {
      Shared& s = a[slot(k)];
      s.group = make_group(k);
      must(BN_bn2binpad(EC_GROUP_get0_order(s.group.get()), s.order.data(), 32) == 32);
    }
    return made;
  }();
  return all[slot(c)];
}

// The domain parameters as OSSL_PARAMs: a name, or for FRP256v1 everything (integers in the machine's byte order).
class DomainParams {
 public:
  explicit DomainParams(Curve c) {
    if (c != Curve::frp256v1) {
      name_ = c == Curve::p256 ? SN_X9_62_prime256v1 : SN_brainpoolP256r1;
      add(OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, name_.data(), name_.size()));
      return;
    }
    name_ = SN_X9_62_prime_field;
    add(OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_EC_FIELD_TYPE, name_.data(), name_.size()));
    number(OSSL_PKEY_PARAM_EC_P, kFrpP, p_);
    number(OSSL_PKEY_PARAM_EC_A, kFrpA, a_);
    number(OSSL_PKEY_PARAM_EC_B, kFrpB, b_);
    generator_ = hex(kFrpG);
    add(OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_EC_GENERATOR, generator_.data(), generator_.size()));
    number(OSSL_PKEY_PARAM_EC_ORDER, kFrpN, n_);
    number(OSSL_PKEY_PARAM_EC_COFACTOR, "01", h_);
  }
  DomainParams(const DomainParams&) = delete;
  DomainParams& operator=(const DomainParams&) = delete;
  void add(OSSL_PARAM p) {
    params_[count_++] = p;
    params_[count_] = OSSL_PARAM_construct_end();
  }
  OSSL_PARAM* get() { return params_.data(); }

 private:
  void number(const char* key, const char* digits, Bytes& store) {
    store = hex(digits);
    std::reverse(store.begin(), store.end());
    add(OSSL_PARAM_construct_BN(key, store.data(), store.size()));
  }
  std::array<OSSL_PARAM, 10> params_{};
  std::size_t count_ = 0;
  std::string name_;
  Bytes p_, a_, b_, generator_, n_, h_;
};

PkeyPtr from_data(int selection, OSSL_PARAM* params) {
  PkeyCtxPtr ctx(must(EVP_PKEY_CTX_new_from_name(openssl_context(), "EC", nullptr)));
  must(EVP_PKEY_fromdata_init(ctx.get()) == 1);
  EVP_PKEY* key = nullptr;
  must(EVP_PKEY_fromdata(ctx.get(), &key, selection, params) == 1);
  return PkeyPtr(key);
}

Kit make_kit(Curve c) {
  Kit k;
  DomainParams p(c);
  k.params = from_data(EVP_PKEY_KEY_PARAMETERS, p.get());
  k.pub = from_data(EVP_PKEY_KEY_PARAMETERS, p.get());
  k.keygen.reset(must(EVP_PKEY_CTX_new_from_pkey(openssl_context(), k.params.get(), nullptr)));
  must(EVP_PKEY_keygen_init(k.keygen.get()) == 1);
  return k;
}
}  // namespace

const EVP_MD* sha256_method() {
  static EVP_MD* const md = must(EVP_MD_fetch(openssl_context(), "SHA256", nullptr));
  return md;
}
const EC_GROUP* group_of(Curve c) { return shared(c).group.get(); }
const Scalar& order_of(Curve c) { return shared(c).order; }

bool scalar_in_range(Curve c, ByteView d) {
  if (d.size() != 32) return false;
  const Scalar& n = order_of(c);
  unsigned borrow = 0;
  unsigned any = 0;
  for (std::size_t i = 32; i-- > 0;) {
    borrow = (static_cast<unsigned>(d[i]) - n[i] - borrow) >> 31;
    any |= d[i];
  }
  return (borrow & static_cast<unsigned>(any != 0)) == 1;
}

Kit& kit_of(Curve c) {
  static thread_local std::array<std::unique_ptr<Kit>, 3> kits;
  auto& k = kits[slot(c)];
  if (!k) k = std::make_unique<Kit>(make_kit(c));
  return *k;
}

Scratch& scratch_of(Curve c) {
  static thread_local std::array<std::unique_ptr<Scratch>, 3> all;
  auto& s = all[slot(c)];
  if (!s) {
    s = std::make_unique<Scratch>();
    s->bn.reset(must(BN_CTX_new_ex(openssl_context())));
    s->point.reset(must(EC_POINT_new(group_of(c))));
  }
  return *s;
}

bool load_public(Kit& k, const std::uint8_t* point65) {
  return clear_unless(EVP_PKEY_set1_encoded_public_key(k.pub.get(), point65, 65) == 1);
}

PkeyPtr private_key(Curve c, ByteView d32) {
  std::array<std::uint8_t, 32> native{};
  std::reverse_copy(d32.begin(), d32.end(), native.begin());
  DomainParams p(c);
  p.add(OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, native.data(), native.size()));
  PkeyPtr key = from_data(EVP_PKEY_KEYPAIR, p.get());
  wipe(native.data(), native.size());
  return key;
}

Point public_point(EVP_PKEY* key) {
  Point q{};
  std::size_t n = 0;
  must(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, q.data(), q.size(), &n) == 1 && n == q.size());
  return q;
}

bool sign(EVP_PKEY* key, const Digest32& h, Signature& out) {
  PkeyCtxPtr ctx(must(EVP_PKEY_CTX_new_from_pkey(openssl_context(), key, nullptr)));
  std::array<std::uint8_t, 80> der{};
  std::size_t n = der.size();
  if (!clear_unless(EVP_PKEY_sign_init(ctx.get()) == 1 &&
                    EVP_PKEY_sign(ctx.get(), der.data(), &n, h.data(), h.size()) == 1))
    return false;
  const auto plain = signature_from_der(ByteView(der).first(n));
  if (plain) out = *plain;
  return plain.ok();
}

bool derive(EVP_PKEY* own, EVP_PKEY* peer, std::uint8_t* x32) {
  PkeyCtxPtr ctx(must(EVP_PKEY_CTX_new_from_pkey(openssl_context(), own, nullptr)));
  must(EVP_PKEY_derive_init(ctx.get()) == 1);
  std::size_t n = 32;
  // The peer was checked when it was loaded and the cofactor is 1: a second validation would cost another [n]Q.
  return clear_unless(EVP_PKEY_derive_set_peer_ex(ctx.get(), peer, 0) == 1 &&
                      EVP_PKEY_derive(ctx.get(), x32, &n) == 1 && n == 32);
}
}  // namespace kf::ossl
