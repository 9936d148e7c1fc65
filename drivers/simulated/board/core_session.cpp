#include "drivers/simulated/board/core_session.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "drivers/ecc/comb_table.hpp"
#include "host/base/secret.hpp"

namespace kf::ecc {

void set_operand(std::uint8_t (&v)[32], ByteView big_endian32) {
  if (big_endian32.size() != sizeof v) std::abort();
  std::reverse_copy(big_endian32.begin(), big_endian32.end(), v);
}
std::array<std::uint8_t, 32> big_endian(const std::uint8_t (&v)[32]) {
  std::array<std::uint8_t, 32> out{};
  std::reverse_copy(std::begin(v), std::end(v), out.begin());
  return out;
}

std::string_view to_string(JobStatus s) {
  switch (s) {
    case JobStatus::ok:
      return "ok";
    case JobStatus::off_curve:
      return "off_curve";
    case JobStatus::exception:
      return "exception";
    case JobStatus::entropy:
      return "entropy";
    case JobStatus::bad_signature:
      return "bad_signature";
    case JobStatus::fault:
      return "fault";
    case JobStatus::range:
      return "range";
    case JobStatus::key:
      return "key";
    case JobStatus::descriptor:
      return "descriptor";
    case JobStatus::aborted:
      return "aborted";
    case JobStatus::self_test:
      return "self_test";
    case JobStatus::not_finished:
      return "not_finished";
  }
  return "unknown status";
}

Descriptor job(Opcode op, CurveNumber curve, std::uint16_t slot, std::uint64_t tag) {
  Descriptor d{};
  d.opcode = static_cast<std::uint8_t>(op);
  d.curve = static_cast<std::uint8_t>(curve);
  d.key_slot = slot;
  d.tag = tag;
  return d;
}

Result<std::unique_ptr<CoreSession>> CoreSession::start(Board& b, const SessionOptions& o) {
  if (b.read(kRegId) != kIdWord || b.read(kRegVersion) != kVersionWord)
    return Error{"not-a-core", "the registers are not those of this core, or of another version"};
  std::unique_ptr<CoreSession> s(new CoreSession(b));
  const std::uint32_t cap = b.read(kRegCap0);
  s->contexts_ = kCap0Contexts.get(cap);
  s->ii_ = kCap0Ii.get(cap);
  s->key_slots_ = 1U << kCap0Log2KeySlots.get(cap);
  if (o.load_table) {
    b.write(kRegTableAddr, 0);
    for (const std::uint32_t word : comb_table()) b.write(kRegTableData, word);
  }
  b.write(kRegControl, kControlLockTable.put(1));
  b.write(kRegBatchTimeout, o.batch_timeout);
  constexpr std::uint64_t kLimit = 20'000'000;  // four batches take 0.6 to 2.5 million cycles
  const std::uint64_t end = b.cycles() + kLimit;
  for (;;) {
    const std::uint32_t status = b.read(kRegStatus);
    if (kStatusSelftestPassed.get(status) != 0) break;
    if (kStatusSelftestFailed.get(status) != 0) return Error{"self-test", "the core's known answers were wrong"};
    if (b.cycles() > end) return Error{"self-test", "the core's self-test does not end"};
    b.run(4096);
  }
  KF_CHECK(s->open_rings(o.sq_log2, o.cq_log2));
  return s;
}

Status CoreSession::open_rings(unsigned sq_log2, unsigned cq_log2) {
  const std::size_t sq_bytes = sizeof(Descriptor) << sq_log2;
  const std::size_t cq_bytes = sizeof(Completion) << cq_log2;
  const unsigned most = kCap1MaxLog2Ring.get(board_.read(kRegCap1));
  if (sq_log2 > most || cq_log2 > most || sq_bytes + cq_bytes > board_.memory().size())
    return Error{"bad-option", "rings of 2^" + std::to_string(sq_log2) + " and 2^" + std::to_string(cq_log2) +
                                   " entries: too large for the core or its memory"};
  board_.write(kRegControl, kControlEnable.put(0));
  if (!wait_status(kStatusIdle, true, 20'000'000) || !wait_status(kStatusAborting, false, 1'000'000))
    return Error{"not-idle", "the core does not come to rest"};
  sq_log2_ = sq_log2;
  cq_log2_ = cq_log2;
  submitted_ = polled_ = 0;
  std::memset(board_.memory().data(), 0, sq_bytes + cq_bytes);
  const std::uint64_t sq_at = board_.dma_base();
  const std::uint64_t cq_at = sq_at + sq_bytes;
  board_.write(kRegSqBaseLo, static_cast<std::uint32_t>(sq_at));
  board_.write(kRegSqBaseHi, static_cast<std::uint32_t>(sq_at >> 32));
  board_.write(kRegSqLog2, sq_log2);
  board_.write(kRegCqBaseLo, static_cast<std::uint32_t>(cq_at));
  board_.write(kRegCqBaseHi, static_cast<std::uint32_t>(cq_at >> 32));
  board_.write(kRegCqLog2, cq_log2);
  board_.write(kRegControl, kControlEnable.put(1));
  return {};
}

Descriptor& CoreSession::sq(std::uint32_t index) {
  return reinterpret_cast<Descriptor*>(board_.memory().data())[index & ((1U << sq_log2_) - 1)];
}
Completion& CoreSession::cq(std::uint32_t index) {
  auto* ring = reinterpret_cast<Completion*>(board_.memory().data() + (sizeof(Descriptor) << sq_log2_));
  return ring[index & ((1U << cq_log2_) - 1)];
}

std::size_t CoreSession::submit(std::span<const Descriptor> jobs) {
  std::size_t n = 0;
  std::uint32_t room =
      (1U << sq_log2_) - static_cast<std::uint32_t>(in_flight());  // at least; the core may have read more
  if (in_flight() >= 1U << sq_log2_ || room < jobs.size())
    room = (1U << sq_log2_) - (submitted_ - board_.read(kRegSqHead));
  for (; n < jobs.size() && n < room; ++n) {
    Descriptor d = jobs[n];
    const bool first_lap = (submitted_ >> sq_log2_ & 1) == 0;
    d.flags = (d.flags & ~kDescriptorPhase) | (first_lap ? kDescriptorPhase : 0);
    sq(submitted_++) = d;
  }
  std::atomic_thread_fence(std::memory_order_release);
  if (n != 0) board_.write(kRegSqTail, submitted_);
  return n;
}

std::size_t CoreSession::poll(std::span<Completion> into) {
  std::size_t n = 0;
  for (; n < into.size() && in_flight() != 0; ++n) {
    Completion& c = cq(polled_);
    // The word with the phase bit is the last that the core writes.
    auto* last = reinterpret_cast<std::uint64_t*>(&c.status);
    const std::uint64_t word = std::atomic_ref<std::uint64_t>(*last).load(std::memory_order_acquire);
    const bool first_lap = (polled_ >> cq_log2_ & 1) == 0;
    if ((word >> 32 & kCompletionPhase) != (first_lap ? kCompletionPhase : 0)) break;
    into[n] = c;
    wipe(c.x, sizeof c.x + sizeof c.y);
    c.check = 0;
    ++polled_;
  }
  if (n != 0) board_.write(kRegCqHead, polled_);
  return n;
}

Result<std::vector<Completion>> CoreSession::run(std::span<const Descriptor> jobs, std::uint64_t cycles_a_job) {
  std::vector<Completion> out(jobs.size());
  std::size_t sent = 0, got = 0;
  std::uint64_t limit = board_.cycles() + 2'000'000;
  while (got < out.size()) {
    if (sent < jobs.size()) sent += submit(jobs.subspan(sent));
    board_.run(256);
    const std::size_t n = poll(std::span(out).subspan(got));
    for (std::size_t i = got; i < got + n; ++i)
      if (out[i].check != check_word(out[i]))
        return Error{"check-word", "completion " + std::to_string(i) + " is damaged"};
    got += n;
    if (n != 0) limit = board_.cycles() + 2'000'000 + cycles_a_job;
    if (board_.cycles() > limit)
      return Error{"cycle-limit", std::to_string(out.size() - got) + " jobs are not answered"};
  }
  return out;
}

std::uint64_t CoreSession::counter(std::uint32_t offset) {
  const std::uint64_t low = board_.read(offset);
  return low | static_cast<std::uint64_t>(board_.read(offset + 4)) << 32;
}

bool CoreSession::wait_status(Field f, bool set, std::uint64_t limit) {
  const std::uint64_t end = board_.cycles() + limit;
  while ((f.get(board_.read(kRegStatus)) != 0) != set) {
    if (board_.cycles() > end) return false;
    board_.run(256);
  }
  return true;
}

}  // namespace kf::ecc
