#include "host/server/config.hpp"

#include <algorithm>

#include "host/server/config_section.hpp"

namespace kf::server {
namespace fs = std::filesystem;

void Mistakes::add(std::string key, std::string what) {
  if (!about(key)) list_.push_back({std::move(key), std::move(what)});
}

bool Mistakes::about(std::string_view key) const {
  return std::ranges::any_of(list_, [&](const Mistake& m) { return m.key == key; });
}

std::string Mistakes::text(const std::string& file) const {
  std::string out;
  for (const Mistake& m : list_) {
    if (!out.empty()) out += '\n';
    out += file + ": " + (m.key.empty() ? "" : m.key + ": ") + m.what;
  }
  return out;
}

<<<<<<< HEAD
=======
void read_token(Section& t, const toml::table& table, const fs::path& base, Config& c) {
  hsm::TokenConfig k;
  k.name = t.str("name", "");
  k.module_path = t.str("module");
  if (!fs::exists(k.module_path)) t.bad("module", "PKCS#11 module not found: " + k.module_path);
  k.token_uri = t.str("uri");
  k.pin_file = t.file("pin_file", false);
  k.pin_env = t.str("pin_env", "");
  k.pin_credential = t.str("pin_credential", "");
  if ((k.pin_file.empty() ? 0 : 1) + (k.pin_env.empty() ? 0 : 1) + (k.pin_credential.empty() ? 0 : 1) != 1)
    t.bad("pin_file", "give exactly one of pin_file, pin_env and pin_credential");
  const std::string wrap = t.str("wrap_key");
  if (!c.hsm.wrap_key_label.empty() && c.hsm.wrap_key_label != wrap)
    t.bad("wrap_key", "must be the same for all tokens: a record sealed by one must open in every other");
  c.hsm.wrap_key_label = wrap;
  k.workers = static_cast<unsigned>(t.integer("workers", 2, 1, 64));
  k.threads = static_cast<unsigned>(t.integer("threads", 1, 1, 64));
  Section env = t.table("environment");
  if (const toml::table* e = table["environment"].as_table()) {
    for (const auto& [name, v] : *e) {
      std::string value = env.str(name.str());
      if (name.str() == "SOFTHSM2_CONF") value = fs::absolute(base / value).lexically_normal().string();
      k.environment.emplace_back(std::string(name.str()), value);
    }
  }
  t.done();
  c.hsm.tokens.push_back(std::move(k));
}

void read_party(Section p, Config& c) {
  Party y;
  const std::string role = p.str("role");
  if (role == "operator")
    y.role = Role::operator_;
  else if (role == "smsr")
    y.role = Role::smsr;
  else
    p.bad("role", "must be \"operator\" or \"smsr\"");
  y.oid = p.oid("oid");
  y.name = p.str("name", y.oid.str());
  y.url = p.str("url");
  if (auto u = net::parse_url(y.url); !u) p.bad("url", u.error().text());
  y.ns = p.str("namespace", std::string(es::kNs3));
  if (y.ns == es::kNs1) p.bad("namespace", "version 1 messages are not supported");
  const std::string dialect = p.str("dialect", "wsdl-3");
  if (dialect != "wsdl-3" && dialect != "reference") p.bad("dialect", "must be \"wsdl-3\" or \"reference\"");
  y.dialect = dialect == "reference" ? es::Dialect::reference : es::Dialect::wsdl3;
  y.fingerprint = p.str("fingerprint", "");
  if (y.fingerprint.empty()) {
    const std::string cert = p.file("certificate");
    auto fp = net::certificate_fingerprint(cert);
    if (!fp) p.bad("certificate", fp.error().text());
    y.fingerprint = *fp;
  } else {
    auto h = from_hex(y.fingerprint);
    if (!h || h->size() != 32) p.bad("fingerprint", "must be the SHA-256 of the certificate, 64 hex digits");
    y.fingerprint = to_hex(*h);
  }
  y.max_connections = static_cast<std::size_t>(p.integer("max_connections", 32, 1, 1024));
  if (y.role == Role::operator_) {
    y.reply_hosts = p.strings("reply_hosts");
    if (y.reply_hosts.empty()) y.reply_hosts.push_back(net::parse_url(y.url)->host);
  } else {
    const std::string wrap = p.str("scp03t", "bare");
    if (wrap != "bare" && wrap != "in-22") p.bad("scp03t", "must be \"bare\" or \"in-22\"");
    y.scp03t_in_22 = wrap == "in-22";
    const std::string install = p.str("install", "script");
    if (install != "script" && install != "stepwise") p.bad("install", "must be \"script\" or \"stepwise\"");
    y.scp03t_online = install == "stepwise";
    y.send_data_limit = static_cast<std::size_t>(p.integer("send_data_limit", 0, 0, 1 << 20));
    y.synchronous = p.boolean("synchronous", false);
    y.callback_url = p.str("callback_url", "");
  }
  p.done();
  for (const Party& other : c.parties) {
    if (other.oid == y.oid) p.bad("oid", "used by two parties");
    if (other.fingerprint == y.fingerprint) p.bad("certificate", "used by two parties");
  }
  c.parties.push_back(std::move(y));
}

void read_plan(Section& d, Config& c) {
  auto& p = c.plan;
  p.key_length = static_cast<std::uint8_t>(d.integer("key_length", 16, 16, 32));
  if (p.key_length % 8 != 0) d.bad("key_length", "must be 16, 24 or 32");
  const std::string keys = d.str("key_set", "three-keys");
  if (keys != "three-keys" && keys != "base-key") d.bad("key_set", "must be \"three-keys\" or \"base-key\"");
  p.key_usage = keys == "base-key" ? 0x5C : 0x10;
  p.scenario_param = d.boolean("derivation_random", true) ? 0x0B : 0x09;
  p.kvn = static_cast<std::uint8_t>(d.integer("key_version", 0x30, 0x30, 0x3F));
}

Config read(const toml::table& root, const fs::path& file) {
  Config c;
  c.file = file.string();
  const fs::path base = file.has_parent_path() ? file.parent_path() : fs::path(".");
  Section r(&root, "", base);

  Section smdp = r.table("smdp");
  c.oid = smdp.oid("oid");
  c.name = smdp.str("name", "Keyferry");
  c.es2_url = smdp.str("es2_url");
  c.es3_url = smdp.str("es3_url");
  for (const char* k : {"es2_url", "es3_url"})
    if (auto u = net::parse_url(smdp.str(k)); !u) smdp.bad(k, u.error().text());
  smdp.done();

  Section listen = r.table("listen");
  host_port(listen, "es2", "127.0.0.1:8443", c.es2_address, c.es2_port);
  host_port(listen, "es3", "127.0.0.1:8444", c.es3_address, c.es3_port);
  c.admin_socket = listen.path("admin_socket", "");
  if (c.admin_socket.size() > 100) listen.bad("admin_socket", "path too long for a Unix socket (100 characters)");
  listen.done();

  Section tls = r.table("tls");
  c.tls = {tls.file("certificate"), tls.file("key"), tls.file("ca")};
  tls.done();

  for (Section& p : r.tables("party")) read_party(p, c);
  if (c.parties.empty()) r.bad("party", "at least one [[party]] is needed");
  for (Party& p : c.parties)
    if (p.callback_url.empty()) p.callback_url = c.es3_url + "/callback";

  Section pki = r.table("pki");
  for (const auto& f : pki.strings("ci_roots")) c.ci_roots.push_back((base / f).lexically_normal().string());
  for (const auto& f : pki.strings("eum_certificates"))
    c.eum_certificates.push_back((base / f).lexically_normal().string());
  if (c.ci_roots.empty()) pki.bad("ci_roots", "required");
  for (const auto* list : {&c.ci_roots, &c.eum_certificates})
    for (const auto& f : *list)
      if (!fs::exists(f)) pki.bad(list == &c.ci_roots ? "ci_roots" : "eum_certificates", "file not found: " + f);
  pki.done();

  for (Section& s : r.tables("identity")) {
    Identity i;
    const auto curve = curve_by_name(s.str("curve"));
    if (!curve || *curve == Curve::frp256v1) s.bad("curve", "must be \"P-256\" or \"brainpoolP256r1\"");
    i.curve = *curve;
    i.label = s.str("label");
    i.certificate_file = s.file("certificate");
    s.done();
    for (const Identity& o : c.identities)
      if (o.curve == i.curve) s.bad("curve", "given twice");
    c.identities.push_back(std::move(i));
  }
  if (c.identities.empty()) r.bad("identity", "at least one [[identity]] is needed");

  // One [token], or several [[token]] that hold the same keys.
  if (root["token"].is_array_of_tables()) {
    const toml::array& list = *root["token"].as_array();
    std::size_t i = 0;
    for (Section& t : r.tables("token")) read_token(t, *list[i++].as_table(), base, c);
  } else {
    Section t = r.table("token");
    const toml::table none;
    read_token(t, root["token"].is_table() ? *root["token"].as_table() : none, base, c);
  }
  for (const Identity& i : c.identities) c.hsm.identity_keys.push_back({i.curve, i.label, std::nullopt});

  Section h = r.table("hsm");
  c.hsm.ring_entries = static_cast<std::size_t>(h.integer("entries", 1024, 1, 65'536));
  c.hsm.job_limit = std::chrono::milliseconds(h.integer("job_limit_ms", 10'000, 10, 600'000));
  c.hsm.call_limit = std::chrono::milliseconds(h.integer("call_limit_ms", 2'000, 10, 600'000));
  c.hsm.start_limit = std::chrono::milliseconds(h.integer("start_limit_ms", 20'000, 100, 600'000));
  c.hsm.keep_alive = std::chrono::seconds(h.integer("keep_alive_s", 10, 0, 86'400));
  c.hsm.memory_budget = static_cast<std::size_t>(h.integer("memory_budget_mib", 256, 16, 1 << 20)) << 20;
  c.hsm.worker_path = h.path("worker", "");
  h.done();

  Section cu = r.table("custody");
  const std::string policy = cu.str("policy", "strict");
  if (policy == "strict")
    c.custody = CustodyPolicy::strict;
  else if (policy == "hybrid")
    c.custody = CustodyPolicy::hybrid;
  else if (policy == "core")
    c.custody = CustodyPolicy::core;
  else
    cu.bad("policy", "must be \"strict\", \"hybrid\" or \"core\"");
  cu.done();
  read_routes(r.table("routing"), c);

  Section core = r.table("core");
  c.cores.count = static_cast<unsigned>(core.integer("cores", 1, 1, 16));
  c.cores.boards = core.strings("boards");
  if (!c.cores.boards.empty()) c.cores.count = static_cast<unsigned>(c.cores.boards.size());
  c.cores.simulator = core.path("simulator", "");
  c.cores.keys_ahead = static_cast<unsigned>(core.integer("keys_ahead", 128, 64, 224));
  c.cores.job_limit_ms = core.integer("job_limit_ms", 30'000, 100, 600'000);
  core.done();

  Section st = r.table("store");
  c.store_path = st.path("path");
  c.keep_outcomes_days = static_cast<int>(st.integer("keep_outcomes_days", 7, 7, 3650));
  st.done();

  Section l = r.table("limits");
  c.downloads_in_flight = static_cast<std::size_t>(l.integer("downloads_in_flight", 256, 1, 100'000));
  c.orders_waiting = static_cast<std::size_t>(l.integer("orders_waiting", 100'000, 1, 10'000'000));
  c.max_body = static_cast<std::size_t>(l.integer("max_body_bytes", 1 << 20, 4096, 64 << 20));
  c.max_eis_body = static_cast<std::size_t>(l.integer("max_answer_bytes", 4 << 20, 4096, 64 << 20));
  c.max_connections = static_cast<std::size_t>(l.integer("max_connections", 4096, 1, 65536));
  c.crypto_threads = static_cast<unsigned>(l.integer("crypto_threads", 2, 1, 256));
  c.min_validity_s = static_cast<std::uint32_t>(l.integer("min_validity_s", 10, 1, 86'400));
  c.default_validity_s = static_cast<std::uint32_t>(l.integer("default_validity_s", 3600, 1, 31'536'000));
  l.done();

  Section scp = r.table("scp03t");
  c.sealing.engine = scp.str("engine", "best");
  if (const auto engine = seal::make_sealer(c.sealing.engine); !engine) scp.bad("engine", engine.error().detail);
  c.sealing.threads = static_cast<unsigned>(scp.integer("threads", std::min(c.crypto_threads, 64U), 1, 64));
  c.sealing.bytes_in_flight = static_cast<std::size_t>(scp.integer("memory_mib", 64, 1, 65'536)) << 20;
  c.sealing.batch = static_cast<std::size_t>(scp.integer("batch", 64, 1, 4096));
  scp.done();

  Section to = r.table("timeouts");
  auto ms = [&](std::string_view k, std::int64_t fallback) {
    return to.integer(k, fallback / 1000, 1, 604'800) * 1000;
  };
  c.timeouts.get_eis = ms("get_eis_s", c.timeouts.get_eis);
  c.timeouts.card = ms("card_s", c.timeouts.card);
  c.timeouts.completed = ms("completed_s", c.timeouts.completed);
  c.timeouts.enable = ms("enable_s", c.timeouts.enable);
  c.timeouts.backoff = to.integer("backoff_ms", c.timeouts.backoff, 1, 600'000);
  c.timeouts.get_eis_tries = static_cast<unsigned>(to.integer("get_eis_tries", 3, 1, 20));
  c.timeouts.completed_tries = static_cast<unsigned>(to.integer("completed_tries", 5, 1, 20));
  c.timeouts.delete_tries = static_cast<unsigned>(to.integer("delete_tries", 3, 1, 20));
  c.header_timeout_ms = ms("header_s", c.header_timeout_ms);
  c.body_timeout_ms = ms("body_s", c.body_timeout_ms);
  c.delivery_timeout_ms = ms("delivery_s", c.delivery_timeout_ms);
  c.delivery_give_up_s = to.integer("delivery_give_up_s", c.delivery_give_up_s, 1, 31'536'000);
  to.done();

  Section d = r.table("download");
  read_plan(d, c);
  const std::string keep = d.str("key_set_after", "keep");
  if (keep != "keep" && keep != "forget")
    d.bad("key_set_after", "must be \"keep\" (sealed by the token) or \"forget\"");
  c.keep_key_set = keep == "keep";
  c.certified = platforms(d, "certified");
  for (Section& s : d.tables("profile_type")) {
    c.profile_types.push_back({s.str("name"), platforms(s, "compatible")});
    s.done();
  }
  d.done();

  Section log = r.table("log");
  c.log_level = log.str("level", "info");
  if (c.log_level != "debug" && c.log_level != "info" && c.log_level != "warning" && c.log_level != "error")
    log.bad("level", "must be debug, info, warning or error");
  c.log_file = log.path("file", "");
  log.done();
  r.done();
  return c;
}

}  // namespace

>>>>>>> 38e89d9 (ES2, ES3: foreign stacks are understood and written to as the published v3 descriptions say)
std::string_view engine_name(EngineName e) {
  return e == EngineName::hsm ? "hsm" : e == EngineName::core ? "core" : "software";
}

bool Config::Routes::use(EngineName e) const {
  return std::ranges::find(ephemeral, e) != ephemeral.end() || std::ranges::find(verify, e) != verify.end();
}

std::string_view custody_name(CustodyPolicy p) {
  return p == CustodyPolicy::strict ? "strict" : p == CustodyPolicy::core ? "core" : "hybrid";
}

const Party* Config::by_fingerprint(std::string_view fp) const {
  for (const Party& p : parties)
    if (p.fingerprint == fp) return &p;
  return nullptr;
}
const Party* Config::by_oid(std::string_view o) const {
  for (const Party& p : parties)
    if (p.oid.str() == o) return &p;
  return nullptr;
}

Result<ConfigReading> read_config(const std::string& path) {
  std::error_code ec;
  if (!fs::exists(path, ec))
    return Error{"config", path +
                               ": no such file. `keyferry init --dir DIR` makes a first configuration, DIR/smdp.toml; "
                               "`-c FILE` names another"};
  ConfigReading r;
  try {
    const toml::table table = toml::parse_file(path);
    const fs::path file = fs::absolute(path);
    r.config.file = file.string();
    Section root(&table, "", file.parent_path(), r.mistakes);
    read_peers(root, r.config);
    read_keys(root, r.config);
    read_work(root, r.config);
    root.done();
  } catch (const toml::parse_error& e) {
    return Error{"config", path + ":" + std::to_string(e.source().begin.line) + ": " + std::string(e.description())};
  } catch (const std::exception& e) {
    return Error{"config", path + ": " + e.what()};
  }
  return r;
}

Result<Config> load_config(const std::string& path) {
  KF_TRY(ConfigReading r, read_config(path));
  if (!r.mistakes.empty()) return Error{"config", r.mistakes.text(path)};
  return std::move(r.config);
}

}  // namespace kf::server
