// Surroundings of kf_shell for its tests: memory behind the AXI4 master, an engine that answers jobs in order, a host
// that reads and writes registers and rings. Everything that can wait does so at random; every rule of the buses is
// checked in every cycle.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vkf_shell.h"
#include "drivers/ecc/ecc_regs.hpp"

namespace kf::ecc::test {

using Beat = std::array<std::uint32_t, 8>;

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
#define KF_NEED(condition, why)                                                                             \
  do {                                                                                                      \
    if (!(condition)) throw Failure(std::string(__FILE__) + ":" + std::to_string(__LINE__) + ": " + (why)); \
  } while (0)

// Chances are in 1/256 a cycle.
struct Waits {
  unsigned ar_ready = 256, r_valid = 256, aw_ready = 256, w_ready = 256, b_valid = 256;
  unsigned job_ready = 256, cpl_valid = 256, axil = 256;
  unsigned latency =
      8;  // up to so many cycles from a read's address to its data, and from a write's data to its answer
  unsigned answer = 20;         // up to so many cycles until a job is answered
  bool aw_waits_for_w = false;  // the address is taken only once data is offered
  bool w_waits_for_aw = false;  // data is taken only once the address was
};
struct Errors {
  unsigned read = 0, write = 0, last = 0;  // in 1/256 a burst
};

struct Posted {
  Descriptor d{};
  bool bad = false;        // the host made it wrong
  bool axi_bad = false;    // its read went wrong
  unsigned changed = ~0U;  // the beat that a fault has changed while it waited for the engine
  bool engine_took = false;
  Completion answer{};  // what the engine sent
  bool answered = false;
  bool written = false;        // memory has it
  bool lost = false;           // its write went wrong
  bool blank_allowed = false;  // a zeroisation was under way before its burst began
  bool torn_allowed = false;   // or came while memory had taken a part of it
  bool blank_due = false;      // and certainly had reached the completion ring
};

class Bench {
 public:
  explicit Bench(std::uint64_t seed);
  ~Bench();

  // Time.
  void tick();
  void run(unsigned cycles) {
    while (cycles-- != 0) tick();
  }
  void reset();
  std::uint64_t cycle() const { return cycle_; }

  // Registers. Every access takes and checks one transaction; the order of address and data is random.
  std::uint32_t read(std::uint32_t at);
  std::uint64_t read64(std::uint32_t at);
  unsigned write(std::uint32_t at, std::uint32_t value, unsigned strobes = 15);  // the answer's code

  // Rings.
  void rings(unsigned sq_log2, unsigned cq_log2);  // new places in memory, core stopped
  void set_rings(std::uint64_t sq_base, std::uint32_t sq_log2, std::uint64_t cq_base, std::uint32_t cq_log2);
  void enable(bool on) { write(kRegControl, kControlEnable.put(on ? 1 : 0)); }
  bool post(const Descriptor& d, bool bad = false);  // false: the ring is full
  Descriptor job();                                  // a random one
  void ring_doorbell();
  std::size_t consume(std::size_t most);  // checks and takes completions
  void finish();                          // until every posted job is answered and consumed
  void wait_idle();
  void check_counters();
  void check_guards() const;

  bool chance(unsigned in256) { return in256 >= 256 || rng_() % 256 < in256; }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(rng_() % n); }
  std::uint64_t word64() { return rng_(); }

  std::unique_ptr<VerilatedContext> context;
  std::unique_ptr<Vkf_shell> top;
  Waits waits;
  Errors errors;

  // Host's view of the rings.
  unsigned sq_log2 = 0, cq_log2 = 0;
  std::uint64_t sq_base = 0, cq_base = 0;
  std::uint32_t sq_written = 0, sq_tail = 0;  // index behind what stands in memory; what the doorbell said
  std::uint32_t cq_head = 0;
  bool poll_memory = true;  // find completions by their phase bit, else by CQ_TAIL
  std::uint32_t sq_head_seen = 0;

  // Since the rings were set: entry i is index i.
  std::vector<Posted> jobs;
  std::size_t fetched = 0, taken = 0, answered = 0, begun = 0,
              written = 0;  // reads issued; jobs and answers of the engine; bursts

  // Engine.
  bool engine_stalled = false;  // answers nothing
  bool frame_fault = false;     // the next completion has a wrong last mark
  unsigned engine_room = 96;
  bool zeroising = false, engine_wiped = false;
  bool blank_from_now = false;  // the order to zeroise has reached the completion ring
  unsigned wipe_left = 0;
  unsigned events = 0;  // chance in 256 of each event input

  // What counters should say since the last reset.
  std::uint64_t n_busy = 0, n_mul = 0, n_slot = 0, n_jobs = 0, n_batch = 0, n_cpl = 0, n_bad = 0, n_axi = 0,
                n_parity = 0, n_gate = 0, n_entropy = 0, n_exception = 0;
  std::uint64_t cycle_at_reset = 0;
  std::vector<std::pair<std::uint32_t, std::array<std::uint32_t, 16>>> table_writes;
  std::uint64_t ar_seen = 0, irq_cycles = 0;
  unsigned zeroise_pulses = 0;

  // A pointer of the submissions' buffer has changed: from now on the beats that go to the engine are judged by one
  // rule, that an operand with a right check word is one of the descriptor that it follows.
  bool astray = false;
  unsigned operands_of_others = 0;

  // Faults in the shell's own registers: chance in 256 a cycle that a bit of one copy of what is there three times
  // changes.
  unsigned flips = 0;
  unsigned flipped_copy = 0;  // 0, 1 or 2: always of this one, since a register whose clock sleeps keeps what it has
  std::uint64_t flips_done = 0;

 private:
  struct Region {
    std::uint64_t base = 0;                  // of the ring
    std::vector<std::uint8_t> bytes, guard;  // with kGuard bytes before and behind
  };
  static constexpr std::size_t kGuard = 8192;
  struct Read {
    std::uint64_t addr, when;
    int error_beat = -1;
    unsigned error_code = 2;
    int last_fault = -1;  // the beat whose last mark is turned over
  };
  struct Burst {
    std::uint64_t addr;
    std::size_t job;
  };
  struct Held {
    std::size_t job;
    std::uint64_t when;
  };

  std::uint8_t* at(Region& r, std::uint64_t addr, std::size_t n);
  void new_region(Region& r, std::uint64_t base, std::size_t size);
  void drive();
  void sample();
  void sample_job();
  void sample_astray();
  void flip();
  void make_answer(std::size_t k);

  std::mt19937_64 rng_;
  std::uint64_t cycle_ = 0;
  Region sq_, cq_;

  // AXI-Lite: what the host offers.
  bool aw_offer_ = false, w_offer_ = false, ar_offer_ = false, b_take_ = false, r_take_ = false;
  unsigned aw_hold_ = 0, w_hold_ = 0;  // cycles until offered
  bool b_done_ = false, r_done_ = false;
  std::uint32_t axil_r_ = 0;
  unsigned axil_resp_ = 0;

  // AXI4 memory.
  std::deque<Read> reads_;
  unsigned r_beat_ = 0;
  bool r_offered_ = false;
  std::deque<Burst> bursts_;
  std::deque<Beat> w_beats_;
  std::size_t aw_count_ = 0, w_count_ = 0, w_in_burst_ = 0;
  unsigned apply_beat_ = 0;
  bool apply_error_ = false, apply_drop_ = false;
  struct Answer {
    std::uint64_t when;
    unsigned code;
    std::size_t job;
  };
  std::deque<Answer> answers_;
  bool b_offered_ = false;
  bool ar_was_ = false, aw_was_ = false, w_was_ = false, job_was_ = false;
  std::uint64_t ar_addr_was_ = 0, aw_addr_was_ = 0;
  Beat w_data_was_{}, job_data_was_{};
  bool w_last_was_ = false;

  // Engine.
  std::deque<Held> held_;
  unsigned job_beat_ = 0;
  std::array<Beat, 6> job_beats_{};
  std::optional<std::size_t> followed_;  // astray: whose descriptor the engine got last
  std::size_t sending_ = 0;
  unsigned cpl_beat_ = 0;
  bool cpl_offered_ = false;
  bool cpl_frame_fault_ = false;
  std::array<Beat, 4> cpl_beats_{};
};

}  // namespace kf::ecc::test
