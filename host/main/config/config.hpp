// The one TOML file that configures the SM-DP (docs/configuration.md). Read once, checked completely before anything
// starts. All mistakes are found in one pass, and each line names the file and the key: "smdp.toml: token.module:
// required". What the named files hold is preflight.hpp's business.
#pragma once

#include <string>
#include <vector>

#include "host/pipeline/seal_pipeline.hpp"
#include "host/server/settings.hpp"
#include "hsm/engine/hsm_engine.hpp"

namespace kf::server {

enum class CustodyPolicy { strict, core, hybrid };
std::string_view custody_name(CustodyPolicy p);

enum class EngineName { hsm, core, software };
std::string_view engine_name(EngineName e);

struct Identity {  // one per curve
  Curve curve = Curve::p256;
  std::string label;             // CKA_LABEL of SK.DP.ECDSA
  std::string certificate_file;  // CERT.DP.ECDSA, binary 7F21
};

struct Config : Settings {
  std::string file;
  // [listen]
  std::string es2_address = "127.0.0.1";
  std::uint16_t es2_port = 8443;
  std::string es3_address = "127.0.0.1";
  std::uint16_t es3_port = 8444;
  std::string admin_socket;  // empty: none
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
    std::string simulator;            // the keyferry-ecc-sim program; empty: what came with this executable
    unsigned keys_ahead = 128;
    std::int64_t job_limit_ms = 30'000;
  } cores;
  // [scp03t]: sealing
  pipeline::Options sealing;
  // [limits]
  std::size_t max_connections = 4096;
  std::size_t connections_per_address = 1024, connections_per_party = 1024;
  std::size_t handshakes_per_second = 200;  // of one address; 0: no limit
  std::int64_t drain_s = 30;                // after SIGTERM
  unsigned crypto_threads = 2;
  // [timeouts]
  std::int64_t header_timeout_ms = 10'000, body_timeout_ms = 30'000;
  std::int64_t first_byte_timeout_ms = 5'000, first_request_timeout_ms = 15'000;
  // [log]
  std::string log_level = "info", log_file;  // empty: stderr
};

// What is wrong with a configuration, by key. Of several mistakes about one key the first is kept: the others mostly
// follow from it. Entries of a list are each a matter of their own.
struct Mistake {
  std::string key, what;
};
class Mistakes {
 public:
  void add(std::string key, std::string what);
  void add_entry(std::string key, std::string what);
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
// For a command that needs these keys alone ("store.path"): mistakes elsewhere do not matter to it.
Result<Config> load_config_for(const std::string& path, std::initializer_list<std::string_view> keys);

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
};
// Nothing that check_init_options() passes makes a configuration that the readers refuse. Reasons: usage; the text
// names the option and the way out.
Status check_init_options(const InitOptions& o);
std::string initial_config(const InitOptions& o, const std::string& token_label, const std::string& module);

}  // namespace kf::server
