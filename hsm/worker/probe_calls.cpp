#include "hsm/worker/probe_calls.hpp"

#include <algorithm>
#include <cstring>

#include "host/crypto/ec.hpp"
#include "hsm/p11/key_uri.hpp"

namespace kf::hsm::worker::calls {
namespace {

using p11::attr;
using p11::attr_octets;
using p11::kFalse;
using p11::kTrue;
using p11::mutable_octets;
using p11::Object;
using p11::Session;

constexpr CK_OBJECT_CLASS kPublicKey = CKO_PUBLIC_KEY;
constexpr CK_OBJECT_CLASS kPrivateKey = CKO_PRIVATE_KEY;
constexpr CK_OBJECT_CLASS kSecretKey = CKO_SECRET_KEY;
constexpr CK_KEY_TYPE kEc = CKK_EC;
constexpr CK_KEY_TYPE kGenericSecret = CKK_GENERIC_SECRET;

using DerPoint = std::array<std::uint8_t, 67>;  // OCTET STRING of a point
DerPoint der_point(ByteView q65) noexcept {
  DerPoint d{0x04, 65};
  std::copy(q65.begin(), q65.end(), d.begin() + 2);
  return d;
}

}  // namespace

std::string Outcome::text() const {
  if (ok()) return {};
  if (rv == CKR_OK) return std::string(call) + ": " + note;
  return std::string(call) + ": " + p11::rv_text(rv) + (*note != 0 ? std::string(", ") + note : std::string());
}

ByteView curve_oid(Curve c) noexcept {
  static constexpr std::uint8_t p256[] = {0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
  static constexpr std::uint8_t bp256[] = {0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07};
  switch (c) {
    case Curve::p256:
      return p256;
    case Curve::brainpool_p256r1:
      return bp256;
    default:
      return {};
  }
}

bool point_of(ByteView a, Point& out, bool& der) noexcept {
  der = a.size() == out.size() + 2 && a[0] == 0x04 && a[1] == out.size();
  if (der) a = a.subspan(2);
  if (a.size() != out.size() || a[0] != 0x04) return false;
  std::copy(a.begin(), a.end(), out.begin());
  return true;
}

Outcome generate_pair(Session& s, Curve c, Use use, bool plain, Object& pub, Object& priv) noexcept {
  CK_MECHANISM m{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
  const CK_BBOOL may_sign = use == Use::derive ? kFalse : kTrue;
  const CK_BBOOL may_derive = use == Use::sign ? kFalse : kTrue;
  std::array pub_t{attr_octets(CKA_EC_PARAMS, curve_oid(c)), attr(CKA_TOKEN, kFalse), attr(CKA_PRIVATE, kFalse),
                   attr(CKA_VERIFY, kTrue)};
  std::array priv_t{attr(CKA_TOKEN, kFalse),  attr(CKA_SIGN, may_sign),   attr(CKA_DERIVE, may_derive),
                    attr(CKA_PRIVATE, kTrue), attr(CKA_SENSITIVE, kTrue), attr(CKA_EXTRACTABLE, kFalse)};
  // The pair of a download is made with the template of the product: no CKA_VERIFY on its public half.
  const CK_ULONG pub_n = plain || use == Use::derive ? (plain ? 2 : 3) : pub_t.size();
  const CK_ULONG priv_n = plain ? 3 : priv_t.size();
  return {s.f().C_GenerateKeyPair(s.handle(), &m, pub_t.data(), pub_n, priv_t.data(), priv_n, pub.slot(), priv.slot()),
          "C_GenerateKeyPair"};
}

Outcome read_point(Session& s, CK_OBJECT_HANDLE pub, Point& out, bool& der) noexcept {
  std::array<std::uint8_t, 160> raw{};
  CK_ATTRIBUTE a{CKA_EC_POINT, raw.data(), raw.size()};
  const Outcome o{s.f().C_GetAttributeValue(s.handle(), pub, &a, 1), "C_GetAttributeValue of CKA_EC_POINT"};
  if (!o.ok()) return o;
  if (a.ulValueLen > raw.size() || !point_of(ByteView(raw).first(a.ulValueLen), out, der))
    return {CKR_OK, o.call, "not an uncompressed point of 256 bits"};
  return o;
}

Outcome derive(Session& s, const Dialect& d, CK_OBJECT_HANDLE key, ByteView peer65, Object& secret) noexcept {
  const DerPoint der = der_point(peer65);
  const ByteView peer = d.ecdh_point_der ? ByteView(der) : peer65;
  CK_ECDH1_DERIVE_PARAMS p{};
  p.kdf = d.kdf;
  p.ulPublicDataLen = peer.size();
  p.pPublicData = mutable_octets(peer);
  CK_MECHANISM m{CKM_ECDH1_DERIVE, &p, sizeof p};
  constexpr CK_ULONG length = 32;
  std::array t{attr(CKA_CLASS, kSecretKey), attr(CKA_KEY_TYPE, kGenericSecret), attr(CKA_TOKEN, kFalse),
               attr(CKA_PRIVATE, kTrue),    attr(CKA_SENSITIVE, kFalse),        attr(CKA_EXTRACTABLE, kTrue),
               attr(CKA_VALUE_LEN, length)};
  const CK_ULONG n = d.value_len ? t.size() : t.size() - 1;
  return {s.f().C_DeriveKey(s.handle(), &m, key, t.data(), n, secret.slot()), "C_DeriveKey"};
}

Outcome read_secret(Session& s, CK_OBJECT_HANDLE secret, std::span<std::uint8_t, 32> out,
                    std::size_t& length) noexcept {
  CK_ATTRIBUTE a{CKA_VALUE, out.data(), out.size()};
  const Outcome o{s.f().C_GetAttributeValue(s.handle(), secret, &a, 1), "C_GetAttributeValue of the derived value"};
  if (!o.ok()) return o;
  if (a.ulValueLen > out.size()) return {CKR_OK, o.call, "longer than 32 octets"};
  length = a.ulValueLen;
  if (const std::size_t missing = out.size() - length; missing != 0) {
    std::memmove(out.data() + missing, out.data(), length);
    std::memset(out.data(), 0, missing);
  }
  return o;
}

Outcome ecka(Session& s, const Dialect& d, Curve c, ByteView peer65, Point& epk,
             std::span<std::uint8_t, 32> shs) noexcept {
  Object pub(s);
  Object priv(s);
  Object secret(s);
  bool der = false;
  std::size_t length = 0;
  if (const Outcome o = generate_pair(s, c, Use::derive, false, pub, priv); !o.ok()) return o;
  if (const Outcome o = read_point(s, pub.handle(), epk, der); !o.ok()) return o;
  if (const Outcome o = derive(s, d, priv.handle(), peer65, secret); !o.ok()) return o;
  if (const Outcome o = read_secret(s, secret.handle(), shs, length); !o.ok()) return o;
  for (Object* o : {&secret, &priv, &pub}) {
    if (const CK_RV rv = o->destroy(); rv != CKR_OK) return {rv, "C_DestroyObject"};
  }
  return {};
}

Outcome sign(Session& s, CK_OBJECT_HANDLE key, ByteView hash, std::span<std::uint8_t, 64> out) noexcept {
  CK_MECHANISM m{CKM_ECDSA, nullptr, 0};
  if (const CK_RV rv = s.f().C_SignInit(s.handle(), &m, key); rv != CKR_OK) return {rv, "C_SignInit"};
  CK_ULONG n = out.size();
  const CK_RV rv = s.f().C_Sign(s.handle(), mutable_octets(hash), hash.size(), out.data(), &n);
  if (rv == CKR_OK && n != out.size()) return {CKR_OK, "C_Sign", "the signature has not 64 octets"};
  return {rv, "C_Sign"};
}

Outcome import_public(Session& s, const Dialect& d, Curve c, const Point& q, Object& key) noexcept {
  const DerPoint der = der_point(q);
  std::array t{attr(CKA_CLASS, kPublicKey),
               attr(CKA_KEY_TYPE, kEc),
               attr(CKA_TOKEN, kFalse),
               attr(CKA_PRIVATE, kFalse),
               attr(CKA_VERIFY, kTrue),
               attr_octets(CKA_EC_PARAMS, curve_oid(c)),
               attr_octets(CKA_EC_POINT, d.ec_point_raw ? ByteView(q) : ByteView(der))};
  return {s.f().C_CreateObject(s.handle(), t.data(), t.size(), key.slot()), "C_CreateObject of a public key"};
}

Outcome verify(Session& s, CK_OBJECT_HANDLE key, ByteView hash, ByteView signature) noexcept {
  CK_MECHANISM m{CKM_ECDSA, nullptr, 0};
  if (const CK_RV rv = s.f().C_VerifyInit(s.handle(), &m, key); rv != CKR_OK) return {rv, "C_VerifyInit"};
  return {s.f().C_Verify(s.handle(), mutable_octets(hash), hash.size(), mutable_octets(signature), signature.size()),
          "C_Verify"};
}

Outcome verify_with_import(Session& s, const Dialect& d, Curve c, const Point& q, ByteView hash,
                           ByteView signature) noexcept {
  Object key(s);
  if (const Outcome o = import_public(s, d, c, q, key); !o.ok()) return o;
  if (const Outcome o = verify(s, key.handle(), hash, signature); !o.ok()) return o;
  return {key.destroy(), "C_DestroyObject"};
}

Outcome copy_to_session(Session& s, CK_OBJECT_HANDLE key, Object& copy) noexcept {
  std::array t{attr(CKA_TOKEN, kFalse)};
  return {s.f().C_CopyObject(s.handle(), key, t.data(), t.size(), copy.slot()), "C_CopyObject"};
}

Result<CK_OBJECT_HANDLE> find_key(Session& s, CK_OBJECT_CLASS cls, const std::string& name) {
  KF_TRY(const p11::KeyName key, p11::KeyName::parse(name));
  auto match = key.match(cls);
  std::vector<CK_OBJECT_HANDLE> found;
  if (const CK_RV rv = s.find(match, found); rv != CKR_OK) return p11::rv_error("hsm-key", "C_FindObjects", rv);
  if (found.size() == 1) return found.front();
  const char* kind = cls == kPrivateKey ? "private key" : cls == kPublicKey ? "public key" : "secret key";
  return Error{"hsm-key", (found.empty() ? std::string("no ") : std::to_string(found.size()) + " objects of kind ") +
                              kind + " '" + name + "' in the token"};
}

Result<Pair> find_pair(Session& s, const std::string& name) {
  Pair p;
  KF_TRY(p.priv, find_key(s, kPrivateKey, name));
  KF_TRY(const CK_OBJECT_HANDLE pub, find_key(s, kPublicKey, name));
  Bytes params;
  Bytes point;
  if (const CK_RV rv = s.read(p.priv, CKA_EC_PARAMS, params); rv != CKR_OK)
    return p11::rv_error("hsm-key", "key '" + name + "': C_GetAttributeValue of CKA_EC_PARAMS", rv);
  if (const CK_RV rv = s.read(pub, CKA_EC_POINT, point); rv != CKR_OK)
    return p11::rv_error("hsm-key", "key '" + name + "': C_GetAttributeValue of CKA_EC_POINT", rv);
  bool der = false;
  for (const Curve c : {Curve::p256, Curve::brainpool_p256r1}) {
    if (!std::ranges::equal(params, curve_oid(c))) continue;
    p.curve = c;
    if (!point_of(point, p.q, der) || !check_point(c, p.q))
      return Error{"hsm-key", "key '" + name + "': the public key object holds no point of its curve"};
    return p;
  }
  return Error{"hsm-key", "key '" + name + "' is on a curve that Keyferry does not use"};
}

bool objects_need_read_write(p11::Module& m, CK_SLOT_ID slot, Curve c) {
  Session s;
  if (s.open(m, slot, false) != CKR_OK) return false;
  Object pub(s);
  Object priv(s);
  return generate_pair(s, c, Use::sign, false, pub, priv).rv == CKR_SESSION_READ_ONLY;
}

Outcome learn_ecka(p11::Module& m, CK_SLOT_ID slot, Curve c, Session& s, Dialect& d) {
  Outcome last;
  const KeyPair peer = generate_key_pair(c);
  for (const bool read_write : {false, true}) {
    if (const CK_RV rv = s.open(m, slot, read_write); rv != CKR_OK) return {rv, "C_OpenSession"};
    for (const bool value_len : {true, false}) {
      for (const bool der : {false, true}) {
        Dialect candidate = d;
        candidate.read_write = read_write;
        candidate.value_len = value_len;
        candidate.ecdh_point_der = der;
        Point epk{};
        SecretArray<32> shs;
        last = ecka(s, candidate, c, peer.q, epk, shs.expose_mut());
        if (!last.ok()) continue;
        const auto expected = kf::ecka(c, peer.d.expose(), epk);
        if (!expected || !equal_ct(expected->expose(), shs.expose()))
          return {CKR_OK, "C_DeriveKey", "the value differs from OpenSSL's"};
        d = candidate;
        return last;
      }
    }
    if (last.rv != CKR_SESSION_READ_ONLY) break;
  }
  return last;
}

}  // namespace kf::hsm::worker::calls
