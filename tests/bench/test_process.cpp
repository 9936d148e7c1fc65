// Process control and accounts on real processes: the shell and ourselves.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "bench/process/child.hpp"
#include "bench/process/limits.hpp"
#include "bench/process/ports.hpp"
#include "bench/process/usage.hpp"

namespace kf::proc {
namespace {

SpawnOptions shell(const std::string& script) {
  SpawnOptions o;
  o.program = "/bin/sh";
  o.args = {"-c", script};
  return o;
}

// The soft limit of open files follows what a run needs, for this process and its children; what cannot be had is told.
TEST(Limits, FilesFollowWhatARunNeeds) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{64, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  ASSERT_GE(before.rlim_max, 256U);
  ASSERT_TRUE(need_descriptors(200).ok());
  const auto seen = run_tool(shell("ulimit -n"), Millis(60'000));
  ASSERT_TRUE(seen.ok());
  EXPECT_TRUE(seen->out == "unlimited\n" || std::stoull(seen->out) >= 200) << seen->out;
  EXPECT_GT(local_ports(), 0U);
  ::setrlimit(RLIMIT_NOFILE, &before);
  if (before.rlim_max == RLIM_INFINITY) return;
  const Status never = need_descriptors(std::uint64_t{1} << 40);  // beyond fs.nr_open, whoever asks
  ASSERT_FALSE(never.ok());
  EXPECT_EQ(never.error().reason, "proc-limit");
  ::setrlimit(RLIMIT_NOFILE, &before);
}

void burn(double cpu_s) {
  const double until = thread_cpu_seconds() + cpu_s;
  volatile unsigned x = 0;
  while (thread_cpu_seconds() < until)
    for (int i = 0; i < 10'000; ++i) x = x * 31 + 7;
}

TEST(Child, ReadsItsLinesThenItsEnd) {
  SpawnOptions o = shell("echo ready; echo again; exit 3");
  o.pipe_stdout = true;
  auto c = Child::spawn(o);
  ASSERT_TRUE(c);
  EXPECT_EQ(*c->read_line(Millis(5000)), "ready");
  EXPECT_EQ(*c->read_line(Millis(5000)), "again");
  const auto end = c->read_line(Millis(5000));
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().reason, "proc-ended");
  EXPECT_NE(end.error().detail.find("exit status 3"), std::string::npos);
  EXPECT_EQ(*c->wait(Millis(1000)), 3);
  EXPECT_FALSE(c->running());
}

TEST(Child, MissingProgramNamesIt) {
  SpawnOptions o;
  o.program = "/nonexistent/keyferry";
  const auto c = Child::spawn(o);
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().reason, "proc-spawn");
  EXPECT_NE(c.error().detail.find("/nonexistent/keyferry"), std::string::npos);
}

TEST(Child, SilentOneTimesOut) {
  SpawnOptions o = shell("exec sleep 30");
  o.pipe_stdout = true;
  auto c = Child::spawn(o);
  ASSERT_TRUE(c);
  EXPECT_EQ(c->read_line(Millis(50)).error().reason, "proc-timeout");
  EXPECT_EQ(c->wait(Millis(50)).error().reason, "proc-timeout");
  EXPECT_TRUE(c->running());
}

TEST(Child, DestructorEndsIt) {
  pid_t pid = 0;
  {
    auto c = Child::spawn(shell("exec sleep 30"));
    ASSERT_TRUE(c);
    pid = c->pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_NE(::kill(pid, 0), 0);  // reaped, so the number means nobody
}

TEST(Child, StubbornOneIsKilledAfterTheGrace) {
  SpawnOptions o = shell("trap '' TERM; echo ready; while :; do sleep 1; done");
  o.pipe_stdout = true;
  auto c = Child::spawn(o);
  ASSERT_TRUE(c);
  ASSERT_TRUE(c->read_line(Millis(5000)));
  EXPECT_EQ(c->terminate(Millis(100)), 128 + SIGKILL);
}

TEST(Child, PoliteOneEndsByItself) {
  SpawnOptions o = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
  o.pipe_stdout = true;
  auto c = Child::spawn(o);
  ASSERT_TRUE(c);
  ASSERT_TRUE(c->read_line(Millis(5000)));
  EXPECT_EQ(c->terminate(Millis(5000)), 7);
  EXPECT_EQ(c->end_text(), "exit status 7");
}

TEST(Child, DiesWithItsParent) {
  // A child of ours starts a child of its own through the same code, tells its number, and is killed.
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t middle = ::fork();
  ASSERT_GE(middle, 0);
  if (middle == 0) {
    auto c = Child::spawn(shell("exec sleep 60"));
    const pid_t pid = c ? c->pid() : -1;
    [[maybe_unused]] const ssize_t n = ::write(pipe_ends[1], &pid, sizeof pid);
    ::pause();
    ::_exit(0);
  }
  pid_t grandchild = -1;
  ASSERT_EQ(::read(pipe_ends[0], &grandchild, sizeof grandchild), static_cast<ssize_t>(sizeof grandchild));
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
  ASSERT_GT(grandchild, 0);
  ::kill(middle, SIGKILL);
  // It stays a zombie until init reaps it, so look at its state.
  std::string state = "?";
  for (int i = 0; i < 200; ++i) {
    std::ifstream f("/proc/" + std::to_string(grandchild) + "/stat");
    std::string line;
    if (!std::getline(f, line)) {
      state = "gone";
      break;
    }
    state = line.substr(line.rfind(')') + 2, 1);
    if (state == "Z") break;
    std::this_thread::sleep_for(Millis(10));
  }
  EXPECT_TRUE(state == "gone" || state == "Z") << state;
}

TEST(RunTool, KeepsBothOutputsAndTheStatus) {
  const auto r = run_tool(shell("echo out; echo err >&2; exit 4"), Millis(5000));
  ASSERT_TRUE(r);
  EXPECT_EQ(r->out, "out\n");
  EXPECT_EQ(r->err, "err\n");
  EXPECT_EQ(r->status, 4);
}

TEST(RunTool, MoreOutputThanAPipeHolds) {
  const auto r = run_tool(shell("i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; "
                                "echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done"),
                          Millis(20'000));
  ASSERT_TRUE(r);
  EXPECT_EQ(r->out.size(), 3000U * 41);
  EXPECT_EQ(r->err.size(), 3000U * 41);
}

TEST(RunTool, TakesTheEnvironment) {
  SpawnOptions o = shell("printf '%s\\n' \"$KF_TEST_VALUE\"");
  o.environment = {{"KF_TEST_VALUE", "a value"}};
  EXPECT_EQ(run_tool(o, Millis(5000))->out, "a value\n");
}

TEST(RunTool, HangingOneIsGivenUp) {
  EXPECT_EQ(run_tool(shell("exec sleep 30"), Millis(200)).error().reason, "proc-timeout");
}

TEST(Spawn, LogFilesArePrivate) {
  const auto dir = std::filesystem::temp_directory_path() / ("kf-proc-" + std::to_string(::getpid()));
  std::filesystem::create_directories(dir);
  SpawnOptions o = shell("echo something");
  o.stdout_file = (dir / "log").string();
  auto c = Child::spawn(o);
  ASSERT_TRUE(c);
  EXPECT_EQ(*c->wait(Millis(5000)), 0);
  struct stat s {};
  ASSERT_EQ(::stat(o.stdout_file.c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0777U, 0600U);
  EXPECT_EQ(s.st_size, 10);
  std::filesystem::remove_all(dir);
}

TEST(Usage, CountsTheCpuTimeOfAProcess) {
  const double before = *cpu_seconds(::getpid());
  burn(0.05);
  const double spent = *cpu_seconds(::getpid()) - before;
  EXPECT_GE(spent, 0.05);
  EXPECT_LT(spent, 0.5);
}

TEST(Usage, CountsChildrenThatAreGoneToo) {
  // A family of three: a shell and two of its own children, one ended and one still there.
  SpawnOptions o = shell(
      "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; sleep 30 & trap \"kill $!\" TERM; echo ready; wait");
  o.pipe_stdout = true;
  auto c = Child::spawn(o);
  ASSERT_TRUE(c);
  ASSERT_TRUE(c->read_line(Millis(30'000)));
  const auto u = family_usage(c->pid());
  ASSERT_TRUE(u);
  EXPECT_GT(u->children_cpu_s, 0.0);
  EXPECT_EQ(u->children, 1U);
  EXPECT_GT(u->peak_rss_bytes, 100'000U);
  EXPECT_EQ(children_of(c->pid()).size(), 1U);
}

TEST(Usage, ResidentMemoryRisesWithUse) {
  constexpr std::size_t kOctets = 64 << 20;
  const auto before = rss_bytes(::getpid());
  ASSERT_TRUE(before);
  const std::vector<char> much(kOctets, 'x');
  EXPECT_GT(*rss_bytes(::getpid()), *before + kOctets / 2) << much.back();
}

TEST(Usage, TheMachineIsBusyWithUs) {
  const double before = machine_busy_seconds();
  burn(0.5);
  EXPECT_GT(machine_busy_seconds() - before, 0.4);
}

TEST(Usage, ProcessThatIsNotThere) {
  EXPECT_EQ(cpu_seconds(0x3FFFFFF).error().reason, "proc-gone");
  EXPECT_EQ(peak_rss_bytes(0x3FFFFFF).error().reason, "proc-gone");
  EXPECT_EQ(rss_bytes(0x3FFFFFF).error().reason, "proc-gone");
  EXPECT_EQ(family_usage(0x3FFFFFF).error().reason, "proc-gone");
}

TEST(Ports, AreDifferentAndOutsideTheEphemeralRange) {
  const auto p = free_ports(20);
  ASSERT_TRUE(p);
  for (std::size_t i = 0; i < p->size(); ++i) {
    EXPECT_LT((*p)[i], 32768);
    for (std::size_t k = i + 1; k < p->size(); ++k) EXPECT_NE((*p)[i], (*p)[k]);
  }
}

}  // namespace
}  // namespace kf::proc
