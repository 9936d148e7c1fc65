// The card's ledger: joining copies loses nothing, and it never says "gone" of what is on the card or may yet come to
// be there, whatever subset of the calls with unknown ends a card executes, and whenever it does so.
#include "host/download/possession.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "host/download/possession_record.hpp"

namespace kf::download {
namespace {

Possession written_and_read(const Possession& p) {
  JsonText out;
  PossessionRecord::write(p, out);
  return PossessionRecord::read(nlohmann::json::parse(out.take()));
}
using Ms = Possession::Ms;
constexpr Ms kSettle = 50;
const std::string kX = "89000123456789012341", kY = "89000123456789012358";

Possession::Eis eis(Ms asked, std::vector<Possession::Entry> entries = {}, Ms takes = 0) {
  return {asked, asked + takes, std::move(entries)};
}
Possession::Entry created(const std::string& iccid) { return {iccid, Possession::Entry::State::created}; }
Possession::Entry used(const std::string& iccid) { return {iccid, Possession::Entry::State::used}; }

TEST(Ledger, ACreationWhoseEndIsUnknownIsNotDisprovedBeforeItsTimeIsOver) {
  Possession p;
  p.creation_asked("a", kX, 100, 1000);
  EXPECT_TRUE(p.may_hold(kX, 100));
  p.seen(eis(500), kSettle);
  EXPECT_TRUE(p.may_hold(kX, 500)) << "In-Creation is not shown";
  EXPECT_TRUE(p.may_appear(kX, 999));
  EXPECT_FALSE(p.may_appear(kX, 1000));
  p.seen(eis(1000), kSettle);
  EXPECT_TRUE(p.may_hold(kX, 1000)) << "that EIS may lag behind";
  EXPECT_EQ(p.next_moment(1000, kSettle), 1000 + kSettle);
  p.seen(eis(1000 + kSettle), kSettle);
  EXPECT_FALSE(p.may_hold(kX, 2000));
  EXPECT_TRUE(p.clean(2000));
}

TEST(Ledger, AnEisCountsFromTheMomentItWasAskedFor) {
  Possession p;
  p.creation_asked("a", kX, 0, 1000);
  p.executed("a", 300);
  p.seen(eis(310, {}, 5000), kSettle);
  EXPECT_TRUE(p.may_hold(kX, 6000));
  p.seen(eis(350), kSettle);
  EXPECT_FALSE(p.may_hold(kX, 6000));
}

TEST(Ledger, ADeletionTakesAwayWhatWasThereWhenItWasAskedFor) {
  Possession p;
  p.creation_asked("a", kX, 0, 1000);
  p.executed("a", 10);
  p.deletion_asked("b", kX, 20, 1000);
  EXPECT_TRUE(p.may_vanish(kX, 30));
  p.executed("b", 40);
  EXPECT_FALSE(p.may_hold(kX, 40));
  EXPECT_FALSE(p.may_vanish(kX, 40));
  p.creation_asked("c", kX, 15, 1000);  // was under way before
  EXPECT_TRUE(p.may_hold(kX, 50));
}

TEST(Ledger, ARefusedSecondCreationSaysNothingOfTheFirst) {
  Possession p;
  p.creation_asked("a", kX, 0, 1000);
  p.executed("a", 10);
  p.creation_asked("b", kX, 20, 1000);
  p.not_executed("b", 30);
  EXPECT_TRUE(p.may_hold(kX, 40));
  EXPECT_FALSE(p.clean(40));
}

TEST(Ledger, TheOnlyCreationIsKnownByItsWork) {
  Possession p;
  p.creation_asked("a", kX, 0, 1000);
  p.seen(eis(100, {created(kX)}), kSettle);
  EXPECT_FALSE(p.may_appear(kX, 100));
  EXPECT_TRUE(p.may_hold(kX, 100));
  Possession q;  // one of two: nobody knows which
  q.creation_asked("a", kX, 0, 1000);
  q.creation_asked("b", kX, 0, 1000);
  q.seen(eis(100, {created(kX)}), kSettle);
  EXPECT_TRUE(q.may_appear(kX, 100));
  Possession r;  // shown without a proof of who shows it
  r.creation_asked("a", kX, 0, 1000);
  r.shown(eis(100, {created(kX)}));
  EXPECT_TRUE(r.may_appear(kX, 100));
}

TEST(Ledger, TheOnlyDeletionIsKnownByItsWork) {
  Possession p;
  p.claimed(kX, 0);
  p.seen(eis(100, {created(kX)}), kSettle);
  p.deletion_asked("d", kX, 110, 1000);
  p.seen(eis(200), kSettle);
  EXPECT_FALSE(p.may_vanish(kX, 200)) << "a new ISD-P is safe from it";
  EXPECT_FALSE(p.may_hold(kX, 200));
}

TEST(Ledger, WhatIsInUseIsNoLeftoverAndWhatLagsBehindIsNotDeleted) {
  Possession p;
  p.creation_asked("a", kX, 0, 1000);
  p.executed("a", 10);
  p.installed(kX, 20);
  EXPECT_TRUE(p.in_use(kX, 20));
  EXPECT_TRUE(p.clean(20));
  EXPECT_TRUE(p.lags(kX, 20, kSettle));
  p.seen(eis(30, {created(kX)}), kSettle);
  EXPECT_TRUE(p.in_use(kX, 30)) << "that EIS lags behind";
  p.creation_asked("b", kX, 40, 1000);
  EXPECT_FALSE(p.clean(40)) << "it may yet be executed when the profile has been deleted";
  p.seen(eis(1000, {used(kX)}), kSettle);
  EXPECT_TRUE(p.clean(1000));
}

TEST(Ledger, ARecordHoldsDurations) {
  Possession p;
  p.creation_asked("a", kX, 100, 1000);
  p.claimed(kY, 200);
  p.tick(400);
  Possession q = written_and_read(p);
  q.resume(1'000'000);
  EXPECT_TRUE(q.may_appear(kX, 1'000'599));
  EXPECT_FALSE(q.may_appear(kX, 1'000'600));
  EXPECT_TRUE(q.may_hold(kX, 1'000'600));
  EXPECT_TRUE(q.may_hold(kY, 1'000'000));
  q.seen(eis(1'000'000 + kSettle), kSettle);
  EXPECT_FALSE(q.may_hold(kY, 1'000'100));
}

// ---- bounds ----
std::string numbered(int i) { return "89000123456789" + std::to_string(100'000 + i); }

// Order after order for one card, each with a CreateISDP whose end nobody says.
TEST(Ledger, TooManyOpenCallsLoseTheirNamesAndNothingElse) {
  constexpr Ms kMonth = 30LL * 86'400'000;
  Possession p;
  for (int i = 0; i < 1000; ++i) p.creation_asked("order" + std::to_string(i) + ".2", numbered(i), i, i + kMonth);
  for (int i = 0; i < 1000; ++i) p.deletion_asked("one." + std::to_string(i), kX, 1000 + i, 1000 + i + kMonth);
  EXPECT_EQ(p.open_calls().size(), Possession::kMostOfACard);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(p.may_appear(numbered(i), i + kMonth - 1)) << i;
    ASSERT_TRUE(p.may_hold(numbered(i), i + kMonth - 1)) << i;
  }
  EXPECT_TRUE(p.may_vanish(kX, 1999 + kMonth - 1));
  EXPECT_TRUE(p.open("one.999")) << "the newest have theirs";
  EXPECT_TRUE(p.open("order999.2")) << "also those of others";
  Possession of_one;
  for (int i = 0; i < 1000; ++i) of_one.creation_asked(std::to_string(i), kX, i, i + kMonth);
  EXPECT_EQ(of_one.open_calls().size(), Possession::kMostCalls);
  EXPECT_TRUE(of_one.may_appear(kX, 999 + kMonth - 1));
  EXPECT_FALSE(of_one.may_appear(kX, 999 + kMonth));
  of_one.seen(eis(999 + kMonth + kSettle), kSettle);
  of_one.compact(999 + kMonth + kSettle, kSettle);
  EXPECT_TRUE(of_one.clean(999 + kMonth + kSettle)) << "their time being over, an EIS proves it gone";
}

// What is asked of each ICCID in turn looks at each open call a few times, however many there are: with a look at all
// of them for each ICCID a ledger of 1 000 cost millions, at every step of the order and of what follows it.
TEST(Ledger, APassLooksAtEachCallAFewTimes) {
  Possession p;
  for (int i = 0; i < 1000; ++i) p.unnamed_creations(numbered(i), 0, 1'000'000);
  for (int i = 0; i < 1000; ++i) p.creation_asked(std::to_string(i), numbered(i), i, 2'000'000 + i);
  const std::size_t open = p.open_calls().size();
  ASSERT_EQ(open, Possession::kMostOfACard);
  const auto looks = [&](auto pass) {
    const std::uint64_t before = Possession::looked_at();
    pass();
    return Possession::looked_at() - before;
  };
  Possession q = p;
  const std::uint64_t next = looks([&] { (void)p.next_moment(2000, kSettle); }),
                      clean = looks([&] { (void)p.clean(2000); }), seen = looks([&] { q.seen(eis(2000), kSettle); }),
                      compact = looks([&] { q.compact(2000, kSettle); });
  for (const std::uint64_t n : {next, clean, seen, compact}) EXPECT_LE(n, 6 * open);
  RecordProperty("next_moment", static_cast<int>(next));
  RecordProperty("compact", static_cast<int>(compact));
}

TEST(Ledger, ARecordOfAProgramThatKnewNoBoundsIsBroughtWithinThem) {
  std::string calls, iccids;
  for (int i = 0; i < 2000; ++i) {
    calls +=
        std::string(i == 0 ? "" : ",") + "[\"o" + std::to_string(i) + ".2\",\"create\",\"" + numbered(i) + "\",1000]";
    iccids += std::string(i == 0 ? "" : ",") + "[\"" + numbered(i) + "\",\"held\",0,0,false]";
  }
  Possession p =
      PossessionRecord::read(nlohmann::json::parse(R"({"calls":[)" + calls + R"(],"iccids":[)" + iccids + "]}"));
  p.resume(5000);
  EXPECT_EQ(p.open_calls().size(), Possession::kMostOfACard);
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(p.may_appear(numbered(i), 5999)) << i;
}

// ---- properties of merge ----
Possession random_ledger(std::mt19937& r) {
  Possession p;
  Ms now = 0;
  const auto iccid = [&] { return r() % 2 == 0 ? kX : kY; };
  for (unsigned i = 0, n = r() % 20; i < n; ++i) {
    now += static_cast<Ms>(r() % 100);
    // A transaction id says what the call was, and when, as in the world.
    const unsigned k = static_cast<unsigned>(r() % 8);
    const std::string id = std::to_string(k);
    switch (r() % 7) {
      case 0:
        if (k % 2 == 0)
          p.creation_asked(id, k % 4 == 0 ? kX : kY, k * 10, k * 10 + 500);
        else
          p.deletion_asked(id, k % 4 == 1 ? kX : kY, k * 10, k * 10 + 500);
        break;
      case 1:
        p.executed(id, now);
        break;
      case 2:
        p.not_executed(id, now);
        break;
      case 3:
        p.claimed(iccid(), now);
        break;
      case 4:
        p.installed(iccid(), now);
        break;
      case 5:
        p.unnamed_creations(iccid(), now, now + 300);
        break;
      default:
        p.seen(eis(now, r() % 2 == 0 ? std::vector<Possession::Entry>{} : std::vector<Possession::Entry>{created(kX)}),
               kSettle);
    }
  }
  return p;
}
Possession joined(Possession a, const Possession& b) {
  a.merge(b);
  return a;
}

bool knows_the_end_of(Possession p, const std::string& id) {
  p.creation_asked(id, kX, 0, 1);
  return !p.open(id);
}

TEST(Ledger, MergeIsCommutativeAssociativeIdempotentAndLosesNothing) {
  std::mt19937 r(1);
  for (unsigned i = 0; i < 3000; ++i) {
    const Possession a = random_ledger(r), b = random_ledger(r), c = random_ledger(r);
    ASSERT_EQ(joined(a, b), joined(b, a)) << i;
    ASSERT_EQ(joined(joined(a, b), c), joined(a, joined(b, c))) << i;
    ASSERT_EQ(joined(a, a), a) << i;
    ASSERT_EQ(joined(joined(a, b), b), joined(a, b)) << i;
    const Possession ab = joined(a, b);
    for (const auto& id : a.open_calls()) ASSERT_TRUE(ab.open(id) || knows_the_end_of(b, id)) << i;
    for (const auto& iccid : a.iccids()) ASSERT_TRUE(ab.knows(iccid));
  }
}

// ---- a card ----
// Every call is made, and executed or not, at once or at any moment before its time is over; told truly, or not told.
// EISs lag behind. A second copy of the ledger hears of some of it, and both are joined, written and read again now and
// then. The card's ICCID is asked about all the while.
class Card {
 public:
  explicit Card(unsigned seed) : r_(seed) {}
  void run() {
    for (unsigned i = 0; i < 60; ++i) {
      now_ += static_cast<Ms>(r_() % 60);
      carry_out_what_is_due();
      act();
      judge(i);
      if (::testing::Test::HasFailure()) return;
    }
    // When everything is over and was looked at, it is known.
    now_ += 1000;
    carry_out_what_is_due();
    now_ += 2 * kSettle;
    look(0);
    judge(1000);
    EXPECT_EQ(p_.may_hold(kX, now_), there_) << path_;
    EXPECT_FALSE(p_.may_appear(kX, now_)) << path_;
    EXPECT_FALSE(p_.may_vanish(kX, now_)) << path_;
  }

 private:
  struct Due {
    bool creation;
    Ms at;
    std::string id;
  };
  bool chance(unsigned percent) { return r_() % 100 < percent; }
  void note(const std::string& what) { path_ += " " + std::to_string(now_) + ":" + what; }
  void set(bool there) {
    if (there != there_) history_.emplace_back(now_, there);
    there_ = there;
  }
  bool carry_out(bool creation) {  // would the SM-SR do it?
    if (creation == there_) return false;
    set(creation);
    return true;
  }
  void carry_out_what_is_due() {
    const Ms now = now_;
    std::ranges::sort(due_, {}, &Due::at);
    while (!due_.empty() && due_.front().at <= now) {
      const Due d = due_.front();
      due_.erase(due_.begin());
      now_ = d.at;
      const bool done = carry_out(d.creation);
      note((done ? "late " : "late, refused ") + d.id);
      now_ = now;
      if (chance(40)) tell(d.id, d.creation, done);  // else nobody is told
    }
  }
  void tell(const std::string& id, bool creation, bool done) {
    if (done || !creation) {  // a deletion that finds nothing says so
      p_.executed(id, now_);
      if (chance(50)) copy_.executed(id, now_);
    } else {
      p_.not_executed(id, now_);
    }
  }
  void act() {
    switch (r_() % 8) {
      case 0:
      case 1:
        return call(true);
      case 2:
      case 3:
        return call(false);
      case 4:
        return p_.merge(copy_);
      case 5:
        if (chance(50)) return copy_.merge(p_);
        if (chance(30)) {
          note("compact");
          return p_.compact(now_, kSettle);
        }
        if (chance(30)) {
          note("fold");
          return p_.fold(r_() % 3, 3);
        }
        if (!chance(30)) return;
        note("restart");
        p_ = written_and_read(p_);
        p_.resume(now_);
        copy_.resume(now_);
        return;
      default:
        return look(static_cast<Ms>(r_() % kSettle));
    }
  }
  void call(bool creation) {
    const std::string id = (creation ? "c" : "d") + std::to_string(++calls_);
    const Ms until = now_ + 300;
    if (creation)
      p_.creation_asked(id, kX, now_, until);
    else
      p_.deletion_asked(id, kX, now_, until);
    note(id);
    if (chance(50)) {  // at once, and told or not
      now_ += static_cast<Ms>(r_() % 5);
      carry_out_what_is_due();
      const bool done = carry_out(creation);
      if (done) note("done");
      if (chance(60)) tell(id, creation, done);
    } else if (chance(60)) {
      due_.push_back({creation, now_ + static_cast<Ms>(r_() % 299), id});
    } else if (chance(50)) {  // never reached the SM-SR, and that is known
      p_.not_executed(id, now_);
    }
  }
  void look(Ms lag) {
    view_ = std::max(view_, now_ - lag);  // never older than the EIS before
    bool shows = false;
    for (const auto& [at, there] : history_)
      if (at <= view_) shows = there;
    note(shows ? "shown" : "not shown");
    p_.seen(eis(now_, shows ? std::vector<Possession::Entry>{created(kX)} : std::vector<Possession::Entry>{}), kSettle);
  }
  void judge(unsigned step) {
    bool creation = false, deletion = false;
    for (const Due& d : due_) (d.creation ? creation : deletion) = true;
    if (!p_.knows(kX)) {
      ASSERT_TRUE(!there_ && !creation) << "step " << step << path_;
      return;
    }
    ASSERT_TRUE(p_.may_hold(kX, now_) || !(there_ || creation)) << "step " << step << path_;
    ASSERT_TRUE(p_.may_appear(kX, now_) || !creation) << "step " << step << path_;
    ASSERT_TRUE(p_.may_vanish(kX, now_) || !deletion) << "step " << step << path_;
    ASSERT_TRUE(!p_.clean(now_) || !(there_ || creation || deletion)) << "step " << step << path_;
  }

  std::mt19937 r_;
  Possession p_, copy_;
  Ms now_ = 1000, view_ = 0;
  bool there_ = false;
  std::vector<std::pair<Ms, bool>> history_;
  std::vector<Due> due_;
  unsigned calls_ = 0;
  std::string path_;
};

TEST(Ledger, NeverSaysGoneOfWhatIsOrMayYetBeOnTheCard) {
  for (unsigned seed = 0; seed < 4000 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Card(seed).run();
  }
}

}  // namespace
}  // namespace kf::download
