// The download procedure, state by state: every failure row of docs/spec/interfaces.md 4.2. Restarts:
// test_machine_restart.cpp.
#include <gtest/gtest.h>

#include <set>

#include "host/download/follow_up.hpp"
#include "tests/download/drive.hpp"

namespace kf::download {
namespace {

TEST(Download, GoodRunWithoutEnabling) {
  Drive t;
  t.to_completing();
  ASSERT_NE(t.find<KeepKeySet>(), nullptr);
  EXPECT_TRUE(t.persisted);
  t.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  t.expect_end(State::done);
  EXPECT_FALSE(t.d.cause.has_value());
}

TEST(Download, GoodRunWithEnabling) {
  Drive t;
  t.d.order.enable = true;
  t.to_completing();
  t.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  EXPECT_EQ(t.d.state, State::enabling);
  t.answer(F::enable_profile, Drive::ok(F::enable_profile));
  t.expect_end(State::done);
}

TEST(Download, EnablingFailsIsAWarning) {
  Drive t;
  t.d.order.enable = true;
  t.to_completing();
  t.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  t.answer(F::enable_profile, Drive::failed(F::enable_profile, "8.2.1", "4.2"));
  t.answer_eis(t.eis_with("Disabled"));
  t.expect_end(State::done_with_warning, "8.2.1", "4.2");
  EXPECT_NE(t.d.cause->message.find("Disabled; enabling failed: because"), std::string::npos) << t.d.cause->message;
}

TEST(Download, UnknownEidIsPassedOn) {
  Drive t;
  t.feed(Start{});
  t.answer(F::get_eis, Drive::failed(F::get_eis, "8.1.1", "1.1"));
  t.expect_end(State::failed, "8.1.1", "1.1");
}

TEST(Download, SmsrDownAfterThreeTries) {
  Drive t;
  t.feed(Start{});
  for (int i = 0; i < 2; ++i) {
    t.fail(F::get_eis, CallFault::unreachable);
    auto* timer = t.find<StartTimer>();
    ASSERT_NE(timer, nullptr);
    EXPECT_EQ(timer->ms, i == 0 ? 1000 : 4000);
    t.feed(TimerFired{});
  }
  t.fail(F::get_eis, CallFault::timeout);
  t.expect_end(State::failed, "8.7", "5.1");
}

TEST(Download, EisOfAnotherEid) {
  Drive t;
  t.feed(Start{});
  es::Eis e = t.eis();
  e.eid = eid_with_check_digits("890010120123412340987654321002");
  t.answer_eis(e);
  t.expect_end(State::failed, "8.1.1", "3.8");
}

struct CertificateRow {
  CertificateTrouble trouble;
  const char* subject;
  const char* code;
};
class CertificateFailure : public ::testing::TestWithParam<CertificateRow> {};
TEST_P(CertificateFailure, HasItsCode) {
  Drive t;
  t.feed(Start{});
  t.answer_eis(t.eis());
  t.feed(CertificatesChecked{Status(Error{"bad-certificate", "detail"}), Curve::p256, {}, GetParam().trouble});
  t.expect_end(State::failed, GetParam().subject, GetParam().code);
}
INSTANTIATE_TEST_SUITE_P(Rows, CertificateFailure,
                         ::testing::Values(CertificateRow{CertificateTrouble::ecasd, "8.1.3", "6.1"},
                                           CertificateRow{CertificateTrouble::ecasd_dates, "8.1.3", "6.3"},
                                           CertificateRow{CertificateTrouble::eum, "8.1.2", "6.1"},
                                           CertificateRow{CertificateTrouble::eum_dates, "8.1.2", "6.3"}));

TEST(Download, NotEligible) {
  Drive t;
  t.feed(Start{});
  es::Eis e = t.eis();
  e.http_support = false;
  t.answer_eis(e);
  t.certificates_good();
  t.expect_end(State::failed, "8.2.1", "2.1");
}

TEST(Download, NotEligibleByProfileType) {
  Drive t;
  t.d.order.by_profile_type = true;
  t.c.certified = {{"2.999.40", "Another", ""}};
  t.feed(Start{});
  t.answer_eis(t.eis());
  t.certificates_good();
  t.expect_end(State::failed, "8.2.5", "2.1");
}

TEST(Download, BadCertificateIsReportedBeforeEligibility) {
  Drive t;
  t.feed(Start{});
  es::Eis e = t.eis();
  e.http_support = false;
  t.answer_eis(e);
  t.feed(CertificatesChecked{Status(Error{"bad-signature", ""}), Curve::p256, {}});
  t.expect_end(State::failed, "8.1.3", "6.1");
}

TEST(Download, TooLittleMemory) {
  Drive t;
  t.feed(Start{});
  es::Eis e = t.eis();
  e.remaining_memory = 1000;
  t.answer_eis(e);
  t.certificates_good();
  t.expect_end(State::failed, "8.1", "4.8");
}

TEST(Download, StaleIsdpIsDeletedFirstAndFreesItsMemory) {
  Drive t;
  t.feed(Start{});
  es::Eis e = t.eis();
  e.remaining_memory = 1000;
  e.profiles.push_back(t.entry("89000123456789099959", "Created"));
  e.profiles.back().allocated_memory = 70'000;
  e.profiles.push_back(t.entry("89000123456789099967", "Created", "2.999.21"));  // another SM-DP's
  e.profiles.push_back(t.entry("89000123456789099975", "Created", ""));          // without Smdp-id: not ours
  t.answer_eis(e);
  t.certificates_good();
  EXPECT_EQ(t.d.state, State::cleaning_stale);
  EXPECT_EQ(*t.call(F::delete_isdp)->request.iccid, "89000123456789099959");
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  EXPECT_EQ(t.d.state, State::creating_isdp);
  EXPECT_NE(t.call(F::create_isdp), nullptr);
}

TEST(Download, StaleIsdpThatCannotBeDeletedEndsTheOrder) {
  Drive t;
  t.feed(Start{});
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry("89000123456789099959", "Created"));
  t.answer_eis(e);
  t.certificates_good();
  t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "4.2"));
  t.answer_eis(e);  // still there
  t.expect_end(State::failed, "8.4", "4.2");
  EXPECT_TRUE(t.followed());
}

TEST(Download, CreateRefusedForMemoryBySw) {
  Drive t;
  t.to_creating();
  es::Response r = Drive::failed(F::create_isdp, "8.4", "4.2");
  r.euicc_response_data = hex("23026A84");
  t.answer(F::create_isdp, r);
  t.expect_end(State::failed, "8.1", "4.8");
}

TEST(Download, CreateTimeoutIsDecidedByTheEis) {
  Drive t;
  t.to_creating();
  t.fail(F::create_isdp, CallFault::timeout);
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry(kIccid, "Created"));
  t.answer_eis(e);
  EXPECT_EQ(t.d.state, State::sending_cert);
  EXPECT_EQ(t.d.isd_p_aid, kAid);
}

TEST(Download, CreateTimeoutWithoutEntryIsRetriedOnce) {
  Drive t;
  t.to_creating();
  t.fail(F::create_isdp, CallFault::timeout);
  t.answer_eis(t.eis());
  EXPECT_NE(t.call(F::create_isdp), nullptr);
  EXPECT_EQ(t.find<MakeEphemeral>(), nullptr) << "one ephemeral key a download";
  t.fail(F::create_isdp, CallFault::timeout);
  t.answer_eis(t.eis());
  t.expect_end(State::failed, "8.7", "5.1");
  EXPECT_NE(t.d.cause->message.find("from the SM-SR: brief"), std::string::npos)
      << t.d.cause->message << ": the EIS that decided was answered, CreateISDP was not";
  EXPECT_EQ(t.d.possession.open_calls().size(), 2U);
  EXPECT_TRUE(t.followed());
  EXPECT_EQ(t.iccid_state(), IccidState::uncertain);
}

TEST(Download, IccidInUseByOurOwnCreatedEntryIsCleanedOnce) {
  Drive t;
  t.to_creating();
  t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.2.1", "3.3"));
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry(kIccid, "Created"));
  t.answer_eis(e);
  EXPECT_EQ(t.d.state, State::cleaning_stale);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  EXPECT_EQ(t.d.state, State::creating_isdp);
  t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.2.1", "3.3"));
  t.expect_end(State::failed, "8.2.1", "3.3");
  EXPECT_FALSE(t.followed());
}

TEST(Download, CardRefusesOurCertificate) {
  Drive t;
  t.to_sending_cert();
  t.card_says(concat(test::r_apdu({}, 0x9000), test::r_apdu({}, 0x6600)), es::ExecStatus::failed);
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.8", "6.1");
}

TEST(Download, CardErrorUnderExecutedSuccessIsAFailure) {
  Drive t;
  t.to_sending_cert();
  t.card_says(test::r_apdu({}, 0x6A88));
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.8", "6.1");
}

TEST(Download, CertTimeoutIsRepeatedOnce) {
  Drive t;
  t.to_sending_cert();
  t.fail(F::send_data, CallFault::timeout);
  EXPECT_EQ(t.d.state, State::sending_cert);
  t.fail(F::send_data, CallFault::timeout);
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.7", "5.1");
}

TEST(Download, ResponseDataThatIsNotHex) {
  Drive t;
  t.to_sending_cert();
  es::Response r = Drive::ok(F::send_data);
  r.bad_euicc_response_data = true;
  t.answer(F::send_data, r);
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.4", "4.2");
}

TEST(Download, EphemeralAfterRcStillSigns) {
  Drive t;
  t.to_creating();
  t.created();
  t.card_says(t.card.cert_answer());
  EXPECT_EQ(t.d.state, State::sending_key);
  EXPECT_EQ(t.find<Sign>(), nullptr);
  t.feed(t.ephemeral());
  EXPECT_NE(t.find<Sign>(), nullptr);
}

TEST(Download, EngineFailureLeavesNoIsdpBehind) {
  Drive t;
  t.to_creating();
  auto call = *t.call(F::create_isdp);
  EccCompletion x;
  x.op = EccOp::ephemeral_ecka;
  x.status = EccStatus::failed;
  t.feed(EccDone{std::move(x)});
  EXPECT_EQ(t.d.state, State::creating_isdp);
  es::Response r = Drive::ok(F::create_isdp);
  r.isd_p_aid = hex(kAid);
  t.feed(Answer{call.call, r});
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "1.2", "4.2");
}

TEST(Download, SignatureRefused) {
  Drive t;
  t.to_sending_key();
  t.card_says(test::r_apdu({}, 0x6600), es::ExecStatus::failed);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.4", "4.2");
}

TEST(Download, WrongReceiptRaisesAnAlarm) {
  Drive t;
  t.to_sending_key();
  t.card_says(t.card.key_answer(t.shs.expose(), true));
  EXPECT_NE(t.find<Alarm>(), nullptr);
  EXPECT_EQ(t.find<SealOffline>(), nullptr);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.4", "6.1");
}

TEST(Download, MissingDrCountsAsWrongReceipt) {
  Drive t;
  t.to_sending_key();
  t.card_says(test::r_apdu(make_tlv(0x86, Bytes(16, 0)), 0x9000));
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.4", "6.1");
}

TEST(Download, KeyStepTimeoutIsNeverRepeated) {
  Drive t;
  t.to_sending_key();
  t.fail(F::send_data, CallFault::timeout);
  EXPECT_EQ(t.d.state, State::deleting);
}

TEST(Download, ScriptInParts) {
  Drive t;
  t.send_data_limit = 1100;
  t.to_installing();
  t.sealed(2500);  // 84+85 | 86 | 86 | 86
  ASSERT_GE(t.d.secrets.parts.size(), 3U);
  const Bytes all = t.installed();
  ByteView rest(all);
  std::size_t sent = 0;
  while (t.d.state == State::installing) {
    auto* x = t.call(F::send_data);
    ASSERT_NE(x, nullptr);
    EXPECT_LE(Drive::data_of(*x).size(), 1100U);
    const std::size_t n = read_tlvs(Drive::data_of(*x))->size();
    Bytes part;
    for (std::size_t i = 0; i < n; ++i) append(part, read_tlv(rest)->whole);
    sent += n;
    es::Response r = Drive::ok(F::send_data);
    r.euicc_response_data = part;
    t.feed(Answer{x->call, r});
  }
  EXPECT_EQ(sent, 5U);
  EXPECT_EQ(state_name(t.d.state), "Completing") << (t.d.cause ? t.d.cause->message : "");
}

TEST(Download, ScpErrorInASegment) {
  Drive t;
  t.to_installing();
  t.sealed();
  Bytes all = t.installed();
  ByteView v(all);
  Bytes part = concat(read_tlv(v)->whole, read_tlv(v)->whole);
  append(part, hex("9F460102"));
  t.card_says(part, es::ExecStatus::failed);
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.3", "4.2");
}

TEST(Download, WrongRMacRaisesAnAlarm) {
  Drive t;
  t.to_installing();
  t.sealed();
  Bytes all = t.installed();
  all.back() ^= 1;
  t.card_says(all);
  EXPECT_NE(t.find<Alarm>(), nullptr);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.3", "6.1");
}

TEST(Download, CounterMismatchOpensOneOnlineSession) {
  Drive t;
  t.to_installing();
  t.sealed();
  const es8::KeySet keys = t.d.secrets.keys->clone();
  Bytes iu = to_bytes(read_tlvs(t.installed())->front().whole);
  append(iu, hex("9F450102"));
  t.card_says(iu, es::ExecStatus::failed);
  ASSERT_NE(t.find<DrawChallenge>(), nullptr);
  const es8::Challenge hc{9, 9, 9, 9, 9, 9, 9, 9};
  t.feed(HostChallenge{hc});
  EXPECT_EQ(to_hex(t.call(F::send_data)->request.data), "840A3000" + to_hex(hc));
  const es8::SequenceCounter counter{0, 0, 7};
  const es8::Challenge cc = es8::card_challenge(keys, counter, Aid::of(kAid));
  const es8::SessionKeys sk = es8::session_keys(keys, hc, cc);
  Bytes answer(10, 0);
  append(answer, {0x30, 0x03, 0x70});
  append(answer, cc);
  append(answer, es8::card_cryptogram(sk, hc, cc));
  append(answer, counter);
  t.card_says(make_tlv(0x84, answer));
  auto* seal = t.find<SealOnline>();
  ASSERT_NE(seal, nullptr);
  const Bytes profile(1500, 0x33);
  auto script = es8::seal_online(seal->keys, seal->isd_p, seal->hc, seal->answer, profile);
  ASSERT_TRUE(script.ok()) << script.error().text();
  auto again = es8::seal_online(seal->keys, seal->isd_p, seal->hc, seal->answer, profile);
  t.feed(t.sealed_event(std::make_shared<es8::SealedScript>(std::move(*script))));
  t.card_says(test::CardDouble::script_answer(*again, counter, 0x30, hex("3007A0053003800100")));
  EXPECT_EQ(state_name(t.d.state), "Completing") << (t.d.cause ? t.d.cause->message : "");
}

TEST(Download, PeErrorDeletes) {
  Drive t;
  t.to_installing();
  t.sealed();
  t.card_says(t.installed("300CA00830068001038101078100"));
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.2", "4.2");
  EXPECT_NE(t.d.cause->message.find("identification 7"), std::string::npos);
}

TEST(Download, PeWarningOfANonMandatedElement) {
  Drive t;
  t.c.optional_elements = {7};
  t.to_installing();
  t.sealed();
  t.card_says(t.installed("300AA0083006800103810107"));
  EXPECT_EQ(state_name(t.d.state), "Completing") << (t.d.cause ? t.d.cause->message : "");
  t.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  t.expect_end(State::done_with_warning, "8.2", "4.2");
}

TEST(Download, PeErrorOfAMandatedElementWithoutAbort) {
  Drive t;
  t.c.optional_elements = {8};
  t.to_installing();
  t.sealed();
  t.card_says(t.installed("300AA0083006800104810107"));
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.expect_end(State::failed, "8.1", "4.8");
}

TEST(Download, Pol1ForbidsDeletionCountsAsInstalled) {
  Drive t;
  t.to_installing();
  t.sealed();
  t.card_says(t.installed("300CA00830068001038101078100"));
  es::Response r = Drive::failed(F::delete_isdp, "8.2.2", "3.8");
  r.euicc_response_data = hex("230269E1");
  t.answer(F::delete_isdp, r);
  EXPECT_EQ(state_name(t.d.state), "Completing") << (t.d.cause ? t.d.cause->message : "");
  EXPECT_NE(t.find<KeepKeySet>(), nullptr);
  t.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
  t.expect_end(State::done_with_warning, "8.2", "4.2");
}

TEST(Download, Pol1RefusalBeforeTheHeaderIsACardFault) {
  Drive t;
  t.to_sending_cert();
  t.card_says(concat(test::r_apdu({}, 0x9000), test::r_apdu({}, 0x6600)), es::ExecStatus::failed);
  t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.2.2", "3.8"));
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry(kIccid, "Created"));
  t.answer_eis(e);
  t.expect_end(State::failed, "8.8", "6.1");
  EXPECT_TRUE(t.followed());
}

TEST(Download, DeleteImpossibleKeepsTheOriginalCause) {
  Drive t;
  t.to_sending_key();
  t.card_says(t.card.key_answer(t.shs.expose(), true));
  t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "4.2"));
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry(kIccid, "Created"));
  t.answer_eis(e);
  t.expect_end(State::failed, "8.4", "6.1");
  EXPECT_TRUE(t.followed());
  EXPECT_NE(t.d.cause->message.find("ISD-P left behind: 8.4/4.2 because"), std::string::npos) << t.d.cause->message;
}

TEST(Download, DeleteIsTriedThreeTimes) {
  Drive t;
  t.to_sending_key();
  t.card_says(t.card.key_answer(t.shs.expose(), true));
  t.fail(F::delete_isdp, CallFault::timeout);
  t.feed(TimerFired{});
  t.fail(F::delete_isdp, CallFault::lost);
  t.feed(TimerFired{});
  t.fail(F::delete_isdp, CallFault::lost);
  t.answer_eis(t.eis_with("Created"));
  t.expect_end(State::failed, "8.4", "6.1");
  EXPECT_TRUE(t.followed());
  EXPECT_EQ(t.iccid_state(), IccidState::uncertain);
}

TEST(Download, CompletedRefusedButDisabledIsSuccess) {
  Drive t;
  t.to_completing();
  for (int i = 0; i < 4; ++i) {
    t.answer(F::profile_download_completed, Drive::failed(F::profile_download_completed, "8.6", "4.2"));
    ASSERT_NE(t.find<StartTimer>(), nullptr);
    t.feed(TimerFired{});
  }
  t.answer(F::profile_download_completed, Drive::failed(F::profile_download_completed, "8.6", "4.2"));
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry(kIccid, "Disabled"));
  t.answer_eis(e);
  t.expect_end(State::done);
}

TEST(Download, CompletedRefusedForGoodDeletes) {
  Drive t;
  t.to_completing();
  for (int i = 0; i < 4; ++i) {
    t.fail(F::profile_download_completed, CallFault::timeout);
    t.feed(TimerFired{});
  }
  t.answer(F::profile_download_completed, Drive::failed(F::profile_download_completed, "8.6", "4.2"));
  es::Eis e = t.eis();
  e.profiles.push_back(t.entry(kIccid, "Created"));
  t.answer_eis(e);
  EXPECT_EQ(t.d.state, State::deleting);
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  EXPECT_NE(t.find<DropKeySet>(), nullptr);
  t.expect_end(State::failed, "8.6", "4.2");
}

TEST(Download, DeadlineInEveryState) {
  {
    Drive t;
    t.feed(Start{});
    t.feed(DeadlinePassed{});
    t.expect_end(State::expired, "1.6", "5.3");
  }
  {
    Drive t;  // the ISD-P may exist: the EIS decides
    t.to_creating();
    t.feed(DeadlinePassed{});
    EXPECT_EQ(t.d.state, State::deleting);
    es::Eis e = t.eis();
    e.profiles.push_back(t.entry(kIccid, "Created"));
    t.answer_eis(e);
    t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
    t.expect_end(State::expired, "1.6", "5.3");
  }
  {
    Drive t;
    t.to_installing();
    t.sealed();
    t.feed(DeadlinePassed{});
    t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
    t.expect_end(State::expired, "1.6", "5.3");
  }
  {
    Drive t;
    t.d.order.enable = true;
    t.to_completing();
    t.answer(F::profile_download_completed, Drive::ok(F::profile_download_completed));
    t.feed(DeadlinePassed{});
    t.answer_eis(t.eis_with("Disabled"));
    t.expect_end(State::done_with_warning, "1.6", "5.3");
  }
}

TEST(Download, LateAndRepeatedAnswersAreIgnored) {
  Drive t;
  t.to_creating();
  const unsigned n = t.call(F::create_isdp)->call;
  es::Response r = Drive::ok(F::create_isdp);
  r.isd_p_aid = hex(kAid);
  t.feed(Answer{n, r});
  EXPECT_EQ(t.d.state, State::sending_cert);
  const unsigned now = t.d.pending_call;
  t.feed(Answer{n, r});
  EXPECT_EQ(t.d.state, State::sending_cert);
  EXPECT_EQ(t.d.pending_call, now);
  EXPECT_TRUE(t.effects.empty());
}

TEST(Download, EndedDownloadsIgnoreEverything) {
  Drive t;
  t.feed(Start{});
  t.feed(DeadlinePassed{});
  t.feed(TimerFired{});
  EXPECT_TRUE(t.effects.empty());
  t.feed(Restart{});
  EXPECT_TRUE(t.effects.empty());
}

// Thousands of entries that an SM-SR shows as ours: a few are cleaned away, the ordered one first, and the rest is left
// to the follow-up.
TEST(Download, OfManyStaleEntriesAFewAreCleanedAway) {
  Drive t;
  t.feed(Start{});
  es::Eis e = t.eis();
  for (int n = 0; n < 2000; ++n) e.profiles.push_back(t.entry("8" + std::to_string(100'000 + n), "Created"));
  e.profiles.push_back(t.entry(std::string(100'000, '8'), "Created"));
  e.profiles.push_back(t.entry(kIccid, "Created"));
  t.answer_eis(e);
  t.certificates_good();
  EXPECT_EQ(t.call(F::delete_isdp)->request.iccid, kIccid);
  unsigned deletions = 0;
  for (; t.d.state == State::cleaning_stale && deletions < 3000; ++deletions)
    t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  EXPECT_EQ(t.d.state, State::creating_isdp);
  EXPECT_EQ(deletions, 16U);
  EXPECT_LE(t.d.possession.iccids().size(), 70U);
}
// Every DeleteISDP ends without a word, and the EIS then shows other entries.
TEST(Download, CleaningHasItsEnd) {
  Drive t;
  t.feed(Start{});
  unsigned strange = 0;
  const auto others = [&] {
    es::Eis e = t.eis();
    for (int n = 0; n < 20; ++n) e.profiles.push_back(t.entry("8" + std::to_string(100'000 + ++strange), "Created"));
    return e;
  };
  t.answer_eis(others());
  t.certificates_good();
  unsigned rounds = 0;
  for (; t.d.state == State::cleaning_stale && rounds < 3000; ++rounds) {
    t.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "5.3"));
    if (t.d.state == State::cleaning_stale) t.answer_eis(others());
  }
  EXPECT_NE(t.d.state, State::cleaning_stale);
  EXPECT_LE(rounds, 100U);
  EXPECT_LE(t.d.possession.iccids().size(), 70U);
}

// The bare word of an SM-SR frees no ICCID of which the card may have the whole profile: an EIS has to show it gone.
TEST(Download, ADeletionThatIsOnlySaidFreesNoProfileThatWasSent) {
  for (const bool sent : {false, true}) {
    Drive t;
    if (sent)
      t.to_installing();
    else
      t.to_sending_key();
    t.feed(DeadlinePassed{});
    t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
    t.expect_end(State::expired, "1.6", "5.3");
    EXPECT_EQ(t.iccid_state(), sent ? IccidState::uncertain : IccidState::free);
    EXPECT_EQ(t.followed(), sent);
    const auto again = follow_up_from_record(to_record(with_outcome(std::nullopt, t.d, t.c.now_ms, {})), t.c.now_ms);
    EXPECT_EQ(again->possession.may_hold(kIccid, t.c.now_ms), sent) << "also in the card's record";
    t.d.possession.seen({t.c.now_ms + t.c.settle_ms, t.c.now_ms + t.c.settle_ms, {}}, t.c.settle_ms);
    EXPECT_EQ(t.iccid_state(), IccidState::free);
  }
}
// Nor does it in the order after that, which finds the ISD-P and cleans it away before its CreateISDP fails.
TEST(Download, NorDoesTheNextOrdersDeletion) {
  Drive first;
  first.to_completing();
  first.feed(DeadlinePassed{});
  first.answer(F::delete_isdp, Drive::failed(F::delete_isdp, "8.4", "4.2"));
  first.answer_eis(first.eis_with("Created"));
  ASSERT_EQ(first.iccid_state(), IccidState::uncertain);
  Drive t;
  t.d.possession =
      follow_up_from_record(to_record(with_outcome(std::nullopt, first.d, t.c.now_ms, {})), t.c.now_ms)->possession;
  t.d.order.iccid_was = IccidState::uncertain;
  t.d.order.id = "dl2";
  t.feed(Start{});
  t.answer_eis(t.eis_with("Created"));
  t.certificates_good();
  t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
  t.answer(F::create_isdp, Drive::failed(F::create_isdp, "8.1", "4.8"));
  t.expect_end(State::failed, "8.1", "4.8");
  EXPECT_EQ(t.iccid_state(), IccidState::uncertain);
}

// A request leaves us within its time-out, its ValidityPeriod counts from when it arrives, and the card takes its time.
TEST(Download, ACallMayBeExecutedForAsLongAsItTakesAtMost) {
  Drive t;
  t.to_creating();
  const std::int64_t not_after = t.call(F::create_isdp)->not_after_ms;
  EXPECT_TRUE(t.d.possession.may_appear(kIccid, not_after + 2 * t.c.timeouts.card + 999));
}

// An SM-SR is given thirty days at most, so nothing of such a call has to be waited for after them.
TEST(Download, AnOrderThatIsValidForYearsLeavesNothingToWaitForAsLong) {
  Drive t;
  t.d.order.deadline_ms = t.c.now_ms + std::int64_t{4'000'000'000} * 1000;
  t.to_creating();
  const std::int64_t not_after = t.call(F::create_isdp)->not_after_ms;
  EXPECT_EQ(not_after, t.c.now_ms + kLongestCall);
  EXPECT_FALSE(t.d.possession.may_appear(kIccid, not_after + 3 * t.c.timeouts.card));
}

// A callback whose number is that of a CreateISDP, and that answers something else, says nothing of it.
TEST(Download, AnAnswerToAnotherFunctionEndsNoCreation) {
  Drive t;
  t.to_creating();
  const unsigned n = t.call(F::create_isdp)->call;
  t.feed(CallFailed{n, CallFault::timeout, "", ""});
  es::Response r = Drive::failed(F::delete_isdp, "8.1", "4.8");
  t.feed(Answer{n, r});
  EXPECT_TRUE(t.d.possession.may_appear(kIccid, t.c.now_ms));
  r.function = F::create_isdp;
  t.feed(Answer{n, r});
  EXPECT_FALSE(t.d.possession.may_appear(kIccid, t.c.now_ms));
}

// What the inventory has as installed on this eUICC is not another order's to clean away, however the EIS shows it.
TEST(Download, WhatIsInstalledIsNotStale) {
  Drive t;
  const std::string other = "89000123456789012358";
  t.d.possession.installed(other, t.c.now_ms);
  t.c.now_ms += 10 * t.c.settle_ms;
  t.feed(Start{});
  t.answer_eis(t.eis_with("Created", other));
  t.certificates_good();
  EXPECT_EQ(t.d.state, State::creating_isdp);
}

}  // namespace
}  // namespace kf::download
