// VAES on 256-bit registers: sixteen lanes, two in a register.
// Compiled with -mavx2 -maes -mvaes: nothing but intrinsics and our own data may be included here.
#include <immintrin.h>

#include "host/seal/lanes_kernel.hpp"

namespace kf::seal {
namespace {

struct V256 {
  using Reg = __m256i;
  static constexpr unsigned kLanes = 2;
  static Reg load(const std::uint8_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store(std::uint8_t* p, Reg x) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), x); }
  static __m128i block(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static Reg gather(const std::uint8_t* const* p, std::size_t at) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(block(p[0] + at)), block(p[1] + at), 1);
  }
  static void scatter(std::uint8_t* const* p, std::size_t at, Reg x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p[0] + at), _mm256_castsi256_si128(x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p[1] + at), _mm256_extracti128_si256(x, 1));
  }
  static Reg exor(Reg a, Reg b) { return _mm256_xor_si256(a, b); }
  static Reg round(Reg x, Reg k) { return _mm256_aesenc_epi128(x, k); }
  static Reg last_round(Reg x, Reg k) { return _mm256_aesenclast_epi128(x, k); }
};

}  // namespace

const LaneKernel kLanesVaes256{"lanes-vaes256", 16, run_lanes<V256>};

}  // namespace kf::seal
