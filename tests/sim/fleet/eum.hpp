// The eUICC manufacturer of the test world: makes a card's key pair, its CERT.ECASD.ECKA, and the signed part of its
// EIS.
//
// PKI tooling of the simulators. It writes GlobalPlatform certificates and EumSignature itself (not through host/pki's
// issuer), so that what the SM-DP checks was not made by the SM-DP's own code. docs/spec/crypto.md 5;
// docs/spec/interfaces.md 2.5.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "host/base/secret.hpp"
#include "host/crypto/curve.hpp"
#include "host/es/types.hpp"

namespace kf::sim {

enum class EcasdVariant { good, expired, badly_signed, off_curve, infinite, truncated, nonminimal, other_eid };

struct EuiccRecord {  // what the EUM knows about one card it made
  std::string eid;
  std::uint64_t index = 0;  // place in the fleet
  Point pk_ecasd{};
  es::Eis eis;                             // signed part and capabilities; no profiles
  std::shared_ptr<const SecretBytes> psk;  // SCP81 key, 16 bytes
};

class Eum {
 public:
  // Reads ci-<curve>.pem, eum-<curve>.pem and eum-<curve>.key below `pki_dir`.
  // Reasons: no-file, bad-pem, and those of parse_x509.
  static Result<Eum> load(const std::string& pki_dir, Curve curve);
  Eum(Eum&&) noexcept;
  ~Eum();

  // A card with fresh keys: the record, and SK.ECASD.ECKA for the card itself.
  struct Made {
    EuiccRecord record;
    Bytes sk_ecasd;
  };
  [[nodiscard]] Made make(const std::string& eid, std::uint64_t index, std::uint32_t memory,
                          const std::string& smsr_oid) const;
  [[nodiscard]] Bytes certificate(const EuiccRecord& r, EcasdVariant v) const;
  // The record's EIS with another CERT.ECASD.ECKA, signed again.
  [[nodiscard]] es::Eis eis_with(const EuiccRecord& r, EcasdVariant v) const;
  // Fills eum_signature_xml and eum_certificate over the signed part as it is.
  void sign(es::Eis& e) const;

  [[nodiscard]] const Bytes& pk_ci() const;
  [[nodiscard]] const Bytes& ci_ski() const;
  [[nodiscard]] Curve curve() const;

 private:
  struct Impl;
  explicit Eum(std::unique_ptr<Impl> i);
  std::unique_ptr<Impl> impl_;
};

// EumSignedInfo as a document of its own in exclusive canonical form. `indent`: the column of <rps:EumSignedInfo> in a
// message laid out in steps of two blanks (the published samples); absent: without white space, as the SOAP codec
// writes.
std::string canonical_eum_signed_info(const es::Eis& e, std::string_view ns, std::optional<std::size_t> indent = {});

// The n-th EID of a fleet: 890010120123412340, n as 12 digits, check digits (ISO 7064 MOD 97-10).
std::string fleet_eid(std::uint64_t n);

}  // namespace kf::sim
