#include "host/main/serve.hpp"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "drivers/core/sim_transport.hpp"
#include "drivers/core/vfio_transport.hpp"
#include "generated/version.hpp"
#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/crypto/software_engine.hpp"
#include "host/main/admin_socket.hpp"
#include "host/main/commands.hpp"
#include "host/main/hsm_status.hpp"
#include "host/main/log_file.hpp"
#include "host/main/preflight.hpp"
#include "host/main/server_status.hpp"
#include "host/pki/gp_cert.hpp"
#include "host/server/es2_service.hpp"
#include "host/server/es3_service.hpp"
#include "host/server/peer_log.hpp"
#include "host/server/relay_service.hpp"
#include "host/server/upkeep.hpp"

namespace kf::server {
namespace {
using Json = nlohmann::json;

constexpr const char* kPlannedStop = "planned_stop";  // meta: "1" when the old process was stopped in order

Result<Bytes> read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  if (!f) return Error{"file", path + ": cannot be read"};
  return Bytes(std::istreambuf_iterator<char>(f), {});
}

struct App {
  explicit App(const Config& c) : config(c) {}

  const Config& config;
  asio::io_context io{1};
  std::unique_ptr<asio::thread_pool> pool;
  std::unique_ptr<pipeline::SealPipeline> sealing;
  std::unique_ptr<hsm::HsmEngine> hsm;
  std::unique_ptr<SoftwareEngine> software;
  std::unique_ptr<ecc::CoreEngine> cores;  // when a route names them
  std::unique_ptr<store::Store> store;
  std::unique_ptr<store::Vault> vault;
  std::unique_ptr<Storage> storage;
  std::unique_ptr<Inventory> inventory;
  Metrics metrics;
  Trust trust;
  std::unordered_map<std::uint8_t, Bytes> cert_dp;
  std::unique_ptr<CryptoService> crypto;
  std::unique_ptr<Es3Client> es3_client;
  std::unique_ptr<FollowUpService> follow_ups;
  std::unique_ptr<Replies> replies;
  std::unique_ptr<DeliveryService> delivery;
  std::unique_ptr<DownloadService::Parts> parts;
  std::unique_ptr<DownloadService> downloads;
  std::unique_ptr<RelayService> relays;
  std::unique_ptr<Es2Service> es2;
  std::unique_ptr<Es3Service> es3;
  std::unique_ptr<net::HttpServer> es2_server, es3_server;
  std::unique_ptr<Upkeep> upkeep;
  std::unique_ptr<AdminSocket> admin;
  std::int64_t seen_ms = 0;
  bool draining = false;  // stopping in order: no new orders
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  std::size_t places = config.max_connections;  // of each listener

  // Descriptors: as many as the system gives, and no more connections than there are descriptors for.
  void raise_descriptor_limit() {
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

  Status start() {
    raise_descriptor_limit();
    store::StoreOptions only_us;
    only_us.path = config.store_path;
    only_us.exclusive = true;  // before anything else: two servers on one store would send one profile to two cards
    KF_TRY(store, store::Store::open(only_us));
    KF_TRY(trust.roots, read_x509_files(config.ci_roots));
    KF_TRY(trust.eums, read_x509_files(config.eum_certificates));
    // A token that holds another key than the certificate carries must not sign anything: the engine is told
    // beforehand.
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
    storage = std::make_unique<Storage>(io, *store);
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
    upkeep = std::make_unique<Upkeep>(io, config, *storage, metrics);
    es3_client = std::make_unique<Es3Client>(io, config, metrics);
    follow_ups = std::make_unique<FollowUpService>(io, config, *storage, metrics, *es3_client);
    replies = std::make_unique<Replies>(io, config);
    delivery = std::make_unique<DeliveryService>(io, config, *storage, metrics);
    parts = std::make_unique<DownloadService::Parts>(
        DownloadService::Parts{io, *pool, *sealing, config, *storage, metrics, *crypto, *es3_client, *follow_ups,
                               *inventory, *replies, *delivery, *hsm, trust, cert_dp});
    downloads = std::make_unique<DownloadService>(*parts);
    relays = std::make_unique<RelayService>(*parts);
    es2 = std::make_unique<Es2Service>(*parts, *downloads, *relays);
    es3 = std::make_unique<Es3Service>(*parts, *downloads);

    es2_server = make_server(
        config.es2_address, config.es2_port, [this](const net::Request& h) { return es2->admit(h); },
        [this](net::Request r) { return es2->handle(std::move(r)); });
    es3_server = make_server(
        config.es3_address, config.es3_port, [this](const net::Request& h) { return es3->admit(h); },
        [this](net::Request r) { return es3->handle(std::move(r)); });
    KF_CHECK(listen(*es3_server, "listen.es3"));  // callbacks must find us before downloads go on
    KF_CHECK(recover());
    KF_CHECK(listen(*es2_server, "listen.es2"));
    upkeep->start(seen_ms);
    if (!config.admin_socket.empty()) {
      admin = std::make_unique<AdminSocket>(io, config.admin_socket, [this](const std::string& line) {
        return administer(line).dump(1, ' ', true, Json::error_handler_t::replace) + "\n";
      });
      KF_CHECK(admin->start());
    }
    return {};
  }

  [[nodiscard]] Status listen(net::HttpServer& server, const char* key) const {
    const Status s = server.start();
    if (s || s.error().reason != "net-bind") return s;
    return Error{s.error().reason,
                 config.file + ": " + key + ": " + s.error().detail + "; end what listens there, or name another port"};
  }

  Status start_cores() {
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

  std::unique_ptr<net::HttpServer> make_server(const std::string& address, std::uint16_t port,
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

  // What the old process left: unfinished downloads, unanswered relays, undelivered messages
  // (docs/spec/interfaces.md 4.2). What cannot be taken up is set aside by name, its profile stays reserved, and the
  // rest goes on.
  Status recover() {
    std::vector<store::CallRow> interrupted;
    std::vector<store::DeliveryRow> messages;
    std::vector<store::FollowUpRow> follow;
    std::vector<store::SetAsideRow> unread;
    std::vector<store::ProfileRow> uncertain;
    std::vector<TakenUp> again;
    std::vector<store::SetAsideRow> aside;
    bool planned = false;
    KF_CHECK(store->run([&](store::Tx& tx) {
      tx.count_usage();
      tx.retry_set_aside();
      planned = text(tx.meta(kPlannedStop).value_or(Bytes())) == "1";
      tx.set_meta(kPlannedStop, view("0"));
      if (const auto seen = tx.meta(Upkeep::kSeen)) seen_ms = std::atoll(std::string(text(*seen)).c_str());
      interrupted = tx.unfinished_relays();
      messages = tx.pending_deliveries(1'000'000);
      follow = tx.follow_ups();
      unread = tx.set_aside_records();
      uncertain = tx.uncertain_profiles();
      for (const auto& row : tx.unfinished_downloads()) {
        std::string why = take_up_row(tx, row, again);
        if (!why.empty()) tx.set_aside_download(row.id, clip_text(why, 1000), anchored_ms());
      }
      aside = tx.set_aside_rows(1000);
    }));
    for (const auto& a : aside) {
      note_set_aside(metrics, a.kind + " " + a.name + (a.iccid.empty() ? "" : " ICCID " + a.iccid) + ": " + a.why);
      ++metrics.alarms;
      spdlog::error("ALARM {} {} is set aside, ICCID {} stays reserved: {}", a.kind, printable(a.name),
                    a.iccid.empty() ? "unknown" : printable(a.iccid), printable(a.why));
    }
    if (!again.empty() || !interrupted.empty() || !messages.empty())
      spdlog::info("taken up after a {}: {}, {}, {}", planned ? "planned stop" : "crash",
                   counted(again.size(), "download"), counted(interrupted.size(), "relay"),
                   counted(messages.size(), "message"));
    std::set<std::string> ordered;
    for (const auto& t : again) ordered.insert(download::card_of(t.download.order));
    follow_ups->load(follow, uncertain, ordered,
                     unread);  // before the downloads: they come first where both want an eUICC
    for (auto& t : again) {
      guarded(metrics, "reading a subscription", [&] {
        if (auto s = inventory->subscription(t.profile)) t.download.order.subscription = *s;
      });
      downloads->take_up(std::move(t.download), std::move(t.profile), std::move(t.installed), planned);
    }
    delivery->load(std::move(messages));
    relays->end_interrupted(std::move(interrupted));
    return {};
  }

  struct TakenUp {
    download::Download download;
    store::ProfileRow profile;
    std::vector<std::string> installed;  // on its eUICC
  };
  // Empty, or why this record cannot be taken up.
  static std::string take_up_row(store::Tx& tx, const store::DownloadRow& row, std::vector<TakenUp>& into) {
    try {
      auto d = download::from_record(row.record);
      if (!d) return "record cannot be read: " + d.error().text();
      auto p = tx.get_profile(d->order.iccid.str());
      if (!p) return "its profile, ICCID " + d->order.iccid.str() + ", is missing";
      auto installed = tx.installed_profiles(d->order.eid.str(), d->order.smsr.str());
      into.push_back({std::move(*d), std::move(*p), std::move(installed)});
    } catch (const store::StoreError&) {
      throw;
    } catch (const std::exception& e) {
      return std::string("record cannot be taken up: ") + e.what();
    }
    return {};
  }

  Json administer(const std::string& line) {
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

  Json status() const {
    return server_status({config, metrics, *crypto, *hsm, *sealing, *store, *delivery, *downloads, *relays, *es2_server,
                          *es3_server, cores.get(), started, draining});
  }

  void drain() {
    draining = true;
    es2->drain();
    downloads->drain();
  }
  [[nodiscard]] bool settled() const { return downloads->settled() && relays->running() == 0; }

  void stop() {
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
};

}  // namespace

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

namespace {

// Signals of a running server. The first SIGTERM or SIGINT: no new orders, what runs may end; the second, or when the
// time is over: stop now. SIGHUP: the log file is opened anew.
class Signals {
 public:
  explicit Signals(App& app) : app_(app), stops_(app.io, SIGINT, SIGTERM), hangups_(app.io, SIGHUP), look_(app.io) {
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is a full disk, not an end
    wait_stop();
    wait_hangup();
  }

 private:
  void wait_stop() {
    stops_.async_wait([this](const boost::system::error_code& ec, int) {
      if (ec) return;
      if (draining_) {
        spdlog::warn("stopping at once");
        return end();
      }
      draining_ = true;
      until_ = std::chrono::steady_clock::now() + std::chrono::seconds(app_.config.drain_s);
      spdlog::info(
          "stopping: no new orders; {} in flight may take {} s to end, what waits is taken up at the "
          "next start",
          counted(app_.downloads->admission().running(), "download"), app_.config.drain_s);
      spdlog::default_logger()->flush();
      app_.drain();
      look();
      wait_stop();
    });
  }
  void look() {
    if (app_.settled() || std::chrono::steady_clock::now() >= until_) return end();
    look_.expires_after(std::chrono::milliseconds(50));
    look_.async_wait([this](const boost::system::error_code& ec) {
      if (!ec) look();
    });
  }
  void end() {
    if (const auto left = app_.downloads->admission().running(); left != 0)
      spdlog::warn("{} interrupted, to be taken up at the next start", counted(left, "download"));
    app_.stop();
    app_.io.stop();
  }
  void wait_hangup() {
    hangups_.async_wait([this](const boost::system::error_code& ec, int) {
      if (ec) return;
      if (const Status s = reopen_log(); s)
        spdlog::info("SIGHUP: log file opened anew; the configuration is read at the start only");
      else
        spdlog::error("SIGHUP: the log file cannot be opened anew, the old one is written on: {}", s.error().detail);
      wait_hangup();
    });
  }

  App& app_;
  asio::signal_set stops_, hangups_;
  asio::steady_timer look_;
  std::chrono::steady_clock::time_point until_;
  bool draining_ = false;
};

}  // namespace

int serve(const Config& c) {
  const rlimit no_core{0, 0};  // a core file would hold ShS, session keys and profiles
  ::setrlimit(RLIMIT_CORE, &no_core);
  anchored_now();
  Mistakes mistakes;
  check_files(c, mistakes);
  if (!mistakes.empty()) return complain(2, mistakes.text(c.file));
  if (const Status s = set_up_log(c); !s.ok()) return complain(2, s.error().detail);
  App app(c);
  Status started;
  try {
    started = app.start();
  } catch (const std::exception& e) {
    started = Error{"start", e.what()};
  }
  if (const Status& s = started; !s) {
    spdlog::shutdown();
    std::fprintf(stderr, "keyferry: %s\n",
                 one_line(s.error().detail.empty() ? s.error().reason : s.error().detail).c_str());
    return s.error().reason == "store-in-use" ? 2 : 1;
  }
  const Signals signals(app);
  unsigned workers = 0;
  for (const auto& t : c.hsm.tokens) workers += t.workers;
  spdlog::info("keyferry {} ({}) serves ES2 on {}:{} and ES3 on {}:{}, custody {}, {} HSM workers", KEYFERRY_VERSION,
               KEYFERRY_COMMIT, c.es2_address, app.es2_server->port(), c.es3_address, app.es3_server->port(),
               custody_name(c.custody), workers);
  for (const Mistake& m : check_names(c)) spdlog::warn("{}: {}", m.key, m.what);
  run_loop(app.io, app.metrics);
  app.io.restart();
  app.io.run_for(std::chrono::milliseconds(200));  // answers already on their way
  app.admin.reset();                               // its path is the next server's as soon as the store is free
  app.pool->join();
  app.sealing.reset();
  if (!app.store->run([](store::Tx& tx) { tx.set_meta(kPlannedStop, view("1")); }))
    spdlog::warn("the store could not note that this stop was planned");
  app.store.reset();  // commits what is queued
  app.hsm.reset();    // ends the workers
  spdlog::info("stopped");
  spdlog::default_logger()->flush();
  // Calls to SM-SRs and held connections are suspended coroutines that refer to all of the above: the process ends here
  // rather than unwinding them. Everything that must survive is committed.
  std::_Exit(0);
}

}  // namespace kf::server
