// The core on a PCI Express board behind an IOMMU, by VFIO: the kernel's interface for drivers in user space. The board
// reaches the memory that is mapped here and nothing else; no root is needed once the group's device belongs to the
// user. The better way onto a board (uio_transport.hpp: without an IOMMU).
//
// NEVER RUN ON A BOARD: none has been built. Exercised against a stand-in that keeps the kernel's rules
// (tests/drivers/test_core_vfio.cpp).
//
//   once, as root   modprobe vfio-pci
//                   echo vfio-pci > /sys/bus/pci/devices/0000:01:00.0/driver_override
//                   echo 0000:01:00.0 > /sys/bus/pci/drivers_probe
//                   chown keyferry /dev/vfio/$(basename $(readlink /sys/bus/pci/devices/0000:01:00.0/iommu_group))
//   limits          RLIMIT_MEMLOCK at least memory_bytes (systemd: LimitMEMLOCK)
//
// One thread at a time.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "drivers/core/mapped_transport.hpp"

namespace kf::ecc {

// The system calls that VFIO needs, so that a stand-in can answer them. Results as of the calls: -1 and errno.
class VfioCalls {
 public:
  VfioCalls() = default;
  VfioCalls(const VfioCalls&) = delete;
  VfioCalls& operator=(const VfioCalls&) = delete;
  virtual ~VfioCalls() = default;
  virtual std::string link_target(const std::string& path);  // empty: no such link
  virtual int open(const std::string& path);
  virtual int ioctl(int fd, unsigned long request, void* argument);
  virtual void* map(int fd, std::size_t bytes, std::uint64_t offset);  // nullptr and errno
  virtual bool read_at(int fd, void* into, std::size_t bytes, std::uint64_t offset);
  virtual bool write_at(int fd, const void* from, std::size_t bytes, std::uint64_t offset);
  static VfioCalls& system();
};

struct VfioOptions {
  std::string device;                               // its PCI address, as lspci -D prints it: 0000:01:00.0
  std::size_t memory_bytes = std::size_t{2} << 20;  // a multiple of 4096; huge pages where the system has some free
  std::uint64_t memory_address = 0x1000'0000;       // as the board shall see it (IOVA), a multiple of 4096
  VfioCalls* calls = nullptr;                       // null: the system's
};

class VfioTransport final : public MappedTransport {
 public:
  // Reasons: bad-option; vfio (a step was refused; the text names the device, the step and what usually helps).
  static Result<std::unique_ptr<VfioTransport>> open(const VfioOptions& options);
  // Takes the board off the bus before its memory goes.
  ~VfioTransport() override;
  void rearm_interrupt() override;
  [[nodiscard]] std::string name() const override { return "board " + device_; }

 private:
  VfioTransport() = default;
  Status open_group();
  Status map_memory(const VfioOptions& o);
  Status map_registers();
  Status set_interrupt();
  Status bus_master(bool on);
  [[nodiscard]] Error refused(const std::string& step, const char* hint = "") const;

  VfioCalls* calls_ = nullptr;
  std::string device_;
  int container_ = -1, group_ = -1, fd_ = -1;
  bool mapped_ = false;  // memory is known to the IOMMU
  bool master_ = false;
  bool automasked_ = false;  // INTx: masked by the kernel until we say so
};

}  // namespace kf::ecc
