#include "host/main/serve.hpp"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>
#include <boost/asio/signal_set.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "generated/version.hpp"
#include "host/base/clock.hpp"
#include "host/base/text.hpp"
#include "host/main/app.hpp"
#include "host/main/commands.hpp"
#include "host/main/log_file.hpp"
#include "host/main/preflight.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {

// Signals of a running server. The first SIGTERM or SIGINT: no new orders, what runs may end; the second, or when the
// time is over: stop now. SIGHUP: the log file is opened anew.
class Signals {
 public:
  explicit Signals(App& app) : app_(app), stops_(app.io, SIGINT, SIGTERM), hangups_(app.io, SIGHUP), look_(app.io) {
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is a full disk, not an end
    wait_stop();
    wait_hangup();
  }

 private:
  void wait_stop() {
    stops_.async_wait([this](const boost::system::error_code& ec, int) {
      if (ec) return;
      if (draining_) {
        spdlog::warn("stopping at once");
        return end();
      }
      draining_ = true;
      until_ = std::chrono::steady_clock::now() + std::chrono::seconds(app_.config.drain_s);
      spdlog::info(
          "stopping: no new orders; {} in flight may take {} s to end, what waits is taken up at the "
          "next start",
          counted(app_.downloads->admission().running(), "download"), app_.config.drain_s);
      spdlog::default_logger()->flush();
      app_.drain();
      look();
      wait_stop();
    });
  }
  void look() {
    if (app_.settled() || std::chrono::steady_clock::now() >= until_) return end();
    look_.expires_after(std::chrono::milliseconds(50));
    look_.async_wait([this](const boost::system::error_code& ec) {
      if (!ec) look();
    });
  }
  void end() {
    if (const auto left = app_.downloads->admission().running(); left != 0)
      spdlog::warn("{} interrupted, to be taken up at the next start", counted(left, "download"));
    app_.stop();
    app_.io.stop();
  }
  void wait_hangup() {
    hangups_.async_wait([this](const boost::system::error_code& ec, int) {
      if (ec) return;
      if (const Status s = reopen_log(); s)
        spdlog::info("SIGHUP: log file opened anew; the configuration is read at the start only");
      else
        spdlog::error("SIGHUP: the log file cannot be opened anew, the old one is written on: {}", s.error().detail);
      wait_hangup();
    });
  }

  App& app_;
  asio::signal_set stops_, hangups_;
  asio::steady_timer look_;
  std::chrono::steady_clock::time_point until_;
  bool draining_ = false;
};

}  // namespace

int serve(const Config& c) {
  const rlimit no_core{0, 0};  // a core file would hold ShS, session keys and profiles
  ::setrlimit(RLIMIT_CORE, &no_core);
  anchored_now();
  Mistakes mistakes;
  check_files(c, mistakes);
  if (!mistakes.empty()) return complain(2, mistakes.text(c.file));
  if (const Status s = set_up_log(c); !s.ok()) return complain(2, s.error().detail);
  App app(c);
  Status started;
  try {
    started = app.start();
  } catch (const std::exception& e) {
    started = Error{"start", e.what()};
  }
  if (const Status& s = started; !s) {
    spdlog::shutdown();
    std::fprintf(stderr, "keyferry: %s\n",
                 one_line(s.error().detail.empty() ? s.error().reason : s.error().detail).c_str());
    return s.error().reason == "store-in-use" ? 2 : 1;
  }
  const Signals signals(app);
  unsigned workers = 0;
  for (const auto& t : c.hsm.tokens) workers += t.workers;
  spdlog::info("keyferry {} ({}) serves ES2 on {}:{} and ES3 on {}:{}, custody {}, {} HSM workers", KEYFERRY_VERSION,
               KEYFERRY_COMMIT, c.es2_address, app.es2_server->port(), c.es3_address, app.es3_server->port(),
               custody_name(c.custody), workers);
  for (const Mistake& m : check_names(c)) spdlog::warn("{}: {}", m.key, m.what);
  run_loop(app.io, app.metrics);
  app.io.restart();
  app.io.run_for(std::chrono::milliseconds(200));  // answers already on their way
  app.admin.reset();                               // its path is the next server's as soon as the store is free
  app.pool->join();
  app.sealing.reset();
  if (!app.orders->note_planned_stop())
    spdlog::warn("the store could not note that this stop was planned");
  app.store.reset();  // commits what is queued
  app.hsm.reset();    // ends the workers
  spdlog::info("stopped");
  spdlog::default_logger()->flush();
  // Calls to SM-SRs and held connections are suspended coroutines that refer to all of the above: the process ends here
  // rather than unwinding them. Everything that must survive is committed.
  std::_Exit(0);
}

}  // namespace kf::server
