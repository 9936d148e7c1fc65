// The rows of docs/spec/interfaces.md 6.1 that the codec answers, and the fault envelopes themselves.
#include "tests/es/support.hpp"

namespace kf::es::test {
namespace {

void expect_sender(std::string_view xml, std::string_view reason_part, std::string_view subcode = "",
                   const CodecOptions& o = {}) {
  const Fault f = fault(xml, o);
  EXPECT_EQ(f.http_status, 400U);
  EXPECT_EQ(f.code, FaultCode::sender);
  EXPECT_EQ(f.subcode, subcode);
  EXPECT_NE(f.reason.find(reason_part), std::string::npos) << f.reason;
}

TEST(BadInput, TheOrderItselfIsGood) { expect_round_trip(message(order())); }

TEST(BadInput, NotXml) {
  for (const char* xml : {"", " ", "{}", "\xEF\xBB\xBF", "<a>", "<a></b>", "<a/><b/>", "<a x=1/>"}) {
    expect_sender(xml, "Not an acceptable XML document");
  }
  std::string cut = order();
  for (std::size_t n = 0; n < cut.size(); n += 7)
    EXPECT_EQ(fault(std::string_view(cut).substr(0, n)).http_status, 400U) << n;
}

TEST(BadInput, DocumentTypeAndEntities) {
  const std::string body_start = "<s:Envelope";
  for (const char* dtd : {"<!DOCTYPE a>", "<!DOCTYPE a [<!ENTITY x \"y\">]>",
                          "<!DOCTYPE a SYSTEM \"file:///etc/passwd\">", "<!ENTITY x 'y'>"}) {
    expect_sender(replaced(order(), body_start, std::string(dtd) + body_start), "document type declarations");
  }
  expect_sender(replaced(order(), ">c1<", ">&x;<"), "entity &x; is not accepted");
  expect_sender(replaced(order(), ">c1<", ">&nbsp;<"), "entity &nbsp; is not accepted");
}

TEST(BadInput, Depth) {
  const auto nested = [](std::size_t n) {  // Envelope, Body, the request: three already
    std::string in;
    for (std::size_t i = 0; i < n; ++i) in += "<r:Deep>";
    for (std::size_t i = 0; i < n; ++i) in += "</r:Deep>";
    return replaced(order(), "</r:ES2-DownloadProfileRequest>", in + "</r:ES2-DownloadProfileRequest>");
  };
  EXPECT_EQ(message(nested(61)).unknown_elements, std::vector<std::string>{"Deep"});
  expect_sender(nested(62), "nested more than 64 deep");
  expect_sender(nested(20000), "nested more than 64 deep");
}

TEST(BadInput, Encoding) {
  expect_sender(replaced(order(), "UTF-8", "ISO-8859-15"), "encoding ISO-8859-15 is not accepted");
  expect_sender(replaced(order(), "UTF-8", "UTF-16"), "encoding UTF-16 is not accepted");
  expect_sender(std::string("\xFF\xFE<\0a\0", 6), "UTF-16");
  expect_sender(std::string("\xFE\xFF\0<\0a", 6), "UTF-16");
  expect_sender(replaced(order(), ">c1<", ">c\xE4<"), "not UTF-8");
  expect_sender(replaced(order(), ">c1<", ">c\xC0\xAF<"), "not UTF-8");
  expect_sender(replaced(order(), ">c1<", std::string_view(">c\0<", 4)), "not UTF-8");
  EXPECT_EQ(body<Request>("\xEF\xBB\xBF" + order()).function_call_identifier, "c1") << "the UTF-8 mark is fine";
  EXPECT_EQ(body<Request>(replaced(order(), "UTF-8", "utf-8")).function_call_identifier, "c1");
}

TEST(BadInput, OtherSoapVersions) {
  const Fault f =
      fault(replaced(order(), "http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/"));
  EXPECT_EQ(f.http_status, 500U);
  EXPECT_EQ(f.code, FaultCode::version_mismatch);
  EXPECT_EQ(f.header.message_id, "//2.999.7/m1?TransactionId=tx1&MessageDate=2026-05-01T08:00:00Z");
  const std::string xml = write_fault(f);
  EXPECT_NE(xml.find("<s:Upgrade><s:SupportedEnvelope qname=\"s:Envelope\"/></s:Upgrade>"), std::string::npos);
  EXPECT_EQ(read_fault(xml)->code, FaultCode::version_mismatch);
  EXPECT_EQ(read_fault(xml)->http_status, 500U);
  EXPECT_EQ(fault(replaced(order(), "http://www.w3.org/2003/05/soap-envelope", "urn:soap:9")).code,
            FaultCode::version_mismatch);
  expect_sender("<Order xmlns='urn:x'/>", "not a SOAP envelope");
}

TEST(BadInput, EnvelopeStructure) {
  const std::string ok = order();
  expect_sender(replaced(ok, "</s:Envelope>", "<s:Body/></s:Envelope>"), "one Header and one Body");
  expect_sender(replaced(ok, "<s:Header>", "<s:Header/><s:Header>"), "one Header and one Body");
  expect_sender(replaced(ok, "<s:Header>", "junk<s:Header>"), "one Header and one Body");
  expect_sender(replaced(ok, "</s:Body>", "<r:More/></s:Body>"), "one function element");
  expect_sender(replaced(ok, "<s:Body>", "<s:Body>text"), "one function element");
  expect_sender(replaced(ok, "<s:Header>", "<s:Header>text"), "text inside Header");
  expect_sender(envelope({"http://gsma.com/ES2/ProfileManagement/ES2-GetEIS", ""}), "one function element");
  const std::size_t from = ok.find("<s:Body>");
  expect_sender(ok.substr(0, from) + "</s:Envelope>", "Envelope has no Body");
  expect_sender(replaced(ok, "xmlns:r=", "xmlns:q="), "prefix r is not bound");
}

TEST(BadInput, MustUnderstand) {
  const auto with = [](std::string_view block) {
    return replaced(order(), "<s:Header>", "<s:Header>" + std::string(block));
  };
  const std::string wsse = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
  for (const char* truth : {"true", "1"}) {
    const Fault f = fault(with("<w:Security xmlns:w=\"" + wsse + "\" s:mustUnderstand=\"" + truth + "\"/>"));
    EXPECT_EQ(f.http_status, 500U);
    EXPECT_EQ(f.code, FaultCode::must_understand);
    EXPECT_EQ(f.header.from_entity, "2.999.7") << "the rest of the header is read all the same";
    const std::string xml = write_fault(f);
    EXPECT_NE(xml.find("<s:NotUnderstood xmlns:q=\"" + wsse + "\" qname=\"q:Security\"/>"), std::string::npos) << xml;
    EXPECT_EQ(read_fault(xml)->header.relates_to, f.header.message_id);
  }
  message(with("<w:Security xmlns:w=\"" + wsse + "\"/>"));
  message(with("<w:Security xmlns:w=\"" + wsse + "\" s:mustUnderstand=\"false\"/>"));
  message(with("<x:T xmlns:x=\"urn:x\" mustUnderstand=\"true\"/>"));  // not SOAP's attribute
  message(with("<x:T xmlns:x=\"urn:x\" s:mustUnderstand=\"1\" s:role=\"urn:other\"/>"));
  const std::string role = "http://www.w3.org/2003/05/soap-envelope/role/";
  EXPECT_EQ(fault(with("<x:T xmlns:x=\"urn:x\" s:mustUnderstand=\"1\" s:role=\"" + role + "next\"/>")).code,
            FaultCode::must_understand);
  EXPECT_EQ(fault(with("<T s:mustUnderstand=\"1\"/>")).code, FaultCode::must_understand);
  expect_sender(with("<x:T xmlns:x=\"urn:x\" s:mustUnderstand=\"yes\"/>"), "mustUnderstand must be");
  // Goes before what else is wrong with the header.
  std::string no_to = with("<T s:mustUnderstand=\"1\"/>");
  no_to.erase(no_to.find("<wsa:To>"), no_to.find("<wsa:MessageID>") - no_to.find("<wsa:To>"));
  EXPECT_EQ(fault(no_to).code, FaultCode::must_understand);
  EXPECT_EQ(fault(replaced(with(""), "<wsa:To>", "<wsa:To>x</wsa:To><T s:mustUnderstand=\"1\"/><wsa:To>")).code,
            FaultCode::must_understand);
}

TEST(BadInput, AddressingHeadersMissing) {
  const auto without = [](std::string xml, const std::string& name) {
    const std::size_t from = xml.find("<wsa:" + name);
    const std::size_t to = xml.find("</wsa:" + name + ">") + name.size() + 7;
    return xml.erase(from, to - from);
  };
  const std::string answer = request(Interface::es3, "EnableProfile", kOk, "Response");
  for (const std::string name : {"MessageID", "From", "Action"}) {
    for (const std::string& xml : {order(), answer}) {
      const Fault f = fault(without(xml, name));
      EXPECT_EQ(f.http_status, 400U);
      EXPECT_EQ(f.subcode, "wsa:MessageAddressingHeaderRequired");
      EXPECT_EQ(f.reason, "wsa:" + name + " is missing");
      EXPECT_EQ(f.problem_qname, "wsa:" + name);
    }
  }
  EXPECT_EQ(message(without(order(), "To")).header.to, "") << "WS-Addressing 1.0: then it is for whom it reached";
  const std::string poll = own("poll.xml");
  expect_sender(replaced(replaced(poll, "<MessageID", "<Other"), "</MessageID", "</Other"), "wsa:MessageID is missing",
                "wsa:MessageAddressingHeaderRequired");
  const std::string ok = order();
  expect_sender(ok.substr(0, ok.find("<s:Header>")) + ok.substr(ok.find("<s:Body>")), "wsa:MessageID is missing",
                "wsa:MessageAddressingHeaderRequired");
}

TEST(BadInput, AddressingHeadersInvalid) {
  expect_sender(replaced(order(), "<wsa:To>", "<wsa:To>x</wsa:To><wsa:To>"), "wsa:To occurs twice",
                "wsa:InvalidAddressingHeader/wsa:InvalidCardinality");
  expect_sender(replaced(order(), "<wsa:To>", "<wsa:ReplyTo/><wsa:To>"), "holds no Address",
                "wsa:InvalidAddressingHeader/wsa:MissingAddressInEPR");
  expect_sender(replaced(order(), "<wsa:To>", "<wsa:To><x/>"), "must hold text only",
                "wsa:InvalidAddressingHeader/wsa:InvalidAddress");
}

TEST(BadInput, ActionContradictsBody) {
  const Fault f = fault(replaced(order(), "ES2-DownloadProfile<", "ES2-DeleteProfile<"));
  EXPECT_EQ(f.http_status, 400U);
  EXPECT_EQ(f.subcode, "wsa:InvalidAddressingHeader/wsa:ActionMismatch");
  EXPECT_EQ(f.problem_qname, "wsa:Action");
  const std::string xml = write_fault(f);
  EXPECT_NE(xml.find("<s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>wsa:InvalidAddressingHeader</s:Value>"
                     "<s:Subcode><s:Value>wsa:ActionMismatch</s:Value></s:Subcode></s:Subcode></s:Code>"),
            std::string::npos)
      << xml;
  EXPECT_EQ(read_fault(xml)->subcode, f.subcode);
  EXPECT_EQ(fault(replaced(own("poll.xml"), "200702/MakeConnection<", "200702/Other<")).subcode, f.subcode);
}

TEST(BadInput, UnknownFunction) {
  const auto unknown = [](const std::string& element) {
    expect_sender(envelope({"http://gsma.com/ES2/ProfileManagement/ES2-DownloadProfile", "<r:" + element + "/>"}),
                  "No function for the element", "wsa:ActionNotSupported");
  };
  unknown("ES2-ExplodeRequest");
  unknown("ES2-DownloadProfile");
  unknown("ES2-CreateISDPRequest");     // ES3 only
  unknown("ES3-DeleteProfileRequest");  // ES3 has DeleteISDP: docs/spec/interfaces.md 10.1
  unknown("ES3-DownloadProfileRequest");
  unknown("ES9-GetEISRequest");
  unknown("GetEISRequest");
  unknown("ES2-HandleProfileEnabledNotificationRequest");
  unknown("es2-getEISRequest");
}

TEST(BadInput, UnknownNamespace) {
  const std::string v1 = replaced(order(), kNs3, kNs1);
  expect_sender(v1, "served: http://namespaces.gsma.org/esim-messaging/3", "wsa:ActionNotSupported");
  expect_sender(v1, "esim-messaging/1", "wsa:ActionNotSupported");
  CodecOptions o{{std::string(kNs1), std::string(kNs3), "urn:four"}, {}};
  expect_sender(v1, "served: http://namespaces.gsma.org/esim-messaging/3, urn:four", "wsa:ActionNotSupported", o);
  expect_sender(replaced(order(), kNs3, "urn:other"), "is not served", "wsa:ActionNotSupported");
  expect_sender(own("fault-nested.xml"), "wsa:MessageID is missing", "wsa:MessageAddressingHeaderRequired");
}

TEST(BadInput, CallIdentifier) {
  expect_schema_fault(replaced(order(), kCall, ""), "FunctionCallIdentifier is missing");
  expect_schema_fault(replaced(order(), ">c1<", "> <"), "FunctionCallIdentifier is empty");
  expect_schema_fault(replaced(order(), kCall, kCall + kCall), "FunctionCallIdentifier occurs twice");
  expect_schema_fault(replaced(order(), ">c1<", ">" + std::string(1001, 'x') + "<"),
                      "FunctionCallIdentifier is longer than 1000 characters");
  std::string wide;
  for (int i = 0; i < 1000; ++i) wide += "\xC3\xA4";
  EXPECT_EQ(body<Request>(replaced(order(), ">c1<", ">" + wide + "<")).function_call_identifier, wide);
}

TEST(BadInput, ValidityPeriod) {
  for (const char* bad : {"0", "-1", "60s", "6 0", "1.5", "+"}) {
    expect_schema_fault(replaced(order(), ">60<", ">" + std::string(bad) + "<"),
                        "ValidityPeriod must be a positive integer");
  }
  EXPECT_EQ(body<Request>(replaced(order(), ">60<", ">99999999999999999999999<")).validity_period, UINT32_MAX);
}

TEST(BadInput, EidAndIccid) {
  const std::string eid(kEid);
  for (const std::string& bad :
       {eid.substr(1), eid + "0", std::string(), std::string(32, 'A'), eid.substr(0, 31) + " " + eid.substr(31)}) {
    expect_schema_fault(replaced(order(), ">" + eid + "<", ">" + bad + "<"), "Eid must be 32 digits");
  }
  EXPECT_EQ(body<Request>(replaced(order(), eid, std::string(32, '1'))).eid, std::string(32, '1'))
      << "check digits: the service";
  const std::string iccid(kIccid);
  for (const std::string& bad : {iccid.substr(15), iccid + "0", std::string("FFFFFFFFFF"), std::string("89F00012345"),
                                 iccid.substr(0, 19) + "G"}) {
    expect_schema_fault(replaced(order(), ">" + iccid + "<", ">" + bad + "<"),
                        "Iccid must be 6 to 20 digits, padded with F or not");
  }
  for (const std::string& good : {std::string(19, '1'), iccid.substr(2), std::string(19, '1') + "F",
                                  std::string(18, '1') + "ff", std::string("890001")}) {
    EXPECT_EQ(body<Request>(replaced(order(), iccid, good)).iccid, good) << "kept as it was written";
  }
}

TEST(BadInput, NeitherIccidNorProfileTypeIsForTheService) {
  const auto r = body<Request>(replaced(order(), kIccidElement, ""));
  EXPECT_FALSE(r.iccid);
  EXPECT_FALSE(r.profile_type);
  EXPECT_FALSE(body<Request>(replaced(order(), kIccidElement, element("ProfileType", "") + kIccidElement)).profile_type)
      << "empty is none";
}

TEST(BadInput, KnownElementsMissingDoubledMalformed) {
  expect_schema_fault(replaced(order(), kEidElement, ""), "Eid is missing");
  expect_schema_fault(replaced(order(), kSmsr, ""), "Smsr-id is missing");
  expect_schema_fault(replaced(order(), kEidElement, kEidElement + kEidElement), "Eid occurs twice");
  expect_schema_fault(replaced(order(), kSmsr, kSmsr + element("SmSr-id", "2.999.9")), "Smsr-id occurs twice");
  expect_schema_fault(replaced(order(), ">2.999.9<", ">smsr<"), "Smsr-id must be a dotted object identifier");
  expect_schema_fault(replaced(order(), ">true<", ">yes<"), "EnableProfile must be true, false, 1 or 0");
  expect_schema_fault(replaced(order(), ">true<", "><r:true/><"), "EnableProfile must hold text only");
  expect_schema_fault(replaced(order(), kCall, kCall + "text"), "text inside ES2-DownloadProfileRequest");
  EXPECT_FALSE(body<Request>(replaced(order(), ">true<", ">0<")).enable_profile);
  // The right name in another namespace is another element.
  expect_schema_fault(replaced(order(), kEidElement, "<Eid>" + std::string(kEid) + "</Eid>"), "Eid is missing");
}

TEST(BadInput, Es3Requests) {
  const std::string create = request(Interface::es3, "CreateISDP",
                                     kCall + kEidElement + kIccidElement + element("Mno-id", "2.999.7") +
                                         element("RequiredMemory", "65536") + element("MoreToDo", "true"));
  EXPECT_EQ(body<Request>(create).required_memory, 65536U);
  expect_schema_fault(replaced(create, ">65536<", ">-5<"), "RequiredMemory must be a non-negative integer");
  expect_schema_fault(replaced(create, ">65536<", ">99999999999999999999<"),
                      "RequiredMemory must be a non-negative integer");
  expect_schema_fault(replaced(create, element("Mno-id", "2.999.7"), ""), "Mno-id is missing");
  const std::string send = request(Interface::es3, "SendData",
                                   kCall + kEidElement + element("Sd-aid", "a000000559") + element("Data", "84ff"));
  EXPECT_EQ(body<Request>(send).data, hex("84FF"));
  EXPECT_EQ(body<Request>(send).sd_aid, hex("A000000559"));
  EXPECT_FALSE(body<Request>(send).more_to_do);
  expect_schema_fault(replaced(send, ">84ff<", ">84f<"), "Data must be hexBinary: odd number of hex digits");
  expect_schema_fault(replaced(send, ">84ff<", ">84 f<"), "Data must be hexBinary: character that is not a hex digit");
  expect_schema_fault(replaced(send, element("Data", "84ff"), ""), "Data is missing");
  expect_schema_fault(replaced(send, ">a000000559<", "><"), "Sd-aid must be of 5 to 16 bytes");
  EXPECT_EQ(
      message(request(Interface::es3, "EnableProfile", kCall + kEidElement + kSmsr + kIccidElement)).unknown_elements,
      std::vector<std::string>{"Smsr-id"})
      << "not an element of ES3";
}

TEST(BadInput, PolicyRules) {
  const std::string rule =
      "<r:pol2><r:Rule><r:Subject>PROFILE</r:Subject><r:Action>DELETE</r:Action><r:Qualification>Not-Allowed</"
      "r:Qualification></r:Rule></r:pol2>";
  const std::string xml =
      request(Interface::es2, "UpdatePolicyRules", kCall + kEidElement + kSmsr + kIccidElement + rule);
  EXPECT_EQ(body<Request>(xml).pol2->size(), 1U);
  expect_schema_fault(replaced(xml, ">DELETE<", ">EXPLODE<"), "Action of a Rule must be ENABLE, DISABLE or DELETE");
  expect_schema_fault(replaced(xml, ">Not-Allowed<", ">Allowed<"),
                      "Qualification of a Rule must be Not-Allowed or Auto-Delete");
  expect_schema_fault(replaced(xml, ">PROFILE<", ">EUICC<"), "Subject of a Rule must be PROFILE");
  expect_schema_fault(replaced(xml, "<r:Subject>PROFILE</r:Subject>", ""), "Subject is missing");
}

TEST(BadInput, Notifications) {
  const std::string xml = own("notification-new-schema.xml");
  expect_schema_fault(replaced(xml, ">2026-05-01T08:00:00<", ">yesterday<"), "CompletionTimestamp must be a dateTime");
  expect_schema_fault(replaced(xml, "<r:Eid>89001012012341234012345678901224</r:Eid>", ""), "Eid is missing");
  expect_schema_fault(
      replaced(xml, "</r:CompletionTimeStamp>",
               "</r:CompletionTimeStamp><r:CompletionTimestamp>2026-05-01T08:00:00Z</r:CompletionTimestamp>"),
      "CompletionTimestamp occurs twice");
}

TEST(BadInput, Responses) {
  const std::string xml = request(Interface::es3, "CreateISDP", kOk + element("Isd-p-aid", "A000000559"), "Response");
  EXPECT_EQ(body<Response>(xml).isd_p_aid, hex("A000000559"));
  expect_schema_fault(replaced(xml, kOk, ""), "FunctionExecutionStatus is missing");
  expect_schema_fault(replaced(xml, kOk, kOk + kOk), "FunctionExecutionStatus occurs twice");
  expect_schema_fault(replaced(xml, "<r:Status>EXECUTED_SUCCESS</r:Status>", ""), "Status is missing");
  expect_schema_fault(replaced(xml, ">A000000559<", ">A0<"), "Isd-p-aid must be of 5 to 16 bytes");
  expect_schema_fault(replaced(xml, kOk, kOk + element("AcceptableValidityPeriod", "0")),
                      "AcceptableValidityPeriod must be a positive integer");
}

TEST(BadInput, Eis) {
  const std::string xml = own("eis.xml");
  expect_schema_fault(replaced(xml, "<r:RemainingMemory>393216</r:RemainingMemory>", ""), "RemainingMemory is missing");
  expect_schema_fault(replaced(xml, ">393216<", ">much<"), "RemainingMemory must be a non-negative integer");
  expect_schema_fault(replaced(xml, "<r:Eid>89001012012341234012345678901224</r:Eid>", ""), "Eid is missing");
  expect_schema_fault(replaced(xml, ">7f210493020101<", ">7f2<"), "Value must be hexBinary: odd number of hex digits");
  expect_schema_fault(replaced(xml, ">2025-02-03T", ">2025-13-03T"), "ProductionDate must be a dateTime");
  expect_schema_fault(
      replaced(xml, "<r:State>Enabled</r:State>", "<r:State>Enabled</r:State><r:State>Enabled</r:State>"),
      "State occurs twice");
  expect_schema_fault(replaced(xml, ">000002<", ">0002<"), "Tar must be of 3 to 3 bytes");
  expect_sender(replaced(xml, "xmlns:xx=\"urn:test:xx\"", ""), "prefix xx is not bound");
}

TEST(Faults, EnvelopeAsInTheSamples) {
  Fault f = fault(replaced(order(), std::string(kEid), "123"));
  const std::string xml = write_fault(f);
  const auto r = read_fault(xml);
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->code, FaultCode::sender);
  EXPECT_EQ(r->http_status, 400U);
  EXPECT_EQ(r->subcode, "");
  EXPECT_EQ(r->reason, "Body does not satisfy the schema: Eid must be 32 digits");
  EXPECT_EQ(r->header.action, "http://www.w3.org/2005/08/addressing/soap/fault");
  EXPECT_EQ(r->header.relates_to, "//2.999.7/m1?TransactionId=tx1&MessageDate=2026-05-01T08:00:00Z");
  EXPECT_EQ(r->header.to, "https://peer.test/x?EntityId=2.999.7&EntityName=Peer");
  EXPECT_EQ(r->header.from, "https://dp.test/x?EntityId=2.999.8") << "the To of the request";
  f.from = "https://dp.test/real?EntityId=2.999.8";
  EXPECT_EQ(read_fault(write_fault(f))->header.from, f.from);

  const Fault required =
      fault(replaced(replaced(order(), "<wsa:MessageID>", "<wsa:FaultTo>"), "</wsa:MessageID>", "</wsa:FaultTo>"));
  const auto q = read_fault(write_fault(required));
  EXPECT_EQ(q->subcode, "wsa:MessageAddressingHeaderRequired");
  EXPECT_EQ(q->reason, "wsa:MessageID is missing");
  EXPECT_EQ(q->header.action, "http://www.w3.org/2005/08/addressing/fault");
  EXPECT_EQ(q->header.relates_to, "");
  EXPECT_NE(write_fault(required).find("<wsa:ProblemHeaderQName>wsa:MessageID</wsa:ProblemHeaderQName>"),
            std::string::npos);
}

TEST(Faults, ReceiverAndHostileText) {
  Fault f;
  f.http_status = 500;
  f.code = FaultCode::receiver;
  f.reason = "a<b>&\"'\x01\xFF]]>\xE2\x82\xAC";
  const auto r = read_fault(write_fault(f));
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->code, FaultCode::receiver);
  EXPECT_EQ(r->http_status, 500U);
  EXPECT_EQ(r->reason, "a<b>&\"'??]]>\xE2\x82\xAC");
}

TEST(Faults, ACodeThatIsNoneOfOurs) {
  Fault f;
  f.reason = "in an encoding that nobody reads";
  const auto r = read_fault(replaced(write_fault(f), ":Sender<", ":DataEncodingUnknown<"));
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->code, FaultCode::other);
  EXPECT_EQ(r->http_status, 500U);
}

TEST(Faults, ReadNested) {
  const auto r = read_fault(own("fault-nested.xml"));
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->code, FaultCode::sender);
  EXPECT_EQ(r->subcode, "wsa:InvalidAddressingHeader/wsa:ActionMismatch");
  EXPECT_EQ(r->reason, "No such action");
  EXPECT_EQ(r->header.relates_to, "//dp.test/13");
  EXPECT_EQ(read_fault(order()).error().reason, "no-fault");
  EXPECT_EQ(read_fault("<html><body>Bad gateway</body></html>").error().reason, "no-fault");
  EXPECT_EQ(read_fault("Bad gateway").error().reason, "bad-xml");
}

}  // namespace
}  // namespace kf::es::test
