// The lanes kernel: many AES chains in lockstep. Inside of host/seal; plain data and plain functions only, because the
// files that include it are compiled for one kind of processor each.
//
// CBC encryption and CBC-MAC are the same chain, state = E(state ^ block); the first one keeps every state, the other
// one the last. So one loop does both: each lane has its keys, its state, its input and its output, and a step of the
// loop takes one block of every lane. No table, no branch and no address depends on a secret.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kf::seal {

inline constexpr unsigned kMaxLanes = 32;
inline constexpr unsigned kMaxRounds = 14;

struct LaneSet {
  // Round keys by round, then lane: a register's worth of lanes is one operand in memory.
  alignas(64) std::uint8_t keys[kMaxRounds + 1][kMaxLanes][16];
  alignas(64) std::uint8_t state[kMaxLanes][16];
  const std::uint8_t* in[kMaxLanes];
  std::uint8_t* out[kMaxLanes];
  const std::uint8_t* last_in[kMaxLanes];
  std::uint8_t* last_out[kMaxLanes];
  // What will be worked on next: asked for from memory while a run without kLaneStore goes on. Any addresses.
  const std::uint8_t* next_in[kMaxLanes];
  const std::uint8_t* next_out[kMaxLanes];
};

enum LaneFlags : unsigned {
  kLaneStore = 1,  // every state behind an input block goes to out (last_out)
  kLaneBegin = 2,  // state = E(state) in front of the first block: an ICV from its counter, the chaining value's block
  kLaneEnd = 4,    // one more block from last_in behind the last
};

struct LaneKernel {
  const char* name;
  unsigned lanes;  // of one step at most
  // Lanes 0 .. active - 1 (others in the same registers run along) by `blocks` blocks each; in and out of all lanes up
  // to the next power-of-two number of registers are read and written. Pointers are not moved.
  void (*run)(LaneSet& s, unsigned rounds, unsigned active, std::size_t blocks, unsigned flags);
};

// One kernel each; to be called only where the processor has the instructions.
extern const LaneKernel kLanesAesni;
extern const LaneKernel kLanesVaes256;
extern const LaneKernel kLanesVaes512;

// The single-lane parts, with AES-NI.
void aesni_expand(const std::uint8_t* key, std::size_t key_size, std::uint8_t* schedule);  // rounds + 1 blocks
void aesni_encrypt(const std::uint8_t* schedule, unsigned rounds, const std::uint8_t* in, std::uint8_t* out);
void aesni_cbc_decrypt(const std::uint8_t* schedule, unsigned rounds, const std::uint8_t* icv, const std::uint8_t* in,
                       std::uint8_t* out, std::size_t blocks);

}  // namespace kf::seal
