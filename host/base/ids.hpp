// Identifiers of SGP.02 as types of their own: EID, ICCID, AID, OID. Parsed once, at the edge.
#pragma once

#include <compare>
#include <functional>

#include "host/base/bytes.hpp"

namespace kf {

template <class Tag>
class Named {  // a validated string that does not convert to another kind
 public:
  Named() = default;
  [[nodiscard]] const std::string& str() const noexcept { return s_; }
  [[nodiscard]] bool empty() const noexcept { return s_.empty(); }
  auto operator<=>(const Named&) const = default;
  static Named trusted(std::string s) {
    Named n;
    n.s_ = std::move(s);
    return n;
  }  // value already validated

 private:
  std::string s_;
};

using Eid = Named<struct EidTag>;      // 32 decimal digits
using Iccid = Named<struct IccidTag>;  // 18 to 20 decimal digits, without padding: the canonical value
using Oid = Named<struct OidTag>;      // dotted

// Reasons: eid-format (not 32 digits), eid-check (ISO 7064 MOD 97-10 fails).
Result<Eid> parse_eid(std::string_view s);
Bytes eid_octets(const Eid& e);  // 16 bytes
// An ICCID that this SM-DP answers for: 18 to 20 digits, trailing F (the padding of EF.ICCID) taken off. 19 and 20
// digits end in a Luhn digit; 18 digits may or may not hold one, so they are taken as they stand. Reasons:
// iccid-format, iccid-check (Luhn over all digits fails).
Result<Iccid> parse_iccid(std::string_view s);
Bytes iccid_octets(const Iccid& i);  // 10 bytes in reading order, short ones padded with F
// Two spellings of one ICCID, whoever's it is: nothing is judged, only the padding does not count.
std::string_view iccid_value(std::string_view s);  // without trailing F or f
inline bool same_iccid(std::string_view a, std::string_view b) { return iccid_value(a) == iccid_value(b); }
// Reasons: oid-format.
Result<Oid> parse_oid(std::string_view s);
Bytes oid_octets(const Oid& o);  // the content octets of the DER OBJECT IDENTIFIER

// For tools that make up test identities: appends the check digits.
std::string eid_with_check_digits(std::string_view first30);
std::string iccid_with_luhn(std::string_view without_check_digit);

class Aid {  // 5 to 16 bytes
 public:
  Aid() = default;
  static Result<Aid> parse(ByteView b);  // reasons: aid-length
  static Aid of(std::string_view hex_literal);
  [[nodiscard]] ByteView bytes() const noexcept { return b_; }
  [[nodiscard]] std::string str() const { return to_hex(b_); }
  [[nodiscard]] bool empty() const noexcept { return b_.empty(); }
  auto operator<=>(const Aid&) const = default;

 private:
  Bytes b_;
};

inline const Aid& isd_r_aid() {
  static const Aid a = Aid::of("A0000005591010FFFFFFFF8900000100");
  return a;
}
inline const Aid& ecasd_aid() {
  static const Aid a = Aid::of("A0000005591010FFFFFFFF8900000200");
  return a;
}

}  // namespace kf

template <class Tag>
struct std::hash<kf::Named<Tag>> {
  std::size_t operator()(const kf::Named<Tag>& n) const noexcept { return std::hash<std::string>{}(n.str()); }
};
