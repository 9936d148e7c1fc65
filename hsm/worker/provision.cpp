#include "hsm/worker/provision.hpp"

#include <cstdlib>

#include "host/base/random.hpp"
#include "hsm/worker/pin.hpp"
#include "hsm/worker/token_ops.hpp"

namespace kf::hsm::worker {
namespace {

using p11::attr;
using p11::attr_octets;
using p11::kFalse;
using p11::kTrue;

Result<std::size_t> count_of(p11::Session& s, CK_OBJECT_CLASS cls, const std::string& label) {
  std::array match{attr(CKA_CLASS, cls), attr_octets(CKA_LABEL, view(label)), attr(CKA_TOKEN, kTrue)};
  std::vector<CK_OBJECT_HANDLE> found;
  if (const CK_RV rv = s.find(match, found); rv != CKR_OK) return p11::rv_error("hsm-key", "C_FindObjects", rv);
  return found.size();
}

Status remove_public(p11::Session& s, const std::string& label) {
  const CK_OBJECT_CLASS cls = CKO_PUBLIC_KEY;
  std::array match{attr(CKA_CLASS, cls), attr_octets(CKA_LABEL, view(label)), attr(CKA_TOKEN, kTrue)};
  std::vector<CK_OBJECT_HANDLE> found;
  if (const CK_RV rv = s.find(match, found); rv != CKR_OK) return p11::rv_error("hsm-key", "C_FindObjects", rv);
  for (const CK_OBJECT_HANDLE h : found)
    if (const CK_RV rv = s.f().C_DestroyObject(s.handle(), h); rv != CKR_OK)
      return p11::rv_error("hsm-key", "C_DestroyObject of the public half of '" + label + "'", rv);
  return {};
}

// A private half alone, or two of one name, is a state to be looked at by a person, not to be papered over.
Result<bool> identity_key(p11::Session& s, Curve curve, const std::string& label) {
  const ByteView params = ec_params(curve);
  if (params.empty()) return Error{"hsm-key", "key '" + label + "': curve not supported in the HSM"};
  if (label.empty()) return Error{"hsm-key", "an identity key needs a label"};
  KF_TRY(const std::size_t privates, count_of(s, CKO_PRIVATE_KEY, label));
  KF_TRY(std::size_t publics, count_of(s, CKO_PUBLIC_KEY, label));
  if (privates == 1 && publics == 1) return false;
  if (privates == 0 && publics == 1) {  // generating was cut off in the middle: what is left has no use for anybody
    KF_CHECK(remove_public(s, label));
    publics = 0;
  }
  if (privates != 0 || publics != 0) {
    return Error{"hsm-key", "key '" + label + "': " + std::to_string(privates) + " private and " +
                                std::to_string(publics) +
                                " public key objects carry this label; expected one pair or nothing"};
  }
  const Bytes id = random_bytes(16);
  CK_MECHANISM m{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
  std::array pub{attr_octets(CKA_EC_PARAMS, params),
                 attr_octets(CKA_LABEL, view(label)),
                 attr_octets(CKA_ID, id),
                 attr(CKA_TOKEN, kTrue),
                 attr(CKA_PRIVATE, kFalse),
                 attr(CKA_VERIFY, kTrue),
                 attr(CKA_ENCRYPT, kFalse),
                 attr(CKA_WRAP, kFalse)};
  std::array priv{attr_octets(CKA_LABEL, view(label)),
                  attr_octets(CKA_ID, id),
                  attr(CKA_TOKEN, kTrue),
                  attr(CKA_PRIVATE, kTrue),
                  attr(CKA_SENSITIVE, kTrue),
                  attr(CKA_EXTRACTABLE, kFalse),
                  attr(CKA_SIGN, kTrue),
                  attr(CKA_DERIVE, kFalse),
                  attr(CKA_DECRYPT, kFalse),
                  attr(CKA_UNWRAP, kFalse)};
  CK_OBJECT_HANDLE hp = 0;
  CK_OBJECT_HANDLE hs = 0;
  if (const CK_RV rv =
          s.f().C_GenerateKeyPair(s.handle(), &m, pub.data(), pub.size(), priv.data(), priv.size(), &hp, &hs);
      rv != CKR_OK) {
    return p11::rv_error("hsm-key", "C_GenerateKeyPair of '" + label + "'", rv);
  }
  return true;
}

Result<bool> wrap_key(p11::Session& s, const std::string& label) {
  KF_TRY(const std::size_t n, count_of(s, CKO_SECRET_KEY, label));
  if (n == 1) return false;
  if (n != 0) return Error{"hsm-key", std::to_string(n) + " secret keys are labelled '" + label + "'"};
  constexpr CK_ULONG length = 32;
  const Bytes id = random_bytes(16);
  CK_MECHANISM m{CKM_AES_KEY_GEN, nullptr, 0};
  std::array t{attr(CKA_VALUE_LEN, length),   attr_octets(CKA_LABEL, view(label)),
               attr_octets(CKA_ID, id),       attr(CKA_TOKEN, kTrue),
               attr(CKA_PRIVATE, kTrue),      attr(CKA_SENSITIVE, kTrue),
               attr(CKA_EXTRACTABLE, kFalse), attr(CKA_ENCRYPT, kTrue),
               attr(CKA_DECRYPT, kTrue),      attr(CKA_WRAP, kTrue),
               attr(CKA_UNWRAP, kTrue),       attr(CKA_SIGN, kFalse)};
  CK_OBJECT_HANDLE h = 0;
  if (const CK_RV rv = s.f().C_GenerateKey(s.handle(), &m, t.data(), t.size(), &h); rv != CKR_OK) {
    return p11::rv_error("hsm-key", "C_GenerateKey of '" + label + "'", rv);
  }
  return true;
}

}  // namespace

Result<SecretBytes> user_pin(const wire::Configuration& c) {
  if (!c.pin_file.empty()) return read_pin_file(c.pin_file, "user PIN");
  if (!c.pin_env.empty()) return take_pin_from_environment(c.pin_env, "user PIN");
  if (!c.pin_credential.empty()) {
    const char* directory = std::getenv("CREDENTIALS_DIRECTORY");
    if (directory == nullptr || *directory == 0) {
      return Error{"hsm-pin",
                   "user PIN: systemd gave no credentials (CREDENTIALS_DIRECTORY is not set); add LoadCredential=" +
                       c.pin_credential + ":FILE to the unit"};
    }
    if (c.pin_credential.find('/') != std::string::npos)
      return Error{"hsm-pin", "user PIN: a credential has a name without '/'"};
    return read_pin_file(std::string(directory) + "/" + c.pin_credential, "user PIN");
  }
  return Error{"hsm-pin", "no PIN source configured: pin_file, pin_env or pin_credential"};
}

Result<SecretBytes> provision(p11::Module& m, const wire::Configuration& c, wire::Reader& args) {
  const std::string so_pin_file = args.string();
  const std::string label = args.string();
  if (!args.at_end()) return Error{"hsm-call", "malformed arguments"};
  KF_TRY(const SecretBytes pin, user_pin(c));
  KF_TRY(const auto before, p11::find_token_by_label(m, label));
  SecretBytes so_pin;  // not asked for where it has done its work: it may be kept elsewhere
  if (!before || (before->flags & CKF_USER_PIN_INITIALIZED) == 0) {
    KF_TRY(so_pin, read_pin_file(so_pin_file, "SO PIN"));
  }
  KF_TRY(const bool created, p11::initialise_token(m, label, so_pin, pin));
  KF_TRY(auto info, p11::find_token_by_label(m, label));
  if (!info) return Error{"hsm-token", "the token '" + label + "' disappeared"};
  if (!c.token_uri.empty()) {  // what the server will look for must be what was just set up
    KF_TRY(const auto by_uri, p11::find_token(m, c.token_uri));
    if (by_uri.serial != info->serial)
      return Error{"hsm-token", "'" + c.token_uri + "' names another token than '" + label + "'"};
  }
  p11::Token token(m, *info);
  KF_CHECK(token.login(pin, true));
  p11::Session s;
  if (const CK_RV rv = token.open_session(s, true); rv != CKR_OK)
    return p11::rv_error("hsm-token", "C_OpenSession", rv);
  std::vector<std::string> made;
  for (const auto& k : c.keys) {
    KF_TRY(const bool fresh, identity_key(s, static_cast<Curve>(k.curve), k.label));
    if (fresh) made.push_back(k.label);
  }
  if (!c.wrap_key_label.empty()) {
    KF_TRY(const bool fresh, wrap_key(s, c.wrap_key_label));
    if (fresh) made.push_back(c.wrap_key_label);
  }
  wire::Writer w;
  w.u32(created ? 1 : 0);
  w.u32(static_cast<std::uint32_t>(made.size()));
  for (const auto& name : made) w.field(name);
  return w.take();
}

}  // namespace kf::hsm::worker
