// What an order that has ended leaves behind: no ISD-P in state Created, and no ICCID that two cards may hold. The
// SM-SR of these tests is slow, refuses and stays silent where it hurts.
#include <thread>

#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

RigOptions options(unsigned euiccs) {
  RigOptions o;
  o.euiccs = euiccs;
  o.settings = {{"limits.min_validity_s", std::int64_t{1}},    {"timeouts.card_s", std::int64_t{6}},
                {"timeouts.get_eis_s", std::int64_t{4}},       {"timeouts.follow_up_pause_s", std::int64_t{1}},
                {"timeouts.eis_settle_ms", std::int64_t{300}}, {"timeouts.backoff_ms", std::int64_t{20}}};
  return o;
}
Json status(Rig& rig) { return Rig::must(rig.world().smdp_status()); }

// Waits for what has to come; a slow machine only makes it later.
template <class F>
bool eventually(F f, std::chrono::seconds limit = std::chrono::seconds(60)) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!f()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return true;
}
bool followed_up(Rig& rig) {
  return eventually([&] { return status(rig)["follow_ups"]["running"] == 0; });
}

Outcome order(Rig& rig, unsigned i, bool by_type, std::optional<std::uint32_t> validity = std::nullopt,
              bool enable = false) {
  sim::Order o = rig.order_of(i, enable);
  if (by_type) {
    o.iccid.clear();
    o.profile_type = Rig::kType;
  }
  o.validity = validity;
  return rig.run(rig.op().order(o, Pattern::callback, std::chrono::seconds(120)));
}

// Of 40 orders whose ValidityPeriod ended at random moments, 9 left their ISD-P behind for ever.
TEST(LeftBehind, AnIsdpThatAppearsAfterTheOutcomeIsDeleted) {
  // CreateISDP is asked before the order's time is over, is not given up before, and is executed long after.
  RigOptions o = options(2);
  o.settings.push_back({"timeouts.card_s", std::int64_t{12}});
  Rig rig(o);
  Rig::must(rig.world().sim_fault("late-creation=15000"));
  EXPECT_EQ(told(order(rig, 0, false, 8)), "EXPIRED 1.6/5.3");
  EXPECT_EQ(status(rig)["follow_ups"]["begun"], 1);
  EXPECT_EQ(rig.created_left(), 1U) << "the ISD-P is in creation, or this test shows nothing";
  ASSERT_TRUE(eventually([&] { return rig.created_left() == 0; }));
  ASSERT_TRUE(followed_up(rig));
  EXPECT_EQ(status(rig)["follow_ups"]["clean"], 1);
  EXPECT_EQ(Rig::must(rig.world().sim_summary())["isdps"], 0) << "nor at the card";
  Rig::must(rig.world().sim_clear_faults());

  // Across a restart, too.
  Rig::must(rig.world().sim_fault("late-creation=15000"));
  EXPECT_EQ(told(order(rig, 1, false, 8)), "EXPIRED 1.6/5.3");
  rig.world().kill_smdp();
  EXPECT_EQ(rig.created_left(), 1U);
  Rig::must(rig.world().start_smdp());
  ASSERT_TRUE(eventually([&] { return rig.created_left() == 0; }));
  ASSERT_TRUE(followed_up(rig));
  EXPECT_EQ(status(rig)["downloads"]["uncertain"], 0);
  Rig::must(rig.world().sim_clear_faults());
  for (unsigned i = 0; i < 2; ++i) EXPECT_EQ(told(order(rig, i, false)), "EXECUTED_SUCCESS");
}

// Seen: both cards verified the same package.
TEST(LeftBehind, AProfileThatMayBeOnACardIsGivenToNoOther) {
  RigOptions o = options(2);
  o.settings.push_back({"timeouts.follow_up_give_up_s", std::int64_t{1}});
  Rig rig(o);
  Rig::must(rig.world().sim_fault("completed-refused"));
  Rig::must(rig.world().sim_fault("delete-fails"));
  const Outcome first = order(rig, 0, true);
  EXPECT_EQ(told(first), "FAILED 8.7/4.2");
  ASSERT_TRUE(first.response && first.response->iccid);
  ASSERT_TRUE(followed_up(rig));
  EXPECT_EQ(status(rig)["follow_ups"]["given_up"], 1) << "told by an alarm";
  EXPECT_GE(status(rig)["messages"]["alarms"].get<int>(), 1);
  EXPECT_EQ(status(rig)["downloads"]["uncertain"], 1);
  Rig::must(rig.world().sim_clear_faults());

  const Outcome second = order(rig, 1, true);
  EXPECT_EQ(told(second), "EXECUTED_SUCCESS");
  ASSERT_TRUE(second.response && second.response->iccid);
  EXPECT_NE(*second.response->iccid, *first.response->iccid);
  EXPECT_EQ(told(order(rig, 0, true)), "FAILED 8.2.5/3.7") << "there is no free one any more";

  // Any EIS that shows it gone frees it, and no other.
  EXPECT_EQ(rig.call(rig.request(es::Function::get_eis, 0)).response->status, es::ExecStatus::success);
  EXPECT_EQ(status(rig)["downloads"]["uncertain"], 1) << "that EIS shows it";
  sim::Order again = rig.order_of(0);
  again.iccid = *first.response->iccid;
  EXPECT_EQ(told(rig.run(rig.op().order(again, Pattern::callback, std::chrono::seconds(60)))), "EXECUTED_SUCCESS")
      << "for the same eUICC it may be ordered";
  EXPECT_EQ(status(rig)["downloads"]["uncertain"], 0);
  EXPECT_EQ(rig.created_left(), 0U);
}

TEST(LeftBehind, TheOperatorOfKeyferryMayReleaseIt) {
  RigOptions o = options(1);
  o.settings.push_back({"timeouts.follow_up_give_up_s", std::int64_t{1}});
  Rig rig(o);
  Rig::must(rig.world().sim_fault("completed-refused"));
  Rig::must(rig.world().sim_fault("delete-fails"));
  EXPECT_EQ(told(order(rig, 0, false)), "FAILED 8.7/4.2");
  ASSERT_TRUE(followed_up(rig));
  const auto keyferry = [&](std::vector<std::string> args) {
    args.insert(args.end(), {"--config", rig.world().config_file()});
    return rig.world().keyferry(args);
  };
  const std::string iccid = rig.subscriptions().list.at(0).iccid;
  const auto listed = [&](const char* state) {
    const std::string text = Rig::must(keyferry({"profile", "list", "--rows"}));
    return text.find(iccid + " " + state) != std::string::npos;
  };
  EXPECT_TRUE(listed("uncertain")) << Rig::must(keyferry({"profile", "list", "--rows"}));
  EXPECT_FALSE(keyferry({"profile", "release", "--iccid", iccid}).ok()) << "it says first what that means";
  EXPECT_TRUE(listed("uncertain"));
  EXPECT_NE(Rig::must(keyferry({"profile", "release", "--iccid", iccid, "--yes"})).find("share one subscription"),
            std::string::npos);
  EXPECT_TRUE(listed("free"));
  EXPECT_FALSE(keyferry({"profile", "release", "--iccid", iccid, "--yes"}).ok()) << "it is not uncertain any more";
}

TEST(LeftBehind, AfterDeleteProfileTheSameEuiccMayHaveItAgain) {
  Rig rig(options(1));
  EXPECT_EQ(told(order(rig, 0, false)), "EXECUTED_SUCCESS");
  EXPECT_EQ(told(order(rig, 0, false)), "FAILED 8.2.1/3.3") << "it is there";
  EXPECT_EQ(rig.call(rig.request(es::Function::delete_profile, 0)).response->status, es::ExecStatus::success);
  EXPECT_EQ(told(order(rig, 0, false)), "EXECUTED_SUCCESS");
  EXPECT_TRUE(rig.verified(0));
}

TEST(LeftBehind, EnablingIsToldAsTheEisSaysIt) {
  Rig rig(options(3));
  Rig::must(rig.world().sim_fault("dropped-answer=EnableProfile"));
  EXPECT_EQ(told(order(rig, 0, false, 6, true)), "EXECUTED_SUCCESS") << "the callback is lost, the EIS says Enabled";
  Rig::must(rig.world().sim_clear_faults());
  Rig::must(rig.world().sim_fault("http-500=EnableProfile@3"));
  EXPECT_EQ(told(order(rig, 1, false, 60, true)), "EXECUTED_SUCCESS") << "not reached three times, then it is";
  Rig::must(rig.world().sim_clear_faults());
  Rig::must(rig.world().sim_fault("enable-fails"));
  const Outcome out = order(rig, 2, false, 60, true);
  EXPECT_EQ(told(out), "EXECUTED_WITHWARNING 8.2.1/4.2");
  EXPECT_NE(out.response->code->message.find("Disabled"), std::string::npos) << out.response->code->message;
}

TEST(LeftBehind, ReasonsAreToldAndDialectsUnderstood) {
  Rig rig(options(3));
  Rig::must(rig.world().sim_fault("http-404=GetEIS"));
  const Outcome out = order(rig, 0, false);
  EXPECT_EQ(told(out), "FAILED 8.7/5.1");
  EXPECT_NE(out.response->code->message.find("HTTP 404"), std::string::npos) << out.response->code->message;
  Rig::must(rig.world().sim_clear_faults());
  Rig::must(rig.world().sim_fault("scp03t-in-23"));
  EXPECT_EQ(told(order(rig, 1, false)), "EXECUTED_SUCCESS");
  EXPECT_TRUE(rig.verified(1));
  Rig::must(rig.world().sim_clear_faults());
  Rig::must(rig.world().sim_fault("more-ecasd"));
  EXPECT_EQ(told(order(rig, 2, false)), "EXECUTED_SUCCESS") << "the second certificate is the good one";
}

// Memory runs out while a call is written: that one order is cleaned up and ends, with a line in the log; the server
// and the card go on.
TEST(LeftBehind, AnOrderWhoseCallBreaksInTheServerIsCleanedUpAndEnds) {
  const std::string library = std::string(KF_BIN_DIR) + "/../tests/libkf_short_memory.so";
  if (!fs::exists(library)) GTEST_SKIP() << "not built with sanitizers";
  RigOptions o = options(2);
  const std::string file = (fs::temp_directory_path() / ("kf-short-memory-" + std::to_string(::getpid()))).string();
  o.smdp_environment = {{"LD_PRELOAD", library}, {"KF_SHORT_MEMORY", file}};
  Rig rig(o);
  EXPECT_EQ(told(order(rig, 0, false)), "EXECUTED_SUCCESS") << "memory is there";
  std::ofstream(file) << "short";
  const Outcome out = order(rig, 1, false);
  EXPECT_FALSE(fs::exists(file)) << "or nothing was shown";
  fs::remove(file);
  EXPECT_EQ(told(out), "FAILED 8.7/5.1") << out.text();
  EXPECT_NE(out.response->code->message.find("internal failure; ISD-P deleted"), std::string::npos) << out.text();
  EXPECT_EQ(rig.created_left(), 0U);
  EXPECT_NE(slurp(rig.world().smdp_log()).find("unexpected failure in a call to an SM-SR"), std::string::npos);
  EXPECT_EQ(told(order(rig, 1, false)), "EXECUTED_SUCCESS") << "the card is free, and so is the ICCID";
  EXPECT_EQ(status(rig)["downloads"]["uncertain"], 0);
}

}  // namespace
}  // namespace kf::e2e
