// The user-space transport against a stand-in for a board: its BAR is a page that traps every access. The trap does on
// the simulated core what the access would do on a bus, one instruction at a time, in order; a thread lets time pass
// and raises interrupts as /dev/uioN does. x86-64 only: it steps over single instructions.
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <termios.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <mutex>

#include "drivers/core/uio_transport.hpp"
#include "tests/drivers/support.hpp"

namespace kf::ecc::test {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kMemory = std::size_t{1} << 20;
constexpr std::uint64_t kAddress = 0x7'1230'0000;

std::string path_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

class StandIn {
 public:
  StandIn() {
    self_ = this;
    bar_ = ::memfd_create("kf-stand-in-bar", MFD_CLOEXEC);
    memory_ = ::memfd_create("kf-stand-in-memory", MFD_CLOEXEC);
    line_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (::ftruncate(bar_, kPage) != 0 || ::ftruncate(memory_, kMemory) != 0 || ::grantpt(line_) != 0 ||
        ::unlockpt(line_) != 0)
      return;
    termios raw{};
    ::tcgetattr(line_, &raw);
    ::cfmakeraw(&raw);
    ::tcsetattr(line_, TCSANOW, &raw);
    alias_ = static_cast<std::uint32_t*>(map(bar_, kPage));
    BoardOptions o = test_build();
    o.memory = {static_cast<std::uint8_t*>(map(memory_, kMemory)), kMemory};
    o.dma_base = kAddress;
    auto b = Board::make(o);
    if (b) board_ = std::move(*b);
    struct sigaction on {};
    on.sa_flags = SA_SIGINFO;
    on.sa_sigaction = [](int, siginfo_t* info, void* context) { self_->before(info, context); };
    ::sigaction(SIGSEGV, &on, &old_segv_);
    on.sa_sigaction = [](int, siginfo_t*, void* context) { self_->after(context); };
    ::sigaction(SIGTRAP, &on, &old_trap_);
    time_ = std::thread([this] { serve(); });
  }
  ~StandIn() {
    stop_ = true;
    if (time_.joinable()) time_.join();
    ::sigaction(SIGSEGV, &old_segv_, nullptr);
    ::sigaction(SIGTRAP, &old_trap_, nullptr);
    for (const int fd : {bar_, memory_, line_}) ::close(fd);
  }
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

  [[nodiscard]] UioOptions options() const {
    UioOptions o;
    o.registers = path_of(bar_);
    o.memory = path_of(memory_);
    o.memory_bytes = kMemory;
    o.memory_address = kAddress;
    o.interrupt = ::ptsname(line_);
    return o;
  }
  // From now on every access to the transport's mapping of the BAR traps.
  bool arm() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("kf-stand-in-bar") == std::string::npos) continue;
      void* p = nullptr;
      if (std::sscanf(line.c_str(), "%p", &p) == 1 && p != alias_) page_ = static_cast<std::uint8_t*>(p);
    }
    return page_ != nullptr && ::mprotect(page_, kPage, PROT_NONE) == 0;
  }
  void die() { dead_ = true; }  // as a board that was pulled
  [[nodiscard]] std::uint64_t accesses() const { return accesses_; }
  [[nodiscard]] std::uint64_t interrupts() const { return interrupts_; }
  [[nodiscard]] bool ready() const { return board_ != nullptr; }

 private:
  static void* map(int fd, std::size_t bytes) {
    return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  std::unique_lock<std::mutex> turn() {  // before the thread that runs the clock
    ++wanted_;
    std::unique_lock lock(mutex_);
    --wanted_;
    return lock;
  }
  void before(const siginfo_t* info, void* context) {
    auto* at = static_cast<std::uint8_t*>(info->si_addr);
    if (page_ == nullptr || at < page_ || at >= page_ + kPage) {
      ::signal(SIGSEGV, SIG_DFL);  // a real one: it happens again
      return;
    }
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    constexpr greg_t kWriteAccess = 2, kSingleStep = 0x100;
    offset_ = static_cast<std::uint32_t>(at - page_);
    writes_ = (registers[REG_ERR] & kWriteAccess) != 0;
    ++accesses_;
    if (!writes_ && dead_) {
      alias_[offset_ / 4] = kAllOnes;
    } else if (!writes_) {
      const auto lock = turn();
      alias_[offset_ / 4] = board_->read(offset_);
    }
    ::mprotect(page_, kPage, PROT_READ | PROT_WRITE);
    registers[REG_EFL] |= kSingleStep;
  }
  void after(void* context) {
    constexpr greg_t kSingleStep = 0x100;
    if (writes_ && !dead_) {
      const auto lock = turn();
      board_->write(offset_, alias_[offset_ / 4]);
    }
    ::mprotect(page_, kPage, PROT_NONE);
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kSingleStep;
  }
  void serve() {
    bool masked = false;
    while (!stop_) {
      std::uint32_t word = 0;
      if (::read(line_, &word, sizeof word) == sizeof word && word == 1) masked = false;
      while (wanted_ != 0) std::this_thread::yield();
      const std::lock_guard lock(mutex_);
      if (!dead_) board_->run(256);
      if (board_->interrupt() && !masked) {
        const auto count = static_cast<std::uint32_t>(++interrupts_);
        masked = ::write(line_, &count, sizeof count) == sizeof count;
      }
    }
  }

  static StandIn* self_;
  int bar_ = -1, memory_ = -1, line_ = -1;
  std::uint32_t* alias_ = nullptr;
  std::uint8_t* page_ = nullptr;
  std::unique_ptr<Board> board_;
  std::mutex mutex_;
  std::atomic<int> wanted_{0};
  std::atomic<bool> stop_{false}, dead_{false};
  std::atomic<std::uint64_t> accesses_{0}, interrupts_{0};
  std::uint32_t offset_ = 0;
  bool writes_ = false;
  struct sigaction old_segv_ {
  }, old_trap_{};
  std::thread time_;
};
StandIn* StandIn::self_ = nullptr;

TEST(Uio, WorksOnAStandIn) {
#if !defined(__x86_64__)
  GTEST_SKIP() << "the stand-in steps over x86-64 instructions";
#endif
  StandIn board;
  ASSERT_TRUE(board.ready());
  auto t = UioTransport::open(board.options());
  ASSERT_TRUE(t.ok()) << t.error().text();
  ASSERT_TRUE(board.arm());
  EXPECT_EQ((*t)->dma_base(), kAddress);
  DeviceOptions o;
  o.allow_test_build = true;
  auto opened = Device::open(std::move(*t), o);
  ASSERT_TRUE(opened.ok()) << opened.error().text();
  Device& d = **opened;
  EXPECT_GT(board.accesses(), 65'536U);  // the table went through the bus
  std::mt19937_64 random(seed());
  for (const auto& [c, n] : kCurves) {
    const Mixed jobs(random, c, n, 0, 3);
    std::vector<Completion> answers(jobs.jobs().size());
    const auto before = board.accesses();
    ASSERT_EQ(d.submit(jobs.jobs()), answers.size());
    EXPECT_EQ(board.accesses(), before + 1);  // one doorbell, nothing read
    std::size_t got = 0;
    while (got < answers.size()) {  // asleep on the interrupt only
      pollfd p{d.interrupt_fd(), POLLIN, 0};
      ASSERT_EQ(::poll(&p, 1, 60'000), 1) << got;
      d.rearm_interrupt();
      got += d.poll(std::span(answers).subspan(got));
    }
    jobs.expect(answers);
  }
  EXPECT_GT(board.interrupts(), 1U);
  EXPECT_TRUE(d.check().ok());
  EXPECT_EQ(faults(d.counters()), 0U);
  EXPECT_EQ(d.errors(), 0U);

  ASSERT_EQ(d.submit({{job(Opcode::erase, CurveNumber::p256, 1, 1)}}), 1U);
  board.die();
  const Status s = d.check();
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().reason, "device-gone");
  std::vector<Completion> last(1);
  EXPECT_EQ(d.poll(last), 1U);
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
