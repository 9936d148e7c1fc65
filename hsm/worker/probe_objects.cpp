// Keys present, sessions, random octets, and the AES mechanisms that records and the data key need.
#include <algorithm>
#include <array>
#include <cstring>

#include "host/crypto/curve.hpp"
#include "hsm/worker/probe_steps.hpp"

namespace kf::hsm::worker {
namespace {

using p11::attr;
using p11::attr_octets;
using p11::kFalse;
using p11::kTrue;
using p11::mutable_octets;
using p11::Object;
using p11::Session;

constexpr std::size_t kMaxKeys = 100;      // listed; all are counted
constexpr std::size_t kMaxSessions = 256;  // asked for by the step

Status open(ProbeContext& x, Session& s) {
  if (const CK_RV rv = x.token->open_session(s, false); rv != CKR_OK)
    return p11::rv_error("hsm-token", "C_OpenSession", rv);
  return {};
}

std::string curve_text(const Bytes& params) {
  for (const Curve c : {Curve::p256, Curve::brainpool_p256r1}) {
    if (std::ranges::equal(params, calls::curve_oid(c))) return std::string(curve_name(c));
  }
  return params.empty() ? "unknown" : "other (" + to_hex(params) + ")";
}

Json key_json(Session& s, CK_OBJECT_HANDLE o, CK_OBJECT_CLASS cls, const char* kind) {
  struct Flag {
    CK_ATTRIBUTE_TYPE type;
    const char* name;
  };
  static constexpr std::array kFlags{Flag{CKA_PRIVATE, "private"},
                                     Flag{CKA_SENSITIVE, "sensitive"},
                                     Flag{CKA_EXTRACTABLE, "extractable"},
                                     Flag{CKA_NEVER_EXTRACTABLE, "never extractable"},
                                     Flag{CKA_SIGN, "sign"},
                                     Flag{CKA_VERIFY, "verify"},
                                     Flag{CKA_DERIVE, "derive"},
                                     Flag{CKA_ENCRYPT, "encrypt"},
                                     Flag{CKA_DECRYPT, "decrypt"},
                                     Flag{CKA_WRAP, "wrap"},
                                     Flag{CKA_UNWRAP, "unwrap"}};
  Bytes label;
  Bytes id;
  Bytes params;
  CK_KEY_TYPE type = CK_UNAVAILABLE_INFORMATION;
  static_cast<void>(s.read(o, CKA_LABEL, label));
  static_cast<void>(s.read(o, CKA_ID, id));
  static_cast<void>(s.read_fixed(o, CKA_KEY_TYPE, type));
  Json j{{"kind", kind}, {"label", clean(std::string(text(label)))}, {"id", to_hex(id)}, {"flags", Json::array()}};
  if (type == CKK_EC) {
    static_cast<void>(s.read(o, CKA_EC_PARAMS, params));
    j["type"] = "EC";
    j["curve"] = curve_text(params);
  } else if (type == CKK_AES) {
    CK_ULONG length = 0;
    j["type"] = "AES";
    if (s.read_fixed(o, CKA_VALUE_LEN, length) == CKR_OK) j["bits"] = length * 8;
  } else {
    j["type"] = "other";
  }
  for (const Flag& f : kFlags) {
    const bool of_secrets = f.type == CKA_SENSITIVE || f.type == CKA_EXTRACTABLE || f.type == CKA_NEVER_EXTRACTABLE;
    if (cls == CKO_PUBLIC_KEY && of_secrets) continue;
    CK_BBOOL v = 0;
    if (s.read_fixed(o, f.type, v) == CKR_OK && v != 0) j["flags"].push_back(f.name);
  }
  return j;
}

constexpr std::size_t kTag = 16;

CK_RV gcm_encrypt(Session& s, CK_OBJECT_HANDLE key, CK_GCM_PARAMS& p, ByteView plain, Bytes& out) {
  CK_MECHANISM m{CKM_AES_GCM, &p, sizeof p};
  if (const CK_RV rv = s.f().C_EncryptInit(s.handle(), &m, key); rv != CKR_OK) return rv;
  out.assign(plain.size() + kTag, 0);
  CK_ULONG n = out.size();
  const CK_RV rv = s.f().C_Encrypt(s.handle(), mutable_octets(plain), plain.size(), out.data(), &n);
  return rv == CKR_OK && n != out.size() ? CKR_GENERAL_ERROR : rv;
}
CK_RV gcm_decrypt(Session& s, CK_OBJECT_HANDLE key, CK_GCM_PARAMS& p, ByteView sealed, Bytes& out) {
  CK_MECHANISM m{CKM_AES_GCM, &p, sizeof p};
  if (const CK_RV rv = s.f().C_DecryptInit(s.handle(), &m, key); rv != CKR_OK) return rv;
  out.assign(sealed.size(), 0);
  CK_ULONG n = out.size();
  const CK_RV rv = s.f().C_Decrypt(s.handle(), mutable_octets(sealed), sealed.size(), out.data(), &n);
  if (rv == CKR_OK) out.resize(std::min<std::size_t>(n, out.size()));
  return rv;
}

// A record as the product seals it: IV of 12 octets, additional data, tag of 16; and one that was altered.
calls::Outcome try_gcm(Session& s, CK_OBJECT_HANDLE key) {
  std::array<std::uint8_t, 12> iv{};
  if (const CK_RV rv = s.f().C_GenerateRandom(s.handle(), iv.data(), iv.size()); rv != CKR_OK)
    return {rv, "C_GenerateRandom"};
  static constexpr std::string_view kAad = "keyferry probe";
  const Bytes plain(100, 0x5A);
  CK_GCM_PARAMS p{};
  p.pIv = iv.data();
  p.ulIvLen = iv.size();
  p.ulIvBits = iv.size() * 8;
  p.pAAD = mutable_octets(view(kAad));
  p.ulAADLen = kAad.size();
  p.ulTagBits = kTag * 8;
  Bytes sealed;
  Bytes opened;
  if (const CK_RV rv = gcm_encrypt(s, key, p, plain, sealed); rv != CKR_OK) return {rv, "C_Encrypt with CKM_AES_GCM"};
  if (const CK_RV rv = gcm_decrypt(s, key, p, sealed, opened); rv != CKR_OK) return {rv, "C_Decrypt with CKM_AES_GCM"};
  if (opened != plain) return {CKR_OK, "C_Decrypt with CKM_AES_GCM", "another text comes back"};
  sealed[3] ^= 1;
  if (gcm_decrypt(s, key, p, sealed, opened) == CKR_OK)
    return {CKR_OK, "C_Decrypt with CKM_AES_GCM", "an altered record is not noticed"};
  return {};
}

// The data key as the product makes it: an extractable AES key, wrapped, unwrapped, its value read.
calls::Outcome try_wrap(Session& s, CK_OBJECT_HANDLE wrap_key, CK_MECHANISM_TYPE type) {
  constexpr CK_ULONG length = 32;
  constexpr CK_OBJECT_CLASS cls = CKO_SECRET_KEY;
  constexpr CK_KEY_TYPE aes = CKK_AES;
  CK_MECHANISM generate{CKM_AES_KEY_GEN, nullptr, 0};
  std::array t{attr(CKA_VALUE_LEN, length), attr(CKA_TOKEN, kFalse), attr(CKA_PRIVATE, kTrue),
               attr(CKA_SENSITIVE, kTrue), attr(CKA_EXTRACTABLE, kTrue)};
  Object key(s);
  if (const CK_RV rv = s.f().C_GenerateKey(s.handle(), &generate, t.data(), t.size(), key.slot()); rv != CKR_OK)
    return {rv, "C_GenerateKey of an extractable key"};
  CK_MECHANISM m{type, nullptr, 0};
  std::array<std::uint8_t, 64> wrapped{};
  CK_ULONG n = wrapped.size();
  if (const CK_RV rv = s.f().C_WrapKey(s.handle(), &m, wrap_key, key.handle(), wrapped.data(), &n); rv != CKR_OK)
    return {rv, "C_WrapKey"};
  if (n != 40) return {CKR_OK, "C_WrapKey", "the wrapped key has not 40 octets"};
  std::array u{attr(CKA_CLASS, cls),     attr(CKA_KEY_TYPE, aes),     attr(CKA_TOKEN, kFalse),
               attr(CKA_PRIVATE, kTrue), attr(CKA_SENSITIVE, kFalse), attr(CKA_EXTRACTABLE, kTrue)};
  Object back(s);
  if (const CK_RV rv = s.f().C_UnwrapKey(s.handle(), &m, wrap_key, wrapped.data(), n, u.data(), u.size(), back.slot());
      rv != CKR_OK)
    return {rv, "C_UnwrapKey"};
  SecretArray<32> value;
  CK_ATTRIBUTE a{CKA_VALUE, value.expose_mut().data(), 32};
  if (const CK_RV rv = s.f().C_GetAttributeValue(s.handle(), back.handle(), &a, 1); rv != CKR_OK)
    return {rv, "C_GetAttributeValue of the unwrapped key"};
  if (a.ulValueLen != 32) return {CKR_OK, "C_GetAttributeValue of the unwrapped key", "not 32 octets"};
  return {};
}

}  // namespace

Result<Json> step_token(ProbeContext& x, const Json&) { return Json{{"slot", x.token->info().slot}}; }

Result<Json> step_keys(ProbeContext& x, const Json&) {
  struct Kind {
    CK_OBJECT_CLASS cls;
    const char* name;
  };
  Session s;
  KF_CHECK(open(x, s));
  Json j{{"keys", Json::array()}, {"count", 0}, {"list", attempt({})}};
  std::size_t count = 0;
  for (const Kind& k :
       {Kind{CKO_PRIVATE_KEY, "private"}, Kind{CKO_PUBLIC_KEY, "public"}, Kind{CKO_SECRET_KEY, "secret"}}) {
    std::array match{attr(CKA_CLASS, k.cls), attr(CKA_TOKEN, kTrue)};
    std::vector<CK_OBJECT_HANDLE> found;
    if (const CK_RV rv = s.find(match, found); rv != CKR_OK) {
      j["list"] = attempt("C_FindObjects", rv);
      break;
    }
    for (const CK_OBJECT_HANDLE o : found) {
      if (++count <= kMaxKeys) j["keys"].push_back(key_json(s, o, k.cls, k.name));
    }
  }
  j["count"] = count;
  return j;
}

// What is still there after everything was destroyed in order, counted before the session closes and takes it along.
Result<Json> step_objects(ProbeContext& x, const Json& a) {
  Session s;
  KF_CHECK(open(x, s));
  std::size_t made = 0;
  for (const Json& name : a.at("curves")) {
    const auto c = curve_by_name(name.get<std::string>());
    Session tried;
    calls::Dialect d;
    if (!c || !calls::learn_ecka(*x.module, x.token->info().slot, *c, tried, d).ok()) continue;
    ++made;
    s = std::move(tried);
  }
  {
    constexpr CK_ULONG length = 32;
    CK_MECHANISM m{CKM_AES_KEY_GEN, nullptr, 0};
    std::array t{attr(CKA_VALUE_LEN, length), attr(CKA_TOKEN, kFalse)};
    Object key(s);
    if (s.f().C_GenerateKey(s.handle(), &m, t.data(), t.size(), key.slot()) == CKR_OK) ++made;
  }
  std::array match{attr(CKA_TOKEN, kFalse)};
  std::vector<CK_OBJECT_HANDLE> found;
  const CK_RV rv = s.find(match, found);
  return Json{{"made", made}, {"list", attempt("C_FindObjects", rv)}, {"count", found.size()}};
}

Result<Json> step_sessions(ProbeContext& x, const Json& a) {
  const auto cap = std::min<std::size_t>(a.at("cap").get<std::size_t>(), kMaxSessions);
  std::vector<Session> open_ones;
  Json j{{"stopped", attempt({})}};
  while (open_ones.size() < cap) {
    Session s;
    if (const CK_RV rv = x.token->open_session(s, false); rv != CKR_OK) {
      j["stopped"] = attempt("C_OpenSession", rv);
      break;
    }
    open_ones.push_back(std::move(s));
  }
  j["opened"] = open_ones.size();
  return j;
}

Result<Json> step_random(ProbeContext& x, const Json&) {
  Session s;
  KF_CHECK(open(x, s));
  std::array<std::uint8_t, 32> one{};
  std::array<std::uint8_t, 32> two{};
  for (auto* out : {&one, &two}) {
    if (const CK_RV rv = s.f().C_GenerateRandom(s.handle(), out->data(), out->size()); rv != CKR_OK)
      return Json{{"random", attempt("C_GenerateRandom", rv)}};
  }
  if (one == two) return Json{{"random", attempt(calls::Outcome{CKR_OK, "C_GenerateRandom", "the same octets twice"})}};
  return Json{{"random", attempt({})}};
}

Result<Json> step_wrap(ProbeContext& x, const Json& a) {
  const auto what = a.at("what").get<std::string>();
  Session s;
  KF_CHECK(open(x, s));
  constexpr CK_ULONG length = 32;
  CK_MECHANISM m{CKM_AES_KEY_GEN, nullptr, 0};
  std::array t{attr(CKA_VALUE_LEN, length), attr(CKA_TOKEN, kFalse),       attr(CKA_PRIVATE, kTrue),
               attr(CKA_SENSITIVE, kTrue),  attr(CKA_EXTRACTABLE, kFalse), attr(CKA_ENCRYPT, kTrue),
               attr(CKA_DECRYPT, kTrue),    attr(CKA_WRAP, kTrue),         attr(CKA_UNWRAP, kTrue)};
  Object key(s);
  CK_RV rv = s.f().C_GenerateKey(s.handle(), &m, t.data(), t.size(), key.slot());
  if (rv == CKR_SESSION_READ_ONLY) {
    if (rv = x.token->open_session(s, true); rv != CKR_OK) return p11::rv_error("hsm-token", "C_OpenSession", rv);
    rv = s.f().C_GenerateKey(s.handle(), &m, t.data(), t.size(), key.slot());
  }
  if (rv != CKR_OK || what == "generate") return Json{{"result", attempt("C_GenerateKey of an AES-256 key", rv)}};
  if (what == "gcm") return Json{{"result", attempt(try_gcm(s, key.handle()))}};
  if (what == "AES_KEY_WRAP") return Json{{"result", attempt(try_wrap(s, key.handle(), CKM_AES_KEY_WRAP))}};
  if (what == "AES_KEY_WRAP_PAD") return Json{{"result", attempt(try_wrap(s, key.handle(), CKM_AES_KEY_WRAP_PAD))}};
  return Error{"hsm-call", "nothing to wrap with is called '" + what + "'"};
}

}  // namespace kf::hsm::worker
