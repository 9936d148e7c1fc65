#include "drivers/p11/core_service.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include "host/base/secret.hpp"

namespace kf::p11core {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr microseconds kBatchWait{300};   // an idle core waits so long for company
constexpr milliseconds kOverdue{300};     // no answer for so long: look at the device's registers
constexpr milliseconds kIdleLook{1000};   // a core without work is asked so often whether it is still there
constexpr milliseconds kSilence{20'000};  // jobs in the core and no answer: it is lost
constexpr milliseconds kFirstPause{200}, kLongestPause{10'000};

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

// A job taken from the ring: ends in any case.
struct CoreService::Owed {
  CoreService& service;
  Job& job;
  ~Owed() { service.finish(job, Outcome::lost); }
};

CoreService::CoreService(std::string name, Open open, Log log, Threads threads)
    : name_(std::move(name)),
      open_(std::move(open)),
      log_(std::move(log)),
      threads_(threads),
      wake_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (wake_fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  if (threads_ == Threads::callers) return;
  try {
    const NoSignals none;
    thread_ = std::thread([this] { serve(); });
  } catch (...) {
    ::close(wake_fd_);
    throw;
  }
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
  ::close(wake_fd_);
}

void CoreService::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(wake_fd_, &one, sizeof one);
}

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

// ---- callers

CoreService::JobPtr CoreService::make(ecc::Opcode op, ecc::CurveNumber curve) {
  auto j = std::make_shared<Job>();
  j->d.opcode = static_cast<std::uint8_t>(op);
  j->d.curve = static_cast<std::uint8_t>(curve);
  return j;
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
  key = {j->life, j->d.key_slot, curve};
  q[0] = 4;
  take(j->c.x, q.data() + 1);
  take(j->c.y, q.data() + 33);
  return Outcome::ok;
}

Outcome CoreService::agree(const CoreKey& key, const Point& peer, std::span<std::uint8_t, 32> shs) {
  const JobPtr j = make(ecc::Opcode::ecka, key.curve);
  j->life = key.life;
  j->d.key_slot = key.slot;
  put(j->d.v[0], peer.data() + 1);
  put(j->d.v[1], peer.data() + 33);
  const Outcome o = run_one(j);
  if (o == Outcome::ok) take(j->c.x, shs.data());
  return o;
}

Outcome CoreService::sign(const CoreKey& key, const Digest32& e, Signature& out) {
  const JobPtr j = make(ecc::Opcode::sign, key.curve);
  j->life = key.life;
  j->d.key_slot = key.slot;
  put(j->d.v[0], e.data());
  const Outcome o = run_one(j);
  if (o == Outcome::ok) {
    take(j->c.x, out.data());
    take(j->c.y, out.data() + 32);
  }
  return o;
}

Outcome CoreService::verify(ecc::CurveNumber curve, const Point& q, const Digest32& e, const Signature& s) {
  const JobPtr j = make(ecc::Opcode::verify, curve);
  put(j->d.v[0], q.data() + 1);
  put(j->d.v[1], q.data() + 33);
  put(j->d.v[2], e.data());
  put(j->d.v[3], s.data());
  put(j->d.v[4], s.data() + 32);
  return run_one(j);
}

Outcome CoreService::erase(std::span<const CoreKey> keys) {
  std::vector<JobPtr> jobs;
  for (const CoreKey& k : keys) {
    if (!alive(k)) continue;  // gone with its core
    jobs.push_back(make(ecc::Opcode::erase, k.curve));
    jobs.back()->life = k.life;
    jobs.back()->d.key_slot = k.slot;
  }
  hand_in(jobs);
  Outcome worst = Outcome::ok;
  for (const JobPtr& j : jobs) {
    wait_for(*j);
    if (j->outcome == Outcome::fault) worst = Outcome::fault;
  }
  return worst;
}

// ---- the thread

void CoreService::finish(Job& j, Outcome o) noexcept {
  if (std::exchange(j.finished, true)) return;
  finished_some_ = true;
  j.outcome = o;
  j.done.release();
}

void CoreService::take_inbox() {
  {
    const std::lock_guard g(lock_);
    taken_.swap(inbox_);
  }
  for (const JobPtr& j : taken_) {
    const bool erases = j->d.opcode == static_cast<std::uint8_t>(ecc::Opcode::erase);
    if (j->life != 0 && j->life != life_.load()) {
      finish(*j, erases ? Outcome::ok : Outcome::key_gone);
      continue;
    }
    queued_.push_back(j);
    erasing_ += erases ? 1 : 0;
  }
  taken_.clear();
}

void CoreService::open_core() {
  const auto now = Clock::now();
  if (now >= next_try_) {
    auto d = open_();
    if (d) {
      device_ = std::move(*d);
      free_.clear();
      for (unsigned s = device_->key_slots(); s != 0; --s) free_.push_back(static_cast<std::uint16_t>(s - 1));
      life_ = ++lives_;
      next_tag_ = due_tag_ = 1;
      pause_ = kFirstPause;
      looked_ = last_answer_ = Clock::now();
      return;
    }
    log_(name_ + " cannot be opened: " + d.error().text());
    next_try_ = Clock::now() + pause_;
    pause_ = std::min(2 * pause_, kLongestPause);
  }
  // Nobody waits for a core that is not there: whoever calls again later finds out whether it has come back.
  for (const JobPtr& j : queued_) finish(*j, Outcome::lost);
  queued_.clear();
  erasing_ = 0;
}

// Whatever went wrong: nobody is left waiting, and the core of which nothing is known any more is gone.
void CoreService::give_all_up() noexcept {
  close_core();
  std::vector<JobPtr> last;
  {
    const std::lock_guard g(lock_);
    last.swap(inbox_);
  }
  for (const JobPtr& j : last) finish(*j, Outcome::lost);
}

// By value: the reason mostly belongs to the device that ends here.
void CoreService::lose(Error why) {
  life_ = 0;
  ++losses_;
  device_.reset();
  for (const JobPtr& j : in_ring_)
    finish(*j, j->d.opcode == static_cast<std::uint8_t>(ecc::Opcode::erase) ? Outcome::ok : Outcome::lost);
  in_ring_.clear();
  batches_.clear();
  // What needs a key of that core cannot be done any more; the rest waits for the next one.
  std::erase_if(queued_, [&](const JobPtr& j) {
    if (j->life == 0) return false;
    finish(*j, j->d.opcode == static_cast<std::uint8_t>(ecc::Opcode::erase) ? Outcome::ok : Outcome::key_gone);
    return true;
  });
  erasing_ = 0;
  log_(name_ + " lost: " + why.text() + "; its keys are gone");
}

void CoreService::answer(const JobPtr& j, const ecc::Completion& c) {
  using ecc::JobStatus;
  const auto status = static_cast<JobStatus>(c.status);
  const auto op = static_cast<ecc::Opcode>(j->d.opcode);
  const auto outcome = [&] {
    switch (status) {
      case JobStatus::ok:
        return Outcome::ok;
      case JobStatus::bad_signature:
        return Outcome::bad_signature;
      case JobStatus::off_curve:
      case JobStatus::range:
      case JobStatus::exception:
        return Outcome::undecided;
      case JobStatus::key:
        return Outcome::key_gone;
      default:
        return Outcome::fault;
    }
  }();
  const bool slot_back = op == ecc::Opcode::erase || op == ecc::Opcode::ecka || op == ecc::Opcode::generate;
  if (op == ecc::Opcode::erase) --erasing_;
  if (op == ecc::Opcode::generate && status == JobStatus::ok) {
    j->life = life_.load();
  } else if (slot_back && (status == JobStatus::fault || (op == ecc::Opcode::erase && status != JobStatus::ok))) {
    // Not known whether the core has seen the job: erased once more before the slot is used again.
    const JobPtr again = make(ecc::Opcode::erase, static_cast<ecc::CurveNumber>(j->d.curve));
    again->own = true;
    again->life = life_.load();
    again->d.key_slot = j->d.key_slot;
    again->since = Clock::now();
    ++erasing_;
    queued_.push_back(again);
  } else if (slot_back) {
    free_.push_back(j->d.key_slot);
  }
  j->c = c;
  finish(*j, outcome);
}

void CoreService::poll_core() {
  std::array<ecc::Completion, 64> answers;
  for (std::size_t n = device_->poll(answers); n != 0; n = device_->poll(answers)) {
    const auto now = Clock::now();
    last_answer_ = now;
    Status bad;
    for (std::size_t i = 0; i < n && bad.ok(); ++i) {
      const ecc::Completion& c = answers[i];
      if (in_ring_.empty() || c.tag != due_tag_) {
        bad = Error{"core-lost", "the core answered a job that is not due"};
        break;
      }
      ++due_tag_;
      const JobPtr j = std::move(in_ring_.front());
      in_ring_.pop_front();
      const Owed owed{*this, *j};
      if (--batches_.front() == 0) batches_.pop_front();
      const auto s = static_cast<ecc::JobStatus>(c.status);
      if (s == ecc::JobStatus::self_test || s == ecc::JobStatus::descriptor || s == ecc::JobStatus::entropy ||
          s == ecc::JobStatus::key) {
        finish(*j, Outcome::lost);
        bad = Error{"core-lost", "the core answered with status " + std::to_string(c.status)};
      } else if (!device_->state().ok() && s == ecc::JobStatus::fault) {
        finish(*j, Outcome::lost);  // what a lost device owes
      } else {
        answer(j, c);
      }
    }
    wipe(answers.data(), sizeof answers);
    if (!bad.ok()) return lose(bad.error());
  }
  if (!device_->state().ok()) lose(device_->state().error());
}

void CoreService::look(Clock::time_point now) {
  if (in_ring_.empty()) {
    if (now - looked_ < kIdleLook) return;
  } else {
    if (now - last_answer_ > kSilence)
      return lose({"core-lost", "no answer for " + std::to_string(kSilence.count()) + " ms"});
    if (now - std::max(last_answer_, looked_) < kOverdue) return;
  }
  looked_ = now;
  const Status s = device_->check();
  if (!s.ok()) {
    poll_core();  // delivers what is owed
    if (device_) lose(s.error());
  }
}

bool CoreService::sendable(const Job& j) const {
  return j.d.opcode != static_cast<std::uint8_t>(ecc::Opcode::generate) || !free_.empty();
}

// Keys that cannot be made: every slot is in use and none is being erased.
void CoreService::refuse_what_cannot_be() {
  if (!free_.empty() || erasing_ != 0) return;
  const auto agrees = [](const JobPtr& j) { return j->d.opcode == static_cast<std::uint8_t>(ecc::Opcode::ecka); };
  // An agreement gives its slot back.
  if (std::any_of(in_ring_.begin(), in_ring_.end(), agrees) || std::any_of(queued_.begin(), queued_.end(), agrees))
    return;
  std::erase_if(queued_, [&](const JobPtr& j) {
    if (sendable(*j)) return false;
    finish(*j, Outcome::no_slot);
    return true;
  });
}

void CoreService::send(Clock::time_point now) {
  std::vector<ecc::Descriptor> descriptors;
  for (const JobPtr& j : group_) {
    if (j->d.opcode == static_cast<std::uint8_t>(ecc::Opcode::generate)) {
      j->d.key_slot = free_.back();
      free_.pop_back();
    }
    j->d.tag = next_tag_ + descriptors.size();
    descriptors.push_back(j->d);
  }
  const std::size_t n = device_->submit(descriptors);
  next_tag_ += n;
  for (std::size_t i = group_.size(); i > n; --i) {  // the ring had no room
    const JobPtr& j = group_[i - 1];
    if (j->d.opcode == static_cast<std::uint8_t>(ecc::Opcode::generate)) free_.push_back(j->d.key_slot);
    queued_.push_front(j);
  }
  if (n == 0) return;
  if (in_ring_.empty()) last_answer_ = now;
  in_ring_.insert(in_ring_.end(), group_.begin(), group_.begin() + static_cast<std::ptrdiff_t>(n));
  batches_.push_back(n);
  ++batches_sent_;
  jobs_sent_ += n;
}

// The oldest job that can be sent, and those of its kind, when the time for them has come.
bool CoreService::feed(Clock::time_point now) {
  if (batches_.size() >= 2) return false;
  const auto first = std::find_if(queued_.begin(), queued_.end(), [this](const JobPtr& j) { return sendable(*j); });
  if (first == queued_.end()) return false;
  const std::size_t kind = kind_of(**first);
  std::size_t most = device_->contexts();
  if ((*first)->d.opcode == static_cast<std::uint8_t>(ecc::Opcode::generate)) most = std::min(most, free_.size());
  const auto same = static_cast<std::size_t>(
      std::count_if(first, queued_.end(), [&](const JobPtr& j) { return kind_of(*j) == kind; }));
  if (same < most) {
    // Half a batch takes as long as a whole one, so it goes when the core has nothing else to do, and when those whose
    // answers have just come had the time to ask for more.
    if (!batches_.empty() || now - std::max((*first)->since, last_answer_) < kBatchWait) return false;
  }
  // An idle core may have gone since it was asked last: better to know before the job is in its ring.
  if (in_ring_.empty()) {
    if (const Status s = device_->transport().alive(); !s.ok()) {
      lose(s.error());
      return false;
    }
  }
  for (auto it = first; it != queued_.end() && group_.size() < most;) {
    if (kind_of(**it) == kind) {
      group_.push_back(*it);
      it = queued_.erase(it);
    } else {
      ++it;
    }
  }
  const std::size_t before = in_ring_.size();
  send(now);
  group_.clear();
  return in_ring_.size() > before;
}

void CoreService::publish() {
  const std::lock_guard g(lock_);
  facts_.open = device_ != nullptr;
  if (device_) {
    facts_.version = device_->capabilities().version;
    facts_.key_slots = device_->key_slots();
    facts_.contexts = device_->contexts();
  }
  facts_.free_slots = device_ ? static_cast<unsigned>(free_.size()) : 0;
  facts_.batches = batches_sent_;
  facts_.jobs = jobs_sent_;
  facts_.losses = losses_;
}

void CoreService::sleep() {
  std::array<pollfd, 2> fds{{{wake_fd_, POLLIN, 0}, {-1, POLLIN, 0}}};
  microseconds most = kIdleLook;
  if (device_) {
    fds[1].fd = device_->interrupt_fd();
    if (!in_ring_.empty()) most = device_->interrupt_fd() >= 0 ? microseconds(200'000) : microseconds(500);
    if (!queued_.empty() && batches_.empty()) most = kBatchWait / 2;
  } else if (queued_.empty()) {
    most = milliseconds(60'000);
  } else {
    most = microseconds(0);
  }
  const timespec t{most.count() / 1'000'000, (most.count() % 1'000'000) * 1000};
  if (::ppoll(fds.data(), fds.size(), &t, nullptr) <= 0) return;
  if ((fds[0].revents & POLLIN) != 0) {
    std::uint64_t n = 0;
    [[maybe_unused]] const auto r = ::read(wake_fd_, &n, sizeof n);
  }
  if (device_ && (fds[1].revents & POLLIN) != 0) device_->rearm_interrupt();
}

void CoreService::close_core() noexcept {
  life_ = 0;
  try {
    if (device_ && (free_.size() != device_->key_slots() || !in_ring_.empty())) {
      // On a board the slots would outlive this process.
      if (const Status s = device_->zeroise(); !s.ok() && device_->transport().alive().ok())
        log_(name_ + ": its key slots could not be overwritten: " + s.error().text());
    }
  } catch (...) {  // no memory for the reason; what can be is closed
  }
  device_.reset();
  const auto end = [this](auto& jobs) {
    for (const JobPtr& j : jobs)
      if (j) finish(*j, Outcome::lost);
    jobs.clear();
  };
  end(taken_);
  end(group_);
  end(in_ring_);
  end(queued_);
  batches_.clear();
  erasing_ = 0;
}

void CoreService::turn() noexcept {
  finished_some_ = false;
  try {
    take_inbox();
    bool wanted = false;
    {
      const std::lock_guard g(lock_);
      wanted = std::exchange(wanted_, false);
    }
    if (!device_ && (wanted || !queued_.empty())) open_core();
    if (device_) poll_core();
    if (device_) look(Clock::now());
    if (device_) refuse_what_cannot_be();
    const auto now = Clock::now();
    while (device_ && feed(now)) {
    }
    publish();
    // Whoever does the turns for others lets those go who have their answers.
    if (threads_ == Threads::own || !finished_some_) sleep();
  } catch (...) {
    give_all_up();
    next_try_ = Clock::now() + pause_;
    ++losses_;
    try {
      publish();
      log_(name_ + " given up: no memory or no random numbers; its keys are gone");
    } catch (...) {  // then without a line
    }
  }
}

void CoreService::serve() {
  for (;;) {
    {
      const std::lock_guard g(lock_);
      if (stopping_) break;
    }
    turn();
  }
  give_all_up();
}

}  // namespace kf::p11core
