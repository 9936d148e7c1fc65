// The one TOML file that configures the SM-DP (docs/configuration.md). Read once, checked completely before anything
// starts. All mistakes are found in one pass, and each line names the file and the key: "smdp.toml: token.module:
// required". What the named files hold is preflight.hpp's business.
#pragma once

#include <string>
#include <vector>

#include "host/download/follow_up.hpp"
#include "host/es/soap.hpp"
#include "host/net/http.hpp"
#include "host/pipeline/seal_pipeline.hpp"
#include "hsm/engine/hsm_engine.hpp"

namespace kf::server {

enum class Role { operator_, smsr };
enum class CustodyPolicy { strict, core, hybrid };
std::string_view custody_name(CustodyPolicy p);

enum class EngineName { hsm, core, software };
std::string_view engine_name(EngineName e);

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

struct Identity {  // one per curve
  Curve curve = Curve::p256;
  std::string label;             // CKA_LABEL of SK.DP.ECDSA
  std::string certificate_file;  // CERT.DP.ECDSA, binary 7F21
};

struct ProfileTypeRules {
  std::string name;
  std::vector<download::Platform> compatible;
};

struct Config {
  std::string file;
  // [smdp]
  Oid oid;
  std::string name = "Keyferry";
  std::string es2_url, es3_url;
  // [listen]
  std::string es2_address = "127.0.0.1";
  std::uint16_t es2_port = 8443;
  std::string es3_address = "127.0.0.1";
  std::uint16_t es3_port = 8444;
  std::string admin_socket;  // empty: none
  net::TlsFiles tls;
  std::vector<Party> parties;
  // [pki]
  std::vector<std::string> ci_roots, eum_certificates;
  std::vector<Identity> identities;
  hsm::HsmConfig hsm;
  bool token_list = false;  // [[token]], not [token]: for messages
  CustodyPolicy custody = CustodyPolicy::strict;
  // [routing]: which engines may do what; several share by load. Custody limits the first.
  struct Routes {
    std::vector<EngineName> ephemeral, verify;
    [[nodiscard]] bool use(EngineName e) const;
  } routes;
  // [core]: ECC cores, started when a route names them
  struct Cores {
    unsigned count = 1;
    std::vector<std::string> boards;  // PCI addresses, by VFIO; empty: simulated ones
    std::string simulator;            // the keyferry-ecc-sim program; empty: beside this executable
    unsigned keys_ahead = 128;
    std::int64_t job_limit_ms = 30'000;
  } cores;
  // [scp03t]: sealing
  pipeline::Options sealing;
  // [store]
  std::string store_path;
  int keep_outcomes_days = 7, keep_downloads_days = 400;
  // [limits]
  std::size_t downloads_in_flight = 256, downloads_enabling = 16'384, orders_waiting = 100'000, max_body = 1 << 20,
              max_eis_body = 4 << 20;
  std::size_t max_connections = 4096;
  std::size_t connections_per_address = 1024, connections_per_party = 1024;
  std::size_t handshakes_per_second = 200;                                      // of one address; 0: no limit
  std::int64_t stored_calls = 2'000'000, stored_bytes = std::int64_t{2} << 30;  // of one party
  std::int64_t drain_s = 30;                                                    // after SIGTERM
  unsigned crypto_threads = 2;
  std::uint32_t min_validity_s = 10, default_validity_s = 3600;
  std::size_t follow_ups_per_smsr = 1000;
  // [timeouts]
  download::Timeouts timeouts;
  download::FollowUpLimits follow_up;
  std::int64_t header_timeout_ms = 10'000, body_timeout_ms = 30'000;
  std::int64_t first_byte_timeout_ms = 5'000, first_request_timeout_ms = 15'000;
  std::int64_t delivery_timeout_ms = 30'000, delivery_give_up_s = 86'400;
  // [download]
  es8::KeySetPlan plan;
  bool keep_key_set = true;
  std::vector<unsigned> rsp_majors{2, 3, 4};
  std::vector<download::Platform> certified;
  std::vector<ProfileTypeRules> profile_types;
  // [log]
  std::string log_level = "info", log_file;  // empty: stderr

  [[nodiscard]] const Party* by_peer(const net::Peer& p) const;       // nullptr: a stranger
  [[nodiscard]] const Party* by_names(std::string_view names) const;  // whose registered certificate has these
  [[nodiscard]] const Party* by_oid(std::string_view oid) const;
};

// What is wrong with a configuration, by key. Of several mistakes about one key the first is kept.
struct Mistake {
  std::string key, what;
};
class Mistakes {
 public:
  void add(std::string key, std::string what);
  [[nodiscard]] bool about(std::string_view key) const;
  [[nodiscard]] bool empty() const { return list_.empty(); }
  [[nodiscard]] const std::vector<Mistake>& list() const { return list_; }
  [[nodiscard]] std::string text(const std::string& file) const;  // "file: key: what", a line each

 private:
  std::vector<Mistake> list_;
};

// A file that is TOML: what could be read of it, and what is wrong. With mistakes the configuration is good for further
// checks only.
struct ConfigReading {
  Config config;
  Mistakes mistakes;
};
// Relative paths are taken from the folder of the file. Reasons: config (no file, no TOML); the text is the complete
// line for the user.
Result<ConfigReading> read_config(const std::string& path);
// The same for who needs a good one. Reasons: config; the text is the complete lines for the user, one a mistake.
Result<Config> load_config(const std::string& path);

constexpr std::size_t kMaxSocketPath = 100;  // octets; Linux takes 107

// What `keyferry init` writes.
struct InitOptions {
  std::string dir = "var";         // everything goes below
  std::string bind = "127.0.0.1";  // IP address of both listeners
  std::string host;                // by what others reach us; empty: `bind`
  std::uint16_t es2_port = 8443, es3_port = 8444;
  std::string smsr_url = "https://127.0.0.1:9444/es3";
  std::string operator_url = "https://127.0.0.1:9443/es2";
  CustodyPolicy custody = CustodyPolicy::strict;
  std::string module;  // empty: SoftHSM
};
// Nothing that check_init_options() passes makes a configuration that the readers refuse. Reasons: usage; the text
// names the option and the way out.
Status check_init_options(const InitOptions& o);
std::string initial_config(const InitOptions& o, const std::string& token_label, const std::string& module);

}  // namespace kf::server
