#include "tests/sim/expect/expect.hpp"

#include <algorithm>

namespace kf::sim {
namespace {

// All work is on upper-case hex text; a position counts only at an even index.
std::vector<std::size_t> find_all(const std::string& in, const std::string& what, std::size_t from, std::size_t to) {
  std::vector<std::size_t> out;
  for (std::size_t at = in.find(what, from); at != std::string::npos && at + what.size() <= to;
       at = in.find(what, at + 1))
    if (at % 2 == 0) out.push_back(at);
  return out;
}

std::string swap_pairs(std::string s) {
  for (std::size_t i = 0; i + 1 < s.size(); i += 2) std::swap(s[i], s[i + 1]);
  return s;
}

std::string imsi_text(const std::string& imsi) {
  std::string nibbles = (imsi.size() % 2 == 1 ? "9" : "1") + imsi;
  if (nibbles.size() % 2 == 1) nibbles += 'F';
  std::string out = "0" + std::to_string(nibbles.size() / 2) + swap_pairs(nibbles);
  out.resize(18, 'F');
  return out;
}

// Where the PEs with this tag lie, by hopping from length to length at the top level only.
std::vector<std::pair<std::size_t, std::size_t>> elements(const std::string& der, const std::string& tag) {
  std::vector<std::pair<std::size_t, std::size_t>> out;
  const auto num = [&der](std::size_t at, std::size_t n) { return std::stoul(der.substr(at, n), nullptr, 16); };
  for (std::size_t at = 0; at + 4 <= der.size();) {
    std::size_t head = 4;
    std::size_t len = num(at + 2, 2);
    if (len > 0x80 && at + 4 + 2 * (len - 0x80) <= der.size()) {
      head += 2 * (len - 0x80);
      len = num(at + 4, head - 4);
    }
    const std::size_t end = std::min(der.size(), at + head + 2 * len);
    if (der.compare(at, 2, tag) == 0) out.emplace_back(at, end);
    at = end;
  }
  return out;
}

Error missing(const char* what) { return {"bad-template", what}; }
}  // namespace

Result<Bytes> expected_package(ByteView template_der, const ExpectedValues& v) {
  if (v.iccid.size() < 18 || v.iccid.size() > 20) return Error{"bad-value", "iccid"};
  if (v.imsi.size() > 15) return Error{"bad-value", "imsi"};
  const std::string old = to_hex(template_der);
  std::string now = old;
  const auto put = [&now](std::size_t at, const std::string& value) { now.replace(at, value.size(), value); };

  // The header's ICCID: the first `83 0A` of the file; EF.ICCID: the same digits swapped, exactly once anywhere else.
  const std::size_t mark = old.find("830A");
  if (mark == std::string::npos || mark % 2 != 0 || mark + 24 > old.size()) return missing("ICCID in the header");
  const std::string old_iccid = old.substr(mark + 4, 20);
  const std::string new_iccid = v.iccid + std::string(20 - v.iccid.size(), 'F');
  put(mark + 4, new_iccid);
  const auto files = find_all(old, "830A" + swap_pairs(old_iccid), mark + 24, old.size());
  if (files.size() != 1) return missing("EF.ICCID with the header's digits, once");
  put(files[0] + 4, swap_pairs(new_iccid));

  // EF.IMSI: in PE usim, the first content of 9 bytes behind file ID 6F07.
  if (!v.imsi.empty()) {
    const auto usims = elements(old, "B3");
    if (usims.empty()) return missing("PE usim");
    for (const auto& [from, to] : usims) {
      const auto ids = find_all(old, "83026F07", from, to);
      if (ids.size() != 1) return missing("file ID 6F07, once");
      const auto contents = find_all(old, "8309", ids[0] + 8, to);
      if (contents.empty() || contents[0] > ids[0] + 64) return missing("content of EF.IMSI");
      const std::string old_imsi = old.substr(contents[0] + 4, 18);
      if (old_imsi[0] != '0' || (old_imsi[3] != '9' && old_imsi[3] != '1')) return missing("EF.IMSI coding");
      put(contents[0] + 4, imsi_text(v.imsi));
    }
  }

  // Every PE akaParameter: the pattern `82 L key 83 L opc` where both lengths are 16 or 32.
  std::size_t keys = 0;
  for (const auto& [from, to] : elements(old, "A4")) {
    bool found = false;
    for (const std::size_t k : {16U, 32U})
      for (const std::size_t o : {16U, 32U}) {
        const std::string key_mark = k == 16 ? "8210" : "8220";
        const std::string opc_mark = o == 16 ? "8310" : "8320";
        for (const std::size_t at : find_all(old, key_mark, from, to)) {
          const std::size_t opc_at = at + 4 + 2 * k;
          if (found || opc_at + 4 + 2 * o > to || old.compare(opc_at, 4, opc_mark) != 0) continue;
          found = true;
          ++keys;
          if (!v.ki.empty()) {
            if (v.ki.size() != k) return Error{"bad-value", "ki"};
            put(at + 4, to_hex(v.ki));
          }
          if (!v.opc.empty()) {
            if (v.opc.size() != o) return Error{"bad-value", "opc"};
            put(opc_at + 4, to_hex(v.opc));
          }
        }
      }
  }
  if (keys == 0 && (!v.ki.empty() || !v.opc.empty())) return missing("akaParameter with a key");
  return from_hex(now);
}

}  // namespace kf::sim
