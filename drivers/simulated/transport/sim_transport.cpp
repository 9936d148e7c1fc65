#include "drivers/simulated/transport/sim_transport.hpp"

#include <sys/wait.h>

#include <thread>

#include "drivers/ecc/ecc_regs.hpp"
#include "host/os/programs.hpp"

namespace kf::ecc {
namespace {

using Clock = std::chrono::steady_clock;

Result<std::string> program_path(const std::string& configured) {
  if (!configured.empty()) return configured;
  const auto here = os::own_folder();
  if (auto p = os::find_program(here, "keyferry-ecc-sim")) return *p;
  return Error{"ecc-sim", "keyferry-ecc-sim is not in " + here.string() + "; build it or configure its path"};
}

}  // namespace

Result<std::unique_ptr<SimTransport>> SimTransport::open(const SimOptions& options) {
  if (options.dma_bytes == 0 || options.dma_bytes % 4096 != 0 || options.dma_base % 4096 != 0)
    return Error{"ecc-sim", "the DMA memory must be whole pages"};
  std::unique_ptr<SimTransport> t(new SimTransport);
  t->answer_limit_ = options.answer_limit;
  KF_TRY(t->mailbox_, mailbox::Mailbox::create(options.dma_bytes, options.dma_base));
  KF_CHECK(t->spawn(options));
  t->mailbox_->close_fd();
  // The first answer may take longer: the model is being made.
  if (t->mailbox_->ask(kRegId)) t->ring();
  if (!t->wait_for_answer(options.start_limit)) {
    const bool no_model = t->exit_status_ && WIFEXITED(*t->exit_status_) && WEXITSTATUS(*t->exit_status_) == 3;
    if (no_model) return Error{"no-model", "this build of keyferry-ecc-sim holds no simulated core"};
    return Error{"ecc-sim", t->state_.error().detail};
  }
  return t;
}

Status SimTransport::spawn(const SimOptions& options) {
  KF_TRY(const std::string path, program_path(options.program));
  if (!doorbell_.open() || !interrupt_.open()) return Error{"ecc-sim", "no descriptor is left for an eventfd"};
  os::ChildCommand command;
  command.program = path;
  command.arguments = {"keyferry-ecc-sim"};
  if (options.test_build) command.arguments.emplace_back("--test-build");
  if (options.any_thread) command.arguments.emplace_back("--any-thread");
  if (options.seed) command.arguments.insert(command.arguments.end(), {"--seed", std::to_string(*options.seed)});
  command.descriptors = {mailbox_->fd(), doorbell_.fd(), interrupt_.fd()};
  auto process = os::ChildProcess::start(command);
  if (!process) return Error{"ecc-sim", process.error().detail};
  process_ = std::move(*process);
  return {};
}

SimTransport::~SimTransport() {
  if (!process_) return;
  process_->hang_up();
  if (process_->reap(std::chrono::milliseconds(500))) return;
  process_->kill_now();
  process_->reap(std::chrono::milliseconds(5000));
}

void SimTransport::lose(const char* reason, std::string detail) {
  if (state_.ok()) state_ = Error{reason, std::move(detail)};
}

Status SimTransport::alive() {
  if (state_.ok() && process_->ended()) {
    exit_status_ = process_->reap(std::chrono::milliseconds(100));
    lose("device-gone", "keyferry-ecc-sim ended: " +
                            (exit_status_ ? os::wait_status_text(*exit_status_) : std::string("not reaped yet")));
  }
  return state_;
}

// It cannot fill up: the simulator takes what is there when it wakes.
void SimTransport::ring() { doorbell_.set(); }

std::optional<std::uint32_t> SimTransport::wait_for_answer(std::chrono::milliseconds limit) {
  for (int spin = 0; spin < 64; ++spin)
    if (const auto a = mailbox_->answer()) return a;
  const auto end = Clock::now() + limit;
  for (;;) {
    mailbox_->wait_answer(20);
    if (const auto a = mailbox_->answer()) return a;
    if (!alive().ok()) return mailbox_->answer();
    if (Clock::now() > end) {
      lose("device-stuck", "keyferry-ecc-sim (pid " + std::to_string(pid()) + ") did not answer within " +
                               std::to_string(limit.count()) + " ms");
      return std::nullopt;
    }
  }
}

std::uint32_t SimTransport::read(std::uint32_t offset) {
  if (!state_.ok()) return kAllOnes;
  if (mailbox_->ask(offset)) ring();
  return wait_for_answer(answer_limit_).value_or(kAllOnes);
}

void SimTransport::write(std::uint32_t offset, std::uint32_t value) {
  if (!state_.ok()) return;
  if (mailbox_->full()) {
    const auto end = Clock::now() + answer_limit_;
    while (mailbox_->full()) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      if (!alive().ok()) return;
      if (Clock::now() > end) {
        lose("device-stuck", "keyferry-ecc-sim (pid " + std::to_string(pid()) + ") took no write within " +
                                 std::to_string(answer_limit_.count()) + " ms");
        return;
      }
    }
  }
  if (mailbox_->post(offset, value)) ring();
}

void SimTransport::rearm_interrupt() {
  interrupt_.clear();
  write(kRegIrqStatus, kIrqStatusCompletion.mask() | kIrqStatusError.mask() | kIrqStatusEntropy.mask());
}

double SimTransport::sim_cpu_seconds() const {
  return 1e-9 * static_cast<double>(mailbox_->header().cpu_ns.load(std::memory_order_relaxed));
}
std::uint64_t SimTransport::sim_cycles() const { return mailbox_->header().cycles.load(std::memory_order_relaxed); }
std::uint64_t SimTransport::sim_heartbeat() const {
  return mailbox_->header().heartbeat.load(std::memory_order_relaxed);
}

}  // namespace kf::ecc
