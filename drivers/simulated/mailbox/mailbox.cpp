#include "drivers/simulated/mailbox/mailbox.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <new>

#include "host/base/secret.hpp"

namespace kf::ecc::mailbox {
namespace {

Error system_error(const char* what) { return {"ecc-sim", std::string(what) + ": " + std::strerror(errno)}; }

long futex(std::atomic<std::uint32_t>& word, int op, std::uint32_t value, const timespec* limit) {
  return ::syscall(SYS_futex, &word, op, value, limit, nullptr, 0);
}

}  // namespace

Result<std::unique_ptr<Mailbox>> Mailbox::create(std::size_t dma_bytes, std::uint64_t dma_base) {
  std::unique_ptr<Mailbox> m(new Mailbox);
  m->owner_ = true;
  m->bytes_ = kHeaderBytes + dma_bytes;
  m->fd_ = ::memfd_create("keyferry-ecc-sim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (m->fd_ < 0) return system_error("memfd_create");
  if (::ftruncate(m->fd_, static_cast<off_t>(m->bytes_)) != 0) return system_error("size of the shared memory");
  // Whoever shrank it could kill the other with SIGBUS.
  if (::fcntl(m->fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return system_error("seals");
  void* p = ::mmap(nullptr, m->bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd_, 0);
  if (p == MAP_FAILED) return system_error("mmap of the shared memory");
  m->base_ = static_cast<std::uint8_t*>(p);
  ::madvise(p, m->bytes_, MADV_DONTDUMP);
  ::madvise(p, m->bytes_, MADV_DONTFORK);  // a process forked from this one has no part in the core
  ::mlock(p, m->bytes_);                   // best effort: the limit may be small, and swap is the operator's decision
  Header* h = new (p) Header{};
  h->magic = kMagic;
  h->version = kVersion;
  h->dma_bytes = m->dma_bytes_ = dma_bytes;
  h->dma_base = m->dma_base_ = dma_base;
  return m;
}

Result<std::unique_ptr<Mailbox>> Mailbox::attach(int fd) {
  std::unique_ptr<Mailbox> m(new Mailbox);
  m->fd_ = fd;
  struct stat st {};
  if (::fstat(fd, &st) != 0) return system_error("fstat of the shared memory");
  if (st.st_size <= static_cast<off_t>(kHeaderBytes)) return Error{"ecc-sim", "the shared memory is too small"};
  m->bytes_ = static_cast<std::size_t>(st.st_size);
  void* p = ::mmap(nullptr, m->bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p == MAP_FAILED) return system_error("mmap of the shared memory");
  m->base_ = static_cast<std::uint8_t*>(p);
  ::madvise(p, m->bytes_, MADV_DONTDUMP);
  const Header& h = m->header();
  m->dma_bytes_ = h.dma_bytes;
  m->dma_base_ = h.dma_base;
  if (h.magic != kMagic || h.version != kVersion || m->dma_bytes_ != m->bytes_ - kHeaderBytes)
    return Error{"ecc-sim", "the shared memory is of another version (server and simulator do not belong together?)"};
  m->close_fd();
  return m;
}

Mailbox::~Mailbox() {
  close_fd();
  if (base_ == nullptr) return;
  if (owner_) wipe(base_ + kHeaderBytes, dma_bytes_);
  ::munmap(base_, bytes_);
}

void Mailbox::close_fd() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool Mailbox::full() const { return mine_ - header().head.load(std::memory_order_acquire) >= kPosted; }

// seq_cst against fall_asleep(): either the simulator sees what was published or this sees the sleeper.
bool Mailbox::post(std::uint32_t offset, std::uint32_t value) {
  Header& h = header();
  h.posted[mine_++ % kPosted] = {offset, value};
  h.tail.store(mine_, std::memory_order_seq_cst);
  return h.sleeping.load(std::memory_order_seq_cst) != 0;
}

bool Mailbox::ask(std::uint32_t offset) {
  Header& h = header();
  h.offset = offset;
  h.asked.store(++asked_, std::memory_order_seq_cst);
  return h.sleeping.load(std::memory_order_seq_cst) != 0;
}

std::optional<std::uint32_t> Mailbox::answer() const {
  if (header().answered.load(std::memory_order_acquire) != asked_) return std::nullopt;
  return header().value;
}

void Mailbox::wait_answer(std::uint32_t milliseconds) {
  Header& h = header();
  h.host_waits.store(1, std::memory_order_seq_cst);
  const std::uint32_t seen = h.answered.load(std::memory_order_seq_cst);
  if (seen != asked_) {
    const timespec limit{milliseconds / 1000, static_cast<long>(milliseconds % 1000) * 1'000'000};
    futex(h.answered, FUTEX_WAIT, seen, &limit);
  }
  h.host_waits.store(0, std::memory_order_relaxed);
}

bool Mailbox::take(Posted& out) {
  Header& h = header();
  if (mine_ == h.tail.load(std::memory_order_acquire)) return false;
  out = h.posted[mine_ % kPosted];
  h.head.store(++mine_, std::memory_order_release);
  return true;
}

std::optional<std::uint32_t> Mailbox::read_pending() const {
  if (header().asked.load(std::memory_order_acquire) == asked_) return std::nullopt;
  return header().offset;
}

void Mailbox::give(std::uint32_t value) {
  Header& h = header();
  h.value = value;
  asked_ = h.asked.load(std::memory_order_relaxed);
  h.answered.store(asked_, std::memory_order_seq_cst);
  if (h.host_waits.load(std::memory_order_seq_cst) != 0) futex(h.answered, FUTEX_WAKE, 1, nullptr);
}

bool Mailbox::fall_asleep() {
  Header& h = header();
  h.sleeping.store(1, std::memory_order_seq_cst);
  if (mine_ == h.tail.load(std::memory_order_seq_cst) && asked_ == h.asked.load(std::memory_order_seq_cst)) return true;
  awake();
  return false;
}

void Mailbox::awake() { header().sleeping.store(0, std::memory_order_relaxed); }

}  // namespace kf::ecc::mailbox
