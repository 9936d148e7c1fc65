// One PKCS#11 session, and the session objects that live no longer than a scope. One thread at a time per
// Session (docs/spec/pkcs11.md L4).
//
// Methods return the CK_RV of the failing call and allocate nothing unless they say so.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "host/base/secret.hpp"
#include "hsm/p11/module.hpp"

namespace kf::p11 {

// For parameters that a module only reads, though the interface says that it might write.
inline unsigned char* mutable_octets(ByteView v) noexcept { return const_cast<unsigned char*>(v.data()); }

inline constexpr CK_BBOOL kTrue = 1;
inline constexpr CK_BBOOL kFalse = 0;

// Attribute over a variable that outlives the call; PKCS#11 takes templates by pointer to non-const but only reads
// them.
template <class T>
CK_ATTRIBUTE attr(CK_ATTRIBUTE_TYPE type, const T& v) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>);
  return {type, const_cast<T*>(&v), sizeof v};
}
inline CK_ATTRIBUTE attr_octets(CK_ATTRIBUTE_TYPE type, ByteView v) noexcept {
  return {type, const_cast<std::uint8_t*>(v.data()), v.size()};
}

class Session {
 public:
  Session() = default;
  Session(Session&& o) noexcept : module_(o.module_), h_(o.h_), dead_(o.dead_) { o.h_ = CK_INVALID_HANDLE; }
  Session& operator=(Session&& o) noexcept;
  ~Session() { close(); }
  CK_RV open(Module& m, CK_SLOT_ID slot, bool read_write) noexcept;  // closes what was open
  void close() noexcept;

  // Of an open session. A closed one keeps its module: its handle is simply invalid there.
  [[nodiscard]] CK_FUNCTION_LIST& f() const noexcept { return module_->f(); }
  [[nodiscard]] CK_SESSION_HANDLE handle() const noexcept { return h_; }
  // Every answer of a call on this session passes here: after "no such session" the handle is used once more, to close
  // it in case that the module is wrong (docs/spec/pkcs11.md L5), and not to destroy objects: they go with the session.
  CK_RV seen(CK_RV rv) noexcept {
    dead_ = dead_ || rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED;
    return rv;
  }
  [[nodiscard]] bool is_open() const noexcept { return h_ != CK_INVALID_HANDLE && !dead_; }

  // Handles of all objects that match; allocates. Not for the hot path (docs/spec/pkcs11.md L9).
  CK_RV find(std::span<CK_ATTRIBUTE> match, std::vector<CK_OBJECT_HANDLE>& out);
  // A variable-length attribute; allocates.
  CK_RV read(CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, Bytes& out);
  // A fixed-size attribute.
  template <class T>
  CK_RV read_fixed(CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, T& out) {
    CK_ATTRIBUTE a = attr(type, out);
    const CK_RV rv = seen(f().C_GetAttributeValue(h_, o, &a, 1));
    return rv != CKR_OK ? rv : (a.ulValueLen == sizeof out ? CKR_OK : CKR_ATTRIBUTE_VALUE_INVALID);
  }

 private:
  Module* module_ = nullptr;  // of the last open()
  CK_SESSION_HANDLE h_ = CK_INVALID_HANDLE;
  bool dead_ = false;
};

// A session object that is destroyed when the scope ends, whatever happened. slot() is where a C_ function writes it.
class Object {
 public:
  explicit Object(Session& s) noexcept : s_(s) {}
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  ~Object() { destroy(); }
  [[nodiscard]] CK_OBJECT_HANDLE* slot() noexcept { return &h_; }
  [[nodiscard]] CK_OBJECT_HANDLE handle() const noexcept { return h_; }
  CK_RV destroy() noexcept;

 private:
  Session& s_;
  CK_OBJECT_HANDLE h_ = CK_INVALID_HANDLE;
};

}  // namespace kf::p11
