#include "host/main/config/config.hpp"

#include <algorithm>

#include "host/main/config/section.hpp"

namespace kf::server {
namespace fs = std::filesystem;

void Mistakes::add(std::string key, std::string what) {
  if (!about(key)) list_.push_back({std::move(key), std::move(what)});
}

void Mistakes::add_entry(std::string key, std::string what) {
  if (std::ranges::none_of(list_, [&](const Mistake& m) { return m.key == key && m.what == what; }))
    list_.push_back({std::move(key), std::move(what)});
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

Result<ConfigReading> read_config(const std::string& path) {
  std::error_code ec;
  const bool there = fs::exists(path, ec);
  if (ec && ec != std::errc::no_such_file_or_directory && ec != std::errc::not_a_directory)
    return Error{"config", path + ": " + ec.message()};
  if (!there)
    return Error{"config", path +
                               ": no such file. `keyferry init --dir DIR` makes a first configuration, DIR/smdp.toml; "
                               "`-c FILE` names another"};
  if (fs::is_directory(path, ec)) {
    const std::string inside = (fs::path(path) / "smdp.toml").string();
    return Error{"config", path + ": a directory; `-c` takes the file" +
                               (fs::exists(inside, ec) ? ": -c " + inside : std::string(", DIR/smdp.toml"))};
  }
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
    return Error{"config", path + ":" + std::to_string(e.source().begin.line) +
                               ": no TOML: " + std::string(e.description()) +
                               ". Nothing behind this line was read, and nothing was checked"};
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

Result<Config> load_config_for(const std::string& path, std::initializer_list<std::string_view> keys) {
  KF_TRY(ConfigReading r, read_config(path));
  Mistakes ours;
  for (const Mistake& m : r.mistakes.list())
    if (std::ranges::find(keys, m.key) != keys.end()) ours.add_entry(m.key, m.what);
  if (!ours.empty()) return Error{"config", ours.text(path)};
  return std::move(r.config);
}

}  // namespace kf::server
