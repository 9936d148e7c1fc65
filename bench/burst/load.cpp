#include "bench/burst/load.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <cstdio>

#include "bench/burst/accounts.hpp"
#include "tests/sim/operator/operator.hpp"

namespace kf::bench {
namespace {

namespace asio = boost::asio;
using sim::Clock;
constexpr int kSettleTries = 500;  // 20 ms apart

// Without what differs from download to download, so that equal outcomes are counted together.
std::string code_of(const sim::Outcome& o) {
  if (o.response) {
    static constexpr std::array<const char*, 4> names{"EXECUTED_SUCCESS", "EXECUTED_WITHWARNING", "FAILED", "EXPIRED"};
    std::string s = names.at(static_cast<std::size_t>(o.response->status));
    if (o.response->code) s += " " + o.response->code->subject + "/" + o.response->code->reason;
    return s;
  }
  if (o.fault) return "fault HTTP " + std::to_string(o.http_status) + " " + o.fault->subcode;
  return "error " + o.error.substr(0, o.error.find(':'));
}

// One line that is rewritten on a terminal; elsewhere a line every five seconds.
class Progress {
 public:
  explicit Progress(std::size_t total) : total_(total), tty_(::isatty(STDERR_FILENO) == 1) {}
  void show(std::size_t done, std::size_t failed, std::size_t in_flight, double seconds, bool last) {
    if (!tty_ && !last && seconds < next_) return;
    next_ = seconds + 5;
    const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
    const double left = rate > 0 ? static_cast<double>(total_ - done) / rate : 0;
    const std::string line = fmt::format(
        "burst  {:>{}}/{}  {:5.1f} %  {:7.1f}/s  in flight {:<5}  failed {:<5}  {}", done,
        std::to_string(total_).size(), total_,
        100.0 * static_cast<double>(done) / static_cast<double>(std::max<std::size_t>(total_, 1)), rate, in_flight,
        failed, last || rate == 0 ? fmt::format("{:.1f} s", seconds) : fmt::format("{:.0f} s left", left));
    std::fprintf(stderr, tty_ ? "\r\033[K%s%s" : "%s%s", line.c_str(), !tty_ || last ? "\n" : "");
    std::fflush(stderr);
  }

 private:
  std::size_t total_;
  bool tty_;
  double next_ = 0;
};

struct Load {
  Load(World& w, const std::vector<Subscription>& s, const LoadOptions& o, sim::Pattern p)
      : world(w), subscriptions(s), options(o), pattern(p) {
    result.orders.resize(s.size());
  }

  World& world;
  const std::vector<Subscription>& subscriptions;
  const LoadOptions& options;
  const sim::Pattern pattern;
  asio::io_context io{1};
  std::unique_ptr<sim::Operator> op;
  LoadResult result;
  Clock::time_point start;
  std::size_t next = 0, done = 0, failed = 0;
  bool ended = false;

  [[nodiscard]] double since_start(Clock::time_point t) const {
    return std::chrono::duration<double>(t - start).count();
  }

  asio::awaitable<void> lane() {
    while (next < subscriptions.size() && !ended) {
      const std::size_t i = next++;
      ++result.sent;
      sim::Order order;
      order.eid = subscriptions[i].eid;
      order.smsr_id = World::kSmsrOid;
      order.iccid = subscriptions[i].iccid;
      order.enable = options.enable;
      result.orders[i].sent_s = since_start(Clock::now());
      const sim::Outcome out = co_await op->order(std::move(order), pattern, net::Millis(options.timeout_s * 1000LL));
      OrderResult& r = result.orders[i];
      r.answered = true;
      r.sent_s = since_start(out.sent);
      r.done_s = since_start(out.done);
      r.succeeded = out.succeeded();
      r.warning = out.response && out.response->status == es::ExecStatus::with_warning;
      r.code = code_of(out);
      // No connection of the Operator's own: the SM-DP was never asked.
      r.by_equipment = out.error.starts_with("net-connect") || out.error.starts_with("net-busy");
      ++done;
      if (!r.succeeded) ++failed;
      result.wall_s = std::max(result.wall_s, r.done_s);
    }
    if (done == subscriptions.size()) end();
  }

  // Looks around five times a second: progress, Ctrl-C, a process that died.
  asio::awaitable<void> watch() {
    Progress progress(subscriptions.size());
    while (!ended) {
      progress.show(done, failed, result.sent - done, since_start(Clock::now()), false);
      asio::steady_timer timer(io, net::Millis(200));
      timer_ = &timer;
      boost::system::error_code ec;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
      timer_ = nullptr;
      if (ended) break;
      result.interrupted = proc::interrupted();
      result.trouble = world.trouble();
      if (result.interrupted || !result.trouble.empty()) end();
    }
    const double seconds = done == subscriptions.size() ? result.wall_s : since_start(Clock::now());
    progress.show(done, failed, result.sent - done, seconds, true);
    // The Operator answers until the SM-DP has delivered everything: an outcome whose receipt stays out is sent again.
    for (int i = 0; i < kSettleTries && !proc::interrupted() && result.trouble.empty(); ++i) {
      const auto left = left_to_do(world);
      if (!left || *left == 0) break;
      asio::steady_timer timer(io, net::Millis(20));
      boost::system::error_code ec;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
    io.stop();
  }

  void end() {
    ended = true;
    if (timer_ != nullptr) timer_->cancel();
  }

  asio::steady_timer* timer_ = nullptr;
};

}  // namespace

Result<LoadResult> run_load(World& w, const std::vector<Subscription>& subscriptions, const LoadOptions& o) {
  KF_TRY(const sim::Pattern pattern, sim::parse_pattern(o.pattern));
  Load load(w, subscriptions, o, pattern);
  sim::OperatorOptions options;
  options.smdp_url = w.es2_url();
  options.oid = World::kOperatorOid;
  const TlsNames tls = w.tls("operator");
  options.tls = {tls.cert, tls.key, tls.ca};
  options.port = w.operator_port();
  // How long an answer may take is what the report is about: the Operator waits for it as long as for the outcome.
  options.accept_timeout = net::Millis(o.timeout_s * 1000LL);
  // A synchronous order occupies its connection until the outcome is there.
  options.max_connections = pattern == sim::Pattern::sync ? std::max<std::size_t>(o.concurrency, 32) : 32;
  load.op = std::make_unique<sim::Operator>(load.io, options);
  KF_CHECK(load.op->start());
  load.start = Clock::now();
  for (std::size_t i = 0; i < std::min(o.concurrency, subscriptions.size()); ++i)
    asio::co_spawn(load.io, load.lane(), asio::detached);
  asio::co_spawn(load.io, load.watch(), asio::detached);
  load.io.run();
  if (load.done < subscriptions.size()) load.result.wall_s = load.since_start(Clock::now());
  load.result.notifications = load.op->counters().notifications;
  load.op->stop();
  return std::move(load.result);
}

}  // namespace kf::bench
