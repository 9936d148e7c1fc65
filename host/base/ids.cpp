#include "host/base/ids.hpp"

#include <algorithm>
#include <cstdlib>

namespace kf {
namespace {
bool digits(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}
unsigned mod97(std::string_view s) {
  unsigned r = 0;
  for (char c : s) r = (r * 10 + static_cast<unsigned>(c - '0')) % 97;
  return r;
}
unsigned luhn_sum(std::string_view s) {
  unsigned sum = 0;
  bool twice = false;
  for (auto it = s.rbegin(); it != s.rend(); ++it, twice = !twice) {
    unsigned d = static_cast<unsigned>(*it - '0');
    if (twice) d = d * 2 > 9 ? d * 2 - 9 : d * 2;
    sum += d;
  }
  return sum;
}
}  // namespace

Result<Eid> parse_eid(std::string_view s) {
  if (s.size() != 32 || !digits(s)) return Error{"eid-format", "an EID has 32 digits"};
  if (mod97(s) != 1) return Error{"eid-check", "check digits of the EID are wrong"};
  return Eid::trusted(std::string(s));
}

Bytes eid_octets(const Eid& e) { return hex(e.str()); }

Result<Iccid> parse_iccid(std::string_view s) {
  const std::string_view v = iccid_value(s);
  if (s.size() > 20 || v.size() < 18 || !digits(v))
    return Error{"iccid-format", "an ICCID has 18 to 20 digits"};
  if (v.size() > 18 && luhn_sum(v) % 10 != 0) return Error{"iccid-check", "Luhn digit of the ICCID is wrong"};
  return Iccid::trusted(std::string(v));
}

std::string_view iccid_value(std::string_view s) {
  const std::size_t end = s.find_last_not_of("Ff");
  return s.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

Bytes iccid_octets(const Iccid& i) {
  std::string s = i.str();
  if (s.size() < 20) s.resize(20, 'F');
  return hex(s);
}

Result<Oid> parse_oid(std::string_view s) {
  const Error bad{"oid-format", "an OID looks like 1.3.6.1.4.1.9999"};
  if (s.empty() || s.size() > 128) return bad;
  std::size_t arcs = 0;
  std::size_t at = 0;
  std::uint64_t first = 0;
  while (at <= s.size()) {
    const std::size_t dot = std::min(s.find('.', at), s.size());
    const std::string_view arc = s.substr(at, dot - at);
    if (arc.empty() || arc.size() > 18 || !digits(arc) || (arc.size() > 1 && arc[0] == '0')) return bad;
    const std::uint64_t v = std::stoull(std::string(arc));
    if (arcs == 0) first = v;
    if (arcs == 0 && v > 2) return bad;
    if (arcs == 1 && first < 2 && v > 39) return bad;
    ++arcs;
    at = dot + 1;
  }
  if (arcs < 2) return bad;
  return Oid::trusted(std::string(s));
}

Bytes oid_octets(const Oid& o) {
  std::vector<std::uint64_t> arcs;
  std::size_t at = 0;
  const std::string& s = o.str();
  while (at <= s.size()) {
    const std::size_t dot = std::min(s.find('.', at), s.size());
    arcs.push_back(std::stoull(s.substr(at, dot - at)));
    at = dot + 1;
  }
  Bytes out;
  auto put = [&out](std::uint64_t v) {
    Bytes tmp{static_cast<std::uint8_t>(v & 0x7F)};
    while ((v >>= 7) != 0) tmp.push_back(static_cast<std::uint8_t>(0x80 | (v & 0x7F)));
    out.insert(out.end(), tmp.rbegin(), tmp.rend());
  };
  put(arcs[0] * 40 + arcs[1]);
  for (std::size_t i = 2; i < arcs.size(); ++i) put(arcs[i]);
  return out;
}

std::string eid_with_check_digits(std::string_view first30) {
  const unsigned check = 98 - mod97(std::string(first30) + "00");
  std::string s(first30);
  s += static_cast<char>('0' + check / 10);
  s += static_cast<char>('0' + check % 10);
  return s;
}

std::string iccid_with_luhn(std::string_view without_check_digit) {
  std::string s(without_check_digit);
  s += '0';
  s.back() = static_cast<char>('0' + (10 - luhn_sum(s) % 10) % 10);
  return s;
}

Result<Aid> Aid::parse(ByteView b) {
  if (b.size() < 5 || b.size() > 16) return Error{"aid-length", "an AID has 5 to 16 bytes"};
  Aid a;
  a.b_ = to_bytes(b);
  return a;
}

Aid Aid::of(std::string_view hex_literal) {
  auto r = parse(hex(hex_literal));
  if (!r) std::abort();
  return *r;
}
}  // namespace kf
