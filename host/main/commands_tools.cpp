// `keyferry profile|identity`: what an SM-DP operator does by hand with what is in store and token.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "host/base/text.hpp"
#include "host/main/commands.hpp"
#include "host/main/preflight.hpp"
#include "host/main/serve.hpp"
#include "host/pki/gp_cert.hpp"
#include "host/server/inventory.hpp"
#include "host/store/inspect.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

Result<Bytes> read_file(const std::string& path, std::size_t limit) {
  std::ifstream f(path, std::ios::binary);
  if (!f || fs::is_directory(path)) return Error{"file", path + ": cannot be read"};
  Bytes b(std::istreambuf_iterator<char>(f), {});
  if (b.size() > limit) return Error{"file", path + ": larger than " + std::to_string(limit) + " bytes"};
  return b;
}

// "DELETE=Not-Allowed,DISABLE=Auto-Delete" or "none" (explicitly no rules).
Result<std::optional<es::Pol2>> parse_pol2(const std::string& s) {
  if (s.empty()) return std::optional<es::Pol2>();
  es::Pol2 p;
  if (s == "none") return std::optional<es::Pol2>(p);
  std::size_t at = 0;
  while (at <= s.size()) {
    const std::size_t end = std::min(s.find(',', at), s.size());
    const std::string item = s.substr(at, end - at);
    const std::size_t eq = item.find('=');
    const std::string action = item.substr(0, eq);
    const std::string qualification = eq == std::string::npos ? "" : item.substr(eq + 1);
    if ((action != "ENABLE" && action != "DISABLE" && action != "DELETE") ||
        (qualification != "Not-Allowed" && qualification != "Auto-Delete"))
      return Error{"pol2",
                   "--pol2: \"" + item + "\" is not a rule; rules look like DELETE=Not-Allowed,DISABLE=Auto-Delete"};
    p.push_back({"PROFILE", action, qualification});
    at = end + 1;
  }
  return std::optional<es::Pol2>(p);
}

struct Opened {
  Config config;
  std::unique_ptr<hsm::HsmEngine> hsm;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<store::Vault> vault;
};
Result<Opened> open_all(const std::string& config, bool with_vault) {
  Opened o;
  if (with_vault) {
    KF_TRY(o.config, load_config(config));
  } else {
    KF_TRY(o.config, load_config_for(config, {"store.path"}));
  }
  // Opening makes a file that is not there: an empty store in the place of a lost one would look as if all were well.
  KF_TRY(const store::StoreFacts facts, store::inspect(o.config.store_path));
  KF_TRY(o.store, store::Store::open({o.config.store_path}));
  if (!with_vault) return o;
  if (!facts.has_data_key) return Error{"store", o.config.store_path + kNoDataKey};
  o.config.hsm.tokens.front().workers = 1;
  KF_TRY(o.hsm, hsm::HsmEngine::start(o.config.hsm));
  KF_TRY(SecretBytes key, o.hsm->unwrap_data_key(facts.data_key));
  o.vault = std::make_unique<store::Vault>(std::move(key));
  return o;
}
}  // namespace

namespace {

// What does not go together; empty: fine.
std::string fault_in(const ImportCommand& c) {
  const bool by_template = !c.template_file.empty();
  if (by_template && c.csv_file.empty()) return "--template needs --csv: a row for each subscription";
  if (by_template == !c.packages.empty())
    return "give either complete packages (FILE.der ...) or --template with --csv";
  const bool one_address = !c.imsi.empty() || !c.msisdn.empty();
  if (one_address && (by_template || c.packages.size() != 1))
    return "--imsi and --msisdn are for one complete package; several take --csv with the columns iccid, imsi, msisdn";
  if (one_address && !c.csv_file.empty()) return "give either --imsi and --msisdn or --csv";
  const auto digits = [](std::string_view s, std::size_t least) {  // as in profile/csv.cpp
    return s.empty() || (s.size() >= least && s.size() <= 15 && s.find_first_not_of("0123456789") == s.npos);
  };
  if (!digits(c.imsi, 14)) return "--imsi: 15 digits expected (14 at least)";
  if (!digits(c.msisdn.starts_with('+') ? std::string_view(c.msisdn).substr(1) : std::string_view(c.msisdn), 5))
    return "--msisdn: 5 to 15 digits expected, + before them allowed";
  return {};
}

// Whether a file is a profile package, and as a template has places to personalise; empty: fine.
std::string no_package(const std::string& file, const Bytes& b, bool as_template) {
  if (const auto p = profile::parse_package(b); !p) {
    const auto printed = [](std::uint8_t c) { return (c >= 0x20 && c < 0x7F) || c == '\n' || c == '\r' || c == '\t'; };
    if (!b.empty() && std::ranges::all_of(b, printed))
      return file + ": text, not a profile package, which is binary (DER); a CSV goes to --csv";
    return file + ": not a profile package (DER, as `keyferry profile sample` writes one): " + p.error().text();
  }
  if (!as_template) return {};
  const auto slots = profile::find_slots(b);
  return slots ? std::string() : file + ": cannot be a template: " + slots.error().text();
}

int complain_about_csv(const std::string& file, const std::vector<std::string>& errors) {
  for (const auto& e : errors) complain(1, (e.starts_with("line ") ? file + ": " : "") + e);
  return complain(1, "nothing was imported");
}

}  // namespace

int run_profile_import(const ImportCommand& c) {
  const auto owner = parse_oid(c.owner);
  if (!owner) return complain(2, "--owner: " + owner.error().detail);
  if (const std::string fault = fault_in(c); !fault.empty()) return complain(2, fault);
  const bool by_template = !c.template_file.empty();
  const auto pol2 = parse_pol2(c.pol2);
  if (!pol2) return complain(2, pol2.error().detail);

  ImportOptions o;
  o.owner = *owner;
  o.profile_type = c.type;
  o.pol2 = *pol2;
  o.required_memory = c.required_memory;
  o.skip_unknown_columns = c.skip_unknown_columns;
  std::vector<std::pair<std::string, Bytes>> files;
  for (const auto& p : by_template ? std::vector<std::string>{c.template_file} : c.packages) {
    auto b = read_file(p, 1 << 20);
    if (!b) return complain(2, b.error().detail);
    if (const std::string fault = no_package(p, *b, by_template); !fault.empty()) return complain(1, fault);
    files.emplace_back(p, std::move(*b));
  }
  Bytes csv;
  if (!c.csv_file.empty()) {
    auto b = read_file(c.csv_file, std::size_t{1} << 30);
    if (!b) return complain(2, b.error().detail);
    csv = std::move(*b);
  }
  if (!by_template && !csv.empty()) {
    const profile::CsvResult rows = profile::parse_addresses_csv(text(csv), c.skip_unknown_columns);
    std::vector<std::string> errors;
    for (const auto& e : rows.errors) errors.push_back("line " + std::to_string(e.line) + ": " + e.message);
    if (!errors.empty()) return complain_about_csv(c.csv_file, errors);
    for (const auto& row : rows.rows)
      o.addresses[row.personal.iccid.str()] = {.imsi = row.personal.imsi, .msisdn = row.msisdn};
  } else if (!c.imsi.empty() || !c.msisdn.empty()) {
    const auto p = profile::parse_package(files.front().second);
    if (const auto iccid = parse_iccid(p->header.iccid_digits))
      o.addresses[iccid->str()] = {.imsi = c.imsi, .msisdn = c.msisdn};
  }
  auto opened = open_all(c.config, true);
  if (!opened) return complain(status_of(opened.error()), line_of(opened.error()));
  if (opened->config.by_oid(owner->str()) == nullptr)
    return complain(2, "--owner: " + owner->str() + " is no [[party]] of " + c.config);
  Inventory inventory(*opened->store, *opened->vault);
  const ImportResult r =
      by_template
          ? inventory.import_template(fs::path(c.template_file).filename().string() + "@" + std::to_string(::getpid()),
                                      files.front().second, text(csv), o)
          : inventory.import_packages(files, o);
  wipe(csv);
  if (!r.errors.empty()) return complain_about_csv(c.csv_file, r.errors);
  std::printf("imported %zu profile%s of %s\n", r.imported, r.imported == 1 ? "" : "s", owner->str().c_str());
  return 0;
}

int run_profile_list(const std::string& config, bool rows) {
  const auto loaded = load_config_for(config, {"store.path"});
  if (!loaded) return complain(status_of(loaded.error()), line_of(loaded.error()));
  std::vector<store::ProfileCount> counts;
  std::vector<store::ProfileRow> list;
  const Status s = store::look(loaded->store_path, [&](store::Tx& tx) {
    counts = tx.profile_counts();
    if (rows) list = tx.list_profiles(1'000'000);
  });
  if (!s) return complain(status_of(s.error()), line_of(s.error()));
  std::printf("%-16s %-32s %10s %10s %10s %10s\n", "owner", "profile type", "free", "reserved", "installed",
              "uncertain");
  for (const auto& c : counts)
    std::printf("%-16s %-32s %10lld %10lld %10lld %10lld\n", c.owner.c_str(), printable(c.profile_type).c_str(),
                static_cast<long long>(c.free), static_cast<long long>(c.reserved), static_cast<long long>(c.installed),
                static_cast<long long>(c.uncertain));
  static constexpr const char* kStates[] = {"free", "reserved", "installed", "uncertain"};
  for (const auto& p : list)
    std::printf("%-20s %-9s %-16s %s %s\n", p.iccid.c_str(), kStates[static_cast<int>(p.state)], p.owner.c_str(),
                printable(p.profile_type).c_str(), p.eid.c_str());
  return 0;
}

int run_profile_release(const std::string& config, const std::string& iccid, bool yes) {
  const auto id = parse_iccid(iccid);
  if (!id) return complain(2, "--iccid: " + id.error().detail);
  auto opened = open_all(config, false);
  if (!opened) return complain(status_of(opened.error()), line_of(opened.error()));
  std::optional<store::ProfileRow> row;
  bool released = false;
  const Status s = opened->store->run([&](store::Tx& tx) {
    row = tx.get_profile(id->str());
    if (row && yes) released = tx.settle_uncertain(row->iccid, row->eid, row->smsr, store::ProfileState::free);
  });
  if (!s) return complain(1, line_of(s.error()));
  if (!row) return complain(1, "--iccid: " + id->str() + " is not in the inventory");
  if (row->state != store::ProfileState::uncertain)
    return complain(1, "--iccid: " + id->str() + " is not uncertain; nothing was changed");
  std::printf(
      "ICCID %s may be on the eUICC with EID %s (SM-SR %s), perhaps with its IMSI and its keys.\n"
      "Released, it is given to the next eUICC. When the first one has it too, two devices share one subscription:\n"
      "both lose the network at times, and either can listen in the other's place. Make sure first that the SM-SR has\n"
      "no ISD-P for it (`keyferry` frees it by itself as soon as an EIS shows that).\n",
      id->str().c_str(), row->eid.c_str(), row->smsr.c_str());
  if (!yes) return complain(1, "nothing was changed; say --yes to release it");
  if (!released) return complain(1, "it changed meanwhile; nothing was released");
  std::printf("released: %s is free\n", id->str().c_str());
  return 0;
}

int run_profile_sample(const std::string& out) {
  const Bytes p = profile::sample_package();
  errno = 0;
  std::ofstream f(out, std::ios::binary);
  f.write(reinterpret_cast<const char*>(p.data()), static_cast<std::streamsize>(p.size()));
  if (!f.flush()) return complain(1, out + cannot_write());
  std::printf("wrote %zu bytes to %s\n", p.size(), out.c_str());
  return 0;
}

int run_profile_inspect(const std::string& file) {
  auto b = read_file(file, 1 << 20);
  if (!b) return complain(2, b.error().detail);
  if (const std::string fault = no_package(file, *b, false); !fault.empty()) return complain(1, fault);
  const auto p = profile::parse_package(*b);
  std::printf("%zu bytes, SAIP %u.%u, type \"%s\", ICCID %s\n", b->size(), p->header.major, p->header.minor,
              printable(p->header.profile_type).c_str(), printable(p->header.iccid_digits).c_str());
  std::printf("%4s  %-24s %-14s %-10s %8s %6s\n", "#", "element", "identification", "mandated", "offset", "bytes");
  std::size_t n = 0;
  for (const auto& e : p->elements)
    std::printf("%4zu  %-24s %-14s %-10s %8zu %6zu\n", ++n, e.name.c_str(),
                e.identification ? std::to_string(*e.identification).c_str() : "-", e.mandated ? "yes" : "no", e.offset,
                e.size);
  auto slots = profile::find_slots(*b);
  if (!slots) return complain(1, file + ": " + slots.error().text());
  for (const auto& s : *slots)
    std::printf("personal  %-14s at byte %zu, %zu bytes\n", std::string(profile::field_name(s.field)).c_str(), s.offset,
                s.size);
  return 0;
}

int run_identity_show(const std::string& config) {
  auto opened = open_all(config, true);
  if (!opened) return complain(status_of(opened.error()), line_of(opened.error()));
  auto roots = read_x509_files(opened->config.ci_roots);
  if (!roots) return complain(1, line_of(roots.error()));
  int worst = 0;
  for (const auto& i : opened->config.identities) {
    auto q = opened->hsm->public_key(i.curve);
    std::printf("%s\n  key    \"%s\" %s\n", std::string(curve_name(i.curve)).c_str(), i.label.c_str(),
                q ? to_hex(*q).c_str() : one_line(q.error().text()).c_str());
    auto b = read_file(i.certificate_file, 65536);
    if (!q || !b) {
      worst = 1;
      continue;
    }
    const auto ok = check_identity(*b, *q, i.curve, *roots, today_utc());
    const auto cert = parse_gp_certificate(*b);
    std::printf("  cert   %s\n", i.certificate_file.c_str());
    if (cert)
      std::printf("         serial %s, subject %s, expires %s\n", to_hex(cert->serial).c_str(),
                  to_hex(cert->subject).c_str(), to_string(cert->expiry).c_str());
    std::printf("  state  %s\n",
                ok ? "good: key, usage, type, dates and the CI's signature fit" : one_line(ok.error().text()).c_str());
    if (!ok) worst = 1;
  }
  return worst;
}

namespace {
// SubjectPublicKeyInfo of an uncompressed point, PEM: what a CI takes with a request.
std::string public_key_pem(Curve c, const Point& q) {
  const Bytes algorithm = c == Curve::p256 ? hex("301306072A8648CE3D020106082A8648CE3D030107")
                                           : hex("301406072A8648CE3D020106092B2403030208010107");
  Bytes bits{0x00};
  append(bits, q);
  const std::string b64 = to_base64(make_tlv(0x30, concat(algorithm, make_tlv(0x03, bits))));
  std::string pem = "-----BEGIN PUBLIC KEY-----\n";
  for (std::size_t i = 0; i < b64.size(); i += 64) pem += b64.substr(i, 64) + "\n";
  return pem + "-----END PUBLIC KEY-----\n";
}
}  // namespace

int run_identity_export(const std::string& config, const std::string& curve, const std::string& out) {
  const auto c = curve_by_name(curve);
  if (!c) return complain(2, "--curve " + curve + ": must be P-256 or brainpoolP256r1");
  auto opened = open_all(config, true);
  if (!opened) return complain(status_of(opened.error()), line_of(opened.error()));
  auto q = opened->hsm->public_key(*c);
  if (!q) return complain(1, line_of(q.error()));
  const std::string pem = public_key_pem(*c, *q);
  if (out.empty()) {
    std::fputs(pem.c_str(), stdout);
    return 0;
  }
  errno = 0;
  std::ofstream f(out);
  f << pem;
  if (!f.flush()) return complain(1, out + cannot_write());
  std::printf("wrote the public key of SK.DP.ECDSA (%s) to %s; send it to the CI\n", curve.c_str(), out.c_str());
  return 0;
}

int run_identity_import(const std::string& config, const std::string& curve, const std::string& certificate) {
  const auto c = curve_by_name(curve);
  if (!c) return complain(2, "--curve " + curve + ": must be P-256 or brainpoolP256r1");
  auto b = read_file(certificate, 65536);
  if (!b) return complain(2, b.error().detail);
  if (!b->empty() && b->front() != 0x7F) {  // hex text is taken too
    std::string t(text(*b));
    std::erase_if(t, [](char ch) { return ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t'; });
    auto h = from_hex(t);
    if (!h) return complain(1, certificate + ": neither a 7F21 certificate nor its hex");
    b = std::move(h);
  }
  auto opened = open_all(config, true);
  if (!opened) return complain(status_of(opened.error()), line_of(opened.error()));
  const Identity* id = nullptr;
  for (const auto& i : opened->config.identities)
    if (i.curve == *c) id = &i;
  if (id == nullptr) return complain(2, config + ": identity: none on " + curve);
  auto q = opened->hsm->public_key(*c);
  if (!q) return complain(1, line_of(q.error()));
  auto roots = read_x509_files(opened->config.ci_roots);
  if (!roots) return complain(1, line_of(roots.error()));
  const auto ok = check_identity(*b, *q, *c, *roots, today_utc());
  if (!ok) return complain(1, certificate + ": refused, the configured one is kept: " + ok.error().text());
  const std::string tmp = id->certificate_file + ".new";
  {
    errno = 0;
    std::ofstream f(tmp, std::ios::binary);
    f.write(reinterpret_cast<const char*>(b->data()), static_cast<std::streamsize>(b->size()));
    if (!f.flush()) return complain(1, tmp + cannot_write());
  }
  std::error_code ec;
  fs::rename(tmp, id->certificate_file, ec);
  if (ec) return complain(1, id->certificate_file + ": " + ec.message());
  std::printf("CERT.DP.ECDSA on %s checked and stored as %s; restart `keyferry serve` to use it\n", curve.c_str(),
              id->certificate_file.c_str());
  return 0;
}

}  // namespace kf::server
