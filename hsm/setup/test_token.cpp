#include "hsm/setup/test_token.hpp"

#include <algorithm>

#include "host/crypto/ec.hpp"
#include "hsm/engine/worker_process.hpp"
#include "hsm/setup/softhsm.hpp"

namespace kf::hsm {
namespace {
constexpr std::chrono::seconds kLimit{20};
}

struct TestTokenClient::Impl {
  WorkerProcess worker;
};

TestTokenClient::TestTokenClient() = default;
TestTokenClient::~TestTokenClient() {
  if (!impl_) return;
  impl_->worker.hang_up();
  impl_->worker.reap(std::chrono::seconds(3));
}

Result<std::unique_ptr<TestTokenClient>> TestTokenClient::start(const HsmConfig& c) {
  HsmConfig own = c;
  own.identity_keys.clear();
  own.wrap_key_label.clear();
  KF_TRY(auto worker, WorkerProcess::spawn(own, own.tokens.front(), wire::Configuration::Mode::test_vectors));
  KF_CHECK(worker.wait_ready(c.start_limit));
  std::unique_ptr<TestTokenClient> t(new TestTokenClient);
  t->impl_.reset(new Impl{std::move(worker)});
  return t;
}

Result<Signature> TestTokenClient::sign_with(Curve c, ByteView d32, const Point& q, const Digest32& hash) {
  wire::Writer w;
  w.u32(static_cast<std::uint32_t>(c));
  w.field(d32);
  w.field(hash);
  KF_TRY(const SecretBytes payload, impl_->worker.call(wire::AdminOp::sign_with, w, kLimit));
  Signature s{};
  if (payload.size() != s.size()) return Error{"hsm-worker", "malformed answer"};
  std::ranges::copy(payload.expose(), s.begin());
  if (!ecdsa_verify(c, q, hash, s))
    return Error{"hsm-token", "the token's signature does not verify with the given public key"};
  return s;
}

Result<SecretArray<32>> TestTokenClient::ecka_with(Curve c, ByteView d32, const Point& own_q, const Point& peer) {
  KF_CHECK(check_point(c, own_q));
  wire::Writer w;
  w.u32(static_cast<std::uint32_t>(c));
  w.field(d32);
  w.field(peer);
  KF_TRY(const SecretBytes payload, impl_->worker.call(wire::AdminOp::ecka_with, w, kLimit));
  SecretArray<32> shs;
  if (payload.size() != 32) return Error{"hsm-worker", "malformed answer"};
  std::ranges::copy(payload.expose(), shs.expose_mut().begin());
  return shs;
}

Result<bool> TestTokenClient::verify_with(Curve c, const Point& q, const Digest32& hash, ByteView sig64) {
  if (sig64.size() != 64) return false;  // plain r || s has one length only
  wire::Writer w;
  w.u32(static_cast<std::uint32_t>(c));
  w.field(q);
  w.field(hash);
  w.field(sig64);
  KF_TRY(const SecretBytes payload, impl_->worker.call(wire::AdminOp::verify_with, w, kLimit));
  if (payload.size() != 1) return Error{"hsm-worker", "malformed answer"};
  return payload.expose()[0] == 1;
}

Result<std::size_t> TestTokenClient::session_objects() {
  KF_TRY(const SecretBytes payload, impl_->worker.call(wire::AdminOp::session_objects, {}, kLimit));
  wire::Reader r(payload.expose());
  return std::size_t{r.u32()};
}

Result<HsmConfig> make_throwaway_token(const std::string& dir) {
  KF_TRY(const TokenSetup s, softhsm_setup(dir, "keyferry-test"));
  KF_CHECK(set_up_token(s));
  return s.config;
}

}  // namespace kf::hsm
