// On a simulated core: an application that forbids a library to create threads, threads that are cancelled in a call,
// and copies of a key.
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "tests/p11module/support.hpp"

namespace kf::p11test {
namespace {

// Signs, verifies and agrees in a session of its own; what is right is said by OpenSSL.
bool works(CK_FUNCTION_LIST* f, Curve c) {
  Session s(f);
  Pair signs;
  Pair agrees;
  Signature signature{};
  CK_OBJECT_HANDLE out = 0;
  const KeyPair peer = generate_key_pair(c);
  const Digest32 hash = sha256(random_bytes(8));
  if (s.generate(c, true, signs) != CKR_OK || s.generate(c, false, agrees) != CKR_OK ||
      s.sign(signs.priv, hash, signature) != CKR_OK || s.verify(signs.pub, hash, signature) != CKR_OK ||
      s.derive(agrees.priv, peer.q, out) != CKR_OK)
    return false;
  const auto z = ecka(c, peer.d.expose(), s.point(agrees.pub));
  return ecdsa_verify(c, s.point(signs.pub), hash, signature) && z && std::ranges::equal(s.value(out), z->expose());
}

TEST(Threads, NoneOfTheModulesWhereTheApplicationForbidsThem) {
  CK_FUNCTION_LIST* const f = raw_module();
  ASSERT_NE(f, nullptr);
  CK_C_INITIALIZE_ARGS a{};
  a.flags = CKF_LIBRARY_CANT_CREATE_OS_THREADS | CKF_OS_LOCKING_OK;
  const std::size_t before = settled_threads();
  ASSERT_EQ(f->C_Initialize(&a), CKR_OK);
  // The core is opened by a thread that ends; it stays.
  std::thread([&] { EXPECT_TRUE(works(f, Curve::p256)); }).join();
  const auto opened = simulators();
  ASSERT_EQ(opened.size(), 1U);
  EXPECT_TRUE(eventually_threads(before));
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 6; ++t) threads.emplace_back([&, t] { good += works(f, kBoth[t % 2]) ? 1 : 0; });
  for (auto& t : threads) t.join();
  EXPECT_EQ(good, 6);
  EXPECT_EQ(simulators(), opened);
  // A core that is lost meanwhile is found lost by the next call, which gets a new one.
  ASSERT_EQ(::kill(opened.front(), SIGKILL), 0);
  while (!simulators().empty()) std::this_thread::yield();
  EXPECT_TRUE(works(f, Curve::brainpool_p256r1));
  EXPECT_TRUE(eventually_threads(before));
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK);
  EXPECT_TRUE(simulators().empty());
}

// Some hosts have nobody wait for children: a lost core is noticed and replaced all the same, and C_Finalize ends it.
TEST(Children, AreNotWaitedForByThisHost) {
  CK_FUNCTION_LIST* const f = raw_module();
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
  EXPECT_TRUE(works(f, Curve::p256));
  const auto opened = simulators();
  ASSERT_EQ(opened.size(), 1U);
  ASSERT_EQ(::kill(opened.front(), SIGKILL), 0);
  while (!simulators().empty()) std::this_thread::yield();
  // A call that comes before the loss is noticed ends with an error; the next one finds the new core.
  EXPECT_TRUE(works(f, Curve::p256) || works(f, Curve::p256));
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK);
  EXPECT_TRUE(simulators().empty());
  ::signal(SIGCHLD, before);
}

TEST(Threads, ACancelledOneLeavesNothingLocked) {
  CK_FUNCTION_LIST* const f = raw_module();
  ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
  {
    Session s(f);
    Pair p;
    ASSERT_EQ(s.generate(Curve::p256, true, p), CKR_OK);
    for (int i = 0; i < 5; ++i) {
      std::atomic<int> rounds{0};
      std::thread t([&] {
        for (;;) {
          Signature signature{};
          s.sign(p.priv, Bytes(32, 7), signature);
          ++rounds;
          ::pthread_testcancel();
        }
      });
      while (rounds == 0) std::this_thread::yield();
      ::pthread_cancel(t.native_handle());  // most likely in the middle of a call
      t.join();
    }
    Signature signature{};
    EXPECT_EQ(s.sign(p.priv, Bytes(32, 7), signature), CKR_OK);
  }
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK);
}

TEST(Objects, CopiesShareTheKey) {
  CK_FUNCTION_LIST* const f = raw_module();
  ASSERT_EQ(f->C_Initialize(nullptr), CKR_OK);
  {
    Session s(f);
    Pair p;
    Signature signature{};
    ASSERT_EQ(s.generate(Curve::p256, true, p), CKR_OK);
    CK_TOKEN_INFO before{};
    CK_TOKEN_INFO after{};
    ASSERT_EQ(f->C_GetTokenInfo(0, &before), CKR_OK);
    const auto copy = [&](CK_OBJECT_HANDLE from, Attributes t, CK_OBJECT_HANDLE& to) {
      return f->C_CopyObject(s.h, from, t.data(), t.size(), &to);
    };
    CK_OBJECT_HANDLE second = 0;
    ASSERT_EQ(copy(p.priv, std::move(Attributes().octets(CKA_ID, {7})), second), CKR_OK);
    EXPECT_EQ(s.find(std::move(Attributes().octets(CKA_ID, {7}))), std::vector<CK_OBJECT_HANDLE>{second});
    ASSERT_EQ(f->C_DestroyObject(s.h, p.priv), CKR_OK);
    ASSERT_EQ(s.sign(second, Bytes(32, 1), signature), CKR_OK) << "the copy keeps the slot";
    EXPECT_EQ(s.verify(p.pub, Bytes(32, 1), signature), CKR_OK);
    CK_OBJECT_HANDLE third = 0;
    EXPECT_EQ(copy(second, std::move(Attributes().flag(CKA_DERIVE, true)), third), CKR_ATTRIBUTE_READ_ONLY);
    EXPECT_EQ(copy(second, std::move(Attributes().flag(CKA_PRIVATE, false)), third), CKR_TEMPLATE_INCONSISTENT);
    EXPECT_EQ(copy(second, std::move(Attributes().flag(CKA_TOKEN, true)), third), CKR_SESSION_READ_ONLY);
    EXPECT_EQ(copy(4711, Attributes(), third), CKR_OBJECT_HANDLE_INVALID);
    EXPECT_EQ(f->C_CopyObject(s.h, second, nullptr, 0, nullptr), CKR_ARGUMENTS_BAD);
    ASSERT_EQ(copy(second, std::move(Attributes().flag(CKA_COPYABLE, false)), third), CKR_OK);
    EXPECT_EQ(copy(third, Attributes(), second), CKR_ACTION_PROHIBITED);
    for (const CK_OBJECT_HANDLE o : {third, s.find(std::move(Attributes().octets(CKA_ID, {7}))).front()})
      EXPECT_EQ(f->C_DestroyObject(s.h, o), CKR_OK);
    // With the last of them the slot is free: told after the service's next turn, which a job makes sure of.
    Pair next;
    ASSERT_EQ(s.generate(Curve::p256, true, next), CKR_OK);
    ASSERT_EQ(f->C_GetTokenInfo(0, &after), CKR_OK);
    EXPECT_EQ(after.ulFreePrivateMemory, before.ulFreePrivateMemory);
  }
  EXPECT_EQ(f->C_Finalize(nullptr), CKR_OK);
}

}  // namespace
}  // namespace kf::p11test
