// Who may ask for what, in which form: parties and their certificates, media types, addresses for answers. And the log,
// which nobody from outside can write a line of.
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "host/base/random.hpp"
#include "host/main/serve.hpp"
#include "host/pki/test_pki.hpp"
#include "host/server/peer_log.hpp"
#include "host/server/request_gate.hpp"

namespace kf::server {
namespace {
namespace fs = std::filesystem;

// The log of a scope, laid out as the server's.
class CapturedLog {
 public:
  CapturedLog() : old_(spdlog::default_logger()) {
    auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out_));
    logger->set_formatter(line_formatter());
    spdlog::set_default_logger(std::move(logger));
  }
  ~CapturedLog() { spdlog::set_default_logger(old_); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;
  [[nodiscard]] std::string text() const { return out_.str(); }
  [[nodiscard]] std::size_t lines() const {
    const std::string s = text();
    return static_cast<std::size_t>(std::count(s.begin(), s.end(), '\n'));
  }

 private:
  std::ostringstream out_;
  std::shared_ptr<spdlog::logger> old_;
};

struct RequestGate : ::testing::Test {
  static void SetUpTestSuite() {
    dir_ = fs::temp_directory_path() / ("kf-admission-" + random_uuid());
    fs::create_directories(dir_ / "token");
    for (Curve c : {Curve::p256, Curve::brainpool_p256r1}) {
      ASSERT_TRUE(ensure_test_pki((dir_ / "pki").string(), c, default_parties()).ok());
      std::ofstream(dir_ / "pki" / ("cert-dp-" + std::string(curve_name(c)) + ".der")) << "x";
    }
    std::ofstream(dir_ / "token" / "pin") << "1234";
    std::ofstream(dir_ / "token" / "softhsm2.conf") << "directories.tokendir = " << (dir_ / "token").string() << "\n";
    std::ofstream(dir_ / "module.so") << "x";
    good_ = initial_config({}, "keyferry", (dir_ / "module.so").string());
  }
  static void TearDownTestSuite() { fs::remove_all(dir_); }

  static std::string read(const fs::path& p) {
    std::ostringstream s;
    s << std::ifstream(p).rdbuf();
    return s.str();
  }
  // A certificate that the test root issues anew for this name and OID, with a key of its own.
  static std::string renew(const std::string& name, const Oid& oid, const std::string& file) {
    const IssuedX509 root{read(dir_ / "pki/tls-root.pem"), read(dir_ / "pki/tls-root.key")};
    const Date from = add_days(today_utc(), -1);
    const auto leaf = make_tls_leaf(name, oid, {"localhost", "127.0.0.1", "::1"}, root, from, add_days(from, 30));
    std::ofstream(dir_ / "pki" / file) << leaf.cert_pem;
    return (dir_ / "pki" / file).string();
  }
  static net::Peer peer_of(const std::string& file) {
    net::Peer p;
    p.fingerprint = *net::certificate_fingerprint(file);
    p.names = *net::certificate_names(file);
    p.subject = "CN=x";
    p.address = "192.0.2.7:4711";
    return p;
  }
  static net::Peer registered(const char* name) {
    return peer_of((dir_ / "pki" / (std::string("tls-") + name + ".pem")).string());
  }
  static Result<Config> load(const std::string& from = {}, const std::string& to = {}) {
    std::string s = good_;
    if (!from.empty()) {
      const auto at = s.find(from);
      EXPECT_NE(at, std::string::npos) << from;
      s.replace(at, from.size(), to);
    }
    std::ofstream(dir_ / "smdp.toml") << s;
    return load_config((dir_ / "smdp.toml").string());
  }
  static inline fs::path dir_;
  static inline std::string good_;
};

TEST_F(RequestGate, RenewedCertificates) {
  const TestPkiParties p = default_parties();
  const std::string smsr = renew("smsr", p.smsr, "smsr-new.pem"), op = renew("operator", p.op, "operator-new.pem");
  // Whoever gets another name from the same CA is somebody else.
  const std::string stranger = renew("smsr2", p.smsr, "stranger.pem"), oid = renew("smsr", p.m2m, "oid.pem");
  const auto c = load();
  ASSERT_TRUE(c.ok()) << c.error().text();
  EXPECT_NE(peer_of(smsr).fingerprint, registered("smsr").fingerprint);
  EXPECT_EQ(peer_of(smsr).names, registered("smsr").names);
  ASSERT_NE(c->by_peer(registered("smsr")), nullptr);
  EXPECT_EQ(c->by_peer(peer_of(smsr)), c->by_peer(registered("smsr")));
  EXPECT_EQ(c->by_peer(peer_of(stranger)), nullptr);
  EXPECT_EQ(c->by_peer(peer_of(oid)), nullptr);
  // An Operator spends profiles: its certificate itself, unless the configuration says otherwise.
  ASSERT_NE(c->by_peer(registered("operator")), nullptr);
  EXPECT_EQ(c->by_peer(peer_of(op)), nullptr);
  EXPECT_EQ(c->by_names(peer_of(op).names), c->by_peer(registered("operator"))) << "for the hint in the log";

  const std::string line = "certificate = \"pki/tls-operator.pem\"";
  const auto by_subject = load(line, line + "\nmatch = \"subject\"");
  ASSERT_TRUE(by_subject.ok()) << by_subject.error().text();
  EXPECT_NE(by_subject->by_peer(peer_of(op)), nullptr);
  const auto both = load(line, "certificate = [\"pki/tls-operator.pem\", \"pki/operator-new.pem\"]");
  ASSERT_TRUE(both.ok()) << both.error().text();
  EXPECT_EQ(both->by_peer(peer_of(op)), both->by_peer(registered("operator")));
  const std::string smsr_line = "certificate = \"pki/tls-smsr.pem\"";
  const auto pinned = load(smsr_line, smsr_line + "\nmatch = \"certificate\"");
  ASSERT_TRUE(pinned.ok()) << pinned.error().text();
  EXPECT_EQ(pinned->by_peer(peer_of(smsr)), nullptr);
  EXPECT_NE(pinned->by_peer(registered("smsr")), nullptr);

  net::Peer nobody;
  EXPECT_EQ(c->by_peer(nobody), nullptr) << "no names are no party's names";
  for (const auto& [to, key] : {std::pair{"match = \"name\"", "match"}, std::pair{"match = 1", "match"}}) {
    const auto bad = load(line, line + "\n" + to);
    ASSERT_FALSE(bad.ok());
    EXPECT_NE(bad.error().detail.find(key), std::string::npos) << bad.error().detail;
  }
  // Two parties that only their keys tell apart cannot both be known by their names.
  const auto twins = load(smsr_line, smsr_line +
                                         "\n[[party]]\nrole = \"smsr\"\noid = \"2.999.31\"\nurl = "
                                         "\"https://127.0.0.1:1/\"\ncertificate = \"pki/smsr-new.pem\"");
  ASSERT_FALSE(twins.ok());
  EXPECT_NE(twins.error().detail.find("same issuer and names"), std::string::npos) << twins.error().detail;
}

TEST_F(RequestGate, NothingInClear) {
  for (const auto& [from, to] :
       {std::pair{"es2_url = \"https:", "es2_url = \"http:"}, std::pair{"es3_url = \"https:", "es3_url = \"http:"},
        std::pair{"url = \"https://127.0.0.1:9444", "url = \"http://127.0.0.1:9444"},
        std::pair{"url = \"https://127.0.0.1:9443", "url = \"HTTP://127.0.0.1:9443"},
        std::pair{"certificate = \"pki/tls-smsr.pem\"",
                  "certificate = \"pki/tls-smsr.pem\"\ncallback_url = \"http://127.0.0.1/cb\""}}) {
    const auto c = load(from, to);
    ASSERT_FALSE(c.ok()) << to;
    EXPECT_NE(c.error().detail.find("https"), std::string::npos) << c.error().detail;
  }
}

TEST_F(RequestGate, MediaTypes) {
  const auto c = load();
  ASSERT_TRUE(c.ok());
  net::Request r;
  r.peer = registered("operator");
  r.target = "/es2";
  const auto verdict = [&](const std::string& type, const net::Headers& h = {}) {
    r.content_type = type;
    r.headers = h;
    return admit_soap(*c, r, Role::operator_, "/es2", "/");
  };
  for (const char* good :
       {"application/soap+xml", "Application/SOAP+XML; charset=utf-8", "application/soap+xml;charset=\"UTF-8\"",
        "application/soap+xml ; action=\"http://x;y\" ; charset=utf-8", "TEXT/xml", "text/xml; charset=us-ascii",
        "application/soap+xml; charset=ISO-8859-1", "application/soap+xml;",
        "application/soap+xml; action=http://x/y?z; charset=utf-8"})
    EXPECT_EQ(verdict(good).status, 0U) << good << ": " << verdict(good).reason;
  for (const char* bad :
       {"", "application/soap+xmlfoo", "application/soap", "application/json", "application/soap+xml x", "soap+xml",
        "multipart/related; type=\"application/soap+xml\"; boundary=x", "application/soap+xml; charset=utf-16",
        "text/xmlx", "application/soap+xml; charset"}) {
    EXPECT_EQ(verdict(bad).status, 415U) << bad;
    EXPECT_FALSE(verdict(bad).reason.empty()) << bad;
  }
  EXPECT_NE(verdict("multipart/related").reason.find("multipart"), std::string::npos);
  EXPECT_EQ(verdict("text/xml", {{"content-encoding", "Identity"}}).status, 0U);
  EXPECT_EQ(verdict("text/xml", {{"content-encoding", "gzip"}}).status, 415U);
  EXPECT_NE(verdict("text/xml", {{"Content-Encoding", "gzip"}}).reason.find("Content-Encoding"), std::string::npos);
  r.content_type = "application/soap+xml; Charset=\"iso-8859-1\"";
  EXPECT_TRUE(declared_ascii(r));
  r.content_type = "application/soap+xml; charset=utf-8";
  EXPECT_FALSE(declared_ascii(r));
}

TEST_F(RequestGate, AnswersGoToPortsThatAreTheOperators) {
  const auto c = load();
  ASSERT_TRUE(c.ok());
  const Party& op = *c->by_oid("2.999.10");  // https://127.0.0.1:9443/es2
  const auto allowed = [&](const char* registered, const char* url) {
    return reply_allowed(op, registered, *net::parse_url(url));
  };
  EXPECT_TRUE(allowed("127.0.0.1", "https://127.0.0.1:9443/cb"));
  EXPECT_TRUE(allowed("127.0.0.1", "https://127.0.0.1/cb"));
  EXPECT_FALSE(allowed("127.0.0.1", "https://127.0.0.1:22/cb"));
  EXPECT_FALSE(allowed("127.0.0.1", "https://127.0.0.2:9443/cb"));
  EXPECT_TRUE(allowed("127.0.0.1:7000", "https://127.0.0.1:7000/cb"));
  EXPECT_FALSE(allowed("127.0.0.1:7000", "https://127.0.0.1:9443/cb"));
  EXPECT_TRUE(allowed("example.net:443", "https://example.net/cb"));
  EXPECT_TRUE(allowed("[::1]:7000", "https://[::1]:7000/cb"));
}

TEST_F(RequestGate, PlacesFollowTheDescriptors) {
  auto c = load();
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(places_for(*c, 1 << 20), c->max_connections);
  EXPECT_LT(places_for(*c, 4096), 2048U);
  EXPECT_GT(places_for(*c, 4096), 1500U);
  EXPECT_EQ(places_for(*c, 64), 16U);
}

TEST_F(RequestGate, SharesFollowThePlaces) {
  Config c;
  c.max_connections = 4096;
  EXPECT_EQ(share_of_places(c, 1024, 4096), 1024U);
  EXPECT_EQ(share_of_places(c, 1024, 384), 96U) << "one party could take every place";
  EXPECT_EQ(share_of_places(c, 1024, 16), 4U);
  EXPECT_EQ(share_of_places(c, 1024, 1), 1U);
  EXPECT_EQ(share_of_places(c, 4096, 4096), 4096U) << "behind a load balancer";
  EXPECT_EQ(share_of_places(c, 4096, 384), 384U);
  EXPECT_EQ(share_of_places(c, 20, 384), 20U) << "it fits as it is";
}

TEST_F(RequestGate, RefusedPartiesWriteLinesThatCannotBeForged) {
  const auto c = load();
  ASSERT_TRUE(c.ok());
  CapturedLog log;
  net::Request r;
  r.peer.address = "192.0.2.9:1";
  r.peer.network = "192.0.2.9";
  r.peer.subject =
      "CN=x\n2026-01-01T00:00:00.000Z error ALARM token down\xC2\x9B"
      "31m";
  r.target = "/es2";
  for (int i = 0; i < 500; ++i) EXPECT_EQ(admit_soap(*c, r, Role::operator_, "/es2", "/").status, 403U);
  EXPECT_GE(log.lines(), 1U);
  EXPECT_LE(log.lines(), 10U) << log.text();
  EXPECT_NE(log.text().find("CN=x\\x0A2026"), std::string::npos) << log.text();
  EXPECT_EQ(log.text().find("\xC2\x9B"), std::string::npos);
}

// A machine has a whole /64 to call from: its lines count together.
TEST_F(RequestGate, RefusedPartiesOfOneNetworkShareTheirLines) {
  const auto c = load();
  ASSERT_TRUE(c.ok());
  CapturedLog log;
  net::Request r;
  r.peer.subject = "CN=x";
  r.peer.network = "2001:db8:0:7::/64";
  r.target = "/es2";
  for (int i = 0; i < 300; ++i) {
    r.peer.address = "[2001:db8:0:7::" + std::to_string(i) + "]:4711";
    const auto verdict = admit_soap(*c, r, Role::operator_, "/es2", "/");
    EXPECT_EQ(verdict.status, 403U);
    EXPECT_FALSE(verdict.reason.empty());
  }
  EXPECT_EQ(log.lines(), 10U) << log.text();
}

TEST(PeerLog, EverythingThatReachesTheSinkIsOneLine) {
  CapturedLog log;
  spdlog::warn("{}", "one\ntwo\r\x1B[2J\xC2\x9B\xFF\xE2\x80\xA8 C:\\x");
  EXPECT_EQ(log.lines(), 1U) << log.text();
  EXPECT_NE(log.text().find("warning one\\x0Atwo\\x0D\\x1B[2J\\u{009B}\\xFF\\u{2028} C:\\x\n"), std::string::npos)
      << log.text();
}

TEST(PeerLog, ManyOfAKindAreFewLines) {
  CapturedLog log;
  for (int i = 0; i < 100; ++i) peer_warn("a kind", "2.999.77", "said\n" + std::to_string(i));
  for (int i = 0; i < 3; ++i) peer_warn("another", "2.999.77", "quietly");
  EXPECT_EQ(log.lines(), 13U) << log.text();
  EXPECT_NE(log.text().find("said\\x0A9\n"), std::string::npos);
  EXPECT_EQ(log.text().find("said\\x0A10"), std::string::npos);
}

TEST(PeerLog, ALineIsCut) {
  CapturedLog log;
  peer_warn("a long kind", "2.999.77", std::string(100'000, 'x'));
  EXPECT_EQ(log.lines(), 1U);
  EXPECT_LT(log.text().size(), 1000U);
}

TEST(PeerLog, WhatIsNotLoggedCountsForNothing) {
  CapturedLog log;
  for (int i = 0; i < 1000; ++i) peer_line(spdlog::level::debug, "a quiet kind", "2.999.77", "quiet");
  peer_line(spdlog::level::info, "a quiet kind", "2.999.77", "heard");
  EXPECT_EQ(log.lines(), 1U);
  EXPECT_NE(log.text().find("heard\n"), std::string::npos) << log.text();
}

}  // namespace
}  // namespace kf::server
