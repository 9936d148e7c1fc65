// C_GenerateKeyPair and C_DeriveKey.
#include <algorithm>
#include <array>

#include "drivers/p11/calls.hpp"
#include "host/crypto/ec.hpp"
#include "host/crypto/symmetric.hpp"

namespace kf::p11core::api {
namespace {

constexpr std::size_t kShs = 32;
constexpr std::size_t kLongestDerived = 32;

// CK_ECDH1_DERIVE_PARAMS, looked at before the core is troubled: a base key serves once, and a mistake in the
// parameters must not cost it.
struct Agreement {
  Point peer{};
  bool kdf = false;  // X9.63 with SHA-256 over `shared`; else none
  Bytes shared;
};
CK_RV agreement_of(const CK_MECHANISM& m, ecc::CurveNumber curve, Agreement& a) {
  if (m.pParameter == nullptr || m.ulParameterLen != sizeof(CK_ECDH1_DERIVE_PARAMS)) return CKR_MECHANISM_PARAM_INVALID;
  const auto& p = *static_cast<const CK_ECDH1_DERIVE_PARAMS*>(m.pParameter);
  if (p.kdf != CKD_NULL && p.kdf != CKD_SHA256_KDF) return CKR_MECHANISM_PARAM_INVALID;
  a.kdf = p.kdf == CKD_SHA256_KDF;
  if (p.pSharedData == nullptr && p.ulSharedDataLen != 0) return CKR_MECHANISM_PARAM_INVALID;
  if (!a.kdf && p.ulSharedDataLen != 0) return CKR_MECHANISM_PARAM_INVALID;
  if (p.ulSharedDataLen != 0) a.shared.assign(p.pSharedData, p.pSharedData + p.ulSharedDataLen);
  if (p.pPublicData == nullptr || !point_of({p.pPublicData, p.ulPublicDataLen}, a.peer))
    return CKR_MECHANISM_PARAM_INVALID;
  return check_point(curve_of(curve), a.peer) ? CKR_OK : CKR_MECHANISM_PARAM_INVALID;
}

}  // namespace

CK_RV generate_key_pair(CK_SESSION_HANDLE handle, CK_MECHANISM* m, CK_ATTRIBUTE* pub_t, CK_ULONG pub_n,
                        CK_ATTRIBUTE* priv_t, CK_ULONG priv_n, CK_OBJECT_HANDLE* pub_h, CK_OBJECT_HANDLE* priv_h) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    Template public_template;
    Template private_template;
    if (m == nullptr || pub_h == nullptr || priv_h == nullptr || !template_of(pub_t, pub_n, public_template) ||
        !template_of(priv_t, priv_n, private_template))
      return CKR_ARGUMENTS_BAD;
    if (m->mechanism != CKM_EC_KEY_PAIR_GEN) return CKR_MECHANISM_INVALID;
    if (m->ulParameterLen != 0) return CKR_MECHANISM_PARAM_INVALID;
    auto pub = std::make_shared<Object>();
    auto priv = std::make_shared<Object>();
    if (const CK_RV rv = plan_pair(public_template, private_template, lib.configuration().default_usage, *pub, *priv);
        rv != CKR_OK)
      return rv;
    for (Object* o : {pub.get(), priv.get()})
      if (const CK_RV rv = lib.admit(s, *o); rv != CKR_OK) return rv;
    CoreKey key;
    Point q{};
    if (const Outcome o = lib.core(s.slot).generate(pub->curve, priv->flag(CKA_SIGN), key, q); o != Outcome::ok)
      return rv_of(o);
    complete_pair(*pub, *priv, key, q);
    lib.add(std::array{pub, priv});
    *pub_h = pub->handle;
    *priv_h = priv->handle;
    return CKR_OK;
  });
}

CK_RV derive_key(CK_SESSION_HANDLE handle, CK_MECHANISM* m, CK_OBJECT_HANDLE base, CK_ATTRIBUTE* t, CK_ULONG n,
                 CK_OBJECT_HANDLE* out) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    Template tmpl;
    if (m == nullptr || out == nullptr || !template_of(t, n, tmpl)) return CKR_ARGUMENTS_BAD;
    if (m->mechanism != CKM_ECDH1_DERIVE) return CKR_MECHANISM_INVALID;
    const auto key = lib.object(s, base);
    if (!key) return CKR_KEY_HANDLE_INVALID;
    if (key->cls != CKO_PRIVATE_KEY) return CKR_KEY_TYPE_INCONSISTENT;
    if (key->key->sign) return CKR_KEY_FUNCTION_NOT_PERMITTED;
    Agreement a;
    if (const CK_RV rv = agreement_of(*m, key->curve, a); rv != CKR_OK) return rv;
    auto secret = std::make_shared<Object>();
    std::size_t length = 0;
    if (const CK_RV rv = plan_secret(tmpl, *secret, length); rv != CKR_OK) return rv;
    if (length > kLongestDerived) return CKR_TEMPLATE_INCONSISTENT;
    if (length == 0) length = kShs;
    if (const CK_RV rv = lib.admit(s, *secret); rv != CKR_OK) return rv;

    SecretArray<kShs> shs;
    {
      const std::unique_lock alone(key->key->use);
      // The core erases the slot with the agreement, whatever becomes of it: CKA_DERIVE is false from here on.
      if (key->key->spent.exchange(true)) return CKR_KEY_FUNCTION_NOT_PERMITTED;
      if (const Outcome o = lib.core(s.slot).agree(key->key->key, a.peer, shs.expose_mut()); o != Outcome::ok)
        return rv_of(o);
    }
    // Too long without a KDF: octets of the leading end are dropped (PKCS#11 2.40, 2.3.8).
    secret->value = a.kdf ? x963_kdf(shs.expose(), a.shared, length) : SecretBytes(ByteView(shs.expose()).last(length));
    secret->set(CKA_VALUE_LEN, static_cast<CK_ULONG>(length));
    lib.add({&secret, 1});
    *out = secret->handle;
    return CKR_OK;
  });
}

}  // namespace kf::p11core::api
