// The bad-input table of docs/spec/interfaces.md 6.1, row by row, over the real listeners. After all of it the server
// serves.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);
using F = es::Function;

class BadInput : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    RigOptions o;
    o.euiccs = 6;
    o.log_level = "warning";
    o.settings = {{"timeouts.header_s", std::int64_t{2}}, {"limits.max_body_bytes", std::int64_t{65536}}};
    rig_ = std::make_unique<Rig>(o);
  }
  static void TearDownTestSuite() {
    // After everything: still serving, and one line was logged for what was refused.
    EXPECT_EQ(told(rig_->download(5)), "EXECUTED_SUCCESS");
    EXPECT_FALSE(slurp(rig_->world().smdp_log()).empty());
    rig_.reset();
  }
  static net::Response post(sim::Operator::Raw r) {
    auto x = rig_->run(rig_->op().raw_post(std::move(r), std::chrono::seconds(20)));
    if (!x) throw std::runtime_error(x.error().text());
    return std::move(*x);
  }
  static net::Response post_body(std::string body) {
    sim::Operator::Raw r;
    r.body = std::move(body);
    return post(std::move(r));
  }
  // A good order with one place changed.
  static std::string order(const std::string& from = "", const std::string& to = "", std::string call_id = "") {
    es::Request q = rig_->request(F::download_profile, 0);
    q.function_call_identifier = call_id.empty() ? "bad-" + random_uuid() : call_id;
    std::string xml = rig_->op().envelope(q, rig_->op().new_message_id(), "");
    if (!from.empty()) {
      const auto at = xml.find(from);
      EXPECT_NE(at, std::string::npos) << from << " in " << xml;
      if (at != std::string::npos) xml.replace(at, from.size(), to);
    }
    return xml;
  }
  static void expect_fault(const net::Response& r, unsigned http, const std::string& code,
                           const std::string& subcode = "") {
    EXPECT_EQ(r.status, http) << r.body;
    auto f = es::read_fault(r.body);
    ASSERT_TRUE(f.ok()) << r.body;
    EXPECT_EQ(es::fault_code_name(f->code), code);
    if (!subcode.empty()) {
      EXPECT_EQ(f->subcode, subcode);
    }
  }
  static void expect_failed(const net::Response& r, const std::string& status, const std::string& code) {
    ASSERT_EQ(r.status, 200U) << r.body;
    auto m = es::parse_message(r.body, {});
    ASSERT_TRUE(std::holds_alternative<es::Message>(m)) << r.body;
    const auto* x = std::get_if<es::Response>(&std::get<es::Message>(m).body);
    ASSERT_NE(x, nullptr);
    Outcome o;
    o.response = *x;
    EXPECT_EQ(told(o), status + " " + code) << r.body;
  }
  static inline std::unique_ptr<Rig> rig_;
};

TEST_F(BadInput, WrongMethodPathAndContentType) {
  sim::Operator::Raw get;
  get.method = "GET";
  const auto r = post(get);
  EXPECT_EQ(r.status, 405U);
  ASSERT_NE(net::find_header(r.headers, "Allow"), nullptr);
  EXPECT_EQ(*net::find_header(r.headers, "Allow"), "POST");
  sim::Operator::Raw json;
  json.body = "{}";
  json.content_type = "application/json";
  EXPECT_EQ(post(json).status, 415U);
  sim::Operator::Raw path;
  path.body = order();
  path.target = "/elsewhere";
  EXPECT_EQ(post(path).status, 404U);
}

TEST_F(BadInput, OversizedBody) { EXPECT_EQ(post_body(std::string(70'000, 'x')).status, 413U); }

TEST_F(BadInput, NotXmlDtdEntitiesDepthEncoding) {
  expect_fault(post_body("this is not xml"), 400, "Sender");
  expect_fault(post_body("<a><b></a>"), 400, "Sender");
  expect_fault(
      post_body("<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a \"b\">]>" + order().substr(order().find("?>") + 2)),
      400, "Sender");
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "<a>";
  expect_fault(post_body(deep), 400, "Sender");
  std::string latin = order();
  const auto at = latin.find("UTF-8");
  if (at != std::string::npos) expect_fault(post_body(latin.replace(at, 5, "UTF-16")), 400, "Sender");
}

TEST_F(BadInput, Soap11AndUnknownMustUnderstand) {
  std::string soap11 = order();
  const std::string ns = "http://www.w3.org/2003/05/soap-envelope";
  soap11.replace(soap11.find(ns), ns.size(), "http://schemas.xmlsoap.org/soap/envelope/");
  const auto r = post_body(soap11);
  expect_fault(r, 500, "VersionMismatch");
  EXPECT_NE(r.body.find("Upgrade"), std::string::npos);
  const std::string xml = order();
  const auto header_end = xml.find("Header>") + 7;
  const std::string prefix =
      xml.substr(xml.rfind('<', xml.find("Header>")) + 1,
                 xml.find(':', xml.rfind('<', xml.find("Header>"))) - xml.rfind('<', xml.find("Header>")) - 1);
  std::string odd = xml;
  odd.insert(header_end, "<x:Odd xmlns:x=\"urn:odd\" " + prefix + ":mustUnderstand=\"true\"/>");
  expect_fault(post_body(odd), 500, "MustUnderstand");
}

TEST_F(BadInput, AddressingHeaders) {
  for (const char* h : {"MessageID", "Action"}) {
    SCOPED_TRACE(h);
    std::string xml = order();
    const std::string tag = std::string(":") + h;
    const auto start = xml.rfind('<', xml.find(tag));
    const auto end = xml.find('>', xml.find("</", start)) + 1;
    xml.erase(start, end - start);
    expect_fault(post_body(xml), 400, "Sender", "wsa:MessageAddressingHeaderRequired");
  }
  expect_fault(post_body(order("ES2-DownloadProfile</", "ES2-GetEIS</")), 400, "Sender",
               "wsa:InvalidAddressingHeader/wsa:ActionMismatch");
}

TEST_F(BadInput, UnknownFunctionAndNamespace) {
  std::string xml = order();
  for (auto at = xml.find("ES2-DownloadProfileRequest"); at != std::string::npos;
       at = xml.find("ES2-DownloadProfileRequest"))
    xml.replace(at, 26, "ES2-MakeCoffeeRequest");
  expect_fault(post_body(xml), 400, "Sender");
  expect_fault(post_body(order("esim-messaging/3", "esim-messaging/1")), 400, "Sender");
}

TEST_F(BadInput, KnownButNotImplemented) {
  es::Request q = rig_->request(F::other, 0);
  q.other_name = "SetPLMA";
  q.function_call_identifier = "plma-1";
  expect_failed(post_body(rig_->op().envelope(q, rig_->op().new_message_id(), "")), "FAILED", "1.6/3.1");
}

TEST_F(BadInput, Identity) {
  expect_failed(post_body(order("EntityId=2.999.10", "EntityId=2.999.11")), "FAILED", "1.1/1.1");
  expect_failed(post_body(order("EntityId=2.999.20", "EntityId=2.999.21")), "FAILED", "1.2/3.4");
}

TEST_F(BadInput, ReplyToOfAStranger) {
  es::Request q = rig_->request(F::download_profile, 0);
  q.function_call_identifier = "ssrf-1";
  for (const char* reply : {"https://evil.example/cb", "http://127.0.0.1:1/cb", "file:///etc/passwd"})
    expect_failed(post_body(rig_->op().envelope(q, rig_->op().new_message_id(), reply)), "FAILED", "1.1/1.2");
}

TEST_F(BadInput, FieldsOfTheBody) {
  const std::string eid = rig_->subscriptions().list[0].eid, iccid = rig_->subscriptions().list[0].iccid;
  expect_fault(post_body(order(eid, eid.substr(1))), 400, "Sender");
  std::string wrong = eid;
  wrong.back() = wrong.back() == '9' ? '0' : static_cast<char>(wrong.back() + 1);
  expect_failed(post_body(order(eid, wrong)), "FAILED", "8.1.1/2.1");
  expect_fault(post_body(order(iccid, iccid.substr(16))), 400, "Sender");
  expect_failed(post_body(order(iccid, iccid.substr(2))), "FAILED", "8.2.1/3.9");
  expect_failed(post_body(order(iccid, iccid.substr(8))), "FAILED", "8.2.1/2.1");
  std::string luhn = iccid;
  luhn.back() = luhn.back() == '9' ? '0' : static_cast<char>(luhn.back() + 1);
  expect_failed(post_body(order(iccid, luhn)), "FAILED", "8.2.1/2.1");
  const std::string other = iccid_with_luhn("8912345678901234567");
  expect_failed(post_body(order(iccid, other)), "FAILED", "8.2.1/3.9");
  expect_failed(post_body(order("2.999.30<", "2.999.31<")), "FAILED", "8.7/3.9");
}

TEST_F(BadInput, CallIdentifierAndValidity) {
  es::Request q = rig_->request(F::download_profile, 1);
  q.function_call_identifier = "v";
  q.validity_period = 3;
  expect_failed(post_body(rig_->op().envelope(q, rig_->op().new_message_id(), "")), "EXPIRED", "1.6/5.3");
  q.validity_period = 300;
  std::string xml = rig_->op().envelope(q, rig_->op().new_message_id(), "");
  xml.replace(xml.find(">300<"), 5, ">soon<");
  expect_fault(post_body(xml), 400, "Sender");
  std::string no_id = order("", "", "to-be-removed");
  const auto start = no_id.rfind('<', no_id.find("to-be-removed"));
  const auto end = no_id.find('>', no_id.find("</", start)) + 1;
  expect_fault(post_body(no_id.erase(start, end - start)), 400, "Sender");
}

TEST_F(BadInput, ProfileTypes) {
  es::Request q = rig_->request(F::download_profile, 2);
  q.function_call_identifier = "neither";
  q.iccid.reset();
  expect_failed(post_body(rig_->op().envelope(q, rig_->op().new_message_id(), "")), "FAILED", "8.2.1/2.3");
  q.function_call_identifier = "unknown";
  q.profile_type = "no such type";
  expect_failed(post_body(rig_->op().envelope(q, rig_->op().new_message_id(), "")), "FAILED", "8.2.5/3.9");
}

TEST_F(BadInput, AnIccidInARunningDownload) {
  Rig::must(rig_->world().sim_fault("slow-radio=800"));
  sim::Order first = rig_->order_of(3), second = rig_->order_of(3);
  second.eid = rig_->subscriptions().list[4].eid;
  std::vector<Outcome> out(2);
  std::size_t left = 2;
  asio::co_spawn(rig_->io(), rig_->op().order(first, Pattern::callback, std::chrono::seconds(60)),
                 [&](std::exception_ptr, Outcome o) {
                   out[0] = std::move(o);
                   if (--left == 0) rig_->io().stop();
                 });
  asio::steady_timer t(rig_->io(), std::chrono::milliseconds(300));
  t.async_wait([&](const boost::system::error_code&) {
    asio::co_spawn(rig_->io(), rig_->op().order(second, Pattern::callback, std::chrono::seconds(60)),
                   [&](std::exception_ptr, Outcome o) {
                     out[1] = std::move(o);
                     if (--left == 0) rig_->io().stop();
                   });
  });
  rig_->io().restart();
  rig_->io().run();
  Rig::must(rig_->world().sim_clear_faults());
  EXPECT_EQ(told(out[0]), "EXECUTED_SUCCESS") << out[0].text();
  EXPECT_EQ(told(out[1]), "FAILED 8.2.1/3.3");
}

// ---- who may speak at all ----
net::ClientOptions client_to(World& w, const std::string& party, std::uint16_t port) {
  net::ClientOptions c;
  c.host = "127.0.0.1";
  c.port = port;
  const auto t = w.tls(party);
  c.tls = {t.cert, t.key, t.ca};
  return c;
}

TEST_F(BadInput, APartyOnTheWrongInterfaceGets403) {
  const auto es2 = *net::parse_url(rig_->world().es2_url());
  net::HttpClient c(rig_->io(), client_to(rig_->world(), "smsr", es2.port));
  net::Request q;
  q.target = es2.target;
  q.content_type = std::string(es::kSoapContentType);
  q.body = order();
  auto r = rig_->run(c.call(q, std::chrono::seconds(10), false));
  ASSERT_TRUE(r.ok()) << r.error().text();
  EXPECT_EQ(r->status, 403U);
  EXPECT_EQ(r->body, "this certificate is registered for the other interface\n");
  net::HttpClient m(rig_->io(), client_to(rig_->world(), "m2m", es2.port));  // trusted certificate, no registered party
  auto s = rig_->run(m.call(q, std::chrono::seconds(10), false));
  ASSERT_TRUE(s.ok()) << s.error().text();
  EXPECT_EQ(s->status, 403U);
}

TEST_F(BadInput, ASlowHeaderIsCutOff) {
  // Plain TCP: the TLS handshake never comes; the server must let go of the connection by itself.
  const auto es2 = *net::parse_url(rig_->world().es2_url());
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(es2.port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  const timeval limit{10, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  char b = 0;
  EXPECT_EQ(::recv(fd, &b, 1, 0), 0) << "closed by the server, not by our own time limit";
  ::close(fd);
}

// ---- ES3: callbacks and notifications nobody asked for ----
TEST_F(BadInput, StrayCallbacksAndNotificationsAre202AndDropped) {
  const auto es3 = *net::parse_url(rig_->world().es3_url());
  net::HttpClient c(rig_->io(), client_to(rig_->world(), "smsr", es3.port));
  auto send = [&](const std::string& body) {
    net::Request q;
    q.target = es3.target + "/callback";
    q.content_type = std::string(es::kSoapContentType);
    q.body = body;
    auto r = rig_->run(c.call(q, std::chrono::seconds(10), false));
    if (!r) throw std::runtime_error(r.error().text());
    return *r;
  };
  es::SendHeader h;
  h.from = "https://smsr/es3?EntityId=2.999.30";
  h.to = "https://smdp/es3?EntityId=2.999.20";
  h.message_id = "//2.999.30/urn:uuid:1?TransactionId=nobody&MessageDate=2026-03-02T09:00:00Z";
  h.relates_to = "//2.999.20/urn:uuid:2?TransactionId=nobody&MessageDate=2026-03-02T09:00:00Z";
  es::Response r;
  r.interface = es::Interface::es3;
  r.function = F::create_isdp;
  r.isd_p_aid = hex("A0000005591010FFFFFFFF8900001300");
  h.action = es::action_of(r, es::Way::callback);
  const auto before = Rig::must(rig_->world().smdp_status())["messages"]["callbacks_dropped"].get<int>();
  EXPECT_EQ(send(es::write_message(h, r)).status, 202U);
  EXPECT_EQ(Rig::must(rig_->world().smdp_status())["messages"]["callbacks_dropped"], before + 1);

  es::Request n;
  n.interface = es::Interface::es3;
  n.function = F::handle_profile_enabled;
  n.eid = rig_->subscriptions().list[0].eid;
  n.iccid = iccid_with_luhn("8912345678901234567");
  n.completion_timestamp = "2026-03-02T09:00:00Z";
  h.relates_to.clear();
  h.action = es::action_of(n);
  EXPECT_EQ(send(es::write_message(h, n)).status, 202U);
  EXPECT_EQ(send("<not-closed>").status, 400U);
}

}  // namespace
}  // namespace kf::e2e
