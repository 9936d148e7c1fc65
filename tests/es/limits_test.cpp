// What a message may cost: bounds on everything that a peer can make long, deep or many.
#include "host/es/xml.hpp"
#include "tests/es/support.hpp"

namespace kf::es::test {
namespace {

std::string times(std::size_t n, std::string_view s) {
  std::string out;
  out.reserve(n * s.size());
  for (std::size_t i = 0; i < n; ++i) out += s;
  return out;
}

std::string declarations(std::string_view prefix, std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i)
    out += " xmlns:" + std::string(prefix) + std::to_string(i) + "='u" + std::to_string(i) + "'";
  return out;
}

// The EIS of the samples with another EumSignature.
std::string eis_with_signature(const std::string& content) {
  const std::string xml = own("eis.xml");
  const std::size_t open = xml.find("EumSignature");
  const std::size_t from = xml.find('>', open) + 1;
  const std::size_t to = xml.rfind("</", xml.find("EumSignature", from));
  return xml.substr(0, from) + content + xml.substr(to);
}

// Prefix look-ups counted, not timed: a busy machine changes nothing. Each document is about a mebibyte.
TEST(Limits, PrefixesAreResolvedInLinearTime) {
  std::string other_prefixes, deep, many_uses;
  for (int i = 0; other_prefixes.size() < 1 << 20; ++i) other_prefixes += "<p" + std::to_string(i) + ":x/>";
  // Sixty levels, each with a declaration of its own, and uses of the outermost and innermost in turn.
  for (int i = 0; i < 40; ++i) deep += "<a xmlns:p" + std::to_string(i) + "='u'>";
  while (deep.size() < 1 << 20) deep += "<p0:x/><p39:y/>";
  deep += times(40, "</a>");
  for (int i = 0; many_uses.size() < 1 << 20; ++i) {
    std::string element = "<a" + declarations("q", 8);
    for (int k = 0; k < 8; ++k) element += " q" + std::to_string(k) + ":z=''";
    many_uses += element + "/>";
  }
  const std::string alternating = times(87'000, "<n0:x/><n1:y/>");
  const struct {
    const char* what;
    std::string xml;
  } cases[] = {
      {"other prefix in each child", eis_with_signature("<o>" + other_prefixes + "</o>")},
      {"deep in the signature", eis_with_signature(deep)},
      {"declared and used at once", eis_with_signature(many_uses)},
      {"unknown children, two prefixes in turn",
       replaced(request(Interface::es2, "DownloadProfile", kCall + kEidElement + kSmsr + alternating),
                "<r:ES2-DownloadProfileRequest", "<r:ES2-DownloadProfileRequest" + declarations("n", 30))},
      {"long names in force",
       replaced(request(Interface::es2, "DownloadProfile", kCall + alternating), "<r:ES2-DownloadProfileRequest",
                "<r:ES2-DownloadProfileRequest" + declarations("n", 2) + declarations(std::string(400, 'm'), 28))},
  };
  for (const auto& c : cases) {
    const std::uint64_t before = namespace_steps();
    const auto r = parse_message(c.xml, {});
    const std::uint64_t steps = namespace_steps() - before;
    EXPECT_LE(steps, 12 * c.xml.size()) << c.what;
    // The oracle: something was resolved at all, or the message was refused for its namespaces.
    const auto* f = std::get_if<Fault>(&r);
    EXPECT_TRUE(steps > 100'000 || (f != nullptr && f->reason.find("namespaces") != std::string::npos))
        << c.what << ": " << steps << " " << (f == nullptr ? "" : f->reason);
  }
}

TEST(Limits, NamespaceDeclarationsInForce) {
  const auto with = [](std::size_t n) {  // spread, since one element has 32 attributes at most; the envelope has three
    return replaced(replaced(order(), "<s:Body>", "<s:Body" + declarations("a", std::min<std::size_t>(n, 31)) + ">"),
                    "<r:ES2-DownloadProfileRequest",
                    "<r:ES2-DownloadProfileRequest" + declarations("b", n - std::min<std::size_t>(n, 31)));
  };
  message(with(kMaxNamespaces - 3));
  EXPECT_NE(fault(with(kMaxNamespaces - 2)).reason.find("namespace declarations in force"), std::string::npos);
}

TEST(Limits, Names) {
  EXPECT_TRUE(check_document("<" + std::string(kMaxName, 'a') + "/>").ok());
  EXPECT_FALSE(check_document("<" + std::string(kMaxName + 1, 'a') + "/>").ok());
  EXPECT_FALSE(check_document("<a " + std::string(kMaxName + 1, 'a') + "=''/>").ok());
}

// Every child of EumSignature gets the declarations it inherits: a long name, said once, must not be copied at will.
TEST(Limits, SignatureDoesNotGrowOnTheWay) {
  const auto signed_by = [](std::size_t children, std::size_t name) {
    const std::string xml = eis_with_signature(times(children, "<long:a/>"));
    return replaced(xml, "Envelope ", "Envelope xmlns:long='" + std::string(name, 'u') + "' ");
  };
  const auto m = message(signed_by(10, 100));
  const auto& eis = std::get<Response>(m.body).eis;
  ASSERT_TRUE(eis.has_value());
  EXPECT_NE(eis->eum_signature_xml.find("uuuu"), std::string::npos);
  const Fault f = fault(signed_by(20'000, 100'000));  // two gigabytes
  EXPECT_NE(f.reason.find("too many namespaces in EumSignature"), std::string::npos) << f.reason;
}

TEST(Limits, HeaderFields) {
  const std::string long_text(900'000, 'x');
  const std::string extra =
      "<wsa:ReplyTo><wsa:Address>https://r/x</wsa:Address></wsa:ReplyTo>"
      "<wsa:RelatesTo>//1/y</wsa:RelatesTo>";
  const std::string whole = replaced(order(), "</wsa:Action>", "</wsa:Action>" + extra);
  message(whole);
  const struct {
    const char *at, *name;
  } places[] = {{"//2.999.7/m1", "wsa:MessageID"},      {"https://peer.test/x", "wsa:From"},
                {"https://dp.test/x", "wsa:To"},        {"http://gsma.com/ES2/ProfileManagement/", "wsa:Action"},
                {"https://r/x", "wsa:ReplyTo"},         {"//1/y", "wsa:RelatesTo"},
                {"2.999.7&amp;EntityName", "wsa:From"}, {"TransactionId=tx1", "wsa:MessageID"},
                {"EntityName=Peer", "wsa:From"}};
  for (const auto& p : places) {
    const bool parameter = p.at[0] == '2' || p.at[0] == 'T' || p.at[0] == 'E';
    for (const std::size_t n : {parameter ? std::size_t{300} : std::size_t{2049}, long_text.size()}) {
      const std::string at(p.at);
      const std::string grown = at[0] == '2' ? long_text.substr(0, n) + at : at + long_text.substr(0, n);
      const Fault f = fault(replaced(whole, at, grown));
      EXPECT_EQ(f.http_status, 400U) << p.at;
      EXPECT_EQ(f.problem_qname, p.name) << p.at << ": " << f.reason;
      EXPECT_LT(write_fault(f).size(), 8'000U) << "the answer does not repeat it: " << p.at;
    }
  }
  fault(replaced(order(), "</wsa:Action>", "</wsa:Action>" + times(65, "<r:Block/>")));
}

TEST(Limits, TextOfElements) {
  const std::string type = kCall + kEidElement + kSmsr;
  const auto with = [&](std::size_t n) {
    return request(Interface::es2, "DownloadProfile",
                   type + element("ProfileType", std::string(n, 'T')) + element("EnableProfile", "true"));
  };
  message(with(400));
  expect_schema_fault(with(401), "ProfileType is longer than 400 octets");
  // What an SM-SR says about a failure is cut on a character; its answer counts all the same.
  std::string umlauts = times(2000, "\xC3\xA4");
  const auto r = body<Response>(request(
      Interface::es3, "DeleteISDP",
      "<r:FunctionExecutionStatus><r:Status>FAILED</r:Status><r:StatusCodeData><r:Subject>8.1</r:Subject><r:Reason>4.2"
      "</r:Reason><r:Message>x" +
          umlauts + "</r:Message></r:StatusCodeData></r:FunctionExecutionStatus>",
      "Response"));
  ASSERT_TRUE(r.code.has_value());
  EXPECT_EQ(r.code->message, "x" + umlauts.substr(0, 1022));
  EXPECT_EQ(r.code->reason, "4.2");
}

TEST(Limits, WhatAPartyMayNotSendIsNotRead) {
  CodecOptions o;
  int asked = 0;
  o.takes = [&](Interface i, Function f, Direction d) {
    ++asked;
    return i == Interface::es2 && d == Direction::request && f != Function::other;
  };
  EXPECT_EQ(message(order(), o).body.index(), 0U);
  const std::string rubbish = "<r:Eid>not an EID</r:Eid>";
  for (const std::string& xml :
       {request(Interface::es3, "GetEIS", rubbish, "Response"), request(Interface::es2, "GetEIS", rubbish, "Response"),
        request(Interface::es3, "SendData", rubbish), eis_with_signature(rubbish)}) {
    const Fault f = fault(xml, o);
    EXPECT_EQ(f.subcode, "wsa:ActionNotSupported") << f.reason;
  }
  EXPECT_EQ(asked, 5);
}

// What a message is about stands in its media type too.
TEST(Limits, TheMediaTypeNamesTheAction) {
  Request r;
  r.function = Function::get_eis;
  r.function_call_identifier = "c";
  r.eid = kEid;
  r.smsr_id = "1.2";
  SendHeader h{"https://a?EntityId=1.2", "https://b?EntityId=1.3", "", "//1.2/x?TransactionId=t", "", "", {}};
  h.action = action_for(r.interface, r.function, Way::request);
  EXPECT_EQ(action_of(write_message(h, r)), h.action);
  EXPECT_EQ(soap_content_type(h.action), "application/soap+xml; charset=utf-8; action=\"" + h.action + "\"");
  EXPECT_EQ(soap_content_type(action_of("<x/>")), kSoapContentType);
  EXPECT_EQ(soap_content_type("a\"b\r\nX: y"), "application/soap+xml; charset=utf-8; action=\"a\\\"bX: y\"");
}

TEST(Limits, DeclaredCharacterSets) {
  const std::string plain = order();
  const std::string umlaut = replaced(plain, ">c1<", ">c\xC3\xA4<");
  const auto declared = [](const std::string& xml, std::string_view name) { return replaced(xml, "UTF-8", name); };
  for (const char* name : {"ISO-8859-1", "iso-8859-1", "US-ASCII"}) {
    message(declared(plain, name));
    EXPECT_NE(fault(declared(umlaut, name)).reason.find("plain ASCII only"), std::string::npos);
  }
  fault(declared(plain, "UTF-16"));
  fault(declared(plain, "windows-1252"));
  CodecOptions ascii;
  ascii.ascii = true;
  message(plain, ascii);
  message(umlaut);
  EXPECT_NE(fault(umlaut, ascii).reason.find("plain ASCII only"), std::string::npos);
}

}  // namespace
}  // namespace kf::es::test
