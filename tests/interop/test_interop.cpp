// Clients that nobody here wrote, generated from an interface description, against a real server with the simulated
// SM-SR behind it. From our own description always, from the published one where ../shared/wsdl exists.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <future>

#include "tests/e2e/rig.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);

using F = es::Function;
const std::string kSource = KF_SOURCE_DIR;
const std::string kPython = "/usr/bin/python3";  // Debian's, which has Debian's packages

struct Ran {
  int status = -1;
  std::string out;
};
Ran run_command(const std::string& command) {
  Ran r;
  FILE* p = ::popen((command + " 2>&1").c_str(), "r");
  if (p == nullptr) return r;
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, p)) > 0;) r.out.append(buffer, n);
  const int s = ::pclose(p);
  r.status = WIFEXITED(s) ? WEXITSTATUS(s) : -1;
  return r;
}

// For a client's own server: the SM-DP sends answers to registered addresses only.
std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t n = sizeof a;
  const bool ok = ::bind(fd, reinterpret_cast<sockaddr*>(&a), n) == 0 &&
                  ::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &n) == 0;
  ::close(fd);
  return ok ? ntohs(a.sin_port) : std::uint16_t{0};
}

// The arguments that every client takes: where, who, with which cards.
std::string world_arguments(Rig& rig, unsigned cards) {
  const auto tls = rig.world().tls("operator");
  std::string s = " --url " + rig.world().es2_url() + " --cert " + tls.cert + " --key " + tls.key + " --ca " + tls.ca +
                  " --oid " + std::string(World::kOperatorOid) + " --smdp-oid 2.999.20 --smsr-oid " +
                  std::string(World::kSmsrOid);
  for (unsigned i = 0; i < cards; ++i)
    s += " --card " + rig.subscriptions().list[i].eid + "," + rig.subscriptions().list[i].iccid;
  return s;
}

asio::awaitable<int> pause(asio::io_context& io) {
  asio::steady_timer t(io, std::chrono::milliseconds(20));
  co_await t.async_wait(asio::use_awaitable);
  co_return 0;
}

// Something that blocks, while the Operator of the rig goes on taking messages.
Ran run_beside(Rig& rig, const std::function<Ran()>& what) {
  auto done = std::async(std::launch::async, what);
  while (done.wait_for(std::chrono::seconds(0)) != std::future_status::ready) rig.run(pause(rig.io()));
  return done.get();
}

struct Description {
  const char* name;
  const char* wsdl;  // relative to the source folder; "": as the server gives it
  const char* xsd;
  unsigned cards;  // one for each pattern that it allows for an order
};
class Zeep : public ::testing::TestWithParam<Description> {};

TEST_P(Zeep, DrivesTheFunctionsOfEs2) {
  const Description& d = GetParam();
  if (run_command(kPython + " -c 'import zeep, lxml'").status != 0) GTEST_SKIP() << "python3-zeep is not installed";
  if (!fs::exists(kSource + "/" + d.xsd)) GTEST_SKIP() << "../shared/wsdl is absent";
  RigOptions o;
  o.euiccs = d.cards;
  const std::string port = std::to_string(free_port());
  o.settings = {{"operator.reply_hosts", std::vector<std::string>{"127.0.0.1", "127.0.0.1:" + port}}};
  Rig rig(o);
  std::string command =
      kPython + " " + kSource + "/tests/interop/zeep_es2.py --sink-port " + port + " --xsd " + kSource + "/" + d.xsd;
  if (*d.wsdl != 0) command += " --wsdl " + kSource + "/" + d.wsdl;
  const Ran r = run_command(command + world_arguments(rig, d.cards));
  EXPECT_EQ(r.status, 0) << r.out << slurp(rig.world().smdp_log());
  EXPECT_NE(r.out.find(std::to_string(d.cards) + " cards"), std::string::npos) << r.out;
  EXPECT_EQ(rig.created_left(), 0U);
}
INSTANTIATE_TEST_SUITE_P(
    Descriptions, Zeep,
    ::testing::Values(Description{"served", "", "docs/interfaces/messages.xsd", 3},
                      Description{"ours", "docs/interfaces/es2-smdp.wsdl", "docs/interfaces/messages.xsd", 3},
                      Description{"published", "../shared/wsdl/ES2_SMDP.wsdl", "../shared/wsdl/xsd", 2}),
    [](const auto& i) { return std::string(i.param.name); });

class Gsoap : public ::testing::TestWithParam<Description> {
 protected:
  // Its arguments, for card i, with answers going to `reply_to`.
  static Ran drive(Rig& rig, const std::string& program, unsigned i, const std::string& reply_to) {
    const auto tls = rig.world().tls("operator");
    const std::string pem = rig.dir() + "/operator-both.pem";
    std::ofstream(pem) << slurp(tls.key) << slurp(tls.cert);
    return run_command(program + " " + rig.world().es2_url() + " " + pem + " " + tls.ca + " " +
                       std::string(World::kOperatorOid) + " 2.999.20 " + std::string(World::kSmsrOid) + " " +
                       rig.subscriptions().list[i].eid + " " + rig.subscriptions().list[i].iccid +
                       (reply_to.empty() ? "" : " '" + reply_to + "'"));
  }
};

TEST_P(Gsoap, DrivesTheFunctionsOfEs2) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "a minute of compiling the client, in which no sanitizer looks";  // zeep shows it the same functions
#endif
  const Description& d = GetParam();
  const bool published = std::string(d.name) == "published";
  if (run_command("command -v wsdl2h && command -v soapcpp2 && ls /usr/include/stdsoap2.h").status != 0)
    GTEST_SKIP() << "gsoap or libgsoap-dev is not installed";
  if (!fs::exists(kSource + "/" + d.wsdl)) GTEST_SKIP() << "../shared/wsdl is absent";
  RigOptions o;
  o.euiccs = 3;
  Rig rig(o);
  const Ran built = run_command(kSource + "/tests/interop/gsoap_build.sh " + kSource + "/" + d.wsdl + " " + rig.dir() +
                                " client-" + d.name + (published ? " -DPUBLISHED" : ""));
  ASSERT_EQ(built.status, 0) << built.out;
  const std::string program = rig.dir() + "/client-" + d.name;
  unsigned card = 0;
  if (!published) {
    const Ran r = drive(rig, program, card++, "");
    EXPECT_EQ(r.status, 0) << r.out;
  }
  // Its answers to a sink, and to be polled: four calls of each run reach the card.
  const auto arrived = [&, before = rig.op().counters().callbacks] { return rig.op().counters().callbacks - before; };
  const Ran called = run_beside(rig, [&] { return drive(rig, program, card, rig.op().callback_url()); });
  EXPECT_EQ(called.status, 0) << called.out;
  for (int i = 0; i < 1000 && arrived() < 4; ++i) rig.run(pause(rig.io()));
  EXPECT_EQ(arrived(), 4U);
  ++card;
  const std::string queue = std::string(es::kMakeConnectionPrefix) + "gsoap";
  const Ran polled = drive(rig, program, card, queue);
  EXPECT_EQ(polled.status, 0) << polled.out;
  unsigned succeeded = 0;
  for (int i = 0; i < 1000 && succeeded < 4; ++i) {
    es::SendHeader h;
    h.to = rig.world().es2_url();
    h.message_id = "urn:uuid:" + random_uuid();
    h.action = "http://docs.oasis-open.org/ws-rx/wsmc/200702/MakeConnection";
    sim::Operator::Raw raw;
    raw.body = es::write_make_connection(h, queue);
    const auto answer = rig.run(rig.op().raw_post(raw, std::chrono::seconds(20)));
    ASSERT_TRUE(answer.ok());
    if (answer->status == 202)
      rig.run(pause(rig.io()));
    else if (answer->body.find("EXECUTED_SUCCESS") != std::string::npos)
      ++succeeded;
    else
      FAIL() << answer->status << answer->body;
  }
  EXPECT_EQ(succeeded, 4U);
  EXPECT_EQ(rig.created_left(), 0U);
}
INSTANTIATE_TEST_SUITE_P(Descriptions, Gsoap,
                         ::testing::Values(Description{"ours", "docs/interfaces/es2-smdp.wsdl", "", 3},
                                           Description{"published", "../shared/wsdl/ES2_SMDP.wsdl", "", 3}),
                         [](const auto& i) { return std::string(i.param.name); });

// Stacks of other languages, by our description and with answers on the connection: a card each.
class Stacks : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    RigOptions o;
    o.euiccs = 3;
    rig_ = std::make_unique<Rig>(o);
  }
  static void TearDownTestSuite() { rig_.reset(); }
  static std::string card(unsigned i) {
    return rig_->subscriptions().list[i].eid + " " + rig_->subscriptions().list[i].iccid;
  }
  static void expect_all_six(const Ran& r) {
    EXPECT_EQ(r.status, 0) << r.out << slurp(rig_->world().smdp_log());
    EXPECT_TRUE(r.out.ends_with("all six\n")) << r.out;
    EXPECT_EQ(rig_->created_left(), 0U);
  }
  static inline std::unique_ptr<Rig> rig_;
};

// The description comes from the server; ext-soap knows no WS-Addressing, so the client writes its headers by hand.
TEST_F(Stacks, PhpSoap) {
  if (run_command("php -r 'exit(extension_loaded(\"soap\") ? 0 : 1);'").status != 0)
    GTEST_SKIP() << "php-cli or php-soap is not installed";
  const auto tls = rig_->world().tls("operator");
  expect_all_six(run_command("php " + kSource + "/tests/interop/php_es2.php " + rig_->world().es2_url() + " " +
                             tls.cert + " " + tls.key + " " + tls.ca + " " + std::string(World::kOperatorOid) +
                             " 2.999.20 " + std::string(World::kSmsrOid) + " " + card(0)));
}

// suds, too; what it writes has no From and no EntityId.
TEST_F(Stacks, Suds) {
  if (run_command(kPython + " -c 'import suds.client'").status != 0) GTEST_SKIP() << "python3-suds is not installed";
  const auto tls = rig_->world().tls("operator");
  expect_all_six(run_command(kPython + " -B " + kSource + "/tests/interop/suds_es2.py " + rig_->world().es2_url() +
                             " " + tls.cert + " " + tls.key + " " + tls.ca + " " + std::string(World::kSmsrOid) + " " +
                             card(2)));
}

bool has_jaxws() { return run_command("command -v wsimport && command -v javac").status == 0; }

// JAX-WS fills in WS-Addressing by itself (no From, no EntityId) and checks that of the answers.
TEST_F(Stacks, JaxWs) {
  if (!has_jaxws()) GTEST_SKIP() << "jaxws or a JDK is not installed";
  const auto tls = rig_->world().tls("operator");
  expect_all_six(run_command(kSource + "/tests/interop/jaxws.sh JaxwsEs2 " + kSource +
                             "/docs/interfaces/es2-smdp.wsdl " + rig_->dir() + "/jaxws-es2 " + tls.cert + " " +
                             tls.key + " " + tls.ca + " " + rig_->world().es2_url() + " STORE " +
                             std::string(World::kSmsrOid) + " " + card(1)));
}

// The judge of what we send on ES3, and of the WS-Addressing in it: an SM-SR that JAX-WS made of our description.
TEST(JaxWsSmsr, TakesWhatIsRelayedToIt) {
  if (!has_jaxws()) GTEST_SKIP() << "jaxws or a JDK is not installed";
  RigOptions o;
  o.euiccs = 1;
  const std::string port = std::to_string(free_port());
  o.settings = {{"smsr.url", "https://127.0.0.1:" + port + "/es3"}};
  Rig rig(o);
  const auto tls = rig.world().tls("smsr");
  const std::string log = rig.dir() + "/jaxws-smsr.log";
  const std::string command = "exec " + kSource + "/tests/interop/jaxws.sh JaxwsSmsr " + kSource +
                              "/docs/interfaces/es3-smsr.wsdl " + rig.dir() + "/jaxws-es3 " + tls.cert + " " + tls.key +
                              " " + tls.ca + " " + port + " STORE >" + log + " 2>&1";
  const pid_t smsr = ::fork();
  if (smsr == 0) {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  ASSERT_GT(smsr, 0);
  int status = 0;
  bool running = true;
  while (slurp(log).find("ready\n") == std::string::npos && running) {
    rig.run(pause(rig.io()));
    running = ::waitpid(smsr, &status, WNOHANG) == 0;
  }
  ASSERT_TRUE(running) << slurp(log);
  std::string served;
  for (const F f : {F::audit_eis, F::enable_profile, F::disable_profile, F::delete_profile, F::update_policy_rules,
                    F::update_subscription_address}) {
    es::Request q = rig.request(f, 0);
    q.subscription = es::SubscriptionAddress{"240011234567890", "46700000001"};
    q.pol2 = es::Pol2{{"PROFILE", "DELETE", "Not-Allowed"}};
    EXPECT_EQ(told(rig.call(q, Pattern::callback)), "EXECUTED_SUCCESS") << es::function_name(f) << "\n" << slurp(log);
    served += "served ES3" + std::string(f == F::delete_profile ? "DeleteISDP" : es::function_name(f)) + "Request\n";
  }
  EXPECT_NE(slurp(log).find(served), std::string::npos) << slurp(log);
  ::kill(smsr, SIGTERM);
  ::waitpid(smsr, &status, 0);
}

// The descriptions are for parties, on their own interface.
TEST(Description, IsServedToPartiesOnly) {
  RigOptions o;
  o.euiccs = 1;
  Rig rig(o);
  const auto ask = [&](const std::string& party, const std::string& url, const std::string& query,
                       const std::string& method, const std::string& body) {
    const auto u = *net::parse_url(url);
    const auto t = rig.world().tls(party);
    net::ClientOptions c;
    c.host = u.host;
    c.port = u.port;
    c.tls = {t.cert, t.key, t.ca};
    net::HttpClient client(rig.io(), c);
    net::Request q;
    q.method = method;
    q.body = body;
    if (!body.empty()) q.headers.push_back({"Content-Type", "application/soap+xml"});
    q.target = u.target + query;
    auto r = rig.run(client.call(q, std::chrono::seconds(10), false));
    if (!r) throw std::runtime_error(r.error().text());
    return *r;
  };
  const auto get = [&](const std::string& party, const std::string& url, const std::string& query) {
    return ask(party, url, query, "GET", "");
  };
  const std::string es2 = rig.world().es2_url(), es3 = rig.world().es3_url();
  // Only what is POSTed is a message: this one would be refused as such.
  for (const char* method : {"GET", "HEAD"}) {
    EXPECT_EQ(ask("operator", es2, "?wsdl", method, "<x/>").status, 200U) << method;
    EXPECT_EQ(ask("operator", es2, "?xsd=messages.xsd", method, "<x/>").status, 200U) << method;
    EXPECT_EQ(ask("smsr", es3, "?wsdl", method, "<x/>").status, 200U) << method;
    EXPECT_EQ(ask("operator", es2, "?wsdl", method, "").status, 200U) << method;
  }
  const auto wsdl = get("operator", es2, "?wsdl");
  EXPECT_EQ(wsdl.status, 200U);
  EXPECT_EQ(wsdl.content_type, "text/xml; charset=utf-8");
  EXPECT_NE(wsdl.body.find("<soap:address location=\"" + es2 + "\"/>"), std::string::npos);
  EXPECT_NE(wsdl.body.find("schemaLocation=\"" + es2 + "?xsd=messages.xsd\""), std::string::npos);
  EXPECT_EQ(get("operator", es2, "?WSDL").body, wsdl.body);
  EXPECT_NE(get("operator", es2, "?xsd=messages.xsd").body.find("ES2-DownloadProfileRequest"), std::string::npos);
  EXPECT_EQ(get("operator", es2, "?xsd=../smdp.toml").status, 404U);
  EXPECT_EQ(get("operator", es2, "?xsd=es2-smdp.wsdl").status, 404U);
  EXPECT_EQ(get("operator", es2, "").status, 405U);
  EXPECT_EQ(get("smsr", es2, "?wsdl").status, 403U);
  EXPECT_EQ(get("m2m", es2, "?wsdl").status, 403U);
  EXPECT_NE(get("smsr", es3, "?wsdl").body.find("location=\"" + es3 + "/callback\""), std::string::npos);
  EXPECT_EQ(get("operator", es3, "?wsdl").status, 403U);
}

}  // namespace
}  // namespace kf::e2e
