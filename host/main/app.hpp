// The SM-DP's process as one object: it owns everything that lives from the start of `serve` to its end, starts it in
// order and stops it in order. The one place that wires everything together (serve.cpp adds signals and the way out).
#pragma once

#include <boost/asio/thread_pool.hpp>

#include <nlohmann/json.hpp>

#include "drivers/engine/core_engine.hpp"
#include "host/crypto/software_engine.hpp"
#include "host/main/admin_socket.hpp"
#include "host/main/config/config.hpp"
#include "host/server/es2_service.hpp"
#include "host/server/es3_service.hpp"
#include "host/server/relay_service.hpp"
#include "host/server/sqlite_books.hpp"
#include "host/server/upkeep.hpp"
#include "hsm/engine/hsm_engine.hpp"
namespace kf::server {

// Loop thread only. Members stand in the order in which they are made: each may refer to those above it.
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
  std::unique_ptr<OrderBook> orders;
  std::unique_ptr<CardBook> cards;
  std::unique_ptr<MessageBook> messages;
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

  // An error says what stands in the way, in one line. Reason store-in-use: another process has the store.
  Status start();
  void drain();  // no new orders; what runs goes on
  [[nodiscard]] bool settled() const { return downloads->settled() && relays->running() == 0; }
  void stop();

 private:
  void raise_descriptor_limit();
  Status open_store_and_tokens();
  Result<hsm::HsmConfig> tokens_with_expected_keys() const;
  Status start_engines();
  Status start_cores();
  void make_services();
  Status start_listeners();
  std::unique_ptr<net::HttpServer> make_server(const std::string& address, std::uint16_t port,
                                               std::function<net::Admission(const net::Request&)> admit,
                                               net::Handler handler);
  [[nodiscard]] Status listen(net::HttpServer& server, const char* key) const;

  // What the old process left (docs/spec/interfaces.md 4.2): app_recovery.cpp.
  Status recover();

  nlohmann::json administer(const std::string& line);
  nlohmann::json status() const;
};

}  // namespace kf::server
