// A token found by its RFC 7512 URI, logged in once, kept logged in by one keeper session.
// docs/spec/pkcs11.md L2, L3, L20.
#pragma once

#include <memory>
#include <string>

#include "hsm/p11/session.hpp"

namespace kf::p11 {

struct TokenInfo {
  CK_SLOT_ID slot = 0;
  CK_FLAGS flags = 0;
  std::string label, manufacturer, model, serial;
};
TokenInfo token_info_of(CK_SLOT_ID slot, const CK_TOKEN_INFO& i);

// The one initialised token that matches the URI. Reasons: hsm-token (none, several, URI malformed, PIN inside the
// URI).
Result<TokenInfo> find_token(Module& m, const std::string& uri);
// By label alone; the value is empty when there is none. Reasons: hsm-token (several).
Result<std::unique_ptr<TokenInfo>> find_token_by_label(Module& m, const std::string& label);

class Token {
 public:
  Token(Module& m, TokenInfo info) : module_(m), info_(std::move(info)) {}
  // Opens the keeper session and logs the user in: at most one C_Login, none when the token has locked the PIN or
  // warns of the last try. A server needs no read-write session. Reasons: hsm-pin, hsm-token.
  Status login(const SecretBytes& pin, bool read_write);
  [[nodiscard]] CK_RV open_session(Session& s, bool read_write) const noexcept {
    return s.open(module_, info_.slot, read_write);
  }
  [[nodiscard]] Session& keeper() noexcept { return keeper_; }
  [[nodiscard]] const TokenInfo& info() const noexcept { return info_; }
  [[nodiscard]] Module& module() const noexcept { return module_; }

 private:
  Module& module_;
  TokenInfo info_;
  Session keeper_;
};

// C_InitToken in a free slot (a token present and not initialised), then C_InitPIN of the user's PIN. When the token of
// that label exists, only a missing user PIN is set. true: created. Reasons: hsm-token, hsm-pin.
Result<bool> initialise_token(Module& m, const std::string& label, const SecretBytes& so_pin,
                              const SecretBytes& user_pin);

}  // namespace kf::p11
