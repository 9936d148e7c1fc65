// The shared memory between SimTransport and one keyferry-ecc-sim: the core's registers as a mailbox, and the memory
// that its DMA reaches.
//
//   host --{offset, value}--> ring of posted writes --> simulator
//   host --offset-----------> read request; the simulator applies every write before it, then answers
//   rings of the core: in the DMA memory behind the first page, as on a board
//
// The memory is anonymous (memfd, sealed against resizing), kept out of core dumps, one per life of a simulator. Both
// ends distrust the other's indices. The simulator sleeps on the doorbell eventfd, which is written only while it says
// so; the host sleeps on a futex while a read is not answered, and on the interrupt eventfd.
// Threading: one thread at each end. Errors: Status, reason ecc-sim.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "host/base/result.hpp"

namespace kf::ecc::mailbox {

// Descriptors that the simulator is started with.
inline constexpr int kControlFd = 3;    // a socket; its end means the end
inline constexpr int kMemoryFd = 4;     // the memfd
inline constexpr int kDoorbellFd = 5;   // eventfd: wakes the simulator
inline constexpr int kInterruptFd = 6;  // eventfd: the core's interrupt

inline constexpr std::uint32_t kMagic = 0x4B464D42, kVersion = 1;
inline constexpr std::uint32_t kPosted = 256;
inline constexpr std::size_t kHeaderBytes = 4096;  // the DMA memory follows

struct Posted {
  std::uint32_t offset, value;
};
struct Header {
  std::uint32_t magic, version;
  std::uint64_t dma_base, dma_bytes;
  alignas(64) std::atomic<std::uint32_t> tail;      // host: behind the last posted write
  alignas(64) std::atomic<std::uint32_t> head;      // simulator: behind the last one it took
  std::atomic<std::uint32_t> sleeping;              // simulator: ring the doorbell
  alignas(64) std::atomic<std::uint32_t> asked;     // host: number of the read request
  std::uint32_t offset;                             // host, before it
  alignas(64) std::atomic<std::uint32_t> answered;  // simulator: number of the request that is answered; futex word
  std::uint32_t value;                              // simulator, before it
  std::atomic<std::uint32_t> host_waits;            // host: wake me
  alignas(64) std::atomic<std::uint64_t> heartbeat, cycles, cpu_ns;  // simulator
  alignas(64) Posted posted[kPosted];
};
static_assert(sizeof(Header) <= kHeaderBytes);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free && std::atomic<std::uint64_t>::is_always_lock_free);

// One end's mapping.
class Mailbox {
 public:
  static Result<std::unique_ptr<Mailbox>> create(std::size_t dma_bytes, std::uint64_t dma_base);
  static Result<std::unique_ptr<Mailbox>> attach(int fd);  // closes it
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox();  // the creator overwrites the memory

  [[nodiscard]] int fd() const { return fd_; }
  void close_fd();
  [[nodiscard]] std::span<std::uint8_t> dma() const { return {base_ + kHeaderBytes, dma_bytes_}; }
  [[nodiscard]] std::uint64_t dma_base() const { return dma_base_; }
  [[nodiscard]] Header& header() const { return *reinterpret_cast<Header*>(base_); }

  // Host. True: the simulator sleeps, write its eventfd.
  [[nodiscard]] bool full() const;
  bool post(std::uint32_t offset, std::uint32_t value);  // not when full
  bool ask(std::uint32_t offset);
  std::optional<std::uint32_t> answer() const;   // of the last request, if it has come
  void wait_answer(std::uint32_t milliseconds);  // sleeps until it comes, at most so long

  // Simulator. take() gives every write that was posted before a pending read, then read_pending() is to be answered.
  bool take(Posted& out);
  [[nodiscard]] std::optional<std::uint32_t> read_pending() const;
  void give(std::uint32_t value);
  // Announces the sleep; false: something came in between, do not sleep.
  bool fall_asleep();
  void awake();

 private:
  Mailbox() = default;
  std::uint8_t* base_ = nullptr;
  std::size_t bytes_ = 0, dma_bytes_ = 0;
  std::uint64_t dma_base_ = 0;
  int fd_ = -1;
  bool owner_ = false;
  std::uint32_t mine_ = 0;   // host: tail; simulator: head
  std::uint32_t asked_ = 0;  // host: number of the last request; simulator: of the last one answered
};

}  // namespace kf::ecc::mailbox
