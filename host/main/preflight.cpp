#include "host/main/preflight.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "host/main/admin_socket.hpp"
#include "host/main/serve.hpp"
#include "host/store/inspect.hpp"
#include "hsm/direct/direct.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

std::string why(const Error& e) { return e.detail.empty() ? e.reason : e.detail; }

Result<Bytes> read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  if (!f || fs::is_directory(path)) return Error{"file", path + ": cannot be read"};
  return Bytes(std::istreambuf_iterator<char>(f), {});
}

// Notes what is wrong once a key; the file is named by whoever found it.
class Check {
 public:
  explicit Check(Mistakes& m) : mistakes_(m) {}
  [[nodiscard]] bool good(const std::string& key) const { return !mistakes_.about(key); }
  void that(const Status& s, const std::string& key) {
    if (!s) mistakes_.add(key, why(s.error()));
  }
  void bad(const std::string& key, const std::string& what) { mistakes_.add(key, what); }
  void bad_entry(const std::string& key, const std::string& what) { mistakes_.add_entry(key, what); }

 private:
  Mistakes& mistakes_;
};

void check_tls(const Config& c, Check& check) {
  for (const char* k : {"tls.certificate", "tls.key", "tls.ca"})
    if (!check.good(k)) return;
  // The reason names the file of the three.
  if (const Status s = net::check_tls_files(c.tls); !s) check.bad("tls." + s.error().reason, s.error().detail);
}

void check_listeners(const Config& c, Check& check) {
  for (const auto& [key, address] : {std::pair{"listen.es2", c.es2_address}, std::pair{"listen.es3", c.es3_address}})
    if (check.good(key)) check.that(net::check_listen_address(address), key);
}

// Where a file or socket will be made later: its folder is there and ours to write.
void check_folder(const std::string& path, const std::string& key, Check& check) {
  if (path.empty() || !check.good(key)) return;
  const fs::path folder = fs::path(path).parent_path();
  std::error_code ec;
  if (!fs::is_directory(folder, ec))
    check.bad(key, "no such directory: " + folder.string());
  else if (::access(folder.c_str(), W_OK | X_OK) != 0)
    check.bad(key, "nothing can be made in " + folder.string() + " by this user");
}

void check_log_file(const std::string& path, Check& check) {
  if (path.empty() || !check.good("log.file")) return;
  std::error_code ec;
  if (fs::is_directory(path, ec))
    check.bad("log.file", path + ": is a directory");
  else if (fs::exists(path, ec) && ::access(path.c_str(), W_OK) != 0)
    check.bad("log.file", path + ": cannot be written: " + std::strerror(errno));
}

std::vector<X509Info> check_certificates(const std::vector<std::string>& files, const std::string& key, Check& check) {
  std::vector<X509Info> out;
  for (const std::string& f : files) {
    auto b = read_file(f);
    if (!b) {
      check.bad_entry(key, b.error().detail);
      continue;
    }
    auto x = parse_x509(*b);
    if (!x)
      check.bad_entry(key, f + ": no certificate on P-256 or brainpoolP256r1: " + x.error().text());
    else if (!x->is_ca)
      check.bad_entry(key, f + ": not the certificate of a certification authority (\"" + x->subject + "\")");
    else
      out.push_back(std::move(*x));
  }
  return out;
}

void check_identities(const Config& c, const std::vector<X509Info>& roots, Check& check) {
  for (std::size_t i = 0; i < c.identities.size(); ++i) {
    const Identity& id = c.identities[i];
    const std::string key = "identity[" + std::to_string(i) + "].certificate";
    if (!check.good(key) || id.certificate_file.empty()) continue;
    const auto b = read_file(id.certificate_file);
    if (!b) {
      check.bad(key, b.error().detail);
      continue;
    }
    const auto cert = parse_gp_certificate(*b);
    if (!cert)
      check.bad(key, id.certificate_file + ": no CERT.DP.ECDSA (a binary 7F21): " + cert.error().text());
    else if (const Status s = check_cert_dp(*cert, id.curve, roots, today_utc());
             !s && (check.good("pki.ci_roots") || s.error().reason != "untrusted-root"))
      check.bad(key, id.certificate_file + ": " + s.error().text());
  }
}

std::string token_key(const Config& c, std::size_t i) {
  return c.token_list ? "token[" + std::to_string(i) + "]" : "token";
}

void check_pin_files(const Config& c, Check& check) {
  for (std::size_t i = 0; i < c.hsm.tokens.size(); ++i) {
    const hsm::TokenConfig& t = c.hsm.tokens[i];
    const std::string key = token_key(c, i) + ".pin_file";
    if (t.pin_file.empty() || !check.good(key)) continue;
    const auto b = read_file(t.pin_file);
    if (!b)
      check.bad(key, b.error().detail);
    else if (b->empty() || b->front() == '\n')
      check.bad(key, t.pin_file + ": the first line is empty; it must be the user PIN");
  }
}

void check_programs(const Config& c, Check& check) {
  if (!c.hsm.worker_path.empty() && ::access(c.hsm.worker_path.c_str(), X_OK) != 0)
    check.bad("hsm.worker", "no program: " + c.hsm.worker_path);
  if (!c.routes.use(EngineName::core)) return;
  if (c.cores.boards.empty() && !c.cores.simulator.empty() && ::access(c.cores.simulator.c_str(), X_OK) != 0)
    check.bad("core.simulator", "no program: " + c.cores.simulator);
  std::error_code ec;
  for (const std::string& board : c.cores.boards)
    if (!fs::exists("/sys/bus/pci/devices/" + board, ec))
      check.bad_entry("core.boards", "no PCI device " + board + " in this machine");
}

void check_store(const Config& c, Check& check) {
  if (!check.good("store.path") || c.store_path.empty()) return;
  const auto s = store::inspect(c.store_path);
  if (!s)
    check.bad("store.path", s.error().detail);
  else if (!s->has_data_key)
    check.bad("store.path", c.store_path + kNoDataKey);
  else if (const std::string folder = fs::path(c.store_path).parent_path().string();
           ::access(c.store_path.c_str(), W_OK) != 0 || ::access(folder.empty() ? "." : folder.c_str(), W_OK) != 0)
    check.bad("store.path", c.store_path + ": cannot be written: " + std::strerror(errno));
}

}  // namespace

Status check_cert_dp(const GpCertificate& c, Curve curve, std::span<const X509Info> roots, Date today) {
  if (c.curve != curve)
    return Error{"bad-curve", "CERT.DP.ECDSA is on " + std::string(curve_name(c.curve)) + ", not on " +
                                  std::string(curve_name(curve))};
  Status last = Error{"untrusted-root", "no configured CI root on this curve issued CERT.DP.ECDSA"};
  for (const auto& root : roots) {
    if (root.curve != curve || (c.aki && *c.aki != root.ski)) continue;
    last = verify_gp_certificate(c, GpRole::dp, issuer_of(root), today, std::nullopt);
    if (last) return {};
  }
  return last;
}

void check_files(const Config& c, Mistakes& mistakes) {
  Check check(mistakes);
  check_tls(c, check);
  check_listeners(c, check);
  check_folder(c.admin_socket, "listen.admin_socket", check);
  if (const Status s = socket_place_free(c.admin_socket); !s.ok() && check.good("listen.admin_socket"))
    check.bad("listen.admin_socket", s.error().detail);
  check_folder(c.log_file, "log.file", check);
  check_log_file(c.log_file, check);
  const auto roots = check_certificates(c.ci_roots, "pki.ci_roots", check);
  check_certificates(c.eum_certificates, "pki.eum_certificates", check);
  check_identities(c, roots, check);
  check_pin_files(c, check);
  check_programs(c, check);
  check_store(c, check);
}

void check_modules(const Config& c, Mistakes& mistakes) {
  Check check(mistakes);
  for (std::size_t i = 0; i < c.hsm.tokens.size(); ++i) {
    const std::string key = token_key(c, i);
    if (!check.good(key + ".module") || !check.good(key + ".uri") || !check.good("hsm.worker") ||
        !check.good(key + ".environment.SOFTHSM2_CONF"))
      continue;
    hsm::TokenConfig t = c.hsm.tokens[i];
    t.pin_file.clear();
    t.pin_env.clear();
    t.pin_credential.clear();
    auto client = hsm::DirectClient::start(c.hsm, t, false);
    if (!client) {
      check.bad(key + (client.error().reason == "hsm-token" ? ".uri" : ".module"), why(client.error()));
      continue;
    }
    const auto found = (*client)->step("token", "{}", c.hsm.start_limit);
    if (!found) check.bad(key + (found.error().reason == "hsm-token" ? ".uri" : ".module"), why(found.error()));
  }
}

std::vector<Mistake> check_names(const Config& c) {
  std::vector<Mistake> out;
  for (const auto& [key, url] : {std::pair{"smdp.es2_url", c.es2_url}, std::pair{"smdp.es3_url", c.es3_url}}) {
    const auto u = net::parse_url(url);
    if (!u || c.tls.cert.empty() || !net::certificate_fingerprint(c.tls.cert) ||
        net::certificate_covers(c.tls.cert, u->host))
      continue;
    out.push_back({key, "others reach us as " + u->host + ", and tls.certificate " + c.tls.cert +
                            " is not for that name: they will refuse it. Have one issued that has the name (test PKI: "
                            "move the file away, then `keyferry init --dir DIR` issues another for the same key)"});
  }
  return out;
}

namespace {

// What only an engine that is logged in can tell.
void check_with(hsm::HsmEngine& engine, const Config& c, const std::string& token, Check& check) {
  for (std::size_t i = 0; i < c.identities.size(); ++i) {
    const std::string key = "identity[" + std::to_string(i) + "]";
    const auto q = engine.public_key(c.identities[i].curve);
    if (!q) {
      check.bad(key + ".label", why(q.error()));
      continue;
    }
    const auto b = read_file(c.identities[i].certificate_file);
    const auto cert = b ? parse_gp_certificate(*b) : Result<GpCertificate>(b.error());
    if (cert && cert->q != *q)
      check.bad(key + ".certificate", c.identities[i].certificate_file +
                                          ": wrong-key (CERT.DP.ECDSA does not carry the public key that " + token +
                                          " holds)");
  }
  const auto s = store::inspect(c.store_path);
  if (s && s->has_data_key)
    if (const auto k = engine.unwrap_data_key(s->data_key); !k)
      check.bad("store.path", c.store_path + ": its data key cannot be unwrapped by \"" + c.hsm.wrap_key_label +
                                  "\" of " + token + ": " + why(k.error()));
}

}  // namespace

void check_token(const Config& c, Mistakes& mistakes) {
  Check check(mistakes);
  hsm::HsmConfig one = c.hsm;
  one.log = [](const std::string&) {};  // the error says it
  for (std::size_t i = 0; i < c.hsm.tokens.size(); ++i) {
    one.tokens = {c.hsm.tokens[i]};
    one.tokens.front().workers = 1;
    auto engine = hsm::HsmEngine::start(one);
    if (!engine)
      check.bad(token_key(c, i), why(engine.error()));
    else
      check_with(**engine, c, token_key(c, i), check);
  }
}

}  // namespace kf::server
