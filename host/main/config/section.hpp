// Reading one TOML file so that every mistake in it is found in one pass. Private to the readers of the configuration.
//
// A reader asks a Section for its keys, gets a value that it can go on with in any case, and Section notes what was
// wrong. One thread, while the file is read.
#pragma once

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "host/main/config/config.hpp"

namespace kf::server {

// A table with its path, so that every mistake can name the key, and unknown keys are found.
class Section {
 public:
  Section(const toml::table* table, std::string path, std::filesystem::path base, Mistakes& mistakes)
      : t_(table), path_(std::move(path)), base_(std::move(base)), mistakes_(&mistakes) {}
  [[nodiscard]] std::string key(std::string_view k) const;
  // Notes a mistake. Of several about one key the first is kept: the others follow from it.
  void bad(std::string_view k, std::string what) const;
  void bad_entry(std::string_view k, std::string what) const;  // of a list: each is told
  // False once something about this key was noted: what depends on its value need not be checked.
  [[nodiscard]] bool good(std::string_view k) const { return !mistakes_->about(key(k)); }

  // Each gives the fallback when the key is absent or wrong; without a fallback an absent key is a mistake.
  std::string str(std::string_view k, std::optional<std::string> fallback = std::nullopt);
  bool boolean(std::string_view k, bool fallback);
  std::int64_t integer(std::string_view k, std::int64_t fallback, std::int64_t low, std::int64_t high,
                       const char* form = nullptr);  // "from 0x30 ...": how to write it, where that is not plain
  // Relative paths start at the folder of the file. file() wants it to exist; empty when it does not.
  std::string file(std::string_view k, bool required = true);
  std::string path(std::string_view k, std::optional<std::string> fallback = std::nullopt);
  std::vector<std::string> files(std::string_view k);
  std::vector<std::string> strings(std::string_view k);
  std::vector<std::string> one_or_more(std::string_view k);  // one string or a list; empty when the key is absent
  std::string one_of(std::string_view k, std::string fallback, const std::vector<std::string>& allowed);
  Oid oid(std::string_view k);  // empty when it is wrong
  std::string https_url(std::string_view k, std::optional<std::string> fallback = std::nullopt);
  Section table(std::string_view k);
  std::vector<Section> tables(std::string_view k);
  [[nodiscard]] bool has(std::string_view k) const { return t_ != nullptr && t_->get(k) != nullptr; }
  [[nodiscard]] bool is_list(std::string_view k) const { return has(k) && t_->get(k)->is_array(); }
  [[nodiscard]] std::vector<std::string> keys() const;
  void done() const;  // a key nobody asked for is a typing mistake

 private:
  template <class T>
  std::optional<T> get(std::string_view k, const char* type);

  const toml::table* t_;  // null: the table is absent
  std::string path_;
  std::filesystem::path base_;
  Mistakes* mistakes_;
  std::set<std::string> seen_;
};

// The readers, one per part of the file; each reads its sections wholly and notes what is wrong with them.
void read_peers(Section& root, Config& c);  // [smdp] [listen] [tls] [[party]]
void read_keys(Section& root, Config& c);   // [pki] [[identity]] [token] [hsm] [custody] [routing] [core]
void read_work(Section& root, Config& c);   // [store] [limits] [scp03t] [timeouts] [download] [log]

}  // namespace kf::server
