#include "host/server/app.hpp"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "drivers/core/sim_transport.hpp"
#include "drivers/core/vfio_transport.hpp"
#include "generated/version.hpp"
#include "host/crypto/software_engine.hpp"
#include "host/pki/gp_cert.hpp"
#include "host/server/admin_socket.hpp"
#include "host/server/commands.hpp"
#include "host/server/core_status.hpp"
#include "host/server/es2_service.hpp"
#include "host/server/es3_service.hpp"
#include "host/server/hsm_status.hpp"
#include "host/server/peer_log.hpp"
#include "host/server/preflight.hpp"

namespace kf::server {
namespace {
using Json = nlohmann::json;

Result<Bytes> read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  if (!f) return Error{"file", path + ": cannot be read"};
  return Bytes(std::istreambuf_iterator<char>(f), {});
}

Json names(const std::vector<EngineName>& engines) {
  Json out = Json::array();
  for (const EngineName e : engines) out.push_back(engine_name(e));
  return out;
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
  std::unique_ptr<Es2Service> es2;
  std::unique_ptr<Es3Service> es3;
  std::unique_ptr<net::HttpServer> es2_server, es3_server;
  std::unique_ptr<AdminSocket> admin;
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
    KF_TRY(store, store::Store::open({config.store_path}));
    std::optional<Bytes> wrapped;
    KF_CHECK(store->run([&](store::Tx& tx) { wrapped = tx.meta("data_key"); }));
    if (!wrapped) return Error{"store", config.store_path + ": has no data key; `keyferry init` makes the store"};
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
    es3_client = std::make_unique<Es3Client>(io, config, metrics);
    follow_ups = std::make_unique<FollowUpService>(io, config, *storage, metrics, *es3_client);
    replies = std::make_unique<Replies>(io, config);
    delivery = std::make_unique<DeliveryService>(io, config, *storage, metrics);
    parts = std::make_unique<DownloadService::Parts>(
        DownloadService::Parts{io, *pool, *sealing, config, *storage, metrics, *crypto, *es3_client, *follow_ups,
                               *inventory, *replies, *delivery, *hsm, trust, cert_dp});
    downloads = std::make_unique<DownloadService>(*parts);
    es2 = std::make_unique<Es2Service>(*parts, *downloads);
    es3 = std::make_unique<Es3Service>(*parts, *downloads);

    es2_server = make_server(
        config.es2_address, config.es2_port, [this](const net::Request& h) { return es2->admit(h); },
        [this](net::Request r) { return es2->handle(std::move(r)); });
    es3_server = make_server(
        config.es3_address, config.es3_port, [this](const net::Request& h) { return es3->admit(h); },
        [this](net::Request r) { return es3->handle(std::move(r)); });
    KF_CHECK(es3_server->start());  // callbacks must find us before downloads go on
    KF_CHECK(recover());
    KF_CHECK(es2_server->start());
    if (!config.admin_socket.empty()) {
      admin = std::make_unique<AdminSocket>(
          io, config.admin_socket, [this](const std::string& line) { return administer(line).dump(1) + "\n"; });
      KF_CHECK(admin->start());
    }
    return {};
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
    o.max_per_address = config.connections_per_address;
    o.max_per_party = config.connections_per_party;
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

  // What the old process left: unfinished downloads, unanswered relays, undelivered messages (interfaces 4.2, restart).
  Status recover() {
    std::vector<std::string> records;
    std::vector<store::CallRow> relays;
    std::vector<store::DeliveryRow> messages;
    std::vector<std::string> follow;
    std::vector<store::ProfileRow> uncertain;
    std::vector<std::pair<download::Download, store::ProfileRow>> again;
    const std::int64_t forget =
        wall_now().time_since_epoch().count() - std::int64_t{config.keep_outcomes_days} * 86'400'000;
    KF_CHECK(store->run([&](store::Tx& tx) {
      records = tx.unfinished_downloads();
      relays = tx.unfinished_relays();
      messages = tx.pending_deliveries(1'000'000);
      follow = tx.follow_ups();
      uncertain = tx.uncertain_profiles();
      tx.forget_calls_before(forget);
      for (const auto& text : records) {
        auto d = download::from_record(text);
        if (!d) throw store::StoreError("unfinished download cannot be read: " + d.error().text());
        auto p = tx.get_profile(d->order.iccid.str());
        if (!p) throw store::StoreError("profile of an unfinished download is missing: " + d->order.iccid.str());
        again.emplace_back(std::move(*d), std::move(*p));
      }
    }));
    if (!again.empty() || !relays.empty() || !messages.empty())
      spdlog::info("taken up after a restart: {} downloads, {} relays, {} messages", again.size(), relays.size(),
                   messages.size());
    follow_ups->load(follow, uncertain);  // before the downloads: they come first where both want an eUICC
    for (auto& [d, p] : again) {
      if (auto s = inventory->subscription(p)) d.order.subscription = *s;
      downloads->take_up(std::move(d), std::move(p));
    }
    delivery->load(std::move(messages));
    es2->end_interrupted(std::move(relays));
    return {};
  }

  Json administer(const std::string& line) {
    const auto blank = line.find(' ');
    const std::string verb = line.substr(0, blank);
    const std::string name = blank == std::string::npos ? "" : line.substr(blank + 1);
    if (verb.empty() || verb == "status") return status();
    if (verb == "drain" || verb == "resume") {
      const bool known = verb == "drain" ? hsm->drain(name) : hsm->resume(name);
      if (known) spdlog::warn("hsm: token {} {}", name, verb == "drain" ? "gets no new jobs" : "gets jobs again");
      return {{"ok", known}, {"hsm", hsm_status(hsm->stats())}};
    }
    return {{"ok", false}, {"error", "unknown command: " + verb}};
  }

  static Json connections(const std::unique_ptr<net::HttpServer>& s) {
    const net::ServerStats& n = s->stats();
    return {{"open", s->connections()},
            {"accepted", n.accepted},
            {"probes", n.probes},
            {"handshakes", n.handshakes},
            {"handshakes_failed", n.handshakes_failed},
            {"handshakes_delayed", n.handshakes_delayed},
            {"closed_for_others", n.closed_for_others},
            {"refused", n.refused}};
  }

  Json status() const {
    const Metrics& m = metrics;
    Json ops = Json::object();
    Json batches = Json::object();
    for (const char* op : {"sign", "ephemeral", "ecka", "verify"}) ops[op] = Json::object();
    for (const auto& c : crypto->counters()) {
      auto put = [&](const char* op, std::uint64_t n) {
        if (n != 0) ops[op][c.engine] = n;
      };
      put("sign", c.sign);
      put("ephemeral", c.ephemeral);
      put("ecka", c.ecka);
      put("verify", c.verify);
      batches[c.engine] = histogram_json(c.batch_size);
      batches[c.engine]["answer_us"] = histogram_json(c.queue_us);
      batches[c.engine]["failures"] = c.failures;
      batches[c.engine]["retries"] = c.retries;
    }
    const Json token_status = hsm_status(hsm->stats());
    if (batches.contains("hsm")) {
      // The engine's own: what its workers got in one turn, and how long a job waited for one of them.
      Json& h = batches["hsm"];
      h["submitted"] = h;
      h.update(token_status.at("batch_size"));
      h["queue_us"] = token_status.at("queue_us");
      h["service_us"] = token_status.at("service_us");
    }
    const store::StoreStats st = store->stats();
    const pipeline::Stats sealed = sealing->stats();
    rusage self{};
    getrusage(RUSAGE_SELF, &self);
    auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
    };
    Json failures = Json::object();
    for (const auto& [k, v] : m.failures) failures[k] = v;
    Json out = {{"version", KEYFERRY_VERSION},
                {"commit", KEYFERRY_COMMIT},
                {"pid", ::getpid()},
                {"worker_pids", hsm->worker_pids()},
                {"custody", custody_name(config.custody)},
                {"routes",
                 {{"sign", names({EngineName::hsm})},
                  {"ephemeral", names(config.routes.ephemeral)},
                  {"verify", names(config.routes.verify)}}},
                {"uptime_s", std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count()},
                {"downloads",
                 {{"accepted", m.accepted},
                  {"completed", m.completed},
                  {"with_warning", m.with_warning},
                  {"failed", m.failed},
                  {"expired", m.expired},
                  {"taken_up", m.taken_up},
                  {"in_flight", m.in_flight},
                  {"waiting", m.waiting},
                  {"peak_in_flight", m.peak_in_flight},
                  {"left_behind", m.left_behind},
                  {"uncertain", m.uncertain},
                  {"latency_ms", histogram_json(m.download_ms)},
                  {"failures", failures}}},
                {"follow_ups",
                 {{"running", m.follow_ups},
                  {"begun", m.follow_ups_begun},
                  {"clean", m.follow_ups_clean},
                  {"given_up", m.follow_ups_given_up}}},
                {"operations", ops},
                {"batch_size", batches},
                {"hsm", token_status},
                {"scp03t",
                 {{"bytes", sealed.bytes},
                  {"segments", sealed.segments},
                  {"cpu_s", sealed.seal_s},
                  {"engine", sealed.engine},
                  {"batch_size", histogram_json(sealed.batch)},
                  {"peak_bytes_in_flight", sealed.peak_bytes}}},
                {"cpu",
                 {{"user_s", seconds(self.ru_utime)},
                  {"system_s", seconds(self.ru_stime)},
                  {"loop_s", thread_cpu_seconds()},
                  {"soap_s", static_cast<double>(m.soap_ns) * 1e-9},
                  {"machine_s", static_cast<double>(m.machine_ns) * 1e-9},
                  {"personalise_s", sealed.personalise_s},
                  {"seal_s", sealed.seal_s},
                  {"encode_s", sealed.encode_s},
                  {"store_s", st.cpu_s}}},
                {"connections", {{"es2", connections(es2_server)}, {"es3", connections(es3_server)}}},
                {"store", {{"group_size", histogram_json(st.group_size)}, {"commit_us", histogram_json(st.commit_us)}}},
                {"messages",
                 {{"es2_requests", m.es2_requests},
                  {"es3_calls", m.es3_calls},
                  {"es3_callbacks", m.es3_callbacks},
                  {"notifications_in", m.notifications_in},
                  {"deliveries", m.deliveries},
                  {"delivery_retries", m.delivery_retries},
                  {"deliveries_waiting", delivery->waiting()},
                  {"faults_sent", m.faults_sent},
                  {"refused", m.refused},
                  {"callbacks_dropped", m.callbacks_dropped},
                  {"alarms", m.alarms}}}};
    if (cores) {
      Json c = core_status(cores->stats());
      if (batches.contains("core")) {
        // The engine's own: what went into the core's ring in one turn.
        out["batch_size"]["core"]["submitted"] = batches["core"];
        out["batch_size"]["core"].update(c.at("batch_size"));
        out["batch_size"]["core"]["queue_us"] = c.at("queue_us");
      }
      out["core"] = std::move(c);
    }
    return out;
  }

  void stop() {
    if (admin) admin->stop();
    if (es2_server) es2_server->stop();
    if (es3_server) es3_server->stop();
    downloads->stop();
    follow_ups->stop();
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

void set_up_log(const Config& c) {
  spdlog::sink_ptr sink;
  if (c.log_file.empty())
    sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  else
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(c.log_file);
  auto logger = std::make_shared<spdlog::logger>("keyferry", std::move(sink));
  logger->set_formatter(line_formatter());
  logger->set_level(spdlog::level::from_str(c.log_level));
  logger->flush_on(spdlog::level::warn);
  spdlog::set_default_logger(logger);
  spdlog::flush_every(std::chrono::seconds(1));
}

int serve(const Config& c) {
  const rlimit no_core{0, 0};  // a core file would hold ShS, session keys and profiles
  ::setrlimit(RLIMIT_CORE, &no_core);
  Mistakes mistakes;
  check_files(c, mistakes);
  if (!mistakes.empty()) return complain(2, mistakes.text(c.file));
  set_up_log(c);
  App app(c);
  if (Status s = app.start(); !s) {
    spdlog::shutdown();
    std::fprintf(stderr, "keyferry: %s\n",
                 s.error().detail.empty() ? s.error().reason.c_str() : s.error().detail.c_str());
    return 1;
  }
  unsigned workers = 0;
  for (const auto& t : c.hsm.tokens) workers += t.workers;
  spdlog::info("keyferry {} ({}) serves ES2 on {}:{} and ES3 on {}:{}, custody {}, {} HSM workers", KEYFERRY_VERSION,
               KEYFERRY_COMMIT, c.es2_address, app.es2_server->port(), c.es3_address, app.es3_server->port(),
               custody_name(c.custody), workers);
  asio::signal_set signals(app.io, SIGINT, SIGTERM);
  signals.async_wait([&](const boost::system::error_code& ec, int) {
    if (ec) return;
    spdlog::info("stopping; unfinished downloads are taken up at the next start");
    app.stop();
    app.io.stop();
  });
  app.io.run();
  app.io.restart();
  app.io.run_for(std::chrono::milliseconds(200));  // answers already on their way
  app.pool->join();
  app.sealing.reset();
  app.store.reset();  // commits what is queued
  app.hsm.reset();    // ends the workers
  app.admin.reset();
  spdlog::info("stopped");
  spdlog::default_logger()->flush();
  // Calls to SM-SRs and held connections are suspended coroutines that refer to all of the above: the process ends here
  // rather than unwinding them. Everything that must survive is committed.
  std::_Exit(0);
}

}  // namespace kf::server
