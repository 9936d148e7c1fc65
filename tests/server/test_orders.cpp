// Which profile an order gets, and which late callbacks a running order still listens to.
#include "host/server/download_service.hpp"
#include "host/server/sqlite_books.hpp"
#include "tests/server/store_fixture.hpp"

namespace kf::server {
namespace {
using store::ProfileState;

class OrdersTest : public StoreTest {
 protected:
  static Eid card(int n = 1) {
    return Eid::trusted(eid_with_check_digits("89001012012341234098765432100" + std::to_string(n)));
  }
  static std::string iccid(int n) { return "89000123456789" + std::to_string(100'000 + n); }
  void insert(int n, const std::string& owner = "2.999.10") {
    run([&](store::Tx& tx) {
      store::ProfileRow p;
      p.iccid = iccid(n);
      p.owner = owner;
      p.profile_type = "T";
      ASSERT_TRUE(tx.insert_profile(p));
    });
  }
  // By ProfileType where no ICCID is named. The code of the refusal, or the ICCID that is reserved for it.
  std::string order(const std::string& named = "", const std::string& owner = "2.999.10",
                    const std::string& smsr = "2.999.30", const Eid& eid = card()) {
    std::string out;
    const Status s = store_->run([&](store::Tx& tx) {
      OrderAsked asked;
      asked.call.requester = owner;
      asked.iccid = asked.iccid_as_ordered = named;
      if (named.empty()) asked.profile_type = "T";
      download::Order o;
      o.eid = eid;
      o.smsr = Oid::trusted(smsr);
      store::ProfileRow p;
      if (const auto no = choose_profile(tx, asked, o, p)) {
        out = no->subject + "/" + no->reason;
        return;
      }
      out = p.iccid;
      EXPECT_EQ(o.iccid.str(), p.iccid);
      tx.set_profile(p.iccid, ProfileState::reserved, eid.str(), smsr, "d");
    });
    EXPECT_TRUE(s.ok());
    return out;
  }
  void set(const std::string& which, ProfileState s) {
    ASSERT_TRUE(store_->run([&](store::Tx& tx) { tx.set_profile(which, s, card().str(), "2.999.30", "d"); }).ok());
  }
};

// An Operator orders again and again by ProfileType for one card, and nobody learns how a CreateISDP ended: each order
// leaves one more ICCID that may be there. There is an end to it, before one more is spent.
TEST_F(OrdersTest, ACardOnWhichTooMuchMayBeGetsNoMore) {
  for (int n = 0; n < 70; ++n) insert(n);
  for (int n = 70; n < 75; ++n) insert(n, "2.999.11");
  std::string last;
  int taken = 0;
  for (; taken < 60; ++taken) {
    const std::string got = order();
    if (got.find('/') != std::string::npos) {
      EXPECT_EQ(got, "8.1.1/3.7");
      break;
    }
    last = got;
    set(got, ProfileState::uncertain);
  }
  EXPECT_EQ(taken, 32);
  EXPECT_EQ(order(iccid(69)), "8.1.1/3.7") << "nor does one by ICCID";
  EXPECT_EQ(order(last), last) << "what may be there may be ordered for it again";
  EXPECT_EQ(order(), "8.1.1/3.7") << "what is on its way counts as well";
  EXPECT_EQ(order("", "2.999.10", "2.999.30", card(2)).find('/'), std::string::npos) << "for another card";
  EXPECT_EQ(order("", "2.999.10", "2.999.31").find('/'), std::string::npos) << "through another SM-SR";
  EXPECT_EQ(order("", "2.999.11").find('/'), std::string::npos) << "by another Operator";
  set(last, ProfileState::installed);
  EXPECT_EQ(order().find('/'), std::string::npos) << "it is known now";
}

TEST_F(OrdersTest, WhatIsSpentOrNotOursIsRefusedAsBefore) {
  insert(1);
  insert(2, "2.999.11");
  EXPECT_EQ(order(iccid(2)), "8.2.1/3.9");
  EXPECT_EQ(order(iccid(3)), "8.2.1/3.9");
  EXPECT_EQ(order("", "2.999.12"), "8.2.5/3.9");
  EXPECT_EQ(order(), iccid(1));
  EXPECT_EQ(order(iccid(1)), "8.2.1/3.3") << "in a running download";
  EXPECT_EQ(order(), "8.2.5/3.7");
  set(iccid(1), ProfileState::uncertain);
  EXPECT_EQ(order(iccid(1), "2.999.10", "2.999.31"), "8.2.1/3.3") << "another SM-SR's EIS proves nothing";
  EXPECT_EQ(order(iccid(1)), iccid(1));
}

TEST(LateCalls, OnlyWhatMayStillMatterIsListenedTo) {
  download::Download d;
  d.order.id = "d";
  d.order.iccid = Iccid::trusted("89000123456789012341");
  d.calls = 5;
  d.pending_call = 5;
  d.enable_call = 4;
  d.possession.creation_asked("d.1", d.order.iccid.str(), 0, 1000);
  EXPECT_EQ(late_call(d, "d.5"), 5U) << "awaited";
  EXPECT_EQ(late_call(d, "d.4"), 4U) << "an EnableProfile";
  EXPECT_EQ(late_call(d, "d.1"), 1U) << "its end is unknown";
  EXPECT_FALSE(late_call(d, "d.3").has_value()) << "its end is known";
  for (const char* odd : {"d.0", "d.6", "d.", "d", "d.5x", "d.-1", "d.99999999999999999999"})
    EXPECT_FALSE(late_call(d, odd).has_value()) << odd;
}

}  // namespace
}  // namespace kf::server
