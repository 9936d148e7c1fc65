#include "hsm/worker/crew.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "hsm/worker/log.hpp"

namespace kf::hsm::worker {
namespace {

// Completions are visible at once to an engine that looks; one that sleeps is woken for a group of them, or when
// nothing is left to do: a wake-up per job costs more than it brings, but the first of a long batch must not wait for
// the last.
constexpr unsigned kGroup = 16;
constexpr std::uint64_t kHoldBack = 4'000'000;  // ns

}  // namespace

Crew::Crew(wire::Ring& ring, int control_fd, int event_fd, unsigned keep_alive_ms,
           std::vector<std::unique_ptr<TokenOps>> ops)
    : ring_(ring), control_fd_(control_fd), event_fd_(event_fd), keep_alive_ms_(keep_alive_ms), ops_(std::move(ops)) {
  for (std::uint32_t i = 0; i < ops_.size(); ++i) threads_.emplace_back([this, i] { run(i); });
}

Crew::~Crew() {
  stop_ = true;
  ring_.wake_all();
  for (std::thread& t : threads_) t.join();
}

void Crew::call(std::uint64_t serial, SecretBytes body) {
  {
    const std::lock_guard lock(calls_mutex_);
    calls_.push_back({serial, std::move(body)});
  }
  calls_waiting_.fetch_add(1, std::memory_order_seq_cst);
  ring_.wake_all();
}

void Crew::tell_engine() noexcept {
  if (!ring_.take_engine_sleeps()) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t r = ::write(event_fd_, &one, sizeof one);
}

void Crew::leave(const Error& why) {
  tell_engine();
  log_line("this process ends, the engine starts another one: " + why.text());
  const SecretBytes answer = wire::encode_answer(why);
  wire::send_message(control_fd_, wire::Kind::leaving, 0, answer.expose());
  ::_exit(3);  // other threads may be inside the module: neither C_Finalize nor exit handlers (L13, L15)
}

void Crew::work(std::uint32_t thread, std::uint32_t slot, TokenOps& ops) noexcept {
  wire::RingMemory::Slot& s = ring_.memory().slots[slot];
  const wire::JobEntry job = s.job;  // the engine's process is trusted; the copy keeps one reading for all checks
  wire::DoneEntry done{};
  const std::uint64_t begun = wire::now_ns();
  ring_.set_busy(thread, slot, begun);
  ops.execute(job, done);
  done.begun_ns = begun;
  done.service_ns = static_cast<std::uint32_t>(std::min<std::uint64_t>(wire::now_ns() - begun, 0xFFFF'FFFFU));
  s.done = done;
  wipe(&done, sizeof done);
  ring_.set_busy(thread, wire::kSlots, 0);
  ring_.push_done(slot);
}

bool Crew::take_call(std::uint32_t thread, TokenOps& ops) {
  if (calls_waiting_.load(std::memory_order_relaxed) == 0) return false;
  Call c{};
  {
    const std::lock_guard lock(calls_mutex_);
    if (calls_.empty()) return false;
    c = std::move(calls_.front());
    calls_.pop_front();
  }
  calls_waiting_.fetch_sub(1, std::memory_order_relaxed);
  ring_.set_busy(thread, wire::kSlots, wire::now_ns());
  wire::Reader args(c.body.expose());
  const auto op = static_cast<wire::AdminOp>(args.u32());
  const SecretBytes answer = wire::encode_answer(ops.admin(op, args));
  ring_.set_busy(thread, wire::kSlots, 0);
  wire::send_message(control_fd_, wire::Kind::answer, c.serial, answer.expose());
  return true;
}

void Crew::run(std::uint32_t thread) {
  TokenOps& ops = *ops_[thread];
  unsigned untold = 0;
  std::uint64_t first_untold = 0;
  std::uint64_t active_at = wire::now_ns();
  unsigned sick = 0;
  const std::uint64_t keep_alive = std::uint64_t{keep_alive_ms_} * 1'000'000;
  bool counted = false;
  while (!stop_.load(std::memory_order_relaxed)) {
    // A thread that the token gives no session leaves the work to those that have one; when nobody has, jobs are taken
    // and answered `busy`, so that the engine can send them elsewhere.
    const bool has = ops.have_session();
    if (has != counted) {
      counted = has;
      with_session_ += has ? 1U : ~0U;
    }
    if (!has && with_session_.load() != 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    if (take_call(thread, ops)) active_at = wire::now_ns();
    std::uint32_t slot = 0;
    if (ring_.pop_job(slot)) {
      work(thread, slot, ops);
      active_at = wire::now_ns();
      if (untold++ == 0) first_untold = active_at;
      if (untold >= kGroup || active_at - first_untold >= kHoldBack || !ring_.jobs_wait()) {
        tell_engine();
        untold = 0;
      }
      if (ops.must_exit()) leave(*ops.must_exit());
      continue;
    }
    if (ops.must_exit()) leave(*ops.must_exit());
    int limit = -1;
    if (keep_alive != 0) {
      const std::uint64_t now = wire::now_ns();
      if (now - active_at >= keep_alive) {
        // Idle tokens drop their connections (L22): a signature now and then, and a look whether the key is still
        // there.
        ring_.set_busy(thread, wire::kSlots, now);
        const CK_RV rv = ops.health();
        ring_.set_busy(thread, wire::kSlots, 0);
        if (ops.must_exit()) leave(*ops.must_exit());
        sick = rv == CKR_OK ? 0 : sick + 1;
        if (sick >= 2) leave(p11::rv_error("hsm-device", "keep-alive signature", rv));
        // A bad answer is looked at again soon.
        active_at = rv == CKR_OK ? wire::now_ns() : now - keep_alive + std::min<std::uint64_t>(keep_alive, 200'000'000);
        continue;
      }
      limit = static_cast<int>((keep_alive - (now - active_at)) / 1'000'000) + 1;
    }
    ring_.sleep(limit, [this] {
      return calls_waiting_.load(std::memory_order_seq_cst) != 0 || stop_.load(std::memory_order_seq_cst);
    });
  }
  if (untold != 0) tell_engine();
}

}  // namespace kf::hsm::worker
