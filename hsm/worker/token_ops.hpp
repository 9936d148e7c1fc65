// What one thread of a worker does with the token, on a session of its own: jobs, records, facts for people.
// One thread; each thread of a worker has its own TokenOps, its own handles, its own copies of keys.
//
// Jobs: docs/spec/crypto.md 3, 4.6 (plain r||s, x coordinate with its leading zeros). Every session object is destroyed
// on every path. Every point that comes from outside is checked here again before the token sees it.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "host/crypto/engine.hpp"
#include "hsm/p11/key_uri.hpp"
#include "hsm/p11/pool.hpp"
#include "hsm/wire/wire.hpp"

namespace kf::hsm::worker {

struct IdentityKey {
  Curve curve = Curve::p256;
  std::string label;
  p11::KeyName name;
  Point q{};                                    // what the token said at start; a handle found later must belong to it
  CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;  // in the token
  CK_OBJECT_HANDLE copy = CK_INVALID_HANDLE;    // session object in the token, faster where it can be had; else invalid
  std::uint64_t stamp = 0;  // generation of the session under which both were found (docs/spec/pkcs11.md L10)
};

// How this module wants things encoded; learnt by the self test, printed by the probe (docs/spec/pkcs11.md L21).
struct Encodings {
  bool ecdh_point_der = false;  // peer point of ECDH as DER OCTET STRING, else raw 65 octets
  bool value_len = true;        // CKA_VALUE_LEN in the template of the derived key; a few modules refuse it
  bool ec_point_raw = false;    // CKA_EC_POINT of an imported public key raw, else DER OCTET STRING
  bool copy = false;            // C_CopyObject of an identity key into a session object works and signs
};
// Learnt once in a process, then shared by its threads.
struct Learnt {
  Encodings encodings;
  std::vector<Curve> curves;  // on which ECDH passed the self test
  std::vector<Curve> verify;  // on which verification with an imported key did
};

ByteView ec_params(Curve c) noexcept;  // DER of the named curve; empty when the HSM path does not carry the curve
bool point_from_attribute(ByteView attribute, Point& out) noexcept;  // raw, or inside an OCTET STRING

class TokenOps {
 public:
  // A lease, keys by name, self test; with `learnt` the self test is not repeated. Reasons: hsm-token, hsm-key.
  static Result<std::unique_ptr<TokenOps>> open(p11::Token& token, p11::SessionPool& pool, const wire::Configuration& c,
                                                const Learnt* learnt = nullptr);

  // `done` is complete but for its times. Faults of class session and key have been tried again here.
  void execute(const wire::JobEntry& job, wire::DoneEntry& done) noexcept;
  // Reasons: hsm-call (malformed or not allowed), hsm-key, hsm-seal, hsm-open, hsm-unwrap, hsm-token, bad-point,
  // bad-scalar; hsm-device when the token, not the call, is at fault: another worker may do better.
  Result<SecretBytes> admin(wire::AdminOp op, wire::Reader& args);
  // One signature with an identity key, checked (an ECKA where there is none): keep-alive and "is it me or the token?".
  CK_RV health() noexcept;

  [[nodiscard]] const std::vector<IdentityKey>& identity_keys() const noexcept { return keys_; }
  [[nodiscard]] const Learnt& learnt() const noexcept { return learnt_; }
  // Without one every job is answered `busy`. Tries to open one, not more often than every so often.
  bool have_session() noexcept;
  // A CK_RV of class fatal was seen, or a key is gone: only a new process helps.
  [[nodiscard]] const std::optional<Error>& must_exit() const noexcept { return must_exit_; }

 private:
  TokenOps(p11::Token& t, p11::SessionPool& p) : token_(t), pool_(p) {}
  [[nodiscard]] p11::Session& session() noexcept { return lease_.session(); }
  template <class F>
  CK_RV with_retry(F&& f);
  // token_ops.cpp
  CK_RV sign(CK_OBJECT_HANDLE key, ByteView hash, std::span<std::uint8_t, 64> out) noexcept;
  CK_RV sign_identity(IdentityKey& k, ByteView hash, std::span<std::uint8_t, 64> out) noexcept;
  CK_RV derive(CK_OBJECT_HANDLE key, ByteView peer65, std::span<std::uint8_t, 32> shs) noexcept;
  CK_RV ephemeral_ecka(Curve c, ByteView peer65, Point& epk, std::span<std::uint8_t, 32> shs) noexcept;
  CK_RV verify(Curve c, const Point& q, ByteView hash, ByteView signature) noexcept;
  CK_RV import_scalar(Curve c, ByteView d32, bool for_ecdh, p11::Object& out) noexcept;
  void judge(CK_RV rv, std::string_view what, wire::DoneEntry& done) noexcept;
  void note(CK_RV rv, std::string_view what) noexcept;
  Result<SecretBytes> admin_call(wire::AdminOp op, wire::Reader& args);
  Result<SecretBytes> with_imported_scalar(wire::AdminOp op, wire::Reader& args);
  // identity.cpp
  Status find_identity_key(IdentityKey& k);
  Status find_wrap_key();
  Status self_test(bool ecka_required, Curve c);
  CK_RV learn_ecka(Curve c, const Point& peer, Point& epk, std::span<std::uint8_t, 32> shs);
  void try_copies();
  CK_RV copy_key(IdentityKey& k) noexcept;
  CK_RV refresh(IdentityKey& k) noexcept;
  CK_RV refresh_wrap_key() noexcept;
  Result<SecretBytes> key_facts();
  Result<SecretBytes> describe();
  Result<SecretBytes> session_objects();
  Result<SecretBytes> random_octets(std::size_t n);
  // record_ops.cpp
  Result<SecretBytes> new_data_key();
  Result<SecretBytes> unwrap_data_key(ByteView wrapped);
  Result<SecretBytes> seal_record(ByteView aad, ByteView plain);
  Result<SecretBytes> open_record(ByteView aad, ByteView sealed);
  Status need_wrap_key() const;

  p11::Token& token_;
  p11::SessionPool& pool_;
  p11::Lease lease_;
  std::vector<IdentityKey> keys_;
  p11::KeyName wrap_key_name_;
  bool has_wrap_key_ = false;
  CK_OBJECT_HANDLE wrap_key_ = CK_INVALID_HANDLE;
  std::uint64_t wrap_key_stamp_ = 0;
  Learnt learnt_;
  bool allow_test_import_ = false;
  std::optional<Error> must_exit_;
  CK_RV last_rv_ = CKR_OK;  // of the last with_retry()
  std::chrono::steady_clock::time_point next_try_{};
  std::chrono::milliseconds pause_{0};
};

// A session that went bad is replaced; a handle that went stale is looked up once more (docs/spec/pkcs11.md L5, L10).
// `f` looks at the stamps of its keys itself: sign_identity(), refresh_wrap_key().
template <class F>
CK_RV TokenOps::with_retry(F&& f) {
  constexpr int kSessions = 4;
  bool looked_up = false;
  if (!have_session()) return last_rv_ = CKR_SESSION_COUNT;
  for (int sessions = 0;;) {
    last_rv_ = f();
    switch (p11::rv_class(last_rv_)) {
      case p11::RvClass::session:
        if (++sessions >= kSessions) return last_rv_;
        if (last_rv_ == CKR_SESSION_READ_ONLY) pool_.want_read_write();
        lease_.session().close();
        if (!have_session()) return last_rv_ = CKR_SESSION_COUNT;
        break;
      case p11::RvClass::key:
        if (std::exchange(looked_up, true)) return last_rv_;
        for (IdentityKey& k : keys_) k.stamp = 0;
        wrap_key_stamp_ = 0;
        break;
      default:
        return last_rv_;
    }
  }
}

}  // namespace kf::hsm::worker
