// Secrets wipe themselves, cannot be copied or printed, and are compared in constant time only.
//
// expose() is the one way to the raw bytes, so that every use can be found with grep.
#pragma once

#include <cstddef>
#include <cstdint>

#include "host/base/bytes.hpp"

namespace kf {

void wipe(void* p, std::size_t n) noexcept;  // not removed by the optimiser
inline void wipe(Bytes& b) noexcept {
  wipe(b.data(), b.size());
  b.clear();
}
inline void wipe(std::string& s) noexcept {
  wipe(s.data(), s.size());
  s.clear();
}
bool equal_ct(ByteView a, ByteView b) noexcept;  // false at once when the lengths differ

class SecretBytes {
 public:
  SecretBytes() = default;
  explicit SecretBytes(std::size_t n) : b_(n) {}
  explicit SecretBytes(ByteView v) : b_(v.begin(), v.end()) {}
  static SecretBytes adopt(Bytes&& b) {
    SecretBytes s;
    s.b_ = std::move(b);
    return s;
  }
  SecretBytes(SecretBytes&& o) noexcept : b_(std::move(o.b_)) { o.b_.clear(); }
  SecretBytes& operator=(SecretBytes&& o) noexcept {
    if (this != &o) {
      wipe_now();
      b_ = std::move(o.b_);
      o.b_.clear();
    }
    return *this;
  }
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { wipe_now(); }

  [[nodiscard]] SecretBytes clone() const { return SecretBytes(ByteView(b_)); }
  [[nodiscard]] ByteView expose() const noexcept { return b_; }
  [[nodiscard]] std::span<std::uint8_t> expose_mut() noexcept { return b_; }
  [[nodiscard]] std::size_t size() const noexcept { return b_.size(); }
  [[nodiscard]] bool empty() const noexcept { return b_.empty(); }
  void wipe_now() noexcept {
    wipe(b_.data(), b_.size());
    b_.clear();
  }

 private:
  Bytes b_;
};

// Fixed size, no heap: for ring entries and engine completions.
template <std::size_t N>
class SecretArray {
 public:
  SecretArray() = default;
  SecretArray(SecretArray&& o) noexcept : a_(o.a_) { o.wipe_now(); }
  SecretArray& operator=(SecretArray&& o) noexcept {
    if (this != &o) {
      a_ = o.a_;
      o.wipe_now();
    }
    return *this;
  }
  SecretArray(const SecretArray&) = delete;
  SecretArray& operator=(const SecretArray&) = delete;
  ~SecretArray() { wipe_now(); }
  [[nodiscard]] std::span<const std::uint8_t, N> expose() const noexcept { return a_; }
  [[nodiscard]] std::span<std::uint8_t, N> expose_mut() noexcept { return a_; }
  void wipe_now() noexcept { wipe(a_.data(), N); }

 private:
  std::array<std::uint8_t, N> a_{};
};

}  // namespace kf
