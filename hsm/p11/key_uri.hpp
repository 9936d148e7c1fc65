// How a configuration names a key: a label, or an RFC 7512 URI with object, id and type.
#pragma once

#include <string>
#include <vector>

#include "hsm/p11/session.hpp"

namespace kf::p11 {

// The search template of one key. Plain text is its CKA_LABEL; "pkcs11:object=NAME;id=%01%02" adds or replaces it by
// CKA_ID. A token's attributes do not belong here: the token has its own URI.
class KeyName {
 public:
  static Result<KeyName> parse(const std::string& text);  // reasons: hsm-key
  // Every object of this class and name that is stored in the token. Valid while *this lives.
  [[nodiscard]] std::vector<CK_ATTRIBUTE> match(const CK_OBJECT_CLASS& cls) const;
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_, label_;
  Bytes id_;
  bool by_label_ = false;
};

}  // namespace kf::p11
