#include "hsm/p11/token.hpp"

#include <p11-kit/uri.h>

#include <algorithm>
#include <cctype>
#include <cstring>

namespace kf::p11 {
namespace {

using Uri = std::unique_ptr<P11KitUri, decltype(&p11_kit_uri_free)>;

// By what a token is named in a configuration.
std::string uri_of(std::string_view label) {
  std::string out = "pkcs11:token=";
  for (const char c : label) {
    const auto u = static_cast<std::uint8_t>(c);
    if (std::isalnum(u) != 0 || c == '-' || c == '_' || c == '.') {
      out += c;
    } else {
      out += '%';
      append_hex(out, ByteView(&u, 1));
    }
  }
  return out;
}

std::string uris_of(Module& m, const std::vector<CK_SLOT_ID>& slots) {
  std::string out;
  for (const CK_SLOT_ID id : slots) {
    CK_TOKEN_INFO i{};
    if (m.f().C_GetTokenInfo(id, &i) != CKR_OK || (i.flags & CKF_TOKEN_INITIALIZED) == 0) continue;
    out += (out.empty() ? "" : ", ") + uri_of(padded_text(i.label));
  }
  return out;
}

template <class Match>
Result<std::vector<TokenInfo>> tokens_where(Module& m, Match&& match) {
  KF_TRY(const auto slots, m.slots_with_token());
  std::vector<TokenInfo> found;
  for (const CK_SLOT_ID id : slots) {
    CK_TOKEN_INFO i{};
    if (m.f().C_GetTokenInfo(id, &i) != CKR_OK) continue;  // a broken reader must not hide a good token
    if (match(i)) found.push_back(token_info_of(id, i));
  }
  return found;
}

unsigned char* octets(const SecretBytes& s) { return const_cast<unsigned char*>(s.expose().data()); }

}  // namespace

TokenInfo token_info_of(CK_SLOT_ID slot, const CK_TOKEN_INFO& i) {
  return {slot,
          i.flags,
          padded_text(i.label),
          padded_text(i.manufacturerID),
          padded_text(i.model),
          padded_text(i.serialNumber)};
}

Result<TokenInfo> find_token(Module& m, const std::string& uri_text) {
  const Uri uri(p11_kit_uri_new(), &p11_kit_uri_free);
  if (!uri) return Error{"hsm-token", "out of memory"};
  if (const int rc = p11_kit_uri_parse(uri_text.c_str(), P11_KIT_URI_FOR_TOKEN, uri.get()); rc != P11_KIT_URI_OK) {
    return Error{"hsm-token", "token URI '" + uri_text + "' is malformed (" + p11_kit_uri_message(rc) +
                                  "); expected for example pkcs11:token=NAME"};
  }
  if (p11_kit_uri_get_pin_value(uri.get()) != nullptr) {
    return Error{"hsm-token",
                 "the token URI carries a PIN (pin-value); put the PIN into a file and name it in pin_file"};
  }
  if (p11_kit_uri_any_unrecognized(uri.get()) != 0) {
    return Error{"hsm-token", "token URI '" + uri_text +
                                  "' has an attribute that names no token (token, serial, manufacturer, model)"};
  }
  KF_TRY(auto found, tokens_where(m, [&](CK_TOKEN_INFO& i) {
           return (i.flags & CKF_TOKEN_INITIALIZED) != 0 && p11_kit_uri_match_token_info(uri.get(), &i) != 0;
         }));
  if (found.size() == 1) return std::move(found.front());
  KF_TRY(const auto slots, m.slots_with_token());
  if (found.empty()) {
    const std::string there = uris_of(m, slots);
    return Error{"hsm-token",
                 "no token matches '" + uri_text + "'" +
                     (there.empty() ? ": the module shows no initialised token. Initialise one with your vendor's "
                                      "tools (the private SoftHSM of `keyferry init`: put token/ back from a backup)"
                                    : "; correct the URI to one of those that are there: " + there)};
  }
  return Error{"hsm-token",
               std::to_string(found.size()) + " tokens match '" + uri_text + "'; add serial=... to the URI"};
}

Result<std::unique_ptr<TokenInfo>> find_token_by_label(Module& m, const std::string& label) {
  KF_TRY(auto found, tokens_where(m, [&](const CK_TOKEN_INFO& i) {
           return (i.flags & CKF_TOKEN_INITIALIZED) != 0 && padded_text(i.label) == label;
         }));
  if (found.size() > 1)
    return Error{"hsm-token", std::to_string(found.size()) + " tokens are labelled '" + label + "'"};
  if (found.empty()) return std::unique_ptr<TokenInfo>{};
  return std::make_unique<TokenInfo>(std::move(found.front()));
}

Status Token::login(const SecretBytes& pin, bool read_write) {
  if (const CK_RV rv = open_session(keeper_, read_write); rv != CKR_OK) {
    return rv_error("hsm-token", "C_OpenSession on token '" + info_.label + "'", rv);
  }
  const auto refuse = [&](std::string_view why) {
    return Error{"hsm-pin", "token '" + info_.label + "': " + std::string(why)};
  };
  if ((info_.flags & CKF_USER_PIN_LOCKED) != 0) return refuse("the user PIN is locked; unlock it with the SO PIN");
  if ((info_.flags & CKF_USER_PIN_FINAL_TRY) != 0) {
    return refuse("one more wrong PIN would lock it, so none was tried; log in by hand once, then start again");
  }
  if ((info_.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0 && pin.empty()) {
    const CK_RV rv = module_.f().C_Login(keeper_.handle(), CKU_USER, nullptr, 0);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) return {};
    return rv_error("hsm-pin", "C_Login", rv);
  }
  const CK_RV rv = module_.f().C_Login(keeper_.handle(), CKU_USER, octets(pin), pin.size());
  if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) return {};
  // Only what speaks of the PIN spends tries of it; a sick token may be asked again later.
  switch (rv) {
    case CKR_PIN_INCORRECT:
    case CKR_PIN_INVALID:
    case CKR_PIN_LEN_RANGE:
    case CKR_PIN_EXPIRED:
    case CKR_PIN_LOCKED:
      return rv_error("hsm-pin", "C_Login on token '" + info_.label + "'", rv,
                      "tried once and not again: correct the PIN file, then restart");
    case CKR_USER_PIN_NOT_INITIALIZED:
      return rv_error("hsm-pin", "C_Login on token '" + info_.label + "'", rv,
                      "the token has no user PIN yet: its security officer sets one (pkcs11-tool --login --login-type "
                      "so --init-pin, or the maker's own tool), then restart");
    default:
      return rv_error("hsm-token", "C_Login on token '" + info_.label + "'", rv);
  }
}

Result<bool> initialise_token(Module& m, const std::string& label, const SecretBytes& so_pin,
                              const SecretBytes& user_pin) {
  if (label.empty() || label.size() > 32) return Error{"hsm-token", "a token label has 1 to 32 octets"};
  KF_TRY(auto token, find_token_by_label(m, label));
  const bool create = !token;
  if (create) {
    KF_TRY(const auto free_slots,
           tokens_where(m, [](const CK_TOKEN_INFO& i) { return (i.flags & CKF_TOKEN_INITIALIZED) == 0; }));
    if (free_slots.empty())
      return Error{"hsm-token", "no slot with an uninitialised token is free for '" + label + "'"};
    std::array<unsigned char, 32> padded{};
    padded.fill(' ');
    std::copy(label.begin(), label.end(), padded.begin());
    const CK_RV rv = m.f().C_InitToken(free_slots.front().slot, octets(so_pin), so_pin.size(), padded.data());
    if (rv != CKR_OK) return rv_error("hsm-token", "C_InitToken", rv);
    // SoftHSM gives the new token another slot: find it again by its label.
    KF_TRY(token, find_token_by_label(m, label));
    if (!token) return Error{"hsm-token", "the token '" + label + "' was initialised and cannot be found again"};
  }
  if ((token->flags & CKF_USER_PIN_INITIALIZED) != 0) return create;
  if ((token->flags & (CKF_SO_PIN_LOCKED | CKF_SO_PIN_FINAL_TRY)) != 0) {
    return Error{"hsm-pin", "token '" + label + "': the SO PIN is locked or at its last try; none was tried"};
  }
  Session so;
  if (const CK_RV rv = so.open(m, token->slot, true); rv != CKR_OK) return rv_error("hsm-token", "C_OpenSession", rv);
  if (const CK_RV rv = m.f().C_Login(so.handle(), CKU_SO, octets(so_pin), so_pin.size()); rv != CKR_OK) {
    return rv_error("hsm-pin", "C_Login as security officer of '" + label + "'", rv,
                    "tried once: check the SO PIN file");
  }
  const CK_RV rv = m.f().C_InitPIN(so.handle(), octets(user_pin), user_pin.size());
  m.f().C_Logout(so.handle());
  if (rv != CKR_OK) return rv_error("hsm-pin", "C_InitPIN", rv, "check length and characters of the user PIN");
  return create;
}

}  // namespace kf::p11
