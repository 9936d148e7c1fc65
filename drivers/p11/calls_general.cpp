// C_Initialize to C_Login: the module, its slots, tokens, mechanisms and sessions.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "drivers/p11/calls.hpp"

namespace kf::p11core {
namespace {

std::atomic<World*> world{nullptr};
std::atomic<unsigned> forks{0};  // this process and those it comes from, counted by the C library's fork()

bool is_here(const World* w) { return w != nullptr && w->pid == ::getpid() && w->forks == forks.load(); }

// The world of this process, made when it is not there. What a parent left behind stays where it is.
World* make_world() {
  static const int counted = ::pthread_atfork(nullptr, nullptr, [] { ++forks; });
  static_cast<void>(counted);
  World* w = world.load();
  while (!is_here(w)) {
    auto* fresh = new World(forks.load());
    if (world.compare_exchange_strong(w, fresh)) return fresh;
    delete fresh;
  }
  return w;
}

// At exit() of a host that did not finalise, before OpenSSL and the C++ library take down what calls of other threads
// may be using: such calls are waited for, later ones refused, keys erased. A call that hangs is left alone.
void end_with_process() noexcept {
  guarded([]() -> CK_RV {
    World* const w = this_world();
    if (w == nullptr) return CKR_OK;
    w->ending = true;
    const std::unique_lock life(w->life, std::chrono::seconds(2));
    if (life.owns_lock()) w->library.reset();
    return CKR_OK;
  });
}

// CK_C_INITIALIZE_ARGS, PKCS#11 2.40, 5.4. Flags that the standard does not name are left alone.
CK_RV plan_initialisation(const CK_C_INITIALIZE_ARGS* a, Library::Start& start) {
  if (a == nullptr) return CKR_OK;
  if (a->pReserved != nullptr) return CKR_ARGUMENTS_BAD;
  const int given = (a->CreateMutex != nullptr) + (a->DestroyMutex != nullptr) + (a->LockMutex != nullptr) +
                    (a->UnlockMutex != nullptr);
  if (given != 0 && given != 4) return CKR_ARGUMENTS_BAD;
  // The application's mutex only where it does not allow the system's: one call at a time, and nothing in it can then
  // wait for a lock that another of its threads holds.
  if (given == 4 && (a->flags & CKF_OS_LOCKING_OK) == 0) start.mutex = *a;
  if ((a->flags & CKF_LIBRARY_CANT_CREATE_OS_THREADS) != 0) start.threads = CoreService::Threads::callers;
  return CKR_OK;
}

template <std::size_t N>
void pad(unsigned char (&field)[N], std::string_view text) {
  std::fill(std::begin(field), std::end(field), ' ');
  std::copy_n(text.begin(), std::min(N, text.size()), std::begin(field));
}

struct MechanismRow {
  CK_MECHANISM_TYPE type;
  CK_FLAGS flags;
  bool all_in_core;  // on a board it deserves CKF_HW
};
constexpr CK_FLAGS kEc = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;
constexpr std::array kMechanisms{
    MechanismRow{CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR | kEc, true},
    MechanismRow{CKM_ECDH1_DERIVE, CKF_DERIVE | kEc, true}, MechanismRow{CKM_ECDSA, CKF_SIGN | CKF_VERIFY | kEc, true},
    MechanismRow{CKM_ECDSA_SHA256, CKF_SIGN | CKF_VERIFY | kEc, false},  // the hash is made in this process
};

constexpr std::string_view kManufacturer = "Keyferry";
constexpr CK_VERSION kLibraryVersion{0, 1};

// A list for a caller that asks twice: how many, then which.
template <class T, class Range>
CK_RV give_list(const Range& from, T* list, CK_ULONG* n) {
  const CK_ULONG have = static_cast<CK_ULONG>(from.size());
  if (list == nullptr) {
    *n = have;
    return CKR_OK;
  }
  const bool fits = *n >= have;
  *n = have;
  if (!fits) return CKR_BUFFER_TOO_SMALL;
  std::copy(from.begin(), from.end(), list);
  return CKR_OK;
}

CK_VERSION hardware_of(const CoreFacts& f) {
  // The version of the register map; known once the core was opened.
  return {static_cast<unsigned char>((f.version >> 16U) & 0xFFU),
          static_cast<unsigned char>((f.version >> 8U) & 0xFFU)};
}

}  // namespace

World* this_world() {
  World* const w = world.load();
  return is_here(w) ? w : nullptr;
}

namespace api {

CK_RV initialize(void* args) {
  return guarded([&]() -> CK_RV {
    Library::Start start;
    if (const CK_RV rv = plan_initialisation(static_cast<const CK_C_INITIALIZE_ARGS*>(args), start); rv != CKR_OK)
      return rv;
    World* const w = make_world();
    const std::unique_lock life(w->life);
    if (w->library) return CKR_CRYPTOKI_ALREADY_INITIALIZED;
    auto lib = Library::start(start);
    if (!lib) return CKR_GENERAL_ERROR;
    w->library = std::move(*lib);
    // Handlers run last first: OpenSSL's was there when the library had made its context.
    static const int registered = std::atexit(end_with_process);
    static_cast<void>(registered);
    return CKR_OK;
  });
}

CK_RV finalize(void* reserved) {
  return guarded([&]() -> CK_RV {
    if (reserved != nullptr) return CKR_ARGUMENTS_BAD;
    World* const w = this_world();
    if (w == nullptr || w->ending.exchange(true)) return CKR_CRYPTOKI_NOT_INITIALIZED;
    const std::unique_lock life(w->life);
    w->ending = false;  // whoever comes now waits for the lock
    if (!w->library) return CKR_CRYPTOKI_NOT_INITIALIZED;
    w->library.reset();
    return CKR_OK;
  });
}

CK_RV get_info(CK_INFO* info) {
  return call([&](Library&) -> CK_RV {
    if (info == nullptr) return CKR_ARGUMENTS_BAD;
    *info = {};
    info->cryptokiVersion = {2, 40};
    pad(info->manufacturerID, kManufacturer);
    pad(info->libraryDescription, "Keyferry ECC core");
    info->libraryVersion = kLibraryVersion;
    return CKR_OK;
  });
}

// A core counts as present: whether it can be opened is found out when it is needed.
CK_RV get_slot_list(CK_BBOOL, CK_SLOT_ID* list, CK_ULONG* n) {
  return call([&](Library& lib) -> CK_RV {
    if (n == nullptr) return CKR_ARGUMENTS_BAD;
    std::vector<CK_SLOT_ID> ids;
    for (std::size_t i = 0; i < lib.cores(); ++i) ids.push_back(i);
    return give_list(ids, list, n);
  });
}

CK_RV get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO* info) {
  return call([&](Library& lib) -> CK_RV {
    if (slot >= lib.cores()) return CKR_SLOT_ID_INVALID;
    if (info == nullptr) return CKR_ARGUMENTS_BAD;
    const bool simulated = is_simulated(lib.configuration(), slot);
    *info = {};
    pad(info->slotDescription,
        "Keyferry ECC core " + std::to_string(slot) + ", " + place_of(lib.configuration(), slot));
    pad(info->manufacturerID, kManufacturer);
    info->flags = CKF_TOKEN_PRESENT | (simulated ? 0UL : CKF_HW_SLOT);
    info->hardwareVersion = hardware_of(lib.core(slot).facts());
    info->firmwareVersion = kLibraryVersion;
    return CKR_OK;
  });
}

CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO* info) {
  return call([&](Library& lib) -> CK_RV {
    if (slot >= lib.cores()) return CKR_SLOT_ID_INVALID;
    if (info == nullptr) return CKR_ARGUMENTS_BAD;
    const CoreFacts facts = lib.core(slot).facts();
    const auto [all, read_write] = lib.session_count(slot);
    *info = {};
    pad(info->label, "keyferry-core-" + std::to_string(slot));
    pad(info->manufacturerID, kManufacturer);
    pad(info->model, is_simulated(lib.configuration(), slot) ? "SIMULATED core" : "ECC core");
    pad(info->serialNumber, std::to_string(slot));
    // No CKF_LOGIN_REQUIRED and no PIN: keys live as long as their session, so there is nothing that a PIN would guard
    // from anybody but the process that made them.
    info->flags = CKF_TOKEN_INITIALIZED;
    if (!lib.configuration().volatile_token_objects) info->flags |= CKF_WRITE_PROTECTED;
    info->ulMaxPinLen = 255;  // any
    info->ulMaxSessionCount = CK_EFFECTIVELY_INFINITE;
    info->ulSessionCount = all;
    info->ulMaxRwSessionCount = CK_EFFECTIVELY_INFINITE;
    info->ulRwSessionCount = read_write;
    info->ulTotalPublicMemory = info->ulFreePublicMemory = CK_UNAVAILABLE_INFORMATION;
    info->ulTotalPrivateMemory = info->ulFreePrivateMemory = CK_UNAVAILABLE_INFORMATION;
    if (facts.open) {  // key slots of 32 octets
      info->ulTotalPrivateMemory = 32UL * facts.key_slots;
      info->ulFreePrivateMemory = 32UL * facts.free_slots;
    }
    info->hardwareVersion = hardware_of(facts);
    info->firmwareVersion = kLibraryVersion;
    pad(info->utcTime, "");
    return CKR_OK;
  });
}

CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE* list, CK_ULONG* n) {
  return call([&](Library& lib) -> CK_RV {
    if (slot >= lib.cores()) return CKR_SLOT_ID_INVALID;
    if (n == nullptr) return CKR_ARGUMENTS_BAD;
    std::vector<CK_MECHANISM_TYPE> types;
    for (const MechanismRow& m : kMechanisms) types.push_back(m.type);
    return give_list(types, list, n);
  });
}

CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO* info) {
  return call([&](Library& lib) -> CK_RV {
    if (slot >= lib.cores()) return CKR_SLOT_ID_INVALID;
    if (info == nullptr) return CKR_ARGUMENTS_BAD;
    for (const MechanismRow& m : kMechanisms) {
      if (m.type != type) continue;
      *info = {256, 256, m.flags};
      if (m.all_in_core && !is_simulated(lib.configuration(), slot)) info->flags |= CKF_HW;
      return CKR_OK;
    }
    return CKR_MECHANISM_INVALID;
  });
}

CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void*, CK_NOTIFY, CK_SESSION_HANDLE* handle) {
  return call([&](Library& lib) -> CK_RV {
    if (slot >= lib.cores()) return CKR_SLOT_ID_INVALID;
    if (handle == nullptr) return CKR_ARGUMENTS_BAD;
    if ((flags & CKF_SERIAL_SESSION) == 0) return CKR_SESSION_PARALLEL_NOT_SUPPORTED;
    return lib.open_session(slot, flags, *handle);
  });
}

CK_RV close_session(CK_SESSION_HANDLE handle) {
  return call([&](Library& lib) { return lib.close_session(handle); });
}

CK_RV close_all_sessions(CK_SLOT_ID slot) {
  return call(
      [&](Library& lib) -> CK_RV { return slot >= lib.cores() ? CKR_SLOT_ID_INVALID : lib.close_sessions(slot); });
}

CK_RV get_session_info(CK_SESSION_HANDLE handle, CK_SESSION_INFO* info) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    if (info == nullptr) return CKR_ARGUMENTS_BAD;
    *info = {};
    info->slotID = s.slot;
    info->flags = s.flags;
    const bool user = lib.logged_in(s.slot);
    info->state = (s.flags & CKF_RW_SESSION) != 0 ? (user ? CKS_RW_USER_FUNCTIONS : CKS_RW_PUBLIC_SESSION)
                                                  : (user ? CKS_RO_USER_FUNCTIONS : CKS_RO_PUBLIC_SESSION);
    return CKR_OK;
  });
}

// There is no PIN, and nothing waits for a login (no CKF_LOGIN_REQUIRED); programs that log in all the same find what
// the standard promises. A PIN that is offered is neither looked at nor counted.
CK_RV login(CK_SESSION_HANDLE handle, CK_USER_TYPE user, unsigned char* pin, CK_ULONG n) {
  return call_on(handle, [&](Library& lib, Session& s) -> CK_RV {
    if (pin == nullptr && n != 0) return CKR_ARGUMENTS_BAD;
    switch (user) {
      case CKU_USER:
        return lib.login(s.slot);
      case CKU_SO:  // who has nothing to do here
        return lib.logged_in(s.slot) ? CKR_USER_ANOTHER_ALREADY_LOGGED_IN : CKR_FUNCTION_NOT_SUPPORTED;
      case CKU_CONTEXT_SPECIFIC:
        return CKR_OPERATION_NOT_INITIALIZED;  // no key asks for it
      default:
        return CKR_USER_TYPE_INVALID;
    }
  });
}

CK_RV logout(CK_SESSION_HANDLE handle) {
  return call_on(handle, [](Library& lib, Session& s) { return lib.logout(s.slot); });
}

CK_RV wait_for_slot_event(CK_FLAGS flags, CK_SLOT_ID* slot, void* reserved) {
  return call([&](Library&) -> CK_RV {
    if (slot == nullptr || reserved != nullptr) return CKR_ARGUMENTS_BAD;
    // Cores neither come nor go as slots; nobody would ever be woken.
    return (flags & CKF_DONT_BLOCK) != 0 ? CKR_NO_EVENT : CKR_FUNCTION_NOT_SUPPORTED;
  });
}

// The core's random numbers stay inside it.
CK_RV seed_random(CK_SESSION_HANDLE handle, unsigned char*, CK_ULONG) {
  return call_on(handle, [](Library&, Session&) -> CK_RV { return CKR_RANDOM_NO_RNG; });
}
CK_RV generate_random(CK_SESSION_HANDLE handle, unsigned char*, CK_ULONG) {
  return call_on(handle, [](Library&, Session&) -> CK_RV { return CKR_RANDOM_NO_RNG; });
}

// What is left of a way of working that no version has had since 2.0: whatever the handle.
CK_RV not_parallel(CK_SESSION_HANDLE) {
  return call([](Library&) -> CK_RV { return CKR_FUNCTION_NOT_PARALLEL; });
}

}  // namespace api
}  // namespace kf::p11core
