// The reference samples: every file parses to the values it shows and survives being written again.
#include <filesystem>

#include "tests/es/support.hpp"

namespace kf::es::test {
namespace {

constexpr std::string_view kSampleEid = "89001012012341234098765432100191";
constexpr std::string_view kSampleIccid = "89000123456789012341";

class Samples : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kSampleDir)) GTEST_SKIP() << "../shared/reference/samples is absent";
  }
  static std::string file(const std::string& start) {
    for (const auto& e : std::filesystem::directory_iterator(kSampleDir)) {
      const std::string name = e.path().filename().string();
      if (name.starts_with(start) && name.ends_with(".xml")) return *read_file(e.path().string());
    }
    ADD_FAILURE() << "no sample " << start;
    return {};
  }
};

TEST_F(Samples, AllParseAndRoundTrip) {
  std::size_t messages = 0;
  std::size_t faults = 0;
  for (const auto& e : std::filesystem::directory_iterator(kSampleDir)) {
    const std::string name = e.path().filename().string();
    if (!name.ends_with(".xml")) continue;
    SCOPED_TRACE(name);
    const std::string xml = *read_file(e.path().string());
    if (name.starts_with("4")) {
      ++faults;
      const auto f = read_fault(xml);
      ASSERT_TRUE(f.ok()) << f.error().text();
      EXPECT_NE(xml.find("HTTP status: " + std::to_string(f->http_status)), std::string::npos);
      EXPECT_FALSE(f->reason.empty());
      continue;
    }
    ++messages;
    const Message m = message(xml);
    EXPECT_TRUE(m.unknown_elements.empty()) << m.unknown_elements.front();
    // The name of the file says which function and which kind.
    if (const auto* r = std::get_if<Request>(&m.body)) {
      EXPECT_NE(name.find(std::string(interface_name(r->interface)) + "-" + std::string(function_name(r->function))),
                std::string::npos);
      EXPECT_NE(name.find(is_notification(*r) ? "Notification" : "-request"), std::string::npos);
      EXPECT_EQ(r->eid, kSampleEid);
    } else if (const auto* a = std::get_if<Response>(&m.body)) {
      EXPECT_NE(name.find("response"), std::string::npos);
      if (!name.starts_with("51")) {
        EXPECT_NE(name.find(std::string(interface_name(a->interface)) + "-" + std::string(function_name(a->function))),
                  std::string::npos);
      }
      EXPECT_FALSE(m.header.relates_to.empty());
      EXPECT_EQ(a->status == ExecStatus::success, !a->code);
    }
    EXPECT_FALSE(m.header.to_entity.empty() && !name.starts_with("51"));
    EXPECT_EQ(m.header.transaction_id, "urn:uuid:966ba126-e842-4d2f-882b-b20020483b88");
    expect_round_trip(m);
  }
  EXPECT_GE(messages, 45U);
  EXPECT_EQ(faults, 4U);
}

// The Action of each sample is the one we would send to a party of the reference dialect: docs/spec/interfaces.md 1.3.
TEST_F(Samples, ActionsAreTheOnesWeSend) {
  for (const auto& e : std::filesystem::directory_iterator(kSampleDir)) {
    const std::string name = e.path().filename().string();
    if (!name.ends_with(".xml") || name.starts_with("4") || name.starts_with("5")) continue;
    SCOPED_TRACE(name);
    const Message m = message(*read_file(e.path().string()));
    const bool callback = m.header.action.find("CallBack") != std::string::npos;
    if (const auto* r = std::get_if<Request>(&m.body)) {
      EXPECT_EQ(action_of(*r, Dialect::reference), m.header.action);
    } else {
      const auto& a = std::get<Response>(m.body);
      EXPECT_EQ(action_of(a, callback ? Way::callback : Way::answer, Dialect::reference), m.header.action);
    }
  }
}

TEST_F(Samples, Order) {
  const Message m = message(file("01-"));
  EXPECT_EQ(m.header.from_entity, "2.999.10");
  EXPECT_EQ(m.header.from_name, "Operator-X");
  EXPECT_EQ(m.header.to_entity, "2.999.20");
  EXPECT_EQ(m.header.reply_to, "https://operator.example/es2/callback?EntityId=2.999.10&EntityName=Operator-X");
  EXPECT_EQ(m.header.message_id,
            make_message_id("2.999.10", "3b6f803f-ccf2-4f37-8a57-4776c8f6f713",
                            "urn:uuid:966ba126-e842-4d2f-882b-b20020483b88", "2026-03-02T09:00:00Z"));
  EXPECT_EQ(m.header.from, make_address("https://operator.example/es2", "2.999.10", "Operator-X"));
  Request expected;
  expected.function = Function::download_profile;
  expected.function_call_identifier = "op-call-000117";
  expected.validity_period = 7200;
  expected.eid = kSampleEid;
  expected.smsr_id = "2.999.30";
  expected.iccid = std::string(kSampleIccid);
  expected.enable_profile = true;
  EXPECT_TRUE(std::get<Request>(m.body) == expected);
}

TEST_F(Samples, Eis) {
  const std::string xml = file("03-");
  const Eis e = *body<Response>(xml).eis;
  EXPECT_EQ(e.eid, kSampleEid);
  EXPECT_EQ(e.platform_type, "SimChip-1");
  EXPECT_TRUE(e.http_support);
  EXPECT_EQ(e.http_version, "1.1.3");
  ASSERT_EQ(e.ecasd.keysets.size(), 1U);
  ASSERT_EQ(e.ecasd.keysets[0].certificates.size(), 1U);
  EXPECT_EQ(e.ecasd.keysets[0].certificates[0].size(), 0xD8U + 4U);
  EXPECT_EQ(e.ecasd.keysets[0].certs[0].ca_id, "883728");
  ASSERT_EQ(e.profiles.size(), 1U);
  EXPECT_EQ(e.profiles[0].state, "Created");
  EXPECT_EQ(e.profiles[0].smdp_id, "2.999.20");
  EXPECT_EQ(e.profiles[0].pol2, Pol2{});
  EXPECT_EQ(e.isd_r.tars, std::vector<std::string>{"000001"});
  const auto golden = read_file(kSampleDir + "golden.json");
  ASSERT_TRUE(golden && e.eum_certificate);
  EXPECT_NE(golden->find(to_hex(*e.eum_certificate)), std::string::npos) << "in.eum_x509";
  EXPECT_NE(golden->find(to_hex(e.ecasd.keysets[0].certificates[0])), std::string::npos) << "CERT.ECASD.ECKA";
  // Relayed: the content of EumSignature as it was, the prefix ds declared on its three children.
  std::string raw = e.eum_signature_xml;
  for (const char* child : {"SignedInfo", "SignatureValue", "KeyInfo"}) {
    raw = replaced(raw, "<ds:" + std::string(child) + " xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"",
                   "<ds:" + std::string(child));
  }
  EXPECT_NE(xml.find(raw), std::string::npos);
}

TEST_F(Samples, CreateAndSend) {
  const auto create = body<Request>(file("06-"));
  EXPECT_EQ(create.mno_id, "2.999.10");
  EXPECT_EQ(create.required_memory, 65536U);
  EXPECT_EQ(create.more_to_do, true);
  EXPECT_EQ(to_hex(body<Response>(file("07-")).isd_p_aid), "A0000005591010FFFFFFFF8900001300");
  EXPECT_EQ(body<Response>(file("07b-")).code,
            (StatusCode{"8.1", "4.8", std::string(kSampleEid), "INSTALL refused with SW 6A84"}));
  const auto golden = read_file(kSampleDir + "golden.json");
  for (const char* f : {"08-", "10-", "12-", "14-"}) {
    const auto r = body<Request>(file(f));
    EXPECT_EQ(r.function, Function::send_data);
    EXPECT_EQ(r.more_to_do, true);
    EXPECT_EQ(r.sd_aid.size(), 16U);
    EXPECT_NE(file(f).find(to_hex(r.data)), std::string::npos);
  }
  EXPECT_EQ(to_hex(*body<Response>(file("15-")).euicc_response_data),
            "861862B94CD28F9BA74DFC37B9B357420317C786DAD29129AB3D");
  const auto done = body<Request>(file("16-"));
  EXPECT_EQ(done.profile_type, "Keyferry sample profile");
  EXPECT_EQ(done.subscription, (SubscriptionAddress{"001010123456789", "447700900123"}));
  EXPECT_EQ(done.pol2, (Pol2{{"PROFILE", "DELETE", "Not-Allowed"}}));
}

TEST_F(Samples, Outcomes) {
  EXPECT_EQ(body<Response>(file("20-")).status, ExecStatus::success);
  EXPECT_EQ(body<Response>(file("20-")).iccid, std::string(kSampleIccid));
  EXPECT_EQ(body<Response>(file("20b-")).status, ExecStatus::with_warning);
  EXPECT_EQ(body<Response>(file("20c-")).code->reason, "6.1");
  EXPECT_EQ(body<Response>(file("20d-")).status, ExecStatus::expired);
  EXPECT_EQ(body<Request>(file("30-")).completion_timestamp, "2026-03-02T09:02:20Z");
}

TEST_F(Samples, Polling) {
  const Message poll = message(file("50-"));
  const std::string address = std::string(kMakeConnectionPrefix) + "f48d23a3-0587-4701-8591-93123a01411d";
  EXPECT_EQ(std::get<MakeConnection>(poll.body).address, address);
  const Message m = message(file("51-"));
  EXPECT_EQ(m.header.to, address);
  EXPECT_EQ(m.header.message_pending, false);
  EXPECT_EQ(std::get<Response>(m.body).function, Function::download_profile);
}

// Our faults say what the samples say.
TEST_F(Samples, Faults) {
  const auto same = [](const std::string& sample, const Fault& ours) {
    const auto expected = read_fault(sample);
    const auto written = read_fault(write_fault(ours));
    ASSERT_TRUE(expected.ok() && written.ok());
    EXPECT_EQ(written->code, expected->code);
    EXPECT_EQ(written->subcode, expected->subcode);
    EXPECT_EQ(written->http_status, expected->http_status);
    EXPECT_EQ(written->header.action, expected->header.action);
    EXPECT_EQ(written->header.relates_to, expected->header.relates_to);
  };
  const std::string xml = file("01-");
  const Fault schema = fault(replaced(xml, kSampleEid, "123"));
  EXPECT_EQ(schema.reason, read_fault(file("40-"))->reason);
  same(file("40-"), schema);
  same(file("41-"), fault(replaced(replaced(xml, "rps:ES2-DownloadProfileRequest", "rps:ES2-Nothing"),
                                   "/rps:ES2-DownloadProfileRequest", "/rps:ES2-Nothing")));
  std::string without = xml;
  const std::size_t from = without.find("<wsa:MessageID>");
  without.erase(from, without.find("</wsa:MessageID>") + 16 - from);
  EXPECT_EQ(fault(without).reason, read_fault(file("42-"))->reason);
  same(file("42-"), fault(without));
  Fault receiver;
  receiver.http_status = 500;
  receiver.code = FaultCode::receiver;
  receiver.reason = "Temporary failure, nothing was done, send again";
  receiver.header = message(xml).header;
  same(file("43-"), receiver);
}

}  // namespace
}  // namespace kf::es::test
