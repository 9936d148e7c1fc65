#include "host/profile/csv.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace kf::profile {
namespace {
constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kMaxRows = 1'000'000;
constexpr std::size_t kMaxErrors = 1000;
constexpr std::size_t kMaxColumns = 64;

enum Column : std::size_t { iccid, imsi, ki, opc, msisdn, pin1, puk1, adm1, column_count };
constexpr std::array<std::string_view, column_count> kNames{"iccid",  "imsi", "ki",   "opc",
                                                            "msisdn", "pin1", "puk1", "adm1"};
constexpr std::array<std::optional<Field>, column_count> kFields{
    Field::iccid_header, Field::imsi, Field::ki, Field::opc, std::nullopt, Field::pin1, Field::puk1, Field::adm1};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

std::string_view trim(std::string_view s) {
  const auto from = s.find_first_not_of(" \t");
  if (from == std::string_view::npos) return {};
  return s.substr(from, s.find_last_not_of(" \t") - from + 1);
}

bool digits(std::string_view s, std::size_t least, std::size_t most) {
  return s.size() >= least && s.size() <= most &&
         std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "8.9E+19": what a spreadsheet makes of many digits, and what they were is lost.
bool as_spreadsheets_write(std::string_view s) {
  const auto e = s.find_first_of("eE");
  return e != std::string_view::npos && e + 1 < s.size() && s[e + 1] == '+' &&
         s.find_first_not_of("0123456789.,eE+") == std::string_view::npos;
}
constexpr const char* kAsText = "format the column as text in the spreadsheet, enter the values again and save";

// Views into the line, so that no key is copied. None of the columns may hold a quote, so "" needs no undoing.
Result<std::vector<std::string_view>> split(std::string_view line, char separator) {
  std::vector<std::string_view> cells;
  for (;;) {
    if (cells.size() == kMaxColumns) return Error{"bad-row", "more than " + std::to_string(kMaxColumns) + " columns"};
    const auto start = std::min(line.find_first_not_of(" \t"), line.size());
    std::size_t stop = 0;
    if (start < line.size() && line[start] == '"') {
      const auto close = line.find('"', start + 1);
      const std::string column = std::to_string(cells.size() + 1);
      if (close == std::string_view::npos) return Error{"bad-row", "column " + column + ": quote is not closed"};
      stop = std::min(line.find(separator, close), line.size());
      if (!trim(line.substr(close + 1, stop - close - 1)).empty())
        return Error{"bad-row", "column " + column + ": text behind the closing quote"};
      cells.push_back(trim(line.substr(start + 1, close - start - 1)));
    } else {
      stop = std::min(line.find(separator), line.size());
      cells.push_back(trim(line.substr(0, stop)));
    }
    if (stop == line.size()) return cells;
    line.remove_prefix(stop + 1);
  }
}

class Reader {
 public:
  Reader(std::span<const Slot> slots, bool addresses, bool skip_unknown)
      : addresses_(addresses), skip_unknown_(skip_unknown) {
    for (std::size_t c = 0; c < column_count; ++c)
      for (const Slot& s : slots)
        if (kFields[c] == s.field) slot_size_[c] = s.size;
  }

  CsvResult run(std::string_view text) {
    if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
    const std::string_view first = text.substr(0, text.find('\n'));
    if (text.substr(0, 2) == "\xFF\xFE" || text.substr(0, 2) == "\xFE\xFF" || first.find('\0') != first.npos) {
      error(1, "the file is UTF-16: save it as CSV in UTF-8");
      return std::move(out_);
    }
    bool named = false;
    std::size_t line_no = 0;
    while (!text.empty() && !stop_) {
      ++line_no;
      const auto nl = std::min(text.find('\n'), text.size());
      std::string_view line = text.substr(0, nl);
      text.remove_prefix(std::min(nl + 1, text.size()));
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      if (line.size() > kMaxLine) {
        error(line_no, "line of more than " + std::to_string(kMaxLine) + " bytes");
        if (!named) break;
      } else if (line.find_first_not_of(" \t,;") == line.npos) {
        continue;  // empty, or a row that a spreadsheet has emptied
      } else if (!named && read_separator(line)) {
        continue;
      } else if (!named) {
        if (!read_names(line_no, line)) break;
        named = true;
      } else {
        if (++rows_seen_ > kMaxRows) {
          error(line_no, "more than " + std::to_string(kMaxRows) + " rows");
          break;
        }
        read_row(line_no, line);
      }
    }
    if (!named && out_.errors.empty()) error(1, "file is empty: the first line must name the columns");
    if (named && rows_seen_ == 0 && out_.errors.empty()) error(line_no, "no rows behind the column names");
    if (!out_.errors.empty()) out_.rows.clear();
    return std::move(out_);
  }

 private:
  void error(std::size_t line, std::string message) {
    if (stop_) return;
    if (out_.errors.size() + 1 == kMaxErrors) {
      message = "more errors follow; only the first " + std::to_string(kMaxErrors - 1) + " are listed";
      stop_ = true;
    }
    out_.errors.push_back({line, std::move(message)});
  }
  void error(std::size_t line, Column c, const std::string& message) {
    error(line, std::string(kNames[c]) + ": " + message);
  }

  // "sep=;": how some spreadsheets are told, and tell, what stands between columns.
  bool read_separator(std::string_view line) {
    line = trim(line);
    if (line.size() != 5 || lower(line[0]) != 's' || lower(line[1]) != 'e' || lower(line[2]) != 'p' || line[3] != '=')
      return false;
    separator_ = line[4];
    separator_told_ = true;
    return true;
  }

  bool read_names(std::size_t line_no, std::string_view line) {
    const auto first = line.find_first_of(",;");
    if (!separator_told_ && first != std::string_view::npos) separator_ = line[first];
    if ((separator_told_ && separator_ != ',' && separator_ != ';') ||
        (first == line.npos && line.find('\t') != line.npos)) {
      error(line_no, "the columns must be separated by , or ; (not by TAB or anything else): save the file as CSV");
      return false;
    }
    const auto cells = split(line, separator_);
    if (!cells) {
      error(line_no, cells.error().detail);
      return false;
    }
    const std::size_t before = out_.errors.size();
    columns_ = cells->size();
    while (columns_ > 0 && (*cells)[columns_ - 1].empty()) --columns_;  // empty ones at the end
    for (std::size_t i = 0; i < columns_; ++i) {
      std::string name((*cells)[i]);
      std::transform(name.begin(), name.end(), name.begin(), lower);
      const auto known = std::find(kNames.begin(), kNames.end(), name);
      wipe(name);
      // The name is not repeated: in a file without a first line of names it would be a key.
      if (known == kNames.end()) {
        if (skip_unknown_) continue;
        error(line_no, "column " + std::to_string(i + 1) + " has an unknown name (known: " +
                           (addresses_ ? "iccid imsi msisdn" : "iccid imsi ki opc msisdn pin1 puk1 adm1") +
                           "); remove it, or have it skipped by --skip-unknown-columns");
        continue;
      }
      if (addresses_ && *known != "iccid" && *known != "imsi" && *known != "msisdn") {
        error(line_no, "column " + std::string(*known) +
                           " is for templates: complete packages hold their keys (allowed: iccid imsi msisdn)");
        continue;
      }
      auto& at = at_[static_cast<std::size_t>(known - kNames.begin())];
      if (at) error(line_no, "column " + std::string(*known) + " is named twice");
      at = i;
    }
    if (!at_[iccid]) error(line_no, "column iccid is missing");
    return out_.errors.size() == before;
  }

  // The cell of a column, empty when the column is not there or the cell is.
  [[nodiscard]] std::string_view cell(const std::vector<std::string_view>& cells, Column c) const {
    return at_[c] ? cells[*at_[c]] : std::string_view{};
  }
  // Whether the value is to be taken: false when empty or without a place in the template, with the errors said.
  bool take(std::size_t line, Column c, std::string_view value) {
    if (addresses_) return !value.empty();
    const bool place = slot_size_[c].has_value();
    if (value.empty()) {
      const bool must = c == imsi || c == ki || c == opc;
      if (at_[c] && place && must) error(line, c, "value missing");
      return false;
    }
    if (!place) error(line, c, "the template has no place for it");
    return place;
  }

  static std::string rounded(std::string_view value) {
    return as_spreadsheets_write(value) ? std::string(": a spreadsheet has rounded the number; ") + kAsText
                                        : std::string();
  }
  void read_key(std::size_t line, Column c, std::string_view value, SecretBytes& to) {
    if (!take(line, c, value)) return;
    auto bytes = value.size() == 2 * *slot_size_[c] ? from_hex(value) : Result<Bytes>(Error{"bad-hex", ""});
    if (bytes)
      to = SecretBytes::adopt(std::move(*bytes));
    else
      error(line, c, std::to_string(2 * *slot_size_[c]) + " hex digits expected" + rounded(value));
  }
  void read_pin(std::size_t line, Column c, std::string_view value, PinText& to) {
    if (!take(line, c, value)) return;
    if (digits(value, c == puk1 ? 8 : 4, 8))
      to = PinText(value);
    else
      error(line, c, c == puk1 ? "8 digits expected" : "4 to 8 digits expected");
  }

  void read_row(std::size_t line_no, std::string_view line) {
    auto cells = split(line, separator_);
    if (!cells) return error(line_no, cells.error().detail);
    while (cells->size() > columns_ && cells->back().empty()) cells->pop_back();
    if (cells->size() != columns_)
      return error(line_no,
                   std::to_string(columns_) + " columns expected, " + std::to_string(cells->size()) + " found");
    Row row;
    row.line = line_no;
    const std::string_view id = cell(*cells, iccid);
    if (auto parsed = parse_iccid(id)) {
      const auto [at, fresh] = iccids_.try_emplace(parsed->str(), line_no);
      if (!fresh) error(line_no, iccid, "already in line " + std::to_string(at->second));
      row.personal.iccid = std::move(*parsed);
    } else {
      error(line_no, iccid, id.empty() ? "value missing" : parsed.error().detail + rounded(id));
    }
    if (const auto v = cell(*cells, imsi); take(line_no, imsi, v)) {
      // Hardly an IMSI has 14 digits and none has fewer: what is missing are zeros at the beginning, as in 001.
      if (digits(v, 1, 13)) {
        error(line_no, imsi,
              "15 digits expected (14 at least), " + std::to_string(v.size()) +
                  " found: spreadsheets drop zeros at the beginning; " + kAsText);
      } else if (!digits(v, 14, 15)) {
        error(line_no, imsi, "15 digits expected (14 at least)" + rounded(v));
      } else {
        row.personal.imsi = std::string(v);
        const auto [at, fresh] = imsis_.try_emplace(row.personal.imsi, line_no);
        if (!fresh) error(line_no, imsi, "already in line " + std::to_string(at->second));
      }
    }
    read_key(line_no, ki, cell(*cells, ki), row.personal.ki);
    read_key(line_no, opc, cell(*cells, opc), row.personal.opc);
    read_pin(line_no, pin1, cell(*cells, pin1), row.personal.pin1);
    read_pin(line_no, puk1, cell(*cells, puk1), row.personal.puk1);
    read_pin(line_no, adm1, cell(*cells, adm1), row.personal.adm1);
    if (const auto v = cell(*cells, msisdn); !v.empty()) {
      if (digits(v.substr(v[0] == '+' ? 1 : 0), 5, 15))
        row.msisdn = std::string(v);
      else
        error(line_no, msisdn, "5 to 15 digits expected, + before them allowed" + rounded(v));
    }
    if (addresses_ && cell(*cells, imsi).empty() && cell(*cells, msisdn).empty())
      error(line_no, "neither imsi nor msisdn");
    if (out_.errors.empty()) out_.rows.push_back(std::move(row));
  }

  const bool addresses_, skip_unknown_;

  std::array<std::optional<std::size_t>, column_count> slot_size_{}, at_{};
  std::size_t columns_ = 0, rows_seen_ = 0;
  char separator_ = ',';
  bool separator_told_ = false, stop_ = false;
  CsvResult out_;
  std::unordered_map<std::string, std::size_t> iccids_, imsis_;
};
}  // namespace

CsvResult parse_csv(std::string_view text, std::span<const Slot> slots, bool skip_unknown) {
  return Reader(slots, false, skip_unknown).run(text);
}
CsvResult parse_addresses_csv(std::string_view text, bool skip_unknown) {
  return Reader({}, true, skip_unknown).run(text);
}

}  // namespace kf::profile
