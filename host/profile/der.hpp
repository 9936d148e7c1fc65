// DER as profile packages need it: lengths up to three bytes (load blocks exceed 64 KB), tags up to three, positions.
// Private to host/profile. kf::read_tlv of host/base stays with the short messages of the key establishment.
#pragma once

#include <initializer_list>
#include <optional>
#include <vector>

#include "host/base/bytes.hpp"

namespace kf::profile::der {

struct Node {
  std::uint32_t tag = 0;  // identifier octets as a number: 0xA0, 0xBF1F
  bool constructed = false;
  std::size_t start = 0;           // of the tag, in the whole package
  std::size_t value = 0, end = 0;  // [value, end)
  [[nodiscard]] std::size_t size() const noexcept { return end - value; }
};

// The node at `at`, which must end at or before `limit`; moves `at` behind it. Reasons: truncated, bad-length, bad-tag.
Result<Node> read(ByteView in, std::size_t& at, std::size_t limit);
// The children of a constructed node. Reasons as above; bad-tag when the node is primitive.
Result<std::vector<Node>> children(ByteView in, const Node& parent);
// Walks everything below. Reasons as above, and bad-profile when nested deeper than `depth` levels.
Status check(ByteView in, const Node& node, unsigned depth);

std::optional<Node> find(const std::vector<Node>& list, std::uint32_t tag);
inline ByteView value(ByteView in, const Node& n) { return in.subspan(n.value, n.size()); }
// A non-negative minimal INTEGER of at most 31 bits; reasons: bad-length.
Result<std::uint32_t> number(ByteView in, const Node& n);

bool is_utf8(ByteView b);  // well-formed and without control characters

}  // namespace kf::profile::der
