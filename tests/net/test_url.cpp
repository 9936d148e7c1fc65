#include <gtest/gtest.h>

#include "host/net/http.hpp"

namespace kf::net {
namespace {

TEST(NetUrl, Accepted) {
  struct Case {
    const char* url;
    bool tls;
    const char* host;
    unsigned port;
    const char* target;
    const char* authority;
  };
  for (const Case& c :
       {Case{"https://smsr.example/es3", true, "smsr.example", 443, "/es3", "smsr.example"},
        Case{"HTTPS://SMSR.Example:8443/es3?a=b&c=%20", true, "smsr.example", 8443, "/es3?a=b&c=%20",
             "smsr.example:8443"},
        Case{"http://127.0.0.1:80", false, "127.0.0.1", 80, "/", "127.0.0.1"},
        Case{"http://h:443/", false, "h", 443, "/", "h:443"}, Case{"https://h?x", true, "h", 443, "/?x", "h"},
        Case{"https://[::1]:8443/a/b", true, "::1", 8443, "/a/b", "[::1]:8443"},
        Case{"https://[2001:DB8::1]", true, "2001:db8::1", 443, "/", "[2001:db8::1]"},
        Case{"https://a_b-c.d:65535/x//y", true, "a_b-c.d", 65535, "/x//y", "a_b-c.d:65535"}}) {
    const auto u = parse_url(c.url);
    ASSERT_TRUE(u.ok()) << c.url << ": " << u.error().text();
    EXPECT_EQ(u->tls, c.tls) << c.url;
    EXPECT_EQ(u->host, c.host) << c.url;
    EXPECT_EQ(u->port, c.port) << c.url;
    EXPECT_EQ(u->target, c.target) << c.url;
    EXPECT_EQ(u->authority(), c.authority) << c.url;
  }
}

TEST(NetUrl, Refused) {
  for (const std::string url : {"",
                                "://",
                                "smsr.example",
                                "/es3",
                                "ftp://h/",
                                "https:/h",
                                "https//h",
                                "https://",
                                "https:///x",
                                "https://:443/",
                                "https://h:/",
                                "https://h:0/",
                                "https://h:65536/",
                                "https://h:99999999999/",
                                "https://h:-1/",
                                "https://h:+1/",
                                "https://h:4 43/",
                                "https://user@h/",
                                "https://user:pw@h/",
                                "https://h/#f",
                                "https://h#f",
                                "https://h/a b",
                                "https://h/a\r\nX: y",
                                "https://h/\x7f",
                                "https://h/\xc3\xa4",
                                "https://h\xc3\xa4/",
                                "https://[::1",
                                "https://[]/",
                                "https://[::1]x/",
                                "https://[127.0.0.1]/",
                                "https://[fe80::1%25eth0]/",
                                "https://[fe80::1%1]/",
                                "https://a%20b/",
                                "https://::1/",
                                "https://h:1:2/",
                                "https://h\\x/",
                                "javascript:alert(1)"}) {
    const auto u = parse_url(url);
    ASSERT_FALSE(u.ok()) << url;
    EXPECT_EQ(u.error().reason, "bad-url") << url;
    EXPECT_EQ(u.error().detail.find('\n'), std::string::npos) << url;
  }
  EXPECT_FALSE(parse_url(std::string("https://h/\0x", 12)).ok());
  EXPECT_FALSE(parse_url("https://" + std::string(254, 'a') + "/").ok());
}

TEST(NetHeaders, FoundWhateverTheCase) {
  const Headers h{{"X-Admin-From", "a"}, {"x-admin-from", "b"}, {"Y", ""}};
  ASSERT_NE(find_header(h, "x-ADMIN-from"), nullptr);
  EXPECT_EQ(*find_header(h, "x-ADMIN-from"), "a");
  EXPECT_NE(find_header(h, "y"), nullptr);
  EXPECT_EQ(find_header(h, "X-Admin"), nullptr);
  EXPECT_EQ(find_header({}, "y"), nullptr);
}

}  // namespace
}  // namespace kf::net
