#include "drivers/core/uio_transport.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace kf::ecc {
namespace {

Error system_error(const std::string& file, const char* what) {
  return {"uio", file + ": " + what + ": " + std::strerror(errno)};
}

Result<void*> map(const std::string& file, std::uint64_t offset, std::size_t bytes) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC | O_SYNC);
  if (fd < 0) return system_error(file, "open");
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  const Error e = system_error(file, "mmap");
  ::close(fd);
  if (p == MAP_FAILED) return e;
  return p;
}

}  // namespace

Result<std::unique_ptr<UioTransport>> UioTransport::open(const UioOptions& o) {
  if (o.registers.empty() || o.memory.empty()) return Error{"bad-option", "a board needs registers and memory"};
  if (o.memory_bytes == 0 || o.memory_address % 4096 != 0)
    return Error{"bad-option", "the memory's address must be that of a page"};
  std::unique_ptr<UioTransport> t(new UioTransport);
  t->registers_file_ = o.registers;
  KF_TRY(void* const registers, map(o.registers, o.registers_offset, kWindow));
  t->registers_ = static_cast<volatile std::uint32_t*>(registers);
  KF_TRY(void* const memory, map(o.memory, 0, o.memory_bytes));
  t->dma_ = {static_cast<std::uint8_t*>(memory), o.memory_bytes};
  t->address_ = o.memory_address;
  ::madvise(memory, o.memory_bytes, MADV_DONTDUMP);
  if (::mlock(memory, o.memory_bytes) != 0) return system_error(o.memory, "mlock (pages must stay where they are)");
  if (!o.interrupt.empty()) {
    t->interrupt_fd_ = ::open(o.interrupt.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (t->interrupt_fd_ < 0) return system_error(o.interrupt, "open");
  }
  return t;
}

void UioTransport::rearm_interrupt() {
  std::uint32_t count = 0;
  if (interrupt_fd_ >= 0 && ::read(interrupt_fd_, &count, sizeof count) < 0) count = 0;  // nothing came
  clear_interrupts();
  const std::uint32_t on = 1;
  if (interrupt_fd_ >= 0 && ::write(interrupt_fd_, &on, sizeof on) < 0) gone_ = errno != EAGAIN;
}

}  // namespace kf::ecc
