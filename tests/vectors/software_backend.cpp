#include "host/crypto/ec.hpp"
#include "tests/vectors/engine.hpp"

namespace kf::vectors {
namespace {
class Software final : public VectorEngine {
 public:
  std::string_view name() const override { return "software"; }
  bool carries(Curve) const override { return true; }
  bool deterministic() const override { return true; }
  Result<Signature> sign(Curve c, ByteView d32, const Point&, const Digest32& h) override {
    // The product's own signer too: its signature must verify under the same key.
    KF_TRY(const Point q, public_of(c, d32));
    if (!ecdsa_verify(c, q, h, ecdsa_sign(c, d32, h))) return Error{"bad-signature", "ecdsa_sign does not verify"};
    return ecdsa_sign_rfc6979(c, d32, h);
  }
  Result<SecretArray<32>> ecka(Curve c, ByteView d32, const Point&, const Point& peer) override {
    return kf::ecka(c, d32, peer);
  }
  Result<bool> verify(Curve c, const Point& q, const Digest32& h, ByteView s) override {
    return ecdsa_verify(c, q, h, s);
  }
};
}  // namespace

std::unique_ptr<VectorEngine> software_backend() { return std::make_unique<Software>(); }
}  // namespace kf::vectors
