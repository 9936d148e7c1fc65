// AdminOp::measure on the wire: what to measure, and what came out. Times in nanoseconds.
//
// hsm/direct/direct.hpp explains the kinds. Values only; decode() says nothing when the message is malformed.
#pragma once

#include "hsm/wire/wire.hpp"

namespace kf::hsm::wire {

struct MeasureRun {
  // The values of DirectKind.
  enum class Kind : std::uint32_t { sign = 1, sign_with_copy, ecka, set, verify };
  Kind kind = Kind::set;
  std::uint32_t curve = 0;
  std::uint32_t threads = 1;
  std::uint32_t milliseconds = 1000;
  void encode(Writer& w) const;
  static std::optional<MeasureRun> decode(Reader& r);
};

struct MeasureRate {
  std::uint64_t done = 0, failed = 0;
  std::uint64_t wall_ns = 0, cpu_ns = 0;
  std::uint64_t p50_ns = 0, p95_ns = 0, p99_ns = 0;
  std::string first_error;
  [[nodiscard]] SecretBytes encode() const;
  static std::optional<MeasureRate> decode(ByteView v);
};

inline constexpr std::uint32_t kMaxMeasureThreads = 64;
inline constexpr std::uint32_t kMaxMeasureMilliseconds = 600'000;

}  // namespace kf::hsm::wire
