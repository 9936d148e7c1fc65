// Which key is whose: lookup by label at start-up only, the self test, and what the probe prints about keys and token.
#include <algorithm>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "hsm/worker/log.hpp"
#include "hsm/worker/token_ops.hpp"

namespace kf::hsm::worker {
namespace {

using p11::attr;
using p11::attr_octets;

// The handle of the one object of this class and label. Reasons: hsm-key.
Result<CK_OBJECT_HANDLE> only_object(p11::Session& s, CK_OBJECT_CLASS cls, std::string_view kind,
                                     const std::string& label) {
  std::array match{attr(CKA_CLASS, cls), attr_octets(CKA_LABEL, view(label)), attr(CKA_TOKEN, p11::kTrue)};
  std::vector<CK_OBJECT_HANDLE> found;
  if (const CK_RV rv = s.find(match, found); rv != CKR_OK) return p11::rv_error("hsm-key", "C_FindObjects", rv);
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    return Error{"hsm-key",
                 "no " + std::string(kind) + " labelled '" + label + "' in the token; create it with `keyferry init`"};
  }
  return Error{"hsm-key", std::to_string(found.size()) + " objects of kind " + std::string(kind) + " are labelled '" +
                              label + "'; the label must be unique in the token"};
}

}  // namespace

Result<std::unique_ptr<TokenOps>> TokenOps::open(p11::Token& token, const wire::Configuration& c) {
  std::unique_ptr<TokenOps> ops(new TokenOps(token));
  ops->allow_test_import_ = c.allow_test_import;
  ops->wrap_key_label_ = c.wrap_key_label;
  if (const CK_RV rv = token.open_session(ops->session_, false); rv != CKR_OK) {
    return p11::rv_error("hsm-token", "C_OpenSession for work", rv);
  }
  for (const auto& k : c.keys) {
    IdentityKey key;
    key.curve = static_cast<Curve>(k.curve);
    key.label = k.label;
    if (ec_params(key.curve).empty()) return Error{"hsm-key", "key '" + k.label + "': curve not supported in the HSM"};
    KF_CHECK(ops->find_identity_key(key));
    ops->keys_.push_back(std::move(key));
  }
  KF_CHECK(ops->find_wrap_key());
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1}) {
    const bool required =
        std::any_of(ops->keys_.begin(), ops->keys_.end(), [&](const auto& k) { return k.curve == curve; });
    KF_CHECK(ops->self_test(required, curve));
  }
  if (ops->curves_.empty()) return Error{"hsm-token", "the token passed the self test on no curve"};
  return ops;
}

Status TokenOps::find_identity_key(IdentityKey& k) {
  const std::string where = "key '" + k.label + "' (" + std::string(curve_name(k.curve)) + "): ";
  KF_TRY(k.handle, only_object(session_, CKO_PRIVATE_KEY, "private key", k.label));
  KF_TRY(const auto pub, only_object(session_, CKO_PUBLIC_KEY, "public key", k.label));
  Bytes params;
  if (const CK_RV rv = session_.read(k.handle, CKA_EC_PARAMS, params); rv != CKR_OK) {
    return p11::rv_error("hsm-key", where + "C_GetAttributeValue of CKA_EC_PARAMS", rv);
  }
  if (!std::ranges::equal(params, ec_params(k.curve)))
    return Error{"hsm-key", where + "the key in the token is on another curve"};
  Bytes raw;
  if (const CK_RV rv = session_.read(pub, CKA_EC_POINT, raw); rv != CKR_OK) {
    return p11::rv_error("hsm-key", where + "C_GetAttributeValue of CKA_EC_POINT", rv);
  }
  if (!point_from_attribute(raw, k.q) || !check_point(k.curve, k.q)) {
    return Error{"hsm-key", where + "the public key object holds no point of that curve"};
  }
  return {};
}

Status TokenOps::find_wrap_key() {
  if (wrap_key_label_.empty()) return {};
  KF_TRY(wrap_key_, only_object(session_, CKO_SECRET_KEY, "secret key", wrap_key_label_));
  CK_ULONG length = 0;
  CK_KEY_TYPE type = 0;
  if (session_.read_fixed(wrap_key_, CKA_KEY_TYPE, type) != CKR_OK || type != CKK_AES ||
      session_.read_fixed(wrap_key_, CKA_VALUE_LEN, length) != CKR_OK || length != 32) {
    return Error{"hsm-key", "wrap key '" + wrap_key_label_ + "' is not an AES-256 key"};
  }
  return {};
}

bool TokenOps::find_keys_again() noexcept {
  for (IdentityKey& k : keys_) {
    IdentityKey fresh;
    fresh.curve = k.curve;
    fresh.label = k.label;
    // A handle of an earlier generation may point at another key: the same public point is demanded (L10).
    if (!find_identity_key(fresh) || fresh.q != k.q) return false;
    k.handle = fresh.handle;
  }
  return find_wrap_key().ok();
}

// Learns the encodings and shows, against OpenSSL, that the token's arithmetic is what the protocol means.
Status TokenOps::self_test(bool required, Curve c) {
  const std::string where = "self test on " + std::string(curve_name(c)) + ": ";
  const auto give_up = [&](CK_RV rv, const char* call) -> Status {
    if (required) return p11::rv_error("hsm-token", where + call, rv);
    log_line(where + call + " gives " + p11::rv_text(rv) + "; this curve is not served");
    return {};
  };
  const KeyPair peer = generate_key_pair(c);
  Point epk{};
  SecretArray<32> shs;
  const auto try_ecka = [&] { return with_retry([&] { return ephemeral_ecka(c, peer.q, epk, shs.expose_mut()); }); };
  CK_RV rv = try_ecka();
  if (rv != CKR_OK && !encodings_.ecdh_point_der) {
    encodings_.ecdh_point_der = true;
    if (const CK_RV der = try_ecka(); der == CKR_OK) {
      rv = der;
    } else {
      encodings_.ecdh_point_der = false;
    }
  }
  if (rv != CKR_OK) return give_up(rv, "ephemeral key pair and ECDH");
  KF_TRY(const auto expected, ecka(c, peer.d.expose(), epk));
  if (!equal_ct(expected.expose(), shs.expose())) {
    return Error{"hsm-token", where + "the token's ECDH value differs from OpenSSL's (a KDF inside the module?)"};
  }

  const Digest32 hash = sha256(random_bytes(32));
  const Signature own = ecdsa_sign(c, peer.d.expose(), hash);
  const auto try_verify = [&] { return with_retry([&] { return verify(c, peer.q, hash, own); }); };
  rv = try_verify();
  if (rv != CKR_OK && !encodings_.ec_point_raw) {
    encodings_.ec_point_raw = true;
    if (const CK_RV raw = try_verify(); raw == CKR_OK) {
      rv = raw;
    } else {
      encodings_.ec_point_raw = false;
    }
  }
  if (rv != CKR_OK) return give_up(rv, "verification with an imported public key");

  for (const IdentityKey& k : keys_) {
    if (k.curve != c) continue;
    Signature s{};
    rv = with_retry([&] { return sign(k.handle, hash, s); });
    if (rv != CKR_OK) return p11::rv_error("hsm-key", "key '" + k.label + "': C_Sign", rv);
    if (!ecdsa_verify(c, k.q, hash, s)) {
      return Error{"hsm-key",
                   "key '" + k.label + "': its signature does not verify with the public key object of that label"};
    }
  }
  curves_.push_back(c);
  return {};
}

Result<SecretBytes> TokenOps::session_objects() {
  std::array match{attr(CKA_TOKEN, p11::kFalse)};
  std::vector<CK_OBJECT_HANDLE> found;
  if (const CK_RV rv = with_retry([&] { return session_.find(match, found); }); rv != CKR_OK) {
    return p11::rv_error("hsm-token", "C_FindObjects", rv);
  }
  wire::Writer w;
  w.u32(static_cast<std::uint32_t>(found.size()));
  return w.take();
}

Result<SecretBytes> TokenOps::describe() const {
  const auto& t = token_.info();
  std::string curves;
  for (const Curve c : curves_) curves += (curves.empty() ? "" : ", ") + std::string(curve_name(c));
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
  row("peer point of ECDH", encodings_.ecdh_point_der ? "OCTET STRING" : "raw");
  row("EC point of imported keys", encodings_.ec_point_raw ? "raw" : "OCTET STRING");
  row("session", read_write_ ? "read-write" : "read-only");
  row("sessions replaced", std::to_string(sessions_opened_));
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
      if (session_.read_fixed(h, flags[i], v) == CKR_OK && v != 0) bits |= 1U << i;
    }
    // The attempt itself, not the flags' word for it.
    Bytes value;
    if (session_.read(h, CKA_VALUE, value) == CKR_OK && !value.empty()) bits |= 1U << flags.size();
    wipe(value);
    w.field(label);
    w.u32(bits);
  };
  for (const IdentityKey& k : keys_) facts(k.label, k.handle);
  if (wrap_key_ != CK_INVALID_HANDLE) facts(wrap_key_label_, wrap_key_);
  return w.take();
}

}  // namespace kf::hsm::worker
