// Each fault of the simulator ends in the outcome that docs/spec/interfaces.md 4.2 names, and leaves no ISD-P in state
// Created unless DeleteISDP itself was made to fail.
#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

struct Fault {
  std::vector<std::string> specs;
  const char* outcome;
  bool enable = false;
  unsigned left = 0;       // ISD-Ps in state Created afterwards
  bool installed = false;  // the card holds the ordered package
};

// One world carries them all: faults are set and cleared while it runs, each row has its own eUICC.
TEST(Faults, EachEndsAsTheSpecificationSays) {
  const std::vector<Fault> rows{
      {{"wrong-receipt"}, "FAILED 8.4/6.1"},
      {{"omit-dr"}, "FAILED 8.4/6.1"},
      {{"wrong-rmac"}, "FAILED 8.3/6.1"},
      {{"wrong-counter"}, "EXECUTED_SUCCESS", false, 0, true},
      {{"scp-error"}, "FAILED 8.3/4.2"},
      {{"scp-error=2"}, "FAILED 8.3/4.2"},
      {{"pe-rejected"}, "FAILED 8.2/4.2"},
      {{"pe-rejected=0"}, "FAILED 8.2/4.2"},
      {{"pe-warning"}, "EXECUTED_WITHWARNING 8.2/4.2", false, 0, true},
      {{"memory-full"}, "FAILED 8.1/4.8"},
      {{"memory-full=eis"}, "FAILED 8.1/4.8"},
      {{"install-refused"}, "FAILED 8.4/4.2"},
      {{"enable-fails"}, "EXECUTED_WITHWARNING 8.2.1/4.2", true, 0, true},
      {{"unknown-eid"}, "FAILED 8.1.1/1.1"},
      {{"wrong-eis-eid"}, "FAILED 8.1.1/3.8"},
      {{"expired-ecasd"}, "FAILED 8.1.3/6.3"},
      {{"badly-signed-ecasd"}, "FAILED 8.1.3/6.1"},
      {{"off-curve-ecasd"}, "FAILED 8.1.3/6.1"},
      {{"infinite-ecasd"}, "FAILED 8.1.3/6.1"},
      {{"truncated-ecasd"}, "FAILED 8.1.3/6.1"},
      {{"nonminimal-ecasd"}, "FAILED 8.1.3/6.1"},
      {{"other-eid-ecasd"}, "FAILED 8.1.3/6.1"},
      {{"bad-eum-signature"}, "EXECUTED_SUCCESS", false, 0, true},  // not checked: docs/spec/interfaces.md 2.5
      {{"bad-hex-answer=odd"}, "FAILED 8.4/4.2"},
      {{"bad-hex-answer=nothex"}, "FAILED 8.4/4.2"},
      {{"bad-hex-answer=truncated"}, "FAILED 8.4/4.2"},
      {{"bad-hex-answer=nonminimal"}, "FAILED 8.4/4.2"},
      {{"callback-twice"}, "EXECUTED_SUCCESS", false, 0, true},
      {{"callback-no-relatesto"}, "EXECUTED_SUCCESS", false, 0, true},
      {{"reply-sync"}, "EXECUTED_SUCCESS", false, 0, true},
      {{"old-rc-replay"}, "FAILED 8.4/4.2"},
      {{"lost-session@1"}, "EXECUTED_SUCCESS", false, 0, true},
      {{"dropped-answer=CreateISDP@1"}, "EXECUTED_SUCCESS", false, 0, true},
      {{"dropped-answer=SendData@1"}, "EXECUTED_SUCCESS", false, 0, true},  // the certificate step may be repeated once
      {{"dropped-answer=DeleteISDP@1", "wrong-receipt"}, "FAILED 8.4/6.1"},
      {{"completed-refused"}, "FAILED 8.7/4.2"},  // the code the SM-SR gave
      {{"http-500=GetEIS"}, "FAILED 8.7/5.1"},
      {{"http-500=GetEIS@1"}, "EXECUTED_SUCCESS", false, 0, true},
      {{"pol1-forbids-delete", "pe-rejected=5"}, "EXECUTED_WITHWARNING 8.2/4.2"},
      {{"delete-fails", "wrong-receipt"}, "FAILED 8.4/6.1", false, 1},
      {{"slow-radio=400"}, "EXECUTED_SUCCESS", false, 0, true},
  };
  RigOptions o;
  o.euiccs = static_cast<unsigned>(rows.size());
  o.settings = {{"timeouts.card_s", std::int64_t{6}},
                {"timeouts.get_eis_s", std::int64_t{4}},
                {"timeouts.backoff_ms", std::int64_t{20}},
                {"limits.follow_ups_per_smsr", std::int64_t{0}}};  // what is left stays: test_left_behind.cpp has them
  o.sim_args = {"--silence", "1500"};
  Rig rig(o);
  std::uint64_t left = 0;
  for (unsigned i = 0; i < rows.size(); ++i) {
    const Fault& f = rows[i];
    std::string name;
    for (const auto& s : f.specs) {
      Rig::must(rig.world().sim_fault(s));
      name += s + " ";
    }
    const Outcome out = rig.download(i, f.enable);
    EXPECT_EQ(told(out), f.outcome) << name << ": " << out.text();
    EXPECT_EQ(rig.verified(i), f.installed) << name;
    left += f.left;
    EXPECT_EQ(rig.created_left(), left) << name << "left an ISD-P in state Created";
    Rig::must(rig.world().sim_clear_faults());
  }
  // What DeleteISDP could not remove is cleaned by the next order for that eUICC.
  for (unsigned i = 0; i < rows.size(); ++i) {
    if (rows[i].left == 0) continue;
    EXPECT_EQ(told(rig.download(i)), "EXECUTED_SUCCESS");
    EXPECT_TRUE(rig.verified(i));
  }
  EXPECT_EQ(rig.created_left(), 0U);
  EXPECT_TRUE(rig.world().trouble().empty()) << rig.world().trouble();
}

TEST(Faults, StaleIsdpOfAnEarlierLifeIsDeletedFirst) {
  RigOptions o;
  o.euiccs = 4;
  o.faults = {"eis-stale"};
  Rig rig(o);
  EXPECT_EQ(rig.created_left(), 4U);
  for (const auto& out : rig.download_all()) EXPECT_EQ(told(out), "EXECUTED_SUCCESS") << out.text();
  EXPECT_EQ(rig.created_left(), 0U);
}

TEST(Faults, ValidityPeriodOver) {
  RigOptions o;
  o.euiccs = 1;
  o.settings = {{"limits.min_validity_s", std::int64_t{1}}};
  o.faults = {"slow-radio=3000"};
  Rig rig(o);
  sim::Order order = rig.order_of(0);
  order.validity = 4;
  const Outcome out = rig.run(rig.op().order(order, Pattern::callback, std::chrono::seconds(60)));
  EXPECT_EQ(told(out), "EXPIRED 1.6/5.3") << out.text();
  EXPECT_EQ(rig.created_left(), 0U);
}

TEST(Faults, SmsrDownIsToldAndComesBack) {
  RigOptions o;
  o.euiccs = 2;
  o.settings = {{"timeouts.backoff_ms", std::int64_t{20}}};
  Rig rig(o);
  rig.world().sim().kill_now();
  EXPECT_EQ(told(rig.download(0)), "FAILED 8.7/5.1");
  Rig::must(rig.world().start_sim());
  EXPECT_EQ(told(rig.download(1)), "EXECUTED_SUCCESS");
  EXPECT_EQ(told(rig.download(0)), "EXECUTED_SUCCESS") << "an ICCID may be ordered again after FAILED";
}

TEST(Faults, AWorkerKilledLosesNoDownload) {
  RigOptions o;
  o.euiccs = 24;
  o.radio = "constant:15";
  Rig rig(o);
  asio::steady_timer t(rig.io(), std::chrono::milliseconds(400));
  t.async_wait([&](const boost::system::error_code&) {
    const Json status = Rig::must(rig.world().smdp_status());
    for (const auto& pid : status["worker_pids"]) ::kill(pid.get<pid_t>(), SIGKILL);
  });
  for (const auto& out : rig.download_all()) EXPECT_EQ(told(out), "EXECUTED_SUCCESS") << out.text();
  EXPECT_EQ(rig.created_left(), 0U);
}

}  // namespace
}  // namespace kf::e2e
