// Pass-through PKCS#11 module. Environment of the worker:
//   KF_SPY_MODULE   the real module
//   KF_SPY_LOG      file that gets one line per interesting call ("C_Login")
//   KF_SPY_FAULT    FUNCTION:N:RV  the N-th call (1 = first) of C_SignInit, C_GenerateKeyPair or C_DeriveKey returns RV
//                   instead of being passed on; N:* fails every call from the N-th on
//   KF_SPY_DER_ONLY 1: C_DeriveKey refuses a raw peer point, as some modules do
//   KF_SPY_FLAGS    token flags to add to C_GetTokenInfo
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace {

CK_FUNCTION_LIST spy;
CK_FUNCTION_LIST* real = nullptr;

std::string env(const char* name) {
  const char* v = std::getenv(name);
  return v == nullptr ? "" : v;
}

void note(const char* call) {
  const std::string path = env("KF_SPY_LOG");
  if (path.empty()) return;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  const std::string line = std::string(call) + "\n";
  [[maybe_unused]] const ssize_t r = ::write(fd, line.data(), line.size());
  ::close(fd);
}

// The injected code, or CKR_OK.
CK_RV fault(const char* call, unsigned long& calls) {
  ++calls;
  const std::string f = env("KF_SPY_FAULT");
  const auto colon = f.find(':');
  if (colon == std::string::npos || f.substr(0, colon) != call) return CKR_OK;
  const auto second = f.find(':', colon + 1);
  std::string n = f.substr(colon + 1, second - colon - 1);
  const bool onwards = !n.empty() && n.back() == '*';
  if (onwards) n.pop_back();
  const unsigned long at = std::stoul(n);
  if (onwards ? calls < at : calls != at) return CKR_OK;
  return std::stoul(f.substr(second + 1), nullptr, 0);
}

CK_RV login(CK_SESSION_HANDLE s, CK_USER_TYPE u, CK_UTF8CHAR_PTR pin, CK_ULONG n) {
  note("C_Login");
  return real->C_Login(s, u, pin, n);
}
CK_RV find_init(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG n) {
  note("C_FindObjectsInit");
  return real->C_FindObjectsInit(s, t, n);
}
CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR app, CK_NOTIFY notify, CK_SESSION_HANDLE_PTR out) {
  note("C_OpenSession");
  return real->C_OpenSession(slot, flags, app, notify, out);
}
CK_RV finalize(CK_VOID_PTR reserved) {
  note("C_Finalize");
  return real->C_Finalize(reserved);
}
CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info) {
  const CK_RV rv = real->C_GetTokenInfo(slot, info);
  const std::string flags = env("KF_SPY_FLAGS");
  if (rv == CKR_OK && !flags.empty()) info->flags |= std::stoul(flags, nullptr, 0);
  return rv;
}
CK_RV sign_init(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k) {
  static unsigned long calls = 0;
  if (const CK_RV rv = fault("C_SignInit", calls); rv != CKR_OK) return rv;
  return real->C_SignInit(s, m, k);
}
CK_RV generate_key_pair(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR a, CK_ULONG na, CK_ATTRIBUTE_PTR b,
                        CK_ULONG nb, CK_OBJECT_HANDLE_PTR x, CK_OBJECT_HANDLE_PTR y) {
  static unsigned long calls = 0;
  if (const CK_RV rv = fault("C_GenerateKeyPair", calls); rv != CKR_OK) return rv;
  return real->C_GenerateKeyPair(s, m, a, na, b, nb, x, y);
}
CK_RV derive_key(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k, CK_ATTRIBUTE_PTR a, CK_ULONG n,
                 CK_OBJECT_HANDLE_PTR out) {
  static unsigned long calls = 0;
  if (const CK_RV rv = fault("C_DeriveKey", calls); rv != CKR_OK) return rv;
  if (!env("KF_SPY_DER_ONLY").empty()) {
    const auto* p = static_cast<const CK_ECDH1_DERIVE_PARAMS*>(m->pParameter);
    if (p->ulPublicDataLen != 67) return CKR_MECHANISM_PARAM_INVALID;
  }
  return real->C_DeriveKey(s, m, k, a, n, out);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out) {
  void* handle = ::dlopen(env("KF_SPY_MODULE").c_str(), RTLD_NOW | RTLD_LOCAL);
  void* symbol = handle == nullptr ? nullptr : ::dlsym(handle, "C_GetFunctionList");
  if (symbol == nullptr) return CKR_GENERAL_ERROR;
  CK_C_GetFunctionList get = nullptr;
  std::memcpy(&get, &symbol, sizeof get);
  if (const CK_RV rv = get(&real); rv != CKR_OK) return rv;
  spy = *real;
  spy.C_Login = &login;
  spy.C_FindObjectsInit = &find_init;
  spy.C_OpenSession = &open_session;
  spy.C_Finalize = &finalize;
  spy.C_GetTokenInfo = &token_info;
  spy.C_SignInit = &sign_init;
  spy.C_GenerateKeyPair = &generate_key_pair;
  spy.C_DeriveKey = &derive_key;
  *out = &spy;
  return CKR_OK;
}
