// Any bytes as a Content-Type: never a crash; what is accepted means the same when it is written out again.
#include <algorithm>

#include "host/base/bytes.hpp"
#include "host/net/http.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto m = kf::net::parse_media_type(kf::text({data, size}));
  if (!m) {
    FUZZ_CHECK(m.error().reason == "bad-media-type");
    return 0;
  }
  FUZZ_CHECK(std::count(m->type.begin(), m->type.end(), '/') == 1);
  FUZZ_CHECK(m->type.front() != '/' && m->type.back() != '/');
  for (const char c : m->type) FUZZ_CHECK(c > 0x20 && c < 0x7F && (c < 'A' || c > 'Z'));
  std::string text = m->type;
  for (const auto& [name, value] : m->parameters) {
    FUZZ_CHECK(!name.empty());
    text += "; " + name + "=\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += '"';
  }
  const auto again = kf::net::parse_media_type(text);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->type == m->type && again->parameters == m->parameters);
  return 0;
}
