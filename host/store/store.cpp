#include "host/store/store.hpp"

#include "host/store/inspect.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

namespace kf::store {
namespace {

constexpr const char* kSchema = R"(
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls(requester TEXT, fcid TEXT, function TEXT, digest BLOB, reply INTEGER, reply_to TEXT,
  message_id TEXT, ns TEXT, download_id TEXT, response TEXT, received_ms INTEGER, PRIMARY KEY(requester,fcid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS downloads(seq INTEGER PRIMARY KEY, id TEXT UNIQUE, record TEXT, ended INTEGER, updated_ms INTEGER);
CREATE INDEX IF NOT EXISTS downloads_running ON downloads(seq) WHERE ended=0;
CREATE TABLE IF NOT EXISTS templates(id INTEGER PRIMARY KEY, name TEXT, sealed BLOB, slots TEXT);
CREATE TABLE IF NOT EXISTS profiles(iccid TEXT PRIMARY KEY, owner TEXT, profile_type TEXT, template_id INTEGER, sealed BLOB,
  pol2 TEXT, required_memory INTEGER, state INTEGER, eid TEXT, smsr TEXT, download_id TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS profiles_free ON profiles(owner,profile_type,iccid) WHERE state=0;
CREATE INDEX IF NOT EXISTS profiles_type ON profiles(owner,profile_type);
CREATE INDEX IF NOT EXISTS profiles_uncertain ON profiles(eid) WHERE state=3;
CREATE TABLE IF NOT EXISTS follow_ups(eid TEXT PRIMARY KEY, record TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries(id INTEGER PRIMARY KEY AUTOINCREMENT, party TEXT, kind INTEGER, address TEXT, body TEXT,
  attempts INTEGER, created_ms INTEGER);
CREATE INDEX IF NOT EXISTS deliveries_polled ON deliveries(party,address) WHERE kind=2;
CREATE TABLE IF NOT EXISTS keysets(iccid TEXT PRIMARY KEY, eid TEXT, isd_p_aid TEXT, kvn INTEGER, sealed BLOB) WITHOUT ROWID;
)";
constexpr int kVersion = 1;

double thread_cpu() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace

struct Store::Impl {
  struct Job {
    Work work;
    Done done;
  };
  StoreOptions options;
  sqlite3* db = nullptr;
  std::unique_ptr<Tx> tx;
  mutable std::mutex m;
  std::condition_variable cv;
  std::deque<Job> queue;
  bool stopping = false;
  StoreStats stats;
  std::thread writer;

  void loop() {
    std::vector<Job> group;
    std::vector<Status> results;
    while (true) {
      group.clear();
      results.clear();
      {
        std::unique_lock lock(m);
        cv.wait(lock, [&] { return stopping || !queue.empty(); });
        if (queue.empty()) return;
        while (!queue.empty() && group.size() < options.max_group) {
          group.push_back(std::move(queue.front()));
          queue.pop_front();
        }
      }
      const auto t0 = std::chrono::steady_clock::now();
      Status commit = carry_out(group, results);
      const auto us =
          std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - t0).count();
      for (std::size_t i = 0; i < group.size(); ++i)
        if (group[i].done) group[i].done(commit.ok() ? std::move(results[i]) : Status(commit));
      std::lock_guard lock(m);
      stats.group_size.add(group.size());
      stats.commit_us.add(static_cast<std::uint64_t>(us));
      stats.cpu_s = thread_cpu();
    }
  }

  Status carry_out(std::vector<Job>& group, std::vector<Status>& results) {
    try {
      tx->control("BEGIN IMMEDIATE");
      for (Job& j : group) {
        try {
          tx->control("SAVEPOINT job");
          j.work(*tx);
          tx->control("RELEASE job");
          results.emplace_back();
        } catch (const std::exception& e) {
          tx->control("ROLLBACK TO job");
          tx->control("RELEASE job");
          results.emplace_back(Error{"store-failed", e.what()});
        }
      }
      tx->control("COMMIT");
      return {};
    } catch (const std::exception& e) {
      if (sqlite3_get_autocommit(db) == 0) sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
      return Error{"store-commit", e.what()};
    }
  }
};

Store::Store() : impl_(std::make_unique<Impl>()) {}

Store::~Store() {
  {
    std::lock_guard lock(impl_->m);
    impl_->stopping = true;
  }
  impl_->cv.notify_all();
  if (impl_->writer.joinable()) impl_->writer.join();
  impl_->tx.reset();
  sqlite3_close(impl_->db);
}

Result<std::unique_ptr<Store>> Store::open(const StoreOptions& o) {
  std::unique_ptr<Store> s(new Store());
  Impl& i = *s->impl_;
  i.options = o;
  const int fd =
      ::open(o.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);  // before SQLite would make it readable to others
  if (fd < 0) return Error{"store-open", o.path + ": cannot be opened for writing"};
  ::close(fd);
  if (sqlite3_open_v2(o.path.c_str(), &i.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr) != SQLITE_OK)
    return Error{"store-open", o.path + ": " + sqlite3_errmsg(i.db)};
  sqlite3_busy_timeout(i.db, 10'000);
  i.tx = std::make_unique<Tx>(i.db);
  try {
    i.tx->exec("PRAGMA journal_mode=WAL");
    i.tx->exec("PRAGMA synchronous=FULL");
    i.tx->exec("PRAGMA secure_delete=FAST");  // what is deleted is overwritten where that costs no more I/O
    i.tx->exec("BEGIN IMMEDIATE");
    i.tx->exec(kSchema);
    const auto v = i.tx->meta("version");
    if (!v) {
      i.tx->set_meta("version", view(std::to_string(kVersion)));
    } else if (std::string(text(*v)) != std::to_string(kVersion)) {
      i.tx->exec("ROLLBACK");
      return Error{"store-version", o.path + ": schema version " + std::string(text(*v)) + ", this program knows " +
                                        std::to_string(kVersion)};
    }
    i.tx->exec("COMMIT");
  } catch (const StoreError& e) {
    return Error{"store-open", o.path + ": " + e.what()};
  }
  i.writer = std::thread([&i] { i.loop(); });
  return s;
}

int schema_version() { return kVersion; }

void Store::submit(Work w, Done d) {
  {
    std::lock_guard lock(impl_->m);
    if (impl_->queue.size() < impl_->options.max_queue) {
      impl_->queue.push_back({std::move(w), std::move(d)});
      impl_->cv.notify_one();
      return;
    }
  }
  if (d) d(Error{"store-full", "too many store jobs are waiting"});
}

Status Store::run(Work w) {
  std::promise<Status> p;
  auto f = p.get_future();
  submit(std::move(w), [&p](Status s) { p.set_value(std::move(s)); });
  return f.get();
}

StoreStats Store::stats() const {
  std::lock_guard lock(impl_->m);
  return impl_->stats;
}

}  // namespace kf::store
