// The PKCS#11 module itself: every function of the wrapped module, with the weather in front of it. See README.md.
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "tests/hsm/shim/handles.hpp"

namespace kf::shim {
namespace {

CK_FUNCTION_LIST own;
CK_FUNCTION_LIST* real = nullptr;

Sessions& sessions() {
  static auto* const s = new Sessions;
  return *s;
}
Objects& objects() {
  static auto* const o = new Objects;
  return *o;
}

enum class First : std::uint8_t { none, slot, session };

// One call on its way through: what it is about, and the line that it leaves in the log.
class Call {
 public:
  Call(Fn f, First kind, unsigned long first) : w(weather()), fn_(f), kind_(kind), first_(first) {
    begin_ = monotonic_ns();
  }
  const Weather& w;
  CK_SESSION_HANDLE s = 0;  // the module's own handle

  CK_RV enter() {
    if (kind_ == First::session) {
      if (fn_ == Fn::C_CloseSession) return CKR_OK;  // judged where it is closed
      return sessions().use(w, *real, first_, s);
    }
    return kind_ == First::slot && w.gone_now() ? CKR_DEVICE_REMOVED : CKR_OK;
  }

  // Delays and worse; true and a code when the call is answered here.
  bool answered(CK_RV& code) {
    bool done = false;
    const auto& rules = w.script().rules;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      const Rule& r = rules[i];
      if (r.kind >= Rule::Kind::dead_sessions || (r.function && *r.function != fn_) || !w.hits(i)) continue;
      switch (r.kind) {
        case Rule::Kind::rv:
          if (!done) code = r.code;
          done = true;
          break;
        case Rule::Kind::rv_after:
          if (!after_) after_ = r.code;
          break;
        case Rule::Kind::delay:
          wait(r.milliseconds);
          break;
        case Rule::Kind::hang:
          w.log(fn_, logged_session(), begin_, 0, CKR_OK);
          for (;;) ::pause();
        case Rule::Kind::crash:
          w.log(fn_, logged_session(), begin_, 0, CKR_OK);
          die(r.segv ? SIGSEGV : SIGABRT);
        case Rule::Kind::leak:
          leak(r.kib);
          break;
        default:
          break;
      }
    }
    return done;
  }

  CK_RV done(CK_RV rv) {
    w.log(fn_, logged_session(), begin_, monotonic_ns(), rv);
    return rv;
  }
  [[nodiscard]] CK_RV after(CK_RV rv) const { return after_.value_or(rv); }
  void about(CK_SESSION_HANDLE opened) { opened_ = opened; }

 private:
  [[nodiscard]] CK_SESSION_HANDLE logged_session() const { return kind_ == First::session ? first_ : opened_; }

  static void wait(double milliseconds) {
    timespec t{};
    t.tv_sec = static_cast<time_t>(milliseconds / 1000);
    t.tv_nsec = static_cast<long>(std::fmod(milliseconds, 1000) * 1e6);
    while (::nanosleep(&t, &t) != 0) continue;
  }
  [[noreturn]] static void die(int signal) {
    ::signal(signal, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    ::raise(signal);
    ::_exit(99);
  }
  static void leak(unsigned long kib) {
    static std::mutex mutex;
    static auto* const kept = new std::vector<std::vector<char>>;
    const std::lock_guard lock(mutex);
    kept->emplace_back(kib * 1024, static_cast<char>(kib | 1U));  // written: resident
  }

  Fn fn_;
  First kind_;
  unsigned long first_;
  CK_SESSION_HANDLE opened_ = 0;
  std::optional<CK_RV> after_;
  std::int64_t begin_ = 0;
};

struct Nothing {
  void operator()(Call&) const {}
};

// `end` runs when a code is injected into a call that the module must still see, because the call ends an operation.
template <class F, class End = Nothing>
CK_RV run(Fn fn, First kind, unsigned long first, F&& f, End&& end = {}) {
  Call c(fn, kind, first);
  if (const CK_RV rv = c.enter(); rv != CKR_OK) return c.done(rv);
  if (CK_RV code = CKR_OK; c.answered(code)) {
    end(c);
    return c.done(code);
  }
  return c.done(c.after(f(c)));
}

// The plain pass: translate the session, ask the weather, pass on.
template <auto Member, Fn F, First Kind, class Type>
struct Pass;
template <auto Member, Fn F, class A0, class... A>
struct Pass<Member, F, First::session, CK_RV (*CK_FUNCTION_LIST::*)(A0, A...)> {
  static CK_RV call(A0 a0, A... a) {
    return run(F, First::session, a0, [&](Call& c) { return (real->*Member)(c.s, a...); });
  }
};
template <auto Member, Fn F, class A0, class... A>
struct Pass<Member, F, First::slot, CK_RV (*CK_FUNCTION_LIST::*)(A0, A...)> {
  static CK_RV call(A0 a0, A... a) {
    return run(F, First::slot, a0, [&](Call&) { return (real->*Member)(a0, a...); });
  }
};
template <auto Member, Fn F, class... A>
struct Pass<Member, F, First::none, CK_RV (*CK_FUNCTION_LIST::*)(A...)> {
  static CK_RV call(A... a) {
    return run(F, First::none, 0, [&](Call&) { return (real->*Member)(a...); });
  }
};

template <class F, class End = Nothing>
CK_RV in_session(Fn fn, CK_SESSION_HANDLE s, F&& f, End&& end = {}) {
  return run(fn, First::session, s, std::forward<F>(f), std::forward<End>(end));
}

bool hidden(const Call& c, CK_MECHANISM_TYPE m) {
  const auto& list = c.w.script().hidden_mechanisms;
  return std::find(list.begin(), list.end(), m) != list.end();
}
CK_RV mechanism(const Call& c, const CK_MECHANISM* m) {
  if (m == nullptr) return CKR_ARGUMENTS_BAD;
  return hidden(c, m->mechanism) ? CKR_MECHANISM_INVALID : CKR_OK;
}
CK_RV object(const Call& c, CK_OBJECT_HANDLE& h, CK_RV invalid = CKR_KEY_HANDLE_INVALID) {
  return objects().use(c.w, *real, c.s, h, invalid);
}
#define KF_REFUSE(expr)                                                     \
  do {                                                                      \
    if (const CK_RV refused_ = (expr); refused_ != CKR_OK) return refused_; \
  } while (false)

// A new object's handle as the caller gets to see it.
CK_RV made(CK_RV rv, CK_OBJECT_HANDLE_PTR out) {
  if (rv == CKR_OK && out != nullptr) *out = objects().seen(*out);
  return rv;
}

// ---------------------------------------------------------------------------------------------- slots and sessions

CK_RV finalize(CK_VOID_PTR reserved) {
  return run(Fn::C_Finalize, First::none, 0, [&](Call&) {
    const CK_RV rv = real->C_Finalize(reserved);
    if (rv == CKR_OK) {
      sessions().forget_all();
      objects().forget_all();
    }
    return rv;
  });
}

CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID_PTR list, CK_ULONG_PTR n) {
  return run(Fn::C_GetSlotList, First::none, 0, [&](Call& c) {
    if (present == CK_FALSE || n == nullptr || !c.w.gone_now()) return real->C_GetSlotList(present, list, n);
    *n = 0;
    return CK_RV{CKR_OK};
  });
}

CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info) {
  return run(Fn::C_GetTokenInfo, First::slot, slot, [&](Call& c) {
    const CK_RV rv = real->C_GetTokenInfo(slot, info);
    if (rv != CKR_OK) return rv;
    const Script& s = c.w.script();
    info->flags |= s.token_flags;
    if (s.max_sessions) info->ulMaxSessionCount = *s.max_sessions;
    if (s.max_rw_sessions) info->ulMaxRwSessionCount = *s.max_rw_sessions;
    return rv;
  });
}

CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE_PTR list, CK_ULONG_PTR n) {
  return run(Fn::C_GetMechanismList, First::slot, slot, [&](Call& c) -> CK_RV {
    if (c.w.script().hidden_mechanisms.empty() || n == nullptr) return real->C_GetMechanismList(slot, list, n);
    CK_ULONG all = 0;
    KF_REFUSE(real->C_GetMechanismList(slot, nullptr, &all));
    std::vector<CK_MECHANISM_TYPE> types(all);
    KF_REFUSE(real->C_GetMechanismList(slot, types.data(), &all));
    types.resize(all);
    std::erase_if(types, [&](CK_MECHANISM_TYPE m) { return hidden(c, m); });
    const CK_ULONG room = *n;
    *n = types.size();
    if (list == nullptr) return CKR_OK;
    if (room < types.size()) return CKR_BUFFER_TOO_SMALL;
    std::copy(types.begin(), types.end(), list);
    return CKR_OK;
  });
}

CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE m, CK_MECHANISM_INFO_PTR info) {
  return run(Fn::C_GetMechanismInfo, First::slot, slot, [&](Call& c) {
    return hidden(c, m) ? CK_RV{CKR_MECHANISM_INVALID} : real->C_GetMechanismInfo(slot, m, info);
  });
}

CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application, CK_NOTIFY notify,
                   CK_SESSION_HANDLE_PTR out) {
  return run(Fn::C_OpenSession, First::slot, slot, [&](Call& c) {
    const CK_RV rv = sessions().open(c.w, *real, slot, flags, application, notify, out);
    if (rv == CKR_OK) c.about(*out);
    return rv;
  });
}

CK_RV close_session(CK_SESSION_HANDLE s) {
  return run(Fn::C_CloseSession, First::session, s, [&](Call& c) -> CK_RV {
    const CK_RV rv = sessions().close(*real, s);
    return c.w.gone_now() ? CKR_DEVICE_REMOVED : rv;
  });
}

CK_RV close_all_sessions(CK_SLOT_ID slot) {
  return run(Fn::C_CloseAllSessions, First::slot, slot, [&](Call&) {
    sessions().forget_all_of(slot);
    return real->C_CloseAllSessions(slot);
  });
}

// ------------------------------------------------------------------------------------------------------- objects

CK_RV create_object(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR out) {
  return in_session(Fn::C_CreateObject, s, [&](Call& c) { return made(real->C_CreateObject(c.s, t, n, out), out); });
}

CK_RV copy_object(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR out) {
  return in_session(Fn::C_CopyObject, s, [&](Call& c) -> CK_RV {
    if (c.w.script().forbid_copy) return *c.w.script().forbid_copy;
    KF_REFUSE(object(c, o, CKR_OBJECT_HANDLE_INVALID));
    return made(real->C_CopyObject(c.s, o, t, n, out), out);
  });
}

CK_RV destroy_object(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o) {
  return in_session(Fn::C_DestroyObject, s, [&](Call& c) -> CK_RV {
    const CK_OBJECT_HANDLE seen = o;
    KF_REFUSE(object(c, o, CKR_OBJECT_HANDLE_INVALID));
    const CK_RV rv = real->C_DestroyObject(c.s, o);
    if (rv == CKR_OK) objects().forget(seen);
    return rv;
  });
}

CK_RV get_object_size(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ULONG_PTR size) {
  return in_session(Fn::C_GetObjectSize, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(object(c, o, CKR_OBJECT_HANDLE_INVALID));
    return real->C_GetObjectSize(c.s, o, size);
  });
}

CK_RV get_attribute_value(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR t, CK_ULONG n) {
  return in_session(Fn::C_GetAttributeValue, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(object(c, o, CKR_OBJECT_HANDLE_INVALID));
    return real->C_GetAttributeValue(c.s, o, t, n);
  });
}

CK_RV set_attribute_value(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR t, CK_ULONG n) {
  return in_session(Fn::C_SetAttributeValue, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(object(c, o, CKR_OBJECT_HANDLE_INVALID));
    return real->C_SetAttributeValue(c.s, o, t, n);
  });
}

const CK_ATTRIBUTE* attribute(const CK_ATTRIBUTE* t, CK_ULONG n, CK_ATTRIBUTE_TYPE type) {
  const CK_ATTRIBUTE* end = t + n;
  const CK_ATTRIBUTE* found = std::find_if(t, end, [type](const CK_ATTRIBUTE& a) { return a.type == type; });
  return found == end ? nullptr : found;
}
template <class T>
bool holds(const CK_ATTRIBUTE* a, T value) {
  if (a == nullptr || a->pValue == nullptr || a->ulValueLen != sizeof value) return false;
  T there{};
  std::memcpy(&there, a->pValue, sizeof there);
  return there == value;
}

CK_RV find_objects_init(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG n) {
  return in_session(Fn::C_FindObjectsInit, s, [&](Call& c) {
    std::vector<CK_ATTRIBUTE> changed(t, t == nullptr ? t : t + n);
    for (const WrongKey& k : c.w.script().wrong_keys) {
      if (k.private_only &&
          !holds(attribute(changed.data(), changed.size(), CKA_CLASS), CK_OBJECT_CLASS{CKO_PRIVATE_KEY})) {
        continue;
      }
      for (CK_ATTRIBUTE& a : changed) {
        if (a.type != CKA_LABEL || a.pValue == nullptr) continue;
        if (std::string_view(static_cast<const char*>(a.pValue), a.ulValueLen) != k.label) continue;
        a.pValue = const_cast<char*>(k.other.data());  // only read
        a.ulValueLen = k.other.size();
        break;
      }
    }
    return real->C_FindObjectsInit(c.s, changed.empty() ? nullptr : changed.data(), changed.size());
  });
}

CK_RV find_objects(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE_PTR out, CK_ULONG room, CK_ULONG_PTR n) {
  return in_session(Fn::C_FindObjects, s, [&](Call& c) -> CK_RV {
    for (;;) {
      KF_REFUSE(real->C_FindObjects(c.s, out, room, n));
      if (*n == 0) return CKR_OK;
      CK_ULONG kept = 0;
      for (CK_ULONG i = 0; i < *n; ++i) {
        if (!Objects::hidden(c.w, *real, c.s, out[i])) out[kept++] = objects().seen(out[i]);
      }
      *n = kept;
      if (kept != 0) return CKR_OK;  // else none of these may be seen: the next ones
    }
  });
}

// --------------------------------------------------------------------------------------------- keys and operations

// C_xInit(session, mechanism, key)
template <auto Member, Fn F>
CK_RV init_with_key(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key) {
  return in_session(F, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(mechanism(c, m));
    KF_REFUSE(object(c, key));
    return (real->*Member)(c.s, m, key);
  });
}

// C_x(session, in, in length, out, out length): the call that ends an operation.
template <auto Member, Fn F>
CK_RV one_shot(CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR out, CK_ULONG_PTR out_n) {
  return in_session(
      F, s, [&](Call& c) { return (real->*Member)(c.s, in, n, out, out_n); },
      [&](Call& c) {
        if (out == nullptr) return;  // only the length was asked: the operation goes on
        std::vector<CK_BYTE> thrown_away(n + 1024);
        CK_ULONG length = thrown_away.size();
        (real->*Member)(c.s, in, n, thrown_away.data(), &length);
      });
}

CK_RV verify(CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG n, CK_BYTE_PTR signature, CK_ULONG m) {
  const auto pass = [&](Call& c) { return real->C_Verify(c.s, in, n, signature, m); };
  return in_session(Fn::C_Verify, s, pass, pass);
}

CK_RV digest_init(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m) {
  return in_session(Fn::C_DigestInit, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(mechanism(c, m));
    return real->C_DigestInit(c.s, m);
  });
}

CK_RV digest_key(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key) {
  return in_session(Fn::C_DigestKey, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(object(c, key));
    return real->C_DigestKey(c.s, key);
  });
}

CK_RV generate_key(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR out) {
  return in_session(Fn::C_GenerateKey, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(mechanism(c, m));
    return made(real->C_GenerateKey(c.s, m, t, n, out), out);
  });
}

CK_RV generate_key_pair(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR a, CK_ULONG na, CK_ATTRIBUTE_PTR b,
                        CK_ULONG nb, CK_OBJECT_HANDLE_PTR x, CK_OBJECT_HANDLE_PTR y) {
  return in_session(Fn::C_GenerateKeyPair, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(mechanism(c, m));
    const CK_RV rv = made(real->C_GenerateKeyPair(c.s, m, a, na, b, nb, x, y), x);
    return made(rv, y);
  });
}

CK_RV wrap_key(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key,
               CK_BYTE_PTR out, CK_ULONG_PTR n) {
  return in_session(Fn::C_WrapKey, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(mechanism(c, m));
    KF_REFUSE(object(c, wrapping, CKR_WRAPPING_KEY_HANDLE_INVALID));
    KF_REFUSE(object(c, key));
    return real->C_WrapKey(c.s, m, wrapping, key, out, n);
  });
}

CK_RV unwrap_key(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key, CK_BYTE_PTR in, CK_ULONG n,
                 CK_ATTRIBUTE_PTR t, CK_ULONG nt, CK_OBJECT_HANDLE_PTR out) {
  constexpr CK_RV kUnwrappingKeyHandleInvalid = 0xF0;  // p11-kit's header does not name it
  return in_session(Fn::C_UnwrapKey, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(mechanism(c, m));
    KF_REFUSE(object(c, key, kUnwrappingKeyHandleInvalid));
    return made(real->C_UnwrapKey(c.s, m, key, in, n, t, nt, out), out);
  });
}

// What this token is said to want of an ECDH derivation.
CK_RV ecdh_rules(const Call& c, const CK_MECHANISM* m, const CK_ATTRIBUTE* t, CK_ULONG n) {
  const Script& s = c.w.script();
  if (m->mechanism != CKM_ECDH1_DERIVE && m->mechanism != CKM_ECDH1_COFACTOR_DERIVE) return CKR_OK;
  if (m->pParameter == nullptr || m->ulParameterLen != sizeof(CK_ECDH1_DERIVE_PARAMS))
    return CKR_MECHANISM_PARAM_INVALID;
  const auto* p = static_cast<const CK_ECDH1_DERIVE_PARAMS*>(m->pParameter);
  if (std::find(s.refused_kdfs.begin(), s.refused_kdfs.end(), p->kdf) != s.refused_kdfs.end())
    return CKR_MECHANISM_PARAM_INVALID;
  const bool der = is_der_point(p->pPublicData, p->ulPublicDataLen);
  if ((s.der_only && !der) || (s.raw_only && der)) return CKR_MECHANISM_PARAM_INVALID;
  const bool length = t != nullptr && attribute(t, n, CKA_VALUE_LEN) != nullptr;
  if (s.need_value_len && !length) return CKR_TEMPLATE_INCOMPLETE;
  if (s.refuse_value_len && length) return CKR_TEMPLATE_INCONSISTENT;
  return CKR_OK;
}

CK_RV derive_key(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE base, CK_ATTRIBUTE_PTR t, CK_ULONG n,
                 CK_OBJECT_HANDLE_PTR out) {
  return in_session(Fn::C_DeriveKey, s, [&](Call& c) -> CK_RV {
    KF_REFUSE(mechanism(c, m));
    KF_REFUSE(object(c, base));
    KF_REFUSE(ecdh_rules(c, m, t, n));
    return made(real->C_DeriveKey(c.s, m, base, t, n, out), out);
  });
}

CK_RV set_operation_state(CK_SESSION_HANDLE s, CK_BYTE_PTR state, CK_ULONG n, CK_OBJECT_HANDLE encryption,
                          CK_OBJECT_HANDLE authentication) {
  return in_session(Fn::C_SetOperationState, s, [&](Call& c) -> CK_RV {
    if (encryption != CK_INVALID_HANDLE) KF_REFUSE(object(c, encryption));
    if (authentication != CK_INVALID_HANDLE) KF_REFUSE(object(c, authentication));
    return real->C_SetOperationState(c.s, state, n, encryption, authentication);
  });
}

CK_RV get_function_list(CK_FUNCTION_LIST_PTR_PTR out) {
  if (out == nullptr) return CKR_ARGUMENTS_BAD;
  *out = &own;
  return CKR_OK;
}

CK_RV load_module() {
  if (!load_weather()) return CKR_GENERAL_ERROR;
  const std::string& path = weather().script().module;
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* symbol = handle == nullptr ? nullptr : ::dlsym(handle, "C_GetFunctionList");
  if (symbol == nullptr) {
    const char* why = ::dlerror();
    std::fprintf(stderr, "kf_p11_shim: module %s: %s\n", path.c_str(), why != nullptr ? why : "no PKCS#11 module");
    return CKR_GENERAL_ERROR;
  }
  CK_C_GetFunctionList get = nullptr;
  std::memcpy(&get, &symbol, sizeof get);
  if (const CK_RV rv = get(&real); rv != CKR_OK) return rv;
  own.version = real->version;
  if (const auto& major = weather().script().cryptoki; major) own.version = {static_cast<CK_BYTE>(*major), 0};
  own.C_GetFunctionList = &get_function_list;
  // Every function passes through; a function that the module leaves out stays out.
#define KF_SHIM_PASS(name, kind) \
  if (real->name != nullptr)     \
    own.name = &Pass<&CK_FUNCTION_LIST::name, Fn::name, First::kind, decltype(&CK_FUNCTION_LIST::name)>::call;
  KF_SHIM_FUNCTIONS(KF_SHIM_PASS)
#undef KF_SHIM_PASS
  // Those about which the weather has more to say.
#define KF_SHIM_OWN(name, f) \
  if (real->name != nullptr) own.name = f
#define KF_SHIM_INIT(name) KF_SHIM_OWN(name, (&init_with_key<&CK_FUNCTION_LIST::name, Fn::name>))
#define KF_SHIM_SHOT(name) KF_SHIM_OWN(name, (&one_shot<&CK_FUNCTION_LIST::name, Fn::name>))
  KF_SHIM_OWN(C_Finalize, &finalize);
  KF_SHIM_OWN(C_GetSlotList, &get_slot_list);
  KF_SHIM_OWN(C_GetTokenInfo, &get_token_info);
  KF_SHIM_OWN(C_GetMechanismList, &get_mechanism_list);
  KF_SHIM_OWN(C_GetMechanismInfo, &get_mechanism_info);
  KF_SHIM_OWN(C_OpenSession, &open_session);
  KF_SHIM_OWN(C_CloseSession, &close_session);
  KF_SHIM_OWN(C_CloseAllSessions, &close_all_sessions);
  KF_SHIM_OWN(C_SetOperationState, &set_operation_state);
  KF_SHIM_OWN(C_CreateObject, &create_object);
  KF_SHIM_OWN(C_CopyObject, &copy_object);
  KF_SHIM_OWN(C_DestroyObject, &destroy_object);
  KF_SHIM_OWN(C_GetObjectSize, &get_object_size);
  KF_SHIM_OWN(C_GetAttributeValue, &get_attribute_value);
  KF_SHIM_OWN(C_SetAttributeValue, &set_attribute_value);
  KF_SHIM_OWN(C_FindObjectsInit, &find_objects_init);
  KF_SHIM_OWN(C_FindObjects, &find_objects);
  KF_SHIM_INIT(C_EncryptInit);
  KF_SHIM_INIT(C_DecryptInit);
  KF_SHIM_INIT(C_SignInit);
  KF_SHIM_INIT(C_SignRecoverInit);
  KF_SHIM_INIT(C_VerifyInit);
  KF_SHIM_INIT(C_VerifyRecoverInit);
  KF_SHIM_SHOT(C_Encrypt);
  KF_SHIM_SHOT(C_Decrypt);
  KF_SHIM_SHOT(C_Digest);
  KF_SHIM_SHOT(C_Sign);
  KF_SHIM_OWN(C_Verify, &verify);
  KF_SHIM_OWN(C_DigestInit, &digest_init);
  KF_SHIM_OWN(C_DigestKey, &digest_key);
  KF_SHIM_OWN(C_GenerateKey, &generate_key);
  KF_SHIM_OWN(C_GenerateKeyPair, &generate_key_pair);
  KF_SHIM_OWN(C_WrapKey, &wrap_key);
  KF_SHIM_OWN(C_UnwrapKey, &unwrap_key);
  KF_SHIM_OWN(C_DeriveKey, &derive_key);
  return CKR_OK;
}

}  // namespace
}  // namespace kf::shim

extern "C" __attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out) {
  static const CK_RV loaded = kf::shim::load_module();
  return loaded != CKR_OK ? loaded : kf::shim::get_function_list(out);
}
