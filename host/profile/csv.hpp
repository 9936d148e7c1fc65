// `keyferry profile import --template T.der --csv FILE`: rows of ICCID, IMSI, Ki, OPc ... with errors by line.
#pragma once

#include "host/profile/package.hpp"

namespace kf::profile {

struct Row {
  std::size_t line = 0;
  Personal personal;
  std::string msisdn;
};
struct RowError {
  std::size_t line = 0;
  std::string message;  // names the column, never prints a key
};
struct CsvResult {
  std::vector<Row> rows;          // complete only when errors is empty
  std::vector<RowError> errors;
};
// First line names the columns: iccid (required), imsi, ki, opc, msisdn, pin1, puk1, adm1, in any order, case-insensitive.
// Separator , or ;. Double ICCIDs or IMSIs within the file are errors.
CsvResult parse_csv(std::string_view text, std::span<const Slot> slots);

}  // namespace kf::profile
