#include "hsm/worker/token_ops.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "hsm/worker/log.hpp"

namespace kf::hsm::worker {
namespace {

using p11::attr;
using p11::attr_octets;
using p11::kFalse;
using p11::kTrue;
using p11::mutable_octets;
using p11::Object;
using p11::RvClass;

constexpr CK_OBJECT_CLASS kPublicKey = CKO_PUBLIC_KEY;
constexpr CK_OBJECT_CLASS kPrivateKey = CKO_PRIVATE_KEY;
constexpr CK_OBJECT_CLASS kSecretKey = CKO_SECRET_KEY;
constexpr CK_KEY_TYPE kEc = CKK_EC;
constexpr CK_KEY_TYPE kGenericSecret = CKK_GENERIC_SECRET;

using DerPoint = std::array<std::uint8_t, 67>;  // OCTET STRING of a point
DerPoint der_point(ByteView q65) {
  DerPoint d{0x04, 65};
  std::copy(q65.begin(), q65.end(), d.begin() + 2);
  return d;
}

}  // namespace

ByteView ec_params(Curve c) noexcept {
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

bool point_from_attribute(ByteView a, Point& out) noexcept {
  if (a.size() == out.size() + 2 && a[0] == 0x04 && a[1] == out.size()) a = a.subspan(2);
  if (a.size() != out.size() || a[0] != 0x04) return false;
  std::copy(a.begin(), a.end(), out.begin());
  return true;
}

CK_RV TokenOps::sign(CK_OBJECT_HANDLE key, ByteView hash, std::span<std::uint8_t, 64> out) noexcept {
  CK_MECHANISM m{CKM_ECDSA, nullptr, 0};
  if (const CK_RV rv = session().seen(session().f().C_SignInit(session().handle(), &m, key)); rv != CKR_OK) return rv;
  CK_ULONG n = out.size();
  const CK_RV rv =
      session().seen(session().f().C_Sign(session().handle(), mutable_octets(hash), hash.size(), out.data(), &n));
  return rv == CKR_OK && n != out.size() ? CKR_GENERAL_ERROR : rv;
}

CK_RV TokenOps::derive(CK_OBJECT_HANDLE key, ByteView peer65, std::span<std::uint8_t, 32> shs) noexcept {
  const DerPoint der = der_point(peer65);
  CK_ECDH1_DERIVE_PARAMS p{};
  p.kdf = CKD_NULL;
  p.ulPublicDataLen = learnt_.encodings.ecdh_point_der ? der.size() : peer65.size();
  p.pPublicData = mutable_octets(learnt_.encodings.ecdh_point_der ? ByteView(der) : peer65);
  CK_MECHANISM m{CKM_ECDH1_DERIVE, &p, sizeof p};
  constexpr CK_ULONG length = 32;  // some modules demand it
  std::array t{attr(CKA_CLASS, kSecretKey), attr(CKA_KEY_TYPE, kGenericSecret), attr(CKA_TOKEN, kFalse),
               attr(CKA_PRIVATE, kTrue),    attr(CKA_SENSITIVE, kFalse),        attr(CKA_EXTRACTABLE, kTrue),
               attr(CKA_VALUE_LEN, length)};
  const CK_ULONG attributes = learnt_.encodings.value_len ? t.size() : t.size() - 1;
  Object secret(session());
  if (const CK_RV rv =
          session().seen(session().f().C_DeriveKey(session().handle(), &m, key, t.data(), attributes, secret.slot()));
      rv != CKR_OK) {
    return rv;
  }
  CK_ATTRIBUTE value{CKA_VALUE, shs.data(), shs.size()};
  const CK_RV rv = session().seen(session().f().C_GetAttributeValue(session().handle(), secret.handle(), &value, 1));
  if (rv != CKR_OK) return rv;
  if (value.ulValueLen > shs.size()) return CKR_GENERAL_ERROR;
  if (const std::size_t missing = shs.size() - value.ulValueLen; missing != 0) {  // a module that strips leading zeros
    std::memmove(shs.data() + missing, shs.data(), value.ulValueLen);
    std::memset(shs.data(), 0, missing);
  }
  return secret.destroy();
}

CK_RV TokenOps::ephemeral_ecka(Curve c, ByteView peer65, Point& epk, std::span<std::uint8_t, 32> shs) noexcept {
  CK_MECHANISM m{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
  std::array pub_t{attr_octets(CKA_EC_PARAMS, ec_params(c)), attr(CKA_TOKEN, kFalse), attr(CKA_PRIVATE, kFalse)};
  std::array priv_t{attr(CKA_TOKEN, kFalse),       attr(CKA_PRIVATE, kTrue), attr(CKA_SENSITIVE, kTrue),
                    attr(CKA_EXTRACTABLE, kFalse), attr(CKA_DERIVE, kTrue),  attr(CKA_SIGN, kFalse)};
  Object pub(session());
  Object priv(session());
  CK_RV rv = session().seen(session().f().C_GenerateKeyPair(session().handle(), &m, pub_t.data(), pub_t.size(),
                                                            priv_t.data(), priv_t.size(), pub.slot(), priv.slot()));
  if (rv != CKR_OK) return rv;
  std::array<std::uint8_t, 80> raw{};
  CK_ATTRIBUTE point{CKA_EC_POINT, raw.data(), raw.size()};
  rv = session().seen(session().f().C_GetAttributeValue(session().handle(), pub.handle(), &point, 1));
  if (rv != CKR_OK) return rv;
  if (point.ulValueLen > raw.size() || !point_from_attribute(ByteView(raw).first(point.ulValueLen), epk))
    return CKR_GENERAL_ERROR;
  rv = derive(priv.handle(), peer65, shs);
  const CK_RV gone = priv.destroy();
  const CK_RV gone_too = pub.destroy();
  if (rv != CKR_OK) return rv;
  return gone != CKR_OK ? gone : gone_too;  // a private key that cannot be erased must not be reported as erased
}

CK_RV TokenOps::verify(Curve c, const Point& q, ByteView hash, ByteView signature) noexcept {
  const DerPoint der = der_point(q);
  std::array t{attr(CKA_CLASS, kPublicKey),
               attr(CKA_KEY_TYPE, kEc),
               attr(CKA_TOKEN, kFalse),
               attr(CKA_PRIVATE, kFalse),
               attr(CKA_VERIFY, kTrue),
               attr_octets(CKA_EC_PARAMS, ec_params(c)),
               attr_octets(CKA_EC_POINT, learnt_.encodings.ec_point_raw ? ByteView(q) : ByteView(der))};
  Object key(session());
  CK_RV rv = session().seen(session().f().C_CreateObject(session().handle(), t.data(), t.size(), key.slot()));
  if (rv != CKR_OK) return rv;
  CK_MECHANISM m{CKM_ECDSA, nullptr, 0};
  rv = session().seen(session().f().C_VerifyInit(session().handle(), &m, key.handle()));
  if (rv != CKR_OK) return rv;
  rv = session().seen(session().f().C_Verify(session().handle(), mutable_octets(hash), hash.size(),
                                             mutable_octets(signature), signature.size()));
  const CK_RV gone = key.destroy();
  return rv != CKR_OK ? rv : gone;
}

CK_RV TokenOps::sign_identity(IdentityKey& k, ByteView hash, std::span<std::uint8_t, 64> out) noexcept {
  if (k.stamp != lease_.generation()) {
    if (const CK_RV rv = refresh(k); rv != CKR_OK) return rv;
  }
  return sign(k.copy != CK_INVALID_HANDLE ? k.copy : k.handle, hash, out);
}

bool TokenOps::have_session() noexcept {
  if (lease_.session().is_open()) return true;
  using Clock = std::chrono::steady_clock;
  if (Clock::now() < next_try_) return false;
  if (pool_.replace(lease_) == CKR_OK) {
    pause_ = std::chrono::milliseconds(0);
    next_try_ = {};
    return true;
  }
  pause_ = std::clamp(pause_ * 2, std::chrono::milliseconds(20), std::chrono::milliseconds(500));
  next_try_ = Clock::now() + pause_;
  return false;
}

// One line in ten seconds: a dead device must not fill the log (docs/spec/pkcs11.md L11).
void TokenOps::note(CK_RV rv, std::string_view what) noexcept {
  const RvClass cls = p11::rv_class(rv);
  if (cls == RvClass::fatal && !must_exit_) must_exit_ = p11::rv_error("hsm-worker", what, rv);
  using Clock = std::chrono::steady_clock;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  static Clock::time_point next{};
  static std::uint64_t silent = 0;
  if (const auto now = Clock::now(); now >= next) {
    log_line(std::string(what) + ": " + p11::rv_text(rv) + ", class " + std::string(p11::to_string(cls)) +
             (silent == 0 ? "" : "; " + std::to_string(silent) + " more failures since the last line"));
    next = now + std::chrono::seconds(10);
    silent = 0;
  } else {
    ++silent;
  }
}

void TokenOps::judge(CK_RV rv, std::string_view what, wire::DoneEntry& done) noexcept {
  const RvClass cls = p11::rv_class(rv);
  done.rv = static_cast<std::uint32_t>(rv);
  done.fault = static_cast<std::uint8_t>(cls);  // the same order: asserted below
  static_assert(static_cast<int>(wire::Fault::job) == static_cast<int>(RvClass::job) &&
                static_cast<int>(wire::Fault::fatal) == static_cast<int>(RvClass::fatal));
  if (cls == RvClass::ok) {
    done.status = static_cast<std::uint8_t>(EccStatus::ok);
    return;
  }
  wipe(done.shs, sizeof done.shs);
  std::memset(done.signature, 0, sizeof done.signature);
  std::memset(done.epk, 0, sizeof done.epk);
  if (rv == CKR_SIGNATURE_INVALID || rv == CKR_SIGNATURE_LEN_RANGE) {
    done.fault = static_cast<std::uint8_t>(wire::Fault::none);
    done.status = static_cast<std::uint8_t>(EccStatus::bad_signature);
    return;
  }
  done.status = static_cast<std::uint8_t>(EccStatus::failed);
  note(rv, what);
  if (cls == RvClass::device) done.healthy = health() == CKR_OK ? 1 : 0;
}

CK_RV TokenOps::health() noexcept {
  if (keys_.empty()) {
    if (learnt_.curves.empty()) return CKR_OK;
    const KeyPair peer = generate_key_pair(learnt_.curves.front());
    Point epk{};
    SecretArray<32> shs;
    return with_retry([&] { return ephemeral_ecka(learnt_.curves.front(), peer.q, epk, shs.expose_mut()); });
  }
  IdentityKey& k = keys_.front();
  // Signed with the identity key, because the health of another key would prove nothing (docs/spec/pkcs11.md L22); the
  // text says what it is.
  std::array<std::uint8_t, 16> fresh{};
  random_fill(fresh);
  const Bytes text = concat(view("Keyferry keep-alive "), fresh);
  const Digest32 hash = sha256(text);
  Signature s{};
  const CK_RV rv = with_retry([&]() -> CK_RV {
    // The copy would outlive the key itself: is that still there?
    CK_OBJECT_CLASS cls = 0;
    if (k.stamp == lease_.generation()) {
      if (const CK_RV there = session().read_fixed(k.handle, CKA_CLASS, cls); there != CKR_OK) return there;
    }
    return sign_identity(k, hash, s);
  });
  if (rv != CKR_OK) return rv;
  return ecdsa_verify(k.curve, k.q, hash, s) ? CKR_OK : CKR_DEVICE_ERROR;
}

void TokenOps::execute(const wire::JobEntry& job, wire::DoneEntry& done) noexcept {
  done.tag = job.tag;
  done.op = job.op;
  const auto refuse = [&](EccStatus s) { done.status = static_cast<std::uint8_t>(s); };
  const auto curve = static_cast<Curve>(job.curve);
  const auto op = static_cast<EccOp>(job.op);
  if (op == EccOp::sign) {
    const auto key = std::find_if(keys_.begin(), keys_.end(), [&](const IdentityKey& k) { return k.curve == curve; });
    if (key == keys_.end()) return refuse(EccStatus::no_key);
    return judge(with_retry([&] { return sign_identity(*key, job.hash, done.signature); }), "C_Sign", done);
  }
  if (op != EccOp::ephemeral_ecka && op != EccOp::verify) return refuse(EccStatus::bad_input);
  const auto& served = op == EccOp::verify ? learnt_.verify : learnt_.curves;
  if (std::find(served.begin(), served.end(), curve) == served.end()) return refuse(EccStatus::bad_input);
  const auto peer = check_point(curve, job.peer);
  if (!peer) return refuse(EccStatus::bad_input);
  if (op == EccOp::verify)
    return judge(with_retry([&] { return verify(curve, *peer, job.hash, job.signature); }), "C_Verify", done);
  Point epk{};
  const CK_RV rv = with_retry([&] { return ephemeral_ecka(curve, job.peer, epk, done.shs); });
  std::copy(epk.begin(), epk.end(), done.epk);
  judge(rv, "ephemeral key pair and ECDH", done);
}

CK_RV TokenOps::import_scalar(Curve c, ByteView d32, bool for_ecdh, Object& out) noexcept {
  std::array t{attr(CKA_CLASS, kPrivateKey),
               attr(CKA_KEY_TYPE, kEc),
               attr(CKA_TOKEN, kFalse),
               attr(CKA_PRIVATE, kTrue),
               attr(CKA_SENSITIVE, kTrue),
               attr(CKA_EXTRACTABLE, kFalse),
               attr(for_ecdh ? CKA_DERIVE : CKA_SIGN, kTrue),
               attr_octets(CKA_EC_PARAMS, ec_params(c)),
               attr_octets(CKA_VALUE, d32)};
  return session().seen(session().f().C_CreateObject(session().handle(), t.data(), t.size(), out.slot()));
}

// Vector runs: known scalars, public test values, through the same C_ calls as the product's jobs.
Result<SecretBytes> TokenOps::with_imported_scalar(wire::AdminOp op, wire::Reader& args) {
  if (!allow_test_import_) return Error{"hsm-call", "this worker was not started for test vectors"};
  const auto curve = static_cast<Curve>(args.u32());
  if (std::find(learnt_.curves.begin(), learnt_.curves.end(), curve) == learnt_.curves.end())
    return Error{"hsm-call", "curve not served by this token"};
  const auto malformed = [] { return Error{"hsm-call", "malformed arguments"}; };
  if (op == wire::AdminOp::verify_with) {
    Point q{};
    Digest32 hash{};
    Signature signature{};
    if (!args.fixed(q) || !args.fixed(hash) || !args.fixed(signature) || !args.at_end()) return malformed();
    KF_CHECK(check_point(curve, q));
    const CK_RV rv = with_retry([&] { return verify(curve, q, hash, signature); });
    if (rv != CKR_OK && rv != CKR_SIGNATURE_INVALID && rv != CKR_SIGNATURE_LEN_RANGE)
      return p11::rv_error("hsm-token", "C_Verify", rv);
    const std::uint8_t yes = rv == CKR_OK ? 1 : 0;
    return SecretBytes(ByteView(&yes, 1));
  }
  SecretArray<32> d;
  const ByteView scalar = args.field();
  if (scalar.size() != 32) return malformed();
  std::copy(scalar.begin(), scalar.end(), d.expose_mut().begin());
  KF_CHECK(public_of(curve, d.expose()));  // 1 <= d < n
  if (op == wire::AdminOp::sign_with) {
    Digest32 hash{};
    if (!args.fixed(hash) || !args.at_end()) return malformed();
    SecretBytes out(64);
    const CK_RV rv = with_retry([&] {
      Object key(session());
      const CK_RV imported = import_scalar(curve, d.expose(), false, key);
      return imported != CKR_OK ? imported
                                : sign(key.handle(), hash, std::span<std::uint8_t, 64>(out.expose_mut().data(), 64));
    });
    if (rv != CKR_OK) return p11::rv_error("hsm-token", "sign with an imported scalar", rv);
    return out;
  }
  Point peer{};
  if (!args.fixed(peer) || !args.at_end()) return malformed();
  KF_CHECK(check_point(curve, peer));
  SecretBytes out(32);
  const CK_RV rv = with_retry([&] {
    Object key(session());
    const CK_RV imported = import_scalar(curve, d.expose(), true, key);
    return imported != CKR_OK ? imported
                              : derive(key.handle(), peer, std::span<std::uint8_t, 32>(out.expose_mut().data(), 32));
  });
  if (rv != CKR_OK) return p11::rv_error("hsm-token", "ECDH with an imported scalar", rv);
  return out;
}

Result<SecretBytes> TokenOps::admin(wire::AdminOp op, wire::Reader& args) {
  last_rv_ = CKR_OK;
  auto r = admin_call(op, args);
  if (r || last_rv_ == CKR_OK || p11::rv_class(last_rv_) == RvClass::job) return r;
  // SoftHSM, for one, answers a bad ciphertext with CKR_GENERAL_ERROR: is it the call or the token?
  const CK_RV rv = last_rv_;
  if (p11::rv_class(rv) == RvClass::device && health() == CKR_OK) return r;
  note(rv, r.error().text());
  return Error{"hsm-device", r.error().text()};
}

Result<SecretBytes> TokenOps::admin_call(wire::AdminOp op, wire::Reader& args) {
  using wire::AdminOp;
  const auto malformed = [] { return Error{"hsm-call", "malformed arguments"}; };
  switch (op) {
    case AdminOp::new_data_key:
      return new_data_key();
    case AdminOp::session_objects:
      return session_objects();
    case AdminOp::describe:
      return describe();
    case AdminOp::key_facts:
      return key_facts();
    case AdminOp::unwrap_data_key: {
      const ByteView wrapped = args.field();
      return args.at_end() ? unwrap_data_key(wrapped) : malformed();
    }
    case AdminOp::seal_record:
    case AdminOp::open_record: {
      const ByteView aad = args.field();
      const ByteView text = args.field();
      if (!args.at_end()) return malformed();
      return op == AdminOp::seal_record ? seal_record(aad, text) : open_record(aad, text);
    }
    case AdminOp::sign_with:
    case AdminOp::ecka_with:
    case AdminOp::verify_with:
      return with_imported_scalar(op, args);
    case AdminOp::random: {
      const std::uint32_t n = args.u32();
      return args.at_end() ? random_octets(n) : malformed();
    }
    case AdminOp::provision:
    case AdminOp::probe:
    case AdminOp::measure:
      break;
  }
  return Error{"hsm-call",
               "operation " + std::to_string(static_cast<std::uint32_t>(op)) + " is unknown to this worker"};
}

}  // namespace kf::hsm::worker
