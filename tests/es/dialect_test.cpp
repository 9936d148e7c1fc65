// Foreign stacks: what they send is understood, and what is sent to them is what the interface descriptions published
// with SGP.02 v3 say. The descriptions themselves are read from ../shared/wsdl where that folder exists.
#include <pugixml.hpp>

#include <filesystem>
#include <map>
#include <set>

#include "tests/es/support.hpp"

namespace kf::es::test {
namespace {

const std::string kWsdlDir = KF_SOURCE_DIR "/../shared/wsdl/";

// --- received ---

TEST(Foreign, OrderAndSpellingOfElementsDoNotMatter) {
  const Request usual = body<Request>(order());
  EXPECT_TRUE(body<Request>(replaced(order(), kSmsr, element("SmSr-id", "2.999.9"))) == usual);
  EXPECT_TRUE(body<Request>(replaced(order(), kSmsr, element("SMSR-ID", "2.999.9"))) == usual);
  EXPECT_TRUE(body<Request>(replaced(order(), kEidElement + kSmsr, kSmsr + kEidElement)) == usual);
  EXPECT_TRUE(body<Request>(replaced(replaced(order(), kCall, ""), kSmsr, kSmsr + kCall)) == usual);
  const std::string rule =
      "<r:Pol2><r:Rule><r:Qualification>Not-Allowed</r:Qualification><r:Action>DELETE</r:Action>"
      "<r:Subject>PROFILE</r:Subject></r:Rule></r:Pol2>";
  const auto policy =
      body<Request>(request(Interface::es2, "UpdatePolicyRules", rule + kIccidElement + kSmsr + kEidElement + kCall));
  EXPECT_EQ(policy.pol2, (Pol2{{"PROFILE", "DELETE", "Not-Allowed"}}));
  for (const char* name : {"newSubscriptionAddress", "NewSubscriptionAddress"}) {
    const auto address = body<Request>(
        request(Interface::es2, "UpdateSubscriptionAddress",
                kCall + kEidElement + kSmsr + kIccidElement +
                    element(name, element("Msisdn", "46700000001") + element("Imsi", "240011234567890"))));
    EXPECT_EQ(address.subscription, (SubscriptionAddress{"240011234567890", "46700000001"}));
  }
}

TEST(Foreign, EmptyOptionalElementsAreAbsent) {
  const Request usual = body<Request>(order());
  EXPECT_TRUE(body<Request>(replaced(order(), kIccidElement, element("ProfileType", " ") + kIccidElement)) == usual);
  Request by_type = usual;
  by_type.iccid.reset();
  by_type.profile_type = "T";
  EXPECT_TRUE(body<Request>(replaced(order(), kIccidElement,
                                     element("ProfileType", "T") + "<r:Iccid><!-- any --></r:Iccid>")) == by_type);
  Request no_limit = usual;
  no_limit.validity_period.reset();
  EXPECT_TRUE(body<Request>(replaced(order(), ">60<", "><")) == no_limit);
  expect_schema_fault(replaced(order(), ">" + std::string(kEid) + "<", "><"), "Eid must be 32 digits");
  // An SM-SR whose schema demands the element when there is no ISD-P to name.
  const auto none = body<Response>(request(
      Interface::es3, "CreateISDP",
      "<r:FunctionExecutionStatus><r:Status>FAILED</r:Status></r:FunctionExecutionStatus>" + element("Isd-p-aid", ""),
      "Response"));
  EXPECT_TRUE(none.isd_p_aid.empty());
  EXPECT_EQ(none.status, ExecStatus::failed);
  const auto no_iccid =
      body<Response>(request(Interface::es2, "DownloadProfile", kOk + element("Iccid", " "), "Response"));
  EXPECT_FALSE(no_iccid.iccid);
}

TEST(Foreign, WhateverSoapAndXmlAllow) {
  const Request usual = body<Request>(order());
  // xsi:type, comments, white space, a default namespace, instructions.
  std::string xml = replaced(order(), "<r:Eid>",
                             "<r:Eid xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='r:EIDType'>\n ");
  xml = replaced(xml, "</r:Eid>", "<!-- the card --> \t</r:Eid><?pi x?>");
  EXPECT_TRUE(body<Request>(xml) == usual);
  std::string plain = order();
  for (std::size_t at = plain.find("r:"); at != std::string::npos; at = plain.find("r:", at))
    if (plain[at - 1] == '<' || plain[at - 1] == '/')
      plain.erase(at, 2);
    else
      ++at;
  plain =
      replaced(plain, "<ES2-DownloadProfileRequest", "<ES2-DownloadProfileRequest xmlns='" + std::string(kNs3) + "'");
  EXPECT_TRUE(body<Request>(plain) == usual);
  // Headers: ReplyTo with parameters of its own, FaultTo, all of WS-Addressing marked mustUnderstand.
  const std::string epr =
      "<wsa:ReplyTo s:mustUnderstand='1'><wsa:Address>" + std::string(kWsaAnonymous) +
      "</wsa:Address><wsa:ReferenceParameters><x:Session xmlns:x='urn:x'>7</x:Session></wsa:ReferenceParameters>"
      "<wsa:Metadata/></wsa:ReplyTo><wsa:FaultTo s:mustUnderstand='true'><wsa:Address>" +
      std::string(kWsaAnonymous) + "</wsa:Address></wsa:FaultTo>";
  const Message m = message(replaced(replaced(order(), "<wsa:To>", epr + "<wsa:To s:mustUnderstand='1'>"),
                                     "<wsa:Action>", "<wsa:Action s:mustUnderstand='true'>"));
  EXPECT_EQ(m.header.reply_to, kWsaAnonymous);
  EXPECT_TRUE(std::get<Request>(m.body) == usual);
  const Message extended = message(replaced(order(), "<wsa:From>", "<wsa:From><x:First xmlns:x='urn:x'>1</x:First>"));
  EXPECT_EQ(extended.header.from_entity, "2.999.7");
}

TEST(Foreign, WaysToWriteAValue) {
  const Request usual = body<Request>(order());
  const std::string eid(kEid), head = eid.substr(0, 10), tail = eid.substr(10);
  for (const std::string& same :
       {"<![CDATA[" + eid + "]]>", head + "<![CDATA[" + tail + "]]>", head + "<!-- line break -->" + tail,
        head + "<?pi x?>" + tail, "&#x38;" + eid.substr(1), "&#56;" + eid.substr(1), "&#x00038;" + eid.substr(1),
        "\r\n\t " + eid + " \n", "<!-- a --> " + eid + " <!-- b -->", "&#10;" + eid + "&#x20;"})
    EXPECT_TRUE(body<Request>(replaced(order(), ">" + eid + "<", ">" + same + "<")) == usual) << same;
  // What the reference stands for counts, never what it would be as markup.
  const std::string call = "a&#60;b&#x26;amp;&lt;c&gt;&quot;&apos;";
  EXPECT_EQ(body<Request>(replaced(order(), ">c1<", ">" + call + "<")).function_call_identifier, "a<b&amp;<c>\"'");
}

// A nil element has no content, and an optional one without content is absent.
TEST(Foreign, NilIsAbsent) {
  const auto nil = [](const std::string& name) {
    return "<r:" + name + " xmlns:i='http://www.w3.org/2001/XMLSchema-instance' i:nil='true'/>";
  };
  Request expected = body<Request>(order());
  expected.iccid.reset();
  expected.validity_period.reset();
  expected.enable_profile = false;
  expected.profile_type = "T";
  std::string xml = replaced(order(), kIccidElement, nil("Iccid") + element("ProfileType", "T"));
  xml = replaced(xml, element("ValidityPeriod", "60"), nil("ValidityPeriod"));
  xml = replaced(xml, element("EnableProfile", "true"), nil("EnableProfile"));
  EXPECT_TRUE(body<Request>(xml) == expected);
  expect_schema_fault(replaced(order(), kEidElement, nil("Eid")), "Eid must be 32 digits");
}

TEST(Foreign, PrefixesOfAnyName) {
  const Request usual = body<Request>(order());
  const auto renamed = [](std::string s, std::string_view from, std::string_view to) {
    for (const std::string before : {"<", "</", "xmlns:"}) {
      const std::string old = before + std::string(from) + (before.back() == ':' ? "=" : ":");
      const std::string now = before + std::string(to) + (before.back() == ':' ? "=" : ":");
      for (std::size_t at = s.find(old); at != std::string::npos; at = s.find(old, at + now.size()))
        s.replace(at, old.size(), now);
    }
    return s;
  };
  for (const char* prefix : {"ns0", "SOAP-ENV", "_", "a.b-c_d", "\xC3\xA4\xE4\xB8\xAD", "xs", "wsa5"}) {
    SCOPED_TRACE(prefix);
    EXPECT_TRUE(body<Request>(renamed(order(), "r", prefix)) == usual);
    EXPECT_TRUE(body<Request>(renamed(order(), "s", prefix)) == usual);
    EXPECT_EQ(message(renamed(order(), "wsa", prefix)).header.from_entity, "2.999.7");
  }
  // The prefix that we use for one namespace is another's elsewhere: what it is bound to counts.
  EXPECT_TRUE(body<Request>(renamed(renamed(renamed(order(), "s", "x"), "wsa", "s"), "x", "wsa")) == usual);
  // Declared again further down, and declarations after the attributes that use them.
  EXPECT_TRUE(body<Request>(replaced(order(), "<r:Eid>",
                                     "<r:Eid i:type='r:EIDType' id='_1' xml:lang='en' "
                                     "xmlns:i='http://www.w3.org/2001/XMLSchema-instance' xmlns:r='" +
                                         std::string(kNs3) + "'>")) == usual);
}

// WSS4J and WCF: a Timestamp beside the addressing. Optional, it means nothing; with mustUnderstand nobody checks it
// here and the sender is told so (SOAP 1.2, 5.4.8), unless it is for another node.
TEST(Foreign, SecurityHeaders) {
  const auto with = [](const std::string& attributes) {
    return replaced(order(), "<wsa:To>",
                    "<o:Security " + attributes +
                        " xmlns:o='http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd'>"
                        "<u:Timestamp u:Id='_0' "
                        "xmlns:u='http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd'>"
                        "<u:Created>2026-05-01T08:00:00.000Z</u:Created><u:Expires>2026-05-01T08:05:00.000Z</u:Expires>"
                        "</u:Timestamp></o:Security><wsa:To>");
  };
  const Request usual = body<Request>(order());
  const std::string elsewhere = "s:role='http://www.w3.org/2003/05/soap-envelope/role/none'";
  for (const std::string& taken :
       {std::string(), std::string("s:mustUnderstand='0'"), "s:mustUnderstand='1' " + elsewhere})
    EXPECT_TRUE(body<Request>(with(taken)) == usual) << taken;
  const Fault f = fault(with("s:mustUnderstand='1'"));
  EXPECT_EQ(f.code, FaultCode::must_understand);
  EXPECT_EQ(f.http_status, 500U);
  EXPECT_FALSE(f.header.message_id.empty()) << "the fault says which message it is about";
}

TEST(Foreign, DatesOfXmlSchema) {
  const auto taken = [](const std::string& date) {
    const auto r = parse_message(request(Interface::es3, "HandleProfileEnabledNotification",
                                         kEidElement + kIccidElement + element("CompletionTimestamp", date), ""),
                                 {});
    return std::holds_alternative<Message>(r);
  };
  for (const char* good : {"2026-05-01T08:00:00", "2026-05-01T08:00:00Z", "2026-05-01T08:00:00.123456789-05:30",
                           "12026-05-01T08:00:00+14:00", "-0044-03-15T12:00:00Z", "2026-05-01T24:00:00Z"})
    EXPECT_TRUE(taken(good)) << good;
  for (const char* bad :
       {"2026-05-01", "026-05-01T08:00:00", "2026-05-01 08:00:00", "2026-13-01T08:00:00", "--05-01T08:00:00"})
    EXPECT_FALSE(taken(bad)) << bad;
}

TEST(Foreign, TheBodyDispatchesAndRelatesToCorrelates) {
  const std::string answer = request(Interface::es3, "GetEIS", kOk, "Response");
  const std::string action = "http://gsma.com/ES3/ProfileManagement/ES3-GetEIS<";
  const std::string relates = "<wsa:RelatesTo>//1.2/x</wsa:RelatesTo>";
  const auto with = [&](const std::string& other, const std::string& header) {
    return replaced(replaced(answer, action, other + "<"), "<wsa:Action>", header + "<wsa:Action>");
  };
  for (const char* odd : {"http://gsma.com/ES3/ProfileManagement/ES3-GetEISRequest", "urn:anything", ""}) {
    EXPECT_EQ(body<Response>(with(odd, relates)).function, Function::get_eis) << odd;
    EXPECT_NE(fault(with(odd, "")).subcode, "") << odd;
  }
  EXPECT_EQ(body<Response>(replaced(replaced(with("urn:x", relates), "<wsa:MessageID>", "<wsa:Other>"),
                                    "</wsa:MessageID>", "</wsa:Other>"))
                .function,
            Function::get_eis)
      << "an answer needs no identity of its own";
  const std::string completed =
      request(Interface::es3, "ProfileDownloadCompleted", kCall + kEidElement + kIccidElement);
  for (const char* name : {"ES3-ProfileDownloadedCompletedRequest", "ES3-ProfileDownloadCompletedRequest",
                           "ES3-ProfileDownloadedCompleted"})
    EXPECT_EQ(
        body<Request>(replaced(completed, "/ES3-ProfileDownloadCompleted<", "/" + std::string(name) + "<")).function,
        Function::profile_download_completed)
        << name;
}

// A profile of somebody else's is never a reason to refuse the card.
TEST(Foreign, ProfilesInTheEisAreNotJudged) {
  const std::string xml = own("eis.xml");
  const Eis usual = *body<Response>(xml).eis;
  const std::string iccid = "<r:Iccid>" + usual.profiles[1].iccid + "</r:Iccid>";
  for (const char* form : {"893301000000000001", "8933010000000000010F", "89330100000000001FFF", "8933010000000000012",
                           "890001", "0123", "not a number"}) {
    const Eis e = *body<Response>(replaced(xml, iccid, element("Iccid", form))).eis;
    ASSERT_EQ(e.profiles.size(), 2U);
    EXPECT_EQ(e.profiles[1].iccid, form);
  }
  const std::string mno = "<r:Mno-id>" + usual.profiles[1].mno_id + "</r:Mno-id>";
  const Message m =
      message(replaced(replaced(xml, mno, element("Mno-id", "nobody")), "<r:State>Enabled</r:State>", ""));
  const Eis& e = *std::get<Response>(m.body).eis;
  EXPECT_EQ(e.profiles[0].state, "");
  EXPECT_EQ(e.profiles[1].mno_id.empty() || e.profiles[0].mno_id.empty(), true);
  // CaId is hexadecimal in one product and a dotted OID in the next.
  EXPECT_EQ(body<Response>(replaced(xml, ">43<", ">2.999.1.2<")).eis->ecasd.keysets[0].certs[1].ca_id, "2.999.1.2");
  const std::size_t isd_r = xml.find("<r:Isd-r>");
  const std::size_t end = xml.find("</r:Isd-r>") + 10;
  EXPECT_EQ(body<Response>(xml.substr(0, isd_r) + xml.substr(end)).eis->isd_r.aid, "");
}

// --- sent ---

std::vector<std::string> children_of_body(const std::string& xml) {
  pugi::xml_document doc;
  EXPECT_TRUE(doc.load_string(xml.c_str()));
  std::vector<std::string> out;
  for (const auto& n : doc.document_element().child("s:Body").first_child().children())
    out.push_back(std::string(n.name()).substr(4));
  return out;
}

Request all_fields(Interface i, Function f) {
  Request r;
  r.interface = i;
  r.function = f;
  r.function_call_identifier = "c";
  r.validity_period = 60;
  r.eid = kEid;
  r.iccid = std::string(kIccid);
  if (i == Interface::es2) r.smsr_id = "2.999.9";
  r.profile_type = "T";
  r.mno_id = "2.999.10";
  r.more_to_do = true;
  r.sd_aid = hex("A000000559");
  r.data = hex("84");
  r.subscription = SubscriptionAddress{"240011234567890", "46700000001"};
  r.pol2 = Pol2{{"PROFILE", "DELETE", "Not-Allowed"}};
  r.connectivity_parameters = hex("A10301");
  r.completion_timestamp = "2026-05-01T08:00:00Z";
  return r;
}

TEST(Wsdl3, ElementsAndTheirOrder) {
  using V = std::vector<std::string>;
  const auto sent = [](Function f, Dialect d, Interface i = Interface::es2) {
    return children_of_body(write_message({}, all_fields(i, f), kNs3, d));
  };
  const std::string call = "FunctionCallIdentifier", period = "ValidityPeriod";
  const auto w = Dialect::wsdl3;
  EXPECT_EQ(sent(Function::download_profile, w),
            (V{call, period, "Eid", "SmSr-id", "ProfileType", "Iccid", "EnableProfile"}));
  EXPECT_EQ(sent(Function::enable_profile, w), (V{call, period, "Eid", "SmSr-id", "Iccid"}));
  EXPECT_EQ(sent(Function::disable_profile, w), (V{call, period, "Eid", "Smsr-id", "Iccid"}));
  EXPECT_EQ(sent(Function::delete_profile, w), (V{call, period, "Eid", "Iccid", "Smsr-id"}));
  EXPECT_EQ(sent(Function::update_policy_rules, w), (V{call, period, "Eid", "Iccid", "Smsr-id", "pol2"}));
  EXPECT_EQ(sent(Function::update_subscription_address, w),
            (V{call, period, "Eid", "Smsr-id", "Iccid", "newSubscriptionAddress"}));
  EXPECT_EQ(sent(Function::handle_profile_enabled, w, Interface::es3),
            (V{"Eid", "Iccid", "Mno-id", "CompletionTimestamp"}));
  EXPECT_EQ(sent(Function::handle_profile_enabled, w), (V{"Eid", "Iccid", "CompletionTimestamp"}));
  EXPECT_EQ(sent(Function::handle_smsr_change, w, Interface::es3), (V{"Mno-id", "completionTimestamp"}));
  const auto r = Dialect::reference;
  EXPECT_EQ(sent(Function::download_profile, r),
            (V{call, period, "Eid", "Smsr-id", "ProfileType", "Iccid", "EnableProfile"}));
  EXPECT_EQ(sent(Function::delete_profile, r), (V{call, period, "Eid", "Smsr-id", "Iccid"}));
  EXPECT_EQ(sent(Function::update_policy_rules, r), (V{call, period, "Eid", "Smsr-id", "Iccid", "pol2"}));
  EXPECT_EQ(sent(Function::handle_profile_enabled, r, Interface::es3), (V{"Eid", "Iccid", "CompletionTimestamp"}));
  Response answer;
  answer.function = Function::enable_profile;
  answer.euicc_response_data = hex("9000");
  EXPECT_EQ(children_of_body(write_message({}, answer)), (V{"FunctionExecutionStatus"}));
  EXPECT_EQ(children_of_body(write_message({}, answer, kNs3, r)), (V{"FunctionExecutionStatus", "EuiccResponseData"}));
}

// The + of an international number is how people write it: the published schemas have digits only.
TEST(Wsdl3, MsisdnIsDigits) {
  Request r = all_fields(Interface::es3, Function::profile_download_completed);
  r.subscription->msisdn = "+46700000001";
  for (const Dialect d : {Dialect::wsdl3, Dialect::reference})
    EXPECT_NE(write_message({}, r, kNs3, d).find("Msisdn>46700000001<"), std::string::npos);
  EXPECT_EQ(body<Request>(request(Interface::es2, "UpdateSubscriptionAddress",
                                  kCall + kEidElement + kSmsr + kIccidElement +
                                      element("NewSubscriptionAddress", element("Msisdn", "+46700000001"))))
                .subscription->msisdn,
            "+46700000001")
      << "taken as it comes";
}

TEST(Wsdl3, Actions) {
  const auto es2 = Interface::es2, es3 = Interface::es3;
  EXPECT_EQ(action_for(es2, Function::get_eis, Way::request), "http://gsma.com/ES2/DataPreparation/ES2-GetEISRequest");
  EXPECT_EQ(action_for(es2, Function::get_eis, Way::callback),
            "http://gsma.com/ES2/DataPreparation/ES2-GetEISResponse");
  EXPECT_EQ(action_for(es3, Function::profile_download_completed, Way::request),
            "http://gsma.com/ES3/ProfileManagement/ES3-ProfileDownloadedCompletedRequest");
  EXPECT_EQ(action_for(es3, Function::send_data, Way::callback),
            "http://gsma.com/ES3/ProfileManagementCallBack/ES3-SendData");
  EXPECT_EQ(action_for(es2, Function::download_profile, Way::answer),
            "http://gsma.com/ES2/ProfileManagement/ES2-DownloadProfile");
  EXPECT_EQ(action_for(es2, Function::handle_profile_enabled, Way::request),
            "http://gsma.com/ES2/PlatformManagement/ES2-HandleProfileEnabledNotification");
  EXPECT_EQ(action_for(es2, Function::handle_smsr_change, Way::request),
            "http://gsma.com/ES2/eUICCManagement/ES2-HandleSMSRChangeNotification");
  EXPECT_EQ(action_for(es3, Function::handle_smsr_change, Way::request),
            "http://gsma.com/ES3/PlatformManagement/ES3-HandleSMSRChangeNotification");
  for (const Interface i : {es2, es3})
    for (const Function f : {Function::update_policy_rules, Function::update_subscription_address}) {
      const std::string in(interface_name(i));
      const std::string name =
          "http://gsma.com/" + in + "/ProfileManagement/" + in + "-" + std::string(function_name(f));
      EXPECT_EQ(action_for(i, f, Way::request), name + "Request");
      EXPECT_EQ(action_for(i, f, Way::answer), name + "Response");
      EXPECT_EQ(action_for(i, f, Way::callback), name + "Response");
    }
}

TEST(Reference, ActionOfSmsrChange) {
  EXPECT_EQ(action_for(Interface::es2, Function::handle_smsr_change, Way::request, Dialect::reference),
            "http://gsma.com/ES2/eUICCManagementCallBack/ES2-HandleSMSRChangeNotification");
}

// Every Action that the descriptions give to a message of ES2, ES3 and ES4 is the one that would be sent.
TEST(Wsdl3, ActionsAreThoseOfTheDescriptions) {
  if (!std::filesystem::exists(kWsdlDir)) GTEST_SKIP() << "../shared/wsdl is absent";
  std::size_t seen = 0;
  for (const std::string file : {"ES2_SMDP", "ES2_MNO", "ES3_SMSR", "ES3_SMDP", "ES4_MNO", "ES4_SMSR"}) {
    pugi::xml_document doc;
    ASSERT_TRUE(doc.load_file((kWsdlDir + file + ".wsdl").c_str())) << file;
    std::map<std::string, std::string> element_of;  // message -> element
    for (const auto& m : doc.document_element().children("wsdl:message"))
      element_of[m.attribute("name").value()] = m.child("wsdl:part").attribute("element").value();
    for (const auto& operation : doc.document_element().child("wsdl:portType").children("wsdl:operation")) {
      for (const auto& direction : operation.children()) {
        const std::string action = direction.attribute("wsam:Action").value();
        const std::string message_name = std::string(direction.attribute("message").value()).substr(4);
        const std::string element_name = element_of[message_name].substr(4);
        SCOPED_TRACE(file + " " + element_name);
        ASSERT_FALSE(action.empty());
        // The codec knows the element; a body is not needed to see what it takes it for.
        const bool answer = element_name.ends_with("Response");
        const std::string base = answer                              ? element_name.substr(0, element_name.size() - 8)
                                 : element_name.ends_with("Request") ? element_name.substr(0, element_name.size() - 7)
                                                                     : element_name;
        const Interface i = base.starts_with("ES2")   ? Interface::es2
                            : base.starts_with("ES3") ? Interface::es3
                                                      : Interface::es4;
        std::optional<Function> f;
        for (int n = 0; n < static_cast<int>(Function::other); ++n)
          if (function_name(static_cast<Function>(n)) == base.substr(4)) f = static_cast<Function>(n);
        if (!f) {  // SM-SR change: between SM-SRs and Operators
          EXPECT_NE(base.find("SMSRChange"), std::string::npos);
          continue;
        }
        const bool input = std::string(direction.name()) == "wsdl:input";
        EXPECT_EQ(action_for(i, *f, !answer ? Way::request : input ? Way::callback : Way::answer), action);
        ++seen;
      }
    }
  }
  EXPECT_GE(seen, 50U);
}

}  // namespace
}  // namespace kf::es::test
