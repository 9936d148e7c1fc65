// VAES on 512-bit registers: thirty-two lanes, four in a register.
// Compiled with -mavx512f -maes -mvaes: nothing but intrinsics and our own data may be included here.
#include <immintrin.h>

#include "host/seal/lanes_kernel.hpp"

namespace kf::seal {
namespace {

struct V512 {
  using Reg = __m512i;
  static constexpr unsigned kLanes = 4;
  static Reg load(const std::uint8_t* p) { return _mm512_load_si512(p); }
  static void store(std::uint8_t* p, Reg x) { _mm512_store_si512(p, x); }
  static __m128i block(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static Reg gather(const std::uint8_t* const* p, std::size_t at) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(block(p[0] + at)), block(p[1] + at), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(block(p[2] + at)), block(p[3] + at), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }
  static void scatter(std::uint8_t* const* p, std::size_t at, Reg x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p[0] + at), _mm512_castsi512_si128(x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p[1] + at), _mm512_extracti32x4_epi32(x, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p[2] + at), _mm512_extracti32x4_epi32(x, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p[3] + at), _mm512_extracti32x4_epi32(x, 3));
  }
  static Reg exor(Reg a, Reg b) { return _mm512_xor_si512(a, b); }
  static Reg round(Reg x, Reg k) { return _mm512_aesenc_epi128(x, k); }
  static Reg last_round(Reg x, Reg k) { return _mm512_aesenclast_epi128(x, k); }
};

}  // namespace

const LaneKernel kLanesVaes512{"lanes-vaes512", 32, run_lanes<V512>};

}  // namespace kf::seal
