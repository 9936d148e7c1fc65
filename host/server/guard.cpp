#include "host/server/guard.hpp"

#include "host/base/text.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {

namespace {
std::string raw_text_of(const std::exception_ptr& e) {
  try {
    if (e) std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x.what();
  } catch (...) {
    return "unknown exception";
  }
  return "nothing";
}
}  // namespace

std::string text_of(const std::exception_ptr& e) { return printable(raw_text_of(e)); }

void report(Metrics& m, std::string_view where, const std::exception_ptr& e) noexcept {
  ++m.exceptions;
  ++m.alarms;
  try {  // a peer that has found a bug can make it happen again
    peer_line(spdlog::level::err, "exception", where,
              "ALARM unexpected failure in " + std::string(where) + ": " + raw_text_of(e));
  } catch (...) {  // no memory for the line either: the counters have it
  }
}

void run_loop(boost::asio::io_context& io, Metrics& m) {
  for (;;) {
    try {
      io.run();
      return;
    } catch (...) {
      report(m, "the loop", std::current_exception());
    }
  }
}

}  // namespace kf::server
