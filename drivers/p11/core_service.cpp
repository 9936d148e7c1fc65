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
  Outcome o = Outcome::fault;
  try {
    Signature s{};
    o = sign(key, ecc::known_signature(curve).e, s);
    if (o == Outcome::ok && ecc::signs_for(curve, q, s)) return Outcome::ok;
  } catch (...) {  // no memory
    static_cast<void>(erase({&key, 1}));
    throw;
  }
  if (o == Outcome::ok) {  // the halves do not fit together: the core that made them is given up, and the pair with it
    distrust(key.life);
    return Outcome::fault;
  }
  static_cast<void>(erase({&key, 1}));
  return o == Outcome::key_gone ? Outcome::lost : o;
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

// The first verification on a curve, in each life of the core, follows two whose answers are known, and is for that
// life only: a core that came since has to be asked again.
Outcome CoreService::verify(ecc::CurveNumber curve, const Point& q, const Digest32& e, const Signature& s) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    std::uint64_t life = 0;
    if (const Outcome o = ask_known_answers(curve, life); o != Outcome::ok) return o;
    const JobPtr j = verification(curve, q, e, s);
    j->life = life;
    if (const Outcome o = run_one(j); o != Outcome::key_gone) return o;
  }
  return Outcome::lost;
}

// `life`: in which they were right.
Outcome CoreService::ask_known_answers(ecc::CurveNumber curve, std::uint64_t& life) {
  Asking& a = asking_.at(static_cast<std::size_t>(curve) & 1U);
  const std::uint64_t rounds = a.rounds.load();
  const std::lock_guard g(a.lock);
  life = life_.load();
  if (life != 0 && a.life == life) return Outcome::ok;
  // Somebody has asked while this caller waited: it takes what he got, be it bad, and does not open the next core for
  // it.
  if (a.rounds != rounds && a.last != Outcome::ok) return a.last;
  const ecc::KnownSignature& k = ecc::known_signature(curve);
  const std::array known{verification(curve, k.q, k.e, k.s), verification(curve, k.q, k.e, k.wrong)};
  hand_in(known);
  for (const JobPtr& j : known) wait_for(*j);
  const auto [right, wrong] = std::pair(known[0]->outcome, known[1]->outcome);
  life = known[0]->answered_in;
  a.last = Outcome::fault;
  if (right == Outcome::lost || wrong == Outcome::lost || life != known[1]->answered_in) {
    a.last = Outcome::lost;
  } else if (right == Outcome::ok && wrong == Outcome::bad_signature) {
    a.last = Outcome::ok;
    a.life = life;
  } else if (right != Outcome::fault && wrong != Outcome::fault) {
    distrust(life);
  }
  ++a.rounds;
  return a.last;
}

// The core of that life is given up at the next turn: it answered wrongly what is known.
void CoreService::distrust(std::uint64_t life) {
  distrusted_ = life;
  wake();
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
