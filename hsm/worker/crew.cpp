#include "hsm/worker/crew.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "hsm/worker/log.hpp"

namespace kf::hsm::worker {
namespace {

// Completions are visible at once to an engine that looks; one that sleeps is woken for a group of them, or when
// nothing is left to do: a wake-up per job costs more than it brings, but the first of a long batch must not wait for
// the last.
constexpr unsigned kGroup = 24;
constexpr std::uint64_t kHoldBack = 4'000'000;  // ns
constexpr int kLook = 200;                      // ms: an idle thread looks round so often

}  // namespace

Crew::Crew(wire::Ring& ring, int control_fd, int event_fd, unsigned keep_alive_ms,
           std::vector<std::unique_ptr<TokenOps>> ops)
    : ring_(ring),
      control_fd_(control_fd),
      event_fd_(event_fd),
      keep_alive_ms_(keep_alive_ms),
      ops_(std::move(ops)),
      buffer_(wire::kMaxMessage) {}

Crew::~Crew() {
  stop_ = true;
  ring_.wake_all();
  for (std::thread& t : threads_) t.join();
}

int Crew::run() {
  for (std::uint32_t i = 1; i < ops_.size(); ++i) threads_.emplace_back([this, i] { work_until_stopped(i); });
  work_until_stopped(0);
  return status_;
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
  // Other threads may be inside the module: neither C_Finalize nor exit handlers (docs/spec/pkcs11.md L13, L15).
  ::_exit(3);
}

void Crew::work(std::uint32_t thread, std::uint32_t slot, TokenOps& ops) noexcept {
  wire::RingMemory::Slot& s = ring_.memory().slots[slot];
  const wire::JobEntry job = s.job;  // the engine's process is trusted; the copy keeps one reading for all checks
  wire::DoneEntry done{};
  const std::uint64_t begun = wire::now_ns();
  ring_.set_busy(thread, slot, begun);
  ring_.prefetch_next();
  ops.execute(job, done);
  done.begun_ns = begun;
  done.service_ns = static_cast<std::uint32_t>(std::min<std::uint64_t>(wire::now_ns() - begun, 0xFFFF'FFFFU));
  s.done = done;
  wipe(&done, sizeof done);
  ring_.set_busy(thread, wire::kSlots, 0);
  ring_.push_done(slot);
}

// Everything that waits there: calls, or the end of the stream.
bool Crew::look_at_socket(TokenOps& ops) {
  for (;;) {
    wire::Message m{};
    const int rc = wire::receive_message(control_fd_, buffer_.expose_mut(), m, MSG_DONTWAIT);
    if (rc == EAGAIN) return true;
    if (rc == EPIPE) return false;  // the engine closed its end, or died
    if (rc != 0 || m.header.kind != wire::Kind::call) {
      log_line(rc != 0 ? std::string("receive: ") + std::strerror(rc) : "unexpected message");
      status_ = 1;
      return false;
    }
    ring_.set_busy(0, wire::kSlots, wire::now_ns());
    wire::Reader args(m.body);
    const auto op = static_cast<wire::AdminOp>(args.u32());
    const SecretBytes answer = wire::encode_answer(ops.admin(op, args));
    ring_.set_busy(0, wire::kSlots, 0);
    wipe(buffer_.expose_mut().data(), sizeof(wire::Header) + m.body.size());  // plaintext of a record may have passed
    wire::send_message(control_fd_, wire::Kind::answer, m.header.serial, answer.expose());
    if (ops.must_exit()) leave(*ops.must_exit());
  }
}

void Crew::work_until_stopped(std::uint32_t thread) {
  TokenOps& ops = *ops_[thread];
  std::uint32_t attention = ring_.attention() - 1;  // look once at the start
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
      if (thread == 0 && !look_at_socket(ops)) break;
      continue;
    }
    if (thread == 0 && ring_.attention() != attention) {
      attention = ring_.attention();
      if (!look_at_socket(ops)) break;
      active_at = wire::now_ns();
    }
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
    int limit = kLook;
    if (keep_alive != 0) {
      const std::uint64_t now = wire::now_ns();
      if (now - active_at >= keep_alive) {
        // Idle tokens drop their connections (docs/spec/pkcs11.md L22): a signature now and then, and a look whether
        // the key is still there.
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
      limit = std::min(limit, static_cast<int>((keep_alive - (now - active_at)) / 1'000'000) + 1);
    }
    ring_.sleep(limit, [&] {
      return (thread == 0 && ring_.attention() != attention) || stop_.load(std::memory_order_seq_cst);
    });
    // A server that was killed rings no bell.
    if (thread == 0 && !ring_.jobs_wait() && !look_at_socket(ops)) break;
  }
  if (untold != 0) tell_engine();
}

}  // namespace kf::hsm::worker
