#include "host/main/app.hpp"

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "drivers/core/vfio_transport.hpp"
#include "drivers/simulated/transport/sim_transport.hpp"
#include "host/base/text.hpp"
#include "host/main/hsm_status.hpp"
#include "host/main/preflight.hpp"
#include "host/main/serve.hpp"
#include "host/main/server_status.hpp"
#include "host/pki/chain.hpp"
#include "host/pki/gp_cert.hpp"

namespace kf::server {
namespace {
using Json = nlohmann::json;

Result<Bytes> read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  if (!f) return Error{"file", path + ": cannot be read"};
  return Bytes(std::istreambuf_iterator<char>(f), {});
}

}  // namespace

Status App::start() {
  raise_descriptor_limit();
  KF_CHECK(open_store_and_tokens());
  KF_CHECK(start_engines());
  make_services();
  KF_CHECK(start_listeners());
  upkeep->start(seen_ms);
  if (!config.admin_socket.empty()) {
    admin = std::make_unique<AdminSocket>(io, config.admin_socket, [this](const std::string& line) {
      return administer(line).dump(1, ' ', true, Json::error_handler_t::replace) + "\n";
    });
    KF_CHECK(admin->start());
  }
  return {};
}

// Descriptors: as many as the system gives, and no more connections than there are descriptors for.
void App::raise_descriptor_limit() {
  rlimit r{};
  if (::getrlimit(RLIMIT_NOFILE, &r) != 0) return;
  r.rlim_cur = r.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &r);
  ::getrlimit(RLIMIT_NOFILE, &r);
  places = places_for(config, r.rlim_cur);
  if (places < config.max_connections)
    spdlog::warn("limits.max_connections {} lowered to {}: the limit of open files is {} (ulimit -n, LimitNOFILE)",
                 config.max_connections, places, r.rlim_cur);
}

// The store before anything else: two servers on one store would send one profile to two cards.
Status App::open_store_and_tokens() {
  store::StoreOptions only_us;
  only_us.path = config.store_path;
  only_us.exclusive = true;
  KF_TRY(store, store::Store::open(only_us));
  KF_TRY(trust.roots, read_x509_files(config.ci_roots));
  KF_TRY(trust.eums, read_x509_files(config.eum_certificates));
  KF_TRY(const hsm::HsmConfig tokens, tokens_with_expected_keys());
  KF_TRY(hsm, hsm::HsmEngine::start(tokens));
  for (const auto& i : config.identities) {
    KF_TRY(Bytes file, read_file(i.certificate_file));
    KF_TRY(Point key, hsm->public_key(i.curve));
    auto id = check_identity(file, key, i.curve, trust.roots, today_utc());
    if (!id) return Error{"identity", i.certificate_file + ": " + id.error().text()};
    cert_dp[static_cast<std::uint8_t>(i.curve)] = std::move(id->certificate);
  }
  std::optional<Bytes> wrapped;
  KF_CHECK(store->run([&](store::Tx& tx) { wrapped = tx.meta("data_key"); }));
  if (!wrapped) return Error{"store", config.store_path + kNoDataKey};
  KF_TRY(SecretBytes data_key, hsm->unwrap_data_key(*wrapped));
  vault = std::make_unique<store::Vault>(std::move(data_key));
  return {};
}

// A token that holds another key than the certificate carries must not sign anything: the engine is told
// beforehand.
Result<hsm::HsmConfig> App::tokens_with_expected_keys() const {
  hsm::HsmConfig tokens = config.hsm;
  for (const auto& i : config.identities) {
    KF_TRY(const Bytes file, read_file(i.certificate_file));
    const auto c = parse_gp_certificate(file);
    if (!c) return Error{"identity", i.certificate_file + ": " + c.error().text()};
    for (auto& k : tokens.identity_keys) {
      if (k.curve == i.curve && c->curve == i.curve) k.expected = c->q;
    }
  }
  tokens.log = [](const std::string& line) {
    spdlog::log(line.rfind("ALARM", 0) == 0 ? spdlog::level::err : spdlog::level::warn, "hsm: {}", line);
  };
  return tokens;
}

Status App::start_engines() {
  storage = std::make_unique<Storage>(io, *store);
  orders = std::make_unique<SqliteOrderBook>(*storage, config);
  cards = std::make_unique<SqliteCardBook>(*storage);
  messages = std::make_unique<SqliteMessageBook>(*storage);
  inventory = std::make_unique<Inventory>(*store, *vault);
  software = std::make_unique<SoftwareEngine>(SoftwareEngineOptions{config.crypto_threads, 4096});
  pool = std::make_unique<asio::thread_pool>(config.crypto_threads);
  KF_TRY(sealing, pipeline::SealPipeline::make(config.sealing));

  if (config.routes.use(EngineName::core)) KF_CHECK(start_cores());
  // Strict by construction: an operation has the engines that custody and routing name, and nothing stands in.
  const auto engines = [this](const std::vector<EngineName>& names) {
    std::vector<EccEngine*> out;
    for (const EngineName n : names) {
      if (n == EngineName::hsm) out.push_back(hsm.get());
      if (n == EngineName::core) out.push_back(cores.get());
      if (n == EngineName::software) out.push_back(software.get());
    }
    return out;
  };
  crypto = std::make_unique<CryptoService>(
      io, CryptoService::Routing{{hsm.get()}, engines(config.routes.ephemeral), engines(config.routes.verify)});
  return {};
}

void App::make_services() {
  upkeep = std::make_unique<Upkeep>(io, config, *storage, metrics);
  es3_client = std::make_unique<Es3Client>(io, config, metrics);
  follow_ups = std::make_unique<FollowUpService>(io, config, *cards, metrics, *es3_client);
  replies = std::make_unique<Replies>(io, config);
  delivery = std::make_unique<DeliveryService>(io, config, *messages, metrics);
  parts = std::make_unique<DownloadService::Parts>(
      DownloadService::Parts{io, *pool, *sealing, config, *orders, *messages, metrics, *crypto, *es3_client,
                             *follow_ups, *inventory, *replies, *delivery, *hsm, trust, cert_dp});
  downloads = std::make_unique<DownloadService>(*parts);
  relays = std::make_unique<RelayService>(*parts);
  es2 = std::make_unique<Es2Service>(*parts, *downloads, *relays);
  es3 = std::make_unique<Es3Service>(*parts, *downloads);
}

Status App::start_listeners() {
  es2_server = make_server(
      config.es2_address, config.es2_port, [this](const net::Request& h) { return es2->admit(h); },
      [this](net::Request r) { return es2->handle(std::move(r)); });
  es3_server = make_server(
      config.es3_address, config.es3_port, [this](const net::Request& h) { return es3->admit(h); },
      [this](net::Request r) { return es3->handle(std::move(r)); });
  KF_CHECK(listen(*es3_server, "listen.es3"));  // callbacks must find us before downloads go on
  KF_CHECK(recover());
  KF_CHECK(listen(*es2_server, "listen.es2"));
  return {};
}

Status App::listen(net::HttpServer& server, const char* key) const {
  Status s = server.start();
  if (s || s.error().reason != "net-bind") return s;
  return Error{s.error().reason,
               config.file + ": " + key + ": " + s.error().detail + "; end what listens there, or name another port"};
}

Status App::start_cores() {
  ecc::CoreEngineConfig c;
  c.cores = config.cores.count;
  c.keys_ahead = config.cores.keys_ahead;
  c.job_limit = std::chrono::milliseconds(config.cores.job_limit_ms);
  c.curves.clear();
  if (std::ranges::find(config.routes.ephemeral, EngineName::core) != config.routes.ephemeral.end())
    for (const auto& i : config.identities) c.curves.push_back(i.curve);
  c.open = [program = config.cores.simulator,
            boards = config.cores.boards](unsigned i) -> Result<std::unique_ptr<ecc::Device>> {
    if (!boards.empty()) {
      ecc::VfioOptions board;
      board.device = boards.at(i);
      KF_TRY(auto bus, ecc::VfioTransport::open(board));
      return ecc::Device::open(std::move(bus));
    }
    ecc::SimOptions o;
    o.program = program;
    KF_TRY(auto transport, ecc::SimTransport::open(o));
    return ecc::Device::open(std::move(transport));
  };
  c.log = [](const std::string& line) { spdlog::warn("cores: {}", line); };
  KF_TRY(cores, ecc::CoreEngine::start(std::move(c)));
  return {};
}

std::unique_ptr<net::HttpServer> App::make_server(const std::string& address, std::uint16_t port,
                                                  std::function<net::Admission(const net::Request&)> admit,
                                                  net::Handler handler) {
  net::ServerOptions o;
  o.listen_address = address;
  o.port = port;
  o.tls = config.tls;
  o.max_body = config.max_body;
  o.max_connections = places;
  o.max_per_address = share_of_places(config, config.connections_per_address, places);
  o.max_per_party = share_of_places(config, config.connections_per_party, places);
  o.handshakes_per_second = static_cast<double>(config.handshakes_per_second);
  o.first_byte_timeout = net::Millis(config.first_byte_timeout_ms);
  o.first_request_timeout = net::Millis(config.first_request_timeout_ms);
  o.header_timeout = net::Millis(config.header_timeout_ms);
  o.body_timeout = net::Millis(config.body_timeout_ms);
  o.admit = std::move(admit);
  o.party = [this](const net::Peer& peer) {
    const Party* p = config.by_peer(peer);
    return p == nullptr ? std::string() : p->oid.str();
  };
  o.log = [](const std::string& line) { spdlog::warn("{}", line); };
  return std::make_unique<net::HttpServer>(io, std::move(o), std::move(handler));
}

Json App::administer(const std::string& line) {
  const auto blank = line.find(' ');
  const std::string verb = line.substr(0, blank);
  const std::string name = blank == std::string::npos ? "" : line.substr(blank + 1);
  if (verb.empty() || verb == "status") return status();
  if (verb == "drain" || verb == "resume") {
    const bool known = verb == "drain" ? hsm->drain(name) : hsm->resume(name);
    if (known)
      spdlog::warn("hsm: token {} {}", printable(name), verb == "drain" ? "gets no new jobs" : "gets jobs again");
    return {{"ok", known}, {"hsm", hsm_status(hsm->stats())}};
  }
  return {{"ok", false}, {"error", "unknown command: " + clip_text(verb, 100)}};
}

Json App::status() const {
  return server_status({config, metrics, *crypto, *hsm, *sealing, *store, *delivery, *downloads, *relays, *es2_server,
                        *es3_server, cores.get(), started, draining});
}

void App::drain() {
  draining = true;
  es2->drain();
  downloads->drain();
}

void App::stop() {
  upkeep->stop();
  if (admin) admin->stop();
  if (es2_server) es2_server->stop();
  if (es3_server) es3_server->stop();
  downloads->stop();
  follow_ups->stop();
  relays->stop();
  delivery->stop();
  replies->stop();
  es3_client->stop();
  crypto->stop();
}

Result<std::vector<X509Info>> read_x509_files(const std::vector<std::string>& files) {
  std::vector<X509Info> out;
  for (const auto& f : files) {
    KF_TRY(Bytes b, read_file(f));
    auto x = parse_x509(b);
    if (!x) return Error{"pki", f + ": " + x.error().text()};
    out.push_back(std::move(*x));
  }
  return out;
}

Result<LoadedIdentity> check_identity(const Bytes& certificate, const Point& token_key, Curve curve,
                                      std::span<const X509Info> roots, Date today) {
  KF_TRY(GpCertificate c, parse_gp_certificate(certificate));
  if (c.q != token_key) return Error{"wrong-key", "CERT.DP.ECDSA does not carry the public key that the token holds"};
  KF_CHECK(check_cert_dp(c, curve, roots, today));
  return LoadedIdentity{curve, certificate};
}

std::size_t places_for(const Config& c, std::uint64_t descriptors) {
  // Ours beside the listeners: store, log, tokens, cores, admin socket, and what is open to parties.
  std::uint64_t others = 256;
  for (const Party& p : c.parties) others += p.max_connections * (p.role == Role::operator_ ? 2 : 1);
  const std::uint64_t each = descriptors > others ? (descriptors - others) / 2 : 0;
  return static_cast<std::size_t>(std::clamp<std::uint64_t>(each, 16, c.max_connections));
}

std::size_t share_of_places(const Config& c, std::size_t configured, std::size_t places) {
  const std::size_t in_proportion = configured * places / std::max<std::size_t>(1, c.max_connections);
  return std::min(configured, std::max({in_proportion, places / 4, std::size_t{1}}));
}

}  // namespace kf::server
