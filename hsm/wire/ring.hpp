// The shared memory between HsmEngine and one worker process: slots, a submission ring, a completion ring, doorbells.
//
//   engine (one thread) --slot numbers--> submission ring --> worker threads (any takes the next)
//   engine (one thread) <--slot numbers-- completion ring <-- worker threads
//
// A slot belongs to the engine until its number is published in the submission ring, to the worker until its number is
// published in the completion ring. No locks: tails are published with release and read with acquire; a completion
// entry carries a phase bit, so that a worker that dies between reserving and writing leaves a hole, never a wrong
// number. The engine trusts nothing that it reads here: numbers and tags are checked against its own books. The memory
// is anonymous (memfd, sealed against resizing), kept out of core dumps, one per worker life. The doorbell of the
// worker is a futex word, that of the engine an eventfd which all its workers share; both are rung only for a sleeper.
// Threading: each function says whose it is. Errors: Status where one can happen.
#pragma once

#include <atomic>
#include <memory>

#include "hsm/wire/wire.hpp"

namespace kf::hsm::wire {

inline constexpr int kRingFd = 4;   // in the worker, mode serve
inline constexpr int kEventFd = 5;  // in the worker, mode serve
inline constexpr std::uint32_t kSlots = 256;
inline constexpr std::uint32_t kMaxThreads = 64;

std::uint64_t now_ns() noexcept;  // CLOCK_MONOTONIC: the same clock in both processes

struct RingMemory {
  struct alignas(64) Busy {            // what a worker thread is doing: the engine's only view into a hanging call
    std::atomic<std::uint64_t> since;  // ns; 0: nothing
    std::atomic<std::uint32_t> slot;   // kSlots: no job (an admin call, a keep-alive)
  };
  struct Slot {
    JobEntry job;
    DoneEntry done;
  };
  std::uint32_t magic;
  std::uint32_t version;
  alignas(64) std::atomic<std::uint32_t> sq_tail;  // engine
  alignas(64) std::atomic<std::uint32_t> sq_head;  // worker threads
  alignas(64) std::atomic<std::uint32_t> cq_tail;  // worker threads: reserved, not yet written
  alignas(64) std::atomic<std::uint32_t> bell;     // futex word of the worker threads
  std::atomic<std::uint32_t> sleepers;
  std::atomic<std::uint32_t> attention;               // counts what the engine did on the socket: look there
  alignas(64) std::atomic<std::uint32_t> host_waits;  // the engine sleeps: ring its eventfd
  Busy busy[kMaxThreads];
  alignas(64) std::atomic<std::uint32_t> sq[kSlots];
  alignas(64) std::atomic<std::uint32_t> cq[kSlots];  // slot | phase bit
  alignas(64) Slot slots[kSlots];
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free && std::atomic<std::uint64_t>::is_always_lock_free);

// One end's mapping; the creator also holds the descriptor until the worker has been started.
class Ring {
 public:
  static Result<std::unique_ptr<Ring>> create();        // reasons: hsm-worker
  static Result<std::unique_ptr<Ring>> attach(int fd);  // reasons: hsm-worker (other size or version); closes fd
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();  // wipes what it created

  [[nodiscard]] int fd() const noexcept { return fd_; }
  void close_fd() noexcept;
  [[nodiscard]] RingMemory& memory() const noexcept { return *memory_; }

  // Engine's thread. push() publishes nothing before ring_doorbell(), which wakes at most as many as were pushed.
  [[nodiscard]] JobEntry& job(std::uint32_t slot) const noexcept { return memory_->slots[slot].job; }
  void push(std::uint32_t slot) noexcept;
  bool ring_doorbell() noexcept;                                // true: somebody slept
  bool pop_done(std::uint32_t& slot) noexcept;                  // false: nothing, or a hole
  void read_done(std::uint32_t slot, DoneEntry& out) noexcept;  // copies the entry, then wipes the shared one
  void announce_sleep() noexcept;  // before the engine's thread waits: look at pop_done() once more
  [[nodiscard]] bool done_waits() const noexcept;

  // Engine, any thread: something was sent on the socket, or it was closed.
  void call_attention() noexcept;

  // Worker's threads.
  [[nodiscard]] std::uint32_t attention() const noexcept { return memory_->attention.load(std::memory_order_acquire); }
  void prefetch_next() const noexcept;  // the slot that the next pop_job() will probably give
  bool pop_job(std::uint32_t& slot) noexcept;
  [[nodiscard]] bool jobs_wait() const noexcept;
  void push_done(std::uint32_t slot) noexcept;
  bool take_engine_sleeps() noexcept;  // true once per sleep of the engine: ring its eventfd
  // Sleeps until the doorbell rings, at most `limit_ms` (< 0: for ever). `more` is looked at after this thread counts
  // as a sleeper: what it reports cannot be missed.
  template <class More>
  void sleep(int limit_ms, More&& more) noexcept {
    const std::uint32_t seen = memory_->bell.load(std::memory_order_acquire);
    memory_->sleepers.fetch_add(1, std::memory_order_seq_cst);
    if (!jobs_wait() && !more()) wait_bell(seen, limit_ms);
    memory_->sleepers.fetch_sub(1, std::memory_order_seq_cst);
  }
  void wake_all() noexcept;
  void set_busy(std::uint32_t thread, std::uint32_t slot, std::uint64_t since) noexcept {
    memory_->busy[thread].slot.store(slot, std::memory_order_relaxed);
    memory_->busy[thread].since.store(since, std::memory_order_release);
  }

 private:
  Ring() = default;
  void wait_bell(std::uint32_t seen, int limit_ms) noexcept;
  RingMemory* memory_ = nullptr;
  int fd_ = -1;
  bool owner_ = false;
  std::uint32_t pushed_ = 0;     // engine: tail that is not yet published
  std::uint32_t published_ = 0;  // engine
  std::uint32_t cq_head_ = 0;    // engine
};

}  // namespace kf::hsm::wire
