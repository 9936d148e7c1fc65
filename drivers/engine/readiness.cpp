#include "drivers/engine/readiness.hpp"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

namespace kf::ecc {
namespace {
constexpr std::uint32_t kEvent = 100, kTimer = 101;
}  // namespace

Readiness::Readiness()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
  if (!event_.open() || !epoll_.open() || !timer_.open()) std::abort();
  add(event_.fd(), kEvent);
  add(timer_.get(), kTimer);
}

void Readiness::add(int fd, std::uint32_t who) const {
  epoll_event e{};
  e.events = EPOLLIN;
  e.data.u32 = who;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) std::abort();
}
void Readiness::watch(int fd, unsigned i) const {
  if (fd >= 0) add(fd, i);
}
void Readiness::forget(int fd) const {
  if (fd >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void Readiness::at(EngineClock::time_point moment) {
  constexpr auto kNever = EngineClock::time_point::max();
  if (came_.exchange(false)) armed_ = kNever;
  if (moment == armed_) return;
  armed_ = moment;
  itimerspec t{};
  if (moment != kNever) {
    const auto ns = std::max<std::int64_t>(
        1, std::chrono::duration_cast<std::chrono::nanoseconds>(moment - EngineClock::now()).count());
    t.it_value = {ns / 1'000'000'000, ns % 1'000'000'000};
  }
  ::timerfd_settime(timer_.get(), 0, &t, nullptr);
}

std::optional<std::uint32_t> Readiness::take() {
  std::array<epoll_event, 18> events;
  const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  if (n <= 0) return std::nullopt;
  std::uint32_t interrupts = 0;
  for (const auto& e : std::span(events).first(static_cast<std::size_t>(n))) {
    if (e.data.u32 == kEvent) {
      event_.clear();
    } else if (e.data.u32 == kTimer) {
      std::uint64_t expirations = 0;
      if (::read(timer_.get(), &expirations, sizeof expirations) < 0) continue;
      came_ = true;
    } else {
      interrupts |= 1U << e.data.u32;
    }
  }
  return interrupts;
}

}  // namespace kf::ecc
