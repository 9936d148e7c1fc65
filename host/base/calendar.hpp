// Calendar dates (certificates count in days, UTC) and the dateTime form of XML Schema.
#pragma once

#include <chrono>
#include <cstdint>

#include "host/base/bytes.hpp"

namespace kf {

using Date = std::chrono::year_month_day;
Result<Date> parse_date(std::string_view iso);  // "2026-06-15"; reasons: bad-date
Result<Date> parse_bcd_date(ByteView four);     // 20 26 06 15; reasons: bad-date
Bytes bcd_date(Date d);
std::string to_string(Date d);  // "2026-06-15"
Date today_utc();
Date add_days(Date d, int days);

using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;
WallTime wall_now();
std::string iso_time(WallTime t);     // "2026-03-02T09:00:01.250Z"
std::string iso_seconds(WallTime t);  // "2026-03-02T09:00:01Z"

}  // namespace kf
