// Looks for byte strings in the memory of another process.
#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace kf::e2e {

// Needles of 8 bytes and more, found at any address. A needle's first 8 bytes are its key.
class Needles {
 public:
  void add(const std::uint8_t* bytes, std::size_t size) {
    std::string s(reinterpret_cast<const char*>(bytes), size);
    std::uint64_t key = 0;
    std::memcpy(&key, s.data(), sizeof key);
    by_key_.emplace(key, std::move(s));
    seen_[place(key)] = true;
  }
  void search(const std::vector<char>& in, std::set<std::string>& found) const {
    for (std::size_t i = 0; i + 8 <= in.size(); ++i) {
      std::uint64_t key = 0;
      std::memcpy(&key, in.data() + i, sizeof key);
      if (!seen_[place(key)]) continue;
      const auto [low, high] = by_key_.equal_range(key);
      for (auto it = low; it != high; ++it) {
        const std::string& s = it->second;
        if (i + s.size() <= in.size() && std::memcmp(in.data() + i, s.data(), s.size()) == 0) found.insert(s);
      }
    }
  }

 private:
  std::unordered_multimap<std::uint64_t, std::string> by_key_;
  // A filter before the map: few places of memory pass it, even with thousands of needles.
  static constexpr int kPlaceBits = 20;
  static std::size_t place(std::uint64_t key) {
    return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15U) >> (64 - kPlaceBits));
  }
  std::vector<bool> seen_ = std::vector<bool>(std::size_t{1} << kPlaceBits);
};

struct MemoryScan {
  std::size_t bytes = 0;  // that were read
  std::set<std::string> found;
};

// Every readable mapping of `pid`: heap, stacks, shared memory, data of libraries. None: the system does not allow it.
inline std::optional<MemoryScan> scan_memory(pid_t pid, const Needles& needles) {
  const std::string proc = "/proc/" + std::to_string(pid);
  const int fd = ::open((proc + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  MemoryScan out;
  std::ifstream maps(proc + "/maps");
  constexpr std::size_t kChunk = std::size_t{1} << 20;
  constexpr std::size_t kOverlap = 64;
  std::vector<char> chunk;
  for (std::string line; std::getline(maps, line);) {
    unsigned long long from = 0;
    unsigned long long to = 0;
    char readable = '-';
    if (std::sscanf(line.c_str(), "%llx-%llx %c", &from, &to, &readable) != 3 || readable != 'r') continue;
    if (line.find("[vvar]") != std::string::npos || line.find("[vsyscall]") != std::string::npos) continue;
    for (unsigned long long at = from; at < to; at += kChunk) {
      chunk.resize(static_cast<std::size_t>(std::min<unsigned long long>(kChunk + kOverlap, to - at)));
      const ssize_t n = ::pread(fd, chunk.data(), chunk.size(), static_cast<off_t>(at));
      if (n <= 0) break;
      chunk.resize(static_cast<std::size_t>(n));
      out.bytes += chunk.size();
      needles.search(chunk, out.found);
    }
  }
  ::close(fd);
  return out;
}

}  // namespace kf::e2e
