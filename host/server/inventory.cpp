#include "host/server/inventory.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "host/base/text.hpp"
#include "host/es/xml.hpp"

namespace kf::server {
namespace {
using Json = nlohmann::json;

// Personal values as TLVs, so that no key passes through a formatter.
enum Tag : std::uint32_t {
  kImsi = 0x81,
  kMsisdn = 0x82,
  kKi = 0x83,
  kOpc = 0x84,
  kPin1 = 0x85,
  kPuk1 = 0x86,
  kAdm1 = 0x87,
  kPackage = 0x88  // a complete package with an address beside it; alone it stands as it is, beginning with A0
};

SecretBytes encode(const profile::Personal& p, const std::string& msisdn) {
  Bytes b;
  b.reserve(160);
  auto put = [&b](std::uint32_t tag, ByteView v) {
    if (!v.empty()) append_tlv(b, tag, v);
  };
  put(kImsi, view(p.imsi));
  put(kMsisdn, view(msisdn));
  put(kKi, p.ki.expose());
  put(kOpc, p.opc.expose());
  put(kPin1, view(p.pin1.expose()));
  put(kPuk1, view(p.puk1.expose()));
  put(kAdm1, view(p.adm1.expose()));
  return SecretBytes::adopt(std::move(b));
}

Result<profile::Personal> decode(ByteView b, std::string* msisdn) {
  profile::Personal p;
  while (!b.empty()) {
    KF_TRY(Tlv t, read_tlv(b));
    const std::string s(text(t.value));
    switch (t.tag) {
      case kImsi:
        p.imsi = s;
        break;
      case kMsisdn:
        if (msisdn != nullptr) *msisdn = s;
        break;
      case kKi:
        p.ki = SecretBytes(t.value);
        break;
      case kOpc:
        p.opc = SecretBytes(t.value);
        break;
      case kPin1:
        p.pin1 = s;
        break;
      case kPuk1:
        p.puk1 = s;
        break;
      case kAdm1:
        p.adm1 = s;
        break;
      default:
        return Error{"bad-record", "personal values"};
    }
  }
  return p;
}

// A complete package and its subscription address, if it has one.
SecretBytes encode_package(const Bytes& der, const es::SubscriptionAddress& a) {
  if (a.imsi.empty() && a.msisdn.empty()) return SecretBytes(der);
  Bytes b;
  b.reserve(der.size() + 64);
  if (!a.imsi.empty()) append_tlv(b, kImsi, view(a.imsi));
  if (!a.msisdn.empty()) append_tlv(b, kMsisdn, view(a.msisdn));
  append_tlv(b, kPackage, der);
  return SecretBytes::adopt(std::move(b));
}

struct StoredPackage {
  ByteView der;
  es::SubscriptionAddress address;
};
Result<StoredPackage> decode_package(ByteView b) {
  StoredPackage p;
  if (!b.empty() && b.front() == 0xA0) {
    p.der = b;
    return p;
  }
  while (!b.empty()) {
    KF_TRY(Tlv t, read_tlv(b));
    if (t.tag == kImsi)
      p.address.imsi = std::string(text(t.value));
    else if (t.tag == kMsisdn)
      p.address.msisdn = std::string(text(t.value));
    else if (t.tag == kPackage)
      p.der = t.value;
    else
      return Error{"bad-record", "complete package"};
  }
  if (p.der.empty()) return Error{"bad-record", "complete package"};
  return p;
}

std::string slots_json(std::span<const profile::Slot> slots) {
  Json j = Json::array();
  for (const auto& s : slots) j.push_back({static_cast<int>(s.field), s.offset, s.size});
  return j.dump();
}

std::vector<std::uint32_t> optional_of(const profile::Package& p) {
  std::vector<std::uint32_t> out;
  for (const auto& e : p.elements)
    if (!e.mandated && e.identification) out.push_back(*e.identification);
  return out;
}

std::string place_of_template(const std::string& name) { return "template:" + name; }
std::string place_of_profile(const std::string& iccid) { return "profile:" + iccid; }
}  // namespace

std::string pol2_json(const std::optional<es::Pol2>& p) {
  if (!p) return "";
  Json j = Json::array();
  for (const auto& r : *p) j.push_back({r.subject, r.action, r.qualification});
  return j.dump();
}
std::optional<es::Pol2> pol2_from_json(const std::string& s) {
  if (s.empty()) return std::nullopt;
  es::Pol2 p;
  for (const auto& r : Json::parse(s)) p.push_back({r.at(0), r.at(1), r.at(2)});
  return p;
}

// What is wrong with it; empty: an order can name it.
std::string fault_of_type(std::string_view type) {
  if (type.size() > es::kMaxProfileType)
    return "ProfileType: longer than " + std::to_string(es::kMaxProfileType) + " bytes, so no order could name it";
  for (std::string_view rest = type; !rest.empty();) {
    const std::size_t n = es::xml_char(rest);
    if (n == 0 || static_cast<unsigned char>(rest.front()) < 0x20)
      return "ProfileType \"" + printable(type, 60) + "\": holds a character that no order can carry";
    rest.remove_prefix(n);
  }
  return {};
}

std::uint64_t memory_for(std::size_t package_bytes) {
  const std::uint64_t with_room = package_bytes + package_bytes / 4;
  return std::max<std::uint64_t>(65'536, (with_room + 1023) / 1024 * 1024);
}

ImportResult Inventory::import_packages(const std::vector<std::pair<std::string, Bytes>>& files,
                                        const ImportOptions& o) {
  ImportResult r;
  std::vector<store::ProfileRow> rows;
  std::set<std::string> addressed;
  for (const auto& [name, der] : files) {
    auto p = profile::parse_package(der);
    if (!p) {
      r.errors.push_back(name + ": " + p.error().text());
      continue;
    }
    auto iccid = parse_iccid(p->header.iccid_digits);
    if (!iccid) {
      r.errors.push_back(name + ": " + iccid.error().text());
      continue;
    }
    store::ProfileRow row;
    row.iccid = iccid->str();
    row.owner = o.owner.str();
    row.profile_type = o.profile_type.empty() ? p->header.profile_type : o.profile_type;
    if (const std::string fault = fault_of_type(row.profile_type); !fault.empty()) {
      r.errors.push_back(name + ": " + fault);
      continue;
    }
    const auto address = o.addresses.find(row.iccid);
    if (address != o.addresses.end()) addressed.insert(row.iccid);
    const SecretBytes plain =
        encode_package(der, address == o.addresses.end() ? es::SubscriptionAddress{} : address->second);
    row.sealed = vault_.seal(place_of_profile(row.iccid), plain.expose());
    row.pol2 = pol2_json(o.pol2);
    row.required_memory = o.required_memory != 0 ? o.required_memory : memory_for(der.size());
    rows.push_back(std::move(row));
  }
  for (const auto& [iccid, address] : o.addresses)
    if (r.errors.empty() && addressed.count(iccid) == 0)
      r.errors.push_back("ICCID " + iccid + " of the CSV is in none of the packages");
  if (!r.errors.empty()) return r;
  const Status s = store_.run([&](store::Tx& tx) {
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (!tx.insert_profile(rows[i]))
        r.errors.push_back(files[i].first + ": ICCID " + rows[i].iccid + " is already in the inventory");
    if (!r.errors.empty()) throw store::StoreError("nothing imported");
  });
  if (!s && r.errors.empty()) r.errors.push_back(s.error().text());
  if (r.errors.empty()) r.imported = rows.size();
  return r;
}

ImportResult Inventory::import_template(const std::string& name, const Bytes& der, std::string_view csv,
                                        const ImportOptions& o) {
  ImportResult r;
  auto package = profile::parse_package(der);
  if (!package) {
    r.errors.push_back(name + ": " + package.error().text());
    return r;
  }
  const std::string& type = o.profile_type.empty() ? package->header.profile_type : o.profile_type;
  if (const std::string fault = fault_of_type(type); !fault.empty()) {
    r.errors.push_back(name + ": " + fault);
    return r;
  }
  auto slots = profile::find_slots(der);
  if (!slots) {
    r.errors.push_back(name + ": " + slots.error().text());
    return r;
  }
  profile::CsvResult rows = profile::parse_csv(csv, *slots, o.skip_unknown_columns);
  for (const auto& e : rows.errors) r.errors.push_back("line " + std::to_string(e.line) + ": " + e.message);
  if (r.errors.empty() && rows.rows.empty()) r.errors.push_back("the CSV has no rows");
  if (!r.errors.empty()) return r;
  const Status s = store_.run([&](store::Tx& tx) {
    store::TemplateRow t;
    t.name = name;
    t.sealed = vault_.seal(place_of_template(name), der);
    t.slots = slots_json(*slots);
    const std::int64_t id = tx.insert_template(t);
    for (const auto& row : rows.rows) {
      store::ProfileRow p;
      p.iccid = row.personal.iccid.str();
      p.owner = o.owner.str();
      p.profile_type = type;
      p.template_id = id;
      p.sealed = vault_.seal(place_of_profile(p.iccid), encode(row.personal, row.msisdn).expose());
      p.pol2 = pol2_json(o.pol2);
      p.required_memory = o.required_memory != 0 ? o.required_memory : memory_for(der.size());
      if (!tx.insert_profile(p) && r.errors.size() < 1000)
        r.errors.push_back("line " + std::to_string(row.line) + ": ICCID " + p.iccid + " is already in the inventory");
    }
    if (!r.errors.empty()) throw store::StoreError("nothing imported");
  });
  if (!s && r.errors.empty()) r.errors.push_back(s.error().text());
  if (r.errors.empty()) r.imported = rows.rows.size();
  return r;
}

Result<es::SubscriptionAddress> Inventory::subscription(const store::ProfileRow& p) const {
  KF_TRY(SecretBytes plain, vault_.open(place_of_profile(p.iccid), p.sealed));
  if (p.template_id == 0) {
    KF_TRY(StoredPackage stored, decode_package(plain.expose()));
    return std::move(stored.address);
  }
  es::SubscriptionAddress a;
  KF_TRY(profile::Personal personal, decode(plain.expose(), &a.msisdn));
  a.imsi = personal.imsi;
  return a;
}

Result<std::shared_ptr<const Inventory::Template>> Inventory::get_template(std::int64_t id) {
  {
    std::lock_guard lock(m_);
    if (auto it = templates_.find(id); it != templates_.end()) return it->second;
  }
  std::optional<store::TemplateRow> row;
  KF_CHECK(store_.run([&](store::Tx& tx) { row = tx.get_template(id); }));
  if (!row) return Error{"bad-record", "template " + std::to_string(id) + " is missing"};
  auto t = std::make_shared<Template>();
  KF_TRY(t->der, vault_.open(place_of_template(row->name), row->sealed));
  try {
    for (const auto& s : Json::parse(row->slots))
      t->slots.push_back(
          {static_cast<profile::Field>(s.at(0).get<int>()), s.at(1).get<std::size_t>(), s.at(2).get<std::size_t>()});
  } catch (const Json::exception&) {
    return Error{"bad-record", "slots of template " + std::to_string(id)};
  }
  KF_TRY(profile::Package p, profile::parse_package(t->der.expose()));
  t->optional_elements = optional_of(p);
  std::lock_guard lock(m_);
  templates_[id] = t;
  return std::shared_ptr<const Template>(t);
}

Result<LoadedProfile> Inventory::load(const store::ProfileRow& p, std::size_t segment) {
  LoadedProfile out;
  KF_TRY(SecretBytes plain, vault_.open(place_of_profile(p.iccid), p.sealed));
  if (p.template_id == 0) {
    KF_TRY(const StoredPackage stored, decode_package(plain.expose()));
    KF_TRY(profile::Package parsed, profile::parse_package(stored.der));
    out.optional_elements = optional_of(parsed);
    out.bytes = stored.der.size();
    out.own = std::move(plain);  // `stored` looks into it still: its memory moves along
    for (ByteView rest = stored.der; !rest.empty(); rest = rest.subspan(out.segments.back().size()))
      out.segments.push_back(rest.first(std::min(segment, rest.size())));
    return out;
  }
  KF_TRY(std::shared_ptr<const Template> t, get_template(p.template_id));
  KF_TRY(profile::Personal personal, decode(plain.expose(), nullptr));
  personal.iccid = Iccid::trusted(p.iccid);
  KF_TRY(profile::Segmented cut, profile::personalise_segments(t->der.expose(), t->slots, personal, segment));
  out.own = std::move(cut.own);
  out.segments = std::move(cut.segments);
  out.bytes = cut.bytes;
  out.optional_elements = t->optional_elements;
  out.keep = std::move(t);
  return out;
}

std::size_t Inventory::about_bytes(const store::ProfileRow& p) {
  constexpr std::size_t kUsual = 32'768;  // a template that was not opened yet
  if (p.template_id == 0) return p.sealed.size();
  const std::lock_guard lock(m_);
  const auto it = templates_.find(p.template_id);
  return it == templates_.end() ? kUsual : it->second->der.size();
}

}  // namespace kf::server
