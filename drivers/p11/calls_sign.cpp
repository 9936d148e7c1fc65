// C_Sign... and C_Verify...: CKM_ECDSA over a hash, CKM_ECDSA_SHA256 over a message that is hashed here.
#include <algorithm>

#include "drivers/p11/calls.hpp"
#include "host/crypto/ec.hpp"

namespace kf::p11core::api {
namespace {

constexpr CK_ULONG kSignature = 64;
constexpr CK_ULONG kLongestHash = 64;  // of SHA-512; longer input is no hash, and cutting it would sign half a message

// The integer that ECDSA signs: the leftmost 256 bits of a longer hash, a shorter one as it is.
CK_RV integer_of(ByteView hash, Digest32& e) {
  if (hash.empty() || hash.size() > kLongestHash) return CKR_DATA_LEN_RANGE;
  const ByteView used = hash.first(std::min(hash.size(), e.size()));
  e.fill(0);
  std::copy(used.begin(), used.end(), e.end() - static_cast<std::ptrdiff_t>(used.size()));
  return CKR_OK;
}

CK_RV begin(Library& lib, Session& s, std::optional<Operation>& running, const CK_MECHANISM* m, CK_OBJECT_HANDLE key,
            CK_OBJECT_CLASS cls, CK_ATTRIBUTE_TYPE permission) {
  if (m == nullptr) return CKR_ARGUMENTS_BAD;
  if (running) return CKR_OPERATION_ACTIVE;
  if (m->mechanism != CKM_ECDSA && m->mechanism != CKM_ECDSA_SHA256) return CKR_MECHANISM_INVALID;
  if (m->ulParameterLen != 0) return CKR_MECHANISM_PARAM_INVALID;
  Operation op;
  op.key = lib.object(s, key);
  if (!op.key) return CKR_KEY_HANDLE_INVALID;
  if (op.key->cls != cls) return CKR_KEY_TYPE_INCONSISTENT;
  if (!op.key->flag(permission)) return CKR_KEY_FUNCTION_NOT_PERMITTED;
  op.mechanism = m->mechanism;
  if (m->mechanism == CKM_ECDSA_SHA256) op.digest.emplace();
  running = std::move(op);
  return CKR_OK;
}

CK_RV update(std::optional<Operation>& running, const unsigned char* part, CK_ULONG n) {
  if (!running) return CKR_OPERATION_NOT_INITIALIZED;
  const CK_RV rv = part == nullptr && n != 0 ? CKR_ARGUMENTS_BAD
                   : !running->digest        ? CKR_FUNCTION_NOT_SUPPORTED  // CKM_ECDSA takes one hash
                                             : CKR_OK;
  if (rv != CKR_OK) {
    running.reset();
    return rv;
  }
  running->digest->update({part, n});
  running->in_parts = true;
  return CKR_OK;
}

CK_RV whole(Operation& op, ByteView data, Digest32& e) {
  if (!op.digest) return integer_of(data, e);
  op.digest->update(data);
  e = op.digest->finish();
  return CKR_OK;
}

CK_RV make_signature(Library& lib, const Session& s, const Operation& op, const Digest32& e, unsigned char* out,
                     CK_ULONG* out_n) {
  KeySlot& k = *op.key->key;
  const std::shared_lock use(k.use);
  if (k.spent) return CKR_KEY_HANDLE_INVALID;  // destroyed since C_SignInit
  Signature signature{};
  if (const Outcome o = lib.core(s.slot).sign(k.key, e, signature); o != Outcome::ok) return rv_of(o);
  std::copy(signature.begin(), signature.end(), out);
  *out_n = signature.size();
  return CKR_OK;
}

// True when the caller only asks for the length or has too little room: the operation goes on.
bool asks_for_length(const unsigned char* out, CK_ULONG* out_n, CK_RV& rv) {
  rv = CKR_OK;
  const bool asks = out == nullptr;
  const bool too_small = !asks && *out_n < kSignature;
  if (too_small) rv = CKR_BUFFER_TOO_SMALL;
  if (asks || too_small) *out_n = kSignature;
  return asks || too_small;
}

CK_RV judge(Library& lib, const Session& s, const Operation& op, const Digest32& e, ByteView signature) {
  if (signature.size() != kSignature) return CKR_SIGNATURE_LEN_RANGE;
  Signature rs{};
  std::copy(signature.begin(), signature.end(), rs.begin());
  const Outcome o = lib.core(s.slot).verify(op.key->curve, op.key->q, e, rs);
  // Everything here is public: what the core does not decide, software does.
  if (o == Outcome::undecided)
    return ecdsa_verify_in_points(curve_of(op.key->curve), op.key->q, e, rs) ? CKR_OK : CKR_SIGNATURE_INVALID;
  return rv_of(o);
}

}  // namespace

CK_RV sign_init(CK_SESSION_HANDLE handle, CK_MECHANISM* m, CK_OBJECT_HANDLE key) {
  return call_on(handle,
                 [&](Library& lib, Session& s) { return begin(lib, s, s.signing, m, key, CKO_PRIVATE_KEY, CKA_SIGN); });
}

CK_RV sign(CK_SESSION_HANDLE handle, unsigned char* data, CK_ULONG n, unsigned char* out, CK_ULONG* out_n) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    if (!s.signing) return CKR_OPERATION_NOT_INITIALIZED;
    CK_RV rv = CKR_OK;
    if (s.signing->in_parts) {
      rv = CKR_OPERATION_ACTIVE;
    } else if (out_n == nullptr || (data == nullptr && n != 0)) {
      rv = CKR_ARGUMENTS_BAD;
    } else if (asks_for_length(out, out_n, rv)) {
      return rv;
    } else {
      Digest32 e{};
      rv = whole(*s.signing, {data, n}, e);
      if (rv == CKR_OK) rv = make_signature(lib, s, *s.signing, e, out, out_n);
    }
    s.signing.reset();
    return rv;
  });
}

CK_RV sign_update(CK_SESSION_HANDLE handle, unsigned char* part, CK_ULONG n) {
  return call_on(handle, [&](Library&, Session& s) { return update(s.signing, part, n); });
}

CK_RV sign_final(CK_SESSION_HANDLE handle, unsigned char* out, CK_ULONG* out_n) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    if (!s.signing) return CKR_OPERATION_NOT_INITIALIZED;
    CK_RV rv = CKR_OK;
    if (out_n == nullptr) {
      rv = CKR_ARGUMENTS_BAD;
    } else if (!s.signing->digest) {
      rv = CKR_FUNCTION_NOT_SUPPORTED;
    } else if (asks_for_length(out, out_n, rv)) {
      return rv;
    } else {
      rv = make_signature(lib, s, *s.signing, s.signing->digest->finish(), out, out_n);
    }
    s.signing.reset();
    return rv;
  });
}

CK_RV verify_init(CK_SESSION_HANDLE handle, CK_MECHANISM* m, CK_OBJECT_HANDLE key) {
  return call_on(
      handle, [&](Library& lib, Session& s) { return begin(lib, s, s.verifying, m, key, CKO_PUBLIC_KEY, CKA_VERIFY); });
}

CK_RV verify(CK_SESSION_HANDLE handle, unsigned char* data, CK_ULONG n, unsigned char* signature, CK_ULONG length) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    if (!s.verifying) return CKR_OPERATION_NOT_INITIALIZED;
    CK_RV rv = CKR_OK;
    if (s.verifying->in_parts) {
      rv = CKR_OPERATION_ACTIVE;
    } else if ((data == nullptr && n != 0) || (signature == nullptr && length != 0)) {
      rv = CKR_ARGUMENTS_BAD;
    } else {
      Digest32 e{};
      rv = whole(*s.verifying, {data, n}, e);
      if (rv == CKR_OK) rv = judge(lib, s, *s.verifying, e, {signature, length});
    }
    s.verifying.reset();
    return rv;
  });
}

CK_RV verify_update(CK_SESSION_HANDLE handle, unsigned char* part, CK_ULONG n) {
  return call_on(handle, [&](Library&, Session& s) { return update(s.verifying, part, n); });
}

CK_RV verify_final(CK_SESSION_HANDLE handle, unsigned char* signature, CK_ULONG length) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    if (!s.verifying) return CKR_OPERATION_NOT_INITIALIZED;
    CK_RV rv = CKR_OK;
    if (signature == nullptr && length != 0) {
      rv = CKR_ARGUMENTS_BAD;
    } else if (!s.verifying->digest) {
      rv = CKR_FUNCTION_NOT_SUPPORTED;
    } else {
      rv = judge(lib, s, *s.verifying, s.verifying->digest->finish(), {signature, length});
    }
    s.verifying.reset();
    return rv;
  });
}

}  // namespace kf::p11core::api
