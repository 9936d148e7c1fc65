// The user-space transport of a board without an IOMMU, against a stand-in: a trapped page as its BAR, a pseudo
// terminal in the place of /dev/uioN.
#include <poll.h>
#include <stdlib.h>
#include <termios.h>

#include "drivers/core/uio_transport.hpp"
#include "tests/drivers/trapped_board.hpp"

namespace kf::ecc::test {
namespace {

constexpr std::size_t kMemory = std::size_t{1} << 20;
constexpr std::uint64_t kAddress = 0x7'1230'0000;

class StandIn {
 public:
  StandIn() {
    memory_ = ::memfd_create("kf-stand-in-memory", MFD_CLOEXEC);
    line_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (::ftruncate(memory_, kMemory) != 0 || ::grantpt(line_) != 0 || ::unlockpt(line_) != 0) return;
    termios raw{};
    ::tcgetattr(line_, &raw);
    ::cfmakeraw(&raw);
    ::tcsetattr(line_, TCSANOW, &raw);
    void* memory = ::mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_SHARED, memory_, 0);
    ready_ =
        board_.power({static_cast<std::uint8_t*>(memory), kMemory}, kAddress, [this](bool line) { interrupt(line); });
  }
  ~StandIn() {
    board_.off();
    for (const int fd : {memory_, line_}) ::close(fd);
  }
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

  [[nodiscard]] UioOptions options() const {
    UioOptions o;
    o.registers = path_of(board_.bar());
    o.memory = path_of(memory_);
    o.memory_bytes = kMemory;
    o.memory_address = kAddress;
    o.interrupt = ::ptsname(line_);
    return o;
  }
  TrappedBoard& board() { return board_; }
  [[nodiscard]] std::uint64_t interrupts() const { return interrupts_; }
  [[nodiscard]] bool ready() const { return ready_; }

 private:
  // Four bytes out for an interrupt, which then is masked; four bytes in (1) unmask it.
  void interrupt(bool line) {
    std::uint32_t word = 0;
    if (::read(line_, &word, sizeof word) == sizeof word && word == 1) masked_ = false;
    if (!line || masked_) return;
    const auto count = static_cast<std::uint32_t>(++interrupts_);
    masked_ = ::write(line_, &count, sizeof count) == sizeof count;
  }
  int memory_ = -1, line_ = -1;
  bool ready_ = false, masked_ = false;
  std::atomic<std::uint64_t> interrupts_{0};
  TrappedBoard board_;
};

TEST(Uio, WorksOnAStandIn) {
#if !defined(__x86_64__)
  GTEST_SKIP() << "the stand-in steps over x86-64 instructions";
#endif
  StandIn stand_in;
  ASSERT_TRUE(stand_in.ready());
  auto t = UioTransport::open(stand_in.options());
  ASSERT_TRUE(t.ok()) << t.error().text();
  ASSERT_TRUE(stand_in.board().arm());
  EXPECT_EQ((*t)->dma_base(), kAddress);
  DeviceOptions o;
  o.allow_test_build = true;
  auto opened = Device::open(std::move(*t), o);
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  EXPECT_GT(stand_in.board().accesses(), 65'536U);  // the table went through the bus
  expect_work(**opened, stand_in.board());
  EXPECT_GT(stand_in.interrupts(), 1U);
}

TEST(Uio, NamesTheFileThatFails) {
  UioOptions o;
  const auto reason = [&] {
    const auto t = UioTransport::open(o);
    return t ? std::string("opened") : t.error().text();
  };
  EXPECT_TRUE(reason().starts_with("bad-option")) << reason();
  o.registers = o.memory = "/nowhere/resource0";
  EXPECT_TRUE(reason().starts_with("uio: /nowhere/resource0: open")) << reason();
  const int page = ::memfd_create("kf-page", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(page, kPage), 0);
  o.registers = path_of(page);
  EXPECT_TRUE(reason().starts_with("uio: /nowhere/resource0: open")) << reason();
  o.memory_address = 17;
  EXPECT_TRUE(reason().starts_with("bad-option")) << reason();
  ::close(page);
}

}  // namespace
}  // namespace kf::ecc::test
