// X.509 as it comes out of an EIS: parsed, then put to the chain check as EUM and as its own root.
#include <openssl/err.h>

#include "host/pki/test_pki.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kf;
  const ByteView in(data, size);
  const auto x = parse_x509(in);
  FUZZ_CHECK(ERR_peek_error() == 0);
  const Date today = Date{std::chrono::year(2026), std::chrono::month(6), std::chrono::day(15)};
  if (!x) {
    FUZZ_CHECK(x.error().reason == "bad-x509" || x.error().reason == "unknown-curve" ||
               x.error().reason == "bad-point");
    return 0;
  }
  FUZZ_CHECK(check_point(x->curve, x->q).ok());
  FUZZ_CHECK(!x->tbs.empty() && x->tbs.size() < x->der.size());
  FUZZ_CHECK(verify_eum(*x, {}, today).error().reason == "untrusted-root");
  (void)verify_eum(*x, std::span(&*x, 1), today);
  // Under a stranger with the same name and key identifier no signature may verify.
  static const KeyPair stranger = generate_key_pair(Curve::p256);
  X509Info root = *x;
  root.subject_der = x->issuer_der;
  root.ski = x->aki;
  root.curve = Curve::p256;
  root.q = stranger.q;
  FUZZ_CHECK(!verify_eum(*x, std::span(&root, 1), today).ok());
  (void)load_pem_key(std::string(text(in)));
  FUZZ_CHECK(ERR_peek_error() == 0);
  return 0;
}
