#include "drivers/engine/opener.hpp"

#include <exception>
#include <new>
#include <utility>

namespace kf::ecc {

Opener::Opener(Open open, std::function<void()> told)
    : open_(std::move(open)), told_(std::move(told)), thread_([this] { run(); }) {}

void Opener::ask(unsigned core) {
  const std::lock_guard g(lock_);
  to_open_.push_back(core);
  asked_.notify_one();
}

std::optional<Opener::Opened> Opener::take_locked() {
  if (opened_.empty()) return std::nullopt;
  Opened o = std::move(opened_.front());
  opened_.pop_front();
  return o;
}
std::optional<Opener::Opened> Opener::take() {
  const std::lock_guard g(lock_);
  return take_locked();
}
Opener::Opened Opener::wait() {
  std::unique_lock g(lock_);
  done_.wait(g, [this] { return !opened_.empty(); });
  return *take_locked();
}

void Opener::stop() {
  {
    const std::lock_guard g(lock_);
    stopping_ = true;
    opened_.clear();
    asked_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

// Nothing may be thrown out of the thread: it would end the whole process, and a core that cannot be opened is tried
// again later.
Result<std::unique_ptr<Device>> Opener::open_safely(unsigned core) const {
  try {
    return open_(core);
  } catch (const std::bad_alloc&) {
    return Error{"no-memory"};  // short enough to need none
  } catch (const std::exception& e) {
    return Error{"core-open", e.what()};
  }
}

void Opener::run() {
  std::unique_lock g(lock_);
  for (;;) {
    asked_.wait(g, [this] { return stopping_ || !to_open_.empty(); });
    if (stopping_) return;
    const unsigned core = to_open_.front();
    to_open_.pop_front();
    g.unlock();
    auto device = open_safely(core);
    g.lock();
    if (stopping_) return;  // the device goes here, with this thread still alive
    opened_.push_back({core, std::move(device)});
    done_.notify_one();
    told_();
  }
}

}  // namespace kf::ecc
