#include "host/store/trouble.hpp"

#include <sys/statvfs.h>

namespace kf::store {
namespace {
constexpr unsigned long kLeast = 128 << 10;  // octets: a log and its index do not begin with less

bool no_room_beside(const char* file) {
  std::string folder = file == nullptr ? "" : file;
  folder.resize(folder.rfind('/') == std::string::npos ? 0 : folder.rfind('/') + 1);
  struct statvfs v {};
  return ::statvfs(folder.empty() ? "." : folder.c_str(), &v) == 0 && v.f_bavail * v.f_frsize < kLeast;
}
}  // namespace

std::string said_by(sqlite3* db) {
  std::string out = sqlite3_errmsg(db);
  const int code = sqlite3_errcode(db) & 0xFF;
  if ((code == SQLITE_IOERR || code == SQLITE_FULL || code == SQLITE_CANTOPEN) &&
      no_room_beside(sqlite3_db_filename(db, "main")))
    out += ": no space is left on its disk";
  return out;
}

}  // namespace kf::store
