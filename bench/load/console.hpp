// What a bench says while it runs, and what it leaves behind: a line of progress, one-line complaints, files.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "host/base/result.hpp"

namespace kf::bench {

int complain(int status, const std::string& line);  // "keyferry-bench: line" on stderr; returns the status

// Makes the folder where needed. Reasons: file (the text names the path).
Status write_file(const std::string& path, std::string_view text);

// What is going on: one line that is rewritten on a terminal, else a line for each part of the run. On stderr.
class Progress {
 public:
  explicit Progress(std::string name) : name_(std::move(name)) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }
  void plan(double seconds) { planned_ = seconds; }  // shows from then on how much of it is left
  void part(const std::string& what);
  void show(const std::string& now);
  void clear();

 private:
  std::string name_, part_;
  bool terminal_ = on_terminal();
  bool shown_ = false;
  double planned_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  static bool on_terminal();
};

}  // namespace kf::bench
