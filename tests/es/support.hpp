// Help for the tests of the codec: files, a template of a valid envelope, short ways to expect a message or a fault.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "host/es/soap.hpp"

namespace kf::es::test {

inline constexpr std::string_view kEid = "89001012012341234012345678901224";
inline constexpr std::string_view kIccid = "89883030000006142225";
inline const std::string kDataDir = KF_SOURCE_DIR "/tests/es/data/";
inline const std::string kSampleDir = KF_SOURCE_DIR "/../shared/reference/samples/";

inline std::optional<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return {};
  std::ostringstream s;
  s << in.rdbuf();
  return s.str();
}

inline std::string own(const std::string& name) {
  auto s = read_file(kDataDir + name);
  if (!s) throw std::runtime_error("missing test file " + name);
  return *s;
}

inline Message message(std::string_view xml, const CodecOptions& o = {}) {
  auto r = parse_message(xml, o);
  if (auto* f = std::get_if<Fault>(&r)) {
    ADD_FAILURE() << "fault: " << fault_code_name(f->code) << ' ' << f->subcode << ' ' << f->reason << "\n"
                  << xml.substr(0, 3000);
    return {};
  }
  return std::get<Message>(std::move(r));
}

inline Fault fault(std::string_view xml, const CodecOptions& o = {}) {
  auto r = parse_message(xml, o);
  if (std::holds_alternative<Message>(r)) {
    ADD_FAILURE() << "was accepted:\n" << xml.substr(0, 3000);
    Fault none;
    none.http_status = 0;
    return none;
  }
  return std::get<Fault>(std::move(r));
}

template <class T>
T body(std::string_view xml) {
  Message m = message(xml);
  if (auto* p = std::get_if<T>(&m.body)) return std::move(*p);
  ADD_FAILURE() << "another kind of message";
  return {};
}

// The schema fault of sample 40, with this ending.
inline void expect_schema_fault(std::string_view xml, const std::string& says) {
  const Fault f = fault(xml);
  EXPECT_EQ(f.http_status, 400U) << says;
  EXPECT_EQ(f.code, FaultCode::sender);
  EXPECT_EQ(f.subcode, "");
  EXPECT_EQ(f.reason, "Body does not satisfy the schema: " + says);
  EXPECT_FALSE(f.header.message_id.empty()) << "the header was readable";
}

inline std::string replaced(std::string s, std::string_view from, std::string_view to) {
  const std::size_t at = s.find(from);
  if (at == std::string::npos) throw std::runtime_error("not in the text: " + std::string(from));
  return s.replace(at, from.size(), to);
}

struct Parts {
  std::string action;
  std::string body;
  std::string ns = std::string(kNs3);
  std::string extra_header = {};
};

inline std::string envelope(const Parts& p) {
  return R"(<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:wsa="http://www.w3.org/2005/08/addressing"
 xmlns:r=")" +
         p.ns + R"("><s:Header>
<wsa:From><wsa:Address>https://peer.test/x?EntityId=2.999.7&amp;EntityName=Peer</wsa:Address></wsa:From>
<wsa:To>https://dp.test/x?EntityId=2.999.8</wsa:To>
<wsa:MessageID>//2.999.7/m1?TransactionId=tx1&amp;MessageDate=2026-05-01T08:00:00Z</wsa:MessageID>
<wsa:Action>)" +
         p.action + "</wsa:Action>" + p.extra_header + "</s:Header>\n<s:Body>" + p.body + "</s:Body></s:Envelope>";
}

// A request or notification of this function with these children (prefix r).
inline std::string request(Interface i, std::string_view function, std::string_view children,
                           std::string_view suffix = "Request") {
  const std::string name = std::string(interface_name(i)) + "-" + std::string(function);
  const std::string element = "r:" + name + std::string(suffix);
  return envelope({"http://gsma.com/" + std::string(interface_name(i)) + "/ProfileManagement/" + name,
                   "<" + element + ">" + std::string(children) + "</" + element + ">"});
}

inline std::string element(std::string_view name, std::string_view text) {
  return "<r:" + std::string(name) + ">" + std::string(text) + "</r:" + std::string(name) + ">";
}

inline const std::string kCall = element("FunctionCallIdentifier", "c1");
inline const std::string kEidElement = element("Eid", kEid);
inline const std::string kIccidElement = element("Iccid", kIccid);
inline const std::string kSmsr = element("Smsr-id", "2.999.9");
inline const std::string kOk =
    "<r:FunctionExecutionStatus><r:Status>EXECUTED_SUCCESS</r:Status></r:FunctionExecutionStatus>";

// A valid ES2.DownloadProfile, to spoil one thing of.
inline std::string order() {
  return request(
      Interface::es2, "DownloadProfile",
      kCall + element("ValidityPeriod", "60") + kEidElement + kSmsr + kIccidElement + element("EnableProfile", "true"));
}

inline SendHeader send_header(const MessageHeader& h) {
  SendHeader s;
  s.from = h.from;
  s.to = h.to;
  s.reply_to = h.reply_to;
  s.message_id = h.message_id;
  s.relates_to = h.relates_to;
  s.action = h.action;
  s.message_pending = h.message_pending;
  return s;
}

// Written again, parsed again: the same values. What the wire cannot say is taken out before comparing.
inline void expect_round_trip(const Message& m) {
  CodecOptions o;
  if (std::holds_alternative<MakeConnection>(m.body)) {
    const auto& poll = std::get<MakeConnection>(m.body);
    const Message again = message(write_make_connection(send_header(m.header), poll.address));
    EXPECT_EQ(again.header, m.header);
    EXPECT_EQ(std::get<MakeConnection>(again.body), poll);
    return;
  }
  o.namespaces = {m.ns};
  std::string xml;
  auto expected = m.body;
  if (auto* r = std::get_if<Request>(&expected)) {
    const bool has_owner = is_notification(*r) && !r->mno_id.empty();  // the reference dialect has none there
    xml = write_message(send_header(m.header), *r, m.ns, has_owner ? Dialect::wsdl3 : Dialect::reference);
  } else {
    auto& answer = std::get<Response>(expected);
    xml = write_message(send_header(m.header), answer, m.ns, Dialect::reference);
    if (answer.status == ExecStatus::success) answer.code.reset();
    answer.bad_euicc_response_data = answer.unknown_status = false;
  }
  const Message again = message(xml, o);
  EXPECT_EQ(again.header, m.header);
  EXPECT_EQ(again.ns, m.ns);
  EXPECT_TRUE(again.body == expected) << xml;
  EXPECT_TRUE(again.unknown_elements.empty());
}

}  // namespace kf::es::test
