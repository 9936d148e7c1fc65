#include "host/es8/parts.hpp"

#include "host/base/tlv.hpp"

namespace kf::es8 {

std::vector<SendPart> send_parts(ByteView octets, std::span<const std::uint32_t> ends, std::size_t limit, bool in_22) {
  const auto begin_of = [&](std::size_t i) { return i == 0 ? std::size_t{0} : std::size_t{ends[i - 1]}; };
  const auto sent_size = [&](std::size_t i) {
    const std::size_t n = ends[i] - begin_of(i);
    return in_22 ? 1 + ber_length_size(n) + n : n;
  };
  std::vector<SendPart> out;
  for (std::size_t first = 0; first < ends.size();) {
    std::size_t size = sent_size(first);
    std::size_t last = first + 1;
    for (; last < ends.size() && (limit == 0 || size + sent_size(last) <= limit); ++last) size += sent_size(last);
    auto hex = std::make_shared<std::string>();
    hex->reserve(2 * size);
    if (in_22) {
      Bytes head;
      for (std::size_t i = first; i < last; ++i) {
        const ByteView command = octets.subspan(begin_of(i), ends[i] - begin_of(i));
        head.assign(1, 0x22);
        append_ber_length(head, command.size());
        append_hex(*hex, head);
        append_hex(*hex, command);
      }
    } else {
      append_hex(*hex, octets.subspan(begin_of(first), ends[last - 1] - begin_of(first)));
    }
    out.push_back({std::move(hex), last - first});
    first = last;
  }
  return out;
}

}  // namespace kf::es8
