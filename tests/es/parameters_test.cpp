// ReferenceParameters in ReplyTo: repeated in the answer as header blocks of their owner's, and never as ours.
#include <time.h>

#include "host/es/xml.hpp"
#include "tests/es/support.hpp"

namespace kf::es::test {
namespace {

constexpr std::size_t kMaxAsked = 16;  // parameters of one endpoint
constexpr std::string_view kReplyTo =
    "<wsa:ReplyTo xmlns:wsa='http://www.w3.org/2005/08/addressing' xmlns:o='urn:outer'>"
    "<wsa:Address>https://op.example/cb</wsa:Address>";

std::string asking(const std::string& parameters, std::string_view reply_to = kReplyTo) {
  std::string xml = order();
  const std::size_t end = xml.find(":Header>", xml.find("Header>") + 7);
  const std::size_t at = xml.rfind("</", end);
  return xml.insert(at, std::string(reply_to) + "<wsa:ReferenceParameters>" + parameters +
                            "</wsa:ReferenceParameters></wsa:ReplyTo>");
}

struct Block {
  std::string ns, local, mark, text;
};

// The header blocks of an envelope of ours that are marked as reference parameters, as pugixml sees them.
std::vector<Block> marked(const std::string& xml) {
  Document d;
  const Status s = d.load(xml);
  EXPECT_TRUE(s.ok()) << s.error().detail << "\n" << xml;
  std::vector<Block> out;
  if (!s) return out;
  const Scope outside;
  const Scope envelope(outside, d.root());
  const pugi::xml_node header = d.root().first_child();
  const Scope in_header(envelope, header);
  for (const pugi::xml_node n : header.children()) {
    const Scope scope(in_header, n);
    for (const pugi::xml_attribute a : n.attributes()) {
      const auto [prefix, local] = split_qname(a.name());
      if (local != "IsReferenceParameter" || scope.uri(prefix) != kNsWsa) continue;
      const auto name = scope.name_of(n);
      EXPECT_TRUE(name.ok());
      out.push_back({std::string(name->ns), std::string(name->local), a.value(), std::string(d.raw_content(n))});
    }
  }
  return out;
}

std::string answered(const Message& m) {
  SendHeader h;
  h.from = "https://dp/es2";
  h.message_id = "//2.999.20/x";
  h.relates_to = m.header.message_id;
  h.action = "a";
  h.reply_parameters = m.header.reply_parameters;
  Response r;
  r.interface = Interface::es2;
  r.function = Function::download_profile;
  return write_message(h, r);
}

TEST(ReferenceParameters, ComeBackAsHeaderBlocks) {
  const Message m =
      message(asking("<p:Key xmlns:p='urn:p' p:kind='a&amp;b'>4711 &lt;<!-- x --><p:in/></p:Key>"
                     "<o:Session xsi='1'>o:name</o:Session><Plain xmlns='urn:d'><Deep/></Plain>"));
  const auto blocks = marked(answered(m));
  ASSERT_EQ(blocks.size(), 3U);
  EXPECT_EQ(blocks[0].ns + " " + blocks[0].local, "urn:p Key");
  EXPECT_EQ(blocks[0].text, "4711 &lt;<!-- x --><p:in/>");
  EXPECT_EQ(blocks[1].ns + " " + blocks[1].local, "urn:outer Session") << "a prefix from outside comes along";
  EXPECT_EQ(blocks[2].ns + " " + blocks[2].local, "urn:d Plain");
  for (const auto& b : blocks) EXPECT_EQ(b.mark, "true");
  EXPECT_NE(answered(m).find("p:kind=\"a&amp;b\""), std::string::npos);
  // A fault goes to the same endpoint.
  Fault f;
  f.header = m.header;
  EXPECT_EQ(marked(write_fault(f)).size(), 3U);
  EXPECT_TRUE(message(order()).header.reply_parameters.empty());
}

TEST(ReferenceParameters, OfAnotherMeaningOfOurPrefixes) {
  // Their "wsa", "s" and "rps" are something else; they say themselves that it is marked, and are not believed.
  const Message m =
      message(asking("<wsa:Action xmlns:wsa='urn:mine' xmlns:q='http://www.w3.org/2005/08/addressing' "
                     "q:IsReferenceParameter='false'>forged</wsa:Action>"
                     "<s:Body xmlns:s='urn:s' xmlns:rps='urn:rps'><rps:x/></s:Body>"));
  const std::string xml = answered(m);
  const auto blocks = marked(xml);
  ASSERT_EQ(blocks.size(), 2U) << xml;
  EXPECT_EQ(blocks[0].ns + " " + blocks[0].local + " " + blocks[0].mark, "urn:mine Action true");
  EXPECT_EQ(blocks[1].ns + " " + blocks[1].local, "urn:s Body");
  EXPECT_EQ(action_of(xml), "a") << "whoever looks for our Action finds ours";
  EXPECT_EQ(message(xml).header.action, "a");
}

TEST(ReferenceParameters, WhatCouldPassForABlockOfOursIsRefused) {
  for (const char* bad :
       {"<wsa:To>https://elsewhere</wsa:To>", "<x:Action xmlns:x='http://www.w3.org/2005/08/addressing'>a</x:Action>",
        "<e:Upgrade xmlns:e='http://www.w3.org/2003/05/soap-envelope'/>",
        "<e:Body xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'/>",
        "<m:MessagePending xmlns:m='http://docs.oasis-open.org/ws-rx/wsmc/200702' pending='true'/>",
        "<RelatesTo xmlns='http://www.w3.org/2005/08/addressing'>x</RelatesTo>", "<NoNamespace/>", "text", "<u:x/>",
        "<o:x u:y='1'/>", "<o:x><u:y/></o:x>", "<o:x><y xmlns:z=''/></o:x>"}) {
    SCOPED_TRACE(bad);
    const Fault f = fault(asking(bad));
    EXPECT_EQ(f.subcode, "wsa:InvalidAddressingHeader/wsa:InvalidEPR") << f.reason;
    EXPECT_TRUE(f.header.reply_parameters.empty());
  }
}

TEST(ReferenceParameters, AreBounded) {
  const std::string some = "<o:x>" + std::string(3000, 'x') + "</o:x>";
  EXPECT_LE(message(asking(some)).header.reply_parameters.size(), 4096U);
  EXPECT_NE(fault(asking(some + some)).reason.find("4096"), std::string::npos);
  std::string many;
  for (int i = 0; i < 17; ++i) many += "<o:x/>";
  EXPECT_NE(fault(asking(many)).reason.find("16"), std::string::npos);
  // Short where they stand, long by the bindings that each of them needs.
  std::string uri =
      "<wsa:ReplyTo xmlns:wsa='http://www.w3.org/2005/08/addressing' xmlns:o='urn:" + std::string(900, 'u') +
      "'><wsa:Address>https://op.example/cb</wsa:Address>";
  EXPECT_NE(fault(asking("<o:a/><o:b/><o:c/><o:d/><o:e/>", uri)).reason.find("4096"), std::string::npos);
  std::string attributes = "<o:x";
  for (int i = 0; i < 32; ++i) attributes += " a" + std::to_string(i) + "=''";
  EXPECT_EQ(fault(asking(attributes + "/>")).subcode, "wsa:InvalidAddressingHeader/wsa:InvalidEPR");
}

// A name of 1 MB stands once in the message, under all of the prefixes that each parameter may be using.
TEST(ReferenceParameters, CostNoMoreThanTheMessageIsLong) {
  std::string reply_to = "<wsa:ReplyTo xmlns:wsa='http://www.w3.org/2005/08/addressing'";
  for (std::size_t i = 0; i < 26; ++i) reply_to += " xmlns:" + std::string(445 + i, 'a') + "='u'";
  reply_to += "><wsa:Address>https://op.example/cb</wsa:Address>";
  std::string parameters = "<wsa:ReferenceParameters xmlns='" + std::string(900'000, 'a') + "'>";
  for (std::size_t i = 0; i < kMaxAsked; ++i) parameters += "<b/>";
  const auto with = [&](const std::string& inner) {
    std::string xml = asking("", reply_to);
    const std::string empty = "<wsa:ReferenceParameters></wsa:ReferenceParameters>";
    return xml.replace(xml.find(empty), empty.size(), inner);
  };
  const auto cpu_ns = [](const std::string& xml) {
    timespec a{}, b{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    EXPECT_TRUE(std::holds_alternative<Fault>(parse_message(xml, CodecOptions{})));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    return (b.tv_sec - a.tv_sec) * 1'000'000'000LL + b.tv_nsec - a.tv_nsec;
  };
  const std::string large = with(parameters + "</wsa:ReferenceParameters>");
  // As long, and refused for its length where it stands.
  const std::string plain =
      with("<wsa:ReferenceParameters>" + std::string(900'000, 'a') + "</wsa:ReferenceParameters>");
  EXPECT_NE(fault(large).reason.find("4096"), std::string::npos);
  cpu_ns(plain);
  EXPECT_LT(cpu_ns(large), 30 * (cpu_ns(plain) + 1'000'000));
}

TEST(ReferenceParameters, APrefixIsNeededByItsWholeName) {
  const Message m =
      message(asking("<o:x>ap:name</o:x><o:y q='(p:name)'/>",
                     "<wsa:ReplyTo xmlns:wsa='http://www.w3.org/2005/08/addressing' xmlns:o='urn:o' xmlns:p='urn:p' "
                     "xmlns:unused='urn:p:'><wsa:Address>https://op.example/cb</wsa:Address>"));
  const std::string& blocks = m.header.reply_parameters;
  const std::size_t second = blocks.find("<o:y");
  EXPECT_EQ(blocks.find("xmlns:p="), blocks.find("xmlns:p=", second)) << "the first does not use it: " << blocks;
  EXPECT_NE(blocks.find("xmlns:p=", second), std::string::npos) << blocks;
  EXPECT_EQ(blocks.find("unused"), std::string::npos);
}

}  // namespace
}  // namespace kf::es::test
