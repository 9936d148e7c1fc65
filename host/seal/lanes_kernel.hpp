// The loop of the lanes kernel over a register type V. Included once by each lanes_<processor>.cpp; everything is
// local to that file, so that code for one processor never stands in for the same template of another.
#pragma once

#include "host/seal/lanes.hpp"

namespace kf::seal {
namespace {

// V: Reg; kLanes; load/store of aligned memory; gather of kLanes blocks from pointers + offset; scatter; exor; round;
// last round.
template <class V, unsigned kRegs, unsigned kRounds>
struct Loop {
  using Reg = typename V::Reg;

  static inline __attribute__((always_inline)) void encrypt(const LaneSet& s, Reg (&x)[kRegs]) {
    // Round keys are operands in memory each time: the compiler must not take them out of the loop and onto a stack
    // that nobody wipes.
    asm volatile("" ::: "memory");
#pragma GCC unroll 8
    for (unsigned i = 0; i < kRegs; ++i) x[i] = V::exor(x[i], V::load(s.keys[0][i * V::kLanes]));
#pragma GCC unroll 14
    for (unsigned r = 1; r < kRounds; ++r) {
#pragma GCC unroll 8
      for (unsigned i = 0; i < kRegs; ++i) x[i] = V::round(x[i], V::load(s.keys[r][i * V::kLanes]));
    }
#pragma GCC unroll 8
    for (unsigned i = 0; i < kRegs; ++i) x[i] = V::last_round(x[i], V::load(s.keys[kRounds][i * V::kLanes]));
  }

  // A cache line is four steps: in each of them a quarter of the lanes asks for its next two lines.
  static inline __attribute__((always_inline)) void ask(const LaneSet& s, std::size_t at) {
    constexpr std::size_t kQuarter = kRegs * V::kLanes / 4;
    const std::size_t from = at / 16 % 4 * kQuarter;
    for (std::size_t l = from; l < from + kQuarter; ++l) {
      __builtin_prefetch(s.next_in[l] + at, 0, 2);
      __builtin_prefetch(s.next_out[l] + at, 0, 2);
    }
  }

  template <bool kStore>
  static void run(LaneSet& s, std::size_t blocks, unsigned flags) {
    Reg x[kRegs];
#pragma GCC unroll 8
    for (unsigned i = 0; i < kRegs; ++i) x[i] = V::load(s.state[i * V::kLanes]);
    if ((flags & kLaneBegin) != 0) encrypt(s, x);
    for (std::size_t at = 0; at < 16 * blocks; at += 16) {
#pragma GCC unroll 8
      for (unsigned i = 0; i < kRegs; ++i) x[i] = V::exor(x[i], V::gather(s.in + i * V::kLanes, at));
      if constexpr (!kStore) ask(s, at);
      encrypt(s, x);
      if constexpr (kStore) {
#pragma GCC unroll 8
        for (unsigned i = 0; i < kRegs; ++i) V::scatter(s.out + i * V::kLanes, at, x[i]);
      }
    }
    if ((flags & kLaneEnd) != 0) {
#pragma GCC unroll 8
      for (unsigned i = 0; i < kRegs; ++i) x[i] = V::exor(x[i], V::gather(s.last_in + i * V::kLanes, 0));
      encrypt(s, x);
      if constexpr (kStore) {
#pragma GCC unroll 8
        for (unsigned i = 0; i < kRegs; ++i) V::scatter(s.last_out + i * V::kLanes, 0, x[i]);
      }
    }
#pragma GCC unroll 8
    for (unsigned i = 0; i < kRegs; ++i) V::store(s.state[i * V::kLanes], x[i]);
  }
};

template <class V, unsigned kRegs>
void run_regs(LaneSet& s, unsigned rounds, std::size_t blocks, unsigned flags) {
  const bool store = (flags & kLaneStore) != 0;
  switch (rounds) {
    case 10:
      return store ? Loop<V, kRegs, 10>::template run<true>(s, blocks, flags)
                   : Loop<V, kRegs, 10>::template run<false>(s, blocks, flags);
    case 12:
      return store ? Loop<V, kRegs, 12>::template run<true>(s, blocks, flags)
                   : Loop<V, kRegs, 12>::template run<false>(s, blocks, flags);
    default:
      return store ? Loop<V, kRegs, 14>::template run<true>(s, blocks, flags)
                   : Loop<V, kRegs, 14>::template run<false>(s, blocks, flags);
  }
}

// Eight registers hide the latency of a round; fewer when fewer lanes have work.
template <class V>
void run_lanes(LaneSet& s, unsigned rounds, unsigned active, std::size_t blocks, unsigned flags) {
  if (active <= V::kLanes) return run_regs<V, 1>(s, rounds, blocks, flags);
  if (active <= 2 * V::kLanes) return run_regs<V, 2>(s, rounds, blocks, flags);
  if (active <= 4 * V::kLanes) return run_regs<V, 4>(s, rounds, blocks, flags);
  run_regs<V, 8>(s, rounds, blocks, flags);
}

}  // namespace
}  // namespace kf::seal
