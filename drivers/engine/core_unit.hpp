// One core as the engine sees it: its device, key slots, what is in its ring and in which batch. Inner header of this
// room; the engine's thread only.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "drivers/core/device.hpp"
#include "drivers/core/worn_slots.hpp"
#include "drivers/engine/batching.hpp"
#include "drivers/engine/queue.hpp"
#include "host/crypto/engine.hpp"

namespace kf::ecc {

// A request on its way.
struct Work {
  EccRequest request;
  EngineClock::time_point since, deadline;
};

std::size_t curve_index(Curve c);  // kNoCurve: the core does not have it

enum class JobKind : std::uint8_t { generate, agree, verify, known_answer, known_refusal, erase };
inline constexpr std::size_t kJobKinds = 6;

// An answer of the core, interpreted. `again`: the request must be done anew (with another key).
struct UnitAnswer {
  enum class What : std::uint8_t { done, again, decide_in_software };
  What what;
  Work work;
  EccCompletion completion;  // of `done`
};

struct UnitCounts {
  std::uint64_t generated = 0, agreed = 0, verified = 0, batches = 0, faults = 0, exceptions = 0, known_answers = 0;
};

// What the core itself counts (docs/ecc-registers.md), as of the last look().
struct CoreHardware {
  std::uint64_t cycles = 0, busy_cycles = 0, bad_descriptors = 0, axi_errors = 0;
  std::uint64_t parity_faults = 0, cycle_gate_faults = 0, entropy_failures = 0;
};

class CoreUnit {
 public:
  CoreUnit(std::unique_ptr<Device> device, unsigned keys_ahead);
  ~CoreUnit();
  CoreUnit(const CoreUnit&) = delete;
  CoreUnit& operator=(const CoreUnit&) = delete;

  // A batch into the ring; the first of `works` for which there is room and, for agree, a key. What went is removed
  // from `works`.
  std::size_t agree(std::size_t curve, Queue<Work>& works, std::size_t most);
  std::size_t verify(std::size_t curve, Queue<Work>& works, std::size_t most);
  std::size_t generate(std::size_t curve, std::size_t most);
  void known_answer();
  std::size_t erase(std::size_t most);  // slots of which it is not known what they hold

  // Takes what the core has answered. An error: the core cannot be trusted or reached any more, and nothing that it
  // says later is taken.
  Status poll(std::vector<UnitAnswer>& into);
  Status check() { return device_->check(); }  // the slow look, for when answers are overdue
  // Reads the core's counters: some twenty register reads, so from time to time. True when it has found faults in
  // itself since the last look.
  bool look();
  [[nodiscard]] const CoreHardware& hardware() const { return hardware_; }
  void interrupted() { device_->rearm_interrupt(); }
  std::vector<Work> give_up();  // what it has not answered; the slots are lost with the device

  [[nodiscard]] const std::string& where() const { return where_; }
  [[nodiscard]] unsigned contexts() const { return device_->contexts(); }
  [[nodiscard]] std::size_t in_flight() const { return jobs_.size(); }
  [[nodiscard]] std::size_t batches() const { return batches_.size(); }  // in the ring or at work
  [[nodiscard]] std::size_t keys_ready(std::size_t curve) const { return ready_[curve].size(); }
  [[nodiscard]] CoreView view(EngineClock::time_point now) const;
  [[nodiscard]] EngineClock::time_point last_answer() const { return last_answer_; }
  [[nodiscard]] int interrupt_fd() const { return device_->interrupt_fd(); }
  [[nodiscard]] int end_fd() const { return device_->end_fd(); }
  [[nodiscard]] const UnitCounts& counts() const { return counts_; }
  [[nodiscard]] const DeviceCounters& device_counters() const { return device_->counters(); }

 private:
  struct Key {
    std::uint16_t slot;
    Point q;
    std::uint8_t generation = 0;  // tells this key from those that the slot has later
  };
  struct Job {
    JobKind kind;
    std::uint8_t curve;
    Key key{};  // generate: slot; agree: the key that is used up
    Work work{};
  };
  struct Batch {
    JobKind kind;
    std::size_t left;
    EngineClock::time_point begun;  // when it was at the head of the ring
  };
  // The jobs described in descriptors_ into the ring, as one batch; the caller enters those that went into jobs_.
  std::size_t send(JobKind kind);
  Descriptor& describe(Opcode op, std::size_t curve, std::uint16_t slot);
  void describe_verify(std::size_t curve, const Point& q, const Digest32& e, const Signature& s);
  void describe_known_answers(std::size_t curve);  // a right signature, a wrong one
  void enter_known_answers(std::size_t curve, std::size_t sent);
  // How far the batch at work is, by the time such a batch took before; 1 and more: due. 1 when nothing is at work.
  [[nodiscard]] double progress(EngineClock::time_point now) const;
  // When it will be so far; max(): not known.
  [[nodiscard]] EngineClock::time_point when(double progress) const;
  Status answer(Job& job, const Completion& c, std::vector<UnitAnswer>& into);

  std::unique_ptr<Device> device_;
  Status state_;  // why its answers are not taken any more
  std::string where_;
  unsigned keys_ahead_;
  std::vector<Descriptor> descriptors_;  // of the batch that is being made
  std::vector<std::uint16_t> free_slots_;
  std::vector<std::uint16_t> doubtful_;  // after a fault: erased before they are used again
  WornSlots worn_;
  std::array<Queue<Key>, kUnitCurves> ready_;
  std::array<std::size_t, kUnitCurves> making_{};
  std::size_t next_known_ = 0;                    // the curve that was asked last, from time to time
  std::array<bool, kUnitCurves> verify_asked_{};  // its known answers are in the ring or were right
  Queue<Job> jobs_;                               // in the order of the ring, which is that of the answers
  Queue<Batch> batches_;
  std::array<double, kJobKinds> took_{};  // seconds of a batch, by kind, smoothed; 0: not known yet
  std::uint64_t next_tag_ = 1, oldest_tag_ = 1;
  EngineClock::time_point last_answer_ = EngineClock::now();
  UnitCounts counts_;
  CoreHardware hardware_;
};

}  // namespace kf::ecc
