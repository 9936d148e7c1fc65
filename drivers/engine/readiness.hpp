// One descriptor that is readable when the engine's caller has something to do: completions were delivered, a core has
// raised its interrupt, a moment has come. Inner header of this room.
//
// Threads: completions() and fd() from any; at(), watch() and forget() by whoever makes the turn; take() by whoever
// polls the engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "drivers/engine/batching.hpp"
#include "host/os/fd.hpp"

namespace kf::ecc {

class Readiness {
 public:
  Readiness();  // ends the process when the system has no descriptors left
  [[nodiscard]] int fd() const { return epoll_.get(); }

  // The interrupt of core i (below 32), until forget(); -1: it has none.
  void watch(int fd, unsigned i) const;
  void forget(int fd) const;
  void completions() const { event_.set(); }
  // Readable at that moment at the latest; max(): at none.
  void at(EngineClock::time_point moment);
  // What made it readable: a bit for each core with an interrupt. Nothing: it is not.
  std::optional<std::uint32_t> take();

 private:
  void add(int fd, std::uint32_t who) const;
  os::EventFd event_;
  os::Fd epoll_, timer_;
  EngineClock::time_point armed_ = EngineClock::time_point::max();  // of whoever makes the turn
  std::atomic<bool> came_{false};                                   // the timer has fired since
};

}  // namespace kf::ecc
