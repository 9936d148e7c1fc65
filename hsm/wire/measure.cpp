#include "hsm/wire/measure.hpp"

namespace kf::hsm::wire {
namespace {

void put64(Writer& w, std::uint64_t v) {
  w.u32(static_cast<std::uint32_t>(v));
  w.u32(static_cast<std::uint32_t>(v >> 32));
}
std::uint64_t get64(Reader& r) {
  const std::uint64_t low = r.u32();
  return low | static_cast<std::uint64_t>(r.u32()) << 32;
}

}  // namespace

void MeasureRun::encode(Writer& w) const {
  w.u32(static_cast<std::uint32_t>(kind));
  w.u32(curve);
  w.u32(threads);
  w.u32(milliseconds);
}

std::optional<MeasureRun> MeasureRun::decode(Reader& r) {
  MeasureRun m;
  m.kind = static_cast<Kind>(r.u32());
  m.curve = r.u32();
  m.threads = r.u32();
  m.milliseconds = r.u32();
  const bool sound = r.at_end() && m.kind >= Kind::sign && m.kind <= Kind::verify && m.threads >= 1 &&
                     m.threads <= kMaxMeasureThreads && m.milliseconds >= 1 &&
                     m.milliseconds <= kMaxMeasureMilliseconds;
  return sound ? std::optional(m) : std::nullopt;
}

SecretBytes MeasureRate::encode() const {
  Writer w;
  for (const std::uint64_t v : {done, failed, wall_ns, cpu_ns, p50_ns, p95_ns, p99_ns}) put64(w, v);
  w.field(first_error);
  return w.take();
}

std::optional<MeasureRate> MeasureRate::decode(ByteView v) {
  Reader r(v);
  MeasureRate m;
  for (std::uint64_t* p : {&m.done, &m.failed, &m.wall_ns, &m.cpu_ns, &m.p50_ns, &m.p95_ns, &m.p99_ns}) *p = get64(r);
  m.first_error = r.string();
  return r.at_end() ? std::optional(std::move(m)) : std::nullopt;
}

}  // namespace kf::hsm::wire
