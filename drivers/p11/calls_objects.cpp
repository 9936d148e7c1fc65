// Objects: created, found, read, changed, destroyed.
#include <algorithm>

#include "drivers/p11/calls.hpp"

namespace kf::p11core::api {

CK_RV create_object(CK_SESSION_HANDLE handle, CK_ATTRIBUTE* t, CK_ULONG n, CK_OBJECT_HANDLE* object) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    Template tmpl;
    if (!template_of(t, n, tmpl) || object == nullptr) return CKR_ARGUMENTS_BAD;
    const auto cls = std::find_if(tmpl.begin(), tmpl.end(), [](const CK_ATTRIBUTE& a) { return a.type == CKA_CLASS; });
    if (cls == tmpl.end()) return CKR_TEMPLATE_INCOMPLETE;
    CK_OBJECT_CLASS c = 0;
    if (cls->pValue == nullptr || cls->ulValueLen != sizeof c) return CKR_ATTRIBUTE_VALUE_INVALID;
    std::copy_n(static_cast<const std::uint8_t*>(cls->pValue), sizeof c, reinterpret_cast<std::uint8_t*>(&c));
    // Scalars are born inside the core: it takes none from outside, and this process keeps none for it.
    if (c == CKO_PRIVATE_KEY || c == CKO_SECRET_KEY) return CKR_ACTION_PROHIBITED;
    if (c != CKO_PUBLIC_KEY && c != CKO_CERTIFICATE) return CKR_ATTRIBUTE_VALUE_INVALID;
    auto made = std::make_shared<Object>();
    const CK_RV rv = c == CKO_PUBLIC_KEY ? plan_public(tmpl, *made) : plan_certificate(tmpl, *made);
    if (rv != CKR_OK) return rv;
    if (const CK_RV refused = lib.admit(s, *made); refused != CKR_OK) return refused;
    lib.add({&made, 1});
    *object = made->handle;
    return CKR_OK;
  });
}

// Java, for one, makes a pair for the session and copies it into the token.
CK_RV copy_object(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* t, CK_ULONG n,
                  CK_OBJECT_HANDLE* copy) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    Template tmpl;
    if (!template_of(t, n, tmpl) || copy == nullptr) return CKR_ARGUMENTS_BAD;
    return lib.copy(s, object, tmpl, *copy);
  });
}

CK_RV destroy_object(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object) {
  return call_on(handle, [&](Library& lib, Session& s) { return lib.destroy(s, object); });
}

CK_RV get_object_size(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ULONG* size) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    if (size == nullptr) return CKR_ARGUMENTS_BAD;
    return lib.with_object(s, object, [&](const Object&) -> CK_RV {
      *size = CK_UNAVAILABLE_INFORMATION;
      return CKR_OK;
    });
  });
}

CK_RV get_attribute_value(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* t, CK_ULONG n) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    if (t == nullptr || n == 0) return CKR_ARGUMENTS_BAD;
    return lib.with_object(s, object, [&](const Object& o) -> CK_RV {
      // Every attribute is filled in as far as it can be; one of the codes is told.
      CK_RV worst = CKR_OK;
      for (CK_ULONG i = 0; i < n; ++i)
        if (const CK_RV rv = o.read(t[i]); rv != CKR_OK && worst == CKR_OK) worst = rv;
      return worst;
    });
  });
}

CK_RV set_attribute_value(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* t, CK_ULONG n) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    Template tmpl;
    if (t == nullptr || n == 0 || !template_of(t, n, tmpl)) return CKR_ARGUMENTS_BAD;
    return lib.with_object(s, object, [&](Object& o) -> CK_RV {
      if (o.owner == CK_INVALID_HANDLE && (s.flags & CKF_RW_SESSION) == 0) return CKR_SESSION_READ_ONLY;
      return change(tmpl, o);
    });
  });
}

CK_RV find_objects_init(CK_SESSION_HANDLE handle, CK_ATTRIBUTE* t, CK_ULONG n) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    Template tmpl;
    if (!template_of(t, n, tmpl)) return CKR_ARGUMENTS_BAD;
    if (s.found) return CKR_OPERATION_ACTIVE;
    for (const CK_ATTRIBUTE& a : tmpl)
      if (a.pValue == nullptr && a.ulValueLen != 0) return CKR_ATTRIBUTE_VALUE_INVALID;
    s.found = lib.find(s, tmpl);
    s.told = 0;
    return CKR_OK;
  });
}

CK_RV find_objects(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE* out, CK_ULONG most, CK_ULONG* n) {
  return call_on(handle, [&](Library&, Session& s) -> CK_RV {
    if (n == nullptr || (out == nullptr && most != 0)) return CKR_ARGUMENTS_BAD;
    if (!s.found) return CKR_OPERATION_NOT_INITIALIZED;
    *n = std::min<CK_ULONG>(most, s.found->size() - s.told);
    std::copy_n(s.found->begin() + static_cast<std::ptrdiff_t>(s.told), *n, out);
    s.told += *n;
    return CKR_OK;
  });
}

CK_RV find_objects_final(CK_SESSION_HANDLE handle) {
  return call_on(handle, [&](Library&, Session& s) -> CK_RV {
    if (!s.found) return CKR_OPERATION_NOT_INITIALIZED;
    s.found.reset();
    return CKR_OK;
  });
}

}  // namespace kf::p11core::api
