#include "host/store/store.hpp"

#include "host/os/cpu_time.hpp"
#include "host/store/inspect.hpp"
#include "host/store/trouble.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <fstream>
#include <future>
#include <mutex>
#include <sstream>
#include <thread>

namespace kf::store {

std::string_view slug(StoreFault f) {
  static constexpr std::string_view kSlugs[] = {"store-open", "store-version", "store-in-use", "store-commit",
                                                "store-gone", "store-failed",  "store-job",    "store-full"};
  return kSlugs[static_cast<std::size_t>(f)];
}

namespace {

constexpr const char* kSchema = R"(
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls(requester TEXT, fcid TEXT, function TEXT, digest BLOB, reply INTEGER, reply_to TEXT,
  message_id TEXT, ns TEXT, download_id TEXT, response TEXT, received_ms INTEGER,
  reply_parameters TEXT NOT NULL DEFAULT '', delivery INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(requester,fcid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS downloads(seq INTEGER PRIMARY KEY, id TEXT UNIQUE, record TEXT, ended INTEGER, updated_ms INTEGER);
CREATE INDEX IF NOT EXISTS downloads_running ON downloads(seq) WHERE ended=0;
CREATE TABLE IF NOT EXISTS templates(id INTEGER PRIMARY KEY, name TEXT, sealed BLOB, slots TEXT);
CREATE TABLE IF NOT EXISTS profiles(iccid TEXT PRIMARY KEY, owner TEXT, profile_type TEXT, template_id INTEGER, sealed BLOB,
  pol2 TEXT, required_memory INTEGER, state INTEGER, eid TEXT, smsr TEXT, download_id TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS profiles_free ON profiles(owner,profile_type,iccid) WHERE state=0;
CREATE INDEX IF NOT EXISTS profiles_type ON profiles(owner,profile_type);
CREATE INDEX IF NOT EXISTS profiles_reserved ON profiles(eid) WHERE state=1;
CREATE INDEX IF NOT EXISTS profiles_uncertain ON profiles(eid) WHERE state=3;
CREATE INDEX IF NOT EXISTS profiles_installed ON profiles(eid) WHERE state=2;
CREATE TABLE IF NOT EXISTS follow_ups(eid TEXT, smsr TEXT, record TEXT, PRIMARY KEY(eid,smsr)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries(id INTEGER PRIMARY KEY AUTOINCREMENT, party TEXT, kind INTEGER, address TEXT, body TEXT,
  attempts INTEGER, created_ms INTEGER, source TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS deliveries_polled ON deliveries(party,address) WHERE kind=2;
CREATE TABLE IF NOT EXISTS set_aside(kind TEXT, name TEXT, iccid TEXT, why TEXT, at_ms INTEGER,
  record TEXT NOT NULL DEFAULT '', PRIMARY KEY(kind,name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_kept ON deliveries(party) WHERE kind=3;
CREATE TABLE IF NOT EXISTS keysets(iccid TEXT PRIMARY KEY, eid TEXT, isd_p_aid TEXT, kvn INTEGER, sealed BLOB) WITHOUT ROWID;
)";
// 1: without set_aside; kSchema adds it. 2: without the columns that bring_up() adds; one follow-up
// an EID, its SM-SR only in the record. 3: set_aside without the records themselves.
constexpr int kVersion = 4;
constexpr const char* kFollowUpsBySmsr = R"(
ALTER TABLE follow_ups RENAME TO follow_ups_2;
CREATE TABLE follow_ups(eid TEXT, smsr TEXT, record TEXT, PRIMARY KEY(eid,smsr)) WITHOUT ROWID;
INSERT INTO follow_ups SELECT eid,CASE WHEN json_valid(record) THEN IFNULL(json_extract(record,'$.smsr'),'') ELSE '' END,record
  FROM follow_ups_2;
DROP TABLE follow_ups_2;
)";

bool has_column(sqlite3* db, const char* table, const char* column) {
  return sqlite3_table_column_metadata(db, "main", table, column, nullptr, nullptr, nullptr, nullptr, nullptr) ==
         SQLITE_OK;
}

std::string version_of(Tx& tx, sqlite3* db) {  // empty: of a new store
  if (!has_column(db, "meta", "value")) return {};
  return std::string(text(tx.meta("version").value_or(Bytes())));
}

// A store of an older version that kSchema has been applied to. A server of that version could not go on with it.
void bring_up(Tx& tx, sqlite3* db) {
  const auto without = [&](const char* table, const char* column, const char* mend) {
    if (!has_column(db, table, column)) tx.exec(mend);
  };
  without("calls", "reply_parameters", "ALTER TABLE calls ADD COLUMN reply_parameters TEXT NOT NULL DEFAULT ''");
  without("calls", "delivery", "ALTER TABLE calls ADD COLUMN delivery INTEGER NOT NULL DEFAULT 0");
  without("deliveries", "source", "ALTER TABLE deliveries ADD COLUMN source TEXT NOT NULL DEFAULT ''");
  without("follow_ups", "smsr", kFollowUpsBySmsr);
  without("set_aside", "record", "ALTER TABLE set_aside ADD COLUMN record TEXT NOT NULL DEFAULT ''");
}

// The file as it was when it was opened: another inode under its name, or none, means that it was deleted or replaced.
struct FileMark {
  std::string path;
  dev_t device = 0;
  ino_t inode = 0;
  void take(std::string p) {
    path = std::move(p);
    struct stat st {};
    if (::stat(path.c_str(), &st) == 0) device = st.st_dev, inode = st.st_ino;
  }
  [[nodiscard]] bool there() const {
    struct stat st {};
    return ::stat(path.c_str(), &st) == 0 && st.st_dev == device && st.st_ino == inode;
  }
};

// Who holds the lock on the file behind `fd`, from the kernel's own table; empty when it does not say.
std::string lock_holder(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return {};
  std::ifstream locks("/proc/locks");  // "1: FLOCK  ADVISORY  WRITE 4711 08:01:131090 0 EOF"
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, pid, place;
    words >> number >> kind >> mode >> access >> pid >> place;
    if (kind != "FLOCK" || place.substr(place.rfind(':') + 1) != std::to_string(st.st_ino)) continue;
    if (pid.find_first_not_of("0123456789") == std::string::npos && pid != "0") return pid;
  }
  return {};
}

}  // namespace

struct Store::Impl {
  struct Job {
    Work work;
    Done done;
  };
  StoreOptions options;
  int fd = -1;  // held open: the lock, when exclusive. Closed after the database, whose own locks would go with it
  FileMark file, log;
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
    group.reserve(options.max_group);
    results.reserve(options.max_group);
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
      Status commit;
      try {
        commit = carry_out(group, results);
      } catch (...) {  // no memory to say why
        commit = out_of_memory();
      }
      const auto us =
          std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - t0).count();
      {
        std::lock_guard lock(m);
        stats.group_size.add(group.size());
        stats.commit_us.add(static_cast<std::uint64_t>(us));
        stats.cpu_s = os::thread_cpu_seconds();
        if (!trouble.empty()) ++stats.failed_groups;
        try {
          stats.trouble = trouble;
        } catch (...) {
          stats.trouble.clear();
        }
      }
      for (std::size_t i = 0; i < group.size(); ++i) tell(group[i], commit.ok() ? results[i] : commit);
    }
  }

  // Nothing is allocated, and nothing of the group is kept.
  Status out_of_memory() {
    if (sqlite3_get_autocommit(db) == 0) sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
    tx->group_over(false);
    return Error{StoreFault::commit, "no memory"};
  }

  // A callback that throws has nobody above it: the writer must go on.
  void tell(Job& j, Status& s) {
    if (!j.done) return;
    try {
      j.done(s);
    } catch (...) {
      std::lock_guard lock(m);
      ++stats.lost_callbacks;
    }
  }

  [[nodiscard]] bool there() const { return file.there() && log.there(); }

  Status carry_out(std::vector<Job>& group, std::vector<Status>& results) {
    trouble.clear();
    const auto gone = [this] {
      trouble = options.path + ": was deleted or replaced while in use";
      return Error{StoreFault::gone, trouble};
    };
    if (!there()) return gone();
    Status out;
    try {
      tx->control("BEGIN IMMEDIATE");
      for (Job& j : group) results.push_back(one(j));
      tx->control("COMMIT");
      // Checked once more: what was written into a file that has lost its name is not acknowledged.
      if (!there()) out = gone();
    } catch (const std::exception& e) {
      if (sqlite3_get_autocommit(db) == 0) sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
      if (trouble.empty()) trouble = e.what();
      out = Error{StoreFault::commit, e.what()};
    }
    tx->group_over(out.ok());
    return out;
  }

  // One job within its savepoint. What the database refuses throws on when the savepoint is gone with it.
  Status one(Job& j) {
    const auto undo = [this] {
      tx->control("ROLLBACK TO job");
      tx->control("RELEASE job");
      tx->job_over(false);
    };
    tx->control("SAVEPOINT job");
    try {
      j.work(*tx);
      tx->control("RELEASE job");
      tx->job_over(true);
      return {};
    } catch (const DatabaseError& e) {
      const int code = e.code & 0xFF;
      if (code != SQLITE_CONSTRAINT && code != SQLITE_MISMATCH) trouble = e.what();
      undo();
      return Error{StoreFault::failed, e.what()};
    } catch (const StoreError& e) {
      undo();
      return Error{StoreFault::failed, e.what()};
    } catch (const std::exception& e) {
      undo();
      return Error{StoreFault::job, e.what()};
    } catch (...) {
      undo();
      return Error{StoreFault::job, "unknown exception"};
    }
  }
  std::string trouble;  // of the group at work; the writer's own
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
  if (impl_->fd >= 0) ::close(impl_->fd);
}

Result<std::unique_ptr<Store>> Store::open(const StoreOptions& o) {
  std::unique_ptr<Store> s(new Store());
  Impl& i = *s->impl_;
  i.options = o;
  i.fd = ::open(o.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);  // before SQLite would make it readable to others
  if (i.fd < 0) return Error{StoreFault::open, o.path + ": cannot be opened for writing: " + std::strerror(errno)};
  if (o.exclusive && ::flock(i.fd, LOCK_EX | LOCK_NB) != 0) {
    const std::string pid = lock_holder(i.fd);
    return Error{StoreFault::in_use, o.path + ": in use by " + (pid.empty() ? "another process" : "process " + pid)};
  }
  i.file.take(o.path);
  if (sqlite3_open_v2(o.path.c_str(), &i.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr) != SQLITE_OK)
    return Error{StoreFault::open, o.path + ": " + said_by(i.db)};
  sqlite3_busy_timeout(i.db, 10'000);
  i.tx = std::make_unique<Tx>(i.db);
  try {
    i.tx->exec("PRAGMA auto_vacuum=INCREMENTAL");  // of a new store; an old one uses freed pages again instead
    i.tx->exec("PRAGMA journal_mode=WAL");
    i.tx->exec("PRAGMA synchronous=FULL");
    i.tx->exec("PRAGMA secure_delete=FAST");  // what is deleted is overwritten where that costs no more I/O
    i.tx->exec("BEGIN IMMEDIATE");
    const auto v = version_of(*i.tx, i.db);
    const bool older = v == "1" || v == "2" || v == "3";
    if (!v.empty() && !older && v != std::to_string(kVersion)) {
      i.tx->exec("ROLLBACK");
      return Error{StoreFault::version,
                   o.path + ": schema version " + v + ", this program knows " + std::to_string(kVersion)};
    }
    if (older && !o.exclusive && ::flock(i.fd, LOCK_EX | LOCK_NB) != 0) {
      i.tx->exec("ROLLBACK");
      return Error{StoreFault::in_use, o.path + ": schema version " + v + ", a server of an older version runs on it"};
    }
    i.tx->exec(kSchema);
    if (older) bring_up(*i.tx, i.db);
    if (v != std::to_string(kVersion)) i.tx->set_meta("version", view(std::to_string(kVersion)));
    i.tx->exec("COMMIT");
    if (!o.exclusive) ::flock(i.fd, LOCK_UN);
    i.log.take(o.path + "-wal");
  } catch (const StoreError& e) {
    return Error{StoreFault::open, o.path + ": " + e.what()};
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
  if (d) d(Error{StoreFault::full, "too many store jobs are waiting"});
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
