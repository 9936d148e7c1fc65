// The worker's threads: each takes jobs from the ring and administration calls from the control thread, between any two
// jobs. With one thread everything that touches the module after start-up happens on that thread.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include "hsm/wire/ring.hpp"
#include "hsm/worker/token_ops.hpp"

namespace kf::hsm::worker {

class Crew {
 public:
  // `control_fd`: answers and the reason for leaving go there. `ops`: one for each thread, at least one.
  Crew(wire::Ring& ring, int control_fd, int event_fd, unsigned keep_alive_ms,
       std::vector<std::unique_ptr<TokenOps>> ops);
  ~Crew();  // orderly end: the job in hand is finished, no call is made after it (L13)
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  void call(std::uint64_t serial, SecretBytes body);  // control thread

 private:
  struct Call {
    std::uint64_t serial;
    SecretBytes body;
  };
  void run(std::uint32_t thread);
  void work(std::uint32_t thread, std::uint32_t slot, TokenOps& ops) noexcept;
  bool take_call(std::uint32_t thread, TokenOps& ops);
  void tell_engine() noexcept;
  [[noreturn]] void leave(const Error& why);

  wire::Ring& ring_;
  const int control_fd_, event_fd_;
  const unsigned keep_alive_ms_;
  std::vector<std::unique_ptr<TokenOps>> ops_;
  std::atomic<bool> stop_{false};
  std::atomic<std::size_t> calls_waiting_{0};
  std::atomic<unsigned> with_session_{0};  // threads that have one
  std::mutex calls_mutex_;
  std::deque<Call> calls_;
  std::vector<std::thread> threads_;
};

}  // namespace kf::hsm::worker
