// Objects of the token: attributes by template, and what stands behind a private key.
//
// A private key is a slot of a core and serves one purpose, as the core has it: CKA_SIGN, any number of signatures, or
// CKA_DERIVE, one ECDH, by which the core erases it. The object stays after that, with CKA_DERIVE false, until it is
// destroyed. A secret key is 32 octets or fewer in the memory of this process.
// PKCS#11 2.40, 4 (objects), 10.3 (EC). Threading: the library's lock, but for KeySlot::use.
#pragma once

#include <p11-kit/pkcs11.h>

#include <map>
#include <memory>
#include <shared_mutex>
#include <span>

#include "drivers/p11/core_service.hpp"
#include "host/base/secret.hpp"
#include "host/crypto/curve.hpp"

namespace kf::p11core {

// As attributes hold them: objects, since their address is taken.
inline constexpr CK_BBOOL kYes = CK_TRUE, kNo = CK_FALSE;

struct KeySlot {
  CoreKey key;
  bool sign = false;
  std::shared_mutex use;             // shared: signs; alone: derives, erases
  std::atomic<bool> spent{false};    // derived or erased
  std::atomic<unsigned> objects{1};  // that it stands behind: copies share it
};

struct Object {
  CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
  CK_SESSION_HANDLE owner = CK_INVALID_HANDLE;  // the session it dies with; invalid: a token object
  CK_SLOT_ID slot = 0;
  CK_OBJECT_CLASS cls = CKO_DATA;
  bool start_key = false;                         // of the configuration: nobody destroys it
  std::map<CK_ATTRIBUTE_TYPE, Bytes> attributes;  // all that may be read but CKA_VALUE
  SecretBytes value;                              // of a secret key
  ecc::CurveNumber curve = ecc::CurveNumber::p256;
  Point q{};  // of public and private keys
  std::shared_ptr<KeySlot> key;

  [[nodiscard]] bool flag(CK_ATTRIBUTE_TYPE type) const;
  void set_flag(CK_ATTRIBUTE_TYPE type, bool on);
  void set(CK_ATTRIBUTE_TYPE type, CK_ULONG v);
  void set(CK_ATTRIBUTE_TYPE type, ByteView v) { attributes[type].assign(v.begin(), v.end()); }
  // One attribute by the rules of C_GetAttributeValue; the worst code of several is the caller's.
  CK_RV read(CK_ATTRIBUTE& a) const;
  [[nodiscard]] bool matches(std::span<const CK_ATTRIBUTE> t) const;

 private:
  [[nodiscard]] bool hides_value() const { return cls == CKO_SECRET_KEY || cls == CKO_PRIVATE_KEY; }
  [[nodiscard]] bool may_show_value() const;
};

using Template = std::span<const CK_ATTRIBUTE>;

// What a key is for when its template does not say, or says both.
enum class Usage : std::uint8_t {
  refuse,  // both: CKR_TEMPLATE_INCONSISTENT; neither: it signs
  sign,
  derive,
};

// The public and the private half of a pair that is to be generated.
// Codes: those of C_GenerateKeyPair about templates.
CK_RV plan_pair(Template public_template, Template private_template, Usage otherwise, Object& pub, Object& priv);
CK_RV plan_public(Template t, Object& pub);                          // C_CreateObject; the point is checked
CK_RV plan_certificate(Template t, Object& o);                       // C_CreateObject; kept, not looked into
CK_RV plan_copy(const Object& from, Template t, Object& to);         // C_CopyObject; a private key keeps its slot
CK_RV plan_secret(Template t, Object& secret, std::size_t& length);  // C_DeriveKey; length 0: not given
CK_RV change(Template t, Object& o);  // C_SetAttributeValue: CKA_LABEL, CKA_ID, CKA_SUBJECT

// After generation.
void complete_pair(Object& pub, Object& priv, const CoreKey& key, const Point& q);

[[nodiscard]] Curve curve_of(ecc::CurveNumber c);
[[nodiscard]] ByteView oid_of(ecc::CurveNumber c);  // CKA_EC_PARAMS: the named curve
bool point_of(ByteView raw_or_der, Point& out);     // 65 octets, or these in an OCTET STRING; not checked otherwise

}  // namespace kf::p11core
