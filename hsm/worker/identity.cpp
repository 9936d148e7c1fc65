// Which key is whose: lookup by label at start-up only, the self test, and what the probe prints about keys and token.
#include <algorithm>
#include <array>

#include "host/base/random.hpp"
#include "host/base/text.hpp"
#include "host/crypto/ec.hpp"
#include "hsm/worker/log.hpp"
#include "hsm/worker/token_ops.hpp"

namespace kf::hsm::worker {
namespace {

using p11::attr;
using p11::attr_octets;

// Tells the copies of identity keys, which live as long as their session, from what a job has left behind.
constexpr std::string_view kCopyLabel = "Keyferry work copy";

// What objects of this class there are, for whoever mistyped a name.
std::string labels_of(p11::Session& s, CK_OBJECT_CLASS cls) {
  constexpr std::size_t kShown = 8;
  std::array match{attr(CKA_CLASS, cls)};
  std::vector<CK_OBJECT_HANDLE> all;
  std::string out;
  if (s.find(match, all) != CKR_OK || all.empty()) return "none";
  for (std::size_t i = 0; i < std::min(all.size(), kShown); ++i) {
    Bytes label;
    if (s.read(all[i], CKA_LABEL, label) != CKR_OK) continue;
    out += (out.empty() ? "'" : ", '") + printable(text(label)) + "'";
  }
  return all.size() > kShown ? out + " and " + std::to_string(all.size() - kShown) + " more" : out;
}

// The handle of the one object of this class and name. Reasons: hsm-key; `rv` is the code of a failed call, if any.
Result<CK_OBJECT_HANDLE> only_object(p11::Session& s, CK_OBJECT_CLASS cls, std::string_view kind,
                                     const p11::KeyName& name, CK_FLAGS token, CK_RV& rv) {
  std::vector<CK_ATTRIBUTE> match = name.match(cls);
  std::vector<CK_OBJECT_HANDLE> found;
  rv = s.find(match, found);
  if (rv != CKR_OK) return p11::rv_error("hsm-key", "C_FindObjects", rv);
  if (found.size() == 1) return found.front();
  if (found.empty() && (token & CKF_WRITE_PROTECTED) != 0) {
    return Error{"hsm-key",
                 "no " + std::string(kind) + " named '" + name.text() +
                     "' in the token, which takes none to keep: it is write-protected, as the PKCS#11 module "
                     "of an ECC core is. Identity and wrap keys need another token"};
  }
  if (found.empty())
    return Error{"hsm-key", "no " + std::string(kind) + " named '" + name.text() + "' in the token, which has " +
                                labels_of(s, cls) + ": correct the name, or make the key with your vendor's tools"};
  return Error{"hsm-key", std::to_string(found.size()) + " objects of kind " + std::string(kind) + " are named '" +
                              name.text() + "'; the name must be unique in the token"};
}

}  // namespace

Result<std::unique_ptr<TokenOps>> TokenOps::open(p11::Token& token, p11::SessionPool& pool,
                                                 const wire::Configuration& c, const Learnt* learnt) {
  std::unique_ptr<TokenOps> ops(new TokenOps(token, pool));
  ops->allow_test_import_ = c.allow_test_import;
  if (const CK_RV rv = pool.lease(ops->lease_); rv != CKR_OK)
    return p11::rv_error("hsm-token", "C_OpenSession for work", rv);
  if (!c.wrap_key_label.empty()) {
    KF_TRY(ops->wrap_key_name_, p11::KeyName::parse(c.wrap_key_label));
    ops->has_wrap_key_ = true;
  }
  // A dead session at this moment is replaced like any other.
  const auto looked_up = [&](auto&& find) -> Status {
    Status s;
    ops->with_retry([&] {
      s = find();
      return s.ok() ? CKR_OK : ops->last_rv_;
    });
    return s;
  };
  // Names that the token does not know are told all at once; a token that fails ends it here.
  std::string wrong;
  const auto note = [&](Status s) -> Status {
    if (ops->last_rv_ != CKR_OK || s.error().reason != "hsm-key") return s;
    wrong += (wrong.empty() ? "" : "; ") + s.error().detail;
    return {};
  };
  for (const auto& k : c.keys) {
    IdentityKey key;
    key.curve = static_cast<Curve>(k.curve);
    key.label = k.label;
    KF_TRY(key.name, p11::KeyName::parse(k.label));
    if (ec_params(key.curve).empty()) return Error{"hsm-key", "key '" + k.label + "': curve not supported in the HSM"};
    if (Status s = looked_up([&] { return ops->find_identity_key(key); }); !s) KF_CHECK(note(std::move(s)));
    ops->keys_.push_back(std::move(key));
  }
  if (Status s = looked_up([&] { return ops->find_wrap_key(); }); !s) KF_CHECK(note(std::move(s)));
  if (!wrong.empty()) return Error{"hsm-key", wrong};
  if (learnt != nullptr) {
    ops->learnt_ = *learnt;
    for (IdentityKey& k : ops->keys_) k.stamp = 0;  // copies are made at first use
    return ops;
  }
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1}) {
    const bool required = !c.sign_only && std::any_of(ops->keys_.begin(), ops->keys_.end(),
                                                      [&](const auto& k) { return k.curve == curve; });
    KF_CHECK(ops->self_test(required, curve));
  }
  if (ops->learnt_.curves.empty() && (!c.sign_only || ops->keys_.empty()))
    return Error{"hsm-token", "the token passed the self test on no curve"};
  ops->try_copies();
  return ops;
}

Status TokenOps::find_identity_key(IdentityKey& k) {
  const std::string where = "key '" + k.label + "' (" + std::string(curve_name(k.curve)) + "): ";
  KF_TRY(k.handle, only_object(session(), CKO_PRIVATE_KEY, "private key", k.name, token_.info().flags, last_rv_));
  KF_TRY(const auto pub, only_object(session(), CKO_PUBLIC_KEY, "public key", k.name, token_.info().flags, last_rv_));
  Bytes params;
  last_rv_ = session().read(k.handle, CKA_EC_PARAMS, params);
  if (last_rv_ != CKR_OK) return p11::rv_error("hsm-key", where + "C_GetAttributeValue of CKA_EC_PARAMS", last_rv_);
  if (!std::ranges::equal(params, ec_params(k.curve)))
    return Error{"hsm-key", where + "the key in the token is on another curve"};
  Bytes raw;
  last_rv_ = session().read(pub, CKA_EC_POINT, raw);
  if (last_rv_ != CKR_OK) return p11::rv_error("hsm-key", where + "C_GetAttributeValue of CKA_EC_POINT", last_rv_);
  if (!point_from_attribute(raw, k.q) || !check_point(k.curve, k.q))
    return Error{"hsm-key", where + "the public key object holds no point of that curve"};
  k.copy = CK_INVALID_HANDLE;
  k.stamp = lease_.generation();
  return {};
}

Status TokenOps::find_wrap_key() {
  if (!has_wrap_key_) return {};
  KF_TRY(wrap_key_,
         only_object(session(), CKO_SECRET_KEY, "secret key", wrap_key_name_, token_.info().flags, last_rv_));
  CK_ULONG length = 0;
  CK_KEY_TYPE type = 0;
  last_rv_ = session().read_fixed(wrap_key_, CKA_KEY_TYPE, type);
  if (last_rv_ == CKR_OK) last_rv_ = session().read_fixed(wrap_key_, CKA_VALUE_LEN, length);
  if (last_rv_ != CKR_OK || type != CKK_AES || length != 32)
    return Error{"hsm-key", "wrap key '" + wrap_key_name_.text() + "' is not an AES-256 key"};
  wrap_key_stamp_ = lease_.generation();
  return {};
}

// A handle of an earlier generation may point at another key: it is looked up, and the same public point is demanded
// (docs/spec/pkcs11.md L10).
CK_RV TokenOps::refresh(IdentityKey& k) noexcept {
  IdentityKey fresh = k;
  last_rv_ = CKR_OK;
  const Status found = find_identity_key(fresh);
  if (!found.ok() && last_rv_ != CKR_OK) return last_rv_;
  if (!found.ok() || fresh.q != k.q) {
    must_exit_ = found.ok() ? Error{"hsm-key", "key '" + k.label + "' in the token is another key than at start"}
                            : found.error();
    return CKR_DEVICE_ERROR;  // not this job's fault: another token may still have the key
  }
  // The public object proves nothing about the private handle: one signature does.
  const Digest32 hash = sha256(view("Keyferry key check"));
  Signature s{};
  if (const CK_RV rv = sign(fresh.handle, hash, s); rv != CKR_OK) return rv;
  if (!ecdsa_verify(fresh.curve, k.q, hash, s)) {
    must_exit_ = Error{"hsm-key", "key '" + k.label + "': the token signs with another key than at start"};
    return CKR_DEVICE_ERROR;
  }
  k = std::move(fresh);
  return learnt_.encodings.copy ? copy_key(k) : CKR_OK;
}

CK_RV TokenOps::refresh_wrap_key() noexcept {
  if (wrap_key_stamp_ == lease_.generation()) return CKR_OK;
  last_rv_ = CKR_OK;
  const Status found = find_wrap_key();
  if (found.ok()) return CKR_OK;
  if (last_rv_ != CKR_OK) return last_rv_;
  must_exit_ = found.error();
  return CKR_DEVICE_ERROR;
}

// A session object of the same key: some modules sign faster with it than with the object in the token (SoftHSM: 1.4
// times).
CK_RV TokenOps::copy_key(IdentityKey& k) noexcept {
  std::array t{attr(CKA_TOKEN, p11::kFalse), attr_octets(CKA_LABEL, view(kCopyLabel))};
  const CK_RV rv =
      session().seen(session().f().C_CopyObject(session().handle(), k.handle, t.data(), t.size(), &k.copy));
  if (rv != CKR_OK) k.copy = CK_INVALID_HANDLE;
  return rv;
}

void TokenOps::try_copies() {
  const Digest32 hash = sha256(view("Keyferry copy test"));
  bool good = !keys_.empty();
  for (IdentityKey& k : keys_) {
    Signature s{};
    good = good && copy_key(k) == CKR_OK && sign(k.copy, hash, s) == CKR_OK && ecdsa_verify(k.curve, k.q, hash, s);
  }
  learnt_.encodings.copy = good;
  if (good) return;
  for (IdentityKey& k : keys_) {
    if (k.copy != CK_INVALID_HANDLE) session().seen(session().f().C_DestroyObject(session().handle(), k.copy));
    k.copy = CK_INVALID_HANDLE;
  }
}

// Every way that a module may want its ECDH, until one works (docs/spec/pkcs11.md L21); else the code of the first.
CK_RV TokenOps::learn_ecka(Curve c, const Point& peer, Point& epk, std::span<std::uint8_t, 32> shs) {
  Encodings& e = learnt_.encodings;
  const Encodings before = e;
  CK_RV first = CKR_OK;
  for (const bool value_len : {before.value_len, !before.value_len}) {
    for (const bool der : {before.ecdh_point_der, !before.ecdh_point_der}) {
      e.value_len = value_len;
      e.ecdh_point_der = der;
      const CK_RV rv = with_retry([&] { return ephemeral_ecka(c, peer, epk, shs); });
      if (rv == CKR_OK) return rv;
      if (first == CKR_OK) first = rv;
    }
  }
  e = before;
  return first;
}

// Learns the encodings and shows, against OpenSSL, that the token's arithmetic is what the protocol means.
Status TokenOps::self_test(bool ecka_required, Curve c) {
  const std::string where = "self test on " + std::string(curve_name(c)) + ": ";
  const KeyPair peer = generate_key_pair(c);
  Point epk{};
  SecretArray<32> shs;
  CK_RV rv = learn_ecka(c, peer.q, epk, shs.expose_mut());
  if (rv == CKR_OK) {
    KF_TRY(const auto expected, ecka(c, peer.d.expose(), epk));
    if (!equal_ct(expected.expose(), shs.expose()))
      return Error{"hsm-token", where + "the token's ECDH value differs from OpenSSL's (a KDF inside the module?)"};
    learnt_.curves.push_back(c);
  } else {
    const char* what = "ephemeral key pair and ECDH";
    if (ecka_required) return p11::rv_error("hsm-token", where + what, rv);
    log_line(where + what + " gives " + p11::rv_text(rv) + "; not served on this curve");
  }

  const Digest32 hash = sha256(random_bytes(32));
  const Signature own = ecdsa_sign(c, peer.d.expose(), hash);
  bool& raw = learnt_.encodings.ec_point_raw;
  const auto try_verify = [&] { return with_retry([&] { return verify(c, peer.q, hash, own); }); };
  rv = try_verify();
  if (rv != CKR_OK) {
    raw = !raw;
    if (const CK_RV other = try_verify(); other == CKR_OK) {
      rv = other;
    } else {
      raw = !raw;
    }
  }
  if (rv == CKR_OK) {
    learnt_.verify.push_back(c);
  } else {  // no download needs it: certificates are verified in the server
    log_line(where + "verification with an imported key gives " + p11::rv_text(rv) + "; not served on this curve");
  }

  for (IdentityKey& k : keys_) {
    if (k.curve != c) continue;
    Signature s{};
    rv = with_retry([&] { return sign_identity(k, hash, s); });
    if (rv != CKR_OK) return p11::rv_error("hsm-key", "key '" + k.label + "': C_Sign", rv);
    if (!ecdsa_verify(c, k.q, hash, s)) {
      return Error{"hsm-key",
                   "key '" + k.label + "': its signature does not verify with the public key object of that label"};
    }
  }
  return {};
}

Result<SecretBytes> TokenOps::session_objects() {
  std::array match{attr(CKA_TOKEN, p11::kFalse)};
  std::array copies{attr(CKA_TOKEN, p11::kFalse), attr_octets(CKA_LABEL, view(kCopyLabel))};
  std::vector<CK_OBJECT_HANDLE> found;
  std::vector<CK_OBJECT_HANDLE> ours;
  const CK_RV rv = with_retry([&] {
    const CK_RV r = session().find(match, found);
    return r != CKR_OK ? r : session().find(copies, ours);
  });
  if (rv != CKR_OK) return p11::rv_error("hsm-token", "C_FindObjects", rv);
  wire::Writer w;
  w.u32(static_cast<std::uint32_t>(found.size() - std::min(found.size(), ours.size())));
  return w.take();
}

Result<SecretBytes> TokenOps::random_octets(std::size_t n) {
  if (n == 0 || n > wire::kMaxRecord) return Error{"hsm-call", "1 to 16384 random octets at once"};
  SecretBytes out(n);
  const CK_RV rv = with_retry([&] {
    return session().seen(session().f().C_GenerateRandom(session().handle(), out.expose_mut().data(), out.size()));
  });
  if (rv != CKR_OK) return p11::rv_error("hsm-token", "C_GenerateRandom", rv);
  return out;
}

Result<SecretBytes> TokenOps::describe() {
  const auto& t = token_.info();
  std::string curves;
  for (const Curve c : learnt_.curves) curves += (curves.empty() ? "" : ", ") + std::string(curve_name(c));
  wire::Writer w;
  const auto row = [&](std::string_view name, std::string_view text) {
    w.field(name);
    w.field(text);
  };
  row("module", token_.module().path());
  row("library", token_.module().library());
  row("token", t.label);
  row("serial", t.serial);
  row("manufacturer", t.manufacturer);
  row("model", t.model);
  row("curves", curves);
  row("peer point of ECDH", learnt_.encodings.ecdh_point_der ? "OCTET STRING" : "raw");
  row("CKA_VALUE_LEN of a derived key", learnt_.encodings.value_len ? "given" : "left out");
  row("EC point of imported keys", learnt_.encodings.ec_point_raw ? "raw" : "OCTET STRING");
  row("work copies of keys", learnt_.encodings.copy ? "yes" : "no");
  row("session", pool_.read_write() ? "read-write" : "read-only");
  row("sessions opened", std::to_string(pool_.opened()));
  row("sessions leased", std::to_string(pool_.leased()));
  return w.take();
}

Result<SecretBytes> TokenOps::key_facts() {
  wire::Writer w;
  const auto facts = [&](const std::string& label, CK_OBJECT_HANDLE h) {
    // Order of the flags: hsm::KeyFacts.
    constexpr std::array<CK_ATTRIBUTE_TYPE, 12> flags{CKA_TOKEN,
                                                      CKA_PRIVATE,
                                                      CKA_SENSITIVE,
                                                      CKA_EXTRACTABLE,
                                                      CKA_ALWAYS_SENSITIVE,
                                                      CKA_NEVER_EXTRACTABLE,
                                                      CKA_SIGN,
                                                      CKA_DERIVE,
                                                      CKA_DECRYPT,
                                                      CKA_ENCRYPT,
                                                      CKA_WRAP,
                                                      CKA_UNWRAP};
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < flags.size(); ++i) {
      CK_BBOOL v = 0;
      if (session().read_fixed(h, flags[i], v) == CKR_OK && v != 0) bits |= 1U << i;
    }
    // The attempt itself, not the flags' word for it.
    Bytes value;
    if (session().read(h, CKA_VALUE, value) == CKR_OK && !value.empty()) bits |= 1U << flags.size();
    wipe(value);
    w.field(label);
    w.u32(bits);
  };
  for (const IdentityKey& k : keys_) facts(k.label, k.handle);
  if (has_wrap_key_) facts(wrap_key_name_.text(), wrap_key_);
  return w.take();
}

}  // namespace kf::hsm::worker
