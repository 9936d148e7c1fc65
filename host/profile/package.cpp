#include "host/profile/package.hpp"

#include <algorithm>
#include <array>

#include "host/profile/der.hpp"

namespace kf::profile {
namespace {
using der::Node;

constexpr unsigned kMaxDepth = 16;  // TS.48 needs 6

// Position in the ProfileElement CHOICE; automatic tagging makes it the context tag number.
// docs/spec/interfaces.md 7.2.
constexpr std::array<std::string_view, 34> kElementNames{"header",
                                                         "genericFileManagement",
                                                         "pinCodes",
                                                         "pukCodes",
                                                         "akaParameter",
                                                         "cdmaParameter",
                                                         "securityDomain",
                                                         "rfm",
                                                         "application",
                                                         "nonStandard",
                                                         "end",
                                                         "reserved",
                                                         "reserved",
                                                         "reserved",
                                                         "reserved",
                                                         "reserved",
                                                         "mf",
                                                         "cd",
                                                         "telecom",
                                                         "usim",
                                                         "opt-usim",
                                                         "isim",
                                                         "opt-isim",
                                                         "phonebook",
                                                         "gsm-access",
                                                         "csim",
                                                         "opt-csim",
                                                         "eap",
                                                         "df-5gs",
                                                         "df-saip",
                                                         "df-snpn",
                                                         "df-5gprose",
                                                         "iot",
                                                         "opt-iot"};

// Position in ServicesList.
constexpr std::array<std::string_view, 30> kServiceNames{"contactless",
                                                         "usim",
                                                         "isim",
                                                         "csim",
                                                         "milenage",
                                                         "tuak128",
                                                         "cave",
                                                         "gba-usim",
                                                         "gba-isim",
                                                         "mbms",
                                                         "eap",
                                                         "javacard",
                                                         "multos",
                                                         "multiple-usim",
                                                         "multiple-isim",
                                                         "multiple-csim",
                                                         "tuak256",
                                                         "usim-test-algorithm",
                                                         "ber-tlv",
                                                         "dfLink",
                                                         "cat-tp",
                                                         "get-identity",
                                                         "profile-a-x25519",
                                                         "profile-b-p256",
                                                         "suciCalculatorApi",
                                                         "dns-resolution",
                                                         "scp11ac",
                                                         "scp11c-authorization-mechanism",
                                                         "s16mode",
                                                         "eaka"};

// The number of a tag of class `cls` (0xA0: constructed context, 0x80: primitive context); none for other classes.
std::optional<std::uint32_t> tag_number(std::uint32_t tag, std::uint8_t cls) {
  if (tag <= 0xFF) return (tag & 0xE0) == cls ? std::optional(tag & 0x1F) : std::nullopt;
  const bool three = tag > 0xFFFF;
  if ((tag >> (three ? 16 : 8) & 0xE0) != cls) return std::nullopt;
  return three ? (tag >> 1 & 0x3F80) | (tag & 0x7F) : tag & 0x7F;
}

Error in_element(const Error& e, std::size_t index, std::string_view name) {
  return {e.reason, "PE " + std::to_string(index + 1) + " (" + std::string(name) + "): " + e.detail};
}

// Members in rising order, each at most once: DER of a SEQUENCE with automatic tags.
Status check_order(const std::vector<Node>& list, std::string_view what) {
  std::optional<std::uint32_t> last;
  for (const Node& n : list) {
    const auto prim = tag_number(n.tag, 0x80);
    const auto num = prim ? prim : tag_number(n.tag, 0xA0);
    if (!num) return Error{"bad-tag", std::string(what) + ": member that is not context-tagged"};
    if (last && *num <= *last) return Error{"bad-profile", std::string(what) + ": member doubled or out of order"};
    last = num;
  }
  return {};
}

Result<Header> parse_header(ByteView in, const Node& pe) {
  KF_TRY(const auto list, der::children(in, pe));
  KF_CHECK(check_order(list, "header"));
  Header h;
  const auto need = [&list](std::uint32_t tag, const char* name) -> Result<Node> {
    if (const auto n = der::find(list, tag)) return *n;
    return Error{"bad-profile", std::string(name) + " missing"};
  };
  KF_TRY(const Node major, need(0x80, "major-version"));
  KF_TRY(const Node minor, need(0x81, "minor-version"));
  KF_TRY(h.major, der::number(in, major));
  KF_TRY(h.minor, der::number(in, minor));
  if (h.major > 255 || h.minor > 255) return Error{"bad-profile", "version number above 255"};
  if (const auto type = der::find(list, 0x82)) {
    const ByteView v = der::value(in, *type);
    if (v.empty() || v.size() > 400 || !der::is_utf8(v))
      return Error{"bad-profile", "profileType is not 1 to 100 printable"};
    h.profile_type = text(v);
  }
  KF_TRY(const Node iccid, need(0x83, "iccid"));
  h.iccid = to_bytes(der::value(in, iccid));
  if (h.iccid.size() != 10) return Error{"bad-profile", "iccid is not 10 bytes"};
  h.iccid_digits = to_hex(h.iccid);
  h.iccid_digits.resize(iccid_value(h.iccid_digits).size());
  if (h.iccid_digits.size() < 18 ||
      !std::all_of(h.iccid_digits.begin(), h.iccid_digits.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return Error{"bad-profile", "iccid is not 18 to 20 digits"};
  if (const auto pol = der::find(list, 0x84)) h.pol = to_bytes(der::value(in, *pol));
  KF_TRY(const Node services, need(0xA5, "eUICC-Mandatory-services"));
  KF_TRY(const Node templates, need(0xA6, "eUICC-Mandatory-GFSTEList"));
  KF_TRY(const auto service_list, der::children(in, services));
  KF_CHECK(check_order(service_list, "eUICC-Mandatory-services"));
  for (const Node& s : service_list) {
    const auto num = tag_number(s.tag, 0x80);
    if (!num || s.size() != 0) return Error{"bad-profile", "a mandatory service is not NULL"};
    h.services.push_back(*num < kServiceNames.size() ? std::string(kServiceNames[*num])
                                                     : "service-" + std::to_string(*num));
  }
  KF_TRY(const auto template_list, der::children(in, templates));
  for (const Node& t : template_list)
    if (t.tag != 0x06 || t.size() == 0) return Error{"bad-profile", "eUICC-Mandatory-GFSTEList holds no OID"};
  return h;
}

// A0 { 80 00 mandated?, 81 identification }: what every PE but the header begins with.
Status parse_pe_header(ByteView in, const Node& pe, Element& e) {
  KF_TRY(const auto list, der::children(in, pe));
  if (list.empty() || list[0].tag != 0xA0) return Error{"bad-profile", "PE-header missing"};
  KF_TRY(const auto head, der::children(in, list[0]));
  KF_CHECK(check_order(head, "PE-header"));
  if (const auto mandated = der::find(head, 0x80)) {
    if (mandated->size() != 0) return Error{"bad-profile", "mandated is not NULL"};
    e.mandated = true;
  }
  const auto id = der::find(head, 0x81);
  if (!id) return Error{"bad-profile", "identification missing"};
  KF_TRY(const std::uint32_t n, der::number(in, *id));
  if (n > 32767) return Error{"bad-profile", "identification above 32767"};
  e.identification = n;
  return {};
}
}  // namespace

std::string_view field_name(Field f) {
  switch (f) {
    case Field::iccid_header:
      return "iccid";
    case Field::iccid_ef:
      return "EF.ICCID";
    case Field::imsi:
      return "imsi";
    case Field::ki:
      return "ki";
    case Field::opc:
      return "opc";
    case Field::pin1:
      return "pin1";
    case Field::puk1:
      return "puk1";
    case Field::adm1:
      return "adm1";
  }
  return "?";
}

Result<Package> parse_package(ByteView in) {
  if (in.empty()) return Error{"truncated", "package is empty"};
  Package p;
  for (std::size_t at = 0; at < in.size();) {
    const std::size_t index = p.elements.size();
    if (index > 0 && p.elements.back().name == "end")
      return Error{"bad-profile", std::to_string(in.size() - at) + " bytes behind the end element"};
    auto node = der::read(in, at, in.size());
    if (!node) return in_element(node.error(), index, "?");
    Element e;
    e.tag = node->tag;
    e.offset = node->start;
    e.size = node->end - node->start;
    const auto number = tag_number(e.tag, 0xA0);
    if (!number) return in_element({"bad-tag", "not a ProfileElement at byte " + std::to_string(e.offset)}, index, "?");
    e.name = *number < kElementNames.size() ? kElementNames[*number] : "unknown";
    if ((index == 0) != (*number == 0))
      return in_element({"bad-profile", index == 0 ? "the first is not a header" : "second header"}, index, e.name);
    if (auto s = der::check(in, *node, kMaxDepth); !s) return in_element(s.error(), index, e.name);
    if (index == 0) {
      auto h = parse_header(in, *node);
      if (!h) return in_element(h.error(), index, e.name);
      p.header = std::move(*h);
      e.mandated = true;
    } else if (e.name != "reserved") {
      if (auto s = parse_pe_header(in, *node, e); !s) return in_element(s.error(), index, e.name);
    }
    p.elements.push_back(std::move(e));
  }
  if (p.elements.back().name != "end") return Error{"bad-profile", "does not end with an end element"};
  return p;
}

}  // namespace kf::profile
