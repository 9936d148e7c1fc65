// The book of cards: one ledger a card (an EID at an SM-SR), which says what ended orders may have left there. See
// order_book.hpp for what holds of all books: whole transactions, errors, threads.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "host/base/result.hpp"
#include "host/store/rows.hpp"

namespace kf::server {

using Kept = std::function<void(const Status&)>;

// What an EIS has settled of a card.
struct CardSettled {
  std::string eid, smsr;
  std::string record;                   // the ledger from now on; empty: nothing is left of it
  std::vector<std::string> gone, used;  // ICCIDs that were uncertain there, and are free or installed
};

class CardBook {
 public:
  CardBook() = default;
  CardBook(const CardBook&) = delete;
  CardBook& operator=(const CardBook&) = delete;
  virtual ~CardBook() = default;

  virtual void keep_ledger(const store::FollowUpRow& ledger, Kept done) = 0;
  // The ledger, and what it settles of ICCIDs: `done` is told those that are free or installed by it, and not, for
  // example, set aside.
  virtual void settle(CardSettled s, std::function<void(const Status&, const std::set<std::string>& changed)> done) = 0;
  // One that cannot be read goes, whole, to what is set aside. Tried until stored.
  virtual void set_aside_ledger(const store::FollowUpRow& ledger, const store::SetAsideRow& as) = 0;
  // One that was set aside can be read: it is the card's again.
  virtual void take_back_ledger(const store::SetAsideRow& kept, const store::FollowUpRow& ledger, Kept done) = 0;
};

}  // namespace kf::server
