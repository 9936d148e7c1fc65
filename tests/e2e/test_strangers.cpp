// Other people's tools and bad habits: HTTP that is not quite HTTP, XML that is more than XML, TLS by hand, curl,
// openssl s_client, scanners. Each gets one clean answer or a closed connection, and afterwards the server serves on.
#include <sys/wait.h>

#include <cctype>
#include <csignal>

#include "tests/e2e/attack_field.hpp"

namespace kf::e2e {
namespace {

[[maybe_unused]] const auto* const kCleanUp = ::testing::AddGlobalTestEnvironment(new CleanUp);
using F = es::Function;

struct SslFree {
  void operator()(SSL_CTX* c) const { SSL_CTX_free(c); }
  void operator()(SSL* s) const { SSL_free(s); }
};

class Strangers : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    RigOptions o;
    o.euiccs = 3;
    o.log_level = "warning";
    o.settings = {{"timeouts.header_s", std::int64_t{1}}, {"timeouts.body_s", std::int64_t{1}}};
    rig_ = std::make_unique<Rig>(o);
    ::signal(SIGPIPE, SIG_IGN);  // of this process: OpenSSL writes to what the server has closed
  }
  static void TearDownTestSuite() {
    EXPECT_TRUE(rig_->world().smdp().running());
    EXPECT_EQ(told(rig_->download(0)), "EXECUTED_SUCCESS") << "the server serves on";
    rig_.reset();
  }
  static std::uint16_t port() { return net::parse_url(rig_->world().es2_url())->port; }

  // One connection with the Operator's certificate: what is written, in pieces with a pause between, and all that
  // comes back until the server closes or 6 s are over ("..." at the end then).
  static std::string talk(const std::vector<std::string>& pieces, milliseconds pause = milliseconds(0)) {
    const auto tls = rig_->world().tls("operator");
    const std::unique_ptr<SSL_CTX, SslFree> ctx(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_use_certificate_chain_file(ctx.get(), tls.cert.c_str());
    SSL_CTX_use_PrivateKey_file(ctx.get(), tls.key.c_str(), SSL_FILETYPE_PEM);
    Sockets sockets;
    const int fd = stranger(port(), seconds(6));
    sockets.add(fd);
    const std::unique_ptr<SSL, SslFree> ssl(SSL_new(ctx.get()));
    SSL_set_fd(ssl.get(), fd);
    if (fd < 0 || SSL_connect(ssl.get()) != 1) return "no TLS";
    for (const auto& p : pieces) {
      if (SSL_write(ssl.get(), p.data(), static_cast<int>(p.size())) <= 0) break;
      std::this_thread::sleep_for(pause);
    }
    std::string got(1 << 16, '\0');
    std::size_t n = 0;
    for (;;) {
      const int r = SSL_read(ssl.get(), got.data() + n, static_cast<int>(got.size() - n));
      if (r <= 0) {
        const bool closed = SSL_get_error(ssl.get(), r) != SSL_ERROR_WANT_READ;
        got.resize(n);
        return closed ? got : got + "...";
      }
      n += static_cast<std::size_t>(r);
    }
  }
  // "400" or "200 200" or "100 200"; "closed" when nothing came back. A body may speak of "HTTP/1.1 requests".
  static std::string statuses(const std::string& answer) {
    std::string s;
    for (auto at = answer.find("HTTP/1.1 "); at != std::string::npos; at = answer.find("HTTP/1.1 ", at + 1))
      if (answer.size() > at + 9 && std::isdigit(static_cast<unsigned char>(answer[at + 9])) != 0)
        s += (s.empty() ? "" : " ") + answer.substr(at + 9, 3);
    return s.empty() ? "closed" : s;
  }
  static std::string order() {
    es::Request q = rig_->request(F::download_profile, 1);
    q.iccid = iccid_with_luhn("8912345678901234567");  // nobody's: answered at once, 200
    q.function_call_identifier = "s-" + random_uuid();
    return rig_->op().envelope(q, rig_->op().new_message_id(), "");
  }
  static unsigned post(std::string body, std::string type = std::string(es::kSoapContentType)) {
    sim::Operator::Raw r;
    r.body = std::move(body);
    r.content_type = std::move(type);
    const auto x = rig_->run(rig_->op().raw_post(std::move(r), seconds(30)));
    return x ? x->status : 0;
  }
  static bool there(const std::string& program) {
    return std::system(("command -v " + program + " >/dev/null 2>&1").c_str()) == 0;
  }
  static std::string output_of(const std::string& command) {
    std::string out;
    FILE* p = ::popen((command + " 2>&1").c_str(), "r");
    if (p == nullptr) return out;
    for (int c = 0; (c = std::fgetc(p)) != EOF;) out += static_cast<char>(c);
    ::pclose(p);
    return out;
  }
  static inline std::unique_ptr<Rig> rig_;
};

struct Shape {
  const char* name;
  std::string head;  // after the request line and Host
  std::string body;
  std::string expected;  // alternatives, separated by |
  std::string first_line = "POST /es2 HTTP/1.1\r\n";
};

TEST_F(Strangers, ShapesOfHttp) {
  const std::string xml = order(), n = std::to_string(xml.size());
  const std::string type = "Content-Type: application/soap+xml\r\n", close = "Connection: close\r\n";
  const auto chunk = [](const std::string& s, const std::string& extension = "") {
    std::ostringstream o;
    o << std::hex << s.size() << extension << "\r\n" << s << "\r\n";
    return o.str();
  };
  const std::string hidden = "POST /es2 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
  const std::vector<Shape> shapes = {
      {"a good one", type + close + "Content-Length: " + n + "\r\n\r\n", xml, "200"},
      {"two Content-Length that differ", type + "Content-Length: " + n + "\r\nContent-Length: 5\r\n\r\n", xml, "400"},
      {"two Content-Length alike", type + close + "Content-Length: " + n + "\r\nContent-Length: " + n + "\r\n\r\n", xml,
       "400|200"},
      {"Content-Length list", type + "Content-Length: " + n + ", 5\r\n\r\n", xml, "400"},
      {"Content-Length with sign", type + "Content-Length: +" + n + "\r\n\r\n", xml, "400"},
      {"Content-Length below zero", type + "Content-Length: -1\r\n\r\n", xml, "400"},
      {"Content-Length hexadecimal", type + "Content-Length: 0x10\r\n\r\n", xml, "400"},
      {"Content-Length of 2^64", type + "Content-Length: 18446744073709551616\r\n\r\n", "", "400|413"},
      {"Content-Length too large", type + "Content-Length: 99999999999\r\n\r\n", "", "413"},
      {"Transfer-Encoding and Content-Length", type + "Content-Length: " + n + "\r\nTransfer-Encoding: chunked\r\n\r\n",
       "0\r\n\r\n" + hidden, "400"},
      {"Transfer-Encoding twice", type + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
       chunk(xml) + "0\r\n\r\n", "400|501"},
      {"Transfer-Encoding of another kind", type + "Transfer-Encoding: xchunked\r\n\r\n", chunk(xml) + "0\r\n\r\n",
       "400|501|411"},
      {"Transfer-Encoding gzip, chunked", type + "Transfer-Encoding: gzip, chunked\r\n\r\n", chunk(xml) + "0\r\n\r\n",
       "400|501|415"},
      {"chunked with extensions and trailer", type + close + "Transfer-Encoding: chunked\r\n\r\n",
       chunk(xml, ";name=\"value\"") + "0;last\r\nX-Trailer: y\r\n\r\n", "200|400"},
      {"chunk size of 2^64", type + "Transfer-Encoding: chunked\r\n\r\n", "10000000000000000\r\nx\r\n0\r\n\r\n",
       "400|413"},
      {"chunk size below zero", type + "Transfer-Encoding: chunked\r\n\r\n", "-1\r\nx\r\n0\r\n\r\n", "400"},
      {"folded header", type + close + "X-Folded: a\r\n b\r\nContent-Length: " + n + "\r\n\r\n", xml, "200|400"},
      {"blank before the colon", type + "Content-Length : " + n + "\r\n\r\n", xml, "400"},
      {"header without colon", type + "nonsense\r\n\r\n", "", "400"},
      {"NUL in a header", type + std::string("X: a\0b\r\n\r\n", 10), "", "400"},
      {"bare line feeds", "Content-Type: application/soap+xml\nContent-Length: 0\n\n", "", "400|closed"},
      {"absolute target", type + close + "Content-Length: " + n + "\r\n\r\n", xml, "200|400|404",
       "POST https://127.0.0.1/es2 HTTP/1.1\r\n"},
      {"asterisk", close + "Content-Length: 0\r\n\r\n", "", "400|404|405", "OPTIONS * HTTP/1.1\r\n"},
      {"CONNECT", close + "\r\n", "", "400|404|405", "CONNECT 127.0.0.1:22 HTTP/1.1\r\n"},
      {"TRACE", close + "\r\n", "", "404|405", "TRACE /es2 HTTP/1.1\r\n"},
      {"path of elsewhere", close + "\r\n", "", "400|404|405", "GET /../../etc/passwd HTTP/1.1\r\n"},
      {"a method of 4 kB", close + "\r\n", "", "400|405|431", std::string(4096, 'M') + " /es2 HTTP/1.1\r\n"},
      {"a target of 60 kB", close + "\r\n", "", "400|414|431", "GET /" + std::string(60'000, 'a') + " HTTP/1.1\r\n"},
      {"a header of 60 kB", "X: " + std::string(60'000, 'a') + "\r\n\r\n", "", "431"},
      {"5000 headers",
       [] {
         std::string s;
         for (int i = 0; i < 5000; ++i) s += "A: b\r\n";
         return s + "\r\n";
       }(),
       "", "431"},
      {"HTTP/1.0", type + "Content-Length: " + n + "\r\n\r\n", xml, "200|400|505", "POST /es2 HTTP/1.0\r\n"},
      {"HTTP/2.0", "\r\nSM\r\n\r\n", "", "400|505|closed", "PRI * HTTP/2.0\r\n"},
      {"HTTP/9.9", close + "\r\n", "", "400|505|closed", "GET / HTTP/9.9\r\n"},
      {"no version", "", "", "400|closed", "GET /\r\n\r\n"},
      {"noise", "", "", "400|closed", std::string("\x01\x02\xFF\xFE\0\0\r\n\r\n", 10)},
      {"two requests at once",
       type + "Content-Length: " + n + "\r\n\r\n" + xml + "POST /es2 HTTP/1.1\r\nHost: x\r\n" + type + close +
           "Content-Length: " + n + "\r\n\r\n",
       xml, "200 200"},
      {"Expect: 100-continue", type + close + "Expect: 100-continue\r\nContent-Length: " + n + "\r\n\r\n", xml,
       "100 200|200"},
      {"another Expect", type + close + "Expect: the-unexpected\r\nContent-Length: " + n + "\r\n\r\n", xml,
       "417|200|400"},
  };
  for (const auto& s : shapes) {
    SCOPED_TRACE(s.name);
    const std::string got = talk({s.first_line + "Host: 127.0.0.1\r\n" + s.head + s.body});
    const std::string expected = "|" + s.expected + "|";
    EXPECT_NE(expected.find("|" + statuses(got) + "|"), std::string::npos)
        << "answered " << statuses(got) << ", expected " << s.expected;
    EXPECT_FALSE(got.ends_with("...")) << "the connection was left open";
  }
}

TEST_F(Strangers, SlowOnes) {
  const std::string head =
      "POST /es2 HTTP/1.1\r\nHost: x\r\nContent-Type: application/soap+xml\r\nContent-Length: 100\r\n\r\n";
  std::vector<std::string> letters;
  for (const char c : head.substr(0, 12)) letters.emplace_back(1, c);
  EXPECT_EQ(statuses(talk(letters, milliseconds(200))), "408") << "a header letter by letter";
  std::vector<std::string> body{head};
  for (int i = 0; i < 12; ++i) body.emplace_back("x");
  EXPECT_EQ(statuses(talk(body, milliseconds(200))), "408") << "a body letter by letter";
}

TEST_F(Strangers, OnesWithoutTls) {
  for (const std::string& said :
       {std::string("GET / HTTP/1.0\r\n\r\n"), std::string("\x16\x03\x01\x02\x00garbage garbage"),
        std::string("\x80\x2e\x01\x00\x02"), std::string("SSH-2.0-x\r\n"), std::string(5000, '\xFF'), std::string()}) {
    Sockets s;
    const int fd = stranger(port(), seconds(8));
    ASSERT_GE(fd, 0);
    s.add(fd);
    ::send(fd, said.data(), said.size(), MSG_NOSIGNAL);
    std::string got(4096, '\0');
    ssize_t n = 0;
    while ((n = ::recv(fd, got.data(), got.size(), 0)) > 0) EXPECT_NE(got[0], 'H') << "HTTP in clear";
    EXPECT_TRUE(n == 0 || errno == ECONNRESET) << "left open";
  }
  for (int i = 0; i < 200; ++i) {  // a scanner: connects, resets
    const int fd = stranger(port());
    ASSERT_GE(fd, 0);
    const linger at_once{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    ::close(fd);
  }
  EXPECT_EQ(post(order()), 200U);
}

TEST_F(Strangers, OddXml) {
  const std::string good = order();
  const auto after_declaration = [&](const std::string& what) {
    std::string s = good;
    const auto at = s.starts_with("<?xml") ? s.find("?>") + 2 : 0;
    return s.insert(at, what);
  };
  const auto in_body = [&](const std::string& what) {
    std::string s = good;
    const auto at = s.find("Body>");
    return s.insert(at + 5, what);
  };
  const auto as_utf16 = [&](bool little) {
    std::string s = little ? "\xFF\xFE" : "\xFE\xFF";
    for (const char c : good) little ? (s += c, s += '\0') : (s += '\0', s += c);
    return s;
  };
  std::string laughs = "<!DOCTYPE a [<!ENTITY l0 \"ha\">";
  for (int i = 1; i < 30; ++i)
    laughs +=
        "<!ENTITY l" + std::to_string(i) + " \"&l" + std::to_string(i - 1) + ";&l" + std::to_string(i - 1) + ";\">";
  laughs += "]>";
  std::string cdata = good;
  const auto eid = cdata.find(rig_->subscriptions().list[1].eid);
  ASSERT_NE(eid, std::string::npos);
  cdata.replace(eid, 32, "<![CDATA[" + rig_->subscriptions().list[1].eid + "]]>");
  std::string split = good;
  split.insert(eid + 10, "<!-- between -->");
  std::string attributes = "<a";
  for (int i = 0; i < 5000; ++i) attributes += " a" + std::to_string(i) + "=\"\"";
  const struct {
    const char* name;
    std::string xml;
    std::vector<unsigned> expected;
  } rows[] = {
      {"as it is", good, {200}},
      {"byte order mark", "\xEF\xBB\xBF" + good, {200}},
      {"CDATA", cdata, {200}},
      {"comment inside a value", split, {200, 400}},
      {"comments and white space between", in_body("\n <!-- a -->\t"), {200}},
      {"processing instruction", in_body("<?php evil ?>"), {200, 400}},
      {"DTD", after_declaration("<!DOCTYPE x>"), {400}},
      {"external entity", after_declaration("<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>"), {400}},
      {"billion laughs", after_declaration(laughs), {400}},
      {"UTF-16 little endian", as_utf16(true), {400}},
      {"UTF-16 big endian", as_utf16(false), {400}},
      {"reference to NUL", in_body("&#0;"), {400}},
      {"reference to a surrogate", in_body("&#xD800;"), {400}},
      {"undeclared entity", in_body("&nbsp;"), {400}},
      {"invalid UTF-8", in_body("\xC3\x28"), {400}},
      {"overlong UTF-8", in_body("\xC0\xAF"), {400}},
      {"control character", in_body("\x01"), {400}},
      {"unclosed", good.substr(0, good.size() - 20), {400}},
      {"two roots", good + "<more/>", {400}},
      {"text after the end", good + "more", {400}},
      {"an element with 5000 attributes", in_body(attributes + "/>"), {400}},
      {"empty", "", {400}},
      {"a gigabyte promised by CDATA", in_body("<![CDATA["), {400}},
  };
  for (const auto& r : rows) {
    SCOPED_TRACE(r.name);
    const unsigned status = post(r.xml);
    EXPECT_NE(std::find(r.expected.begin(), r.expected.end(), status), r.expected.end()) << "answered " << status;
  }
}

TEST_F(Strangers, TheirTools) {
  const auto tls = rig_->world().tls("operator");
  const std::string url = rig_->world().es2_url(), at = "127.0.0.1:" + std::to_string(port());
  const std::string mine = " --cert " + tls.cert + " --key " + tls.key + " --cacert " + tls.ca;
  unsigned used = 0;
  if (there("curl")) {
    ++used;
    const std::string file = rig_->dir() + "/order.xml";
    std::ofstream(file, std::ios::binary) << order();
    const std::string curl = "timeout 20 curl -s -o /dev/null -w '%{http_code}' " + mine + " ";
    EXPECT_EQ(output_of(curl + "-H 'Content-Type: application/soap+xml' --data-binary @" + file + " " + url), "200");
    EXPECT_EQ(output_of(curl + url), "405");
    EXPECT_EQ(output_of(curl + "-H 'Expect: 100-continue' -H 'Content-Type: application/soap+xml' --data-binary @" +
                        file + " " + url),
              "200");
    EXPECT_EQ(
        output_of(curl + "-H 'Transfer-Encoding: chunked' -H 'Content-Type: application/soap+xml' --data-binary @" +
                  file + " " + url),
        "200");
    EXPECT_EQ(output_of("timeout 20 curl -sk -o /dev/null -w '%{http_code}' " + url), "000") << "without a certificate";
  } else {
    std::cout << "skipped: curl is not installed\n";
  }
  if (there("openssl")) {
    ++used;
    const std::string client = "timeout 10 openssl s_client -connect " + at + " -CAfile " + tls.ca + " ";
    const std::string ours = "-cert " + tls.cert + " -key " + tls.key + " ";
    EXPECT_NE(output_of("echo | " + client + ours + "-tls1_3").find("Verify return code: 0"), std::string::npos);
    EXPECT_NE(output_of("echo | " + client + ours + "-tls1_2").find("Verify return code: 0"), std::string::npos);
    for (const char* odd : {"-tls1_1 -cipher ALL@SECLEVEL=0", "-groups ffdhe2048 -tls1_3", "-groups ffdhe8192 -tls1_3"})
      EXPECT_NE(output_of("echo | " + client + ours + odd).find("no peer certificate available"), std::string::npos)
          << odd;
    // Asks for a new handshake (R) inside the connection.
    output_of("(sleep 1; echo R; sleep 1) | " + client + ours + "-tls1_2");
  } else {
    std::cout << "skipped: openssl is not installed\n";
  }
  if (used == 0) GTEST_SKIP() << "neither curl nor openssl is installed";
  EXPECT_EQ(post(order()), 200U);
}

}  // namespace
}  // namespace kf::e2e
