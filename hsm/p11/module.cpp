#include "hsm/p11/module.hpp"

#include <dlfcn.h>

#include <cstring>

namespace kf::p11 {

Result<std::unique_ptr<Module>> Module::load(const std::string& path) {
  const auto refuse = [&](const std::string& why) {
    return Error{"hsm-module", "PKCS#11 module '" + path + "': " + why};
  };
  if (path.empty()) return Error{"hsm-module", "no PKCS#11 module configured (path of the vendor's .so)"};
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    return refuse(why != nullptr ? why : "dlopen failed");
  }
  void* symbol = ::dlsym(handle, "C_GetFunctionList");
  if (symbol == nullptr) return refuse("no C_GetFunctionList: not a PKCS#11 module");
  CK_C_GetFunctionList get = nullptr;
  static_assert(sizeof get == sizeof symbol);
  std::memcpy(&get, &symbol, sizeof get);

  CK_FUNCTION_LIST* f = nullptr;
  if (const CK_RV rv = get(&f); rv != CKR_OK || f == nullptr) return refuse("C_GetFunctionList: " + rv_text(rv));
  // The list of 3.x begins as that of 2.40.
  if (f->version.major != 2 && f->version.major != 3)
    return refuse("PKCS#11 version " + std::to_string(f->version.major) + ", 2.x or 3.x is needed");

  CK_C_INITIALIZE_ARGS args{};
  args.flags = CKF_OS_LOCKING_OK;
  // Already initialised would mean that somebody else in this process uses the module: that is our own mistake, so no
  // pardon.
  CK_RV rv = f->C_Initialize(&args);
  const bool one_thread = rv == CKR_CANT_LOCK;  // then only one thread may ever call it
  if (one_thread) rv = f->C_Initialize(nullptr);
  if (rv != CKR_OK)
    return rv_error("hsm-module", "C_Initialize of " + path, rv, "check the module's own configuration");
  std::unique_ptr<Module> m(new Module(path, f));
  m->one_thread_ = one_thread;
  return m;
}

Module::~Module() { functions_->C_Finalize(nullptr); }

Result<std::vector<CK_SLOT_ID>> Module::slots_with_token() const {
  // The list can grow between the two calls (a SoftHSM token appears with C_InitToken).
  for (int attempt = 0; attempt < 4; ++attempt) {
    CK_ULONG n = 0;
    if (const CK_RV rv = f().C_GetSlotList(CK_TRUE, nullptr, &n); rv != CKR_OK)
      return rv_error("hsm-module", "C_GetSlotList", rv);
    std::vector<CK_SLOT_ID> ids(n);
    if (n == 0) return ids;
    const CK_RV rv = f().C_GetSlotList(CK_TRUE, ids.data(), &n);
    if (rv == CKR_BUFFER_TOO_SMALL) continue;
    if (rv != CKR_OK) return rv_error("hsm-module", "C_GetSlotList", rv);
    ids.resize(n);
    return ids;
  }
  return Error{"hsm-module", "C_GetSlotList: the list of slots keeps changing"};
}

std::string Module::library() const {
  CK_INFO i{};
  if (f().C_GetInfo(&i) != CKR_OK) return "unknown";
  return padded_text(i.manufacturerID) + " / " + padded_text(i.libraryDescription) + " " +
         std::to_string(i.libraryVersion.major) + "." + std::to_string(i.libraryVersion.minor);
}

}  // namespace kf::p11
