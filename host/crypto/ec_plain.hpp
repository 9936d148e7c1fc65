// What a library in somebody else's process takes from this room beside check_point() and sha256(): nothing here goes
// through EVP. That looks for engines, which the host may have set, and for them in the host's configuration, which may
// be waiting for the library. Threading: any.
#pragma once

#include "host/crypto/ec.hpp"

namespace kf {

// Makes what is made once (groups), so that a process forked later never waits for another
// thread's half-made one.
void prepare_plain();

// As ecdsa_verify(), by arithmetic on points; slower. A point that is not on the curve verifies nothing.
bool ecdsa_verify_in_points(Curve c, const Point& q, const Digest32& hash, ByteView signature64);

// SHA-256 of a message in parts.
class Sha256 {
 public:
  Sha256() noexcept;
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  Sha256(Sha256&&) noexcept = default;
  Sha256& operator=(Sha256&&) noexcept = default;
  void update(ByteView part);
  Digest32 finish();  // once

 private:
  alignas(8) std::array<std::uint8_t, 112> state_;  // SHA256_CTX
};

}  // namespace kf
