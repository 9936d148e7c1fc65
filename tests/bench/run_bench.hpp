// keyferry-bench as its user runs it, with a folder for what it writes.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "bench/process/child.hpp"

namespace kf::bench {

class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "keyferry-bench-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  [[nodiscard]] std::string operator/(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(f), {}};
}

inline proc::SpawnOptions bench_options(const char* verb, const std::vector<std::string>& args) {
  proc::SpawnOptions o;
  o.program = *proc::sibling("keyferry-bench");
  o.args = {verb};
  o.args.insert(o.args.end(), args.begin(), args.end());
  return o;
}
inline Result<proc::ToolResult> run_bench(const char* verb, const std::vector<std::string>& args, int seconds) {
  return proc::run_tool(bench_options(verb, args), proc::Millis(seconds * 1000));
}

}  // namespace kf::bench
