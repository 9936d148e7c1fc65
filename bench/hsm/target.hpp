// The token that a run measures, from the command line's options, and that token with a chosen number of processes.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bench/hsm/hsm_bench.hpp"
#include "hsm/engine/hsm_engine.hpp"

namespace kf::bench {

// What the engines said, kept for the end of a run that was not clean. Any thread.
class Messages {
 public:
  void add(const std::string& line);
  [[nodiscard]] std::vector<std::string> latest() const;

 private:
  static constexpr std::size_t kMost = 40;
  mutable std::mutex mutex_;
  std::deque<std::string> lines_;
};

struct Target {
  hsm::HsmConfig config;  // its log goes to `messages`
  std::shared_ptr<Messages> messages;
  std::string what;      // one line for people
  unsigned workers = 0;  // over all tokens
};
// Reasons: usage (the command line or the configuration file is at fault), else those of the token's set-up.
Result<Target> find_target(const HsmBenchOptions& o);

// `processes` spread over the tokens in turn; tokens that get none are left out.
hsm::HsmConfig with_workers(const hsm::HsmConfig& c, unsigned processes);

}  // namespace kf::bench
