// The engine on the lanes kernel: plans waves, fills lanes, runs rounds.
#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "host/base/secret.hpp"
#include "host/seal/lanes.hpp"
#include "host/seal/waves.hpp"

namespace kf::seal {
namespace {

// A wave's plaintext and ciphertext together stay well below the second-level cache of the processors that have VAES.
constexpr std::size_t kLaneWaveSegments = 128;
constexpr std::size_t kLaneSegments = 64;
// Blocks of one call at most: idle lanes read and write so much of nothing.
constexpr std::size_t kCall = 64;
alignas(64) constexpr std::array<std::uint8_t, 16 * kCall> kNothing{};

// avx2 and avx512f also say that the operating system keeps such registers; not every compiler knows vaes by name.
bool has_vaes() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & bit_VAES) != 0;
}
bool runs(const LaneKernel& k) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool aes = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_AES) != 0;
  if (&k == &kLanesAesni) return aes;
  const bool vaes = aes && has_vaes() && __builtin_cpu_supports("avx2") != 0;
  if (&k == &kLanesVaes256) return vaes;
  return vaes && __builtin_cpu_supports("avx512f") != 0;
}

// The round keys of one lane; remembered, so that a lane that stays with its download is not loaded again.
struct Bank {
  LaneSet set;
  std::array<const std::uint8_t*, kMaxLanes> loaded{};
};

class LanesSealer final : public EngineBase {
 public:
  explicit LanesSealer(const LaneKernel& k) : kernel_(k), waves_(k.lanes, kLaneWaveSegments, kLaneSegments) { clear(); }
  ~LanesSealer() override { clear(); }
  [[nodiscard]] std::string_view name() const override { return kernel_.name; }

  void seal(std::span<SealJob> jobs) override {
    for (const SealJob& j : jobs) check(j);
    std::vector<SealJob*> group;
    group.reserve(jobs.size());
    // Lanes of one call share the number of rounds, so each pair of key lengths is a batch of its own.
    for (const std::size_t enc : {16, 24, 32})
      for (const std::size_t mac : {16, 24, 32}) {
        group.clear();
        for (SealJob& j : jobs)
          if (j.s_enc.size() == enc && j.s_mac.size() == mac) group.push_back(&j);
        if (!group.empty()) seal_group(group);
        if (group.size() == jobs.size()) return;
      }
  }

  void cmac(std::span<MacJob> jobs) override {
    for (const MacJob& j : jobs) check(j);
    std::array<std::size_t, kMaxLanes> blocks{};
    std::vector<MacJob*> todo;
    todo.reserve(jobs.size());
    for (const std::size_t key_size : {16, 24, 32}) {
      todo.clear();
      for (MacJob& j : jobs)
        if (j.key.size() == key_size) todo.push_back(&j);
      const auto rounds = static_cast<unsigned>(key_size / 4 + 6);
      for (std::size_t from = 0; from < todo.size(); from += kernel_.lanes) {
        LaneSet& s = mac_.set;
        const auto n = static_cast<unsigned>(std::min<std::size_t>(kernel_.lanes, todo.size() - from));
        for (unsigned l = 0; l < n; ++l) {
          const MacJob& j = *todo[from + l];
          aesni_expand(j.key.data(), key_size, schedule_.data());
          subkeys(schedule_.data(), rounds, k1_.data(), k2_.data());
          forget(schedule_.data());
          load(mac_, l, schedule_.data(), rounds);
          std::ranges::copy(j.first, s.state[l]);
          blocks[l] = (j.rest.size() - 1) / 16;
          s.in[l] = j.rest.data();
          s.last_in[l] = last(l, j.rest.subspan(16 * blocks[l]), k1_.data(), k2_.data());
        }
        round(s, rounds, n, blocks, 0);
        for (unsigned l = 0; l < n; ++l) std::copy_n(s.state[l], 16, todo[from + l]->mac.begin());
      }
    }
    clear();
  }

 private:
  void seal_group(std::span<SealJob* const> jobs) {
    waves_.start(jobs);
    while (waves_.next()) {
      for (Work* w : waves_.fresh()) {
        aesni_expand(w->job->s_enc.data(), w->job->s_enc.size(), w->enc);
        aesni_expand(w->job->s_mac.data(), w->job->s_mac.size(), w->mac);
        subkeys(w->mac, w->mac_rounds, w->k1, w->k2);
        forget(w->enc);
        forget(w->mac);
      }
      encrypt_wave();
      mac_wave();
    }
    waves_.finish();
    clear();
  }

  // Row by row over the lanes, so that a lane keeps its download's keys where there are enough downloads; with fewer,
  // several rows share one round. Lanes take turns in where they begin: buffers that lie a multiple of 4096 octets
  // apart would else meet in the same sets of the first-level cache, all at once. Short segments come last, together.
  void encrypt_wave() {
    std::array<std::size_t, kMaxLanes> blocks{};
    unsigned n = 0;
    unsigned rounds = 0;
    LaneSet& s = enc_.set;
    std::size_t longest = 0;
    for (unsigned l = 0; l < waves_.lanes(); ++l)
      for (const Segment& g : waves_.lane(l)) longest = std::max(longest, g.whole);
    for (const bool long_ones : {true, false})
      for (std::size_t row = 0; row < waves_.rows(); ++row)
        for (unsigned l = 0; l < waves_.lanes(); ++l) {
          const auto lane = waves_.lane(l);
          if (lane.size() <= row) continue;
          const Segment& g = lane[(row + l / 4) % lane.size()];
          if ((g.whole >= longest - longest / 8) != long_ones) continue;
          rounds = g.work->enc_rounds;
          load(enc_, n, g.work->enc, rounds);
          const std::uint64_t counter = __builtin_bswap64(g.counter);
          std::memset(s.state[n], 0, 8);
          std::memcpy(s.state[n] + 8, &counter, 8);
          s.in[n] = g.plain;
          s.out[n] = g.cipher();
          s.last_in[n] = s.last_out[n] = g.cipher() + 16 * g.whole;
          blocks[n] = g.whole;
          if (++n == kernel_.lanes) {
            round(s, rounds, n, blocks, kLaneStore);
            n = 0;
          }
        }
    if (n > 0) round(s, rounds, n, blocks, kLaneStore);
  }

  void mac_wave() {
    std::array<std::size_t, kMaxLanes> blocks{};
    LaneSet& s = mac_.set;
    for (std::size_t row = 0; row < waves_.rows(); ++row) {
      unsigned n = 0;
      unsigned rounds = 0;
      std::uint32_t busy = 0;
      for (unsigned l = 0; l < waves_.lanes(); ++l) {
        idle(s, l);
        blocks[l] = kIdle;
        if (waves_.lane(l).size() <= row) continue;
        const Segment& g = waves_.lane(l)[row];
        rounds = g.work->mac_rounds;
        load(mac_, l, g.work->mac, rounds);
        std::ranges::copy(g.work->job->chain, s.state[l]);
        s.in[l] = g.tlv;
        s.last_in[l] = last(l, ByteView(g.tlv + g.cipher_size(), g.head), g.work->k1, g.work->k2);
        blocks[l] = g.cipher_size() / 16;
        // The MAC has its input in the cache; meanwhile the lane's next wave is asked for, a segment for a segment.
        const Segment& end = waves_.lane(l).back();
        if (end.index + 1 + row < end.work->count) {
          s.next_in[l] = end.plain + end.plain_size + row * g.plain_size;
          s.next_out[l] = end.work->at + row * (g.cipher_size() + g.head + kMacSize);
        }
        busy |= 1U << l;
        n = l + 1;
      }
      round(s, rounds, n, blocks, 0);
      for (unsigned l = 0; l < n; ++l) {
        if ((busy >> l & 1) == 0) continue;
        const Segment& g = waves_.lane(l)[row];
        Block16& chain = g.work->job->chain;
        std::copy_n(s.state[l], 16, chain.begin());
        g.work->job->mcv[g.index] = chain;
        std::copy_n(s.state[l], kMacSize, g.cipher() + g.cipher_size());
      }
    }
  }

  void decrypt(std::span<DecryptWork> work) override {
    for (DecryptWork& w : work) {
      const auto rounds = static_cast<unsigned>(w.key.size() / 4 + 6);
      aesni_expand(w.key.data(), w.key.size(), schedule_.data());
      Block16 icv{};
      aesni_encrypt(schedule_.data(), rounds, w.counter.data(), icv.data());
      aesni_cbc_decrypt(schedule_.data(), rounds, icv.data(), w.in.data(), w.out.data(), w.in.size() / 16);
      wipe(icv.data(), icv.size());
    }
    clear();
  }

  // RFC 4493 2.3; no branch on the secret bits.
  static void subkeys(const std::uint8_t* schedule, unsigned rounds, std::uint8_t* k1, std::uint8_t* k2) {
    aesni_encrypt(schedule, rounds, kNothing.data(), k1);
    twice(k1, k1);
    twice(k1, k2);
  }
  static void twice(const std::uint8_t* in, std::uint8_t* out) {
    unsigned carry = 0;
    for (std::size_t i = 16; i-- > 0;) {
      const unsigned v = static_cast<unsigned>(in[i]) << 1 | carry;
      out[i] = static_cast<std::uint8_t>(v);
      carry = v >> 8;
    }
    out[15] = static_cast<std::uint8_t>(out[15] ^ (0x87 & (0U - carry)));
  }

  // The last block of a MAC, masked: 1 to 16 octets, padded with 80 00 ... when they are fewer.
  const std::uint8_t* last(unsigned l, ByteView tail, const std::uint8_t* k1, const std::uint8_t* k2) {
    std::uint8_t* b = staged_[l].data();
    std::copy_n(tail.size() == 16 ? k1 : k2, 16, b);
    for (std::size_t i = 0; i < tail.size(); ++i) b[i] = static_cast<std::uint8_t>(b[i] ^ tail[i]);
    if (tail.size() < 16) b[tail.size()] ^= 0x80;
    return b;
  }

  static void load(Bank& b, unsigned lane, const std::uint8_t* schedule, unsigned rounds) {
    if (b.loaded[lane] == schedule) return;
    b.loaded[lane] = schedule;
    for (unsigned r = 0; r <= rounds; ++r) std::copy_n(schedule + std::size_t{16} * r, 16, b.set.keys[r][lane]);
  }
  // Another key has been written where lanes may have loaded theirs from.
  void forget(const std::uint8_t* schedule) {
    for (Bank* b : {&enc_, &mac_}) std::ranges::replace(b->loaded, schedule, static_cast<const std::uint8_t*>(nullptr));
  }

  void idle(LaneSet& s, unsigned l) {
    s.in[l] = s.last_in[l] = s.next_in[l] = s.next_out[l] = kNothing.data();
    s.out[l] = s.last_out[l] = scratch_.data();
  }

  // One segment (or message) in each of lanes 0 .. n - 1, to its end; blocks[l] is kIdle where there is none.
  void round(LaneSet& s, unsigned rounds, unsigned n, std::array<std::size_t, kMaxLanes>& left, unsigned store) {
    for (unsigned l = n; l < kernel_.lanes; ++l) idle(s, l);
    std::size_t low = kIdle;
    std::size_t high = 0;
    for (unsigned l = 0; l < n; ++l) {
      low = std::min(low, left[l]);
      high = std::max(high, left[l] == kIdle ? 0 : left[l]);
    }
    if (low == high && high <= kCall) return kernel_.run(s, rounds, n, high, store | kLaneBegin | kLaneEnd);

    // Different lengths: a lane that has reached its last block stands aside until all have.
    kernel_.run(s, rounds, n, 0, store | kLaneBegin);
    std::uint32_t aside = 0;
    const auto stand_aside = [&](unsigned l) {
      std::copy_n(s.state[l], 16, held_[l].begin());
      s.in[l] = kNothing.data();
      s.out[l] = scratch_.data();
      aside |= 1U << l;
    };
    for (unsigned l = 0; l < n; ++l)
      if (left[l] == 0) stand_aside(l);
    while (high > 0) {
      std::size_t step = std::min(high, kCall);
      for (unsigned l = 0; l < n; ++l)
        if (left[l] != kIdle && left[l] > 0) step = std::min(step, left[l]);
      kernel_.run(s, rounds, n, step, store);
      high -= step;
      for (unsigned l = 0; l < n; ++l) {
        if (left[l] == kIdle || left[l] == 0) continue;
        left[l] -= step;
        s.in[l] += 16 * step;
        s.out[l] += 16 * step;
        if (left[l] == 0) stand_aside(l);
      }
    }
    for (unsigned l = 0; l < n; ++l)
      if ((aside >> l & 1) != 0) std::ranges::copy(held_[l], s.state[l]);
    kernel_.run(s, rounds, n, 0, store | kLaneEnd);
  }

  void clear() {
    for (Bank* b : {&enc_, &mac_}) {
      wipe(b->set.keys, sizeof b->set.keys);
      wipe(b->set.state, sizeof b->set.state);
      for (unsigned l = 0; l < kMaxLanes; ++l) idle(b->set, l);
      b->loaded = {};
    }
    wipe(staged_.data(), sizeof staged_);
    wipe(held_.data(), sizeof held_);
    wipe(scratch_.data(), scratch_.size());
    wipe(schedule_.data(), schedule_.size());
    wipe(k1_.data(), k1_.size());
    wipe(k2_.data(), k2_.size());
  }

  static constexpr std::size_t kIdle = SIZE_MAX;
  const LaneKernel& kernel_;
  Waves waves_;
  Bank enc_, mac_;
  alignas(64) std::array<Block16, kMaxLanes> staged_{};
  std::array<Block16, kMaxLanes> held_{};
  alignas(64) std::array<std::uint8_t, 16 * kCall> scratch_{};
  alignas(16) std::array<std::uint8_t, kSchedule> schedule_{};
  Block16 k1_{}, k2_{};
};

}  // namespace

std::unique_ptr<ScriptSealer> make_lanes_sealer(std::string_view name) {
  for (const LaneKernel* k : {&kLanesVaes512, &kLanesVaes256, &kLanesAesni})
    if ((name == k->name || name == "lanes") && runs(*k)) return std::make_unique<LanesSealer>(*k);
  return nullptr;
}

}  // namespace kf::seal
