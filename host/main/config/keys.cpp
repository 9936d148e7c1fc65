// [pki], [[identity]], [token], [hsm], [custody], [routing] and [core]: which keys, where they live, who works with
// them.
#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "host/main/config/section.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

void read_pki(Section s, Config& c) {
  c.ci_roots = s.files("ci_roots");
  c.eum_certificates = s.files("eum_certificates");
  if (c.ci_roots.empty() && s.good("ci_roots")) s.bad("ci_roots", "required");
  s.done();
}

void read_identity(Section& s, Config& c) {
  Identity i;
  const std::string name = s.str("curve");
  const auto curve = curve_by_name(name);
  if (!curve || *curve == Curve::frp256v1)
    s.bad("curve", "must be \"P-256\" or \"brainpoolP256r1\"");
  else
    i.curve = *curve;
  i.label = s.str("label");
  i.certificate_file = s.file("certificate");
  s.done();
  if (!s.good("curve")) return;
  for (const Identity& o : c.identities)
    if (o.curve == i.curve) s.bad("curve", "given twice");
  c.identities.push_back(std::move(i));
}

// Exactly one place for the PIN.
void read_pin(Section& t, hsm::TokenConfig& k) {
  k.pin_file = t.path("pin_file", "");
  k.pin_env = t.str("pin_env", "");
  k.pin_credential = t.str("pin_credential", "");
  const int given = (k.pin_file.empty() ? 0 : 1) + (k.pin_env.empty() ? 0 : 1) + (k.pin_credential.empty() ? 0 : 1);
  std::error_code ec;
  if (given != 1)
    t.bad("pin_file", "give exactly one of pin_file, pin_env and pin_credential");
  else if (!k.pin_file.empty() && !fs::exists(k.pin_file, ec))
    t.bad("pin_file", "file not found: " + k.pin_file);
}

// SoftHSM itself says CKR_GENERAL_ERROR to the one and "no token" to the other.
void check_softhsm_conf(const std::string& file, const Section& env) {
  std::error_code ec;
  const fs::path folder_of = fs::path(file).parent_path();
  const std::string again = folder_of.filename() == "token"
                                ? "; `keyferry init --dir " + folder_of.parent_path().string() + "` writes it anew"
                                : "; `keyferry init` writes its own to token/softhsm2.conf";
  if (!fs::is_regular_file(file, ec)) return env.bad("SOFTHSM2_CONF", "file not found: " + file + again);
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const auto equals = line.find('=');
    if (!line.starts_with("directories.tokendir") || equals == std::string::npos) continue;
    const auto from = line.find_first_not_of(" \t", equals + 1);
    const std::string folder =
        from == std::string::npos ? "" : line.substr(from, line.find_last_not_of(" \t\r") + 1 - from);
    // Those of init stand beside the file. In a copied directory it still names the other one's, which would be used.
    const fs::path beside = folder_of / "tokens";
    const bool here = fs::is_directory(beside, ec);
    if (here && !fs::equivalent(folder, beside, ec))
      env.bad("SOFTHSM2_CONF", file + " says that the tokens are in " + folder + ", not in " + beside.string() + again);
    else if (!fs::is_directory(folder, ec))
      env.bad("SOFTHSM2_CONF",
              file + " says that the tokens are in " + folder + ", which is no directory" +
                  (folder_of.filename() == "token" ? ": put the tokens back from a backup (docs/backup.md)" : again));
    return;
  }
}

void read_token(Section& t, Config& c) {
  hsm::TokenConfig k;
  k.name = t.str("name", "");
  k.module_path = t.str("module");
  std::error_code ec;
  if (t.good("module") && !fs::exists(k.module_path, ec)) t.bad("module", "PKCS#11 module not found: " + k.module_path);
  k.token_uri = t.str("uri");
  if (t.good("uri") && !k.token_uri.starts_with("pkcs11:"))
    t.bad("uri", "must be an RFC 7512 URI, for example pkcs11:token=NAME");
  read_pin(t, k);
  const std::string wrap = t.str("wrap_key");
  if (!c.hsm.wrap_key_label.empty() && c.hsm.wrap_key_label != wrap)
    t.bad("wrap_key", "must be the same for all tokens: a record sealed by one must open in every other");
  c.hsm.wrap_key_label = wrap;
  k.workers = static_cast<unsigned>(t.integer("workers", 2, 1, 64));
  k.threads = static_cast<unsigned>(t.integer("threads", 1, 1, 64));
  Section env = t.table("environment");
  for (const std::string& name : env.keys())
    k.environment.emplace_back(name, name == "SOFTHSM2_CONF" ? fs::absolute(env.path(name)).string() : env.str(name));
  for (const auto& [name, value] : k.environment)
    if (name == "SOFTHSM2_CONF" && env.good(name)) check_softhsm_conf(value, env);
  t.done();
  c.hsm.tokens.push_back(std::move(k));
}

void read_hsm(Section h, Config& c) {
  c.hsm.ring_entries = static_cast<std::size_t>(h.integer("entries", 1024, 1, 65'536));
  c.hsm.job_limit = std::chrono::milliseconds(h.integer("job_limit_ms", 10'000, 10, 600'000));
  c.hsm.call_limit = std::chrono::milliseconds(h.integer("call_limit_ms", 2'000, 10, 600'000));
  c.hsm.start_limit = std::chrono::milliseconds(h.integer("start_limit_ms", 20'000, 100, 600'000));
  c.hsm.keep_alive = std::chrono::seconds(h.integer("keep_alive_s", 10, 0, 86'400));
  c.hsm.memory_budget = static_cast<std::size_t>(h.integer("memory_budget_mib", 256, 16, 1 << 20)) << 20;
  c.hsm.worker_path = h.path("worker", "");
  h.done();
}

// Custody says where ephemeral keys may live at most; [routing] chooses among that.
void read_routes(Section s, Config& c) {
  using E = EngineName;
  const std::vector<E> may = c.custody == CustodyPolicy::strict ? std::vector{E::hsm}
                             : c.custody == CustodyPolicy::core ? std::vector{E::core, E::hsm}
                                                                : std::vector{E::software, E::core, E::hsm};
  const auto list = [&s](const char* key, const std::vector<E>& allowed, const std::string& whose) {
    std::vector<E> out;
    std::string names;
    for (const E e : allowed) names += (names.empty() ? "\"" : ", \"") + std::string(engine_name(e)) + "\"";
    for (const std::string& name : s.one_or_more(key)) {
      const auto e = std::ranges::find_if(allowed, [&](E a) { return engine_name(a) == name; });
      if (e == allowed.end())
        s.bad(key, "\"" + name + "\" is not among what " + whose + " allows: " + names);
      else if (std::ranges::find(out, *e) != out.end())
        s.bad(key, "\"" + name + "\" is named twice");
      else
        out.push_back(*e);
    }
    return out.empty() ? std::vector{allowed.front()} : out;
  };
  c.routes.ephemeral = list("ephemeral", may, "custody " + std::string(custody_name(c.custody)));
  c.routes.verify = list("verify", {E::software, E::core}, "the verification of certificates");
  c.hsm.sign_only = std::ranges::find(c.routes.ephemeral, E::hsm) == c.routes.ephemeral.end();
  s.done();
}

bool is_pci_address(std::string_view s) {  // domain:bus:device.function
  constexpr std::string_view kForm = "xxxx:xx:xx.x";
  return s.size() == kForm.size() && std::ranges::equal(s, kForm, [](char c, char form) {
           return form == 'x' ? (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') : c == form;
         });
}

void read_core(Section s, Config& c) {
  c.cores.count = static_cast<unsigned>(s.integer("cores", 1, 1, 16));
  c.cores.boards = s.strings("boards");
  for (const std::string& b : c.cores.boards)
    if (!is_pci_address(b))
      s.bad_entry("boards", "\"" + b + "\" is no PCI address, which looks like 0000:65:00.0 (`lspci -D` lists them)");
  if (!c.cores.boards.empty()) c.cores.count = static_cast<unsigned>(c.cores.boards.size());
  c.cores.simulator = s.path("simulator", "");
  c.cores.keys_ahead = static_cast<unsigned>(s.integer("keys_ahead", 128, 64, 224));
  c.cores.job_limit_ms = s.integer("job_limit_ms", 30'000, 100, 600'000);
  s.done();
}

}  // namespace

void read_keys(Section& root, Config& c) {
  read_pki(root.table("pki"), c);

  for (Section& s : root.tables("identity")) read_identity(s, c);
  if (!root.has("identity")) root.bad("identity", "at least one [[identity]] is needed");

  // One [token], or several [[token]] that hold the same keys.
  c.token_list = root.is_list("token");
  if (c.token_list) {
    for (Section& t : root.tables("token")) read_token(t, c);
  } else {
    Section t = root.table("token");
    read_token(t, c);
  }
  for (const Identity& i : c.identities) c.hsm.identity_keys.push_back({i.curve, i.label, std::nullopt});
  read_hsm(root.table("hsm"), c);

  Section cu = root.table("custody");
  const std::string policy = cu.one_of("policy", "strict", {"strict", "hybrid", "core"});
  c.custody = policy == "hybrid" ? CustodyPolicy::hybrid
              : policy == "core" ? CustodyPolicy::core
                                 : CustodyPolicy::strict;
  cu.done();
  read_routes(root.table("routing"), c);
  read_core(root.table("core"), c);
}

}  // namespace kf::server
