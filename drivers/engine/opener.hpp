// Opens devices on a thread of its own: a self-test takes seconds, and whoever makes turns must not wait for it. The
// thread lives as long as the engine, since a simulated core dies with the thread that started it. Inner header of this
// room; any thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "drivers/core/device.hpp"

namespace kf::ecc {

class Opener {
 public:
  using Open = std::function<Result<std::unique_ptr<Device>>(unsigned core)>;
  struct Opened {
    unsigned core;
    Result<std::unique_ptr<Device>> device;
  };
  // What `open` throws is an error of that core: no-memory, core-open.
  // `told` is called on the opener's thread, under its lock, when take() has something: it must call nothing of this.
  Opener(Open open, std::function<void()> told);
  ~Opener() { stop(); }
  Opener(const Opener&) = delete;
  Opener& operator=(const Opener&) = delete;

  void ask(unsigned core);
  std::optional<Opened> take();
  Opened wait();  // for what was asked before
  // After the one that is being opened; what nobody has taken is closed. Devices that were taken must be gone.
  void stop();

 private:
  void run();
  Result<std::unique_ptr<Device>> open_safely(unsigned core) const;
  std::optional<Opened> take_locked();
  Open open_;
  std::function<void()> told_;
  std::mutex lock_;  // guards what follows
  std::condition_variable asked_, done_;
  std::deque<unsigned> to_open_;
  std::deque<Opened> opened_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of these
};

}  // namespace kf::ecc
