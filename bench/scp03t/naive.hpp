// The obvious code, as the measure: contexts and keys once a download, then one EVP call a segment and mode.
#pragma once

#include <memory>
#include <string>

#include "host/base/bytes.hpp"
#include "host/crypto/symmetric.hpp"

namespace kf::bench {

// One download at a time; one thread.
class NaiveSealer {
 public:
  NaiveSealer(ByteView s_enc, ByteView s_mac);
  ~NaiveSealer();
  NaiveSealer(const NaiveSealer&) = delete;
  NaiveSealer& operator=(const NaiveSealer&) = delete;
  // The 86 TLV of one segment, behind what `out` holds (in place: `at` has room for it). Returns its end.
  std::uint8_t* seal(ByteView segment, std::uint64_t counter, Block16& chain, std::uint8_t* at);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string naive_hex(ByteView v);  // a byte at a time

}  // namespace kf::bench
