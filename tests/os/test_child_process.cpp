// Children on a leash, with the shell as the child; descriptors; CPU time.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstdlib>

#include "host/os/child_process.hpp"
#include "host/os/cpu_time.hpp"

namespace kf::os {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kPatience{20'000};

ChildCommand shell(const std::string& script) { return {"/bin/sh", {"sh", "-c", script}, {}, {}}; }

Result<ChildProcess> start(const std::string& script, std::vector<int> descriptors = {}) {
  ChildCommand c = shell(script);
  c.descriptors = std::move(descriptors);
  return ChildProcess::start(c);
}

// The end of a script in words; "runs on" after a long while.
std::string end_of(const std::string& script, std::vector<int> descriptors = {}) {
  auto c = start(script, std::move(descriptors));
  if (!c) return c.error().text();
  const auto status = c->reap(kPatience);
  return status ? wait_status_text(*status) : "runs on";
}

bool readable(int fd, milliseconds limit) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, static_cast<int>(limit.count())) == 1;
}

struct Pipe {
  Fd reader, writer;
  Pipe() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    reader.reset(ends[0]);
    writer.reset(ends[1]);
  }
  std::string read_all() {
    writer.reset();
    std::string out;
    std::array<char, 256> chunk{};
    for (ssize_t n = 0; (n = ::read(reader.get(), chunk.data(), chunk.size())) > 0;)
      out.append(chunk.data(), static_cast<std::size_t>(n));
    return out;
  }
};

TEST(Child, EndsAreTold) {
  EXPECT_EQ(end_of("exit 0"), "exit status 0");
  EXPECT_EQ(end_of("exit 7"), "exit status 7");
  EXPECT_EQ(end_of("kill -TERM $$"), "signal 15");
  auto c = start("exit 7");
  ASSERT_TRUE(c.ok());
  EXPECT_GT(c->pid(), 0);
  EXPECT_TRUE(readable(c->end_fd(), kPatience));
  EXPECT_TRUE(c->ended());
  EXPECT_EQ(wait_status_text(c->reap(milliseconds(0)).value_or(0)), "exit status 7");
  EXPECT_EQ(wait_status_text(c->reap(milliseconds(0)).value_or(0)), "exit status 7") << "asked again";
  EXPECT_EQ(c->pid(), -1);
  c->kill_now();  // nobody
}

TEST(Child, WhatIsNotThereIsNamed) {
  ChildCommand c = shell("");
  c.program = "/nowhere/keyferry-x";
  const auto p = ChildProcess::start(c);
  ASSERT_FALSE(p.ok());
  EXPECT_EQ(p.error().reason, "child");
  EXPECT_EQ(p.error().detail, "cannot start '/nowhere/keyferry-x': No such file or directory");
}

TEST(Child, TheEndOfTheLeashIsTheSignToGo) {
  auto c = start("read line <&3; exit 5");
  ASSERT_TRUE(c.ok());
  EXPECT_FALSE(c->reap(milliseconds(50)).has_value());
  EXPECT_FALSE(c->ended());
  c->hang_up();
  EXPECT_EQ(c->control(), -1);
  const auto status = c->reap(kPatience);
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(wait_status_text(*status), "exit status 5");
}

TEST(Child, TheSocketCarriesMessages) {
  auto c = start("echo hello >&3; test \"$(dd bs=16 count=1 <&3 2>/dev/null)\" = go");
  ASSERT_TRUE(c.ok());
  ASSERT_TRUE(readable(c->control(), kPatience));
  std::array<char, 16> text{};
  EXPECT_EQ(::read(c->control(), text.data(), text.size()), 6);
  EXPECT_EQ(std::string(text.data(), 6), "hello\n");
  EXPECT_EQ(::write(c->control(), "go", 2), 2);
  EXPECT_EQ(c->reap(kPatience), 0);
}

// Whatever numbers the descriptors have here, also those that they or others are to have there.
TEST(Child, DescriptorsHaveTheirNumbers) {
  std::vector<Fd> others;
  for (int i = 0; i < 8; ++i) {
    Pipe a, b;
    EXPECT_EQ(end_of("printf one >&4 && printf two >&5", {a.writer.get(), -1, b.writer.get()}), "exit status 0");
    EXPECT_EQ(end_of("printf ' one' >&4 && printf ' two' >&5", {b.writer.get(), a.writer.get()}), "exit status 0");
    EXPECT_EQ(a.read_all(), "one two") << a.writer.get() << " " << b.writer.get();
    EXPECT_EQ(b.read_all(), "two one");
    others.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
}

TEST(Child, NoOtherDescriptorGoesAlong) {
  const Fd open(::fcntl(0, F_DUPFD, 20));  // no FD_CLOEXEC: a careless library's
  ASSERT_TRUE(open.open());
  EXPECT_EQ(end_of("test -e /proc/$$/fd/3 && ! test -e /proc/$$/fd/" + std::to_string(open.get())), "exit status 0");
}

TEST(Child, EnvironmentIsOursWithChanges) {
  ::setenv("KF_TEST_KEPT", "kept", 1);
  ::setenv("KF_TEST_REPLACED", "old", 1);
  ChildCommand c = shell("test \"$KF_TEST_KEPT $KF_TEST_REPLACED $KF_TEST_NEW\" = 'kept new x=y'; exit $?");
  c.environment = {{"KF_TEST_REPLACED", "new"}, {"KF_TEST_NEW", "x=y"}};
  auto p = ChildProcess::start(c);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p->reap(kPatience), 0);
}

TEST(Child, SignalsAreAtTheirDefaultsInAGroupOfItsOwn) {
  sigset_t usr2, before;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &usr2, &before);
  const auto old = ::signal(SIGUSR1, SIG_IGN);
  EXPECT_EQ(end_of("kill -USR1 $$"), "signal 10");
  EXPECT_EQ(end_of("kill -USR2 $$"), "signal 12");
  ::signal(SIGUSR1, old);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  auto c = start("read line <&3");
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(::getpgid(c->pid()), c->pid());
}

TEST(Child, NoneIsLeftBehind) {
  Fd first, second;
  const auto watch = [](const ChildProcess& c) { return Fd(static_cast<int>(::syscall(SYS_pidfd_open, c.pid(), 0))); };
  {
    auto a = start("trap '' TERM; while :; do sleep 1; done");
    auto b = start("exec sleep 100");
    ASSERT_TRUE(a.ok() && b.ok());
    first = watch(*a);
    second = watch(*b);
    *a = std::move(*b);  // ends the first
    EXPECT_TRUE(readable(first.get(), kPatience));
    EXPECT_FALSE(readable(second.get(), milliseconds(0)));
  }
  EXPECT_TRUE(readable(second.get(), kPatience));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "no zombie";
}

TEST(Child, SomebodyElseMayReap) {
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  auto c = start("exit 7");
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(c->reap(kPatience), 0) << "its status is lost, its end is not";
  ::signal(SIGCHLD, before);
}

TEST(Child, ALimitThatIsOverIsNoWait) {
  auto c = start("read line <&3");
  ASSERT_TRUE(c.ok());
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_FALSE(c->reap(milliseconds(-5)).has_value());
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
}

TEST(Event, IsReadableUntilItIsCleared) {
  const EventFd e;
  ASSERT_TRUE(e.open());
  EXPECT_FALSE(readable(e.fd(), milliseconds(0)));
  e.set();
  e.set();
  EXPECT_TRUE(readable(e.fd(), milliseconds(0)));
  e.clear();
  EXPECT_FALSE(readable(e.fd(), milliseconds(0)));
  e.clear();  // nothing there: returns
}

TEST(Descriptor, ClosesItself) {
  const auto is_open = [](int fd) { return ::fcntl(fd, F_GETFD) != -1; };
  Fd a(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int first = a.get();
  Fd b(std::move(a));
  EXPECT_TRUE(is_open(first) && b.get() == first);
  b = Fd(::dup(first));
  EXPECT_FALSE(is_open(first));
  const int second = b.release();
  EXPECT_FALSE(b.open());
  EXPECT_TRUE(is_open(second));
  b.reset(second);
  b.reset();
  EXPECT_FALSE(is_open(second));
}

TEST(CpuTime, GrowsWithWork) {
  const auto process = process_cpu();  // before and after the other clock: what that shows is within
  const auto thread = thread_cpu();
  while (thread_cpu() - thread < milliseconds(5)) {
  }
  EXPECT_GE(process_cpu() - process, milliseconds(5));
  const double thread_s = thread_cpu_seconds();
  EXPECT_GE(process_cpu_seconds(), thread_s);
}

}  // namespace
}  // namespace kf::os
