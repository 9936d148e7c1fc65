// SCP03t answers as SM-SRs and cards really send them: inside 23, refused once, or cut short by an error.
#include <gtest/gtest.h>

#include "tests/download/drive.hpp"

namespace kf::download {
namespace {

Bytes in_23(const Bytes& tlvs, bool together, bool with_status) {
  Bytes out, run;
  const auto list = read_tlvs(tlvs);
  for (const Tlv& t : *list) {
    append(run, t.whole);
    if (together) continue;
    if (with_status) append(run, {0x90, 0x00});
    append_tlv(out, 0x23, run);
    run.clear();
  }
  if (together) {
    if (with_status) append(run, {0x90, 0x00});
    append_tlv(out, 0x23, run);
  }
  return out;
}

TEST(Dialects, AnswersInside23AreTakenFromEverySmsr) {
  for (const bool together : {false, true})
    for (const bool status : {false, true}) {
      Drive t;
      ASSERT_FALSE(t.c.scp03t_in_22) << "an SM-SR that is sent bare TLVs";
      t.to_installing();
      t.sealed();
      t.card_says(in_23(t.installed(), together, status));
      EXPECT_EQ(state_name(t.d.state), "Completing") << (t.d.cause ? t.d.cause->message : "");
    }
}

TEST(Dialects, ARefusedInitializeUpdateIsRepeated) {
  for (const unsigned refusals : {1U, 2U, 3U}) {
    Drive t;
    t.c.scp03t_online = true;
    t.to_installing();
    for (unsigned i = 0; i < refusals; ++i) {
      ASSERT_NE(t.find<DrawChallenge>(), nullptr) << i;
      t.feed(HostChallenge{{9, 9, 9, 9, 9, 9, 9, static_cast<std::uint8_t>(i)}});
      t.card_says(hex("9F440102"), es::ExecStatus::failed);
    }
    if (refusals <= 2) {
      ASSERT_NE(t.find<DrawChallenge>(), nullptr);
      t.feed(HostChallenge{{1, 2, 3, 4, 5, 6, 7, 8}});
      EXPECT_NE(t.call(F::send_data), nullptr);
    } else {
      EXPECT_EQ(t.d.state, State::deleting) << "bounded";
      t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
      t.expect_end(State::failed, "8.3", "4.2");
    }
  }
}

TEST(Dialects, AnInitializeUpdateThatDidNotArriveIsSentAgain) {
  Drive t;
  t.c.scp03t_online = true;
  t.to_installing();
  t.feed(HostChallenge{{1, 2, 3, 4, 5, 6, 7, 8}});
  t.fail(F::send_data, CallFault::unreachable);
  ASSERT_NE(t.find<DrawChallenge>(), nullptr);
  t.feed(HostChallenge{{1, 2, 3, 4, 5, 6, 7, 9}});
  t.answer(F::send_data, Drive::failed(F::send_data, "8.1", "5.1"));
  EXPECT_NE(t.find<DrawChallenge>(), nullptr);
}

// Seen: 8.3/4.2 was told, 8.1/4.8 was the reason.
TEST(Dialects, ThePesOwnStatusSurvivesTheErrorBehindIt) {
  for (const bool last : {false, true}) {
    Drive t;
    t.to_installing();
    t.sealed(3000);  // three segments
    const std::size_t segments = t.keep->mcv.size() - 1;
    ASSERT_EQ(segments, 3U);
    Bytes all = test::CardDouble::script_answer(*t.keep, hex("000001"), 0x30, hex("300CA00830068001048101078100"),
                                                last ? segments : 2);
    append(all, hex("9F460102"));
    t.card_says(all, es::ExecStatus::failed);
    EXPECT_EQ(t.d.state, State::deleting);
    t.answer(F::delete_isdp, Drive::ok(F::delete_isdp));
    t.expect_end(State::failed, "8.1", "4.8");
  }
}

}  // namespace
}  // namespace kf::download
