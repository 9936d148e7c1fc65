// A board made of the simulated core: its BAR is a page that traps every access. The trap does on the core what the
// access would do on a bus, one instruction at a time, in order; a thread lets time pass and watches the interrupt
// line. One at a time in a process. x86-64 only: it steps over single instructions.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <functional>
#include <mutex>
#include <thread>

#include "tests/drivers/support.hpp"

namespace kf::ecc::test {

inline constexpr std::size_t kPage = 4096;
inline std::string path_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

class TrappedBoard {
 public:
  TrappedBoard() {
    self_ = this;
    bar_ = ::memfd_create("kf-stand-in-bar", MFD_CLOEXEC);
    if (::ftruncate(bar_, kPage) != 0) return;
    alias_ = static_cast<std::uint32_t*>(::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, bar_, 0));
  }
  ~TrappedBoard() {
    off();
    ::close(bar_);
    ::munmap(alias_, kPage);
  }
  TrappedBoard(const TrappedBoard&) = delete;
  TrappedBoard& operator=(const TrappedBoard&) = delete;

  // `line` is called after every slice of time with the state of the interrupt line.
  bool power(std::span<std::uint8_t> memory, std::uint64_t address, std::function<void(bool)> line) {
    BoardOptions o = test_build();
    o.memory = memory;
    o.dma_base = address;
    auto b = Board::make(o);
    if (!b) return false;
    board_ = std::move(*b);
    line_ = std::move(line);
    struct sigaction on {};
    on.sa_flags = SA_SIGINFO;
    on.sa_sigaction = [](int, siginfo_t* info, void* context) { self_->before(info, context); };
    ::sigaction(SIGSEGV, &on, &old_segv_);
    on.sa_sigaction = [](int, siginfo_t*, void* context) { self_->after(context); };
    ::sigaction(SIGTRAP, &on, &old_trap_);
    time_ = std::thread([this] { serve(); });
    return true;
  }
  void off() {
    if (!time_.joinable()) return;
    stop_ = true;
    time_.join();
    ::sigaction(SIGSEGV, &old_segv_, nullptr);
    ::sigaction(SIGTRAP, &old_trap_, nullptr);
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
  [[nodiscard]] int bar() const { return bar_; }

 private:
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
    while (!stop_) {
      while (wanted_ != 0) std::this_thread::yield();
      const std::lock_guard lock(mutex_);
      if (!dead_) board_->run(256);
      line_(board_->interrupt());
    }
  }

  inline static TrappedBoard* self_ = nullptr;
  int bar_ = -1;
  std::uint32_t* alias_ = nullptr;  // the BAR without a trap
  std::uint8_t* page_ = nullptr;    // the transport's mapping of it
  std::unique_ptr<Board> board_;
  std::function<void(bool)> line_;
  std::mutex mutex_;
  std::atomic<int> wanted_{0};
  std::atomic<bool> stop_{false}, dead_{false};
  std::atomic<std::uint64_t> accesses_{0};
  std::uint32_t offset_ = 0;
  bool writes_ = false;
  struct sigaction old_segv_ {
  }, old_trap_{};
  std::thread time_;
};

// Every operation on both curves through an open device that sleeps on its interrupt; then the board is pulled.
inline void expect_work(Device& d, TrappedBoard& board) {
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

}  // namespace kf::ecc::test
