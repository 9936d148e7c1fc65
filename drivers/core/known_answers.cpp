#include "drivers/core/known_answers.hpp"

#include <algorithm>
#include <string_view>

#include "host/base/bytes.hpp"
#include "host/crypto/ec_plain.hpp"

namespace kf::ecc {
namespace {

// Made by arithmetic in Python, and the same as OpenSSL's and ours (tests/cores): SHA-256("keyferry known answer"), the
// point of the key 2, and the signature of RFC 6979. Constants, since a library in somebody else's process must not ask
// EVP for them (host/crypto/ec_plain.hpp).
constexpr std::string_view kDigest = "90ec34fed8dec75ae49d888e44be1569c9dd73eb80dcc81b4086321ae128f75a";
constexpr std::string_view kP256Point =
    "047cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978"
    "07775510db8ed040293d9ac69f7430dbba7dade63ce982299e04b79d227873d1";
constexpr std::string_view kP256Signature =
    "4d85d943404892fd9dfa9b66c32a37cd5d3d6a3b7069eb9cf000295aee5801d0"
    "7a889b661821f8a0da512d3e02c7ebd1c13485c80c08a79232f1406d4504e055";
constexpr std::string_view kBrainpoolPoint =
    "04743cf1b8b5cd4f2eb55f8aa369593ac436ef044166699e37d51a14c2ce13ea0e"
    "36ed163337deba9c946fe0bb776529da38df059f69249406892ada097eeb7cd4";
constexpr std::string_view kBrainpoolSignature =
    "9106bbc3c44a4fb4d73a89bf20fec96e08ade5ec52f3f82b1fce9292ad97cd00"
    "4c08934a598cb41dc3617c16322f195b40705290798aeb71b16ea8cf3d7fac20";

template <class Array>
Array octets(std::string_view hex) {
  const Bytes b = from_hex(hex).value();
  Array a{};
  std::ranges::copy(b, a.begin());
  return a;
}

KnownSignature make(std::string_view point, std::string_view signature) {
  KnownSignature k{octets<Point>(point), octets<Digest32>(kDigest), octets<Signature>(signature), {}};
  k.wrong = k.s;
  k.wrong.back() ^= 1;
  return k;
}

}  // namespace

const KnownSignature& known_signature(CurveNumber curve) {
  static const KnownSignature p256 = make(kP256Point, kP256Signature);
  static const KnownSignature brainpool = make(kBrainpoolPoint, kBrainpoolSignature);
  return curve == CurveNumber::p256 ? p256 : brainpool;
}

bool signs_for(CurveNumber curve, const Point& q, const Signature& s) {
  return ecdsa_verify_in_points(curve == CurveNumber::p256 ? Curve::p256 : Curve::brainpool_p256r1, q,
                                known_signature(curve).e, s);
}

}  // namespace kf::ecc
