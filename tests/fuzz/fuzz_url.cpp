// Any bytes as a URL: never a crash; what is accepted can be put into a request and, written out again, means the same.
#include "host/base/bytes.hpp"
#include "host/net/http.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto u = kf::net::parse_url(kf::text({data, size}));
  if (!u) {
    FUZZ_CHECK(u.error().reason == "bad-url");
    for (const char c : u.error().detail) FUZZ_CHECK(c >= 0x20 && c < 0x7F);
    return 0;
  }
  FUZZ_CHECK(!u->host.empty() && u->port != 0 && u->target.front() == '/');
  FUZZ_CHECK(u->authority().find('@') == std::string::npos);
  for (const char c : u->authority() + u->target) FUZZ_CHECK(c > 0x20 && c < 0x7F && c != '#');
  const auto again = kf::net::parse_url((u->tls ? "https://" : "http://") + u->authority() + u->target);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->tls == u->tls && again->host == u->host && again->port == u->port && again->target == u->target);
  return 0;
}
