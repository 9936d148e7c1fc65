// One core for many threads: callers hand in a job and wait, one thread of this class owns the device and its rings.
// Where the application forbids a library to create threads, the callers do that thread's work by turns while they wait
// (Threads::callers); a core that nobody waits for is then not looked at.
//
// Jobs that wait at the same time are put into batches of one operation and curve, since a core does up to 64 of them
// in the time of one. The thread opens the core when the first job (or warm_up()) asks for it; it lives as long as the
// object, because a simulated core dies with the thread that started it unless it is told not to. A core that is lost
// ends what was in its rings as `lost` and is opened anew for what comes later; keys of its earlier life are
// `key_gone`.
//
// Key slots belong to callers from generate() until agree() or erase(). A slot of which it is not known what it holds
// is erased before it is used again; all are overwritten at the end.
// Whatever fails in a turn (no memory, no random numbers) ends the jobs as `lost` and the core with them: no exception
// leaves the thread, and no caller is left waiting.
// Threading: any number of threads, any method. Errors: Outcome; the constructor throws std::system_error.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "drivers/core/device.hpp"
#include "drivers/core/worn_slots.hpp"
#include "host/crypto/curve.hpp"
#include "host/os/fd.hpp"

namespace kf::p11core {

enum class Outcome : std::uint8_t {
  ok,
  bad_signature,  // verify: the answer is "no"
  undecided,      // a case that the core's formulas exclude, or public data out of range: never a wrong answer
  no_slot,        // generate: every key slot is in use
  key_gone,       // the key was in a core that was lost since, or is used up
  fault,          // a check inside the core failed; nothing was produced
  lost,           // the core cannot be opened or was lost under way
};

// A scalar inside the core, by its slot and generation; `life` tells the core that holds it from those opened later.
struct CoreKey {
  std::uint64_t life = 0;
  std::uint16_t slot = 0;
  ecc::CurveNumber curve = ecc::CurveNumber::p256;
  std::uint8_t generation = 0;  // tells it from the keys that the slot has later
};

// What is known of the core; zeros until it was opened once.
struct CoreFacts {
  std::uint32_t version = 0;
  unsigned key_slots = 0, contexts = 0, free_slots = 0;
  bool open = false;
  std::uint64_t batches = 0, jobs = 0, losses = 0;
};

class CoreService {
 public:
  using Open = std::function<Result<std::unique_ptr<ecc::Device>>()>;
  using Log = std::function<void(const std::string&)>;  // a line an event, from this service's thread
  enum class Threads : std::uint8_t { own, callers };
  CoreService(std::string name, Open open, Log log, Threads threads = Threads::own);
  CoreService(const CoreService&) = delete;
  CoreService& operator=(const CoreService&) = delete;
  ~CoreService();  // jobs that still wait end as `lost`

  void warm_up();  // opens the core if it is not open; does not wait. Without a thread: nothing

  // A key that is to sign has signed a known digest before it is given out; a wrong signature is `fault`, and the
  // core is given up.
  Outcome generate(ecc::CurveNumber curve, bool for_sign, CoreKey& key, Point& q);
  // The key is used up whatever the outcome.
  Outcome agree(const CoreKey& key, const Point& peer, std::span<std::uint8_t, 32> shs);
  Outcome sign(const CoreKey& key, const Digest32& e, Signature& out);
  // `fault`: the core's known answers were wrong, and it is given up.
  Outcome verify(ecc::CurveNumber curve, const Point& q, const Digest32& e, const Signature& s);
  // Returns when all of them are erased in the core or gone with it; `fault`: one is not known to be.
  Outcome erase(std::span<const CoreKey> keys);

  [[nodiscard]] bool alive(const CoreKey& key) const { return key.life == life_.load(); }
  [[nodiscard]] CoreFacts facts() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Job {
    ecc::Descriptor d{};
    ecc::Completion c{};
    std::uint64_t life = 0;  // of the core in which it makes sense (that of its key); 0: any
    std::uint64_t answered_in = 0;
    Clock::time_point since{};
    Outcome outcome = Outcome::lost;
    std::binary_semaphore done{0};
    bool own = false;       // the service's: nobody waits
    bool finished = false;  // of the turn that finishes it
    ~Job();
  };
  struct Owed;
  using JobPtr = std::shared_ptr<Job>;
  static std::size_t kind_of(const Job& j) { return j.d.opcode * 2U + (j.d.curve & 1U); }

  static JobPtr make(ecc::Opcode op, ecc::CurveNumber curve);
  static JobPtr verification(ecc::CurveNumber curve, const Point& q, const Digest32& e, const Signature& s);
  static void name(Job& j, const CoreKey& key);  // as the key that the job uses or erases
  void hand_in(std::span<const JobPtr> jobs);
  Outcome run_one(const JobPtr& job);
  Outcome ask_known_answers(ecc::CurveNumber curve, std::uint64_t& life);
  void distrust(std::uint64_t life);
  void wake() const;
  void wait_for(Job& job);

  // The thread only, or the caller whose turn it is.
  void serve();
  void turn() noexcept;
  void give_all_up() noexcept;
  void take_inbox();
  void open_core();
  void lose(Error why);
  void finish(Job& j, Outcome o) noexcept;
  void poll_core();
  void look(Clock::time_point now);
  void answer(const JobPtr& j, const ecc::Completion& c);
  bool feed(Clock::time_point now);
  void refuse_what_cannot_be();
  [[nodiscard]] bool sendable(const Job& j) const;
  void send(Clock::time_point now);
  void sleep();
  void publish();
  void close_core() noexcept;

  const std::string name_;
  const Open open_;
  const Log log_;
  const Threads threads_;
  os::EventFd wake_;

  mutable std::mutex lock_;
  std::vector<JobPtr> inbox_;  // guarded by lock_, like the next three
  bool wanted_ = false, stopping_ = false;
  CoreFacts facts_;
  std::atomic<std::uint64_t> life_{0};  // of the core that is open; 0: none
  struct Asking {                       // known answers of one curve
    std::mutex lock;                    // while somebody asks; guards life and last
    std::atomic<std::uint64_t> rounds{0};
    std::uint64_t life = 0;  // in which they were right
    Outcome last = Outcome::ok;
  };
  std::array<Asking, 2> asking_;
  std::atomic<std::uint64_t> distrusted_{0};  // life of a core that is to be given up

  std::unique_ptr<ecc::Device> device_;
  std::uint64_t lives_ = 0;
  std::vector<JobPtr> taken_, group_;  // on their way from the inbox, to the ring
  std::deque<JobPtr> queued_, in_ring_;
  std::deque<std::size_t> batches_;  // in the ring: jobs of each that are not answered
  std::vector<std::uint16_t> free_;
  std::size_t erasing_ = 0;                   // erase jobs on their way
  ecc::WornSlots worn_;
  std::uint64_t next_tag_ = 1, due_tag_ = 1;  // of the jobs in the ring
  Clock::time_point last_answer_{}, looked_{}, next_try_{};
  std::chrono::milliseconds pause_{200};
  std::uint64_t batches_sent_ = 0, jobs_sent_ = 0, losses_ = 0;
  bool finished_some_ = false;  // in this turn
  std::mutex turn_lock_;        // Threads::callers: guards turning_
  std::condition_variable turned_;
  bool turning_ = false;
  std::thread thread_;
};

}  // namespace kf::p11core
