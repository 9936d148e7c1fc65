// One ECC core behind a transport: probe, start, rings, jobs in and completions out.
//
//   submit(): descriptors into the submission ring, one release barrier, one doorbell
//   poll():   completions found by their phase bit, checked against the books, secrets in the ring overwritten, one
//             write of CQ_HEAD
//
// Neither waits, neither reads a register in ordinary operation. A job that was accepted is answered exactly once, in
// the order of acceptance, whatever happens to the device: a completion that cannot be the answer to the job that is
// due (tag, check word, opcode, curve, phase, fields that contradict each other) becomes status `fault` with x = y = 0,
// and what a lost device owes is delivered as `fault` too. Counters say how often.
//
// The owner calls check() from time to time while jobs are overdue: it repeats lost doorbells and finds out whether
// the device is still there. Tags are the owner's; on the wire the Device uses numbers of its own.
//
// Threading: one thread at a time. Secrets: a Completion of ECKA holds ShS in the clear; the caller wipes it.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "drivers/core/transport.hpp"
#include "drivers/ecc/ecc_regs.hpp"
#include "host/base/result.hpp"

namespace kf::ecc {

struct DeviceOptions {
  unsigned sq_log2 = 9, cq_log2 = 9;   // entries of the rings, as powers of two
  std::uint32_t batch_timeout = 4096;  // cycles that a job waits for others of its kind
  // An interrupt after so many completions (0: as many as the core has contexts), or after so many times 256 cycles;
  // the latter not 0, or the last completions of a burst would never be reported.
  std::uint16_t interrupt_completions = 0;
  std::uint16_t interrupt_age = 8;
  bool allow_test_build = false;                   // take a core that accepts scalars from descriptors: in tests only
  std::chrono::milliseconds start_limit{120'000};  // for table and self-test; the simulated core needs seconds
  std::chrono::milliseconds stop_limit{20'000};    // for the core to come to rest
};

// What the core said of itself.
struct Capabilities {
  std::uint32_t version = 0, build = 0;
  unsigned contexts = 0, ii = 0, key_slots = 0, max_log2_ring = 0;
  bool test_build = false;
};

// Since open(). The second group counts faults: each is one event that would have been a wrong or a lost result, but
// for `late`, which is no fault as long as the answer comes.
struct DeviceCounters {
  std::uint64_t submitted = 0, completed = 0, doorbells = 0, interrupts = 0;

  std::uint64_t tags_not_due = 0;  // completions with another tag than the one that was due
  std::uint64_t missing = 0;       // written by the core as its index says, but not there
  std::uint64_t damaged = 0;       // another check word than its contents have
  std::uint64_t implausible = 0;   // status, opcode, curve or outputs contradict the job or each other
  std::uint64_t early = 0;         // the phase bit said "there" before the core had written
  std::uint64_t doorbells_repeated = 0;
  std::uint64_t heads_repeated = 0;
  std::uint64_t late = 0;         // check() found jobs that the core has heard of and not written: late, or slow
  std::uint64_t resets_seen = 0;  // the core was reset under way
  std::uint64_t lost = 0;         // jobs answered with `fault` because the device was lost
};

class Device {
 public:
  // Probes and starts. A core whose table is locked and whose self-test passed is taken over as it is (a server that
  // starts again finds a board like that); its key slots are overwritten. Reasons: not-a-core, unknown-core (a
  // version, capability or size that this driver does not know; the text holds the words), test-build, self-test,
  // entropy (the noise source or the generator stands at alarm; the text names which test), not-idle, bad-option, device-gone, device-stuck.
  static Result<std::unique_ptr<Device>> open(std::unique_ptr<Transport> transport, const DeviceOptions& options = {});
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();  // stops the core, overwrites the rings

  // How many were accepted: fewer than offered when the ring is full, 0 after abort(), zeroise() or a loss. Flags other
  // than the phase bit are passed on.
  std::size_t submit(std::span<const Descriptor> jobs);
  // Completions in the order of the jobs, with the owner's tags; of the flags only the generation of a key that was
  // made is left.
  std::size_t poll(std::span<Completion> into);
  [[nodiscard]] std::size_t in_flight() const { return submitted_ - polled_; }
  [[nodiscard]] std::size_t room() const { return open_ ? limit_ - in_flight() : 0; }

  // The slow look, with register reads: for when jobs are overdue. Lost doorbells are rung again, completions that are
  // damaged are given up. An error means that the device is lost: poll() then delivers what is owed. Reasons:
  // device-gone, device-stuck, core-reset.
  Status check();
  // Ok, or why the device is lost.
  [[nodiscard]] const Status& state() const { return state_; }

  [[nodiscard]] int interrupt_fd() const { return transport_->interrupt_fd(); }
  [[nodiscard]] int end_fd() const { return transport_->end_fd(); }
  void rearm_interrupt();  // after interrupt_fd() was readable, before poll()

  // Gives up what is in flight: poll() delivers it, as `aborted` what was not done. Afterwards reset_rings().
  // Reasons: not-idle, and those of check().
  Status abort();
  Status zeroise();  // the same, and overwrites all memories of the core, key slots included
  Status
  reset_rings();  // empty rings, enabled; nothing may be in flight. Reasons: in-flight, not-idle, those of check()
  // After a loss that was a reset, once poll() has delivered everything: as open(), on the same transport. Reasons: as
  // open(), in-flight.
  Status restart();

  std::uint64_t counter(std::uint32_t offset);  // a 64-bit one of the core; all ones when it is gone
  std::uint32_t errors();                       // STATUS' sticky error bits, which are cleared by it
  std::string entropy_alarm();                  // which tests of ENTROPY stand at alarm, in words; empty: none
  [[nodiscard]] const Capabilities& capabilities() const { return capabilities_; }
  [[nodiscard]] unsigned contexts() const { return capabilities_.contexts; }
  [[nodiscard]] unsigned key_slots() const { return capabilities_.key_slots; }
  [[nodiscard]] const DeviceCounters& counters() const { return counters_; }
  [[nodiscard]] Transport& transport() { return *transport_; }

 private:
  struct Due {  // a job that the core owes
    std::uint64_t tag;
    std::uint8_t opcode, curve;
  };
  static constexpr std::uint64_t kNothingAsked = ~std::uint64_t{0};

  Device(std::unique_ptr<Transport> t, const DeviceOptions& o) : transport_(std::move(t)), options_(o) {}
  Status probe();
  Status start();
  Status stop_core();
  Status give_up(std::uint32_t order);
  Status carry_out(std::uint32_t order);
  Status erase_all();
  Status lose(Error why);
  Result<std::uint32_t> status_word();
  Status wait_status(Field f, bool set, std::chrono::milliseconds limit, const char* what);
  bool written(std::uint32_t index);
  bool plausible(const Completion& c, const Due& due) const;
  bool there(std::uint32_t index) const;
  bool take(Completion& out);
  void owe(Completion& out, JobStatus status);
  void consume();
  Descriptor& sq(std::uint32_t index) const { return sq_[index & ((1U << options_.sq_log2) - 1)]; }
  Completion& cq(std::uint32_t index) const { return cq_[index & ((1U << options_.cq_log2) - 1)]; }
  Due& due(std::uint32_t index) { return due_[index & ((1U << options_.sq_log2) - 1)]; }

  std::unique_ptr<Transport> transport_;
  DeviceOptions options_;
  Capabilities capabilities_;
  DeviceCounters counters_;
  Status state_;
  Descriptor* sq_ = nullptr;
  Completion* cq_ = nullptr;
  std::vector<Due> due_;
  std::uint32_t limit_ = 0;                   // jobs in flight: the smaller of the rings, so that neither overflows
  std::uint32_t submitted_ = 0, polled_ = 0;  // ring indices, as the core counts
  std::uint64_t epoch_ = 0;              // upper half of the tags on the wire: another one at each reset of the rings
  std::uint64_t asked_ = kNothingAsked;  // index for which CQ_TAIL said: not written yet
  std::uint64_t early_at_ = kNothingAsked;  // index whose phase bit was right before its time
  std::uint64_t overdue_ = kNothingAsked;   // index that CQ_TAIL had passed at the last check()
  bool open_ = false;                       // jobs are accepted
  bool cut_ = false;                        // what is not in the ring by now never comes
  JobStatus owed_as_ = JobStatus::fault;
};

static_assert(sizeof(Descriptor) == 256 && sizeof(Completion) == 128, "rings of the register map");
static_assert(offsetof(Completion, status) % 8 == 0 && offsetof(Completion, flags) == offsetof(Completion, status) + 4,
              "status and phase bit are one aligned word: they are read together");

}  // namespace kf::ecc
