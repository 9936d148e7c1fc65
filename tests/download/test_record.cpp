// What is persisted of a download, and that nothing secret is.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "host/download/codes.hpp"
#include "host/download/record.hpp"

namespace kf::download {
namespace {

TEST(Record, RoundTrip) {
  Download d;
  d.order.id = "abc";
  d.order.requester = *parse_oid("2.999.10");
  d.order.function_call_identifier = "call \"1\"";
  d.order.eid = Eid::trusted("89001012012341234098765432100191");
  d.order.iccid = Iccid::trusted("89000123456789012341");
  d.order.smsr = *parse_oid("2.999.30");
  d.order.enable = true;
  d.order.profile_type = "Type é";
  d.order.pol2 = es::Pol2{{"PROFILE", "DELETE", "Not-Allowed"}};
  d.order.deadline_ms = 123456789;
  d.state = State::deleting;
  d.isd_p_aid = "A0000005591010FFFFFFFF8900001300";
  d.cause = Cause{"8.4", "6.1", "x", "receipt differs"};
  d.header_taken = d.again_after_delete = true;
  d.calls = 7;
  const auto r = from_record(to_record(d));
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(to_record(*r), to_record(d));
  EXPECT_EQ(r->order.pol2, d.order.pol2);
  EXPECT_EQ(r->cause->message, "receipt differs");
}

TEST(Record, HoldsNoSecret) {
  Download d;
  d.order.id = "abc";
  d.order.subscription = {"001010123456789", "447700900123"};
  d.state = State::sending_key;
  d.rc = Bytes(16, 0xC1);
  for (auto& b : d.secrets.shs.expose_mut()) b = 0xAB;
  d.secrets.keys =
      es8::KeySet{SecretBytes(Bytes(16, 0xAC)), SecretBytes(Bytes(16, 0xAD)), SecretBytes(Bytes(16, 0xAE)), 0x30};
  const std::string text = to_record(d);
  for (const char* secret : {"ABAB", "ACAC", "ADAD", "AEAE", "abab", "acac", "C1C1", "001010123456789", "447700900123"})
    EXPECT_EQ(text.find(secret), std::string::npos) << secret;
}

TEST(Record, BrokenOnesAreRefused) {
  EXPECT_FALSE(from_record("").ok());
  EXPECT_FALSE(from_record("{}").ok());
  EXPECT_FALSE(from_record("{\"id\":1}").ok());
}

// An SM-SR's Status of 79 letters and one of two bytes, cut at byte 80: writing the record threw, in a timer, and again
// after every restart.
TEST(Record, TextOfAPeerCanAlwaysBeWritten) {
  const std::string cut = std::string(79, 'x') + "\xC3";
  for (const std::string& poison : {cut, std::string("\xFF\xFE"), std::string("\xED\xA0\x80"), std::string(1, '\0')}) {
    Download d;
    d.order.id = "abc";
    d.order.eid = Eid::trusted("89001012012341234098765432100191");
    d.order.function_call_identifier = d.order.profile_type = d.isd_p_aid = poison;
    d.cause = d.warning = Cause{poison, poison, poison, poison, poison};
    d.order.pol2 = es::Pol2{{poison, poison, poison}};
    const auto r = from_record(to_record(d));
    ASSERT_TRUE(r.ok()) << r.error().text();
    EXPECT_EQ(r->order.id, "abc");
  }
}

// What an order knew of its card is the card's when it has ended: in each of its orders' records it would be kept for
// months, as often as there were orders.
TEST(Record, OneThatHasEndedHoldsNoLedger) {
  Download d;
  d.order.id = "abc";
  d.order.iccid = Iccid::trusted("89000123456789012341");
  for (int i = 0; i < 200; ++i) d.possession.claimed("89000123456789" + std::to_string(100'000 + i), 0);
  d.possession.creation_asked("abc.2", d.order.iccid.str(), 0, 1000);
  d.calls = 2;
  d.state = State::creating_isdp;
  const std::string running = to_record(d);
  EXPECT_EQ(from_record(running)->possession.size(), 201U);
  d.state = State::failed;
  const std::string over = to_record(d);
  EXPECT_LT(over.size(), 500U) << running.size() << " octets while it runs";
  ASSERT_TRUE(from_record(over).ok());
  EXPECT_EQ(from_record(over)->possession.size(), 0U) << "nor is one made up";
  // Of a program that wrote it all the same.
  auto old = nlohmann::json::parse(running);
  old["state"] = "Failed";
  EXPECT_EQ(from_record(old.dump())->possession.size(), 201U);
}

// Of a program without a ledger: taken up once it stood in GettingEis, whatever the life before had made.
TEST(Record, OldOnesThatMayHaveMadeSomethingAreTakenForTheWorst) {
  const std::string iccid = "89000123456789012341";
  const auto read = [&](const char* state, const std::function<void(nlohmann::json&)>& change) {
    Download d;
    d.order.id = "abc";
    d.order.iccid = Iccid::trusted(iccid);
    d.order.deadline_ms = 1000;
    auto j = nlohmann::json::parse(to_record(d));
    j.erase("possession");
    j["state"] = state;
    j["on_card"] = false;
    j["open"] = nlohmann::json::array();
    change(j);
    return from_record(j.dump())->possession;
  };
  for (const char* state : {"GettingEis", "Checking"}) {
    EXPECT_FALSE(read(state, [](auto& j) { j["calls"] = 1; }).knows(iccid));
    EXPECT_TRUE(read(state, [](auto& j) { j["on_card"] = true; }).may_hold(iccid, 0));
    EXPECT_TRUE(read(state, [](auto& j) { j["open"] = {3}; }).may_appear(iccid, 999));
    EXPECT_TRUE(read(state, [](auto& j) { j["calls"] = 1001; }).may_appear(iccid, 999));
  }
}

TEST(Codes, TextOfAPeerIsCutOnCharacters) {
  es::Response r;
  r.code = es::StatusCode{std::string(79, 'x') + "\xC3", "4.2", std::string(127, 'x') + "\xC3\xA9",
                          std::string(499, 'x') + "\xC3\xA9"};
  const Cause c = passed_on(r, {});
  EXPECT_EQ(c.subject, std::string(32, 'x'));
  EXPECT_EQ(c.identifier, std::string(127, 'x'));
  EXPECT_EQ(c.message, std::string(499, 'x'));
  const Error bad{"bad-signature", "\xFF"};
  EXPECT_EQ(certificate_cause(bad, CertificateTrouble::ecasd, Eid()).message, "CERT.ECASD.ECKA: bad-signature (?)");
  EXPECT_EQ(certificate_cause(bad, CertificateTrouble::eum, Eid()).message, "EUM certificate: bad-signature (?)");
}

TEST(States, HaveNamesThatReadBack) {
  for (int i = 0; i <= static_cast<int>(State::expired); ++i) {
    const auto s = static_cast<State>(i);
    EXPECT_EQ(state_by_name(state_name(s)), s);
  }
  EXPECT_FALSE(state_by_name("Nonsense").has_value());
}

}  // namespace
}  // namespace kf::download
