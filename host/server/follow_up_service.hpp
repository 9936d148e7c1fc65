// Runs follow-ups (host/download/follow_up.hpp): eUICCs on which an ended order may have left an ISD-P. Beside the
// downloads, never in their places; at most one an EID, a few calls at a time to one SM-SR. An order for the EID goes
// first: the follow-up rests from its acceptance to its end. Keeps the ICCIDs that are `uncertain` in mind, too, and
// frees them when any EIS of the SM-SR responsible shows them gone. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/download/follow_up.hpp"
#include "host/server/es3_client.hpp"
#include "host/server/storage.hpp"

namespace kf::server {

class FollowUpService {
 public:
  using Clock = std::chrono::steady_clock;
  FollowUpService(asio::io_context& io, const Config& c, Storage& s, Metrics& m, Es3Client& e)
      : io_(io), config_(c), storage_(s), metrics_(m), es3_(e) {}

  // At the start: what the old process left. Records that cannot be read are said and dropped.
  void load(const std::vector<std::string>& records, const std::vector<store::ProfileRow>& uncertain);

  // A download ends. What has to be committed with its outcome, if anything is left to be looked at; then, after the
  // commit, settled() with the same value. nullopt where nothing is left, and (with an alarm) where there is no room.
  std::optional<download::FollowUp> plan(const download::Download& d);
  void settled(const download::Download& d, std::optional<download::FollowUp> f);

  // From the acceptance of an order for that EID to its end; counted.
  void hold(const std::string& eid);
  void release(const std::string& eid);
  // A DeleteISDP for that EID is under way: an order has to wait for its end. `idle` is called then.
  [[nodiscard]] bool busy(const std::string& eid) const;
  std::function<void()> idle;

  // The answer to a CreateISDP of a download that has ended; false: no follow-up waits for it.
  bool late_callback(const Party& from, const std::string& transaction, const es::Response& r);
  // Any EIS that an SM-SR gave; `asked` is when GetEIS was called.
  void seen(const Party& smsr, const es::Eis& e, Clock::time_point asked);
  void stop();

 private:
  struct Live {
    download::FollowUp f;
    std::unique_ptr<asio::steady_timer> timer;  // until the next look
    std::unique_ptr<asio::steady_timer> retry;  // of a commit
    bool committing = false;
    std::vector<download::FollowUpEvent> events;  // that came meanwhile
  };
  using LivePtr = std::shared_ptr<Live>;
  struct Uncertain {
    std::string iccid, smsr;
    Clock::time_point since;
  };

  void add(download::FollowUp f);
  void look_after(const LivePtr& l, std::int64_t ms);
  void post(LivePtr l, download::FollowUpEvent e);
  void advance(const LivePtr& l);
  void commit(const LivePtr& l, std::shared_ptr<download::FollowUpStep> s, unsigned attempt);
  void carry_out(const LivePtr& l, const download::FollowUpStep& s);
  void call(const LivePtr& l, const download::CallEs3& c);
  void end(const LivePtr& l);
  void drop(LivePtr l);
  [[nodiscard]] std::size_t of(const Oid& smsr) const;
  [[nodiscard]] bool held(const std::string& eid) const { return held_.count(eid) != 0; }
  void forget(const std::string& eid, const std::string& iccid, const std::string& smsr = {});  // empty: any
  void count();

  asio::io_context& io_;
  const Config& config_;
  Storage& storage_;
  Metrics& metrics_;
  Es3Client& es3_;
  std::unordered_map<std::string, LivePtr> live_;                      // by EID
  std::unordered_map<std::string, std::string> creations_;             // transaction -> EID
  std::unordered_map<std::string, unsigned> held_;                     // by EID
  std::unordered_map<std::string, std::vector<Uncertain>> uncertain_;  // by EID
  std::unordered_map<std::string, unsigned> calling_;                  // calls under way, by SM-SR
  bool stopped_ = false;
};

}  // namespace kf::server
