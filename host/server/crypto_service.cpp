#include "host/server/crypto_service.hpp"

#include <unistd.h>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>

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

struct CryptoService::Lane {
  Lane(asio::io_context& io, EccEngine& e) : engine(e), event(io, ::dup(e.event_fd())) {}
  struct Job {
    EccRequest request;
    Callback callback;
    Clock::time_point since, not_before;
  };
  EccEngine& engine;
  asio::posix::stream_descriptor event;
  std::deque<Job> waiting;
  std::unordered_map<std::uint64_t, Job> in_flight;
  Counters counters;
};

CryptoService::CryptoService(asio::io_context& io, const Routing& routing)
    : io_(io), routing_(routing), retry_timer_(io) {
  for (EccEngine* e : {&routing_.sign, &routing_.ephemeral_ecka, &routing_.verify}) {
    if (std::ranges::any_of(lanes_, [&](const auto& l) { return &l->engine == e; })) continue;
    lanes_.push_back(std::make_unique<Lane>(io, *e));
    lanes_.back()->counters.engine = e->name();
    watch(*lanes_.back());
  }
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

CryptoService::Lane& CryptoService::lane_of(EccOp op) {
  const EccEngine& e = op == EccOp::sign             ? routing_.sign
                       : op == EccOp::ephemeral_ecka ? routing_.ephemeral_ecka
                                                     : routing_.verify;
  return **std::ranges::find_if(lanes_, [&](const auto& l) { return &l->engine == &e; });
}

void CryptoService::request(EccRequest r, Callback cb) {
  Lane& l = lane_of(r.op);
  r.id = next_id_++;
  const auto now = Clock::now();
  l.waiting.push_back({r, std::move(cb), now, now});
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
    drain(l);
    watch(l);
  });
}

void CryptoService::drain(Lane& l) {
  std::array<EccCompletion, 64> done;
  while (true) {
    const std::size_t n = l.engine.poll(done);
    if (n == 0) break;
    for (std::size_t i = 0; i < n; ++i) {
      EccCompletion& c = done[i];
      auto it = l.in_flight.find(c.id);
      if (it == l.in_flight.end()) continue;
      Lane::Job job = std::move(it->second);
      l.in_flight.erase(it);
      if (may_come_back(c.status) && Clock::now() - job.since < kHold) {
        ++l.counters.retries;
        job.not_before = Clock::now() + kRetryPause;
        l.waiting.push_back(std::move(job));
        continue;
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
      l.counters.queue_us.add(static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - job.since).count()));
      job.callback(c);
      c = EccCompletion{};
    }
  }
  if (!l.waiting.empty() && !flush_posted_) {
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
