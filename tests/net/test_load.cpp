// Many connections at once, and how many requests a second one thread carries (client and server in the same one).
#include <sys/resource.h>

#include <cstdio>

#include "tests/net/support.hpp"

namespace kf::net::test {
namespace {

using std::string;
constexpr Millis long_enough{30'000};

struct Plan {
  int calls = 0, ok = 0;
  string body;
};

asio::awaitable<void> worker(HttpClient& c, Plan& plan, int& running) {
  while (plan.calls > 0) {
    --plan.calls;
    const auto a = co_await c.call(post(plan.body), long_enough, false);
    if (a.ok() && a->status == 200 && a->body == plan.body) ++plan.ok;
  }
  --running;
}

double cpu_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto s = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return s(u.ru_utime) + s(u.ru_stime);
}

struct NetLoad : ::testing::Test {
  World w;
  Echo echo;
  int together = 0;  // > 0: no handler goes on before so many run at once
  // Runs `calls` over `connections` parallel connections; returns how many were answered as they should.
  int run(std::size_t connections, int calls, const string& body, double* per_second = nullptr,
          double* cpu_us = nullptr) {
    auto so = server_options(w);
    so.max_body = 8 << 20;
    echo.keep_seen = false;
    HttpServer server(w.io, std::move(so), echo.handler());
    EXPECT_TRUE(server.start().ok());
    auto o = client_options(server.port());
    o.max_connections = connections;
    HttpClient c(w.io, o);
    Plan plan{static_cast<int>(connections), 0, body};  // open the connections first
    const auto go = [&] {
      echo.most_running = 0;
      if (together > 0) echo.shut(w.io, together);
      int running = static_cast<int>(connections);
      for (std::size_t i = 0; i < connections; ++i) asio::co_spawn(w.io, worker(c, plan, running), asio::detached);
      return w.run_until([&] { return running == 0; }, Ms{60'000});
    };
    EXPECT_TRUE(go());
    const int first = plan.ok;
    EXPECT_EQ(first, static_cast<int>(connections));
    plan = Plan{calls, 0, body};
    const auto from = std::chrono::steady_clock::now();
    const double cpu = cpu_seconds();
    EXPECT_TRUE(go());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - from;
    if (per_second != nullptr) *per_second = calls / took.count();
    if (cpu_us != nullptr) *cpu_us = (cpu_seconds() - cpu) * 1e6 / calls;
    EXPECT_LE(c.connections(), connections);
    return plan.ok;
  }
};

TEST_F(NetLoad, TwoHundredParallelConnections) {
  together = 200;
  EXPECT_EQ(run(200, 400, "parallel"), 400);
  EXPECT_EQ(echo.most_running, 200);
  EXPECT_TRUE(w.log.empty()) << w.log[0];
}

TEST_F(NetLoad, RequestsPerSecond) {
  struct Case {
    std::size_t connections;
    int calls;
    std::size_t body;
  };
  for (const Case& c : {Case{1, 4000, 1000}, Case{16, 8000, 1000}, Case{16, 400, 100'000}}) {
    double per_second = 0, cpu_us = 0;
    EXPECT_EQ(run(c.connections, c.calls, string(c.body, 'b'), &per_second, &cpu_us), c.calls);
    std::printf(
        "[ measured ] %2zu connection(s), %6zu-octet bodies both ways: %.0f requests/s, %.1f us CPU each (both ends)\n",
        c.connections, c.body, per_second, cpu_us);
  }
}

}  // namespace
}  // namespace kf::net::test
