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

std::string_view engine_name(EngineName e) {
  return e == EngineName::hsm ? "hsm" : e == EngineName::core ? "core" : "software";
}

bool Config::Routes::use(EngineName e) const {
  return std::ranges::find(ephemeral, e) != ephemeral.end() || std::ranges::find(verify, e) != verify.end();
}

std::string_view custody_name(CustodyPolicy p) {
  return p == CustodyPolicy::strict ? "strict" : p == CustodyPolicy::core ? "core" : "hybrid";
}

const Party* Config::by_peer(const net::Peer& peer) const {
  for (const Party& p : parties)
    if (std::ranges::find(p.fingerprints, peer.fingerprint) != p.fingerprints.end()) return &p;
  const Party* p = by_names(peer.names);
  return p != nullptr && p->by_subject ? p : nullptr;
}
const Party* Config::by_names(std::string_view names) const {
  if (names.empty()) return nullptr;
  const Party* found = nullptr;
  for (const Party& p : parties) {
    if (std::ranges::find(p.names, names) == p.names.end()) continue;
    if (p.by_subject) return &p;  // nobody else has them then
    found = &p;
  }
  return found;
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
