// What a library in somebody else's process takes from this room beside check_point() and sha256(): nothing here goes
// through EVP_PKEY, whose methods for EC the host may have given to an engine. Threading: any.
#pragma once

#include <openssl/types.h>

#include <memory>

#include "host/crypto/ec.hpp"

namespace kf {

// Makes what is made once (groups, the fetched digest), so that a process forked later never waits for another
// thread's half-made one.
void prepare_plain();

// As ecdsa_verify(), by arithmetic on points; slower. A point that is not on the curve verifies nothing.
bool ecdsa_verify_in_points(Curve c, const Point& q, const Digest32& hash, ByteView signature64);

// SHA-256 of a message in parts.
class Sha256 {
 public:
  Sha256();
  void update(ByteView part);
  Digest32 finish();  // once

 private:
  struct Free {
    void operator()(EVP_MD_CTX* p) const;
  };
  std::unique_ptr<EVP_MD_CTX, Free> ctx_;
};

}  // namespace kf
