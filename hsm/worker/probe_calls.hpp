// The C_ calls that the probe and the direct measurement are made of: each function is the shortest sequence that does
// its job, and says which call failed and with what. No retries, no checks beyond what the caller must have.
//
// How the module wants things is in Dialect, learnt by trying. One thread at a time per Session.
// docs/spec/crypto.md 3, 4.6.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "host/crypto/curve.hpp"
#include "hsm/p11/session.hpp"

namespace kf::hsm::worker::calls {

struct Dialect {
  bool read_write = false;      // session objects want a read-write session
  bool ecdh_point_der = false;  // peer point of ECDH as DER OCTET STRING, else 65 raw octets
  bool value_len = true;        // CKA_VALUE_LEN in the template of the derived key
  bool ec_point_raw = false;    // CKA_EC_POINT of an imported public key raw, else DER OCTET STRING
  CK_ULONG kdf = CKD_NULL;
};

// Which call failed; `note` says more where the code alone does not.
struct Outcome {
  CK_RV rv = CKR_OK;
  const char* call = "";
  const char* note = "";
  [[nodiscard]] bool ok() const noexcept { return rv == CKR_OK && *note == 0; }
  [[nodiscard]] std::string text() const;  // "C_DeriveKey: CKR_MECHANISM_INVALID"; empty when ok
};

ByteView curve_oid(Curve c) noexcept;  // DER, as CKA_EC_PARAMS; empty when the HSM path does not carry the curve
// From CKA_EC_POINT. `der`: it was inside an OCTET STRING.
bool point_of(ByteView attribute, Point& out, bool& der) noexcept;

enum class Use { sign, derive, both };
// A session pair. `plain` leaves out everything that a module could dislike (CKA_SENSITIVE, CKA_EXTRACTABLE, ...).
Outcome generate_pair(p11::Session& s, Curve c, Use use, bool plain, p11::Object& pub, p11::Object& priv) noexcept;
Outcome read_point(p11::Session& s, CK_OBJECT_HANDLE pub, Point& out, bool& der) noexcept;
// C_DeriveKey, into a session object whose value may be read.
Outcome derive(p11::Session& s, const Dialect& d, CK_OBJECT_HANDLE key, ByteView peer65, p11::Object& secret) noexcept;
// The 32 octets of the derived key; leading zeros that the module strips are put back. `length`: what it gave.
Outcome read_secret(p11::Session& s, CK_OBJECT_HANDLE secret, std::span<std::uint8_t, 32> out,
                    std::size_t& length) noexcept;
// All of it, in the order of a download: pair, point, derive, read, everything destroyed.
Outcome ecka(p11::Session& s, const Dialect& d, Curve c, ByteView peer65, Point& epk,
             std::span<std::uint8_t, 32> shs) noexcept;

Outcome sign(p11::Session& s, CK_OBJECT_HANDLE key, ByteView hash, std::span<std::uint8_t, 64> out) noexcept;
Outcome import_public(p11::Session& s, const Dialect& d, Curve c, const Point& q, p11::Object& key) noexcept;
Outcome verify(p11::Session& s, CK_OBJECT_HANDLE key, ByteView hash, ByteView signature) noexcept;
// Import, verify, destroy.
Outcome verify_with_import(p11::Session& s, const Dialect& d, Curve c, const Point& q, ByteView hash,
                           ByteView signature) noexcept;
Outcome copy_to_session(p11::Session& s, CK_OBJECT_HANDLE key, p11::Object& copy) noexcept;

// The one object of that class: `name` is a CKA_LABEL, or an RFC 7512 URI (pkcs11:object=...;id=%01). Reasons: hsm-key.
Result<CK_OBJECT_HANDLE> find_key(p11::Session& s, CK_OBJECT_CLASS cls, const std::string& name);
// Of an EC key pair; the public half by the same name. Reasons: hsm-key.
struct Pair {
  CK_OBJECT_HANDLE priv = CK_INVALID_HANDLE;
  Curve curve = Curve::p256;
  Point q{};
};
Result<Pair> find_pair(p11::Session& s, const std::string& name);

// A module that takes session objects in read-write sessions only.
bool objects_need_read_write(p11::Module& m, CK_SLOT_ID slot, Curve c);
// Opens a session and learns, against OpenSSL, how ECKA goes on this curve. The outcome of the last attempt when no way
// leads there. The session is open whenever it could be opened at all.
Outcome learn_ecka(p11::Module& m, CK_SLOT_ID slot, Curve c, p11::Session& s, Dialect& d);

}  // namespace kf::hsm::worker::calls
