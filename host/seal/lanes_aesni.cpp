// AES-NI: eight lanes of one block, and everything that runs in a single lane.
// Compiled with -maes: nothing but intrinsics and our own data may be included here.
#include <immintrin.h>

#include "host/seal/lanes_kernel.hpp"

namespace kf::seal {
namespace {

inline const __m128i* at128(const std::uint8_t* p) { return reinterpret_cast<const __m128i*>(p); }
inline __m128i* at128(std::uint8_t* p) { return reinterpret_cast<__m128i*>(p); }

struct V128 {
  using Reg = __m128i;
  static constexpr unsigned kLanes = 1;
  static Reg load(const std::uint8_t* p) { return _mm_load_si128(at128(p)); }
  static void store(std::uint8_t* p, Reg x) { _mm_store_si128(at128(p), x); }
  static Reg gather(const std::uint8_t* const* p, std::size_t at) { return _mm_loadu_si128(at128(p[0] + at)); }
  static void scatter(std::uint8_t* const* p, std::size_t at, Reg x) { _mm_storeu_si128(at128(p[0] + at), x); }
  static Reg exor(Reg a, Reg b) { return _mm_xor_si128(a, b); }
  static Reg round(Reg x, Reg k) { return _mm_aesenc_si128(x, k); }
  static Reg last_round(Reg x, Reg k) { return _mm_aesenclast_si128(x, k); }
};

}  // namespace

const LaneKernel kLanesAesni{"lanes-aesni", 8, run_lanes<V128>};

namespace {

// One round key of AES-128 from the one before.
template <int kConstant>
__m128i next128(__m128i k, std::uint8_t* out) {
  const __m128i s = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(k, kConstant), 0xFF);
  k = _mm_xor_si128(k, _mm_slli_si128(k, 4));
  k = _mm_xor_si128(k, _mm_slli_si128(k, 8));
  k = _mm_xor_si128(k, s);
  _mm_storeu_si128(at128(out), k);
  return k;
}
void expand128(const std::uint8_t* key, std::uint8_t* schedule) {
  __m128i k = _mm_loadu_si128(at128(key));
  _mm_storeu_si128(at128(schedule), k);
  k = next128<0x01>(k, schedule + 16);
  k = next128<0x02>(k, schedule + 32);
  k = next128<0x04>(k, schedule + 48);
  k = next128<0x08>(k, schedule + 64);
  k = next128<0x10>(k, schedule + 80);
  k = next128<0x20>(k, schedule + 96);
  k = next128<0x40>(k, schedule + 112);
  k = next128<0x80>(k, schedule + 128);
  k = next128<0x1B>(k, schedule + 144);
  next128<0x36>(k, schedule + 160);
}

}  // namespace

// FIPS 197 5.2; AES-128 by whole round keys, the others a word at a time. AESKEYGENASSIST applies the S-box: word 1 of
// its input comes out as word 0, and rotated as word 1.
void aesni_expand(const std::uint8_t* key, std::size_t key_size, std::uint8_t* schedule) {
  if (key_size == 16) return expand128(key, schedule);
  const std::size_t nk = key_size / 4;
  const std::size_t words = 4 * (nk + 7);
  const auto word = [&](std::size_t i) {
    std::uint32_t w = 0;
    __builtin_memcpy(&w, schedule + 4 * i, 4);
    return w;
  };
  __builtin_memcpy(schedule, key, key_size);
  std::uint32_t previous = word(nk - 1);
  std::uint32_t constant = 1;
  for (std::size_t i = nk; i < words; ++i) {
    if (i % nk == 0 || (nk == 8 && i % nk == 4)) {
      const __m128i s = _mm_aeskeygenassist_si128(_mm_set1_epi32(static_cast<int>(previous)), 0);
      if (i % nk == 0) {
        previous = static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_srli_si128(s, 4))) ^ constant;
        constant = constant << 1 ^ (constant >> 7) * 0x11BU;
      } else {
        previous = static_cast<std::uint32_t>(_mm_cvtsi128_si32(s));
      }
    }
    previous ^= word(i - nk);
    __builtin_memcpy(schedule + 4 * i, &previous, 4);
  }
}

void aesni_encrypt(const std::uint8_t* schedule, unsigned rounds, const std::uint8_t* in, std::uint8_t* out) {
  __m128i x = _mm_xor_si128(_mm_loadu_si128(at128(in)), _mm_loadu_si128(at128(schedule)));
  for (unsigned r = 1; r < rounds; ++r) x = _mm_aesenc_si128(x, _mm_loadu_si128(at128(schedule + 16 * r)));
  _mm_storeu_si128(at128(out), _mm_aesenclast_si128(x, _mm_loadu_si128(at128(schedule + 16 * rounds))));
}

void aesni_cbc_decrypt(const std::uint8_t* schedule, unsigned rounds, const std::uint8_t* icv, const std::uint8_t* in,
                       std::uint8_t* out, std::size_t blocks) {
  __m128i chain = _mm_loadu_si128(at128(icv));
  for (std::size_t i = 0; i < blocks; ++i) {
    const __m128i c = _mm_loadu_si128(at128(in + 16 * i));
    __m128i x = _mm_xor_si128(c, _mm_loadu_si128(at128(schedule + 16 * rounds)));
    for (unsigned r = rounds - 1; r > 0; --r)
      x = _mm_aesdec_si128(x, _mm_aesimc_si128(_mm_loadu_si128(at128(schedule + 16 * r))));
    x = _mm_aesdeclast_si128(x, _mm_loadu_si128(at128(schedule)));
    _mm_storeu_si128(at128(out + 16 * i), _mm_xor_si128(x, chain));
    chain = c;
  }
}

}  // namespace kf::seal
