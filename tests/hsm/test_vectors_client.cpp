// Known scalars through the token, against OpenSSL, and that the product's workers refuse them.
#include <sys/eventfd.h>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "hsm/engine/worker_process.hpp"
#include "hsm/setup/test_token.hpp"
#include "hsm/wire/ring.hpp"
#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm {
namespace {

using namespace testing;

TEST(TestToken, SignsDerivesAndVerifiesWithGivenScalars) {
  auto started = TestTokenClient::start(token_config());
  ASSERT_TRUE(started.ok()) << started.error().text();
  TestTokenClient& t = **started;
  for (const Curve c : {Curve::p256, Curve::brainpool_p256r1}) {
    SCOPED_TRACE(curve_name(c));
    for (int i = 0; i < 40; ++i) {
      const KeyPair own = generate_key_pair(c);
      const KeyPair peer = generate_key_pair(c);
      Digest32 hash{};
      random_fill(hash);
      const auto s = t.sign_with(c, own.d.expose(), own.q, hash);
      ASSERT_TRUE(s.ok()) << s.error().text();
      EXPECT_TRUE(ecdsa_verify(c, own.q, hash, *s));
      EXPECT_TRUE(*t.verify_with(c, own.q, hash, ecdsa_sign(c, own.d.expose(), hash)));
      EXPECT_FALSE(*t.verify_with(c, peer.q, hash, *s));
      const auto z = t.ecka_with(c, own.d.expose(), own.q, peer.q);
      ASSERT_TRUE(z.ok()) << z.error().text();
      EXPECT_TRUE(equal_ct(z->expose(), ecka(c, peer.d.expose(), own.q)->expose()));
    }
  }
  const KeyPair k = generate_key_pair(Curve::p256);
  EXPECT_EQ(t.sign_with(Curve::p256, Scalar{}, k.q, {}).error().reason, "bad-scalar");
  Scalar all_ones{};
  all_ones.fill(0xFF);
  EXPECT_EQ(t.sign_with(Curve::p256, all_ones, k.q, {}).error().reason, "bad-scalar");
  EXPECT_EQ(t.ecka_with(Curve::p256, k.d.expose(), k.q, Point{}).error().reason, "bad-point");
  EXPECT_EQ(t.sign_with(Curve::frp256v1, k.d.expose(), k.q, {}).error().reason, "hsm-call");
  EXPECT_EQ(t.sign_with(Curve::p256, ByteView(k.d.expose()).first(31), k.q, {}).error().reason, "hsm-call");
  EXPECT_FALSE(*t.verify_with(Curve::p256, k.q, {}, Bytes(63)));
  EXPECT_EQ(*t.session_objects(), 0U);
}

TEST(TestToken, AScalarWithLeadingZerosStaysWhole) {
  auto t = TestTokenClient::start(token_config());
  ASSERT_TRUE(t.ok());
  Scalar small{};
  small[31] = 2;  // d = 2: 31 leading zero octets
  const auto q = public_of(Curve::p256, small);
  ASSERT_TRUE(q.ok());
  const KeyPair peer = generate_key_pair(Curve::p256);
  const auto z = (*t)->ecka_with(Curve::p256, small, *q, peer.q);
  ASSERT_TRUE(z.ok()) << z.error().text();
  EXPECT_TRUE(equal_ct(z->expose(), ecka(Curve::p256, peer.d.expose(), *q)->expose()));
  EXPECT_TRUE((*t)->sign_with(Curve::p256, small, *q, sha256(view("x"))).ok());
}

TEST(TestToken, AServingWorkerRefusesToImport) {
  const auto ring = wire::Ring::create();
  ASSERT_TRUE(ring.ok());
  const int event_fd = ::eventfd(0, EFD_CLOEXEC);
  auto w = WorkerProcess::spawn(token_config(), token_config().tokens.front(), wire::Configuration::Mode::serve,
                                (*ring)->fd(), event_fd);
  ASSERT_TRUE(w.ok());
  ASSERT_TRUE(w->wait_ready(std::chrono::seconds(20)).ok());
  const KeyPair k = generate_key_pair(Curve::p256);
  wire::Writer args;
  args.u32(static_cast<std::uint32_t>(Curve::p256));
  args.field(k.d.expose());
  args.field(Digest32{});
  const auto r = w->call(wire::AdminOp::sign_with, args, std::chrono::seconds(5));
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().reason, "hsm-call");
  EXPECT_NE(r.error().detail.find("test vectors"), std::string::npos);
}

}  // namespace
}  // namespace kf::hsm
