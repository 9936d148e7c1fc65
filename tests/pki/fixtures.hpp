// A certificate authority for tests: a fresh key pair and the identifier that certificates under it carry.
#pragma once

#include <cstdlib>

#include "host/base/random.hpp"
#include "host/pki/gp_cert.hpp"

namespace kf::test {

// Of the eUICC that certificates of these tests are issued for.
inline const Eid kEid = Eid::trusted("89001012012341234012345678901224");

inline Date day(const char* iso) {
  auto d = parse_date(iso);
  if (!d) std::abort();
  return *d;
}

struct Authority {
  Curve curve;
  KeyPair key;
  Bytes ski = random_bytes(20);
  explicit Authority(Curve c) : curve(c), key(generate_key_pair(c)) {}
  [[nodiscard]] GpIssuer issuer() const { return {curve, key.q, ski}; }
  [[nodiscard]] std::function<Signature(const Digest32&)> signer() const {
    return [this](const Digest32& h) { return ecdsa_sign(curve, key.d.expose(), h); };
  }
};

}  // namespace kf::test
