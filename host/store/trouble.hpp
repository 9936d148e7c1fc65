// What SQLite says of a failure, and what its reader can do about it. Inside this room only.
#pragma once

#include <sqlite3.h>

#include <string>

namespace kf::store {

// The text of the last failure. SQLite calls a disk without room an I/O error where it was its index or its log that
// found none, and nobody should look for a broken disk then.
std::string said_by(sqlite3* db);

}  // namespace kf::store
