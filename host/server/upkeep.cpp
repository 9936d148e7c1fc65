#include "host/server/upkeep.hpp"

#include <spdlog/spdlog.h>
#include <sys/statvfs.h>

#include <filesystem>

#include "host/base/clock.hpp"
#include "host/base/text.hpp"

namespace kf::server {
namespace {

constexpr std::int64_t kDay = 86'400'000, kPages = 256;

std::uint64_t free_bytes(const std::string& file) {
  struct statvfs v {};
  const std::string dir = std::filesystem::path(file).parent_path().string();
  return ::statvfs(dir.empty() ? "." : dir.c_str(), &v) == 0 ? std::uint64_t{v.f_bavail} * v.f_frsize : 0;
}

}  // namespace

void Upkeep::start(std::int64_t seen_ms) {
  const std::int64_t gap = anchored_ms() - seen_ms;
  if (seen_ms != 0 && gap > kDay) {
    spdlog::warn(
        "the clock has moved by {} days since the server last ran: nothing is forgotten for a day, in case it "
        "was set wrongly",
        gap / kDay);
    forget_in(pace_.doubt);
  } else {
    forget_in(pace_.first);
  }
  look();
}

void Upkeep::stop() {
  stopped_ = true;
  look_.cancel();
  forget_.cancel();
}

// An empty job commits nothing and shows whether the file is still there; one that writes is tried where something
// could not be written since the last look.
void Upkeep::look() {
  metrics_.store_free_bytes = free_bytes(config_.store_path);
  const std::uint64_t failed = storage_.store().stats().failed_groups;
  const bool doubtful = !metrics_.store_trouble.empty() || failed != failed_seen_;
  failed_seen_ = failed;
  storage_.submit(
      [doubtful](store::Tx& tx) {
        if (doubtful) tx.set_meta("probe", view(std::to_string(anchored_ms())));
      },
      [this](const Status& s) {
        if (stopped_) return;
        looked(s);
        look_.expires_after(pace_.look);
        look_.async_wait([this](const boost::system::error_code& ec) {
          if (!ec && !stopped_) look();
        });
      });
}

void Upkeep::looked(const Status& s) {
  std::string now = s ? storage_.store().stats().trouble : s.error().detail;
  now = printable(now);
  if (now == metrics_.store_trouble) return;
  if (!now.empty() && metrics_.store_trouble.empty()) {
    ++metrics_.alarms;
    spdlog::error("ALARM store: {}; orders are refused until it can be written", now);
  } else if (now.empty()) {
    spdlog::warn("store: can be written again");
  }
  metrics_.store_trouble = std::move(now);
}

void Upkeep::forget_in(std::chrono::milliseconds pause) {
  forget_.expires_after(pause);
  forget_.async_wait([this](const boost::system::error_code& ec) {
    if (!ec && !stopped_) forget();
  });
}

void Upkeep::forget() {
  struct Batch {
    store::ForgetCursor at;
    std::int64_t forgotten = 0;
  };
  auto b = std::make_shared<Batch>(Batch{at_, 0});
  const std::int64_t now = anchored_ms();
  storage_.submit(
      [b, now, rows = pace_.rows, outcomes = now - config_.keep_outcomes_days * kDay,
       downloads = now - config_.keep_downloads_days * kDay](store::Tx& tx) {
        b->forgotten = tx.forget_batch(b->at, outcomes, downloads, rows);
        if (b->at.table != store::ForgetCursor::Table::none) return;
        tx.set_meta(kSeen, view(std::to_string(now)));
        tx.give_back_pages(kPages);
      },
      [this, b](const Status& s) {
        if (stopped_) return;
        if (s) {
          at_ = b->at;
          forgotten_ += b->forgotten;
        }
        if (!s || at_.table == store::ForgetCursor::Table::none) {
          if (forgotten_ != 0) spdlog::info("{} old calls, downloads and messages forgotten", forgotten_);
          forgotten_ = 0;
          at_ = {};
          return forget_in(pace_.every);
        }
        forget_in(pace_.between);
      });
}

}  // namespace kf::server
