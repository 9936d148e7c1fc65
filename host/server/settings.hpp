// What the services of the SM-DP are told: who the parties are, and how much, how long, how often. Values only; who
// reads them from a file is host/main/config. The keys of the file are in docs/configuration.md.
#pragma once

#include <string>
#include <vector>

#include "host/download/follow_up.hpp"
#include "host/es/soap.hpp"
#include "host/net/http.hpp"

namespace kf::server {

enum class Role { operator_, smsr };
struct Party {
  Role role = Role::operator_;
  Oid oid;
  std::string name;
  std::string url;                           // operator: where notifications go; smsr: its ES3 server
  std::vector<std::string> fingerprints;     // SHA-256 of its client certificates, upper-case hex; one at least
  std::vector<std::string> names;            // net::Peer::names of those that are files
  bool by_subject = false;                   // any certificate with the same issuer and names is taken for its
  std::string ns;                            // namespace sent to this party
  es::Dialect dialect = es::Dialect::wsdl3;  // how messages to it are written; what it sends may be of either
  std::vector<std::string> reply_hosts;      // operator: hosts callbacks may go to (host or host:port)
  bool scp03t_in_22 = false;                 // smsr: wants each SCP03t TLV inside a 22
  bool scp03t_online = false;                // smsr: INITIALIZE UPDATE goes alone, the script follows its answer
  std::size_t send_data_limit = 0;           // smsr: bytes of Data a SendData, 0: no limit
  std::size_t max_connections = 32;
  bool synchronous = false;  // smsr: ask for synchronous answers instead of callbacks
  std::string callback_url;  // smsr: where its callbacks reach us; default smdp.es3_url + "/callback"
};

struct ProfileTypeRules {
  std::string name;
  std::vector<download::Platform> compatible;
};

struct Settings {
  // [smdp]
  Oid oid;
  std::string name = "Keyferry";
  std::string es2_url, es3_url;
  // [listen], [[party]]
  net::TlsFiles tls;  // as a client, too
  std::vector<Party> parties;
  // [store]
  std::string store_path;
  int keep_outcomes_days = 7, keep_downloads_days = 400;
  // [limits]
  std::size_t downloads_in_flight = 256, downloads_enabling = 16'384, orders_waiting = 100'000, max_body = 1 << 20,
              max_eis_body = 4 << 20;
  std::int64_t stored_calls = 2'000'000, stored_bytes = std::int64_t{2} << 30;  // of one party
  std::size_t relays_per_operator = 16'384;                                     // accepted and not answered
  std::size_t relays_per_smsr = 1000;                                           // waiting for their turn there
  std::uint32_t min_validity_s = 10, default_validity_s = 3600;
  std::size_t follow_ups_per_smsr = 1000;
  // [timeouts]
  download::Timeouts timeouts;
  download::FollowUpLimits follow_up;
  std::int64_t delivery_timeout_ms = 30'000, delivery_give_up_s = 86'400;
  // [download]
  es8::KeySetPlan plan;
  bool keep_key_set = true;
  std::vector<unsigned> rsp_majors{2, 3, 4};
  std::vector<download::Platform> certified;
  std::vector<ProfileTypeRules> profile_types;

  [[nodiscard]] const Party* by_peer(const net::Peer& p) const;       // nullptr: a stranger
  [[nodiscard]] const Party* by_names(std::string_view names) const;  // whose registered certificate has these
  [[nodiscard]] const Party* by_oid(std::string_view oid) const;
};

}  // namespace kf::server
