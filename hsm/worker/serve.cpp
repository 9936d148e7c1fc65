#include "hsm/worker/serve.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>

#include "hsm/worker/log.hpp"

namespace kf::hsm::worker {
namespace {

using Clock = std::chrono::steady_clock;

// Completions leave in groups: a wake-up of the server per job would cost more than it brings, but the first of a long
// batch must not wait for the last.
constexpr std::size_t kGroup = 16;
constexpr auto kHoldBack = std::chrono::milliseconds(4);
constexpr std::size_t kBacklogLimit = 1024;  // the engine keeps at most a few batches here; more is a protocol error

class Loop {
 public:
  Loop(int fd, TokenOps& ops) : fd_(fd), ops_(ops), buffer_(wire::kMaxMessage) {}

  int run() {
    for (;;) {
      const bool idle = backlog_.empty();
      if (idle && !flush()) return 1;
      wire::Message m{};
      // Looked at between any two jobs: an admin call waits for one job, not for a batch.
      const int rc = wire::receive_message(fd_, buffer_.expose_mut(), m, idle ? 0 : MSG_DONTWAIT);
      if (rc == EAGAIN) {
        work_one();
        if ((done_count_ >= kGroup || Clock::now() - first_done_ >= kHoldBack) && !flush()) return 1;
      } else if (rc == EPIPE) {
        return 0;  // the engine closed its end, or died
      } else if (rc != 0) {
        log_line(std::string("receive: ") + std::strerror(rc));
        return 1;
      } else if (!take(m)) {
        return 1;
      }
      if (ops_.must_exit()) {
        flush(true);
        log_line("a return code of class fatal: this process ends, the engine starts another one");
        return 3;
      }
    }
  }

 private:
  bool take(const wire::Message& m) {
    if (m.header.kind == wire::Kind::jobs) {
      if (backlog_.size() + m.header.count > kBacklogLimit) {
        log_line("more jobs than the protocol allows");
        return false;
      }
      for (std::uint32_t i = 0; i < m.header.count; ++i) {
        std::memcpy(&backlog_.emplace_back(), m.body.data() + i * sizeof(wire::JobEntry), sizeof(wire::JobEntry));
      }
      return true;
    }
    if (m.header.kind != wire::Kind::call) {
      log_line("unexpected message");
      return false;
    }
    wire::Reader args(m.body);
    const auto op = static_cast<wire::AdminOp>(args.u32());
    const SecretBytes answer = wire::encode_answer(ops_.admin(op, args));
    wipe(buffer_.expose_mut().data(), sizeof(wire::Header) + m.body.size());  // plaintext of a record may have passed
    return sent(wire::send_message(fd_, wire::Kind::answer, 0, m.header.serial, answer.expose()));
  }

  void work_one() {
    if (done_count_ == 0) first_done_ = Clock::now();
    wire::DoneEntry& d = done_[done_count_];
    d = {};
    ops_.execute(backlog_.front(), d);
    ++done_count_;
    backlog_.pop_front();
  }

  bool flush(bool leaving = false) {
    if (done_count_ == 0 && !leaving) return true;
    const std::size_t octets = done_count_ * sizeof(wire::DoneEntry);
    const ByteView body(reinterpret_cast<const std::uint8_t*>(done_.data()), octets);
    const int rc =
        wire::send_message(fd_, wire::Kind::done, static_cast<std::uint32_t>(done_count_), 0, body, 0, leaving);
    wipe(done_.data(), octets);
    done_count_ = 0;
    return sent(rc);
  }

  static bool sent(int rc) {
    if (rc != 0 && rc != EPIPE && rc != ECONNRESET) log_line(std::string("send: ") + std::strerror(rc));
    return rc == 0;
  }

  int fd_;
  TokenOps& ops_;
  SecretBytes buffer_;
  std::deque<wire::JobEntry> backlog_;
  std::array<wire::DoneEntry, kGroup> done_{};
  std::size_t done_count_ = 0;
  Clock::time_point first_done_{};
};

}  // namespace

int serve(int fd, TokenOps& ops) { return Loop(fd, ops).run(); }

}  // namespace kf::hsm::worker
