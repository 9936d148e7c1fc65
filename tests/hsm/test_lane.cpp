// The lane's bookkeeping and the wire's readers, without processes.
#include <gtest/gtest.h>

#include "hsm/engine/lane.hpp"

namespace kf::hsm {
namespace {

EccRequest request(std::uint64_t id) {
  EccRequest r;
  r.id = id;
  r.op = EccOp::ephemeral_ecka;
  return r;
}
wire::DoneEntry answer_to(const wire::JobEntry& j) {
  wire::DoneEntry d{};
  d.tag = j.tag;
  d.op = j.op;
  d.status = static_cast<std::uint8_t>(EccStatus::ok);
  d.shs[31] = 0x5A;
  return d;
}

TEST(Lane, CompletesEachEntryOnceAndRecognisesLateAnswers) {
  Lane lane(2);
  lane.accept(request(7));
  lane.accept(request(8));
  EXPECT_TRUE(lane.full());
  std::array<wire::JobEntry, 4> jobs{};
  ASSERT_EQ(lane.peek(jobs), 2U);
  EXPECT_FALSE(lane.complete(answer_to(jobs[0]))) << "not sent yet";
  lane.mark_sent(2);
  EXPECT_TRUE(lane.complete(answer_to(jobs[1])));
  EXPECT_FALSE(lane.complete(answer_to(jobs[1]))) << "twice";
  EccCompletion c;
  ASSERT_TRUE(lane.collect(c));
  EXPECT_EQ(c.id, 8U);
  EXPECT_EQ(c.shs.expose()[31], 0x5A);
  EXPECT_FALSE(lane.collect(c));
  EXPECT_EQ(lane.fail_all(EccStatus::engine_down), 1U);
  ASSERT_TRUE(lane.collect(c));
  EXPECT_EQ(c.id, 7U);
  EXPECT_EQ(c.status, EccStatus::engine_down);
  EXPECT_EQ(c.shs.expose()[31], 0);
  lane.accept(request(9));  // takes an entry that lived before
  std::array<wire::JobEntry, 4> again{};
  ASSERT_EQ(lane.peek(again), 1U);
  lane.mark_sent(1);
  EXPECT_FALSE(lane.complete(answer_to(jobs[0])));
  EXPECT_FALSE(lane.complete(answer_to(jobs[1])));
  wire::DoneEntry foreign = answer_to(again[0]);
  foreign.tag = 0xFFFFFFFFFFFFFFFF;
  EXPECT_FALSE(lane.complete(foreign));
  EXPECT_TRUE(lane.complete(answer_to(again[0])));
}

TEST(Wire, ReaderRefusesWhatIsTruncatedOrTooLong) {
  wire::Writer w;
  w.u32(5);
  w.field("abc");
  const ByteView all = w.bytes();
  for (std::size_t n = 0; n < all.size(); ++n) {
    wire::Reader r(all.first(n));
    r.u32();
    r.field();
    EXPECT_FALSE(r.at_end()) << n;
  }
  wire::Reader r(all);
  EXPECT_EQ(r.u32(), 5U);
  EXPECT_EQ(r.string(), "abc");
  EXPECT_TRUE(r.at_end());
  wire::Writer lying;
  lying.u32(0xFFFFFFF0U);  // a length far beyond the message
  wire::Reader l(lying.bytes());
  EXPECT_TRUE(l.field().empty());
  EXPECT_FALSE(l.ok());
}

TEST(Wire, ConfigurationAndAnswersRoundTrip) {
  wire::Configuration c;
  c.module_path = "/m.so";
  c.token_uri = "pkcs11:token=a%20b";
  c.pin_env = "P";
  c.wrap_key_label = "KEK";
  c.keys = {{0x00, "one"}, {0x03, "two"}};
  const auto d = wire::Configuration::decode(c.encode().expose());
  ASSERT_TRUE(d);
  EXPECT_EQ(d->token_uri, c.token_uri);
  ASSERT_EQ(d->keys.size(), 2U);
  EXPECT_EQ(d->keys[1].label, "two");
  EXPECT_FALSE(d->allow_test_import);
  const SecretBytes whole = c.encode();
  EXPECT_FALSE(wire::Configuration::decode(whole.expose().first(whole.size() - 1)));
  const auto e = wire::decode_answer(wire::encode_answer(Error{"hsm-pin", "why"}).expose());
  ASSERT_FALSE(e);
  EXPECT_EQ(e.error().text(), "hsm-pin: why");
  EXPECT_EQ(wire::decode_answer({}).error().reason, "hsm-worker");
}

}  // namespace
}  // namespace kf::hsm
