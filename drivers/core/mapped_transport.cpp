#include "drivers/core/mapped_transport.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include "drivers/ecc/ecc_regs.hpp"
#include "host/base/secret.hpp"

namespace kf::ecc {

MappedTransport::~MappedTransport() {
  if (interrupt_fd_ >= 0) ::close(interrupt_fd_);
  if (!dma_.empty()) {
    wipe(dma_.data(), dma_.size());
    ::munmap(dma_.data(), dma_.size());
  }
  if (registers_ != nullptr) ::munmap(const_cast<std::uint32_t*>(registers_), kWindow);
}

std::uint32_t MappedTransport::read(std::uint32_t offset) {
  return gone_ || offset >= kWindow ? kAllOnes : registers_[offset / 4];
}

void MappedTransport::write(std::uint32_t offset, std::uint32_t value) {
  if (!gone_ && offset < kWindow) registers_[offset / 4] = value;
}

Status MappedTransport::alive() {
  if (read(kRegId) == kAllOnes) gone_ = true;
  if (gone_) return Error{"device-gone", "the board answers no more: its registers read as all ones"};
  return {};
}

void MappedTransport::clear_interrupts() {
  write(kRegIrqStatus, kIrqStatusCompletion.mask() | kIrqStatusError.mask() | kIrqStatusEntropy.mask());
  static_cast<void>(read(kRegIrqStatus));
}

}  // namespace kf::ecc
