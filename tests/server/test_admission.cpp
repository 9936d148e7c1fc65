// Who may run next: no party keeps another out, one download a card at a time, and nothing is lost or counted twice.
#include <gtest/gtest.h>

#include <random>

#include "host/server/admission.hpp"

namespace kf::server {
namespace {
using Id = Admission::Id;

std::vector<Id> take_all(Admission& a) {
  std::vector<Id> out;
  while (const auto id = a.next()) out.push_back(*id);
  return out;
}
std::string eid(Id n) { return "eid" + std::to_string(n); }

TEST(Admission, OrdersToASilentSmsrLeaveAPlaceForTheOthers) {
  Admission a({.places = 256});
  for (Id i = 0; i < 1000; ++i) a.add(i, "A", "silent", eid(i));
  const auto taken = take_all(a);
  EXPECT_GT(taken.size(), 200U);
  EXPECT_LT(taken.size(), 256U) << "a greedy party took every place";
  a.add(5000, "B", "healthy", eid(5000));
  EXPECT_EQ(a.next(), 5000U) << "B has to wait for A's orders";
  a.add(5001, "A", "healthy", eid(5001));
  EXPECT_EQ(a.next(), std::nullopt) << "A has had its share";
}

TEST(Admission, OneOperatorsOtherSmsrIsNotKeptOutByASilentOne) {
  Admission a({.places = 64, .share_operators = false});
  for (Id i = 0; i < 1000; ++i) a.add(i, "A", "silent", eid(i));
  EXPECT_LT(take_all(a).size(), 64U);
  a.add(5000, "A", "healthy", eid(5000));
  EXPECT_EQ(a.next(), 5000U);
}

TEST(Admission, EvenAmongFourPlacesTheLastIsForSomebodyElse) {
  Admission a({.places = 4});
  for (Id i = 0; i < 10; ++i) a.add(i, "A", "S", eid(i));
  EXPECT_EQ(take_all(a).size(), 3U);
  a.add(50, "B", "T", eid(50));
  EXPECT_EQ(a.next(), 50U);
}

TEST(Admission, WhereNobodyCompetesEveryPlaceIsUsed) {
  Admission a({.places = 256, .share_operators = false, .share_smsrs = false});
  for (Id i = 0; i < 300; ++i) a.add(i, "A", "S", eid(i));
  EXPECT_EQ(take_all(a).size(), 256U);
  EXPECT_EQ(a.waiting(), 44U);
}

TEST(Admission, TwoSilentPartiesLeaveSomethingForAThird) {
  Admission a({.places = 256});
  for (Id i = 0; i < 1000; ++i) a.add(i, i % 2 ? "A" : "B", i % 2 ? "S1" : "S2", eid(i));
  EXPECT_LT(take_all(a).size(), 256U);
  a.add(5000, "C", "S3", eid(5000));
  EXPECT_EQ(a.next(), 5000U);
}

TEST(Admission, WhoHoldsLeastIsNext) {
  Admission a({.places = 20});
  for (Id i = 0; i < 100; ++i) a.add(i, "A", "S", eid(i));
  std::vector<Id> running = take_all(a);
  for (Id i = 100; i < 200; ++i) a.add(i, "B", "T", eid(i));
  std::size_t b = 0;
  for (const Id id : take_all(a)) b += id >= 100 ? 1 : 0;
  for (int n = 0; n < 5; ++n) {  // A's end one by one: B catches up before A has another turn
    a.end(running[static_cast<std::size_t>(n)]);
    const auto id = a.next();
    ASSERT_TRUE(id.has_value());
    EXPECT_GE(*id, 100U) << n << ", B holds " << b++;
  }
}

TEST(Admission, OneDownloadACardAtATime) {
  Admission a({.places = 10});
  a.add(1, "A", "S", "card");
  a.add(2, "A", "S", "card");
  a.add(3, "B", "T", "card");
  a.add(4, "A", "S", "other");
  EXPECT_EQ(take_all(a), (std::vector<Id>{1, 4}));
  a.end(1);
  EXPECT_EQ(a.next(), 3U) << "A had its turn";
  EXPECT_EQ(a.next(), std::nullopt);
  a.only_waits(3);  // it still has the card
  EXPECT_EQ(a.next(), std::nullopt);
  a.end(3);
  EXPECT_EQ(a.next(), 2U);
}

TEST(Admission, WhatIsWithdrawnKeepsNobodyWaiting) {
  Admission a({.places = 10});
  for (Id i = 1; i <= 4; ++i) a.add(i, "A", "S", "card");
  EXPECT_EQ(a.next(), 1U);
  EXPECT_TRUE(a.withdraw(2));   // in the queue
  EXPECT_FALSE(a.withdraw(1));  // runs
  EXPECT_FALSE(a.withdraw(99));
  EXPECT_EQ(a.next(), std::nullopt);
  a.end(1);
  EXPECT_TRUE(a.withdraw(3));  // had been moved up when the card came free
  EXPECT_EQ(a.next(), 4U);
  a.end(4);
  EXPECT_EQ(a.waiting(), 0U);
  EXPECT_EQ(a.running(), 0U);
}

TEST(Admission, OneOperatorsSilentDevicesLeaveTheBoundOnEnablingToOthers) {
  Admission a({.places = 20, .enabling = 100});
  Id next = 0;
  for (int i = 0; i < 100; ++i) {
    a.add(next, "A", "S", eid(next)), ++next;
    for (const Id id : take_all(a)) a.only_waits(id);
  }
  EXPECT_LT(a.enabling(), 100U) << "a greedy party took all of it";
  EXPECT_GT(a.enabling(), 80U);
  a.add(next, "B", "T", eid(next)), ++next;
  EXPECT_EQ(a.next(), next - 1);
  const std::size_t places = a.running();
  a.only_waits(next - 1);
  EXPECT_EQ(a.running(), places - 1) << "B's keeps its place for A's devices";
  // One of A's ends: of those that hold places one of A's leaves, since A holds less now.
  const std::size_t held = a.running(), waits = a.enabling();
  ASSERT_GT(held, 0U);
  a.end(0);
  EXPECT_EQ(a.running(), held - 1);
  EXPECT_EQ(a.enabling(), waits);
}

TEST(Admission, SilentDevicesAtTheirEnablingHoldNoPlaces) {
  Admission a({.places = 4, .enabling = 6, .share_operators = false, .share_smsrs = false});
  Id next = 0;
  for (; next < 20; ++next) a.add(next, "A", "S", eid(next));
  std::vector<Id> silent;
  for (int round = 0; round < 10; ++round)
    for (const Id id : take_all(a)) {
      a.only_waits(id);
      silent.push_back(id);
    }
  EXPECT_EQ(a.enabling(), 6U);
  EXPECT_EQ(a.running(), 4U) << "beyond its bound such a download keeps its place";
  EXPECT_EQ(silent.size(), 10U);
  a.end(silent.front());
  EXPECT_EQ(a.enabling(), 6U) << "and leaves it when there is room";
  EXPECT_EQ(a.running(), 3U);
  EXPECT_TRUE(a.next().has_value());
}

TEST(Admission, OnlyTheGreedyOperatorIsRefusedAtTheQueue) {
  Admission a({.places = 1, .waiting = 100});
  Id next = 0;
  while (a.may_wait("A") && next < 1000) {
    a.add(next, "A", "S", eid(next));
    ++next;
  }
  EXPECT_LT(next, 100U);
  EXPECT_TRUE(a.may_wait("B"));
  a.add(5000, "B", "T", eid(5000));
  EXPECT_FALSE(a.may_wait("A"));
}

TEST(Admission, WhateverHappensTheCountsAgreeAndNobodyIsForgotten) {
  std::mt19937 random(20260601);
  const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  for (int world = 0; world < 50; ++world) {
    Admission a({.places = 1 + pick(12),
                 .enabling = pick(6),
                 .waiting = 1000,
                 .share_operators = world % 2 == 0,
                 .share_smsrs = world % 3 == 0});
    std::map<Id, std::string> waiting, running;  // with the card; it is empty where that was left
    Id next = 0;
    for (int step = 0; step < 600; ++step) {
      const std::size_t what = pick(7);
      if (what < 2) {
        const std::string card = eid(pick(20));
        a.add(next, "O" + std::to_string(pick(3)), "S" + std::to_string(pick(3)), card);
        waiting[next++] = card;
      } else if (what == 2 && !waiting.empty()) {
        const auto it = std::next(waiting.begin(), static_cast<std::ptrdiff_t>(pick(waiting.size())));
        ASSERT_TRUE(a.withdraw(it->first));
        waiting.erase(it);
      } else if (what == 3 && !running.empty()) {
        const auto it = std::next(running.begin(), static_cast<std::ptrdiff_t>(pick(running.size())));
        a.end(it->first);
        running.erase(it);
      } else if (what == 4 && !running.empty()) {
        a.only_waits(std::next(running.begin(), static_cast<std::ptrdiff_t>(pick(running.size())))->first);
      } else if (what == 5 && !running.empty()) {
        const auto it = std::next(running.begin(), static_cast<std::ptrdiff_t>(pick(running.size())));
        a.leave_card(it->first);
        it->second.clear();
      } else if (const auto id = a.next()) {
        ASSERT_EQ(waiting.count(*id), 1U);
        for (const auto& [other, card] : running) ASSERT_NE(card, waiting[*id]) << "two downloads on one card";
        running[*id] = waiting[*id];
        waiting.erase(*id);
      }
      ASSERT_EQ(a.waiting(), waiting.size());
      ASSERT_EQ(a.running() + a.enabling(), running.size());
      std::size_t sum = 0;
      for (const auto& c : a.smsrs()) sum += c.waiting + c.running + c.enabling;
      ASSERT_EQ(sum, waiting.size() + running.size());
    }
    // Everybody comes to their turn when those before them end.
    while (!running.empty() || !waiting.empty()) {
      while (const auto id = a.next()) {
        running[*id] = waiting[*id];
        waiting.erase(*id);
      }
      ASSERT_FALSE(running.empty()) << waiting.size() << " wait for nothing";
      for (const auto& [id, card] : running) a.end(id);
      running.clear();
    }
    EXPECT_EQ(a.running() + a.enabling() + a.waiting(), 0U);
  }
}

// A thousand orders of one Operator for a card cost the other Operator at the same card one of them.
TEST(Admission, AtOneCardOperatorsTakeTurns) {
  Admission a({.places = 10});
  for (Id i = 1; i <= 1000; ++i) a.add(i, "A", "S", "card");
  ASSERT_EQ(a.next(), 1U);
  a.add(2001, "B", "S", "card");
  a.add(2002, "B", "S", "card");
  a.add(3001, "C", "S", "card");
  std::vector<Id> order;
  Id runs = 1;
  for (int n = 0; n < 6; ++n) {
    a.end(runs);
    const auto id = a.next();
    ASSERT_TRUE(id.has_value());
    EXPECT_EQ(a.next(), std::nullopt) << "two downloads on one card";
    order.push_back(runs = *id);
  }
  EXPECT_EQ(order, (std::vector<Id>{2001, 3001, 2, 2002, 3, 4}));
}

// Whoever has orders ready at other cards, and holds many places for them, has its turn at this card all the same.
TEST(Admission, TheTurnAtACardIsNoQuestionOfPlacesHeld) {
  Admission a({.places = 100});
  for (Id i = 1; i <= 50; ++i) a.add(i, "B", "S", eid(i));
  ASSERT_EQ(take_all(a).size(), 50U);
  for (Id i = 101; i <= 200; ++i) a.add(i, "A", "S", "card");
  ASSERT_EQ(a.next(), 101U);
  a.add(300, "B", "S", "card");
  a.end(101);
  EXPECT_EQ(a.next(), 300U) << "A holds less, but had its turn here";
}

TEST(Admission, WhoMayTakeNoPlaceKeepsNobodyFromItsCard) {
  Admission a({.places = 9, .share_smsrs = false});
  for (Id i = 1; i <= 8; ++i) a.add(i, "A", "S", eid(i));
  ASSERT_EQ(take_all(a).size(), 8U);
  a.add(9, "B", "S", "card");
  ASSERT_EQ(a.next(), 9U);
  a.add(10, "A", "S", "card");
  a.add(11, "B", "S", "card");
  a.end(9);  // A's turn, and it has its share of places
  EXPECT_EQ(a.next(), 11U);
  a.end(11);
  EXPECT_EQ(a.next(), std::nullopt);
  a.end(1);
  EXPECT_EQ(a.next(), 10U);
}

TEST(Admission, OneOperatorsOrdersForACardGoByTheirNumberWhateverHappens) {
  Admission a({.places = 10});
  a.occupy("card");
  a.add(1, "A", "S", "card");
  a.vacate("card");
  a.add(2, "A", "S", "card");
  ASSERT_EQ(a.next(), 1U);
  a.add(3, "A", "S", "card");  // while 2 is on its way
  EXPECT_EQ(a.next(), std::nullopt);
  a.end(1);
  EXPECT_EQ(a.next(), 2U);
  a.end(2);
  EXPECT_EQ(a.next(), 3U);
}

TEST(Admission, AnOrderThatHasLeftItsCardKeepsNobodyFromIt) {
  Admission a({.places = 10, .enabling = 0});
  a.add(1, "A", "S", "card");
  a.add(2, "B", "S", "card");
  ASSERT_EQ(a.next(), 1U);
  a.only_waits(1);
  EXPECT_EQ(a.next(), std::nullopt) << "the card is busy with it";
  a.leave_card(1);
  EXPECT_EQ(a.next(), 2U);
  EXPECT_EQ(a.running(), 2U) << "its place is another matter";
  a.leave_card(1);
  a.end(1);
  a.add(3, "C", "S", "card");
  EXPECT_EQ(a.next(), std::nullopt) << "2 is at the card";
  a.end(2);
  EXPECT_EQ(a.next(), 3U);
}

// What else is at work on a card keeps its orders waiting, the others go on, and afterwards they start.
TEST(Admission, AnOccupiedCardWaitsUntilItIsVacated) {
  Admission a({.places = 4, .enabling = 4, .waiting = 8});
  a.occupy("card");
  a.add(1, "op", "sr", "card");
  a.add(2, "op", "sr", "other");
  EXPECT_EQ(a.next(), Admission::Id{2});
  EXPECT_EQ(a.next(), std::nullopt);
  EXPECT_TRUE(a.withdraw(1)) << "its ValidityPeriod ends while it waits";
  a.add(3, "op", "sr", "card");
  EXPECT_EQ(a.next(), std::nullopt);
  a.vacate("card");
  EXPECT_EQ(a.next(), Admission::Id{3});
}

}  // namespace
}  // namespace kf::server
