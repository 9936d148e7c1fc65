// The callers' side: jobs are handed in and waited for.
#include "drivers/p11/core_service.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include "drivers/core/known_answers.hpp"
#include "host/base/secret.hpp"

namespace kf::p11core {
namespace {

void put(std::uint8_t (&v)[32], const std::uint8_t* big_endian) { std::reverse_copy(big_endian, big_endian + 32, v); }
void take(const std::uint8_t (&v)[32], std::uint8_t* big_endian) { std::reverse_copy(v, v + 32, big_endian); }

// The signals of the application are handled by its own threads: those started meanwhile take none.
class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~NoSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

CoreService::Job::~Job() { wipe(&c, sizeof c); }

CoreService::CoreService(std::string name, Open open, Log log, Threads threads)
    : name_(std::move(name)), open_(std::move(open)), log_(std::move(log)), threads_(threads) {
  if (!wake_.open()) throw std::system_error(errno, std::generic_category(), "eventfd");
  if (threads_ == Threads::callers) return;
  const NoSignals none;
  thread_ = std::thread([this] { serve(); });
}

CoreService::~CoreService() {
  {
    const std::lock_guard g(lock_);
    stopping_ = true;
  }
  wake();
  if (threads_ == Threads::own) {
    thread_.join();
  } else {
    give_all_up();
  }
}

void CoreService::wake() const { wake_.set(); }

void CoreService::warm_up() {
  if (threads_ == Threads::callers) return;
  {
    const std::lock_guard g(lock_);
    if (wanted_ || facts_.open) return;
    wanted_ = true;
  }
  wake();
}

CoreFacts CoreService::facts() const {
  const std::lock_guard g(lock_);
  return facts_;
}

CoreService::JobPtr CoreService::make(ecc::Opcode op, ecc::CurveNumber curve) {
  auto j = std::make_shared<Job>();
  j->d.opcode = static_cast<std::uint8_t>(op);
  j->d.curve = static_cast<std::uint8_t>(curve);
  return j;
}

void CoreService::name(Job& j, const CoreKey& key) {
  j.life = key.life;
  j.d.key_slot = key.slot;
  j.d.flags = ecc::kDescriptorGeneration.put(key.generation);
}

void CoreService::hand_in(std::span<const JobPtr> jobs) {
  const auto now = Clock::now();
  {
    const std::lock_guard g(lock_);
    for (const JobPtr& j : jobs) {
      j->since = now;
      inbox_.push_back(j);
    }
  }
  wake();
}

Outcome CoreService::run_one(const JobPtr& job) {
  hand_in({&job, 1});
  wait_for(*job);
  return job->outcome;
}

void CoreService::wait_for(Job& job) {
  if (threads_ == Threads::own) return job.done.acquire();
  std::unique_lock g(turn_lock_);
  while (!job.done.try_acquire()) {
    if (turning_) {
      turned_.wait(g);
      continue;
    }
    turning_ = true;
    g.unlock();
    turn();
    g.lock();
    turning_ = false;
    turned_.notify_all();
  }
}

Outcome CoreService::generate(ecc::CurveNumber curve, bool for_sign, CoreKey& key, Point& q) {
  const JobPtr j = make(ecc::Opcode::generate, curve);
  if (for_sign) j->d.flags = ecc::kDescriptorKeyForSign;
  if (const Outcome o = run_one(j); o != Outcome::ok) return o;
  key = {j->life, j->d.key_slot, curve, static_cast<std::uint8_t>(ecc::kCompletionGeneration.get(j->c.flags))};
  q[0] = 4;
  take(j->c.x, q.data() + 1);
  take(j->c.y, q.data() + 33);
  if (!for_sign) return Outcome::ok;  // used once, and its agreement fails where the halves do not fit
  Signature s{};
  Outcome o = sign(key, ecc::known_signature(curve).e, s);
  if (o == Outcome::ok && ecc::signs_for(curve, q, s)) return Outcome::ok;
  if (o == Outcome::ok) o = Outcome::fault;
  static_cast<void>(erase({&key, 1}));
  return o;
}

Outcome CoreService::agree(const CoreKey& key, const Point& peer, std::span<std::uint8_t, 32> shs) {
  const JobPtr j = make(ecc::Opcode::ecka, key.curve);
  name(*j, key);
  put(j->d.v[0], peer.data() + 1);
  put(j->d.v[1], peer.data() + 33);
  const Outcome o = run_one(j);
  if (o == Outcome::ok) take(j->c.x, shs.data());
  return o;
}

Outcome CoreService::sign(const CoreKey& key, const Digest32& e, Signature& out) {
  const JobPtr j = make(ecc::Opcode::sign, key.curve);
  name(*j, key);
  put(j->d.v[0], e.data());
  const Outcome o = run_one(j);
  if (o == Outcome::ok) {
    take(j->c.x, out.data());
    take(j->c.y, out.data() + 32);
  }
  return o;
}

// The first verification on a curve, in each life of the core, follows two whose answers are known.
Outcome CoreService::verify(ecc::CurveNumber curve, const Point& q, const Digest32& e, const Signature& s) {
  {
    std::uint64_t& asked = verify_asked_.at(static_cast<std::size_t>(curve) & 1U);
    const std::lock_guard g(asking_);
    if (const std::uint64_t life = life_.load(); life == 0 || asked != life) {
      const ecc::KnownSignature& k = ecc::known_signature(curve);
      const std::array known{verification(curve, k.q, k.e, k.s), verification(curve, k.q, k.e, k.wrong)};
      hand_in(known);
      for (const JobPtr& j : known) wait_for(*j);
      const auto [right, wrong] = std::pair(known[0]->outcome, known[1]->outcome);
      if (right == Outcome::lost || wrong == Outcome::lost) return Outcome::lost;
      if (right != Outcome::ok || wrong != Outcome::bad_signature) return Outcome::fault;
      asked = life_.load();
    }
  }
  return run_one(verification(curve, q, e, s));
}

CoreService::JobPtr CoreService::verification(ecc::CurveNumber curve, const Point& q, const Digest32& e,
                                              const Signature& s) {
  const JobPtr j = make(ecc::Opcode::verify, curve);
  put(j->d.v[0], q.data() + 1);
  put(j->d.v[1], q.data() + 33);
  put(j->d.v[2], e.data());
  put(j->d.v[3], s.data());
  put(j->d.v[4], s.data() + 32);
  return j;
}

Outcome CoreService::erase(std::span<const CoreKey> keys) {
  std::vector<JobPtr> jobs;
  for (const CoreKey& k : keys) {
    if (!alive(k)) continue;  // gone with its core
    jobs.push_back(make(ecc::Opcode::erase, k.curve));
    name(*jobs.back(), k);
  }
  hand_in(jobs);
  Outcome worst = Outcome::ok;
  for (const JobPtr& j : jobs) {
    wait_for(*j);
    if (j->outcome == Outcome::fault) worst = Outcome::fault;
  }
  return worst;
}

}  // namespace kf::p11core
