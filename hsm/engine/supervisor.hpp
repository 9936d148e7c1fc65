// The engine's one thread of its own: starts and ends workers, watches them, carries administration calls. It never
// sees a job: those travel between the engine's thread and the workers through the rings.
//
// A worker: waiting -> starting -> live (-> retiring) -> waiting. Per token one start at a time, so that a wrong PIN
// costs exactly one login. A token is up while a worker of it lives; it is down after a failed start with nobody
// alive, or when the engine says so (report_broken); then one worker is tried every second, and the first that gets
// ready brings it back. Re-initialising a module always means replacing its process. docs/spec/pkcs11.md L11 to L13,
// L20.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "hsm/engine/hsm_engine.hpp"
#include "hsm/engine/link.hpp"
#include "hsm/engine/worker_process.hpp"

namespace kf::hsm {

class Supervisor {
 public:
  explicit Supervisor(const HsmConfig& c);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor();  // hangs up, waits for the workers, kills those that stay

  // Until every token is up or given up for now. With several tokens one that serves is enough.
  Status start();

  // The engine's thread.
  [[nodiscard]] int event_fd() const noexcept { return event_.fd(); }  // also rung by the workers
  void raise_event() noexcept;
  void clear_event() noexcept;
  [[nodiscard]] bool mail_waits() const noexcept { return mail_flag_.load(std::memory_order_acquire); }
  std::deque<Mail> take_mail();
  void report_broken(std::size_t token);    // too many device errors
  void link_is_idle() noexcept { wake(); }  // Link::idle was set
  void wake_engine_at(std::uint64_t ns) noexcept { due_.store(ns, std::memory_order_relaxed); }  // kTick exact

  // Any thread.
  [[nodiscard]] IdentityPoints identity() const;
  void fill(HsmStats& s) const;  // workers (by index), token names, why, outages
  // Waits. A call lost with its worker, or to a token in trouble, is tried again on another: all calls may be repeated.
  Result<SecretBytes> call(wire::AdminOp op, const wire::Writer& args);

  static constexpr std::chrono::milliseconds kTick{25};

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;
  struct Call {
    SecretBytes message;
    std::uint64_t serial = 0;
    std::optional<Result<SecretBytes>> result;
    std::condition_variable finished;
  };
  using CallPtr = std::shared_ptr<Call>;
  struct Worker {
    enum class State : std::uint8_t { waiting, starting, live, retiring, stopped };
    std::size_t token = 0;
    State state = State::waiting;
    std::optional<WorkerProcess> process;
    LinkPtr link;
    bool blocked = false;        // the socket was full: wait until it can be written
    bool objects_asked = false;  // retiring: what is left in the token?
    std::deque<CallPtr> calls_queued;
    std::map<std::uint64_t, CallPtr> calls_sent;
    unsigned failures = 0;
    Clock::time_point start_at{}, started_at{}, call_since{};
    std::uint64_t starts = 0, recycled = 0;
    std::size_t rss = 0, budget = 0;
    [[nodiscard]] bool serves() const noexcept { return state == State::live || state == State::retiring; }
  };
  struct Token {
    std::string name, why;
    TokenState state = TokenState::starting;
    std::chrono::milliseconds call_limit{};
    std::uint64_t outages = 0;
    Clock::time_point down_since{};
  };
  struct Dying {
    WorkerProcess process;
    Clock::time_point kill_at;
  };

  // The supervisor's thread; those that take a lock may release it for a while.
  void run();
  void timers(Lock& lock);
  void watch(Worker& w, Lock& lock);
  void begin(Worker& w, Lock& lock);
  void pump(Worker& w);
  void receive(Worker& w, Lock& lock);
  void ready(Worker& w, ByteView body, Lock& lock);
  void fail(Worker& w, Error why, Lock& lock);
  void end_in_order(Worker& w);
  void detach(Worker& w);  // its calls and its link; the process stays
  void settle(std::size_t token, TokenState s, std::string why);
  void wait_for_events(Lock& lock);
  void shut_down(Lock& lock);
  Status check_identity(const IdentityPoints& points) const;
  // Any thread, locked.
  void post(Mail m);
  [[nodiscard]] bool anybody_serves(std::size_t token) const noexcept;
  Worker* worker_for_call(const std::vector<const Worker*>& tried) noexcept;
  void wake() noexcept;
  static void finish(const CallPtr& c, Result<SecretBytes> r);
  void log(const std::string& line) const;
  static std::size_t resident_bytes(int pid);  // 0: there is no such process

  const HsmConfig config_;
  os::EventFd event_, wake_;
  SecretBytes buffer_;
  std::atomic<bool> mail_flag_{false};
  std::atomic<std::uint64_t> due_{~std::uint64_t{0}};

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // a worker or token changed: start(), callers without a worker
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Token> tokens_;
  std::deque<Mail> mail_;
  std::vector<Dying> dying_;  // hung up or killed, not yet reaped (a process can hang in the kernel)
  IdentityPoints identity_;
  std::optional<Error> start_error_;
  bool starting_up_ = true;
  bool stopping_ = false;
  std::uint64_t next_serial_ = 1;
  Clock::time_point rss_at_{};
  std::thread thread_;  // last: uses all of the above
};

}  // namespace kf::hsm
