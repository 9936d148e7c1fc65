// The core on a board, from user space: registers by mmap of a PCI BAR (or of /dev/uioN), memory that the operator has
// set aside and whose bus address is known, the interrupt by /dev/uioN.
//
// NEVER RUN ON A BOARD: none has been built. It is exercised against a stand-in that serves the same accesses from the
// simulated core (tests/drivers). Written for x86-64, where DMA is coherent; elsewhere sync() and barriers want a look.
//
//   registers   /sys/bus/pci/devices/<address>/resource0, offset 0; or /dev/uioN, offset = map number times page size
//   memory      a file on hugetlbfs whose page was touched and pinned: physical address from /proc/self/pagemap (needs
//               CAP_SYS_ADMIN), or the IOVA that a VFIO container gave it. Without an IOMMU a wrong address lets the
//               core write anywhere: the number is the operator's word.
//   interrupt   /dev/uioN of uio_pci_generic or of a driver with the same protocol: four bytes to read when it came,
//               four bytes (1) to write to let the next one through; empty: poll
//
// One thread at a time.
#pragma once

#include <memory>
#include <string>

#include "drivers/core/mapped_transport.hpp"

namespace kf::ecc {

struct UioOptions {
  std::string registers;
  std::uint64_t registers_offset = 0;  // a multiple of the page size
  std::string memory;
  std::size_t memory_bytes = std::size_t{2} << 20;  // a multiple of the page size (hugetlbfs: of the huge page's)
  std::uint64_t memory_address = 0;                 // of its first byte as the core sees it
  std::string interrupt;
};

class UioTransport final : public MappedTransport {
 public:
  // Reasons: uio (a file cannot be opened or mapped; the text names it), bad-option.
  static Result<std::unique_ptr<UioTransport>> open(const UioOptions& options);
  void rearm_interrupt() override;
  [[nodiscard]] std::string name() const override { return "board " + registers_file_; }

 private:
  UioTransport() = default;
  std::string registers_file_;
};

}  // namespace kf::ecc
