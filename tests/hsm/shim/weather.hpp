// The script in force in this process, its counters and its log. Any thread.
//
// The file is looked at (stat, 1 us) at most once a millisecond. A new file (other inode, size or time) is parsed and
// replaces the weather at once, with all counters at zero; a script with an error is reported on stderr and changes
// nothing.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "tests/hsm/shim/script.hpp"

namespace kf::shim {

std::int64_t monotonic_ns() noexcept;

class Weather {
 public:
  Weather(Script s, unsigned id, std::string path, std::uint64_t fingerprint);
  [[nodiscard]] const Script& script() const noexcept { return script_; }
  [[nodiscard]] unsigned id() const noexcept { return id_; }
  // Counts this call for the rule and says whether it is one of those that the rule hits.
  bool hits(std::size_t rule) const;
  [[nodiscard]] bool gone_now() const noexcept;
  // Was a session that was opened at that time, under that many resets, lost with a reset since?
  [[nodiscard]] bool lost(std::int64_t opened_ns, unsigned long resets_then) const noexcept;
  void log(Fn f, CK_SESSION_HANDLE s, std::int64_t begin, std::int64_t end, CK_RV rv) const noexcept;

 private:
  [[nodiscard]] bool once(std::size_t rule) const;
  Script script_;
  unsigned id_;
  std::string path_;
  std::uint64_t fingerprint_;  // of the text: names the marker files of `once`
  std::unique_ptr<std::atomic<std::uint64_t>[]> counts_;
  int log_fd_ = -1;
};

// Reads $KF_SHIM_SCRIPT. Reason shim-script. Before anything else, once.
Status load_weather();
// The weather now; valid as long as the process lives.
const Weather& weather() noexcept;
const std::string& script_path() noexcept;

}  // namespace kf::shim
