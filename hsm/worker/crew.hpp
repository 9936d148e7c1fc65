// The worker's threads: each takes jobs from the ring. The first one, which is the main thread, also looks at the
// control socket between any two jobs when the ring's attention word has moved. With one thread the process has no
// other at all: C libraries take their locks for nothing else (a twentieth of the rate with SoftHSM).
#pragma once

#include <atomic>
#include <thread>

#include "hsm/wire/ring.hpp"
#include "hsm/worker/token_ops.hpp"

namespace kf::hsm::worker {

class Crew {
 public:
  // Answers and the reason for leaving go to `control_fd`. `ops`: one for each thread, at least one.
  Crew(wire::Ring& ring, int control_fd, int event_fd, unsigned keep_alive_ms,
       std::vector<std::unique_ptr<TokenOps>> ops);
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  ~Crew();
  // Until the socket closes (0) or a protocol error (1). Orderly: jobs in hand are finished, no call is made after it
  // (docs/spec/pkcs11.md L13).
  int run();

 private:
  void work_until_stopped(std::uint32_t thread);
  void work(std::uint32_t thread, std::uint32_t slot, TokenOps& ops) noexcept;
  bool look_at_socket(TokenOps& ops);  // thread 0; false: the end
  void tell_engine() noexcept;
  [[noreturn]] void leave(const Error& why);

  wire::Ring& ring_;
  const int control_fd_, event_fd_;
  const unsigned keep_alive_ms_;
  std::vector<std::unique_ptr<TokenOps>> ops_;
  std::atomic<bool> stop_{false};
  std::atomic<unsigned> with_session_{0};  // threads that have one
  int status_ = 0;                         // thread 0
  SecretBytes buffer_;                     // thread 0
  std::vector<std::thread> threads_;
};

}  // namespace kf::hsm::worker
