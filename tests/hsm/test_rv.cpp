// The table of return codes (docs/spec/pkcs11.md 2) and the PKCS#11 room's own pieces that need no token.
#include <gtest/gtest.h>

#include <set>

#include "hsm/p11/token.hpp"

namespace kf::p11 {
namespace {

TEST(RvTable, EachCodeOnceAndUnknownCodesAreTheDevices) {
  std::set<CK_RV> seen;
  for (const RvRow& r : rv_table()) EXPECT_TRUE(seen.insert(r.rv).second) << r.name;
  EXPECT_EQ(rv_class(0x80001234UL), RvClass::device);
  EXPECT_EQ(rv_text(0x80001234UL), "CKR_0x80001234");
  // The standard's values where Debian 12's header has others, and that header's for modules that were built with it.
  EXPECT_EQ(rv_class(0x1B9), RvClass::job);
  EXPECT_EQ(rv_text(0x1B9), "CKR_PUBLIC_KEY_INVALID");
  EXPECT_EQ(rv_class(0x1C4), RvClass::job);
  EXPECT_EQ(rv_text(0x1B8), "CKR_PIN_TOO_WEAK");
  EXPECT_EQ(rv_class(0x42), RvClass::job) << "CKR_AEAD_DECRYPT_FAILED";
  EXPECT_EQ(rv_class(0x201), RvClass::busy) << "CKR_TOKEN_RESOURCE_EXCEEDED";
  EXPECT_EQ(rv_class(0x203), RvClass::key) << "CKR_KEY_EXHAUSTED";
  EXPECT_EQ(rv_class(CKR_OK), RvClass::ok);
  EXPECT_EQ(rv_class(CKR_SESSION_HANDLE_INVALID), RvClass::session);
  EXPECT_EQ(rv_class(CKR_KEY_HANDLE_INVALID), RvClass::key);
  EXPECT_EQ(rv_class(CKR_FUNCTION_FAILED), RvClass::busy);
  EXPECT_EQ(rv_class(CKR_DEVICE_REMOVED), RvClass::device);
  EXPECT_EQ(rv_class(CKR_CRYPTOKI_NOT_INITIALIZED), RvClass::fatal);
  EXPECT_EQ(rv_error("hsm-pin", "C_Login", CKR_PIN_INCORRECT, "look").text(),
            "hsm-pin: C_Login: CKR_PIN_INCORRECT (job); look");
}

TEST(Module, RefusesWhatIsNoModule) {
  for (const char* path : {"", "/nonexistent.so", "/etc/passwd", "libm.so.6"}) {
    const auto m = Module::load(path);
    ASSERT_FALSE(m.ok()) << path;
    EXPECT_EQ(m.error().reason, "hsm-module") << path;
  }
}

TEST(PaddedText, DropsThePadding) {
  const unsigned char f[8] = {'a', ' ', 'b', ' ', ' ', 0, ' ', ' '};
  EXPECT_EQ(padded_text(f), "a b");
}

}  // namespace
}  // namespace kf::p11
