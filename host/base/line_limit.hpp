// Keeps one cause from filling a log: so many lines of a kind and a party a minute, then a count of what was left out.
//
// A value without clock: the caller says what time it is. Not thread-safe. Memory is bounded, whoever makes up parties.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace kf {

class LineLimit {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Options {
    unsigned lines = 10;  // of one kind and party within `window`
    std::chrono::seconds window{60};
    std::size_t max_kept = 1024;  // kinds times parties; beyond that the new ones share one count
  };
  LineLimit() = default;
  explicit LineLimit(Options o) : o_(o) {}

  // Nothing: do not write this line. Otherwise what to append to it: "" or " (37 more like it suppressed)", those of
  // the window that has ended.
  std::optional<std::string> admit(std::string_view kind, std::string_view party, Time now);
  // Windows that ended with lines left out, each once: "37 more lines 'handshake' of 192.0.2.7 suppressed". At most one
  // a call; nothing when there is none.
  std::optional<std::string> overdue(Time now);

 private:
  struct Window {
    Time begin{};
    unsigned written = 0;
    std::uint64_t suppressed = 0;
  };
  Options o_;
  std::map<std::pair<std::string, std::string>, Window, std::less<>> windows_;
  Time next_sweep_{};
};

}  // namespace kf
