#include "hsm/p11/pool.hpp"

#include <algorithm>
#include <thread>

namespace kf::p11 {
namespace {

constexpr double kBurst = 64;
constexpr double kPerSecond = 1000;
constexpr int kTries = 5;
constexpr std::chrono::milliseconds kFirstPause{1};

}  // namespace

Lease& Lease::operator=(Lease&& o) noexcept {
  if (this != &o) {
    give_back();
    pool_ = std::exchange(o.pool_, nullptr);
    session_ = o.session_;
    generation_ = o.generation_;
  }
  return *this;
}

void Lease::give_back() noexcept {
  if (pool_ == nullptr) return;
  const std::lock_guard lock(pool_->mutex_);
  --pool_->leased_;
  if (session_ == &pool_->token_.keeper()) {
    pool_->keeper_lent_ = false;
  } else {
    pool_->idle_.push_back(session_);
    pool_->idle_generation_.push_back(generation_);
  }
  pool_ = nullptr;
}

CK_RV SessionPool::open(Session& s, int tries, std::unique_lock<std::mutex>& lock) {
  CK_RV rv = CKR_OK;
  auto pause = kFirstPause;
  for (int i = 0; i < tries; ++i) {
    const auto now = Clock::now();
    tokens_ = std::min(kBurst, tokens_ + kPerSecond * std::chrono::duration<double>(now - refilled_).count());
    refilled_ = now;
    tokens_ -= 1;
    const auto wait =
        tokens_ >= 0 ? std::chrono::duration<double>(0) : std::chrono::duration<double>(-tokens_ / kPerSecond);
    lock.unlock();
    if (wait.count() > 0) std::this_thread::sleep_for(wait);
    rv = token_.open_session(s, read_write_);
    lock.lock();
    if (rv == CKR_OK) {
      ++opened_;
      ++generation_;
      return rv;
    }
    // Only "full right now" gets better by waiting; some modules say ARGUMENTS_BAD when opens come too fast
    // (docs/spec/pkcs11.md L7).
    if (rv_class(rv) != RvClass::busy && rv != CKR_ARGUMENTS_BAD) return rv;
    if (i + 1 == tries) break;
    lock.unlock();
    std::this_thread::sleep_for(pause);
    lock.lock();
    pause *= 2;
  }
  return rv == CKR_ARGUMENTS_BAD ? CKR_SESSION_COUNT : rv;
}

CK_RV SessionPool::lease(Lease& out) {
  out.give_back();
  std::unique_lock lock(mutex_);
  if (!idle_.empty()) {
    out.session_ = idle_.back();
    out.generation_ = idle_generation_.back();
    idle_.pop_back();
    idle_generation_.pop_back();
  } else {
    auto s = std::make_unique<Session>();
    const CK_RV rv = open(*s, kTries, lock);
    if (rv == CKR_OK) {
      out.session_ = s.get();
      all_.push_back(std::move(s));
    } else if (rv_class(rv) == RvClass::busy && !keeper_lent_ && leased_ == 0) {
      keeper_lent_ = true;
      out.session_ = &token_.keeper();
      ++generation_;
    } else {
      return rv;
    }
    out.generation_ = generation_;
  }
  ++leased_;
  out.pool_ = this;
  return CKR_OK;
}

CK_RV SessionPool::replace(Lease& l) {
  std::unique_lock lock(mutex_);
  l.session_->close();
  const CK_RV rv = open(*l.session_, 1, lock);
  // Also after a failure: nothing that was found under the old session is to be used under the next one.
  if (rv != CKR_OK) ++generation_;
  l.generation_ = generation_;
  return rv;
}

void SessionPool::want_read_write() noexcept {
  const std::lock_guard lock(mutex_);
  read_write_ = true;
}
bool SessionPool::read_write() const noexcept {
  const std::lock_guard lock(mutex_);
  return read_write_;
}
std::size_t SessionPool::opened() const noexcept {
  const std::lock_guard lock(mutex_);
  return opened_;
}
std::size_t SessionPool::leased() const noexcept {
  const std::lock_guard lock(mutex_);
  return leased_;
}

}  // namespace kf::p11
