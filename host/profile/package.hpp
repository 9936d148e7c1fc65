// SAIP profile packages: walk, look into the header, personalise, read the EUICCResponse. docs/spec/interfaces.md 7.
// A package is the plain concatenation of DER ProfileElements, header first, end last. All functions are pure: no
// state, no I/O, safe from any thread. They never log, and no error text carries a value of the package.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/ids.hpp"
#include "host/base/secret.hpp"
#include "host/base/tlv.hpp"

namespace kf::profile {

struct Element {
  std::uint32_t tag = 0;  // A0 header ... AA end, BF1F ...
  std::string name;       // "header", "usim", ... of docs/spec/interfaces.md 7.2; "unknown" for a tag from the future
  std::optional<std::uint32_t> identification;
  bool mandated = false;
  std::size_t offset = 0, size = 0;  // of the whole element in the package
};
struct Header {
  unsigned major = 0, minor = 0;
  std::string profile_type;
  Bytes iccid;                        // 10 bytes
  std::string iccid_digits;           // 18 to 20
  std::optional<Bytes> pol;           // POL1
  std::vector<std::string> services;  // mandatory services: "usim", "milenage" ...; "service-N" beyond the known
};
struct Package {
  std::vector<Element> elements;
  Header header;
};
// Header first, end last, DER lengths down to the leaves (at most 16 levels), nothing behind.
// Reasons: truncated, bad-length, bad-tag, bad-profile.
Result<Package> parse_package(ByteView der);

// A place in a template that differs from profile to profile. All values keep their length.
enum class Field { iccid_header, iccid_ef, imsi, ki, opc, pin1, puk1, adm1 };
std::string_view field_name(Field f);
struct Slot {
  Field field{};
  std::size_t offset = 0, size = 0;
};
// Finds every slot of a package by its place in the ASN.1 structure, in rising offset. One field may have several
// slots (USIM and ISIM each with an akaParameter); they then all receive the same value. What the package does not have
// is not in the list; the OPc of a USIM test algorithm is not a slot, because a card ignores it.
// Reasons: those of parse_package; bad-profile also when a place exists but cannot be patched in place (EF.ICCID not
// one fillFileContent of 10 bytes, EF.IMSI not one of 9) or when two places of IMSI, Ki or OPc hold different values,
// so that one subscription could not fill both.
Result<std::vector<Slot>> find_slots(ByteView der);

// A PIN, PUK or ADM1 as text: wiped like a key.
class PinText {
 public:
  PinText() = default;
  PinText(std::string_view s) : b_(view(s)) {}                     // NOLINT(google-explicit-constructor)
  PinText(const char* s) : PinText(std::string_view(s)) {}         // NOLINT(google-explicit-constructor)
  PinText(const std::string& s) : PinText(std::string_view(s)) {}  // NOLINT(google-explicit-constructor)
  [[nodiscard]] bool empty() const noexcept { return b_.empty(); }
  [[nodiscard]] std::string_view expose() const noexcept { return text(b_.expose()); }

 private:
  SecretBytes b_;
};

struct Personal {  // what one subscription differs in
  Iccid iccid;
  std::string imsi;          // 6 to 15 digits, empty: leave
  SecretBytes ki, opc;       // empty: leave
  PinText pin1, puk1, adm1;  // 4 to 8 digits (PUK: 8), empty: leave
};
// A copy of the template with the values written into its slots; nothing else changes. A value for which there is no
// slot, or which does not fit, is an error. The result holds keys: never log it, wipe it after use.
// Reasons: bad-personal (detail names the field, never the value).
Result<Bytes> personalise(ByteView template_der, std::span<const Slot> slots, const Personal& p);

// The same, cut into segments of `segment` octets (the last may be shorter), without a copy of the template: a segment
// that holds nothing personal is a view into it, the others are made anew in `own`. The template outlives the result.
struct Segmented {
  SecretBytes own;
  std::vector<ByteView> segments;
  std::size_t bytes = 0;
};
Result<Segmented> personalise_segments(ByteView template_der, std::span<const Slot> slots, const Personal& p,
                                       std::size_t segment);

// The EF.IMSI coding of TS 31.102 4.2.2: length, parity nibble, swapped digits, padded with FF to 9 bytes.
// Precondition: 6 to 15 digits.
Bytes imsi_octets(std::string_view digits);
// What the template holds now: the digits of the first IMSI slot, empty when there is none or it is not an IMSI.
std::string template_imsi(ByteView der, std::span<const Slot> slots);

// EUICCResponse (docs/spec/interfaces.md 7.4).
struct PeStatus {
  std::uint32_t status = 0;
  std::optional<std::uint32_t> identification;
};
struct EuiccResponse {
  std::vector<PeStatus> statuses;
  bool aborted = false;
  std::string message;
};
// Members of later versions (offset, extensions) are skipped. Control characters in the message become '?'.
Result<EuiccResponse> parse_euicc_response(ByteView der);  // reasons: truncated, bad-length, bad-tag, bad-format

// A valid SAIP 2.3 package composed by the project, about 5 KB: the sample template (`keyferry profile sample`). Its
// keys and PINs are placeholders, its tariff file is a PE that is not mandated.
Bytes sample_package();

}  // namespace kf::profile
