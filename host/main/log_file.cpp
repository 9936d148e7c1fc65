#include "host/main/log_file.hpp"

#include <fcntl.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>

#include "host/base/text.hpp"
#include "host/os/fd.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {

// A line is written when it is logged: a server that is killed has left all of them, as it has on stderr.
class LogFile final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LogFile(std::string path) : path_(std::move(path)) { open(); }
  void reopen() {
    const std::lock_guard lock(mutex_);
    open();
  }
  std::string trouble() {
    const std::lock_guard lock(mutex_);
    return lost_ == 0 ? std::string() : path_ + ": " + std::to_string(lost_) + " lines lost: " + why_;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& m) override {
    spdlog::memory_buf_t line;
    formatter_->format(m, line);
    if (lost_ != 0) {
      const std::string gap = std::to_string(lost_) + " lines are missing here: " + why_;
      spdlog::memory_buf_t said;
      formatter_->format(spdlog::details::log_msg(m.logger_name, spdlog::level::err, gap), said);
      if (!write({said.data(), said.size()})) {
        ++lost_;
        return;
      }
      lost_ = 0;
    }
    if (!write({line.data(), line.size()})) ++lost_;
  }
  void flush_() override {}

 private:
  void open() {  // the old file is let go only when the new one is there
    const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
    std::error_code ec;
    if (!folder.empty()) std::filesystem::create_directories(folder, ec);
    os::Fd fresh(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!fresh.open()) throw std::runtime_error(path_ + ": cannot be opened: " + std::strerror(errno));
    file_ = std::move(fresh);
    torn_ = false;
  }
  // All of it or, as far as the file system lets us, nothing.
  bool write(std::string_view line) {
    if (torn_) {
      if (::write(file_.get(), "\n", 1) != 1) return failed();
      torn_ = false;
    }
    while (!line.empty()) {
      const ssize_t n = ::write(file_.get(), line.data(), line.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return failed();
      line.remove_prefix(static_cast<std::size_t>(n));
      torn_ = !line.empty();
    }
    return true;
  }
  bool failed() {
    why_ = std::strerror(errno);
    return false;
  }

  std::string path_, why_;
  os::Fd file_;
  bool torn_ = false;  // the last line was written in part
  std::uint64_t lost_ = 0;
};

std::shared_ptr<LogFile>& log_file() {
  static std::shared_ptr<LogFile> file;
  return file;
}

}  // namespace

Status set_up_log(const Config& c) {
  spdlog::sink_ptr sink;
  if (c.log_file.empty())
    sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  else
    try {
      sink = log_file() = std::make_shared<LogFile>(c.log_file);
    } catch (const std::exception& e) {
      return Error{"log", c.file + ": log.file: " + one_line(e.what())};
    }
  auto logger = std::make_shared<spdlog::logger>("keyferry", std::move(sink));
  logger->set_formatter(line_formatter());
  logger->set_level(spdlog::level::from_str(c.log_level));
  spdlog::set_default_logger(logger);
  return {};
}

Status reopen_log() {
  if (!log_file()) return {};
  try {
    log_file()->reopen();
  } catch (const std::exception& e) {
    return Error{"log", e.what()};
  }
  return {};
}

std::string log_trouble() { return log_file() ? log_file()->trouble() : std::string(); }

}  // namespace kf::server
