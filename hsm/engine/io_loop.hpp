// The engine's one I/O thread and everything that it shares with the callers, under one mutex.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "hsm/engine/lane.hpp"
#include "hsm/engine/worker_process.hpp"

namespace kf::hsm {

class IoLoop {
 public:
  explicit IoLoop(const HsmConfig& c);
  IoLoop(const IoLoop&) = delete;
  IoLoop& operator=(const IoLoop&) = delete;
  ~IoLoop();  // hangs up, waits for the workers, kills those that stay

  Status start();  // all workers ready, or the first refusal
  std::size_t submit(std::span<const EccRequest> requests) noexcept;
  std::size_t poll(std::span<EccCompletion> out) noexcept;
  [[nodiscard]] int event_fd() const noexcept { return event_fd_; }
  [[nodiscard]] IdentityPoints identity() const;
  [[nodiscard]] HsmStats stats() const;
  // Any thread; waits. A call lost with its worker is tried once more on another: all admin calls may be repeated.
  Result<SecretBytes> call(wire::AdminOp op, const wire::Writer& args);

 private:
  using Clock = std::chrono::steady_clock;
  struct Call {
    SecretBytes message;
    std::uint64_t serial = 0;
    std::optional<Result<SecretBytes>> result;
    std::condition_variable finished;
  };
  using CallPtr = std::shared_ptr<Call>;
  struct Worker {
    enum class State : std::uint8_t { waiting, starting, live, stopped };  // waiting: for its turn or its pause to end
    explicit Worker(std::size_t entries) : lane(entries) {}
    Lane lane;
    std::optional<WorkerProcess> process;
    State state = State::waiting;
    bool blocked = false;  // the socket was full: wait until it can be written
    std::deque<CallPtr> calls_queued;
    std::map<std::uint64_t, CallPtr> calls_sent;
    unsigned failures = 0;
    Clock::time_point start_at{};    // waiting: not before
    Clock::time_point started_at{};  // starting: exec; live: ready
    Clock::time_point heard_at{};    // last message, or first debt after a silence without debts
    std::uint64_t jobs = 0, batches = 0, starts = 0;
    [[nodiscard]] bool owes() const noexcept { return lane.sent() != 0 || !calls_sent.empty(); }
  };

  // I/O thread; those that take a lock may release it for a while.
  using Lock = std::unique_lock<std::mutex>;
  void run();
  void timers(Lock& lock);
  void begin(Worker& w, Lock& lock);
  void pump(Worker& w);
  void receive(Worker& w, Lock& lock);
  bool handle(Worker& w, const wire::Message& m, std::string& why);
  void fail(Worker& w, Error why, Lock& lock);
  void wait_for_events(Lock& lock);
  void shut_down(Lock& lock);
  // Any thread, locked.
  Worker* best_worker(bool for_call) noexcept;
  [[nodiscard]] bool hopeful(const Worker& w) const noexcept;
  void wake() noexcept;
  void raise_event() noexcept;
  static void finish(const CallPtr& c, Result<SecretBytes> r);
  Result<SecretBytes> call_once(const SecretBytes& message, Clock::time_point deadline, bool& lost);
  void log(const std::string& line) const;

  const HsmConfig config_;
  int event_fd_ = -1;  // for the owner of the engine
  int wake_fd_ = -1;   // for the I/O thread
  SecretBytes buffer_;
  std::vector<wire::JobEntry> batch_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // a worker came or went: start(), callers without a worker
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<WorkerProcess> dying_;  // killed, not yet reaped (a process can hang in the kernel)
  IdentityPoints identity_;
  std::optional<Error> start_error_;
  bool starting_up_ = true;
  bool pin_refused_ = false;
  bool stopping_ = false;
  bool asleep_ = false;
  bool event_raised_ = false;
  std::uint64_t next_serial_ = 1;
  std::size_t collect_from_ = 0;
  Histogram batch_size_;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace kf::hsm
