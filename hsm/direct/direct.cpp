#include "hsm/direct/direct.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "hsm/engine/worker_process.hpp"
#include "hsm/wire/measure.hpp"

namespace kf::hsm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kSlice{200};            // so often a wait looks at `stop`
constexpr milliseconds kMeasureExtra{30'000};  // sessions, keys and copies before the loop; slow tokens take their time
constexpr milliseconds kEndLimit{5'000};

static_assert(static_cast<std::uint32_t>(DirectKind::sign) == static_cast<std::uint32_t>(wire::MeasureRun::Kind::sign));
static_assert(static_cast<std::uint32_t>(DirectKind::verify) ==
              static_cast<std::uint32_t>(wire::MeasureRun::Kind::verify));

// "signal 11, SIGSEGV", "exit status 1".
std::string how_it_ended(int status) {
  std::string text = wait_status_text(status);
  if (WIFSIGNALED(status)) {
    if (const char* name = ::sigabbrev_np(WTERMSIG(status)); name != nullptr) text += std::string(", SIG") + name;
  }
  return text;
}

}  // namespace

struct DirectClient::Impl {
  WorkerProcess worker;
  const std::atomic<bool>* stop = nullptr;
  std::uint64_t serial = 0;
  std::optional<milliseconds> running;  // a measurement was begun; how long finish() may wait

  [[nodiscard]] bool stopped() const { return stop != nullptr && stop->load(std::memory_order_relaxed); }

  Error lost() {
    worker.hang_up();
    const auto status = worker.reap(milliseconds(1000));
    if (!status) worker.kill_now();
    return {"hsm-worker-lost",
            "the module ended the worker process (" + (status ? how_it_ended(*status) : "still ending") + ")"};
  }

  // The body of the next message of that kind. A worker that says nothing within the limit hangs in the module: killed.
  Result<SecretBytes> receive(wire::Kind kind, milliseconds limit) {
    const auto deadline = Clock::now() + limit;
    SecretBytes buffer(wire::kMaxMessage);
    for (;;) {
      if (stopped()) {
        worker.kill_now();
        return Error{"interrupted", "stopped on request"};
      }
      const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
      if (left.count() <= 0) {
        worker.kill_now();
        worker.reap(milliseconds(1000));
        return Error{"hsm-worker", "the module did not answer within " + std::to_string(limit.count()) +
                                       " ms, so the worker process was killed"};
      }
      pollfd p{worker.fd(), POLLIN, 0};
      if (::poll(&p, 1, static_cast<int>(std::min(left, kSlice).count())) <= 0) continue;
      wire::Message m{};
      const int rc = wire::receive_message(worker.fd(), buffer.expose_mut(), m, MSG_DONTWAIT);
      if (rc == EAGAIN) continue;
      if (rc == EPIPE) return lost();
      if (rc != 0 || m.header.kind != kind || m.header.serial != serial)
        return Error{"hsm-worker", "unexpected message from the worker"};
      return SecretBytes(m.body);
    }
  }

  Status send(wire::AdminOp op, const wire::Writer& args) {
    if (running) return Error{"hsm-call", "a measurement is still running"};
    wire::Writer w;
    w.u32(static_cast<std::uint32_t>(op));
    const SecretBytes full = SecretBytes::adopt(concat(w.bytes(), args.bytes()));
    const int rc = wire::send_message(worker.fd(), wire::Kind::call, ++serial, full.expose());
    if (rc == EPIPE) return lost();
    if (rc != 0) return Error{"hsm-worker", std::string("sending a call: ") + std::strerror(rc)};
    return {};
  }

  Result<SecretBytes> answer(milliseconds limit) {
    KF_TRY(const SecretBytes body, receive(wire::Kind::answer, limit));
    return wire::decode_answer(body.expose());
  }
};

DirectClient::DirectClient() = default;

DirectClient::~DirectClient() {
  if (impl_ && impl_->worker.pid() > 0) static_cast<void>(end());
}

Result<std::unique_ptr<DirectClient>> DirectClient::start(const HsmConfig& c, const TokenConfig& t, bool log_in,
                                                          const std::atomic<bool>* stop) {
  TokenConfig own = t;
  if (!log_in) {
    own.pin_file.clear();
    own.pin_env.clear();
    own.pin_credential.clear();
  }
  KF_TRY(auto worker, WorkerProcess::spawn(c, own, wire::Configuration::Mode::probe));
  std::unique_ptr<DirectClient> d(new DirectClient);
  d->impl_.reset(new Impl{std::move(worker), stop, 0, std::nullopt});
  KF_TRY(const SecretBytes ready, d->impl_->receive(wire::Kind::ready, c.start_limit));
  KF_TRY(const IdentityPoints none, decode_ready(ready.expose()));
  if (!none.empty()) return Error{"hsm-worker", "unexpected message from the worker"};
  return d;
}

Status DirectClient::begin(const DirectRun& r) {
  if (r.threads < 1 || r.threads > wire::kMaxMeasureThreads)
    return Error{"hsm-call", "threads must be 1 to " + std::to_string(wire::kMaxMeasureThreads)};
  if (r.milliseconds < 1 || r.milliseconds > wire::kMaxMeasureMilliseconds)
    return Error{"hsm-call", "milliseconds must be 1 to " + std::to_string(wire::kMaxMeasureMilliseconds)};
  wire::Writer w;
  wire::MeasureRun{static_cast<wire::MeasureRun::Kind>(r.kind), static_cast<std::uint32_t>(r.curve), r.threads,
                   r.milliseconds}
      .encode(w);
  KF_CHECK(impl_->send(wire::AdminOp::measure, w));
  impl_->running = milliseconds(r.milliseconds) + kMeasureExtra;
  return {};
}

Result<DirectRate> DirectClient::finish() {
  if (!impl_->running) return Error{"hsm-call", "no measurement was begun"};
  const milliseconds limit = *impl_->running;
  impl_->running.reset();
  KF_TRY(const SecretBytes payload, impl_->answer(limit));
  const auto m = wire::MeasureRate::decode(payload.expose());
  if (!m) return Error{"hsm-worker", "malformed answer"};
  const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e3; };
  const auto s = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e9; };
  return DirectRate{m->done,       m->failed,     s(m->wall_ns), s(m->cpu_ns),
                    us(m->p50_ns), us(m->p95_ns), us(m->p99_ns), m->first_error};
}

Result<DirectRate> DirectClient::measure(const DirectRun& r) {
  KF_CHECK(begin(r));
  return finish();
}

Result<std::string> DirectClient::step(const std::string& name, const std::string& arguments, milliseconds limit) {
  wire::Writer w;
  w.field(name);
  w.field(arguments);
  KF_CHECK(impl_->send(wire::AdminOp::probe, w));
  KF_TRY(const SecretBytes payload, impl_->answer(limit));
  return std::string(text(payload.expose()));
}

Status DirectClient::end() {
  impl_->worker.hang_up();
  if (impl_->worker.pid() <= 0) return {};
  const auto deadline = Clock::now() + kEndLimit;
  std::optional<int> status;
  while (!status && Clock::now() < deadline && !impl_->stopped()) status = impl_->worker.reap(kSlice);
  if (!status) {
    impl_->worker.kill_now();
    impl_->worker.reap(milliseconds(1000));
    return Error{"hsm-worker",
                 "the module hangs on the way out (C_CloseSession, C_Finalize), so the worker process was killed"};
  }
  if (*status != 0)
    return Error{"hsm-worker-lost",
                 "the module ended the worker process on its way out (" + how_it_ended(*status) + ")"};
  return {};
}

int DirectClient::pid() const { return impl_->worker.pid(); }

}  // namespace kf::hsm
