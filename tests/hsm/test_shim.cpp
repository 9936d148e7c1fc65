// What the rules of the fault shim do, against SoftHSM. The one test program that maps a PKCS#11 module itself.
#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "hsm/p11/token.hpp"
#include "tests/hsm/token_fixture.hpp"

// SoftHSM is not ours to free.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libsofthsm2\n"; }

namespace kf::hsm {
namespace {

using namespace testing;
using p11::attr;
using p11::attr_octets;
using Handles = std::vector<CK_OBJECT_HANDLE>;

constexpr CK_OBJECT_CLASS kPrivateKey = CKO_PRIVATE_KEY;
const std::string kLabel = "SK.DP.ECDSA P-256";
const std::string kOther = "SK.DP.ECDSA brainpoolP256r1";

// The shim is loaded once in a process, so there is one script; each test initialises the module anew.
struct World {
  ScratchDir dir;
  TokenConfig token = token_config().tokens.front();
  Shim shim{dir, token};
  World() {
    for (const auto& [name, value] : token.environment) ::setenv(name.c_str(), value.c_str(), 1);
  }
};
World& world() {
  static World w;
  return w;
}

class ShimRules : public ::testing::Test {
 protected:
  void SetUp() override {
    world().shim.clear();
    world().shim.forget_calls();
    auto m = p11::Module::load(world().token.module_path);
    ASSERT_TRUE(m.ok()) << m.error().text();
    module_ = std::move(*m);
    auto info = p11::find_token(*module_, world().token.token_uri);
    ASSERT_TRUE(info.ok()) << info.error().text();
    token_ = std::make_unique<p11::Token>(*module_, *info);
    std::string pin;
    std::getline(std::ifstream(world().token.pin_file), pin);
    const Status in = token_->login(SecretBytes(view(pin)), false);
    ASSERT_TRUE(in.ok()) << in.error().text();
    ASSERT_EQ(token_->open_session(session_, false), CKR_OK);
    key_ = private_key(session_, kLabel).at(0);
  }
  void TearDown() override { world().shim.clear(); }  // C_CloseSession and C_Finalize pass

  Handles private_key(p11::Session& s, const std::string& label) {
    std::array match{attr(CKA_CLASS, kPrivateKey), attr_octets(CKA_LABEL, view(label))};
    Handles found;
    rv_ = s.find(match, found);
    return found;
  }
  CK_RV sign(p11::Session& s, CK_OBJECT_HANDLE key, bool* init_failed = nullptr) {
    CK_MECHANISM m{CKM_ECDSA, nullptr, 0};
    Digest32 hash = sha256({});
    Signature out{};
    CK_ULONG n = out.size();
    const CK_RV rv = s.f().C_SignInit(s.handle(), &m, key);
    if (init_failed != nullptr) *init_failed = rv != CKR_OK;
    return rv != CKR_OK ? rv : s.f().C_Sign(s.handle(), hash.data(), hash.size(), out.data(), &n);
  }
  CK_RV sign() { return sign(session_, key_); }
  CK_RV generate(p11::Session& s, CK_OBJECT_HANDLE& pub, CK_OBJECT_HANDLE& priv) {
    CK_MECHANISM m{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
    const Bytes params = hex("06082A8648CE3D030107");
    std::array a{attr_octets(CKA_EC_PARAMS, params), attr(CKA_TOKEN, p11::kFalse), attr(CKA_PRIVATE, p11::kFalse)};
    std::array b{attr(CKA_TOKEN, p11::kFalse), attr(CKA_DERIVE, p11::kTrue)};
    return s.f().C_GenerateKeyPair(s.handle(), &m, a.data(), a.size(), b.data(), b.size(), &pub, &priv);
  }
  CK_RV derive(CK_OBJECT_HANDLE priv, ByteView peer, bool with_length) {
    CK_ECDH1_DERIVE_PARAMS p{};
    p.kdf = CKD_NULL;
    p.ulPublicDataLen = peer.size();
    p.pPublicData = const_cast<unsigned char*>(peer.data());
    CK_MECHANISM m{CKM_ECDH1_DERIVE, &p, sizeof p};
    constexpr CK_OBJECT_CLASS secret = CKO_SECRET_KEY;
    constexpr CK_KEY_TYPE generic = CKK_GENERIC_SECRET;
    constexpr CK_ULONG length = 32;
    std::array t{attr(CKA_CLASS, secret), attr(CKA_KEY_TYPE, generic), attr(CKA_TOKEN, p11::kFalse),
                 attr(CKA_VALUE_LEN, length)};
    CK_OBJECT_HANDLE out = 0;
    return session_.f().C_DeriveKey(session_.handle(), &m, priv, t.data(), with_length ? t.size() : t.size() - 1, &out);
  }

  std::unique_ptr<p11::Module> module_;
  std::unique_ptr<p11::Token> token_;
  p11::Session session_;
  CK_OBJECT_HANDLE key_ = 0;
  CK_RV rv_ = CKR_OK;
};

TEST_F(ShimRules, ClearWeatherChangesNothing) {
  EXPECT_EQ(sign(), CKR_OK);
  CK_ULONG n = 0;
  EXPECT_EQ(module_->f().C_GetSlotList(CK_TRUE, nullptr, &n), CKR_OK);
  EXPECT_GE(n, 1U);
  EXPECT_EQ(world().shim.count("C_Sign", CKR_OK), 1U);
  EXPECT_EQ(world().shim.overlaps(), 0U);
  for (const Shim::Call& c : world().shim.calls()) {
    EXPECT_GE(c.end, c.begin) << c.function;
    EXPECT_EQ(c.session != 0, c.function != "C_Initialize" && c.function.find("Slot") == std::string::npos &&
                                  c.function.find("Token") == std::string::npos)
        << c.function;
  }
}

TEST_F(ShimRules, CodesByCount) {
  world().shim.set(
      "rv C_SignInit nth 2 CKR_DEVICE_ERROR\nrv C_SignInit from 5 0x101\nrv C_SignInit first 1 CKR_CANCEL");
  const std::array<CK_RV, 6> expected{CKR_CANCEL, CKR_DEVICE_ERROR,       CKR_OK,
                                      CKR_OK,     CKR_USER_NOT_LOGGED_IN, CKR_USER_NOT_LOGGED_IN};
  for (const CK_RV rv : expected) EXPECT_EQ(sign(), rv);
  world().shim.set("rv C_SignInit every 3 CKR_DEVICE_ERROR");
  for (int i = 1; i <= 9; ++i) EXPECT_EQ(sign(), i % 3 == 0 ? CK_RV{CKR_DEVICE_ERROR} : CK_RV{CKR_OK});
  world().shim.set("rv * percent 50 CKR_DEVICE_ERROR");
  int failed = 0;
  for (int i = 0; i < 400; ++i) {
    std::array<std::uint8_t, 1> r{};
    failed += session_.f().C_GenerateRandom(session_.handle(), r.data(), 1) == CKR_OK ? 0 : 1;
  }
  EXPECT_GT(failed, 120);  // 200 expected, 8 standard deviations away
  EXPECT_LT(failed, 280);
}

TEST_F(ShimRules, OnceIsOnce) {
  world().shim.set("rv C_SignInit once CKR_DEVICE_ERROR");
  EXPECT_EQ(sign(), CKR_DEVICE_ERROR);
  EXPECT_EQ(sign(), CKR_OK);
  world().shim.set("rv C_SignInit once CKR_DEVICE_ERROR");
  EXPECT_EQ(sign(), CKR_DEVICE_ERROR) << "a new script, a new once";
  // The marker is a file: what another process has used up is used up here.
  EXPECT_EQ(sign(), CKR_OK);
}

TEST_F(ShimRules, AnInjectedErrorEndsTheOperationInTheModuleToo) {
  for (int i = 0; i < 3; ++i) {
    world().shim.set("rv C_Sign once CKR_DEVICE_ERROR");
    bool init_failed = true;
    EXPECT_EQ(sign(session_, key_, &init_failed), CKR_DEVICE_ERROR);
    EXPECT_FALSE(init_failed) << "the last operation is still active";
  }
}

TEST_F(ShimRules, CodesAfterTheDeed) {
  world().shim.set("rv-after C_SignInit once CKR_DEVICE_ERROR");
  EXPECT_EQ(sign(), CKR_DEVICE_ERROR);
  EXPECT_EQ(sign(), CKR_OPERATION_ACTIVE) << "the operation was begun all the same";
}

TEST_F(ShimRules, Delays) {
  world().shim.set("delay C_Sign always 20\ndelay * always 10.5");
  const auto t0 = std::chrono::steady_clock::now();
  EXPECT_EQ(sign(), CKR_OK);
  EXPECT_GE(std::chrono::steady_clock::now() - t0, std::chrono::milliseconds(41));
  const auto calls = world().shim.calls();
  EXPECT_GE(calls.back().end - calls.back().begin, 30'500'000) << "the delay is part of the call";
}

TEST_F(ShimRules, DeadSessionsStayDead) {
  p11::Session second;
  ASSERT_EQ(token_->open_session(second, false), CKR_OK);
  world().shim.set("dead-sessions every 2");
  EXPECT_EQ(sign(), CKR_OK);
  EXPECT_EQ(sign(second, key_), CKR_SESSION_HANDLE_INVALID);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(sign(), CKR_OK) << "judged once";
  world().shim.clear();
  EXPECT_EQ(sign(second, key_), CKR_SESSION_HANDLE_INVALID) << "a dead handle lives again";
  world().shim.set("dying-sessions nth 3");
  EXPECT_EQ(sign(), CKR_OK);
  EXPECT_EQ(sign(), CKR_SESSION_HANDLE_INVALID);
  world().shim.clear();
  ASSERT_EQ(token_->open_session(session_, false), CKR_OK);
  EXPECT_EQ(sign(), CKR_OK) << "the keeper session has kept the login";
}

TEST_F(ShimRules, SessionLimits) {
  world().shim.set("sessions 3");  // the keeper and ours are two
  p11::Session third;
  p11::Session fourth;
  ASSERT_EQ(token_->open_session(third, false), CKR_OK);
  EXPECT_EQ(token_->open_session(fourth, false), CKR_SESSION_COUNT);
  third.close();
  EXPECT_EQ(token_->open_session(fourth, false), CKR_OK);
  world().shim.set("sessions-total 3");
  EXPECT_EQ(token_->open_session(third, false), CKR_SESSION_COUNT);
  fourth.close();
  EXPECT_EQ(token_->open_session(third, false), CKR_OK);
}

TEST_F(ShimRules, GoneAndBackIsAReset) {
  world().shim.take_away();
  EXPECT_EQ(sign(), CKR_DEVICE_REMOVED);
  CK_ULONG n = 7;
  EXPECT_EQ(module_->f().C_GetSlotList(CK_TRUE, nullptr, &n), CKR_OK);
  EXPECT_EQ(n, 0U);
  p11::Session s;
  EXPECT_EQ(token_->open_session(s, false), CKR_DEVICE_REMOVED);
  world().shim.bring_back();
  EXPECT_EQ(sign(), CKR_SESSION_HANDLE_INVALID);
  ASSERT_EQ(token_->open_session(s, false), CKR_OK);
  EXPECT_TRUE(private_key(s, kLabel).empty()) << "the login has survived the reset";
}

TEST_F(ShimRules, AResetThatNobodyNoticed) {
  world().shim.bring_back();  // without a call while it was away
  EXPECT_EQ(sign(), CKR_SESSION_HANDLE_INVALID);
  const auto now =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count();
  p11::Session s;
  ASSERT_EQ(token_->open_session(s, false), CKR_OK);
  CK_SESSION_INFO i{};
  world().shim.set("gone-between " + std::to_string(now + 60'000) + " " + std::to_string(now + 70'000));
  EXPECT_EQ(s.f().C_GetSessionInfo(s.handle(), &i), CKR_OK);
  world().shim.set("gone-between " + std::to_string(now - 20) + " " + std::to_string(now - 10));
  EXPECT_EQ(s.f().C_GetSessionInfo(s.handle(), &i), CKR_OK) << "opened after it had come back";
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  world().shim.set("gone-between " + std::to_string(now) + " " + std::to_string(now + 10));
  EXPECT_EQ(s.f().C_GetSessionInfo(s.handle(), &i), CKR_SESSION_HANDLE_INVALID) << "opened before it went";
  p11::Session after;
  ASSERT_EQ(token_->open_session(after, false), CKR_OK);
  EXPECT_EQ(after.f().C_GetSessionInfo(after.handle(), &i), CKR_OK);
}

TEST_F(ShimRules, DeadObjectsAreFoundAgainUnderAnotherHandle) {
  world().shim.set("dead-objects once");
  EXPECT_EQ(sign(), CKR_KEY_HANDLE_INVALID);
  EXPECT_EQ(sign(), CKR_KEY_HANDLE_INVALID);
  world().shim.clear();
  EXPECT_EQ(sign(), CKR_KEY_HANDLE_INVALID);
  const Handles again = private_key(session_, kLabel);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_NE(again[0], key_);
  EXPECT_EQ(sign(session_, again[0]), CKR_OK);
  EXPECT_EQ(private_key(session_, kLabel), again) << "found twice, the same handle";
  // A session object that dies is gone from the token.
  CK_OBJECT_HANDLE pub = 0;
  CK_OBJECT_HANDLE priv = 0;
  ASSERT_EQ(generate(session_, pub, priv), CKR_OK);
  world().shim.set("dead-objects always");
  EXPECT_EQ(session_.f().C_DestroyObject(session_.handle(), priv), CKR_OBJECT_HANDLE_INVALID);
  EXPECT_EQ(session_.f().C_DestroyObject(session_.handle(), pub), CKR_OBJECT_HANDLE_INVALID);
  world().shim.clear();
  std::array match{attr(CKA_TOKEN, p11::kFalse)};
  Handles left;
  ASSERT_EQ(session_.find(match, left), CKR_OK);
  EXPECT_TRUE(left.empty());
}

TEST_F(ShimRules, HiddenAndMistakenKeys) {
  world().shim.set("hide-object \"" + kLabel + "\"");
  EXPECT_TRUE(private_key(session_, kLabel).empty());
  EXPECT_EQ(private_key(session_, kOther).size(), 1U);
  EXPECT_EQ(sign(), CKR_KEY_HANDLE_INVALID) << "an old handle of a key that is gone";
  Handles all;
  ASSERT_EQ(session_.find({}, all), CKR_OK);
  const auto some = all.size();
  world().shim.clear();
  ASSERT_EQ(session_.find({}, all), CKR_OK);
  EXPECT_EQ(all.size(), some + 2) << "private and public key of that label";
  EXPECT_EQ(sign(), CKR_OK);
  world().shim.set("wrong-key \"" + kLabel + "\" \"" + kOther + "\" private");
  const Handles mistaken = private_key(session_, kLabel);
  world().shim.clear();
  EXPECT_EQ(mistaken, private_key(session_, kOther));
}

TEST_F(ShimRules, WhatTheTokenSaysOfItself) {
  world().shim.set("token-flags 0x20000\nannounce max-sessions all-ones\nannounce max-rw-sessions 1");
  CK_TOKEN_INFO i{};
  ASSERT_EQ(module_->f().C_GetTokenInfo(token_->info().slot, &i), CKR_OK);
  EXPECT_NE(i.flags & CKF_USER_PIN_FINAL_TRY, 0U);
  EXPECT_NE(i.flags & CKF_TOKEN_INITIALIZED, 0U);
  EXPECT_EQ(i.ulMaxSessionCount, ~0UL);
  EXPECT_EQ(i.ulMaxRwSessionCount, 1U);
}

TEST_F(ShimRules, HiddenMechanisms) {
  const auto listed = [&](CK_MECHANISM_TYPE type) {
    CK_ULONG n = 0;
    EXPECT_EQ(module_->f().C_GetMechanismList(token_->info().slot, nullptr, &n), CKR_OK);
    std::vector<CK_MECHANISM_TYPE> all(n);
    EXPECT_EQ(module_->f().C_GetMechanismList(token_->info().slot, all.data(), &n), CKR_OK);
    return std::count(all.begin(), all.end(), type) == 1;
  };
  EXPECT_TRUE(listed(CKM_ECDSA));
  world().shim.set("hide-mechanism CKM_ECDSA");
  EXPECT_FALSE(listed(CKM_ECDSA));
  EXPECT_TRUE(listed(CKM_ECDH1_DERIVE));
  EXPECT_EQ(sign(), CKR_MECHANISM_INVALID);
  CK_MECHANISM_INFO i{};
  EXPECT_EQ(module_->f().C_GetMechanismInfo(token_->info().slot, CKM_ECDSA, &i), CKR_MECHANISM_INVALID);
}

TEST_F(ShimRules, WhatEcdhWants) {
  CK_OBJECT_HANDLE pub = 0;
  CK_OBJECT_HANDLE priv = 0;
  ASSERT_EQ(generate(session_, pub, priv), CKR_OK);
  const Point peer = generate_key_pair(Curve::p256).q;
  const Bytes der = concat(hex("0441"), peer);
  const struct {
    const char* rules;
    CK_RV raw, wrapped, no_length;
  } rows[] = {
      {"", CKR_OK, CKR_OK, CKR_OK},
      {"der-only", CKR_MECHANISM_PARAM_INVALID, CKR_OK, CKR_MECHANISM_PARAM_INVALID},
      {"raw-only", CKR_OK, CKR_MECHANISM_PARAM_INVALID, CKR_OK},
      {"need-value-len", CKR_OK, CKR_OK, CKR_TEMPLATE_INCOMPLETE},
      {"refuse-value-len", CKR_TEMPLATE_INCONSISTENT, CKR_TEMPLATE_INCONSISTENT, CKR_OK},
      {"refuse-kdf CKD_NULL", CKR_MECHANISM_PARAM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_MECHANISM_PARAM_INVALID},
      {"refuse-kdf CKD_SHA256_KDF", CKR_OK, CKR_OK, CKR_OK},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.rules);
    world().shim.set(row.rules);
    EXPECT_EQ(derive(priv, peer, true), row.raw);
    EXPECT_EQ(derive(priv, der, true), row.wrapped);
    EXPECT_EQ(derive(priv, peer, false), row.no_length);
  }
}

TEST_F(ShimRules, Copies) {
  std::array t{attr(CKA_TOKEN, p11::kFalse)};
  CK_OBJECT_HANDLE copy = 0;
  const auto attempt = [&] { return session_.f().C_CopyObject(session_.handle(), key_, t.data(), t.size(), &copy); };
  EXPECT_EQ(attempt(), CKR_OK);
  world().shim.set("forbid-copy");
  EXPECT_EQ(attempt(), CKR_FUNCTION_NOT_SUPPORTED);
  world().shim.set("forbid-copy CKR_ACTION_PROHIBITED");
  EXPECT_EQ(attempt(), CKR_ACTION_PROHIBITED);
}

TEST_F(ShimRules, AScriptWithAnErrorChangesNothing) {
  world().shim.set("rv C_SignInit always CKR_DEVICE_ERROR");
  EXPECT_EQ(sign(), CKR_DEVICE_ERROR);
  ::testing::internal::CaptureStderr();
  world().shim.set("rv C_SignInit allways CKR_OK");
  EXPECT_EQ(sign(), CKR_DEVICE_ERROR);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("'allways' is no WHEN"), std::string::npos);
}

TEST(ShimStart, AScriptWithAnErrorStopsTheModule) {
  const ScratchDir dir;
  HsmConfig c = token_config();
  Shim shim(dir, c.tokens.front());
  shim.set("rain");
  const auto e = HsmEngine::start(c);
  ASSERT_FALSE(e.ok());
  EXPECT_EQ(e.error().reason, "hsm-module") << e.error().text();
  EXPECT_NE(e.error().detail.find("C_GetFunctionList"), std::string::npos) << e.error().text();
}

}  // namespace
}  // namespace kf::hsm
