#include "hsm/p11/session.hpp"

#include <utility>

namespace kf::p11 {

Session& Session::operator=(Session&& o) noexcept {
  if (this != &o) {
    close();
    module_ = o.module_;
    h_ = std::exchange(o.h_, CK_INVALID_HANDLE);
    dead_ = o.dead_;
  }
  return *this;
}

CK_RV Session::open(Module& m, CK_SLOT_ID slot, bool read_write) noexcept {
  close();
  const CK_FLAGS flags = CKF_SERIAL_SESSION | (read_write ? CKF_RW_SESSION : 0UL);
  const CK_RV rv = m.f().C_OpenSession(slot, flags, nullptr, nullptr, &h_);
  module_ = &m;
  if (rv != CKR_OK) h_ = CK_INVALID_HANDLE;
  return rv;
}

void Session::close() noexcept {
  if (h_ != CK_INVALID_HANDLE) module_->f().C_CloseSession(h_);
  h_ = CK_INVALID_HANDLE;
  dead_ = false;
}

CK_RV Session::find(std::span<CK_ATTRIBUTE> match, std::vector<CK_OBJECT_HANDLE>& out) {
  out.clear();
  if (const CK_RV rv = seen(f().C_FindObjectsInit(h_, match.data(), match.size())); rv != CKR_OK) return rv;
  CK_RV rv = CKR_OK;
  for (;;) {
    std::array<CK_OBJECT_HANDLE, 32> some{};
    CK_ULONG n = 0;
    rv = seen(f().C_FindObjects(h_, some.data(), some.size(), &n));
    if (rv != CKR_OK || n == 0) break;
    out.insert(out.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(n));
  }
  if (!is_open()) return rv;
  const CK_RV end = seen(f().C_FindObjectsFinal(h_));
  return rv != CKR_OK ? rv : end;
}

CK_RV Session::read(CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, Bytes& out) {
  constexpr CK_ULONG kLimit = 16 * 1024;
  CK_ATTRIBUTE a{type, nullptr, 0};
  if (const CK_RV rv = seen(f().C_GetAttributeValue(h_, o, &a, 1)); rv != CKR_OK) return rv;
  if (a.ulValueLen > kLimit) return CKR_ATTRIBUTE_VALUE_INVALID;  // also "unavailable", all ones
  out.assign(a.ulValueLen, 0);
  a.pValue = out.data();
  const CK_RV rv = seen(f().C_GetAttributeValue(h_, o, &a, 1));
  if (rv == CKR_OK && a.ulValueLen <= out.size()) out.resize(a.ulValueLen);
  return rv;
}

CK_RV Object::destroy() noexcept {
  if (h_ == CK_INVALID_HANDLE) return CKR_OK;
  const CK_OBJECT_HANDLE h = std::exchange(h_, CK_INVALID_HANDLE);
  return s_.is_open() ? s_.seen(s_.f().C_DestroyObject(s_.handle(), h)) : CKR_SESSION_HANDLE_INVALID;
}

}  // namespace kf::p11
