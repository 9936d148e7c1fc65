// GlobalPlatform certificates: a changed certificate never verifies; what parses can be issued again byte for byte.
#include "host/pki/gp_cert.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {
using namespace kf;
// The genuine certificate of corpus/gp_cert: the only one that may verify under its issuer.
const Bytes& genuine() {
  static const Bytes b =
      hex("7F2181C99304CA1AD4A842038837015F20038837029501885F2504202401315F2404203202297319C80101C914154BFAF96015EC744C"
          "69D65468F9"
          "9395FE50741D7F4946B041049AE98616E6E8BAD4D0C41DB4DA11C92825C2A3896938EDB025B1A4632F306EE9EBCB719C3DBEC6B3F3E5"
          "A276021D22"
          "C4C9F7C5D7BF452B398D086168249D0969F001005F37403A4E3EF561529CA28858D3FB560FE6510538E873A84087DBCEC51A467AB4DA"
          "6CDF239F0A"
          "0ACE8BE9B05D520AD29273F33D237E0BE812D7114D34701C40E36FBF");
  return b;
}
GpIssuer issuer() {
  auto q = check_point(Curve::p256, hex("040976B2A4462E59763619197D66E508970ECC820035EDE74794E718FE6AD8FC10"
                                        "2D0EEB4256D65E6D51DF2B33C1AA3DF012D8090AFCAA73D3485E291026C97228"));
  FUZZ_CHECK(q.ok());
  return {Curve::p256, *q, hex("154BFAF96015EC744C69D65468F99395FE50741D")};
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const GpIssuer ci = issuer();
  const ByteView in(data, size);
  const auto cert = parse_gp_certificate(in);
  if (!cert) {
    FUZZ_CHECK(!cert.error().reason.empty());
    return 0;
  }
  FUZZ_CHECK(to_hex(cert->encoded) == to_hex(in));
  FUZZ_CHECK(cert->expiry.ok() && check_point(cert->curve, cert->q).ok());
  FUZZ_CHECK(cert->tbs.size() < size && !cert->serial.empty() && !cert->subject.empty());
  const Date today = Date{std::chrono::year(2026), std::chrono::month(6), std::chrono::day(15)};
  const Eid eid = Eid::trusted("89001012012341234012345678901224");
  (void)check_gp_certificate(*cert, GpRole::ecasd, ci, today, eid);
  if (verify_gp_certificate(*cert, GpRole::dp, ci, today, std::nullopt).ok())
    FUZZ_CHECK(to_hex(in) == to_hex(genuine()));

  // The order of 5.1 is the only one: issuing the fields again gives the same bytes (unless 53, or unknown TLVs in 73).
  if (cert->discretionary && !cert->type && !cert->aki) return 0;
  GpTemplate t{cert->serial,    cert->ca_id,     cert->subject,
               cert->key_usage, cert->effective, cert->expiry,
               cert->cin,       cert->type,      cert->aki.value_or(Bytes{}),
               cert->curve,     cert->q};
  const Bytes again = issue_gp_certificate(t, [&](const Digest32&) { return cert->signature; });
  const std::size_t known = (cert->type ? 3U : 0U) + (cert->aki ? 22U : 0U);
  const bool c8_first = !cert->type || (cert->discretionary && (*cert->discretionary)[0] == 0xC8);
  if ((!cert->discretionary || cert->discretionary->size() == known) && c8_first)
    FUZZ_CHECK(to_hex(again) == to_hex(in));
  return 0;
}
