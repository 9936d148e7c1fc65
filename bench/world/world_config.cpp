#include <charconv>
#include <fstream>
#include <sstream>
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include "bench/world/world.hpp"

namespace kf::bench {
namespace {

toml::table* party(toml::table& root, std::string_view role) {
  toml::array* all = root["party"].as_array();
  if (all == nullptr) return nullptr;
  for (toml::node& n : *all)
    if (toml::table* t = n.as_table(); t != nullptr && (*t)["role"].value_or(std::string()) == role) return t;
  return nullptr;
}

}  // namespace

Result<Setting> setting_of(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos) return Error{"world-option", "must look like KEY=VALUE"};
  Setting s{std::string(text.substr(0, equals)), {}};
  const std::string value(text.substr(equals + 1));
  std::int64_t number = 0;
  const auto [end, fault] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (value == "true" || value == "false") {
    s.value = value == "true";
  } else if (fault == std::errc() && end == value.data() + value.size()) {
    s.value = number;
  } else if (value.find(',') != std::string::npos) {
    std::vector<std::string> list;
    std::istringstream in(value);
    for (std::string item; std::getline(in, item, ',');) list.push_back(item);
    s.value = std::move(list);
  } else {
    s.value = value;
  }
  return s;
}

Status apply_settings(const std::string& toml_file, const std::vector<Setting>& settings) {
  try {
    toml::table root = toml::parse_file(toml_file);
    for (const Setting& s : settings) {
      const auto dot = s.key.rfind('.');
      const std::string section = s.key.substr(0, dot == std::string::npos ? 0 : dot);
      const std::string name = dot == std::string::npos ? s.key : s.key.substr(dot + 1);
      toml::table* t = &root;
      if (section == "operator" || section == "smsr") {
        t = party(root, section);
      } else if (!section.empty()) {
        root.insert(section, toml::table{});  // keeps what is there
        t = root[section].as_table();
      }
      if (t == nullptr) return Error{"config", toml_file + ": " + s.key + ": no such section"};
      if (const auto* list = std::get_if<std::vector<std::string>>(&s.value)) {
        toml::array a;
        for (const std::string& v : *list) a.push_back(v);
        t->insert_or_assign(name, std::move(a));
        continue;
      }
      std::visit(
          [&](const auto& v) {
            if constexpr (!std::is_same_v<std::decay_t<decltype(v)>, std::vector<std::string>>) {
              t->insert_or_assign(name, v);
            }
          },
          s.value);
    }
    std::ostringstream text;
    text << "# Written by keyferry-bench or a test for one run.\n" << root << "\n";
    std::ofstream f(toml_file, std::ios::trunc);
    f << text.str();
    if (!f.flush()) return Error{"config", toml_file + ": cannot be written"};
  } catch (const toml::parse_error& e) {
    return Error{"config", toml_file + ": " + std::string(e.description())};
  }
  return {};
}

}  // namespace kf::bench
