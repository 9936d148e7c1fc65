// The data key of the store and sealed records, under the AES-256 wrap key that never leaves the token.
//
// Data key: CKM_AES_KEY_WRAP (RFC 3394), 40 octets. Record: IV (12, from the token) || ciphertext || tag (16),
// CKM_AES_GCM with the caller's AAD. Random IVs carry 2^32 records per wrap key, far above what one store will hold.
#include "hsm/worker/token_ops.hpp"

namespace kf::hsm::worker {
namespace {

using p11::attr;
using p11::kFalse;
using p11::kTrue;
using p11::mutable_octets;

constexpr std::size_t kDataKey = 32;
constexpr std::size_t kWrappedDataKey = 40;
constexpr std::size_t kIv = 12;
constexpr std::size_t kTag = 16;

CK_GCM_PARAMS gcm(ByteView iv, ByteView aad) {
  CK_GCM_PARAMS p{};
  p.pIv = mutable_octets(iv);
  p.ulIvLen = iv.size();
  p.ulIvBits = iv.size() * 8;
  p.pAAD = aad.empty() ? nullptr : mutable_octets(aad);
  p.ulAADLen = aad.size();
  p.ulTagBits = kTag * 8;
  return p;
}

}  // namespace

Status TokenOps::need_wrap_key() const {
  if (!has_wrap_key_) return Error{"hsm-key", "no wrap key configured (wrap_key_label)"};
  return {};
}

Result<SecretBytes> TokenOps::new_data_key() {
  KF_CHECK(need_wrap_key());
  Bytes wrapped(kWrappedDataKey + 24);
  const CK_RV rv = with_retry([&]() -> CK_RV {
    if (const CK_RV r = refresh_wrap_key(); r != CKR_OK) return r;
    constexpr CK_ULONG length = kDataKey;
    CK_MECHANISM generate{CKM_AES_KEY_GEN, nullptr, 0};
    std::array t{attr(CKA_VALUE_LEN, length), attr(CKA_TOKEN, kFalse), attr(CKA_PRIVATE, kTrue),
                 attr(CKA_SENSITIVE, kTrue), attr(CKA_EXTRACTABLE, kTrue)};
    p11::Object key(session());
    if (const CK_RV r =
            session().seen(session().f().C_GenerateKey(session().handle(), &generate, t.data(), t.size(), key.slot()));
        r != CKR_OK)
      return r;
    CK_MECHANISM wrap{CKM_AES_KEY_WRAP, nullptr, 0};
    CK_ULONG n = wrapped.size();
    const CK_RV r =
        session().seen(session().f().C_WrapKey(session().handle(), &wrap, wrap_key_, key.handle(), wrapped.data(), &n));
    if (r == CKR_OK) wrapped.resize(n);
    return r;
  });
  if (rv != CKR_OK) return p11::rv_error("hsm-token", "new data key: C_GenerateKey, C_WrapKey", rv);
  if (wrapped.size() != kWrappedDataKey)
    return Error{"hsm-token", "the module's AES key wrap gives an unexpected length"};
  return SecretBytes(ByteView(wrapped));
}

Result<SecretBytes> TokenOps::unwrap_data_key(ByteView wrapped) {
  KF_CHECK(need_wrap_key());
  if (wrapped.size() != kWrappedDataKey) return Error{"hsm-unwrap", "a wrapped data key has 40 octets"};
  SecretBytes out(kDataKey);
  const CK_RV rv = with_retry([&]() -> CK_RV {
    if (const CK_RV r = refresh_wrap_key(); r != CKR_OK) return r;
    constexpr CK_OBJECT_CLASS cls = CKO_SECRET_KEY;
    constexpr CK_KEY_TYPE type = CKK_AES;
    CK_MECHANISM m{CKM_AES_KEY_WRAP, nullptr, 0};
    std::array t{attr(CKA_CLASS, cls),     attr(CKA_KEY_TYPE, type),    attr(CKA_TOKEN, kFalse),
                 attr(CKA_PRIVATE, kTrue), attr(CKA_SENSITIVE, kFalse), attr(CKA_EXTRACTABLE, kTrue)};
    p11::Object key(session());
    CK_RV r = session().seen(session().f().C_UnwrapKey(session().handle(), &m, wrap_key_, mutable_octets(wrapped),
                                                       wrapped.size(), t.data(), t.size(), key.slot()));
    if (r != CKR_OK) return r;
    CK_ATTRIBUTE value{CKA_VALUE, out.expose_mut().data(), out.size()};
    r = session().seen(session().f().C_GetAttributeValue(session().handle(), key.handle(), &value, 1));
    if (r == CKR_OK && value.ulValueLen != out.size()) r = CKR_WRAPPED_KEY_INVALID;
    const CK_RV gone = key.destroy();
    return r != CKR_OK ? r : gone;
  });
  if (rv != CKR_OK) return p11::rv_error("hsm-unwrap", "C_UnwrapKey", rv, "altered, or wrapped under another wrap key");
  return out;
}

Result<SecretBytes> TokenOps::seal_record(ByteView aad, ByteView plain) {
  KF_CHECK(need_wrap_key());
  if (plain.size() > wire::kMaxRecord) return Error{"hsm-seal", "record longer than 16384 octets"};
  SecretBytes out(kIv + plain.size() + kTag);
  const auto iv = out.expose_mut().first(kIv);
  const auto sealed = out.expose_mut().subspan(kIv);
  const CK_RV rv = with_retry([&]() -> CK_RV {
    if (const CK_RV r = refresh_wrap_key(); r != CKR_OK) return r;
    if (const CK_RV r = session().seen(session().f().C_GenerateRandom(session().handle(), iv.data(), iv.size()));
        r != CKR_OK)
      return r;
    CK_GCM_PARAMS p = gcm(iv, aad);
    CK_MECHANISM m{CKM_AES_GCM, &p, sizeof p};
    if (const CK_RV r = session().seen(session().f().C_EncryptInit(session().handle(), &m, wrap_key_)); r != CKR_OK)
      return r;
    CK_ULONG n = sealed.size();
    const CK_RV r = session().seen(
        session().f().C_Encrypt(session().handle(), mutable_octets(plain), plain.size(), sealed.data(), &n));
    return r == CKR_OK && n != sealed.size() ? CKR_GENERAL_ERROR : r;
  });
  if (rv != CKR_OK) return p11::rv_error("hsm-seal", "AES-GCM C_Encrypt", rv);
  return out;
}

Result<SecretBytes> TokenOps::open_record(ByteView aad, ByteView sealed) {
  KF_CHECK(need_wrap_key());
  if (sealed.size() < kIv + kTag || sealed.size() > kIv + wire::kMaxRecord + kTag) {
    return Error{"hsm-open", "a sealed record has 28 to 16412 octets"};
  }
  const ByteView iv = sealed.first(kIv);
  const ByteView body = sealed.subspan(kIv);
  SecretBytes buffer(body.size());  // modules may write the tag's worth more than the plaintext
  CK_ULONG n = buffer.size();
  const CK_RV rv = with_retry([&]() -> CK_RV {
    if (const CK_RV r = refresh_wrap_key(); r != CKR_OK) return r;
    CK_GCM_PARAMS p = gcm(iv, aad);
    CK_MECHANISM m{CKM_AES_GCM, &p, sizeof p};
    if (const CK_RV r = session().seen(session().f().C_DecryptInit(session().handle(), &m, wrap_key_)); r != CKR_OK)
      return r;
    n = buffer.size();
    const CK_RV r = session().seen(
        session().f().C_Decrypt(session().handle(), mutable_octets(body), body.size(), buffer.expose_mut().data(), &n));
    return r == CKR_OK && n != body.size() - kTag ? CKR_GENERAL_ERROR : r;
  });
  if (rv != CKR_OK)
    return p11::rv_error("hsm-open", "AES-GCM C_Decrypt", rv, "altered, of another context, or under another wrap key");
  return SecretBytes(buffer.expose().first(n));
}

}  // namespace kf::hsm::worker
