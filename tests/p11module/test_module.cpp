// The module on simulated cores: keys, signatures, ECDH on both curves against OpenSSL; many threads; the bound of the
// key slots; a core that dies; a process that forks; p11-kit as the loader.
#include <p11-kit/p11-kit.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "host/crypto/symmetric.hpp"
#include "tests/p11module/support.hpp"

namespace kf::p11test {
namespace {

class Core : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(f, nullptr) << kModule;
    ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
  }
  void TearDown() override { EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK); }
  CK_FUNCTION_LIST* f = raw_module();
};

// A bignum's view of a hash: what OpenSSL is to verify.
Digest32 leftmost(ByteView hash) {
  Digest32 e{};
  const ByteView used = hash.first(std::min<std::size_t>(hash.size(), 32));
  std::copy(used.begin(), used.end(), e.end() - static_cast<std::ptrdiff_t>(used.size()));
  return e;
}

TEST_F(Core, SignsAndVerifiesOnBothCurves) {
  Session s(f);
  for (const Curve c : kBoth) {
    Pair p;
    ASSERT_EQ(s.generate(c, true, p), CKR_OK);
    const Point q = s.point(p.pub);
    ASSERT_TRUE(check_point(c, q));
    EXPECT_EQ(s.flag(p.priv, CKA_SENSITIVE), 1);
    EXPECT_EQ(s.flag(p.priv, CKA_EXTRACTABLE), 0);
    EXPECT_EQ(s.flag(p.priv, CKA_ALWAYS_SENSITIVE), 1);
    EXPECT_EQ(s.flag(p.priv, CKA_NEVER_EXTRACTABLE), 1);
    EXPECT_EQ(s.flag(p.priv, CKA_LOCAL), 1);
    EXPECT_EQ(s.flag(p.priv, CKA_DERIVE), 0);
    EXPECT_EQ(s.flag(p.pub, CKA_VERIFY), 1);
    CK_ATTRIBUTE value{CKA_VALUE, nullptr, 0};
    EXPECT_EQ(f->C_GetAttributeValue(s.h, p.priv, &value, 1), CKR_ATTRIBUTE_SENSITIVE);
    EXPECT_EQ(value.ulValueLen, CK_UNAVAILABLE_INFORMATION);
    // Hashes of every length that the standard has an answer for; all ones is more than both orders.
    Signature signature{};
    for (const Bytes& hash : {random_bytes(32), random_bytes(20), random_bytes(48), random_bytes(64), Bytes(32, 0xFF),
                              Bytes(32, 0x00), Bytes{1}}) {
      ASSERT_EQ(s.sign(p.priv, hash, signature), CKR_OK);
      EXPECT_TRUE(ecdsa_verify(c, q, leftmost(hash), signature)) << hash.size();
      EXPECT_EQ(s.verify(p.pub, hash, signature), CKR_OK) << hash.size();
    }
    const Bytes hash = random_bytes(32);
    ASSERT_EQ(s.sign(p.priv, hash, signature), CKR_OK);
    Signature altered = signature;
    altered[63] ^= 1;
    EXPECT_EQ(s.verify(p.pub, hash, altered), CKR_SIGNATURE_INVALID);
    EXPECT_EQ(s.verify(p.pub, random_bytes(32), signature), CKR_SIGNATURE_INVALID);
    EXPECT_EQ(s.verify(p.pub, hash, Bytes(64)), CKR_SIGNATURE_INVALID) << "r = s = 0: decided, not refused";
    EXPECT_EQ(s.verify(p.pub, hash, Bytes(64, 0xFF)), CKR_SIGNATURE_INVALID);

    // A message in parts, and at once.
    const Bytes message = random_bytes(1000);
    ASSERT_EQ(s.sign(p.priv, message, signature, CKM_ECDSA_SHA256), CKR_OK);
    EXPECT_TRUE(ecdsa_verify(c, q, sha256(message), signature));
    CK_MECHANISM m{CKM_ECDSA_SHA256, nullptr, 0};
    ASSERT_EQ(f->C_SignInit(s.h, &m, p.priv), CKR_OK);
    auto* const part = const_cast<std::uint8_t*>(message.data());
    ASSERT_EQ(f->C_SignUpdate(s.h, part, 10), CKR_OK);
    ASSERT_EQ(f->C_SignUpdate(s.h, part + 10, 990), CKR_OK);
    CK_ULONG n = 0;
    EXPECT_EQ(f->C_SignFinal(s.h, nullptr, &n), CKR_OK);
    EXPECT_EQ(n, 64U);
    n = 63;
    EXPECT_EQ(f->C_SignFinal(s.h, signature.data(), &n), CKR_BUFFER_TOO_SMALL);
    EXPECT_EQ(n, 64U);
    ASSERT_EQ(f->C_SignFinal(s.h, signature.data(), &n), CKR_OK) << "the question for the length ended nothing";
    EXPECT_TRUE(ecdsa_verify(c, q, sha256(message), signature));
    ASSERT_EQ(f->C_VerifyInit(s.h, &m, p.pub), CKR_OK);
    ASSERT_EQ(f->C_VerifyUpdate(s.h, part, 1000), CKR_OK);
    EXPECT_EQ(f->C_VerifyFinal(s.h, signature.data(), 64), CKR_OK);

    // A signing key does not agree.
    CK_OBJECT_HANDLE out = 0;
    EXPECT_EQ(s.derive(p.priv, generate_key_pair(c).q, out), CKR_KEY_FUNCTION_NOT_PERMITTED);
  }
}

TEST_F(Core, VerifiesForeignSignatures) {
  Session s(f);
  for (const Curve c : kBoth) {
    const KeyPair k = generate_key_pair(c);
    Attributes t;
    t.number(CKA_CLASS, CKO_PUBLIC_KEY).number(CKA_KEY_TYPE, CKK_EC).octets(CKA_EC_PARAMS, oid(c));
    t.octets(CKA_EC_POINT, der(k.q));
    CK_OBJECT_HANDLE pub = 0;
    ASSERT_EQ(f->C_CreateObject(s.h, t.data(), t.size(), &pub), CKR_OK);
    const Digest32 hash = sha256(random_bytes(9));
    EXPECT_EQ(s.verify(pub, hash, ecdsa_sign(c, k.d.expose(), hash)), CKR_OK);
    EXPECT_EQ(s.verify(pub, sha256(random_bytes(9)), ecdsa_sign(c, k.d.expose(), hash)), CKR_SIGNATURE_INVALID);
    // e = 0 makes u1 = 0, which the core's formulas exclude: software decides, and the answer is the same.
    const Digest32 zero{};
    EXPECT_EQ(s.verify(pub, zero, ecdsa_sign(c, k.d.expose(), zero)), CKR_OK);
  }
}

TEST_F(Core, AgreesOnceOnBothCurves) {
  Session s(f);
  for (const Curve c : kBoth) {
    const KeyPair peer = generate_key_pair(c);
    const Bytes raw(peer.q.begin(), peer.q.end());
    const auto fresh = [&](Point& q) {
      Pair p;
      EXPECT_EQ(s.generate(c, false, p), CKR_OK);
      q = s.point(p.pub);
      return p;
    };
    const auto expected = [&](const Point& q) {
      const auto z = ecka(c, peer.d.expose(), q);
      return Bytes(z.value().expose().begin(), z.value().expose().end());
    };
    Point q{};
    CK_OBJECT_HANDLE out = 0;
    Pair p = fresh(q);

    // What is wrong with the call costs the key nothing.
    Bytes off = raw;
    off.back() ^= 1;
    EXPECT_EQ(s.derive(p.priv, off, Session::readable_secret(), out), CKR_MECHANISM_PARAM_INVALID);
    EXPECT_EQ(s.derive(p.priv, Bytes(64), Session::readable_secret(), out), CKR_MECHANISM_PARAM_INVALID);
    EXPECT_EQ(s.derive(p.priv, raw, Session::readable_secret(), out, CKD_SHA1_KDF), CKR_MECHANISM_PARAM_INVALID);
    EXPECT_EQ(s.derive(p.priv, raw, Session::readable_secret(), out, CKD_NULL, {1}), CKR_MECHANISM_PARAM_INVALID);
    EXPECT_EQ(s.derive(p.priv, raw, {}, out), CKR_TEMPLATE_INCOMPLETE);
    EXPECT_EQ(s.derive(p.priv, raw, std::move(Session::readable_secret().number(CKA_VALUE_LEN, 33)), out),
              CKR_TEMPLATE_INCONSISTENT);
    EXPECT_EQ(s.derive(p.pub, peer.q, out), CKR_KEY_TYPE_INCONSISTENT);
    EXPECT_EQ(s.derive(4711, peer.q, out), CKR_KEY_HANDLE_INVALID);
    EXPECT_EQ(s.flag(p.priv, CKA_DERIVE), 1);

    ASSERT_EQ(s.derive(p.priv, peer.q, out), CKR_OK);
    EXPECT_EQ(s.value(out), expected(q));
    EXPECT_EQ(s.flag(out, CKA_ALWAYS_SENSITIVE), 0);
    // The core has erased the scalar.
    EXPECT_EQ(s.flag(p.priv, CKA_DERIVE), 0);
    EXPECT_EQ(s.derive(p.priv, peer.q, out), CKR_KEY_FUNCTION_NOT_PERMITTED);
    EXPECT_EQ(f->C_DestroyObject(s.h, p.priv), CKR_OK);

    p = fresh(q);
    ASSERT_EQ(s.derive(p.priv, der(peer.q), std::move(Session::readable_secret().number(CKA_VALUE_LEN, 16)), out),
              CKR_OK);
    Bytes z = expected(q);
    EXPECT_EQ(s.value(out), Bytes(z.begin() + 16, z.end())) << "octets of the leading end go";
    p = fresh(q);
    ASSERT_EQ(s.derive(p.priv, raw, std::move(Session::readable_secret().number(CKA_VALUE_LEN, 24)), out,
                       CKD_SHA256_KDF, {1, 2, 3}),
              CKR_OK);
    const SecretBytes kdf = x963_kdf(expected(q), Bytes{1, 2, 3}, 24);
    EXPECT_TRUE(std::ranges::equal(s.value(out), kdf.expose()));

    // Unless the template says otherwise, nobody reads the value.
    p = fresh(q);
    Attributes closed;
    closed.number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    ASSERT_EQ(s.derive(p.priv, raw, std::move(closed), out), CKR_OK);
    CK_ATTRIBUTE value{CKA_VALUE, nullptr, 0};
    EXPECT_EQ(f->C_GetAttributeValue(s.h, out, &value, 1), CKR_ATTRIBUTE_SENSITIVE);
    EXPECT_TRUE(s.find(std::move(Attributes().octets(CKA_VALUE, expected(q)))).empty()) << "nor guesses it";
    EXPECT_EQ(s.flag(out, CKA_NEVER_EXTRACTABLE), 1);

    CK_MECHANISM m{CKM_ECDSA, nullptr, 0};
    p = fresh(q);
    EXPECT_EQ(f->C_SignInit(s.h, &m, p.priv), CKR_KEY_FUNCTION_NOT_PERMITTED);
    EXPECT_EQ(f->C_VerifyInit(s.h, &m, p.pub), CKR_KEY_FUNCTION_NOT_PERMITTED);
  }
}

TEST_F(Core, ManyThreads) {
  constexpr int kThreads = 24;
  constexpr int kRounds = 3;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const Curve c = kBoth[static_cast<std::size_t>(t) % 2];
      Session s(f);
      for (int i = 0; i < kRounds; ++i) {
        const KeyPair peer = generate_key_pair(c);
        Pair agrees;
        Pair signs;
        CK_OBJECT_HANDLE out = 0;
        Signature signature{};
        const Digest32 hash = sha256(random_bytes(8));
        bool good = s.generate(c, false, agrees) == CKR_OK && s.generate(c, true, signs) == CKR_OK &&
                    s.derive(agrees.priv, peer.q, out) == CKR_OK && s.sign(signs.priv, hash, signature) == CKR_OK &&
                    s.verify(signs.pub, hash, signature) == CKR_OK;
        good = good && ecdsa_verify(c, s.point(signs.pub), hash, signature);
        const auto z = ecka(c, peer.d.expose(), s.point(agrees.pub));
        good = good && z && std::ranges::equal(s.value(out), z->expose());
        for (const CK_OBJECT_HANDLE o : {agrees.pub, agrees.priv, signs.pub, signs.priv, out})
          good = good && f->C_DestroyObject(s.h, o) == CKR_OK;
        wrong += good ? 0 : 1;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  Session s(f);
  EXPECT_TRUE(s.find().empty());
}

// One key from many threads: one agreement comes out of it.
TEST_F(Core, OneAgreementAKey) {
  Session s(f);
  const KeyPair peer = generate_key_pair(Curve::p256);
  Pair p;
  ASSERT_EQ(s.generate(Curve::p256, false, p), CKR_OK);
  std::atomic<int> good{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      Session mine(f);
      CK_OBJECT_HANDLE out = 0;
      const CK_RV rv = mine.derive(p.priv, peer.q, out);
      good += rv == CKR_OK ? 1 : 0;
      refused += rv == CKR_KEY_FUNCTION_NOT_PERMITTED ? 1 : 0;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(good, 1);
  EXPECT_EQ(refused, 5);
}

// Every key slot: then CKR_DEVICE_MEMORY, and room again after one was destroyed and after a session was closed.
TEST_F(Core, KeySlotsAreBounded) {
  CK_TOKEN_INFO t{};
  std::size_t slots = 0;
  {
    Session s(f);
    Pair p;
    ASSERT_EQ(s.generate(Curve::p256, true, p), CKR_OK);
    ASSERT_EQ(f->C_GetTokenInfo(0, &t), CKR_OK);
    slots = t.ulTotalPrivateMemory / 32;
    ASSERT_GT(slots, 0U);
    std::atomic<std::size_t> made{1};
    std::atomic<int> other{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 32; ++i) {
      threads.emplace_back([&] {
        for (;;) {
          // One session's objects, made from many threads: the session makes them wait for each other, so each has its
          // own and leaves it open.
          CK_SESSION_HANDLE h = 0;
          if (f->C_OpenSession(0, CKF_SERIAL_SESSION, nullptr, nullptr, &h) != CKR_OK) return;
          Attributes pub;
          Attributes priv;
          pub.octets(CKA_EC_PARAMS, oid(Curve::brainpool_p256r1));
          priv.flag(CKA_DERIVE, true);
          CK_MECHANISM m{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
          CK_OBJECT_HANDLE a = 0;
          CK_OBJECT_HANDLE b = 0;
          const CK_RV rv = f->C_GenerateKeyPair(h, &m, pub.data(), pub.size(), priv.data(), priv.size(), &a, &b);
          if (rv == CKR_OK) {
            ++made;
            continue;
          }
          other += rv == CKR_DEVICE_MEMORY ? 0 : 1;
          return;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(other, 0);
    EXPECT_EQ(made, slots);
    ASSERT_EQ(f->C_GetTokenInfo(0, &t), CKR_OK);
    Pair one;
    EXPECT_EQ(s.generate(Curve::p256, true, one), CKR_DEVICE_MEMORY);
    ASSERT_EQ(f->C_DestroyObject(s.h, p.priv), CKR_OK);
    EXPECT_EQ(s.generate(Curve::p256, true, one), CKR_OK);
    EXPECT_EQ(s.generate(Curve::p256, true, p), CKR_DEVICE_MEMORY);
  }
  ASSERT_EQ(f->C_CloseAllSessions(0), CKR_OK);
  Session s(f);
  Pair p;
  EXPECT_EQ(s.generate(Curve::p256, true, p), CKR_OK);
  EXPECT_EQ(s.find().size(), 2U);
}

TEST_F(Core, ALostCoreEndsItsCallsAndComesBack) {
  Session s(f);
  Pair key;
  Pair agrees;
  Signature signature{};
  ASSERT_EQ(s.generate(Curve::p256, true, key), CKR_OK);
  ASSERT_EQ(s.generate(Curve::p256, false, agrees), CKR_OK);
  const auto running = simulators();
  ASSERT_EQ(running.size(), 1U);
  // Stopped first, so that the call is in the core when it dies.
  ASSERT_EQ(::kill(running.front(), SIGSTOP), 0);
  std::atomic<bool> called{false};
  CK_RV rv = CKR_OK;
  std::thread caller([&] {
    called = true;
    rv = s.sign(key.priv, Bytes(32, 7), signature);
  });
  while (!called) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  ASSERT_EQ(::kill(running.front(), SIGKILL), 0);
  caller.join();
  EXPECT_EQ(rv, CKR_DEVICE_ERROR);
  // The keys went with it; new ones can be made.
  EXPECT_EQ(s.sign(key.priv, Bytes(32, 7), signature), CKR_KEY_HANDLE_INVALID);
  CK_OBJECT_HANDLE out = 0;
  EXPECT_EQ(s.derive(agrees.priv, generate_key_pair(Curve::p256).q, out), CKR_KEY_HANDLE_INVALID);
  EXPECT_EQ(s.find(std::move(Attributes().number(CKA_CLASS, CKO_PRIVATE_KEY))).size(), 0U);
  ASSERT_EQ(s.generate(Curve::p256, true, key), CKR_OK);
  ASSERT_EQ(s.sign(key.priv, Bytes(32, 7), signature), CKR_OK);
  EXPECT_TRUE(ecdsa_verify(Curve::p256, s.point(key.pub), leftmost(Bytes(32, 7)), signature));

  // Killed while nothing is asked of it: the next call notices in time and gets a new core.
  const auto second = simulators();
  ASSERT_EQ(second.size(), 1U);
  ASSERT_NE(second.front(), running.front());
  ASSERT_EQ(::kill(second.front(), SIGKILL), 0);
  // Its command line is empty a moment before the kernel tells anybody that it has ended.
  const auto over = [](pid_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    if (!std::getline(stat, line)) return true;
    const auto name = line.rfind(')');
    return name != std::string::npos && line.compare(name, 3, ") Z") == 0;
  };
  while (!over(second.front())) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  Pair again;
  EXPECT_EQ(s.generate(Curve::brainpool_p256r1, true, again), CKR_OK);
}

TEST_F(Core, AForkedChildHasItsOwnCore) {
  Session s(f);
  Pair p;
  Signature signature{};
  ASSERT_EQ(s.generate(Curve::p256, true, p), CKR_OK);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    CK_INFO info{};
    if (f->C_GetInfo(&info) != CKR_CRYPTOKI_NOT_INITIALIZED) ::_exit(1);
    if (f->C_Initialize(nullptr) != CKR_OK) ::_exit(2);
    {
      Session mine(f);
      Pair own;
      if (mine.sign(p.priv, Bytes(32, 1), signature) != CKR_KEY_HANDLE_INVALID) ::_exit(3);
      if (mine.generate(Curve::p256, true, own) != CKR_OK) ::_exit(4);
      if (mine.sign(own.priv, Bytes(32, 1), signature) != CKR_OK) ::_exit(5);
      if (!ecdsa_verify(Curve::p256, mine.point(own.pub), leftmost(Bytes(32, 1)), signature)) ::_exit(6);
    }
    if (f->C_Finalize(nullptr) != CKR_OK) ::_exit(7);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(s.sign(p.priv, Bytes(32, 1), signature), CKR_OK) << "the parent's core is untouched";
}

TEST(Module, FinalizeEndsTheCoresAndCanBeFollowedByInitialize) {
  CK_FUNCTION_LIST* f = raw_module();
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
    Session s(f);
    Pair p;
    EXPECT_EQ(s.generate(Curve::p256, true, p), CKR_OK);
    EXPECT_EQ(simulators().size(), 1U);
    EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK) << "with a session open";
    EXPECT_TRUE(simulators().empty());
  }
}

TEST(Module, TwoCoresAreTwoSlots) {
  CK_FUNCTION_LIST* f = raw_module();
  Scratch scratch("[[core]]\n[[core]]\ntransport = \"simulator\"\n");
  ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
  CK_ULONG n = 0;
  EXPECT_EQ(f->C_GetSlotList(CK_TRUE, nullptr, &n), CKR_OK);
  EXPECT_EQ(n, 2U);
  {
    Session a(f, 0, 0);
    Session b(f, 0, 1);
    Pair p;
    Signature signature{};
    ASSERT_EQ(a.generate(Curve::p256, true, p), CKR_OK);
    EXPECT_EQ(b.sign(p.priv, Bytes(32, 1), signature), CKR_KEY_HANDLE_INVALID) << "a key is in one core";
    EXPECT_TRUE(b.find().empty());
    Pair other;
    EXPECT_EQ(b.generate(Curve::p256, true, other), CKR_OK);
    EXPECT_EQ(simulators().size(), 2U);
  }
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK);
}

TEST(Module, StartKeysAndVolatileTokenObjects) {
  CK_FUNCTION_LIST* f = raw_module();
  Scratch scratch(
      "token_objects = \"volatile\"\n[[key]]\nuse = \"sign\"\ncurve = \"P-256\"\nlabel = \"start\"\n"
      "[[key]]\nuse = \"derive\"\ncurve = \"brainpoolP256r1\"\nlabel = \"once\"\n");
  ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
  {
    Session ro(f);
    Session rw(f, CKF_RW_SESSION);
    const auto keys = ro.find(
        std::move(Attributes().number(CKA_CLASS, CKO_PRIVATE_KEY).octets(CKA_LABEL, {'s', 't', 'a', 'r', 't'})));
    ASSERT_EQ(keys.size(), 1U);
    EXPECT_EQ(ro.flag(keys[0], CKA_TOKEN), 1);
    Signature signature{};
    EXPECT_EQ(ro.sign(keys[0], Bytes(32, 3), signature), CKR_OK);
    EXPECT_EQ(f->C_DestroyObject(rw.h, keys[0]), CKR_ACTION_PROHIBITED);
    Pair p;
    {
      Session makes(f, CKF_RW_SESSION);
      Attributes pub;
      Attributes priv;
      pub.octets(CKA_EC_PARAMS, oid(Curve::p256)).flag(CKA_TOKEN, true);
      priv.flag(CKA_SIGN, true).flag(CKA_TOKEN, true);
      ASSERT_EQ(makes.generate(pub, priv, p), CKR_OK);
    }
    EXPECT_EQ(ro.sign(p.priv, Bytes(32, 3), signature), CKR_OK) << "it outlives its session";
    EXPECT_EQ(f->C_DestroyObject(ro.h, p.priv), CKR_SESSION_READ_ONLY);
    EXPECT_EQ(f->C_DestroyObject(rw.h, p.priv), CKR_OK);

    // A core that comes back has other keys under the same labels.
    const Point before = [&] {
      const auto pubs = ro.find(std::move(Attributes().number(CKA_CLASS, CKO_PUBLIC_KEY).octets(CKA_ID, {1})));
      return ro.point(pubs.at(0));
    }();
    for (const pid_t pid : simulators()) ::kill(pid, SIGKILL);
    while (!simulators().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    Pair fresh;
    EXPECT_EQ(rw.generate(Curve::p256, true, fresh), CKR_OK);
    Session later(f);
    const auto pubs = later.find(std::move(Attributes().number(CKA_CLASS, CKO_PUBLIC_KEY).octets(CKA_ID, {1})));
    ASSERT_EQ(pubs.size(), 1U);
    EXPECT_NE(later.point(pubs[0]), before);
  }
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK);
}

// What an integrator's program does who loads modules by p11-kit.
TEST(P11Kit, LoadsAndUsesTheModule) {
  CK_FUNCTION_LIST* f = ::p11_kit_module_load(kModule, 0);
  ASSERT_NE(f, nullptr) << ::p11_kit_message();
  ASSERT_EQ(::p11_kit_module_initialize(f), CKR_OK);
  for (const Curve c : kBoth) {
    Session s(f);
    Pair agrees;
    Pair signs;
    ASSERT_EQ(s.generate(c, false, agrees), CKR_OK);
    ASSERT_EQ(s.generate(c, true, signs), CKR_OK);
    const KeyPair peer = generate_key_pair(c);
    CK_OBJECT_HANDLE out = 0;
    ASSERT_EQ(s.derive(agrees.priv, peer.q, out), CKR_OK);
    const auto z = ecka(c, peer.d.expose(), s.point(agrees.pub));
    ASSERT_TRUE(z);
    EXPECT_TRUE(std::ranges::equal(s.value(out), z->expose()));
    Signature signature{};
    const Digest32 hash = sha256(random_bytes(5));
    ASSERT_EQ(s.sign(signs.priv, hash, signature), CKR_OK);
    EXPECT_TRUE(ecdsa_verify(c, s.point(signs.pub), hash, signature));
    EXPECT_EQ(s.verify(signs.pub, hash, signature), CKR_OK);
  }
  EXPECT_EQ(::p11_kit_module_finalize(f), CKR_OK);
  ::p11_kit_module_release(f);
}

}  // namespace
}  // namespace kf::p11test
