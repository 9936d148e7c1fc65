#include "host/server/guard.hpp"

#include <spdlog/spdlog.h>

#include "host/base/text.hpp"

namespace kf::server {

std::string text_of(const std::exception_ptr& e) {
  try {
    if (e) std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return printable(x.what());
  } catch (...) {
    return "unknown exception";
  }
  return "nothing";
}

void report(Metrics& m, std::string_view where, const std::exception_ptr& e) {
  ++m.exceptions;
  ++m.alarms;
  spdlog::error("ALARM unexpected failure in {}: {}", printable(where), text_of(e));
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
