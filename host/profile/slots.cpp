#include <algorithm>
#include <array>

#include "host/profile/der.hpp"
#include "host/profile/package.hpp"

namespace kf::profile {
namespace {
using der::Node;
using Nodes = std::vector<Node>;

Slot slot_of(Field f, const Node& n) { return {f, n.value, n.size()}; }

// File ::= SEQUENCE OF CHOICE { doNotCreate [0], fileDescriptor [1], fillFileOffset [2], fillFileContent [3] }.
// A value can only be patched in place when one fillFileContent holds the whole EF; `none` when there is no content.
Result<std::optional<Node>> whole_content(ByteView in, const Node& file, std::size_t size, std::string_view name) {
  KF_TRY(const Nodes parts, der::children(in, file));
  std::optional<Node> content;
  for (const Node& p : parts) {
    if (p.tag != 0x82 && p.tag != 0x83) continue;
    if (p.tag == 0x82 || content || p.size() != size)
      return Error{"bad-profile",
                   std::string(name) + " is not filled by one fillFileContent of " + std::to_string(size) + " bytes"};
    content = p;
  }
  return content;
}

// The EFs of the file-system PEs that differ between subscriptions: member tags by automatic tagging of PE-MF, PE-USIM
// and, in SAIP 3, PE-IoT.
struct FilePlace {
  std::uint32_t pe, member;
  Field field;
  std::size_t size;
  std::string_view name;
  bool needed;  // the template has no default content for it
};
constexpr std::array kFiles{FilePlace{0xB0, 0xA4, Field::iccid_ef, 10, "EF.ICCID", true},
                            FilePlace{0xB3, 0xA3, Field::imsi, 9, "EF.IMSI", false},
                            FilePlace{0xBF20, 0xA4, Field::iccid_ef, 10, "EF.ICCID", false},
                            FilePlace{0xBF20, 0xA9, Field::imsi, 9, "EF.IMSI", false}};

Status find_in_files(ByteView in, const Node& pe, std::vector<Slot>& out) {
  for (const FilePlace& f : kFiles) {
    if (f.pe != pe.tag) continue;
    KF_TRY(const Nodes members, der::children(in, pe));
    const auto file = der::find(members, f.member);
    if (file) {
      KF_TRY(const auto content, whole_content(in, *file, f.size, f.name));
      if (content) {
        out.push_back(slot_of(f.field, *content));
        continue;
      }
    }
    if (f.needed) return Error{"bad-profile", std::string(f.name) + " has no content in PE mf"};
  }
  return {};
}

// PE-AKAParameter: [1] algoConfiguration is a CHOICE, so its tag is explicit; [1] therein is algoParameter, [0] a
// mapping to another application's parameters, which has no key of its own.
Status find_in_aka(ByteView in, const Node& pe, std::vector<Slot>& out) {
  KF_TRY(const Nodes members, der::children(in, pe));
  const auto config = der::find(members, 0xA1);
  if (!config) return Error{"bad-profile", "algoConfiguration missing"};
  KF_TRY(const Nodes choice, der::children(in, *config));
  if (choice.size() != 1) return Error{"bad-profile", "algoConfiguration is not one choice"};
  if (choice[0].tag != 0xA1) return {};
  KF_TRY(const Nodes algo, der::children(in, choice[0]));
  const auto id = der::find(algo, 0x80);
  const auto key = der::find(algo, 0x82);
  const auto opc = der::find(algo, 0x83);
  if (!id || !key || !opc) return Error{"bad-profile", "algorithmID, key or opc missing"};
  KF_TRY(const std::uint32_t algorithm, der::number(in, *id));
  constexpr std::uint32_t kTestAlgorithm = 3;
  if (key->size() != 16 && key->size() != 32) return Error{"bad-profile", "key is not 16 or 32 bytes"};
  if (algorithm != kTestAlgorithm && opc->size() != 16 && opc->size() != 32)
    return Error{"bad-profile", "opc is not 16 or 32 bytes"};
  out.push_back(slot_of(Field::ki, *key));
  if (algorithm != kTestAlgorithm) out.push_back(slot_of(Field::opc, *opc));
  return {};
}

// SEQUENCE OF PINConfiguration or PUKConfiguration: both begin { [0] keyReference, [1] value of 8 bytes }.
Status find_codes(ByteView in, const Node& list, std::initializer_list<std::pair<std::uint32_t, Field>> wanted,
                  std::vector<Slot>& out) {
  KF_TRY(const Nodes entries, der::children(in, list));
  for (const Node& e : entries) {
    KF_TRY(const Nodes members, der::children(in, e));
    const auto ref = der::find(members, 0x80);
    const auto value = der::find(members, 0x81);
    if (!ref || !value || value->size() != 8) return Error{"bad-profile", "keyReference or value of 8 bytes missing"};
    KF_TRY(const std::uint32_t n, der::number(in, *ref));
    for (const auto& [reference, field] : wanted)
      if (reference == n) out.push_back(slot_of(field, *value));
  }
  return {};
}

Status find_in_pins(ByteView in, const Node& pe, std::vector<Slot>& out) {
  KF_TRY(const Nodes members, der::children(in, pe));
  const auto codes = der::find(members, 0xA1);
  if (!codes) return Error{"bad-profile", "pinCodes missing"};
  KF_TRY(const Nodes choice, der::children(in, *codes));  // explicit tag of a CHOICE again
  if (choice.size() != 1) return Error{"bad-profile", "pinCodes is not one choice"};
  if (choice[0].tag != 0xA0) return {};  // filePath: shared with another DF
  return find_codes(in, choice[0], {{1, Field::pin1}, {10, Field::adm1}}, out);
}

Status find_in_puks(ByteView in, const Node& pe, std::vector<Slot>& out) {
  KF_TRY(const Nodes members, der::children(in, pe));
  const auto codes = der::find(members, 0xA1);
  if (!codes) return Error{"bad-profile", "pukCodes missing"};
  return find_codes(in, *codes, {{1, Field::puk1}}, out);
}

bool all_digits(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Bytes swap_nibbles(Bytes b) {
  for (std::uint8_t& x : b) x = static_cast<std::uint8_t>(x << 4 | x >> 4);
  return b;
}

Error bad_personal(Field f, const std::string& what) {
  return {"bad-personal", std::string(field_name(f)) + ": " + what};
}

// TS 102 221 PIN coding: ASCII digits, FF behind.
Result<SecretBytes> pin_octets(Field f, const PinText& p, std::size_t least) {
  const std::string_view s = p.expose();
  if (s.size() < least || s.size() > 8 || !all_digits(s))
    return bad_personal(f, least == 8 ? "8 digits expected" : "4 to 8 digits expected");
  SecretBytes out(8);
  std::fill(out.expose_mut().begin(), out.expose_mut().end(), std::uint8_t{0xFF});
  std::copy(s.begin(), s.end(), out.expose_mut().begin());
  return out;
}
}  // namespace

Result<std::vector<Slot>> find_slots(ByteView in) {
  KF_TRY(const Package package, parse_package(in));
  std::vector<Slot> out;
  for (const Element& e : package.elements) {
    std::size_t at = e.offset;
    KF_TRY(const Node pe, der::read(in, at, in.size()));
    Status s;
    if (e.tag == 0xA0) {
      KF_TRY(const Nodes members, der::children(in, pe));
      if (const auto iccid = der::find(members, 0x83)) out.push_back(slot_of(Field::iccid_header, *iccid));
    } else if (e.tag == 0xA2) {
      s = find_in_pins(in, pe, out);
    } else if (e.tag == 0xA3) {
      s = find_in_puks(in, pe, out);
    } else if (e.tag == 0xA4) {
      s = find_in_aka(in, pe, out);
    } else {
      s = find_in_files(in, pe, out);
    }
    if (!s)
      return Error{s.error().reason, "PE " + e.name + " at byte " + std::to_string(e.offset) + ": " + s.error().detail};
  }
  for (const Field f : {Field::imsi, Field::ki, Field::opc}) {
    const Slot* first = nullptr;
    for (const Slot& s : out) {
      if (s.field != f) continue;
      if (first == nullptr) first = &s;
      if (!equal_ct(in.subspan(s.offset, s.size), in.subspan(first->offset, first->size)))
        return Error{"bad-profile", "several different values of " + std::string(field_name(f)) +
                                        ": one subscription cannot fill them"};
    }
  }
  return out;
}

Bytes imsi_octets(std::string_view digits) {
  Bytes out(9, 0xFF);
  const bool odd = digits.size() % 2 == 1;
  out[0] = static_cast<std::uint8_t>(digits.size() / 2 + 1);
  // The first nibble is the parity, then the digits; low nibble first.
  const auto nibble = [&](std::size_t i) -> unsigned {
    if (i == 0) return odd ? 9 : 1;
    return i <= digits.size() ? static_cast<unsigned>(digits[i - 1] - '0') : 0xF;
  };
  for (std::size_t k = 0; k < out[0]; ++k)
    out[1 + k] = static_cast<std::uint8_t>(nibble(2 * k + 1) << 4 | nibble(2 * k));
  return out;
}

std::string template_imsi(ByteView in, std::span<const Slot> slots) {
  for (const Slot& s : slots) {
    if (s.field != Field::imsi || s.size != 9 || s.offset > in.size() || in.size() - s.offset < 9) continue;
    const ByteView v = in.subspan(s.offset, 9);
    std::string digits;
    for (std::size_t k = 0; k < v[0] && k < 8; ++k)
      for (const unsigned n : {v[1 + k] & 0xFU, static_cast<unsigned>(v[1 + k] >> 4)})
        if (n < 10) digits += static_cast<char>('0' + n);
    if (digits.size() < 7) return {};
    digits.erase(0, 1);
    const Bytes again = imsi_octets(digits);
    return std::equal(again.begin(), again.end(), v.begin()) ? digits : std::string{};
  }
  return {};
}

namespace {
struct Value {
  Field field;
  SecretBytes bytes;
};

Result<std::vector<Value>> checked_values(ByteView in, std::span<const Slot> slots, const Personal& p) {
  // Everything is checked before the template is copied, so that no half-written package with keys is ever around.
  if (auto again = parse_iccid(p.iccid.str()); !again) return bad_personal(Field::iccid_header, again.error().detail);
  if (!p.imsi.empty() && (p.imsi.size() < 6 || p.imsi.size() > 15 || !all_digits(p.imsi)))
    return bad_personal(Field::imsi, "6 to 15 digits expected");
  std::vector<Value> values;
  const Bytes iccid = iccid_octets(p.iccid);
  values.push_back({Field::iccid_header, SecretBytes(ByteView(iccid))});
  values.push_back({Field::iccid_ef, SecretBytes(ByteView(swap_nibbles(iccid)))});
  if (!p.imsi.empty()) values.push_back({Field::imsi, SecretBytes(ByteView(imsi_octets(p.imsi)))});
  if (!p.ki.empty()) values.push_back({Field::ki, p.ki.clone()});
  if (!p.opc.empty()) values.push_back({Field::opc, p.opc.clone()});
  for (const auto& [field, pin] : {std::pair{Field::pin1, &p.pin1}, {Field::puk1, &p.puk1}, {Field::adm1, &p.adm1}}) {
    if (pin->empty()) continue;
    KF_TRY(SecretBytes coded, pin_octets(field, *pin, field == Field::puk1 ? 8 : 4));
    values.push_back({field, std::move(coded)});
  }
  for (const Value& v : values) {
    std::size_t places = 0;
    for (const Slot& s : slots) {
      if (s.field != v.field) continue;
      ++places;
      if (s.offset > in.size() || in.size() - s.offset < s.size)
        return bad_personal(v.field, "slot lies outside the template");
      if (s.size != v.bytes.size())
        return bad_personal(v.field,
                            std::to_string(s.size) + " bytes expected, " + std::to_string(v.bytes.size()) + " given");
    }
    // A package without PE mf has no EF.ICCID; every other value that was given must have a place.
    if (places == 0 && v.field != Field::iccid_ef) return bad_personal(v.field, "the template has no place for it");
  }
  return values;
}

// Calls f(offset, octets) for each place that gets a value.
template <class F>
void for_each_place(const std::vector<Value>& values, std::span<const Slot> slots, F&& f) {
  for (const Value& v : values)
    for (const Slot& s : slots)
      if (s.field == v.field) f(s.offset, v.bytes.expose());
}
}  // namespace

Result<Bytes> personalise(ByteView in, std::span<const Slot> slots, const Personal& p) {
  KF_TRY(const std::vector<Value> values, checked_values(in, slots, p));
  Bytes out = to_bytes(in);
  for_each_place(values, slots, [&](std::size_t offset, ByteView octets) {
    std::ranges::copy(octets, out.begin() + static_cast<std::ptrdiff_t>(offset));
  });
  return out;
}

Result<Segmented> personalise_segments(ByteView in, std::span<const Slot> slots, const Personal& p,
                                       std::size_t segment) {
  KF_TRY(const std::vector<Value> values, checked_values(in, slots, p));
  Segmented out;
  out.bytes = in.size();
  const std::size_t n = (in.size() + segment - 1) / segment;
  std::vector<bool> personal(n);
  for_each_place(values, slots, [&](std::size_t offset, ByteView octets) {
    for (std::size_t i = offset / segment; i <= (offset + octets.size() - 1) / segment; ++i) personal[i] = true;
  });
  const auto view = [&](std::size_t i) { return in.subspan(i * segment, std::min(segment, in.size() - i * segment)); };
  std::size_t size = 0;
  for (std::size_t i = 0; i < n; ++i) size += personal[i] ? view(i).size() : 0;
  out.own = SecretBytes(size);
  const std::span<std::uint8_t> own = out.own.expose_mut();
  std::vector<std::span<std::uint8_t>> writable(n);
  std::size_t at = 0;
  out.segments.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    const ByteView v = view(i);
    if (!personal[i]) {
      out.segments.push_back(v);
      continue;
    }
    writable[i] = own.subspan(at, v.size());
    std::ranges::copy(v, writable[i].begin());
    out.segments.emplace_back(writable[i]);
    at += v.size();
  }
  for_each_place(values, slots, [&](std::size_t offset, ByteView octets) {
    for (std::size_t k = 0; k < octets.size(); ++k)  // a value may lie across two segments
      writable[(offset + k) / segment][(offset + k) % segment] = octets[k];
  });
  return out;
}

}  // namespace kf::profile
