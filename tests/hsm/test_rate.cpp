// Download sets per second (one signature and one ephemeral_ecka each) with one and two workers: printed, not judged.
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "host/crypto/ec.hpp"
#include "tests/hsm/token_fixture.hpp"

namespace kf::hsm {
namespace {

using namespace testing;
using Clock = std::chrono::steady_clock;

// User and system time of a process so far, in seconds.
double cpu_of(int pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(in, text);
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int field = 3; field < 14; ++field) rest >> skipped;
  double user = 0;
  double system = 0;
  rest >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

void measure(Curve curve, unsigned workers, double seconds) {
  HsmConfig c = token_config();
  c.tokens.front().workers = workers;
  const auto e = start(c);
  ASSERT_TRUE(e);
  const EccRequest ecka = ecka_case(0, curve).request;
  const EccRequest sign = sign_request(0, curve);
  constexpr std::size_t kInFlight = 400;
  std::vector<EccCompletion> out(128);
  std::uint64_t submitted = 0;
  std::uint64_t completed = 0;
  const auto workers_cpu = [&] {
    double sum = 0;
    for (const int pid : e->worker_pids()) sum += cpu_of(pid);
    return sum;
  };
  const double workers_before = workers_cpu();
  const auto t0 = Clock::now();
  const auto end = t0 + std::chrono::duration<double>(seconds);
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  while (Clock::now() < end || completed < submitted) {
    std::vector<EccRequest> more;
    while (Clock::now() < end && submitted + more.size() - completed < kInFlight) {
      more.push_back((submitted + more.size()) % 2 == 0 ? sign : ecka);
      more.back().id = submitted + more.size();
    }
    submitted += e->submit(more);
    pollfd p{e->event_fd(), POLLIN, 0};
    ::poll(&p, 1, 100);
    while (const std::size_t n = e->poll(out)) {
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(out[i].status, EccStatus::ok);
      completed += n;
    }
    ASSERT_LT(Clock::now(), end + std::chrono::seconds(30));
  }
  const double wall = std::chrono::duration<double>(Clock::now() - t0).count();
  rusage after{};
  ::getrusage(RUSAGE_SELF, &after);
  const auto cpu = [](const rusage& r) {
    return static_cast<double>(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           static_cast<double>(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
  };
  const double sets = static_cast<double>(completed) / 2;
  std::printf(
      "[ rate     ] %s, %u worker(s): %.0f sets/s; CPU per set: workers %.0f us, parent %.1f us; mean batch %.1f\n",
      std::string(curve_name(curve)).c_str(), workers, sets / wall, (workers_cpu() - workers_before) / sets * 1e6,
      (cpu(after) - cpu(before)) / sets * 1e6, e->stats().batch_size.mean());
  EXPECT_EQ(*e->session_objects(), 0U);
}

TEST(Rate, DownloadSets) {
  for (const Curve curve : {Curve::p256, Curve::brainpool_p256r1}) {
    for (const unsigned workers : {1U, 2U}) measure(curve, workers, 2.0);
  }
}

TEST(Rate, SealedRecords) {
  const auto e = start(token_config());
  ASSERT_TRUE(e);
  const Bytes plain(96, 7);
  const auto t0 = Clock::now();
  constexpr int kRounds = 2000;
  for (int i = 0; i < kRounds; ++i) ASSERT_TRUE(e->seal_record({}, plain).ok());
  std::printf("[ rate     ] seal_record from one thread, one worker: %.0f/s\n",
              kRounds / std::chrono::duration<double>(Clock::now() - t0).count());
}

}  // namespace
}  // namespace kf::hsm
