// Runs downloads: carries out the effects of host/download's pure machine and feeds its events back. Bounded in flight
// with fair shares (admission.hpp), at most one download at work on a card at a time, records committed before the
// effects that depend on them. Whatever throws ends the one download it was about (broke()). Loop thread only; profile
// loading and sealing run in the pipeline (host/pipeline).
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "host/crypto/record_sealer.hpp"
#include "host/download/record.hpp"
#include "host/pipeline/seal_pipeline.hpp"
#include "host/pki/chain.hpp"
#include "host/server/admission.hpp"
#include "host/server/crypto_service.hpp"
#include "host/server/delivery.hpp"
#include "host/server/es3_client.hpp"
#include "host/server/follow_up_service.hpp"
#include "host/server/guard.hpp"
#include "host/server/inventory.hpp"
#include "host/server/message_book.hpp"
#include "host/server/order_book.hpp"
#include "host/server/replies.hpp"

namespace kf::server {

struct Trust {  // read at start from the configured files
  std::vector<X509Info> roots, eums;
  EumCache eum_cache;
};

// The number of the call, where what is told of it now may still matter to that download.
std::optional<unsigned> late_call(const download::Download& d, const std::string& transaction);

class DownloadService {
 public:
  struct Parts {
    asio::io_context& io;
    asio::thread_pool& pool;
    pipeline::SealPipeline& sealing;
    const Settings& config;
    OrderBook& orders;
    MessageBook& messages;
    Metrics& metrics;
    CryptoService& crypto;
    Es3Client& es3;
    FollowUpService& follow_ups;
    Inventory& inventory;
    Replies& replies;
    DeliveryService& delivery;
    RecordSealer& key_sets;  // seals what is kept of them
    Trust& trust;
    std::unordered_map<std::uint8_t, Bytes> cert_dp;  // by Curve
  };
  explicit DownloadService(Parts p);

  // A committed order; `profile` is its reserved inventory row.
  // `installed`: what the inventory has as installed on that eUICC at that SM-SR; it is not to be cleaned away.
  void start(download::Order o, store::ProfileRow profile, std::vector<std::string> installed) noexcept;
  // After a restart: an unfinished record and its inventory row. `planned`: the old process was stopped in order.
  void take_up(download::Download d, store::ProfileRow profile, std::vector<std::string> installed, bool planned);
  // Is there room for one more order of this Operator?
  [[nodiscard]] bool may_wait(const Oid& requester) const { return admission_.may_wait(requester.str()); }
  [[nodiscard]] const Admission& admission() const { return admission_; }
  [[nodiscard]] bool has(const std::string& id) const { return live_.count(id) != 0; }

  // A callback whose call this process does not know: of an EnableProfile made before a restart, or a CreateISDP too
  // late.
  void late_callback(const Party& from, const std::string& transaction, const es::Response& r);
  void enabled_seen(const std::string& eid, const std::string& smsr, const std::string& iccid);
  // Events of a running download that wait for its record to be stored; bounded, whatever an SM-SR sends.
  [[nodiscard]] std::size_t events_waiting(const std::string& id) const;
  // Nothing that waits is started any more; what runs goes on. settled(): nothing runs that a restart would interrupt.
  void drain() { draining_ = true; }
  [[nodiscard]] bool settled() const { return admission_.running() == 0; }
  void stop();

 private:
  struct Live {
    download::Download d;
    store::ProfileRow profile;
    std::vector<std::string> installed;
    std::vector<std::uint32_t> optional_elements;
    std::deque<download::Event> events;
    const download::Policy* policy = nullptr;   // of its ProfileType at its SM-SR
    download::Order order;                      // as taken: what is left to know when a step threw in the middle
    std::shared_ptr<const std::string> record;  // as last committed, if this process did
    Admission::Id ticket = 0;
    unsigned broken = 0;       // how often something threw: answers of engines to the life before are dropped
    bool busy = false;         // a commit is under way
    bool queued = true;        // waits for its card or a place
    bool holds = false;        // its card, against follow-ups
    bool left_card = false;    // only waits for enabling, beside others
    bool leaving = false;      // its calls are the card's ledger's already; that is being stored
    bool told_ledger = false;  // at that moment; its end says nothing new of the card
    // Counts key sets kept and dropped: one that was sealed too late is not stored.
    std::shared_ptr<std::atomic<unsigned>> key_set = std::make_shared<std::atomic<unsigned>>(0);
    // The machine's own; at_card: how long enabling keeps it; store_again: of what could not be stored.
    std::unique_ptr<asio::steady_timer> timer, deadline, at_card, store_again;
    void cancel_all() const {
      for (const auto* t : {&timer, &deadline, &at_card, &store_again})
        if (*t) (*t)->cancel();
    }
    std::chrono::steady_clock::time_point since;
  };
  using LivePtr = std::shared_ptr<Live>;

  void enqueue(const LivePtr& l, download::Event first);
  void leave_queue(const LivePtr& l);
  [[nodiscard]] LivePtr at_work_or_taken_up(const std::string& id) const;
  void admit();
  void card_idle();
  void vacate_idle_cards();
  void on_deadline(const LivePtr& l);
  void keep_card_for(const LivePtr& l, std::int64_t ms);
  void leave_card(const LivePtr& l);
  static void know_only_its_own(Live& l);
  void note_installed(Live& l);
  void hand_over_answers(const Live& l);
  void leave_card_commit(const LivePtr& l, std::shared_ptr<download::Download> left, std::optional<std::string> ledger);
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
  // What the last record says of the card: a call that may change it is in a record before it is made.
  [[nodiscard]] static download::Possession last_known_of_card(const Live& l);
  void turn(const LivePtr& l);
  void post(const LivePtr& l, download::Event e);
  // What an engine, a timer or the pipeline answers to the life of the download in which it was asked.
  void post(const LivePtr& l, unsigned life, download::Event e);
  void advance(const LivePtr& l);
  void commit(const LivePtr& l, std::shared_ptr<std::vector<download::Effect>> effects, unsigned attempt);
  void commit_failed(const LivePtr& l, std::shared_ptr<std::vector<download::Effect>> effects, unsigned attempt,
                     const Error& why);
  void carry_out(const LivePtr& l, std::vector<download::Effect>& effects);
  // One an effect; `life`: of the download, in which it was asked for.
  void carry_out(const LivePtr& l, unsigned life, download::CallEs3& c);
  void carry_out(const LivePtr& l, unsigned life, download::CheckCertificates& c);
  void carry_out(const LivePtr& l, unsigned life, const download::MakeEphemeral& m);
  void carry_out(const LivePtr& l, unsigned life, const download::Sign& s);
  void carry_out(const LivePtr& l, unsigned life, download::SealOffline& x);
  void carry_out(const LivePtr& l, unsigned life, download::SealOnline& x);
  void carry_out(const LivePtr& l, unsigned life, const download::DrawChallenge& effect);
  void carry_out(const LivePtr& l, unsigned life, const download::StartTimer& t);
  void carry_out(const LivePtr& l, unsigned life, download::KeepKeySet& k);
  void carry_out(const LivePtr& l, unsigned life, const download::DropKeySet& effect);
  void carry_out(const LivePtr& l, unsigned life, const download::Alarm& a);
  static void carry_out(const LivePtr&, unsigned, const download::Finish&) {}  // turn() looks at the state
  void finish(const LivePtr& l);
  struct Ending {  // an outcome, and what is written of it
    es::Response response;
    BoundAnswer answer;
  };
  void finish_commit(const LivePtr& l, const std::shared_ptr<Ending>& e, unsigned attempt);
  void finish_failed(const LivePtr& l, const std::shared_ptr<Ending>& e, unsigned attempt, const Error& why);
  void ended(const LivePtr& l, const Ending& e, std::optional<store::DeliveryRow> delivery);
  void tell_outcome(const Live& l);
  void call(const LivePtr& l, download::CallEs3& c);
  void check_certificates(const LivePtr& l, std::shared_ptr<const download::CheckCertificates> c, std::size_t i,
                          std::optional<download::CertificatesChecked> first);
  void seal(const LivePtr& l, pipeline::Order o);
  void late_answer(const LivePtr& l, const std::string& transaction, const es::Response& r);
  void made_after_all(const Party& from, const std::string& transaction, const es::Response& r);
  bool looked_up(const EndedOrder& found, const std::string& smsr, const std::string& transaction,
                 const es::Response& r);
  void alarm_late_isdp(const Live& l, const std::string& transaction, const es::Response& r);
  void alarm_unread_answers(const Live& l);
  void look_after_again(const download::Order& o, const std::string& transaction);
  void late_creation_done(const std::string& smsr, const std::string& transaction);
  [[nodiscard]] static bool knows_no_calls(const Live& l);
  void keep_key_set(const LivePtr& l, download::KeepKeySet k);
  bool seal_key_set(store::KeySetRow& row, const download::KeepKeySet& keys);  // pool thread
  const download::Policy& policy(const download::Order& o);

  Parts p_;
  std::map<std::pair<std::string, std::string>, download::Policy> policies_;  // by SM-SR and ProfileType
  Admission admission_;
  Admission::Id tickets_ = 0;
  std::unordered_map<std::string, LivePtr> live_;        // by download id: runs
  std::map<std::string, LivePtr> by_profile_;            // the running one of an ICCID on an eUICC at an SM-SR
  std::unordered_map<Admission::Id, LivePtr> in_queue_;  // waits
  // Those of in_queue_ whose calls an earlier process made: answers may still come.
  std::unordered_map<std::string, LivePtr> taken_up_;  // by download id
  std::set<std::string> followed_up_;                  // cards that a follow-up's DeleteISDP keeps
  // Transactions of CreateISDPs told too late, by SM-SR, until what they say is stored.
  std::map<std::string, std::set<std::string>> late_creations_;
  bool stopped_ = false, draining_ = false;
};

}  // namespace kf::server
