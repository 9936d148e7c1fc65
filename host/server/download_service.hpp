// Runs downloads: carries out the effects of host/download's pure machine and feeds its events back. Bounded in flight,
// at most one download an EID at a time, records committed before the effects that depend on them. Loop thread only;
// profile loading and sealing run in the pipeline (host/pipeline).
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "host/download/record.hpp"
#include "host/pki/chain.hpp"
#include "host/server/crypto_service.hpp"
#include "host/server/delivery.hpp"
#include "host/server/es3_client.hpp"
#include "host/server/follow_up_service.hpp"
#include "host/server/inventory.hpp"
#include "host/server/replies.hpp"

namespace kf::server {

struct Trust {  // read at start from the configured files
  std::vector<X509Info> roots, eums;
  EumCache eum_cache;
};

class DownloadService {
 public:
  struct Parts {
    asio::io_context& io;
    asio::thread_pool& pool;
    pipeline::SealPipeline& sealing;
    const Config& config;
    Storage& storage;
    Metrics& metrics;
    CryptoService& crypto;
    Es3Client& es3;
    FollowUpService& follow_ups;
    Inventory& inventory;
    Replies& replies;
    DeliveryService& delivery;
    hsm::HsmEngine& hsm;
    Trust& trust;
    std::unordered_map<std::uint8_t, Bytes> cert_dp;  // by Curve
  };
  explicit DownloadService(Parts p) : p_(std::move(p)) {
    p_.follow_ups.idle = [this] { admit(); };
  }

  // A committed order; `profile` is its reserved inventory row.
  void start(download::Order o, store::ProfileRow profile);
  // After a restart: an unfinished record and its inventory row.
  void take_up(download::Download d, store::ProfileRow profile);
  [[nodiscard]] std::size_t waiting() const { return queue_.size(); }
  [[nodiscard]] std::size_t running() const { return live_.size(); }
  [[nodiscard]] bool has(const std::string& id) const { return live_.count(id) != 0; }

  // A callback whose call this process does not know: of an EnableProfile made before a restart, or a CreateISDP too
  // late.
  void late_callback(const Party& from, const std::string& transaction, const es::Response& r);
  void enabled_seen(const std::string& eid, const std::string& iccid);
  void stop();

 private:
  struct Live {
    download::Download d;
    store::ProfileRow profile;
    std::vector<std::uint32_t> optional_elements;
    std::deque<download::Event> events;
    bool busy = false;   // a commit is under way
    bool queued = true;  // waits for its EID or a place
    std::unique_ptr<asio::steady_timer> timer, deadline;
    std::chrono::steady_clock::time_point since;
  };
  using LivePtr = std::shared_ptr<Live>;

  void enqueue(LivePtr l, download::Event first);
  void admit();
  void post(const LivePtr& l, download::Event e);
  void advance(const LivePtr& l);
  void commit(const LivePtr& l, std::shared_ptr<std::vector<download::Effect>> effects, unsigned attempt);
  void carry_out(const LivePtr& l, std::vector<download::Effect>& effects);
  void finish(const LivePtr& l);
  void finish_commit(const LivePtr& l, std::shared_ptr<es::Response> r, unsigned attempt);
  void ended(const LivePtr& l, const es::Response& r, const std::optional<store::DeliveryRow>& delivery);
  void call(const LivePtr& l, download::CallEs3& c);
  void check_certificates(const LivePtr& l, std::shared_ptr<const download::CheckCertificates> c, std::size_t i,
                          std::optional<Error> first);
  void seal(const LivePtr& l, download::Effect e);
  void keep_key_set(const LivePtr& l, download::KeepKeySet k);
  download::Context context(const Live& l) const;

  Parts p_;
  std::unordered_map<std::string, LivePtr> live_;    // by download id
  std::unordered_map<std::string, LivePtr> by_eid_;  // the running one of an EID
  std::deque<std::pair<LivePtr, download::Event>> queue_;
  bool stopped_ = false;
};

}  // namespace kf::server
