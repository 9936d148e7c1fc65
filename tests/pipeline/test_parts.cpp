// What goes into each SendData: whole commands, as hexBinary.
#include <gtest/gtest.h>

#include <random>

#include "host/base/tlv.hpp"
#include "host/es8/parts.hpp"

namespace kf::es8 {
namespace {

struct Commands {
  Bytes octets;
  std::vector<std::uint32_t> ends;
  std::vector<Bytes> each;
  void add(Bytes b) {
    append(octets, b);
    ends.push_back(static_cast<std::uint32_t>(octets.size()));
    each.push_back(std::move(b));
  }
};

TEST(SendParts, HoldsWholeCommandsUpToTheLimit) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    Commands c;
    const unsigned n = random() % 12;
    for (unsigned i = 0; i < n; ++i) c.add(make_tlv(0x86, Bytes(random() % 300, static_cast<std::uint8_t>(random()))));
    const std::size_t limit = random() % 3 == 0 ? 0 : 1 + random() % 900;
    const bool in_22 = random() % 2 == 0;
    std::size_t next = 0;
    const auto parts = send_parts(c.octets, c.ends, limit, in_22);
    for (std::size_t p = 0; p < parts.size(); ++p) {
      Bytes want;
      ASSERT_GT(parts[p].commands, 0U);
      for (std::size_t i = 0; i < parts[p].commands; ++i, ++next) {
        ASSERT_LT(next, c.each.size());
        append(want, in_22 ? make_tlv(0x22, c.each[next]) : c.each[next]);
      }
      EXPECT_EQ(*parts[p].hex, to_hex(want));
      if (limit == 0) continue;
      EXPECT_TRUE(want.size() <= limit || parts[p].commands == 1) << "a command that is too long goes alone";
      if (next < c.each.size()) {  // as few parts as can be
        const std::size_t more = (in_22 ? make_tlv(0x22, c.each[next]) : c.each[next]).size();
        EXPECT_GT(want.size() + more, limit);
      }
    }
    EXPECT_EQ(next, c.each.size());
    if (limit == 0 && n != 0) {
      EXPECT_EQ(parts.size(), 1U);
    }
  }
}

}  // namespace
}  // namespace kf::es8
