#include "hsm/engine/io_loop.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace kf::hsm {
namespace {

using std::chrono::milliseconds;

// A worker gets its next batch when fewer than this many jobs are left in it: it never runs dry, and a job waits in the
// lane, where it can still be refused, rather than in the worker.
constexpr std::size_t kRefill = 32;
constexpr std::size_t kMaxCallsWaiting = 256;
constexpr milliseconds kCallLimit{15'000};
constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{5'000};
constexpr milliseconds kGoodUptime{10'000};  // a worker that lived so long starts again without a pause
constexpr milliseconds kReapLook{50};
constexpr milliseconds kGrace{3'000};  // for workers to end by themselves

}  // namespace

IoLoop::IoLoop(const HsmConfig& c) : config_(c), buffer_(wire::kMaxMessage), batch_(wire::kMaxBatch) {
  event_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  wake_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  for (unsigned i = 0; i < c.workers; ++i) workers_.push_back(std::make_unique<Worker>(c.ring_entries));
}

IoLoop::~IoLoop() {
  {
    const Lock lock(mutex_);
    stopping_ = true;
    wake();
  }
  if (thread_.joinable()) thread_.join();
  if (event_fd_ >= 0) ::close(event_fd_);
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

Status IoLoop::start() {
  if (event_fd_ < 0 || wake_fd_ < 0) return Error{"hsm-worker", std::string("eventfd: ") + std::strerror(errno)};
  thread_ = std::thread([this] { run(); });
  Lock lock(mutex_);
  changed_.wait(lock, [&] {
    return start_error_ ||
           std::all_of(workers_.begin(), workers_.end(), [](const auto& w) { return w->state == Worker::State::live; });
  });
  if (start_error_) return *start_error_;
  starting_up_ = false;
  return {};
}

// ---- the caller's side
// -------------------------------------------------------------------------------------------------

bool IoLoop::hopeful(const Worker& w) const noexcept {
  return !pin_refused_ &&
         (w.state == Worker::State::starting || (w.state == Worker::State::waiting && w.failures <= 1));
}

IoLoop::Worker* IoLoop::best_worker(bool for_call) noexcept {
  Worker* best = nullptr;
  for (const auto& w : workers_) {
    if (w->state != Worker::State::live || (!for_call && w->lane.full())) continue;
    const auto load = [](const Worker& x) {
      return x.lane.queued() + x.lane.sent() + x.calls_queued.size() + x.calls_sent.size();
    };
    if (best == nullptr || load(*w) < load(*best)) best = w.get();
  }
  return best;
}

std::size_t IoLoop::submit(std::span<const EccRequest> requests) noexcept {
  const Lock lock(mutex_);
  const bool any_live =
      std::any_of(workers_.begin(), workers_.end(), [](const auto& w) { return w->state == Worker::State::live; });
  std::size_t n = 0;
  bool refused = false;
  for (; n < requests.size(); ++n) {
    Worker* w = nullptr;
    if (any_live) {
      w = best_worker(false);
      if (w == nullptr) break;
      w->lane.accept(requests[n]);
      continue;
    }
    // Nobody serves now. A worker that is being started gets the job; without hope the answer is given at once.
    for (const auto& x : workers_) {
      if (x->lane.full()) continue;
      if (w == nullptr || (hopeful(*x) && !hopeful(*w))) w = x.get();
    }
    if (w == nullptr) break;
    if (hopeful(*w)) {
      w->lane.accept(requests[n]);
    } else {
      w->lane.accept_and_refuse(requests[n], EccStatus::engine_down);
      refused = true;
    }
  }
  if (refused) raise_event();
  if (n != 0 && asleep_) wake();
  return n;
}

std::size_t IoLoop::poll(std::span<EccCompletion> out) noexcept {
  const Lock lock(mutex_);
  std::size_t n = 0;
  std::size_t empty = 0;
  // In turn over the workers, so that a fast one cannot keep the others' completions waiting.
  while (n < out.size() && empty < workers_.size()) {
    collect_from_ = (collect_from_ + 1) % workers_.size();
    if (workers_[collect_from_]->lane.collect(out[n])) {
      ++n;
      empty = 0;
    } else {
      ++empty;
    }
  }
  if (event_raised_ &&
      std::none_of(workers_.begin(), workers_.end(), [](const auto& w) { return w->lane.has_done(); })) {
    std::uint64_t ignored = 0;
    [[maybe_unused]] const ssize_t r = ::read(event_fd_, &ignored, sizeof ignored);
    event_raised_ = false;
  }
  return n;
}

IdentityPoints IoLoop::identity() const {
  const Lock lock(mutex_);
  return identity_;
}

HsmStats IoLoop::stats() const {
  const Lock lock(mutex_);
  HsmStats s;
  for (const auto& w : workers_) {
    s.workers.push_back({w->process ? static_cast<int>(w->process->pid()) : 0, w->state == Worker::State::live, w->jobs,
                         w->batches, w->starts > 0 ? w->starts - 1 : 0});
  }
  s.batch_size = batch_size_;
  return s;
}

Result<SecretBytes> IoLoop::call(wire::AdminOp op, const wire::Writer& args) {
  wire::Writer head;
  head.u32(static_cast<std::uint32_t>(op));
  const SecretBytes message = SecretBytes::adopt(concat(head.bytes(), args.bytes()));
  if (sizeof(wire::Header) + message.size() > wire::kMaxMessage)
    return Error{"hsm-call", "arguments longer than a message"};
  const auto deadline = Clock::now() + kCallLimit;
  bool lost = false;
  auto r = call_once(message, deadline, lost);
  if (lost) r = call_once(message, deadline, lost);
  return r;
}

Result<SecretBytes> IoLoop::call_once(const SecretBytes& message, Clock::time_point deadline, bool& lost) {
  const auto call = std::make_shared<Call>();
  call->message = message.clone();
  Lock lock(mutex_);
  Worker* w = best_worker(true);
  while (w == nullptr) {
    const bool hope = std::any_of(workers_.begin(), workers_.end(), [&](const auto& x) { return hopeful(*x); });
    if (!hope || changed_.wait_until(lock, deadline) == std::cv_status::timeout)
      return Error{"hsm-worker", "no HSM worker is live"};
    w = best_worker(true);
  }
  if (w->calls_queued.size() + w->calls_sent.size() >= kMaxCallsWaiting)
    return Error{"hsm-busy", "too many calls wait for the HSM"};
  call->serial = next_serial_++;
  w->calls_queued.push_back(call);
  if (asleep_) wake();
  call->finished.wait_until(lock, deadline, [&] { return call->result.has_value(); });
  if (!call->result) {  // too late: a late answer finds nobody and is dropped
    for (const auto& x : workers_) {
      std::erase(x->calls_queued, call);
      x->calls_sent.erase(call->serial);
    }
    return Error{"hsm-worker", "no answer from the HSM within " + std::to_string(kCallLimit.count()) + " ms"};
  }
  lost = !call->result->ok() && call->result->error().reason == "hsm-worker-lost";
  if (lost) return Error{"hsm-worker", call->result->error().detail};
  return std::move(*call->result);
}

void IoLoop::finish(const CallPtr& c, Result<SecretBytes> r) {
  c->message.wipe_now();
  c->result.emplace(std::move(r));
  c->finished.notify_one();
}

void IoLoop::wake() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t r = ::write(wake_fd_, &one, sizeof one);
}

void IoLoop::raise_event() noexcept {
  if (event_raised_) return;
  const std::uint64_t one = 1;
  event_raised_ = ::write(event_fd_, &one, sizeof one) == sizeof one;
}

void IoLoop::log(const std::string& line) const {
  if (config_.log) {
    config_.log(line);
  } else {
    std::fprintf(stderr, "keyferry hsm: %s\n", line.c_str());
  }
}

// ---- the I/O thread
// ----------------------------------------------------------------------------------------------------

void IoLoop::run() {
  Lock lock(mutex_);
  while (!stopping_) {
    timers(lock);
    for (const auto& w : workers_) {
      if (w->state == Worker::State::live && !w->blocked) pump(*w);
    }
    wait_for_events(lock);
  }
  shut_down(lock);
}

void IoLoop::timers(Lock& lock) {
  const auto now = Clock::now();
  std::erase_if(dying_, [](WorkerProcess& p) { return p.reap(milliseconds(0)).has_value(); });
  bool one_starts = false;
  for (const auto& w : workers_) {
    if (w->state == Worker::State::starting && now - w->started_at > config_.start_limit) {
      fail(*w, {"hsm-worker", "not ready within " + std::to_string(config_.start_limit.count()) + " ms"}, lock);
    } else if (w->state == Worker::State::live && w->owes() && now - w->heard_at > config_.stall_limit) {
      fail(*w,
           {"hsm-worker",
            "no sign of life for " + std::to_string(config_.stall_limit.count()) + " ms with work outstanding"},
           lock);
    }
    one_starts = one_starts || w->state == Worker::State::starting;
  }
  // One at a time: when the PIN turns out to be wrong, exactly one login was spent on it (L20).
  for (const auto& w : workers_) {
    if (one_starts || pin_refused_ || start_error_ || stopping_) break;
    if (w->state == Worker::State::waiting && w->start_at <= Clock::now()) {
      begin(*w, lock);
      one_starts = w->state == Worker::State::starting;
    }
  }
}

void IoLoop::begin(Worker& w, Lock& lock) {
  w.state = Worker::State::starting;
  w.started_at = Clock::now();
  ++w.starts;
  lock.unlock();
  auto p = WorkerProcess::spawn(config_, wire::Configuration::Mode::serve);
  lock.lock();
  if (!p) return fail(w, std::move(p).error(), lock);
  w.process.emplace(std::move(p).value());
}

void IoLoop::pump(Worker& w) {
  const auto sent = [&](int rc) {
    if (rc == 0) {
      if (!w.owes()) w.heard_at = Clock::now();
      return true;
    }
    w.blocked = rc == EAGAIN || rc == ENOBUFS;  // any other error shows up as the end of the stream when reading
    return false;
  };
  while (!w.calls_queued.empty()) {
    const CallPtr c = w.calls_queued.front();
    if (!sent(wire::send_message(w.process->fd(), wire::Kind::call, 0, c->serial, c->message.expose(), MSG_DONTWAIT)))
      return;
    w.calls_queued.pop_front();
    c->message.wipe_now();
    w.calls_sent.emplace(c->serial, c);
  }
  while (w.lane.queued() != 0 && w.lane.sent() < kRefill) {
    const std::size_t n = w.lane.peek(batch_);
    const ByteView body(reinterpret_cast<const std::uint8_t*>(batch_.data()), n * sizeof(wire::JobEntry));
    if (!sent(wire::send_message(w.process->fd(), wire::Kind::jobs, static_cast<std::uint32_t>(n), 0, body,
                                 MSG_DONTWAIT)))
      return;
    w.lane.mark_sent(n);
    ++w.batches;
    batch_size_.add(n);
  }
}

void IoLoop::wait_for_events(Lock& lock) {
  std::vector<pollfd> fds{{wake_fd_, POLLIN, 0}};
  std::vector<Worker*> whose{nullptr};
  auto next = Clock::time_point::max();
  for (const auto& w : workers_) {
    if (w->process) {
      fds.push_back({w->process->fd(), static_cast<short>(w->blocked ? POLLIN | POLLOUT : POLLIN), 0});
      whose.push_back(w.get());
    }
    if (w->state == Worker::State::waiting && !pin_refused_ && !start_error_) next = std::min(next, w->start_at);
    if (w->state == Worker::State::starting) next = std::min(next, w->started_at + config_.start_limit);
    if (w->state == Worker::State::live && w->owes()) next = std::min(next, w->heard_at + config_.stall_limit);
  }
  // A worker may be due and still have to wait for another one's start: its events wake this thread anyway.
  const bool one_starts =
      std::any_of(workers_.begin(), workers_.end(), [](const auto& w) { return w->state == Worker::State::starting; });
  const auto now = Clock::now();
  if (!dying_.empty()) next = std::min(next, now + kReapLook);
  int timeout = -1;
  if (next != Clock::time_point::max()) {
    const auto ms = std::chrono::ceil<milliseconds>(next - now).count();
    timeout = static_cast<int>(std::clamp<long long>(ms, one_starts ? 10 : 0, 60'000));
  }
  asleep_ = true;
  lock.unlock();
  ::poll(fds.data(), fds.size(), timeout);
  lock.lock();
  asleep_ = false;
  if ((fds[0].revents & POLLIN) != 0) {
    std::uint64_t ignored = 0;
    [[maybe_unused]] const ssize_t r = ::read(wake_fd_, &ignored, sizeof ignored);
  }
  for (std::size_t i = 1; i < fds.size(); ++i) {
    if ((fds[i].revents & POLLOUT) != 0) whose[i]->blocked = false;
    if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) receive(*whose[i], lock);
  }
}

void IoLoop::receive(Worker& w, Lock& lock) {
  // Bounded: one worker's flood must not keep this thread from the others.
  for (int i = 0; i < 16; ++i) {
    wire::Message m{};
    const int rc = wire::receive_message(w.process->fd(), buffer_.expose_mut(), m, MSG_DONTWAIT);
    if (rc == EAGAIN) return;
    if (rc == EPIPE) return fail(w, {"hsm-worker", "it ended"}, lock);
    if (rc != 0) return fail(w, {"hsm-worker", std::string("receive: ") + std::strerror(rc)}, lock);
    w.heard_at = Clock::now();
    std::string why;
    const bool good = m.header.kind == wire::Kind::ready || handle(w, m, why);
    if (m.header.kind == wire::Kind::ready) {
      auto points = w.state == Worker::State::starting ? decode_ready(m.body) : Error{"hsm-worker", "ready twice"};
      if (!points) return fail(w, std::move(points).error(), lock);
      if (!identity_.empty() && *points != identity_) {
        return fail(w, {"hsm-key", "the identity keys in the token are not those of the start; restart to accept them"},
                    lock);
      }
      identity_ = std::move(points).value();
      w.state = Worker::State::live;
      w.started_at = w.heard_at;
      if (w.starts > 1) log("worker " + std::to_string(w.process->pid()) + " serves again after a restart");
      changed_.notify_all();
      pump(w);
    }
    wipe(buffer_.expose_mut().data(), sizeof(wire::Header) + m.body.size());
    if (good && m.header.leaving != 0) return fail(w, {"hsm-worker", "it ends after a fatal return code"}, lock);
    if (!good) return fail(w, {"hsm-worker", why}, lock);
  }
}

bool IoLoop::handle(Worker& w, const wire::Message& m, std::string& why) {
  if (w.state != Worker::State::live) {
    why = "it spoke before it was ready";
    return false;
  }
  if (m.header.kind == wire::Kind::done) {
    wire::DoneEntry d{};
    for (std::uint32_t i = 0; i < m.header.count; ++i) {
      std::memcpy(&d, m.body.data() + i * sizeof d, sizeof d);
      if (!w.lane.complete(d)) {
        why = "it completed a job that it does not have";
        break;
      }
      ++w.jobs;
    }
    wipe(&d, sizeof d);
    raise_event();
    return why.empty();
  }
  if (m.header.kind == wire::Kind::answer) {
    if (const auto it = w.calls_sent.find(m.header.serial); it != w.calls_sent.end()) {
      const CallPtr c = it->second;
      w.calls_sent.erase(it);
      finish(c, wire::decode_answer(m.body));
    }
    return true;
  }
  why = "unexpected message";
  return false;
}

void IoLoop::fail(Worker& w, Error why, Lock& lock) {
  const bool was_live = w.state == Worker::State::live;
  const auto now = Clock::now();
  if (was_live && now - w.started_at >= kGoodUptime) w.failures = 0;
  const auto pause =
      w.failures == 0 ? milliseconds(0) : std::min(kLongestPause, kFirstPause * (1U << std::min(w.failures - 1, 10U)));
  ++w.failures;
  w.state = Worker::State::waiting;
  w.start_at = now + pause;
  w.blocked = false;
  if (why.reason == "hsm-pin") pin_refused_ = true;

  const std::size_t jobs = w.lane.fail_all(EccStatus::engine_down);
  if (jobs != 0) raise_event();
  for (const auto& [serial, c] : w.calls_sent)
    finish(c, Error{"hsm-worker-lost", "the HSM worker was lost during the call"});
  for (const auto& c : w.calls_queued) finish(c, Error{"hsm-worker-lost", "the HSM worker was lost before the call"});
  w.calls_sent.clear();
  w.calls_queued.clear();

  std::string pid = "not started";
  std::string ending;
  if (w.process) {
    WorkerProcess p = std::move(*w.process);
    w.process.reset();
    pid = std::to_string(p.pid());
    lock.unlock();  // its entries are settled; nobody else looks at the process
    p.hang_up();
    p.kill_now();
    const auto status = p.reap(kReapLook);
    lock.lock();
    ending = status ? " (" + wait_status_text(*status) + ")" : " (still dying)";
    if (!status) dying_.push_back(std::move(p));
  }
  if (starting_up_) {
    if (!was_live && why.reason == "hsm-worker") why.detail += ending + "; the PKCS#11 module may have crashed it";
    if (!start_error_) start_error_ = why;
  } else {
    log("worker " + pid + " lost: " + why.text() + ending + "; " + std::to_string(jobs) +
        " jobs answered engine_down; " +
        (pin_refused_ ? "no restart, the PIN was refused" : "restart in " + std::to_string(pause.count()) + " ms"));
  }
  changed_.notify_all();
}

void IoLoop::shut_down(Lock& lock) {
  std::vector<WorkerProcess> ending;
  for (const auto& w : workers_) {
    w->state = Worker::State::stopped;
    w->lane.fail_all(EccStatus::engine_down);
    for (const auto& [serial, c] : w->calls_sent) finish(c, Error{"hsm-worker", "the HSM engine stops"});
    for (const auto& c : w->calls_queued) finish(c, Error{"hsm-worker", "the HSM engine stops"});
    w->calls_sent.clear();
    w->calls_queued.clear();
    if (w->process) ending.push_back(std::move(*w->process));
    w->process.reset();
  }
  lock.unlock();
  for (auto& p : ending) p.hang_up();
  const auto deadline = Clock::now() + kGrace;
  for (auto& p : ending) {
    const pid_t pid = p.pid();
    const auto left = std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(deadline - Clock::now()));
    const auto status = p.reap(left);
    if (!status) {
      p.kill_now();
      p.reap(milliseconds(200));
      log("worker " + std::to_string(pid) + " did not end by itself and was killed");
    } else if (*status != 0 && !start_error_) {
      log("worker " + std::to_string(pid) + " ended with " + wait_status_text(*status));
    }
  }
  lock.lock();
}

}  // namespace kf::hsm
