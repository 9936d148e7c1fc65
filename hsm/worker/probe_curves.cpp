// Elliptic curves: what the module makes of a key pair, an ECDH, a signature and a copy, checked against OpenSSL.
#include <algorithm>
#include <array>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "host/crypto/symmetric.hpp"
#include "hsm/worker/probe_steps.hpp"

namespace kf::hsm::worker {
namespace {

using calls::Outcome;
using p11::attr;
using p11::Object;
using p11::Session;

Result<Curve> curve_of(const Json& a) {
  const auto name = a.at("curve").get<std::string>();
  const auto c = curve_by_name(name);
  if (!c || calls::curve_oid(*c).empty()) return Error{"hsm-call", "curve '" + name + "' is not used with an HSM"};
  return *c;
}

// Read-only, as the product does it; read-write when the module takes session objects no other way.
Result<bool> open(ProbeContext& x, Session& s, Curve c) {
  const bool read_write = calls::objects_need_read_write(*x.module, x.token->info().slot, c);
  if (const CK_RV rv = x.token->open_session(s, read_write); rv != CKR_OK)
    return p11::rv_error("hsm-token", "C_OpenSession", rv);
  return read_write;
}

struct Kdf {
  std::string_view name;
  CK_ULONG value;
};
constexpr std::array kKdfs{Kdf{"NULL", CKD_NULL},         Kdf{"SHA1", CKD_SHA1_KDF},     Kdf{"SHA224", CKD_SHA224_KDF},
                           Kdf{"SHA256", CKD_SHA256_KDF}, Kdf{"SHA384", CKD_SHA384_KDF}, Kdf{"SHA512", CKD_SHA512_KDF}};

// The key that signs: an identity key by name, or a pair of this session.
struct Signer {
  Object pub, priv;
  CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
  Point q{};
  explicit Signer(Session& s) : pub(s), priv(s) {}
};
Status prepare(Session& s, Curve c, const std::string& name, Signer& k) {
  if (!name.empty()) {
    KF_TRY(const calls::Pair pair, calls::find_pair(s, name));
    if (pair.curve != c) return Error{"hsm-key", "key '" + name + "' is on " + std::string(curve_name(pair.curve))};
    k.key = pair.priv;
    k.q = pair.q;
    return {};
  }
  bool der = false;
  Outcome o = calls::generate_pair(s, c, calls::Use::sign, false, k.pub, k.priv);
  if (o.ok()) o = calls::read_point(s, k.pub.handle(), k.q, der);
  if (!o.ok()) return Error{"hsm-token", o.text()};
  if (!check_point(c, k.q)) return Error{"hsm-token", "C_GenerateKeyPair: the public key is no point of the curve"};
  k.key = k.priv.handle();
  return {};
}

// Several signatures: only one in 256 shows a module that drops leading zeros, but none may be wrong.
Outcome sign_and_check(Session& s, Curve c, CK_OBJECT_HANDLE key, const Point& q) {
  for (int i = 0; i < 8; ++i) {
    const Digest32 hash = sha256(random_bytes(32));
    Signature signature{};
    if (const Outcome o = calls::sign(s, key, hash, signature); !o.ok()) return o;
    if (!ecdsa_verify(c, q, hash, signature))
      return {CKR_OK, "C_Sign", "the signature does not verify with the public key"};
  }
  return {};
}

}  // namespace

Result<Json> step_pair(ProbeContext& x, const Json& a) {
  KF_TRY(const Curve c, curve_of(a));
  Session s;
  KF_TRY(const bool read_write, open(x, s, c));
  Json j{{"read_write", read_write}};
  Object pub(s);
  Object priv(s);
  const Outcome made = calls::generate_pair(s, c, calls::Use::derive, false, pub, priv);
  j["generate"] = attempt(made);
  if (!made.ok()) {  // does it dislike the curve, or the template?
    Object pub2(s);
    Object priv2(s);
    j["plain"] = attempt(calls::generate_pair(s, c, calls::Use::both, true, pub2, priv2));
    return j;
  }
  Point q{};
  bool der = false;
  Outcome read = calls::read_point(s, pub.handle(), q, der);
  if (read.ok() && !check_point(c, q)) read = {CKR_OK, read.call, "not on the curve"};
  j["point"] = attempt(read);
  j["der"] = der;

  const CK_OBJECT_HANDLE handle = priv.handle();
  Outcome gone{priv.destroy(), "C_DestroyObject"};
  if (gone.ok()) {
    CK_OBJECT_CLASS cls = 0;
    if (s.read_fixed(handle, CKA_CLASS, cls) == CKR_OK)
      gone = {CKR_OK, "C_DestroyObject", "the private key is still there afterwards"};
  }
  if (const CK_RV rv = pub.destroy(); gone.ok() && rv != CKR_OK) gone = {rv, "C_DestroyObject"};
  j["destroy"] = attempt(gone);
  return j;
}

Result<Json> step_ecdh(ProbeContext& x, const Json& a) {
  KF_TRY(const Curve c, curve_of(a));
  calls::Dialect d;
  d.ecdh_point_der = a.value("der", false);
  d.value_len = a.value("value_len", true);
  const auto kdf_name = a.value("kdf", std::string("NULL"));
  const auto kdf = std::find_if(kKdfs.begin(), kKdfs.end(), [&](const Kdf& k) { return k.name == kdf_name; });
  if (kdf == kKdfs.end()) return Error{"hsm-call", "no KDF is called '" + kdf_name + "'"};
  d.kdf = kdf->value;

  Session s;
  KF_TRY(d.read_write, open(x, s, c));
  Object pub(s);
  Object priv(s);
  Object secret(s);
  Point epk{};
  bool der = false;
  Outcome o = calls::generate_pair(s, c, calls::Use::derive, false, pub, priv);
  if (o.ok()) o = calls::read_point(s, pub.handle(), epk, der);
  if (!o.ok()) return Json{{"derive", attempt(o)}};
  const KeyPair peer = generate_key_pair(c);
  Point sent = peer.q;
  if (a.value("off_curve", false)) sent.back() ^= 1;
  o = calls::derive(s, d, priv.handle(), sent, secret);
  Json j{{"derive", attempt(o)}};
  if (!o.ok()) return j;
  SecretArray<32> got;
  std::size_t length = 0;
  o = calls::read_secret(s, secret.handle(), got.expose_mut(), length);
  j["read"] = attempt(o);
  if (!o.ok()) return j;
  j["octets"] = length;
  KF_TRY(const auto z, ecka(c, peer.d.expose(), epk));
  if (d.kdf == CKD_NULL) {
    j["matches"] = equal_ct(got.expose(), z.expose());
  } else if (d.kdf == CKD_SHA256_KDF) {
    j["matches"] = equal_ct(got.expose(), x963_kdf(z.expose(), {}, 32).expose());
  }
  j["destroy"] = attempt("C_DestroyObject", secret.destroy());
  return j;
}

Result<Json> step_sign(ProbeContext& x, const Json& a) {
  const auto name = a.value("key", std::string());
  Session s;
  Json j;
  if (!name.empty()) {
    if (const CK_RV rv = x.token->open_session(s, false); rv != CKR_OK)
      return p11::rv_error("hsm-token", "C_OpenSession", rv);
    const auto pair = calls::find_pair(s, name);
    j["key"] = pair ? attempt({}) : refusal(pair.error());
    if (!pair) return j;
    j["curve"] = curve_name(pair->curve);
    j["sign"] = attempt(sign_and_check(s, pair->curve, pair->priv, pair->q));
    return j;
  }
  KF_TRY(const Curve c, curve_of(a));
  KF_CHECK(open(x, s, c));
  Signer k(s);
  if (const Status made = prepare(s, c, name, k); !made) {
    j["sign"] = refusal(made.error());
    return j;
  }
  j["sign"] = attempt(sign_and_check(s, c, k.key, k.q));
  return j;
}

Result<Json> step_verify(ProbeContext& x, const Json& a) {
  KF_TRY(const Curve c, curve_of(a));
  calls::Dialect d;
  d.ec_point_raw = a.value("raw", false);
  Session s;
  KF_TRY(d.read_write, open(x, s, c));
  const KeyPair k = generate_key_pair(c);
  const Digest32 hash = sha256(random_bytes(32));
  Signature signature = ecdsa_sign(c, k.d.expose(), hash);
  Outcome o = calls::verify_with_import(s, d, c, k.q, hash, signature);
  if (o.ok()) {
    signature[40] ^= 1;
    if (calls::verify_with_import(s, d, c, k.q, hash, signature).ok())
      o = {CKR_OK, "C_Verify", "an altered signature is accepted"};
  }
  return Json{{"verify", attempt(o)}};
}

Result<Json> step_copy(ProbeContext& x, const Json& a) {
  const auto name = a.value("key", std::string());
  KF_TRY(const Curve c, curve_of(a));
  Session s;
  KF_CHECK(open(x, s, c));
  Signer k(s);
  if (const Status made = prepare(s, c, name, k); !made) return Json{{"copy", refusal(made.error())}};
  Object copy(s);
  Outcome o = calls::copy_to_session(s, k.key, copy);
  if (o.ok()) o = sign_and_check(s, c, copy.handle(), k.q);
  Json j{{"copy", attempt(o)}};
  if (!o.ok()) return j;
  CK_BBOOL extractable = 0;
  CK_BBOOL sensitive = 1;
  static_cast<void>(s.read_fixed(copy.handle(), CKA_EXTRACTABLE, extractable));
  static_cast<void>(s.read_fixed(copy.handle(), CKA_SENSITIVE, sensitive));
  j["guarded"] = extractable == 0 && sensitive != 0;
  return j;
}

}  // namespace kf::hsm::worker
