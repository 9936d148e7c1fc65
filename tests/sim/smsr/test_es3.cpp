// ES3 of the SM-SR simulator: patterns, identity, EIS, authorisation, idempotence, faults.
// docs/spec/interfaces.md 1, 2, 4.6, 6, 10.
#include "host/base/ids.hpp"
#include "tests/sim/smsr/smdp_stub.hpp"

namespace kf::sim::test {
namespace {

using es::ExecStatus;
using es::Function;
const std::string kIccid = "89000123456789012341";
const std::string kIccid2 = iccid_with_luhn("8900012345678901235");

TEST(Es3, GetEisShowsTheSignedPartAndOwnProfilesOnly) {
  World w;
  const std::string eid = fleet_eid(0);
  auto a = w.get_eis(eid);
  ASSERT_EQ(a.code(), "ok");
  ASSERT_TRUE(a.response->eis);
  EXPECT_EQ(a.response->eis->eid, eid);
  EXPECT_EQ(a.response->eis->remaining_memory, 524288u);
  EXPECT_TRUE(a.response->eis->profiles.empty());
  ASSERT_EQ(w.create(eid, kIccid).code(), "ok");
  a = w.get_eis(eid);
  ASSERT_EQ(a.response->eis->profiles.size(), 1u);
  const auto& p = a.response->eis->profiles.front();
  EXPECT_EQ(p.state, "Created");
  EXPECT_EQ(p.smdp_id, "2.999.20");
  EXPECT_EQ(p.mno_id, "2.999.10");
  EXPECT_EQ(p.isd_p_aid, "A0000005591010FFFFFFFF8900001000");
  EXPECT_EQ(p.allocated_memory, 65536u);
  EXPECT_EQ(a.response->eis->remaining_memory, 524288u - 65536u);

  SmdpStub other(w.io, "smdp2", "2.999.21");
  other.connect(w.sim->smsr().es3_port());
  const auto b = run(w.io, other.call(request(Function::get_eis, eid), false));
  ASSERT_EQ(b.code(), "ok");
  EXPECT_TRUE(b.response->eis->profiles.empty()) << "a foreign profile is visible";
  EXPECT_EQ(b.response->eis->remaining_memory, 524288u - 65536u);
  // ... but its ICCID is taken, and nobody else may touch it.
  auto q = request(Function::create_isdp, eid);
  q.iccid = kIccid;
  q.mno_id = "2.999.10";
  q.required_memory = 1000;
  EXPECT_EQ(run(w.io, other.call(std::move(q), true)).code(), "8.2.1/3.3");
  auto d = request(Function::delete_isdp, eid);
  d.iccid = kIccid;
  EXPECT_EQ(run(w.io, other.call(std::move(d), true)).code(), "8.2.1/3.9");
}

TEST(Es3, SynchronousAndCallbackGiveTheSameAnswer) {
  World w;
  const auto sync = w.create(fleet_eid(0), kIccid, false);
  EXPECT_EQ(sync.http, 200u);
  EXPECT_FALSE(sync.by_callback);
  EXPECT_EQ(sync.code(), "ok");
  const auto async = w.create(fleet_eid(1), kIccid, true);
  EXPECT_EQ(async.http, 202u);
  EXPECT_TRUE(async.by_callback);
  EXPECT_EQ(async.code(), "ok");
  EXPECT_EQ(async.response->isd_p_aid, sync.response->isd_p_aid);
  // To repeats ReplyTo/Address byte for byte, the Action is in the CallBack group.
  EXPECT_EQ(async.header.to, es::make_address(w.dp.callback_url(), "2.999.20", "SM-DP-K"));
  EXPECT_EQ(async.header.action, "http://gsma.com/ES3/ProfileManagementCallBack/ES3-CreateISDP");
  EXPECT_EQ(sync.header.action, "http://gsma.com/ES3/ProfileManagement/ES3-CreateISDP");
  EXPECT_EQ(async.header.from_entity, "2.999.30");
}

TEST(Es3, RefusesWhatIsUnknownOrNotAllowed) {
  World w({}, 4);
  const std::string eid = fleet_eid(0);
  EXPECT_EQ(w.get_eis(fleet_eid(77)).code(), "8.1.1/1.1");
  std::string wrong = eid;
  wrong[31] = wrong[31] == '9' ? '0' : static_cast<char>(wrong[31] + 1);
  EXPECT_EQ(w.get_eis(wrong).code(), "8.1.1/2.1");
  EXPECT_EQ(w.create(eid, "89000123456789012342").code(), "8.2.1/2.1");
  EXPECT_EQ(w.create(eid, kIccid, true, 524289).code(), "8.1/4.8");
  EXPECT_EQ(w.by_iccid(Function::profile_download_completed, eid, kIccid).code(), "8.2.1/3.9");
  EXPECT_EQ(w.by_iccid(Function::enable_profile, eid, kIccid, true).code(), "8.2.1/3.9");
  EXPECT_EQ(w.by_iccid(Function::audit_eis, eid, kIccid).code(), "ok");
  w.dp.to_oid = "2.999.31";
  EXPECT_EQ(w.get_eis(eid).code(), "1.2/3.4");
  w.dp.to_oid = "2.999.30";
  w.dp.from_oid = "2.999.99";
  EXPECT_EQ(w.get_eis(eid).http, 400u);
  w.dp.from_oid.clear();
  w.dp.reply_to = "https://elsewhere.example/es3?EntityId=2.999.20";
  const auto a = w.create(eid, kIccid, true);
  EXPECT_EQ(a.code(), "1.1/1.2");
  EXPECT_EQ(a.http, 200u) << "refused before acceptance: in the HTTP response";
  w.dp.reply_to.clear();

  SmdpStub op(w.io, "operator", "2.999.10");  // an Operator has no business on ES3
  op.connect(w.sim->smsr().es3_port());
  EXPECT_EQ(run(w.io, op.call(request(Function::get_eis, eid), false)).http, 403u);
  EXPECT_EQ(w.sim->smsr().es5_counters().triggers, 0u) << "nothing of this may reach a card";
}

TEST(Es3, MemoryAndDuplicatesAreChecked) {
  World w;
  const std::string eid = fleet_eid(0);
  ASSERT_EQ(w.create(eid, kIccid, true, 400'000).code(), "ok");
  EXPECT_EQ(w.create(eid, kIccid).code(), "8.2.1/3.3");
  EXPECT_EQ(w.create(eid, kIccid2, true, 200'000).code(), "8.1/4.8");
  EXPECT_EQ(w.by_iccid(Function::delete_isdp, eid, kIccid, true).code(), "ok");
  EXPECT_EQ(w.sim->smsr().remaining_memory(eid), 524288u);
  EXPECT_EQ(w.sim->fleet().report(eid)->free_memory, 524288u);
  EXPECT_TRUE(w.sim->fleet().report(eid)->profiles.empty());
  const auto again = w.create(eid, kIccid2, true, 200'000);
  EXPECT_EQ(again.code(), "ok");
  EXPECT_EQ(to_hex(again.response->isd_p_aid), "A0000005591010FFFFFFFF8900001100") << "an AID is not given twice";
}

TEST(Es3, RepeatsAreIdempotent) {
  World w;
  const std::string eid = fleet_eid(0);
  auto q = request(Function::create_isdp, eid);
  q.function_call_identifier = "dp-0001";
  q.iccid = kIccid;
  q.mno_id = "2.999.10";
  q.required_memory = 1000;
  const auto first = w.call(q, true);
  const auto again = w.call(q, true);
  ASSERT_EQ(first.code(), "ok");
  EXPECT_EQ(again.code(), "ok") << "not 8.2.1/3.3";
  EXPECT_EQ(again.response->isd_p_aid, first.response->isd_p_aid);
  EXPECT_EQ(w.call(q, false).code(), "ok");
  q.required_memory = 1001;
  EXPECT_EQ(w.call(q, true).code(), "1.6/3.3");
  EXPECT_EQ(w.sim->smsr().entries(eid)->size(), 1u);
  EXPECT_EQ(w.sim->smsr().es5_counters().scripts, 1u);
}

asio::awaitable<std::pair<Answer, Answer>> both(SmdpStub& dp, es::Request q) {
  std::optional<Answer> second;
  asio::co_spawn(co_await asio::this_coro::executor, dp.call(q, false),
                 [&](std::exception_ptr, Answer a) { second = std::move(a); });
  Answer first = co_await dp.call(q, true);
  asio::steady_timer t(co_await asio::this_coro::executor);
  for (int i = 0; i < 500 && !second; ++i) {
    t.expires_after(std::chrono::milliseconds(10));
    co_await t.async_wait(asio::use_awaitable);
  }
  co_return std::pair<Answer, Answer>(std::move(first), second.value_or(Answer{}));
}

TEST(Es3, ARepeatWhileTheFirstRunsWaitsForTheSameOutcome) {
  World w({"slow-radio=150"});
  auto q = request(Function::create_isdp, fleet_eid(0));
  q.function_call_identifier = "dp-0001";
  q.iccid = kIccid;
  q.mno_id = "2.999.10";
  q.required_memory = 1000;
  const auto [a, b] = run(w.io, both(w.dp, q));
  EXPECT_EQ(a.code(), "ok");
  EXPECT_EQ(b.code(), "ok");
  EXPECT_EQ(a.response->isd_p_aid, b.response->isd_p_aid);
  EXPECT_EQ(w.sim->smsr().es5_counters().scripts, 1u);
}

TEST(Es3, CompletedPolicyRulesAndStates) {
  World w;
  const std::string eid = fleet_eid(0);
  ASSERT_EQ(w.create(eid, kIccid).code(), "ok");
  EXPECT_EQ(w.by_iccid(Function::enable_profile, eid, kIccid, true).code(), "8.2.1/3.5") << "Created is not Disabled";
  auto q = request(Function::profile_download_completed, eid);
  q.iccid = kIccid;
  q.profile_type = "Sample";
  q.subscription = es::SubscriptionAddress{"001010123456789", "447700900123"};
  q.pol2 = es::Pol2{{"PROFILE", "DELETE", "Not-Allowed"}};
  EXPECT_EQ(w.call(q).code(), "ok");
  EXPECT_EQ(w.call([&] {
               auto r = q;
               r.function_call_identifier = "again";
               return r;
             }())
                .code(),
            "8.2.1/3.5");
  let_run(w.io, std::chrono::milliseconds(300));
  ASSERT_EQ(w.dp.notifications.size(), 1u);
  EXPECT_EQ(w.dp.notifications[0].function, Function::handle_profile_downloaded);
  EXPECT_EQ(w.dp.notifications[0].iccid, kIccid);
  EXPECT_EQ(w.sim->sink().total(), 1u) << "ES4 to the M2M SP";
  EXPECT_EQ(w.sim->sink().counts().at("ES4-HandleProfileDownloadedNotification"), 1u);

  auto eis = w.get_eis(eid);
  const auto& p = eis.response->eis->profiles.at(0);
  EXPECT_EQ(p.state, "Disabled");
  EXPECT_EQ(p.profile_type, "Sample");
  EXPECT_EQ(p.subscription.imsi, "001010123456789");
  ASSERT_TRUE(p.pol2);
  EXPECT_EQ(p.pol2->size(), 1u);

  const auto scripts = w.sim->smsr().es5_counters().scripts;
  EXPECT_EQ(w.by_iccid(Function::delete_isdp, eid, kIccid, true).code(), "8.2.3/3.8");
  EXPECT_EQ(w.sim->smsr().es5_counters().scripts, scripts) << "POL2 is checked before any OTA traffic";
  auto keep = request(Function::update_policy_rules, eid);  // absent pol2: what is stored stays
  keep.iccid = kIccid;
  EXPECT_EQ(w.call(keep).code(), "ok");
  EXPECT_EQ(w.by_iccid(Function::delete_isdp, eid, kIccid, true).code(), "8.2.3/3.8");
  auto none = keep;
  none.function_call_identifier = "none";
  none.pol2 = es::Pol2{};
  EXPECT_EQ(w.call(none).code(), "ok");
  EXPECT_EQ(w.by_iccid(Function::delete_isdp, eid, kIccid, true).code(), "ok");
  let_run(w.io, std::chrono::milliseconds(200));
  EXPECT_EQ(w.dp.notifications.back().function, Function::handle_profile_deleted);
}

TEST(Es3, EnablingAnEmptyIsdpIsRefusedByTheCard) {  // Disabled in the EIS, SELECTABLE at the card
  World w;
  const std::string eid = fleet_eid(0);
  ASSERT_EQ(w.create(eid, kIccid).code(), "ok");
  ASSERT_EQ(w.by_iccid(Function::profile_download_completed, eid, kIccid).code(), "ok");
  const auto a = w.by_iccid(Function::enable_profile, eid, kIccid, true);
  EXPECT_EQ(a.code(), "8.4/4.2");
  EXPECT_EQ(a.card_hex(), "23026985");
}

TEST(Es3, SendDataReportsCardErrorsAsTheSamplesDo) {
  World w;
  const std::string eid = fleet_eid(0);
  ASSERT_EQ(w.create(eid, kIccid).code(), "ok");
  auto q = request(Function::send_data, eid);
  q.sd_aid = to_bytes(isd_r_aid().bytes());
  q.data =
      hex("221C80E6200016000010A0000005591010FFFFFFFF8900001000000000002207"
          "80E20900023A01");
  const auto a = w.call(q, true);
  EXPECT_EQ(a.code(), "8.4/4.2");
  EXPECT_EQ(a.response->code->subject_identifier, "A0000005591010FFFFFFFF8900001000");
  EXPECT_TRUE(a.card_hex().starts_with("230300900023026")) << a.card_hex();
  q.function_call_identifier.clear();
  q.sd_aid = hex("A0000005591010FFFFFFFF8900001000");
  q.data = hex("840A3000CC160D356C1A5D5F");  // no key set yet
  const auto b = w.call(q, true);
  EXPECT_EQ(b.code(), "8.3/4.2");
  EXPECT_TRUE(b.card_hex().starts_with("9F44")) << b.card_hex();
  q.sd_aid = hex("A0000005591010FFFFFFFF8900009900");
  EXPECT_EQ(w.call(q, true).code(), "8.3.1/3.9");
  q.sd_aid = to_bytes(isd_r_aid().bytes());
  q.data = hex("2201");
  EXPECT_EQ(w.call(q, true).code(), "1.6/2.1");
}

TEST(Es3, ValidityPeriodEndsAWaitingCall) {
  World w({"unreachable"});
  auto q = request(Function::create_isdp, fleet_eid(0));
  q.iccid = kIccid;
  q.mno_id = "2.999.10";
  q.required_memory = 1000;
  q.validity_period = 1;
  const auto a = w.call(q, true);
  EXPECT_EQ(a.code(), "1.6/5.3");
  EXPECT_EQ(a.response->status, ExecStatus::expired);
  EXPECT_TRUE(w.sim->smsr().entries(fleet_eid(0))->empty());
  q.validity_period.reset();
  q.function_call_identifier.clear();
  EXPECT_EQ(w.call(q, true).code(), "8.1/5.1") << "three triggers without an answer";
}

TEST(Es3, FaultsOfTheSmsr) {
  {
    World w({"callback-twice=CreateISDP", "callback-no-relatesto=DeleteISDP"});
    const auto a = w.create(fleet_eid(0), kIccid);
    EXPECT_EQ(a.code(), "ok");
    let_run(w.io, std::chrono::milliseconds(200));
    EXPECT_EQ(w.dp.callbacks.begin()->second.size(), 2u);
    auto q = request(Function::delete_isdp, fleet_eid(0));
    q.iccid = kIccid;
    EXPECT_EQ(w.call(q, true, net::Millis(500)).error, "no callback");
    EXPECT_EQ(w.dp.unrelated.size(), 1u);
  }
  {
    World w({"dropped-answer=CreateISDP@1", "reply-sync=DeleteISDP", "http-500=ProfileDownloadCompleted@1",
             "completed-refused@1"});
    auto q = request(Function::create_isdp, fleet_eid(0));
    q.function_call_identifier = "x";
    q.iccid = kIccid;
    q.mno_id = "2.999.10";
    q.required_memory = 1000;
    EXPECT_EQ(w.call(q, true, net::Millis(800)).error, "no callback");
    EXPECT_EQ(w.get_eis(fleet_eid(0)).response->eis->profiles.size(), 1u) << "it was done all the same";
    EXPECT_EQ(w.call(q, true).code(), "ok") << "@1: the repeat is answered";
    const auto r = w.by_iccid(Function::profile_download_completed, fleet_eid(0), kIccid);
    EXPECT_EQ(r.http, 500u);
    EXPECT_TRUE(r.fault);
    EXPECT_EQ(w.by_iccid(Function::profile_download_completed, fleet_eid(0), kIccid).code(), "8.7/4.2");
    EXPECT_EQ(w.by_iccid(Function::profile_download_completed, fleet_eid(0), kIccid).code(), "ok");
    const auto d = w.by_iccid(Function::delete_isdp, fleet_eid(0), kIccid, true);
    EXPECT_EQ(d.http, 200u);
    EXPECT_EQ(d.code(), "ok");
  }
  {
    World w({"memory-full", "install-refused:" + fleet_eid(1).substr(20), "unknown-eid:" + fleet_eid(2).substr(20)});
    EXPECT_EQ(w.get_eis(fleet_eid(2)).code(), "8.1.1/1.1");
    const auto a = w.create(fleet_eid(0), kIccid);
    EXPECT_EQ(a.code(), "8.1/4.8");
    EXPECT_EQ(a.card_hex(), "23026A84");
    EXPECT_TRUE(w.get_eis(fleet_eid(0)).response->eis->profiles.empty()) << "the In-Creation entry must go";
    w.sim->clear_faults();
    ASSERT_TRUE(w.sim->add_fault("install-refused").ok());
    const auto b = w.create(fleet_eid(1), kIccid);
    EXPECT_EQ(b.code(), "8.4/4.2");
    EXPECT_EQ(b.card_hex(), "23026A80");
    w.sim->clear_faults();
    ASSERT_TRUE(w.sim->add_fault("delete-fails").ok());
    EXPECT_EQ(w.create(fleet_eid(1), kIccid).code(), "ok");
    const auto c = w.by_iccid(Function::delete_isdp, fleet_eid(1), kIccid, true);
    EXPECT_EQ(c.code(), "8.4/4.2");
    EXPECT_EQ(c.card_hex(), "23026581");
    EXPECT_EQ(w.sim->smsr().entries(fleet_eid(1))->size(), 1u);
  }
}

TEST(Es3, AStaleEntryIsInTheEisAndOnTheCard) {
  World w({"eis-stale:every-2"});
  const auto a = w.get_eis(fleet_eid(0));
  ASSERT_EQ(a.response->eis->profiles.size(), 1u);
  EXPECT_TRUE(w.get_eis(fleet_eid(1)).response->eis->profiles.empty());
  const auto& p = a.response->eis->profiles[0];
  EXPECT_EQ(p.state, "Created");
  EXPECT_TRUE(parse_iccid(p.iccid).ok());
  EXPECT_EQ(w.sim->fleet().report(fleet_eid(0))->profiles.at(0).isdp_aid, p.isd_p_aid);
  EXPECT_EQ(w.by_iccid(Function::delete_isdp, fleet_eid(0), p.iccid, true).code(), "ok");
  EXPECT_TRUE(w.sim->fleet().report(fleet_eid(0))->profiles.empty());
}

TEST(Es3, ABadBodyIsAFault) {
  World w;
  const auto a = run(w.io, w.dp.post("<no-soap/>", "x", net::Millis(5000)));
  EXPECT_EQ(a.http, 400u);
  EXPECT_TRUE(a.fault);
  auto q = request(Function::handle_profile_downloaded, fleet_eid(0));
  q.iccid = kIccid;
  q.completion_timestamp = "2026-03-02T09:00:00Z";
  q.function_call_identifier = "-";
  EXPECT_EQ(w.call(q).http, 400u) << "a notification is nothing for an SM-SR";
}

}  // namespace
}  // namespace kf::sim::test
