// What others are told of a failed ES3 call: a class in a few words, nothing of our network or our libraries.
#include <gtest/gtest.h>

#include "host/server/es3_client.hpp"

namespace kf::server {
namespace {

TEST(Brief, SaysTheClassAndNothingElse) {
  const std::string peer = "smsr.example.net:9444";
  const std::pair<Error, const char*> rows[] = {
      {{net::NetFault::connect, peer + ": Connection refused"}, "no connection"},
      {{net::NetFault::timeout, peer + ": no answer in time"}, "no answer in time"},
      {{net::NetFault::lost, peer + ": connection lost before the answer: End of file"}, "connection lost"},
      {{net::NetFault::stale, peer + ": kept connection was closed"}, "connection lost"},
      {{net::NetFault::answer, peer + ": answer over the limit of 4194304 octets"}, "answer too large"},
      {{net::NetFault::answer, peer + ": not an HTTP answer: bad version"}, "not an HTTP answer"},
      {{net::NetFault::tls, peer + ": certificate verify failed (self-signed certificate in certificate chain)"},
       "TLS: certificate not trusted"},
      {{net::NetFault::tls, peer + ": certificate verify failed (certificate has expired)"},
       "TLS: certificate expired"},
      {{net::NetFault::tls, peer + ": certificate verify failed (IP address mismatch)"},
       "TLS: certificate of another host"},
      {{net::NetFault::tls, peer + ": tlsv13 alert certificate required"}, "TLS: the SM-SR refused the connection"},
      {{net::NetFault::lost, peer + ": connection lost before the answer: tlsv13 alert certificate required"},
       "TLS: the SM-SR refused the connection"},
      {{net::NetFault::late, peer + ": not sent in time"}, "not sent in time"},
      {{net::NetFault::tls, peer + ": wrong version number"}, "TLS: handshake failed"},
      {{net::NetFault::busy, peer + ": 100 calls are waiting already"}, "too many calls are waiting"},
      {{net::NetFault::request, peer + ": /etc/keyferry/secret"}, "not sent"},
      {{"of-tomorrow", peer + ": /etc/keyferry/secret"}, "not sent"},
  };
  for (const auto& [error, brief] : rows) EXPECT_EQ(brief_of(error), brief) << error.text();
}

}  // namespace
}  // namespace kf::server
