// One prepared statement with its bindings; reset when it goes out of scope. Inside this room only.
#pragma once

#include <sqlite3.h>

#include "host/store/trouble.hpp"
#include "host/store/tx.hpp"

// What one row of `calls` counts as: stored_bytes() in SQL. Octets, which length() of a text does not count.
#define KF_CALL_BYTES                                                                                           \
  "length(CAST(response AS BLOB))+length(CAST(message_id AS BLOB))+length(CAST(reply_to AS BLOB))+length(CAST(" \
  "reply_parameters AS BLOB))+length(CAST(fcid AS BLOB))+200"

namespace kf::store {

class Statement {
 public:
  Statement(Tx& tx, const char* sql) : tx_(tx), s_(tx.prepared(sql)) {}
  ~Statement() {
    sqlite3_reset(s_);
    sqlite3_clear_bindings(s_);
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t v) { return check(sqlite3_bind_int64(s_, ++n_, v)); }
  Statement& bind(const std::string& v) { return bind(std::string_view(v)); }
  Statement& bind(std::string_view v) {
    return check(sqlite3_bind_text(s_, ++n_, v.data(), static_cast<int>(v.size()), SQLITE_TRANSIENT));
  }
  Statement& bind(ByteView v) {
    return check(sqlite3_bind_blob(s_, ++n_, v.empty() ? "" : static_cast<const void*>(v.data()),
                                   static_cast<int>(v.size()), SQLITE_TRANSIENT));
  }
  bool row() {
    const int rc = sqlite3_step(s_);
    if (rc == SQLITE_ROW) return true;
    if (rc == SQLITE_DONE) return false;
    throw DatabaseError(said_by(tx_.db_), rc);
  }
  void run() {
    while (row()) {
    }
  }
  std::int64_t i64(int col) { return sqlite3_column_int64(s_, col); }
  std::string str(int col) {
    const auto* p = reinterpret_cast<const char*>(sqlite3_column_text(s_, col));
    return p == nullptr ? std::string() : std::string(p, static_cast<std::size_t>(sqlite3_column_bytes(s_, col)));
  }
  Bytes blob(int col) {
    const auto* p = static_cast<const std::uint8_t*>(sqlite3_column_blob(s_, col));
    const auto n = static_cast<std::size_t>(sqlite3_column_bytes(s_, col));
    return p == nullptr ? Bytes() : Bytes(p, p + n);
  }

 private:
  Statement& check(int rc) {
    if (rc != SQLITE_OK) throw DatabaseError(said_by(tx_.db_), rc);
    return *this;
  }
  Tx& tx_;
  sqlite3_stmt* s_;
  int n_ = 0;
};

}  // namespace kf::store
