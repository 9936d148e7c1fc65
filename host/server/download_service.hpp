// Runs downloads: carries out the effects of host/download's pure machine and feeds its events back. Bounded in flight
// with fair shares (admission.hpp), at most one download of a card at a time, records committed before the effects that
// depend on them. Whatever throws ends the one download it was about (broke()). Loop thread only; profile loading and
// sealing run in the pipeline (host/pipeline).
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "host/download/record.hpp"
#include "host/pki/chain.hpp"
#include "host/server/admission.hpp"
#include "host/server/crypto_service.hpp"
#include "host/server/delivery.hpp"
#include "host/server/es3_client.hpp"
#include "host/server/follow_up_service.hpp"
#include "host/server/guard.hpp"
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
  explicit DownloadService(Parts p);

  // A committed order; `profile` is its reserved inventory row.
  void start(download::Order o, store::ProfileRow profile);
  // After a restart: an unfinished record and its inventory row. `planned`: the old process was stopped in order.
  void take_up(download::Download d, store::ProfileRow profile, bool planned);
  // Is there room for one more order of this Operator?
  [[nodiscard]] bool may_wait(const Oid& requester) const { return admission_.may_wait(requester.str()); }
  [[nodiscard]] const Admission& admission() const { return admission_; }
  [[nodiscard]] bool has(const std::string& id) const { return live_.count(id) != 0; }

  // A callback whose call this process does not know: of an EnableProfile made before a restart, or a CreateISDP too
  // late.
  void late_callback(const Party& from, const std::string& transaction, const es::Response& r);
  void enabled_seen(const std::string& eid, const std::string& smsr, const std::string& iccid);
  // Nothing that waits is started any more; what runs goes on. settled(): nothing runs that a restart would interrupt.
  void drain() { draining_ = true; }
  [[nodiscard]] bool settled() const { return admission_.running() == 0; }
  void stop();

 private:
  struct Live {
    download::Download d;
    store::ProfileRow profile;
    std::vector<std::uint32_t> optional_elements;
    std::deque<download::Event> events;
    download::Order order;                      // as taken: what is left to know when a step threw in the middle
    std::shared_ptr<const std::string> record;  // as last committed, if this process did
    Admission::Id ticket = 0;
    unsigned broken = 0;  // how often something threw
    bool busy = false;    // a commit is under way
    bool queued = true;   // waits for its card or a place
    std::unique_ptr<asio::steady_timer> timer, deadline;
    std::chrono::steady_clock::time_point since;
  };
  using LivePtr = std::shared_ptr<Live>;

  void enqueue(const LivePtr& l, download::Event first);
  void admit();
  void card_idle();
  void vacate_idle_cards();
  void on_deadline(const LivePtr& l);
  void release(const LivePtr& l);
  // Calls f, and ends this download where it throws.
  template <class F>
  void careful(const LivePtr& l, F&& f) {
    try {
      std::forward<F>(f)();
    } catch (...) {
      broke(l, text_of(std::current_exception()));
    }
  }
  void broke(const LivePtr& l, const std::string& why) noexcept;
  void end_broken(const LivePtr& l, const std::string& why);
  void put_aside(const LivePtr& l, const std::string& why);
  void turn(const LivePtr& l);
  void post(const LivePtr& l, download::Event e);
  void advance(const LivePtr& l);
  void commit(const LivePtr& l, std::shared_ptr<std::vector<download::Effect>> effects, unsigned attempt);
  void commit_failed(const LivePtr& l, std::shared_ptr<std::vector<download::Effect>> effects, unsigned attempt,
                     const Error& why);
  void carry_out(const LivePtr& l, std::vector<download::Effect>& effects);
  void finish(const LivePtr& l);
  void finish_commit(const LivePtr& l, std::shared_ptr<es::Response> r, unsigned attempt);
  void finish_failed(const LivePtr& l, std::shared_ptr<es::Response> r, unsigned attempt, const Error& why);
  void tell_outcome(const Live& l);
  void call(const LivePtr& l, download::CallEs3& c);
  void check_certificates(const LivePtr& l, std::shared_ptr<const download::CheckCertificates> c, std::size_t i,
                          std::optional<Error> first);
  void seal(const LivePtr& l, download::Effect e);
  void keep_key_set(const LivePtr& l, download::KeepKeySet k);
  void seal_key_set(const std::shared_ptr<store::KeySetRow>& row, const download::KeepKeySet& keys);  // pool thread
  download::Context context(const Live& l) const;

  Parts p_;
  Admission admission_;
  Admission::Id tickets_ = 0;
  std::unordered_map<std::string, LivePtr> live_;        // by download id: runs
  std::unordered_map<std::string, LivePtr> by_card_;     // the running one of an eUICC at an SM-SR
  std::unordered_map<Admission::Id, LivePtr> in_queue_;  // waits
  std::map<std::string, std::string> followed_up_;       // cards that a follow-up's DeleteISDP keeps: card to EID
  bool stopped_ = false, draining_ = false;
};

}  // namespace kf::server
