// The SM-SR simulator when it misbehaves: each way does what its name says, and the ledger stays true.
#include <nlohmann/json.hpp>

#include "host/base/ids.hpp"
#include "tests/sim/smsr/smdp_stub.hpp"

namespace kf::sim::test {
namespace {

using es::Function;
using nlohmann::json;
using std::chrono::milliseconds;
const std::string kHostileIccid = iccid_with_luhn("8900012345678901235");

json ledger(World& w) { return json::parse(w.sim->summary())["hostile"]; }
json entry(World& w, const std::string& eid) {
  const json r = json::parse(w.sim->report(eid));
  return r["euiccs"][0]["profiles"].empty() ? json() : r["euiccs"][0]["profiles"][0];
}
void become(World& w, const std::string& spec) {
  const auto s = w.sim->set_hostile(spec);
  ASSERT_TRUE(s.ok()) << s.error().text();
}
Answer impatient(World& w, Function f, bool callback = true) {
  auto q = request(f, fleet_eid(0));
  if (f != Function::get_eis) {
    q.iccid = kHostileIccid;
    q.mno_id = "2.999.10";
    q.required_memory = 65536;
  }
  return w.call(std::move(q), callback, net::Millis(700));
}

TEST(Hostile, OptionsAreReadAndMistakesNamed) {
  const auto o = parse_hostile("seed=9,all=3,late=20,late_ms=50");
  ASSERT_TRUE(o.ok());
  EXPECT_EQ(o->seed, 9U);
  EXPECT_EQ(o->slow, 3U);
  EXPECT_EQ(o->late, 20U);
  EXPECT_EQ(o->late_ms, 50U);
  for (const char* bad : {"late", "late=x", "late=101", "lat=1", "=1", "late=1,,mute=2"})
    EXPECT_FALSE(parse_hostile(bad).ok()) << bad;
}

TEST(Hostile, TheSameSeedChoosesTheSame) {
  const auto choices = [](unsigned seed) {
    Hostility h;
    h.configure(*parse_hostile("all=10,seed=" + std::to_string(seed)));
    std::string s;
    es::Request q = request(Function::create_isdp, fleet_eid(0));
    for (int i = 0; i < 200; ++i) {
      const auto w = h.choose(q);
      s += std::to_string(w.before.count() + w.http) + (w.executed ? "x" : "-") + (w.answered ? "a" : "-");
    }
    return s;
  };
  EXPECT_EQ(choices(3), choices(3));
  EXPECT_NE(choices(3), choices(4));
}

TEST(Hostile, ExecutesAfterItSaidItCouldNot) {
  World w;
  become(w, "belated=100,late_ms=200");
  EXPECT_EQ(impatient(w, Function::create_isdp).code(), "8.1/5.4");
  for (int i = 0; i < 100 && ledger(w)["pending"] != 0; ++i) let_run(w.io, milliseconds(50));
  ASSERT_FALSE(entry(w, fleet_eid(0)).is_null()) << "nothing was executed";
  EXPECT_EQ(entry(w, fleet_eid(0))["eis_state"], "Created");
}

TEST(Hostile, SilentMuteAndTurnedAway) {
  World w;
  become(w, "silent=100");
  EXPECT_EQ(impatient(w, Function::create_isdp).error, "no callback");
  EXPECT_TRUE(entry(w, fleet_eid(0)).is_null());
  become(w, "mute=100");
  EXPECT_EQ(impatient(w, Function::create_isdp).error, "no callback");
  for (int i = 0; i < 100 && ledger(w)["pending"] != 0; ++i) let_run(w.io, milliseconds(50));
  EXPECT_EQ(entry(w, fleet_eid(0))["eis_state"], "Created");
  become(w, "http=100");
  bool status[3] = {};
  for (int i = 0; i < 60; ++i) {
    const unsigned http = impatient(w, Function::get_eis).http;
    ASSERT_TRUE(http == 503 || http == 401 || http == 302) << http;
    status[http == 503 ? 0 : http == 401 ? 1 : 2] = true;
  }
  EXPECT_TRUE(status[0] && status[1] && status[2]);
  become(w, "");
  EXPECT_EQ(impatient(w, Function::delete_isdp).code(), "ok");
}

TEST(Hostile, TheEisLiesForAWhile) {
  World w;
  become(w, "eis=100,lie_ms=100000,seed=5");
  ASSERT_EQ(impatient(w, Function::create_isdp).code(), "ok");
  EXPECT_TRUE(w.get_eis(fleet_eid(0)).response->eis->profiles.empty());
  EXPECT_EQ(entry(w, fleet_eid(0))["eis_state"], "Created") << "the ledger does not lie";
  ASSERT_EQ(impatient(w, Function::delete_isdp).code(), "ok");
  EXPECT_EQ(w.get_eis(fleet_eid(0)).response->eis->profiles.size(), 1U);
  EXPECT_TRUE(entry(w, fleet_eid(0)).is_null());
}

TEST(Hostile, RefusesAndRemembersTwoCards) {
  World w;
  become(w, "deletion=100,completed=100");
  ASSERT_EQ(impatient(w, Function::create_isdp).code(), "ok");
  EXPECT_EQ(impatient(w, Function::profile_download_completed).code(), "8.7/4.2");
  EXPECT_EQ(impatient(w, Function::delete_isdp).code(), "8.7/4.2");
  EXPECT_TRUE(ledger(w)["two_cards"].empty());
  EXPECT_EQ(w.create(fleet_eid(1), kHostileIccid).code(), "ok");
  EXPECT_EQ(ledger(w)["two_cards"].size(), 1U);
}

TEST(Hostile, PoisonIsWhatItSaysAndHugeIsHuge) {
  const std::string good =
      "<a:X><a:FunctionExecutionStatus><a:Status>Failed</a:Status><a:Message>m</a:Message></a:FunctionExecutionStatus>"
      "</a:X>";
  for (unsigned kind = 1; kind <= 5; ++kind) EXPECT_NE(poisoned(good, kind), good) << kind;
  EXPECT_NE(poisoned(good, 1).find(std::string(79, 'S') + "\xC3\xA9</"), std::string::npos);
  World w;
  become(w, "huge=100");
  EXPECT_GT(w.get_eis(fleet_eid(0)).body.size(), 1'000'000U);
}

}  // namespace
}  // namespace kf::sim::test
