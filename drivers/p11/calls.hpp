// The functions of PKCS#11 2.40 as the function list holds them, and what they share. What is not here answers
// CKR_FUNCTION_NOT_SUPPORTED (function_list.cpp).
//
// A process that was forked from one that had the module initialised finds it uninitialised, as the standard demands:
// its parent's cores, rings and locks are left alone, and C_Initialize begins anew.
// Threading: any, from C_Initialize to C_Finalize.
#pragma once

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <new>
#include <shared_mutex>

#include "drivers/p11/library.hpp"

namespace kf::p11core {

// The state of one process. Never freed: calls may still run when the process ends.
struct World {
  explicit World(unsigned forked) : forks(forked) {}
  const pid_t pid = ::getpid();
  const unsigned forks;             // of this process's line when it was made: two processes may have one pid
  std::shared_timed_mutex life;     // shared: calls; alone: C_Initialize, C_Finalize
  std::atomic<bool> ending{false};  // whoever ends waits for calls under way; new ones must not keep it waiting
  std::unique_ptr<Library> library;
};
World* this_world();  // null: not this process's

// A thread that its application cancels ends after the call, not in it, where it would leave locks behind it.
class NotCancelled {
 public:
  NotCancelled() { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  ~NotCancelled() { ::pthread_setcancelstate(before_, nullptr); }
  NotCancelled(const NotCancelled&) = delete;
  NotCancelled& operator=(const NotCancelled&) = delete;

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

// What f() answers; no exception leaves.
template <class F>
CK_RV guarded(F&& f) noexcept {
  const NotCancelled whole;
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return CKR_HOST_MEMORY;
  } catch (...) {
    return CKR_GENERAL_ERROR;
  }
}
// A call: not initialised, or f(library).
template <class F>
CK_RV call(F&& f) noexcept {
  return guarded([&]() -> CK_RV {
    World* const w = this_world();
    if (w == nullptr || w->ending) return CKR_CRYPTOKI_NOT_INITIALIZED;
    const std::shared_lock life(w->life);
    if (!w->library) return CKR_CRYPTOKI_NOT_INITIALIZED;
    const ApplicationMutex::Held one(w->library->application_mutex());
    return one.ok() ? f(*w->library) : CK_RV{CKR_GENERAL_ERROR};
  });
}
// A call on a session: f(library, session).
template <class F>
CK_RV call_on(CK_SESSION_HANDLE handle, F&& f) noexcept {
  return call([&](Library& lib) -> CK_RV {
    const auto s = lib.session(handle);
    if (!s) return CKR_SESSION_HANDLE_INVALID;
    const std::lock_guard g(s->lock);
    return s->closed ? CK_RV{CKR_SESSION_HANDLE_INVALID} : f(lib, *s);
  });
}
// A template argument; false: CKR_ARGUMENTS_BAD.
inline bool template_of(CK_ATTRIBUTE* t, CK_ULONG n, Template& out) {
  if (t == nullptr && n != 0) return false;
  out = {t, n};
  return true;
}

namespace api {
// calls_general.cpp
CK_RV initialize(void* args);
CK_RV finalize(void* reserved);
CK_RV get_info(CK_INFO* info);
CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID* list, CK_ULONG* n);
CK_RV get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO* info);
CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO* info);
CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE* list, CK_ULONG* n);
CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO* info);
CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void* application, CK_NOTIFY notify, CK_SESSION_HANDLE* handle);
CK_RV close_session(CK_SESSION_HANDLE handle);
CK_RV close_all_sessions(CK_SLOT_ID slot);
CK_RV get_session_info(CK_SESSION_HANDLE handle, CK_SESSION_INFO* info);
CK_RV login(CK_SESSION_HANDLE handle, CK_USER_TYPE user, unsigned char* pin, CK_ULONG n);
CK_RV logout(CK_SESSION_HANDLE handle);
CK_RV wait_for_slot_event(CK_FLAGS flags, CK_SLOT_ID* slot, void* reserved);
CK_RV seed_random(CK_SESSION_HANDLE handle, unsigned char* seed, CK_ULONG n);
CK_RV generate_random(CK_SESSION_HANDLE handle, unsigned char* out, CK_ULONG n);
CK_RV not_parallel(CK_SESSION_HANDLE handle);
// calls_objects.cpp
CK_RV create_object(CK_SESSION_HANDLE handle, CK_ATTRIBUTE* t, CK_ULONG n, CK_OBJECT_HANDLE* object);
CK_RV copy_object(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* t, CK_ULONG n,
                  CK_OBJECT_HANDLE* copy);
CK_RV destroy_object(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object);
CK_RV get_object_size(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ULONG* size);
CK_RV get_attribute_value(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* t, CK_ULONG n);
CK_RV set_attribute_value(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* t, CK_ULONG n);
CK_RV find_objects_init(CK_SESSION_HANDLE handle, CK_ATTRIBUTE* t, CK_ULONG n);
CK_RV find_objects(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE* out, CK_ULONG most, CK_ULONG* n);
CK_RV find_objects_final(CK_SESSION_HANDLE handle);
// calls_keys.cpp
CK_RV generate_key_pair(CK_SESSION_HANDLE handle, CK_MECHANISM* m, CK_ATTRIBUTE* pub_t, CK_ULONG pub_n,
                        CK_ATTRIBUTE* priv_t, CK_ULONG priv_n, CK_OBJECT_HANDLE* pub, CK_OBJECT_HANDLE* priv);
CK_RV derive_key(CK_SESSION_HANDLE handle, CK_MECHANISM* m, CK_OBJECT_HANDLE base, CK_ATTRIBUTE* t, CK_ULONG n,
                 CK_OBJECT_HANDLE* out);
// calls_sign.cpp
CK_RV sign_init(CK_SESSION_HANDLE handle, CK_MECHANISM* m, CK_OBJECT_HANDLE key);
CK_RV sign(CK_SESSION_HANDLE handle, unsigned char* data, CK_ULONG n, unsigned char* out, CK_ULONG* out_n);
CK_RV sign_update(CK_SESSION_HANDLE handle, unsigned char* part, CK_ULONG n);
CK_RV sign_final(CK_SESSION_HANDLE handle, unsigned char* out, CK_ULONG* out_n);
CK_RV verify_init(CK_SESSION_HANDLE handle, CK_MECHANISM* m, CK_OBJECT_HANDLE key);
CK_RV verify(CK_SESSION_HANDLE handle, unsigned char* data, CK_ULONG n, unsigned char* signature, CK_ULONG length);
CK_RV verify_update(CK_SESSION_HANDLE handle, unsigned char* part, CK_ULONG n);
CK_RV verify_final(CK_SESSION_HANDLE handle, unsigned char* signature, CK_ULONG length);
}  // namespace api

CK_FUNCTION_LIST* function_list();

}  // namespace kf::p11core
