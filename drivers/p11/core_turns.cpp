// The side of the thread, or of the caller whose turn it is: the device, its rings and key slots, batches.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "drivers/p11/core_service.hpp"
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

}  // namespace

// A job taken from the ring: ends in any case.
struct CoreService::Owed {
  CoreService& service;
  Job& job;
  ~Owed() { service.finish(job, Outcome::lost); }
};

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
      worn_ = {};
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
  } else if (op == ecc::Opcode::erase && worn_.worn(j->d.key_slot, status)) {
    log_(name_ + ": key slot " + std::to_string(j->d.key_slot) + " is damaged and out of use until the core is reset");
  } else if (slot_back && (status == JobStatus::fault || (op == ecc::Opcode::erase && status != JobStatus::ok))) {
    // Not known whether the core has seen the job: erased once more before the slot is used again.
    const JobPtr again = make(ecc::Opcode::erase, static_cast<ecc::CurveNumber>(j->d.curve));
    again->own = true;
    again->life = life_.load();
    again->d.key_slot = j->d.key_slot;
    again->d.flags = j->d.flags & ecc::kDescriptorGeneration.mask();
    again->since = Clock::now();
    ++erasing_;
    queued_.push_back(again);
  } else if (slot_back) {
    free_.push_back(j->d.key_slot);
  }
  j->c = c;
  j->answered_in = life_.load();
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
  std::array<pollfd, 2> fds{{{wake_.fd(), POLLIN, 0}, {-1, POLLIN, 0}}};
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
  if ((fds[0].revents & POLLIN) != 0) wake_.clear();
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
    if (device_ && distrusted_.load() == life_.load()) lose({"core-lost", "it answered wrongly what is known"});
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
