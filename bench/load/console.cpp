#include "bench/load/console.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "host/base/text.hpp"

namespace kf::bench {

int complain(int status, const std::string& line) {
  std::fprintf(stderr, "keyferry-bench: %s\n", one_line(line).c_str());
  return status;
}

Status write_file(const std::string& path, std::string_view text) {
  namespace fs = std::filesystem;
  std::error_code ec;
  if (fs::path(path).has_parent_path()) fs::create_directories(fs::path(path).parent_path(), ec);
  std::ofstream f(path, std::ios::binary | std::ios::trunc);
  f.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!f.flush()) return Error{"file", path + ": cannot be written"};
  return {};
}

bool Progress::on_terminal() { return ::isatty(STDERR_FILENO) == 1; }

void Progress::part(const std::string& what) {
  part_ = what;
  if (!terminal_) std::fprintf(stderr, "%s  %s\n", name_.c_str(), what.c_str());
  show("");
}

void Progress::show(const std::string& now) {
  if (!terminal_) return;
  std::string line = name_ + "  " + part_ + (now.empty() ? "" : ": " + now);
  if (planned_ > 0) {
    const double gone = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    const auto left = static_cast<int>(std::max(0.0, planned_ - gone));
    line += fmt::format("   {}:{:02} left", left / 60, left % 60);
  }
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

}  // namespace kf::bench
