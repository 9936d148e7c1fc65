#include "host/server/crypto_service.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>

#include "host/base/text.hpp"
#include "host/server/guard.hpp"

namespace kf::server {
namespace {
using Clock = std::chrono::steady_clock;
// The engine itself tries again what one worker or token could not do. What comes back as one of these left nothing
// outside, so that it may be asked for again: a token that is away for a while costs time, not downloads.
constexpr auto kHold = std::chrono::seconds(120);
constexpr auto kRetryPause = std::chrono::milliseconds(250);

bool may_come_back(EccStatus s) {
  return s == EccStatus::engine_down || s == EccStatus::busy || s == EccStatus::timed_out;
}
}  // namespace

struct CryptoService::Job {
  EccRequest request;
  Callback callback;
  Clock::time_point since, not_before;
  Clock::time_point handed{};  // to the engine it is with
  std::size_t open_then = 0;   // requests that engine had open with it
};

struct CryptoService::Lane {
  Lane(asio::io_context& io, EccEngine& e, std::size_t i) : engine(e), index(i), event(io, ::dup(e.event_fd())) {}
  EccEngine& engine;
  std::size_t index;
  asio::posix::stream_descriptor event;
  std::deque<Job> waiting;
  std::unordered_map<std::uint64_t, Job> in_flight;
  Counters counters;
};

CryptoService::CryptoService(asio::io_context& io, const Routing& routing)
    : io_(io),
      sign_(indices_of(routing.sign)),
      ephemeral_(indices_of(routing.ephemeral_ecka)),
      verify_(indices_of(routing.verify)),
      split_(lanes_.size()),
      retry_timer_(io) {
  for (auto& l : lanes_) watch(*l);
}
CryptoService::~CryptoService() { stop(); }

void CryptoService::stop() {
  stopped_ = true;
  retry_timer_.cancel();
  for (auto& l : lanes_) {
    boost::system::error_code ec;
    l->event.close(ec);
  }
}

std::vector<std::size_t> CryptoService::indices_of(const std::vector<EccEngine*>& engines) {
  std::vector<std::size_t> out;
  for (EccEngine* e : engines) {
    const auto known = std::ranges::find_if(lanes_, [&](const auto& l) { return &l->engine == e; });
    out.push_back(static_cast<std::size_t>(known - lanes_.begin()));
    if (known != lanes_.end()) continue;
    lanes_.push_back(std::make_unique<Lane>(io_, *e, lanes_.size()));
    lanes_.back()->counters.engine = e->name();
  }
  return out;
}

const std::vector<std::size_t>& CryptoService::allowed(EccOp op) const {
  return op == EccOp::sign ? sign_ : op == EccOp::ephemeral_ecka ? ephemeral_ : verify_;
}

void CryptoService::hand(Job&& job) {
  job.handed = Clock::now();
  const std::size_t i = split_.choose(allowed(job.request.op), job.handed);
  job.open_then = split_.open(i);
  lanes_[i]->waiting.push_back(std::move(job));
}

void CryptoService::request(EccRequest r, Callback cb) {
  r.id = next_id_++;
  const auto now = Clock::now();
  hand({r, std::move(cb), now, now});
  if (!flush_posted_) {
    flush_posted_ = true;
    asio::post(io_, [this] { flush(); });
  }
}

void CryptoService::flush() {
  flush_posted_ = false;
  if (stopped_) return;
  const auto now = Clock::now();
  bool later = false;
  for (auto& lane : lanes_) {
    Lane& l = *lane;
    if (l.waiting.empty()) continue;
    std::vector<EccRequest> span;
    for (const auto& j : l.waiting) {
      if (j.not_before > now) {
        later = true;
        continue;
      }
      span.push_back(j.request);
    }
    if (span.empty()) continue;
    const std::size_t n = l.engine.submit(span);
    if (n != 0) l.counters.batch_size.add(n);
    std::size_t taken = 0;
    for (auto it = l.waiting.begin(); it != l.waiting.end() && taken < n;) {
      if (it->not_before > now) {
        ++it;
        continue;
      }
      const std::uint64_t id = it->request.id;
      l.in_flight.emplace(id, std::move(*it));
      it = l.waiting.erase(it);
      ++taken;
    }
    if (n < span.size() && l.in_flight.empty()) later = true;  // nothing will wake us
  }
  if (later) {
    retry_timer_.expires_after(std::chrono::milliseconds(20));
    retry_timer_.async_wait([this](const boost::system::error_code& ec) {
      if (!ec) flush();
    });
  }
}

void CryptoService::watch(Lane& l) {
  l.event.async_wait(asio::posix::stream_descriptor::wait_read, [this, &l](const boost::system::error_code& ec) {
    if (ec || stopped_) return;
    try {
      drain(l);
    } catch (...) {  // this lane must be watched on: every key operation on its engine depends on it
      spdlog::error("ALARM unexpected failure among the answers of an engine: {}", text_of(std::current_exception()));
    }
    watch(l);
  });
}

void CryptoService::drain(Lane& l) {
  std::array<EccCompletion, 64> done;
  bool retried = false;  // possibly into another lane
  while (true) {
    const std::size_t n = l.engine.poll(done);
    if (n == 0) break;
    for (std::size_t i = 0; i < n; ++i) {
      EccCompletion& c = done[i];
      auto it = l.in_flight.find(c.id);
      if (it == l.in_flight.end()) continue;
      Job job = std::move(it->second);
      l.in_flight.erase(it);
      const auto now = Clock::now();
      split_.answered(l.index, now - job.handed, job.open_then, !may_come_back(c.status), now);
      if (may_come_back(c.status) && now - job.since < kHold) {
        ++l.counters.retries;
        job.not_before = now + kRetryPause;
        try {
          hand(std::move(job));
          retried = true;
          continue;
        } catch (const std::bad_alloc&) {  // it was not taken: its owner hears of the failure now
        }
      }
      switch (c.op) {
        case EccOp::sign:
          ++l.counters.sign;
          break;
        case EccOp::ephemeral_ecka:
          ++l.counters.ephemeral, ++l.counters.ecka;
          break;
        case EccOp::verify:
          ++l.counters.verify;
          break;
      }
      if (c.status != EccStatus::ok && c.status != EccStatus::bad_signature) ++l.counters.failures;
      l.counters.queue_us.add(
          static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now - job.since).count()));
      try {
        job.callback(c);
      } catch (...) {  // the other completions have their owners too, and the lane is watched on
        spdlog::error("ALARM unexpected failure in the answer to a key operation: {}",
                      text_of(std::current_exception()));
      }
      c = EccCompletion{};
    }
  }
  if ((retried || !l.waiting.empty()) && !flush_posted_) {
    flush_posted_ = true;
    asio::post(io_, [this] { flush(); });
  }
}

std::vector<CryptoService::Counters> CryptoService::counters() const {
  std::vector<Counters> out;
  for (const auto& l : lanes_) out.push_back(l->counters);
  return out;
}

}  // namespace kf::server
