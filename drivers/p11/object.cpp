#include "drivers/p11/object.hpp"

#include <algorithm>
#include <cstring>

#include "host/crypto/ec.hpp"

namespace kf::p11core {
namespace {

constexpr std::size_t kLongestText = 1024;          // label, id, subject
constexpr std::size_t kLongestCertificate = 65536;  // CKA_VALUE of one

// What a template may say about an attribute.
enum class Rule : std::uint8_t {
  flag,       // either value; kept
  must_be,    // a flag of this value
  text,       // any octets
  date,       // empty or 8 octets
  number,     // exactly this CK_ULONG
  read_only,  // only the token sets it
  special,    // looked at by the caller
};
struct Row {
  CK_ATTRIBUTE_TYPE type;
  Rule rule;
  CK_ULONG value = 0;  // of must_be and number; of flag: the default
  bool kept = true;    // part of the object
};

constexpr std::array kCommon{
    Row{CKA_TOKEN, Rule::flag, kNo},     Row{CKA_MODIFIABLE, Rule::flag, kYes},
    Row{CKA_LABEL, Rule::text},          Row{CKA_ID, Rule::text},
    Row{CKA_START_DATE, Rule::date},     Row{CKA_END_DATE, Rule::date},
    Row{CKA_COPYABLE, Rule::flag, kYes}, Row{CKA_DESTROYABLE, Rule::must_be, kYes},
    Row{CKA_LOCAL, Rule::read_only},     Row{CKA_KEY_GEN_MECHANISM, Rule::read_only},
};
constexpr std::array kPublic{
    Row{CKA_CLASS, Rule::number, CKO_PUBLIC_KEY},
    Row{CKA_KEY_TYPE, Rule::number, CKK_EC},
    Row{CKA_PRIVATE, Rule::flag, kNo},
    Row{CKA_SUBJECT, Rule::text},
    Row{CKA_VERIFY, Rule::flag, kYes},
    Row{CKA_DERIVE, Rule::flag, kNo},
    Row{CKA_ENCRYPT, Rule::must_be, kNo},
    Row{CKA_VERIFY_RECOVER, Rule::must_be, kNo},
    Row{CKA_WRAP, Rule::must_be, kNo},
    Row{CKA_TRUSTED, Rule::must_be, kNo},
    Row{CKA_EC_PARAMS, Rule::special},
    Row{CKA_EC_POINT, Rule::special},
    Row{CKA_PUBLIC_KEY_INFO, Rule::text},
};
constexpr std::array kPrivate{
    Row{CKA_CLASS, Rule::number, CKO_PRIVATE_KEY},
    Row{CKA_KEY_TYPE, Rule::number, CKK_EC},
    Row{CKA_PRIVATE, Rule::flag, kYes},
    Row{CKA_SUBJECT, Rule::text},
    Row{CKA_SENSITIVE, Rule::must_be, kYes},
    Row{CKA_EXTRACTABLE, Rule::must_be, kNo},
    Row{CKA_SIGN, Rule::flag, kNo},
    Row{CKA_DERIVE, Rule::flag, kNo},
    Row{CKA_DECRYPT, Rule::must_be, kNo},
    Row{CKA_SIGN_RECOVER, Rule::must_be, kNo},
    Row{CKA_UNWRAP, Rule::must_be, kNo},
    Row{CKA_WRAP_WITH_TRUSTED, Rule::must_be, kNo},
    Row{CKA_ALWAYS_AUTHENTICATE, Rule::must_be, kNo},
    Row{CKA_EC_PARAMS, Rule::special},
    Row{CKA_PUBLIC_KEY_INFO, Rule::text},
    Row{CKA_ALWAYS_SENSITIVE, Rule::read_only},
    Row{CKA_NEVER_EXTRACTABLE, Rule::read_only},
    Row{CKA_VALUE, Rule::read_only},
};
constexpr std::array kSecret{
    Row{CKA_CLASS, Rule::number, CKO_SECRET_KEY},
    Row{CKA_KEY_TYPE, Rule::number, CKK_GENERIC_SECRET},
    Row{CKA_PRIVATE, Rule::flag, kYes},
    Row{CKA_SENSITIVE, Rule::flag, kYes},
    Row{CKA_EXTRACTABLE, Rule::flag, kNo},
    Row{CKA_ENCRYPT, Rule::flag, kNo},
    Row{CKA_DECRYPT, Rule::flag, kNo},
    Row{CKA_SIGN, Rule::flag, kNo},
    Row{CKA_VERIFY, Rule::flag, kNo},
    Row{CKA_WRAP, Rule::flag, kNo},
    Row{CKA_UNWRAP, Rule::flag, kNo},
    Row{CKA_DERIVE, Rule::flag, kNo},
    Row{CKA_TRUSTED, Rule::must_be, kNo},
    Row{CKA_WRAP_WITH_TRUSTED, Rule::must_be, kNo},
    Row{CKA_ALWAYS_SENSITIVE, Rule::read_only},
    Row{CKA_NEVER_EXTRACTABLE, Rule::read_only},
    Row{CKA_VALUE, Rule::read_only},
    Row{CKA_VALUE_LEN, Rule::special},
};

constexpr std::array kCertificate{
    Row{CKA_CLASS, Rule::number, CKO_CERTIFICATE},
    Row{CKA_CERTIFICATE_TYPE, Rule::number, CKC_X_509},
    Row{CKA_PRIVATE, Rule::flag, kNo},
    Row{CKA_TRUSTED, Rule::must_be, kNo},
    Row{CKA_CERTIFICATE_CATEGORY, Rule::number, 0},
    Row{CKA_SUBJECT, Rule::text},
    Row{CKA_ISSUER, Rule::text},
    Row{CKA_SERIAL_NUMBER, Rule::text},
    Row{CKA_CHECK_VALUE, Rule::text},
    Row{CKA_VALUE, Rule::special},
};

constexpr std::uint8_t kOidP256[] = {0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
constexpr std::uint8_t kOidBrainpool[] = {0x06, 0x09, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07};

ByteView octets(const CK_ATTRIBUTE& a) { return {static_cast<const std::uint8_t*>(a.pValue), a.ulValueLen}; }

CK_RV number_of(const CK_ATTRIBUTE& a, CK_ULONG& v) {
  if (a.ulValueLen != sizeof v) return CKR_ATTRIBUTE_VALUE_INVALID;
  std::memcpy(&v, a.pValue, sizeof v);
  return CKR_OK;
}
CK_RV flag_of(const CK_ATTRIBUTE& a, bool& v) {
  if (a.ulValueLen != sizeof(CK_BBOOL)) return CKR_ATTRIBUTE_VALUE_INVALID;
  const std::uint8_t b = octets(a)[0];
  if (b > 1) return CKR_ATTRIBUTE_VALUE_INVALID;
  v = b == 1;
  return CKR_OK;
}

CK_RV curve_from(const CK_ATTRIBUTE& a, ecc::CurveNumber& out) {
  for (const auto c : {ecc::CurveNumber::p256, ecc::CurveNumber::brainpoolp256r1}) {
    if (std::ranges::equal(octets(a), oid_of(c))) {
      out = c;
      return CKR_OK;
    }
  }
  // Another named curve; anything else would be parameters in full, or nonsense.
  const ByteView v = octets(a);
  return v.size() > 2 && v[0] == 0x06 && v[1] == v.size() - 2 ? CKR_CURVE_NOT_SUPPORTED : CKR_DOMAIN_PARAMS_INVALID;
}

// Attributes of the template into the object, by the rows; `special` ones are given to the caller.
template <std::size_t N, class Special>
CK_RV plan(Template t, const std::array<Row, N>& rows, Object& o, Special&& special) {
  const auto row_of = [&](CK_ATTRIBUTE_TYPE type) -> const Row* {
    for (const Row& r : rows)
      if (r.type == type) return &r;
    for (const Row& r : kCommon)
      if (r.type == type) return &r;
    return nullptr;
  };
  const auto defaults = [&](const Row& r) {
    if (r.rule == Rule::flag || r.rule == Rule::must_be) o.set_flag(r.type, r.value != 0);
    if (r.rule == Rule::number) o.set(r.type, r.value);
    if (r.rule == Rule::text || r.rule == Rule::date) o.set(r.type, ByteView{});
  };
  std::for_each(kCommon.begin(), kCommon.end(), defaults);
  std::for_each(rows.begin(), rows.end(), defaults);
  for (std::size_t i = 0; i < t.size(); ++i) {
    const CK_ATTRIBUTE& a = t[i];
    if (a.pValue == nullptr && a.ulValueLen != 0) return CKR_ATTRIBUTE_VALUE_INVALID;
    for (std::size_t k = 0; k < i; ++k)
      if (t[k].type == a.type) return CKR_TEMPLATE_INCONSISTENT;
    const Row* r = row_of(a.type);
    if (r == nullptr) return CKR_ATTRIBUTE_TYPE_INVALID;
    bool on = false;
    CK_ULONG n = 0;
    CK_RV rv = CKR_OK;
    switch (r->rule) {
      case Rule::flag:
      case Rule::must_be:
        rv = flag_of(a, on);
        if (rv == CKR_OK && r->rule == Rule::must_be && on != (r->value != 0)) rv = CKR_TEMPLATE_INCONSISTENT;
        if (rv == CKR_OK) o.set_flag(a.type, on);
        break;
      case Rule::number:
        rv = number_of(a, n);
        if (rv == CKR_OK && n != r->value) rv = CKR_TEMPLATE_INCONSISTENT;
        break;
      case Rule::text:
        if (a.ulValueLen > kLongestText) return CKR_ATTRIBUTE_VALUE_INVALID;
        o.set(a.type, octets(a));
        break;
      case Rule::date:
        if (a.ulValueLen != 0 && a.ulValueLen != sizeof(CK_DATE)) return CKR_ATTRIBUTE_VALUE_INVALID;
        o.set(a.type, octets(a));
        break;
      case Rule::read_only:
        rv = CKR_ATTRIBUTE_READ_ONLY;
        break;
      case Rule::special:
        rv = special(a);
        break;
    }
    if (rv != CKR_OK) return rv;
  }
  return CKR_OK;
}

bool has(Template t, CK_ATTRIBUTE_TYPE type) {
  return std::any_of(t.begin(), t.end(), [type](const CK_ATTRIBUTE& a) { return a.type == type; });
}

// A slot of the core serves one of the two.
CK_RV settle_usage(Template t, Usage otherwise, Object& priv) {
  const bool sign = priv.flag(CKA_SIGN);
  const bool derive = priv.flag(CKA_DERIVE);
  if (sign != derive) return CKR_OK;
  if (sign && otherwise == Usage::refuse) return CKR_TEMPLATE_INCONSISTENT;
  bool signs = otherwise != Usage::derive;
  if (!sign) {  // one that the template excludes is not meant
    const bool no_sign = has(t, CKA_SIGN);
    const bool no_derive = has(t, CKA_DERIVE);
    if (no_sign && no_derive) return CKR_TEMPLATE_INCONSISTENT;
    if (no_sign || no_derive) signs = no_derive;
  }
  priv.set_flag(CKA_SIGN, signs);
  priv.set_flag(CKA_DERIVE, !signs);
  return CKR_OK;
}

void keep_point(Object& pub) {
  Bytes der{0x04, 65};
  der.insert(der.end(), pub.q.begin(), pub.q.end());
  pub.set(CKA_EC_POINT, der);
}

}  // namespace

Curve curve_of(ecc::CurveNumber c) { return c == ecc::CurveNumber::p256 ? Curve::p256 : Curve::brainpool_p256r1; }

ByteView oid_of(ecc::CurveNumber c) {
  return c == ecc::CurveNumber::p256 ? ByteView(kOidP256) : ByteView(kOidBrainpool);
}

bool point_of(ByteView v, Point& out) {
  if (v.size() == out.size() + 2 && v[0] == 0x04 && v[1] == out.size()) v = v.subspan(2);
  if (v.size() != out.size() || v[0] != 0x04) return false;
  std::copy(v.begin(), v.end(), out.begin());
  return true;
}

bool Object::flag(CK_ATTRIBUTE_TYPE type) const {
  const auto it = attributes.find(type);
  return it != attributes.end() && it->second.size() == 1 && it->second[0] == CK_TRUE;
}
void Object::set_flag(CK_ATTRIBUTE_TYPE type, bool on) { attributes[type].assign(1, on ? CK_TRUE : CK_FALSE); }
void Object::set(CK_ATTRIBUTE_TYPE type, CK_ULONG v) {
  Bytes& b = attributes[type];
  b.resize(sizeof v);
  std::memcpy(b.data(), &v, sizeof v);
}

bool Object::may_show_value() const { return cls == CKO_SECRET_KEY && !flag(CKA_SENSITIVE) && flag(CKA_EXTRACTABLE); }

CK_RV Object::read(CK_ATTRIBUTE& a) const {
  ByteView v;
  bool spent_derive = false;
  const std::uint8_t no = CK_FALSE;
  if (a.type == CKA_VALUE && hides_value()) {
    if (!may_show_value()) {
      a.ulValueLen = CK_UNAVAILABLE_INFORMATION;
      return CKR_ATTRIBUTE_SENSITIVE;
    }
    v = value.expose();
  } else if (const auto it = attributes.find(a.type); it != attributes.end()) {
    v = it->second;
    spent_derive = a.type == CKA_DERIVE && key && key->spent;
  } else {
    a.ulValueLen = CK_UNAVAILABLE_INFORMATION;
    return CKR_ATTRIBUTE_TYPE_INVALID;
  }
  if (spent_derive) v = {&no, 1};
  if (a.pValue == nullptr) {
    a.ulValueLen = v.size();
    return CKR_OK;
  }
  if (a.ulValueLen < v.size()) {
    a.ulValueLen = CK_UNAVAILABLE_INFORMATION;
    return CKR_BUFFER_TOO_SMALL;
  }
  if (!v.empty()) std::memcpy(a.pValue, v.data(), v.size());
  a.ulValueLen = v.size();
  return CKR_OK;
}

bool Object::matches(Template t) const {
  return std::all_of(t.begin(), t.end(), [this](const CK_ATTRIBUTE& a) {
    if (a.type == CKA_VALUE && hides_value()) return may_show_value() && equal_ct(octets(a), value.expose());
    const auto it = attributes.find(a.type);
    if (it == attributes.end()) return false;
    if (a.type == CKA_DERIVE && key && key->spent) return a.ulValueLen == 1 && octets(a)[0] == CK_FALSE;
    return std::ranges::equal(octets(a), it->second);
  });
}

CK_RV plan_pair(Template public_template, Template private_template, Usage otherwise, Object& pub, Object& priv) {
  bool has_curve = false;
  pub.cls = CKO_PUBLIC_KEY;
  priv.cls = CKO_PRIVATE_KEY;
  CK_RV rv = plan(public_template, kPublic, pub, [&](const CK_ATTRIBUTE& a) -> CK_RV {
    if (a.type == CKA_EC_POINT) return CKR_ATTRIBUTE_READ_ONLY;
    has_curve = true;
    return curve_from(a, pub.curve);
  });
  if (rv != CKR_OK) return rv;
  if (!has_curve) return CKR_TEMPLATE_INCOMPLETE;
  rv = plan(private_template, kPrivate, priv, [&](const CK_ATTRIBUTE& a) -> CK_RV {
    const CK_RV r = curve_from(a, priv.curve);
    return r == CKR_OK && priv.curve != pub.curve ? CKR_TEMPLATE_INCONSISTENT : r;
  });
  if (rv != CKR_OK) return rv;
  priv.curve = pub.curve;
  if (rv = settle_usage(private_template, otherwise, priv); rv != CKR_OK) return rv;
  if (!has(public_template, CKA_VERIFY)) pub.set_flag(CKA_VERIFY, priv.flag(CKA_SIGN));
  return CKR_OK;
}

void complete_pair(Object& pub, Object& priv, const CoreKey& key, const Point& q) {
  for (Object* o : {&pub, &priv}) {
    o->q = q;
    o->set(CKA_EC_PARAMS, oid_of(o->curve));
    o->set_flag(CKA_LOCAL, true);
    o->set(CKA_KEY_GEN_MECHANISM, CK_ULONG{CKM_EC_KEY_PAIR_GEN});
  }
  keep_point(pub);
  priv.set_flag(CKA_ALWAYS_SENSITIVE, true);
  priv.set_flag(CKA_NEVER_EXTRACTABLE, true);
  priv.key = std::make_shared<KeySlot>();
  priv.key->key = key;
  priv.key->sign = priv.flag(CKA_SIGN);
}

CK_RV plan_public(Template t, Object& pub) {
  pub.cls = CKO_PUBLIC_KEY;
  bool has_curve = false;
  bool has_point = false;
  const CK_RV rv = plan(t, kPublic, pub, [&](const CK_ATTRIBUTE& a) -> CK_RV {
    if (a.type == CKA_EC_PARAMS) {
      has_curve = true;
      return curve_from(a, pub.curve);
    }
    has_point = true;
    return point_of(octets(a), pub.q) ? CKR_OK : CKR_ATTRIBUTE_VALUE_INVALID;
  });
  if (rv != CKR_OK) return rv;
  if (!has_curve || !has_point || !has(t, CKA_CLASS) || !has(t, CKA_KEY_TYPE)) return CKR_TEMPLATE_INCOMPLETE;
  if (!check_point(curve_of(pub.curve), pub.q)) return CKR_ATTRIBUTE_VALUE_INVALID;
  pub.set(CKA_EC_PARAMS, oid_of(pub.curve));
  keep_point(pub);
  pub.set_flag(CKA_LOCAL, false);
  pub.set(CKA_KEY_GEN_MECHANISM, CK_UNAVAILABLE_INFORMATION);
  return CKR_OK;
}

CK_RV plan_certificate(Template t, Object& o) {
  o.cls = CKO_CERTIFICATE;
  const CK_RV rv = plan(t, kCertificate, o, [&](const CK_ATTRIBUTE& a) -> CK_RV {
    if (a.ulValueLen == 0 || a.ulValueLen > kLongestCertificate) return CKR_ATTRIBUTE_VALUE_INVALID;
    o.set(CKA_VALUE, octets(a));
    return CKR_OK;
  });
  if (rv != CKR_OK) return rv;
  return has(t, CKA_CERTIFICATE_TYPE) && has(t, CKA_VALUE) ? CKR_OK : CK_RV{CKR_TEMPLATE_INCOMPLETE};
}

CK_RV plan_copy(const Object& from, Template t, Object& to) {
  if (!from.flag(CKA_COPYABLE)) return CKR_ACTION_PROHIBITED;
  to.cls = from.cls;
  to.attributes = from.attributes;
  to.value = from.value.clone();
  to.curve = from.curve;
  to.q = from.q;
  to.key = from.key;
  for (std::size_t i = 0; i < t.size(); ++i) {
    const CK_ATTRIBUTE& a = t[i];
    if (a.pValue == nullptr && a.ulValueLen != 0) return CKR_ATTRIBUTE_VALUE_INVALID;
    for (std::size_t k = 0; k < i; ++k)
      if (t[k].type == a.type) return CKR_TEMPLATE_INCONSISTENT;
    const auto had = to.attributes.find(a.type);
    if (had == to.attributes.end()) return CKR_ATTRIBUTE_TYPE_INVALID;
    if (std::ranges::equal(octets(a), had->second)) continue;
    switch (a.type) {
      case CKA_TOKEN:
      case CKA_PRIVATE:
      case CKA_MODIFIABLE:
      case CKA_COPYABLE: {
        bool on = false;
        if (const CK_RV rv = flag_of(a, on); rv != CKR_OK) return rv;
        if (a.type == CKA_PRIVATE && !on) return CKR_TEMPLATE_INCONSISTENT;
        to.set_flag(a.type, on);
        break;
      }
      case CKA_LABEL:
      case CKA_ID:
      case CKA_SUBJECT:
        if (a.ulValueLen > kLongestText) return CKR_ATTRIBUTE_VALUE_INVALID;
        to.set(a.type, octets(a));
        break;
      default:
        return CKR_ATTRIBUTE_READ_ONLY;
    }
  }
  return CKR_OK;
}

CK_RV plan_secret(Template t, Object& secret, std::size_t& length) {
  secret.cls = CKO_SECRET_KEY;
  length = 0;
  const CK_RV rv = plan(t, kSecret, secret, [&](const CK_ATTRIBUTE& a) -> CK_RV {
    CK_ULONG n = 0;
    if (const CK_RV r = number_of(a, n); r != CKR_OK) return r;
    if (n == 0) return CKR_ATTRIBUTE_VALUE_INVALID;
    length = n;
    return CKR_OK;
  });
  if (rv != CKR_OK) return rv;
  if (!has(t, CKA_CLASS) || !has(t, CKA_KEY_TYPE)) return CKR_TEMPLATE_INCOMPLETE;
  secret.set_flag(CKA_LOCAL, false);
  secret.set(CKA_KEY_GEN_MECHANISM, CK_UNAVAILABLE_INFORMATION);
  // Its base key was always sensitive and never extractable (PKCS#11 2.40, 2.3.5).
  secret.set_flag(CKA_ALWAYS_SENSITIVE, secret.flag(CKA_SENSITIVE));
  secret.set_flag(CKA_NEVER_EXTRACTABLE, !secret.flag(CKA_EXTRACTABLE));
  return CKR_OK;
}

CK_RV change(Template t, Object& o) {
  if (!o.flag(CKA_MODIFIABLE)) return CKR_ATTRIBUTE_READ_ONLY;
  for (const CK_ATTRIBUTE& a : t) {
    if (o.attributes.count(a.type) == 0 && a.type != CKA_VALUE) return CKR_ATTRIBUTE_TYPE_INVALID;
    if (a.type != CKA_LABEL && a.type != CKA_ID && a.type != CKA_SUBJECT) return CKR_ATTRIBUTE_READ_ONLY;
    if ((a.pValue == nullptr && a.ulValueLen != 0) || a.ulValueLen > kLongestText) return CKR_ATTRIBUTE_VALUE_INVALID;
  }
  for (const CK_ATTRIBUTE& a : t) o.set(a.type, octets(a));
  return CKR_OK;
}

}  // namespace kf::p11core
