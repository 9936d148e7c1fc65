// The project's own messages: every value that a message carries is read, in whatever spelling XML allows.
#include "tests/es/support.hpp"

namespace kf::es::test {
namespace {

TEST(Messages, OrderByIccidInUnusualSpelling) {
  const Message m = message(own("order-by-iccid.xml"));
  EXPECT_EQ(m.ns, kNs3);
  EXPECT_EQ(m.header.from, "https://mno.test/in?EntityId=2.999.7&EntityName=Grid%20%26%20Meter&UserName=u");
  EXPECT_EQ(m.header.from_entity, "2.999.7");
  EXPECT_EQ(m.header.from_name, "Grid & Meter");
  EXPECT_EQ(m.header.to, "https://dp.test/es2?EntityId=2.999.8");
  EXPECT_EQ(m.header.to_entity, "2.999.8");
  EXPECT_EQ(m.header.reply_to, std::string(kMakeConnectionPrefix) + "77");
  EXPECT_EQ(m.header.message_id, "//2.999.7/call?TransactionId=tx-1&ContextId=c9&MessageDate=2026-05-01T08:00:00Z");
  EXPECT_EQ(m.header.transaction_id, "tx-1");
  EXPECT_EQ(m.header.relates_to, "");
  EXPECT_EQ(m.header.action, "http://gsma.com/ES2/ProfileManagent/ES2-DownloadProfileRequest");
  const auto& r = std::get<Request>(m.body);
  EXPECT_EQ(r.interface, Interface::es2);
  EXPECT_EQ(r.function, Function::download_profile);
  EXPECT_EQ(r.function_call_identifier, "meter <7 & 8>");
  EXPECT_EQ(r.validity_period, 600U);
  EXPECT_EQ(r.eid, kEid);
  EXPECT_EQ(r.smsr_id, "2.999.9");
  EXPECT_EQ(r.iccid, std::string(kIccid));
  EXPECT_FALSE(r.profile_type);
  EXPECT_TRUE(r.enable_profile);
  EXPECT_EQ(m.unknown_elements, (std::vector<std::string>{"Urgency", "{urn:test:hint}Hint"}));
  expect_round_trip(m);
}

TEST(Messages, OrderByType) {
  const Message m = message(own("order-by-type.xml"));
  const auto& r = std::get<Request>(m.body);
  EXPECT_EQ(r.profile_type, "Meter \xE2\x80\x94 5\xE2\x82\xAC");
  EXPECT_FALSE(r.iccid);
  EXPECT_FALSE(r.validity_period);
  EXPECT_FALSE(r.enable_profile) << "absent means false";
  EXPECT_EQ(m.header.reply_to, "");
  EXPECT_EQ(m.header.relates_to, "") << "another relation than reply";
  EXPECT_EQ(m.header.transaction_id, "");
  expect_round_trip(m);
}

TEST(Messages, EmptyPol2DiffersFromNone) {
  const std::string xml = own("policy-none.xml");
  const Message m = message(xml);
  const auto& r = std::get<Request>(m.body);
  ASSERT_TRUE(r.pol2);
  EXPECT_TRUE(r.pol2->empty());
  EXPECT_EQ(r.iccid, "8988303000000614232");
  expect_round_trip(m);
  const Message none = message(replaced(xml, "<r:pol2/>", ""));
  EXPECT_FALSE(std::get<Request>(none.body).pol2);
  expect_round_trip(none);
  const std::string two = replaced(xml, "<r:pol2/>",
                                   "<r:pol2><r:Rule><r:Subject>PROFILE</r:Subject><r:Action>DELETE</"
                                   "r:Action><r:Qualification>Not-Allowed</r:Qualification></r:Rule>"
                                   "<r:rules><r:Subject>PROFILE</r:Subject><r:Action>DISABLE</"
                                   "r:Action><r:Qualification>Auto-Delete</r:Qualification></r:rules></r:pol2>");
  const Message rules = message(two);
  EXPECT_EQ(std::get<Request>(rules.body).pol2,
            (Pol2{{"PROFILE", "DELETE", "Not-Allowed"}, {"PROFILE", "DISABLE", "Auto-Delete"}}));
  expect_round_trip(rules);
}

TEST(Messages, Eis) {
  const Message m = message(own("eis.xml"));
  EXPECT_EQ(m.header.relates_to, "//dp.test/8?TransactionId=t8&MessageDate=2026-05-01T08:00:00Z");
  EXPECT_EQ(m.unknown_elements, std::vector<std::string>{"EmergencyProfileAttribute"});
  const auto& r = std::get<Response>(m.body);
  EXPECT_EQ(r.status, ExecStatus::success);
  EXPECT_FALSE(r.code);
  ASSERT_TRUE(r.eis);
  const Eis& e = *r.eis;
  EXPECT_EQ(e.eid, kEid);
  EXPECT_EQ(e.eum_id, "2.999.4");
  EXPECT_EQ(e.production_date, "2025-02-03T04:05:06.789+01:00");
  EXPECT_EQ(e.platform_type, "Chip A");
  EXPECT_EQ(e.platform_version, "1.2.3");
  EXPECT_EQ(e.isdp_loadfile_aid, "A0000005591010FFFFFFFF8900000D00") << "upper case";
  EXPECT_EQ(e.isdp_module_aid, "A0000005591010FFFFFFFF8900000E00");
  EXPECT_EQ(e.ecasd.aid, "A0000005591010FFFFFFFF8900000200");
  EXPECT_EQ(e.ecasd.tars, (std::vector<std::string>{"000002", "B20102"}));
  EXPECT_EQ(e.ecasd.sin, "4201");
  EXPECT_EQ(e.ecasd.sdin, "");
  EXPECT_EQ(e.ecasd.role, "ECASD");
  ASSERT_EQ(e.ecasd.keysets.size(), 2U);
  const auto& k = e.ecasd.keysets[0];
  EXPECT_EQ(k.version, "116");
  EXPECT_EQ(k.type, "CA");
  EXPECT_EQ(k.cntr, "0");
  EXPECT_EQ(k.certificates, (std::vector<Bytes>{hex("7F210493020101"), hex("7F2100")}));
  ASSERT_EQ(k.certs.size(), 2U);
  EXPECT_EQ(k.certs[1], (SecurityDomain::Keyset::Cert{"3", "43", hex("7F2100")}));
  EXPECT_TRUE(e.cattp_support);
  EXPECT_EQ(e.cattp_version, "6.13.0");
  EXPECT_FALSE(e.http_support);
  EXPECT_EQ(e.http_version, "");
  EXPECT_EQ(e.secure_packet_version, "12.1.0");
  EXPECT_EQ(e.remote_provisioning_version, "4.2.0");
  EXPECT_EQ(e.remaining_memory, 393216U);
  EXPECT_EQ(e.available_memory, 524288U);
  EXPECT_EQ(e.last_audit_date, "2026-01-01T00:00:00Z");
  EXPECT_EQ(e.smsr_id, "2.999.9");
  ASSERT_EQ(e.profiles.size(), 2U);
  const ProfileInfo first{std::string(kIccid),
                          "A0000005591010FFFFFFFF8900001000",
                          "2.999.7",
                          true,
                          {"001010000000001", "4670000001"},
                          "Enabled",
                          "2.999.8",
                          "Meter",
                          70000,
                          0,
                          Pol2{{"PROFILE", "DISABLE", "Auto-Delete"}}};
  EXPECT_TRUE(e.profiles[0] == first);
  EXPECT_EQ(e.profiles[1].state, "Created");
  EXPECT_EQ(e.profiles[1].smdp_id, "");
  EXPECT_FALSE(e.profiles[1].fallback);
  EXPECT_FALSE(e.profiles[1].free_memory);
  EXPECT_FALSE(e.profiles[1].pol2);
  EXPECT_EQ(e.isd_r.role, "ISD-R");
  EXPECT_TRUE(e.isd_r.keysets.empty());
  ASSERT_TRUE(e.eum_certificate);
  EXPECT_EQ(*e.eum_certificate, hex("308201000102")) << "the first certificate of KeyInfo, base64 with line breaks";
  expect_round_trip(m);
}

// What the EUM signed has to survive the relay octet for octet; only inherited namespace declarations are added.
TEST(Messages, EumSignatureIsKeptAsReceived) {
  const std::string xml = own("eis.xml");
  const Eis e = *body<Response>(xml).eis;
  const std::size_t from = xml.find("<SignedInfo>");
  const std::size_t to = xml.find("\n        </r:EumSignature>");
  std::string expected = xml.substr(from, to - from);
  const std::string ds = " xmlns=\"http://www.w3.org/2000/09/xmldsig#\"";
  expected = replaced(expected, "<SignedInfo", "<SignedInfo" + ds + " xmlns:xx=\"urn:test:xx\"");
  expected = replaced(expected, "<SignatureValue", "<SignatureValue" + ds);
  expected = replaced(expected, "<KeyInfo", "<KeyInfo" + ds);
  EXPECT_EQ(e.eum_signature_xml, expected);
  // In another envelope, with other bindings around it, it still says the same, and nothing is added twice.
  Response r;
  r.function = Function::get_eis;
  r.eis = e;
  SendHeader h{
      "a?EntityId=1.2", "b", "", "//1.2/x", "", action_for(Interface::es2, Function::get_eis, Way::answer), {}};
  const Eis again = *body<Response>(write_message(h, r)).eis;
  EXPECT_EQ(again.eum_signature_xml, expected);
  EXPECT_TRUE(again == e);
}

TEST(Messages, EumCertificateThatIsNotBase64IsEmptyNotAbsent) {
  const std::string xml = own("eis.xml");
  const auto bad = body<Response>(replaced(xml, "MIIB", "M*IB"));
  ASSERT_TRUE(bad.eis->eum_certificate);
  EXPECT_TRUE(bad.eis->eum_certificate->empty());
  std::string none = replaced(xml, "<KeyInfo>", "<KeyNone>");
  none = replaced(none, "</KeyInfo>", "</KeyNone>");
  EXPECT_FALSE(body<Response>(none).eis->eum_certificate);
  std::string wrapped = replaced(xml, "<SignedInfo>", "<Signature><SignedInfo>");
  wrapped = replaced(wrapped, "</KeyInfo>", "</KeyInfo></Signature>");
  EXPECT_EQ(body<Response>(wrapped).eis->eum_certificate, hex("308201000102"));
}

TEST(Messages, WriteEisStandsAlone) {
  const Eis e = *body<Response>(own("eis.xml")).eis;
  const std::string alone = write_eis(e);
  EXPECT_EQ(alone.substr(0, 70), "<rps:Eis xmlns:rps=\"http://namespaces.gsma.org/esim-messaging/3\"><rps:");
  const std::string xml = envelope({"http://gsma.com/ES3/ProfileManagement/ES3-GetEIS",
                                    "<r:ES3-GetEISResponse>" + kOk + alone + "</r:ES3-GetEISResponse>"});
  EXPECT_TRUE(*body<Response>(xml).eis == e);
}

TEST(Messages, CardErrorInAnyOrder) {
  const Message m = message(own("send-data-refused.xml"));
  const auto& r = std::get<Response>(m.body);
  EXPECT_EQ(r.function, Function::send_data);
  EXPECT_EQ(r.status, ExecStatus::failed);
  EXPECT_EQ(r.code, (StatusCode{"8.4", "4.2", "", "no & never"}));
  EXPECT_EQ(r.euicc_response_data, hex("23026A80"));
  EXPECT_FALSE(r.bad_euicc_response_data);
  EXPECT_EQ(m.header.relates_to, "//dp.test/10");
  expect_round_trip(m);
}

TEST(Messages, NotificationOfANewerSchema) {
  const Message m = message(own("notification-new-schema.xml"));
  const auto& r = std::get<Request>(m.body);
  EXPECT_EQ(r.interface, Interface::es3);
  EXPECT_EQ(r.function, Function::handle_profile_downloaded);
  EXPECT_TRUE(is_notification(r));
  EXPECT_EQ(r.eid, kEid);
  EXPECT_EQ(r.iccid, "8988303000000614232");
  EXPECT_FALSE(r.mno_id.empty());
  EXPECT_EQ(r.completion_timestamp, "2026-05-01T08:00:00");
  EXPECT_EQ(m.unknown_elements, std::vector<std::string>{"ProfileType"});
  expect_round_trip(m);
}

TEST(Messages, PollWithoutFrom) {
  const std::string xml = own("poll.xml");
  const Message m = message(xml);
  EXPECT_EQ(std::get<MakeConnection>(m.body).address, std::string(kMakeConnectionPrefix) + "77");
  EXPECT_EQ(m.header.from, "");
  expect_round_trip(m);
  CodecOptions o;
  o.from_when_missing = make_address("https://mno.test/", "2.999.7", "Grid");
  EXPECT_EQ(message(xml, o).header.from_entity, "2.999.7");
  EXPECT_EQ(message(xml, o).header.from_name, "Grid");
  o.from_when_missing = "2.999.7";
  EXPECT_EQ(message(xml, o).header.from_entity, "2.999.7");
  std::string no_from = order();
  no_from.erase(no_from.find("<wsa:From>"), no_from.find("<wsa:To>") - no_from.find("<wsa:From>"));
  EXPECT_EQ(message(no_from, o).header.from_entity, "2.999.7") << "where the connection says who it is";
  EXPECT_EQ(fault(no_from).reason, "wsa:From is missing");
}

TEST(Messages, StatusInBothSpellingsAndUnknown) {
  const auto with = [](std::string_view status, std::string_view code = "") {
    return body<Response>(request(Interface::es3, "EnableProfile",
                                  "<r:FunctionExecutionStatus><r:Status>" + std::string(status) + "</r:Status>" +
                                      std::string(code) + "</r:FunctionExecutionStatus>",
                                  "Response"));
  };
  EXPECT_EQ(with("EXECUTED_SUCCESS").status, ExecStatus::success);
  EXPECT_EQ(with(" Executed-Success\n").status, ExecStatus::success);
  EXPECT_EQ(with("EXECUTED_WITHWARNING").status, ExecStatus::with_warning);
  EXPECT_EQ(with("Executed-WithWarning").status, ExecStatus::with_warning);
  EXPECT_EQ(with("FAILED").status, ExecStatus::failed);
  EXPECT_EQ(with("Failed").status, ExecStatus::failed);
  EXPECT_FALSE(with("Failed").code);
  EXPECT_EQ(with("EXPIRED").status, ExecStatus::expired);
  EXPECT_EQ(with("Expired").status, ExecStatus::expired);
  EXPECT_EQ(with("MAYBE").status, ExecStatus::failed);
  EXPECT_TRUE(with("MAYBE").unknown_status) << "it may have been executed";
  EXPECT_FALSE(with("FAILED").unknown_status);
  ASSERT_TRUE(with("MAYBE").code);
  EXPECT_EQ(with("MAYBE").code->message, "Status 'MAYBE' is not known");
  EXPECT_EQ(with("").status, ExecStatus::failed);
  const auto both = with("MAYBE",
                         "<r:StatusCodeData><r:Subject>8.1</r:Subject><r:Reason>4.8</r:Reason><r:Message>m</"
                         "r:Message></r:StatusCodeData>");
  EXPECT_EQ(both.code, (StatusCode{"8.1", "4.8", "", "m; Status 'MAYBE' is not known"}));
}

TEST(Messages, EuiccResponseDataThatIsNotHexIsNoFault) {
  const auto with = [](std::string_view data) {
    return body<Response>(request(Interface::es3, "SendData", kOk + element("EuiccResponseData", data), "Response"));
  };
  EXPECT_EQ(with("9000").euicc_response_data, hex("9000"));
  EXPECT_EQ(with("\n  6f0a\t").euicc_response_data, hex("6F0A"));
  EXPECT_EQ(with("").euicc_response_data, Bytes{});
  for (const char* bad : {"900", "90 00", "zz", "90<r:x/>00"}) {
    EXPECT_TRUE(with(bad).bad_euicc_response_data) << bad;
    EXPECT_FALSE(with(bad).euicc_response_data) << bad;
  }
}

TEST(Messages, AcceptableValidityPeriodAndTimes) {
  const auto r = body<Response>(
      request(Interface::es2, "DownloadProfile",
              element("ProcessingStart", "2026-05-01T08:00:00Z") + element("ProcessingEnd", "2026-05-01T08:00:01Z") +
                  element("AcceptableValidityPeriod", "900") +
                  "<r:FunctionExecutionStatus><r:Status>EXPIRED</r:Status></r:FunctionExecutionStatus>" + kIccidElement,
              "Response"));
  EXPECT_EQ(r.processing_start, "2026-05-01T08:00:00Z");
  EXPECT_EQ(r.processing_end, "2026-05-01T08:00:01Z");
  EXPECT_EQ(r.acceptable_validity_period, 900U);
  EXPECT_EQ(r.iccid, std::string(kIccid));
}

// What is known by name only: read as far as an answer needs, never a fault.
TEST(Messages, NotImplementedFunctionsAreReadLeniently) {
  auto r = body<Request>(
      request(Interface::es2, "SetPLMA", kCall + kEidElement + element("Iccid", "12") + kIccidElement + "text"));
  EXPECT_EQ(r.function, Function::other);
  EXPECT_EQ(r.other_name, "SetPLMA");
  EXPECT_EQ(r.function_call_identifier, "c1");
  EXPECT_EQ(r.eid, kEid);
  EXPECT_EQ(r.iccid, std::string(kIccid));
  EXPECT_FALSE(is_notification(r));
  r = body<Request>(
      request(Interface::es3, "GetPLMA", kEidElement + kEidElement + element("ValidityPeriod", "-1") + kCall));
  EXPECT_EQ(r.function, Function::other);
  EXPECT_EQ(r.function_call_identifier, "c1");
  EXPECT_FALSE(r.validity_period);
  r = body<Request>(request(Interface::es2, "SetONC", element("Eid", "not an EID")));
  EXPECT_EQ(r.other_name, "SetONC");
  EXPECT_EQ(r.eid, "") << "32 digits or nothing";
  EXPECT_EQ(r.function_call_identifier, "");
  r = body<Request>(request(Interface::es3, "HandleEmergencyProfileAttributeSetNotification", kEidElement, ""));
  EXPECT_EQ(r.function, Function::other);
  EXPECT_TRUE(is_notification(r));
  const auto a = body<Response>(request(Interface::es3, "SetPLMA", kOk, "Response"));
  EXPECT_EQ(a.function, Function::other);
  EXPECT_EQ(a.other_name, "SetPLMA");
}

TEST(Messages, AnotherNamespaceIsAnsweredInItself) {
  const CodecOptions o{{std::string(kNs3), "http://namespaces.gsma.org/esim-messaging/4"}, {}};
  const Message m = message(replaced(order(), kNs3, "http://namespaces.gsma.org/esim-messaging/4"), o);
  EXPECT_EQ(m.ns, "http://namespaces.gsma.org/esim-messaging/4");
  expect_round_trip(m);
}

TEST(Messages, ActionSpellings) {
  const auto accepted = [](std::string_view action, bool response = false) {
    std::string xml = response ? request(Interface::es3, "EnableProfile", kOk, "Response")
                               : request(Interface::es3, "EnableProfile", kCall + kEidElement + kIccidElement);
    xml = replaced(xml, "http://gsma.com/ES3/ProfileManagement/ES3-EnableProfile", action);
    return std::holds_alternative<Message>(parse_message(xml, {}));
  };
  for (const std::string group : {"ProfileManagement", "ProfileManagent", "PlatformManagement", "eUICCManagement",
                                  "DataPreparation", "Platform"}) {
    for (const std::string callback : {"", "CallBack"}) {
      const std::string base = "http://gsma.com/ES3/" + group + callback + "/ES3-EnableProfile";
      EXPECT_TRUE(accepted(base)) << base;
      EXPECT_TRUE(accepted(base, true)) << base;
      EXPECT_TRUE(accepted(base + "Request")) << base;
      EXPECT_TRUE(accepted(base + "Response", true)) << base;
      EXPECT_FALSE(accepted(base + "Response")) << "contradicts: the body is a request";
      EXPECT_FALSE(accepted(base + "Request", true));
      EXPECT_FALSE(accepted(base + "d"));
    }
  }
  EXPECT_FALSE(accepted("http://gsma.com/ES2/PlatformManagement/ES2-EnableProfile"));
  EXPECT_FALSE(accepted("http://gsma.com/ES3/PlatformManagement/ES2-EnableProfile"));
  EXPECT_FALSE(accepted("http://gsma.com/ES3/PlatformManagement/ES3-DisableProfile"));
  EXPECT_FALSE(accepted("http://gsma.com/ES3/ES3-EnableProfile"));
  EXPECT_FALSE(accepted("urn:EnableProfile"));
}

TEST(Messages, ActionsOfTheReferenceDialect) {
  const auto r = Dialect::reference;
  EXPECT_EQ(action_for(Interface::es3, Function::create_isdp, Way::callback, r),
            "http://gsma.com/ES3/ProfileManagementCallBack/ES3-CreateISDP");
  EXPECT_EQ(action_for(Interface::es3, Function::delete_isdp, Way::request, r),
            "http://gsma.com/ES3/PlatformManagement/ES3-DeleteISDP");
  EXPECT_EQ(action_for(Interface::es2, Function::get_eis, Way::request, r),
            "http://gsma.com/ES2/ProfileManagement/ES2-GetEIS");
  EXPECT_EQ(action_for(Interface::es2, Function::handle_profile_enabled, Way::request, r),
            "http://gsma.com/ES2/PlatformManagementCallBack/ES2-HandleProfileEnabledNotification");
  EXPECT_EQ(action_for(Interface::es4, Function::handle_profile_downloaded, Way::request, r),
            "http://gsma.com/ES4/ProfileManagementCallBack/ES4-HandleProfileDownloadedNotification");
  Request q;
  q.function = Function::other;
  q.other_name = "SetPLMA";
  EXPECT_EQ(action_of(q, r), "http://gsma.com/ES2/ProfileManagement/ES2-SetPLMA");
}

TEST(Messages, UrisWeMake) {
  EXPECT_EQ(
      make_message_id("2.999.20", "207d517b-8c9e-48f6-8ae7-426402c541cf", "tx", "2026-03-02T09:00:01Z"),
      "//2.999.20/urn:uuid:207d517b-8c9e-48f6-8ae7-426402c541cf?TransactionId=tx&MessageDate=2026-03-02T09:00:01Z");
  EXPECT_EQ(make_message_id("2.999.20", "u", "", "d"), "//2.999.20/urn:uuid:u?MessageDate=d");
  EXPECT_EQ(make_address("https://dp.test/es3", "2.999.20", "SM-DP-K"),
            "https://dp.test/es3?EntityId=2.999.20&EntityName=SM-DP-K");
  EXPECT_EQ(make_address("https://dp.test/es3?x=1", "2.999.20", "A & B"),
            "https://dp.test/es3?x=1&EntityId=2.999.20&EntityName=A%20%26%20B");
  EXPECT_EQ(make_address("https://dp.test/es3", "2.999.20", ""), "https://dp.test/es3?EntityId=2.999.20");
}

TEST(Messages, WordsOfAnEisAreReadAsTheyStand) {
  const std::pair<const char*, EntryState> states[] = {
      {"Created", EntryState::created}, {"Disabled", EntryState::disabled}, {"Enabled", EntryState::enabled},
      {"Deleted", EntryState::deleted}, {"In-Creation", EntryState::other}, {"created", EntryState::other},
      {"", EntryState::other}};
  for (const auto& [word, state] : states) {
    ProfileInfo p;
    p.state = word;
    EXPECT_EQ(entry_state(p), state) << word;
  }
  const std::pair<const char*, KeysetType> types[] = {
      {"", KeysetType::unnamed}, {"CA", KeysetType::ca}, {"SCP03", KeysetType::other}, {"ca", KeysetType::other}};
  for (const auto& [word, type] : types) {
    SecurityDomain::Keyset k;
    k.type = word;
    EXPECT_EQ(keyset_type(k), type) << word;
  }
}

}  // namespace
}  // namespace kf::es::test
