#include "bench/burst/subscriptions.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "host/base/random.hpp"
#include "host/crypto/ec.hpp"
#include "host/profile/package.hpp"
#include "tests/sim/expect/expect.hpp"

namespace kf::bench {
namespace {

constexpr std::size_t kMaxPackage = 1 << 20;

// PREFIX and the number, so many digits in all.
std::string numbered(std::string_view prefix, std::size_t n, std::size_t digits) {
  std::string s = std::to_string(n);
  s.insert(0, digits - std::min(prefix.size() + s.size(), digits), '0');
  return std::string(prefix) + s;
}

}  // namespace

Result<Template> load_template(const std::string& path) {
  Template t;
  if (path.empty()) {
    t.der = profile::sample_package();
    t.name = "sample package";
  } else {
    std::ifstream f(path, std::ios::binary);
    if (!f || std::filesystem::is_directory(path)) return Error{"file", path + ": cannot be read"};
    t.der.assign(std::istreambuf_iterator<char>(f), {});
    if (t.der.size() > kMaxPackage) return Error{"file", path + ": larger than 1 MiB, no profile package"};
    t.name = std::filesystem::path(path).filename().string();
  }
  const auto named = [&](const Error& e) { return Error{e.reason, (path.empty() ? t.name : path) + ": " + e.text()}; };
  auto p = profile::parse_package(t.der);
  if (!p) return named(p.error());
  auto slots = profile::find_slots(t.der);
  if (!slots) return named(slots.error());
  t.elements = p->elements.size();
  t.profile_type = p->header.profile_type.empty() ? "Burst" : p->header.profile_type;
  t.iccid_digits = p->header.iccid_digits.size();
  for (const auto& s : *slots) {
    if (s.field == profile::Field::ki) t.ki_bytes = s.size;
    if (s.field == profile::Field::opc) t.opc_bytes = s.size;
    if (s.field == profile::Field::imsi) t.imsi_digits = 15;
  }
  return t;
}

Result<Subscriptions> make_subscriptions(const Template& t, const std::vector<std::string>& eids,
                                         const std::vector<std::size_t>& iccid_digits) {
  Subscriptions out;
  out.list.reserve(eids.size());
  Bytes csv;
  csv.reserve(64 + eids.size() * 160);  // no reallocation that would leave keys behind
  append(csv, view("iccid"));
  for (const auto& [name, size] : {std::pair{",imsi", t.imsi_digits}, {",ki", t.ki_bytes}, {",opc", t.opc_bytes}})
    if (size != 0) append(csv, view(name));
  append(csv, view("\n"));
  for (std::size_t i = 0; i < eids.size(); ++i) {
    Subscription s;
    s.eid = eids[i];
    s.iccid = iccid_with_luhn(numbered("8988303", i, (i < iccid_digits.size() ? iccid_digits[i] : t.iccid_digits) - 1));
    sim::ExpectedValues v;
    v.iccid = s.iccid;
    append(csv, view(s.iccid));
    if (t.imsi_digits != 0) {
      v.imsi = numbered("99970", i, t.imsi_digits);
      append(csv, view("," + v.imsi));
    }
    for (const auto& [bytes, value] : {std::pair{t.ki_bytes, &v.ki}, {t.opc_bytes, &v.opc}}) {
      if (bytes == 0) continue;
      *value = random_bytes(bytes);
      std::string h = "," + to_hex(*value);
      append(csv, view(h));
      wipe(h);
    }
    append(csv, view("\n"));
    auto expected = sim::expected_package(t.der, v);
    wipe(v.ki);
    wipe(v.opc);
    if (!expected) return Error{expected.error().reason, t.name + ": " + expected.error().text()};
    s.expected = sha256(*expected);
    wipe(*expected);
    out.list.push_back(std::move(s));
  }
  out.csv = SecretBytes::adopt(std::move(csv));
  return out;
}

}  // namespace kf::bench
