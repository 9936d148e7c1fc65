// The transport of a board behind an IOMMU, against a stand-in for the kernel: it keeps VFIO's rules (what must come
// before what), hands out a trapped page as BAR 0, lets the simulated core reach just the memory that was mapped, and
// raises interrupts as a message or as a masked level.
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "drivers/core/vfio_transport.hpp"
#include "tests/drivers/trapped_board.hpp"

namespace kf::ecc::test {
namespace {

constexpr const char* kDevice = "0000:01:00.0";

class Kernel final : public VfioCalls {
 public:
  enum class Line { message, level, none };
  explicit Kernel(Line line = Line::message) : line_(line) {}
  ~Kernel() override { board.off(); }

  std::string refuse;  // the step that is refused, by its name below; empty: none
  bool viable = true, has_group = true;
  std::uint64_t bar_bytes = 65'536;
  TrappedBoard board;

  // What a test looks at.
  bool mapped = false;
  std::uint16_t command = 0;
  std::atomic<std::uint64_t> interrupts{0};

  std::string link_target(const std::string& path) override {
    if (!has_group || path != std::string("/sys/bus/pci/devices/") + kDevice + "/iommu_group") return {};
    return "../../../../kernel/iommu_groups/7";
  }
  int open(const std::string& path) override {
    if (path != "/dev/vfio/vfio" && path != "/dev/vfio/7") return fail(ENOENT);
    if (refuse == path) return fail(EACCES);
    const int fd = ::memfd_create("kf-stand-in-vfio", MFD_CLOEXEC);
    (path == "/dev/vfio/7" ? group_ : container_) = fd;
    return fd;
  }
  void* map(int fd, std::size_t bytes, std::uint64_t offset) override {
    if (refuse == "map" || fd != device_ || offset != kBarOffset) return fail(EINVAL), nullptr;
    void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, board.bar(), 0);
    return p == MAP_FAILED ? nullptr : p;
  }
  bool read_at(int fd, void* into, std::size_t bytes, std::uint64_t offset) override {
    if (refuse == "config" || fd != device_ || offset != kConfigOffset + PCI_COMMAND || bytes != 2) return false;
    std::memcpy(into, &command, 2);
    return true;
  }
  bool write_at(int fd, const void* from, std::size_t bytes, std::uint64_t offset) override {
    if (fd != device_ || offset != kConfigOffset + PCI_COMMAND || bytes != 2) return false;
    std::memcpy(&command, from, 2);
    return true;
  }

  int ioctl(int fd, unsigned long request, void* argument) override {
    switch (request) {
      case VFIO_GET_API_VERSION:
        return fd != container_ ? fail(EINVAL) : refuse == "version" ? 99 : VFIO_API_VERSION;
      case VFIO_CHECK_EXTENSION:
        return fd == container_ && argument == reinterpret_cast<void*>(VFIO_TYPE1v2_IOMMU) && refuse != "type" ? 1 : 0;
      case VFIO_GROUP_GET_STATUS:
        if (fd != group_) return fail(EINVAL);
        static_cast<vfio_group_status*>(argument)->flags = viable ? VFIO_GROUP_FLAGS_VIABLE : 0;
        return 0;
      case VFIO_GROUP_SET_CONTAINER:
        if (fd != group_ || *static_cast<int*>(argument) != container_ || !viable) return fail(EINVAL);
        if (refuse == "container") return fail(EBUSY);
        joined_ = true;
        return 0;
      case VFIO_SET_IOMMU:
        if (fd != container_ || !joined_ || refuse == "iommu") return fail(EINVAL);
        iommu_ = true;
        return 0;
      case VFIO_IOMMU_MAP_DMA: {
        const auto& m = *static_cast<vfio_iommu_type1_dma_map*>(argument);
        if (fd != container_ || !iommu_ || m.argsz != sizeof m || m.size % kPage != 0) return fail(EINVAL);
        if (refuse == "dma") return fail(ENOMEM);
        memory_ = {reinterpret_cast<std::uint8_t*>(m.vaddr), m.size};  // NOLINT(performance-no-int-to-ptr)
        address_ = m.iova;
        mapped = true;
        return 0;
      }
      case VFIO_IOMMU_UNMAP_DMA: {
        const auto& m = *static_cast<vfio_iommu_type1_dma_unmap*>(argument);
        if (fd != container_ || m.iova != address_ || m.size != memory_.size()) return fail(EINVAL);
        EXPECT_EQ(command & PCI_COMMAND_MASTER, 0) << "the board may still write into it";
        EXPECT_TRUE(std::ranges::all_of(memory_, [](std::uint8_t b) { return b == 0; })) << "not overwritten";
        board.off();
        mapped = false;
        return 0;
      }
      case VFIO_GROUP_GET_DEVICE_FD:
        if (fd != group_ || !iommu_ || refuse == "device" || std::strcmp(static_cast<char*>(argument), kDevice) != 0)
          return fail(ENODEV);
        device_ = ::memfd_create("kf-stand-in-device", MFD_CLOEXEC);
        return device_;
      case VFIO_DEVICE_GET_REGION_INFO: {
        auto& r = *static_cast<vfio_region_info*>(argument);
        if (fd != device_ || r.argsz < sizeof r) return fail(EINVAL);
        const bool bar = r.index == VFIO_PCI_BAR0_REGION_INDEX;
        r.offset = bar ? kBarOffset : kConfigOffset;
        r.size = bar ? bar_bytes : 256;
        r.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | (bar ? VFIO_REGION_INFO_FLAG_MMAP : 0U);
        return 0;
      }
      case VFIO_DEVICE_GET_IRQ_INFO: {
        auto& i = *static_cast<vfio_irq_info*>(argument);
        if (fd != device_) return fail(EINVAL);
        const bool here = i.index == (line_ == Line::message ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_INTX_IRQ_INDEX);
        i.count = here && line_ != Line::none ? 1 : 0;
        i.flags = VFIO_IRQ_INFO_EVENTFD;
        if (line_ == Line::level) i.flags |= VFIO_IRQ_INFO_AUTOMASKED | VFIO_IRQ_INFO_MASKABLE;
        return 0;
      }
      case VFIO_DEVICE_SET_IRQS: {
        const auto& s = *static_cast<vfio_irq_set*>(argument);
        if (fd != device_ || refuse == "irq") return fail(EINVAL);
        if ((s.flags & VFIO_IRQ_SET_ACTION_UNMASK) != 0) {
          masked_ = false;
          return 0;
        }
        std::int32_t event = -1;
        std::memcpy(&event, s.data, sizeof event);
        event_ = ::dup(event);
        return 0;
      }
      default:
        return fail(ENOTTY);
    }
  }
  // The board begins to live: its memory is what was mapped.
  bool power() {
    return board.power(memory_, address_, [this](bool line) { interrupt(line); });
  }
  void close_event() {
    if (event_ >= 0) ::close(event_);
  }

 private:
  static constexpr std::uint64_t kBarOffset = 0, kConfigOffset = std::uint64_t{7} << 40;
  static int fail(int error) {
    errno = error;
    return -1;
  }
  void interrupt(bool line) {
    const bool raise = line_ == Line::message ? line && !before_ : line && !masked_;
    before_ = line;
    if (!raise || event_ < 0) return;
    masked_ = line_ == Line::level;
    ++interrupts;
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(event_, &one, sizeof one), 8);
  }
  Line line_;
  int container_ = -1, group_ = -1, device_ = -1, event_ = -1;
  bool joined_ = false, iommu_ = false, before_ = false;
  std::atomic<bool> masked_{false};
  std::span<std::uint8_t> memory_;
  std::uint64_t address_ = 0;
};

std::size_t open_files() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& f : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

class Vfio : public ::testing::TestWithParam<Kernel::Line> {};

TEST_P(Vfio, WorksOnAStandIn) {
#if !defined(__x86_64__)
  GTEST_SKIP() << "the stand-in steps over x86-64 instructions";
#endif
  Kernel kernel(GetParam());
  auto t = VfioTransport::open({kDevice, std::size_t{1} << 20, 0x4000'0000, &kernel});
  ASSERT_TRUE(t.ok()) << t.error().text();
  EXPECT_TRUE(kernel.mapped);
  EXPECT_EQ(kernel.command, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  EXPECT_EQ((*t)->name(), "board 0000:01:00.0");
  EXPECT_EQ((*t)->dma_base(), 0x4000'0000U);
  ASSERT_TRUE(kernel.power());
  ASSERT_TRUE(kernel.board.arm());
  DeviceOptions o;
  o.allow_test_build = true;
  auto opened = Device::open(std::move(*t), o);
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  expect_work(**opened, kernel.board);
  EXPECT_GT(kernel.interrupts, 1U);
  opened->reset();
  EXPECT_FALSE(kernel.mapped);
  EXPECT_EQ(kernel.command & PCI_COMMAND_MASTER, 0);
  kernel.close_event();
}
INSTANTIATE_TEST_SUITE_P(Interrupts, Vfio, ::testing::Values(Kernel::Line::message, Kernel::Line::level),
                         [](const auto& i) { return i.param == Kernel::Line::message ? "message" : "level"; });

TEST(VfioSetUp, WithoutAnInterruptTheDriverPolls) {
  Kernel kernel(Kernel::Line::none);
  auto t = VfioTransport::open({kDevice, kPage, 0, &kernel});
  ASSERT_TRUE(t.ok()) << t.error().text();
  EXPECT_EQ((*t)->interrupt_fd(), -1);
}

TEST(VfioSetUp, EachRefusalNamesTheDeviceAndTheStep) {
  const std::size_t files = open_files();
  const auto refused = [&](const std::function<void(Kernel&)>& change, const std::string& what) {
    Kernel kernel;
    change(kernel);
    {
      const auto t = VfioTransport::open({kDevice, kPage, 0, &kernel});
      ASSERT_FALSE(t.ok()) << what;
      EXPECT_EQ(t.error().reason, "vfio");
      EXPECT_TRUE(t.error().detail.starts_with(kDevice)) << t.error().detail;
      EXPECT_NE(t.error().detail.find(what), std::string::npos) << t.error().detail;
    }
    EXPECT_FALSE(kernel.mapped) << what;
    kernel.close_event();
  };
  const auto step = [](const char* name) { return [name](Kernel& k) { k.refuse = name; }; };
  refused([](Kernel& k) { k.has_group = false; }, "no IOMMU group");
  refused(step("/dev/vfio/vfio"), "modprobe vfio-pci");
  refused(step("version"), "another version of VFIO");
  refused(step("type"), "no type 1 IOMMU");
  refused(step("/dev/vfio/7"), "/dev/vfio/7: Permission denied");
  refused([](Kernel& k) { k.viable = false; }, "group 7 is not viable");
  refused(step("container"), "another process using the board");
  refused(step("iommu"), "the container's IOMMU");
  refused(step("dma"), "Cannot allocate memory");
  refused(step("device"), "does not hand it out");
  refused([](Kernel& k) { k.bar_bytes = 256; }, "BAR 0 has 256 bytes");
  refused(step("map"), "mapping BAR 0");
  refused(step("irq"), "its interrupt");
  refused(step("config"), "configuration space");
  EXPECT_EQ(open_files(), files) << "something stayed open";
}

TEST(VfioSetUp, RefusesWhatCannotBe) {
  for (const auto& [device, bytes, address] : {std::tuple<const char*, std::size_t, std::uint64_t>{"01:00.0", kPage, 0},
                                               {"0000:01:00.0 ", kPage, 0},
                                               {"../../../etc", kPage, 0},
                                               {"0000:0g:00.0", kPage, 0},
                                               {kDevice, 0, 0},
                                               {kDevice, kPage + 1, 0},
                                               {kDevice, kPage, 17}}) {
    Kernel kernel;
    const auto t = VfioTransport::open({device, bytes, address, &kernel});
    ASSERT_FALSE(t.ok()) << device;
    EXPECT_EQ(t.error().reason, "bad-option") << t.error().text();
  }
}

TEST(VfioSetUp, TheSystemItselfSaysThatThereIsNoSuchBoard) {
  const auto t = VfioTransport::open({"ffff:ff:1f.7", kPage, 0, nullptr});
  ASSERT_FALSE(t.ok());
  EXPECT_NE(t.error().detail.find("ffff:ff:1f.7: no IOMMU group"), std::string::npos) << t.error().detail;
}

}  // namespace
}  // namespace kf::ecc::test
