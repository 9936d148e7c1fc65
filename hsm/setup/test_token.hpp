// Known scalars through a real token, for vector runs, and throw-away tokens for tests. Not for the product: the worker
// imports private scalars only when it was started for this.
#pragma once

#include <memory>
#include <string>

#include "hsm/engine/hsm_engine.hpp"

namespace kf::hsm {

// One worker, blocking calls, one thread (the one that started it, which must outlive it).
class TestTokenClient {
 public:
  // Reasons: those of HsmEngine::start. Identity keys and wrap key of the configuration are not looked for.
  static Result<std::unique_ptr<TestTokenClient>> start(const HsmConfig& c);
  ~TestTokenClient();
  TestTokenClient(const TestTokenClient&) = delete;
  TestTokenClient& operator=(const TestTokenClient&) = delete;

  // Reasons: bad-scalar, bad-point, hsm-call (curve), hsm-token. `q` of sign_with: the token does not need it; the
  // signature is checked against it before it is returned (hsm-token when it does not verify).
  Result<Signature> sign_with(Curve c, ByteView d32, const Point& q, const Digest32& hash);
  Result<SecretArray<32>> ecka_with(Curve c, ByteView d32, const Point& own_q, const Point& peer);
  Result<bool> verify_with(Curve c, const Point& q, const Digest32& hash, ByteView sig64);
  Result<std::size_t> session_objects();

 private:
  TestTokenClient();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A private SoftHSM below `dir` (softhsm.hpp) with the token "keyferry-test" set up. Reasons: those of set_up_token.
Result<HsmConfig> make_throwaway_token(const std::string& dir);

}  // namespace kf::hsm
