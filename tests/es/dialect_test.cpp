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
