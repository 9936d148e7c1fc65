// What a worker does with its token: jobs, records, and what the probe wants to know. One thread.
//
// Jobs: sgp02-crypto 3 (plain r||s, x coordinate with its leading zeros), 4.6. Every session object is destroyed on
// every path. Every point that comes from outside is checked here again before the token sees it.
#pragma once

#include <memory>
#include <vector>

#include "host/crypto/engine.hpp"
#include "hsm/p11/token.hpp"
#include "hsm/wire/wire.hpp"

namespace kf::hsm::worker {

struct IdentityKey {
  Curve curve = Curve::p256;
  std::string label;
  CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
  Point q{};
};

// How this module wants things encoded; learnt by the self test, printed by the probe (L21).
struct Encodings {
  bool ecdh_point_der = false;  // peer point of ECDH as DER OCTET STRING, else raw 65 octets
  bool ec_point_raw = false;    // CKA_EC_POINT of an imported public key raw, else DER OCTET STRING
};

ByteView ec_params(Curve c) noexcept;  // DER of the named curve; empty when the HSM path does not carry the curve
bool point_from_attribute(ByteView attribute, Point& out) noexcept;  // raw, or inside an OCTET STRING

class TokenOps {
 public:
  // The work session, keys by label, self test. Reasons: hsm-token, hsm-key.
  static Result<std::unique_ptr<TokenOps>> open(p11::Token& token, const wire::Configuration& c);

  void execute(const wire::JobEntry& job, wire::DoneEntry& done) noexcept;
  // Reasons: hsm-call (malformed or not allowed), hsm-key, hsm-seal, hsm-open, hsm-unwrap, hsm-token, bad-point,
  // bad-scalar.
  Result<SecretBytes> admin(wire::AdminOp op, wire::Reader& args);

  [[nodiscard]] const std::vector<IdentityKey>& identity_keys() const noexcept { return keys_; }
  [[nodiscard]] bool must_exit() const noexcept { return must_exit_; }  // a CK_RV of class fatal was seen

 private:
  explicit TokenOps(p11::Token& t) : token_(t) {}
  template <class F>
  CK_RV with_retry(F&& f);
  // token_ops.cpp
  CK_RV sign(CK_OBJECT_HANDLE key, ByteView hash, std::span<std::uint8_t, 64> out) noexcept;
  CK_RV derive(CK_OBJECT_HANDLE key, ByteView peer65, std::span<std::uint8_t, 32> shs) noexcept;
  CK_RV ephemeral_ecka(Curve c, ByteView peer65, Point& epk, std::span<std::uint8_t, 32> shs) noexcept;
  CK_RV verify(Curve c, const Point& q, ByteView hash, ByteView signature) noexcept;
  CK_RV import_scalar(Curve c, ByteView d32, bool for_ecdh, p11::Object& out) noexcept;
  EccStatus status_of(CK_RV rv, std::string_view what) noexcept;
  Result<SecretBytes> with_imported_scalar(wire::AdminOp op, wire::Reader& args);
  // identity.cpp
  Status find_identity_key(IdentityKey& k);
  Status find_wrap_key();
  Status self_test(bool curve_required, Curve c);
  bool find_keys_again() noexcept;
  Result<SecretBytes> key_facts();
  Result<SecretBytes> describe() const;
  Result<SecretBytes> session_objects();
  // record_ops.cpp
  Result<SecretBytes> new_data_key();
  Result<SecretBytes> unwrap_data_key(ByteView wrapped);
  Result<SecretBytes> seal_record(ByteView aad, ByteView plain);
  Result<SecretBytes> open_record(ByteView aad, ByteView sealed);
  Status need_wrap_key() const;

  p11::Token& token_;
  p11::Session session_;
  std::vector<IdentityKey> keys_;
  std::string wrap_key_label_;
  CK_OBJECT_HANDLE wrap_key_ = CK_INVALID_HANDLE;
  Encodings encodings_;
  std::vector<Curve> curves_;  // that passed the self test
  bool allow_test_import_ = false;
  bool read_write_ = false;  // a module that refuses session objects in a read-only session turns this on
  bool must_exit_ = false;
  std::uint64_t sessions_opened_ = 0;
};

// One retry: a session that went bad is replaced, a handle that went stale is looked up once more (L5, L10).
template <class F>
CK_RV TokenOps::with_retry(F&& f) {
  const CK_RV rv = f();
  switch (p11::rv_class(rv)) {
    case p11::RvClass::session:
      if (rv == CKR_SESSION_READ_ONLY) read_write_ = true;
      if (const CK_RV opened = token_.open_session(session_, read_write_); opened != CKR_OK) return opened;
      ++sessions_opened_;
      return f();
    case p11::RvClass::key:
      return find_keys_again() ? f() : rv;
    default:
      return rv;
  }
}

}  // namespace kf::hsm::worker
