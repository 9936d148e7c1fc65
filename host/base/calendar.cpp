#include "host/base/calendar.hpp"

#include <cstdio>

namespace kf {
namespace {
Result<Date> checked(int y, unsigned m, unsigned d) {
  const Date date{std::chrono::year(y), std::chrono::month(m), std::chrono::day(d)};
  if (!date.ok()) return Error{"bad-date", "no such day"};
  return date;
}
int two(std::string_view s) {
  if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9') return -1;
  return (s[0] - '0') * 10 + (s[1] - '0');
}
std::string format(WallTime t, bool millis) {
  const auto days = std::chrono::floor<std::chrono::days>(t);
  const Date d(days);
  const std::chrono::hh_mm_ss hms(t - days);
  char buf[40];
  std::snprintf(buf, sizeof buf, "%04d-%02u-%02uT%02d:%02d:%02d", static_cast<int>(d.year()),
                static_cast<unsigned>(d.month()), static_cast<unsigned>(d.day()), static_cast<int>(hms.hours().count()),
                static_cast<int>(hms.minutes().count()), static_cast<int>(hms.seconds().count()));
  std::string s = buf;
  if (millis) {
    std::snprintf(buf, sizeof buf, ".%03d", static_cast<int>(hms.subseconds().count()));
    s += buf;
  }
  return s + "Z";
}
}  // namespace

Result<Date> parse_date(std::string_view s) {
  if (s.size() != 10 || s[4] != '-' || s[7] != '-') return Error{"bad-date", "a date looks like 2026-06-15"};
  const int c = two(s.substr(0, 2));
  const int y = two(s.substr(2, 2));
  const int m = two(s.substr(5, 2));
  const int d = two(s.substr(8, 2));
  if (c < 0 || y < 0 || m < 0 || d < 0) return Error{"bad-date", "a date looks like 2026-06-15"};
  return checked(c * 100 + y, static_cast<unsigned>(m), static_cast<unsigned>(d));
}

Result<Date> parse_bcd_date(ByteView b) {
  if (b.size() != 4) return Error{"bad-date", "a BCD date has four bytes"};
  const std::string s = to_hex(b);
  return parse_date(s.substr(0, 4) + "-" + s.substr(4, 2) + "-" + s.substr(6, 2));
}

Bytes bcd_date(Date d) {
  const std::string s = to_string(d);
  return hex(s.substr(0, 4) + s.substr(5, 2) + s.substr(8, 2));
}

std::string to_string(Date d) {
  char buf[24];
  std::snprintf(buf, sizeof buf, "%04d-%02u-%02u", static_cast<int>(d.year()), static_cast<unsigned>(d.month()),
                static_cast<unsigned>(d.day()));
  return buf;
}

Date today_utc() { return Date(std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now())); }
Date add_days(Date d, int days) { return Date(std::chrono::sys_days(d) + std::chrono::days(days)); }
WallTime wall_now() { return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()); }
std::string iso_time(WallTime t) { return format(t, true); }
std::string iso_seconds(WallTime t) { return format(t, false); }
}  // namespace kf
