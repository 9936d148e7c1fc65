// What PKCS#11 promises to programs of others, as far as it needs no core: initialisation in every combination, login,
// wrong arguments of every function, a host whose OpenSSL is not ours, threads, fork and the end of the process. Runs
// under the sanitizers too.
#include <openssl/err.h>
#include <openssl/evp.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "tests/p11module/support.hpp"

namespace kf::p11test {
namespace {

CK_FUNCTION_LIST* f() { return raw_module(); }

// Nothing here needs a core, so none is started.
constexpr const char* kNoCore = "log = \"none\"\n[[core]]\nprogram = \"/nowhere/keyferry-ecc-sim\"\n";

// ---- an application's mutexes

struct Mutexes {
  std::atomic<int> made{0}, destroyed{0}, locked{0}, unlocked{0}, inside{0}, overlaps{0};
  void reset() { made = destroyed = locked = unlocked = inside = overlaps = 0; }
};
Mutexes mutexes;

CK_RV make_mutex(void** m) {
  ++mutexes.made;
  *m = new std::mutex;
  return CKR_OK;
}
CK_RV destroy_mutex(void* m) {
  ++mutexes.destroyed;
  delete static_cast<std::mutex*>(m);
  return CKR_OK;
}
CK_RV lock_mutex(void* m) {
  static_cast<std::mutex*>(m)->lock();
  ++mutexes.locked;
  if (++mutexes.inside != 1) ++mutexes.overlaps;
  return CKR_OK;
}
CK_RV unlock_mutex(void* m) {
  --mutexes.inside;
  ++mutexes.unlocked;
  static_cast<std::mutex*>(m)->unlock();
  return CKR_OK;
}

CK_C_INITIALIZE_ARGS initialisation(CK_FLAGS flags, unsigned callbacks) {
  CK_C_INITIALIZE_ARGS a{};
  a.flags = flags;
  if ((callbacks & 1U) != 0) a.CreateMutex = make_mutex;
  if ((callbacks & 2U) != 0) a.DestroyMutex = destroy_mutex;
  if ((callbacks & 4U) != 0) a.LockMutex = lock_mutex;
  if ((callbacks & 8U) != 0) a.UnlockMutex = unlock_mutex;
  return a;
}

CK_RV make_public_key(CK_SESSION_HANDLE h, const Point& q, CK_OBJECT_HANDLE& o, Curve c = Curve::p256) {
  Attributes t;
  t.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_EC);
  t.octets(CKA_EC_PARAMS, oid(c)).octets(CKA_EC_POINT, der(q));
  return f()->C_CreateObject(h, t.data(), t.size(), &o);
}

class Initialisation : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(f(), nullptr) << kModule; }
  Scratch scratch{kNoCore};
};

// Every combination of the two flags (and one that the standard does not name) with every subset of the callbacks.
TEST_F(Initialisation, EveryCombinationOfFlagsAndCallbacks) {
  const KeyPair k = generate_key_pair(Curve::p256);
  for (const CK_FLAGS extra : {0UL, 0x40UL}) {
    for (CK_FLAGS flags = 0; flags < 4; ++flags) {
      for (unsigned callbacks = 0; callbacks < 16; ++callbacks) {
        SCOPED_TRACE("flags " + std::to_string(flags | extra) + ", callbacks " + std::to_string(callbacks));
        mutexes.reset();
        CK_C_INITIALIZE_ARGS a = initialisation(flags | extra, callbacks);
        // A sanitizer's own thread comes with the first one that is created.
        const bool forbidden = (flags & CKF_LIBRARY_CANT_CREATE_OS_THREADS) != 0;
        const std::size_t before = forbidden ? settled_threads() : 0;
        const CK_RV rv = f()->C_Initialize(&a);
        if (callbacks != 0 && callbacks != 15) {
          ASSERT_EQ(rv, CKR_ARGUMENTS_BAD);
          continue;
        }
        ASSERT_EQ(rv, CKR_OK);
        EXPECT_EQ(f()->C_Initialize(&a), CKR_CRYPTOKI_ALREADY_INITIALIZED);
        if (forbidden) {
          EXPECT_TRUE(eventually_threads(before)) << "none may be created";
        }
        {
          Session s(f());
          CK_OBJECT_HANDLE o = 0;
          EXPECT_EQ(make_public_key(s.h, k.q, o), CKR_OK);
          EXPECT_EQ(s.find().size(), 1U);
        }
        EXPECT_EQ(f()->C_Finalize(nullptr), CKR_OK);
        const bool used = callbacks == 15 && (flags & CKF_OS_LOCKING_OK) == 0;
        EXPECT_EQ(mutexes.made, used ? 1 : 0);
        EXPECT_EQ(mutexes.destroyed, mutexes.made);
        EXPECT_EQ(mutexes.locked > 0, used);
        EXPECT_EQ(mutexes.locked, mutexes.unlocked);
      }
    }
  }
}

TEST_F(Initialisation, TheApplicationsMutexIsHeldInEveryCall) {
  mutexes.reset();
  CK_C_INITIALIZE_ARGS a = initialisation(0, 15);
  ASSERT_EQ(f()->C_Initialize(&a), CKR_OK);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 50; ++i) {
        Session s(f());
        s.find();
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(f()->C_Finalize(nullptr), CKR_OK);
  EXPECT_GE(mutexes.locked, 4 * 50 * 5);
  EXPECT_EQ(mutexes.overlaps, 0);

  a.CreateMutex = [](void**) -> CK_RV { return CKR_HOST_MEMORY; };
  EXPECT_EQ(f()->C_Initialize(&a), CKR_GENERAL_ERROR) << "an application that makes no mutex";
  a = initialisation(0, 15);
  a.LockMutex = [](void*) -> CK_RV { return CKR_MUTEX_BAD; };
  ASSERT_EQ(f()->C_Initialize(&a), CKR_OK);
  CK_INFO info{};
  EXPECT_EQ(f()->C_GetInfo(&info), CKR_GENERAL_ERROR);
  EXPECT_EQ(f()->C_Finalize(nullptr), CKR_OK);
}

// No descriptors left: an error, and no end of the process; afterwards all is well.
TEST_F(Initialisation, WithoutDescriptors) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer needs descriptors to look at an exception";
#endif
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ::unsetenv("KEYFERRY_P11_CONF");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const CK_RV rv = f()->C_Initialize(nullptr);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(rv, CKR_GENERAL_ERROR);
  ASSERT_EQ(f()->C_Initialize(nullptr), CKR_OK);
  EXPECT_EQ(f()->C_Finalize(nullptr), CKR_OK);
}

// ---- initialised

class Conformance : public Initialisation {
 protected:
  void SetUp() override {
    ASSERT_NE(f(), nullptr) << kModule;
    ASSERT_EQ(f()->C_Initialize(nullptr), CKR_OK);
  }
  void TearDown() override { f()->C_Finalize(nullptr); }
  static CK_STATE state(CK_SESSION_HANDLE h) {
    CK_SESSION_INFO i{};
    EXPECT_EQ(f()->C_GetSessionInfo(h, &i), CKR_OK);
    return i.state;
  }
  unsigned char pin[5] = "1234";
};

TEST_F(Conformance, LoginIsTheApplicationsAndEndsWithTheLastSession) {
  {
    Session ro(f());
    Session rw(f(), CKF_RW_SESSION);
    EXPECT_EQ(state(ro.h), CKS_RO_PUBLIC_SESSION);
    EXPECT_EQ(state(rw.h), CKS_RW_PUBLIC_SESSION);
    EXPECT_EQ(f()->C_Logout(ro.h), CKR_USER_NOT_LOGGED_IN);
    EXPECT_EQ(f()->C_Login(ro.h, CKU_USER, nullptr, 4), CKR_ARGUMENTS_BAD);
    EXPECT_EQ(f()->C_Login(ro.h, 17, pin, 4), CKR_USER_TYPE_INVALID);
    EXPECT_EQ(f()->C_Login(ro.h, CKU_SO, pin, 4), CKR_FUNCTION_NOT_SUPPORTED);
    EXPECT_EQ(f()->C_Login(4711, CKU_USER, pin, 4), CKR_SESSION_HANDLE_INVALID);
    ASSERT_EQ(f()->C_Login(ro.h, CKU_USER, pin, 4), CKR_OK);
    EXPECT_EQ(state(ro.h), CKS_RO_USER_FUNCTIONS);
    EXPECT_EQ(state(rw.h), CKS_RW_USER_FUNCTIONS) << "a login is for all sessions";
    EXPECT_EQ(f()->C_Login(rw.h, CKU_USER, pin, 4), CKR_USER_ALREADY_LOGGED_IN);
    EXPECT_EQ(f()->C_Login(rw.h, CKU_SO, pin, 4), CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
    EXPECT_EQ(f()->C_Login(rw.h, CKU_CONTEXT_SPECIFIC, pin, 4), CKR_OPERATION_NOT_INITIALIZED);
    ASSERT_EQ(f()->C_Logout(rw.h), CKR_OK);
    EXPECT_EQ(state(ro.h), CKS_RO_PUBLIC_SESSION);
    ASSERT_EQ(f()->C_Login(ro.h, CKU_USER, nullptr, 0), CKR_OK) << "a PIN is not asked for";
  }
  {
    Session later(f());
    EXPECT_EQ(state(later.h), CKS_RO_PUBLIC_SESSION) << "the last session ended the login";
    EXPECT_EQ(f()->C_Login(later.h, CKU_USER, pin, 4), CKR_OK);
    EXPECT_EQ(f()->C_CloseAllSessions(0), CKR_OK);
  }
  Session last(f());
  EXPECT_EQ(state(last.h), CKS_RO_PUBLIC_SESSION);
}

TEST_F(Conformance, LogoutTakesPrivateObjectsAlong) {
  const KeyPair k = generate_key_pair(Curve::p256);
  Session s(f());
  ASSERT_EQ(f()->C_Login(s.h, CKU_USER, pin, 4), CKR_OK);
  CK_OBJECT_HANDLE open = 0;
  CK_OBJECT_HANDLE closed = 0;
  ASSERT_EQ(make_public_key(s.h, k.q, open), CKR_OK);
  Attributes t;
  t.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_EC).flag(CKA_PRIVATE, true);
  t.octets(CKA_EC_PARAMS, oid(Curve::p256)).octets(CKA_EC_POINT, der(k.q));
  ASSERT_EQ(f()->C_CreateObject(s.h, t.data(), t.size(), &closed), CKR_OK);
  ASSERT_EQ(f()->C_Logout(s.h), CKR_OK);
  EXPECT_EQ(s.find(), std::vector<CK_OBJECT_HANDLE>{open});
}

TEST_F(Conformance, LegacyFunctionsAnswerWhateverTheHandle) {
  Session s(f());
  for (const CK_SESSION_HANDLE h : {s.h, CK_SESSION_HANDLE{0}, CK_SESSION_HANDLE{4711}}) {
    EXPECT_EQ(f()->C_GetFunctionStatus(h), CKR_FUNCTION_NOT_PARALLEL);
    EXPECT_EQ(f()->C_CancelFunction(h), CKR_FUNCTION_NOT_PARALLEL);
  }
}

// Null where something must be: an answer, never a crash. With a wrong handle: that, whatever else is wrong.
TEST_F(Conformance, NothingWhereSomethingMustBe) {
  CK_FUNCTION_LIST& m = *f();
  Session s(f());
  CK_OBJECT_HANDLE o = 0;
  ASSERT_EQ(make_public_key(s.h, generate_key_pair(Curve::p256).q, o), CKR_OK);
  EXPECT_EQ(m.C_GetInfo(nullptr), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(m.C_GetFunctionList(nullptr), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(m.C_GetSlotList(CK_TRUE, nullptr, nullptr), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(m.C_GetSlotInfo(0, nullptr), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(m.C_GetTokenInfo(0, nullptr), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(m.C_GetMechanismList(0, nullptr, nullptr), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(m.C_GetMechanismInfo(0, CKM_ECDSA, nullptr), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(m.C_WaitForSlotEvent(CKF_DONT_BLOCK, nullptr, nullptr), CKR_ARGUMENTS_BAD);
  for (const bool good : {true, false}) {
    SCOPED_TRACE(good ? "session" : "no session");
    const CK_SESSION_HANDLE h = good ? s.h : 4711;
    const CK_RV bad = good ? CKR_ARGUMENTS_BAD : CKR_SESSION_HANDLE_INVALID;
    const CK_RV none = good ? CKR_OPERATION_NOT_INITIALIZED : CKR_SESSION_HANDLE_INVALID;
    EXPECT_EQ(m.C_GetSessionInfo(h, nullptr), bad);
    EXPECT_EQ(m.C_CreateObject(h, nullptr, 2, nullptr), bad);
    EXPECT_EQ(m.C_GetObjectSize(h, o, nullptr), bad);
    EXPECT_EQ(m.C_GetAttributeValue(h, o, nullptr, 1), bad);
    EXPECT_EQ(m.C_SetAttributeValue(h, o, nullptr, 1), bad);
    EXPECT_EQ(m.C_FindObjectsInit(h, nullptr, 1), bad);
    EXPECT_EQ(m.C_FindObjects(h, nullptr, 1, nullptr), bad);
    EXPECT_EQ(m.C_FindObjectsFinal(h), none);
    EXPECT_EQ(m.C_GenerateKeyPair(h, nullptr, nullptr, 0, nullptr, 0, nullptr, nullptr), bad);
    EXPECT_EQ(m.C_DeriveKey(h, nullptr, o, nullptr, 0, nullptr), bad);
    EXPECT_EQ(m.C_SignInit(h, nullptr, o), bad);
    EXPECT_EQ(m.C_VerifyInit(h, nullptr, o), bad);
    EXPECT_EQ(m.C_Sign(h, nullptr, 4, nullptr, nullptr), none);
    EXPECT_EQ(m.C_SignUpdate(h, nullptr, 4), none);
    EXPECT_EQ(m.C_SignFinal(h, nullptr, nullptr), none);
    EXPECT_EQ(m.C_Verify(h, nullptr, 4, nullptr, 4), none);
    EXPECT_EQ(m.C_VerifyUpdate(h, nullptr, 4), none);
    EXPECT_EQ(m.C_VerifyFinal(h, nullptr, 4), none);
    EXPECT_EQ(m.C_DestroyObject(h, 0), good ? CKR_OBJECT_HANDLE_INVALID : CKR_SESSION_HANDLE_INVALID);
    EXPECT_EQ(m.C_GenerateRandom(h, nullptr, 4), good ? CKR_RANDOM_NO_RNG : CKR_SESSION_HANDLE_INVALID);
    if (!good) {
      EXPECT_EQ(m.C_CloseSession(h), CKR_SESSION_HANDLE_INVALID);
      EXPECT_EQ(m.C_Logout(h), CKR_SESSION_HANDLE_INVALID);
    }
  }
  EXPECT_EQ(m.C_CloseAllSessions(9), CKR_SLOT_ID_INVALID);
  // Attributes that claim to be somewhere and are not.
  CK_ATTRIBUTE lies{CKA_LABEL, nullptr, 9};
  CK_MECHANISM generate{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
  EXPECT_EQ(m.C_CreateObject(s.h, &lies, 1, &o), CKR_TEMPLATE_INCOMPLETE);
  EXPECT_EQ(m.C_FindObjectsInit(s.h, &lies, 1), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(m.C_SetAttributeValue(s.h, o, &lies, 1), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(m.C_GenerateKeyPair(s.h, &generate, &lies, 1, nullptr, 0, &o, &o), CKR_ATTRIBUTE_VALUE_INVALID);
  CK_ATTRIBUTE empty_class{CKA_CLASS, nullptr, sizeof(CK_OBJECT_CLASS)};
  EXPECT_EQ(m.C_CreateObject(s.h, &empty_class, 1, &o), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(m.C_FindObjectsInit(s.h, nullptr, 0), CKR_OK) << "a refused search is none";
}

TEST_F(Conformance, OperationsAfterErrors) {
  CK_FUNCTION_LIST& m = *f();
  Session s(f());
  CK_OBJECT_HANDLE o = 0;
  ASSERT_EQ(make_public_key(s.h, generate_key_pair(Curve::p256).q, o), CKR_OK);
  CK_MECHANISM hash{CKM_ECDSA, nullptr, 0};
  CK_MECHANISM message{CKM_ECDSA_SHA256, nullptr, 0};
  unsigned char data[64] = {};
  // An Init that fails begins nothing.
  CK_MECHANISM unknown{CKM_RSA_PKCS, nullptr, 0};
  EXPECT_EQ(m.C_VerifyInit(s.h, &unknown, o), CKR_MECHANISM_INVALID);
  EXPECT_EQ(m.C_Verify(s.h, data, 4, data, 64), CKR_OPERATION_NOT_INITIALIZED);
  CK_MECHANISM with_parameter{CKM_ECDSA, data, 4};
  EXPECT_EQ(m.C_VerifyInit(s.h, &with_parameter, o), CKR_MECHANISM_PARAM_INVALID);
  // Any error but those about room ends the operation.
  const auto begin = [&](CK_MECHANISM& how) { ASSERT_EQ(m.C_VerifyInit(s.h, &how, o), CKR_OK); };
  begin(hash);
  EXPECT_EQ(m.C_Verify(s.h, nullptr, 4, data, 64), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(m.C_Verify(s.h, data, 4, data, 64), CKR_OPERATION_NOT_INITIALIZED);
  begin(message);
  EXPECT_EQ(m.C_VerifyUpdate(s.h, nullptr, 4), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(m.C_VerifyFinal(s.h, data, 64), CKR_OPERATION_NOT_INITIALIZED);
  begin(message);
  EXPECT_EQ(m.C_VerifyUpdate(s.h, nullptr, 0), CKR_OK) << "an empty part is a part";
  EXPECT_EQ(m.C_Verify(s.h, data, 4, data, 64), CKR_OPERATION_ACTIVE) << "parts and a whole do not mix";
  begin(message);
  EXPECT_EQ(m.C_VerifyFinal(s.h, data, 63), CKR_SIGNATURE_LEN_RANGE);
  // Two kinds of operation do not disturb each other.
  begin(hash);
  ASSERT_EQ(m.C_FindObjectsInit(s.h, nullptr, 0), CKR_OK);
  EXPECT_EQ(m.C_FindObjectsInit(s.h, nullptr, 0), CKR_OPERATION_ACTIVE);
  CK_ULONG n = 9;
  EXPECT_EQ(m.C_FindObjects(s.h, nullptr, 0, &n), CKR_OK);
  EXPECT_EQ(n, 0U);
  EXPECT_EQ(m.C_FindObjectsFinal(s.h), CKR_OK);
  EXPECT_EQ(m.C_Verify(s.h, data, 4, data, 1), CKR_SIGNATURE_LEN_RANGE);
  // A key that goes takes nothing with it that the operation needs for its answer.
  begin(hash);
  EXPECT_EQ(m.C_DestroyObject(s.h, o), CKR_OK);
  EXPECT_EQ(m.C_Verify(s.h, data, 4, data, 1), CKR_SIGNATURE_LEN_RANGE);
}

// ---- a host with an OpenSSL of its own

TEST_F(Conformance, TheHostsOpensslIsLeftAlone) {
  const KeyPair k = generate_key_pair(Curve::brainpool_p256r1);
  // What a configuration with `default_properties` does; nothing can be fetched in the default context now.
  ASSERT_EQ(EVP_set_default_properties(nullptr, "provider=nobody"), 1);
  ERR_clear_error();
  ERR_raise(ERR_LIB_USER, 77);  // the host's own, not yet looked at
  const CK_RV again = f()->C_Finalize(nullptr) | f()->C_Initialize(nullptr);
  Session s(f());
  CK_OBJECT_HANDLE o = 0;
  CK_MECHANISM message{CKM_ECDSA_SHA256, nullptr, 0};
  unsigned char data[64] = {};
  const CK_RV made = make_public_key(s.h, k.q, o, Curve::brainpool_p256r1);
  const CK_RV begun = f()->C_VerifyInit(s.h, &message, o);
  const CK_RV updated = f()->C_VerifyUpdate(s.h, data, sizeof data);
  Point off = k.q;
  off[64] ^= 1;
  const CK_RV refused = make_public_key(s.h, off, o, Curve::brainpool_p256r1);
  const unsigned long last = ERR_peek_last_error();
  const unsigned long first = ERR_get_error();
  EVP_set_default_properties(nullptr, "");
  EXPECT_EQ(again, CKR_OK);
  EXPECT_EQ(made, CKR_OK);
  EXPECT_EQ(begun, CKR_OK);
  EXPECT_EQ(updated, CKR_OK);
  EXPECT_EQ(refused, CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(ERR_GET_REASON(first), 77) << "the host's error is gone";
  EXPECT_EQ(first, last) << "an error of the module's is in the host's queue";
}

// ---- threads, processes

// C_Finalize comes while others call: it waits for them, and they are told.
TEST_F(Conformance, FinalizeAmongCalls) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<int> told{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const auto allowed = [&](CK_RV rv) {
        told += rv == CKR_CRYPTOKI_NOT_INITIALIZED ? 1 : 0;
        if (rv != CKR_OK && rv != CKR_CRYPTOKI_NOT_INITIALIZED && rv != CKR_SESSION_HANDLE_INVALID) ++wrong;
        return rv == CKR_OK;
      };
      while (!stop) {
        CK_SESSION_HANDLE h = 0;
        CK_TOKEN_INFO info{};
        CK_ULONG n = 0;
        CK_OBJECT_HANDLE o = 0;
        allowed(f()->C_GetTokenInfo(0, &info));
        if (!allowed(f()->C_OpenSession(0, CKF_SERIAL_SESSION, nullptr, nullptr, &h))) continue;
        if (allowed(f()->C_FindObjectsInit(h, nullptr, 0))) allowed(f()->C_FindObjects(h, &o, 1, &n));
        allowed(f()->C_CloseSession(h));
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(f()->C_Finalize(nullptr), CKR_OK);
    for (const int before = told; told == before;) std::this_thread::yield();
    EXPECT_EQ(f()->C_Initialize(nullptr), CKR_OK);
  }
  stop = true;
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

int status_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// Forked while other threads are in the module: the child finds it uninitialised, can begin anew, and the parent's
// sessions are the parent's.
TEST_F(Conformance, ForkedAmongCalls) {
  Session s(f());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        Session mine(f());
        mine.find();
      }
    });
  }
  for (int i = 0; i < 10; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      CK_SESSION_INFO info{};
      if (f()->C_GetSessionInfo(s.h, &info) != CKR_CRYPTOKI_NOT_INITIALIZED) ::_exit(1);
      if (f()->C_Finalize(nullptr) != CKR_CRYPTOKI_NOT_INITIALIZED) ::_exit(2);
#if !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)  // whose runtime has locks that such a child inherits
      if (f()->C_Initialize(nullptr) != CKR_OK) ::_exit(3);
      if (f()->C_GetSessionInfo(s.h, &info) != CKR_SESSION_HANDLE_INVALID) ::_exit(4);
      CK_SESSION_HANDLE own = 0;
      if (f()->C_OpenSession(0, CKF_SERIAL_SESSION, nullptr, nullptr, &own) != CKR_OK) ::_exit(5);
      if (f()->C_Finalize(nullptr) != CKR_OK) ::_exit(6);
#endif
      ::_exit(0);
    }
    EXPECT_EQ(status_of(child), 0);
  }
  stop = true;
  for (auto& t : threads) t.join();
  EXPECT_EQ(state(s.h), CKS_RO_PUBLIC_SESSION);
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
// A host that neither finalises nor waits for its threads ends as it wanted to; so does one that unloads the module.
TEST(EndOfTheHost, WithCallsUnderWay) {
  const Scratch scratch(kNoCore);
  for (const bool unload : {false, true}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::alarm(30);
      if (f()->C_Initialize(nullptr) != CKR_OK) ::_exit(1);
      std::atomic<int> calls{0};
      // Before exit(): the host's own OpenSSL is not to be used once that takes it down.
      const KeyPair k = generate_key_pair(Curve::p256);
      for (int t = 0; t < 3; ++t) {
        std::thread([&calls, &k] {
          for (;;) {
            CK_SESSION_HANDLE h = 0;
            CK_OBJECT_HANDLE o = 0;
            f()->C_OpenSession(0, CKF_SERIAL_SESSION, nullptr, nullptr, &h);
            make_public_key(h, k.q, o);
            f()->C_CloseSession(h);
            ++calls;
          }
        }).detach();
      }
      while (calls < 20) std::this_thread::yield();
      if (unload) {
        void* const h = ::dlopen(kModule, RTLD_NOW | RTLD_LOCAL);
        for (int i = 0; i < 4; ++i) ::dlclose(h);  // more often than it was opened
      }
      std::exit(0);
    }
    EXPECT_EQ(status_of(child), 0) << unload;
  }
}
#endif

}  // namespace
}  // namespace kf::p11test
