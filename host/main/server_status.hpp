// What `keyferry serve` says about itself: one JSON document for the admin socket, the burst report and `keyferry
// status`, which turns it into lines for people (status_text.hpp). Loop thread only.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>

#include "drivers/engine/core_engine.hpp"
#include "host/main/config/config.hpp"
#include "host/server/crypto_service.hpp"
#include "host/server/download_service.hpp"
#include "host/server/metrics.hpp"
#include "host/server/relay_service.hpp"
#include "host/store/store.hpp"

namespace kf::server {

struct StatusParts {
  const Config& config;
  const Metrics& metrics;
  const CryptoService& crypto;
  const hsm::HsmEngine& hsm;
  const pipeline::SealPipeline& sealing;
  const store::Store& store;
  const DeliveryService& delivery;
  const DownloadService& downloads;
  const RelayService& relays;
  const net::HttpServer& es2;
  const net::HttpServer& es3;
  const ecc::CoreEngine* cores;  // none: no route names them
  std::chrono::steady_clock::time_point started;
  bool draining;  // stopping in order
};
nlohmann::json server_status(const StatusParts& p);

}  // namespace kf::server
