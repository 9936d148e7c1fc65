#include "host/store/inspect.hpp"

#include <sqlite3.h>

#include <charconv>
#include <filesystem>
#include <memory>
#include <optional>

#include "host/store/trouble.hpp"
#include "host/store/tx.hpp"

namespace kf::store {
namespace {

struct Close {
  void operator()(sqlite3* db) const noexcept { sqlite3_close(db); }
  void operator()(sqlite3_stmt* s) const noexcept { sqlite3_finalize(s); }
};

// A value of the table `meta`. Error: no such table, or no database at all.
Result<std::optional<Bytes>> meta(sqlite3* db, const std::string& path, const char* key) {
  sqlite3_stmt* raw = nullptr;
  if (const int rc = sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key=?", -1, &raw, nullptr); rc != SQLITE_OK)
    return Error{StoreFault::open,
                 path + (rc == SQLITE_ERROR || rc == SQLITE_NOTADB ? ": no store of Keyferry: " : ": ") + said_by(db)};
  const std::unique_ptr<sqlite3_stmt, Close> s(raw);
  sqlite3_bind_text(s.get(), 1, key, -1, nullptr);
  const int rc = sqlite3_step(s.get());
  if (rc == SQLITE_DONE) return std::optional<Bytes>();
  if (rc != SQLITE_ROW) return Error{StoreFault::open, path + ": " + said_by(db)};
  const auto* p = static_cast<const std::uint8_t*>(sqlite3_column_blob(s.get(), 0));
  const auto n = static_cast<std::size_t>(sqlite3_column_bytes(s.get(), 0));
  return std::optional<Bytes>(n == 0 ? Bytes() : Bytes(p, p + n));
}

std::string uri_of(const std::string& path, bool immutable) {
  std::string s = "file:";
  for (const char c : path) {
    if (c == '%' || c == '?' || c == '#') {
      const auto u = static_cast<std::uint8_t>(c);
      s += '%';
      append_hex(s, ByteView(&u, 1));
    } else {
      s += c;
    }
  }
  return s + (immutable ? "?mode=ro&immutable=1" : "?mode=ro");
}

using Database = std::unique_ptr<sqlite3, Close>;

// With the number of its schema.
Result<std::pair<Database, int>> open_for_reading(const std::string& path) {
  std::error_code ec;
  if (!std::filesystem::exists(path, ec))
    return Error{
        StoreFault::open,
        path + ": no such file; `keyferry init --dir DIR`, on the folder of the configuration, says what can be done"};
  sqlite3* raw = nullptr;
  // With a log beside it somebody works on it, or has been killed: then the log must be read, too. Without one SQLite
  // would make one unless it is told that the file stays as it is.
  const bool at_rest = !std::filesystem::exists(path + "-wal", ec);
  const int rc = sqlite3_open_v2(uri_of(path, at_rest).c_str(), &raw,
                                 SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, nullptr);
  Database db(raw);
  if (rc != SQLITE_OK) return Error{StoreFault::open, path + ": " + said_by(db.get())};
  sqlite3_busy_timeout(db.get(), 2'000);
  KF_TRY(const auto version, meta(db.get(), path, "version"));
  int number = 0;
  if (version) {
    const std::string_view t = text(*version);
    std::from_chars(t.data(), t.data() + t.size(), number);
  }
  if (number < 1 || number > schema_version())
    return Error{StoreFault::version, path + ": schema version " + std::to_string(number) + ", this program knows " +
                                          std::to_string(schema_version())};
  return std::pair(std::move(db), number);
}

}  // namespace

Status look(const std::string& path, const std::function<void(Tx&)>& work) {
  KF_TRY(const auto opened, open_for_reading(path));
  const auto& [db, version] = opened;
  if (version != schema_version())
    return Error{StoreFault::version, path + ": schema version " + std::to_string(version) +
                                          ", an older one: the server or an import brings it up to date"};
  try {
    Tx tx(db.get());
    work(tx);
  } catch (const StoreError& e) {
    return Error{StoreFault::failed, path + ": " + e.what()};
  }
  return {};
}

Result<StoreFacts> inspect(const std::string& path) {
  KF_TRY(const auto opened, open_for_reading(path));
  const auto& [db, version] = opened;
  KF_TRY(auto key, meta(db.get(), path, "data_key"));
  StoreFacts facts;
  facts.has_data_key = key.has_value();
  if (key) facts.data_key = std::move(*key);
  return facts;
}

}  // namespace kf::store
