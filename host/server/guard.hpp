// Nothing that a handler throws is lost, and nothing it throws ends the server: it is counted and said by name.
#pragma once

#include <boost/asio/io_context.hpp>

#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "host/server/metrics.hpp"

namespace kf::server {

// What an exception in flight says, escaped for the log.
std::string text_of(const std::exception_ptr& e);

// One ALARM line and one count. `where` names what was at work ("delivery to 2.999.10").
void report(Metrics& m, std::string_view where, const std::exception_ptr& e) noexcept;

// The completion handler for co_spawn where nobody waits for the coroutine: `detached` would swallow what it throws.
inline auto reporting(Metrics& m, std::string where) {
  return [&m, where = std::move(where)](const std::exception_ptr& e) {
    if (e) report(m, where, e);
  };
}

// Calls f; true when it returned.
template <class F>
bool guarded(Metrics& m, std::string_view where, F&& f) {
  try {
    std::forward<F>(f)();
    return true;
  } catch (...) {
    report(m, where, std::current_exception());
    return false;
  }
}

// io.run() to its end, whatever handlers let out.
void run_loop(boost::asio::io_context& io, Metrics& m);

}  // namespace kf::server
