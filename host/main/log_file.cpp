#include "host/main/log_file.hpp"

#include <spdlog/details/file_helper.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>

#include "host/base/text.hpp"
#include "host/server/peer_log.hpp"

namespace kf::server {
namespace {

class LogFile final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LogFile(std::string path) : path_(std::move(path)) { open(); }
  void reopen() {
    const std::lock_guard lock(mutex_);
    open();
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& m) override {
    spdlog::memory_buf_t line;
    formatter_->format(m, line);
    file_->write(line);
  }
  void flush_() override { file_->flush(); }

 private:
  void open() {  // the old file is let go only when the new one is there
    auto fresh = std::make_unique<spdlog::details::file_helper>();
    fresh->open(path_);
    file_ = std::move(fresh);
  }
  std::string path_;
  std::unique_ptr<spdlog::details::file_helper> file_;
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
  logger->flush_on(spdlog::level::warn);
  spdlog::set_default_logger(logger);
  spdlog::flush_every(std::chrono::seconds(1));
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

}  // namespace kf::server
