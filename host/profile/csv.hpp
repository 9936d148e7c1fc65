// `keyferry profile import --csv FILE`: rows of ICCID, IMSI, Ki, OPc ... for a template, or the subscription addresses
// of complete packages, with errors by line.
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
  std::string message;  // "ki: 32 hex digits expected": names the column, never prints a value
};
struct CsvResult {
  std::vector<Row> rows;  // empty unless errors is empty
  std::vector<RowError> errors;
};
// First line names the columns: iccid (required), imsi, ki, opc, msisdn, pin1, puk1, adm1, in any order and case.
// Separator , or ; (the one the first line uses; a line "sep=;" may stand before it). A value may stand in "..." (then
// with separators, never with a quote or a line end inside). A byte order mark, CRLF, empty lines, lines of separators
// only, and empty columns at the end are accepted, as spreadsheets write them; UTF-16, TAB between columns, lines of
// more than 4096 bytes and more than 1,000,000 rows are not. A value for which the template has no slot is an error of
// its row; so is an empty imsi, ki or opc where the column is named and the template has the slot: it would leave the
// template's own value. Double ICCIDs or IMSIs are errors. At most 1000 errors are listed; the last then says that
// there are more. Errors never repeat what a cell holds. An
// IMSI of fewer than 14 digits is one whose zeros a spreadsheet has dropped. Columns of other names are an error, or
// skipped with `skip_unknown`.
CsvResult parse_csv(std::string_view text, std::span<const Slot> slots, bool skip_unknown = false);
// For complete packages: iccid (required) with imsi, msisdn, of which one is there in each row. Nothing else is
// allowed.
CsvResult parse_addresses_csv(std::string_view text, bool skip_unknown = false);

}  // namespace kf::profile
