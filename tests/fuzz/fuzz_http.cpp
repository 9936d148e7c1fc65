// Any bytes as a request and as an answer: never a crash, the limits hold, and the pieces in which the bytes arrive
// make no difference (a difference would be an opening for request smuggling).
#include <algorithm>

#include "host/base/bytes.hpp"
#include "host/net/message.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {
using namespace kf::net::detail;
constexpr std::size_t max_header = 64 << 10, max_body = 4096;

struct Outcome {
  Step step;
  std::size_t left;  // octets of the next message
  std::string method, target, host, type, body;
  kf::net::Headers headers;
  unsigned status;
  bool operator==(const Outcome&) const = default;
};

// Like the server's loop: a buffer that is refilled by at most `piece` octets and never drops what was not used.
template <bool is_request>
Outcome read(std::string_view all, std::size_t piece) {
  MessageReader<is_request> reader(max_header, max_body);
  std::string buffer;
  Step step = Step::more;
  while (step == Step::more || step == Step::head) {
    std::string_view rest = buffer;
    step = reader.put(rest);
    buffer.erase(0, buffer.size() - rest.size());
    FUZZ_CHECK(reader.message().body.size() <= max_body);
    if (step != Step::more) continue;
    if (all.empty()) break;
    const auto next = all.substr(0, piece);
    buffer.append(next);
    all.remove_prefix(next.size());
  }
  const Message& m = reader.message();
  // Whether rubbish is noticed at once or only when the header is complete may depend on the pieces.
  if (step != Step::done) return {Step::bad, 0, {}, {}, {}, {}, {}, {}, 0};
  return {step, buffer.size() + all.size(), m.method, m.target, m.host, m.content_type, m.body, m.headers, m.status};
}

template <bool is_request>
void check(std::string_view all, std::size_t piece) {
  const Outcome whole = read<is_request>(all, all.size() + 1);
  FUZZ_CHECK(whole == read<is_request>(all, piece));
  FUZZ_CHECK(whole == read<is_request>(all, 1));
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > max_header / 2) return 0;
  const std::string_view all = kf::text({data + 1, size - 1});
  const std::size_t piece = std::max<std::size_t>(1, data[0]);
  check<true>(all, piece);
  check<false>(all, piece);
  return 0;
}
