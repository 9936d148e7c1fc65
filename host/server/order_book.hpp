// The book of orders: what Operators asked for, what they were promised, and what became of it.
//
// Every transaction of acceptance and outcome is one function of this port, whole: all of it is kept, or nothing. What
// a function reports as done is committed. It speaks of calls, orders and outcomes; which database keeps them is the
// implementation's (sqlite_books.hpp). Envelopes come and go as finished text: whoever calls writes and reads them.
//
// Called on the loop thread (keep_key_set also on others); whatever is called back, and every coroutine resumed, is so
// on the loop thread. Jobs take effect in the order in which they were given.
//
// Errors are the store's (host/store/rows.hpp, StoreFault): `job` means that the same job would fail again; after any
// other the same job may succeed later, and nothing of it was kept. What is "tried until stored" has no error: it is
// given up, with a line in the log, only where it would fail again.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/base/result.hpp"
#include "host/download/machine.hpp"
#include "host/store/rows.hpp"

namespace kf::server {

namespace asio = boost::asio;
using Kept = std::function<void(const Status&)>;

// An ES2.DownloadProfile that nothing forbids. Of the profile it names the ICCID (the store's key, without padding), or
// the ProfileType, or both.
struct OrderAsked {
  store::CallRow call;
  download::Order order;  // but for what its profile decides
  std::string iccid, iccid_as_ordered;
  std::optional<std::string> profile_type;
};

// Any other function of ES2, to be passed on to an SM-SR.
struct RelayAsked {
  store::CallRow call;
  std::string iccid, iccid_as_ordered;  // without padding, and as it came; empty: the function names none
  bool no_room = false;                 // a new one cannot be taken, a repeat can
};

struct Accepted {
  enum class Kind {
    started,         // new, and committed
    running,         // a repeat: bound to the request that came now, the answer will come
    answered,        // a repeat: bound as before; its answer is `call.response`
    used_otherwise,  // the FunctionCallIdentifier stands for another request
    refused,         // for `cause`
    over_quota,      // what is kept for its requester has reached the limit
    no_room          // RelayAsked::no_room
  } kind = Kind::started;
  std::optional<download::Cause> cause;
  store::CallRow call;  // running, answered: as bound now
  std::string ns;       // answered: the namespace that its answer was written in
  // started, of an order: what its profile decides is filled in; the profile is reserved for it.
  download::Order order;
  store::ProfileRow profile;
  std::vector<std::string> installed;  // ICCIDs on that eUICC at that SM-SR
};

// The answer to a call, written for the request that it was last bound to.
struct BoundAnswer {
  store::CallRow call;     // requester, fcid, and the binding that the texts are written for
  std::string kept;        // for repeats; empty: the binding was not known, nothing is written yet
  std::string message;     // by callback or poll: the message to deliver
  unsigned rewritten = 0;  // how often, since the call was bound anew
  // An Operator that repeats its call again and again does not keep its order from ending: after so many times the
  // answer is stored as it is, whatever the call is bound to.
  static constexpr unsigned kMostRewritten = 3;
};
struct Answered {
  // The call is bound to another request by now, this one: nothing was done. Write the answer again.
  std::optional<store::CallRow> rebound;
  std::optional<store::DeliveryRow> delivery;  // the message that is to be delivered now
};
using AnswerKept = std::function<void(Result<Answered>)>;

struct OrderEnd {
  download::Order order;
  std::string record;
  download::IccidState iccid = download::IccidState::free;
  bool succeeded = false;
  std::optional<std::string> ledger;  // of its card; nothing: it stays as it is
  BoundAnswer answer;
};

struct EndedOrder {  // found in the book
  bool read = false;
  std::optional<download::Download> ended;
  std::optional<store::ProfileRow> profile;
};

// What an earlier process left.
struct LeftOver {
  struct Order {
    download::Download download;
    store::ProfileRow profile;
    std::vector<std::string> installed;
  };
  bool planned_stop = false;
  std::int64_t seen_ms = 0;  // when retention was last at work
  std::vector<Order> orders;
  std::vector<store::CallRow> relays;  // unanswered
  std::vector<store::DeliveryRow> messages;
  std::vector<store::FollowUpRow> ledgers;
  std::vector<store::SetAsideRow> unread_ledgers, set_aside;
  std::vector<store::ProfileRow> uncertain;
};

class OrderBook {
 public:
  OrderBook() = default;
  OrderBook(const OrderBook&) = delete;
  OrderBook& operator=(const OrderBook&) = delete;
  virtual ~OrderBook() = default;

  // ---- at the start and at the end of a process; these two wait
  // Records that cannot be read are set aside by name, their ICCIDs stay reserved.
  virtual Result<LeftOver> take_up() = 0;
  virtual Status note_planned_stop() = 0;

  // ---- acceptance
  virtual asio::awaitable<Result<Accepted>> accept(OrderAsked asked) = 0;
  virtual asio::awaitable<Result<Accepted>> accept(RelayAsked asked) = 0;
  // The answer of an answered call, for the request that repeats it, in place of the message before if that still
  // waits.
  virtual asio::awaitable<Result<std::optional<store::DeliveryRow>>> answer_again(store::CallRow call,
                                                                                  std::string message) = 0;

  // ---- an order on its way
  virtual void keep_record(const std::string& id, std::shared_ptr<const std::string> record, Kept done) = 0;
  // It leaves its card to others: its record, and the card's ledger with it.
  virtual void leave_card(const download::Order& o, std::shared_ptr<const std::string> record,
                          std::optional<std::string> ledger, Kept done) = 0;
  // It cannot go on and has no outcome: for a person to look at.
  virtual void set_aside(const std::string& id, const std::string& why, Kept done) = 0;
  // Both tried until stored, and only while `still_due`, asked on a thread of the store, says so: sealing may take
  // long. Kept only while the ICCID is that order's; dropped only while it is nobody else's.
  virtual void keep_key_set(store::KeySetRow row, const std::string& id, std::function<bool()> still_due) = 0;
  virtual void drop_key_set(const std::string& iccid, const std::string& id, std::function<bool()> still_due) = 0;

  // ---- outcomes
  virtual void end_order(OrderEnd end, AnswerKept done) = 0;
  virtual void end_relay(BoundAnswer answer, AnswerKept done) = 0;
  virtual void set_aside_relay(const std::string& requester, const std::string& fcid, const std::string& why) = 0;

  // ---- profiles
  virtual asio::awaitable<Result<std::optional<store::ProfileRow>>> profile(std::string iccid) = 0;
  // That SM-SR manages the card of that installed profile now. Tried until stored.
  virtual void managed_by(const std::string& iccid, const std::string& eid, const std::string& smsr) = 0;
  // An order that has ended, unless it is forgotten. Tried until the book can be read.
  virtual void find_ended(const std::string& id, std::function<void(const EndedOrder&)> done) = 0;
  // What was free may be on the card of `o` after all. Tried until stored.
  virtual void uncertain_again(const download::Order& o, std::function<void()> done) = 0;
};

}  // namespace kf::server
