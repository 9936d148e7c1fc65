// The Device on the core in a process of its own: work by interrupt, a simulator that is killed, stopped, asked to end
// or left behind, and what the driver costs.
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <csignal>

#include "drivers/simulated/transport/sim_transport.hpp"
#include "tests/drivers/support.hpp"

namespace kf::ecc::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Core {
  SimTransport* sim = nullptr;
  std::unique_ptr<Device> device;
};
Core open_core(const SimOptions& s = {}, DeviceOptions d = {}) {
  auto t = SimTransport::open(s);
  EXPECT_TRUE(t.ok()) << t.error().text();
  if (!t) return {};
  Core c;
  c.sim = t->get();
  d.allow_test_build = s.test_build;
  auto device = Device::open(std::move(*t), d);
  EXPECT_TRUE(device.ok()) << device.error().text();
  if (!device) return {};
  c.device = std::move(*device);
  return c;
}
bool wait_fd(int fd, milliseconds limit) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, static_cast<int>(limit.count())) == 1;
}

// Collects what is in flight, sleeping on the interrupt only: if one were missed, this would end in its limit.
void collect(Device& d, std::span<Completion> answers) {
  std::size_t got = 0;
  while (got < answers.size()) {
    ASSERT_TRUE(wait_fd(d.interrupt_fd(), milliseconds(60'000))) << answers.size() - got << " jobs are not answered";
    d.rearm_interrupt();
    got += d.poll(answers.subspan(got));
  }
}
std::vector<Descriptor> checks(std::size_t n) {
  std::mt19937_64 random(seed());
  std::vector<Descriptor> jobs(n, job(Opcode::check, CurveNumber::p256, 0, 0));
  const Key key = random_key(random, Curve::p256);
  for (std::size_t i = 0; i < n; ++i) {
    set_point(jobs[i], key.q);
    jobs[i].tag = i;
  }
  return jobs;
}

TEST(Sim, GeneratesAndAgreesByInterrupt) {
  const Core core = open_core();
  ASSERT_TRUE(core.device);
  Device& d = *core.device;
  EXPECT_FALSE(d.capabilities().test_build);
  std::mt19937_64 random(seed());
  for (const auto& [c, n] : kCurves) {
    for (const std::size_t count : {std::size_t{40}, std::size_t{1}}) {  // 1: by the interrupt's age alone
      std::vector<Descriptor> jobs;
      for (std::uint16_t i = 0; i < count; ++i) jobs.push_back(job(Opcode::generate, n, i, 100U + i));
      ASSERT_EQ(d.submit(jobs), count);
      std::vector<Completion> made(count), agreed(count);
      ASSERT_NO_FATAL_FAILURE(collect(d, made));
      std::vector<Key> peers;
      for (std::uint16_t i = 0; i < count; ++i) {
        ASSERT_EQ(status_of(made[i]), JobStatus::ok);
        EXPECT_EQ(made[i].tag, 100U + i);
        ASSERT_TRUE(check_point(c, point_of(made[i])).ok());
        peers.push_back(random_key(random, c));
        jobs[i] = job(Opcode::ecka, n, i, 500U + i);
        set_point(jobs[i], peers[i].q);
      }
      ASSERT_EQ(d.submit(jobs), count);
      ASSERT_NO_FATAL_FAILURE(collect(d, agreed));
      for (std::size_t i = 0; i < count; ++i) {
        ASSERT_EQ(status_of(agreed[i]), JobStatus::ok);
        EXPECT_EQ(agreed[i].tag, 500U + i);
        EXPECT_TRUE(equal_ct(kf::ecka(c, peers[i].d, point_of(made[i])).value().expose(), big_endian(agreed[i].x)));
      }
    }
  }
  EXPECT_EQ(faults(d.counters()), 0U);
  EXPECT_EQ(d.errors(), 0U);
  EXPECT_EQ(d.counter(kCountJobs), d.counter(kCountCompletions));
  EXPECT_GE(d.counter(kCountCompletions), d.counters().completed);
}

TEST(Sim, KilledInFlightIsSeenAndReplaced) {
  Core core = open_core();
  ASSERT_TRUE(core.device);
  std::vector<Descriptor> jobs;
  for (std::uint16_t i = 0; i < 256; ++i) jobs.push_back(job(Opcode::generate, CurveNumber::p256, i, i));
  for (int turn = 0; turn < 2; ++turn) {
    Device& d = *core.device;
    ASSERT_EQ(d.submit(jobs), jobs.size());
    std::vector<Completion> answers(jobs.size());
    std::size_t got = 0;
    if (turn == 1) {  // some answers have come
      ASSERT_TRUE(wait_fd(d.interrupt_fd(), milliseconds(60'000)));
      got = d.poll(answers);
      ASSERT_NE(got, 0U);
      for (std::size_t i = 0; i < got; ++i) EXPECT_EQ(status_of(answers[i]), JobStatus::ok);
    }
    ASSERT_EQ(::kill(core.sim->pid(), SIGKILL), 0);
    const auto killed = Clock::now();
    EXPECT_TRUE(wait_fd(core.sim->end_fd(), milliseconds(2000)));
    const Status s = d.check();
    const auto seen = std::chrono::duration_cast<milliseconds>(Clock::now() - killed);
    ASSERT_FALSE(s.ok());
    EXPECT_EQ(s.error().reason, "device-gone");
    EXPECT_NE(s.error().detail.find("signal 9"), std::string::npos) << s.error().text();
    EXPECT_LT(seen, milliseconds(2000));
    EXPECT_EQ(d.submit(jobs), 0U);
    const std::size_t before = got;
    got += d.poll(std::span(answers).subspan(got));
    ASSERT_EQ(got, jobs.size());
    for (std::size_t i = 0; i < got; ++i) EXPECT_EQ(answers[i].tag, i);
    // What had come before it died may have been taken from the ring; the rest is owed.
    EXPECT_GT(d.counters().lost, 0U);
    EXPECT_LE(d.counters().lost, jobs.size() - before);
    for (const auto& c : answers)
      if (status_of(c) != JobStatus::ok) {
        EXPECT_EQ(status_of(c), JobStatus::fault);
        EXPECT_TRUE(blank(c));
      }
    EXPECT_EQ(d.counter(kCountCycles), ~std::uint64_t{0});
    core = {};
    core = open_core();
    ASSERT_TRUE(core.device);
  }
  std::vector<Completion> answers;
  ASSERT_NO_FATAL_FAILURE(all(*core.device, jobs, answers));
  for (const auto& c : answers) EXPECT_EQ(status_of(c), JobStatus::ok);
}

TEST(Sim, StoppedCountsAsStuck) {
  const Core core = open_core();
  ASSERT_TRUE(core.device);
  ASSERT_EQ(core.device->submit(checks(10)), 10U);
  ASSERT_EQ(::kill(core.sim->pid(), SIGSTOP), 0);
  const auto start = Clock::now();
  const Status s = core.device->check();
  const auto took = Clock::now() - start;
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().reason, "device-stuck");
  EXPECT_LT(took, milliseconds(4000));
  EXPECT_GT(took, milliseconds(1900));
  std::vector<Completion> answers(10);
  EXPECT_EQ(core.device->poll(answers), 10U);
}  // its end kills the stopped process, too

TEST(Sim, SleepsWhenIdle) {
  const Core core = open_core();
  ASSERT_TRUE(core.device);
  const auto settled = [&] {
    for (int i = 0; i < 100; ++i) {
      const auto cycles = core.sim->sim_cycles();
      std::this_thread::sleep_for(milliseconds(300));
      if (core.sim->sim_cycles() == cycles) return true;
    }
    return false;
  };
  std::uint64_t cycles = 0;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(settled());
    EXPECT_GT(core.sim->sim_cycles(), cycles);
    cycles = core.sim->sim_cycles();
    ASSERT_EQ(core.device->submit(checks(3)), 3U);
    std::vector<Completion> answers(3);
    ASSERT_NO_FATAL_FAILURE(collect(*core.device, answers));
    for (const auto& c : answers) EXPECT_EQ(status_of(c), JobStatus::ok);
  }
  EXPECT_GT(core.sim->sim_cpu_seconds(), 0.0);
}

TEST(Sim, EndsWhenAskedTo) {
  const Core core = open_core();
  ASSERT_TRUE(core.device);
  ASSERT_EQ(::kill(core.sim->pid(), SIGTERM), 0);
  ASSERT_TRUE(wait_fd(core.sim->end_fd(), milliseconds(5000)));
  const Status s = core.device->check();
  ASSERT_FALSE(s.ok());
  EXPECT_NE(s.error().detail.find("exit status 0"), std::string::npos) << s.error().text();
}

TEST(Sim, DoesNotOutliveWhoStartedIt) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto t = SimTransport::open({});
    const pid_t pid = t ? (*t)->pid() : -1;
    const bool told = ::write(ends[1], &pid, sizeof pid) == sizeof pid;
    char byte = 0;
    static_cast<void>(told);
    ::pause();
    ::_exit(byte);
  }
  pid_t pid = -1;
  ASSERT_EQ(::read(ends[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  ASSERT_GT(pid, 0);
  const int process = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  ASSERT_GE(process, 0);
  EXPECT_FALSE(wait_fd(process, milliseconds(100)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(wait_fd(process, milliseconds(5000)));
  for (const int fd : {process, ends[0], ends[1]}) ::close(fd);
}

TEST(Sim, OptionsAreGuarded) {
  SimOptions o;
  o.program = "/nowhere/keyferry-ecc-sim";
  const auto none = SimTransport::open(o);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().reason, "ecc-sim");
  EXPECT_NE(none.error().detail.find("/nowhere/"), std::string::npos);
  o = {};
  o.seed = 1;  // a product takes none: the simulator refuses and ends
  const auto seeded = SimTransport::open(o);
  ASSERT_FALSE(seeded.ok());
  EXPECT_NE(seeded.error().detail.find("exit status 2"), std::string::npos) << seeded.error().text();
  o.test_build = true;
  auto test = SimTransport::open(o);
  ASSERT_TRUE(test.ok()) << test.error().text();
  const auto d = Device::open(std::move(*test));
  ASSERT_FALSE(d.ok());
  EXPECT_EQ(d.error().reason, "test-build");
  const std::string program = std::string(KF_BIN_DIR) + "/keyferry-ecc-sim";
  const int by_hand = std::system((program + " 3<&- 2>/dev/null").c_str());
  EXPECT_EQ(WEXITSTATUS(by_hand), 2);
  EXPECT_EQ(std::system((program + " --help >/dev/null").c_str()), 0);
}

double thread_cpu() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

TEST(Sim, OneInterruptABatch) {
  const Core core = open_core();
  ASSERT_TRUE(core.device);
  Device& d = *core.device;
  const auto jobs = checks(32);
  std::vector<Completion> answers(32);
  constexpr int kRounds = 300;
  double calls = 0;
  double with_waiting = 0;
  for (int i = 0; i < kRounds; ++i) {
    const double start = thread_cpu();
    ASSERT_EQ(d.submit(jobs), 32U);
    calls += thread_cpu() - start;
    std::size_t got = 0;
    while (got < 32) {
      ASSERT_TRUE(wait_fd(d.interrupt_fd(), milliseconds(60'000)));
      d.rearm_interrupt();
      const double before = thread_cpu();
      got += d.poll(std::span(answers).subspan(got));
      calls += thread_cpu() - before;
    }
    with_waiting += thread_cpu() - start;
    for (const auto& c : answers) ASSERT_EQ(status_of(c), JobStatus::ok);
  }
  constexpr double kJobs = 32.0 * kRounds;
  std::printf("driver CPU a job at 32 a submit: %.3f us in submit and poll, %.3f us with the sleep on the interrupt\n",
              1e6 * calls / kJobs, 1e6 * with_waiting / kJobs);
  std::printf("interrupts a round: %.2f; simulator: %.1f s CPU, %.1f million cycles\n",
              static_cast<double>(d.counters().interrupts) / kRounds, core.sim->sim_cpu_seconds(),
              1e-6 * static_cast<double>(core.sim->sim_cycles()));
  // How long it took is for a benchmark to judge; that one interrupt answers a whole batch is not.
  EXPECT_LE(d.counters().interrupts, 3U * kRounds);
}

}  // namespace
}  // namespace kf::ecc::test
