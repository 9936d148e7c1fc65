// One cell of the table: so many downloads of one size, with their keys, packages and buffers.
#pragma once

#include <random>
#include <span>
#include <vector>

#include "host/seal/sealer.hpp"

namespace kf::bench {

inline constexpr std::size_t kSegment = 1007;  // octets of a profile in one command

Bytes random_octets(std::size_t n, std::mt19937_64& g);

class Cell {
 public:
  Cell(std::size_t bytes, std::size_t in_flight, std::size_t key_size, std::uint64_t seed);
  static std::size_t memory(std::size_t bytes, std::size_t in_flight);  // that it will take

  // Each seals all packages once, into the same buffers.
  void naive();
  void copy();
  void with(seal::ScriptSealer& engine);

  void keep();                              // what is in the buffers is right; of the first packages at least
  [[nodiscard]] std::size_t wrong() const;  // of those, how many differ now
  [[nodiscard]] std::size_t kept() const { return right_.size(); }
  [[nodiscard]] double total_bytes() const { return static_cast<double>(bytes_ * plain_.size()); }

 private:
  std::size_t bytes_;
  std::vector<Bytes> s_enc_, s_mac_, plain_, out_;
  std::vector<std::vector<Block16>> mcv_;
  struct Right {
    Bytes out;
    std::vector<Block16> mcv;
  };
  std::vector<Right> right_;
};

}  // namespace kf::bench
