// Hex against the obvious loop: every length around the steps of the fast one, every alignment, every octet.
#include <gtest/gtest.h>

#include "host/base/bytes.hpp"
#include "host/base/random.hpp"

namespace kf {
namespace {

std::string obvious(ByteView v) {
  std::string s;
  for (const std::uint8_t b : v) {
    s += "0123456789ABCDEF"[b / 16];
    s += "0123456789ABCDEF"[b % 16];
  }
  return s;
}

TEST(Hex, EveryLengthAndAlignment) {
  const Bytes data = random_bytes(300);
  for (std::size_t n = 0; n <= 200; ++n)
    for (std::size_t at = 0; at < 33; ++at) {
      const ByteView v = ByteView(data).subspan(at, n);
      std::string s(at % 7, '<');
      append_hex(s, v);
      ASSERT_EQ(s, std::string(at % 7, '<') + obvious(v)) << n << " octets at " << at;
    }
}

TEST(Hex, LongStringsAndEveryOctet) {
  Bytes all(256 * 65);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint8_t>(i % 256 * 7 + i / 256);
  for (const std::size_t n : {2047, 2048, 2049, 4095, 4096, 4097, 16384, 16640}) {
    const ByteView v = ByteView(all).first(std::min(all.size(), static_cast<std::size_t>(n)));
    ASSERT_EQ(to_hex(v), obvious(v)) << n;
    EXPECT_EQ(*from_hex(to_hex(v)), to_bytes(v)) << n;
  }
  for (unsigned b = 0; b < 256; ++b) {  // in the steps and behind them
    const Bytes same(17, static_cast<std::uint8_t>(b));
    ASSERT_EQ(to_hex(same), obvious(same)) << b;
  }
}

}  // namespace
}  // namespace kf
