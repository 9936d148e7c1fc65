// Who may run next. Places in flight are shared among Operators and among SM-SRs, so that no silent or greedy party
// keeps the others out, and one eUICC has one download at a time.
//
// The rule: a party may take a place while it holds fewer than `kShare` times the places that would still be free
// then, and a party that holds none may always. One greedy party ends up with 8 of 9 places, two with 8 of 17 each,
// and what is left is for those who hold less. Among those who may, the one that holds least is next, then the one
// whose turn was longest ago. Where only one party of a kind exists, that kind shares nothing.
//
// A card has turns of its own: where several Operators' orders wait for it, the Operator whose turn at this card was
// longest ago is next, if its share allows it a place now; one that may take none keeps nobody else waiting. The orders
// of one Operator go by their number.
//
// A download that only waits for EnableProfile leaves its place (only_waits()) and counts against a bound of its own,
// which is shared by the same rule. Whoever has used up its share there keeps the places it holds. When it has kept its
// card to itself for long enough it leaves that too (leave_card()).
//
// A pure value: no I/O, no clock. Every operation is O(log n) in the Operators, and looks at each SM-SR of an Operator
// and at each Operator that waits for the card in hand at most once; none walks the orders, and the end of an
// EnableProfile at most the places. Loop thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace kf::server {

class Admission {
 public:
  using Id = std::uint64_t;
  static constexpr std::size_t kShare = 8;

  struct Limits {
    std::size_t places = 256;       // in flight
    std::size_t enabling = 16'384;  // beside them: only waiting for EnableProfile
    std::size_t waiting = 100'000;  // in the queue
    bool share_operators = true, share_smsrs = true;
  };
  explicit Admission(Limits l) : limits_(l) {}

  // Is there room in the queue for one more order of this Operator?
  [[nodiscard]] bool may_wait(const std::string& operator_oid) const;
  // Numbers rise in the order of arrival.
  void add(Id id, const std::string& operator_oid, const std::string& smsr_oid, const std::string& eid);
  // Takes a place and the EID for the next one; none: nobody may start now.
  std::optional<Id> next();
  // It waited and is gone. False: it does not wait.
  bool withdraw(Id id);
  // It has a place and needs none any more. Where the bound on such, or a share of it, is reached it leaves its place
  // later, by itself.
  void only_waits(Id id);
  // It runs and has no more to do with its card than to wait: the card is free for the next one.
  void leave_card(Id id);
  // It is over: place and EID are free.
  void end(Id id);
  // Something else is at work on a card of which no order runs: its orders wait until vacate().
  void occupy(const std::string& eid) { cards_[eid].busy = true; }
  void vacate(const std::string& eid);

  [[nodiscard]] std::size_t waiting() const { return waiting_; }
  [[nodiscard]] std::size_t running() const { return running_; }    // places taken
  [[nodiscard]] std::size_t enabling() const { return enabling_; }  // without a place
  struct Count {
    std::string oid;
    std::size_t waiting = 0, running = 0, enabling = 0;
  };
  [[nodiscard]] std::vector<Count> operators() const { return counts(operators_); }
  [[nodiscard]] std::vector<Count> smsrs() const { return counts(smsrs_); }

 private:
  struct Lane;
  using LaneKey = std::tuple<std::size_t, std::uint64_t, Lane*>;  // places held, last turn
  struct Party {
    std::size_t waiting = 0, running = 0, enabling = 0;
    std::uint64_t turn = 0;
    std::set<LaneKey> ready;  // of an Operator: its lanes in which somebody waits
  };
  using PartyKey = std::tuple<std::size_t, std::uint64_t, Party*>;
  struct Lane {  // one Operator's orders to one SM-SR
    Party* op = nullptr;
    Party* smsr = nullptr;
    std::list<Id> queue;
    std::size_t running = 0;
    std::uint64_t turn = 0;
  };
  enum class Where { lane, parked, running, only_waiting, enabling };
  struct Item {
    Lane* lane = nullptr;
    std::string eid;
    Where where = Where::lane;
    bool has_card = false;       // it runs and the card is its own
    std::list<Id>::iterator at;  // in its lane, or in would_leave_
  };
  struct CardQueue {         // one Operator's orders for one card
    std::set<Id> waiting;    // in its lanes or parked
    std::uint64_t turn = 0;  // of its last order that had the card; as long as anything waits for the card
  };
  // While it is free the first order of each Operator that waits for it is in a lane. Parked are the others, and all
  // that a busy card was found for.
  struct Card {
    bool busy = false;  // one of its downloads runs, or it is occupied
    std::map<Party*, CardQueue> operators;
  };
  using Parties = std::map<std::string, Party>;
  static std::vector<Count> counts(const Parties& p);

  // Changes what the order of turns depends on, and keeps that order.
  template <class F>
  void change(Lane& l, F&& f);
  void enqueue(Id id, Item& i, bool front);
  void leave_queue(Id id, Item& i);
  void promote(const std::string& eid);  // into their lanes: the next ones of a card that is free
  Item* pick(Id& id);
  [[nodiscard]] Id whose_turn(const Card& c, Id reached, std::size_t free) const;
  [[nodiscard]] bool may_enable(const Item& i) const;
  // With at least one of them free.
  static bool share_allows(bool shared, std::size_t held, std::size_t free) {
    return !shared || held == 0 || held / kShare < free - 1;  // held < kShare * (free - 1), which might not fit
  }

  Limits limits_;
  Parties operators_, smsrs_;
  std::map<std::pair<Party*, Party*>, Lane> lanes_;
  std::set<PartyKey> ready_;  // Operators with a lane in which somebody waits
  std::unordered_map<Id, Item> items_;
  std::unordered_map<std::string, Card> cards_;
  std::list<Id> would_leave_;  // hold a place only because the bound on enabling, or their share, is reached
  std::size_t waiting_ = 0, running_ = 0, enabling_ = 0;
  std::uint64_t turns_ = 0;
};

}  // namespace kf::server
