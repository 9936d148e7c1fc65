#include "hsm/engine/supervisor.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace kf::hsm {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxCallsWaiting = 256;  // for one worker
constexpr milliseconds kCallLimit{15'000};     // a caller waits so long

// The token's label in a URI, for people: pkcs11:token=keyferry;serial=1 -> keyferry.
std::string label_of(const std::string& uri) {
  const auto at = uri.find("token=");
  if (at == std::string::npos) return uri;
  const auto from = at + 6;
  return uri.substr(from, uri.find_first_of(";?", from) - from);
}

}  // namespace

Supervisor::Supervisor(const HsmConfig& c) : config_(c), buffer_(wire::kMaxMessage) {
  for (std::size_t t = 0; t < c.tokens.size(); ++t) {
    Token token;
    token.name = c.tokens[t].name.empty() ? label_of(c.tokens[t].token_uri) : c.tokens[t].name;
    token.call_limit = c.call_limit;
    tokens_.push_back(std::move(token));
    for (unsigned i = 0; i < c.tokens[t].workers; ++i) {
      workers_.push_back(std::make_unique<Worker>());
      workers_.back()->token = t;
    }
  }
}

Supervisor::~Supervisor() {
  {
    const Lock lock(mutex_);
    stopping_ = true;
    wake();
  }
  if (thread_.joinable()) thread_.join();
}

Status Supervisor::start() {
  if (!event_.open() || !wake_.open()) return Error{"hsm-worker", "no descriptor is left for an eventfd"};
  thread_ = std::thread([this] { run(); });
  Lock lock(mutex_);
  changed_.wait(lock, [&] {
    if (tokens_.size() == 1 && start_error_) return true;
    return std::all_of(workers_.begin(), workers_.end(), [&](const auto& w) {
      const TokenState s = tokens_[w->token].state;
      const bool stands = w->state == Worker::State::live || (s == TokenState::up && w->failures > 0);
      return stands || s == TokenState::down || s == TokenState::refused;
    });
  });
  const bool serves =
      std::any_of(tokens_.begin(), tokens_.end(), [](const Token& t) { return t.state == TokenState::up; });
  if (start_error_ && (tokens_.size() == 1 || !serves)) return *start_error_;
  starting_up_ = false;
  return {};
}

// ---- the engine's thread

void Supervisor::raise_event() noexcept { event_.set(); }

void Supervisor::clear_event() noexcept { event_.clear(); }

void Supervisor::post(Mail m) {
  mail_.push_back(std::move(m));
  mail_flag_.store(true, std::memory_order_release);
  raise_event();
}

std::deque<Mail> Supervisor::take_mail() {
  const Lock lock(mutex_);
  mail_flag_.store(false, std::memory_order_release);
  return std::exchange(mail_, {});
}

void Supervisor::report_broken(std::size_t token) {
  const Lock lock(mutex_);
  if (tokens_[token].state == TokenState::up)
    settle(token, TokenState::down, "several jobs in a row failed with device errors");
  wake();
}

// ---- any thread

IdentityPoints Supervisor::identity() const {
  const Lock lock(mutex_);
  return identity_;
}

void Supervisor::fill(HsmStats& s) const {
  const Lock lock(mutex_);
  s.workers.resize(workers_.size());
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const Worker& w = *workers_[i];
    HsmStats::Worker& x = s.workers[i];
    x.token = tokens_[w.token].name;
    x.pid = w.process ? static_cast<int>(w.process->pid()) : 0;
    x.live = w.serves();
    x.restarts = w.starts > 0 ? w.starts - 1 : 0;
    x.recycled = w.recycled;
    x.rss_bytes = x.pid != 0 ? resident_bytes(x.pid) : 0;
  }
  s.tokens.resize(tokens_.size());
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    constexpr std::array names{"starting", "up", "down", "refused"};
    s.tokens[i].name = tokens_[i].name;
    s.tokens[i].state = names[static_cast<std::size_t>(tokens_[i].state)];
    s.tokens[i].why = tokens_[i].why;
    s.tokens[i].outages = tokens_[i].outages;
  }
}

Supervisor::Worker* Supervisor::worker_for_call(const std::vector<const Worker*>& tried) noexcept {
  Worker* best = nullptr;
  const auto badness = [&](const Worker& w) {
    const std::size_t again = std::find(tried.begin(), tried.end(), &w) != tried.end() ? 1'000'000 : 0;
    // One that is to retire still answers: its end waits for calls, and the caller may be the thread that it waits for.
    const std::size_t leaving = w.state == Worker::State::retiring ? 1'000 : 0;
    return again + leaving + w.calls_queued.size() + w.calls_sent.size();
  };
  for (const auto& w : workers_) {
    if (!w->serves() || tokens_[w->token].state != TokenState::up) continue;
    if (best == nullptr || badness(*w) < badness(*best)) best = w.get();
  }
  return best;
}

Result<SecretBytes> Supervisor::call(wire::AdminOp op, const wire::Writer& args) {
  wire::Writer head;
  head.u32(static_cast<std::uint32_t>(op));
  const SecretBytes message = SecretBytes::adopt(concat(head.bytes(), args.bytes()));
  if (sizeof(wire::Header) + message.size() > wire::kMaxMessage)
    return Error{"hsm-call", "arguments longer than a message"};
  const auto deadline = Clock::now() + kCallLimit;
  std::vector<const Worker*> tried;
  Lock lock(mutex_);
  for (;;) {
    Worker* w = worker_for_call(tried);
    while (w == nullptr) {
      const bool hope = std::any_of(tokens_.begin(), tokens_.end(), [](const Token& t) {
        return t.state == TokenState::up || t.state == TokenState::starting;
      });
      if (!hope || stopping_) return Error{"hsm-worker", "no HSM worker is live"};
      if (changed_.wait_until(lock, deadline) == std::cv_status::timeout)
        return Error{"hsm-worker", "no HSM worker is live"};
      w = worker_for_call(tried);
    }
    if (w->calls_queued.size() + w->calls_sent.size() >= kMaxCallsWaiting)
      return Error{"hsm-busy", "too many calls wait for the HSM"};
    const auto call = std::make_shared<Call>();
    call->message = SecretBytes(message.expose());
    call->serial = next_serial_++;
    w->calls_queued.push_back(call);
    wake();
    call->finished.wait_until(lock, deadline, [&] { return call->result.has_value(); });
    if (!call->result) {  // too late: a late answer finds nobody and is dropped
      for (const auto& x : workers_) {
        std::erase(x->calls_queued, call);
        x->calls_sent.erase(call->serial);
      }
      return Error{"hsm-worker", "no answer from the HSM within " + std::to_string(kCallLimit.count()) + " ms"};
    }
    const std::string reason = call->result->ok() ? "" : call->result->error().reason;
    const bool repeat = reason == "hsm-worker-lost" || reason == "hsm-device";
    if (!repeat) return std::move(*call->result);
    tried.push_back(w);
    if (tried.size() >= 4)
      return Error{reason == "hsm-device" ? "hsm-token" : "hsm-worker", call->result->error().detail};
  }
}

void Supervisor::finish(const CallPtr& c, Result<SecretBytes> r) {
  c->message.wipe_now();
  c->result.emplace(std::move(r));
  c->finished.notify_one();
}

void Supervisor::wake() noexcept { wake_.set(); }

void Supervisor::log(const std::string& line) const {
  if (config_.log) {
    config_.log(line);
  } else {
    std::fprintf(stderr, "keyferry hsm: %s\n", line.c_str());
  }
}

bool Supervisor::anybody_serves(std::size_t token) const noexcept {
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& w) { return w->token == token && w->serves(); });
}

}  // namespace kf::hsm
