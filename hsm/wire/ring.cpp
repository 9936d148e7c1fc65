#include "hsm/wire/ring.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <new>

#include "host/base/secret.hpp"

// A slot goes from one worker thread to another through the engine's process, which the thread sanitizer of the worker
// cannot see.
#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
#define KF_TSAN_ACQUIRE(p) __tsan_acquire(p)
#define KF_TSAN_RELEASE(p) __tsan_release(p)
#else
#define KF_TSAN_ACQUIRE(p) static_cast<void>(p)
#define KF_TSAN_RELEASE(p) static_cast<void>(p)
#endif

namespace kf::hsm::wire {
namespace {

constexpr std::uint32_t kPhase = 0x8000'0000U;

// The first lap writes entries with the bit set, so that fresh, zeroed memory holds no entry.
constexpr std::uint32_t phase_at(std::uint32_t position) noexcept {
  return ((position / kSlots) & 1U) == 0 ? kPhase : 0U;
}

long futex(std::atomic<std::uint32_t>& word, int op, std::uint32_t value, const timespec* limit) noexcept {
  return ::syscall(SYS_futex, &word, op, value, limit, nullptr, 0);
}

Result<RingMemory*> map(int fd) {
  void* p = ::mmap(nullptr, sizeof(RingMemory), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p == MAP_FAILED) return Error{"hsm-worker", std::string("mmap of the ring: ") + std::strerror(errno)};
  ::madvise(p, sizeof(RingMemory), MADV_DONTDUMP);
  ::mlock(p, sizeof(RingMemory));  // best effort: the limit may be small, and swap is the operator's decision
  return static_cast<RingMemory*>(p);
}

}  // namespace

std::uint64_t now_ns() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(t.tv_nsec);
}

Result<std::unique_ptr<Ring>> Ring::create() {
  std::unique_ptr<Ring> r(new Ring);
  r->fd_ = ::memfd_create("keyferry-hsm-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (r->fd_ < 0) return Error{"hsm-worker", std::string("memfd_create: ") + std::strerror(errno)};
  if (::ftruncate(r->fd_, sizeof(RingMemory)) != 0)
    return Error{"hsm-worker", std::string("ftruncate of the ring: ") + std::strerror(errno)};
  // A worker that shrank it could kill the engine with SIGBUS.
  ::fcntl(r->fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  KF_TRY(r->memory_, map(r->fd_));
  r->owner_ = true;
  new (r->memory_) RingMemory{};
  r->memory_->magic = kMagic;
  r->memory_->version = kVersion;
  return r;
}

Result<std::unique_ptr<Ring>> Ring::attach(int fd) {
  std::unique_ptr<Ring> r(new Ring);
  r->fd_ = fd;
  struct stat st {};
  if (::fstat(fd, &st) != 0 || st.st_size != static_cast<off_t>(sizeof(RingMemory)))
    return Error{"hsm-worker", "the ring has another size (worker and server of different versions?)"};
  KF_TRY(r->memory_, map(fd));
  r->close_fd();
  if (r->memory_->magic != kMagic || r->memory_->version != kVersion)
    return Error{"hsm-worker", "the ring has another version (worker and server of different versions?)"};
  return r;
}

Ring::~Ring() {
  close_fd();
  if (memory_ == nullptr) return;
  if (owner_) wipe(memory_->slots, sizeof memory_->slots);
  ::munmap(memory_, sizeof(RingMemory));
}

void Ring::close_fd() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void Ring::push(std::uint32_t slot) noexcept {
  memory_->sq[pushed_ % kSlots].store(slot, std::memory_order_relaxed);
  ++pushed_;
}

bool Ring::ring_doorbell() noexcept {
  const std::uint32_t fresh = pushed_ - published_;
  if (fresh == 0) return false;
  published_ = pushed_;
  // seq_cst against the sleeper's count in sleep(): either it sees the job or this sees the sleeper.
  memory_->sq_tail.store(pushed_, std::memory_order_seq_cst);
  if (memory_->sleepers.load(std::memory_order_seq_cst) == 0) return false;
  memory_->bell.fetch_add(1, std::memory_order_release);
  futex(memory_->bell, FUTEX_WAKE, fresh, nullptr);
  return true;
}

bool Ring::pop_done(std::uint32_t& slot) noexcept {
  const std::uint32_t e = memory_->cq[cq_head_ % kSlots].load(std::memory_order_acquire);
  if ((e & kPhase) != phase_at(cq_head_)) return false;
  ++cq_head_;
  slot = e & ~kPhase;
  return true;
}

bool Ring::done_waits() const noexcept {
  return (memory_->cq[cq_head_ % kSlots].load(std::memory_order_seq_cst) & kPhase) == phase_at(cq_head_);
}

void Ring::read_done(std::uint32_t slot, DoneEntry& out) noexcept {
  RingMemory::Slot& s = memory_->slots[slot];
  std::memcpy(&out, &s.done, sizeof out);
  wipe(&s.done, sizeof s.done);
}

void Ring::announce_sleep() noexcept { memory_->host_waits.store(1, std::memory_order_seq_cst); }

void Ring::call_attention() noexcept {
  memory_->attention.fetch_add(1, std::memory_order_seq_cst);
  wake_all();
}

void Ring::prefetch_next() const noexcept {
  const std::uint32_t head = memory_->sq_head.load(std::memory_order_relaxed);
  if (head == memory_->sq_tail.load(std::memory_order_relaxed)) return;
  const std::uint32_t slot = memory_->sq[head % kSlots].load(std::memory_order_relaxed) % kSlots;
  const auto* job = reinterpret_cast<const char*>(&memory_->slots[slot].job);
  const auto* done = reinterpret_cast<const char*>(&memory_->slots[slot].done);
  for (std::size_t i = 0; i < sizeof(JobEntry); i += 64) {
    __builtin_prefetch(job + i, 0);
    __builtin_prefetch(done + i, 1);
  }
}

bool Ring::jobs_wait() const noexcept {
  return memory_->sq_head.load(std::memory_order_acquire) != memory_->sq_tail.load(std::memory_order_seq_cst);
}

bool Ring::pop_job(std::uint32_t& slot) noexcept {
  std::uint32_t head = memory_->sq_head.load(std::memory_order_acquire);
  while (head != memory_->sq_tail.load(std::memory_order_acquire)) {
    // The engine writes this entry again only after kSlots further pushes, which needs this one to be completed.
    slot = memory_->sq[head % kSlots].load(std::memory_order_relaxed);
    if (!memory_->sq_head.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel)) continue;
    if (slot < kSlots) KF_TSAN_ACQUIRE(&memory_->slots[slot]);
    return slot < kSlots;
  }
  return false;
}

void Ring::push_done(std::uint32_t slot) noexcept {
  if (slot < kSlots) KF_TSAN_RELEASE(&memory_->slots[slot]);
  const std::uint32_t at = memory_->cq_tail.fetch_add(1, std::memory_order_relaxed);
  memory_->cq[at % kSlots].store(slot | phase_at(at), std::memory_order_seq_cst);
}

bool Ring::take_engine_sleeps() noexcept {
  return memory_->host_waits.load(std::memory_order_seq_cst) != 0 &&
         memory_->host_waits.exchange(0, std::memory_order_seq_cst) != 0;
}

void Ring::wait_bell(std::uint32_t seen, int limit_ms) noexcept {
  timespec t{limit_ms / 1000, static_cast<long>(limit_ms % 1000) * 1'000'000};
  futex(memory_->bell, FUTEX_WAIT, seen, limit_ms < 0 ? nullptr : &t);
}

void Ring::wake_all() noexcept {
  memory_->bell.fetch_add(1, std::memory_order_seq_cst);
  futex(memory_->bell, FUTEX_WAKE, INT_MAX, nullptr);
}

}  // namespace kf::hsm::wire
