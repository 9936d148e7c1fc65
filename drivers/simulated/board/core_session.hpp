// A host's side of the core on a board, plain and small: start-up (table, self-test), rings, submit and poll. For
// benches, vectors and tests; the server's driver does the same through its own transport. One thread.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "drivers/ecc/ecc_regs.hpp"
#include "drivers/simulated/board/board.hpp"
#include "host/base/bytes.hpp"

namespace kf::ecc {

// Operands: the core's integers are little-endian, everybody else's big-endian.
void set_operand(std::uint8_t (&v)[32], ByteView big_endian32);
std::array<std::uint8_t, 32> big_endian(const std::uint8_t (&v)[32]);
std::string_view to_string(JobStatus s);

Descriptor job(Opcode op, CurveNumber curve, std::uint16_t slot, std::uint64_t tag);

struct SessionOptions {
  unsigned sq_log2 = 9, cq_log2 = 9;   // entries of the rings
  std::uint32_t batch_timeout = 4096;  // cycles that a job waits for others of its kind
  bool load_table = true;              // false: as after reset, the core then has no table and fails its self-test
};

class CoreSession {
 public:
  // Brings a board that was just reset to work. Reasons: not-a-core, self-test, bad-option (rings do not fit into the
  // memory).
  static Result<std::unique_ptr<CoreSession>> start(Board& b, const SessionOptions& o);

  // Sets the rings up afresh and starts the core: after a reset, an abort or a zeroisation. Reasons: bad-option,
  // not-idle.
  Status open_rings(unsigned sq_log2, unsigned cq_log2);

  // Puts jobs into the ring and rings once; how many there was room for. The phase bit is set here.
  std::size_t submit(std::span<const Descriptor> jobs);
  // Takes what has come, in the order of the jobs; what was secret in the ring is overwritten.
  std::size_t poll(std::span<Completion> into);
  // Submits everything and lets time pass until all of it is answered. Reasons: cycle-limit.
  Result<std::vector<Completion>> run(std::span<const Descriptor> jobs, std::uint64_t cycles_a_job = 500'000);

  [[nodiscard]] std::size_t in_flight() const { return submitted_ - polled_; }
  [[nodiscard]] unsigned contexts() const { return contexts_; }
  [[nodiscard]] unsigned ii() const { return ii_; }
  [[nodiscard]] unsigned key_slots() const { return key_slots_; }
  std::uint64_t counter(std::uint32_t offset);               // a 64-bit one
  bool wait_status(Field f, bool set, std::uint64_t limit);  // until a bit of STATUS stands so; false: cycle limit
  Board& board() { return board_; }

 private:
  explicit CoreSession(Board& b) : board_(b) {}
  Descriptor& sq(std::uint32_t index);
  Completion& cq(std::uint32_t index);

  Board& board_;
  unsigned contexts_ = 0, ii_ = 0, key_slots_ = 0;
  unsigned sq_log2_ = 0, cq_log2_ = 0;
  std::uint32_t submitted_ = 0, polled_ = 0;  // ring indices
};

}  // namespace kf::ecc
