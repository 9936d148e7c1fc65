// Keeps the ledger of each card (host/download/possession.hpp) on which an ended order may have left something, and
// runs its follow-up (host/download/follow_up.hpp) beside the downloads, never in their places; a few calls at a time
// to one SM-SR. A card is an EID at an SM-SR: what is asked of one SM-SR, or learnt from it, says nothing of another.
// An order for the card goes first: the follow-up rests from its acceptance to its end. Where a follow-up was given up,
// its ledger stays while an ICCID or an open call depends on it; such ICCIDs are freed when any EIS of that SM-SR
// proves them gone.
//
// All records of a card are written from the one ledger in memory and in the order in which it grew, since the store
// keeps the order of its jobs: two orders that end together, and a follow-up that goes on meanwhile, lose nothing of
// one another. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/download/follow_up.hpp"
#include "host/server/card_book.hpp"
#include "host/server/es3_client.hpp"

namespace kf::server {

class FollowUpService {
 public:
  using Clock = std::chrono::steady_clock;
  FollowUpService(asio::io_context& io, const Settings& c, CardBook& cards, Metrics& m, Es3Client& e)
      : io_(io), config_(c), cards_(cards), metrics_(m), es3_(e) {}

  // At the start: what the old process left. Records that cannot be read are set aside, whole, and what they may have
  // known is taken for the worst; those of earlier starts (`aside`) are tried once more. `ordered`: cards for which an
  // order is taken up next, which needs their ledgers.
  void load(const std::vector<store::FollowUpRow>& records, const std::vector<store::ProfileRow>& uncertain,
            const std::set<std::string>& ordered = {}, const std::vector<store::SetAsideRow>& aside = {});

  // An order for that card begins: what is known of it joins the order's copy of the ledger.
  void brief(const std::string& card, download::Possession& p);
  // A download ends: its part joins the ledger of its card, now, for good, and as often as it is told. The record that
  // has to be committed with its outcome; nullopt where there is nothing to keep. Then, after the commit, settled().
  // Where the commit failed, its next attempt writes record_of(): meanwhile an answer may have closed one of those
  // calls.
  std::optional<std::string> outcome(const download::Download& d);
  // The ledger of that card as it is now, as a record; nullopt where there is none.
  [[nodiscard]] std::optional<std::string> record_of(const std::string& card) const;
  // Keeps that record by itself, without the outcome that it belongs to; one that could not be kept is kept with the
  // next change. `done` is called either way.
  void keep_ledger(const std::string& eid, const std::string& smsr, const std::string& record,
                   std::function<void()> done = {});
  [[nodiscard]] bool knows(const std::string& card, std::string_view iccid) const;
  void settled(const download::Download& d);

  // From the acceptance of an order for that card to its end; counted. Cards are named by download::card_of.
  void hold(const std::string& card);
  void release(const std::string& card);
  // A DeleteISDP for that card is under way: an order has to wait for its end. `idle` is called then.
  [[nodiscard]] bool busy(const std::string& card) const;
  std::function<void()> idle;

  // The answer to a call of a ledger that nobody waits for any more; false: no ledger has it. One that does not say how
  // the call ended changes nothing.
  bool late_callback(const Party& from, const std::string& transaction, const es::Response& r);
  // An EIS that an SM-SR gave to somebody else; `asked` is when GetEIS was called.
  void seen(const Party& smsr, const es::Eis& e, Clock::time_point asked);
  // Alarms about cards on which something may be left for another day, whether they are looked at or an order holds
  // them; asked now and then.
  void tell_days(std::int64_t now_ms);
  void stop();

  using Step = download::FollowUpStep (*)(download::FollowUp, download::FollowUpEvent, std::int64_t, const std::string&,
                                          const download::FollowUpLimits&);
  Step step = download::step;  // tests put one in its place that throws

 private:
  struct Settling {  // an end that is being stored
    download::Settled what;
    bool forget = false;
  };
  struct Live {
    download::FollowUp f;
    std::string card;
    std::unique_ptr<asio::steady_timer> timer;                // until the next look
    std::unique_ptr<asio::steady_timer> retry, settle_retry;  // of a commit, of an end's
    bool committing = false, begun = false, dropped = false;
    std::shared_ptr<const Settling> settling;
    // That came meanwhile: a look, the answer to the call in hand, and one end of each open call of its ledger.
    std::deque<download::FollowUpEvent> events;
    std::optional<Clock::time_point> alarmed, revived;         // last
    std::vector<std::string> indexed;                          // its open calls, as they stand in open_
    std::optional<std::pair<std::string, std::string>> crowd;  // the queue of crowded_ in which it stands
    std::size_t uncertain = 0;                                 // ICCIDs, as counted
    std::optional<std::pair<std::string, std::string>> place;  // that it takes: SM-SR and Operator
  };
  struct Places {  // of one SM-SR
    std::size_t taken = 0;
    std::map<std::string, std::size_t> by_operator;
  };
  using LivePtr = std::shared_ptr<Live>;

  LivePtr add(download::FollowUp f);
  void look_after(const LivePtr& l, std::int64_t ms);
  void post(const LivePtr& l, download::FollowUpEvent e);
  void advance(const LivePtr& l);
  void commit(const LivePtr& l, std::shared_ptr<download::FollowUpStep> s, unsigned attempt);
  bool turn(const LivePtr& l, download::FollowUpEvent e, download::FollowUpStep& out);
  void broke(const LivePtr& l, const std::string& why);
  void tell_broken(const Live& l, const std::string& why);
  void carry_out(const LivePtr& l, const download::FollowUpStep& s);
  void call(const LivePtr& l, const download::CallEs3& c);
  void end(const LivePtr& l);
  void keep(const LivePtr& l);
  void settle(const LivePtr& l, download::Settled s, bool forget);
  void store_settled(const LivePtr& l, const std::shared_ptr<const Settling>& s, unsigned attempt);
  void cancel_settling(const LivePtr& l);
  void set_aside(const store::FollowUpRow& row, const Error& why);
  void drop(const LivePtr& l);
  void index(const LivePtr& l);
  void alarm_given_up(Live& l);
  [[nodiscard]] bool room_for(const Oid& smsr, const Oid& requester) const;
  [[nodiscard]] static bool nobody_depends_on(const Live& l, std::int64_t now);
  void watch_days();
  void crowd(const LivePtr& l);
  void admit_crowded();
  void revive(const LivePtr& l);
  void remember_installed(const download::Download& d, std::int64_t now);
  [[nodiscard]] static bool deleting(const Live& l) {
    return l.f.state == download::FollowUp::State::deleting && (l.f.pending_call != 0 || l.committing);
  }
  static bool an_hour_since(std::optional<Clock::time_point>& last);
  [[nodiscard]] bool held(const std::string& card) const { return held_.contains(card); }
  [[nodiscard]] LivePtr find(const std::string& card) const;
  void count(const LivePtr& l);

  asio::io_context& io_;
  const Settings& config_;
  CardBook& cards_;
  Metrics& metrics_;
  Es3Client& es3_;
  std::unordered_map<std::string, LivePtr> live_;      // by card
  std::unordered_map<std::string, std::string> open_;  // calls of their ledgers: transaction -> card
  std::unordered_map<std::string, unsigned> held_;     // by card
  std::unordered_map<std::string, unsigned> calling_;  // calls under way, by SM-SR
  // What was installed a moment ago, for as long as an EIS may lag behind: it is not the next order's to clean away.
  std::unordered_map<std::string, std::map<std::string, std::int64_t>> installed_;  // by card and ICCID: when
  struct Installed {
    std::int64_t at_ms = 0;
    std::string card, iccid;
  };
  std::deque<Installed> installed_by_age_;
  std::unordered_map<std::string, Places> places_;  // of those that are looked after, by SM-SR
  // Cards that wait for a place, by SM-SR and Operator, the oldest first.
  std::map<std::pair<std::string, std::string>, std::deque<std::string>> crowded_;
  asio::steady_timer days_{io_};  // until tell_days() is asked again
  bool stopped_ = false;
};

}  // namespace kf::server
