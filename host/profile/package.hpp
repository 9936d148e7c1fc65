// SAIP profile packages: walk, look into the header, personalise, read the EUICCResponse. sgp02-interfaces.md section 7.
// A package is the plain concatenation of DER ProfileElements, header first, end last.
#pragma once

#include <optional>

#include "host/base/ids.hpp"
#include "host/base/secret.hpp"
#include "host/base/tlv.hpp"

namespace kf::profile {

struct Element {
  std::uint32_t tag = 0;                  // A0 header ... AA end, BF1F ...
  std::string name;                       // "header", "usim", ...
  std::optional<std::uint32_t> identification;
  bool mandated = false;
  std::size_t offset = 0, size = 0;       // of the whole element in the package
};
struct Header {
  unsigned major = 0, minor = 0;
  std::string profile_type;
  Bytes iccid;              // 10 bytes
  std::string iccid_digits; // 19 or 20
  std::optional<Bytes> pol; // POL1
};
struct Package {
  std::vector<Element> elements;
  Header header;
};
// Header first, end last, DER lengths, nothing behind. Reasons: truncated, bad-length, bad-tag, bad-profile.
Result<Package> parse_package(ByteView der);

// A place in a template that differs from profile to profile. All values keep their length.
enum class Field { iccid_header, iccid_ef, imsi, ki, opc, pin1, puk1, adm1 };
std::string_view field_name(Field f);
struct Slot {
  Field field{};
  std::size_t offset = 0, size = 0;
};
// Finds every slot of a package (header ICCID, EF.ICCID, EF.IMSI, key and OPc of each akaParameter ...).
Result<std::vector<Slot>> find_slots(ByteView der);

struct Personal {             // what one subscription differs in
  Iccid iccid;
  std::string imsi;           // 6 to 15 digits, empty: leave
  SecretBytes ki, opc;        // empty: leave
  std::string pin1, puk1, adm1;  // digits, empty: leave
};
// The bytes to put into each slot; all lengths must fit. Reasons: bad-personal (detail names the field).
Result<Bytes> personalise(ByteView template_der, std::span<const Slot> slots, const Personal& p);

// EUICCResponse (7.4).
struct PeStatus {
  std::uint32_t status = 0;
  std::optional<std::uint32_t> identification;
};
struct EuiccResponse {
  std::vector<PeStatus> statuses;
  bool aborted = false;
  std::string message;
};
Result<EuiccResponse> parse_euicc_response(ByteView der);  // reasons: truncated, bad-length, bad-tag, bad-format

// A valid SAIP 2.3 package composed by the project: the sample template (`keyferry profile sample`).
Bytes sample_package();

}  // namespace kf::profile
