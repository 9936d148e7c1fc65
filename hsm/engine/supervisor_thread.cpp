// Supervisor: what runs on its thread.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "hsm/engine/supervisor.hpp"

namespace kf::hsm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{5'000};
constexpr milliseconds kDownPause{1'000};    // between two looks at a token that is down
constexpr milliseconds kGoodUptime{10'000};  // a worker that lived so long starts again without a pause
constexpr milliseconds kReapLook{20};
constexpr milliseconds kGrace{3'000};  // for workers to end by themselves
constexpr milliseconds kRssLook{500};
constexpr milliseconds kLongestCallLimit{20'000};

}  // namespace

std::size_t Supervisor::resident_bytes(int pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/statm");
  std::size_t total = 0, pages = 0;
  in >> total >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

void Supervisor::run() {
  Lock lock(mutex_);
  while (!stopping_) {
    timers(lock);
    for (const auto& w : workers_) {
      if (w->serves() && !w->blocked) pump(*w);
    }
    wait_for_events(lock);
  }
  shut_down(lock);
}

// One state change of a token, one line in the log (docs/spec/pkcs11.md L11).
void Supervisor::settle(std::size_t token, TokenState s, std::string why) {
  Token& t = tokens_[token];
  if (t.state == s) return;
  const TokenState before = t.state;
  t.state = s;
  t.why = s == TokenState::up ? "" : why;
  const auto now = Clock::now();
  if (s == TokenState::up) {
    if (before == TokenState::down) {
      const auto gone = std::chrono::duration_cast<milliseconds>(now - t.down_since).count();
      log("token " + t.name + " is up again after " + std::to_string(gone) + " ms");
    }
  } else {
    t.down_since = now;
    ++t.outages;
    if (!starting_up_ || tokens_.size() > 1) {
      log("ALARM: token " + t.name +
          (s == TokenState::refused ? " is refused, nothing is tried again: " : " is down: ") + why);
    }
    // Whatever state its workers have, it is of before the trouble: they are replaced, one at a time.
    for (const auto& w : workers_) {
      if (w->token != token) continue;
      if (w->process) w->process->kill_now();
      if (w->state == Worker::State::waiting) w->start_at = std::max(w->start_at, now + kDownPause);
    }
  }
  post({Mail::Kind::token, nullptr, token, s});
  changed_.notify_all();
}

void Supervisor::timers(Lock& lock) {
  const auto now = Clock::now();
  std::erase_if(dying_, [&](Dying& d) {
    if (now >= d.kill_at) d.process.kill_now();
    return d.process.reap(milliseconds(0)).has_value();
  });
  if (wire::now_ns() >= due_.load(std::memory_order_relaxed)) {
    due_.store(~std::uint64_t{0}, std::memory_order_relaxed);
    raise_event();
  }
  const bool look_at_memory = now - rss_at_ >= kRssLook;
  if (look_at_memory) rss_at_ = now;
  for (const auto& w : workers_) {
    if (w->state == Worker::State::starting && now - w->started_at > config_.start_limit) {
      fail(*w, {"hsm-worker", "not ready within " + std::to_string(config_.start_limit.count()) + " ms"}, lock);
    } else if (w->serves()) {
      if (look_at_memory) w->rss = resident_bytes(w->process->pid());
      watch(*w, lock);
    }
  }
  for (std::size_t t = 0; t < tokens_.size() && !stopping_; ++t) {
    if (tokens_[t].state == TokenState::refused) continue;
    const auto of = [&](Worker::State s) { return [&, s](const auto& w) { return w->token == t && w->state == s; }; };
    if (std::any_of(workers_.begin(), workers_.end(), of(Worker::State::starting))) continue;
    if (starting_up_ && tokens_.size() == 1 && start_error_) continue;
    const auto next = std::find_if(workers_.begin(), workers_.end(), [&](const auto& w) {
      return w->token == t && w->state == Worker::State::waiting && w->start_at <= now;
    });
    if (next != workers_.end()) begin(**next, lock);
  }
}

// A call that does not return, and memory that only grows.
void Supervisor::watch(Worker& w, Lock& lock) {
  Token& t = tokens_[w.token];
  const std::uint64_t now = wire::now_ns();
  const auto limit = static_cast<std::uint64_t>(std::chrono::nanoseconds(t.call_limit).count());
  const auto& memory = w.link->ring->memory();
  const unsigned threads = config_.tokens[w.token].threads;
  bool hangs = false;
  for (std::uint32_t i = 0; i < std::min(threads, wire::kMaxThreads); ++i) {
    const std::uint64_t since = memory.busy[i].since.load(std::memory_order_acquire);
    hangs = hangs || (since != 0 && now > since && now - since > limit);
  }
  // A stopped process begins nothing at all: jobs wait in the ring while no thread is busy.
  if (w.link->ring->jobs_wait()) {
    if (w.call_since == Clock::time_point{}) w.call_since = Clock::now();
    const bool anybody_busy = [&] {
      for (std::uint32_t i = 0; i < std::min(threads, wire::kMaxThreads); ++i) {
        if (memory.busy[i].since.load(std::memory_order_relaxed) != 0) return true;
      }
      return false;
    }();
    if (anybody_busy) w.call_since = Clock::now();
    hangs = hangs || Clock::now() - w.call_since > t.call_limit;
  } else {
    w.call_since = {};
  }
  if (hangs) {
    const auto ms = t.call_limit.count();
    t.call_limit = std::max(t.call_limit, std::min(t.call_limit * 2, kLongestCallLimit));
    return fail(w, {"hsm-hang", "one call has not returned for " + std::to_string(ms) + " ms"}, lock);
  }
  if (w.state == Worker::State::live && w.rss > w.budget) {
    const bool another = std::any_of(workers_.begin(), workers_.end(), [&](const auto& x) {
      return x->token == w.token && x->state != Worker::State::live;
    });
    if (another) return;  // one at a time: the others carry the load
    w.state = Worker::State::retiring;
    w.objects_asked = false;
    post({Mail::Kind::retire, w.link, w.token, TokenState::up});
  }
  if (w.state == Worker::State::retiring && w.link->idle.load() && !w.objects_asked && w.calls_queued.empty() &&
      w.calls_sent.empty()) {
    w.objects_asked = true;
    const auto c = std::make_shared<Call>();
    wire::Writer m;
    m.u32(static_cast<std::uint32_t>(wire::AdminOp::session_objects));
    c->message = m.take();
    c->serial = 0;  // nobody waits: receive() knows the number
    w.calls_queued.push_back(c);
  }
}

void Supervisor::begin(Worker& w, Lock& lock) {
  w.state = Worker::State::starting;
  w.started_at = Clock::now();
  ++w.starts;
  const TokenConfig& t = config_.tokens[w.token];
  lock.unlock();
  auto ring = wire::Ring::create();
  Result<WorkerProcess> p =
      ring ? WorkerProcess::spawn(config_, t, wire::Configuration::Mode::serve, (*ring)->fd(), event_.fd())
           : ring.error();
  lock.lock();
  if (!p) return fail(w, std::move(p).error(), lock);
  (*ring)->close_fd();
  w.link = std::make_shared<Link>();
  w.link->token = w.token;
  w.link->worker = static_cast<std::size_t>(
      std::find_if(workers_.begin(), workers_.end(), [&](const auto& x) { return x.get() == &w; }) - workers_.begin());
  w.link->threads = std::clamp(t.threads, 1U, wire::kMaxThreads);
  w.link->ring = std::move(*ring);
  w.process.emplace(std::move(p).value());
}

void Supervisor::pump(Worker& w) {
  while (!w.calls_queued.empty()) {
    const CallPtr c = w.calls_queued.front();
    const int rc = wire::send_message(w.process->fd(), wire::Kind::call, c->serial, c->message.expose(), MSG_DONTWAIT);
    if (rc != 0) {
      w.blocked = rc == EAGAIN || rc == ENOBUFS;  // any other error shows up as the end of the stream when reading
      return;
    }
    w.calls_queued.pop_front();
    c->message.wipe_now();
    w.calls_sent.emplace(c->serial, c);
    w.link->ring->call_attention();
  }
}

void Supervisor::wait_for_events(Lock& lock) {
  std::vector<pollfd> fds{{wake_.fd(), POLLIN, 0}};
  std::vector<Worker*> whose{nullptr};
  for (const auto& w : workers_) {
    if (!w->process) continue;
    fds.push_back({w->process->fd(), static_cast<short>(w->blocked ? POLLIN | POLLOUT : POLLIN), 0});
    whose.push_back(w.get());
  }
  lock.unlock();
  ::poll(fds.data(), fds.size(), static_cast<int>(kTick.count()));
  lock.lock();
  if ((fds[0].revents & POLLIN) != 0) wake_.clear();
  for (std::size_t i = 1; i < fds.size(); ++i) {
    if ((fds[i].revents & POLLOUT) != 0) whose[i]->blocked = false;
    if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) receive(*whose[i], lock);
  }
}

void Supervisor::receive(Worker& w, Lock& lock) {
  // Bounded: one worker's flood must not keep this thread from the others.
  for (int i = 0; i < 16; ++i) {
    wire::Message m{};
    const int rc = wire::receive_message(w.process->fd(), buffer_.expose_mut(), m, MSG_DONTWAIT);
    if (rc == EAGAIN) return;
    if (rc == EPIPE) return fail(w, {"hsm-worker", "it ended"}, lock);
    if (rc != 0) return fail(w, {"hsm-worker", std::string("receive: ") + std::strerror(rc)}, lock);
    const std::size_t octets = sizeof(wire::Header) + m.body.size();
    if (m.header.kind == wire::Kind::ready && w.state == Worker::State::starting) {
      const Bytes body = to_bytes(m.body);
      ready(w, body, lock);
      if (!w.process) return;
    } else if (m.header.kind == wire::Kind::leaving) {
      const auto why = wire::decode_answer(m.body);
      return fail(w, why ? Error{"hsm-worker", "it leaves"} : why.error(), lock);
    } else if (m.header.kind == wire::Kind::answer && w.serves()) {
      const auto it = w.calls_sent.find(m.header.serial);
      if (it != w.calls_sent.end()) {
        const CallPtr c = it->second;
        w.calls_sent.erase(it);
        finish(c, wire::decode_answer(m.body));
        if (m.header.serial == 0) {
          std::string left = "?";
          if (c->result->ok()) left = std::to_string(wire::Reader(c->result->value().expose()).u32());
          log("worker " + std::to_string(w.process->pid()) + " is replaced in order: " + std::to_string(w.rss >> 20) +
              " MiB resident; session objects left in it: " + left);
          wipe(buffer_.expose_mut().data(), octets);
          return end_in_order(w);
        }
      }
    } else {
      return fail(w, {"hsm-worker", "unexpected message"}, lock);
    }
    wipe(buffer_.expose_mut().data(), octets);
  }
}

Status Supervisor::check_identity(const IdentityPoints& points) const {
  for (const auto& [curve, q] : points) {
    for (const auto& k : config_.identity_keys) {
      if (k.curve == curve && k.expected && *k.expected != q) {
        return Error{"hsm-key", "key '" + k.label + "' in the token is not the key of the certificate (" +
                                    std::string(curve_name(curve)) + ")"};
      }
    }
  }
  if (!identity_.empty() && points != identity_)
    return Error{"hsm-key", "the identity keys in this token are not those that this server started with"};
  return {};
}

void Supervisor::ready(Worker& w, ByteView body, Lock& lock) {
  auto points = decode_ready(body);
  if (!points) return fail(w, std::move(points).error(), lock);
  if (const Status same = check_identity(*points); !same.ok()) return fail(w, same.error(), lock);
  identity_ = std::move(points).value();
  w.state = Worker::State::live;
  w.started_at = Clock::now();
  w.rss = resident_bytes(w.process->pid());
  // A budget below what the module needs at rest would replace workers for ever.
  w.budget = std::max(config_.memory_budget, w.rss + w.rss / 4);
  if (w.starts > 1) log("worker " + std::to_string(w.process->pid()) + " serves again after a restart");
  post({Mail::Kind::ready, w.link, w.token, TokenState::up});
  settle(w.token, TokenState::up, "");
  for (const auto& x : workers_) {  // the others need not wait any longer
    if (x->token == w.token && x->state == Worker::State::waiting && x->failures <= 1) x->start_at = {};
  }
  changed_.notify_all();
  pump(w);
}

void Supervisor::detach(Worker& w) {
  for (const auto& [serial, c] : w.calls_sent)
    finish(c, Error{"hsm-worker-lost", "the HSM worker was lost during the call"});
  for (const auto& c : w.calls_queued) finish(c, Error{"hsm-worker-lost", "the HSM worker was lost before the call"});
  w.calls_sent.clear();
  w.calls_queued.clear();
  if (w.serves() && w.link) post({Mail::Kind::lost, w.link, w.token, TokenState::up});
  w.link.reset();
  w.blocked = false;
  w.call_since = {};
}

void Supervisor::end_in_order(Worker& w) {
  const LinkPtr link = w.link;
  detach(w);
  w.process->hang_up();
  link->ring->call_attention();
  dying_.push_back({std::move(*w.process), Clock::now() + kGrace});
  w.process.reset();
  ++w.recycled;
  w.state = Worker::State::waiting;
  w.start_at = Clock::now();
}

void Supervisor::fail(Worker& w, Error why, Lock& lock) {
  const bool served = w.serves();
  const auto now = Clock::now();
  if (served && now - w.started_at >= kGoodUptime) w.failures = 0;
  auto pause =
      w.failures == 0 ? milliseconds(0) : std::min(kLongestPause, kFirstPause * (1U << std::min(w.failures - 1, 10U)));
  ++w.failures;
  // The process first: what the engine then finds in the ring is all that there will be.
  std::string pid = "not started";
  std::string ending;
  if (w.process) {
    WorkerProcess p = std::move(*w.process);
    w.process.reset();
    pid = std::to_string(p.pid());
    lock.unlock();  // nobody else looks at the process
    p.hang_up();
    p.kill_now();
    const auto status = p.reap(kReapLook);
    lock.lock();
    ending = status ? " (" + wait_status_text(*status) + ")" : " (still dying)";
    if (!status) dying_.push_back({std::move(p), now});
  }
  detach(w);
  w.state = Worker::State::waiting;
  if (!served && why.reason == "hsm-worker") why.detail += ending + "; the PKCS#11 module may have crashed it";
  Token& t = tokens_[w.token];
  if (why.reason == "hsm-pin") {
    if (!start_error_ && starting_up_) start_error_ = why;
    settle(w.token, TokenState::refused, why.text());
  } else if (!served && !anybody_serves(w.token)) {
    if (!start_error_ && starting_up_) start_error_ = why;
    settle(w.token, TokenState::down, why.text());
    if (t.state == TokenState::down) t.why = why.text();
  }
  if (t.state == TokenState::down) {
    pause = kDownPause;
  } else if (served) {
    log("worker " + pid + " of token " + t.name + " lost: " + why.text() + ending +
        (t.state == TokenState::refused ? "" : "; restart in " + std::to_string(pause.count()) + " ms"));
  } else if (t.state == TokenState::up) {
    log("one more worker of token " + t.name + " could not start: " + why.text() + "; next try in " +
        std::to_string(pause.count()) + " ms");
  }
  w.start_at = now + pause;
  changed_.notify_all();
}

void Supervisor::shut_down(Lock& lock) {
  for (const auto& w : workers_) {
    for (const auto& [serial, c] : w->calls_sent) finish(c, Error{"hsm-worker", "the HSM engine stops"});
    for (const auto& c : w->calls_queued) finish(c, Error{"hsm-worker", "the HSM engine stops"});
    w->calls_sent.clear();
    w->calls_queued.clear();
    w->state = Worker::State::stopped;
    const LinkPtr link = std::exchange(w->link, nullptr);
    if (!w->process) continue;
    w->process->hang_up();
    if (link) link->ring->call_attention();
    dying_.push_back({std::move(*w->process), Clock::now() + kGrace});
    w->process.reset();
  }
  changed_.notify_all();
  std::vector<Dying> ending = std::move(dying_);
  lock.unlock();
  const auto deadline = Clock::now() + kGrace;
  for (Dying& d : ending) {
    const pid_t pid = d.process.pid();
    const auto left = std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(deadline - Clock::now()));
    const auto status = d.process.reap(left);
    if (!status) {
      d.process.kill_now();
      d.process.reap(milliseconds(200));
      log("worker " + std::to_string(pid) + " did not end by itself and was killed");
    } else if (*status != 0 && !start_error_ && d.kill_at > Clock::now()) {
      log("worker " + std::to_string(pid) + " ended with " + wait_status_text(*status));
    }
  }
  lock.lock();
}

}  // namespace kf::hsm
