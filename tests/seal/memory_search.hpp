// Searches all writable memory of this process (heap with what was freed, stacks, data) for what should not be there.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "host/base/bytes.hpp"
#include "host/base/random.hpp"

namespace kf::memory {

inline constexpr std::size_t kPiece = 16;
inline constexpr std::uint8_t kMask = 0xA5;

// Pages of its own that the search leaves out: what a test puts in.
class Vault {
 public:
  Vault() {
    at_ =
        static_cast<std::uint8_t*>(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (at_ == MAP_FAILED) std::abort();
    begin_ = at_;
  }
  ~Vault() { ::munmap(begin_, kSize); }
  Vault(const Vault&) = delete;
  Vault& operator=(const Vault&) = delete;
  std::span<std::uint8_t> take(std::size_t n) {
    if (at_ + n > begin_ + kSize) std::abort();
    at_ += n;
    return {at_ - n, n};
  }
  std::span<std::uint8_t> random(std::size_t n) {
    const auto s = take(n);
    random_fill(s);
    return s;
  }
  // Behind the vault for an address in it; the kernel may list it as one area with its neighbours.
  [[nodiscard]] std::uintptr_t past(std::uintptr_t p) const {
    const auto b = reinterpret_cast<std::uintptr_t>(begin_);
    return p + kPiece > b && p < b + kSize ? b + kSize : p;
  }

 private:
  static constexpr std::size_t kSize = 1 << 20;
  std::uint8_t *begin_ = nullptr, *at_ = nullptr;
};

// The pieces that are looked for, kept masked so that they do not find themselves.
class Needles {
 public:
  void add(ByteView v, const std::string& what) {
    for (std::size_t at = 0; at + kPiece <= v.size(); at += kPiece) {
      std::array<std::uint8_t, kPiece> n{};
      // Octet by octet: a vector register with the piece in it would be saved on the stack by the next call that the
      // dynamic linker resolves, and be found there.
      const volatile std::uint8_t* piece = v.data() + at;
      for (std::size_t i = 0; i < kPiece; ++i) n[i] = static_cast<std::uint8_t>(piece[i] ^ kMask);
      by_first_[n[0]].push_back({n, what + " at " + std::to_string(at)});
      ++size_;
    }
  }
  // Every round key; FIPS 197 5.2 written out once more. All in the vault.
  void add_schedule(Vault& vault, ByteView key, const std::string& what) {
    static const auto s_box = [] {
      std::array<std::uint8_t, 256> s{};
      std::uint8_t p = 1;
      std::uint8_t q = 1;
      do {  // p runs through the group, q is its inverse
        p = static_cast<std::uint8_t>(p ^ p << 1 ^ ((p & 0x80) != 0 ? 0x1B : 0));
        q = static_cast<std::uint8_t>(q ^ q << 1);
        q = static_cast<std::uint8_t>(q ^ q << 2);
        q = static_cast<std::uint8_t>(q ^ q << 4);
        if ((q & 0x80) != 0) q ^= 0x09;
        const auto turned = [q](int n) { return static_cast<std::uint8_t>(q << n | q >> (8 - n)); };
        s[p] = static_cast<std::uint8_t>(q ^ turned(1) ^ turned(2) ^ turned(3) ^ turned(4) ^ 0x63);
      } while (p != 1);
      s[0] = 0x63;
      return s;
    }();
    const std::size_t nk = key.size() / 4;
    const auto w = vault.take(16 * (nk + 7));
    std::ranges::copy(key, w.begin());
    std::uint8_t constant = 1;
    for (std::size_t i = nk; i < 4 * (nk + 7); ++i) {
      std::array<std::uint8_t, 4> t{};
      std::copy_n(&w[4 * i - 4], 4, t.begin());
      if (i % nk == 0) std::rotate(t.begin(), t.begin() + 1, t.end());
      if (i % nk == 0 || (nk == 8 && i % nk == 4))
        for (auto& b : t) b = s_box[b];
      if (i % nk == 0) {
        t[0] ^= constant;
        constant = static_cast<std::uint8_t>(constant << 1 ^ ((constant & 0x80) != 0 ? 0x1B : 0));
      }
      for (std::size_t b = 0; b < 4; ++b) w[4 * i + b] = static_cast<std::uint8_t>(t[b] ^ w[4 * (i - nk) + b]);
    }
    add(w, what);
  }
  [[nodiscard]] std::size_t size() const { return size_; }

  // Where any of them stands outside the vault; a few are enough.
  [[nodiscard]] std::vector<std::string> search(const Vault& vault) const {
    std::vector<std::string> found;
    std::ifstream maps("/proc/self/maps");
    std::vector<std::pair<std::uintptr_t, std::uintptr_t>> areas;
    std::vector<std::string> names;
    for (std::string line; std::getline(maps, line);) {
      std::uintptr_t b = 0;
      std::uintptr_t e = 0;
      std::array<char, 8> rights{};
      if (std::sscanf(line.c_str(), "%lx-%lx %7s", &b, &e, rights.data()) != 3) continue;
      if (rights[0] != 'r' || rights[1] != 'w' || e - b > (1UL << 30)) continue;
      areas.emplace_back(b, e);
      names.push_back(line);
    }
    for (std::size_t a = 0; a < areas.size(); ++a)
      for (std::uintptr_t p = vault.past(areas[a].first); p + kPiece <= areas[a].second && found.size() < 8;
           p = vault.past(p + 1)) {
        // NOLINTNEXTLINE(performance-no-int-to-ptr): an address from the kernel's list
        const auto* m = reinterpret_cast<const volatile std::uint8_t*>(p);
        for (const auto& n : by_first_[static_cast<std::uint8_t>(m[0] ^ kMask)]) {
          std::size_t i = 1;
          while (i < kPiece && static_cast<std::uint8_t>(m[i] ^ kMask) == n.masked[i]) ++i;
          if (i == kPiece) found.push_back(n.what + " in " + names[a]);
        }
      }
    return found;
  }

 private:
  struct Needle {
    std::array<std::uint8_t, kPiece> masked;
    std::string what;
  };
  std::array<std::vector<Needle>, 256> by_first_;
  std::size_t size_ = 0;
};

inline std::string list(const std::vector<std::string>& found) {
  std::string s;
  for (const auto& f : found) s += f + "\n";
  return s;
}

}  // namespace kf::memory
