#include "bench/scp03t/cell.hpp"

#include <algorithm>
#include <cstring>

#include "bench/scp03t/naive.hpp"

namespace kf::bench {
namespace {
constexpr std::size_t kKept = 64;  // packages whose octets are compared

void fill(std::span<std::uint8_t> out, std::mt19937_64& g) {
  for (std::size_t at = 0; at < out.size(); at += 8) {
    const std::uint64_t v = g();
    std::memcpy(out.data() + at, &v, std::min<std::size_t>(8, out.size() - at));
  }
}
}  // namespace

Bytes random_octets(std::size_t n, std::mt19937_64& g) {
  Bytes b(n);
  fill(b, g);
  return b;
}

Cell::Cell(std::size_t bytes, std::size_t in_flight, std::size_t key_size, std::uint64_t seed) : bytes_(bytes) {
  std::mt19937_64 g(seed);
  for (std::size_t i = 0; i < in_flight; ++i) {
    s_enc_.push_back(random_octets(key_size, g));
    s_mac_.push_back(random_octets(key_size, g));
    plain_.push_back(random_octets(bytes, g));
    out_.emplace_back(seal::sealed_size(bytes, kSegment));
    mcv_.emplace_back(seal::segment_count(bytes, kSegment));
  }
}

std::size_t Cell::memory(std::size_t bytes, std::size_t in_flight) {
  return in_flight * (bytes + seal::sealed_size(bytes, kSegment) + 16 * seal::segment_count(bytes, kSegment) + 256);
}

void Cell::naive() {
  for (std::size_t i = 0; i < plain_.size(); ++i) {
    NaiveSealer s(s_enc_[i], s_mac_[i]);
    Block16 chain{};
    std::uint8_t* at = out_[i].data();
    for (std::size_t n = 0; n < mcv_[i].size(); ++n) {
      const ByteView rest = ByteView(plain_[i]).subspan(n * kSegment);
      at = s.seal(rest.first(std::min(kSegment, rest.size())), n + 1, chain, at);
      mcv_[i][n] = chain;
    }
  }
}

void Cell::copy() {
  for (std::size_t i = 0; i < plain_.size(); ++i) std::ranges::copy(plain_[i], out_[i].begin());
}

void Cell::with(seal::ScriptSealer& engine) {
  std::vector<seal::SealJob> jobs(plain_.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].s_enc = s_enc_[i];
    jobs[i].s_mac = s_mac_[i];
    jobs[i].plain = plain_[i];
    jobs[i].segment = kSegment;
    jobs[i].out = out_[i];
    jobs[i].mcv = mcv_[i];
  }
  engine.seal(jobs);
}

void Cell::keep() {
  right_.clear();
  for (std::size_t i = 0; i < std::min(kKept, out_.size()); ++i) right_.push_back({out_[i], mcv_[i]});
  for (auto& o : out_) std::ranges::fill(o, std::uint8_t{0});
}

std::size_t Cell::wrong() const {
  std::size_t n = 0;
  for (std::size_t i = 0; i < right_.size(); ++i) n += right_[i].out == out_[i] && right_[i].mcv == mcv_[i] ? 0 : 1;
  return n;
}

}  // namespace kf::bench
