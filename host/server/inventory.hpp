// The profile inventory: importing packages and templates, and loading one subscription's package for sealing.
//
// At rest everything but ICCID, owner and ProfileType is sealed by the vault. A template is opened once and shared;
// only what is personal is opened per download. load() is called on pool threads.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "host/es/types.hpp"
#include "host/profile/csv.hpp"
#include "host/store/store.hpp"
#include "host/store/vault.hpp"

namespace kf::server {

// One subscription's package, ready to be sealed: cut into segments. Only what is personal is a copy.
struct LoadedProfile {
  std::shared_ptr<const void> keep;  // what the segments look into, beside `own`
  SecretBytes own;
  std::vector<ByteView> segments;
  std::size_t bytes = 0;
  std::vector<std::uint32_t> optional_elements;  // identifications of non-mandated PEs
};

std::string pol2_json(const std::optional<es::Pol2>& p);
std::optional<es::Pol2> pol2_from_json(const std::string& s);

struct ImportOptions {
  Oid owner;
  std::string profile_type;  // empty: that of the package header
  std::optional<es::Pol2> pol2;
  std::uint64_t required_memory = 0;  // octets asked of the eUICC; 0: from the package (memory_for)
  // For complete packages, by ICCID: what the SM-SR is told of the subscription.
  std::map<std::string, es::SubscriptionAddress> addresses;
  bool skip_unknown_columns = false;  // of the CSV
};
// What CreateISDP asks for a package of so many octets: a quarter more, in whole KiB, 64 KiB at least.
std::uint64_t memory_for(std::size_t package_bytes);

struct ImportResult {
  std::size_t imported = 0;
  std::vector<std::string> errors;  // "line 7: ki: ..." ; when not empty nothing was imported
};

class Inventory {
 public:
  Inventory(store::Store& s, const store::Vault& v) : store_(s), vault_(v) {}

  // Complete DER packages, each under the ICCID of its header. All or nothing.
  ImportResult import_packages(const std::vector<std::pair<std::string, Bytes>>& name_and_der, const ImportOptions& o);
  // A template and its CSV. All or nothing.
  ImportResult import_template(const std::string& name, const Bytes& der, std::string_view csv, const ImportOptions& o);

  Result<es::SubscriptionAddress> subscription(const store::ProfileRow& p) const;
  Result<LoadedProfile> load(const store::ProfileRow& p, std::size_t segment);
  // About how long the package is, without opening anything.
  [[nodiscard]] std::size_t about_bytes(const store::ProfileRow& p);

 private:
  struct Template {
    SecretBytes der;
    std::vector<profile::Slot> slots;
    std::vector<std::uint32_t> optional_elements;
  };
  Result<std::shared_ptr<const Template>> get_template(std::int64_t id);
  store::Store& store_;
  const store::Vault& vault_;
  std::mutex m_;
  std::unordered_map<std::int64_t, std::shared_ptr<const Template>> templates_;
};

}  // namespace kf::server
