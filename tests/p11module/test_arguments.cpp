// What the module says before any core is needed: arguments, templates, mechanisms, sessions, fork. Runs under the
// sanitizers too, where no simulated core is.
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/p11module/support.hpp"

namespace kf::p11test {
namespace {

class Arguments : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(f, nullptr) << kModule;
    ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
  }
  void TearDown() override { EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK); }
  Scratch scratch{"log = \"none\"\n"};
  CK_FUNCTION_LIST* f = raw_module();
};

TEST(Module, ShowsOneSymbolAndFillsEveryFunction) {
  void* h = ::dlopen(kModule, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(h, nullptr) << ::dlerror();
  EXPECT_EQ(::dlsym(h, "C_Initialize"), nullptr);
  const auto* list = reinterpret_cast<void* const*>(reinterpret_cast<const char*>(raw_module()) + sizeof(void*));
  constexpr std::size_t functions = (sizeof(CK_FUNCTION_LIST) - sizeof(void*)) / sizeof(void*);
  for (std::size_t i = 0; i < functions; ++i) EXPECT_NE(list[i], nullptr) << i;
  EXPECT_EQ(raw_module()->version.major, 2);
  EXPECT_EQ(raw_module()->version.minor, 40);
}

TEST(Module, NothingWithoutInitialisation) {
  CK_FUNCTION_LIST* f = raw_module();
  CK_INFO info{};
  CK_ULONG n = 0;
  EXPECT_EQ(f->C_GetInfo(&info), CKR_CRYPTOKI_NOT_INITIALIZED);
  EXPECT_EQ(f->C_GetSlotList(CK_TRUE, nullptr, &n), CKR_CRYPTOKI_NOT_INITIALIZED);
  EXPECT_EQ(f->C_Digest(1, nullptr, 0, nullptr, nullptr), CKR_CRYPTOKI_NOT_INITIALIZED);
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_CRYPTOKI_NOT_INITIALIZED);
}

TEST(Module, InitialisationArguments) {
  CK_FUNCTION_LIST* f = raw_module();
  int something = 0;
  CK_C_INITIALIZE_ARGS a{};
  a.pReserved = &something;
  EXPECT_EQ(f->C_Initialize(&a), CKR_ARGUMENTS_BAD);
  a = {};
  a.CreateMutex = [](void**) -> CK_RV { return CKR_OK; };
  a.flags = CKF_OS_LOCKING_OK;
  EXPECT_EQ(f->C_Initialize(&a), CKR_ARGUMENTS_BAD) << "one of four functions";
  a.DestroyMutex = a.LockMutex = a.UnlockMutex = [](void*) -> CK_RV { return CKR_OK; };
  a = {};
  a.flags = CKF_OS_LOCKING_OK;
  EXPECT_EQ(f->C_Initialize(&a), CKR_OK);
  EXPECT_EQ(f->C_Initialize(&a), CKR_CRYPTOKI_ALREADY_INITIALIZED);
  EXPECT_EQ(f->C_Finalize(&something), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK);
}

TEST(Module, RefusesAConfigurationThatItDoesNotUnderstand) {
  CK_FUNCTION_LIST* f = raw_module();
  struct Case {
    const char *toml, *said;
  };
  for (const Case& c :
       {Case{"colour = 1", "colour is unknown here"}, Case{"token_objects = 3", "must be a text"},
        Case{"token_objects = \"kept\"", "'kept'"}, Case{"[[core]]\ntransport = \"uio\"", "registers is missing"},
        Case{"[[core]]\ntransport = \"pigeon\"", "'pigeon'"},
        Case{"[[core]]\ntransport = \"vfio\"", "device is missing"},
        Case{"[[core]]\nspeed = 1", "core[0].speed is unknown here"},
        Case{"[[key]]\nuse = \"sign\"\ncurve = \"P-384\"\nlabel = \"x\"", "'P-384'"},
        Case{"[[key]]\nuse = \"sign\"\ncurve = \"P-256\"\nlabel = \"x\"\ncore = 1", "names core 1"},
        Case{"[[key]]\nuse = \"verify\"\ncurve = \"P-256\"\nlabel = \"x\"\npoint = \"04\"", "point must be"},
        Case{"= 3", "line 1"}}) {
    Scratch s(c.toml);
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(f->C_Initialize(nullptr), CKR_GENERAL_ERROR) << c.toml;
    const std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find(c.said), std::string::npos) << c.toml << ": " << said;
    EXPECT_NE(said.find("p11.toml"), std::string::npos) << said;
  }
}

TEST_F(Arguments, SlotsAndTokens) {
  CK_ULONG n = 7;
  EXPECT_EQ(f->C_GetSlotList(CK_TRUE, nullptr, nullptr), CKR_ARGUMENTS_BAD);
  ASSERT_EQ(f->C_GetSlotList(CK_TRUE, nullptr, &n), CKR_OK);
  EXPECT_EQ(n, 1U);
  CK_SLOT_ID slot = 9;
  n = 0;
  EXPECT_EQ(f->C_GetSlotList(CK_TRUE, &slot, &n), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(n, 1U);
  ASSERT_EQ(f->C_GetSlotList(CK_TRUE, &slot, &n), CKR_OK);
  EXPECT_EQ(slot, 0U);
  CK_SLOT_INFO s{};
  ASSERT_EQ(f->C_GetSlotInfo(0, &s), CKR_OK);
  EXPECT_EQ(f->C_GetSlotInfo(1, &s), CKR_SLOT_ID_INVALID);
  EXPECT_EQ(f->C_GetSlotInfo(0, nullptr), CKR_ARGUMENTS_BAD);
  const std::string text(reinterpret_cast<const char*>(s.slotDescription), sizeof s.slotDescription);
  EXPECT_NE(text.find("SIMULATED"), std::string::npos);
  EXPECT_EQ(s.flags & CKF_HW_SLOT, 0U);
  CK_TOKEN_INFO t{};
  ASSERT_EQ(f->C_GetTokenInfo(0, &t), CKR_OK);
  EXPECT_EQ(t.flags & (CKF_LOGIN_REQUIRED | CKF_RNG | CKF_USER_PIN_INITIALIZED), 0U);
  EXPECT_EQ(t.flags & (CKF_TOKEN_INITIALIZED | CKF_WRITE_PROTECTED), CKF_TOKEN_INITIALIZED | CKF_WRITE_PROTECTED);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(t.label), 16), "keyferry-core-0 ");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(t.model), 9), "SIMULATED");
  EXPECT_EQ(f->C_WaitForSlotEvent(CKF_DONT_BLOCK, &slot, nullptr), CKR_NO_EVENT);
  EXPECT_EQ(f->C_WaitForSlotEvent(0, &slot, nullptr), CKR_FUNCTION_NOT_SUPPORTED);
}

TEST_F(Arguments, Mechanisms) {
  CK_ULONG n = 0;
  ASSERT_EQ(f->C_GetMechanismList(0, nullptr, &n), CKR_OK);
  std::vector<CK_MECHANISM_TYPE> types(n);
  ASSERT_EQ(f->C_GetMechanismList(0, types.data(), &n), CKR_OK);
  for (const CK_MECHANISM_TYPE m : {CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKM_ECDSA_SHA256, CKM_ECDH1_DERIVE})
    EXPECT_NE(std::find(types.begin(), types.end(), m), types.end()) << m;
  for (const CK_MECHANISM_TYPE m : types) {
    CK_MECHANISM_INFO i{};
    ASSERT_EQ(f->C_GetMechanismInfo(0, m, &i), CKR_OK);
    EXPECT_EQ(i.ulMinKeySize, 256U);
    EXPECT_EQ(i.ulMaxKeySize, 256U);
    EXPECT_EQ(i.flags & CKF_HW, 0U) << "a simulation is no hardware";
    EXPECT_NE(i.flags & CKF_EC_NAMEDCURVE, 0U);
  }
  CK_MECHANISM_INFO i{};
  EXPECT_EQ(f->C_GetMechanismInfo(0, CKM_AES_GCM, &i), CKR_MECHANISM_INVALID);
}

TEST_F(Arguments, SessionsAndLogin) {
  CK_SESSION_HANDLE h = 0;
  EXPECT_EQ(f->C_OpenSession(0, 0, nullptr, nullptr, &h), CKR_SESSION_PARALLEL_NOT_SUPPORTED);
  EXPECT_EQ(f->C_OpenSession(3, CKF_SERIAL_SESSION, nullptr, nullptr, &h), CKR_SLOT_ID_INVALID);
  EXPECT_EQ(f->C_OpenSession(0, CKF_SERIAL_SESSION, nullptr, nullptr, nullptr), CKR_ARGUMENTS_BAD);
  Session s(f);
  CK_SESSION_INFO info{};
  ASSERT_EQ(f->C_GetSessionInfo(s.h, &info), CKR_OK);
  EXPECT_EQ(info.state, CKS_RO_PUBLIC_SESSION);
  unsigned char pin[] = "1234";
  EXPECT_EQ(f->C_GenerateRandom(s.h, pin, 4), CKR_RANDOM_NO_RNG);
  CK_MECHANISM m{CKM_SHA256, nullptr, 0};
  EXPECT_EQ(f->C_DigestInit(s.h, &m), CKR_FUNCTION_NOT_SUPPORTED);
  EXPECT_EQ(f->C_GetFunctionStatus(s.h), CKR_FUNCTION_NOT_PARALLEL);
  CK_SESSION_HANDLE other = 0;
  ASSERT_EQ(f->C_OpenSession(0, CKF_SERIAL_SESSION, nullptr, nullptr, &other), CKR_OK);
  ASSERT_EQ(f->C_CloseAllSessions(0), CKR_OK);
  EXPECT_EQ(f->C_GetSessionInfo(other, &info), CKR_SESSION_HANDLE_INVALID);
  EXPECT_EQ(f->C_CloseSession(other), CKR_SESSION_HANDLE_INVALID);
}

TEST_F(Arguments, TemplatesOfAPair) {
  Session ro(f);
  Session rw(f, CKF_RW_SESSION);
  struct Case {
    const char* what;
    CK_RV rv;
    void (*change)(Attributes& pub, Attributes& priv);
    bool read_write = false;
  };
  static constexpr auto kP = [](Attributes& pub) { pub.octets(CKA_EC_PARAMS, oid(Curve::p256)); };
  for (const Case& c : {
           Case{"no curve", CKR_TEMPLATE_INCOMPLETE, [](Attributes&, Attributes&v) { v.flag(CKA_SIGN, true); }},
           Case{"no purpose left", CKR_TEMPLATE_INCONSISTENT,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, false).flag(CKA_DERIVE, false);
                }},
           Case{"both purposes", CKR_TEMPLATE_INCONSISTENT,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, true).flag(CKA_DERIVE, true);
                }},
           Case{"extractable", CKR_TEMPLATE_INCONSISTENT,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, true).flag(CKA_EXTRACTABLE, true);
                }},
           Case{"not sensitive", CKR_TEMPLATE_INCONSISTENT,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, true).flag(CKA_SENSITIVE, false);
                }},
           Case{"given value", CKR_ATTRIBUTE_READ_ONLY,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, true).octets(CKA_VALUE, Bytes(32, 1));
                }},
           Case{"unknown attribute", CKR_ATTRIBUTE_TYPE_INVALID,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, true).flag(CKA_MODULUS, true);
                }},
           Case{"a flag that is none", CKR_ATTRIBUTE_VALUE_INVALID,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.octets(CKA_SIGN, {2});
                }},
           Case{"twice", CKR_TEMPLATE_INCONSISTENT,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, true).flag(CKA_SIGN, true);
                }},
           Case{"wrong class", CKR_TEMPLATE_INCONSISTENT,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, true).number(CKA_CLASS, CKO_SECRET_KEY);
                }},
           Case{"another curve", CKR_CURVE_NOT_SUPPORTED,
                [](Attributes&p, Attributes&v) {
                  p.octets(CKA_EC_PARAMS, {0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22});
                  v.flag(CKA_SIGN, true);
                }},
           Case{"no curve's name", CKR_DOMAIN_PARAMS_INVALID,
                [](Attributes&p, Attributes&v) {
                  p.octets(CKA_EC_PARAMS, {0x30, 0x01, 0x00});
                  v.flag(CKA_SIGN, true);
                }},
           Case{"token object, read-only session", CKR_SESSION_READ_ONLY,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, true).flag(CKA_TOKEN, true);
                }},
           Case{"token object", CKR_TOKEN_WRITE_PROTECTED,
                [](Attributes&p, Attributes&v) {
                  kP(p);
                  v.flag(CKA_SIGN, true).flag(CKA_TOKEN, true);
                },
                true},
       }) {
    Attributes pub;
    Attributes priv;
    c.change(pub, priv);
    Pair p;
    EXPECT_EQ((c.read_write ? rw : ro).generate(pub, priv, p), c.rv) << c.what;
  }
  Attributes pub;
  Attributes priv;
  kP(pub);
  priv.flag(CKA_SIGN, true);
  Pair p;
  CK_MECHANISM m{CKM_RSA_PKCS_KEY_PAIR_GEN, nullptr, 0};
  EXPECT_EQ(f->C_GenerateKeyPair(ro.h, &m, pub.data(), pub.size(), priv.data(), priv.size(), &p.pub, &p.priv),
            CKR_MECHANISM_INVALID);
  EXPECT_EQ(f->C_GenerateKeyPair(ro.h, nullptr, pub.data(), pub.size(), priv.data(), priv.size(), &p.pub, &p.priv),
            CKR_ARGUMENTS_BAD);
  m.mechanism = CKM_EC_KEY_PAIR_GEN;
  EXPECT_EQ(f->C_GenerateKeyPair(ro.h, &m, nullptr, 2, priv.data(), priv.size(), &p.pub, &p.priv), CKR_ARGUMENTS_BAD);
  EXPECT_EQ(f->C_GenerateKeyPair(ro.h, &m, pub.data(), pub.size(), priv.data(), priv.size(), nullptr, &p.priv),
            CKR_ARGUMENTS_BAD);
  EXPECT_TRUE(ro.find().empty());
}

TEST_F(Arguments, PublicKeysAsObjects) {
  Session s(f);
  const KeyPair k = generate_key_pair(Curve::brainpool_p256r1);
  const auto make = [&](Bytes point, CK_OBJECT_CLASS cls, CK_OBJECT_HANDLE& o, bool token = false) {
    Attributes t;
    t.number(CKA_CLASS, cls).number(CKA_KEY_TYPE, CKK_EC).octets(CKA_EC_PARAMS, oid(Curve::brainpool_p256r1));
    t.octets(CKA_EC_POINT, std::move(point)).octets(CKA_LABEL, {'a'}).flag(CKA_TOKEN, token);
    return f->C_CreateObject(s.h, t.data(), t.size(), &o);
  };
  CK_OBJECT_HANDLE o = 0;
  Bytes off = der(k.q);
  off.back() ^= 1;
  EXPECT_EQ(make(off, CKO_PUBLIC_KEY, o), CKR_ATTRIBUTE_VALUE_INVALID) << "not on the curve";
  EXPECT_EQ(make(der(generate_key_pair(Curve::p256).q), CKO_PUBLIC_KEY, o), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(make(Bytes(12), CKO_PUBLIC_KEY, o), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(make(der(k.q), CKO_PRIVATE_KEY, o), CKR_ACTION_PROHIBITED);
  EXPECT_EQ(make(der(k.q), CKO_CERTIFICATE, o), CKR_ATTRIBUTE_TYPE_INVALID) << "a point in a certificate";
  EXPECT_EQ(make(der(k.q), CKO_DATA, o), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(make(der(k.q), CKO_PUBLIC_KEY, o, true), CKR_SESSION_READ_ONLY);
  ASSERT_EQ(make(der(k.q), CKO_PUBLIC_KEY, o), CKR_OK);
  EXPECT_EQ(s.point(o), k.q);
  CK_OBJECT_HANDLE raw = 0;
  ASSERT_EQ(make(Bytes(k.q.begin(), k.q.end()), CKO_PUBLIC_KEY, raw), CKR_OK) << "65 octets mean the point";
  EXPECT_EQ(s.point(raw), k.q);

  // The convention of two calls, and what is not there.
  std::array<std::uint8_t, 8> small{};
  std::array a{CK_ATTRIBUTE{CKA_EC_POINT, nullptr, 0}, CK_ATTRIBUTE{CKA_LABEL, small.data(), small.size()}};
  ASSERT_EQ(f->C_GetAttributeValue(s.h, o, a.data(), a.size()), CKR_OK);
  EXPECT_EQ(a[0].ulValueLen, 67U);
  EXPECT_EQ(a[1].ulValueLen, 1U);
  std::array b{CK_ATTRIBUTE{CKA_EC_POINT, small.data(), small.size()}, CK_ATTRIBUTE{CKA_MODULUS, nullptr, 0},
               CK_ATTRIBUTE{CKA_LABEL, small.data(), small.size()}};
  EXPECT_EQ(f->C_GetAttributeValue(s.h, o, b.data(), b.size()), CKR_BUFFER_TOO_SMALL);
  EXPECT_EQ(b[0].ulValueLen, CK_UNAVAILABLE_INFORMATION);
  EXPECT_EQ(b[1].ulValueLen, CK_UNAVAILABLE_INFORMATION);
  EXPECT_EQ(b[2].ulValueLen, 1U) << "the others are told all the same";
  EXPECT_EQ(f->C_GetAttributeValue(s.h, o, &b[1], 1), CKR_ATTRIBUTE_TYPE_INVALID);
  EXPECT_EQ(f->C_GetAttributeValue(s.h, 4711, a.data(), a.size()), CKR_OBJECT_HANDLE_INVALID);

  EXPECT_EQ(s.find(std::move(Attributes().number(CKA_CLASS, CKO_PUBLIC_KEY))).size(), 2U);
  EXPECT_EQ(s.find(std::move(Attributes().octets(CKA_LABEL, {'b'}))).size(), 0U);
  Attributes label;
  label.octets(CKA_LABEL, {'b'});
  ASSERT_EQ(f->C_SetAttributeValue(s.h, o, label.data(), label.size()), CKR_OK);
  EXPECT_EQ(s.find(std::move(Attributes().octets(CKA_LABEL, {'b'}))), std::vector<CK_OBJECT_HANDLE>{o});
  Attributes verify;
  verify.flag(CKA_VERIFY, false);
  EXPECT_EQ(f->C_SetAttributeValue(s.h, o, verify.data(), verify.size()), CKR_ATTRIBUTE_READ_ONLY);

  CK_MECHANISM m{CKM_ECDSA, nullptr, 0};
  EXPECT_EQ(f->C_SignInit(s.h, &m, o), CKR_KEY_TYPE_INCONSISTENT);
  EXPECT_EQ(f->C_VerifyInit(s.h, &m, 4711), CKR_KEY_HANDLE_INVALID);
  m.mechanism = CKM_ECDSA_SHA1;
  EXPECT_EQ(f->C_VerifyInit(s.h, &m, o), CKR_MECHANISM_INVALID);
  m.mechanism = CKM_ECDSA;
  EXPECT_EQ(f->C_Verify(s.h, small.data(), 8, small.data(), 8), CKR_OPERATION_NOT_INITIALIZED);
  ASSERT_EQ(f->C_VerifyInit(s.h, &m, o), CKR_OK);
  EXPECT_EQ(f->C_VerifyInit(s.h, &m, o), CKR_OPERATION_ACTIVE);
  EXPECT_EQ(f->C_Verify(s.h, small.data(), 8, small.data(), 8), CKR_SIGNATURE_LEN_RANGE);
  EXPECT_EQ(s.verify(o, Bytes{}, Bytes(64)), CKR_DATA_LEN_RANGE);
  EXPECT_EQ(s.verify(o, Bytes(65), Bytes(64)), CKR_DATA_LEN_RANGE) << "a message is no hash";
  ASSERT_EQ(f->C_VerifyInit(s.h, &m, o), CKR_OK);
  EXPECT_EQ(f->C_VerifyUpdate(s.h, small.data(), 8), CKR_FUNCTION_NOT_SUPPORTED);
  EXPECT_EQ(f->C_VerifyFinal(s.h, small.data(), 8), CKR_OPERATION_NOT_INITIALIZED);

  ASSERT_EQ(f->C_DestroyObject(s.h, o), CKR_OK);
  EXPECT_EQ(f->C_DestroyObject(s.h, o), CKR_OBJECT_HANDLE_INVALID);
  EXPECT_EQ(f->C_FindObjects(s.h, &o, 1, nullptr), CKR_ARGUMENTS_BAD);
  CK_ULONG n = 0;
  EXPECT_EQ(f->C_FindObjects(s.h, &o, 1, &n), CKR_OPERATION_NOT_INITIALIZED);
  EXPECT_EQ(f->C_FindObjectsFinal(s.h), CKR_OPERATION_NOT_INITIALIZED);
}

TEST_F(Arguments, CertificatesAreKeptNotLookedInto) {
  Session s(f);
  const auto make = [&](Attributes t, CK_OBJECT_HANDLE& o) {
    t.number(CKA_CLASS, CKO_CERTIFICATE);
    return f->C_CreateObject(s.h, t.data(), t.size(), &o);
  };
  const auto x509 = [](Bytes value) {
    return std::move(Attributes().number(CKA_CERTIFICATE_TYPE, CKC_X_509).octets(CKA_VALUE, std::move(value)));
  };
  CK_OBJECT_HANDLE o = 0;
  EXPECT_EQ(make(Attributes(), o), CKR_TEMPLATE_INCOMPLETE);
  EXPECT_EQ(make(std::move(Attributes().number(CKA_CERTIFICATE_TYPE, CKC_WTLS)), o), CKR_TEMPLATE_INCONSISTENT);
  EXPECT_EQ(make(x509({}), o), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(make(x509(Bytes(65537)), o), CKR_ATTRIBUTE_VALUE_INVALID);
  EXPECT_EQ(make(std::move(x509({1}).flag(CKA_TRUSTED, true)), o), CKR_TEMPLATE_INCONSISTENT);
  EXPECT_EQ(make(std::move(x509({1}).flag(CKA_TOKEN, true)), o), CKR_SESSION_READ_ONLY);
  ASSERT_EQ(make(std::move(x509({1, 2, 3}).octets(CKA_ID, {9}).octets(CKA_ISSUER, {4})), o), CKR_OK);
  EXPECT_EQ(s.value(o), (Bytes{1, 2, 3})) << "public, unlike the value of a key";
  EXPECT_EQ(s.find(std::move(Attributes().octets(CKA_VALUE, {1, 2, 3}))), std::vector<CK_OBJECT_HANDLE>{o});
  EXPECT_TRUE(s.find(std::move(Attributes().octets(CKA_VALUE, {1, 2}))).empty());
  CK_MECHANISM m{CKM_ECDSA, nullptr, 0};
  EXPECT_EQ(f->C_VerifyInit(s.h, &m, o), CKR_KEY_TYPE_INCONSISTENT);
  CK_OBJECT_HANDLE copy = 0;
  Attributes id;
  id.octets(CKA_ID, {8});
  ASSERT_EQ(f->C_CopyObject(s.h, o, id.data(), id.size(), &copy), CKR_OK);
  EXPECT_EQ(s.value(copy), (Bytes{1, 2, 3}));
}

TEST_F(Arguments, ObjectsGoWithTheirSession) {
  const KeyPair k = generate_key_pair(Curve::p256);
  Session stays(f);
  {
    Session goes(f);
    Attributes t;
    t.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_EC);
    t.octets(CKA_EC_PARAMS, oid(Curve::p256)).octets(CKA_EC_POINT, der(k.q));
    CK_OBJECT_HANDLE o = 0;
    ASSERT_EQ(f->C_CreateObject(goes.h, t.data(), t.size(), &o), CKR_OK);
    EXPECT_EQ(stays.find().size(), 1U);
  }
  EXPECT_TRUE(stays.find().empty());
}

// Many threads that open sessions, make objects, look for them and close: for the thread sanitizer above all.
TEST_F(Arguments, TablesUnderManyThreads) {
  const KeyPair k = generate_key_pair(Curve::p256);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        Session s(f);
        Attributes a;
        a.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_EC);
        a.octets(CKA_EC_PARAMS, oid(Curve::p256)).octets(CKA_EC_POINT, der(k.q));
        CK_OBJECT_HANDLE o = 0;
        if (f->C_CreateObject(s.h, a.data(), a.size(), &o) != CKR_OK || s.find().empty() ||
            f->C_DestroyObject(s.h, o) != CKR_OK)
          ++wrong;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(Arguments, AForkedChildBeginsAnew) {
  Session s(f);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    CK_INFO info{};
    if (f->C_GetInfo(&info) != CKR_CRYPTOKI_NOT_INITIALIZED) ::_exit(1);
#ifndef __SANITIZE_THREAD__  // which does not follow threads that a forked child starts
    if (f->C_Initialize(nullptr) != CKR_OK) ::_exit(2);
    CK_SESSION_INFO of_the_parent{};
    if (f->C_GetSessionInfo(s.h, &of_the_parent) != CKR_SESSION_HANDLE_INVALID) ::_exit(3);
    if (f->C_Finalize(nullptr) != CKR_OK) ::_exit(4);
#endif
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  CK_SESSION_INFO si{};
  EXPECT_EQ(f->C_GetSessionInfo(s.h, &si), CKR_OK);
}

// A core that cannot be had is an error of the call that needs it, at once, and no end of the process.
TEST(Module, ACoreThatCannotBeOpened) {
  CK_FUNCTION_LIST* f = raw_module();
  Scratch scratch(
      "log = \"none\"\n[[core]]\nprogram = \"/nowhere/keyferry-ecc-sim\"\n[[core]]\ntransport = \"uio\"\n"
      "registers = \"/nowhere/resource0\"\nmemory = \"/nowhere/memory\"\n[[core]]\ntransport = \"vfio\"\n"
      "device = \"ffff:ff:1f.7\"\n");
  ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
  for (const CK_SLOT_ID slot : {0UL, 1UL, 2UL}) {
    Session s(f, 0, slot);
    Pair p;
    EXPECT_EQ(s.generate(Curve::p256, true, p), CKR_DEVICE_ERROR);
    EXPECT_EQ(s.generate(Curve::p256, true, p), CKR_DEVICE_ERROR);
  }
  CK_MECHANISM_INFO i{};
  ASSERT_EQ(f->C_GetMechanismInfo(1, CKM_ECDSA, &i), CKR_OK);
  EXPECT_NE(i.flags & CKF_HW, 0U) << "a board is hardware";
  ASSERT_EQ(f->C_GetMechanismInfo(1, CKM_ECDSA_SHA256, &i), CKR_OK);
  EXPECT_EQ(i.flags & CKF_HW, 0U) << "the hash is made in software";
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK);
}

}  // namespace
}  // namespace kf::p11test
