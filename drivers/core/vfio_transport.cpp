#include "drivers/core/vfio_transport.hpp"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "drivers/ecc/ecc_regs.hpp"
#include "host/base/secret.hpp"

namespace kf::ecc {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

bool is_pci_address(const std::string& s) {
  static constexpr std::string_view form = "hhhh:hh:hh.h";
  if (s.size() != form.size()) return false;
  for (std::size_t i = 0; i < s.size(); ++i) {
    const bool digit = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f');
    if (form[i] == 'h' ? !digit : s[i] != form[i]) return false;
  }
  return true;
}

template <class T>
T sized() {
  T t{};
  t.argsz = sizeof t;
  return t;
}

}  // namespace

std::string VfioCalls::link_target(const std::string& path) {
  std::error_code ec;
  return std::filesystem::read_symlink(path, ec).string();
}
int VfioCalls::open(const std::string& path) { return ::open(path.c_str(), O_RDWR | O_CLOEXEC); }
int VfioCalls::ioctl(int fd, unsigned long request, void* argument) { return ::ioctl(fd, request, argument); }
void* VfioCalls::map(int fd, std::size_t bytes, std::uint64_t offset) {
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  return p == MAP_FAILED ? nullptr : p;
}
bool VfioCalls::read_at(int fd, void* into, std::size_t bytes, std::uint64_t offset) {
  return ::pread(fd, into, bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes);
}
bool VfioCalls::write_at(int fd, const void* from, std::size_t bytes, std::uint64_t offset) {
  return ::pwrite(fd, from, bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes);
}
VfioCalls& VfioCalls::system() {
  static VfioCalls calls;
  return calls;
}

Error VfioTransport::refused(const std::string& step, const char* hint) const {
  std::string text = device_ + ": " + step;
  if (errno != 0) text += std::string(": ") + std::strerror(errno);
  if (*hint != 0) text += std::string(" (") + hint + ")";
  return {"vfio", text};
}

Result<std::unique_ptr<VfioTransport>> VfioTransport::open(const VfioOptions& o) {
  if (!is_pci_address(o.device))
    return Error{"bad-option", "\"" + o.device + "\" is not a PCI address like 0000:01:00.0 (lspci -D lists them)"};
  if (o.memory_bytes == 0 || o.memory_bytes % kPage != 0 || o.memory_address % kPage != 0)
    return Error{"bad-option", "the memory's size and address must be whole pages"};
  std::unique_ptr<VfioTransport> t(new VfioTransport);
  t->calls_ = o.calls == nullptr ? &VfioCalls::system() : o.calls;
  t->device_ = o.device;
  KF_CHECK(t->open_group());
  KF_CHECK(t->map_memory(o));
  // The device exists for us only now: a group hands out its devices once it has an IOMMU.
  errno = 0;
  t->fd_ = t->calls_->ioctl(t->group_, VFIO_GROUP_GET_DEVICE_FD, t->device_.data());
  if (t->fd_ < 0) return t->refused("the group does not hand it out");
  KF_CHECK(t->map_registers());
  KF_CHECK(t->set_interrupt());
  KF_CHECK(t->bus_master(true));
  return t;
}

Status VfioTransport::open_group() {
  errno = 0;
  const std::string group =
      std::filesystem::path(calls_->link_target("/sys/bus/pci/devices/" + device_ + "/iommu_group"))
          .filename()
          .string();
  if (group.empty()) return refused("no IOMMU group", "does the device exist, and is the IOMMU switched on?");
  container_ = calls_->open("/dev/vfio/vfio");
  if (container_ < 0) return refused("/dev/vfio/vfio", "modprobe vfio-pci");
  errno = 0;
  if (calls_->ioctl(container_, VFIO_GET_API_VERSION, nullptr) != VFIO_API_VERSION)
    return refused("the kernel speaks another version of VFIO");
  if (calls_->ioctl(container_, VFIO_CHECK_EXTENSION, reinterpret_cast<void*>(VFIO_TYPE1v2_IOMMU)) != 1)
    return refused("the kernel has no type 1 IOMMU");
  group_ = calls_->open("/dev/vfio/" + group);
  if (group_ < 0) return refused("/dev/vfio/" + group, "bind the device to vfio-pci, and give the group to this user");
  auto status = sized<vfio_group_status>();
  errno = 0;
  if (calls_->ioctl(group_, VFIO_GROUP_GET_STATUS, &status) != 0) return refused("state of its IOMMU group");
  if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0)
    return refused("its IOMMU group " + group + " is not viable", "all devices of the group must be bound to vfio-pci");
  if (calls_->ioctl(group_, VFIO_GROUP_SET_CONTAINER, &container_) != 0)
    return refused("its IOMMU group into a container", "is another process using the board?");
  if (calls_->ioctl(container_, VFIO_SET_IOMMU, reinterpret_cast<void*>(VFIO_TYPE1v2_IOMMU)) != 0)
    return refused("the container's IOMMU");
  return {};
}

Status VfioTransport::map_memory(const VfioOptions& o) {
  constexpr int flags = MAP_SHARED | MAP_ANONYMOUS;
  void* memory = MAP_FAILED;
  if (o.memory_bytes % kHugePage == 0)
    memory = ::mmap(nullptr, o.memory_bytes, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
  if (memory == MAP_FAILED) memory = ::mmap(nullptr, o.memory_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) return refused("memory for DMA");
  dma_ = {static_cast<std::uint8_t*>(memory), o.memory_bytes};
  address_ = o.memory_address;
  ::madvise(memory, o.memory_bytes, MADV_DONTDUMP);
  auto map = sized<vfio_iommu_type1_dma_map>();
  map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
  map.vaddr = reinterpret_cast<std::uintptr_t>(memory);
  map.iova = o.memory_address;
  map.size = o.memory_bytes;
  errno = 0;
  if (calls_->ioctl(container_, VFIO_IOMMU_MAP_DMA, &map) != 0)
    return refused("memory into the IOMMU", "ulimit -l must allow it; the address must be one the IOMMU can translate");
  mapped_ = true;
  return {};
}

Status VfioTransport::map_registers() {
  auto bar = sized<vfio_region_info>();
  bar.index = VFIO_PCI_BAR0_REGION_INDEX;
  errno = 0;
  if (calls_->ioctl(fd_, VFIO_DEVICE_GET_REGION_INFO, &bar) != 0) return refused("BAR 0");
  if (bar.size < kWindow || (bar.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0)
    return refused("BAR 0 has " + std::to_string(bar.size) + " bytes and " +
                   ((bar.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0 ? "cannot be mapped" : "is too small") +
                   ": not a Keyferry core");
  void* p = calls_->map(fd_, kWindow, bar.offset);
  if (p == nullptr) return refused("mapping BAR 0");
  registers_ = static_cast<volatile std::uint32_t*>(p);
  return {};
}

Status VfioTransport::set_interrupt() {
  for (const std::uint32_t index : {VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_INTX_IRQ_INDEX}) {
    auto info = sized<vfio_irq_info>();
    info.index = index;
    if (calls_->ioctl(fd_, VFIO_DEVICE_GET_IRQ_INFO, &info) != 0 || info.count == 0 ||
        (info.flags & VFIO_IRQ_INFO_EVENTFD) == 0)
      continue;
    interrupt_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (interrupt_fd_ < 0) return refused("a descriptor for the interrupt");
    // The structure ends in data of any length: here one descriptor.
    alignas(vfio_irq_set) std::array<std::uint8_t, sizeof(vfio_irq_set) + sizeof(std::int32_t)> set{};
    vfio_irq_set head{};
    head.argsz = set.size();
    head.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    head.index = index;
    head.count = 1;
    const std::int32_t event = interrupt_fd_;
    std::memcpy(set.data(), &head, sizeof head);
    std::memcpy(set.data() + sizeof head, &event, sizeof event);
    errno = 0;
    if (calls_->ioctl(fd_, VFIO_DEVICE_SET_IRQS, set.data()) != 0) return refused("its interrupt");
    automasked_ = (info.flags & VFIO_IRQ_INFO_AUTOMASKED) != 0;
    return {};
  }
  return {};  // none: the driver polls
}

Status VfioTransport::bus_master(bool on) {
  auto config = sized<vfio_region_info>();
  config.index = VFIO_PCI_CONFIG_REGION_INDEX;
  std::uint16_t command = 0;
  errno = 0;
  if (calls_->ioctl(fd_, VFIO_DEVICE_GET_REGION_INFO, &config) != 0 ||
      !calls_->read_at(fd_, &command, sizeof command, config.offset + PCI_COMMAND))
    return refused("its configuration space");
  command = static_cast<std::uint16_t>(on ? command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER
                                          : command & ~PCI_COMMAND_MASTER);
  if (!calls_->write_at(fd_, &command, sizeof command, config.offset + PCI_COMMAND))
    return refused("making it a master of the bus");
  master_ = on;
  return {};
}

void VfioTransport::rearm_interrupt() {
  std::uint64_t count = 0;
  if (interrupt_fd_ >= 0 && ::read(interrupt_fd_, &count, sizeof count) < 0) count = 0;  // nothing came
  clear_interrupts();
  if (interrupt_fd_ < 0) return;
  if (automasked_) {  // a level: what still stands comes again once it may
    auto unmask = sized<vfio_irq_set>();
    unmask.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK;
    unmask.index = VFIO_PCI_INTX_IRQ_INDEX;
    unmask.count = 1;
    if (calls_->ioctl(fd_, VFIO_DEVICE_SET_IRQS, &unmask) != 0) gone_ = true;
    return;
  }
  // A message is sent for a rising line only: what came while it was being cleared would be missed.
  const std::uint32_t still = read(kRegIrqStatus);
  const std::uint64_t one = 1;
  if (still != 0 && still != kAllOnes && ::write(interrupt_fd_, &one, sizeof one) < 0) gone_ = errno != EAGAIN;
}

VfioTransport::~VfioTransport() {
  if (master_) static_cast<void>(bus_master(false));
  if (mapped_) {
    wipe(dma_.data(), dma_.size());
    auto unmap = sized<vfio_iommu_type1_dma_unmap>();
    unmap.iova = address_;
    unmap.size = dma_.size();
    calls_->ioctl(container_, VFIO_IOMMU_UNMAP_DMA, &unmap);
  }
  for (const int fd : {fd_, group_, container_})
    if (fd >= 0) ::close(fd);
}

}  // namespace kf::ecc
