#include "drivers/simulated/process/simulator.hpp"

#include <poll.h>
#include <unistd.h>

#include <array>

#include "drivers/ecc/ecc_regs.hpp"
#include "host/os/cpu_time.hpp"

namespace kf::ecc {
namespace {

constexpr std::uint64_t kSlice = 64;     // cycles between two looks at the mailbox: some ten microseconds
constexpr unsigned kSlicesALook = 8;     // at the core's status, and at the host's end of the socket
constexpr std::uint64_t kSettle = 1024;  // cycles in which a core that says idle must stay so

}  // namespace

void Simulator::run(const volatile std::sig_atomic_t& stop) {
  for (unsigned slice = 0; stop == 0; ++slice) {
    if (serve_host()) {
      resting_ = false;
      busy_at_ = board_.cycles();
    }
    if (slice % kSlicesALook == 0) {
      if (host_gone()) return;
      look_at_status();
      publish();
    }
    if (resting_) {
      sleep();
      slice = kSlicesALook - 1;  // look around after it
      continue;
    }
    board_.run(kSlice);
    if (after_slice_) after_slice_(board_);
    raise_interrupt();
  }
}

bool Simulator::serve_host() {
  // The request first: what was posted before it is there then.
  const std::optional<std::uint32_t> read = mailbox_.read_pending();
  bool any = read.has_value();
  mailbox::Posted p{};
  for (std::uint32_t i = 0; i < mailbox::kPosted && mailbox_.take(p); ++i) {
    any = true;
    board_.write(p.offset, p.value);
    if (p.offset == kRegIrqCoalesce) linger_ = std::uint64_t{256} * kIrqCoalesceTimeout.get(p.value);
    // An interrupt that still stands after it is reported anew.
    if (p.offset == kRegIrqStatus || p.offset == kRegIrqEnable) line_ = false;
  }
  if (read) mailbox_.give(board_.read(*read));
  return any;
}

void Simulator::raise_interrupt() {
  const bool line = board_.interrupt();
  if (line && !line_) {
    const std::uint64_t one = 1;
    // Full after 2^64 - 2 interrupts that nobody took.
    if (::write(mailbox::kInterruptFd, &one, sizeof one) < 0) return;
  }
  line_ = line;
}

void Simulator::look_at_status() {
  if (resting_) return;
  const std::uint32_t status = board_.read(kRegStatus);
  const bool idle = kStatusIdle.get(status) != 0 && kStatusWiped.get(status) != 0 && kStatusAborting.get(status) == 0 &&
                    kStatusSelftestRunning.get(status) == 0;
  if (!idle) busy_at_ = board_.cycles();
  resting_ = idle && board_.cycles() - busy_at_ > kSettle + linger_;
}

bool Simulator::host_gone() const {
  pollfd p{mailbox::kControlFd, POLLIN, 0};
  return ::poll(&p, 1, 0) != 0 && p.revents != 0;
}

void Simulator::publish() {
  mailbox::Header& h = mailbox_.header();
  h.cpu_ns.store(static_cast<std::uint64_t>(os::process_cpu().count()), std::memory_order_relaxed);
  h.cycles.store(board_.cycles(), std::memory_order_relaxed);
  h.heartbeat.fetch_add(1, std::memory_order_relaxed);
}

void Simulator::sleep() {
  if (mailbox_.fall_asleep()) {
    std::array<pollfd, 2> wait{{{mailbox::kDoorbellFd, POLLIN, 0}, {mailbox::kControlFd, POLLIN, 0}}};
    ::poll(wait.data(), wait.size(), 1000);
    mailbox_.awake();
  }
  std::uint64_t rung = 0;
  // Nothing there: woken by something else.
  if (::read(mailbox::kDoorbellFd, &rung, sizeof rung) < 0) return;
}

}  // namespace kf::ecc
