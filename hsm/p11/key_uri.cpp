#include "hsm/p11/key_uri.hpp"

#include <p11-kit/uri.h>

#include <memory>

namespace kf::p11 {

Result<KeyName> KeyName::parse(const std::string& text) {
  KeyName k;
  k.text_ = text;
  if (text.rfind("pkcs11:", 0) != 0) {
    if (text.empty()) return Error{"hsm-key", "a key needs a name"};
    k.label_ = text;
    k.by_label_ = true;
    return k;
  }
  const std::unique_ptr<P11KitUri, decltype(&p11_kit_uri_free)> uri(p11_kit_uri_new(), &p11_kit_uri_free);
  if (!uri) return Error{"hsm-key", "out of memory"};
  const auto refuse = [&](const std::string& why) { return Error{"hsm-key", "key URI '" + text + "': " + why}; };
  if (const int rc = p11_kit_uri_parse(text.c_str(), P11_KIT_URI_FOR_ANY, uri.get()); rc != P11_KIT_URI_OK)
    return refuse(std::string("malformed (") + p11_kit_uri_message(rc) +
                  "); expected for example pkcs11:object=NAME;id=%01");
  if (p11_kit_uri_any_unrecognized(uri.get()) != 0) return refuse("unknown attribute; object, id and type name a key");
  if (p11_kit_uri_get_pin_value(uri.get()) != nullptr) return refuse("carries a PIN; name a pin_file instead");
  if (const CK_ATTRIBUTE* a = p11_kit_uri_get_attribute(uri.get(), CKA_LABEL)) {
    k.label_.assign(static_cast<const char*>(a->pValue), a->ulValueLen);
    k.by_label_ = true;
  }
  if (const CK_ATTRIBUTE* a = p11_kit_uri_get_attribute(uri.get(), CKA_ID)) {
    const auto* p = static_cast<const std::uint8_t*>(a->pValue);
    k.id_.assign(p, p + a->ulValueLen);
  }
  if (!k.by_label_ && k.id_.empty()) return refuse("names no key: give object=..., id=..., or both");
  return k;
}

std::vector<CK_ATTRIBUTE> KeyName::match(const CK_OBJECT_CLASS& cls) const {
  std::vector<CK_ATTRIBUTE> t{attr(CKA_CLASS, cls), attr(CKA_TOKEN, kTrue)};
  if (by_label_) t.push_back(attr_octets(CKA_LABEL, view(label_)));
  if (!id_.empty()) t.push_back(attr_octets(CKA_ID, id_));
  return t;
}

}  // namespace kf::p11
