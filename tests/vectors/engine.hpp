// The seam where a backend is put under the vectors: elliptic-curve work with given scalars.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "host/base/secret.hpp"
#include "host/crypto/curve.hpp"

namespace kf::vectors {

class VectorEngine {
 public:
  VectorEngine() = default;
  VectorEngine(const VectorEngine&) = delete;
  VectorEngine& operator=(const VectorEngine&) = delete;
  virtual ~VectorEngine() = default;
  virtual std::string_view name() const = 0;
  virtual bool carries(Curve c) const = 0;
  virtual bool deterministic() const = 0;  // signatures are RFC 6979: compare bytes instead of verifying
  virtual Result<Signature> sign(Curve c, ByteView d32, const Point& q, const Digest32& h) = 0;
  virtual Result<SecretArray<32>> ecka(Curve c, ByteView d32, const Point& own_q, const Point& peer) = 0;
  virtual Result<bool> verify(Curve c, const Point& q, const Digest32& h, ByteView signature) = 0;
  // What an engine with checks of its own says of raw input, before anybody else has looked at it; empty: it has none.
  virtual std::optional<bool> accepts_point(Curve, const Point&) { return std::nullopt; }
  virtual std::optional<bool> accepts_scalar(Curve, const Scalar&) { return std::nullopt; }
  virtual std::string remarks() const { return {}; }  // for the end of the report; one line
};

std::unique_ptr<VectorEngine> software_backend();
struct HsmOptions {
  std::string module_path;  // SoftHSM's PKCS#11 module; empty: where it is usually found
};
Result<std::unique_ptr<VectorEngine>> hsm_backend(const HsmOptions& o);  // built only where the HSM test token is
Result<std::unique_ptr<VectorEngine>> core_backend();  // the simulated ECC core; reasons: of the board

}  // namespace kf::vectors
