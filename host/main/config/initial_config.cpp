// The configuration that `keyferry init` writes.
#include <filesystem>

#include "host/main/config/config.hpp"

namespace kf::server {

Status check_init_options(const InitOptions& o) {
  const auto usage = [](const std::string& what) { return Error{"usage", what}; };
  if (o.dir.empty()) return usage("--dir: name the directory that everything goes below, for example --dir var");
  if (!net::is_ip_address(o.bind))
    return usage(
        "--bind \"" + o.bind +
        "\": listeners take an IP address (127.0.0.1, 192.0.2.7, ::1, 0.0.0.0); the name by which others reach "
        "this machine goes into --host");
  if (o.host.empty() && (o.bind == "0.0.0.0" || o.bind == "::"))
    return usage("--bind " + o.bind +
                 " says where to listen, not by what others reach this machine: add --host NAME-OR-ADDRESS");
  if (o.es2_port == 0 || o.es3_port == 0) return usage("--es2-port, --es3-port: must be from 1 to 65535");
  if (o.es2_port == o.es3_port) return usage("--es2-port and --es3-port are the same: two listeners need two ports");
  for (const auto& [option, url] :
       {std::pair{"--smsr-url", o.smsr_url},
        {"--operator-url", o.operator_url},
        {"--host", "https://" + (o.host.find(':') == std::string::npos ? o.host : "[" + o.host + "]")}}) {
    if (option == std::string_view("--host") && o.host.empty()) continue;
    const auto u = net::parse_url(url);
    if (!u)
      return usage(option == std::string_view("--host")
                       ? "--host " + o.host + ": must be a name or an address, nothing more"
                       : std::string(option) + ": " + u.error().detail +
                             "; must look like https://smsr.example:9444/es3");
    if (!u->tls) return usage(std::string(option) + " " + url + ": must begin with https://");
    if (option == std::string_view("--host") && (u->target != "/" || o.host.find(':') != std::string::npos) &&
        !net::is_ip_address(o.host))
      return usage("--host " + o.host + ": must be a name or an address, nothing more");
    if (url.find_first_of("\"\\") != std::string::npos) return usage(std::string(option) + ": a quote in a URL");
  }
  std::error_code ec;
  const std::string socket = (std::filesystem::absolute(o.dir, ec) / "run" / "admin.sock").lexically_normal().string();
  if (socket.size() > kMaxSocketPath)
    return usage("--dir " + o.dir + ": " + socket + " is too long for a Unix socket (" +
                 std::to_string(kMaxSocketPath) + " characters); choose a shorter path");
  return {};
}

std::string initial_config(const InitOptions& o, const std::string& token_label, const std::string& module) {
  const std::string us = o.host.empty() ? o.bind : o.host;
  const auto at = [](const std::string& host, std::uint16_t port) {  // IPv6 addresses stand in brackets
    return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
  };
  return R"(# Made by `keyferry init`. Every key is explained in docs/configuration.md. Paths are relative to this file.

[smdp]
oid = "2.999.20"
name = "Keyferry"
es2_url = "https://)" +
         at(us, o.es2_port) + R"(/es2"
es3_url = "https://)" +
         at(us, o.es3_port) + R"(/es3"

[listen]
es2 = ")" +
         at(o.bind, o.es2_port) + R"("
es3 = ")" +
         at(o.bind, o.es3_port) + R"("
admin_socket = "run/admin.sock"

[tls]
certificate = "pki/tls-smdp.pem"
key = "pki/tls-smdp.key"
ca = "pki/tls-root.pem"

[[party]]
role = "operator"
oid = "2.999.10"
name = "Test Operator"
url = ")" +
         o.operator_url + R"("
certificate = "pki/tls-operator.pem"

[[party]]
role = "smsr"
oid = "2.999.30"
name = "Simulated SM-SR"
url = ")" +
         o.smsr_url + R"("
certificate = "pki/tls-smsr.pem"

[pki]
ci_roots = ["pki/ci-P-256.pem", "pki/ci-brainpoolP256r1.pem"]
eum_certificates = ["pki/eum-P-256.pem", "pki/eum-brainpoolP256r1.pem"]

[[identity]]
curve = "P-256"
label = "SK.DP.ECDSA P-256"
certificate = "pki/cert-dp-P-256.der"

[[identity]]
curve = "brainpoolP256r1"
label = "SK.DP.ECDSA brainpoolP256r1"
certificate = "pki/cert-dp-brainpoolP256r1.der"

[token]
module = ")" +
         module + R"("
uri = "pkcs11:token=)" +
         token_label + R"("
pin_file = "token/pin"
wrap_key = "Keyferry wrap key"
workers = 2

[token.environment]
SOFTHSM2_CONF = "token/softhsm2.conf"

[custody]
policy = ")" +
         std::string(custody_name(o.custody)) + R"("

[store]
path = "store.db"
)";
}

}  // namespace kf::server
